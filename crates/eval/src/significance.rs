//! Paired comparison of models, and what many comparisons do to p-values.

use forecart_data::Part;
use serde::{Deserialize, Serialize};

use crate::bootstrap::{Bootstrap, GroupSums, Interval, Resampled, ratios};
use crate::error::EvalError;
use crate::evaluation::Evaluation;
use crate::metrics::Metric;

/// How much better one model is than another, on the same users.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Mean of the first minus mean of the second.
    pub difference: f64,
    /// Its percentile-bootstrap interval.
    pub interval: Interval,
    /// Two-sided; see [`compare`].
    pub p_value: f64,
}

/// Compares two evaluations of the same cases by the paired bootstrap.
///
/// The differences of each user (or session) are drawn with replacement. The two-sided p-value is
/// `2 (1 + min(#{d* <= 0}, #{d* >= 0})) / (1 + n_resamples)`, at most 1: never 0, so 1000 resamples
/// cannot claim less than .002.
///
/// Source: Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, 15.4 and 16.4 (the
/// interval turned around); Sakai, SIGIR 2006, for its use with ranking metrics.
///
/// # Errors
/// [`EvalError::NotComparable`] if data, protocol, part or users differ,
/// [`EvalError::UnknownMetric`] for coverage and Gini, [`EvalError::Option`].
pub fn compare(
    left: &Evaluation,
    right: &Evaluation,
    metric: Metric,
    bootstrap: &Bootstrap,
) -> Result<Comparison, EvalError> {
    bootstrap.check()?;
    left.check_comparable(right)?;
    let pair = [(left.group_sums(metric)?, right.group_sums(metric)?)];
    Ok(compare_sums(&pair, bootstrap).remove(0))
}

/// Compares pairs of columns, all with the same resamples. Columns may be means over seeds.
pub(crate) fn compare_sums(
    pairs: &[(GroupSums, GroupSums)],
    bootstrap: &Bootstrap,
) -> Vec<Comparison> {
    let differences: Vec<GroupSums> = pairs.iter().map(|(a, b)| subtract(a, b)).collect();
    let observed = differences.iter().map(|column| {
        let (sum, n) = column.iter().fold((0.0, 0.0), |(s, n), (x, w)| (s + x, n + w));
        if n > 0.0 { sum / n } else { 0.0 }
    });
    let resampled = ratios(&differences, bootstrap);
    observed
        .zip(resampled)
        .map(|(observed, found)| comparison(observed, found, bootstrap))
        .collect()
}

fn subtract(left: &GroupSums, right: &GroupSums) -> GroupSums {
    // Comparable columns have the same numbers of cases, group by group.
    left.iter().zip(right).map(|((a, n), (b, _))| (a - b, *n)).collect()
}

/// The comparison of an observed difference with its resamples; see [`compare`] for the p-value.
pub(crate) fn comparison(observed: f64, resampled: Resampled, bootstrap: &Bootstrap) -> Comparison {
    let n_not_above = resampled.0.iter().filter(|d| **d <= 0.0).count();
    let n_not_below = resampled.0.iter().filter(|d| **d >= 0.0).count();
    let extreme = (1 + n_not_above.min(n_not_below)) as f64;
    let p_value = (2.0 * extreme / (1 + resampled.0.len()) as f64).min(1.0);
    let interval = resampled.interval(bootstrap);
    let interval = interval.unwrap_or(Interval { low: observed, high: observed });
    Comparison { difference: observed, interval, p_value }
}

/// Holm's step-down correction: p-values that can be read as if there were one comparison.
///
/// Sorted ascending, the `i`-th of `n` is multiplied by `n - i + 1`, never falls below the one
/// before it, and is at most 1. The result is in the order of the input.
///
/// Source: Holm, Scandinavian Journal of Statistics 6(2), 1979.
///
/// ```
/// assert_eq!(forecart_eval::holm(&[0.25, 0.125, 0.5]), [0.5, 0.375, 0.5]);
/// ```
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut corrected = vec![0.0; p_values.len()];
    let mut smallest: f64 = 0.0;
    for (place, index) in order.iter().enumerate() {
        let factor = (p_values.len() - place) as f64;
        smallest = smallest.max((p_values[*index] * factor).min(1.0));
        corrected[*index] = smallest;
    }
    corrected
}

