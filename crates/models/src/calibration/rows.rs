//! What a calibrator is fitted on.

use crate::error::ModelError;

/// Scores are taken as at most this far from 0: sums of their squares stay finite.
const LIMIT: f64 = 1e100;

/// A score, a label and a weight for each row, checked. Rows of weight 0 are left out.
#[derive(Debug, Clone)]
pub struct CalibrationRows {
    pub(super) scores: Vec<f64>,
    pub(super) labels: Vec<bool>,
    pub(super) weights: Vec<f64>,
    /// Sums of the weights of positive and of negative rows.
    pub(super) n_positive: f64,
    pub(super) n_negative: f64,
}

impl CalibrationRows {
    /// `scores` are logits where they are to be taken as such (all methods but isotonic and Platt's); weights are 1
    /// where there are none.
    ///
    /// # Errors
    /// [`ModelError::Calibration`] without a row that has a weight, for unequal lengths, for a score that is NaN, and for
    /// weights that are not finite or below 0.
    pub fn new(
        scores: &[f64],
        labels: &[bool],
        weights: Option<&[f64]>,
    ) -> Result<Self, ModelError> {
        let n_rows = scores.len();
        for (n_found, what) in
            [(labels.len(), "labels"), (weights.map_or(n_rows, <[f64]>::len), "weights")]
        {
            if n_found != n_rows {
                return Err(wrong(format!("{n_rows} scores have {n_found} {what}")));
            }
        }
        let weight = |row: usize| weights.map_or(1.0, |weights| weights[row]);
        if let Some(row) = scores.iter().position(|score| score.is_nan()) {
            return Err(wrong(format!("the score of row {row} is not a number")));
        }
        let is_wrong = |row: &usize| !(weight(*row).is_finite() && weight(*row) >= 0.0);
        if let Some(row) = (0..n_rows).find(is_wrong) {
            return Err(wrong(format!("row {row} has the weight {}", weight(row))));
        }
        let kept: Vec<usize> = (0..n_rows).filter(|row| weight(*row) > 0.0).collect();
        let labels: Vec<bool> = kept.iter().map(|row| labels[*row]).collect();
        let weights: Vec<f64> = kept.iter().map(|row| weight(*row)).collect();
        let sum = |of: bool| -> f64 {
            let rows = labels.iter().zip(&weights).filter(|(label, _)| **label == of);
            rows.map(|(_, weight)| weight).sum()
        };
        let (n_positive, n_negative) = (sum(true), sum(false));
        if kept.is_empty() || !(n_positive + n_negative).is_finite() {
            return Err(wrong(
                "there is no row with a weight, or the weights do not sum to a number",
            ));
        }
        let scores = kept.iter().map(|row| bounded(scores[*row])).collect();
        Ok(Self { scores, labels, weights, n_positive, n_negative })
    }

    /// Number of rows that have a weight.
    pub fn n_rows(&self) -> usize {
        self.scores.len()
    }

    /// Platt's targets for a negative and for a positive row, `1 / (N₋ + 2)` and `(N₊ + 1) / (N₊ + 2)`: what is believed
    /// of a label after having seen `N` rows of it, so that no number of rows makes certain.
    pub(super) fn smoothed(&self) -> (f64, f64) {
        (1.0 / (self.n_negative + 2.0), (self.n_positive + 1.0) / (self.n_positive + 2.0))
    }

    /// Target of each row: [`Self::smoothed`], or the label itself.
    pub(super) fn targets(&self, is_smoothed: bool) -> Vec<f64> {
        let (negative, positive) = if is_smoothed { self.smoothed() } else { (0.0, 1.0) };
        self.labels.iter().map(|label| if *label { positive } else { negative }).collect()
    }

    /// Whether some score parts the positive rows from the negative ones, or there is one kind alone: the likelihood then
    /// has no maximum.
    pub(super) fn are_separated(&self) -> bool {
        let of = |of: bool| {
            let rows = self.scores.iter().zip(&self.labels);
            rows.filter(move |(_, label)| **label == of).map(|(score, _)| *score)
        };
        let highest_negative = of(false).fold(f64::NEG_INFINITY, f64::max);
        let lowest_positive = of(true).fold(f64::INFINITY, f64::min);
        highest_negative <= lowest_positive
    }
}

/// A score that can be calculated with; NaN is the lowest of all.
pub(super) fn bounded(score: f64) -> f64 {
    if score.is_nan() { -LIMIT } else { score.clamp(-LIMIT, LIMIT) }
}

/// A [`ModelError::Calibration`].
pub(super) fn wrong(reason: impl Into<String>) -> ModelError {
    ModelError::Calibration { reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_rows_are_named() {
        let message = |scores: &[f64], labels: &[bool], weights: Option<&[f64]>| {
            CalibrationRows::new(scores, labels, weights).unwrap_err().to_string()
        };
        assert!(message(&[], &[], None).contains("no row with a weight"));
        assert!(message(&[1.0], &[true], Some(&[0.0])).contains("no row with a weight"));
        assert!(message(&[1.0], &[], None).contains("1 scores have 0 labels"));
        assert!(message(&[0.0, f64::NAN], &[true; 2], None).contains("row 1 is not a number"));
        assert!(message(&[0.0], &[true], Some(&[-2.0])).contains("row 0 has the weight -2"));
    }

    #[test]
    fn rows_without_weight_do_not_count() {
        let rows = [(0.0, true, 2.0), (1.0, false, 0.0), (f64::INFINITY, false, 0.5)];
        let (scores, labels, weights): (Vec<_>, Vec<_>, Vec<_>) = {
            let (a, (b, c)): (Vec<_>, (Vec<_>, Vec<_>)) =
                rows.iter().map(|(a, b, c)| (*a, (*b, *c))).unzip();
            (a, b, c)
        };
        let rows = CalibrationRows::new(&scores, &labels, Some(&weights)).unwrap();
        assert_eq!((rows.n_rows(), rows.n_positive, rows.n_negative), (2, 2.0, 0.5));
        assert_eq!(rows.scores, [0.0, LIMIT]);
        assert!(!rows.are_separated());
    }
}
