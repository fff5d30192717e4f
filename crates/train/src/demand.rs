//! Fits forecasts of demand on an order table and puts them side by side.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Instant;

use forecart_data::{OrderTable, Progress};
use forecart_eval::Bootstrap;
use forecart_eval::demand::{BacktestOptions, DemandBacktest, Forecast, backtest};
use forecart_models::ModelError;
use forecart_models::model_file::DemandModelFile;
use forecart_models::purchase::demand::{
    DemandForecast, DemandInterval, DemandQuestion, DemandSpec, DemandView,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;

/// How forecasts are measured.
#[derive(Debug, Clone, PartialEq)]
pub struct DemandOptions {
    /// The last periods of the calendar: before each of them, every forecast is made anew.
    pub test_periods: NonZeroU32,
    /// Periods ahead that each is for.
    pub horizon: NonZeroU32,
    /// Seed of the intervals.
    pub seed: u64,
}

/// What was measured of one way to forecast.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DemandRow {
    /// Its name.
    pub model: String,
    /// Its constants.
    pub hyperparameters: serde_json::Value,
    /// Everything about its forecasts of the last periods.
    pub measured: DemandBacktest,
    /// Seconds of fitting and forecasting, all periods together.
    pub secs: f64,
}

/// Forecasts side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DemandReport {
    /// Hash of the log's inputs.
    pub data_hash: String,
    /// Content hash of the order table.
    pub orders_hash: String,
    /// Days of a period.
    pub period_days: u32,
    /// Periods of the calendar.
    pub n_periods: u32,
    /// Periods that were forecast: the last of them.
    pub test_periods: u32,
    /// Periods ahead.
    pub horizon: u32,
    /// Items of the table.
    pub n_items: u64,
    /// The seed of the intervals.
    pub seed: u64,
    /// The lowest error of the medians first.
    pub rows: Vec<DemandRow>,
}

/// Fits `spec` on all of `table` for service.
///
/// # Errors
/// [`TrainError::Model`].
pub fn train_demand(
    table: &OrderTable,
    spec: &DemandSpec,
) -> Result<(DemandModelFile, f64), TrainError> {
    let started = Instant::now();
    let fitted = spec.fit(DemandView::new(table, table.n_periods()))?;
    let file = DemandModelFile::new(spec, fitted, table)?;
    Ok((file, started.elapsed().as_secs_f64()))
}

/// Fits each of `specs` before each of the last periods, on what was known then alone, and measures its forecasts.
///
/// # Errors
/// [`TrainError::Model`] or [`TrainError::Eval`].
pub fn measure_demand(
    table: &OrderTable,
    specs: &[DemandSpec],
    options: &DemandOptions,
    progress: &dyn Progress,
) -> Result<DemandReport, TrainError> {
    let n_periods = table.n_periods();
    let units: Vec<Vec<f64>> =
        (0..table.n_items()).map(|item| table.orders(item).units_by_period(n_periods)).collect();
    let size = |n: NonZeroU32| NonZeroUsize::new(n.get() as usize).unwrap_or(NonZeroUsize::MIN);
    let mut backtest_options =
        BacktestOptions::new(size(options.test_periods), size(options.horizon));
    backtest_options.bootstrap = Bootstrap { seed: options.seed, ..Bootstrap::default() };
    let mut rows = specs
        .iter()
        .map(|spec| {
            progress.begin(spec.name(), Some(u64::from(options.test_periods.get())));
            let started = Instant::now();
            let forecast = |origin: usize, n_ahead: usize, levels: &[f64]| {
                if progress.is_cancelled() {
                    return Err(TrainError::from(ModelError::Cancelled { checkpoint: None }));
                }
                let fitted = spec.fit(DemandView::new(table, origin as u32))?;
                let of_item = |item: usize| {
                    let asked = DemandQuestion { levels, shares: &backtest_options.coverages };
                    Ok(fitted.forecast(item, n_ahead, asked)?.map(measurable))
                };
                let found: Result<Vec<_>, ModelError> =
                    (0..fitted.n_items()).into_par_iter().map(of_item).collect();
                progress.advance(1);
                Ok(found?)
            };
            let measured = backtest(&units, &backtest_options, forecast)?;
            Ok(DemandRow {
                model: spec.name().to_owned(),
                hyperparameters: spec.hyperparameters(),
                measured,
                secs: started.elapsed().as_secs_f64(),
            })
        })
        .collect::<Result<Vec<DemandRow>, TrainError>>()?;
    let error = |row: &DemandRow| row.measured.all.median_wape.unwrap_or(f64::INFINITY);
    rows.sort_by(|a, b| error(a).total_cmp(&error(b)));
    let description = &table.manifest.description;
    Ok(DemandReport {
        data_hash: description.data_hash.clone(),
        orders_hash: table.manifest.content_hash.clone(),
        period_days: description.period_days,
        n_periods,
        test_periods: options.test_periods.get(),
        horizon: options.horizon.get(),
        n_items: table.manifest.n_items,
        seed: options.seed,
        rows,
    })
}

fn measurable(found: DemandForecast) -> Forecast {
    let ends = |intervals: Vec<DemandInterval>| {
        intervals.into_iter().map(|interval| [interval.low, interval.high]).collect()
    };
    Forecast {
        mean: found.mean,
        quantiles: found.quantiles,
        intervals: found.intervals.into_iter().map(ends).collect(),
    }
}
