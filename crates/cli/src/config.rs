//! The configuration: defaults < file < environment < flags, raw first, then checked.
//!
//! The file is TOML with every key optional. `FORECART__PREPARE__MIN_USER_EVENTS=3` in the
//! environment overrides `prepare.min_user_events`. `${NAME}` in a string of the file is replaced
//! by that environment variable; an unset one is an error.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};

use anyhow::Context;
use forecart_prepare::config::{RawDataConfig, RawEventsConfig};
use forecart_prepare::prepare::{
    Fold, PrepareConfig, RawPrepareConfig, RawSplitConfig, SplitKind, folds,
};
use forecart_prepare::samples::{RawSamplesConfig, SamplesConfig};
use forecart_prepare::{
    DataConfig, DemandConfig, QuestionsConfig, RawDemandConfig, RawQuestionsConfig, RawTextConfig,
    Resources, TextConfig, ValidateConfig,
};
use forecart_serve::RawServeConfig;
use serde::Deserialize;

use crate::args::{Common, ProtocolName, TaskName};

const ENVIRONMENT_PREFIX: &str = "FORECART__";

/// A configuration that cannot be used: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{origin}: {reason}")]
pub(crate) struct ConfigError {
    /// The file, or the environment.
    origin: String,
    /// What is wrong, with the nearest known name where a name is unknown.
    reason: String,
}

impl ConfigError {
    pub(crate) fn new(origin: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { origin: origin.into(), reason: reason.into() }
    }
}

/// The whole file, as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawConfig {
    data: RawDataConfig,
    events: RawEventsConfig,
    prepare: RawPrepareConfig,
    split: RawSplitConfig,
    models: BTreeMap<String, toml::Table>,
    samples: RawSamplesConfig,
    outcome_models: BTreeMap<String, toml::Table>,
    demand: RawDemandConfig,
    demand_models: BTreeMap<String, toml::Table>,
    text: RawTextConfig,
    intent_models: BTreeMap<String, toml::Table>,
    questions: RawQuestionsConfig,
    question_models: BTreeMap<String, toml::Table>,
    serve: RawServeConfig,
    limits: RawLimits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawLimits {
    memory: Option<String>,
    threads: Option<NonZeroUsize>,
    seed: Option<u64>,
}

/// The configuration after all overrides; sections are checked when a verb asks for them.
#[derive(Debug)]
pub(crate) struct Config {
    raw: RawConfig,
    origin: String,
    /// The file that was read, if there is one.
    pub(crate) path: Option<PathBuf>,
    /// Seed of everything random.
    pub(crate) seed: u64,
    /// The seed where one was set.
    pub(crate) given_seed: Option<u64>,
    n_threads: NonZeroUsize,
    /// Memory limit in bytes, if one was set.
    pub(crate) memory_limit_bytes: Option<u64>,
}

