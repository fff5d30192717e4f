//! A fitted model over fields.

use forecart_data::encode::InputColumns;
use forecart_nn::Matrix;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::config::{Arrangement, FieldSpec};
use super::contract::{OutcomeModel, OutcomeSpec};
use super::explanation::{self, integrated_gradients};
use super::network::FieldNetwork;
use super::samples::{EncodedSamples, SampleLayout};
use crate::error::ModelError;
use crate::tensors::Tensors;

/// A [`FieldNetwork`] with what it was made of.
#[derive(Debug, Clone)]
pub struct FieldModel {
    pub(super) spec: FieldSpec,
    pub(super) layout: SampleLayout,
    pub(super) network: FieldNetwork,
}

impl FieldModel {
    /// From what [`OutcomeModel::tensors`] gave, for samples of this layout.
    ///
    /// # Errors
    /// [`ModelError::Damaged`].
    pub(super) fn load(
        spec: FieldSpec,
        tensors: &mut Tensors,
        layout: SampleLayout,
    ) -> Result<Self, ModelError> {
        let model = spec.name();
        let n_rows = layout.n_rows();
        // Sizes come from a file: nothing is allocated by them before the bytes are known to be there.
        let sizes = spec.network(&layout);
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
        Ok(Self { spec, layout, network })
    }
}

impl FieldModel {
    pub(super) fn check(&self, samples: &EncodedSamples) -> Result<(), ModelError> {
        match *samples.layout() == self.layout {
            true => Ok(()),
            false => Err(ModelError::damaged("samples of other fields than the model's")),
        }
    }

    fn answers(&self, samples: &EncodedSamples) -> Result<(Matrix, Option<Matrix>), ModelError> {
        self.check(samples)?;
        let answers = self.network.answers(samples.as_rows());
        answers.map_err(ModelError::training(self.name(), None))
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
        Ok(self.answers(samples)?.0.to_host())
    }

    fn conversion_logits(&self, samples: &EncodedSamples) -> Result<Option<Vec<f32>>, ModelError> {
        if !self.network.has_conversions() {
            return Ok(None);
        }
        Ok(self.answers(samples)?.1.map(|logits| logits.to_host()))
    }

    fn attribute(
        &self,
        samples: &EncodedSamples,
        neutral: &EncodedSamples,
        inputs: &InputColumns,
    ) -> Result<Vec<Vec<f64>>, ModelError> {
        self.check(samples)?;
        self.check(neutral)?;
        match self.spec.arrangement {
            Arrangement::Lr => explanation::one_at_a_time(self, samples, neutral, inputs),
            _ => {
                integrated_gradients(&self.network, samples.as_rows(), neutral.dense_row(0), inputs)
                    .map_err(ModelError::training(self.name(), None))
            }
        }
    }

    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        tensors.insert_parameters(&self.network);
        tensors
    }
}
