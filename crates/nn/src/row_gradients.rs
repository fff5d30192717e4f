//! Gradients of a few rows of a large table.

use rustc_hash::FxHashMap;

use crate::{
    Gradients, Matrix, NnError,
    error::{check_finite, check_shape},
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
        let sums = self.row_mut(row);
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += scale * value;
        }
    }

    fn row_mut(&mut self, row: u32) -> &mut [f32] {
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
        self.touched.iter().map(|&(row, slot)| {
            let start = slot as usize * self.n_cols;
            (row as usize, &self.values[start..start + self.n_cols])
        })
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
        self.rows().map(|(_, values)| sum_of_squares(values)).sum()
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
