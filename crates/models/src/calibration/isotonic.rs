//! Isotonic regression: the monotone curve nearest to the labels.

use serde::{Deserialize, Serialize};

use super::rows::{CalibrationRows, wrong};
use crate::error::ModelError;

/// The nondecreasing function of the score with the least weighted squared error, by pooling adjacent violators.
///
/// Between two scores of the fit it is interpolated linearly, below the lowest and above the highest it is constant, as
/// `IsotonicRegression(out_of_bounds="clip")` of scikit-learn. We differ at 0 and 1, which no number of rows proves:
/// probabilities are at least `1 / (N₋ + 2)` and at most `(N₊ + 1) / (N₊ + 2)`, Platt's targets. With equal weights no
/// pool but those of one kind of label is outside of these.
///
/// Source: Ayer et al., Annals of Mathematical Statistics 26(4), 1955; for probabilities, Zadrozny and Elkan, KDD 2002.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawIsotonic")]
pub struct Isotonic {
    /// Ascending, the ends of the pools, `[n]`.
    #[serde(with = "super::exact::list")]
    scores: Vec<f64>,
    /// Of these scores, `[n]`.
    #[serde(with = "super::exact::list")]
    probabilities: Vec<f64>,
}

#[derive(Deserialize)]
#[serde(rename = "Isotonic")]
struct RawIsotonic {
    #[serde(with = "super::exact::list")]
    scores: Vec<f64>,
    #[serde(with = "super::exact::list")]
    probabilities: Vec<f64>,
}

impl TryFrom<RawIsotonic> for Isotonic {
    type Error = ModelError;

    fn try_from(RawIsotonic { scores, probabilities }: RawIsotonic) -> Result<Self, ModelError> {
        let is_fit = !scores.is_empty()
            && scores.len() == probabilities.len()
            && scores.iter().all(|score| score.is_finite())
            && scores.windows(2).all(|pair| pair[0] < pair[1])
            && probabilities.windows(2).all(|pair| pair[0] <= pair[1])
            && probabilities.iter().all(|p| *p > 0.0 && *p < 1.0);
        if is_fit {
            return Ok(Self { scores, probabilities });
        }
        Err(wrong("the steps of an isotonic curve do not ascend between 0 and 1"))
    }
}

/// Rows of neighboring scores that share a probability.
#[derive(Debug, Clone, Copy)]
struct Pool {
    first: f64,
    last: f64,
    positive: f64,
    weight: f64,
}

impl Pool {
    fn rate(&self) -> f64 {
        self.positive / self.weight
    }

    fn join(&mut self, next: &Self) {
        self.last = next.last;
        self.positive += next.positive;
        self.weight += next.weight;
    }
}

impl Isotonic {
    /// Fits the curve.
    ///
    /// # Cost
    /// One sort of the rows.
    pub fn fit(rows: &CalibrationRows) -> Self {
        let mut order: Vec<usize> = (0..rows.n_rows()).collect();
        order.sort_by(|a, b| rows.scores[*a].total_cmp(&rows.scores[*b]));
        // Rows of one score are one pool from the start.
        let mut same: Vec<Pool> = Vec::new();
        for row in order {
            // + 0.0: the score -0.0 is that of 0.0.
            let (score, weight) = (rows.scores[row] + 0.0, rows.weights[row]);
            let positive = if rows.labels[row] { weight } else { 0.0 };
            let pool = Pool { first: score, last: score, positive, weight };
            match same.last_mut() {
                Some(last) if last.last == score => last.join(&pool),
                _ => same.push(pool),
            }
        }
        let mut pools: Vec<Pool> = Vec::new();
        for mut pool in same {
            while let Some(before) = pools.last().filter(|before| before.rate() >= pool.rate()) {
                let mut joined = *before;
                joined.join(&pool);
                pool = joined;
                pools.pop();
            }
            pools.push(pool);
        }
        let (lowest, highest) = rows.smoothed();
        let (mut scores, mut probabilities) = (Vec::new(), Vec::new());
        for pool in pools {
            // With N₊ = 0 or N₋ = 0 both bounds are on one side of 1/2, still in order.
            let probability = pool.rate().clamp(lowest, highest);
            for score in [pool.first, pool.last] {
                if scores.last() != Some(&score) {
                    scores.push(score);
                    probabilities.push(probability);
                }
            }
        }
        Self { scores, probabilities }
    }

    /// The corners of the curve: scores, ascending, and their probabilities.
    pub fn steps(&self) -> (&[f64], &[f64]) {
        (&self.scores, &self.probabilities)
    }

    pub(super) fn probability(&self, score: f64) -> f64 {
        let above = self.scores.partition_point(|known| *known <= score);
        let (Some(below), Some(end)) = (above.checked_sub(1), self.scores.get(above)) else {
            let end =
                if above == 0 { self.probabilities.first() } else { self.probabilities.last() };
            return *end.expect("a fit has at least one step");
        };
        let (low, high) = (self.probabilities[below], self.probabilities[above]);
        let share = (score - self.scores[below]) / (end - self.scores[below]);
        // Rounding must not go past the step's own end.
        (low + (high - low) * share).min(high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // 1 | 0 1 -> 1/2 | 1: the first two labels of 1, 0 are pooled with what follows until rates ascend.
        let scores = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        let labels = [false, true, false, false, true, true];
        let rows = CalibrationRows::new(&scores, &labels, None).unwrap();
        let fit = Isotonic::fit(&rows);
        let (scores, probabilities) = fit.steps();
        assert_eq!(scores, [0.0, 1.0, 3.0, 4.0, 5.0]);
        // 0 and 1 are bounded by 1 / (3 + 2) and (3 + 1) / (3 + 2).
        let third = 1.0 / 3.0;
        assert_eq!(probabilities, [0.2, third, third, 0.8, 0.8]);
        assert_eq!(fit.probability(-9.0), 0.2);
        assert_eq!(fit.probability(2.2), third);
        assert!((fit.probability(3.5) - (third + 0.8) / 2.0).abs() < 1e-15);
        assert_eq!(fit.probability(9.0), 0.8);
    }

    #[test]
    fn rows_of_one_score_share_a_probability() {
        let rows = CalibrationRows::new(&[1.0, 1.0, -0.0, 0.0], &[true, false, false, true], None);
        assert_eq!(Isotonic::fit(&rows.unwrap()).steps(), (&[0.0, 1.0][..], &[0.5, 0.5][..]));
    }
}
