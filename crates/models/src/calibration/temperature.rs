//! Temperature scaling: all logits divided by one number.

use serde::{Deserialize, Serialize};

use super::logistic::sigmoid;
use super::rows::{CalibrationRows, bounded, wrong};
use crate::error::ModelError;

/// The inverse temperature is between these, as in scikit-learn: `exp(-10)` and `exp(10)`.
const LOG_BOUND: f64 = 10.0;

/// `sigmoid(inverse logit)`, or the softmax of `inverse logits`: one number, which moves no logit across another and no
/// probability across 1/2.
///
/// Source: Guo et al., *On Calibration of Modern Neural Networks*, ICML 2017.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawTemperature")]
pub struct Temperature {
    /// 1 over the temperature.
    #[serde(with = "super::exact")]
    inverse: f64,
}

#[derive(Deserialize)]
#[serde(rename = "Temperature")]
struct RawTemperature {
    #[serde(with = "super::exact")]
    inverse: f64,
}

impl TryFrom<RawTemperature> for Temperature {
    type Error = ModelError;

    fn try_from(RawTemperature { inverse }: RawTemperature) -> Result<Self, ModelError> {
        if inverse.is_finite() && inverse > 0.0 {
            return Ok(Self { inverse });
        }
        Err(wrong(format!("an inverse temperature of {inverse} is of no fit")))
    }
}

impl Temperature {
    /// The temperature with the least logarithmic loss of two classes, from the logits of one of them.
    ///
    /// Where a score parts positive and negative rows, or labels are of one kind, Platt's targets are taken in place of
    /// labels: the coldest temperature would be the best otherwise.
    pub fn fit(rows: &CalibrationRows) -> Self {
        let targets = rows.targets(rows.are_separated());
        Self::at_minimum(|inverse| {
            let slope = |row: usize| {
                let score = rows.scores[row];
                rows.weights[row] * score * (sigmoid(inverse * score) - targets[row])
            };
            (0..rows.n_rows()).map(slope).sum()
        })
    }

    /// The same for several classes.
    ///
    /// # Shapes
    /// `logits: [n, n_classes]`, row by row; `labels: [n]`, the class of each; `weights: [n]`.
    ///
    /// If the logit of each row's class is the highest, no temperature is too cold: nothing is to be learned, and the
    /// logits stay as they are.
    ///
    /// # Errors
    /// [`ModelError::Calibration`] for shapes that do not fit, no rows, a label that is no class, logits that are not
    /// numbers and weights that are not finite or below 0.
    pub fn fit_classes(
        logits: &[f64],
        n_classes: usize,
        labels: &[u32],
        weights: Option<&[f64]>,
    ) -> Result<Self, ModelError> {
        let n_rows = labels.len();
        if n_rows == 0 || n_classes == 0 || n_rows.checked_mul(n_classes) != Some(logits.len()) {
            let n_logits = logits.len();
            return Err(wrong(format!(
                "{n_rows} labels of {n_classes} classes have {n_logits} logits"
            )));
        }
        if let Some(row) = labels.iter().position(|label| *label as usize >= n_classes) {
            return Err(wrong(format!("row {row} is of class {}, of {n_classes}", labels[row])));
        }
        if let Some(place) = logits.iter().position(|logit| logit.is_nan()) {
            return Err(wrong(format!("a logit of row {} is not a number", place / n_classes)));
        }
        let ones = vec![1.0; n_rows];
        let weights = weights.unwrap_or(&ones);
        let is_weight = |weight: &f64| weight.is_finite() && *weight >= 0.0;
        if weights.len() != n_rows || !weights.iter().all(is_weight) {
            return Err(wrong(format!("{n_rows} rows need as many finite weights, none below 0")));
        }
        let bounded: Vec<f64> = logits.iter().copied().map(bounded).collect();
        let rows: Vec<(&[f64], f64, f64)> = bounded
            .chunks_exact(n_classes)
            .zip(labels)
            .zip(weights)
            .filter(|(_, weight)| **weight > 0.0)
            .map(|((row, label), weight)| (row, row[*label as usize], *weight))
            .collect();
        let is_highest = |(row, own, _): &(&[f64], f64, f64)| row.iter().all(|logit| logit <= own);
        if rows.iter().all(is_highest) {
            return Ok(Self { inverse: 1.0 });
        }
        // The loss's derivative: the mean logit under the softmax minus the class's own.
        Ok(Self::at_minimum(|inverse| {
            let slope = |(row, own, weight): &(&[f64], f64, f64)| {
                let shares = softmax(row, inverse);
                let mean: f64 = shares.iter().zip(*row).map(|(p, logit)| p * (logit - own)).sum();
                weight * mean
            };
            rows.iter().map(slope).sum()
        }))
    }

