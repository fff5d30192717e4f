//! What customers ask, whatever they did: the rate of each intent over all training moments.

use forecart_data::{History, Questions};
use serde_json::{Value, json};

use super::contract::{QuestionModel, QuestionSpec};
use super::labels::{logit, training_rates};
use crate::error::ModelError;
use crate::tensors::{TensorData, Tensors};
use crate::training::{FitContext, FitRecord};

/// The name in the registry.
pub(super) const NAME: &str = "popularity";

/// The model without hyperparameters, before it has seen data.
#[derive(Debug, Clone, Copy, Default)]
pub struct PopularitySpec;

impl QuestionSpec for PopularitySpec {
    fn name(&self) -> &'static str {
        NAME
    }

    fn hyperparameters(&self) -> Value {
        json!({})
    }

    fn fit(
        &self,
        questions: &Questions,
        _: &FitContext<'_>,
    ) -> Result<(Box<dyn QuestionModel>, FitRecord), ModelError> {
        let logits = training_rates(questions)?.1.into_iter().map(logit).collect();
        Ok((Box::new(Popularity { logits }), FitRecord::default()))
    }
}

/// The rates, as logits.
#[derive(Debug, Clone)]
pub(super) struct Popularity {
    logits: Vec<f32>,
}

impl Popularity {
    pub(super) fn load(tensors: &mut Tensors, n_intents: usize) -> Result<Self, ModelError> {
        Ok(Self { logits: finite(tensors.take_f32("logits", Some(n_intents))?)? })
    }
}

/// Refuses logits that no model gives.
pub(super) fn finite(logits: Vec<f32>) -> Result<Vec<f32>, ModelError> {
    match logits.iter().all(|logit| logit.is_finite()) {
        true => Ok(logits),
        false => Err(ModelError::damaged("a logit is not a number")),
    }
}

impl QuestionModel for Popularity {
    fn name(&self) -> &'static str {
        NAME
    }

    fn hyperparameters(&self) -> Value {
        json!({})
    }

    fn n_intents(&self) -> usize {
        self.logits.len()
    }

    fn logits(&self, _: History<'_>, places: &[usize]) -> Result<Vec<f32>, ModelError> {
        Ok(self.logits.repeat(places.len()))
    }

    fn n_seen(&self, _: usize) -> usize {
        0
    }

    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        tensors.insert("logits", TensorData::F32(self.logits.clone()));
        tensors
    }
}
