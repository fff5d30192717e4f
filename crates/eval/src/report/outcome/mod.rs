//! The report on probabilities: models of a click, a conversion or a purchase side by side, on one sample table.
//!
//! Plain numbers, the same for the terminal ([`OutcomeReport::table`]), for programs ([`OutcomeReport::to_json`]) and for a browser
//! ([`OutcomeReport::to_html`]). The rows that were measured are those of the test part, or, of a table in folds, all rows, each
//! predicted by models that did not learn from it.

mod gate;
mod html;
mod plots;
mod table;

use forecart_data::samples::SampleSplit;
use serde::{Deserialize, Serialize};

use super::against::{self, Against};
use super::{Environment, FORMAT_VERSION, Gate, grouped};
use crate::bootstrap::Bootstrap;
use crate::error::EvalError;
use crate::leakage::Leakage;
use crate::probability::{
    Histogram, Measured, OperatingPoint, ProbabilityMetric, ResampledUnit, SegmentOffset,
};
use crate::significance::Comparison;

/// Name of the predictor that gives every row the share of positive training rows.
pub const CONSTANT: &str = "constant";

/// What was measured of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutcomeRow {
    /// Its name.
    pub model: String,
    /// Whether it is here to be beaten.
    pub is_baseline: bool,
    /// What it was fitted with.
    pub hyperparameters: serde_json::Value,
    /// Everything about its probabilities on the measured rows.
    pub measured: Measured,
    /// Of a table in folds: the mean over the folds of the metrics that are not means over rows.
    pub fold_means: Vec<(ProbabilityMetric, f64)>,
    /// Against each baseline but itself, on the same rows.
    pub against: Vec<Against<ProbabilityMetric>>,
    /// Points of its ROC and precision-recall curves.
    pub points: Vec<OperatingPoint>,
    /// How its probabilities are spread.
    pub histogram: Histogram,
    /// Whether its probabilities are right on average, part by part; none for the constant, which knows no parts.
    pub segments: Vec<ColumnSegments>,
    /// Seconds of fitting, all folds together; `None` of a model that came from a file, and in a deterministic report.
    pub fit_secs: Option<f64>,
    /// Bytes of what one fit has learned.
    pub learned_bytes: u64,
    /// How the probabilities were calibrated, fold by fold.
    pub calibration: Vec<String>,
}

impl OutcomeRow {
    /// The comparison with `baseline` by `metric`.
    pub fn against(&self, baseline: &str, metric: ProbabilityMetric) -> Option<&Comparison> {
        against::find(&self.against, baseline, &metric)
    }

    /// The segments whose probabilities are off, with their columns.
    pub fn alarms(&self) -> impl Iterator<Item = (&str, &SegmentOffset)> {
        let all = self.segments.iter().flat_map(|column| {
            column.segments.iter().map(|segment| (column.column.as_str(), segment))
        });
        all.filter(|(_, segment)| segment.offset.alarm)
    }
}

/// The parts of the rows by one column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnSegments {
    /// The column.
    pub column: String,
    /// Its parts: texts, or quarters of the rows by a number or a time.
    pub segments: Vec<SegmentOffset>,
}

/// A model that was not measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its name.
    pub model: String,
    /// What the table lacks.
    pub reason: String,
}

/// The table that a report is of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutcomeSource {
    /// The application.
    pub task: String,
    /// How the parts were made.
    pub split: SampleSplit,
    /// SHA-256 of the input.
    pub data_hash: String,
    /// Content hash of the table.
    pub samples_hash: String,
    /// Rows of the table that are in a part.
    pub n_rows: u64,
    /// Columns that models learn from.
    pub n_columns: usize,
}

/// Models side by side. Fields are stable JSON; see [`FORMAT_VERSION`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutcomeReport {
    /// Always `forecart-outcome-report`.
    pub format: String,
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Version of the program.
    pub forecart_version: String,
    /// The commit of the program, if known.
    pub commit: Option<String>,
    /// The heading.
    pub title: String,
    /// The table.
    #[serde(flatten)]
    pub source: OutcomeSource,
    /// The seed of training.
    pub seed: u64,
    /// How intervals were computed.
    pub bootstrap: Bootstrap,
    /// What was drawn for them.
    pub unit: ResampledUnit,
    /// Leaks of the table, where somebody looked for them.
    pub leakage: Leakage,
    /// The lowest log loss first.
    pub rows: Vec<OutcomeRow>,
    /// Models that are not for this table, of those that were asked for all together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// The same of what comes of a positive row, of models that know of it: of conversions after clicks, and of clicks with conversions. Each
    /// names what it is of as its task, and has the rows whose outcome is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<Self>,
    /// Whether models may take the place of the strongest baseline, where that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
    /// The machine.
    pub environment: Option<Environment>,
}

/// What decides about the order of the rows.
const PRIMARY: ProbabilityMetric = ProbabilityMetric::Logloss;

/// The metrics of the short tables.
const MAIN: [ProbabilityMetric; 5] = [
    ProbabilityMetric::Auc,
    ProbabilityMetric::AveragePrecision,
    ProbabilityMetric::Logloss,
    ProbabilityMetric::NormalizedEntropy,
    ProbabilityMetric::Ece,
];

