//! Tests of the binary and of the promises that the documents make.

mod ads;
mod architecture;
mod commands;
mod demand;
mod documents;
mod from_log;
mod killed;
mod leaks;
mod outcome;
mod program;
mod scaling;
mod stream;
mod support;
