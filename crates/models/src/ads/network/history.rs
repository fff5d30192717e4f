//! Histories as their fields see them.

use std::ops::Range;

use forecart_nn::{NnError, Ragged, RowTermsPart, TargetAttentionInputs};

use super::rows::{FieldRows, add_columns, take};
use super::workspace::{DenseGradients, Workspace};
use super::{FieldNetwork, put};

impl FieldNetwork {
    /// Fills the tokens of every history of some samples.
    pub(super) fn gather_histories(
        &self,
        batch: FieldRows<'_>,
        samples: Range<usize>,
        ws: &mut Workspace,
    ) -> Result<(), NnError> {
        let n_histories = self.attentions.len();
        ws.histories.resize_with(n_histories, Default::default);
        let Some(embedding) = &self.embedding else { return Ok(()) };
        for (at, history) in ws.histories.iter_mut().enumerate() {
            history.offsets.clear();
            history.offsets.push(0);
            history.rows.clear();
            for sample in samples.clone() {
                let slot = sample * n_histories + at;
                let [start, end] = [0, 1].map(|next| batch.histories.offsets[slot + next]);
                history.rows.extend_from_slice(&batch.histories.rows[start..end]);
                history.offsets.push(history.rows.len());
            }
            embedding.forward(&history.rows, &mut history.tokens)?; // [n_tokens, n_dims]
        }
        Ok(())
    }

    /// Writes what is seen of each history into the columns of `ws.x` from `at` on; where the next begin.
    pub(super) fn attend(&self, mut at: usize, ws: &mut Workspace) -> Result<usize, NnError> {
        let n_dims = self.n_dims();
        let Workspace { histories, fields, x, .. } = ws;
        for ((attention, field), history) in
            self.attentions.iter().zip(&self.seen_by).zip(histories)
        {
            take(fields, field * n_dims..(field + 1) * n_dims, &mut history.targets);
            let tokens = Ragged::new(&history.offsets)?;
            let seen = attention.forward(
                &history.tokens,
                tokens,
                &history.targets,
                &mut history.attention,
            )?;
            at = put(seen, at, x);
        }
        Ok(at)
    }

    /// Carries the columns of `ws.d_x` that come after those of the fields back to tokens and fields.
    pub(super) fn attend_backward(
        &self,
        ws: &mut Workspace,
        gradients: &mut DenseGradients,
    ) -> Result<(), NnError> {
        let n_dims = self.n_dims();
        let mut at = ws.d_fields.cols();
        let Workspace { histories, d_x, d_fields, .. } = ws;
        let layers = self.attentions.iter().zip(&self.seen_by).zip(&mut gradients.attentions);
        for (((attention, field), gradients), history) in layers.zip(histories) {
            take(d_x, at..at + n_dims, &mut history.d_seen);
            at += n_dims;
            attention.backward(
                (&history.tokens, Ragged::new(&history.offsets)?, &history.targets),
                &history.d_seen,
                TargetAttentionInputs {
                    d_history: &mut history.d_tokens,
                    d_targets: &mut history.d_targets,
                },
                &mut history.attention,
                gradients,
            )?;
            add_columns(&history.d_targets, 0..n_dims, field * n_dims, d_fields);
        }
        Ok(())
    }

    /// Copies the gradients of the tokens of some samples to where they stand in the batch, less `first`.
    pub(in crate::ads) fn put_tokens(
        &self,
        ws: &Workspace,
        batch: FieldRows<'_>,
        samples: Range<usize>,
        first: usize,
        d_tokens: &mut [f32],
    ) {
        let (n_histories, n_dims) = (self.attentions.len(), self.n_dims());
        for (at, history) in ws.histories.iter().enumerate() {
            for (sample, tokens) in samples.clone().zip(history.offsets.windows(2)) {
                let start = batch.histories.offsets[sample * n_histories + at] - first;
                let from = &history.d_tokens.as_slice()[tokens[0] * n_dims..tokens[1] * n_dims];
                d_tokens[start * n_dims..][..from.len()].copy_from_slice(from);
            }
        }
    }

    /// Notes which rows of the table the histories of some samples are made of. Their gradients stand after those of the fields.
    pub(super) fn push_history_terms(
        &self,
        batch: FieldRows<'_>,
        samples: Range<usize>,
        terms: &mut RowTermsPart,
    ) {
        let n_slots = batch.labels.len() * self.n_fields;
        let tokens = batch.histories.of(samples, self.attentions.len());
        for (row, place) in batch.histories.rows[tokens.clone()].iter().zip(tokens) {
            terms.push(*row, (n_slots + place) as u32, 1.0);
        }
    }
}
