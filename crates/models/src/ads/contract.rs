//! What every model of a binary outcome is: fitted on a view, it gives a logit for any row.

use std::fmt::Debug;

use forecart_data::encode::{FeatureSpec, InputColumns};
use forecart_data::samples::SampleColumn;
use serde_json::Value;

use super::explanation;
use super::samples::EncodedSamples;
use crate::error::ModelError;
use crate::recommend::Parameter;
use crate::tensors::Tensors;
use crate::training::{FitContext, FitRecord};

/// A model with its hyperparameters, before it has seen data.
pub trait OutcomeSpec: Debug + Send + Sync {
    /// The name in the registry.
    fn name(&self) -> &'static str;

    /// All hyperparameters, defaults included; the registry makes the same spec of them.
    fn hyperparameters(&self) -> Value;

    /// What `tune` may vary.
    fn search_space(&self) -> &'static [Parameter] {
        &[]
    }

    /// Whether one fit keeps all threads busy.
    fn uses_threads(&self) -> bool {
        false
    }

    /// Refuses a table that has not the columns that the model is for.
    ///
    /// # Errors
    /// [`ModelError::NotForTable`].
    fn check_columns(&self, _columns: &[SampleColumn]) -> Result<(), ModelError> {
        Ok(())
    }

    /// Which encoders it wants for these columns, of training rows that span so many milliseconds (0 where they have no times).
    fn features(&self, columns: &[SampleColumn], span_ms: i64) -> FeatureSpec;

    /// Memory that a fit needs at most, beside the samples, in bytes.
    fn needed_bytes(&self, samples: &EncodedSamples) -> u64;

    /// Learns from `train`, chooses by `validation`. `identity` says which samples these are, for a checkpoint.
    ///
    /// # Errors
    /// [`ModelError::Memory`], [`ModelError::Diverged`], [`ModelError::Cancelled`], [`ModelError::Training`] or those of a checkpoint.
    fn fit(
        &self,
        train: &EncodedSamples,
        validation: &EncodedSamples,
        identity: &str,
        context: &FitContext<'_>,
    ) -> Result<(Box<dyn OutcomeModel>, FitRecord), ModelError>;
}

/// A fitted model of a binary outcome.
pub trait OutcomeModel: Debug + Send + Sync {
    /// The name in the registry.
    fn name(&self) -> &'static str;

    /// The hyperparameters that it was fitted with.
    fn hyperparameters(&self) -> Value;

    /// The logit of each sample, before calibration; the labels are not read. The same for a sample alone and among others.
    ///
    /// # Errors
    /// [`ModelError::Training`] if the samples are not of the model's fields.
    fn logits(&self, samples: &EncodedSamples) -> Result<Vec<f32>, ModelError>;

    /// The logit of a conversion after a click for each sample, where the model knows of conversions.
    ///
    /// # Errors
    /// As [`Self::logits`].
    fn conversion_logits(&self, _samples: &EncodedSamples) -> Result<Option<Vec<f32>>, ModelError> {
        Ok(None)
    }

    /// What each column of `inputs` adds to the logit of each sample over that of the one sample `neutral`, `[n][n_columns]`, by the method of
    /// [`super::explanation`] that is the model's; their sum is the difference of the two logits, to the tolerance stated there.
    ///
    /// The default is that of models that are sums over their inputs.
    ///
    /// # Errors
    /// As [`Self::logits`].
    fn attribute(
        &self,
        samples: &EncodedSamples,
        neutral: &EncodedSamples,
        inputs: &InputColumns,
    ) -> Result<Vec<Vec<f64>>, ModelError> {
        explanation::one_at_a_time(self, samples, neutral, inputs)
    }

    /// What it has learned, for the model file.
    fn tensors(&self) -> Tensors;
}
