//! What every model of questions is: fitted on the moments of the training part, it gives a logit of each intent for any moment of a history.

use std::fmt::Debug;

use forecart_data::{History, Questions};
use serde_json::Value;

use crate::error::ModelError;
use crate::recommend::Parameter;
use crate::tensors::Tensors;
use crate::training::{FitContext, FitRecord};

/// A model with its hyperparameters, before it has seen data.
pub trait QuestionSpec: Debug + Send + Sync {
    /// The name in the registry.
    fn name(&self) -> &'static str;

    /// All hyperparameters, defaults included; the registry makes the same spec of them.
    fn hyperparameters(&self) -> Value;

    /// What `tune` may vary.
    fn search_space(&self) -> &'static [Parameter] {
        &[]
    }

    /// Whether the seed changes what is learned.
    fn uses_seed(&self) -> bool {
        false
    }

    /// Learns from the moments of the training part; may choose an epoch by those of the validation part.
    ///
    /// # Errors
    /// [`ModelError::Questions`] without a training moment or without an intent, [`ModelError::Memory`], [`ModelError::Diverged`],
    /// [`ModelError::Cancelled`], [`ModelError::Training`] or those of a checkpoint.
    fn fit(
        &self,
        questions: &Questions,
        context: &FitContext<'_>,
    ) -> Result<(Box<dyn QuestionModel>, FitRecord), ModelError>;
}

/// A fitted model of questions.
pub trait QuestionModel: Debug + Send + Sync {
    /// The name in the registry.
    fn name(&self) -> &'static str;

    /// The hyperparameters that it was fitted with.
    fn hyperparameters(&self) -> Value;

    /// Number of intents, the unknown one not counted.
    fn n_intents(&self) -> usize;

    /// The logit of each intent at some places of a history, `[places.len(), n_intents]`, intents in the order of the vocabulary without its
    /// unknown row. At a place the events up to it are known, itself included, and no later one plays a part.
    ///
    /// Any history has finite logits; events and objects past those that the model knows are unknown ones.
    ///
    /// # Errors
    /// [`ModelError::Training`] if a layer refuses its input.
    ///
    /// # Panics
    /// If a place is past the history or the places do not ascend.
    fn logits(&self, history: History<'_>, places: &[usize]) -> Result<Vec<f32>, ModelError>;

    /// How many of the newest of `n_events` play a part in the answer at the last of them.
    fn n_seen(&self, n_events: usize) -> usize;

    /// What it has learned, for the model file.
    fn tensors(&self) -> Tensors;
}
