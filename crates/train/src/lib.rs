//! From a dataset to measured models: fits, measures, records.
//!
//! [`train`] fits one model for service; [`measure`] fits several and puts them side by side in a
//! report. Validation chooses, test is read once: [`measure`] reads it through one guard whose log
//! stands in the report. [`measure_outcomes`] does it for probabilities from sample tables, [`measure_demand`] for forecasts from order tables,
//! [`measure_intent_models`] for answers to texts, [`measure_question_models`] for what is asked next; [`measure_off_policy`] says what a model's ranking would have had clicked; [`StreamTrainer`]
//! learns from rows that no table holds. Models and metrics live in their own crates.

mod deletions;
mod demand;
mod error;
mod fit;
mod intents;
mod measure;
mod memory;
mod off_policy;
mod outcome;
mod questions;
mod scaling;
mod stream;
mod tune;

pub use deletions::drawn_behaviors;
pub use demand::{DemandOptions, measure_demand, train_demand};
pub use error::TrainError;
pub use fit::{TrainOptions, Trained, train};
pub use intents::{
    IntentContestant, IntentGiven, IntentMeasuring, IntentTraining, measure_intent_models,
    train_intents,
};
pub use measure::{AsScorer, Contestant, Given, MeasureOptions, measure};
pub use memory::peak_memory_bytes;
pub use off_policy::{
    LoggedImpressions, OffPolicyOptions, OffPolicyReport, PolicyValue, RankingPolicy,
    measure_off_policy,
};
pub use outcome::{
    OutcomeContestant, OutcomeGiven, OutcomeOptions, leave_out, measure_outcomes, train_outcome,
};
pub use questions::{
    MomentScorer, QuestionContest, QuestionContestant, QuestionGiven, QuestionTraining,
    measure_question_models, spread_moments, train_questions,
};
pub use scaling::{Size, train_size};
pub use stream::{StreamOptions, StreamOrigin, StreamPredictions, StreamTrainer};
pub use tune::{BATCH, Budget, ListMeasure, SearchId, TuneData, TuneOptions, survival, tune};
