//! How cost and accuracy grow with size: measured points, power laws through them, and what they say about larger sizes.
//!
//! [`ScalingReport`] is plain numbers, the same for the terminal ([`ScalingReport::table`]), for programs
//! ([`ScalingReport::to_json`]) and for a browser ([`ScalingReport::to_html`]). Who measures is not decided here.
//!
//! Start at [`Training`] and [`StepCurve`], which go in; `laws` makes of them what comes out.

mod power_law;

mod laws;

mod html;
mod plots;
mod table;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::EvalError;
use crate::evaluation::DataFacts;
use crate::report::Environment;

pub use laws::{Day, Law};
pub use power_law::PowerLaw;

/// The newest format of the JSON that this program writes.
pub const FORMAT_VERSION: u32 = 1;

/// One size of the model, trained to its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// The size in words.
    pub name: String,
    /// Columns of all that passes between layers.
    pub d_model: u32,
    /// Layers.
    pub n_layers: u32,
    /// Learned values.
    pub n_parameters: u64,
    /// Floating-point operations of an epoch, by the definition of the model.
    pub epoch_flop: f64,
    /// After each epoch.
    pub points: Vec<ScalingPoint>,
    /// The epoch whose weights were kept.
    pub chosen_epoch: usize,
    /// Cross-entropy of the validation part with the kept weights, in nats.
    pub validation_loss: f64,
    /// Seconds of the whole training, validation after each epoch included.
    pub secs: f64,
}

/// Where a training stood after an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ScalingPoint {
    /// From 1.
    pub epoch: usize,
    /// Operations so far.
    pub flop: f64,
    /// Seconds so far, as if all epochs had taken the same time.
    pub secs: f64,
    /// Mean loss of the epoch, with dropout, in nats.
    pub train_loss: f64,
    /// NDCG@10 on the validation part.
    pub validation_ndcg_at_10: Option<f64>,
}

impl Training {
    /// The point of the kept weights.
    pub fn chosen(&self) -> Option<&ScalingPoint> {
        self.points.iter().find(|point| point.epoch == self.chosen_epoch)
    }

    /// Operations a second, over the whole training.
    pub fn flop_per_sec(&self) -> Option<f64> {
        let last = self.points.last()?;
        (self.secs > 0.0).then(|| last.flop / self.secs)
    }
}

/// What the steps of a [`StepCurve`] differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepAxis {
    /// Tokens of each sequence.
    Length,
    /// Rows of the table of items.
    NItems,
    /// Columns of all that passes between layers.
    DModel,
    /// Threads.
    Threads,
}

impl StepAxis {
    /// All axes, in the order of the page.
    pub const ALL: [Self; 4] = [Self::Length, Self::NItems, Self::DModel, Self::Threads];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Length => "sequence length",
            Self::NItems => "items",
            Self::DModel => "d_model",
            Self::Threads => "threads",
        }
    }
}

/// One kind of training step at several sizes, everything else fixed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepCurve {
    /// What differs.
    pub axis: StepAxis,
    /// The row of `forecart bench step` whose other sizes it has.
    pub row: String,
    /// What the row is, in words.
    pub about: String,
    /// By size, ascending.
    pub points: Vec<StepPoint>,
}

/// A training step of one size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StepPoint {
    /// The size.
    pub size: u64,
    /// Median time of a step.
    pub step_ms: f64,
    /// Memory that training added to the process at its peak, where the system tells.
    pub memory_bytes: Option<u64>,
    /// Floating-point operations of a step, by the definition of the model.
    pub flop: f64,
}

/// What was measured, and on what.
#[derive(Debug, Clone)]
pub struct ScalingFacts {
    /// The heading.
    pub title: String,
    /// The model's name.
    pub model: String,
    /// Hyperparameters that all sizes share, as a JSON object.
    pub hyperparameters: Value,
    /// The data that was trained on; `None` if nothing was.
    pub data: Option<DataFacts>,
    /// Where all randomness came from.
    pub seed: u64,
    /// The commit of the program, if known.
    pub commit: Option<String>,
    /// The machine.
    pub environment: Environment,
}

/// Measured sizes and what they say. Fields are stable JSON; see [`FORMAT_VERSION`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScalingReport {
    /// Always `forecart-scaling`.
    pub format: String,
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Version of the program.
    pub forecart_version: String,
    /// The commit of the program, if known.
    pub commit: Option<String>,
    /// The heading.
    pub title: String,
    /// The model's name.
    pub model: String,
    /// Hyperparameters that all sizes share.
    pub hyperparameters: Value,
    /// The data that was trained on.
    pub data: Option<DataFacts>,
    /// Where all randomness came from.
    pub seed: u64,
    /// By size, as given.
    pub trainings: Vec<Training>,
    /// Steps by axis.
    pub steps: Vec<StepCurve>,
    /// A law for each curve that has one.
    pub laws: Vec<Law>,
    /// What a day of this machine is enough for, by the trainings.
    pub day: Option<Day>,
    /// The machine.
    pub environment: Environment,
}

impl ScalingReport {
    /// Fits the laws.
    pub fn new(facts: ScalingFacts, trainings: Vec<Training>, steps: Vec<StepCurve>) -> Self {
        let n_train = facts.data.as_ref().map(|data| data.counts.n_train);
        Self {
            format: "forecart-scaling".into(),
            format_version: FORMAT_VERSION,
            forecart_version: env!("CARGO_PKG_VERSION").into(),
            commit: facts.commit,
            title: facts.title,
            model: facts.model,
            hyperparameters: facts.hyperparameters,
            data: facts.data,
            seed: facts.seed,
            laws: laws::all(&trainings, &steps),
            day: n_train.and_then(|n_train| Day::of(&trainings, n_train)),
            trainings,
            steps,
            environment: facts.environment,
        }
    }

