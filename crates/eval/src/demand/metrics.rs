//! Measures of one list of periods.

/// Weighted absolute percentage error: `Σ |forecast - sold| / Σ sold`, over all periods and items together. `None` if nothing
/// was sold.
///
/// Errors of items that sell little do not count as much as those of items that sell a lot; a period without a sale, whose own
/// percentage error is infinite, does no harm.
///
/// Source: Kolassa and Schütz, Foresight 6, 2007 (the MAD/mean ratio).
///
/// ```
/// assert_eq!(forecart_eval::demand::wape(&[2.0, 0.0, 6.0], &[3.0, 1.0, 6.0]), Some(0.25));
/// ```
///
/// # Panics
/// If the lengths differ.
pub fn wape(sold: &[f64], forecast: &[f64]) -> Option<f64> {
    assert_eq!(sold.len(), forecast.len(), "a forecast for each period");
    let all: f64 = sold.iter().sum();
    let off: f64 = sold.iter().zip(forecast).map(|(sold, mean)| (sold - mean).abs()).sum();
    (all > 0.0).then(|| off / all)
}

/// Mean pinball loss of quantiles at `level`: `level (sold - quantile)` where more was sold, `(1 - level) (quantile - sold)` where
/// less. Lowest for the true quantile. `None` without a period.
///
/// Source: Koenker and Bassett, Econometrica 46(1), 1978; equal to `mean_pinball_loss` of scikit-learn.
///
/// # Panics
/// If the lengths differ.
pub fn pinball_loss(sold: &[f64], quantiles: &[f64], level: f64) -> Option<f64> {
    assert_eq!(sold.len(), quantiles.len(), "a quantile for each period");
    let loss: f64 =
        sold.iter().zip(quantiles).map(|(sold, quantile)| pinball(*sold, *quantile, level)).sum();
    (!sold.is_empty()).then(|| loss / sold.len() as f64)
}

/// Share of periods whose sales are within their interval, both ends included. `None` without a period.
///
/// Counts lie on the ends more often than not: an interval of counts covers more than its nominal share.
///
/// # Panics
/// If the lengths differ.
pub fn coverage(sold: &[f64], low: &[f64], high: &[f64]) -> Option<f64> {
    assert!(sold.len() == low.len() && sold.len() == high.len(), "an interval for each period");
    let is_within =
        |period: &usize| low[*period] <= sold[*period] && sold[*period] <= high[*period];
    let n_within = (0..sold.len()).filter(is_within).count();
    (!sold.is_empty()).then(|| n_within as f64 / sold.len() as f64)
}

pub(super) fn pinball(sold: f64, quantile: f64, level: f64) -> f64 {
    let over = sold - quantile;
    (level * over).max((level - 1.0) * over)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn by_hand() {
        assert_eq!(wape(&[0.0, 0.0], &[1.0, 0.0]), None);
        // scikit-learn 1.9.1: mean_pinball_loss([1, 2, 3], [0, 2, 3], alpha=.1) and ([1, 2, 3], [1, 2, 4], alpha=.1).
        assert!(
            (pinball_loss(&[1.0, 2.0, 3.0], &[0.0, 2.0, 3.0], 0.1).unwrap() - 0.1 / 3.0).abs()
                < 1e-15
        );
        assert!(
            (pinball_loss(&[1.0, 2.0, 3.0], &[1.0, 2.0, 4.0], 0.1).unwrap() - 0.9 / 3.0).abs()
                < 1e-15
        );
        assert_eq!(coverage(&[1.0, 2.0, 3.0, 9.0], &[1.0; 4], &[3.0; 4]), Some(0.75));
        assert_eq!((pinball_loss(&[], &[], 0.5), coverage(&[], &[], &[])), (None, None));
    }

    proptest! {
        #[test]
        fn no_other_quantile_is_better_than_the_true_one(
            sold in prop::collection::vec((0u32..20).prop_map(f64::from), 1..40),
            other in 0.0..20.0f64, level in 0.05..0.95f64,
        ) {
            let mut sorted = sold.clone();
            sorted.sort_by(f64::total_cmp);
            let place = ((sold.len() as f64 * level).ceil() as usize).clamp(1, sold.len());
            let loss = |quantile: f64| pinball_loss(&sold, &vec![quantile; sold.len()], level).unwrap();
            prop_assert!(loss(sorted[place - 1]) <= loss(other) + 1e-12);
        }
    }
}
