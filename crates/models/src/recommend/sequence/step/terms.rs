//! What the gradients of the items' vectors are summed from.

use forecart_nn::{Matrix, RowGradients, RowTerms, RowTermsPart};

/// What the gradients of the items' vectors are summed from, for the whole batch: for each label, itself and its own
/// negatives times the hidden row; for each token, its item times the gradient of its input.
#[derive(Debug, Default)]
pub(super) struct Terms {
    /// Sources are the rows of `hidden` and then those of `d_inputs`.
    items: RowTerms,
    n_item_rows: usize,
    /// `[n_labels, d]`.
    pub(super) hidden: Matrix,
    /// `[n_tokens, d]`.
    d_inputs: Matrix,
}

/// The part of [`Terms`] that a group fills.
pub(super) struct GroupTerms<'a> {
    items: &'a mut RowTermsPart,
    /// Sources of the group's first label and first token.
    first: [usize; 2],
    pub(super) hidden: &'a mut [f32],
    d_inputs: &'a mut [f32],
}

impl Terms {
    /// For a batch of these sizes, without terms.
    pub(super) fn reshape(
        &mut self,
        n_item_rows: usize,
        n_labels: usize,
        n_tokens: usize,
        d: usize,
    ) {
        self.n_item_rows = n_item_rows;
        self.hidden.reshape(n_labels, d);
        self.d_inputs.reshape(n_tokens, d);
    }

    /// The parts of groups of these numbers of labels and tokens, without terms.
    pub(super) fn of_groups(
        &mut self,
        sizes: impl Iterator<Item = [usize; 2]>,
    ) -> Vec<GroupTerms<'_>> {
        fn take<'a>(rest: &mut &'a mut [f32], n: usize) -> &'a mut [f32] {
            let (part, after) = std::mem::take(rest).split_at_mut(n);
            *rest = after;
            part
        }
        let sizes: Vec<[usize; 2]> = sizes.collect();
        let d = self.d_inputs.cols();
        let mut first = [0, self.hidden.rows()];
        let mut hidden = self.hidden.as_mut_slice();
        let mut d_inputs = self.d_inputs.as_mut_slice();
        let parts = self.items.clear(self.n_item_rows, sizes.len()).iter_mut();
        let part = |(items, [n_labels, n_tokens]): (_, [usize; 2])| {
            let part = GroupTerms {
                items,
                first,
                hidden: take(&mut hidden, n_labels * d),
                d_inputs: take(&mut d_inputs, n_tokens * d),
            };
            first = [first[0] + n_labels, first[1] + n_tokens];
            part
        };
        parts.zip(sizes).map(part).collect()
    }

    /// Sums the terms by item.
    pub(super) fn sum_into(&mut self, sums: &mut RowGradients) {
        self.items.finish();
        sums.sum_terms(&self.items, [self.hidden.as_slice(), self.d_inputs.as_slice()]);
    }
}

impl GroupTerms<'_> {
    /// Adds `d_logit * hidden` to the gradients of the candidates of the group's label at `place`, whose hidden row is
    /// in its place already.
    pub(super) fn push_candidates(
        &mut self,
        place: usize,
        label: u32,
        negatives: &[u32],
        d_logits: &[f32],
    ) {
        let source = (self.first[0] + place) as u32;
        let items = std::iter::once(&label).chain(negatives);
        for (item, d_logit) in items.zip(d_logits) {
            self.items.push(*item, source, *d_logit);
        }
    }

    /// Adds `scale * d_vector` to the gradient of the item of the group's token at `place`.
    pub(super) fn push_input(&mut self, place: usize, item: u32, d_vector: &[f32], scale: f32) {
        let d = d_vector.len();
        self.d_inputs[place * d..(place + 1) * d].copy_from_slice(d_vector);
        self.items.push(item, (self.first[1] + place) as u32, scale);
    }
}
