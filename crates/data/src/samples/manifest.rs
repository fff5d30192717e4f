//! `manifest.json` of a sample table.

use serde::{Deserialize, Serialize};

use crate::dataset::StepReport;
use crate::folder::Files;

/// The newest format of sample tables that this program writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// What `format` says in the manifest of every sample table.
pub(super) const FORMAT: &str = "forecart-samples";

/// What the values of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnKind {
    /// Numbers.
    Number,
    /// One of several texts.
    Category,
    /// Any number of texts.
    List,
    /// Moments, milliseconds UTC.
    Time,
}

impl ColumnKind {
    /// The kind's name in reports and in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Category => "category",
            Self::List => "list",
            Self::Time => "time",
        }
    }
}

/// What a column is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Models may learn from it.
    Feature,
    /// Where an ad stood: a feature in training, the same for every candidate when it is served.
    Position,
    /// What is to be predicted, 0 or 1. The first label column is that of the table: where it is missing, it is not known yet, and the
    /// row is in no part. Further ones say what else came of the row, such as a conversion after a click, and may be missing in any.
    Label,
    /// When the sample came to be; splits by time go by it.
    Time,
    /// Whose sample it is, such as the user: samples of one are not independent.
    Group,
    /// With which probability the policy of the log had drawn what it shows, above 0 and at most 1: for estimates of what other
    /// policies would have earned. No model learns from it.
    Propensity,
    /// How much a row counts in what is learned from it: a loss is the sum of the rows' losses times their weights. Not below 0; no model
    /// learns from it otherwise, and what is measured on the test part does not read it.
    Weight,
}

/// A column of a sample table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleColumn {
    /// Its name in the input.
    pub name: String,
    /// What its values are.
    pub kind: ColumnKind,
    /// What it is for.
    pub role: Role,
    /// Of a list of what somebody did before, oldest first: the category column of which its texts are values too, such as the item
    /// that the row is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_of: Option<String>,
}

impl SampleColumn {
    /// A column that is no history.
    pub fn new(name: &str, kind: ColumnKind, role: Role) -> Self {
        Self { name: name.to_owned(), kind, role, history_of: None }
    }

    /// The texts of its lists are those of that category column, oldest first.
    #[must_use]
    pub fn history_of(mut self, column: &str) -> Self {
        self.history_of = Some(column.to_owned());
        self
    }
}

/// Refuses columns that no table can have.
pub(super) fn check_columns(columns: &[SampleColumn]) -> Result<(), String> {
    for (at, column) in columns.iter().enumerate() {
        let name = &column.name;
        if columns[..at].iter().any(|before| before.name == *name) {
            return Err(format!("two columns have the name {name:?}"));
        }
        let is_number = column.kind == ColumnKind::Number;
        if column.role == Role::Label && !is_number {
            return Err(format!("the label {name:?} is no column of numbers"));
        }
        if matches!(column.role, Role::Propensity | Role::Weight) && !is_number {
            return Err(format!("the propensity or weight {name:?} is no column of numbers"));
        }
        let Some(of) = &column.history_of else { continue };
        let target = columns.iter().find(|column| column.name == *of);
        let fits = column.kind == ColumnKind::List
            && target.is_some_and(|target| target.kind == ColumnKind::Category);
        if !fits {
            return Err(format!("{name:?} is no list of texts of a category column {of:?}"));
        }
    }
    match columns.iter().any(|column| column.role == Role::Label) {
        true => Ok(()),
        false => Err("no column is the label".into()),
    }
}

/// How the parts of a sample table were made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum SampleSplit {
    /// Every training sample is before `validation_start_ms`, every validation sample before `test_start_ms`.
    Time {
        /// First moment of validation, milliseconds UTC.
        validation_start_ms: i64,
        /// First moment of test, milliseconds UTC.
        test_start_ms: i64,
    },
    /// By the order of the input, which is taken for that of time.
    Order,
    /// By chance, with the same share of positive samples in each part.
    Random {
        /// Of the generator.
        seed: u64,
    },
    /// The test part is an input of its own; validation is the end of the other.
    Given,
    /// No parts: each of `n_folds` is the test part once, with the same share of positive samples in each.
    Folds {
        /// How many.
        n_folds: u8,
        /// Of the generator.
        seed: u64,
    },
    /// No table: a model learned from the rows as they came, and left every so-manieth out.
    Stream {
        /// The place, from 1, of the first row that was left out, and how far it is from one to the next; `None` if none was.
        held_out_every: Option<u64>,
    },
}

impl SampleSplit {
    /// The name on the command line and in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Time { .. } => "time",
            Self::Order => "order",
            Self::Random { .. } => "random",
            Self::Given => "given",
            Self::Folds { .. } => "folds",
            Self::Stream { .. } => "stream",
        }
    }
}

/// What the writer of a sample table knows beside the columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleDescription {
    /// The application: `click`, `conversion`, `purchase`.
    pub task: String,
    /// How the parts were made.
    pub split: SampleSplit,
    /// The share of the negative samples that is left, where some were left out at random: probabilities are corrected for it.
    #[serde(default = "one")]
    pub negatives_kept: f64,
    /// SHA-256 of the input: of the one file, or of the sorted list of hashes if there are many.
    pub data_hash: String,
    /// The configuration that made it, after all defaults.
    pub config: serde_json::Value,
    /// What each step did.
    pub steps: Vec<StepReport>,
}

fn one() -> f64 {
    1.0
}

/// Sizes of one part of a sample table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PartCounts {
    /// Samples.
    pub n_rows: u64,
    /// Samples whose (first) label is 1.
    pub n_positive: u64,
}

/// `manifest.json` of a sample table. Holds no clock times and no paths: the same input and configuration give the same
/// bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleManifest {
    /// Always `forecart-samples`.
    pub format: String,
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Version of the program that wrote it.
    pub forecart_version: String,
    /// SHA-256 over the names and hashes of all files.
    pub content_hash: String,
    /// Training, validation and test; of a table in folds, one entry each.
    pub parts: Vec<PartCounts>,
    /// Rows in no part: their label is not known yet, or was not at the end of the part that they would be in.
    pub n_open: u64,
    /// The columns, in the order of the input.
    pub columns: Vec<SampleColumn>,
    /// Where it came from and what was done.
    #[serde(flatten)]
    pub description: SampleDescription,
    /// The files, by name.
    pub files: Files,
}

impl SampleManifest {
    /// Samples in all parts.
    pub fn n_rows(&self) -> u64 {
        self.parts.iter().map(|part| part.n_rows).sum()
    }
}
