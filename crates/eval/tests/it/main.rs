//! Integration tests of `forecart-eval`.

mod fixture;

mod protocols;
mod report;
mod scaling;
mod traps;
