//! The report of a search for hyperparameters: every trial, what was chosen, and what of the gain survives on test.

mod page;
mod report;

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::EvalError;
use crate::report::table::{push_table, table};
use crate::report::{OutcomeReport, formatted_secs};

pub use report::{Objective, SearchReport};

/// The newest format of a search that this program writes.
pub const FORMAT_VERSION: u32 = 1;

/// How a trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialState {
    /// Fitted and measured.
    Complete,
    /// Ended early, behind the others.
    Pruned,
    /// Could not be fitted.
    Failed,
}

/// One set of hyperparameters that was tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// From 0, the defaults.
    pub number: usize,
    /// What was varied.
    pub parameters: Map<String, Value>,
    /// How it ended.
    pub state: TrialState,
    /// The objective on validation, more is better; of a trial that was ended early, what its best epoch had
    /// reached, where that is known.
    pub value: Option<f64>,
    /// NDCG@10, the negative log loss, or the accuracy, on validation after each epoch, where training has epochs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub epochs: Vec<f64>,
    /// The epoch that was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen_epoch: Option<usize>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Seconds that it took.
    pub secs: f64,
    /// Seconds of the search when it was done, over all runs.
    pub at_secs: f64,
}

impl Trial {
    /// A trial that was finished at once.
    pub fn complete(number: usize, parameters: Map<String, Value>, value: f64) -> Self {
        Self {
            number,
            parameters,
            state: TrialState::Complete,
            value: Some(value),
            epochs: Vec::new(),
            chosen_epoch: None,
            reason: None,
            secs: 0.0,
            at_secs: 0.0,
        }
    }

    /// The trial in one line.
    pub fn line(&self, objective: Objective) -> String {
        let value = self.shown(objective, "-");
        let state = match self.state {
            TrialState::Complete => String::new(),
            TrialState::Pruned => format!(", ended after epoch {}", self.epochs.len()),
            TrialState::Failed => {
                format!(", failed: {}", self.reason.as_deref().unwrap_or("no reason given"))
            }
        };
        let keys = self.keys();
        format!("trial {}: {objective} {value}{state}; {keys}", self.number)
    }

    /// The value as people read it, `none` without one.
    fn shown(&self, objective: Objective, none: &str) -> String {
        let value = self.value.map(|value| format!("{:.4}", objective.shown(value)));
        value.unwrap_or_else(|| none.to_owned())
    }

    /// What was varied, as `name value` in the order of names.
    pub fn keys(&self) -> String {
        let mut keys: Vec<String> = self
            .parameters
            .iter()
            .map(|(name, value)| format!("{name} {}", plain(value)))
            .collect();
        keys.sort_unstable();
        keys.join(", ")
    }
}

/// A value without quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A search that is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Search {
    /// Always `forecart-search`.
    pub format: String,
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The model's name.
    pub model: String,
    /// The seed of proposals and training.
    pub seed: u64,
    /// What was varied, and between which values.
    pub space: Value,
    /// Every trial, in order.
    pub trials: Vec<Trial>,
    /// Number of the trial that was chosen, on validation.
    pub chosen: usize,
    /// The gain of the chosen trial over the defaults.
    pub gain: Gain,
    /// Defaults (`default`) and chosen (`tuned`) side by side.
    pub report: SearchReport,
}

/// What a search brought.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Gain {
    /// Difference of the objective on validation, where it was chosen: above 0 where it is better.
    pub validation: f64,
    /// The same on test.
    pub test: f64,
    /// Ends of the paired interval on test.
    pub interval: [f64; 2],
    /// Two-sided p-value on test.
    pub p_value: f64,
    /// Test over validation; `None` if validation gained nothing.
    pub survives: Option<f64>,
}

impl Search {
    /// Puts a search together; `report` has a row `default` and a row `tuned`.
    ///
    /// # Errors
    /// [`EvalError::Option`] if no trial was finished or the report has other rows.
    pub fn new(
        model: &str,
        seed: u64,
        space: Value,
        trials: Vec<Trial>,
        report: SearchReport,
    ) -> Result<Self, EvalError> {
        let none =
            || EvalError::Option { option: "search", reason: "no trial was finished".into() };
        let chosen = Self::best(&trials).ok_or_else(none)?;
        let gain = report.gain(&trials[0], &trials[chosen])?;
        Ok(Self {
            format: "forecart-search".into(),
            format_version: FORMAT_VERSION,
            model: model.to_owned(),
            seed,
            space,
            trials,
            chosen,
            gain,
            report,
        })
    }