impl Config {
    /// Reads the file that `common` names, or `forecart.toml` if it exists, and the overrides.
    pub(crate) fn load(common: &Common) -> anyhow::Result<Self> {
        let default = Path::new("forecart.toml");
        let path = match &common.config {
            Some(path) => Some(path.as_path()),
            None => default.is_file().then_some(default),
        };
        let (text, origin) = match path {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read configuration {path:?}"))?;
                (text, path.display().to_string())
            }
            None => (String::new(), "configuration".to_owned()),
        };
        let raw = parse(&text, &origin, environment_overrides())?;
        let memory = common.memory_limit.as_ref().or(raw.limits.memory.as_ref());
        let memory_limit_bytes = memory.map(|text| parse_bytes(text)).transpose()?;
        let n_threads = common
            .threads
            .or(raw.limits.threads)
            .unwrap_or_else(|| std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN));
        let given_seed = common.seed.or(raw.limits.seed);
        let seed = given_seed.unwrap_or(42);
        let path = path.map(Path::to_owned);
        Ok(Self { raw, origin, path, seed, given_seed, n_threads, memory_limit_bytes })
    }

    /// The checked `[data]` and `[events]` sections.
    pub(crate) fn data(&self, max_bad_rows: Option<f64>) -> anyhow::Result<DataConfig> {
        let mut data = self.raw.data.clone();
        data.max_bad_rows = max_bad_rows.or(data.max_bad_rows);
        DataConfig::try_from((data, self.raw.events.clone())).with_context(|| self.origin.clone())
    }

    /// How a log of our own is read: its columns are ours, its events as the checked `[events]` section says.
    pub(crate) fn own_log(&self, items: Option<PathBuf>) -> anyhow::Result<DataConfig> {
        let data = RawDataConfig {
            format: Some("jsonl".into()),
            time_unit: Some("ms".into()),
            items,
            ..RawDataConfig::default()
        };
        DataConfig::try_from((data, self.raw.events.clone())).with_context(|| self.origin.clone())
    }

    /// The checked `[prepare]` and `[split]` sections; what is given overrides the file's.
    pub(crate) fn prepare(
        &self,
        protocol: Option<ProtocolName>,
        test_log: Option<PathBuf>,
    ) -> anyhow::Result<PrepareConfig> {
        let mut split = self.raw.split.clone();
        split.kind = protocol.map_or(split.kind, SplitKind::from);
        split.test_log = test_log.or(split.test_log);
        PrepareConfig::new(self.raw.prepare.clone(), split).with_context(|| self.origin.clone())
    }

    /// The checked `[prepare]` and `[split]` sections at several moments of a log.
    pub(crate) fn folds(
        &self,
        time_range_ms: Option<(i64, i64)>,
        n_folds: NonZeroU32,
        horizon_days: NonZeroU32,
    ) -> anyhow::Result<Vec<Fold>> {
        let RawConfig { prepare, split, .. } = &self.raw;
        folds(prepare, split, time_range_ms, n_folds, horizon_days)
            .with_context(|| self.origin.clone())
    }

    /// The checks that `validate` makes.
    pub(crate) fn validate(&self) -> ValidateConfig {
        ValidateConfig::default()
    }

    /// The `[serve]` section as it is written; flags come over it before it is checked.
    pub(crate) fn serve(&self) -> RawServeConfig {
        self.raw.serve.clone()
    }

    /// Threads to use.
    pub(crate) fn threads(&self) -> NonZeroUsize {
        self.n_threads
    }

    /// The table `[models.NAME]`, empty if there is none.
    pub(crate) fn model(&self, name: &str) -> anyhow::Result<serde_json::Value> {
        let table = self.raw.models.get(name).cloned().unwrap_or_default();
        Ok(serde_json::to_value(table)?)
    }

    /// The table `[outcome_models.NAME]`, empty if there is none.
    pub(crate) fn outcome_model(&self, name: &str) -> anyhow::Result<serde_json::Value> {
        let table = self.raw.outcome_models.get(name).cloned().unwrap_or_default();
        Ok(serde_json::to_value(table)?)
    }

    /// The checked `[demand]` section.
    pub(crate) fn demand(&self) -> anyhow::Result<DemandConfig> {
        DemandConfig::try_from(self.raw.demand.clone()).with_context(|| self.origin.clone())
    }

    /// The table `[demand_models.NAME]`, empty if there is none.
    pub(crate) fn demand_model(&self, name: &str) -> anyhow::Result<serde_json::Value> {
        let table = self.raw.demand_models.get(name).cloned().unwrap_or_default();
        Ok(serde_json::to_value(table)?)
    }

    /// The checked `[questions]` section.
    pub(crate) fn questions(&self) -> anyhow::Result<QuestionsConfig> {
        QuestionsConfig::try_from(self.raw.questions.clone()).with_context(|| self.origin.clone())
    }

    /// The checked `[text]` section; what is given overrides the file's.
    pub(crate) fn text(&self, intent: Option<String>) -> anyhow::Result<TextConfig> {
        let mut raw = self.raw.text.clone();
        raw.intent = intent.or(raw.intent);
        raw.seed = self.given_seed.unwrap_or(raw.seed);
        TextConfig::try_from(raw).with_context(|| self.origin.clone())
    }

    /// The table `[intent_models.NAME]`, empty if there is none.
    pub(crate) fn intent_model(&self, name: &str) -> anyhow::Result<serde_json::Value> {
        let table = self.raw.intent_models.get(name).cloned().unwrap_or_default();
        Ok(serde_json::to_value(table)?)
    }

    /// The table `[question_models.NAME]`, empty if there is none.
    pub(crate) fn question_model(&self, name: &str) -> anyhow::Result<serde_json::Value> {
        let table = self.raw.question_models.get(name).cloned().unwrap_or_default();
        Ok(serde_json::to_value(table)?)
    }

    /// The checked `[samples]` section; what is given overrides the file's.
    pub(crate) fn samples(
        &self,
        label: Option<String>,
        task: Option<TaskName>,
    ) -> anyhow::Result<SamplesConfig> {
        let mut raw = self.raw.samples.clone();
        raw.label = label.or(raw.label);
        raw.task = task.map(|task| task.name().to_owned()).or(raw.task);
        raw.seed = self.given_seed.unwrap_or(raw.seed);
        SamplesConfig::try_from(raw).with_context(|| self.origin.clone())
    }

    /// Limits of data preparation, with intermediate files in `scratch`.
    pub(crate) fn resources(&self, scratch: PathBuf) -> Resources {
        Resources {
            memory_limit_bytes: self.memory_limit_bytes,
            n_threads: self.n_threads.get(),
            scratch,
        }
    }
}

