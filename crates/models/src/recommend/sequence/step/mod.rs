//! One training step: a batch of sequences forward and backward on all threads, and the update.
//!
//! Start at [`Stepper::step`]; `groups` shares a batch out and sums what its parts give, `against_batch` and `against_few` are
//! the two ways through it, by loss, `negatives` what it draws; `labeled_tile` with `masking` takes a tile of sequences from its
//! items to its gradients, `terms` collects those of the items' vectors.

mod against_batch;
mod against_few;
mod groups;
mod labeled_tile;
mod masking;
mod negatives;
mod terms;
#[cfg(test)]
mod tests;

use std::sync::Mutex;

use forecart_data::History;
use forecart_nn::loss::{FullSoftmaxWorkspace, SubsetSoftmaxWorkspace};
use forecart_nn::{DropoutKey, Gradients, Matrix, NnError, Optimizer, RowGradients, Trainable};

use self::groups::Group;
pub(super) use self::groups::N_GROUPS;
use self::labeled_tile::LabeledTile;
use self::terms::Terms;
use super::super::candidates::Candidates;
use super::config::{SequenceConfig, SequenceLoss};
use super::encoder::EncoderGradients;
use super::network::{Network, NetworkGradients};
use crate::recommend::item_table::ItemGradients;
use crate::recommend::popularity::ItemCounts;

/// A network in training, with its optimizer and buffers.
#[derive(Debug)]
pub(crate) struct Stepper {
    config: SequenceConfig,
    pub(super) network: Network,
    pub(super) optimizer: Optimizer,
    /// Gradients of the last step.
    pub(super) total: NetworkGradients,
    groups: Vec<Group>,
    /// Buffers of tiles that no thread is working on.
    idle: Mutex<Vec<LabeledTile>>,
    /// Gradients of groups that are not in use.
    idle_gradients: Mutex<Vec<EncoderGradients>>,
    terms: Terms,
    /// Gradients of inputs, where those of labels are dense.
    inputs: RowGradients,
    softmax: FullSoftmaxWorkspace,
    d_hidden: Matrix,
    /// Where the softmax is over the labels of the batch and items drawn beside them.
    mixed: Mixed,
}

/// What a softmax over labels and drawn items needs.
#[derive(Debug)]
struct Mixed {
    candidates: Candidates,
    softmax: SubsetSoftmaxWorkspace,
    /// Gradients of the candidates.
    rows: RowGradients,
}

impl Stepper {
    pub(crate) fn new(config: &SequenceConfig, network: Network, optimizer: Optimizer) -> Self {
        let total = network.new_gradients();
        let [n_rows, d] = network.items.vectors().shape();
        let groups = std::iter::repeat_with(|| Group::new(n_rows, d)).take(N_GROUPS).collect();
        Self {
            config: config.clone(),
            total,
            groups,
            network,
            optimizer,
            idle: Mutex::default(),
            idle_gradients: Mutex::default(),
            terms: Terms::default(),
            inputs: RowGradients::new(n_rows, d),
            softmax: FullSoftmaxWorkspace::new(config.precision.into()),
            d_hidden: Matrix::default(),
            mixed: Mixed {
                candidates: Candidates::default(),
                softmax: SubsetSoftmaxWorkspace::default(),
                rows: RowGradients::new(n_rows, d),
            },
        }
    }

    /// Tells how often items are labels, which corrects candidates that are labels of others.
    pub(super) fn with_popularity(mut self, counts: &ItemCounts) -> Self {
        self.mixed.candidates = Candidates::of(counts);
        self
    }

    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// One step of the optimizer; the mean loss of the batch's labels, and their number. Masks, dropout and negatives are
    /// drawn by `key`.
    pub(super) fn step(
        &mut self,
        key: DropoutKey,
        batch: &[History<'_>],
    ) -> Result<(f64, usize), NnError> {
        self.step_against(key, batch, None)
    }

    /// The same with negatives that are given in place of drawn: `n_negatives` for each label in turn, or, where labels
    /// share them, once.
    pub(crate) fn step_against(
        &mut self,
        key: DropoutKey,
        batch: &[History<'_>],
        negatives: Option<&[u32]>,
    ) -> Result<(f64, usize), NnError> {
        let [n_tokens, n_labels] = self.lay_out(batch, key);
        if n_labels == 0 {
            return Ok((0.0, 0));
        }
        let [n_item_rows, d] = self.network.vectors().shape();
        self.terms.reshape(n_item_rows, n_labels, n_tokens, d);
        self.total.clear();
        self.compose(batch, key, negatives);
        let loss = match self.config.loss {
            SequenceLoss::Full | SequenceLoss::Auto | SequenceLoss::Mixed => {
                self.against_batch(batch, key, n_labels, negatives)?
            }
            SequenceLoss::Sampled | SequenceLoss::Bce | SequenceLoss::Shared => {
                self.against_few(batch, key, n_labels, negatives)?
            }
        };
        let Self { groups, terms, inputs, total, network, mixed, .. } = self;
        match &mut total.items {
            ItemGradients::Rows(rows) => terms.sum_into(rows),
            dense => {
                terms.sum_into(inputs);
                dense.add_rows(inputs)?;
            }
        }
        for group in groups {
            total.items.add_rows(&group.shared)?;
        }
        total.items.add_rows(&mixed.rows)?;
        network.encoder.finish(&mut total.encoder)?;
        if let (Some(attributes), Some(gradients)) = (&network.attributes, &mut total.attributes) {
            attributes.backward(&total.items, gradients);
        }
        network.outdate();
        self.optimizer.step(network, total)?;
        Ok((loss, n_labels))
    }
}
