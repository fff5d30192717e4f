//! How far from its mean a period may be.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use statrs::distribution::{DiscreteCDF, NegativeBinomial, Poisson};

/// Errors of this many first periods are left out where twice as many are there: levels have yet to find their place.
const N_FIRST: usize = 8;

/// Means above this are too many units to count one by one: their distribution is that of the mean alone.
const LARGEST_MEAN: f64 = 1e9;

/// No count above this is looked at; a power of two that `f64` tells from its neighbors.
const LARGEST_COUNT: u64 = 1 << 50;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "spread", rename_all = "snake_case")]
pub(super) enum Spread {
    /// Counts around the mean.
    Counts {
        /// Of the next period; `None` where no error is known: that of a Poisson distribution.
        variance: Option<f64>,
        /// Of the variance with each further period, as a share of it.
        growth: f64,
    },
    /// The errors that a method made, ascending.
    Errors { sorted: Vec<f64> },
}

impl Spread {
    /// From the errors of one-step forecasts, the first of which is of no forecast.
    pub(super) fn counts(errors: &[f64], growth: f64) -> Self {
        let n_left_out = N_FIRST.min(errors.len() / 2).max(1);
        let known = &errors[n_left_out.min(errors.len())..];
        let mean_square = known.iter().map(|error| error * error).sum::<f64>() / known.len() as f64;
        Self::Counts { variance: (!known.is_empty()).then_some(mean_square), growth }
    }

    pub(super) fn errors(mut errors: Vec<f64>) -> Self {
        if errors.is_empty() {
            return Self::Counts { variance: None, growth: 0.0 };
        }
        errors.sort_by(f64::total_cmp);
        Self::Errors { sorted: errors }
    }

    /// Whether a method could have given it.
    pub(super) fn is_possible(&self) -> bool {
        match self {
            Self::Counts { variance, growth } => {
                let is_share = |value: f64| value >= 0.0 && value.is_finite();
                is_share(*growth) && variance.is_none_or(is_share)
            }
            Self::Errors { sorted } => {
                !sorted.is_empty() && sorted.iter().all(|e| e.is_finite()) && sorted.is_sorted()
            }
        }
    }

    /// Quantiles of a period `n_ahead` after the next one.
    pub(super) fn quantiles(&self, mean: f64, n_ahead: usize, levels: &[f64]) -> Vec<f64> {
        match self {
            Self::Counts { variance, growth } => {
                let variance = variance.map_or(mean, |v| v * (1.0 + growth * n_ahead as f64));
                count_quantiles(mean, variance, levels)
            }
            Self::Errors { sorted } => {
                levels.iter().map(|level| (mean + quantile(sorted, *level)).max(0.0)).collect()
            }
        }
    }
}

/// The lowest counts that are not exceeded with the probabilities `levels`: of the negative binomial distribution, or of Poisson's
/// where the variance is not above the mean. Never lower for a higher level.
fn count_quantiles(mean: f64, variance: f64, levels: &[f64]) -> Vec<f64> {
    if mean <= 0.0 || mean > LARGEST_MEAN {
        return vec![mean.max(0.0); levels.len()];
    }
    let size = mean * mean / (variance - mean);
    // From a size of 1e8 on the two distributions are equal to eight digits.
    let counts: Box<dyn Fn(u64) -> f64> = if variance > mean && size < 1e8 {
        let counts = NegativeBinomial::new(size, size / (size + mean));
        let counts = counts.expect("the size is above 0 and the share between 0 and 1");
        Box::new(move |count| counts.cdf(count))
    } else {
        let counts = Poisson::new(mean).expect("the mean is above 0");
        Box::new(move |count| counts.cdf(count))
    };
    // Bisections of different levels begin at the same counts.
    let mut known = HashMap::new();
    let mut cdf = |count: u64| *known.entry(count).or_insert_with(|| counts(count));
    let mut quantile = |level: f64| {
        // By Markov's inequality, a count is above 0 with a probability of at most the mean.
        if mean <= 1.0 - level { 0.0 } else { lowest_count(&mut cdf, level) }
    };
    levels.iter().map(|level| quantile(*level)).collect()
}

/// The lowest count whose `cdf` reaches `level`, by bisection. `statrs` has one that panics where rounding makes the
/// function fall somewhere; here all levels are compared at the same counts, so that quantiles stay in order.
fn lowest_count(mut cdf: impl FnMut(u64) -> f64, level: f64) -> f64 {
    if cdf(0) >= level {
        return 0.0;
    }
    let mut high = 1;
    while high < LARGEST_COUNT && cdf(high) < level {
        high *= 2;
    }
    let mut low = high / 2;
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if cdf(middle) >= level {
            high = middle;
        } else {
            low = middle;
        }
    }
    high as f64
}

/// The quantile of sorted values that half of as many new ones would be below at the median: place
/// `(n + 1/3) level + 1/3`, from 1, between the lowest and the highest.
///
/// Source: Hyndman and Fan, The American Statistician 50(4), 1996, definition 8.
fn quantile(sorted: &[f64], level: f64) -> f64 {
    let n = sorted.len() as f64;
    let place = ((n + 1.0 / 3.0) * level + 1.0 / 3.0).clamp(1.0, n) - 1.0;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_counts_are_those_of_scipy() {
        // scipy 1.17.1: nbinom.ppf(level, r, r / (r + mean)) with r = mean² / (variance - mean), or poisson.ppf(level, mean),
        // at .05, .5, .9 and .99.
        let cases: [(f64, f64, [f64; 4]); 9] = [
            (0.3, 0.5, [0.0, 0.0, 1.0, 3.0]),
            (3.0, 3.0, [1.0, 3.0, 5.0, 8.0]),
            (10.0, 40.0, [2.0, 9.0, 18.0, 30.0]),
            (500.0, 100.0, [464.0, 500.0, 529.0, 553.0]),
            (2000.0, 2500.0, [1918.0, 2000.0, 2064.0, 2117.0]),
            (2000.0, 2e6, [355.0, 1678.0, 3890.0, 6638.0]),
            (1e5, 1e9, [54254.0, 96687.0, 142060.0, 187830.0]),
            (0.01, 4.0, [0.0, 0.0, 0.0, 0.0]),
            (50.0, 1e5, [0.0, 0.0, 17.0, 1348.0]),
        ];
        for (mean, variance, want) in cases {
            let found = count_quantiles(mean, variance, &[0.05, 0.5, 0.9, 0.99]);
            assert_eq!(found, want, "{mean} {variance}");
        }
    }

    #[test]
    fn quantiles_of_errors_by_hand() {
        let sorted = [-3.0, 0.0, 1.0, 5.0];
        assert_eq!(quantile(&sorted, 0.5), 0.5);
        assert_eq!(quantile(&sorted, 0.01), -3.0);
        assert_eq!(quantile(&sorted, 0.99), 5.0);
        // Place (4 + 1/3) .8 + 1/3 = 3.8.
        assert!((quantile(&sorted, 0.8) - 4.2).abs() < 1e-12);
    }

    #[test]
    fn the_first_errors_are_left_out() {
        let errors = [vec![100.0; 8], vec![2.0; 8]].concat();
        assert_eq!(
            Spread::counts(&errors, 0.0),
            Spread::Counts { variance: Some(4.0), growth: 0.0 }
        );
        assert_eq!(Spread::counts(&[9.0], 0.5), Spread::Counts { variance: None, growth: 0.5 });
        assert_eq!(
            Spread::counts(&[9.0, 1.0], 0.5),
            Spread::Counts { variance: Some(1.0), growth: 0.5 }
        );
    }
}
