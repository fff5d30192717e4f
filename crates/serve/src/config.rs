//! How the server is set up: raw as it is written, then checked.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use forecart_models::model_file::{Trust, VerifyingKey};
use serde::Deserialize;

use crate::consent::ConsentDefault;
use crate::experiments::{ExperimentError, Experiments, RawExperiment};
use crate::intake::MAX_ROOM_OF_ONE;
use crate::jobs::RetrainPlan;
use crate::limits::Rate;
use crate::lists::{RawColumns, RawRule, RawScenario, RawShopRules};
use crate::nats::{NatsConfig, RawNatsConfig};
use crate::schedule::Schedule;
use crate::telemetry::RawTelemetryConfig;
use crate::tls::TlsFiles;

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
    /// The share of a list that items may have which its model does not know, in 0..=1.
    pub new_items: Option<f64>,
    /// Traces of answers that are kept.
    pub traces: Option<usize>,
    /// Public keys, or files of them: only models that are signed by one are served.
    pub trusted_keys: Vec<String>,
    /// The certificate of TLS and those that it needs, as PEM.
    pub tls_certificate: Option<PathBuf>,
    /// The private key of the certificate, as PEM.
    pub tls_key: Option<PathBuf>,
    /// Requests a second of a client, over a longer time.
    pub rate_per_second: Option<f64>,
    /// Requests of a client at once.
    pub rate_burst: Option<NonZeroU32>,
    /// Whether requests in the shapes of gorse, Metarank and Rasa are answered too.
    pub compatible: bool,
    /// NATS, as a further source of events.
    pub nats: Option<RawNatsConfig>,
    /// What users allow who have said nothing.
    pub consent_default: ConsentDefault,
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
    /// Variants that users are answered by in turn, to tell which is better.
    pub experiment: Vec<RawExperiment>,
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
    /// One in so many places of a list may have an item that its model does not know; none where it is not said.
    pub one_new_in: Option<NonZeroUsize>,
    /// Traces of answers that are kept.
    pub n_traces: usize,
    /// Whose models are served.
    pub trust: Trust,
    /// Certificate and key, if TLS is spoken.
    pub tls: Option<TlsFiles>,
    /// How often a client may ask, if that is limited.
    pub rate: Option<Rate>,
    /// Whether requests in the shapes of gorse, Metarank and Rasa are answered too.
    pub is_compatible: bool,
    /// NATS, as a further source of events.
    pub nats: Option<NatsConfig>,
    /// Models that are trained anew; none if this process begins no training.
    pub retrain: Option<RetrainPlan>,
    /// What users allow who have said nothing.
    pub consent_default: ConsentDefault,
    /// The shop's rules; they are checked when the process starts.
    pub rules: RawShopRules,
    /// Experiments; they are checked when the process starts.
    pub experiments: Vec<RawExperiment>,
}

/// A key of `[serve]` that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("serve.{key}: {reason}")]
pub struct ServeConfigError {
    key: &'static str,
    reason: String,
}

impl ServeConfigError {
    pub(crate) fn new(key: &'static str, reason: impl Into<String>) -> Self {
        Self { key, reason: reason.into() }
    }
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
        let nats = raw.nats.map(NatsConfig::new).transpose()?;
        let one_in = |key, share: f64| match share {
            // A share of 0.3 is one in four: never more than is said.
            0.0..=1.0 => {
                Ok(NonZeroUsize::new((1.0 / share).ceil() as usize).filter(|_| share > 0.0))
            }
            _ => Err(ServeConfigError { key, reason: format!("{share} is not in 0..=1") }),
        };
        let or = |given: Option<NonZeroUsize>, usual: usize| given.map_or(usual, NonZeroUsize::get);
        let queue_events = most("queue_events", or(raw.queue_events, 50_000), 10_000_000)?;
        if nats.is_some() && queue_events < MAX_ROOM_OF_ONE {
            let reason = format!(
                "{queue_events} has no room for a large event: with serve.nats say {MAX_ROOM_OF_ONE} or more"
            );
            return Err(ServeConfigError::new("queue_events", reason));
        }
        Ok(Self {
            address: SocketAddr::new(ip, raw.port.unwrap_or(8080)),
            store: raw.store.unwrap_or_else(|| DEFAULT_STORE.to_owned()),
            models: raw.models,
            n_history: most("history", or(raw.history, 200), 10_000)?,
            n_cached_users: raw.cached_users.unwrap_or(20_000),
            popular_ms: raw.popular_days.map_or(30 * DAY_MS, days),
            keep_ms: raw.keep_days.map(days),
            queue_events,
            queue_answers: or(raw.queue_answers, 256),
            n_threads,
            max_body_bytes: most("max_body_bytes", or(raw.max_body_bytes, 8 << 20), 1 << 30)?,
            max_connections: most("max_connections", or(raw.max_connections, 1_024), 1 << 20)?,
            timeout: Duration::from_secs(raw.timeout_secs.map_or(10, NonZeroU32::get).into()),
            slow: Duration::from_millis(raw.slow_ms.map_or(250, NonZeroU32::get).into()),
            max_items: most("max_items", or(raw.max_items, 5_000_000), 1 << 31)?,
            one_new_in: one_in("new_items", raw.new_items.unwrap_or(0.1))?,
            n_traces: raw.traces.unwrap_or(1_000),
            trust: trust(&raw.trusted_keys)?,
            tls: tls(raw.tls_certificate, raw.tls_key)?,
            rate: rate(raw.rate_per_second, raw.rate_burst)?,
            is_compatible: raw.compatible,
            nats,
            consent_default: raw.consent_default,
            rules: RawShopRules {
                item: raw.item,
                user: raw.user,
                context: raw.context,
                rules: raw.rule,
                scenarios: raw.scenario,
            },
            retrain: None,
            experiments: raw.experiment,
        })
    }

    /// The experiments, checked beside the scenarios.
    ///
    /// # Errors
    /// [`ExperimentError`] names the experiment and the field.
    pub fn experiments(&self) -> Result<Experiments, ExperimentError> {
        Experiments::new(&self.experiments, &self.rules.scenario_names())
    }
}

