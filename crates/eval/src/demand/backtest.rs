//! Forecasts as they would have been made in the last periods.

use std::num::NonZeroUsize;

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
    /// `[n_periods, n_coverages]`: from, to.
    pub intervals: Vec<Vec<[f64; 2]>>,
}

/// Which periods are forecast, and what is asked about them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BacktestOptions {
    /// The last periods of each series: each of them is forecast.
    pub n_periods: NonZeroUsize,
    /// A forecast is made before each of these periods, for as many periods as this.
    pub horizon: NonZeroUsize,
    /// Shares of periods that intervals are to hold; `[0.8, 0.95]`.
    pub coverages: Vec<f64>,
    /// Of the intervals of the measures; series are drawn, with all their periods.
    pub bootstrap: Bootstrap,
}

impl BacktestOptions {
    /// `n_periods` and `horizon`, intervals of 80 and of 95 %.
    pub fn new(n_periods: NonZeroUsize, horizon: NonZeroUsize) -> Self {
        Self { n_periods, horizon, coverages: vec![0.8, 0.95], bootstrap: Bootstrap::default() }
    }

    /// The levels that quantiles are asked for: the median, then for each coverage the two that are as far from it and that much apart.
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
    /// [`super::wape`] of the means; `None` if nothing was sold.
    pub wape: Option<f64>,
    /// Its percentile-bootstrap interval.
    pub wape_interval: Option<Interval>,
    /// [`super::wape`] of the medians, the number that absolute errors ask for.
    pub median_wape: Option<f64>,
    /// Its percentile-bootstrap interval.
    pub median_wape_interval: Option<Interval>,
    /// `Σ (mean - sold) / Σ sold`: above 0 where too much is forecast.
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
    /// Units sold in series that nothing was known of when the forecast was made: in no measure.
    pub n_unknown_units: f64,
    /// Over all forecast periods.
    pub all: DemandMeasures,
    /// Over those of series that sold something in at least [`OFTEN`] of the [`RECENT`] periods before the forecast; `None` without any.
    ///
    /// Of a series that rarely sells, the lower end of an interval is 0 and holds most periods by itself: its intervals cover more than
    /// their share, whatever they say.
    pub often: Option<DemandMeasures>,
    /// Over forecasts of one period ahead, two periods, and so on, as far as there are any.
    pub by_periods_ahead: Vec<DemandMeasures>,
    /// Of each forecast period, one period ahead.
    pub by_period: Vec<PeriodSums>,
    /// What is summed of each series, for comparisons; not of a backtest that was read from a file.
    #[serde(skip)]
    pub(super) of_series: Vec<SeriesErrors>,
}

/// All series in one period, forecast one period ahead.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeriodSums {
    /// Series that were forecast.
    pub n_series: usize,
    /// Units that they sold.
    pub n_units: f64,
    /// Sum of the means.
    pub expected: f64,
    /// Share of them whose units were within each interval.
    pub within: Vec<f64>,
}

/// Sums over the forecast periods of one series, `n` of them; 0 for all if it was never forecast.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct SeriesErrors {
    pub(super) n: f64,
    pub(super) sold: f64,
    pub(super) median_off: f64,
    pub(super) pinball: f64,
}

/// Periods before a forecast that say how often a series sells.
pub const RECENT: usize = 8;

/// Of [`RECENT`] periods, those in which a series that sells often has sold something.
pub const OFTEN: usize = 4;

/// Sums over forecast periods of a series.
#[derive(Debug, Clone)]
struct Sums {
    n: f64,
    sold: f64,
    off: f64,
    median_off: f64,
    over: f64,
    pinball: f64,
    within: Vec<f64>,
}

impl Sums {
    fn new(options: &BacktestOptions) -> Self {
        let within = vec![0.0; options.coverages.len()];
        Self { n: 0.0, sold: 0.0, off: 0.0, median_off: 0.0, over: 0.0, pinball: 0.0, within }
    }

    fn add_period(&mut self, sold: f64, forecast: &Forecast, ahead: usize, levels: &[f64]) {
        let (mean, quantiles) = (forecast.mean[ahead], &forecast.quantiles[ahead]);
        self.n += 1.0;
        self.sold += sold;
        self.off += (mean - sold).abs();
        self.median_off += (quantiles[0] - sold).abs();
        self.over += mean - sold;
        let losses = quantiles.iter().zip(levels).map(|(q, level)| pinball(sold, *q, *level));
        self.pinball += losses.sum::<f64>() / levels.len() as f64;
        for (within, [from, to]) in self.within.iter_mut().zip(&forecast.intervals[ahead]) {
            *within += f64::from(*from <= sold && sold <= *to);
        }
    }

