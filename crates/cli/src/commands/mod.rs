//! A file for each verb. What they share: the configuration, the flags, the progress display.

mod ads;
mod backtest;
mod bench;
mod bench_questions;
mod bench_serve;
mod data;
mod demand;
mod demo;
mod doctor;
mod dump;
mod evaluate;
mod experiments;
mod explain;
mod gate;
mod model;
mod outcome;
mod predict;
mod questions;
mod recommend;
mod retrain;
mod samples;
mod scaling;
mod serve;
mod signing;
mod store;
mod stream;
mod support;
mod train;
mod tune;

use std::path::{Path, PathBuf};

use clap::CommandFactory;
use forecart_prepare::Resources;

use crate::args::{Cli, Verb};
use crate::config::Config;
use crate::progress::Display;

/// What every verb gets.
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) json: bool,
    pub(crate) verbose: bool,
    pub(crate) display: Display,
}

impl Context {
    /// Limits, with intermediate files beside `output`: the same disk, and cleaned with it.
    pub(crate) fn resources_beside(&self, output: &Path) -> Resources {
        let parent = output.parent().filter(|parent| !parent.as_os_str().is_empty());
        self.config.resources(parent.map_or_else(|| PathBuf::from("."), Path::to_owned))
    }
}

/// Runs the verb.
pub(crate) fn run(cli: Cli) -> anyhow::Result<()> {
    if let Verb::Completions(arguments) = &cli.verb {
        let mut command = Cli::command();
        clap_complete::generate(
            arguments.shell,
            &mut command,
            "forecart",
            &mut std::io::stdout().lock(),
        );
        return Ok(());
    }
    let context = Context {
        config: Config::load(&cli.common)?,
        json: cli.common.json,
        verbose: cli.common.verbose,
        display: Display::new(cli.common.verbose),
    };
    // One pool for everything; a second call could only fail because of an earlier one.
    rayon::ThreadPoolBuilder::new().num_threads(context.config.threads().get()).build_global()?;
    match cli.verb {
        Verb::Demo(arguments) => demo::run(&context, &arguments),
        Verb::Init(arguments) => data::init(&context, &arguments),
        Verb::Import(arguments) => data::import(&context, &arguments),
        Verb::Validate(arguments) => data::validate(&context, &arguments),
        Verb::Prepare(arguments) => data::prepare(&context, &arguments),
        Verb::Train(arguments) => train::run(&context, &arguments),
        Verb::Evaluate(arguments) => evaluate::run(&context, &arguments),
        Verb::Tune(arguments) => tune::run(&context, &arguments),
        Verb::Recommend(arguments) => recommend::recommend(&context, &arguments),
        Verb::Similar(arguments) => recommend::similar(&context, &arguments),
        Verb::Predict(arguments) => predict::run(&context, &arguments),
        Verb::Classify(arguments) => support::classify(&context, &arguments),
        Verb::Questions(arguments) => questions::questions(&context, &arguments),
        Verb::Explain(arguments) => explain::run(&context, &arguments),
        Verb::Ads(arguments) => ads::run(&context, &arguments),
        Verb::Model(arguments) => model::run(&context, &arguments),
        Verb::Serve(arguments) => serve::run(&context, &arguments),
        Verb::Doctor(arguments) => doctor::run(&context, &arguments),
        Verb::Retrain(arguments) => retrain::run(&context, &arguments),
        Verb::Dump(arguments) => dump::dump(&context, &arguments),
        Verb::Restore(arguments) => dump::restore(&context, &arguments),
        Verb::Experiments(arguments) => experiments::run(&context, &arguments),
        Verb::Keygen(arguments) => serve::keygen(&context, &arguments),
        Verb::Openapi => serve::openapi(),
        Verb::Bench(arguments) => bench::run(&context, &arguments),
        Verb::Completions(_) => Ok(()),
    }
}
