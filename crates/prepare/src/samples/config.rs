//! The `[samples]` section of the configuration: as written, and as checked.

use std::collections::BTreeMap;
use std::path::PathBuf;

use forecart_data::samples::ColumnKind;
use serde::{Deserialize, Serialize};

use super::from_log::RawLogSamplesConfig;
use crate::PrepareError;
use crate::config::closest;

/// `[samples]` as it stands in a file. Every key is optional.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawSamplesConfig {
    /// What the label says: `click` (the default), `conversion` or `purchase`.
    pub task: Option<String>,
    /// The column of the label; looked for by its name if not given.
    pub label: Option<String>,
    /// Texts of the label that mean 1; all others mean 0.
    pub positive: Option<Vec<String>>,
    /// The column of the moment of a sample; the only column of times if not given.
    pub time: Option<String>,
    /// The column that says whose sample it is.
    pub group: Option<String>,
    /// The column that says where an ad stood.
    pub position: Option<String>,
    /// The column of the probability with which the policy of the log had drawn what a row shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propensity: Option<String>,
    /// The column of how much a row counts in what is learned from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
    /// Columns that are not kept.
    pub ignore: Vec<String>,
    /// Column = `number`, `category`, `list` or `time`, where what is found is not right.
    pub columns: BTreeMap<String, String>,
    /// What stands between the texts of a list in delimited text. With it, text columns that hold it are lists.
    pub list_separator: Option<String>,
    /// Names of the features of a libsvm file: `field:name<TAB>index` lines.
    pub feature_names: Option<PathBuf>,
    /// The share of the negative samples that the input still holds, where some were left out at random.
    pub negatives_kept: f64,
    /// `auto`, `time`, `order`, `random` or `folds`.
    pub split: String,
    /// Share of the samples for validation.
    pub validation: f64,
    /// Share of the samples for the test.
    pub test: f64,
    /// Number of folds of `split = "folds"`.
    pub n_folds: u8,
    /// Seed of random splits and folds.
    pub seed: u64,
    /// How samples are made from an event log.
    #[serde(skip_serializing_if = "is_default")]
    pub log: RawLogSamplesConfig,
}

/// The manifest of a table that was not made from a log says nothing of logs.
fn is_default(log: &RawLogSamplesConfig) -> bool {
    *log == RawLogSamplesConfig::default()
}

impl Default for RawSamplesConfig {
    fn default() -> Self {
        Self {
            task: None,
            label: None,
            positive: None,
            time: None,
            group: None,
            position: None,
            propensity: None,
            weight: None,
            ignore: Vec::new(),
            columns: BTreeMap::new(),
            list_separator: None,
            feature_names: None,
            negatives_kept: 1.0,
            split: "auto".into(),
            validation: 0.1,
            test: 0.2,
            n_folds: 10,
            seed: 0,
            log: RawLogSamplesConfig::default(),
        }
    }
}

/// How the samples are parted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SplitChoice {
    /// By time where there is one, as given where there are test inputs, else at random.
    Auto,
    /// By time.
    Time,
    /// By the order of the input.
    Order,
    /// At random, with the same share of positive samples in each part.
    Random,
    /// In folds, with the same share of positive samples in each.
    Folds,
}

const TASKS: [&str; 3] = ["click", "conversion", "purchase"];
const KINDS: [ColumnKind; 4] =
    [ColumnKind::Number, ColumnKind::Category, ColumnKind::List, ColumnKind::Time];
const SPLITS: [(&str, SplitChoice); 5] = [
    ("auto", SplitChoice::Auto),
    ("time", SplitChoice::Time),
    ("order", SplitChoice::Order),
    ("random", SplitChoice::Random),
    ("folds", SplitChoice::Folds),
];

/// Checked settings of [`prepare_samples`](super::prepare_samples).
#[derive(Debug, Clone)]
pub struct SamplesConfig {
    /// As it was written, for the manifest.
    pub raw: RawSamplesConfig,
    /// `click`, `conversion` or `purchase`.
    pub task: String,
    /// The kinds that are stated.
    pub kinds: BTreeMap<String, ColumnKind>,
    /// How the samples are parted.
    pub split: SplitChoice,
}

impl Default for SamplesConfig {
    fn default() -> Self {
        Self::try_from(RawSamplesConfig::default()).expect("the defaults are valid")
    }
}

