//! Beta calibration: a line through the logarithms of a probability and of its complement.

use serde::{Deserialize, Serialize};

use super::logistic::{Line, fit, sigmoid, softplus};
use super::rows::{CalibrationRows, wrong};
use crate::error::ModelError;

/// `sigmoid(a ln s - b ln(1 - s) + intercept)` for `s = sigmoid(score)`, with `a, b >= 0`.
///
/// With `a = b` it is a line through the logit; it can also bend a curve that is too sure at one end alone. A coefficient
/// below 0 is set to 0 and the other fitted anew. Where a score parts positive and negative rows, the likelihood has no
/// maximum: Platt's targets are then taken in place of labels.
///
/// Source: Kull, Silva Filho and Flach, *Beta calibration*, AISTATS 2017, algorithm 1, as in their package `betacal`
/// (which leaves a second coefficient below 0 as it is, and separated rows to the optimizer).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawBeta")]
pub struct Beta {
    /// Of `ln s`; at least 0.
    #[serde(with = "super::exact")]
    pub(super) a: f64,
    /// Of `-ln(1 - s)`; at least 0.
    #[serde(with = "super::exact")]
    pub(super) b: f64,
    /// Added to both.
    #[serde(with = "super::exact")]
    pub(super) intercept: f64,
}

#[derive(Deserialize)]
#[serde(rename = "Beta")]
struct RawBeta {
    #[serde(with = "super::exact")]
    a: f64,
    #[serde(with = "super::exact")]
    b: f64,
    #[serde(with = "super::exact")]
    intercept: f64,
}

impl TryFrom<RawBeta> for Beta {
    type Error = ModelError;

    fn try_from(RawBeta { a, b, intercept }: RawBeta) -> Result<Self, ModelError> {
        if [a, b].iter().all(|value| value.is_finite() && *value >= 0.0) && intercept.is_finite() {
            return Ok(Self { a, b, intercept });
        }
        Err(wrong(format!(
            "coefficients {a} and {b} and an intercept of {intercept} are of no fit"
        )))
    }
}

impl Beta {
    /// Fits the curve to logits.
    pub fn fit(rows: &CalibrationRows) -> Self {
        let targets = rows.targets(rows.are_separated());
        let line = |columns: &[Vec<f64>]| fit(columns, &targets, &rows.weights);
        let column = |column: fn(f64) -> f64| rows.scores.iter().copied().map(column).collect();
        let (ln_s, minus_ln_rest): (Vec<f64>, Vec<f64>) = (column(ln_s), column(minus_ln_rest));
        let Line { coefficients, intercept } = line(&[ln_s.clone(), minus_ln_rest.clone()]);
        let (a, b) = (coefficients[0], coefficients[1]);
        if a >= 0.0 && b >= 0.0 {
            return Self { a, b, intercept };
        }
        let kept = if a < 0.0 { minus_ln_rest } else { ln_s };
        let Line { coefficients, intercept } = line(&[kept]);
        match (coefficients[0] > 0.0, a < 0.0) {
            (true, true) => Self { a: 0.0, b: coefficients[0], intercept },
            (true, false) => Self { a: coefficients[0], b: 0.0, intercept },
            (false, _) => Self { a: 0.0, b: 0.0, intercept: line(&[]).intercept },
        }
    }

    /// `a`, `b` and the intercept.
    pub fn coefficients(&self) -> (f64, f64, f64) {
        (self.a, self.b, self.intercept)
    }

    pub(super) fn probability(&self, score: f64) -> f64 {
        sigmoid(self.a * ln_s(score) + self.b * minus_ln_rest(score) + self.intercept)
    }
}

/// `ln sigmoid(x)`.
fn ln_s(x: f64) -> f64 {
    -softplus(-x)
}

/// `-ln(1 - sigmoid(x))`.
fn minus_ln_rest(x: f64) -> f64 {
    softplus(x)
}
