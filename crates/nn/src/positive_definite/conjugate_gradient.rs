//! Least squares over some rows of a table, approached by the conjugate gradient.

use crate::Matrix;
use crate::kernels::ConjugateGradientRun;

/// The terms of a least squares problem: rows of a table with weights.
#[derive(Debug, Clone, Copy)]
pub struct WeightedRows<'a> {
    /// `[n_rows, d]`.
    pub table: &'a Matrix,
    /// Those of the table that are terms.
    pub rows: &'a [u32],
    /// One for each term.
    pub weights: &'a [f32],
    /// Rows that the next problem will have, which are asked for meanwhile; they change no result.
    pub ahead: &'a [u32],
}

/// The conjugate gradient for one problem after the other in the same memory.
///
/// With the terms' rows as `X` and their weights as the diagonal of `C`, the minimum of `Σ_i c_i (1 - x_i · w)² + wᵀ D w` solves
/// `(D + Xᵀ C X) w = Xᵀ C 1`. The diagonal `D` is also what preconditions the steps.
///
/// ```
/// use forecart_nn::{ConjugateGradient, Matrix, WeightedRows};
/// let table = Matrix::from_rows(&[[9.0, 9.0], [1.0, 0.0], [0.0, 2.0]]);
/// let terms = WeightedRows { table: &table, rows: &[1, 2], weights: &[3.0, 1.0], ahead: &[] };
/// let mut w = [0.0; 2];
/// let loss = ConjugateGradient::default().approach(terms, &[1.0, 4.0], 2, &mut w);
/// assert!((w[0] - 0.75).abs() < 1e-6 && (w[1] - 0.25).abs() < 1e-6);
/// assert!((loss - (3.0 * 0.25 * 0.25 + 0.5 * 0.5)).abs() < 1e-6);
/// ```
#[derive(Debug, Clone, Default)]
pub struct ConjugateGradient {
    errors: Vec<f32>,
    products: Vec<f32>,
    inverse: Vec<f32>,
    residual: Vec<f32>,
    direction: Vec<f32>,
    image: Vec<f32>,
}

impl ConjugateGradient {
    /// Goes `n_steps` on from `w`, fewer where it is solved to rounding; returns `Σ_i c_i (1 - x_i · w)²` at the end.
    ///
    /// # Shapes
    /// `diagonal: [d]`, positive; `w: [d]`.
    ///
    /// # Panics
    /// If a row is not of the table, or the lengths do not fit.
    pub fn approach(
        &mut self,
        terms: WeightedRows<'_>,
        diagonal: &[f32],
        n_steps: u32,
        w: &mut [f32],
    ) -> f64 {
        let WeightedRows { table, rows, weights, ahead } = terms;
        assert_eq!(table.cols(), w.len(), "an unknown for each column");
        self.inverse.clear();
        self.inverse.extend(diagonal.iter().map(|value| 1.0 / value));
        for of_rows in [&mut self.errors, &mut self.products] {
            of_rows.resize(rows.len(), 0.0);
        }
        for of_columns in [&mut self.residual, &mut self.direction, &mut self.image] {
            of_columns.resize(w.len(), 0.0);
        }
        let run = ConjugateGradientRun {
            table: table.as_slice(),
            rows,
            weights,
            inverse: &self.inverse,
            diagonal,
            n_steps,
            w,
            errors: &mut self.errors,
            products: &mut self.products,
            residual: &mut self.residual,
            direction: &mut self.direction,
            image: &mut self.image,
            ahead,
        };
        run.run();
        let terms = self.errors.iter().zip(weights);
        terms.map(|(error, weight)| f64::from(*weight) * f64::from(*error).powi(2)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PositiveDefinite;

    #[test]
    fn as_many_steps_as_unknowns_solve_and_a_solved_problem_stays() {
        let n_cols = 7;
        let values = (0..9 * n_cols).map(|at| (at as f32 * 0.731).sin()).collect();
        let table = Matrix::from_vec(9, n_cols, values).unwrap();
        let diagonal = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5];
        let mut system = PositiveDefinite::default();
        system.set_diagonal(&diagonal);
        system.add_gram(&table);
        let mut want = vec![0.0; n_cols];
        table.add_weighted_rows(std::iter::repeat_n(1.0, 9), &mut want);
        system.solve(&mut want).unwrap();
        let rows: Vec<u32> = (0..9).collect();
        let terms = WeightedRows { table: &table, rows: &rows, weights: &[1.0; 9], ahead: &[] };
        let mut w = vec![0.0; n_cols];
        let mut gradient = ConjugateGradient::default();
        let loss = gradient.approach(terms, &diagonal, 20, &mut w);
        let off = |w: &[f32]| w.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off(&w) < 1e-5, "{w:?} {want:?}");
        let mut products = vec![0.0; 9];
        table.dot_rows(&w, &mut products);
        let of_definition: f64 = products.iter().map(|y| f64::from(1.0 - y).powi(2)).sum();
        assert!((loss - of_definition).abs() < 1e-5);
        gradient.approach(terms, &diagonal, 20, &mut w);
        assert!(off(&w) < 1e-5, "{w:?} {want:?}");
    }
}
