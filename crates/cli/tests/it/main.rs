//! Tests of the binary and of the promises that the documents make.

mod ads;
mod architecture;
mod commands;
mod delays;
mod demand;
mod documents;
mod from_log;
mod killed;
mod leaks;
mod off_policy;
mod outcome;
mod prepare_questions;
mod program;
mod questions;
mod retrain;
mod scaling;
mod serve;
mod signing;
mod stream;
mod support;
