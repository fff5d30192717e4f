//! Percentile-bootstrap intervals over groups of cases.
//!
//! A group is what is independent: a user, or a session with all its prefixes. Every metric is a
//! ratio of sums over groups, so a resample needs one pass over the groups for all metrics at once.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::EvalError;
use crate::evaluation::Evaluation;
use crate::metrics::Metric;

/// How intervals are computed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// Resamples; 1000.
    pub n_resamples: usize,
    /// Share of the resamples within the interval; 0.95.
    pub confidence: f64,
    /// Seed of the resamples. Two models measured with one seed are resampled alike.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { n_resamples: 1000, confidence: 0.95, seed: 42 }
    }
}

impl Bootstrap {
    pub(crate) fn check(&self) -> Result<(), EvalError> {
        if self.n_resamples < 20 {
            let reason = "fewer than 20 resamples give no interval".into();
            return Err(EvalError::Option { option: "n_resamples", reason });
        }
        if !(self.confidence > 0.0 && self.confidence < 1.0) {
            let reason = format!("{} is not between 0 and 1", self.confidence);
            return Err(EvalError::Option { option: "confidence", reason });
        }
        Ok(())
    }
}

/// An interval of the stated confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Half of the width: what stands behind the ± of a table.
    pub fn half_width(&self) -> f64 {
        (self.high - self.low) / 2.0
    }

    /// The percentile interval of `values`.
    pub(crate) fn of(values: &mut [f64], confidence: f64) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let tail = (1.0 - confidence) / 2.0;
        Self { low: quantile(values, tail), high: quantile(values, 1.0 - tail) }
    }
}

/// Linear interpolation between the two nearest of the sorted values.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let (below, above) = (position.floor() as usize, position.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (position - below as f64)
}

/// The interval of `metric`, or `None` if no case has it or too few groups are there to resample.
///
/// The groups are drawn with replacement; the interval holds the middle `confidence` of the means.
/// Coverage and Gini have none: a resample repeats users, and repeated lists cover less.
///
/// Source: Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 13.
///
/// # Errors
/// [`EvalError::UnknownMetric`] for metrics without values case by case, [`EvalError::Option`].
pub fn interval(
    evaluation: &Evaluation,
    metric: Metric,
    bootstrap: &Bootstrap,
) -> Result<Option<Interval>, EvalError> {
    bootstrap.check()?;
    let columns = [evaluation.group_sums(metric)?];
    Ok(ratios(&columns, bootstrap).remove(0).interval(bootstrap))
}

/// Groups numbered from 0 without gaps, in the order of the numbers given, and how many there are.
pub(crate) fn numbered(groups: &[u32]) -> (Vec<u32>, usize) {
    let mut distinct = groups.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let number = |group: &u32| distinct.partition_point(|known| known < group) as u32;
    (groups.iter().map(number).collect(), distinct.len())
}

/// The units that make up one resample of `n_units`. Every resample has its own stream of the generator, so the result
/// does not depend on threads.
pub(crate) fn draws(
    bootstrap: &Bootstrap,
    resample: usize,
    n_units: usize,
) -> impl Iterator<Item = usize> {
    let mut generator = ChaCha8Rng::seed_from_u64(bootstrap.seed);
    generator.set_stream(resample as u64);
    (0..n_units).map(move |_| generator.random_range(0..n_units as u32) as usize)
}

/// For each group, the sum of a metric over its cases and the number of cases.
pub(crate) type GroupSums = Vec<(f64, f64)>;

/// The resampled values of one column; empty if the column has no value.
#[derive(Debug)]
pub(crate) struct Resampled(pub(crate) Vec<f64>);

impl Resampled {
    pub(crate) fn interval(mut self, bootstrap: &Bootstrap) -> Option<Interval> {
        (!self.0.is_empty()).then(|| Interval::of(&mut self.0, bootstrap.confidence))
    }
}