    /// Of one period over all series.
    fn of_period(&self) -> PeriodSums {
        PeriodSums {
            n_series: self.n as usize,
            n_units: self.sold,
            expected: self.sold + self.over,
            within: self.within.iter().map(|sum| sum / self.n.max(1.0)).collect(),
        }
    }

    fn add(&mut self, other: &Self) {
        self.n += other.n;
        self.sold += other.sold;
        self.off += other.off;
        self.median_off += other.median_off;
        self.over += other.over;
        self.pinball += other.pinball;
        self.within.iter_mut().zip(&other.within).for_each(|(sum, value)| *sum += value);
    }
}

/// What is summed of one series.
#[derive(Debug, Clone)]
struct SeriesSums {
    ahead: Vec<Sums>,
    often: Sums,
}

impl SeriesSums {
    fn errors(&self) -> SeriesErrors {
        self.ahead.iter().fold(SeriesErrors::default(), |sum, own| SeriesErrors {
            n: sum.n + own.n,
            sold: sum.sold + own.sold,
            median_off: sum.median_off + own.median_off,
            pinball: sum.pinball + own.pinball,
        })
    }
}

/// Forecasts the last periods of each series from the periods before, and measures the forecasts.
///
/// `units` is `[n_series, n_periods]`, on one calendar. Before each of the last `n_periods` periods, `forecast(origin, n, levels)` is asked
/// for periods `origin..origin + n` of every series, with `n` the horizon, or as many as there still are; it may use the periods before
/// `origin` alone, and says `None` of a series that it knows nothing of. Quantiles are wanted at `levels`, the first of which is the median,
/// and an interval for each of the coverages of `options`.
///
/// ```
/// use std::num::NonZeroUsize;
/// use forecart_eval::EvalError;
/// use forecart_eval::demand::{BacktestOptions, Forecast, backtest};
///
/// let units = [vec![1.0, 2.0, 4.0]];
/// let last = |origin: usize, n: usize, levels: &[f64]| {
///     let last = units[0][origin - 1];
///     let (quantiles, intervals) = (vec![vec![last; levels.len()]; n], vec![vec![[last; 2]; 2]; n]);
///     let forecast = Forecast { mean: vec![last; n], quantiles, intervals };
///     Ok::<_, EvalError>(vec![Some(forecast)])
/// };
/// let n = |n| NonZeroUsize::new(n).unwrap();
/// let found = backtest(&units, &BacktestOptions::new(n(2), n(1)), last)?;
/// assert_eq!(found.all.wape, Some(0.5)); // 1 for 2, 2 for 4.
/// # Ok::<(), EvalError>(())
/// ```
///
/// # Errors
/// What `forecast` fails with; [`EvalError::Option`] for options that do not fit; [`EvalError::Input`] if series are of different
/// lengths or too short, nothing was forecast, or a forecast is of another shape than asked for.
pub fn backtest<E: From<EvalError>>(
    units: &[Vec<f64>],
    options: &BacktestOptions,
    mut forecast: impl FnMut(usize, usize, &[f64]) -> Result<Vec<Option<Forecast>>, E>,
) -> Result<DemandBacktest, E> {
    options.check()?;
    let refuse = |what, reason: String| Err(E::from(EvalError::Input { what, reason }));
    let levels = options.levels();
    let n_all = units.first().map_or(0, Vec::len);
    if units.iter().any(|series| series.len() != n_all) {
        return refuse("series", "they are not of one calendar".into());
    }
    let Some(first) = n_all.checked_sub(options.n_periods.get()).filter(|first| *first > 0) else {
        let reason = format!(
            "{n_all} periods: none is before the last {}, which are to be forecast",
            options.n_periods
        );
        return refuse("series", reason);
    };
    let horizon = options.horizon.get().min(options.n_periods.get());
    let none = SeriesSums { ahead: vec![Sums::new(options); horizon], often: Sums::new(options) };
    let mut sums = vec![none; units.len()];
    let mut n_unknown_units = 0.0;
    let mut by_period = Vec::new();
    for origin in first..n_all {
        let mut period = Sums::new(options);
        let n_ahead = horizon.min(n_all - origin);
        let found = forecast(origin, n_ahead, &levels)?;
        if found.len() != units.len() {
            let reason = format!("{} of {} series were forecast", found.len(), units.len());
            return refuse("forecast", reason);
        }
        for ((series, forecast), sums) in units.iter().zip(&found).zip(&mut sums) {
            let sold = &series[origin..origin + n_ahead];
            let Some(forecast) = forecast else {
                n_unknown_units += sold[0];
                continue;
            };
            check_shape(forecast, n_ahead, levels.len(), options.coverages.len())?;
            let recent = &series[origin.saturating_sub(RECENT)..origin];
            let is_often = recent.iter().filter(|units| **units > 0.0).count() >= OFTEN;
            for (ahead, sold) in sold.iter().enumerate() {
                sums.ahead[ahead].add_period(*sold, forecast, ahead, &levels);
                if ahead == 0 {
                    period.add_period(*sold, forecast, ahead, &levels);
                }
                if is_often {
                    sums.often.add_period(*sold, forecast, ahead, &levels);
                }
            }
        }
        by_period.push(period.of_period());
    }
    let of_series = sums.iter().map(SeriesSums::errors).collect();
    let sums: Vec<SeriesSums> =
        sums.into_iter().filter(|sums| sums.ahead.iter().any(|ahead| ahead.n > 0.0)).collect();
    if sums.is_empty() {
        return refuse("forecast", "there is none".into());
    }
    let all: Vec<Sums> = sums
        .iter()
        .map(|sums| {
            let mut all = Sums::new(options);
            sums.ahead.iter().for_each(|ahead| all.add(ahead));
            all
        })
        .collect();
    let of = |sums: Vec<Sums>| {
        let sums: Vec<Sums> = sums.into_iter().filter(|sums| sums.n > 0.0).collect();
        (!sums.is_empty()).then(|| measures(&sums, options))
    };
    let ahead = |ahead: usize| of(sums.iter().map(|sums| sums.ahead[ahead].clone()).collect());
    Ok(DemandBacktest {
        n_series: sums.len(),
        n_unknown_units,
        all: measures(&all, options),
        often: of(sums.iter().map(|sums| sums.often.clone()).collect()),
        by_periods_ahead: (0..horizon).filter_map(ahead).collect(),
        by_period,
        of_series,
    })
}

