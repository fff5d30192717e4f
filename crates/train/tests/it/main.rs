//! Integration tests of `forecart-train`: from a dataset to a report.

mod intents;
mod measure;
mod questions;
mod resume;
mod scaling;
mod tune;
mod tune_intents;
mod tune_outcomes;
