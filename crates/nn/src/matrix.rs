//! The one container of numbers: a row-major `f32` matrix.
//!
//! It is host memory. Saving, loading and comparing go through [`Matrix::copy_from_host`] and [`Matrix::to_host`], which
//! a matrix of another memory has too ([`crate::Values`]); layers read and write its slices.

use std::ops::Range;

use crate::error::{NnError, check_length, check_shape};

/// A row-major matrix of `f32` in host memory; element `(row, col)` stands at `row * cols + col`.
///
/// A bias or any other vector of length `n` is a `[1, n]` matrix. Zero rows or columns are allowed.
///
/// ```
/// use forecart_nn::Matrix;
/// let x = Matrix::from_rows(&[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]);
/// assert_eq!(x.shape(), [3, 2]);
/// assert_eq!(x.row(1), [3.0, 4.0]);
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Matrix {
    rows: usize,
    cols: usize,
    data: Vec<f32>,
}

impl Matrix {
    /// A matrix of zeros, `[rows, cols]`.
    ///
    /// # Panics
    /// If `rows * cols` overflows `usize`.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Self { rows, cols, data: vec![0.0; size(rows, cols)] }
    }

    /// A matrix from its values in row-major order.
    ///
    /// # Errors
    /// [`NnError::Length`] if `data` has other than `rows * cols` values.
    pub fn from_vec(rows: usize, cols: usize, data: Vec<f32>) -> Result<Self, NnError> {
        check_length("matrix", size(rows, cols), data.len())?;
        Ok(Self { rows, cols, data })
    }

    /// A matrix from rows written out, for tests and examples.
    pub fn from_rows<const COLS: usize>(rows: &[[f32; COLS]]) -> Self {
        Self { rows: rows.len(), cols: COLS, data: rows.as_flattened().to_vec() }
    }

    /// Number of rows.
    #[inline]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    #[inline]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// `[rows, cols]`.
    #[inline]
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    /// All values, row-major.
    #[inline]
    pub fn as_slice(&self) -> &[f32] {
        &self.data
    }

    /// All values, row-major.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// One row.
    ///
    /// # Panics
    /// If there are not more than `row` rows.
    #[inline]
    pub fn row(&self, row: usize) -> &[f32] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        &self.data[row * self.cols..(row + 1) * self.cols]
    }

    /// One row.
    ///
    /// # Panics
    /// If there are not more than `row` rows.
    #[inline]
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        &mut self.data[row * self.cols..(row + 1) * self.cols]
    }

    /// Gives the matrix a new shape and keeps its allocation. The values are unspecified afterwards: for
    /// buffers that the next call overwrites.
    ///
    /// # Panics
    /// If `rows * cols` overflows `usize`.
    pub fn reshape(&mut self, rows: usize, cols: usize) {
        self.data.resize(size(rows, cols), 0.0);
        (self.rows, self.cols) = (rows, cols);
    }

    /// Gives the matrix a new shape, all zero, and keeps its allocation.
    ///
    /// # Panics
    /// If `rows * cols` overflows `usize`.
    pub fn reset(&mut self, rows: usize, cols: usize) {
        self.reshape(rows, cols);
        self.fill(0.0);
    }

    /// Sets every value.
    pub fn fill(&mut self, value: f32) {
        self.data.fill(value);
    }

    /// The matrix with rows and columns exchanged.
    pub fn transposed(&self) -> Self {
        let mut transposed = Self::default();
        self.transpose_into(&mut transposed);
        transposed
    }

    /// Writes the matrix with rows and columns exchanged and keeps the allocation of `out`.
    pub fn transpose_into(&self, out: &mut Self) {
        out.reshape(self.cols, self.rows);
        crate::kernels::transpose(&self.data, self.cols, self.cols, &mut out.data, self.rows);
    }

    /// Asks for rows that are to be read soon, so that they are on their way from memory meanwhile. Rows that do not exist
    /// are passed over.
    pub fn prefetch_rows(&self, rows: impl Iterator<Item = usize>) {
        for row in rows.filter(|row| *row < self.rows) {
            crate::kernels::prefetch(self.row(row));
        }
    }

    /// The dot product of each row with `vector`.
    ///
    /// # Panics
    /// If `vector` is not as long as a row or `products` not one value a row.
    pub fn dot_rows(&self, vector: &[f32], products: &mut [f32]) {
        assert_eq!(vector.len(), self.cols, "one value for each column");
        assert_eq!(products.len(), self.rows, "one product for each row");
        crate::kernels::dot_rows(&self.data, vector, products);
    }

    /// Adds each row times its weight to `sums`, in the order of rows.
    ///
    /// # Panics
    /// If there are more weights than rows, or `sums` is not as long as a row.
    pub fn add_weighted_rows(&self, weights: impl Iterator<Item = f32> + Clone, sums: &mut [f32]) {
        let terms = weights.enumerate().map(|(row, weight)| (weight, self.row(row)));
        crate::kernels::sum_rows(sums, terms);
    }

    /// Becomes a copy of `other`, shape included, and keeps its allocation.
    pub fn copy_from(&mut self, other: &Self) {
        self.data.clone_from(&other.data);
        (self.rows, self.cols) = (other.rows, other.cols);
    }

    /// Becomes the sum of two matrices of one shape and keeps its allocation.
    ///
    /// # Errors
    /// [`NnError::Shape`] if they differ in shape.
    pub fn set_sum(&mut self, left: &Self, right: &Self) -> Result<(), NnError> {
        check_shape("matrices to add", left.shape(), right.shape())?;
        self.reshape(left.rows, left.cols);
        let terms = left.data.iter().zip(&right.data);
        self.data.iter_mut().zip(terms).for_each(|(sum, (left, right))| *sum = left + right);
        Ok(())
    }

    /// Becomes a copy of a range of rows of `other` and keeps its allocation: a tile of a batch.
    ///
    /// # Panics
    /// If the range ends after the last row or before it starts.
    pub fn copy_rows_from(&mut self, other: &Self, rows: Range<usize>) {
        let values = &other.data[rows.start * other.cols..rows.end * other.cols];
        self.data.clear();
        self.data.extend_from_slice(values);
        (self.rows, self.cols) = (rows.len(), other.cols);
    }

    /// The values in host memory, row-major: what a model file stores.
    pub fn to_host(&self) -> Vec<f32> {
        self.data.clone()
    }

    /// Overwrites the values from host memory, row-major; the shape stays.
    ///
    /// # Errors
    /// [`NnError::Length`] if `values` has other than `rows * cols` values; nothing is changed then.
    pub fn copy_from_host(&mut self, values: &[f32]) -> Result<(), NnError> {
        check_length("values of a parameter", self.data.len(), values.len())?;
        self.data.copy_from_slice(values);
        Ok(())
    }
}

