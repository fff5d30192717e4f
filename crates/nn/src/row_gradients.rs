//! Gradients of a few rows of a large table.

use std::ops::Range;

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use crate::{
    Gradients, Matrix, NnError, RowTerms,
    error::{check_finite, check_shape},
    kernels,
    parameters::sum_of_squares,
};

/// The gradient of a table `[n_rows, n_cols]` of which a batch touched few rows.
///
/// Contributions to one row are summed in the order in which they come, as they come, so memory is that of
/// the distinct rows. Two buffers filled in the same order are therefore equal to the bit; the hash map
/// is looked up and never iterated.
///
/// ```
/// use forecart_nn::{Gradients, RowGradients};
/// let mut gradients = RowGradients::new(1_000_000, 2);
/// gradients.add_to_row(7, &[1.0, 2.0], 1.0);
/// gradients.add_to_row(3, &[5.0, 5.0], 1.0);
/// gradients.add_to_row(7, &[1.0, 1.0], 0.5);
/// gradients.finish();
/// let rows: Vec<(usize, &[f32])> = gradients.rows().collect();
/// assert_eq!(rows, [(3, &[5.0, 5.0][..]), (7, &[1.5, 2.5][..])]);
/// ```
#[derive(Debug, Clone, Default)]
pub struct RowGradients {
    n_rows: usize,
    n_cols: usize,
    slot_of_row: FxHashMap<u32, u32>,
    /// `(row, slot)`; by slot while contributions come in, by row after `finish`.
    touched: Vec<(u32, u32)>,
    /// One row of `n_cols` values a slot.
    values: Vec<f32>,
    /// Whether `slot_of_row` does not hold the touched rows yet.
    is_unindexed: bool,
}

impl RowGradients {
    /// No row touched, for a table of `[n_rows, n_cols]`.
    ///
    /// # Panics
    /// If `n_rows` does not fit in a `u32`.
    pub fn new(n_rows: usize, n_cols: usize) -> Self {
        assert!(u32::try_from(n_rows).is_ok(), "a table has at most u32::MAX rows");
        Self { n_rows, n_cols, ..Self::default() }
    }

    /// Shape of the table, `[n_rows, n_cols]`.
    pub fn shape(&self) -> [usize; 2] {
        [self.n_rows, self.n_cols]
    }

    /// Number of distinct rows touched.
    pub fn n_touched(&self) -> usize {
        self.touched.len()
    }

    /// Adds `scale * values` to the gradient of `row`.
    ///
    /// # Panics
    /// If `row` is not below the table's rows or `values` is not one row: layers check their indices.
    pub fn add_to_row(&mut self, row: u32, values: &[f32], scale: f32) {
        assert!((row as usize) < self.n_rows, "row {row} of {}", self.n_rows);
        assert_eq!(values.len(), self.n_cols, "one value for each column");
        kernels::add_scaled(scale, values, self.row_mut(row));
    }

    /// Becomes the sum of terms, by the threads of the current rayon pool: to the bit what [`Self::add_to_row`] makes of them in
    /// turn, part after part, for a fraction of its time. Sources are the rows, of as many columns as the table has, of the first slice
    /// and then those of the second.
    ///
    /// # Panics
    /// If the terms are of a table with other rows or not finished, or the source of a term is in neither slice.
    pub fn sum_terms(&mut self, terms: &RowTerms, sources: [&[f32]; 2]) {
        assert_eq!(terms.n_rows(), self.n_rows, "terms are of this table");
        self.slot_of_row.clear();
        self.is_unindexed = true;
        self.touched.clear();
        let rows = terms.buckets.iter().flat_map(|bucket| bucket.rows.iter().copied());
        self.touched.extend(rows.zip(0..));
        let n_cols = self.n_cols;
        self.values.resize(self.touched.len() * n_cols, 0.0);
        let mut rest = self.values.as_mut_slice();
        let buckets = terms.buckets.iter().map(|bucket| {
            let n_values = bucket.rows.len() * n_cols;
            let (sums, after) = std::mem::take(&mut rest).split_at_mut(n_values);
            rest = after;
            (bucket, sums)
        });
        let buckets: Vec<_> = buckets.collect();
        buckets.into_par_iter().enumerate().for_each(|(index, (bucket, sums))| {
            sums.fill(0.0);
            for part in &terms.parts {
                let slots = (bucket.first_row, &bucket.slots[..]);
                kernels::add_terms(sums, n_cols, slots, &part.buckets[index], sources);
            }
        });
    }

