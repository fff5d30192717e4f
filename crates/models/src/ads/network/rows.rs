//! Samples as the network reads them.

use std::ops::Range;

use forecart_nn::{BagMode, Bags, Embedding, Matrix, NnError};

/// Samples, one after the other.
#[derive(Debug, Clone, Copy, Default)]
pub struct FieldRows<'a> {
    /// The active rows of each field, sample by sample: `[n n_fields]`, or as many as `offsets` says.
    pub rows: &'a [u32],
    /// Where the rows of each field of each sample begin, `[n n_fields + 1]`; `None` where each has one.
    pub offsets: Option<&'a [usize]>,
    /// `[n, n_dense]`.
    pub dense: &'a [f32],
    /// What is to be predicted, 0 or 1, `[n]`. Its length is the number of samples.
    pub labels: &'a [f32],
    /// The rows of each history, sample by sample, oldest first.
    pub histories: HistoryRows<'a>,
    /// What came of each sample whose label is 1, as [`forecart_nn::loss::EntireSpace`] reads it, `[n]`; empty for networks that do not ask.
    pub conversions: &'a [f32],
    /// What the loss of each sample is multiplied by, not below 0, `[n]`; empty where all count alike.
    pub weights: &'a [f32],
}

impl FieldRows<'_> {
    /// The weights of some samples, as losses read them.
    pub(in crate::ads) fn weights_of(&self, samples: Range<usize>) -> Option<&[f32]> {
        if self.weights.is_empty() { None } else { Some(&self.weights[samples]) }
    }

    /// What losses are means over: the sum of the weights.
    pub(in crate::ads) fn total_weight(&self) -> f64 {
        match self.weights {
            [] => self.labels.len() as f64,
            weights => weights.iter().map(|weight| f64::from(*weight)).sum(),
        }
    }
}

/// Rows of histories.
#[derive(Debug, Clone, Copy, Default)]
pub struct HistoryRows<'a> {
    /// As many as `offsets` says.
    pub rows: &'a [u32],
    /// Where the rows of each history of each sample begin, `[n n_histories + 1]`; empty where there are no histories.
    pub offsets: &'a [usize],
}

impl HistoryRows<'_> {
    /// Where the rows of some samples begin and end.
    pub(in crate::ads) fn of(&self, samples: Range<usize>, n_histories: usize) -> Range<usize> {
        match n_histories {
            0 => 0..0,
            n => self.offsets[samples.start * n]..self.offsets[samples.end * n],
        }
    }
}

/// The rows of some fields, their means where a field has several. `own_offsets` is a buffer.
pub(super) fn gather(
    table: &Embedding,
    batch: FieldRows<'_>,
    slots: Range<usize>,
    own_offsets: &mut Vec<usize>,
    out: &mut Matrix,
) -> Result<(), NnError> {
    let Some(offsets) = batch.offsets else { return table.forward(&batch.rows[slots], out) };
    let offsets = &offsets[slots.start..=slots.end];
    let (first, end) = (offsets[0], offsets[offsets.len() - 1]);
    own_offsets.clear();
    own_offsets.extend(offsets.iter().map(|offset| offset - first));
    let bags = Bags::new(&batch.rows[first..end], own_offsets, None)?;
    table.forward_bags(bags, BagMode::Mean, out)
}

/// Writes the columns of `part` into those of `out` from `at` on; where the next begin.
pub(super) fn put(part: &Matrix, at: usize, out: &mut Matrix) -> usize {
    let end = at + part.cols();
    for row in 0..part.rows() {
        out.row_mut(row)[at..end].copy_from_slice(part.row(row));
    }
    end
}

/// Writes some columns of `from`.
pub(super) fn take(from: &Matrix, columns: Range<usize>, out: &mut Matrix) {
    out.reshape(from.rows(), columns.len());
    for row in 0..from.rows() {
        out.row_mut(row).copy_from_slice(&from.row(row)[columns.clone()]);
    }
}

pub(super) fn add(sums: &mut [f32], values: &[f32]) {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}

/// Adds some columns of `from` to the columns of `sums` from `at` on.
pub(super) fn add_columns(from: &Matrix, columns: Range<usize>, at: usize, sums: &mut Matrix) {
    for row in 0..sums.rows() {
        let sums = &mut sums.row_mut(row)[at..at + columns.len()];
        add(sums, &from.row(row)[columns.clone()]);
    }
}
