//! The report on answers to texts: models of what a text asks side by side, on one intent table.
//!
//! Plain numbers, the same for the terminal ([`IntentReport::table`]), for programs ([`IntentReport::to_json`]) and for a browser
//! ([`IntentReport::to_html`]). What it shows of texts stands in the table as it was masked.

mod html;
mod plots;
mod table;

use forecart_data::Part;
use serde::{Deserialize, Serialize};

use super::against::{self, Against};
use super::{Environment, FORMAT_VERSION, Gate, grouped};
use crate::bootstrap::Bootstrap;
use crate::error::EvalError;
use crate::intents::{IntentMeasures, IntentMetric};
use crate::significance::Comparison;

/// Name of the model that takes every text for the most frequent intent of the training texts.
pub const MAJORITY: &str = "majority";

/// What was measured of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IntentRow {
    /// Its name.
    pub model: String,
    /// Whether it is here to be beaten.
    pub is_baseline: bool,
    /// Its hyperparameters.
    pub hyperparameters: serde_json::Value,
    /// All seeds that the values are means over; that of its file for a model that was given, none for the majority.
    pub seeds: Vec<u64>,
    /// Everything about its answers.
    pub measured: IntentMeasures,
    /// Which intent it takes for which, most often first.
    pub confusions: Vec<ConfusedIntents>,
    /// Against each baseline but itself, on the same texts.
    pub against: Vec<Against<IntentMetric>>,
    /// Seconds of fitting, those for temperature and threshold included, the mean over the seeds; `None` for a model that came from a file, and
    /// in a deterministic report.
    pub fit_secs: Option<f64>,
    /// Microseconds of one text after the other on one thread: the median, and the 99th of 100; `None` as well.
    pub classify_micros: Option<[f64; 2]>,
}

impl IntentRow {
    /// The comparison with `baseline` by `metric`.
    pub fn against(&self, baseline: &str, metric: IntentMetric) -> Option<&Comparison> {
        against::find(&self.against, baseline, &metric)
    }
}

/// An intent that is taken for another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfusedIntents {
    /// What is asked.
    pub asked: String,
    /// What it is taken for.
    pub found: String,
    /// How often; a text counts once for each seed.
    pub n_texts: u64,
    /// The first few texts.
    pub examples: Vec<TextExample>,
}

/// A text of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextExample {
    /// Its row.
    pub row: usize,
    /// As it stands there: masked.
    pub text: String,
}

/// The intent table that a report is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntentSource {
    /// Hash of the input files.
    pub data_hash: String,
    /// Content hash of the table.
    pub texts_hash: String,
    /// Names of the intents, by their places.
    pub intents: Vec<String>,
    /// Texts that models learn from.
    pub n_train: u64,
    /// The part that was measured on: test, or validation where there is no test.
    pub measured_on: Part,
}

/// Models side by side. Fields are stable JSON; see [`FORMAT_VERSION`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IntentReport {
    /// Always `forecart-intent-report`.
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
    pub source: IntentSource,
    /// The seed of the intervals, and the first one of training.
    pub seed: u64,
    /// How intervals were computed.
    pub bootstrap: Bootstrap,
    /// The highest accuracy first.
    pub rows: Vec<IntentRow>,
    /// Whether models may take the place of the strongest baseline, where that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
    /// The machine.
    pub environment: Option<Environment>,
}

/// What decides about the order of the rows.
const PRIMARY: IntentMetric = IntentMetric::Accuracy;

impl IntentReport {
    /// Puts a report together; `rows` are brought into its order.
    pub fn new(
        title: String,
        source: IntentSource,
        bootstrap: Bootstrap,
        mut rows: Vec<IntentRow>,
    ) -> Self {
        let value = |row: &IntentRow| PRIMARY.measured(&row.measured).value;
        rows.sort_by(|a, b| value(b).total_cmp(&value(a)));
        Self {
            format: "forecart-intent-report".into(),
            format_version: FORMAT_VERSION,
            forecart_version: env!("CARGO_PKG_VERSION").into(),
            commit: None,
            title,
            source,
            seed: bootstrap.seed,
            bootstrap,
            rows,
            gate: None,
            environment: None,
        }
    }

