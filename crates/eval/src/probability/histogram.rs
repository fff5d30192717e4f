//! How probabilities are spread.

use serde::{Deserialize, Serialize};

use super::predictions::Predictions;

/// Share of the rows within the bars; the largest probabilities, of clicks often of a few rows far from all others, stand apart.
const WITHIN: f64 = 0.999;

/// Weighted shares of rows by their probability, in bars of equal width from 0 on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Where the last bar ends, above 0.
    pub end: f64,
    /// Share of the rows in each bar, from its lower end up to, but without, its upper end.
    pub shares: Vec<f64>,
    /// Share of the rows from `end` on.
    pub beyond: f64,
}

/// The histogram of all probabilities with `n_bars` bars, which reach to where at most a thousandth of the rows is beyond.
pub fn histogram(predictions: &Predictions, n_bars: usize) -> Histogram {
    let n_bars = n_bars.max(1);
    let mut sorted = predictions.probabilities.clone();
    sorted.sort_unstable_by(f64::total_cmp);
    let within = ((sorted.len() - 1) as f64 * WITHIN).ceil() as usize;
    // The end is not part of the last bar: a little above the row that is to be in it.
    let end = (sorted[within] * (1.0 + 1e-9)).max(f64::MIN_POSITIVE * 1e9);
    let mut shares = vec![0.0; n_bars];
    let mut beyond = 0.0;
    for (probability, weight) in predictions.probabilities.iter().zip(&predictions.weights) {
        match shares.get_mut((probability / end * n_bars as f64) as usize) {
            Some(share) => *share += weight,
            None => beyond += weight,
        }
    }
    let total: f64 = predictions.weights.iter().sum();
    shares.iter_mut().for_each(|share| *share /= total);
    Histogram { end, shares, beyond: beyond / total }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_one_bar_or_beyond() {
        // 2,000 rows up to .2, two far above.
        let mut probabilities: Vec<f64> = (0..2000).map(|row| f64::from(row) * 1e-4).collect();
        probabilities.extend([0.9, 1.0]);
        let n = probabilities.len();
        let predictions = Predictions::new(probabilities, vec![false; n]).unwrap();
        let found = histogram(&predictions, 20);
        assert!((found.end - 0.2).abs() < 1e-3, "{found:?}");
        assert_eq!((found.beyond * n as f64).round(), 2.0);
        let sum: f64 = found.shares.iter().sum();
        assert!((sum + found.beyond - 1.0).abs() < 1e-12);
        assert!(found.shares.iter().all(|share| (share * 20.0 - 1.0).abs() < 0.03), "{found:?}");
    }

    #[test]
    fn equal_probabilities_are_in_the_last_bar() {
        for p in [0.0, 0.25, 1.0] {
            let predictions = Predictions::new(vec![p; 9], vec![true; 9]).unwrap();
            let found = histogram(&predictions, 4);
            let place = if p == 0.0 { 0 } else { 3 };
            assert_eq!((found.shares[place], found.beyond), (1.0, 0.0), "{found:?}");
        }
    }
}