    /// What both reports measured, with the laws of all of it; of a size that both have, what `self` says.
    ///
    /// # Errors
    /// [`EvalError::NotComparable`] if they are of other models, hyperparameters, data, seeds or machines.
    pub fn with_earlier(self, earlier: Self) -> Result<Self, EvalError> {
        let differs = [
            ("model", self.model != earlier.model),
            ("hyperparameters", differ(&self.hyperparameters, &earlier.hyperparameters)),
            ("data", differ(&json_of(&self.data), &json_of(&earlier.data))),
            ("seed", self.seed != earlier.seed),
            ("machine", self.environment != earlier.environment),
        ];
        if let Some((reason, _)) = differs.iter().find(|(_, differs)| *differs) {
            return Err(EvalError::NotComparable {
                left: self.title,
                right: earlier.title,
                reason: format!("other {reason}"),
            });
        }
        let mut trainings = earlier.trainings;
        trainings.retain(|size| self.trainings.iter().all(|own| own.name != size.name));
        trainings.extend(self.trainings);
        trainings.sort_by(|a, b| a.epoch_flop.total_cmp(&b.epoch_flop));
        let mut steps = earlier.steps;
        let is_same = |a: &StepCurve, b: &StepCurve| a.axis == b.axis && a.row == b.row;
        steps.retain(|curve| self.steps.iter().all(|own| !is_same(own, curve)));
        steps.extend(self.steps);
        steps.sort_by_key(|curve| curve.axis);
        let has_data = self.data.is_some();
        let facts = ScalingFacts {
            title: if has_data { self.title } else { earlier.title },
            model: self.model,
            hyperparameters: if has_data { self.hyperparameters } else { earlier.hyperparameters },
            data: self.data.or(earlier.data),
            seed: self.seed,
            commit: self.commit,
            environment: self.environment,
        };
        Ok(Self::new(facts, trainings, steps))
    }

    /// The report as JSON, with a line break at the end.
    ///
    /// # Errors
    /// [`EvalError::Render`] if a value cannot be written.
    pub fn to_json(&self) -> Result<String, EvalError> {
        let json = serde_json::to_string_pretty(self);
        json.map(|json| json + "\n").map_err(|error| EvalError::Render {
            what: "scaling report",
            reason: error.to_string(),
        })
    }

    /// How it was measured, in the words that stand under the tables.
    fn facts(&self) -> Vec<(&'static str, String)> {
        use crate::report::grouped;
        let mut facts = Vec::new();
        if let Some(data) = &self.data {
            let counts = &data.counts;
            facts.push((
                "data",
                format!(
                    "{} users, {} items, {} events to learn from, SHA-256 {}",
                    grouped(counts.n_users),
                    grouped(counts.n_items),
                    grouped(counts.n_train),
                    data.data_hash
                ),
            ));
        }
        if !self.trainings.is_empty() {
            facts.push(("model", format!("{}, {}", self.model, self.hyperparameters)));
        }
        facts.push(("seed", self.seed.to_string()));
        facts.push(("machine", self.environment.line()));
        let commit = self.commit.as_deref();
        facts.push(("made by", crate::report::made_by(&self.forecart_version, commit)));
        facts
    }
}

/// Whether both are there and not equal.
fn differ(a: &Value, b: &Value) -> bool {
    !a.is_null() && !b.is_null() && a != b
}

fn json_of(data: &Option<DataFacts>) -> Value {
    serde_json::to_value(data).expect("numbers and names are JSON")
}

/// A number in at most four characters and a prefix of the SI: `12.1k`, `0.35`, `4.2T`.
fn short(value: f64) -> String {
    const PREFIXES: [(f64, &str); 6] =
        [(1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    // What rounds up to 1000 of one prefix is 1 of the next.
    let found = PREFIXES.iter().find(|(unit, _)| value.abs() >= 0.9995 * unit);
    let (scaled, prefix) = found.map_or((value, ""), |(unit, prefix)| (value / unit, *prefix));
    let n_decimals = match scaled.abs() {
        0.0 => 0,
        100.0.. => 0,
        10.0..100.0 => 1,
        1.0..10.0 => 2,
        _ => (2.0 - scaled.abs().log10().floor()).clamp(0.0, 9.0) as usize,
    };
    let text = format!("{scaled:.n_decimals$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    };
    text + prefix
}

/// `40 s`, `12 min`, `3.5 h` or `2.1 days`.
fn duration(secs: f64) -> String {
    match secs {
        ..90.0 => format!("{} s", short(secs)),
        90.0..5400.0 => format!("{:.0} min", secs / 60.0),
        5400.0..172_800.0 => format!("{:.1} h", secs / 3600.0),
        _ => format!("{} days", short(secs / 86_400.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, want) in [
            (0.0, "0"),
            (0.03537, "0.0354"),
            (0.5, "0.5"),
            (7.25, "7.25"),
            (50.0, "50"),
            (999.4, "999"),
            (999.7, "1k"),
            (12_101.0, "12.1k"),
            (4.2e12, "4.2T"),
            (-1500.0, "-1.5k"),
        ] {
            assert_eq!(short(value), want);
        }
        let words = [3.4, 720.0, 12_600.0, 400_000.0].map(duration);
        assert_eq!(words, ["3.4 s", "12 min", "3.5 h", "4.63 days"]);
    }
}