    /// The row of the model called `name`.
    pub fn row(&self, name: &str) -> Option<&IntentRow> {
        self.rows.iter().find(|row| row.model == name)
    }

    /// The baseline that is best by `metric` on the measured texts, which is the one hardest to beat there.
    pub fn strongest_baseline(&self, metric: IntentMetric) -> Option<&IntentRow> {
        let value = |row: &IntentRow| metric.measured(&row.measured).value;
        let baselines = self.rows.iter().filter(|row| row.is_baseline);
        // The first of equal ones.
        baselines.rev().max_by(|a, b| value(a).total_cmp(&value(b)))
    }

    /// The comparisons with the strongest baseline by `metric`, with p-values after Holm's correction over all of them.
    fn comparisons(&self, metric: IntentMetric) -> Vec<(&IntentRow, &Comparison, f64)> {
        let Some(baseline) = self.strongest_baseline(metric) else { return Vec::new() };
        let found = self.rows.iter();
        let found = found.filter_map(|row| Some((row, row.against(&baseline.model, metric)?)));
        against::corrected(found.collect())
    }

    /// How a model stands against the strongest baseline by accuracy, after the correction for all comparisons with it: `+` better, `-`
    /// worse, `=` no difference that chance could not make; `None` for the baseline itself.
    pub fn sign(&self, model: &str) -> Option<char> {
        let all = self.comparisons(PRIMARY);
        let (_, found, p) = all.iter().find(|(row, ..)| row.model == model)?;
        Some(against::sign(found.difference > 0.0, *p, self.bootstrap.confidence))
    }

    /// Which models beat the strongest baseline on `metric` with the whole interval of the paired difference above 0; `None` without a baseline.
    pub fn judged_by(&self, metric: IntentMetric, override_reason: Option<&str>) -> Option<Gate> {
        let baseline = &self.strongest_baseline(metric)?.model;
        let challengers = self.rows.iter().filter(|row| !row.is_baseline);
        let found = challengers
            .filter_map(|row| Some((row.model.as_str(), *row.against(baseline, metric)?)));
        Some(Gate::judged(metric.name(), baseline, found, true, override_reason))
    }

    /// The report as JSON, with a line break at the end. The same report gives the same bytes.
    ///
    /// # Errors
    /// [`EvalError::Render`] if a value cannot be written.
    pub fn to_json(&self) -> Result<String, EvalError> {
        super::to_json(self)
    }

    /// How many texts were measured.
    fn counts(&self) -> String {
        let counts =
            self.rows.first().map(|row| (row.measured.n_texts, row.measured.n_out_of_scope));
        let (n, strangers) = counts.unwrap_or_default();
        let strangers = match strangers {
            0 => "none of them out of scope".to_owned(),
            n => format!("{} of them out of scope", grouped(n)),
        };
        format!("{} texts, {strangers}", grouped(n + counts.map_or(0, |(_, own)| own)))
    }

    /// Whether texts of this report ask for none of the intents.
    fn has_strangers(&self) -> bool {
        self.rows.iter().any(|row| row.measured.n_out_of_scope > 0)
    }

    /// Table and measurement in the words that stand under every table.
    fn facts(&self) -> Vec<(&'static str, String)> {
        let source = &self.source;
        let part = crate::options::part_name(source.measured_on);
        let (share, n) = (self.bootstrap.confidence * 100.0, self.bootstrap.n_resamples);
        let n_seeds = self.rows.iter().map(|row| row.seeds.len()).max().unwrap_or(0);
        let seeds = match n_seeds {
            0 | 1 => self.seed.to_string(),
            n => format!("{n} from {} on; values are means over them", self.seed),
        };
        let mut facts = vec![
            ("measured", format!("{}; {part} part", self.counts())),
            (
                "data",
                format!(
                    "{} intents, {} texts to learn from",
                    grouped(source.intents.len() as u64),
                    grouped(source.n_train)
                ),
            ),
            ("data SHA-256", source.data_hash.clone()),
            ("table", source.texts_hash.clone()),
            (if n_seeds > 1 { "seeds" } else { "seed" }, seeds),
            ("intervals", format!("{share} % by the bootstrap over texts, {n} resamples")),
        ];
        let commit = self.commit.as_deref();
        facts.extend(super::origin(self.environment.as_ref(), &self.forecart_version, commit));
        facts
    }
}
