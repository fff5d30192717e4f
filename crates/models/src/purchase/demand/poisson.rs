//! Poisson regression with a log link, and how much more counts spread than it says.

use nalgebra::{DMatrix, DVector};
use serde::{Deserialize, Serialize};

/// Steps of Newton's method, at most.
const MAX_STEPS: usize = 50;

/// Weight of the squares of the coefficients beside the mean deviance of a row: too small to be seen, and columns that are nearly
/// multiples of each other can be solved for.
const RIDGE: f64 = 1e-4;

/// Exponents beyond this are no expectations of a shop.
const LARGEST_EXPONENT: f64 = 30.0;

/// `E[y] = exp(intercept + coefficients · x)` and `Var[y] = E[y] + dispersion E[y]²`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct CountRegression {
    pub(super) intercept: f64,
    pub(super) coefficients: Vec<f64>,
    /// What is left of the squared errors beyond Poisson's, as a share of the squared means, by the method of moments; not below 0.
    pub(super) dispersion: f64,
}

impl CountRegression {
    /// By Newton's method with halved steps (iteratively reweighted least squares; Nelder and Wedderburn, JRSS A 135(3), 1972). `x`
    /// has `n_columns` values a row. Rows without a count at all give an expectation of 0.
    pub(super) fn fit(x: &[f64], n_columns: usize, counts: &[f64]) -> Self {
        let n = counts.len();
        let total: f64 = counts.iter().sum();
        if total <= 0.0 {
            let coefficients = vec![0.0; n_columns];
            return Self { intercept: f64::NEG_INFINITY, coefficients, dispersion: 0.0 };
        }
        let row = |at: usize| &x[at * n_columns..(at + 1) * n_columns];
        let mut beta = DVector::<f64>::zeros(n_columns + 1);
        beta[0] = (total / n as f64).ln();
        let exponent = |beta: &DVector<f64>, at: usize| {
            let terms = row(at).iter().zip(beta.iter().skip(1)).map(|(x, beta)| x * beta);
            (beta[0] + terms.sum::<f64>()).clamp(-LARGEST_EXPONENT, LARGEST_EXPONENT)
        };
        let ridge = RIDGE * n as f64;
        let loss = |beta: &DVector<f64>| -> f64 {
            let rows = (0..n).map(|at| {
                let exponent = exponent(beta, at);
                exponent.exp() - counts[at] * exponent
            });
            let squares: f64 = beta.iter().skip(1).map(|beta| beta * beta).sum();
            rows.sum::<f64>() + 0.5 * ridge * squares
        };
        let mut current = loss(&beta);
        for _ in 0..MAX_STEPS {
            let mut gradient = DVector::<f64>::zeros(n_columns + 1);
            let mut hessian = DMatrix::<f64>::zeros(n_columns + 1, n_columns + 1);
            let mut values = vec![1.0; n_columns + 1];
            for (at, count) in counts.iter().enumerate() {
                values[1..].copy_from_slice(row(at));
                let mean = exponent(&beta, at).exp();
                for i in 0..=n_columns {
                    gradient[i] += (mean - count) * values[i];
                    for j in 0..=i {
                        hessian[(i, j)] += mean * values[i] * values[j];
                    }
                }
            }
            for i in 1..=n_columns {
                gradient[i] += ridge * beta[i];
                hessian[(i, i)] += ridge;
            }
            hessian.fill_upper_triangle_with_lower_triangle();
            let Some(factor) = hessian.cholesky() else { break };
            let step = factor.solve(&gradient);
            let moved = (0..30).map(|halving| &beta - &step * 0.5f64.powi(halving));
            let better = moved.map(|moved| (loss(&moved), moved)).find(|(loss, _)| *loss < current);
            let Some((next, moved)) = better else { break };
            let is_last = current - next <= 1e-12 * current.abs();
            (current, beta) = (next, moved);
            if is_last {
                break;
            }
        }
        let (mut beyond, mut squares) = (0.0, 0.0);
        for (at, count) in counts.iter().enumerate() {
            let mean = exponent(&beta, at).exp();
            beyond += (count - mean).powi(2) - mean;
            squares += mean * mean;
        }
        let dispersion = (beyond / squares).max(0.0);
        Self {
            intercept: beta[0],
            coefficients: beta.iter().skip(1).copied().collect(),
            dispersion,
        }
    }

    /// The expectation of a row.
    pub(super) fn mean(&self, x: &[f64]) -> f64 {
        let terms = x.iter().zip(&self.coefficients).map(|(x, beta)| x * beta);
        (self.intercept + terms.sum::<f64>()).min(LARGEST_EXPONENT).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// A count of that mean, of a negative binomial distribution made of whole Poisson ones.
    fn drawn(rng: &mut ChaCha8Rng, mean: f64) -> f64 {
        let (mut product, mut n) = (1.0, -1.0);
        while product > (-mean).exp() {
            product *= rng.random::<f64>();
            n += 1.0;
        }
        n
    }

    #[test]
    fn coefficients_of_known_counts_are_found() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (mut x, mut counts, mut spread) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..40_000 {
            let row = [rng.random::<f64>() * 2.0 - 1.0, rng.random::<f64>()];
            let mean = (0.5 + 0.8 * row[0] - 0.3 * row[1]).exp();
            x.extend(row);
            counts.push(drawn(&mut rng, mean));
            // An exponential mean of the mean: a dispersion of 1.
            let other = -rng.random::<f64>().ln();
            spread.push(drawn(&mut rng, mean * other));
        }
        let found = CountRegression::fit(&x, 2, &counts);
        assert!((found.intercept - 0.5).abs() < 0.03, "{found:?}");
        assert!((found.coefficients[0] - 0.8).abs() < 0.03, "{found:?}");
        assert!((found.coefficients[1] + 0.3).abs() < 0.04, "{found:?}");
        assert!(found.dispersion < 0.02, "{found:?}");
        let wider = CountRegression::fit(&x, 2, &spread);
        assert!((wider.coefficients[0] - 0.8).abs() < 0.05, "{wider:?}");
        assert!((wider.dispersion - 1.0).abs() < 0.1, "{wider:?}");
    }

    #[test]
    fn a_line_through_two_means_is_exact() {
        // Means of 2 and 6, so exp(ln 2 + ln 3 x); a row of nothing else moves them by no more than the ridge.
        let x: Vec<f64> = [vec![0.0; 500], vec![1.0; 500]].concat();
        let counts: Vec<f64> =
            (0..1000).map(|at| [1.0, 3.0, 5.0, 7.0][at / 500 * 2 + at % 2]).collect();
        let found = CountRegression::fit(&x, 1, &counts);
        assert!((found.mean(&[0.0]) - 2.0).abs() < 1e-3, "{found:?}");
        assert!((found.mean(&[1.0]) - 6.0).abs() < 2e-3, "{found:?}");
    }

    #[test]
    fn nothing_sold_is_nothing_expected() {
        let found = CountRegression::fit(&[1.0, 2.0], 1, &[0.0, 0.0]);
        assert_eq!((found.mean(&[5.0]), found.dispersion), (0.0, 0.0));
    }

    #[test]
    fn equal_columns_share_their_coefficient() {
        let column: Vec<f64> = (0..200).map(|at| f64::from(at % 2)).collect();
        let x: Vec<f64> = column.iter().flat_map(|x| [*x, *x]).collect();
        let counts: Vec<f64> = column.iter().map(|x| 1.0 + x).collect();
        let found = CountRegression::fit(&x, 2, &counts);
        assert!((found.coefficients[0] - found.coefficients[1]).abs() < 1e-9, "{found:?}");
    }
}
