//! One contract for all methods.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::interval::{DemandInterval, DemandQuestion};
use super::level::Level;
use super::spread::Spread;
use super::{average, croston, naive, smoothing, tsb};
use crate::error::ModelError;

/// No shop sells more in a period; squares of it are far from the largest number.
const LARGEST_UNITS: f64 = 1e12;

/// A method and its constants.
///
/// ```
/// use forecart_models::purchase::demand::{DemandMethod, DemandQuestion};
///
/// let weeks = [0.0, 0.0, 6.0, 0.0, 0.0, 6.0, 0.0, 0.0, 6.0];
/// let fit = DemandMethod::Croston { alpha: 0.1 }.fit(&weeks)?;
/// let forecast = fit.forecast(4, DemandQuestion::of_levels(&[0.5, 0.9]))?;
/// assert_eq!(forecast.mean, [2.0; 4]); // Six every three weeks.
/// assert!(forecast.quantiles[0][1] >= 2.0);
/// # Ok::<(), forecart_models::ModelError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case", deny_unknown_fields)]
pub enum DemandMethod {
    /// What was sold a season ago. Until a season has passed: in the last period.
    SeasonalNaive {
        /// Periods of a season.
        season: NonZeroUsize,
    },
    /// The mean of the last periods.
    MovingAverage {
        /// How many.
        window: NonZeroUsize,
    },
    /// A level that follows what was sold, each period by a share of the difference; it starts at the first period.
    ///
    /// Source: Brown, *Statistical Forecasting for Inventory Control*, 1959.
    SimpleSmoothing {
        /// The share, in `0.0..=1.0`, not 0.
        alpha: f64,
    },
    /// Size of a sale over time between sales, each smoothed where there is a sale. Too high on average.
    ///
    /// Source: Croston, Operational Research Quarterly 23(3), 1972.
    Croston {
        /// Share of smoothing, in `0.0..=1.0`, not 0.
        alpha: f64,
    },
    /// [`DemandMethod::Croston`] times `1 - alpha / 2`, which takes most of its bias.
    ///
    /// Source: Syntetos and Boylan, International Journal of Forecasting 21(2), 2005.
    Sba {
        /// Share of smoothing, in `0.0..=1.0`, not 0.
        alpha: f64,
    },
    /// Size of a sale times its probability in a period. Both are smoothed, the size where there is a sale, the probability
    /// in each period: the forecast of what sells no more goes to 0.
    ///
    /// Source: Teunter, Syntetos and Babai, European Journal of Operational Research 214(3), 2011.
    Tsb {
        /// Share of smoothing of the size, in `0.0..=1.0`, not 0.
        alpha_size: f64,
        /// Share of smoothing of the probability, in `0.0..=1.0`, not 0.
        alpha_probability: f64,
    },
}

/// A method that has seen an item's past.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DemandFit {
    /// Means of the next periods, over and over.
    next: Vec<f64>,
    spread: Spread,
}

/// What is expected of the next periods.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DemandForecast {
    /// `[n_periods]`, not below 0.
    pub mean: Vec<f64>,
    /// `[n_periods, n_levels]`, never falling with the level, not below 0.
    pub quantiles: Vec<Vec<f64>>,
    /// `[n_periods, n_shares]`
    pub intervals: Vec<Vec<DemandInterval>>,
}

impl DemandMethod {
    /// Fits on units sold a period, oldest first.
    ///
    /// An item that was never sold has a mean and quantiles of 0. After a single period, that period is the mean.
    ///
    /// # Errors
    /// [`ModelError::Demand`] without a period, for units below 0, above 1e12 or not a number, and for
    /// constants out of their range.
    pub fn fit(&self, history: &[f64]) -> Result<DemandFit, ModelError> {
        self.check()?;
        if history.is_empty() {
            return Err(wrong("there is no past period"));
        }
        let is_wrong = |units: &f64| !(0.0..=LARGEST_UNITS).contains(units);
        if let Some(period) = history.iter().position(is_wrong) {
            return Err(wrong(format!("{} units were sold in period {period}", history[period])));
        }
        let level = match *self {
            Self::SeasonalNaive { season } => {
                let (next, spread) = naive::seasonal(history, season.get());
                return Ok(DemandFit { next, spread });
            }
            Self::MovingAverage { window } => average::moving(history, window.get()),
            Self::SimpleSmoothing { alpha } => smoothing::simple(history, alpha),
            Self::Croston { alpha } => croston::croston(history, alpha, 1.0),
            Self::Sba { alpha } => croston::croston(history, alpha, 1.0 - alpha / 2.0),
            Self::Tsb { alpha_size, alpha_probability } => {
                tsb::tsb(history, alpha_size, alpha_probability)
            }
        };
        let Level { next, fitted, .. } = &level;
        let errors: Vec<f64> = history.iter().zip(fitted).map(|(sold, mean)| sold - mean).collect();
        let spread = Spread::counts(&errors, level.growth);
        Ok(DemandFit { next: vec![*next], spread })
    }

