//! What wrong probabilities cost: proper scores, lowest where each probability is the true one.

use super::predictions::Predictions;

/// Logarithmic loss takes probabilities from this far off 0 and 1: `f64::EPSILON`, as scikit-learn does. A certain
/// prediction that is wrong costs 36.04 and not an infinity.
pub const LOGLOSS_CLIP: f64 = f64::EPSILON;

/// Mean logarithmic loss, natural logarithm: `-mean(y ln p + (1 - y) ln(1 - p))`, `p` clipped by [`LOGLOSS_CLIP`].
///
/// Source: Good, *Rational Decisions*, JRSS B 14(1), 1952; equal to `log_loss` of scikit-learn.
///
/// ```
/// use forecart_eval::probability::{Predictions, logloss};
///
/// let predictions = Predictions::new(vec![0.5, 0.5], vec![true, false])?;
/// assert!((logloss(&predictions) - std::f64::consts::LN_2).abs() < 1e-15);
/// # Ok::<(), forecart_eval::EvalError>(())
/// ```
pub fn logloss(predictions: &Predictions) -> f64 {
    let (p, y) = (&predictions.probabilities, &predictions.labels);
    predictions.mean(|row| row_logloss(p[row], y[row]))
}

/// [`logloss`] divided by that of the constant predictor that says the rows' own base rate: 1 for what knows nothing
/// beyond it, above 1 for what is worse. `None` if all labels are equal.
///
/// Source: He et al., *Practical Lessons from Predicting Clicks on Ads at Facebook*, ADKDD 2014, equation 1.
pub fn normalized_entropy(predictions: &Predictions) -> Option<f64> {
    normalized(logloss(predictions), predictions.base_rate())
}

/// Brier score: `mean((p - y)²)`.
///
/// Source: Brier, Monthly Weather Review 78(1), 1950, halved; equal to `brier_score_loss` of scikit-learn.
pub fn brier(predictions: &Predictions) -> f64 {
    let (p, y) = (&predictions.probabilities, &predictions.labels);
    predictions.mean(|row| row_brier(p[row], y[row]))
}

pub(super) fn row_logloss(p: f64, label: bool) -> f64 {
    let p = p.clamp(LOGLOSS_CLIP, 1.0 - LOGLOSS_CLIP);
    // ln_1p: `1 - p` would lose the digits of a small p.
    if label { -p.ln() } else { -(-p).ln_1p() }
}

pub(super) fn row_brier(p: f64, label: bool) -> f64 {
    (p - f64::from(label)).powi(2)
}

/// `logloss` over the entropy of `base_rate`.
pub(super) fn normalized(logloss: f64, base_rate: f64) -> Option<f64> {
    let entropy = -(base_rate * base_rate.ln() + (1.0 - base_rate) * (-base_rate).ln_1p());
    (base_rate > 0.0 && base_rate < 1.0).then(|| logloss / entropy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_base_rate_has_a_normalized_entropy_of_one() {
        let labels = vec![true, false, false, false];
        let constant = Predictions::new(vec![0.25; 4], labels.clone()).unwrap();
        assert!((normalized_entropy(&constant).unwrap() - 1.0).abs() < 1e-15);
        assert!((brier(&constant) - 0.25 * 0.75).abs() < 1e-15);
        let worse = Predictions::new(vec![0.5; 4], labels).unwrap();
        assert!(normalized_entropy(&worse).unwrap() > 1.0);
        let one_class = Predictions::new(vec![0.25; 4], vec![true; 4]).unwrap();
        assert_eq!(normalized_entropy(&one_class), None);
    }

    #[test]
    fn certain_and_wrong_is_costly_and_finite() {
        let certain = Predictions::new(vec![0.0, 1.0], vec![true, false]).unwrap();
        let want = -f64::EPSILON.ln();
        assert!((logloss(&certain) - want).abs() < 1e-12);
        let right = Predictions::new(vec![0.0, 1.0], vec![false, true]).unwrap();
        assert!(logloss(&right) < 1e-15);
    }

    proptest! {
        #[test]
        fn no_constant_is_better_than_the_base_rate(
            labels in prop::collection::vec(any::<bool>(), 2..40), p in 0.0..=1.0f64,
        ) {
            let constant = Predictions::new(vec![p; labels.len()], labels).unwrap();
            if let Some(found) = normalized_entropy(&constant) {
                prop_assert!(found >= 1.0 - 1e-12, "{found}");
            }
            let rate = constant.base_rate();
            prop_assert!(brier(&constant) >= rate * (1.0 - rate) - 1e-12);
        }
    }
}