/// The best of several evaluations by `metric`, for choosing hyperparameters or a model.
///
/// The first of equals wins. Only the validation part may choose.
///
/// # Errors
/// [`EvalError::ChoiceOnTest`] if any evaluation was made on the test part,
/// [`EvalError::NotComparable`] if they were made on different data, protocols or users,
/// [`EvalError::Option`] if there is nothing to choose from, [`EvalError::UnknownMetric`].
pub fn choose(candidates: &[&Evaluation], metric: Metric) -> Result<usize, EvalError> {
    let nothing = || EvalError::Option { option: "candidates", reason: "there are none".into() };
    let first = candidates.first().ok_or_else(nothing)?;
    let mut best: Option<(usize, f64)> = None;
    for (index, candidate) in candidates.iter().enumerate() {
        if candidate.part == Part::Test {
            return Err(EvalError::ChoiceOnTest { label: candidate.label.clone() });
        }
        first.check_comparable(candidate)?;
        let value = candidate.metric(metric)?.unwrap_or(f64::NEG_INFINITY);
        if best.is_none_or(|(_, highest)| value > highest) {
            best = Some((index, value));
        }
    }
    best.map(|(index, _)| index).ok_or_else(nothing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn column(values: &[f64]) -> GroupSums {
        values.iter().map(|value| (*value, 1.0)).collect()
    }

    #[test]
    fn equal_models_do_not_differ() {
        let values = column(&[0.1, 0.9, 0.4]);
        let found = compare_sums(&[(values.clone(), values)], &Bootstrap::default())[0];
        assert_eq!((found.difference, found.p_value), (0.0, 1.0));
    }

    #[test]
    fn a_small_difference_that_every_user_has_is_found() {
        // Users differ by far more than the models do; pairing removes it.
        let right: Vec<f64> = (0..50).map(|i| f64::from(i * 37 % 50)).collect();
        let left: Vec<f64> = right.iter().map(|value| value + 0.01).collect();
        let pair = [(column(&left), column(&right))];
        let found = compare_sums(&pair, &Bootstrap::default())[0];
        assert!((found.difference - 0.01).abs() < 1e-12);
        assert_eq!(found.p_value, 2.0 / 1001.0);
        assert!(found.interval.low > 0.0);
    }

    #[test]
    fn the_sign_turns_with_the_sides() {
        let left = column(&[1.0, 0.0, 1.0, 1.0, 0.5, 0.0, 0.7, 0.9]);
        let right = column(&[0.5, 0.2, 0.9, 0.1, 0.5, 0.3, 0.2, 1.0]);
        let pairs = [(left.clone(), right.clone()), (right, left)];
        let found = compare_sums(&pairs, &Bootstrap::default());
        assert_eq!(found[0].difference, -found[1].difference);
        assert_eq!(found[0].p_value, found[1].p_value);
        assert!((found[0].interval.low + found[1].interval.high).abs() < 1e-12);
    }

    #[test]
    fn false_alarms_are_as_rare_as_stated() {
        use rand::{RngExt, SeedableRng};
        let mut generator = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        let mut draw = || column(&(0..80).map(|_| generator.random()).collect::<Vec<f64>>());
        let pairs: Vec<_> = (0..200).map(|_| (draw(), draw())).collect();
        let bootstrap = Bootstrap { n_resamples: 400, ..Bootstrap::default() };
        let n_alarms =
            compare_sums(&pairs, &bootstrap).iter().filter(|found| found.p_value < 0.05).count();
        // 5 % of 200 is 10, with a standard deviation of 3.1.
        assert!(n_alarms <= 20, "{n_alarms} of 200");
    }

    #[test]
    fn holm_by_hand() {
        // Sorted .01 .02 .03 .04: times 4, 3, 2, 1 = .04 .06 .06 .04, raised to be ascending.
        let corrected = holm(&[0.03, 0.01, 0.04, 0.02]);
        for (got, want) in corrected.iter().zip([0.06, 0.04, 0.06, 0.06]) {
            assert!((got - want).abs() < 1e-12, "{corrected:?}");
        }
        assert!(holm(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn holm_keeps_the_order_and_never_lowers(
            p_values in prop::collection::vec(0.0..1.0f64, 1..12),
        ) {
            let corrected = holm(&p_values);
            for (i, p) in p_values.iter().enumerate() {
                prop_assert!(corrected[i] >= *p && corrected[i] <= 1.0);
                for (j, other) in p_values.iter().enumerate() {
                    prop_assert!(p > other || corrected[i] <= corrected[j], "{i} {j}");
                }
            }
        }
    }
}