fn environment_overrides() -> Vec<(String, String)> {
    let upper = |name: &str| name.to_ascii_uppercase().starts_with(ENVIRONMENT_PREFIX);
    let mut found: Vec<_> = std::env::vars().filter(|(name, _)| upper(name)).collect();
    found.sort();
    found
}

fn parse(
    text: &str,
    origin: &str,
    overrides: Vec<(String, String)>,
) -> Result<RawConfig, ConfigError> {
    // The first pass is over the text itself, so that an error names line and column.
    let checked: Result<RawConfig, _> = toml::from_str(text);
    checked.map_err(|error| ConfigError::new(origin, with_suggestion(&error.to_string())))?;
    let mut table: toml::Table =
        toml::from_str(text).map_err(|error| ConfigError::new(origin, error.to_string()))?;
    for (_, value) in &mut table {
        expand(value).map_err(|name| {
            let reason = format!("the environment variable {name} is not set");
            ConfigError::new(origin, reason)
        })?;
    }
    let mut sources = vec![origin.to_owned()];
    for (name, value) in overrides {
        let path = name[ENVIRONMENT_PREFIX.len()..].to_ascii_lowercase();
        let keys: Vec<&str> = path.split("__").collect();
        insert(&mut table, &keys, &value).map_err(|reason| ConfigError::new(&name, reason))?;
        sources.push(name);
    }
    table.try_into().map_err(|error: toml::de::Error| {
        ConfigError::new(sources.join(", "), with_suggestion(&error.to_string()))
    })
}

/// Sets `keys` to `text`, read as a TOML value if it is one, as a string otherwise.
fn insert(table: &mut toml::Table, keys: &[&str], text: &str) -> Result<(), String> {
    let (key, rest) = keys.split_first().ok_or("names no key")?;
    if rest.is_empty() {
        let value = toml::from_str::<toml::Table>(&format!("value = {text}"))
            .ok()
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| toml::Value::String(text.to_owned()));
        table.insert((*key).to_owned(), value);
        return Ok(());
    }
    let section =
        table.entry((*key).to_owned()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
    match section {
        toml::Value::Table(inner) => insert(inner, rest, text),
        _ => Err(format!("`{key}` is a value, not a section")),
    }
}

