//! A fitted model over fields.

use std::ops::Range;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::config::FieldSpec;
use super::contract::{OutcomeModel, OutcomeSpec};
use super::network::FieldNetwork;
use super::samples::EncodedSamples;
use crate::error::ModelError;
use crate::tensors::Tensors;

/// A [`FieldNetwork`] with what it was made of.
#[derive(Debug, Clone)]
pub struct FieldModel {
    pub(super) spec: FieldSpec,
    pub(super) fields: Vec<Range<u32>>,
    pub(super) network: FieldNetwork,
}

impl FieldModel {
    /// From what [`OutcomeModel::tensors`] gave, for samples of these fields.
    ///
    /// # Errors
    /// [`ModelError::Damaged`].
    pub(super) fn load(
        spec: FieldSpec,
        tensors: &mut Tensors,
        fields: Vec<Range<u32>>,
        n_dense: usize,
    ) -> Result<Self, ModelError> {
        let model = spec.name();
        let n_rows = fields.last().map_or(0, |field| field.end as usize);
        // Sizes come from a file: nothing is allocated by them before the bytes are known to be there.
        let sizes = spec.network(n_rows, fields.len(), n_dense);
        let has_rows = |name: &str, n: usize| tensors.n_rows(name).is_none_or(|found| found == n);
        if !has_rows("embedding.weight", n_rows) || !has_rows("linear.weight", n_rows) {
            return Err(ModelError::damaged("tables of the network do not fit the encoders"));
        }
        let expected = sizes.n_values();
        if tensors.n_values() as u64 != expected {
            let reason = format!("{} weights, {expected} fit the model", tensors.n_values());
            return Err(ModelError::damaged(reason));
        }
        let rng = &mut ChaCha8Rng::seed_from_u64(0);
        let network = FieldNetwork::new(&sizes, rng).map_err(ModelError::training(model, None));
        let mut network = network?;
        tensors.take_parameters(&mut network, model)?;
        tensors.expect_empty()?;
        Ok(Self { spec, fields, network })
    }
}

impl OutcomeModel for FieldModel {
    fn name(&self) -> &'static str {
        self.spec.name()
    }

    fn hyperparameters(&self) -> Value {
        self.spec.hyperparameters()
    }

    fn logits(&self, samples: &EncodedSamples) -> Result<Vec<f32>, ModelError> {
        if samples.fields() != self.fields {
            return Err(ModelError::damaged("samples of other fields than the model's"));
        }
        let logits = self.network.logits(samples.as_rows());
        Ok(logits.map_err(ModelError::training(self.name(), None))?.to_host())
    }

    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        tensors.insert_parameters(&self.network);
        tensors
    }
}