    pub(super) fn check(&self) -> Result<(), ModelError> {
        let shares = match *self {
            Self::SeasonalNaive { .. } | Self::MovingAverage { .. } => return Ok(()),
            Self::SimpleSmoothing { alpha } | Self::Croston { alpha } | Self::Sba { alpha } => {
                [("alpha", alpha); 2]
            }
            Self::Tsb { alpha_size, alpha_probability } => {
                [("alpha_size", alpha_size), ("alpha_probability", alpha_probability)]
            }
        };
        let is_share = |share: f64| share > 0.0 && share <= 1.0;
        match shares.into_iter().find(|(_, share)| !is_share(*share)) {
            Some((name, share)) => {
                Err(wrong(format!("{name} is {share}, but must be above 0 and at most 1")))
            }
            None => Ok(()),
        }
    }
}

impl DemandFit {
    /// Refuses what was read and no method gives.
    pub(super) fn check(&self) -> Result<(), ModelError> {
        let is_mean = |mean: &f64| (0.0..=LARGEST_UNITS).contains(mean);
        match !self.next.is_empty() && self.next.iter().all(is_mean) && self.spread.is_possible() {
            true => Ok(()),
            false => Err(ModelError::damaged("its forecast is not one that could be fitted")),
        }
    }

    /// The mean of each of the next `n_periods`, and what `asked` asks of it.
    ///
    /// Quantiles are those of a negative binomial distribution with the forecast's mean and the mean squared error of
    /// one-step forecasts in the past as its variance, of a Poisson distribution where that variance is not above the mean;
    /// of [`DemandMethod::SeasonalNaive`], those of its own past errors around the mean, since a mean of 0 says nothing of
    /// the spread. Of the others, all quantiles of a mean of 0 are 0: a window must be long enough to hold a sale. Each
    /// quantile is of one period: sums of periods spread less than sums of quantiles.
    ///
    /// Source: Syntetos, Babai and Altay, International Journal of Production Research 50(8), 2012, for the negative
    /// binomial distribution of demand; Snyder, Ord and Beaumont, International Journal of Forecasting 28(2), 2012.
    ///
    /// # Errors
    /// [`ModelError::Demand`] for levels and shares that are not between 0 and 1.
    pub fn forecast(
        &self,
        n_periods: usize,
        asked: DemandQuestion<'_>,
    ) -> Result<DemandForecast, ModelError> {
        asked.check()?;
        let mean: Vec<f64> = self.next.iter().copied().cycle().take(n_periods).collect();
        let (quantiles, intervals) = mean
            .iter()
            .enumerate()
            .map(|(step, mean)| asked.answer(|levels| self.spread.quantiles(*mean, step, levels)))
            .unzip();
        Ok(DemandForecast { mean, quantiles, intervals })
    }
}