/// Replaces `${NAME}` in every string; the error is the name of an unset variable.
fn expand(value: &mut toml::Value) -> Result<(), String> {
    match value {
        toml::Value::String(text) => {
            let mut expanded = String::new();
            let mut rest = text.as_str();
            while let Some((before, after)) = rest.split_once("${") {
                let Some((name, after)) = after.split_once('}') else { break };
                expanded.push_str(before);
                expanded.push_str(&std::env::var(name).map_err(|_| name.to_owned())?);
                rest = after;
            }
            expanded.push_str(rest);
            *text = expanded;
        }
        toml::Value::Array(values) => values.iter_mut().try_for_each(expand)?,
        toml::Value::Table(table) => {
            table.iter_mut().try_for_each(|(_, value)| expand(value))?;
        }
        _ => {}
    }
    Ok(())
}

/// Adds `did you mean` to serde's `unknown field` messages.
fn with_suggestion(message: &str) -> String {
    let mut quoted = message.split("unknown field").nth(1).unwrap_or_default().split('`');
    let Some(unknown) = quoted.nth(1) else { return message.trim_end().to_owned() };
    let known: Vec<&str> = quoted.skip(1).step_by(2).collect();
    let message = message.trim_end();
    match nearest(unknown, &known) {
        Some(name) => format!("{message}\ndid you mean `{name}`?"),
        None => message.to_owned(),
    }
}

/// The name nearest to `name`, if one is near enough to be a slip.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let distance = |other: &&str| (strsim::jaro_winkler(name, other) * 1e6) as u64;
    known.iter().max_by_key(|other| distance(other)).copied().filter(|o| distance(o) > 750_000)
}

/// Bytes of `2GiB`, `800 MB`, `65536`.
fn parse_bytes(text: &str) -> Result<u64, ConfigError> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "k" | "kib" => 1024.0,
        "m" | "mib" => 1024.0 * 1024.0,
        "g" | "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => f64::NAN,
    };
    let bytes = number.parse::<f64>().map_or(f64::NAN, |number| number * unit);
    let least = Resources::MIN_MEMORY_LIMIT_BYTES;
    if (least as f64..1e15).contains(&bytes) {
        return Ok(bytes as u64);
    }
    let reason = format!(
        "{text:?} is no size of at least {}MiB, the smallest limit that works; write 2GiB or 800MB",
        least >> 20
    );
    Err(ConfigError::new("memory limit", reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(text, "shop.toml", Vec::new()).unwrap_err().to_string()
    }

    #[test]
    fn an_unknown_key_names_the_line_and_the_nearest_key() {
        let message = error("[limits]\nthread = 2\n");
        assert!(message.contains("shop.toml"), "{message}");
        assert!(message.contains("line 2"), "{message}");
        assert!(message.contains("did you mean `threads`?"), "{message}");
        assert!(error("[prepair]\n").contains("did you mean `prepare`?"));
    }

    #[test]
    fn the_environment_overrides_the_file_with_typed_values() {
        let overrides = vec![("FORECART__LIMITS__THREADS".to_owned(), "3".to_owned())];
        let config = parse("[limits]\nthreads = 2\nseed = 7", "f", overrides).unwrap();
        assert_eq!((config.limits.threads, config.limits.seed), (NonZeroUsize::new(3), Some(7)));
        let overrides = vec![("forecart__limits__memory".to_owned(), "2GiB".to_owned())];
        assert_eq!(parse("", "f", overrides).unwrap().limits.memory.as_deref(), Some("2GiB"));
    }

    #[test]
    fn an_unset_variable_fails_at_load() {
        let message = error("[limits]\nmemory = \"${FORECART_SURELY_NOT_SET}\"");
        assert!(message.contains("FORECART_SURELY_NOT_SET is not set"), "{message}");
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_bytes("2GiB").unwrap(), 2 << 30);
        assert_eq!(parse_bytes("800 MB").unwrap(), 800_000_000);
        assert_eq!(parse_bytes("67108864").unwrap(), 64 << 20);
        for bad in ["", "lots", "2 parsecs", "1", "-2GiB", "nan", "1e99"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }
}
