//! Texts and models for tests.

use forecart_text::{Analyzed, Pipeline, PipelineConfig};
use serde_json::Value;

use super::contract::IntentModel;
use crate::error::ModelError;
use crate::tensors::Tensors;

/// Texts through the pipeline as it is by default.
pub(super) fn analyzed(typed: &[&str]) -> Vec<Analyzed> {
    let pipeline = Pipeline::new(PipelineConfig::default()).unwrap();
    typed.iter().map(|text| pipeline.analyze(&pipeline.clean(text))).collect()
}

/// The same logits for all texts.
#[derive(Debug)]
pub(super) struct Constant(pub(super) Vec<f32>);

impl IntentModel for Constant {
    fn name(&self) -> &'static str {
        "constant"
    }

    fn hyperparameters(&self) -> Value {
        Value::Null
    }

    fn logits(&self, _: &Analyzed) -> Result<Vec<f32>, ModelError> {
        Ok(self.0.clone())
    }

    fn tensors(&self) -> Tensors {
        Tensors::default()
    }
}
