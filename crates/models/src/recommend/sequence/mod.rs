//! Models over the whole sequence of a user's items, trained by backpropagation: GRU4Rec, SASRec, BERT4Rec, HSTU,
//! eSASRec.
//!
//! They are one arrangement of layers with different hyperparameters. Start at [`SequenceConfig`], which says what is
//! computed; then `encoder`, `block`, `feed_forward` and `recurrence` (forward and backward over a tile of sequences),
//! `network` (all that is learned), `step` (a batch over threads), `resolve` (what the data decide), `spec` and `fit` (the
//! loop); `arithmetic` counts what training costs.

mod arithmetic;
mod block;
#[cfg(test)]
mod block_parity;
mod config;
pub(crate) mod encoder;
mod feed_forward;
mod fit;
pub(crate) mod network;
mod recurrence;
mod resolve;
mod spec;
pub(crate) mod step;

use forecart_data::History;
use forecart_nn::{Matrix, NnError, Pass};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

pub use config::{
    FeedForwardKind, ItemUpdates, Mixer, Objective, Precision, Preset, SequenceConfig, SequenceLoss,
};
pub use spec::SequenceSpec;

use self::encoder::Tile;
use self::network::Network;
use super::contract::ModelSpec;
use super::popularity::ItemCounts;
use super::vector_model::{Screen, VectorModel};
use crate::error::ModelError;
use crate::tensors::Tensors;

/// A fitted model over sequences.
#[derive(Debug, Clone)]
pub struct Sequence {
    spec: SequenceSpec,
    network: Network,
    counts: ItemCounts,
    screen: Screen,
}

/// Writes the vector of the newest token of each history, or of the mask after it, `[n_histories, d]`; none may be empty.
fn encode_newest(
    network: &Network,
    histories: &[History<'_>],
    tile: &mut Tile,
    hidden: &mut Matrix,
) -> Result<(), NnError> {
    let vectors = network.vectors();
    tile.clear();
    let asks_by_mask = network.encoder.asks_by_mask();
    let asked = network.encoder.asked_event();
    histories.iter().for_each(|history| tile.push(*history, vectors.rows(), asked, asks_by_mask));
    network.encoder.forward(vectors, Pass::Inference, tile)?;
    hidden.reshape(histories.len(), vectors.cols());
    for (to, row) in tile.newest().enumerate() {
        hidden.row_mut(to).copy_from_slice(tile.hidden.row(row));
    }
    Ok(())
}

impl Sequence {
    fn new(spec: SequenceSpec, network: Network, counts: ItemCounts) -> Self {
        Self { spec, network: network.without_attributes(), counts, screen: Screen::default() }
    }

    /// Reads what [`VectorModel::tensors`] gave: attributes are in the items' vectors.
    pub(super) fn load(
        spec: SequenceSpec,
        tensors: &mut Tensors,
        n_item_rows: usize,
    ) -> Result<Self, ModelError> {
        let name = spec.preset.name();
        // Before anything is as large as the header says.
        tensors.expect_at_least(spec.config.least_weights(n_item_rows))?;
        let has_time = tensors.contains("encoder.blocks.0.attend.bias.time");
        // Weights that are overwritten below: the seed means nothing.
        let rng = &mut ChaCha8Rng::seed_from_u64(0);
        let n_event_rows = tensors.n_rows("encoder.events.weight").unwrap_or(0);
        let network = Network::new(&spec.config, n_item_rows, has_time, n_event_rows, None, rng);
        let mut network = network.map_err(ModelError::training(name, None))?;
        tensors.take_parameters(&mut network, name)?;
        Ok(Self {
            spec,
            network,
            counts: ItemCounts::load(tensors, n_item_rows)?,
            screen: Screen::default(),
        })
    }
}

impl VectorModel for Sequence {
    fn name(&self) -> &'static str {
        self.spec.preset.name()
    }

    fn hyperparameters(&self) -> Value {
        self.spec.hyperparameters()
    }

    fn vectors(&self) -> &Matrix {
        self.network.vectors()
    }

    fn screen(&self) -> &Screen {
        &self.screen
    }

    fn n_dims(&self) -> usize {
        self.vectors().cols()
    }

    fn counts(&self) -> &ItemCounts {
        &self.counts
    }

    fn max_history(&self) -> usize {
        self.spec.config.max_history as usize
    }

    fn encode(&self, history: History<'_>) -> Vec<f32> {
        let mut hidden = Matrix::default();
        encode_newest(&self.network, &[history], &mut Tile::default(), &mut hidden)
            .expect("the shapes were checked when the model was fitted or loaded");
        hidden.row(0).to_vec()
    }

    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        tensors.insert_parameters(&self.network);
        self.counts.save(&mut tensors);
        tensors
    }
}
