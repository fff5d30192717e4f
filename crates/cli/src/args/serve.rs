//! Flags of the server.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use forecart_serve::store::Scope;

use super::{SignFlag, TaskName};

/// Where events, items and users are kept.
#[derive(Debug, Args)]
pub(crate) struct StoreFlag {
    /// A file of SQLite, which is made, or postgres://user@host/database [default: forecart-store/store.sqlite]
    #[arg(long, value_name = "STORE", env = "FORECART_STORE", hide_env_values = true)]
    pub(crate) store: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  forecart serve --model model.forecart --data dataset\n  \
                  forecart serve --model models/ --host 0.0.0.0 --port 8080\n  forecart serve --model models/ --retrain daily\n  curl localhost:8080/v1/recommend/17850?n=5")]
pub(crate) struct ServeArgs {
    /// A model file, or a folder of files that end in .forecart; may be given several times
    #[arg(short, long, value_name = "FILE|DIR")]
    pub(crate) model: Vec<PathBuf>,
    /// A dataset whose histories and titles are put into the store first; doing it again adds nothing
    #[arg(short, long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) store: StoreFlag,
    /// Read events from NATS too: nats://host:4222, or tls://; several with commas between. What is read is said in [serve.nats]
    #[arg(long, value_name = "URL", env = "FORECART_NATS", hide_env_values = true)]
    pub(crate) nats: Option<String>,
    /// IP address to listen at [default: 127.0.0.1]
    #[arg(long, value_name = "IP")]
    pub(crate) host: Option<String>,
    /// Port to listen at; 0 is a free one [default: 8080]
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// The certificate of TLS, then those that lead to one that clients know, as PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// The private key of the certificate, as PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Answer the network though the store holds no key
    #[arg(long)]
    pub(crate) open: bool,
    /// Train anew from the events of the store and serve what passes the gate: hourly, daily, weekly (at 3:00), or a line of cron
    #[arg(long, value_name = "WHEN")]
    pub(crate) retrain: Option<String>,
}

/// What is trained anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RetrainTask {
    /// Lists of items
    Recommend,
    /// A click on an ad
    Click,
    /// A purchase after the click
    Conversion,
    /// A purchase
    Purchase,
    /// What users ask after what they did
    Question,
    /// Units of each item in the next periods
    Demand,
}

impl RetrainTask {
    /// As in files.
    pub(crate) fn name(self) -> &'static str {
        self.of_table().map_or("recommend", TaskName::name)
    }

    /// What `prepare --task` says; nothing for lists.
    pub(crate) fn of_table(self) -> Option<TaskName> {
        match self {
            Self::Recommend => None,
            Self::Click => Some(TaskName::Click),
            Self::Conversion => Some(TaskName::Conversion),
            Self::Purchase => Some(TaskName::Purchase),
            Self::Question => Some(TaskName::Question),
            Self::Demand => Some(TaskName::Demand),
        }
    }

    /// The metric that decides, where none is named.
    pub(crate) fn usual_gate(self) -> &'static str {
        match self {
            Self::Recommend => "ndcg@10",
            Self::Click | Self::Conversion | Self::Purchase => "logloss",
            Self::Question => "log_loss",
            Self::Demand => "pinball",
        }
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  forecart retrain --into models/\n  forecart retrain --task question --into models/ --model sequence\n  \
                  forecart serve --model models/ --retrain daily        # the server does it by itself\n\n\
                  Exit code 4: the model does not beat the strongest baseline, and no file is written."
)]
pub(crate) struct RetrainArgs {
    /// What the model is for
    #[arg(long, default_value = "recommend")]
    pub(crate) task: RetrainTask,
    /// Folder for the model file, TASK-TIME.forecart; it is whole or not there
    #[arg(long, value_name = "DIR")]
    pub(crate) into: PathBuf,
    /// Which model: `default`, or a name of `forecart model list` [default: what serve.retrain.models says, else `default`]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// The metric that must be better than the strongest baseline's: what serve.retrain.gate says, else ndcg@10; of rows logloss, of questions
    /// log_loss, of demand pinball
    #[arg(long, value_name = "METRIC")]
    pub(crate) gate: Option<String>,
    /// Folder for the report of the measurement
    #[arg(long, value_name = "DIR")]
    pub(crate) report: Option<PathBuf>,
    /// End when standard input does: a server that began this holds the other end of it
    #[arg(long, hide = true)]
    pub(crate) end_with_stdin: bool,
    #[command(flatten)]
    pub(crate) sign: SignFlag,
    #[command(flatten)]
    pub(crate) store: StoreFlag,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  forecart dump --out shop.dump\n  forecart dump --out backups/today.dump --store postgres://forecart@db/shop"
)]
pub(crate) struct DumpArgs {
    /// The file to write; it is there whole or not at all
    #[arg(short, long, default_value = "forecart.dump", value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) store: StoreFlag,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  forecart restore shop.dump --store new/store.sqlite\n  \
                  forecart restore shop.dump --store postgres://forecart@db/shop    # from one machine to several\n  \
                  forecart restore shop.dump --add                                  # go on after a kill")]
pub(crate) struct RestoreArgs {
    /// A file of `forecart dump`
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Restore though the store holds something: events that are there stay, items and users are replaced
    #[arg(long)]
    pub(crate) add: bool,
    #[command(flatten)]
    pub(crate) store: StoreFlag,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  forecart experiments\n  forecart experiments new-model\n  forecart experiments new-model --json"
)]
pub(crate) struct ExperimentsArgs {
    /// What came of this one so far [default: which there are]
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) store: StoreFlag,
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
    after_help = "Examples:\n  forecart keygen --scope write\n  forecart keygen --list\n  forecart keygen --end 1f2e3d4c5b6a --in-hours 24\n  forecart keygen --signing --out signing.key"
)]
pub(crate) struct KeygenArgs {
    /// Make a key that may do this; it is shown once
    #[arg(long, required_unless_present_any = ["list", "end", "signing"])]
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
    /// Make a key that signs model files, and print its public key, for `serve.trusted_keys`
    #[arg(long, requires = "out", conflicts_with_all = ["scope", "list", "end"])]
    pub(crate) signing: bool,
    /// The new file of the signing key, which its owner alone may read
    #[arg(long, value_name = "FILE", requires = "signing")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) store: StoreFlag,
}
