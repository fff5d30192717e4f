//! A table in half the memory, for lookup and scoring.

use crate::{
    Matrix, NnError,
    error::{check_indices, check_length},
    reduce::sum_zip,
};

/// A copy of a table in bfloat16, the upper half of an f32: its range, and 8 of its 24 significant bits.
///
/// Training keeps the f32 table and makes a new copy when it is done, so rounding to nearest, ties to even, is
/// enough: nothing small is ever added to a rounded value. A value differs from the original by at most
/// `2⁻⁸` of itself.
///
/// # Shapes
/// `[rows, cols]`, two bytes a value.
///
/// ```
/// use forecart_nn::{Bf16Table, Matrix};
/// let table = Bf16Table::new(&Matrix::from_rows(&[[1.0, -2.5], [0.1, 3.0]]));
/// let mut row = [0.0; 2];
/// table.row_into(1, &mut row);
/// assert_eq!(row, [0.10009765625, 3.0]);
/// ```
///
/// Source: Kalamkar et al., arXiv:1905.12322.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bf16Table {
    rows: usize,
    cols: usize,
    bits: Vec<u16>,
}

impl Bf16Table {
    /// Rounds a table.
    pub fn new(table: &Matrix) -> Self {
        let bits = table.as_slice().iter().map(|&value| round(value)).collect();
        Self { rows: table.rows(), cols: table.cols(), bits }
    }

    /// A table from stored bits, row-major.
    ///
    /// # Errors
    /// [`NnError::Length`] if there are other than `rows * cols`.
    pub fn from_bits(rows: usize, cols: usize, bits: Vec<u16>) -> Result<Self, NnError> {
        check_length("bfloat16 table", rows.saturating_mul(cols), bits.len())?;
        Ok(Self { rows, cols, bits })
    }

    /// The bits of all values, row-major.
    pub fn bits(&self) -> &[u16] {
        &self.bits
    }

    /// `[rows, cols]`.
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    fn row(&self, row: usize) -> &[u16] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        &self.bits[row * self.cols..(row + 1) * self.cols]
    }

    /// Writes one row as f32, exactly.
    ///
    /// # Panics
    /// If there are not more than `row` rows or `values` is not one row.
    pub fn row_into(&self, row: usize, values: &mut [f32]) {
        assert_eq!(values.len(), self.cols, "one value for each column");
        for (value, &bits) in values.iter_mut().zip(self.row(row)) {
            *value = widen(bits);
        }
    }

    /// Writes `y: [n, cols]`, the rows at `indices`, as [`Embedding::forward`](crate::Embedding::forward) does.
    ///
    /// # Errors
    /// [`NnError::Index`] for an index outside of the table.
    pub fn gather(&self, indices: &[u32], y: &mut Matrix) -> Result<(), NnError> {
        check_indices("table index", indices, self.rows)?;
        y.reshape(indices.len(), self.cols);
        for (position, &index) in indices.iter().enumerate() {
            self.row_into(index as usize, y.row_mut(position));
        }
        Ok(())
    }

    /// Writes the dot product of `query: [cols]` with each row to `scores: [rows]`, summed in f32.
    ///
    /// # Errors
    /// [`NnError::Length`] if one of them does not fit.
    pub fn scores(&self, query: &[f32], scores: &mut [f32]) -> Result<(), NnError> {
        check_length("query", self.cols, query.len())?;
        check_length("scores", self.rows, scores.len())?;
        for (row, score) in scores.iter_mut().enumerate() {
            *score = sum_zip(query, self.row(row), |query, bits| query * widen(bits));
        }
        Ok(())
    }
}

/// Nearest bfloat16, ties to even; overflow goes to infinity, NaN stays NaN.
fn round(value: f32) -> u16 {
    let bits = value.to_bits();
    // Half of the last kept bit, less one unless that bit is odd: a carry then rounds up.
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    // The quiet bit keeps a NaN whose payload lies in the lower half from becoming infinity.
    (if value.is_nan() { bits >> 16 | 0x40 } else { rounded }) as u16
}

fn widen(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// The definition: of the two neighbors in bfloat16, the nearer, or the even one. Distances are exact in f64.
    fn round_by_definition(value: f32) -> u16 {
        let below = (value.to_bits() >> 16) as u16; // toward zero
        let above = below + 1;
        let distance = |bits: u16| (f64::from(value) - f64::from(widen(bits))).abs();
        match distance(below).total_cmp(&distance(above)) {
            std::cmp::Ordering::Less => below,
            std::cmp::Ordering::Greater => above,
            std::cmp::Ordering::Equal => {
                if below.is_multiple_of(2) {
                    below
                } else {
                    above
                }
            }
        }
    }

    #[test]
    fn rounding_is_to_nearest_with_ties_to_even() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let ties = (0..1000_u32).map(|high| f32::from_bits((0x3f00 + high) << 16 | 0x8000));
        let drawn = (0..100_000).map(|_| f32::from_bits(rng.random::<u32>()));
        // Below the largest exponent: above it, a neighbor is infinite and no distance is defined.
        for value in ties.chain(drawn).filter(|value| value.abs() < 1e38) {
            assert_eq!(round(value), round_by_definition(value), "{value}");
        }
    }

    #[test]
    fn what_is_not_a_usual_number_keeps_its_kind() {
        for (value, want) in [
            (0.0, 0.0),
            (f32::INFINITY, f32::INFINITY),
            (f32::NEG_INFINITY, f32::NEG_INFINITY),
            (f32::MAX, f32::INFINITY),
        ] {
            assert_eq!(widen(round(value)), want);
        }
        assert_eq!(round(-0.0), 0x8000);
        for bits in [0x7f80_0001, 0xffff_ffff, 0x7fc0_0000] {
            assert!(widen(round(f32::from_bits(bits))).is_nan());
        }
        for bits in 0..=u16::MAX {
            assert!(round(widen(bits)) == bits || widen(bits).is_nan());
        }
    }

    #[test]
    fn rows_and_scores_are_those_of_the_rounded_table() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let values: Vec<f32> = (0..5 * 19).map(|_| rng.random::<f32>() - 0.5).collect();
        let table = Matrix::from_vec(5, 19, values).unwrap();
        let rounded = Bf16Table::new(&table);
        let mut rows = Matrix::default();
        rounded.gather(&[0, 1, 2, 3, 4], &mut rows).unwrap();
        for (got, want) in rows.as_slice().iter().zip(table.as_slice()) {
            assert!((got - want).abs() <= want.abs() / 256.0);
        }
        let mut scores = [0.0; 5];
        rounded.scores(table.row(3), &mut scores).unwrap();
        let want: Vec<f32> =
            (0..5).map(|row| sum_zip(table.row(3), rows.row(row), |a, b| a * b)).collect();
        assert_eq!(scores.to_vec(), want);
        let restored = Bf16Table::from_bits(5, 19, rounded.bits().to_vec());
        assert_eq!(restored, Ok(rounded.clone()));

        assert!(Bf16Table::from_bits(5, 19, vec![0; 94]).is_err());
        assert!(rounded.gather(&[5], &mut rows).is_err());
        assert!(rounded.scores(&[0.0; 18], &mut scores).is_err());
        assert!(rounded.scores(&[0.0; 19], &mut scores[1..]).is_err());
    }
}
