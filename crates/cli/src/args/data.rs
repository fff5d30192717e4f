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
    /// The event log
    #[arg(short, long, default_value = "log", value_name = "DIR")]
    pub(crate) data: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  forecart prepare --data log --out dataset --protocol time")]
pub(crate) struct PrepareArgs {
    /// The event log
    #[arg(short, long, default_value = "log", value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Folder for the dataset
    #[arg(short, long, default_value = "dataset", value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// How to split; overrides the configuration
    #[arg(long)]
    pub(crate) protocol: Option<ProtocolName>,
    /// Event log of test sessions, for `--protocol session`
    #[arg(long, value_name = "DIR")]
    pub(crate) test: Option<PathBuf>,
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