impl OutcomeReport {
    /// Puts a report together; `rows` are brought into its order.
    pub fn new(
        title: String,
        source: OutcomeSource,
        seed: u64,
        (bootstrap, unit): (Bootstrap, ResampledUnit),
        mut rows: Vec<OutcomeRow>,
    ) -> Self {
        let loss = |row: &OutcomeRow| row.measured.value(PRIMARY).unwrap_or(f64::INFINITY);
        rows.sort_by(|a, b| loss(a).total_cmp(&loss(b)));
        Self {
            format: "forecart-outcome-report".into(),
            format_version: FORMAT_VERSION,
            forecart_version: env!("CARGO_PKG_VERSION").into(),
            commit: None,
            title,
            source,
            seed,
            bootstrap,
            unit,
            leakage: Leakage::default(),
            rows,
            left_out: Vec::new(),
            further: Vec::new(),
            gate: None,
            environment: None,
        }
    }

    /// The row of the model called `name`.
    pub fn row(&self, name: &str) -> Option<&OutcomeRow> {
        self.rows.iter().find(|row| row.model == name)
    }

    /// The baseline that is best by `metric` on the measured rows, which is the one hardest to beat there. Of the calibration error, the
    /// [`CONSTANT`] is none: it has next to none of it and says nothing.
    pub fn strongest_baseline(&self, metric: ProbabilityMetric) -> Option<&OutcomeRow> {
        let is_one = |row: &&OutcomeRow| {
            row.is_baseline && !(metric == ProbabilityMetric::Ece && row.model == CONSTANT)
        };
        let sign = if metric.higher_is_better() { 1.0 } else { -1.0 };
        let value = |row: &OutcomeRow| row.measured.value(metric).map(|value| sign * value);
        let known = self.rows.iter().filter(is_one).filter_map(|row| Some((row, value(row)?)));
        known.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(row, _)| row)
    }

    /// The comparisons with the strongest baseline by log loss, with p-values after Holm's correction over all of them.
    fn comparisons(&self) -> Vec<(&OutcomeRow, &Comparison, f64)> {
        let Some(baseline) = self.strongest_baseline(PRIMARY) else { return Vec::new() };
        let found = self.rows.iter();
        let found = found.filter_map(|row| Some((row, row.against(&baseline.model, PRIMARY)?)));
        against::corrected(found.collect())
    }

    /// How a model stands against the strongest baseline by log loss, after the correction for all comparisons with it: `+` better, `-`
    /// worse, `=` no difference that chance could not make; `None` for the baseline itself.
    pub fn sign(&self, model: &str) -> Option<char> {
        let all = self.comparisons();
        let (_, found, p) = all.iter().find(|(row, ..)| row.model == model)?;
        Some(against::sign(found.difference < 0.0, *p, self.bootstrap.confidence))
    }

    /// The report as JSON, with a line break at the end. The same report gives the same bytes.
    ///
    /// # Errors
    /// [`EvalError::Render`] if a value cannot be written.
    pub fn to_json(&self) -> Result<String, EvalError> {
        super::to_json(self)
    }

    /// Whether all rows were measured, each by models that did not learn from its fold.
    pub(crate) fn is_in_folds(&self) -> bool {
        matches!(self.source.split, SampleSplit::Folds { .. })
    }

    /// What was measured, in a few words.
    fn part(&self) -> String {
        match &self.source.split {
            SampleSplit::Folds { n_folds, .. } => {
                format!("all rows, each by models that did not learn from its fold (of {n_folds})")
            }
            split => format!("test part, split by {}", split.name()),
        }
    }

    /// How many rows were measured.
    fn counts(&self) -> String {
        let counts = self.rows.first().map(|row| (row.measured.n_rows, row.measured.n_positive));
        let (n, positive) = counts.unwrap_or_default();
        format!("{} rows, {} positive", grouped(n as u64), grouped(positive as u64))
    }

    /// Task, part and data in the words that stand under every table.
    fn facts(&self) -> Vec<(&'static str, String)> {
        let source = &self.source;
        let mut facts = vec![
            ("task", source.task.clone()),
            ("measured", format!("{}; {}", self.counts(), self.part())),
            (
                "data",
                format!(
                    "{} rows in parts, {} columns to learn from",
                    grouped(source.n_rows),
                    source.n_columns
                ),
            ),
            ("data SHA-256", source.data_hash.clone()),
            ("table", source.samples_hash.clone()),
            ("seed", self.seed.to_string()),
            ("intervals", {
                let unit = match self.unit {
                    ResampledUnit::Rows => "rows",
                    ResampledUnit::Groups => "groups of rows (users)",
                };
                let (share, n) = (self.bootstrap.confidence * 100.0, self.bootstrap.n_resamples);
                format!("{share} % by the bootstrap over {unit}, {n} resamples")
            }),
        ];
        let commit = self.commit.as_deref();
        facts.extend(super::origin(self.environment.as_ref(), &self.forecart_version, commit));
        facts
    }
}

/// A metric as it is called in tables.
fn title(metric: ProbabilityMetric) -> &'static str {
    match metric {
        ProbabilityMetric::Auc => "AUC",
        ProbabilityMetric::AveragePrecision => "AP",
        ProbabilityMetric::GroupedAuc => "AUC in groups",
        ProbabilityMetric::Logloss => "log loss",
        ProbabilityMetric::NormalizedEntropy => "entropy",
        ProbabilityMetric::Brier => "Brier",
        ProbabilityMetric::Ece => "ECE",
    }
}
