//! Integration tests of `forecart-eval`.

mod fixture;

mod leakage;

mod protocols;
mod report;
mod scaling;
mod traps;
