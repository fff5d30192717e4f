//! What the gradients of the items' vectors are summed from.

use forecart_nn::{Matrix, RowGradients, RowOrder};

/// What the gradients of the items' vectors are summed from, for the whole batch: for each label, itself and its own
/// negatives times the hidden row; for each token, its item times the gradient of its input.
#[derive(Debug, Default)]
pub(super) struct Terms {
    /// Candidates of a label.
    pub(super) n_candidates: usize,
    /// Items, `[n_labels, n_candidates]` and then `[n_tokens]`.
    pub(super) items: Vec<u32>,
    /// `[n_labels, n_candidates]`.
    pub(super) d_logits: Vec<f32>,
    /// `[n_labels, d]`.
    pub(super) hidden: Matrix,
    /// `[n_tokens, d]`.
    pub(super) d_inputs: Matrix,
}

/// The part of [`Terms`] that a group fills.
pub(super) struct GroupTerms<'a> {
    pub(super) candidates: &'a mut [u32],
    pub(super) d_logits: &'a mut [f32],
    pub(super) hidden: &'a mut [f32],
    pub(super) inputs: &'a mut [u32],
    pub(super) d_inputs: &'a mut [f32],
}

impl Terms {
    pub(super) fn reshape(
        &mut self,
        n_labels: usize,
        n_candidates: usize,
        n_tokens: usize,
        d: usize,
    ) {
        self.n_candidates = n_candidates;
        self.items.resize(n_labels * n_candidates + n_tokens, 0);
        self.d_logits.resize(n_labels * n_candidates, 0.0);
        self.hidden.reshape(n_labels, d);
        self.d_inputs.reshape(n_tokens, d);
    }

    /// The parts of groups of these numbers of labels and tokens.
    pub(super) fn of_groups(
        &mut self,
        sizes: impl Iterator<Item = [usize; 2]>,
    ) -> Vec<GroupTerms<'_>> {
        fn take<'a, T>(rest: &mut &'a mut [T], n: usize) -> &'a mut [T] {
            let (part, after) = std::mem::take(rest).split_at_mut(n);
            *rest = after;
            part
        }
        let (n_candidates, d) = (self.n_candidates, self.d_inputs.cols());
        let (mut candidates, mut inputs) = self.items.split_at_mut(self.d_logits.len());
        let mut d_logits = self.d_logits.as_mut_slice();
        let mut hidden = self.hidden.as_mut_slice();
        let mut d_inputs = self.d_inputs.as_mut_slice();
        let part = |[n_labels, n_tokens]: [usize; 2]| GroupTerms {
            candidates: take(&mut candidates, n_labels * n_candidates),
            d_logits: take(&mut d_logits, n_labels * n_candidates),
            hidden: take(&mut hidden, n_labels * d),
            inputs: take(&mut inputs, n_tokens),
            d_inputs: take(&mut d_inputs, n_tokens * d),
        };
        sizes.map(part).collect()
    }

    /// Sums the terms by item.
    pub(super) fn sum_into(
        &self,
        order: &mut RowOrder,
        n_item_rows: usize,
        sums: &mut RowGradients,
    ) {
        order.sort(&self.items, n_item_rows);
        let n_of_labels = self.d_logits.len();
        sums.sum_terms(order, |place| match self.d_logits.get(place) {
            Some(d_logit) => (*d_logit, self.hidden.row(place / self.n_candidates)),
            None => (1.0, self.d_inputs.row(place - n_of_labels)),
        });
    }
}
