//! Logistic regression on one or two columns, to the last digits, by Newton's method.

use nalgebra::{DMatrix, DVector};

/// Newton's method takes about ten steps; separated rows more.
const MAX_STEPS: usize = 200;

/// Weight of the squared coefficients beside the sum over rows, as `C = 1e11` of scikit-learn: decides between
/// coefficients that the rows cannot tell apart.
const RIDGE: f64 = 1e-11;

/// `1 / (1 + exp(-x))`, without overflow and with all digits where it is near 0.
pub(crate) fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let exp = x.exp();
        exp / (1.0 + exp)
    }
}

/// `ln(1 + exp(x))` without overflow: `-softplus(-x)` is the logarithm of the sigmoid, `-softplus(x)` that of 1 minus it.
pub(crate) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// Coefficients of a logit `Σ_c coefficient_c column_c + intercept`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub(super) coefficients: Vec<f64>,
    pub(super) intercept: f64,
}

/// Minimizes `Σ_row weight (softplus(logit) - target logit)`: cross-entropy with targets in `0.0..=1.0`.
///
/// A column that does not vary has the coefficient 0. The result is as exact as the sums: the gradient's.
pub(super) fn fit(columns: &[Vec<f64>], targets: &[f64], weights: &[f64]) -> Line {
    let total: f64 = weights.iter().sum();
    let scaled: Vec<(Vec<f64>, f64, f64)> =
        columns.iter().map(|column| standardized(column, weights, total)).collect();
    let n_parameters = columns.len() + 1;
    // Of the first parameter, the intercept, and of the columns.
    let value = |row: usize, parameter: usize| match parameter {
        0 => 1.0,
        column => scaled[column - 1].0[row],
    };
    let logit = |parameters: &DVector<f64>, row: usize| -> f64 {
        (0..n_parameters).map(|p| parameters[p] * value(row, p)).sum()
    };
    let loss = |parameters: &DVector<f64>| -> f64 {
        let row_loss = |row: usize| {
            let logit = logit(parameters, row);
            weights[row] * (softplus(logit) - targets[row] * logit)
        };
        let ridge = parameters.rows(1, n_parameters - 1).norm_squared() * RIDGE / 2.0;
        (0..targets.len()).map(row_loss).sum::<f64>() + ridge
    };
    let rate = weights.iter().zip(targets).map(|(w, t)| w * t).sum::<f64>() / total;
    let mut parameters = DVector::<f64>::zeros(n_parameters);
    parameters[0] = (rate.max(f64::MIN_POSITIVE) / (1.0 - rate).max(f64::MIN_POSITIVE)).ln();
    let mut current = loss(&parameters);
    for _ in 0..MAX_STEPS {
        let mut gradient = DVector::<f64>::zeros(n_parameters);
        let mut hessian = DMatrix::<f64>::zeros(n_parameters, n_parameters);
        for row in 0..targets.len() {
            let p = sigmoid(logit(&parameters, row));
            let (slope, curve) = (weights[row] * (p - targets[row]), weights[row] * p * (1.0 - p));
            for i in 0..n_parameters {
                gradient[i] += slope * value(row, i);
                for j in 0..n_parameters {
                    hessian[(i, j)] += curve * value(row, i) * value(row, j);
                }
            }
        }
        for i in 1..n_parameters {
            gradient[i] += RIDGE * parameters[i];
            hessian[(i, i)] += RIDGE;
        }
        // Beside rounding, so that columns which are nearly multiples of each other can be solved for.
        for i in 0..n_parameters {
            hessian[(i, i)] *= 1.0 + 1e-12;
            hessian[(i, i)] += f64::MIN_POSITIVE;
        }
        let Some(factor) = hessian.cholesky() else { break };
        let step = factor.solve(&gradient);
        if !step.iter().all(|value| value.is_finite()) {
            break;
        }
        let moved = (0..40).map(|halving| &parameters - &step * 0.5f64.powi(halving));
        let better = moved.map(|moved| (loss(&moved), moved)).find(|(loss, _)| *loss < current);
        let Some((next, moved)) = better else { break };
        let is_last = step.amax() <= 1e-14 * parameters.amax().max(1.0);
        (current, parameters) = (next, moved);
        if is_last {
            break;
        }
    }
    let coefficients: Vec<f64> = scaled
        .iter()
        .enumerate()
        .map(|(column, (_, _, scale))| parameters[column + 1] / scale)
        .collect();
    let shift: f64 = coefficients.iter().zip(&scaled).map(|(c, (_, mean, _))| c * mean).sum();
    Line { coefficients, intercept: parameters[0] - shift }
}

/// The column with mean 0 and variance 1, its mean and its standard deviation; all 0 if it does not vary.
fn standardized(column: &[f64], weights: &[f64], total: f64) -> (Vec<f64>, f64, f64) {
    let weighted = |value: &dyn Fn(f64) -> f64| -> f64 {
        column.iter().zip(weights).map(|(x, w)| w * value(*x)).sum::<f64>() / total
    };
    let mean = weighted(&|x| x);
    let scale = weighted(&|x| (x - mean).powi(2)).sqrt();
    // What is left of equal values after rounding is not a difference.
    if scale <= 1e-12 * mean.abs() || scale < 1e-100 {
        return (vec![0.0; column.len()], 0.0, 1.0);
    }
    (column.iter().map(|x| (x - mean) / scale).collect(), mean, scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sigmoid_and_softplus_at_the_ends() {
        assert_eq!(sigmoid(0.0), 0.5);
        assert_eq!((sigmoid(-1e9), sigmoid(1e9)), (0.0, 1.0));
        assert!((sigmoid(-700.0) / (-700f64).exp() - 1.0).abs() < 1e-12);
        assert_eq!(softplus(1e9), 1e9);
        assert!((softplus(-40.0) / (-40f64).exp() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_line_through_two_rates_is_found_exactly() {
        // Rates .2 at 0 and .6 at 2: logits ln(1/4) and ln(3/2).
        let column: Vec<f64> = [vec![0.0; 10], vec![2.0; 10]].concat();
        let target = |row: usize| if row < 10 { row < 2 } else { row < 16 };
        let targets: Vec<f64> = (0..20).map(|row| f64::from(target(row))).collect();
        let found = fit(&[column], &targets, &[1.0; 20]);
        let (low, high) = (0.25f64.ln(), 1.5f64.ln());
        assert!((found.intercept - low).abs() < 1e-10, "{found:?}");
        assert!((found.coefficients[0] - (high - low) / 2.0).abs() < 1e-10, "{found:?}");
    }

    #[test]
    fn a_column_that_does_not_vary_has_no_coefficient() {
        let found = fit(&[vec![0.1; 4]], &[1.0, 0.0, 0.0, 0.0], &[1.0; 4]);
        assert_eq!(found.coefficients, [0.0]);
        assert!((found.intercept - (1.0f64 / 3.0).ln()).abs() < 1e-12);
    }
}
