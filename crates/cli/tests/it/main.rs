//! Tests of the binary and of the promises that the documents make.

mod architecture;
mod commands;
mod documents;
mod killed;
mod leaks;
mod outcome;
mod scaling;
mod stream;
