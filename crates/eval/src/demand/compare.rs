//! Two ways to forecast, on the same series.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::backtest::{DemandBacktest, DemandMeasures, SeriesErrors};
use crate::bootstrap::{Bootstrap, GroupSums};
use crate::error::EvalError;
use crate::significance::{Comparison, compare_sums};

/// What decides between forecasts; less is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DemandMetric {
    /// [`super::wape`] of the medians.
    Wape,
    /// [`super::pinball_loss`], mean over the levels.
    Pinball,
}

impl DemandMetric {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Wape, Self::Pinball];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wape => "wape",
            Self::Pinball => "pinball",
        }
    }

    /// Its value, if it has one.
    pub fn of(self, measures: &DemandMeasures) -> Option<f64> {
        match self {
            Self::Wape => measures.median_wape,
            Self::Pinball => Some(measures.pinball_loss),
        }
    }

    /// Its sums over the periods of a series: what is added up, and what that is divided by.
    fn sums(self, series: &SeriesErrors) -> (f64, f64) {
        match self {
            Self::Wape => (series.median_off, series.sold),
            Self::Pinball => (series.pinball, series.n),
        }
    }
}

impl fmt::Display for DemandMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for DemandMetric {
    type Err = EvalError;

    fn from_str(name: &str) -> Result<Self, EvalError> {
        let found = Self::ALL.into_iter().find(|metric| metric.name() == name.to_lowercase());
        found.ok_or_else(|| EvalError::NoSuchMetric {
            name: name.to_owned(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}

impl DemandBacktest {
    /// What this one has more than `other` of `metric`, by the paired bootstrap over series, each drawn with all its periods. `None` if they
    /// did not forecast the same periods of the same series, or if nothing was sold.
    pub fn against(
        &self,
        other: &Self,
        metric: DemandMetric,
        bootstrap: &Bootstrap,
    ) -> Option<Comparison> {
        let both = || self.of_series.iter().zip(&other.of_series);
        let is_same = self.of_series.len() == other.of_series.len()
            && both().all(|(own, theirs)| own.n == theirs.n && own.sold == theirs.sold);
        let (own, theirs): (GroupSums, GroupSums) = both()
            .filter(|(own, _)| own.n > 0.0)
            .map(|(own, theirs)| (metric.sums(own), metric.sums(theirs)))
            .unzip();
        let n: f64 = own.iter().map(|(_, n)| n).sum();
        (is_same && n > 0.0).then(|| compare_sums(&[(own, theirs)], bootstrap).remove(0))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BacktestOptions, Forecast, backtest};
    use super::*;
    use std::num::NonZeroUsize;

    /// Forty series of ten periods; each forecast is off by `off` units.
    fn forecast(off: f64) -> DemandBacktest {
        let units: Vec<Vec<f64>> =
            (0..40).map(|series| (0..10).map(|n| f64::from((series + n) % 7)).collect()).collect();
        let n = |n| NonZeroUsize::new(n).unwrap();
        let options = BacktestOptions::new(n(4), n(2));
        let say = |origin: usize, n: usize, levels: &[f64]| {
            let of = |series: &Vec<f64>| {
                let mean: Vec<f64> = series[origin..origin + n].iter().map(|x| x + off).collect();
                let quantiles = mean.iter().map(|x| vec![*x; levels.len()]).collect();
                let intervals = mean.iter().map(|x| vec![[*x; 2]; 2]).collect();
                Some(Forecast { mean, quantiles, intervals })
            };
            Ok::<_, EvalError>(units.iter().map(of).collect())
        };
        backtest(&units, &options, say).unwrap()
    }

    #[test]
    fn what_is_off_by_less_has_less_of_both() {
        let (near, far) = (forecast(0.5), forecast(1.5));
        for metric in DemandMetric::ALL {
            let found = near.against(&far, metric, &Bootstrap::default()).unwrap();
            let want = metric.of(&near.all).unwrap() - metric.of(&far.all).unwrap();
            assert!((found.difference - want).abs() < 1e-12 && want < 0.0, "{metric}: {found:?}");
            assert!(found.interval.high < 0.0, "{metric}: {found:?}");
            assert_eq!(metric.name().parse::<DemandMetric>().unwrap(), metric);
        }
        let error = "mape".parse::<DemandMetric>().unwrap_err().to_string();
        assert!(error.contains("wape, pinball"), "{error}");
        // As read from a file, without the sums.
        let read: DemandBacktest =
            serde_json::from_str(&serde_json::to_string(&near).unwrap()).unwrap();
        assert_eq!(read.against(&far, DemandMetric::Wape, &Bootstrap::default()), None);
    }

    #[test]
    fn periods_add_up_to_the_whole() {
        let found = forecast(0.5);
        assert_eq!(found.by_period.len(), 4);
        for period in &found.by_period {
            assert_eq!(period.n_series, 40);
            assert!((period.expected - period.n_units - 20.0).abs() < 1e-9, "{period:?}");
        }
        let sold: f64 = found.by_period.iter().map(|period| period.n_units).sum();
        assert!((sold - found.by_periods_ahead[0].n_units).abs() < 1e-9);
    }
}