fn trust(entries: &[String]) -> Result<Trust, ServeConfigError> {
    let mut keys = Vec::new();
    for entry in entries {
        let read = VerifyingKey::read_all(entry);
        keys.extend(read.map_err(|error| ServeConfigError {
            key: "trusted_keys",
            reason: format!("{error}; it is `forecart-verify-…`, or a file with such keys"),
        })?);
    }
    Ok(Trust::of(keys))
}

fn tls(
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Result<Option<TlsFiles>, ServeConfigError> {
    let missing = |key, other| {
        let reason = format!("it is missing, and serve.{other} is set: TLS needs both");
        Err(ServeConfigError { key, reason })
    };
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles::new(certificate, key))),
        (None, None) => Ok(None),
        (Some(_), None) => missing("tls_key", "tls_certificate"),
        (None, Some(_)) => missing("tls_certificate", "tls_key"),
    }
}

/// Most requests a second that a limit may be set to; more is none.
const MAX_RATE: f64 = 1e6;
/// Fewest: one in about eleven days.
const MIN_RATE: f64 = 1e-6;
/// Longest time in seconds in which a burst comes back.
const MAX_REFILL_SECS: f64 = 1e9;

fn rate(
    per_second: Option<f64>,
    burst: Option<NonZeroU32>,
) -> Result<Option<Rate>, ServeConfigError> {
    let Some(per_second) = per_second else {
        return match burst {
            None => Ok(None),
            Some(_) => {
                let reason = "it says nothing without serve.rate_per_second".to_owned();
                Err(ServeConfigError { key: "rate_burst", reason })
            }
        };
    };
    if !(MIN_RATE..=MAX_RATE).contains(&per_second) {
        let reason = format!(
            "{per_second} is not in {MIN_RATE}..={MAX_RATE}; without it nothing is limited"
        );
        return Err(ServeConfigError { key: "rate_per_second", reason });
    }
    // As many as come in a second.
    let usual = NonZeroU32::new(per_second.ceil() as u32).unwrap_or(NonZeroU32::MIN);
    let burst = burst.unwrap_or(usual);
    if f64::from(burst.get()) / per_second > MAX_REFILL_SECS {
        let reason = format!("{burst} at once come back in more than {MAX_REFILL_SECS} seconds");
        return Err(ServeConfigError { key: "rate_burst", reason });
    }
    Ok(Some(Rate { per_second, burst }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(raw: RawServeConfig) -> String {
        ServeConfig::new(raw, NonZeroUsize::MIN).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let usual = RawServeConfig::default;
        let key = RawServeConfig { tls_key: Some("key.pem".into()), ..usual() };
        assert!(refused(key).starts_with("serve.tls_certificate: it is missing"));
        let certificate = RawServeConfig { tls_certificate: Some("c.pem".into()), ..usual() };
        assert!(refused(certificate).starts_with("serve.tls_key: it is missing"));
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 2e6] {
            let raw = RawServeConfig { rate_per_second: Some(rate), ..usual() };
            assert!(refused(raw).starts_with("serve.rate_per_second: "), "{rate}");
        }
        let burst = RawServeConfig { rate_burst: NonZeroU32::new(3), ..usual() };
        assert!(refused(burst).starts_with("serve.rate_burst: "));
        for entry in ["forecart-verify-12", "no/such/file", "forecart-sign-12"] {
            let raw = RawServeConfig { trusted_keys: vec![entry.to_owned()], ..usual() };
            assert!(refused(raw).starts_with("serve.trusted_keys: "), "{entry}");
        }
    }

    #[test]
    fn a_burst_is_a_second_where_nothing_is_said() {
        let of = |per_second| {
            let raw = RawServeConfig { rate_per_second: Some(per_second), ..Default::default() };
            ServeConfig::new(raw, NonZeroUsize::MIN).unwrap().rate.unwrap().burst.get()
        };
        assert_eq!([of(0.1), of(1.0), of(12.5)], [1, 1, 13]);
    }
}
