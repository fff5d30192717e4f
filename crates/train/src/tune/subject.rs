//! What a search is of: a kind of data, and models of it with their hyperparameters.
//!
//! [`Subject`] and [`Candidate`] are all that a search knows; what there is of them stands in `lists`, `outcomes`, `intents` and `questions`.

use std::num::NonZeroUsize;

use forecart_data::{Dataset, IntentTable, Progress, Questions, SampleTable};
use forecart_eval::tuning::{Objective, SearchReport};
use forecart_models::recommend::Parameter;
use forecart_models::support::IntentOptions;
use serde_json::Value;

use super::TuneOptions;
use super::intents::Intents;
use super::lists::{ListMeasure, Lists};
use super::outcomes::Outcomes;
use super::questions::AskedNext;
use crate::error::TrainError;

/// What trials are fitted and measured on.
#[derive(Debug, Clone, Copy)]
pub enum TuneData<'a> {
    /// Recommenders, by a metric of lists on the validation part.
    Lists(&'a Dataset, ListMeasure),
    /// Models of a binary outcome, by the log loss of the validation rows before calibration; of a table in folds, of all rounds together.
    Outcomes(&'a SampleTable),
    /// Models of intents, by the accuracy on texts that ask for one: of the validation part or, without it, of folds of the training part.
    Intents(&'a IntentTable, IntentOptions),
    /// Models of questions, by the log loss of the validation moments before calibration.
    Questions(&'a Questions),
}

impl<'a> TuneData<'a> {
    pub(super) fn subject(self) -> Box<dyn Subject + 'a> {
        match self {
            Self::Lists(dataset, measure) => Box::new(Lists { dataset, measure }),
            Self::Outcomes(table) => Box::new(Outcomes { table }),
            Self::Intents(table, options) => Box::new(Intents { table, options }),
            Self::Questions(table) => Box::new(AskedNext { table }),
        }
    }
}

/// A kind of data that models are searched on.
pub(super) trait Subject: Sync {
    /// What decides between trials.
    fn objective(&self) -> Objective;

    /// Which data these are.
    fn content_hash(&self) -> &str;

    /// How trials are measured.
    fn protocol_id(&self) -> String;

    /// Whether the curve over epochs, which pruning looks at, is of the objective itself.
    fn has_curve_of_objective(&self) -> bool;

    /// The model `name` with `keys` in place of its defaults.
    fn candidate<'s>(
        &'s self,
        name: &str,
        keys: &Value,
    ) -> Result<Box<dyn Candidate + 's>, TrainError>;

    /// Fits the model with either of `keys`, reads the test part once for each, and puts them side by side under [`NAMES`].
    fn side_by_side(
        &self,
        options: &TuneOptions,
        keys: [Value; 2],
        title: String,
        progress: &dyn Progress,
    ) -> Result<SearchReport, TrainError>;
}

/// Names of the two rows of the report, and whether each is there to be beaten.
pub(super) const NAMES: [(&str, bool); 2] = [("default", true), ("tuned", false)];

/// A model with its hyperparameters.
pub(super) trait Candidate: Sync {
    /// The name in the registry.
    fn name(&self) -> &'static str;

    /// What may be varied.
    fn search_space(&self) -> &'static [Parameter];

    /// All hyperparameters, defaults included.
    fn hyperparameters(&self) -> Value;

    /// What to tune in place of a model whose search space is empty.
    fn tuned_instead(&self) -> Option<String> {
        None
    }

    /// Whether one fit keeps all threads busy; others are fitted side by side.
    fn uses_threads(&self) -> bool;

    /// Fits it on the training part and measures it on the validation part alone. `watch` may ask to stop.
    fn trial(
        &self,
        number: usize,
        seed: u64,
        resources: Resources,
        watch: &dyn Progress,
    ) -> Result<Outcome, TrainError>;
}

/// What a fit may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resources {
    pub(super) n_threads: NonZeroUsize,
    pub(super) memory_limit_bytes: Option<u64>,
}

/// What became of a trial that was fitted to its end.
pub(super) struct Outcome {
    pub(super) value: Option<f64>,
    pub(super) chosen_epoch: Option<usize>,
}
