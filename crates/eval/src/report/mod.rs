//! The report: every model on one protocol, with intervals, spread over seeds and significance.
//!
//! [`Report`] is plain numbers, the same for the terminal ([`Report::table`]), for programs
//! ([`Report::to_json`]) and for a browser ([`Report::to_html`]). It never picks a seed: a row is
//! the mean over all of a model's seeds, and all trained rows must have the same seeds.

mod build;
mod environment;

pub(crate) mod canvas;
pub(crate) mod page;
pub(crate) mod table;

mod against;
mod gate;
mod html;
mod palette;
pub(crate) mod plots;
mod reliability;
mod rows;
mod slices;

mod demand;
mod intents;
mod outcome;
mod questions;

use serde::{Deserialize, Serialize};

use forecart_data::Part;

use crate::bootstrap::{Bootstrap, Interval};
use crate::error::EvalError;
use crate::evaluation::{DataFacts, Evaluation, Tally};
use crate::leakage::Leakage;
use crate::metrics::{Metric, MetricKind};
use crate::options::TestGuard;

pub use against::Against;
pub(crate) use build::sample_sd;
pub use demand::{DemandReport, DemandRow, DemandSource};
pub use environment::Environment;
pub use gate::{Gate, Verdict};
pub use intents::{ConfusedIntents, IntentReport, IntentRow, IntentSource, MAJORITY, TextExample};
pub use outcome::{CONSTANT, ColumnSegments, LeftOut, OutcomeReport, OutcomeRow, OutcomeSource};
pub use questions::{QuestionReport, QuestionRow, QuestionSource};
pub use slices::{SliceBy, SliceRow, SliceValue};

/// The newest report format that this program writes.
pub const FORMAT_VERSION: u32 = 1;

/// All measurements of one model, one [`Run`] for each seed.
#[derive(Debug, Clone)]
pub struct ModelRuns {
    /// The model's name, as on the command line.
    pub name: String,
    /// Whether it is here to be beaten.
    pub is_baseline: bool,
    /// What it was fitted with.
    pub hyperparameters: serde_json::Value,
    /// One for each seed; a single one for models without chance.
    pub runs: Vec<Run>,
}

/// One model, one seed.
#[derive(Debug, Clone)]
pub struct Run {
    /// `None` for models without chance.
    pub seed: Option<u64>,
    /// On the part that the report is about.
    pub evaluation: Evaluation,
    /// On the validation part, if the report is about test.
    pub validation: Option<Evaluation>,
    /// The training curve, empty if there is none.
    pub training: Vec<TrainingPoint>,
    /// What it cost; left out of deterministic reports.
    pub timing: Option<Timing>,
    /// Bytes of the model: weights, vocabulary, titles and encoders.
    pub model_bytes: Option<u64>,
}

impl Run {
    /// A measurement without seed, validation, curve and timing.
    pub fn new(evaluation: Evaluation) -> Self {
        Self {
            seed: None,
            evaluation,
            validation: None,
            training: Vec::new(),
            timing: None,
            model_bytes: None,
        }
    }
}

/// One point of a training curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TrainingPoint {
    /// Passes over the training data so far.
    pub epoch: f64,
    /// Mean loss since the last point.
    pub loss: f64,
    /// NDCG@10 on the validation part, or on a sample of its users, if it was measured here.
    pub validation: Option<f64>,
}

/// What a model cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Seconds of fitting.
    pub fit_secs: f64,
    /// Seconds of evaluating.
    pub evaluate_secs: f64,
    /// Memory in bytes, as the caller measured it.
    pub memory_bytes: u64,
}

/// How a report is made.
#[derive(Debug, Clone)]
pub struct ReportOptions {
    /// The heading.
    pub title: String,
    /// The metric that decides and is compared.
    pub primary: Metric,
    /// Cuts of the accuracy metrics; that of the deciding metric is always there.
    pub ks: Vec<usize>,
    /// Intervals and p-values.
    pub bootstrap: Bootstrap,
    /// The log of test readings.
    pub guard: TestGuard,
    /// The commit of the program, if known.
    pub commit: Option<String>,
    /// The machine; `None` leaves it out.
    pub environment: Option<Environment>,
    /// Leaves out the machine and all timings: the same seed gives the same bytes.
    pub deterministic: bool,
}

