//! A tile of training sequences with their labels, from the sequences to the gradients.

use std::ops::Range;

use forecart_data::{History, ItemIdx};
use forecart_nn::loss::{
    OwnNegatives, OwnNegativesGradients, OwnNegativesWorkspace, SampledSoftmax,
    SampledSoftmaxGradients, SampledSoftmaxWorkspace, own_sampled_softmax, sampled_bce,
    sampled_softmax,
};
use forecart_nn::{DropoutKey, Matrix, NnError, Pass, RowGradients};

use super::super::config::SequenceLoss;
use super::super::encoder::{EncoderGradients, Tile};
use super::super::network::Network;
use super::masking::Masking;
use super::terms::GroupTerms;

/// The sequences of a tile.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub(super) sequences: Range<usize>,
    /// Row of the tile's first token in the batch, and of its first label among the batch's labels.
    pub(super) first_row: usize,
    pub(super) first_label: usize,
    /// The same in the group.
    pub(super) in_group: [usize; 2],
}

/// The tile with its labels and the buffers of the loss.
#[derive(Debug, Default)]
pub(super) struct LabeledTile {
    pub(super) tile: Tile,
    /// Rows whose next item is known, or rows that are masked, and that item.
    pub(super) rows: Vec<usize>,
    pub(super) labels: Vec<u32>,
    pub(super) negatives: Vec<u32>,
    /// Rows with a label, `[n_labels, d]`, where not all rows have one.
    pub(super) hidden: Matrix,
    pub(super) d_hidden: Matrix,
    pub(super) own: OwnNegativesWorkspace,
    pub(super) shared: SampledSoftmaxWorkspace,
}

pub(super) fn is_label(item: &ItemIdx, n_item_rows: usize) -> bool {
    item.is_known() && item.row() < n_item_rows
}

impl LabeledTile {
    /// Takes sequences of a batch: all of each with some items masked, or without their last items, which are labels alone.
    pub(super) fn fill(
        &mut self,
        batch: &[History<'_>],
        sequences: Range<usize>,
        n_item_rows: usize,
        masking: Option<&Masking>,
    ) {
        self.tile.clear();
        self.rows.clear();
        self.labels.clear();
        for at in sequences {
            let (history, first) = (batch[at], self.tile.n_tokens());
            if let Some(masking) = masking {
                self.tile.push(history, n_item_rows, 0, false);
                masking.hide(at, first, &mut self.tile.items, &mut self.rows, &mut self.labels);
                continue;
            }
            let next = history.events.last().copied().unwrap_or(0);
            self.tile.push(history.first(history.items.len() - 1), n_item_rows, next, false);
            for (place, item) in history.items[1..].iter().enumerate() {
                if is_label(item, n_item_rows) {
                    self.rows.push(first + place);
                    self.labels.push(item.0);
                }
            }
        }
    }

    /// Takes the rows with a label: copies them, where not all have one.
    pub(super) fn gather(&mut self) {
        if self.is_all() {
            std::mem::swap(&mut self.hidden, &mut self.tile.hidden);
            return;
        }
        self.hidden.reshape(self.rows.len(), self.tile.hidden.cols());
        for (place, row) in self.rows.iter().enumerate() {
            self.hidden.row_mut(place).copy_from_slice(self.tile.hidden.row(*row));
        }
    }

    pub(super) fn against_own(
        &mut self,
        vectors: &Matrix,
        loss: SequenceLoss,
        beta: f32,
        mean_over: f64,
    ) -> Result<f64, NnError> {
        let candidates = OwnNegatives { labels: &self.labels, negatives: &self.negatives };
        let (hidden, own) = (&self.hidden, &mut self.own);
        let gradients = OwnNegativesGradients { d_hidden: &mut self.d_hidden, d_table: None };
        match loss {
            SequenceLoss::Bce => {
                sampled_bce(hidden, vectors, candidates, beta, mean_over, own, gradients)
            }
            _ => own_sampled_softmax(hidden, vectors, candidates, None, mean_over, own, gradients),
        }
    }

    /// Copies what the gradients of the candidates' vectors are summed from.
    pub(super) fn keep_candidates(&self, span: &Span, terms: &mut GroupTerms<'_>) {
        let (d, first) = (self.hidden.cols(), span.in_group[1]);
        let hidden = self.hidden.as_slice();
        terms.hidden[first * d..first * d + hidden.len()].copy_from_slice(hidden);
        let d_logits = self.own.d_logits();
        let n_negatives = self.negatives.len() / self.labels.len().max(1);
        for (place, label) in self.labels.iter().enumerate() {
            let negatives = &self.negatives[place * n_negatives..(place + 1) * n_negatives];
            terms.push_candidates(first + place, *label, negatives, d_logits.row(place));
        }
    }

    pub(super) fn against_shared(
        &mut self,
        vectors: &Matrix,
        negatives: &[u32],
        mean_over: f64,
        items: &mut RowGradients,
    ) -> Result<f64, NnError> {
        let candidates = SampledSoftmax { labels: &self.labels, negatives, log_q: None };
        let gradients = SampledSoftmaxGradients { d_hidden: &mut self.d_hidden, d_table: items };
        sampled_softmax(&self.hidden, vectors, candidates, mean_over, &mut self.shared, gradients)
    }

    /// Whether every row has a label.
    fn is_all(&self) -> bool {
        self.rows.len() == self.tile.n_tokens()
    }

    /// Gives each row with a label its gradient, and the others none.
    pub(super) fn scatter<'b>(&mut self, d_label: impl Fn(usize) -> &'b [f32]) {
        self.tile.d_hidden.reset(self.tile.n_tokens(), self.hidden.cols());
        for (place, row) in self.rows.iter().enumerate() {
            self.tile.d_hidden.row_mut(*row).copy_from_slice(d_label(place));
        }
    }

    /// The same with the gradients of the tile's own loss.
    pub(super) fn scatter_own(&mut self) {
        if self.is_all() {
            std::mem::swap(&mut self.d_hidden, &mut self.tile.d_hidden);
            return;
        }
        let d_hidden = std::mem::take(&mut self.d_hidden);
        self.scatter(|place| d_hidden.row(place));
        self.d_hidden = d_hidden;
    }

    pub(super) fn backward(
        &mut self,
        network: &Network,
        key: DropoutKey,
        span: &Span,
        encoder: &mut EncoderGradients,
        terms: &mut GroupTerms<'_>,
    ) -> Result<(), NnError> {
        let pass = Pass::Training { key, first_row: span.first_row };
        let first = span.in_group[0];
        let mut places = first..;
        network.encoder.backward(pass, &mut self.tile, encoder, |item, d_vector, scale| {
            if let Some(place) = places.next() {
                terms.push_input(place, item, d_vector, scale);
            }
        })
    }
}
