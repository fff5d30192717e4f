//! Linear classifiers of two classes by coordinate descent in the dual.
//!
//! Both problems are `min 1/2 |w|^2 + c sum loss(y w.x)` over rows with labels `y` of 1 and -1; the weight of the bias is one of `w`, of an
//! input that is always 1.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::features::SparseRows;

/// What both solvers are told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Problem<'a> {
    pub(super) rows: &'a SparseRows,
    /// Columns, without the bias.
    pub(super) n_features: usize,
    pub(super) c: f64,
    pub(super) tolerance: f64,
    pub(super) max_iterations: usize,
    /// Of the order in which rows are visited.
    pub(super) seed: u64,
}

impl Problem<'_> {
    fn squares(&self) -> Vec<f64> {
        let square = |row| {
            let values = self.rows.row(row).iter();
            1.0 + values.map(|(_, value)| f64::from(*value).powi(2)).sum::<f64>()
        };
        (0..self.rows.n_rows()).map(square).collect()
    }

    fn dot(&self, w: &[f64], row: usize) -> f64 {
        let values = self.rows.row(row).iter();
        w[self.n_features]
            + values.map(|(index, value)| w[*index as usize] * f64::from(*value)).sum::<f64>()
    }

    fn add(&self, w: &mut [f64], row: usize, scale: f64) {
        w[self.n_features] += scale;
        for (index, value) in self.rows.row(row) {
            w[*index as usize] += scale * f64::from(*value);
        }
    }

    /// Weights, `[n_features + 1]` with the bias last, under the squared hinge loss `max(0, 1 - y w.x)^2`. `is_positive` tells the label of a row.
    ///
    /// Source: Hsieh et al., *A Dual Coordinate Descent Method for Large-scale Linear SVM*, ICML 2008, algorithm 3, with its shrinking; it ends when
    /// the projected gradients of all rows are within `tolerance` of each other.
    pub(super) fn squared_hinge(self, is_positive: impl Fn(usize) -> bool) -> Vec<f64> {
        let n = self.rows.n_rows();
        let diagonal = 0.5 / self.c;
        let squares: Vec<f64> =
            self.squares().into_iter().map(|square| square + diagonal).collect();
        let sign: Vec<f64> = (0..n).map(|row| if is_positive(row) { 1.0 } else { -1.0 }).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut alpha = vec![0.0f64; n];
        let mut w = vec![0.0; self.n_features + 1];
        let mut active: Vec<u32> = (0..n as u32).collect();
        let mut bound = f64::INFINITY;
        for _ in 0..self.max_iterations {
            let (mut highest, mut lowest) = (f64::NEG_INFINITY, f64::INFINITY);
            active.shuffle(&mut rng);
            let mut at = 0;
            while at < active.len() {
                let row = active[at] as usize;
                let gradient = sign[row] * self.dot(&w, row) - 1.0 + diagonal * alpha[row];
                let projected = if alpha[row] == 0.0 { gradient.min(0.0) } else { gradient };
                if alpha[row] == 0.0 && gradient > bound {
                    active.swap_remove(at);
                    continue;
                }
                highest = highest.max(projected);
                lowest = lowest.min(projected);
                if projected.abs() > 1e-12 {
                    let old = alpha[row];
                    alpha[row] = (old - gradient / squares[row]).max(0.0);
                    self.add(&mut w, row, (alpha[row] - old) * sign[row]);
                }
                at += 1;
            }
            if highest - lowest <= self.tolerance {
                if active.len() == n {
                    break;
                }
                // The rows left aside are looked at once more.
                active = (0..n as u32).collect();
                bound = f64::INFINITY;
                continue;
            }
            bound = if highest > 0.0 { highest } else { f64::INFINITY };
        }
        w
    }

    /// The same under the logistic loss `ln(1 + exp(-y w.x))`.
    ///
    /// Source: Yu, Huang and Lin, *Dual coordinate descent methods for logistic regression and maximum entropy models*, Machine Learning 85, 2011,
    /// algorithm 5: each row's problem of one variable by Newton steps in the smaller of `alpha` and `c - alpha`. It ends when no row's gradient is
    /// above `tolerance`.
    pub(super) fn logistic(self, is_positive: impl Fn(usize) -> bool) -> Vec<f64> {
        const MAX_INNER: usize = 100;
        const SHRINK: f64 = 0.1;
        let (n, c) = (self.rows.n_rows(), self.c);
        let squares = self.squares();
        let sign: Vec<f64> = (0..n).map(|row| if is_positive(row) { 1.0 } else { -1.0 }).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        // alpha and c - alpha, both kept: neither loses its digits near 0.
        let start = (0.001 * c).min(1e-8);
        let mut alpha = vec![[start, c - start]; n];
        let mut w = vec![0.0; self.n_features + 1];
        (0..n).for_each(|row| self.add(&mut w, row, sign[row] * start));
        let mut order: Vec<u32> = (0..n as u32).collect();
        let mut inner_tolerance: f64 = 1e-2;
        for _ in 0..self.max_iterations {
            order.shuffle(&mut rng);
            let (mut n_newton, mut worst) = (0, 0.0f64);
            for row in order.iter().map(|row| *row as usize) {
                let (a, b) = (squares[row], sign[row] * self.dot(&w, row));
                // The part that is smaller at the solution is the variable.
                let (one, other, side) = if 0.5 * a * (alpha[row][1] - alpha[row][0]) + b < 0.0 {
                    (1, 0, -1.0)
                } else {
                    (0, 1, 1.0)
                };
                let old = alpha[row][one];
                let mut z = if c - old < 0.5 * c { SHRINK * old } else { old };
                let gradient_at = |z: f64| a * (z - old) + side * b + (z / (c - z)).ln();
                let mut gradient = gradient_at(z);
                worst = worst.max(gradient.abs());
                let mut n_inner = 0;
                while n_inner <= MAX_INNER && gradient.abs() >= inner_tolerance {
                    let curvature = a + c / (c - z) / z;
                    let next = z - gradient / curvature;
                    z = if next <= 0.0 { z * SHRINK } else { next };
                    gradient = gradient_at(z);
                    n_newton += 1;
                    n_inner += 1;
                }
                if n_inner > 0 {
                    alpha[row][one] = z;
                    alpha[row][other] = c - z;
                    self.add(&mut w, row, side * (z - old) * sign[row]);
                }
            }
            if worst < self.tolerance {
                break;
            }
            if n_newton <= n / 10 {
                inner_tolerance = (inner_tolerance * 0.1).max(1e-8);
            }
        }
        w
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::features::tests::rows_of;

    /// Rows that no line parts.
    fn rows() -> (SparseRows, Vec<bool>) {
        let rows = rows_of(&[
            &[(0, 1.0), (1, 0.5)],
            &[(0, 0.8)],
            &[(1, 1.0), (2, 0.3)],
            &[(2, 1.0)],
            &[(0, 0.2), (2, 0.9)],
            &[(0, 0.9), (1, 0.1)],
        ]);
        (rows, vec![true, true, false, false, true, false])
    }

    fn solved(solve: impl Fn(Problem<'_>, &[bool]) -> Vec<f64>) -> Vec<f64> {
        let (rows, labels) = rows();
        let problem = Problem {
            rows: &rows,
            n_features: 3,
            c: 2.0,
            tolerance: 1e-9,
            max_iterations: 100_000,
            seed: 1,
        };
        solve(problem, &labels)
    }

    /// The derivative of the primal problem is 0 at its solution, which is the only one.
    fn assert_is_solution(w: &[f64], slope: impl Fn(f64) -> f64) {
        let (rows, labels) = rows();
        let mut gradient = w.to_vec();
        for (row, label) in labels.iter().enumerate() {
            let y = if *label { 1.0 } else { -1.0 };
            let values = rows.row(row);
            let dot =
                w[3] + values.iter().map(|(i, v)| w[*i as usize] * f64::from(*v)).sum::<f64>();
            let scale = 2.0 * slope(y * dot) * y;
            values.iter().for_each(|(i, v)| gradient[*i as usize] += scale * f64::from(*v));
            gradient[3] += scale;
        }
        assert!(gradient.iter().all(|value| value.abs() < 1e-6), "{gradient:?}");
    }

    #[test]
    fn the_squared_hinge_problem_is_solved() {
        let w = solved(|problem, labels| problem.squared_hinge(|row| labels[row]));
        assert_is_solution(&w, |margin| -2.0 * (1.0 - margin).max(0.0));
    }

    #[test]
    fn the_logistic_problem_is_solved() {
        let w = solved(|problem, labels| problem.logistic(|row| labels[row]));
        assert_is_solution(&w, |margin| -1.0 / (1.0 + margin.exp()));
    }
}
