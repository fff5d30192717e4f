//! Integration tests of `forecart-models`.

mod contract;
mod model_file;
mod shop;
