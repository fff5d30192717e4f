//! A multi-layer perceptron on the user's history and the items' features, trained by
//! backpropagation.
//!
//! Start at [`MlpConfig`], which says what the model computes; then `network` (forward and
//! backward), `fit` (the loop).

mod config;
mod fit;
mod gradients;
mod network;

use std::num::NonZeroUsize;

use forecart_data::{History, ItemIdx, SeenItems};
use forecart_nn::{Activation, Linear, Matrix, Mlp as Layers, Name, Parameters, Pass};
use serde_json::Value;

pub use config::{HiddenActivation, MlpConfig, SoftmaxLoss};

use self::config::NAME;
use self::network::{Workspace, dot, forward};
use super::contract::{Fallback, ModelSpec, Reason, Recommender, weightiest};
use super::popularity::ItemCounts;
use super::top_k::{Scored, TopK, top_k};
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
}

impl Mlp {
    /// Reads what [`Recommender::tensors`] gave.
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
        Ok(Self { config, vectors, layers, counts: ItemCounts::load(tensors, n_item_rows)? })
    }

    /// The items that the network sees, oldest first; those past the table are the unknown item.
    fn seen_by_network(&self, history: History<'_>) -> Vec<ItemIdx> {
        let n_item_rows = self.n_item_rows();
        let newest = history.newest(self.config.max_history.get() as usize);
        let known =
            |item: &ItemIdx| if item.row() < n_item_rows { *item } else { ItemIdx::UNKNOWN };
        newest.items.iter().map(known).collect()
    }

    /// The user's vector, `[d_model + 1]`; `None` where there is nothing to see.
    fn user_vector(&self, history: History<'_>) -> Option<Vec<f32>> {
        let items = self.seen_by_network(history);
        if items.iter().all(|item| !item.is_known()) {
            return None;
        }
        let mut workspace = Workspace::default();
        let network = (&self.vectors, &self.layers, &self.config);
        forward(network, &[&items], Pass::Inference, &mut workspace)
            .expect("the shapes were checked when the model was fitted or loaded");
        Some(workspace.hidden.row(0).to_vec())
    }
}

impl Recommender for Mlp {
    fn name(&self) -> &'static str {
        NAME
    }

    fn hyperparameters(&self) -> Value {
        self.config.hyperparameters()
    }

    fn n_item_rows(&self) -> usize {
        self.vectors.rows()
    }

    fn score_all(&self, history: History<'_>, scores: &mut [f32]) {
        assert_eq!(scores.len(), self.n_item_rows(), "one score for each item row");
        let Some(user) = self.user_vector(history) else { return self.counts.score_all(scores) };
        let rows = self.vectors.as_slice().chunks_exact(self.vectors.cols());
        for (score, row) in scores.iter_mut().zip(rows) {
            *score = dot(&user, row);
        }
        scores[ItemIdx::UNKNOWN.row()] = 0.0;
    }

    fn score(&self, history: History<'_>, candidates: &[ItemIdx]) -> Vec<f32> {
        let user = self.user_vector(history);
        let score = |item: &ItemIdx| match &user {
            _ if !item.is_known() || item.row() >= self.n_item_rows() => 0.0,
            Some(user) => dot(user, self.vectors.row(item.row())),
            None => self.counts.get(*item),
        };
        candidates.iter().map(score).collect()
    }

    fn fallback(&self, history: History<'_>) -> Option<Fallback> {
        if history.items.is_empty() {
            return Some(Fallback::NoHistory);
        }
        let silent = self.seen_by_network(history).iter().all(|item| !item.is_known());
        silent.then_some(Fallback::NothingKnown)
    }

    /// By the cosine of the items' vectors, without their biases.
    fn similar(&self, item: ItemIdx, k: NonZeroUsize) -> Vec<Scored> {
        let history = [item];
        let request = TopK::new(k, SeenItems::Exclude);
        if !item.is_known() || item.row() >= self.n_item_rows() {
            return self.recommend(History::of(&history), &request);
        }
        let d_model = self.vectors.cols() - 1;
        let vector = |row: usize| &self.vectors.row(row)[..d_model];
        let norm = |row: usize| dot(vector(row), vector(row)).sqrt().max(f32::MIN_POSITIVE);
        let cosine =
            |row: usize| dot(vector(item.row()), vector(row)) / norm(item.row()) / norm(row);
        let scores: Vec<f32> = (0..self.n_item_rows()).map(cosine).collect();
        top_k(&scores, History::of(&history), &request)
    }

    /// Leave one out: what the score of `item` loses without each known item that the network sees,
    /// at its newest event. Items that speak against it have a negative contribution.
    fn reasons(&self, history: History<'_>, item: ItemIdx, n: usize) -> Vec<Reason> {
        if !item.is_known() || item.row() >= self.n_item_rows() {
            return Vec::new();
        }
        let Some(user) = self.user_vector(history) else {
            return self.counts.reason(item, None).into_iter().take(n).collect();
        };
        let items = self.seen_by_network(history);
        let row = self.vectors.row(item.row());
        let whole = dot(&user, row);
        let first = history.items.len() - items.len();
        let mut because: Vec<(usize, ItemIdx, f32)> = Vec::new();
        for (position, left_out) in items.iter().enumerate().rev() {
            if !left_out.is_known() || because.iter().any(|(_, item, _)| item == left_out) {
                continue;
            }
            let rest: Vec<ItemIdx> =
                items.iter().copied().filter(|other| other != left_out).collect();
            // Without any event nothing is left of the score but the item's bias.
            let bias = row[row.len() - 1];
            let score = self.user_vector(History::of(&rest)).map_or(bias, |user| dot(&user, row));
            because.push((first + position, *left_out, whole - score));
        }
        weightiest(because, n)
    }

    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        tensors.insert_matrix("vectors", self.vectors.to_host(), self.vectors.cols());
        self.layers.visit(&Name::root(), &mut |name, value| {
            tensors.insert_matrix(name.to_string(), value.to_host(), value.cols());
        });
        self.counts.save(&mut tensors);
        tensors
    }
}
