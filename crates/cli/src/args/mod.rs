//! The command line: verbs, flags, and an example for each.
//!
//! Here are the list of verbs and the flags of all of them; those of each stand with its neighbors: `data` (from files to a
//! dataset), `models` (fit and measure), `answers` (of a trained model), `bench`.

mod answers;
mod bench;
mod data;
mod models;
mod serve;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use self::answers::{
    AdsArgs, AdsVerb, ClassifyArgs, ExplainArgs, ModelArgs, ModelVerb, OffPolicyArgs, PredictArgs,
    QuestionsArgs, RecommendArgs, SimilarArgs, SimulateArgs,
};
pub(crate) use self::bench::{
    BenchArgs, BenchVerb, InstructionsName, ModelSize, QuestionsBenchArgs, RowFormatName,
    ScalingArgs, ScalingPart, ServeBenchArgs, ServeLoad, StepArgs,
};
pub(crate) use self::data::{
    ImportArgs, InitArgs, PrepareArgs, ProtocolName, TaskName, ValidateArgs,
};
pub(crate) use self::models::{EvaluateArgs, FitOnName, SeenName, SignFlag, TrainArgs, TuneArgs};
pub(crate) use self::serve::{
    DumpArgs, ExperimentsArgs, KeygenArgs, RestoreArgs, RetrainArgs, RetrainTask, ServeArgs,
    StoreFlag,
};

/// Predicts what the users of an e-commerce shop do next, from its own event log.
#[derive(Debug, Parser)]
#[command(
    name = "forecart",
    version,
    about,
    propagate_version = true,
    after_help = "Start here:\n  forecart demo                          the whole way on real orders, in a minute\n  \
                  forecart init --from events.csv        look at your own log and write forecart.toml\n\n\
                  Exit codes: 0 ok, 1 failure, 2 usage or configuration, 3 data invalid, 4 quality gate not met."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// The flags of a verb that is told nothing: for verbs that run others.
fn of_nothing_said<T: Args>() -> T {
    let command = T::augment_args(clap::Command::new("nothing"));
    let matches = command.try_get_matches_from(["nothing"]);
    let said = matches.and_then(|matches| T::from_arg_matches(&matches));
    said.expect("no flag of the verb is needed")
}

/// Flags that every verb understands.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Configuration file [default: forecart.toml if it exists]
    #[arg(short, long, global = true, value_name = "FILE", env = "FORECART_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Print one JSON object on standard output instead of tables
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Seed of everything random; the same seed gives the same bytes
    #[arg(long, global = true, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Threads [default: all cores]; results do not depend on it
    #[arg(long, global = true, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Memory that data preparation and training may use, such as 2GiB or 800MB
    #[arg(long, global = true, value_name = "SIZE")]
    pub(crate) memory_limit: Option<String>,
    /// Say more: every step and its numbers
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
}

/// The stages of the way from log to answer.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run the whole way on real data that come with the program
    Demo(DemoArgs),
    /// Look at a file and write a configuration for it
    Init(InitArgs),
    /// Read CSV, Parquet or JSONL into the event log
    Import(ImportArgs),
    /// Say what an event log is, and what is wrong with it
    Validate(ValidateArgs),
    /// Clean, encode, sessionize and split an event log into a dataset
    Prepare(PrepareArgs),
    /// Train a model on a dataset
    Train(TrainArgs),
    /// Measure models, with intervals and baselines
    Evaluate(EvaluateArgs),
    /// Search for better hyperparameters, on validation
    Tune(TuneArgs),
    /// What will this user want next?
    Recommend(RecommendArgs),
    /// Which items go with this one?
    Similar(SimilarArgs),
    /// How probable is a click, a conversion, a purchase? How much will be sold?
    Predict(PredictArgs),
    /// What is this customer asking?
    Classify(ClassifyArgs),
    /// What will this customer ask next, and what led to it?
    Questions(QuestionsArgs),
    /// Why is it that probable? What each column, each word or each behavior adds
    Explain(ExplainArgs),
    /// What would a budget for ads have bought?
    Ads(AdsArgs),
    /// Answer over HTTP, and learn of new events
    Serve(ServeArgs),
    /// What came of the experiments of a server, with intervals that may be looked at at any time
    Experiments(ExperimentsArgs),
    /// Say what would keep a server from serving well; it takes the flags of `serve`
    #[command(
        after_help = "Examples:\n  forecart doctor --model models/\n  forecart doctor --json"
    )]
    Doctor(ServeArgs),
    /// Train a model anew from what a server's store holds
    Retrain(RetrainArgs),
    /// Write all that a server's store holds to a file
    Dump(DumpArgs),
    /// Put what `dump` wrote into a store
    Restore(RestoreArgs),
    /// Make, list and end the keys of a server; make a key that signs models
    Keygen(KeygenArgs),
    /// Print the document that describes the HTTP interface
    Openapi,
    /// Look inside model files, sign them, say who signed them
    Model(ModelArgs),
    /// Generate data and measure the program
    Bench(BenchArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  forecart demo --out forecart-demo\n  forecart demo purchase\n  forecart demo ads\n  forecart demo support\n  forecart demo --serve"
)]
pub(crate) struct DemoArgs {
    /// Which application
    #[arg(default_value = "recommend")]
    pub(crate) which: DemoName,
    /// Folder for the log, dataset, model and report
    #[arg(short, long, default_value = "forecart-demo", value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Then answer over HTTP at 127.0.0.1 with the model and the orders of the demo
    #[arg(long)]
    pub(crate) serve: bool,
    /// Port to answer at [default: 8080]
    #[arg(long, requires = "serve", value_name = "PORT")]
    pub(crate) port: Option<u16>,
}

/// An application that there is a demo of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DemoName {
    /// What will each customer of a gift shop want next?
    Recommend,
    /// Which sessions buy, how much will be sold, and what to order?
    Purchase,
    /// Which impressions are clicked, what would a budget have bought, and what should have been shown?
    Ads,
    /// What does a customer ask, in English and in Chinese?
    Support,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  forecart completions bash > /etc/bash_completion.d/forecart")]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}
