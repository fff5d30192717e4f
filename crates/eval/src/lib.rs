//! Measures recommenders honestly: full ranking, ties that earn nothing, intervals, paired
//! significance, and a report that always shows the baselines.
//!
//! Probabilities are measured by [`probability`], policies that were not in place by
//! [`off_policy`], forecasts of units sold by [`demand`], answers to texts by [`intents`], what is asked
//! next by [`questions`].
//!
//! This crate knows no model. Whatever implements [`Scorer`] is measured by [`evaluate()`] on a
//! prepared dataset.
//!
//! # The rank of a target
//! `1 + #greater + #equal / 2` over the other items, so constant scores put a target in the middle
//! of the catalog and earn nothing. Several targets of one user share one list: see
//! [`metrics`].

mod error;
mod scorer;

pub mod exposure;
pub mod metrics;

mod cases;
mod rank;

mod evaluate;
mod evaluation;
mod held_out_loss;
mod options;
mod slices;

mod bootstrap;
mod significance;

pub mod auction;
pub mod backtest;
pub mod demand;
pub mod intents;
pub mod leakage;
pub mod off_policy;
pub mod probability;
pub mod questions;
pub mod report;
pub mod scaling;
pub mod tuning;

pub use backtest::Backtest;
pub use bootstrap::{Bootstrap, Interval, interval};
pub use error::EvalError;
pub use evaluate::evaluate;
pub use evaluation::{DataFacts, Evaluation, Tally};
pub use held_out_loss::held_out_loss;
pub use leakage::{Leakage, find_leaks, find_sample_leaks};
pub use metrics::{Metric, MetricKind};
pub use options::{EvaluateOptions, TestGuard};
pub use report::{ModelRuns, Report, ReportOptions, Run};
pub use scorer::Scorer;
pub use significance::{Comparison, choose, compare, holm};
