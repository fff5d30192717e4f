//! Forecasts as they would have been made in the last periods.

use std::num::NonZeroUsize;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::metrics::pinball;
use crate::bootstrap::{Bootstrap, GroupSums, Interval, ratios};
use crate::error::EvalError;

/// What is expected of the next periods of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// `[n_periods]`
    pub mean: Vec<f64>,
    /// `[n_periods, n_levels]`
    pub quantiles: Vec<Vec<f64>>,
}

/// Which periods are forecast, and what is asked about them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BacktestOptions {
    /// The last periods of each series: each of them is forecast.
    pub n_periods: NonZeroUsize,
    /// A forecast is made before each of these periods, for as many periods as this.
    pub horizon: NonZeroUsize,
    /// Shares of periods that intervals are to hold, from one quantile to the one opposite of it; `[0.8, 0.95]`.
    pub coverages: Vec<f64>,
    /// Of the intervals of the measures; series are drawn, with all their periods.
    pub bootstrap: Bootstrap,
}

impl BacktestOptions {
    /// `n_periods` and `horizon`, intervals of 80 and of 95 %.
    pub fn new(n_periods: NonZeroUsize, horizon: NonZeroUsize) -> Self {
        Self { n_periods, horizon, coverages: vec![0.8, 0.95], bootstrap: Bootstrap::default() }
    }

    /// The levels that quantiles are asked for: the median, then the two ends of each interval.
    pub fn levels(&self) -> Vec<f64> {
        let ends = self.coverages.iter().map(|share| (1.0 - share) / 2.0);
        [0.5].into_iter().chain(ends.flat_map(|end| [end, 1.0 - end])).collect()
    }

    fn check(&self) -> Result<(), EvalError> {
        self.bootstrap.check()?;
        match self.coverages.iter().find(|share| !(**share > 0.0 && **share < 1.0)) {
            Some(share) => {
                let reason = format!("{share} is not between 0 and 1");
                Err(EvalError::Option { option: "coverages", reason })
            }
            None => Ok(()),
        }
    }
}

/// How often an interval held what was sold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// How often it should have.
    pub nominal: f64,
    /// How often it did.
    pub observed: f64,
    /// Percentile-bootstrap interval of that.
    pub interval: Option<Interval>,
}

/// Measures over some of the forecast periods.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DemandMeasures {
    /// Forecast periods, over all series.
    pub n_periods: usize,
    /// Units sold in them.
    pub n_units: f64,
    /// [`super::wape`]; `None` if nothing was sold.
    pub wape: Option<f64>,
    /// Its percentile-bootstrap interval.
    pub wape_interval: Option<Interval>,
    /// `Σ (forecast - sold) / Σ sold`: above 0 where too much is forecast.
    pub bias: Option<f64>,
    /// [`super::pinball_loss`], mean over the levels, in units a period.
    pub pinball_loss: f64,
    /// Its percentile-bootstrap interval.
    pub pinball_interval: Option<Interval>,
    /// Of each interval asked for.
    pub coverages: Vec<Coverage>,
}

/// What forecasts of the last periods were worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DemandBacktest {
    /// Series that were forecast.
    pub n_series: usize,
    /// Series left out, since they have no period before the last ones.
    pub n_too_short: usize,
    /// Over all forecast periods.
    pub all: DemandMeasures,
    /// Over forecasts of one period ahead, two periods, and so on, as far as there are any.
    pub by_periods_ahead: Vec<DemandMeasures>,
}

/// Sums over forecast periods of a series.
#[derive(Debug, Clone, Default)]
struct Sums {
    n: f64,
    sold: f64,
    off: f64,
    over: f64,
    pinball: f64,
    within: Vec<f64>,
}

impl Sums {
    fn new(options: &BacktestOptions) -> Self {
        Self { within: vec![0.0; options.coverages.len()], ..Self::default() }
    }

    fn add_period(&mut self, sold: f64, mean: f64, quantiles: &[f64], levels: &[f64]) {
        self.n += 1.0;
        self.sold += sold;
        self.off += (mean - sold).abs();
        self.over += mean - sold;
        let losses = quantiles.iter().zip(levels).map(|(q, level)| pinball(sold, *q, *level));
        self.pinball += losses.sum::<f64>() / levels.len() as f64;
        for (within, ends) in self.within.iter_mut().zip(quantiles[1..].chunks_exact(2)) {
            *within += f64::from(ends[0] <= sold && sold <= ends[1]);
        }
    }

    fn add(&mut self, other: &Self) {
        self.n += other.n;
        self.sold += other.sold;
        self.off += other.off;
        self.over += other.over;
        self.pinball += other.pinball;
        self.within.iter_mut().zip(&other.within).for_each(|(sum, value)| *sum += value);
    }
}

