//! The `forecart` binary: verbs for the stages of the way from log to answer.
//!
//! Nothing is computed here. A verb reads its configuration ([`config`]), calls a library, and
//! prints ([`output`]); errors become one line and an exit code ([`failure`]).

mod args;
mod commands;
mod config;
mod failure;
mod output;
mod progress;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    progress::cancel_on_interrupt();
    let cli = args::Cli::parse();
    let json = cli.common.json;
    match commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error, json),
    }
}
