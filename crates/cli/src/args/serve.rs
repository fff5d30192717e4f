//! Flags of the server.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use forecart_serve::store::Scope;

/// Where events, items and users are kept.
#[derive(Debug, Args)]
pub(crate) struct StoreFlag {
    /// A file of SQLite, which is made, or postgres://user@host/database [default: forecart-store/store.sqlite]
    #[arg(long, value_name = "STORE", env = "FORECART_STORE", hide_env_values = true)]
    pub(crate) store: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  forecart serve --model model.forecart --data dataset\n  \
                  forecart serve --model models/ --host 0.0.0.0 --port 8080\n  curl localhost:8080/v1/recommend/17850?n=5")]
pub(crate) struct ServeArgs {
    /// A model file, or a folder of files that end in .forecart; may be given several times
    #[arg(short, long, value_name = "FILE|DIR")]
    pub(crate) model: Vec<PathBuf>,
    /// A dataset whose histories and titles are put into the store first; doing it again adds nothing
    #[arg(short, long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) store: StoreFlag,
    /// IP address to listen at [default: 127.0.0.1]
    #[arg(long, value_name = "IP")]
    pub(crate) host: Option<String>,
    /// Port to listen at; 0 is a free one [default: 8080]
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// Answer the network though the store holds no key
    #[arg(long)]
    pub(crate) open: bool,
}

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScopeName {
    /// Ask for answers
    Read,
    /// Send events, items and users too
    Write,
    /// Models, deletion and export of users too
    Admin,
}

impl From<ScopeName> for Scope {
    fn from(name: ScopeName) -> Self {
        match name {
            ScopeName::Read => Self::Read,
            ScopeName::Write => Self::Write,
            ScopeName::Admin => Self::Admin,
        }
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  forecart keygen --scope write\n  forecart keygen --list\n  forecart keygen --end 1f2e3d4c5b6a --in-hours 24"
)]
pub(crate) struct KeygenArgs {
    /// Make a key that may do this; it is shown once
    #[arg(long, required_unless_present_any = ["list", "end"])]
    pub(crate) scope: Option<ScopeName>,
    /// List the keys that were made
    #[arg(long, conflicts_with_all = ["scope", "end"])]
    pub(crate) list: bool,
    /// End the key of this id
    #[arg(long, value_name = "ID", conflicts_with = "scope")]
    pub(crate) end: Option<String>,
    /// End it in so many hours, so that clients can change to a new one
    #[arg(long, value_name = "HOURS", requires = "end", default_value = "0")]
    pub(crate) in_hours: u32,
    #[command(flatten)]
    pub(crate) store: StoreFlag,
}