impl Default for ReportOptions {
    fn default() -> Self {
        Self {
            title: "Evaluation".into(),
            primary: Metric::ndcg(10),
            ks: vec![5, 10, 20],
            bootstrap: Bootstrap::default(),
            guard: TestGuard::new(),
            commit: None,
            environment: None,
            deterministic: false,
        }
    }
}

/// Measured models side by side. Fields are stable JSON; see [`FORMAT_VERSION`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Always `forecart-report`.
    pub format: String,
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Version of the program.
    pub forecart_version: String,
    /// The commit of the program, if known.
    pub commit: Option<String>,
    /// The heading.
    pub title: String,
    /// See [`crate::EvaluateOptions::protocol_id`].
    pub protocol: String,
    /// The part that was measured.
    pub part: Part,
    /// The data.
    pub data: DataFacts,
    /// Counts that are the same for all models; ties stand in the rows.
    pub tally: Tally,
    /// The metric that decides.
    pub primary: Metric,
    /// How intervals were computed.
    pub bootstrap: Bootstrap,
    /// Best first by the deciding metric.
    pub models: Vec<ModelRow>,
    /// Models against the best and against the strongest baseline.
    pub comparisons: Vec<ComparisonRow>,
    /// The deciding metric where users and targets differ.
    #[serde(default)]
    pub slices: Vec<SliceRow>,
    /// Whether models may take the place of the strongest baseline, where that was asked.
    #[serde(default)]
    pub gate: Option<Gate>,
    /// What was found of test data where models learn.
    #[serde(default)]
    pub leakage: Leakage,
    /// The part by which the best model and the strongest baseline were picked for comparison.
    pub references_chosen_on: Part,
    /// Every reading of the test part, in order.
    pub test_readings: Vec<String>,
    /// What a reader should know before trusting the numbers.
    pub warnings: Vec<String>,
    /// The machine.
    pub environment: Option<Environment>,
}

/// One model of a [`Report`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelRow {
    /// The model's name.
    pub name: String,
    /// Whether it is here to be beaten.
    pub is_baseline: bool,
    /// All seeds that the means are over; empty for a model without chance.
    pub seeds: Vec<u64>,
    /// What it was fitted with.
    pub hyperparameters: serde_json::Value,
    /// Every metric.
    pub metrics: Vec<MetricRow>,
    /// The deciding metric on the validation part.
    pub validation: Option<f64>,
    /// Share of the ranked targets that is tied with another item.
    pub tie_share: f64,
    /// NDCG and recall against the cut.
    pub curve: Vec<CurvePoint>,
    /// Training curves, one for each seed that has one.
    pub training: Vec<TrainingCurve>,
    /// Mean cost over the seeds.
    pub timing: Option<Timing>,
    /// Bytes of the model, the largest of the seeds.
    #[serde(default)]
    pub model_bytes: Option<u64>,
}

/// One metric of a [`ModelRow`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MetricRow {
    /// Which.
    pub metric: Metric,
    /// Mean over cases and seeds; `None` if no case has the metric.
    pub mean: Option<f64>,
    /// Bootstrap interval of the mean; none for coverage and Gini.
    pub interval: Option<Interval>,
    /// Sample standard deviation over the seeds, with two seeds or more.
    pub sd_over_seeds: Option<f64>,
}

/// NDCG, recall and precision at one cut.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// The cut.
    pub k: usize,
    /// NDCG at `k`.
    pub ndcg: f64,
    /// Recall at `k`.
    pub recall: f64,
    /// Precision at `k`.
    #[serde(default)]
    pub precision: f64,
}

/// The training curve of one seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingCurve {
    /// The seed.
    pub seed: Option<u64>,
    /// Points in the order of training.
    pub points: Vec<TrainingPoint>,
}

