//! One system of equations, small enough for one thread.

use super::factor::factor;
use super::products::{Sum, View};
use crate::error::check_length;
use crate::kernels::{Operand, Plus, Product, TRIANGLE, Target, add_scaled, dot};
use crate::{Matrix, NnError};

/// A positive definite system `A x = b` that is put together and solved, again and again in the same memory.
///
/// ```
/// use forecart_nn::{Matrix, PositiveDefinite};
/// let mut system = PositiveDefinite::default();
/// system.set_diagonal(&[3.0, 1.0]);
/// system.add_gram(&Matrix::from_rows(&[[1.0, 2.0]])); // [[4, 2], [2, 5]]
/// let mut x = [8.0, 12.0];
/// system.solve(&mut x).unwrap();
/// assert!((x[0] - 1.0).abs() < 1e-6 && (x[1] - 2.0).abs() < 1e-6);
/// ```
#[derive(Debug, Clone, Default)]
pub struct PositiveDefinite {
    n: usize,
    /// Rows and columns, those past `n` of a unit matrix: whole triangles need no care.
    padded: usize,
    /// `[padded, padded]`; read on and above the diagonal.
    values: Vec<f32>,
    solution: Vec<f32>,
}

impl PositiveDefinite {
    /// Begins with a diagonal matrix.
    pub fn set_diagonal(&mut self, diagonal: &[f32]) {
        self.n = diagonal.len();
        self.padded = self.n.next_multiple_of(TRIANGLE);
        self.values.clear();
        self.values.resize(self.padded * self.padded, 0.0);
        let diagonal = diagonal.iter().copied().chain(std::iter::repeat(1.0));
        for (row, value) in (0..self.padded).zip(diagonal) {
            self.values[row * self.padded + row] = value;
        }
    }

    /// Adds a symmetric matrix, `[n, n]`.
    ///
    /// # Panics
    /// If it has another shape.
    pub fn add(&mut self, matrix: &Matrix) {
        assert_eq!(matrix.shape(), [self.n, self.n], "a matrix of the system's shape");
        for (row, sums) in self.values.chunks_exact_mut(self.padded.max(1)).take(self.n).enumerate()
        {
            let values = &matrix.row(row)[row..];
            sums[row..self.n].iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
    }

    /// Adds `xᵀ x` of `x: [m, n]`.
    ///
    /// # Panics
    /// If `x` has other than `n` columns.
    pub fn add_gram(&mut self, x: &Matrix) {
        assert_eq!(x.cols(), self.n, "a column for each unknown");
        let n_terms = x.rows();
        let view = View { values: x.as_slice(), stride: x.cols() };
        let sum = Sum {
            sign: 1.0,
            a: view,
            b: view,
            depth: n_terms,
            n_rows: self.n,
            n_cols: self.n,
            terms: |rows: std::ops::Range<usize>, cols: std::ops::Range<usize>| {
                if cols.end <= rows.start { 0..0 } else { 0..n_terms }
            },
        };
        sum.add_to(&mut self.values, self.padded, &|_| true);
    }

    /// Adds `x xᵀ` of `x: [n, k]`.
    ///
    /// # Panics
    /// If `x` has other than `n` rows.
    pub fn add_outer(&mut self, x: &Matrix) {
        assert_eq!(x.rows(), self.n, "a row for each unknown");
        if self.n < TRIANGLE {
            for row in 0..self.n {
                for col in row..self.n {
                    self.values[row * self.padded + col] += dot(x.row(row), x.row(col));
                }
            }
            return;
        }
        let rows = Operand::new(x.as_slice(), x.rows(), x.cols());
        let product = Product { plus: Plus::Target, ..Product::new(rows, rows.transposed()) };
        product.write(Target::strided(&mut self.values, self.padded));
    }

    /// Overwrites `b` with the solution. The matrix is lost.
    ///
    /// # Errors
    /// [`NnError::Length`] if `b` has other than `n` values, [`NnError::OutOfRange`] if the matrix is not positive definite.
    pub fn solve(&mut self, b: &mut [f32]) -> Result<(), NnError> {
        check_length("right side of a system", self.n, b.len())?;
        let (n, stride) = (self.n, self.padded);
        factor(&mut self.values, stride, stride, &|_| true).map_err(not_positive)?;
        self.solution.clear();
        self.solution.extend_from_slice(b);
        // Uᵀ y = b, by rows of U.
        for row in 0..n {
            let u = &self.values[row * stride..][..n];
            let y = self.solution[row] / u[row];
            self.solution[row] = y;
            add_scaled(-y, &u[row + 1..], &mut self.solution[row + 1..]);
        }
        // U x = y.
        for row in (0..n).rev() {
            let u = &self.values[row * stride..][..n];
            let rest = dot(&u[row + 1..], &self.solution[row + 1..]);
            self.solution[row] = (self.solution[row] - rest) / u[row];
        }
        b.copy_from_slice(&self.solution);
        Ok(())
    }
}

/// The error of a pivot that is not positive.
pub(super) fn not_positive(row: usize) -> NnError {
    NnError::OutOfRange {
        name: "a matrix to factor",
        value: row as f64,
        allowed: "a row up to which it is positive definite",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// Residuals of systems of all sizes around those of blocks, put together in both ways.
    #[test]
    fn solutions_solve() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut system = PositiveDefinite::default();
        for n in [0, 1, 2, 15, 16, 17, 31, 33, 64, 100, 129, 256, 300] {
            let m = n / 2 + 3;
            let values: Vec<f32> = (0..m * n).map(|_| rng.random::<f32>() - 0.5).collect();
            let x = Matrix::from_vec(m, n, values).unwrap();
            let diagonal: Vec<f32> = (0..n).map(|_| 0.5 + rng.random::<f32>()).collect();
            let b: Vec<f32> = (0..n).map(|_| rng.random::<f32>() - 0.5).collect();
            let mut full = Matrix::zeros(n, n);
            for (i, diagonal) in diagonal.iter().enumerate() {
                for j in 0..n {
                    full.row_mut(i)[j] = (0..m).map(|k| x.row(k)[i] * x.row(k)[j]).sum();
                }
                full.row_mut(i)[i] += diagonal;
            }
            let zeros = vec![0.0; n];
            for way in 0..3 {
                system.set_diagonal(if way == 2 { &zeros } else { &diagonal });
                match way {
                    0 => system.add_gram(&x),
                    1 => system.add_outer(&x.transposed()),
                    _ => system.add(&full),
                }
                let mut solution = b.clone();
                system.solve(&mut solution).unwrap();
                for (i, want) in b.iter().enumerate() {
                    let got: f64 =
                        (0..n).map(|j| f64::from(full.row(i)[j]) * f64::from(solution[j])).sum();
                    // f32 with a condition number of some tens.
                    assert!((got - f64::from(*want)).abs() < 1e-4, "{n} {way}: {got} {want}");
                }
            }
        }
    }

    #[test]
    fn a_matrix_that_is_not_positive_definite_is_refused() {
        let mut system = PositiveDefinite::default();
        let mut diagonal = vec![1.0; 40];
        diagonal[37] = 0.0;
        system.set_diagonal(&diagonal);
        let error = system.solve(&mut [1.0; 40]).unwrap_err();
        assert!(matches!(error, NnError::OutOfRange { value: 37.0, .. }), "{error}");
        system.set_diagonal(&diagonal);
        assert!(matches!(system.solve(&mut [1.0]), Err(NnError::Length { .. })));
    }
}
