//! Platt scaling: a line through the scores.

use serde::{Deserialize, Serialize};

use super::logistic::{Line, fit, sigmoid};
use super::rows::{CalibrationRows, wrong};
use crate::error::ModelError;

/// `sigmoid(slope score + intercept)`, fitted to Platt's targets: `1 / (N₋ + 2)` for the `N₋` negative rows and
/// `(N₊ + 1) / (N₊ + 2)` for the `N₊` positive ones (sums of weights).
///
/// A slope below 0, of scores that are higher for less probable rows, is refused: the slope is then 0, and the
/// probability that of the mean target.
///
/// Source: Platt, *Advances in Large Margin Classifiers*, 1999; minimized exactly by Newton's method as in Lin, Lin and
/// Weng, Machine Learning 68, 2007.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawPlatt")]
pub struct Platt {
    /// Of the score; at least 0.
    #[serde(with = "super::exact")]
    pub(super) slope: f64,
    /// The logit of a score of 0.
    #[serde(with = "super::exact")]
    pub(super) intercept: f64,
}

#[derive(Deserialize)]
#[serde(rename = "Platt")]
struct RawPlatt {
    #[serde(with = "super::exact")]
    slope: f64,
    #[serde(with = "super::exact")]
    intercept: f64,
}

impl TryFrom<RawPlatt> for Platt {
    type Error = ModelError;

    fn try_from(RawPlatt { slope, intercept }: RawPlatt) -> Result<Self, ModelError> {
        if slope.is_finite() && slope >= 0.0 && intercept.is_finite() {
            return Ok(Self { slope, intercept });
        }
        Err(wrong(format!("a slope of {slope} and an intercept of {intercept} are of no fit")))
    }
}

impl Platt {
    /// Fits the line.
    pub fn fit(rows: &CalibrationRows) -> Self {
        let targets = rows.targets(true);
        let line = |columns: &[Vec<f64>]| fit(columns, &targets, &rows.weights);
        let Line { coefficients, intercept } = line(std::slice::from_ref(&rows.scores));
        if coefficients[0] > 0.0 {
            return Self { slope: coefficients[0], intercept };
        }
        Self { slope: 0.0, intercept: line(&[]).intercept }
    }

    /// What the score is multiplied by, and what is added: the logit of the probability.
    pub fn line(&self) -> (f64, f64) {
        (self.slope, self.intercept)
    }

    pub(super) fn probability(&self, score: f64) -> f64 {
        sigmoid(self.slope * score + self.intercept)
    }
}