/// What a model is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    /// The best model.
    Best,
    /// The strongest baseline.
    StrongestBaseline,
}

/// One paired comparison on the deciding metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComparisonRow {
    /// The model.
    pub model: String,
    /// What kind of reference it is compared with.
    pub against: Reference,
    /// The reference's name.
    pub reference: String,
    /// Mean of the model minus mean of the reference.
    pub difference: f64,
    /// Its interval.
    pub interval: Interval,
    /// Two-sided p-value of the paired bootstrap.
    pub p_value: f64,
    /// The same after Holm's correction over all comparisons with this reference.
    pub p_holm: f64,
}

impl Report {
    /// The report as JSON, with a line break at the end. The same report gives the same bytes.
    ///
    /// # Errors
    /// [`EvalError::Render`] if a value cannot be written.
    pub fn to_json(&self) -> Result<String, EvalError> {
        to_json(self)
    }

    /// The row of the model called `name`.
    pub fn model(&self, name: &str) -> Option<&ModelRow> {
        self.models.iter().find(|model| model.name == name)
    }

    /// The comparison of `model` with the reference `against`, if there is one.
    pub fn comparison(&self, model: &str, against: Reference) -> Option<&ComparisonRow> {
        self.comparisons.iter().find(|row| row.model == model && row.against == against)
    }

    /// How a model stands against the strongest baseline, after the correction for all comparisons with it: `+` better,
    /// `-` worse, `=` no difference that chance could not make; `None` for the baseline itself.
    pub fn sign(&self, model: &str) -> Option<char> {
        let found = self.comparison(model, Reference::StrongestBaseline)?;
        Some(against::sign(found.difference > 0.0, found.p_holm, self.bootstrap.confidence))
    }

    /// Whether the best model is the strongest baseline: then both have the same comparisons, which
    /// tables show once.
    fn has_one_reference(&self) -> bool {
        let of = |against| self.comparisons.iter().find(|row| row.against == against);
        let (best, baseline) = (of(Reference::Best), of(Reference::StrongestBaseline));
        best.zip(baseline).is_some_and(|(best, baseline)| best.reference == baseline.reference)
    }

    /// Metrics of the short tables: the deciding one, two others at its cut, coverage and bias.
    fn main_metrics(&self) -> [Metric; 5] {
        let k = self.primary.k;
        let list_length = self.models.iter().flat_map(|model| &model.metrics);
        let list_length = list_length
            .filter(|row| row.metric.kind == MetricKind::Coverage)
            .map(|row| row.metric.k)
            .next()
            .unwrap_or(k);
        // With one target a case, recall is the hit rate.
        let single = self.tally.n_targets == self.tally.n_cases;
        let third = if single { MetricKind::Mrr } else { MetricKind::Recall };
        let others = [MetricKind::Ndcg, MetricKind::Hr, third, MetricKind::Map];
        let mut others = others.into_iter().filter(|kind| *kind != self.primary.kind);
        let mut other = || Metric::new(others.next().unwrap_or(MetricKind::Hr), k);
        [
            self.primary,
            other(),
            other(),
            Metric::new(MetricKind::Coverage, list_length),
            Metric::new(MetricKind::PopularityBias, list_length),
        ]
    }