/// Resamples all columns alike: `sum / n` of each column in each resample.
///
/// A resample in which a column has no case at all is left out of that column. Resample `r` of `n`
/// groups is the same for any columns.
pub(crate) fn ratios(columns: &[GroupSums], bootstrap: &Bootstrap) -> Vec<Resampled> {
    let n_groups = columns.first().map_or(0, Vec::len);
    debug_assert!(columns.iter().all(|column| column.len() == n_groups));
    // Most columns share their numbers of cases; each distinct one is summed once.
    let mut weights: Vec<Vec<f64>> = Vec::new();
    let weight_of: Vec<usize> = columns
        .iter()
        .map(|column| {
            let weight: Vec<f64> = column.iter().map(|(_, n)| *n).collect();
            weights.iter().position(|known| *known == weight).unwrap_or_else(|| {
                weights.push(weight);
                weights.len() - 1
            })
        })
        .collect();
    let width = columns.len() + weights.len();
    let mut table = Vec::with_capacity(n_groups * width); // [n_groups, width]
    for group in 0..n_groups {
        table.extend(columns.iter().map(|column| column[group].0));
        table.extend(weights.iter().map(|weight| weight[group]));
    }
    let resamples: Vec<Vec<f64>> = (0..bootstrap.n_resamples)
        .into_par_iter()
        .map(|resample| {
            let mut sums = vec![0.0; width];
            for group in draws(bootstrap, resample, n_groups) {
                let row = &table[group * width..(group + 1) * width];
                sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
            sums
        })
        .collect();
    let of_column = |(column, weight): (usize, &usize)| {
        let values = resamples.iter().map(|sums| (sums[column], sums[columns.len() + weight]));
        Resampled(values.filter(|(_, n)| *n > 0.0).map(|(sum, n)| sum / n).collect())
    };
    weight_of.iter().enumerate().map(of_column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One case a group; values of a generator that has nothing to do with the resamples'.
    fn column(n: usize, seed: u64) -> GroupSums {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        (0..n).map(|_| (generator.random_range(0.0..1.0), 1.0)).collect()
    }

    #[test]
    fn quantiles_by_hand() {
        let sorted = [1.0, 2.0, 4.0];
        assert_eq!(quantile(&sorted, 0.0), 1.0);
        assert_eq!(quantile(&sorted, 0.75), 3.0);
        assert_eq!(quantile(&sorted, 1.0), 4.0);
    }

    #[test]
    fn the_interval_agrees_with_the_normal_theory_where_that_holds() {
        let column = column(2000, 5);
        let mean = column.iter().map(|(sum, _)| sum).sum::<f64>() / 2000.0;
        let variance = column.iter().map(|(sum, _)| (sum - mean).powi(2)).sum::<f64>() / 2000.0;
        let bootstrap = Bootstrap::default();
        let found = ratios(&[column], &bootstrap).remove(0).interval(&bootstrap).unwrap();
        let want = 1.96 * (variance / 2000.0).sqrt();
        // 1000 resamples know a 2.5 % quantile to some percent of the width.
        assert!((found.half_width() / want - 1.0).abs() < 0.1, "{found:?}, want ± {want}");
        assert!(found.low < mean && mean < found.high);
    }

    #[test]
    fn the_interval_covers_the_truth_as_often_as_it_says() {
        let bootstrap = Bootstrap { n_resamples: 400, ..Bootstrap::default() };
        let covers = |seed: &u64| {
            let column = column(60, *seed);
            let found = ratios(&[column], &bootstrap).remove(0).interval(&bootstrap).unwrap();
            found.low <= 0.5 && 0.5 <= found.high
        };
        let n_covered = (0..300u64).filter(covers).count();
        // 95 % of 300 is 285, with a standard deviation of 3.8.
        assert!((270..=297).contains(&n_covered), "{n_covered} of 300");
    }

    #[test]
    fn the_same_seed_gives_the_same_bits_with_any_number_of_threads() {
        let columns = [column(300, 1), column(300, 2)];
        let run = |n_threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            pool.install(|| ratios(&columns, &Bootstrap::default()))
        };
        for (one, two) in run(1).iter().zip(run(2)) {
            assert_eq!(one.0, two.0);
        }
        let other = ratios(&columns, &Bootstrap { seed: 43, ..Bootstrap::default() });
        assert_ne!(other[0].0, run(1)[0].0);
    }

    #[test]
    fn groups_are_resampled_whole() {
        // Two sessions of 50 equal prefixes: the mean can only be 0, a half or 1.
        let columns = [vec![(0.0, 50.0), (50.0, 50.0)]];
        let values = ratios(&columns, &Bootstrap::default()).remove(0).0;
        assert!(values.iter().all(|value| [0.0, 0.5, 1.0].contains(value)));
    }

    #[test]
    fn groups_without_a_value_are_left_out() {
        let columns = [vec![(0.0, 0.0), (3.0, 1.0)], vec![(0.0, 0.0), (0.0, 0.0)]];
        let bootstrap = Bootstrap::default();
        let mut found = ratios(&columns, &bootstrap).into_iter();
        let both = Interval { low: 3.0, high: 3.0 };
        assert_eq!(found.next().unwrap().interval(&bootstrap), Some(both));
        assert_eq!(found.next().unwrap().interval(&bootstrap), None);
    }
}