impl SamplesConfig {
    /// The columns that the configuration names.
    pub(super) fn named_columns(&self) -> Vec<&str> {
        let raw = &self.raw;
        let RawSamplesConfig { label, time, group, position, propensity, weight, .. } = raw;
        let roles = [label, time, group, position, propensity, weight].into_iter().flatten();
        roles.chain(&raw.ignore).chain(raw.columns.keys()).map(String::as_str).collect()
    }
}

impl TryFrom<RawSamplesConfig> for SamplesConfig {
    type Error = PrepareError;

    fn try_from(raw: RawSamplesConfig) -> Result<Self, PrepareError> {
        let task = raw.task.as_deref().unwrap_or(TASKS[0]);
        one_of("samples.task", task, &TASKS)?;
        let names = SPLITS.map(|(name, _)| name);
        let split = SPLITS[one_of("samples.split", &raw.split, &names)?].1;
        let names = KINDS.map(ColumnKind::name);
        let kind = |(column, kind): (&String, &String)| {
            let at = one_of(&format!("samples.columns.{column}"), kind, &names)?;
            Ok((column.clone(), KINDS[at]))
        };
        let kinds = raw.columns.iter().map(kind).collect::<Result<_, PrepareError>>()?;
        let refuse = |key: &str, reason: &str| Err(PrepareError::config(key, reason));
        if !(raw.negatives_kept > 0.0 && raw.negatives_kept <= 1.0) {
            return refuse("samples.negatives_kept", "give a share above 0, at most 1");
        }
        for (key, share) in [("samples.validation", raw.validation), ("samples.test", raw.test)] {
            if !(0.0..1.0).contains(&share) {
                return refuse(key, "give a share from 0, below 1");
            }
        }
        if raw.validation + raw.test >= 1.0 {
            return refuse("samples.test", "with samples.validation it leaves nothing to train on");
        }
        if !(2..=254).contains(&raw.n_folds) {
            return refuse("samples.n_folds", "give 2 to 254");
        }
        if raw.positive.as_ref().is_some_and(Vec::is_empty) {
            return refuse("samples.positive", "name at least one text of the label");
        }
        if raw.list_separator.as_deref() == Some("") {
            return refuse("samples.list_separator", "it is empty; give one such as \"|\"");
        }
        let mut roles: Vec<(&str, &str)> = Vec::new();
        let named = [
            ("samples.label", &raw.label),
            ("samples.time", &raw.time),
            ("samples.group", &raw.group),
            ("samples.position", &raw.position),
            ("samples.propensity", &raw.propensity),
            ("samples.weight", &raw.weight),
        ];
        for (key, column) in named {
            let Some(column) = column else { continue };
            if let Some((other, _)) = roles.iter().find(|(_, taken)| taken == column) {
                let reason = format!("column {column:?} is also {other}");
                return Err(PrepareError::config(key, reason));
            }
            if raw.ignore.contains(column) {
                let reason = format!("column {column:?} is also in samples.ignore");
                return Err(PrepareError::config(key, reason));
            }
            roles.push((key, column));
        }
        Ok(Self { task: task.to_owned(), kinds, split, raw })
    }
}

fn one_of(key: &str, text: &str, names: &[&str]) -> Result<usize, PrepareError> {
    let known = names.iter().position(|name| *name == text);
    known.ok_or_else(|| {
        let hint = closest(text, names).map(|name| format!("did you mean {name:?}? "));
        let (hint, names) = (hint.unwrap_or_default(), names.join(", "));
        PrepareError::config(key, format!("{text:?} is not known; {hint}they are {names}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let raw: RawSamplesConfig = toml::from_str(text).unwrap();
        SamplesConfig::try_from(raw).unwrap_err().to_string()
    }

    #[test]
    fn settings_that_make_no_sense_are_refused_with_their_key() {
        assert!(refused("task = \"clik\"").contains("did you mean \"click\""));
        assert!(refused("split = \"tim\"").contains("samples.split"));
        assert!(refused("columns = { a = \"txt\" }").contains("samples.columns.a"));
        assert!(refused("validation = 0.5\ntest = 0.5").contains("samples.test"));
        assert!(refused("negatives_kept = 0.0").contains("samples.negatives_kept"));
        assert!(refused("n_folds = 1").contains("samples.n_folds"));
        assert!(refused("label = \"a\"\ngroup = \"a\"").contains("also samples.label"));
        assert!(refused("time = \"a\"\nignore = [\"a\"]").contains("samples.ignore"));
        assert!(refused("positive = []").contains("samples.positive"));
        assert!(refused("list_separator = \"\"").contains("samples.list_separator"));
        toml::from_str::<RawSamplesConfig>("labels = \"a\"").unwrap_err();
    }
}
