//! Measures forecasts of units sold: their mean ([`wape`]), their quantiles ([`pinball_loss`], [`coverage`]), and both as they
//! would have been in the last periods ([`backtest`]).
//!
//! No forecast is made here: whatever gives a [`Forecast`] is measured.

mod backtest;
mod compare;
mod metrics;

pub use backtest::{
    BacktestOptions, Coverage, DemandBacktest, DemandMeasures, Forecast, OFTEN, PeriodSums, RECENT,
    backtest,
};
pub use compare::DemandMetric;
pub use metrics::{coverage, pinball_loss, wape};
