//! How the server is set up: raw as it is written, then checked.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::jobs::RetrainPlan;
use crate::lists::{RawColumns, RawRule, RawScenario, RawShopRules};
use crate::schedule::Schedule;
use crate::telemetry::RawTelemetryConfig;

/// The `[serve]` section as it is written; every key may be left out.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawServeConfig {
    /// Address to listen at.
    pub host: Option<String>,
    /// Port to listen at.
    pub port: Option<u16>,
    /// A file of SQLite or an address of PostgreSQL.
    pub store: Option<String>,
    /// Files of models, and folders of them.
    pub models: Vec<PathBuf>,
    /// Newest events of a user that answers go by.
    pub history: Option<NonZeroUsize>,
    /// Users whose history is kept in memory.
    pub cached_users: Option<usize>,
    /// Days that popularity counts.
    pub popular_days: Option<NonZeroU32>,
    /// Days that events are kept; all are if it is not set.
    pub keep_days: Option<NonZeroU32>,
    /// Events that may wait to be written.
    pub queue_events: Option<NonZeroUsize>,
    /// Answers that may wait to be computed.
    pub queue_answers: Option<NonZeroUsize>,
    /// Largest body of a request, in bytes.
    pub max_body_bytes: Option<NonZeroUsize>,
    /// Connections at once.
    pub max_connections: Option<NonZeroUsize>,
    /// Seconds that a request may take.
    pub timeout_secs: Option<NonZeroU32>,
    /// Milliseconds after which a request is written to the log as slow.
    pub slow_ms: Option<NonZeroU32>,
    /// Items that events and models may bring into the catalog.
    pub max_items: Option<NonZeroUsize>,
    /// Traces of answers that are kept.
    pub traces: Option<usize>,
    /// Whether requests in the shapes of gorse, Metarank and Rasa are answered too.
    pub compatible: bool,
    /// Types of further attributes of items that rules read.
    pub item: RawColumns,
    /// Types of attributes of users that rules read.
    pub user: RawColumns,
    /// Types of what requests say in `context` that rules read.
    pub context: RawColumns,
    /// Spans for a collector.
    pub telemetry: RawTelemetryConfig,
    /// Models that are trained anew.
    pub retrain: RawRetrainConfig,
    /// Filters and boosts.
    pub rule: Vec<RawRule>,
    /// Places of the shop where lists are shown.
    pub scenario: Vec<RawScenario>,
}

/// The `[serve.retrain]` section as it is written: what the server begins, and what the process that trains goes by.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawRetrainConfig {
    /// When: `hourly`, `daily`, `weekly`, or a line of cron.
    pub schedule: Option<String>,
    /// The time zone of the schedule.
    pub time_zone: Option<String>,
    /// What for: `recommend`, `click`, `conversion`, `purchase`, `question`, `demand`.
    pub tasks: Option<Vec<String>>,
    /// The folder that new files of models go to.
    pub folder: Option<PathBuf>,
    /// Minutes that a job may take.
    pub timeout_minutes: Option<NonZeroU32>,
    /// Files of earlier jobs that are kept, for each task.
    pub keep: Option<NonZeroUsize>,
    /// Memory that the process may take, such as `2GiB`.
    pub memory: Option<String>,
    /// Threads of the process.
    pub threads: Option<NonZeroUsize>,
    /// Which model, for each task.
    pub models: BTreeMap<String, String>,
    /// Which metric must be better than that of the strongest baseline, for each task.
    pub gate: BTreeMap<String, String>,
}

/// Tasks whose models are trained from what a store holds.
pub const RETRAIN_TASKS: [&str; 6] =
    ["recommend", "click", "conversion", "purchase", "question", "demand"];

impl RetrainPlan {
    /// Checks what is said of training anew. Files go to the first folder of `models` where none is named. `program` trains, and is told
    /// `arguments` first.
    ///
    /// # Errors
    /// [`ServeConfigError`] names the key.
    pub fn new(
        raw: &RawRetrainConfig,
        models: &[PathBuf],
        program: PathBuf,
        arguments: Vec<OsString>,
    ) -> Result<Self, ServeConfigError> {
        let wrong = |key| move |reason| ServeConfigError { key, reason };
        let zone = raw.time_zone.as_deref();
        let schedule = raw.schedule.as_deref().map(|text| Schedule::new(text, zone));
        let schedule = schedule.transpose().map_err(wrong("retrain.schedule"))?;
        let tasks = raw.tasks.clone().unwrap_or_else(|| vec!["recommend".to_owned()]);
        let keys = tasks.iter().map(|task| ("retrain.tasks", task));
        let keys = keys.chain(raw.models.keys().map(|task| ("retrain.models", task)));
        for (key, task) in keys.chain(raw.gate.keys().map(|task| ("retrain.gate", task))) {
            if !RETRAIN_TASKS.contains(&task.as_str()) {
                let reason = format!("{task:?} is none of {}", RETRAIN_TASKS.join(", "));
                return Err(ServeConfigError { key, reason });
            }
        }
        let folder =
            raw.folder.clone().or_else(|| models.iter().find(|path| path.is_dir()).cloned());
        if schedule.is_some() && folder.is_none() {
            let reason =
                "there is no folder that new models go to: name one, or give a folder of models"
                    .to_owned();
            return Err(ServeConfigError { key: "retrain.folder", reason });
        }
        if let Some(folder) = folder.as_ref().filter(|folder| !models.contains(folder)) {
            let reason = format!(
                "{folder:?} is none of serve.models: what is trained would not be found there"
            );
            return Err(ServeConfigError { key: "retrain.folder", reason });
        }
        let minutes = raw.timeout_minutes.map_or(6 * 60, NonZeroU32::get);
        Ok(Self {
            schedule,
            tasks,
            models: raw.models.clone(),
            program,
            arguments,
            folder,
            timeout: Duration::from_secs(u64::from(minutes) * 60),
            n_kept: raw.keep.map_or(5, NonZeroUsize::get),
        })
    }
}