fn check_shape(
    forecast: &Forecast,
    n_ahead: usize,
    n_levels: usize,
    n_coverages: usize,
) -> Result<(), EvalError> {
    let Forecast { mean, quantiles, intervals } = forecast;
    let is_asked_for = [mean.len(), quantiles.len(), intervals.len()] == [n_ahead; 3]
        && quantiles.iter().all(|quantiles| quantiles.len() == n_levels)
        && intervals.iter().all(|intervals| intervals.len() == n_coverages);
    match is_asked_for {
        true => Ok(()),
        false => {
            let reason = format!(
                "{n_ahead} periods with {n_levels} quantiles and {n_coverages} intervals each were asked for, and {}, {} and {} given",
                mean.len(),
                quantiles.len(),
                intervals.len(),
            );
            Err(EvalError::Input { what: "forecast", reason })
        }
    }
}

/// Measures of all series together, with intervals.
fn measures(of_series: &[Sums], options: &BacktestOptions) -> DemandMeasures {
    let mut all = Sums::new(options);
    of_series.iter().for_each(|sums| all.add(sums));
    let column = |value: &dyn Fn(&Sums) -> (f64, f64)| -> GroupSums {
        of_series.iter().map(value).collect()
    };
    let mut columns = vec![
        column(&|sums| (sums.off, sums.sold)),
        column(&|sums| (sums.median_off, sums.sold)),
        column(&|sums| (sums.pinball, sums.n)),
    ];
    columns.extend((0..all.within.len()).map(|place| column(&|sums| (sums.within[place], sums.n))));
    let resampled = ratios(&columns, &options.bootstrap);
    let mut intervals = resampled.into_iter().map(|values| values.interval(&options.bootstrap));
    let mut interval = || intervals.next().expect("an interval for each column");
    let (wape_interval, median_wape_interval, pinball_interval) =
        (interval(), interval(), interval());
    let share = |sum: f64| (all.sold > 0.0).then(|| sum / all.sold);
    let coverages = options.coverages.iter().zip(&all.within);
    DemandMeasures {
        n_periods: all.n as usize,
        n_units: all.sold,
        wape: share(all.off),
        wape_interval,
        median_wape: share(all.median_off),
        median_wape_interval,
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

    /// The mean of the past of each series that has one; quantiles around it.
    fn means(
        units: &[Vec<f64>],
    ) -> impl Fn(usize, usize, &[f64]) -> Result<Vec<Option<Forecast>>, EvalError> {
        move |origin, n, levels| {
            let forecast = |series: &Vec<f64>| {
                let past = &series[..origin];
                let mean = past.iter().sum::<f64>() / past.len() as f64;
                let quantiles = levels.iter().map(|level| mean * 2.0 * level).collect();
                // From 0 on, unlike the quantiles.
                let intervals = [0.8, 0.95].map(|share| [0.0, mean * 2.0 * share]).to_vec();
                let known = past.iter().any(|units| *units > 0.0);
                known.then(|| Forecast {
                    mean: vec![mean; n],
                    quantiles: vec![quantiles; n],
                    intervals: vec![intervals; n],
                })
            };
            Ok(units.iter().map(forecast).collect())
        }
    }

    #[test]
    fn measures_are_those_of_the_single_functions() {
        let series = [vec![2.0, 4.0, 0.0, 6.0], vec![1.0, 1.0, 5.0, 1.0]];
        let found = backtest(&series, &options(2, 1), means(&series)).unwrap();
        let sold = [0.0, 6.0, 5.0, 1.0];
        let mean = [3.0, 2.0, 1.0, 7.0 / 3.0];
        assert!((found.all.wape.unwrap() - wape(&sold, &mean).unwrap()).abs() < 1e-12);
        assert_eq!(found.all.median_wape, found.all.wape);
        let at = |level: f64| mean.map(|mean| mean * 2.0 * level);
        let losses = options(2, 1)
            .levels()
            .into_iter()
            .map(|level| pinball_loss(&sold, &at(level), level).unwrap());
        assert!((found.all.pinball_loss - losses.sum::<f64>() / 5.0).abs() < 1e-12);
        let within = coverage(&sold, &[0.0; 4], &at(0.8)).unwrap();
        assert_eq!(found.all.coverages[0].observed, within);
        assert_eq!((found.all.n_periods, found.all.n_units), (4, 12.0));
        let over = mean.iter().sum::<f64>() - 12.0;
        assert!((found.all.bias.unwrap() - over / 12.0).abs() < 1e-12);
        assert_eq!(found.often, None); // fewer than four periods have passed
    }

    #[test]
    fn every_origin_is_asked_once_for_what_is_left() {
        let series = [(0..10).map(f64::from).collect::<Vec<f64>>()];
        let mut asked = Vec::new();
        let forecast = means(&series);
        let spy = |origin: usize, n: usize, levels: &[f64]| {
            asked.push((origin, n));
            forecast(origin, n, levels)
        };
        let found = backtest(&series, &options(4, 3), spy).unwrap();
        assert_eq!(asked, [(6, 3), (7, 3), (8, 2), (9, 1)]);
        let n: Vec<usize> = found.by_periods_ahead.iter().map(|found| found.n_periods).collect();
        assert_eq!(n, [4, 3, 2]);
        assert_eq!(found.all.n_periods, 9);
        assert_eq!(found.often.unwrap().n_periods, 9);
    }

    #[test]
    fn what_nothing_is_known_of_is_counted_apart() {
        let series = [vec![0.0, 0.0, 7.0, 2.0], vec![3.0, 0.0, 5.0, 1.0]];
        let found = backtest(&series, &options(2, 2), means(&series)).unwrap();
        // The first series is known before its last period alone.
        assert_eq!((found.n_series, found.n_unknown_units, found.all.n_periods), (2, 7.0, 4));
        let error = backtest(&[vec![0.0; 5]], &options(2, 2), means(&[vec![0.0; 5]])).unwrap_err();
        assert!(error.to_string().contains("there is none"), "{error}");
        let short = backtest(&series, &options(4, 2), means(&series)).unwrap_err().to_string();
        assert!(short.contains("none is before the last 4"), "{short}");
        let uneven = [vec![1.0; 4], vec![1.0; 5]];
        let uneven = backtest(&uneven, &options(2, 2), means(&uneven)).unwrap_err().to_string();
        assert!(uneven.contains("one calendar"), "{uneven}");
    }

    #[test]
    fn nothing_sold_has_no_percentage() {
        let series = [vec![1.0, 0.0, 0.0, 0.0, 0.0]];
        let found = backtest(&series, &options(2, 1), means(&series)).unwrap();
        assert_eq!((found.all.wape, found.all.wape_interval, found.all.bias), (None, None, None));
        assert!(found.all.pinball_loss > 0.0);
    }

    #[test]
    fn a_forecast_of_another_shape_is_refused() {
        let none = |_: usize, _: usize, _: &[f64]| {
            let none = Forecast { mean: vec![], quantiles: vec![], intervals: vec![] };
            Ok::<_, EvalError>(vec![Some(none)])
        };
        let error = backtest(&[vec![1.0; 5]], &options(2, 1), none).unwrap_err().to_string();
        assert!(
            error.contains("1 periods with 5 quantiles and 2 intervals each were asked for"),
            "{error}"
        );
        let fewer = |_: usize, _: usize, _: &[f64]| Ok::<_, EvalError>(Vec::new());
        let error = backtest(&[vec![1.0; 5]], &options(2, 1), fewer).unwrap_err().to_string();
        assert!(error.contains("0 of 1 series"), "{error}");
        let series = [vec![1.0; 5]];
        let wrong = BacktestOptions { coverages: vec![1.0], ..options(2, 1) };
        let error = backtest(&series, &wrong, means(&series)).unwrap_err().to_string();
        assert!(error.contains("option coverages"), "{error}");
    }
}
