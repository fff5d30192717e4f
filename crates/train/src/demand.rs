//! Fits forecasts of demand on an order table and puts them side by side.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Instant;

use forecart_data::{OrderTable, Progress};
use forecart_eval::Bootstrap;
use forecart_eval::demand::{BacktestOptions, Forecast, backtest};
use forecart_eval::report::{DemandReport, DemandRow, DemandSource, Environment};
use forecart_models::ModelError;
use forecart_models::model_file::DemandModelFile;
use forecart_models::purchase::demand::{
    DemandForecast, DemandInterval, DemandQuestion, DemandSpec, DemandView,
};
use rayon::prelude::*;

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
    /// Heading of the report.
    pub title: String,
    /// Commit of the program, if known.
    pub commit: Option<String>,
    /// Leaves machine and seconds out of the report: the same seed gives the same bytes.
    pub deterministic: bool,
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
    let rows = specs
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
                is_baseline: spec.is_classical(),
                hyperparameters: spec.hyperparameters(),
                measured,
                secs: (!options.deterministic).then(|| started.elapsed().as_secs_f64()),
            })
        })
        .collect::<Result<Vec<DemandRow>, TrainError>>()?;
    let description = &table.manifest.description;
    let source = DemandSource {
        data_hash: description.data_hash.clone(),
        orders_hash: table.manifest.content_hash.clone(),
        start_ms: description.start_ms,
        period_days: description.period_days,
        n_periods,
        test_periods: options.test_periods.get(),
        horizon: options.horizon.get(),
        n_items: table.manifest.n_items,
    };
    let mut report =
        DemandReport::new(options.title.clone(), source, backtest_options.bootstrap, rows);
    report.commit.clone_from(&options.commit);
    let n_threads = rayon::current_num_threads();
    report.environment = (!options.deterministic).then(|| Environment::detect(n_threads));
    Ok(report)
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
