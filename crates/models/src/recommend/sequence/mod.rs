//! Models over the whole sequence of a user's items, trained by backpropagation: SASRec, HSTU, eSASRec.
//!
//! They are one arrangement of layers with different hyperparameters. Start at [`SequenceConfig`], which says what is
//! computed; then `encoder` and `block` (forward and backward over a tile of sequences), `step` (a batch over threads),
//! `fit` (the loop).

mod block;
mod config;
mod encoder;
mod fit;
mod step;

use std::num::NonZeroUsize;

use forecart_data::{History, ItemIdx, SeenItems};
use forecart_nn::{Matrix, Name, NnError, Parameters, Pass};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

pub use config::{AttentionKind, Preset, SequenceConfig, SequenceLoss, SequenceSpec};

use self::encoder::Tile;
use self::step::Network;
use super::contract::{Fallback, ModelSpec, Reason, Recommender, weightiest};
use super::popularity::ItemCounts;
use super::top_k::{Scored, TopK, top_k};
use crate::error::ModelError;
use crate::tensors::Tensors;

/// A fitted model over sequences.
#[derive(Debug, Clone)]
pub struct Sequence {
    spec: SequenceSpec,
    network: Network,
    counts: ItemCounts,
}

/// Writes the vector of the newest token of each history, `[n_histories, d]`; none may be empty.
fn encode_newest(
    network: &Network,
    histories: &[History<'_>],
    tile: &mut Tile,
    hidden: &mut Matrix,
) -> Result<(), NnError> {
    let vectors = network.items.vectors();
    tile.clear();
    histories.iter().for_each(|history| tile.push(*history, vectors.rows()));
    network.encoder.forward(vectors, Pass::Inference, tile)?;
    hidden.reshape(histories.len(), vectors.cols());
    for (to, row) in tile.newest().enumerate() {
        hidden.row_mut(to).copy_from_slice(tile.hidden.row(row));
    }
    Ok(())
}

impl Sequence {
    fn new(spec: SequenceSpec, network: Network, counts: ItemCounts) -> Self {
        Self { spec, network, counts }
    }

    /// Reads what [`Recommender::tensors`] gave.
    pub(super) fn load(
        spec: SequenceSpec,
        tensors: &mut Tensors,
        n_item_rows: usize,
    ) -> Result<Self, ModelError> {
        let name = spec.preset.name();
        let has_time = tensors.contains("encoder.blocks.0.attend.bias.time");
        // Weights that are overwritten below: the seed means nothing.
        let rng = &mut ChaCha8Rng::seed_from_u64(0);
        let network = Network::new(&spec.config, n_item_rows, has_time, rng);
        let mut network = network.map_err(ModelError::training(name, None))?;
        let mut damaged = None;
        let loaded = network.visit_mut(&Name::root(), &mut |name, value| {
            let [rows, cols] = value.shape();
            match tensors.take_matrix(&name.to_string(), rows, cols) {
                Ok(values) => value.copy_from_host(&values),
                Err(error) => {
                    damaged.get_or_insert(error);
                    Ok(())
                }
            }
        });
        if let Some(error) = damaged {
            return Err(error);
        }
        loaded.map_err(ModelError::training(name, None))?;
        Ok(Self { spec, network, counts: ItemCounts::load(tensors, n_item_rows)? })
    }

    fn vectors(&self) -> &Matrix {
        self.network.items.vectors()
    }

    fn is_known(&self, item: ItemIdx) -> bool {
        item.is_known() && item.row() < self.vectors().rows()
    }

    /// The user's vector, `[d]`; `None` where there is nothing to see.
    fn user_vector(&self, history: History<'_>) -> Option<Vec<f32>> {
        let history = history.newest(self.spec.config.max_history.get() as usize);
        if !history.items.iter().any(|item| self.is_known(*item)) {
            return None;
        }
        let mut hidden = Matrix::default();
        encode_newest(&self.network, &[history], &mut Tile::default(), &mut hidden)
            .expect("the shapes were checked when the model was fitted or loaded");
        Some(hidden.row(0).to_vec())
    }
}

impl Recommender for Sequence {
    fn name(&self) -> &'static str {
        self.spec.preset.name()
    }

    fn hyperparameters(&self) -> Value {
        self.spec.hyperparameters()
    }

    fn n_item_rows(&self) -> usize {
        self.vectors().rows()
    }

    fn score_all(&self, history: History<'_>, scores: &mut [f32]) {
        assert_eq!(scores.len(), self.n_item_rows(), "one score for each item row");
        let Some(user) = self.user_vector(history) else { return self.counts.score_all(scores) };
        self.vectors().dot_rows(&user, scores);
        scores[ItemIdx::UNKNOWN.row()] = 0.0;
    }

    fn score(&self, history: History<'_>, candidates: &[ItemIdx]) -> Vec<f32> {
        let user = self.user_vector(history);
        let score = |item: &ItemIdx| match &user {
            _ if !self.is_known(*item) => 0.0,
            Some(user) => dot(user, self.vectors().row(item.row())),
            None => self.counts.get(*item),
        };
        candidates.iter().map(score).collect()
    }

    fn fallback(&self, history: History<'_>) -> Option<Fallback> {
        if history.items.is_empty() {
            return Some(Fallback::NoHistory);
        }
        let history = history.newest(self.spec.config.max_history.get() as usize);
        let silent = !history.items.iter().any(|item| self.is_known(*item));
        silent.then_some(Fallback::NothingKnown)
    }

    /// By the cosine of the items' vectors.
    fn similar(&self, item: ItemIdx, k: NonZeroUsize) -> Vec<Scored> {
        let history = [item];
        let request = TopK::new(k, SeenItems::Exclude);
        if !self.is_known(item) {
            return self.recommend(History::of(&history), &request);
        }
        let norm = |row: &[f32]| dot(row, row).sqrt().max(f32::MIN_POSITIVE);
        let vector = self.vectors().row(item.row());
        let mut scores = vec![0.0; self.n_item_rows()];
        self.vectors().dot_rows(vector, &mut scores);
        for (row, score) in scores.iter_mut().enumerate() {
            *score /= norm(vector) * norm(self.vectors().row(row));
        }
        top_k(&scores, History::of(&history), &request)
    }

    /// Leave one out: what the score of `item` loses without each known item that the model sees, at its newest event.
    /// Items that speak against it have a negative contribution.
    fn reasons(&self, history: History<'_>, item: ItemIdx, n: usize) -> Vec<Reason> {
        if !self.is_known(item) {
            return Vec::new();
        }
        let Some(user) = self.user_vector(history) else {
            return self.counts.reason(item, None).into_iter().take(n).collect();
        };
        let seen = history.newest(self.spec.config.max_history.get() as usize);
        let first = history.items.len() - seen.items.len();
        let row = self.vectors().row(item.row());
        let whole = dot(&user, row);
        let mut because: Vec<(usize, ItemIdx, f32)> = Vec::new();
        for (position, left_out) in seen.items.iter().enumerate().rev() {
            let is_repeat = because.iter().any(|(_, item, _)| item == left_out);
            if !self.is_known(*left_out) || is_repeat {
                continue;
            }
            let kept: Vec<usize> =
                (0..seen.items.len()).filter(|place| seen.items[*place] != *left_out).collect();
            let items: Vec<ItemIdx> = kept.iter().map(|place| seen.items[*place]).collect();
            let times: Vec<i64> =
                kept.iter().filter_map(|place| seen.timestamps_ms.get(*place)).copied().collect();
            let rest = History { items: &items, timestamps_ms: &times, events: &[] };
            let score = self.user_vector(rest).map_or(0.0, |user| dot(&user, row));
            because.push((first + position, *left_out, whole - score));
        }
        weightiest(because, n)
    }

    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        self.network.visit(&Name::root(), &mut |name, value| {
            tensors.insert_matrix(name.to_string(), value.to_host(), value.cols());
        });
        self.counts.save(&mut tensors);
        tensors
    }
}

/// As [`Matrix::dot_rows`] for one row, to the bit.
fn dot(x: &[f32], y: &[f32]) -> f32 {
    forecart_nn::dot(x, y)
}