/// A set-up that can be used as it is.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// Where to listen.
    pub address: SocketAddr,
    /// A file of SQLite or an address of PostgreSQL.
    pub store: String,
    /// Files of models, and folders of them.
    pub models: Vec<PathBuf>,
    /// Newest events of a user that answers go by.
    pub n_history: usize,
    /// Users whose history is kept in memory.
    pub n_cached_users: usize,
    /// Milliseconds that popularity counts.
    pub popular_ms: i64,
    /// Milliseconds that events are kept.
    pub keep_ms: Option<i64>,
    /// Events that may wait to be written.
    pub queue_events: usize,
    /// Answers that may wait to be computed.
    pub queue_answers: usize,
    /// Threads that compute answers.
    pub n_threads: NonZeroUsize,
    /// Largest body of a request, in bytes.
    pub max_body_bytes: usize,
    /// Connections at once.
    pub max_connections: usize,
    /// How long a request may take.
    pub timeout: Duration,
    /// After which time a request is written to the log as slow.
    pub slow: Duration,
    /// Items that events and models may bring into the catalog.
    pub max_items: usize,
    /// Traces of answers that are kept.
    pub n_traces: usize,
    /// Whether requests in the shapes of gorse, Metarank and Rasa are answered too.
    pub is_compatible: bool,
    /// The shop's rules; they are checked when the process starts.
    pub rules: RawShopRules,
    /// Models that are trained anew; none if this process begins no training.
    pub retrain: Option<RetrainPlan>,
}

/// A key of `[serve]` that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("serve.{key}: {reason}")]
pub struct ServeConfigError {
    key: &'static str,
    reason: String,
}

/// Where events, items and users are kept, where nothing is said.
pub const DEFAULT_STORE: &str = "forecart-store/store.sqlite";

const DAY_MS: i64 = 86_400_000;

impl ServeConfig {
    /// Checks a set-up, and fills in what is not said.
    ///
    /// # Errors
    /// [`ServeConfigError`] names the key.
    pub fn new(raw: RawServeConfig, n_threads: NonZeroUsize) -> Result<Self, ServeConfigError> {
        let host = raw.host.unwrap_or_else(|| "127.0.0.1".to_owned());
        let ip = host.parse().map_err(|_| ServeConfigError {
            key: "host",
            reason: format!("{host:?} is no IP address; 127.0.0.1 listens on this machine alone, 0.0.0.0 everywhere"),
        })?;
        let days = |days: NonZeroU32| i64::from(days.get()) * DAY_MS;
        let most = |key, value: usize, most: usize| match value > most {
            true => Err(ServeConfigError { key, reason: format!("{value} is more than {most}") }),
            false => Ok(value),
        };
        let or = |given: Option<NonZeroUsize>, usual: usize| given.map_or(usual, NonZeroUsize::get);
        Ok(Self {
            address: SocketAddr::new(ip, raw.port.unwrap_or(8080)),
            store: raw.store.unwrap_or_else(|| DEFAULT_STORE.to_owned()),
            models: raw.models,
            n_history: most("history", or(raw.history, 200), 10_000)?,
            n_cached_users: raw.cached_users.unwrap_or(20_000),
            popular_ms: raw.popular_days.map_or(30 * DAY_MS, days),
            keep_ms: raw.keep_days.map(days),
            queue_events: most("queue_events", or(raw.queue_events, 50_000), 10_000_000)?,
            queue_answers: or(raw.queue_answers, 256),
            n_threads,
            max_body_bytes: most("max_body_bytes", or(raw.max_body_bytes, 8 << 20), 1 << 30)?,
            max_connections: most("max_connections", or(raw.max_connections, 1_024), 1 << 20)?,
            timeout: Duration::from_secs(raw.timeout_secs.map_or(10, NonZeroU32::get).into()),
            slow: Duration::from_millis(raw.slow_ms.map_or(250, NonZeroU32::get).into()),
            max_items: most("max_items", or(raw.max_items, 5_000_000), 1 << 31)?,
            n_traces: raw.traces.unwrap_or(1_000),
            is_compatible: raw.compatible,
            rules: RawShopRules {
                item: raw.item,
                user: raw.user,
                context: raw.context,
                rules: raw.rule,
                scenarios: raw.scenario,
            },
            retrain: None,
        })
    }
}