fn size(rows: usize, cols: usize) -> usize {
    rows.checked_mul(cols).expect("the number of values of a matrix fits in usize")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_row_major() {
        let mut x = Matrix::from_vec(2, 3, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        assert_eq!(x.row(0), [1.0, 2.0, 3.0]);
        x.row_mut(1)[0] = 9.0;
        assert_eq!(x.as_slice(), [1.0, 2.0, 3.0, 9.0, 5.0, 6.0]);
        assert_eq!(x, Matrix::from_rows(&[[1.0, 2.0, 3.0], [9.0, 5.0, 6.0]]));
    }

    #[test]
    fn wrong_lengths_are_refused_and_change_nothing() {
        let error = Matrix::from_vec(2, 2, vec![0.0; 3]).unwrap_err();
        assert_eq!(error, NnError::Length { what: "matrix", expected: 4, found: 3 });
        let mut x = Matrix::from_rows(&[[1.0, 2.0]]);
        assert!(x.copy_from_host(&[1.0]).is_err());
        assert_eq!(x.to_host(), [1.0, 2.0]);
    }

    #[test]
    fn rows_are_copied_with_their_shape() {
        let x = Matrix::from_rows(&[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]);
        let mut tile = Matrix::zeros(7, 7);
        tile.copy_rows_from(&x, 1..3);
        assert_eq!(tile, Matrix::from_rows(&[[3.0, 4.0], [5.0, 6.0]]));
        tile.copy_rows_from(&x, 3..3);
        assert_eq!(tile.shape(), [0, 2]);
    }

    #[test]
    fn reset_gives_zeros_after_any_shape() {
        let mut x = Matrix::from_rows(&[[1.0, 2.0], [3.0, 4.0]]);
        x.reset(1, 3);
        assert_eq!(x, Matrix::zeros(1, 3));
        x.reset(0, 5);
        assert_eq!(x.shape(), [0, 5]);
    }
}
