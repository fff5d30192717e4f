//! Observed rates: how sure one is of them, and whether a stated rate could have led to them.

use statrs::distribution::{ContinuousCDF, Normal};
use statrs::function::beta::beta_reg;
use statrs::function::erf::erfc;

use crate::bootstrap::Interval;

/// Variance of a count from which on it is taken as normal; below, tails are exact.
const NORMAL_FROM: f64 = 1000.0;

/// Wilson's score interval of a rate: all rates from which `rate` of `n` rows is within `confidence` of the normal
/// distribution. `n` may be an effective number of rows, not whole.
///
/// Source: Wilson, JASA 22, 1927; with weights, the effective number of rows as in Korn and Graubard, Survey
/// Methodology 24(2), 1998.
///
/// ```
/// let found = forecart_eval::probability::wilson(0.0, 10.0, 0.95);
/// assert!(found.low == 0.0 && (found.high - 0.2775).abs() < 1e-4);
/// ```
///
/// # Panics
/// If `rate` or `confidence` is not within `0.0..=1.0`, or `n` is not above 0.
pub fn wilson(rate: f64, n: f64, confidence: f64) -> Interval {
    assert!((0.0..=1.0).contains(&rate) && n > 0.0, "a rate of {rate} of {n} rows");
    assert!(confidence > 0.0 && confidence < 1.0, "a confidence of {confidence}");
    let z = Normal::standard().inverse_cdf(0.5 + confidence / 2.0);
    let shrink = 1.0 + z * z / n;
    let center = (rate + z * z / (2.0 * n)) / shrink;
    let half = z / shrink * (rate * (1.0 - rate) / n + z * z / (4.0 * n * n)).sqrt();
    // At 0 and 1 the ends are exact but for rounding.
    let low = if rate == 0.0 { 0.0 } else { (center - half).max(0.0) };
    let high = if rate == 1.0 { 1.0 } else { (center + half).min(1.0) };
    Interval { low, high }
}

/// Two-sided p-value of `rate` of `n` rows (which may be effective ones) under the stated rate `expected`: twice the
/// smaller tail of the binomial distribution, at most 1.
///
/// Rows whose own probabilities differ around `expected` spread less than the binomial distribution says (Hoeffding,
/// Annals of Mathematical Statistics 27(3), 1956), so an alarm is at most as frequent as stated.
pub(super) fn rate_p_value(rate: f64, n: f64, expected: f64) -> f64 {
    let (k, variance) = (rate * n, n * expected * (1.0 - expected));
    if variance > NORMAL_FROM {
        let z = (k - n * expected) / variance.sqrt();
        return erfc(z.abs() / std::f64::consts::SQRT_2);
    }
    if variance <= 0.0 {
        return if rate == expected { 1.0 } else { 0.0 };
    }
    let (others, other_rate) = (n - k, 1.0 - expected);
    let at_least = if k > 0.0 { beta_reg(k, others + 1.0, expected) } else { 1.0 };
    let at_most = if others > 0.0 { beta_reg(others, k + 1.0, other_rate) } else { 1.0 };
    (2.0 * at_least.min(at_most)).clamp(0.0, 1.0)
}

/// Number of equally weighted rows that know as much as these weights: `(Σ w)² / Σ w²`.
///
/// Source: Kish, *Survey Sampling*, 1965.
pub(super) fn effective_rows(sum: f64, sum_of_squares: f64) -> f64 {
    sum * sum / sum_of_squares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_of_the_binomial_distribution() {
        // scipy 1.17.1: scipy.stats.binom.cdf(k, n, p) and .sf(k - 1, n, p), the smaller one doubled.
        let cases = [
            (3.0, 100.0, 0.005, 0.02820583307169397),
            (0.0, 300.0, 0.02, 0.004665011335902849),
            (5.0, 20.0, 0.25, 1.0),
            (900.0, 20_000.0, 0.05, 0.0010520675609888277),
        ];
        for (k, n, expected, want) in cases {
            let found = rate_p_value(k / n, n, expected);
            assert!((found - want).abs() < 1e-12, "{k} of {n} at {expected}: {found}, want {want}");
        }
    }

    #[test]
    fn large_counts_are_continued_by_the_normal_distribution() {
        // Variances just below and just above the change: 20 000 and 21 200 rows at 5 %.
        let found = [20_000.0, 21_200.0].map(|n| rate_p_value(0.047, n, 0.05));
        assert!(found[0] > found[1] && found[1] > 0.8 * found[0], "{found:?}");
    }

    #[test]
    fn certain_rates() {
        assert_eq!(rate_p_value(0.0, 5.0, 0.0), 1.0);
        assert_eq!(rate_p_value(0.2, 5.0, 0.0), 0.0);
        assert_eq!(rate_p_value(1.0, 5.0, 1.0), 1.0);
    }
}
