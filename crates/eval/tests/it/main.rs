//! Integration tests of `forecart-eval`.

mod fixture;

mod backtest;

mod intent_report;
mod leakage;

mod off_policy;
mod outcome_report;
mod probability;
mod protocols;
mod question_report;
mod report;
mod sample_leaks;
mod scaling;
mod traps;
mod tuning;
