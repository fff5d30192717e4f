//! Verbs from a shop's files to a dataset.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  forecart init --from events.csv --out forecart.toml")]
pub(crate) struct InitArgs {
    /// The file or folder to look at
    #[arg(long, value_name = "FILE")]
    pub(crate) from: PathBuf,
    /// Where to write the configuration
    #[arg(short, long, default_value = "forecart.toml", value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Replace the configuration if it exists
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  forecart import clicks.csv.gz orders.parquet --out log")]
pub(crate) struct ImportArgs {
    /// Files or folders
    #[arg(required = true, value_name = "FILE")]
    pub(crate) inputs: Vec<PathBuf>,
    /// Folder for the event log
    #[arg(short, long, default_value = "log", value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Share of rows that may be bad before the import fails
    #[arg(long, value_name = "SHARE")]
    pub(crate) max_bad_rows: Option<f64>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  forecart validate --data log --json")]
pub(crate) struct ValidateArgs {
    /// The event log, or an intent table
    #[arg(short, long, default_value = "log", value_name = "DIR")]
    pub(crate) data: PathBuf,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  forecart prepare --data log --out dataset --protocol time\n  \
                  forecart prepare --data log --task click --out samples\n  \
                  forecart prepare --data log --task demand --out orders\n  \
                  forecart prepare --data log --task question --out questions\n  \
                  forecart prepare --samples sessions.csv --label Revenue --task purchase --out samples\n  \
                  forecart prepare --samples train.csv --test test.csv --task support --out intents"
)]
pub(crate) struct PrepareArgs {
    /// The event log
    #[arg(short, long, default_value = "log", value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Folder for the dataset [default: dataset, samples for --samples and --task, orders for --task demand, intents for --task support, questions for --task question]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// How to split; overrides the configuration
    #[arg(long)]
    pub(crate) protocol: Option<ProtocolName>,
    /// Event log of test sessions, for `--protocol session`; for --samples, a file with the test rows or texts
    #[arg(long, value_name = "DIR")]
    pub(crate) test: Option<PathBuf>,
    /// Rows with a label in place of an event log: CSV, JSONL, Parquet, libsvm, libffm or VW text; columns and split are set in
    /// `[samples]`. For --task support: labeled texts, CSV, TSV, JSONL, Parquet or Rasa's nlu.yml; set in `[text]`
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["data", "protocol"])]
    pub(crate) samples: Vec<PathBuf>,
    /// A file with the texts that choose, for --task support, in place of a share of --samples; models learn from them too in the end
    #[arg(long, value_name = "FILE", requires = "samples")]
    pub(crate) validation: Option<PathBuf>,
    /// The column of --samples that says what happened
    #[arg(long, value_name = "COLUMN", requires = "samples")]
    pub(crate) label: Option<String>,
    /// What a positive label of --samples is [default: click]. Without --samples, make samples from the event log: impressions for click,
    /// clicks for conversion, sessions or users with items for purchase; events and windows are set in `[samples.log]`. Of demand: the log's
    /// orders, period by period. Of support: texts and what they ask, from --samples. Of question: what users did and then asked, set in
    /// `[questions]`
    #[arg(long)]
    pub(crate) task: Option<TaskName>,
}

impl Default for PrepareArgs {
    fn default() -> Self {
        super::of_nothing_said()
    }
}

/// What is predicted of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TaskName {
    /// A click on an ad
    Click,
    /// A purchase after the click
    Conversion,
    /// A purchase
    Purchase,
    /// Units of each item in the next periods
    Demand,
    /// What a customer's text asks
    Support,
    /// What users ask after what they did
    Question,
}

impl TaskName {
    /// As in files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Click => "click",
            Self::Conversion => "conversion",
            Self::Purchase => "purchase",
            Self::Demand => "demand",
            Self::Support => "support",
            Self::Question => "question",
        }
    }
}

/// A way to split; see `forecart_data::Protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProtocolName {
    /// Each user's last item is test, the one before it validation
    LooFull,
    /// One cut in time for everybody
    Time,
    /// Whole sessions
    Session,
}