/// Forecasts the last periods of each series from the periods before, and measures the forecasts.
///
/// Before each of the last `n_periods` periods, `forecast(history, n, levels)` is asked for the next `n` periods: `horizon`, or as
/// many as there still are. It sees the periods before alone. The result does not depend on threads.
///
/// ```
/// use std::num::NonZeroUsize;
/// use forecart_eval::EvalError;
/// use forecart_eval::demand::{BacktestOptions, Forecast, backtest};
///
/// let last = |history: &[f64], n: usize, levels: &[f64]| {
///     let units = history[history.len() - 1];
///     Ok::<_, EvalError>(Forecast { mean: vec![units; n], quantiles: vec![vec![units; levels.len()]; n] })
/// };
/// let n = |n| NonZeroUsize::new(n).unwrap();
/// let found = backtest(&[vec![1.0, 2.0, 4.0]], &BacktestOptions::new(n(2), n(1)), last)?;
/// assert_eq!(found.all.wape, Some(0.5)); // 1 for 2, 2 for 4.
/// # Ok::<(), EvalError>(())
/// ```
///
/// # Errors
/// What `forecast` fails with; [`EvalError::Option`] for options that do not fit; [`EvalError::Input`] if no series is long enough
/// or a forecast is of another shape than asked for.
pub fn backtest<E: From<EvalError> + Send>(
    series: &[Vec<f64>],
    options: &BacktestOptions,
    forecast: impl Fn(&[f64], usize, &[f64]) -> Result<Forecast, E> + Sync,
) -> Result<DemandBacktest, E> {
    options.check()?;
    let levels = options.levels();
    let horizon = options.horizon.get().min(options.n_periods.get());
    // Of each series, by periods ahead.
    let of_series = |series: &Vec<f64>| -> Result<Vec<Sums>, E> {
        let mut sums = vec![Sums::new(options); horizon];
        let first = series.len().saturating_sub(options.n_periods.get()).max(1);
        for origin in first..series.len() {
            let n_ahead = horizon.min(series.len() - origin);
            let found = forecast(&series[..origin], n_ahead, &levels)?;
            let is_asked_for = found.mean.len() == n_ahead
                && found.quantiles.len() == n_ahead
                && found.quantiles.iter().all(|quantiles| quantiles.len() == levels.len());
            if !is_asked_for {
                let reason = format!(
                    "{n_ahead} periods with {} quantiles each were asked for, and {} and {} given",
                    levels.len(),
                    found.mean.len(),
                    found.quantiles.len()
                );
                return Err(EvalError::Input { what: "forecast", reason }.into());
            }
            for (ahead, sums) in sums.iter_mut().enumerate().take(n_ahead) {
                let sold = series[origin + ahead];
                sums.add_period(sold, found.mean[ahead], &found.quantiles[ahead], &levels);
            }
        }
        Ok(sums)
    };
    let long_enough: Vec<&Vec<f64>> = series.iter().filter(|series| series.len() > 1).collect();
    if long_enough.is_empty() {
        let reason = "none has a period to forecast and one before it".into();
        return Err(EvalError::Input { what: "series", reason }.into());
    }
    let found: Vec<Vec<Sums>> =
        long_enough.par_iter().map(|series| of_series(series)).collect::<Result<_, E>>()?;
    let together = |of_series: &Vec<Sums>| {
        let mut all = Sums::new(options);
        of_series.iter().for_each(|sums| all.add(sums));
        all
    };
    let all: Vec<Sums> = found.iter().map(together).collect();
    let ahead = |ahead: usize| -> DemandMeasures {
        let sums: Vec<Sums> = found.iter().map(|of_series| of_series[ahead].clone()).collect();
        measures(&sums, options)
    };
    Ok(DemandBacktest {
        n_series: found.len(),
        n_too_short: series.len() - found.len(),
        all: measures(&all, options),
        by_periods_ahead: (0..horizon).map(ahead).filter(|found| found.n_periods > 0).collect(),
    })
}

