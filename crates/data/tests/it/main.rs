//! Integration tests of `forecart-data`.

mod dataset;
mod encode;
mod orders;
mod questions;
mod samples;
