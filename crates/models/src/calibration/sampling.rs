//! Probabilities of a model that was trained on some of the negative rows.

/// The probability among all rows, of a model that was trained on all positive rows and on a share `rate` of the negative
/// ones, drawn at random: `p / (p + (1 - p) / rate)`. In logits, `ln(rate)` is added.
///
/// Source: He et al., *Practical Lessons from Predicting Clicks on Ads at Facebook*, ADKDD 2014, section 6.3.
///
/// ```
/// // Of ten negative rows one was kept, and half of the kept rows are positive: 1 in 11.
/// let found = forecart_models::calibration::correct_for_sampling(0.5, 0.1);
/// assert!((found - 1.0 / 11.0).abs() < 1e-15);
/// ```
///
/// # Panics
/// If `p` is not within `0.0..=1.0`, or `rate` not above 0 and at most 1.
pub fn correct_for_sampling(p: f64, rate: f64) -> f64 {
    assert!((0.0..=1.0).contains(&p), "{p} is not a probability");
    assert!(rate > 0.0 && rate <= 1.0, "a share of {rate} of the negative rows");
    // The same with no division by `rate`, which may be so small that it overflows.
    rate * p / (rate * p + (1.0 - p))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn monotone_and_the_inverse_of_sampling(p in 0.0..=1.0f64, q in 0.0..=1.0f64, rate in 1e-6..=1.0f64) {
            let found = correct_for_sampling(p, rate);
            prop_assert!((0.0..=1.0).contains(&found) && found <= p + 1e-15);
            prop_assert!(p > q || found <= correct_for_sampling(q, rate));
            // Sampling: positive rows are kept, negative ones with `rate`.
            let sampled = found / (found + (1.0 - found) * rate);
            prop_assert!((sampled - p).abs() < 1e-9);
        }
    }

    #[test]
    fn certain_stays_certain() {
        assert_eq!(correct_for_sampling(0.0, 0.01), 0.0);
        assert_eq!(correct_for_sampling(1.0, 0.01), 1.0);
        assert_eq!(correct_for_sampling(0.3, 1.0), 0.3);
    }
}
