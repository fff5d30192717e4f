//! A fitted model with its encoders: from any row to a probability.

use forecart_data::encode::{EncodedRow, FeatureProgram, Row};

use super::contract::{self, OutcomeModel, OutcomeSpec};
use super::samples::{EncodedSamples, SampleView};
use crate::error::ModelError;
use crate::training::{FitContext, FitRecord};

/// What a fit gives.
pub(super) struct Fit {
    pub(super) encoders: FeatureProgram,
    pub(super) model: Box<dyn OutcomeModel>,
    pub(super) record: FitRecord,
    pub(super) validation: EncodedSamples,
}

/// A probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// In `0.0..=1.0`.
    pub probability: f64,
    /// Of the model, before calibration.
    pub logit: f32,
}

/// A fitted model with the encoders that were fitted on the same rows.
#[derive(Debug)]
pub struct OutcomePredictor {
    encoders: FeatureProgram,
    model: Box<dyn OutcomeModel>,
}

impl OutcomePredictor {
    /// Fits encoders and model on the training rows of `view`; its validation rows choose when to stop.
    ///
    /// # Errors
    /// Those of [`OutcomeSpec::fit`], [`ModelError::NoLabels`] where all labels are equal, [`ModelError::NoFeatures`] where no
    /// column can be learned from.
    pub fn fit(
        spec: &dyn OutcomeSpec,
        view: &SampleView<'_>,
        context: &FitContext<'_>,
    ) -> Result<(Self, FitRecord), ModelError> {
        let Fit { encoders, model, record, validation } = contract::fit(spec, view, context)?;
        _ = validation;
        Ok((Self { encoders, model }, record))
    }

    /// The model.
    pub fn model(&self) -> &dyn OutcomeModel {
        self.model.as_ref()
    }

    /// The encoders.
    pub fn encoders(&self) -> &FeatureProgram {
        &self.encoders
    }

    /// The probability for each row; a row alone gets the bits that it gets among others.
    ///
    /// # Errors
    /// [`ModelError::Training`] if encoders and model do not fit, which those of one fit always do.
    pub fn predict<R: Row>(
        &self,
        rows: impl IntoIterator<Item = R>,
    ) -> Result<Vec<Prediction>, ModelError> {
        let fields = self.encoders.sparse_fields();
        let mut samples = EncodedSamples::new(&fields, self.encoders.n_dense());
        let mut encoded = EncodedRow::default();
        for row in rows {
            self.encoders.encode_into(&row, &mut encoded);
            samples.push(&encoded, 0.0);
        }
        let logits = self.model.logits(&samples)?;
        let predict = |logit: f32| {
            let probability = 1.0 / (1.0 + (-f64::from(logit)).exp());
            Prediction { probability, logit }
        };
        Ok(logits.into_iter().map(predict).collect())
    }
}
