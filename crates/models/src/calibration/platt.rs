//! Platt scaling: a line through the scores.

use serde::{Deserialize, Serialize};

use super::logistic::{Line, fit, sigmoid, softplus};
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

    /// Fits the line where positive rows are few: its slope is multiplied by `max(0, (χ² - 1) / χ²)`, with `χ²` the
    /// likelihood ratio of the line against one probability for all rows, and the intercept makes `rate` the mean probability of the
    /// rows. A model that has overfitted a few positive rows is far too sure, which as few rows cannot show a choice of
    /// methods by held-out rows; where they do not bear out its scores at all, every row has the probability `rate`.
    ///
    /// `rate` is in `0.0..1.0`, neither of the ends: the share of positive rows as far as it is known, those that the model learned from
    /// included.
    ///
    /// Source: the heuristic shrinkage factor of van Houwelingen and le Cessie, Statistics in Medicine 9(11), 1990. We differ: the
    /// likelihoods are those of Platt's targets.
    pub fn fit_shrunk(rows: &CalibrationRows, rate: f64) -> Self {
        let targets = rows.targets(true);
        let full = Self::fit(rows);
        let constant = Self { slope: 0.0, intercept: fit(&[], &targets, &rows.weights).intercept };
        let chi_square =
            2.0 * (constant.cross_entropy(rows, &targets) - full.cross_entropy(rows, &targets));
        let factor = if chi_square > 1.0 { (chi_square - 1.0) / chi_square } else { 0.0 };
        Self { slope: full.slope * factor, intercept: 0.0 }.with_mean(rows, rate)
    }

    /// Sum over the rows.
    fn cross_entropy(&self, rows: &CalibrationRows, targets: &[f64]) -> f64 {
        let logits = rows.scores.iter().map(|score| self.slope * score + self.intercept);
        let rows = logits.zip(targets).zip(&rows.weights);
        rows.map(|((logit, target), weight)| weight * (softplus(logit) - target * logit)).sum()
    }

    /// The same slope with the intercept at which `rate` is the mean probability: found by halving, since the mean rises with it.
    fn with_mean(self, rows: &CalibrationRows, rate: f64) -> Self {
        let wanted = rate * rows.weights.iter().sum::<f64>();
        let logit = (rate / (1.0 - rate)).ln();
        let farthest =
            rows.scores.iter().map(|score| (self.slope * score).abs()).fold(0.0, f64::max);
        let (mut low, mut high) = (logit - farthest, logit + farthest);
        let mean_is_below = |intercept: f64| {
            let line = Self { intercept, ..self };
            let all = rows.scores.iter().zip(&rows.weights);
            all.map(|(score, weight)| weight * line.probability(*score)).sum::<f64>() < wanted
        };
        for _ in 0..100 {
            let middle = low + (high - low) / 2.0;
            match mean_is_below(middle) {
                true => low = middle,
                false => high = middle,
            }
        }
        Self { intercept: low + (high - low) / 2.0, ..self }
    }

    /// What the score is multiplied by, and what is added: the logit of the probability.
    pub fn line(&self) -> (f64, f64) {
        (self.slope, self.intercept)
    }

    pub(super) fn probability(&self, score: f64) -> f64 {
        sigmoid(self.slope * score + self.intercept)
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Scores of -3 to 3 around the logit of 1 %; rows come true with `truth(score)`.
    fn drawn(n_rows: usize, seed: u64, truth: impl Fn(f64) -> f64) -> CalibrationRows {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let mut row = |_| {
            let score = generator.random_range(-3.0..3.0) + BASE;
            (score, generator.random::<f64>() < truth(score))
        };
        let (scores, labels): (Vec<f64>, Vec<bool>) = (0..n_rows).map(&mut row).unzip();
        CalibrationRows::new(&scores, &labels, None).unwrap()
    }

    const BASE: f64 = -4.6;

    /// Mean log loss on fresh rows over 20 draws of 3,000 rows: of the scores as they are, of the line, of the shrunk line, and of the
    /// right probability for all rows.
    fn losses(truth: impl Fn(f64) -> f64 + Copy, rate: f64) -> [f64; 4] {
        let fresh = drawn(100_000, 1_000, truth);
        let constant = Platt { slope: 0.0, intercept: (rate / (1.0 - rate)).ln() };
        let mut found = [0.0; 4];
        for seed in 0..20 {
            let rows = drawn(3_000, seed, truth);
            let lines = [
                Platt { slope: 1.0, intercept: 0.0 },
                Platt::fit(&rows),
                Platt::fit_shrunk(&rows, rate),
                constant,
            ];
            for (sum, line) in found.iter_mut().zip(lines) {
                *sum += line.cross_entropy(&fresh, &fresh.targets(false)) / 2e6;
            }
        }
        found
    }

    #[test]
    fn scores_that_say_nothing_become_the_rate() {
        let [as_they_are, line, shrunk, constant] = losses(|_| 0.01, 0.01);
        assert!(as_they_are > 1.1 * constant, "{as_they_are} {constant}");
        assert!(shrunk < 1.002 * constant, "{shrunk} {constant}");
        assert!(shrunk < line, "{shrunk} {line}");
    }

    #[test]
    fn scores_that_are_right_are_kept() {
        let fresh = drawn(100_000, 2_000, sigmoid);
        let rate = fresh.n_positive / 100_000.0;
        let [as_they_are, _, shrunk, constant] = losses(sigmoid, rate);
        assert!(
            constant - shrunk > 0.95 * (constant - as_they_are),
            "{as_they_are} {shrunk} {constant}"
        );
    }

    #[test]
    fn the_mean_probability_is_the_rate() {
        let rows = drawn(2_000, 3, sigmoid);
        let line = Platt::fit_shrunk(&rows, 0.2);
        let mean = rows.scores.iter().map(|score| line.probability(*score)).sum::<f64>() / 2_000.0;
        assert!((mean - 0.2).abs() < 1e-12, "{mean}");
        assert!(line.slope > 0.5 && line.slope < Platt::fit(&rows).slope);
    }
}