    fn row_mut(&mut self, row: u32) -> &mut [f32] {
        if self.is_unindexed {
            self.slot_of_row.extend(self.touched.iter().copied());
            self.is_unindexed = false;
        }
        let next = self.touched.len() as u32;
        let slot = *self.slot_of_row.entry(row).or_insert(next);
        if slot == next {
            self.touched.push((row, slot));
            self.values.resize(self.values.len() + self.n_cols, 0.0);
        }
        let start = slot as usize * self.n_cols;
        &mut self.values[start..start + self.n_cols]
    }

    /// The touched rows with their summed gradients; ascending after [`Gradients::finish`].
    pub fn rows(&self) -> impl Iterator<Item = (usize, &[f32])> {
        self.touched_rows(0..self.touched.len())
    }

    /// The touched row at a place and its gradient.
    pub(crate) fn touched_row(&self, place: usize) -> (usize, &[f32]) {
        let (row, slot) = self.touched[place];
        let start = slot as usize * self.n_cols;
        (row as usize, &self.values[start..start + self.n_cols])
    }

    /// Some of the touched rows, as [`Self::rows`] lists them.
    pub(crate) fn touched_rows(
        &self,
        places: Range<usize>,
    ) -> impl Iterator<Item = (usize, &[f32])> {
        places.map(|place| self.touched_row(place))
    }

    /// Adds the touched rows to a dense gradient: for a table that a model also reads as a whole, as when the
    /// output layer of a full softmax is tied to the input embedding.
    ///
    /// # Errors
    /// [`NnError::Shape`] if `dense` has another shape than the table.
    pub fn add_to_dense(&self, dense: &mut Matrix) -> Result<(), NnError> {
        check_shape("dense gradient of a table", self.shape(), dense.shape())?;
        for (row, values) in self.rows() {
            for (sum, value) in dense.row_mut(row).iter_mut().zip(values) {
                *sum += value;
            }
        }
        Ok(())
    }

    /// Refuses NaN and infinite gradients.
    ///
    /// # Errors
    /// [`NnError::NonFinite`].
    pub fn check_finite(&self) -> Result<(), NnError> {
        check_finite("gradient of a table", self.squared_norm()).map(drop)
    }
}

impl Gradients for RowGradients {
    fn clear(&mut self) {
        self.slot_of_row.clear();
        self.is_unindexed = false;
        self.touched.clear();
        self.values.clear();
    }

    fn add(&mut self, other: &Self) -> Result<(), NnError> {
        check_shape("row gradients to add", self.shape(), other.shape())?;
        for &(row, slot) in &other.touched {
            let start = slot as usize * other.n_cols;
            let sums = self.row_mut(row);
            for (sum, value) in sums.iter_mut().zip(&other.values[start..start + other.n_cols]) {
                *sum += value;
            }
        }
        Ok(())
    }

    fn finish(&mut self) {
        self.touched.sort_unstable();
    }

    fn scale(&mut self, factor: f32) {
        self.values.iter_mut().for_each(|value| *value *= factor);
    }

