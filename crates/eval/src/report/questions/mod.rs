//! The report on what customers ask next: models side by side, on one question table.

mod html;
mod plots;
mod table;

use std::cmp::Ordering::Equal;

use forecart_data::Part;
use serde::{Deserialize, Serialize};

use super::against::{self, Against};
use super::{Environment, FORMAT_VERSION, Gate, grouped, span_in_words};
use crate::bootstrap::Bootstrap;
use crate::error::EvalError;
use crate::intents::WithInterval;
use crate::questions::{DeletionCheck, QuestionMeasures, QuestionMetric};
use crate::significance::Comparison;

/// What was measured of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuestionRow {
    /// Its name.
    pub model: String,
    /// Whether it is here to be beaten.
    pub is_baseline: bool,
    /// Its hyperparameters.
    pub hyperparameters: serde_json::Value,
    /// The seeds that it was fitted with; none of a file of a model without chance.
    #[serde(default)]
    pub seeds: Vec<u64>,
    /// Everything about its probabilities.
    pub measured: QuestionMeasures,
    /// Against each baseline but itself, on the same moments.
    pub against: Vec<Against<QuestionMetric>>,
    /// The share of the ceiling's hit rate of three that it has, where the ceiling is known.
    pub share_of_ceiling: Option<WithInterval>,
    /// Of what the ceiling has more than the shares of the intents alone, the share that the model has: of the hit rate of three, and of
    /// the log loss.
    pub share_of_gain: Option<[Option<f64>; 2]>,
    /// Whether what its explanations name carries its probabilities; of the first seed, where it sees more than one event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<DeletionCheck>,
    /// Seconds of fitting, calibration included, the mean over the seeds; `None` for a model that came from a file, and in a deterministic report.
    pub fit_secs: Option<f64>,
}

impl QuestionRow {
    /// The comparison with `baseline` by `metric`.
    pub fn against(&self, baseline: &str, metric: QuestionMetric) -> Option<&Comparison> {
        against::find(&self.against, baseline, &metric)
    }
}

/// The question table that a report is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuestionSource {
    /// Hash of the log's inputs.
    pub data_hash: String,
    /// Content hash of the table.
    pub questions_hash: String,
    /// Names of the intents, by their places in measures.
    pub intents: Vec<String>,
    /// How far a moment looks ahead, milliseconds.
    pub horizon_ms: i64,
    /// The part that was measured on: test, or validation where there is no test.
    pub measured_on: Part,
    /// Moments of that part; those that were measured are spread evenly over them.
    pub n_moments: u64,
}

/// Models side by side. Fields are stable JSON; see [`FORMAT_VERSION`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuestionReport {
    /// Always `forecart-question-report`.
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
    pub source: QuestionSource,
    /// The seed of training and of the intervals.
    pub seed: u64,
    /// How intervals were computed.
    pub bootstrap: Bootstrap,
    /// The least log loss first.
    pub rows: Vec<QuestionRow>,
    /// What the best of all models could have, where that is known.
    pub ceiling: Option<QuestionMeasures>,
    /// Which models may be promoted, where that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
    /// The machine.
    pub environment: Option<Environment>,
}

/// What the tables call the best of all models.
const CEILING: &str = "(ceiling)";

impl QuestionReport {
    /// Puts a report together; `rows` are brought into its order.
    pub fn new(
        title: String,
        source: QuestionSource,
        bootstrap: Bootstrap,
        mut rows: Vec<QuestionRow>,
    ) -> Self {
        rows.sort_by(|a, b| a.measured.log_loss.value.total_cmp(&b.measured.log_loss.value));
        Self {
            format: "forecart-question-report".into(),
            format_version: FORMAT_VERSION,
            forecart_version: env!("CARGO_PKG_VERSION").into(),
            commit: None,
            title,
            source,
            seed: bootstrap.seed,
            bootstrap,
            rows,
            ceiling: None,
            gate: None,
            environment: None,
        }
    }

    /// The row of the model called `name`.
    pub fn row(&self, name: &str) -> Option<&QuestionRow> {
        self.rows.iter().find(|row| row.model == name)
    }

    /// The baseline with the least log loss.
    pub fn strongest_baseline(&self) -> Option<&QuestionRow> {
        self.rows.iter().find(|row| row.is_baseline)
    }

    /// Which models beat the baseline that is best by `metric` with the whole interval of the paired difference on the better side of 0; `None` without a baseline that
    /// has the metric.
    pub fn judged_by(&self, metric: QuestionMetric, override_reason: Option<&str>) -> Option<Gate> {
        let higher_is_better = metric.higher_is_better();
        let goodness = |row: &QuestionRow| {
            let value = metric.measured(&row.measured)?.value;
            Some(if higher_is_better { value } else { -value })
        };
        let baselines = self.rows.iter().filter(|row| row.is_baseline && goodness(row).is_some());
        // The first of equal ones.
        let strongest =
            baselines.rev().max_by(|a, b| goodness(a).partial_cmp(&goodness(b)).unwrap_or(Equal));
        let baseline = &strongest?.model;
        let challengers = self.rows.iter().filter(|row| !row.is_baseline);
        let found = challengers
            .filter_map(|row| Some((row.model.as_str(), *row.against(baseline, metric)?)));
        Some(Gate::judged(metric.name(), baseline, found, higher_is_better, override_reason))
    }

    /// The best model that is no baseline, or the best of them all.
    fn leader(&self) -> Option<&QuestionRow> {
        self.rows.iter().find(|row| !row.is_baseline).or(self.rows.first())
    }

    /// The log loss against the strongest baseline, with p-values after Holm's correction over all of them.
    fn comparisons(&self) -> Vec<(&QuestionRow, &Comparison, f64)> {
        let Some(baseline) = self.strongest_baseline() else { return Vec::new() };
        let found = self
            .rows
            .iter()
            .filter_map(|row| Some((row, row.against(&baseline.model, QuestionMetric::LogLoss)?)));
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

    /// How many moments were measured.
    fn counts(&self) -> String {
        let measured = self.rows.first().map(|row| &row.measured);
        let (n, n_asked, n_users) =
            measured.map(|own| (own.n_moments, own.n_asked, own.n_users)).unwrap_or_default();
        format!(
            "{} of {} moments of the {} part, {} of them before a question within {}; {} users",
            grouped(n),
            grouped(self.source.n_moments),
            crate::options::part_name(self.source.measured_on),
            grouped(n_asked),
            span_in_words(self.source.horizon_ms),
            grouped(n_users)
        )
    }

    /// Table and measurement in the words that stand under every table.
    fn facts(&self) -> Vec<(&'static str, String)> {
        let source = &self.source;
        let (share, n) = (self.bootstrap.confidence * 100.0, self.bootstrap.n_resamples);
        let mut facts = vec![
            ("measured", self.counts()),
            ("intents", grouped(source.intents.len() as u64)),
            ("data SHA-256", source.data_hash.clone()),
            ("table", source.questions_hash.clone()),
            ("seed", self.seed.to_string()),
            ("intervals", format!("{share} % by the bootstrap over users, {n} resamples")),
        ];
        let commit = self.commit.as_deref();
        facts.extend(super::origin(self.environment.as_ref(), &self.forecart_version, commit));
        facts
    }
}