    /// Protocol, part and data in the words that stand under every table.
    fn facts(&self) -> Vec<(&'static str, String)> {
        let (tally, counts) = (&self.tally, &self.data.counts);
        let part = crate::options::part_name(self.part);
        let mut facts = vec![
            ("protocol", format!("{}, {part} part", self.protocol)),
            ("data SHA-256", self.data.data_hash.clone()),
            (
                "data",
                format!(
                    "{} users, {} items, {} events",
                    grouped(counts.n_users),
                    grouped(counts.n_items),
                    grouped(counts.n_events)
                ),
            ),
            (
                "measured",
                format!(
                    "{} lists ({} cold), {} targets; {} users without targets left out",
                    grouped(tally.n_cases),
                    grouped(tally.n_cold_cases),
                    grouped(tally.n_targets),
                    grouped(tally.n_users_without_targets)
                ),
            ),
            (
                "targets",
                format!(
                    "{} are unknown items: misses; {} were seen before, {} of them left out of lists: misses",
                    grouped(tally.n_unknown_targets),
                    grouped(tally.n_seen_targets),
                    grouped(tally.n_hidden_targets)
                ),
            ),
        ];
        let most_tied = self.models.iter().max_by(|a, b| a.tie_share.total_cmp(&b.tie_share));
        if let Some(model) = most_tied {
            let (share, name) = (model.tie_share * 100.0, &model.name);
            facts.push(("ties", format!("at most {share:.2} % of the targets ({name})")));
        }
        let n_readings = self.test_readings.len();
        let times = if n_readings == 1 { "time" } else { "times" };
        facts.push((
            "test part",
            format!("read {n_readings} {times}, once for each model and seed"),
        ));
        let commit = self.commit.as_deref();
        facts.extend(origin(self.environment.as_ref(), &self.forecart_version, commit));
        facts
    }
}

impl ModelRow {
    /// The values of one metric.
    pub fn metric(&self, metric: Metric) -> Option<&MetricRow> {
        self.metrics.iter().find(|row| row.metric == metric)
    }

    /// The mean of one metric.
    pub fn mean(&self, metric: Metric) -> Option<f64> {
        self.metric(metric)?.mean
    }
}

fn to_json(report: &impl Serialize) -> Result<String, EvalError> {
    let json = serde_json::to_string_pretty(report);
    json.map(|json| json + "\n")
        .map_err(|error| EvalError::Render { what: "report", reason: error.to_string() })
}

/// Where a report comes from, the last of its facts.
fn origin(
    environment: Option<&Environment>,
    version: &str,
    commit: Option<&str>,
) -> impl Iterator<Item = (&'static str, String)> {
    let machine = environment.map(|environment| ("machine", environment.line()));
    machine.into_iter().chain([("made by", made_by(version, commit))])
}

pub(crate) fn made_by(version: &str, commit: Option<&str>) -> String {
    let commit = commit.map_or_else(String::new, |commit| format!(", commit {commit}"));
    format!("forecart {version}{commit}")
}

/// A count with a comma after each three digits.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A metric's value in its usual digits.
fn formatted(metric: Metric, value: f64) -> String {
    match metric.kind {
        MetricKind::Novelty => format!("{value:.2}"),
        MetricKind::Popularity => format!("{value:.1}"),
        MetricKind::PopularityBias => format!("{value:+.3}"),
        MetricKind::Coverage | MetricKind::Gini | MetricKind::Overlap | MetricKind::Diversity => {
            format!("{value:.3}")
        }
        _ => format!("{value:.4}"),
    }
}

/// Half an interval's width in the digits of [`formatted`], without a leading zero.
fn formatted_width(metric: Metric, interval: Interval) -> String {
    let text = formatted(metric, interval.half_width());
    let text = text.trim_start_matches('+');
    text.strip_prefix("0.").map_or_else(|| text.to_owned(), |digits| format!(".{digits}"))
}

/// A p-value as it is usually printed.
fn formatted_p(p: f64) -> String {
    if p < 0.0005 { "<.001".into() } else { format!("{p:.3}") }
}

/// Seconds with as many digits as matter.
pub(crate) fn formatted_secs(secs: f64) -> String {
    if secs < 9.95 { format!("{secs:.2}") } else { format!("{secs:.0}") }
}

/// A time span in words: `40 min`, `3.5 h` or `2.1 days`.
pub fn span_in_words(ms: i64) -> String {
    let minutes = ms as f64 / 60_000.0;
    match minutes {
        ..1.0 => format!("{:.0} s", ms as f64 / 1000.0),
        1.0..90.0 => format!("{minutes:.0} min"),
        90.0..2880.0 => format!("{:.1} h", minutes / 60.0),
        _ => format!("{:.1} days", minutes / 1440.0),
    }
}