/// A [`ModelError::Demand`].
pub(super) fn wrong(reason: impl Into<String>) -> ModelError {
    ModelError::Demand { reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn n(n: usize) -> NonZeroUsize {
        NonZeroUsize::new(n).unwrap()
    }

    fn all() -> [DemandMethod; 6] {
        [
            DemandMethod::SeasonalNaive { season: n(4) },
            DemandMethod::MovingAverage { window: n(8) },
            DemandMethod::SimpleSmoothing { alpha: 0.3 },
            DemandMethod::Croston { alpha: 0.1 },
            DemandMethod::Sba { alpha: 0.1 },
            DemandMethod::Tsb { alpha_size: 0.2, alpha_probability: 0.1 },
        ]
    }

    const LEVELS: [f64; 4] = [0.05, 0.5, 0.9, 0.99];

    #[test]
    fn nothing_sold_is_nothing_expected() {
        for method in all() {
            for n_periods in [1, 2, 30] {
                let found = method
                    .fit(&vec![0.0; n_periods])
                    .unwrap()
                    .forecast(3, DemandQuestion::of_levels(&LEVELS))
                    .unwrap();
                assert_eq!(found.mean, [0.0; 3], "{method:?}");
                assert_eq!(found.quantiles, vec![vec![0.0; 4]; 3], "{method:?}");
            }
        }
    }

    #[test]
    fn a_single_period_is_the_mean() {
        for method in all() {
            let found = method
                .fit(&[8.0])
                .unwrap()
                .forecast(2, DemandQuestion::of_levels(&LEVELS))
                .unwrap();
            let want = if let DemandMethod::Sba { .. } = method { 8.0 * 0.95 } else { 8.0 };
            assert!((found.mean[1] - want).abs() < 1e-12, "{method:?}: {found:?}");
            assert!(found.quantiles[0][0] < found.quantiles[0][3], "{method:?}: {found:?}");
        }
    }

    #[test]
    fn bad_input_is_named() {
        let message =
            |method: DemandMethod, history: &[f64]| method.fit(history).unwrap_err().to_string();
        assert!(message(all()[1], &[]).contains("no past period"));
        assert!(message(all()[1], &[1.0, -2.0]).contains("-2 units were sold in period 1"));
        assert!(message(all()[1], &[f64::NAN]).contains("NaN units"));
        assert!(message(all()[1], &[1e300]).contains("units were sold in period 0"));
        let method = DemandMethod::Tsb { alpha_size: 0.1, alpha_probability: 0.0 };
        assert!(message(method, &[1.0]).contains("alpha_probability is 0"));
        let error = all()[1]
            .fit(&[1.0])
            .unwrap()
            .forecast(1, DemandQuestion::of_levels(&[1.0]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("no quantile at 1"), "{error}");
        let read = serde_json::from_str::<DemandMethod>(r#"{"method":"sba","alpha":0.1}"#).unwrap();
        assert_eq!(read, all()[4]);
    }

    /// Sales of an item that sells `size + 1` or more units in a share of the periods.
    fn drawn(n_periods: usize, seed: u64, share: f64) -> Vec<f64> {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let mut period = |_| {
            let is_sold = generator.random::<f64>() < share;
            // Geometric, with a mean of 4.
            let size = 1.0 + (generator.random::<f64>().ln() / 0.75f64.ln()).floor();
            if is_sold { size } else { 0.0 }
        };
        (0..n_periods).map(&mut period).collect()
    }

    #[test]
    fn quantiles_cover_as_often_as_they_say() {
        let mut wrong = Vec::new();
        for share in [0.2, 0.9] {
            for method in all() {
                let (mut n_below, mut n_all) = (0.0, 0.0);
                for seed in 0..400 {
                    let sold = drawn(44, seed, share);
                    let found = method
                        .fit(&sold[..40])
                        .unwrap()
                        .forecast(4, DemandQuestion::of_levels(&[0.9]))
                        .unwrap();
                    for (period, sold) in sold[40..].iter().enumerate() {
                        n_below += f64::from(*sold <= found.quantiles[period][0]);
                        n_all += 1.0;
                    }
                }
                let covered = n_below / n_all;
                // Counts are coarse: a quantile covers at least its level. 1600 periods know .9 to ± .015.
                if !(0.86..0.97).contains(&covered) {
                    wrong.push((share, method, covered));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn the_forecast_of_what_sells_no_more_goes_to_0_with_tsb_alone() {
        let past = [vec![5.0; 20], vec![0.0; 60]].concat();
        let mean = |method: DemandMethod| {
            method.fit(&past).unwrap().forecast(1, DemandQuestion::default()).unwrap().mean[0]
        };
        assert!(mean(all()[5]) < 0.02);
        assert!(mean(all()[3]) > 4.9);
    }

    proptest! {
        #[test]
        fn not_below_0_and_quantiles_in_order(
            history in prop::collection::vec(prop_oneof![8 => Just(0.0), 4 => (0u32..50).prop_map(f64::from), 2 => 0.0..1e6f64, 1 => 0.0..2e11f64], 1..50),
            scale in 1u32..4,
        ) {
            for method in all() {
                let fit = method.fit(&history).unwrap();
                let found = fit.forecast(6, DemandQuestion::of_levels(&LEVELS)).unwrap();
                prop_assert!(found.mean.iter().all(|mean| mean.is_finite() && *mean >= 0.0));
                for quantiles in &found.quantiles {
                    prop_assert!(quantiles.iter().all(|q| q.is_finite() && *q >= 0.0), "{method:?}");
                    prop_assert!(quantiles.is_sorted(), "{method:?} {quantiles:?}");
                }
                // Units in boxes: the mean goes with them.
                let boxes: Vec<f64> = history.iter().map(|units| units * f64::from(scale)).collect();
                let scaled = method.fit(&boxes).unwrap().forecast(6, DemandQuestion::default()).unwrap();
                for (one, other) in found.mean.iter().zip(scaled.mean) {
                    prop_assert!((one * f64::from(scale) - other).abs() <= 1e-9 * other.max(1.0));
                }
                let text = serde_json::to_string(&fit).unwrap();
                let read = serde_json::from_str::<DemandFit>(&text).unwrap().forecast(6, DemandQuestion::default()).unwrap();
                for (one, other) in found.mean.iter().zip(read.mean) {
                    prop_assert!((one - other).abs() <= 1e-15 * other.max(1.0));
                }
            }
        }
    }
}
