//! The shortest interval that holds a share of what may be sold.

use serde::{Deserialize, Serialize};

use super::method::wrong;
use crate::error::ModelError;

/// Places from which intervals of a share are tried: none of the rest below, up to nearly all of it.
const N_STARTS: u32 = 20;

/// What is asked of a forecast beside its mean.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DemandQuestion<'a> {
    /// Levels of quantiles, between 0 and 1.
    pub levels: &'a [f64],
    /// Shares that intervals are to hold, between 0 and 1.
    pub shares: &'a [f64],
}

/// Units that are sold with a probability of at least a share.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DemandInterval {
    /// The fewest.
    pub low: f64,
    /// The most.
    pub high: f64,
}

impl DemandInterval {
    fn width(self) -> f64 {
        self.high - self.low
    }
}

impl<'a> DemandQuestion<'a> {
    /// Quantiles at `levels` alone.
    pub fn of_levels(levels: &'a [f64]) -> Self {
        Self { levels, shares: &[] }
    }

    /// Refuses levels at which there are no quantiles, and shares of which there is no interval.
    pub(super) fn check(self) -> Result<(), ModelError> {
        let is_outside = |level: &&f64| !(**level > 0.0 && **level < 1.0);
        if let Some(level) = self.levels.iter().find(is_outside) {
            return Err(wrong(format!(
                "there is no quantile at {level}: levels are between 0 and 1"
            )));
        }
        match self.shares.iter().find(is_outside) {
            Some(share) => Err(wrong(format!(
                "there is no interval of a share of {share}: shares are between 0 and 1"
            ))),
            None => Ok(()),
        }
    }

    /// Quantiles at the levels, and the shortest interval of each share that begins at a quantile of the distribution, or at 0.
    ///
    /// What sells rarely sells nothing in more than a tenth of the periods, so that an interval from the quantile at .1 to that at .9 holds
    /// all of what is below, .9 and more. The shortest one begins at 0 and ends at the quantile at .8. Of equally short ones it is that
    /// which leaves out as much below as above, as nearly as can be.
    ///
    /// `quantiles` gives those of a distribution of units, none below 0, at any levels.
    pub(super) fn answer(
        self,
        quantiles: impl FnOnce(&[f64]) -> Vec<f64>,
    ) -> (Vec<f64>, Vec<DemandInterval>) {
        let starts = |share: f64| {
            (0..N_STARTS).map(move |start| (1.0 - share) * f64::from(start) / f64::from(N_STARTS))
        };
        let ends =
            self.shares.iter().flat_map(|share| starts(*share).flat_map(|s| [s, s + *share]));
        // Nothing is below 0, so the level 0 needs no quantile.
        let asked: Vec<f64> =
            self.levels.iter().copied().chain(ends).filter(|level| *level > 0.0).collect();
        let mut found = quantiles(&asked).into_iter();
        let levels: Vec<f64> = found.by_ref().take(self.levels.len()).collect();
        let mut next = || found.next().expect("a quantile for each level");
        let intervals = self.shares.iter().map(|share| {
            let middle = (1.0 - share) / 2.0;
            let all = starts(*share).map(|start| {
                let low = if start > 0.0 { next() } else { 0.0 };
                (DemandInterval { low, high: next() }, (start - middle).abs())
            });
            let is_before = |(a, from_a): &(DemandInterval, f64), (b, from_b): &(_, f64)| {
                let b: &DemandInterval = b;
                a.width().total_cmp(&b.width()).then(from_a.total_cmp(from_b))
            };
            all.min_by(is_before).expect("there are starts").0
        });
        let intervals = intervals.collect();
        (levels, intervals)
    }
}

#[cfg(test)]
mod tests {
    use statrs::distribution::{DiscreteCDF, NegativeBinomial};

    use super::*;

    const SHARES: [f64; 2] = [0.8, 0.95];

    fn exact(quantile: impl Fn(f64) -> f64) -> Vec<DemandInterval> {
        let question = DemandQuestion { levels: &[0.5], shares: &SHARES };
        let (levels, intervals) =
            question.answer(|levels| levels.iter().map(|l| quantile(*l)).collect());
        assert_eq!(levels, [quantile(0.5)]);
        intervals
    }

    #[test]
    fn of_an_even_distribution_any_is_as_short_and_the_middle_is_taken() {
        for (share, found) in SHARES.iter().zip(exact(|level| (level * 1024.0).round())) {
            let middle = 1024.0 * (1.0 - share) / 2.0;
            assert!((found.low - middle).abs() <= 26.0, "{share}: {found:?}");
            assert!((found.width() - 1024.0 * share).abs() <= 1.0, "{share}: {found:?}");
        }
    }

    #[test]
    fn of_what_falls_from_0_it_begins_at_0() {
        let found = exact(|level| -(1.0 - level).ln());
        for (share, found) in SHARES.iter().zip(found) {
            assert_eq!(found.low, 0.0);
            assert!((found.high + (1.0 - share).ln()).abs() < 1e-12, "{share}: {found:?}");
        }
    }

    #[test]
    fn it_holds_its_share_and_is_no_wider_than_with_equal_tails() {
        for (size, mean) in [(0.2, 0.5), (0.5, 3.0), (2.0, 8.0), (9.0, 40.0)] {
            let counts = NegativeBinomial::new(size, size / (size + mean)).unwrap();
            let quantile = |level: f64| {
                (0u64..).find(|count| counts.cdf(*count) >= level).expect("it ends") as f64
            };
            for (share, found) in SHARES.iter().zip(exact(quantile)) {
                let below = if found.low > 0.0 { counts.cdf(found.low as u64 - 1) } else { 0.0 };
                assert!(counts.cdf(found.high as u64) - below >= share - 1e-12, "{found:?}");
                let tail = (1.0 - share) / 2.0;
                assert!(found.width() <= quantile(1.0 - tail) - quantile(tail), "{found:?}");
            }
        }
    }

    #[test]
    fn levels_and_shares_are_between_0_and_1() {
        for (levels, shares) in
            [(vec![1.0], vec![]), (vec![], vec![0.0]), (vec![0.5], vec![f64::NAN])]
        {
            assert!(DemandQuestion { levels: &levels, shares: &shares }.check().is_err());
        }
    }
}
