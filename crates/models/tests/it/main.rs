//! Integration tests of `forecart-models`.

mod bpr;
mod calibration;
mod contract;
mod demand;
mod demand_orders;
mod divergence;
mod extremes;
mod intents;
mod many_items;
mod model_file;
mod neighbors;
mod outcome_truths;
mod outcomes;
mod questions;
mod resume;
mod shop;
mod signing;
