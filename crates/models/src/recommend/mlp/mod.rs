//! A multi-layer perceptron on the user's history and the items' features, trained by
//! backpropagation.
//!
//! Start at [`MlpConfig`], which says what the model computes; then `network` (forward and
//! backward), `fit` (the loop).

mod config;
mod fit;
mod gradients;
mod network;

use forecart_data::{History, ItemIdx};
use forecart_nn::{Activation, Linear, Matrix, Mlp as Layers, Pass};
use serde_json::Value;

pub use config::{HiddenActivation, MlpConfig, SoftmaxLoss};

use self::config::NAME;
use self::network::{Workspace, forward};
use super::contract::ModelSpec;
use super::popularity::ItemCounts;
use super::vector_model::{Screen, VectorModel};
use crate::error::ModelError;
use crate::tensors::Tensors;

/// A fitted multi-layer perceptron.
#[derive(Debug, Clone)]
pub struct Mlp {
    config: MlpConfig,
    /// Vector of each item, features included, with its bias as the last column: `[n_item_rows,
    /// d_model + 1]`.
    vectors: Matrix,
    layers: Layers,
    counts: ItemCounts,
    screen: Screen,
}

impl Mlp {
    /// Reads what [`VectorModel::tensors`] gave.
    pub(super) fn load(
        config: MlpConfig,
        tensors: &mut Tensors,
        n_item_rows: usize,
    ) -> Result<Self, ModelError> {
        let cols = config.d_model.get() as usize + 1;
        let vectors = tensors.take_matrix("vectors", n_item_rows, cols)?;
        let vectors = Matrix::from_vec(n_item_rows, cols, vectors)
            .map_err(ModelError::training(NAME, None))?;
        let sizes = config.sizes();
        let mut layers = Vec::new();
        for (position, pair) in sizes.windows(2).enumerate() {
            let [n_in, n_out] = [pair[0], pair[1]];
            let weight = tensors.take_matrix(&format!("layers.{position}.weight"), n_out, n_in)?;
            let bias = tensors.take_matrix(&format!("layers.{position}.bias"), 1, n_out)?;
            let layer = Matrix::from_vec(n_out, n_in, weight).and_then(|weight| {
                Linear::from_parts(weight, Some(Matrix::from_vec(1, n_out, bias)?))
            });
            layers.push(layer.map_err(ModelError::training(NAME, None))?);
        }
        let layers =
            Layers::from_layers(layers, Activation::from(config.activation), config.dropout as f32)
                .map_err(ModelError::training(NAME, None))?;
        Ok(Self {
            config,
            vectors,
            layers,
            counts: ItemCounts::load(tensors, n_item_rows)?,
            screen: Screen::default(),
        })
    }
}

impl VectorModel for Mlp {
    fn name(&self) -> &'static str {
        NAME
    }

    fn hyperparameters(&self) -> Value {
        self.config.hyperparameters()
    }

    fn vectors(&self) -> &Matrix {
        &self.vectors
    }

    fn screen(&self) -> &Screen {
        &self.screen
    }

    fn n_dims(&self) -> usize {
        self.vectors.cols() - 1
    }

    fn counts(&self) -> &ItemCounts {
        &self.counts
    }

    fn max_history(&self) -> usize {
        self.config.max_history.get() as usize
    }

    fn encode(&self, history: History<'_>) -> Vec<f32> {
        let n_item_rows = self.vectors.rows();
        let known =
            |item: &ItemIdx| if item.row() < n_item_rows { *item } else { ItemIdx::UNKNOWN };
        let items: Vec<ItemIdx> = history.items.iter().map(known).collect();
        let mut workspace = Workspace::default();
        let network = (&self.vectors, &self.layers, &self.config);
        forward(network, &[&items], Pass::Inference, &mut workspace)
            .expect("the shapes were checked when the model was fitted or loaded");
        workspace.hidden.row(0).to_vec()
    }

    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        tensors.insert_matrix("vectors", self.vectors.to_host(), self.vectors.cols());
        tensors.insert_parameters(&self.layers);
        self.counts.save(&mut tensors);
        tensors
    }
}