    /// Place of the best finished trial; the earlier of equals.
    pub fn best(trials: &[Trial]) -> Option<usize> {
        let mut best: Option<(usize, f64)> = None;
        for (place, trial) in trials.iter().enumerate() {
            let Some(value) = trial.value.filter(|_| trial.state == TrialState::Complete) else {
                continue;
            };
            if best.is_none_or(|(_, highest)| value > highest) {
                best = Some((place, value));
            }
        }
        best.map(|(place, _)| place)
    }

    /// The chosen values as a section of a configuration file.
    pub fn to_toml(&self) -> String {
        let mut text = format!("[{}.{}]\n", self.report.objective().section(), self.model);
        for (name, value) in &self.trials[self.chosen].parameters {
            // JSON numbers, texts, truth values and lists of them are TOML, too.
            let _ = writeln!(text, "{name} = {value}");
        }
        text
    }

    /// The search as JSON, with a line break at the end.
    ///
    /// # Errors
    /// [`EvalError::Render`] if a value cannot be written.
    pub fn to_json(&self) -> Result<String, EvalError> {
        let json = serde_json::to_string_pretty(self);
        json.map(|json| json + "\n")
            .map_err(|error| EvalError::Render { what: "search", reason: error.to_string() })
    }

    /// The search for a terminal: the best trials, and what survives on test.
    pub fn table(&self) -> String {
        let objective = self.report.objective();
        let mut text = format!("{}\n", self.report.title());
        let header = ["trial", "validation", "s", "values"].map(String::from).to_vec();
        let mut order: Vec<&Trial> = self.trials.iter().collect();
        let value = |trial: &Trial| trial.value.unwrap_or(f64::NEG_INFINITY);
        order.sort_by(|a, b| value(b).total_cmp(&value(a)));
        order.retain(|trial| trial.state == TrialState::Complete);
        order.truncate(8);
        if !order.iter().any(|trial| trial.number == 0) {
            order.extend(self.trials.first());
        }
        let rows = order.into_iter().map(|trial| {
            let name = if trial.number == 0 { "default".into() } else { trial.number.to_string() };
            let value = trial.shown(objective, "-");
            vec![name, value, formatted_secs(trial.secs), trial.keys()]
        });
        push_table(&mut text, &table(header, rows));
        for line in self.lines() {
            text.push_str(&line);
            text.push('\n');
        }
        let _ = writeln!(text, "{}; {objective} decided on validation", self.test_readings());
        text
    }

    /// What the search brought, in words.
    fn lines(&self) -> Vec<String> {
        let count = |state| self.trials.iter().filter(|trial| trial.state == state).count();
        let secs = self.trials.iter().map(|trial| trial.at_secs).fold(0.0, f64::max);
        let (report, objective) = (&self.report, self.report.objective());
        let shown =
            |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value:.4}"));
        let validation =
            |name: &str, place: usize| shown(report.on_validation(name, &self.trials[place]));
        let test = |name: &str| shown(report.on_test(name));
        let Gain { validation: gained, test: kept, interval, p_value, survives } = self.gain;
        let [gained, kept] = [gained, kept].map(|value| objective.shown(value));
        let ends = interval.map(|value| objective.shown(value));
        let (low, high) = (ends[0].min(ends[1]), ends[0].max(ends[1]));
        let mut lines = vec![
            format!(
                "{} trials, {} ended early, {} failed, {} s; trial {} was chosen",
                self.trials.len(),
                count(TrialState::Pruned),
                count(TrialState::Failed),
                formatted_secs(secs),
                self.trials[self.chosen].number
            ),
            format!(
                "validation {objective}: {} -> {} ({gained:+.4})",
                validation("default", 0),
                validation("tuned", self.chosen)
            ),
            format!(
                "test {objective}: {} -> {} ({kept:+.4}, interval {low:+.4} .. {high:+.4}, p {p_value:.3})",
                test("default"),
                test("tuned")
            ),
        ];
        lines.extend(survives.map(|share| {
            format!("{:.0} % of the gain on validation is there on test", share * 100.0)
        }));
        lines
    }

    /// How often the test part was read, and what of it the choice had seen.
    fn test_readings(&self) -> &'static str {
        match self.report.outcomes().is_some_and(OutcomeReport::is_in_folds) {
            false => "test part read once for each",
            true => {
                "the table is in folds: each row was validation of another fold when trials were compared, so no row is new to the choice"
            }
        }
    }
}