    /// 1 over the temperature: what logits are multiplied by.
    pub fn inverse(&self) -> f64 {
        self.inverse
    }

    /// The probabilities of all classes from the logits of a row; they sum to 1.
    pub fn probabilities(&self, logits: &[f64]) -> Vec<f64> {
        let bounded: Vec<f64> = logits.iter().copied().map(bounded).collect();
        softmax(&bounded, self.inverse)
    }

    pub(super) fn probability(&self, score: f64) -> f64 {
        sigmoid(self.inverse * score)
    }

    /// The inverse temperature where the derivative of the loss, which never falls, changes its sign: by bisection of its
    /// logarithm, to the last digits. 1 where the loss is the same for all.
    fn at_minimum(derivative: impl Fn(f64) -> f64) -> Self {
        let (mut low, mut high) = (-LOG_BOUND, LOG_BOUND);
        if derivative(low.exp()) == 0.0 && derivative(high.exp()) == 0.0 {
            return Self { inverse: 1.0 };
        }
        while high - low > 1e-14 {
            let middle = (low + high) / 2.0;
            let half = if derivative(middle.exp()) < 0.0 { &mut low } else { &mut high };
            *half = middle;
        }
        Self { inverse: ((low + high) / 2.0).exp() }
    }
}

/// Softmax of `inverse logits`, without overflow.
fn softmax(logits: &[f64], inverse: f64) -> Vec<f64> {
    let highest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut shares: Vec<f64> =
        logits.iter().map(|logit| (inverse * (logit - highest)).exp()).collect();
    let sum: f64 = shares.iter().sum();
    shares.iter_mut().for_each(|share| *share /= sum);
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn two_classes_are_the_binary_case() {
        let scores = [3.0, -1.0, 2.0, -4.0, 0.5, 1.0];
        let labels = [true, false, false, false, true, false];
        let rows = CalibrationRows::new(&scores, &labels, None).unwrap();
        let logits: Vec<f64> = scores.iter().flat_map(|score| [0.0, *score]).collect();
        let classes: Vec<u32> = labels.iter().map(|label| u32::from(*label)).collect();
        let found = Temperature::fit_classes(&logits, 2, &classes, None).unwrap();
        let want = Temperature::fit(&rows);
        assert!((found.inverse - want.inverse).abs() < 1e-12, "{found:?} {want:?}");
        let p = found.probabilities(&[0.0, 3.0])[1];
        assert!((p - want.probability(3.0)).abs() < 1e-12);
    }

    #[test]
    fn rows_that_are_all_right_teach_nothing() {
        let found = Temperature::fit_classes(&[2.0, 1.0, 0.0], 3, &[0], None).unwrap();
        assert_eq!(found.inverse(), 1.0);
    }

    #[test]
    fn bad_shapes_are_named() {
        let message = |logits: &[f64], n_classes, labels: &[u32]| {
            Temperature::fit_classes(logits, n_classes, labels, None).unwrap_err().to_string()
        };
        assert!(message(&[1.0], 2, &[0]).contains("1 labels of 2 classes have 1 logits"));
        assert!(message(&[1.0, 2.0], 2, &[2]).contains("row 0 is of class 2, of 2"));
        assert!(message(&[1.0, f64::NAN], 2, &[1]).contains("a logit of row 0"));
        assert!(message(&[], 2, &[]).contains("0 labels"));
    }

    proptest! {
        #[test]
        fn probabilities_sum_to_one_and_keep_the_order(
            logits in prop::collection::vec(-50.0..50.0f64, 1..12), log in -10.0..10.0f64,
        ) {
            let found = Temperature { inverse: log.exp() }.probabilities(&logits);
            prop_assert!((found.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            for (i, a) in logits.iter().enumerate() {
                for (j, b) in logits.iter().enumerate() {
                    prop_assert!(a > b || found[i] <= found[j]);
                }
            }
        }

        #[test]
        fn logits_that_were_multiplied_are_divided_again(factor in 0.2..5.0f64) {
            let logits = [2.0, -1.0, 0.5, 1.0, 1.2, 0.7, -0.3, 0.1, 0.9];
            let times = |factor: f64| {
                let logits: Vec<f64> = logits.iter().map(|logit| logit * factor).collect();
                Temperature::fit_classes(&logits, 3, &[0, 0, 2], None).unwrap().inverse()
            };
            prop_assert!((times(factor) * factor / times(1.0) - 1.0).abs() < 1e-9);
        }
    }
}