    fn squared_norm(&self) -> f64 {
        sum_of_squares(&self.values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contributions() -> Vec<(u32, [f32; 2])> {
        // Values whose f32 sums differ with the order.
        vec![(5, [1e8, 1.0]), (2, [0.1, 0.2]), (5, [1.0, 0.3]), (5, [-1e8, 0.7]), (0, [3.0, 4.0])]
    }

    #[test]
    fn a_row_is_summed_in_the_order_of_its_occurrences() {
        let mut gradients = RowGradients::new(6, 2);
        for (row, values) in contributions() {
            gradients.add_to_row(row, &values, 1.0);
        }
        gradients.finish();
        let rows: Vec<(usize, Vec<f32>)> =
            gradients.rows().map(|(row, values)| (row, values.to_vec())).collect();
        // (1e8 + 1) - 1e8 is 0 in f32: the order is visible, and kept.
        let last = (1.0_f32 + 0.3) + 0.7;
        assert_eq!(rows, [(0, vec![3.0, 4.0]), (2, vec![0.1, 0.2]), (5, vec![0.0, last])]);
    }

    #[test]
    fn terms_give_the_bits_of_adding_in_turn_on_any_number_of_threads() {
        let n_terms = 9000;
        // Many repeats of few rows, and rows that no term has; buckets of 128 rows and of more.
        for (n_rows, n_cols) in [(500, 5), (500, 1), (90_000, 19)] {
            let row = |at: usize| (at * at % 331 * (n_rows / 331)) as u32;
            let source = |at: usize| at / 2;
            let factor = |at: usize| 0.1 + at as f32 * 1e-3;
            let n_values = n_terms / 2 * n_cols;
            let values: Vec<f32> = (0..n_values).map(|at| (at as f32 * 0.37).sin()).collect();
            let mut want = RowGradients::new(n_rows, n_cols);
            for at in 0..n_terms {
                let values = &values[source(at) * n_cols..][..n_cols];
                want.add_to_row(row(at), values, factor(at));
            }
            want.finish();
            let mut terms = RowTerms::default();
            for n_threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
                let mut sums = RowGradients::new(n_rows, n_cols);
                sums.add_to_row(7, &vec![9.0; n_cols], 1.0);
                for (part, first) in terms.clear(n_rows, 3).iter_mut().zip([0, 3000, 6000]) {
                    for at in first..first + 3000 {
                        part.push(row(at), source(at) as u32, factor(at));
                    }
                }
                let (low, high) = values.split_at(1000 * n_cols);
                pool.install(|| {
                    terms.finish();
                    sums.sum_terms(&terms, [low, high]);
                });
                assert_eq!([terms.n_terms(), terms.n_touched()], [n_terms, want.n_touched()]);
                assert!(sums.rows().eq(want.rows()), "{n_rows} {n_cols}");
                // Rows that come later find those that are there.
                sums.add_to_row(4, &vec![1.0; n_cols], 1.0);
                let mut after = want.clone();
                after.add_to_row(4, &vec![1.0; n_cols], 1.0);
                assert!(sums.rows().eq(after.rows()));
            }
        }
    }

    #[test]
    fn adding_after_finish_and_clearing_work() {
        let mut gradients = RowGradients::new(6, 2);
        for (row, values) in contributions() {
            gradients.add_to_row(row, &values, 1.0);
        }
        gradients.finish();
        gradients.add_to_row(1, &[1.0, 1.0], 2.0);
        gradients.add_to_row(2, &[1.0, 1.0], 1.0);
        gradients.finish();
        let mut dense = Matrix::zeros(6, 2);
        gradients.add_to_dense(&mut dense).unwrap();
        assert_eq!(dense.row(1), [2.0, 2.0]);
        assert_eq!(dense.row(2), [1.1, 1.2]);
        assert_eq!(gradients.n_touched(), 4);
        gradients.clear();
        assert_eq!(gradients.n_touched(), 0);
        gradients.add_to_row(2, &[1.0, 1.0], 1.0);
        assert_eq!(gradients.rows().collect::<Vec<_>>(), [(2, &[1.0, 1.0][..])]);
    }

    #[test]
    fn other_tables_and_nan_are_refused() {
        let mut gradients = RowGradients::new(6, 2);
        assert!(gradients.add(&RowGradients::new(6, 3)).is_err());
        gradients.add_to_row(1, &[f32::NAN, 1.0], 1.0);
        assert!(matches!(gradients.check_finite(), Err(NnError::NonFinite { .. })));
    }
}
