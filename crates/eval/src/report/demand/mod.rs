//! The report on forecasts of demand: every way to forecast side by side, on one order table.

mod html;
mod plots;
mod table;

use serde::{Deserialize, Serialize};

use super::{Environment, FORMAT_VERSION, Gate, grouped};
use crate::bootstrap::Bootstrap;
use crate::demand::{DemandBacktest, DemandMetric};
use crate::error::EvalError;

/// What was measured of one way to forecast.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DemandRow {
    /// Its name.
    pub model: String,
    /// Whether it is here to be beaten.
    pub is_baseline: bool,
    /// Its constants.
    pub hyperparameters: serde_json::Value,
    /// Everything about its forecasts of the last periods.
    pub measured: DemandBacktest,
    /// Seconds of fitting and forecasting, all periods together; `None` in a deterministic report.
    pub secs: Option<f64>,
}

/// The order table that a report is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DemandSource {
    /// Hash of the log's inputs.
    pub data_hash: String,
    /// Content hash of the order table.
    pub orders_hash: String,
    /// Where its first period begins, milliseconds UTC.
    pub start_ms: i64,
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
}

/// Forecasts side by side. Fields are stable JSON; see [`FORMAT_VERSION`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DemandReport {
    /// Always `forecart-demand-report`.
    pub format: String,
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Version of the program.
    pub forecart_version: String,
    /// The commit of the program, if known.
    pub commit: Option<String>,
    /// The heading.
    pub title: String,
    /// The table, and what was asked of it.
    #[serde(flatten)]
    pub source: DemandSource,
    /// The seed of the intervals.
    pub seed: u64,
    /// How intervals were computed.
    pub bootstrap: Bootstrap,
    /// The lowest error of the medians first.
    pub rows: Vec<DemandRow>,
    /// Whether forecasts may take the place of the strongest baseline, where that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
    /// The machine.
    pub environment: Option<Environment>,
}

impl DemandReport {
    /// Puts a report together; `rows` are brought into its order.
    pub fn new(
        title: String,
        source: DemandSource,
        bootstrap: Bootstrap,
        mut rows: Vec<DemandRow>,
    ) -> Self {
        let error = |row: &DemandRow| row.measured.all.median_wape.unwrap_or(f64::INFINITY);
        rows.sort_by(|a, b| error(a).total_cmp(&error(b)));
        Self {
            format: "forecart-demand-report".into(),
            format_version: FORMAT_VERSION,
            forecart_version: env!("CARGO_PKG_VERSION").into(),
            commit: None,
            title,
            source,
            seed: bootstrap.seed,
            bootstrap,
            rows,
            gate: None,
            environment: None,
        }
    }

    /// Which forecasts beat the strongest baseline on `metric` with the whole interval of the paired difference below 0; `None` without a
    /// baseline, or if nothing was sold. Only of a report that was measured here: one that was read from a file has no sums by item.
    pub fn judged_by(&self, metric: DemandMetric, override_reason: Option<&str>) -> Option<Gate> {
        let value = |row: &DemandRow| metric.of(&row.measured.all);
        let baselines = self.rows.iter().filter(|row| row.is_baseline);
        let known = baselines.filter_map(|row| Some((row, value(row)?)));
        let (baseline, _) = known.min_by(|a, b| a.1.total_cmp(&b.1))?;
        let challengers = self.rows.iter().filter(|row| !row.is_baseline);
        let found = challengers.filter_map(|row| {
            let found = row.measured.against(&baseline.measured, metric, &self.bootstrap)?;
            Some((row.model.as_str(), found))
        });
        Some(Gate::judged(metric.name(), &baseline.model, found, false, override_reason))
    }

    /// The report as JSON, with a line break at the end. The same report gives the same bytes.
    ///
    /// # Errors
    /// [`EvalError::Render`] if a value cannot be written.
    pub fn to_json(&self) -> Result<String, EvalError> {
        super::to_json(self)
    }

    /// Days as people read them.
    fn day(&self, period: usize) -> String {
        let ms =
            self.source.start_ms + period as i64 * i64::from(self.source.period_days) * 86_400_000;
        jiff::Timestamp::from_millisecond(ms)
            .map_or_else(|_| ms.to_string(), |time| time.strftime("%Y-%m-%d").to_string())
    }

    /// Data and measurement in the words that stand under every table.
    fn facts(&self) -> Vec<(&'static str, String)> {
        let source = &self.source;
        let mut facts = vec![(
            "measured",
            format!(
                "forecasts before each of the last {} periods of {} days, {} ahead, from {}",
                source.test_periods,
                source.period_days,
                source.horizon,
                self.day((source.n_periods - source.test_periods) as usize)
            ),
        )];
        if let Some(best) = self.rows.first() {
            let (all, measured) = (&best.measured.all, &best.measured);
            facts.push((
                "items",
                format!(
                    "{} with an order before, {} item periods, {} units; {} units were sold of items without",
                    grouped(measured.n_series as u64),
                    grouped(all.n_periods as u64),
                    grouped(all.n_units as u64),
                    grouped(measured.n_unknown_units as u64)
                ),
            ));
        }
        facts.push(("data SHA-256", source.data_hash.clone()));
        facts.push(("table", source.orders_hash.clone()));
        let (share, n) = (self.bootstrap.confidence * 100.0, self.bootstrap.n_resamples);
        facts.push((
            "intervals",
            format!("{share} % by the bootstrap over items, {n} resamples, seed {}", self.seed),
        ));
        let commit = self.commit.as_deref();
        facts.extend(super::origin(self.environment.as_ref(), &self.forecart_version, commit));
        facts
    }
}