/// Measures of all series together, with intervals.
fn measures(of_series: &[Sums], options: &BacktestOptions) -> DemandMeasures {
    let mut all = Sums::new(options);
    of_series.iter().for_each(|sums| all.add(sums));
    let column = |value: &dyn Fn(&Sums) -> (f64, f64)| -> GroupSums {
        of_series.iter().map(value).collect()
    };
    let mut columns =
        vec![column(&|sums| (sums.off, sums.sold)), column(&|sums| (sums.pinball, sums.n))];
    columns.extend((0..all.within.len()).map(|place| column(&|sums| (sums.within[place], sums.n))));
    let resampled = ratios(&columns, &options.bootstrap);
    let mut intervals = resampled.into_iter().map(|values| values.interval(&options.bootstrap));
    let mut interval = || intervals.next().expect("an interval for each column");
    let (wape_interval, pinball_interval) = (interval(), interval());
    let share = |sum: f64| (all.sold > 0.0).then(|| sum / all.sold);
    let coverages = options.coverages.iter().zip(&all.within);
    DemandMeasures {
        n_periods: all.n as usize,
        n_units: all.sold,
        wape: share(all.off),
        wape_interval,
        bias: share(all.over),
        pinball_loss: all.pinball / all.n,
        pinball_interval,
        coverages: coverages
            .map(|(nominal, within)| Coverage {
                nominal: *nominal,
                observed: within / all.n,
                interval: interval(),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{coverage, pinball_loss, wape};
    use super::*;

    fn options(n_periods: usize, horizon: usize) -> BacktestOptions {
        let n = |n| NonZeroUsize::new(n).unwrap();
        BacktestOptions::new(n(n_periods), n(horizon))
    }

    /// The mean of the past; quantiles around it.
    fn mean(history: &[f64], n: usize, levels: &[f64]) -> Result<Forecast, EvalError> {
        let mean = history.iter().sum::<f64>() / history.len() as f64;
        let quantiles = levels.iter().map(|level| mean * 2.0 * level).collect();
        Ok(Forecast { mean: vec![mean; n], quantiles: vec![quantiles; n] })
    }

    #[test]
    fn measures_are_those_of_the_single_functions() {
        let series = [vec![2.0, 4.0, 0.0, 6.0], vec![1.0, 1.0, 5.0, 1.0]];
        let found = backtest(&series, &options(2, 1), mean).unwrap();
        let sold = [0.0, 6.0, 5.0, 1.0];
        let means = [3.0, 2.0, 1.0, 7.0 / 3.0];
        assert!((found.all.wape.unwrap() - wape(&sold, &means).unwrap()).abs() < 1e-12);
        let at = |level: f64| means.map(|mean| mean * 2.0 * level);
        let losses = options(2, 1)
            .levels()
            .into_iter()
            .map(|level| pinball_loss(&sold, &at(level), level).unwrap());
        assert!((found.all.pinball_loss - losses.sum::<f64>() / 5.0).abs() < 1e-12);
        let within = coverage(&sold, &at((1.0 - 0.8) / 2.0), &at(1.0 - (1.0 - 0.8) / 2.0)).unwrap();
        assert_eq!(found.all.coverages[0].observed, within);
        assert_eq!((found.all.n_periods, found.all.n_units), (4, 12.0));
        let over = means.iter().sum::<f64>() - 12.0;
        assert!((found.all.bias.unwrap() - over / 12.0).abs() < 1e-12);
    }

    #[test]
    fn no_forecast_sees_what_it_is_measured_on() {
        let series: Vec<f64> = (0..10).map(f64::from).collect();
        let asked = std::sync::Mutex::new(Vec::new());
        let spy = |history: &[f64], n: usize, levels: &[f64]| {
            asked.lock().unwrap().push((history.len(), n));
            mean(history, n, levels)
        };
        let found = backtest(&[series], &options(4, 3), spy).unwrap();
        assert_eq!(*asked.lock().unwrap(), [(6, 3), (7, 3), (8, 2), (9, 1)]);
        let n: Vec<usize> = found.by_periods_ahead.iter().map(|found| found.n_periods).collect();
        assert_eq!(n, [4, 3, 2]);
        assert_eq!(found.all.n_periods, 9);
    }

    #[test]
    fn short_series_are_counted_and_others_begin_where_they_can() {
        let series = [vec![], vec![3.0], vec![3.0, 5.0]];
        let found = backtest(&series, &options(4, 2), mean).unwrap();
        assert_eq!((found.n_series, found.n_too_short, found.all.n_periods), (1, 2, 1));
        assert_eq!(found.by_periods_ahead.len(), 1);
        let error = backtest(&series[..2], &options(4, 2), mean).unwrap_err().to_string();
        assert!(error.contains("none has a period to forecast"), "{error}");
    }

    #[test]
    fn nothing_sold_has_no_percentage() {
        let found = backtest(&[vec![0.0; 5]], &options(2, 1), mean).unwrap();
        assert_eq!((found.all.wape, found.all.wape_interval, found.all.bias), (None, None, None));
        assert_eq!(found.all.pinball_loss, 0.0);
    }

    #[test]
    fn a_forecast_of_another_shape_is_refused() {
        let none = |_: &[f64], _: usize, _: &[f64]| {
            Ok::<_, EvalError>(Forecast { mean: vec![], quantiles: vec![] })
        };
        let error = backtest(&[vec![1.0; 5]], &options(2, 1), none).unwrap_err().to_string();
        assert!(error.contains("1 periods with 5 quantiles each were asked for"), "{error}");
        let wrong = BacktestOptions { coverages: vec![1.0], ..options(2, 1) };
        let error = backtest(&[vec![1.0; 5]], &wrong, mean).unwrap_err().to_string();
        assert!(error.contains("option coverages"), "{error}");
    }
}
