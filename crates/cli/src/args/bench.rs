//! The verbs of `bench`.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand, ValueEnum};
use forecart_models::step_bench::STEP_ROWS;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  forecart bench generate --events 1000000 --out events.csv\n  \
                  forecart bench prepare --events 1000000\n  forecart bench step --list"
)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(crate) verb: BenchVerb,
}

/// What a server is measured with.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  forecart bench serve                              generate a shop of 100,000 items, train hstu, serve and ask\n  \
                  forecart bench serve --url 127.0.0.1:8080 --users 1000 --items 5000"
)]
pub(crate) struct ServeBenchArgs {
    /// Address of a server that runs [default: one is started on generated data]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) url: Option<std::net::SocketAddr>,
    /// Key that the server needs
    #[arg(long, env = "FORECART_KEY", hide_env_values = true, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// The model of lists of a server that is started
    #[arg(long, default_value = "hstu", value_name = "NAME")]
    pub(crate) model: String,
    /// Items of the shop
    #[arg(long, default_value = "100000", value_name = "N")]
    pub(crate) items: NonZeroU32,
    /// Users of the shop, each with 50 events
    #[arg(long, default_value = "4000", value_name = "N")]
    pub(crate) users: NonZeroU32,
    /// Lists a second [default: what the server can answer is searched for]
    #[arg(long, value_name = "N")]
    pub(crate) rate: Option<f64>,
    /// Seconds of each row of the table
    #[arg(long, default_value = "20", value_name = "SECONDS")]
    pub(crate) seconds: NonZeroU32,
    /// Seconds of the row at 70 %: long, to see whether memory stays as it is [default: as of each row]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) steady: Option<NonZeroU32>,
    /// Ask for lists only, or send events only [default: both]
    #[arg(long, value_name = "WHAT")]
    pub(crate) only: Option<ServeLoad>,
    /// Connections: how many requests can be under way at once
    #[arg(long, default_value = "64", value_name = "N")]
    pub(crate) connections: NonZeroUsize,
}

/// What a server is asked under load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServeLoad {
    /// Lists of ten items
    Lists,
    /// Events, a hundred in a request
    Events,
}

/// What `forecart bench` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchVerb {
    /// Ask a server at a constant rate, and print what it answers, how fast, and its memory
    Serve(ServeBenchArgs),
    /// Write a seeded, shop-like event log as CSV
    #[command(
        after_help = "Example:\n  forecart bench generate --events 10000000 --out events.csv"
    )]
    Generate {
        /// How many events
        #[arg(long, default_value = "1000000", value_name = "N")]
        events: u64,
        /// How many users to draw from [default: a tenth of the events]
        #[arg(long, value_name = "N")]
        users: Option<u64>,
        /// How many items to draw from [default: a hundredth of the events]
        #[arg(long, value_name = "N")]
        items: Option<u64>,
        /// The file to write
        #[arg(short, long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Write seeded rows of clicks, whose probabilities are known, in the shape of Criteo's files
    #[command(after_help = "Example:\n  forecart bench rows --rows 5000000 --out rows.vw")]
    Rows {
        /// How many rows
        #[arg(long, default_value = "1000000", value_name = "N")]
        rows: u64,
        /// How they are written
        #[arg(long, default_value = "vw")]
        format: RowFormatName,
        /// The file to write
        #[arg(short, long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Generate, import and prepare, and print rows per second and peak memory
    #[command(
        after_help = "Example:\n  forecart bench prepare --events 10000000 --memory-limit 2GiB"
    )]
    Prepare {
        /// How many events
        #[arg(long, default_value = "1000000", value_name = "N")]
        events: u64,
    },
    /// Time training steps on generated weights and batches, and print milliseconds and peak memory
    #[command(after_help = "Examples:\n  forecart bench step --list\n  \
                            forecart bench step sasrec-50 --threads 2 --steps 60\n  \
                            forecart bench step full-softmax --n-items 100000 --length 20")]
    Step(StepArgs),
    /// Time one fit of a model on all events before the test part, without stopping early or writing it
    #[command(
        after_help = "Example:\n  forecart bench fit --data dataset --model ials --threads 2"
    )]
    Fit {
        /// The dataset
        #[arg(short, long, default_value = "dataset", value_name = "DIR")]
        data: PathBuf,
        /// The model, with its keys as in the configuration
        #[arg(short, long, value_name = "NAME")]
        model: String,
    },
    /// Time the lists of all users of a dataset, without reasons
    #[command(
        name = "top-k",
        after_help = "Example:\n  forecart bench top-k --data dataset --model model.forecart -k 10 --threads 2"
    )]
    TopK {
        /// The dataset whose users are asked for
        #[arg(short, long, default_value = "dataset", value_name = "DIR")]
        data: PathBuf,
        /// The model file
        #[arg(short, long, default_value = "model.forecart", value_name = "FILE")]
        model: PathBuf,
        /// Items for each user
        #[arg(short, default_value = "10", value_name = "N")]
        k: NonZeroUsize,
    },
    /// Foresee the questions of a generated log whose probabilities and causes are known
    #[command(after_help = "Examples:\n  forecart bench questions\n  \
                            forecart bench questions --users 300 --days 40 --model last-event --json\n  \
                            forecart bench questions --out generated && forecart questions --data generated/questions --user u17\n\n\
                            Generates, imports, prepares, trains and measures in a temporary folder: minutes. The ceiling is the\n\
                            probability by which the questions were drawn; of likely questions with a planted cause it is\n\
                            counted how often the explanation names that cause first.")]
    Questions(QuestionsBenchArgs),
    /// Train several sizes of a model, time steps of growing sizes, and fit how loss and cost grow
    #[command(after_help = "Examples:\n  forecart bench scaling --out scaling\n  \
                            forecart bench scaling --data dataset --model hstu --sizes 32x1,64x2,128x2,256x4\n  \
                            forecart bench scaling --only steps --lengths 50,100,200,400,800\n\n\
                            Trains on the orders that come with the program unless --data names a dataset: minutes.\n\
                            Loss and NDCG@10 against operations and seconds, time and memory of a step against\n\
                            length, items, columns and threads; a power law for each, and what a day is enough for.")]
    Scaling(ScalingArgs),
}

/// How generated rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RowFormatName {
    /// Text of Vowpal Wabbit
    Vw,
    /// Label, 13 counts and 26 codes with tabs between
    Criteo,
}

#[derive(Debug, Args)]
pub(crate) struct QuestionsBenchArgs {
    /// Users of the log
    #[arg(long, default_value = "5000", value_name = "N")]
    pub(crate) users: u32,
    /// Days of the log
    #[arg(long, default_value = "60", value_name = "N")]
    pub(crate) days: u32,
    /// Which model; its keys in the configuration file hold
    #[arg(short, long, default_value = "default", value_name = "NAME")]
    pub(crate) model: String,
    /// Moments that are measured, spread evenly over the part
    #[arg(long, default_value = "20000", value_name = "N")]
    pub(crate) moments: NonZeroUsize,
    /// Cases with a planted cause that are explained, at most
    #[arg(long, default_value = "500", value_name = "N")]
    pub(crate) cases: NonZeroUsize,
    /// Measure on the validation part: to choose by, before the test part is read
    #[arg(long)]
    pub(crate) validation: bool,
    /// Folder for report.html and report.json, and for the log as CSV, the event log and the question table, which are in a temporary folder otherwise
    #[arg(short, long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ScalingArgs {
    /// The dataset to train on [default: the orders that come with the program]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Which model; its keys in the configuration file hold for every size
    #[arg(short, long, default_value = "sasrec", value_name = "NAME")]
    pub(crate) model: String,
    /// Sizes to train: columns x layers
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "16x1,32x1,64x2,128x2",
        value_name = "SIZES"
    )]
    pub(crate) sizes: Vec<ModelSize>,
    /// Epochs of a training, at most
    #[arg(long, default_value = "40", value_name = "N")]
    pub(crate) epochs: NonZeroU32,
    /// Sequence lengths of steps
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "25,50,100,200,400",
        value_name = "LENGTHS",
        value_parser = clap::value_parser!(u32).range(1..=MAX_LENGTH)
    )]
    pub(crate) lengths: Vec<u32>,
    /// Numbers of items of steps
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "1000,3000,10000,30000,100000",
        value_name = "ITEMS",
        value_parser = clap::value_parser!(u32).range(3..=MAX_ITEMS)
    )]
    pub(crate) items: Vec<u32>,
    /// Columns of steps
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "32,64,128,256",
        value_name = "COLUMNS",
        value_parser = clap::value_parser!(u32).range(1..=MAX_COLUMNS)
    )]
    pub(crate) d_models: Vec<u32>,
    /// Timed steps of each size
    #[arg(long, default_value = "5", value_name = "N")]
    pub(crate) steps: NonZeroUsize,
    /// Measure one of the two parts alone
    #[arg(long, value_name = "PART")]
    pub(crate) only: Option<ScalingPart>,
    /// The scaling.json of an earlier run on this machine, whose sizes are put beside those of this one
    #[arg(long, value_name = "FILE")]
    pub(crate) add: Option<PathBuf>,
    /// Folder for scaling.html, scaling.json
    #[arg(short, long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

/// A part of `bench scaling`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScalingPart {
    /// Whole trainings
    Training,
    /// Single steps
    Steps,
}

/// A size of a model: `64x2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ModelSize {
    pub(crate) d_model: u32,
    pub(crate) n_layers: u32,
}

impl std::str::FromStr for ModelSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let size = text.split_once('x').and_then(|(d_model, n_layers)| {
            let (d_model, n_layers) = (d_model.parse().ok()?, n_layers.parse().ok()?);
            let is_sane =
                (1..=MAX_COLUMNS as u32).contains(&d_model) && (1..=64).contains(&n_layers);
            is_sane.then_some(Self { d_model, n_layers })
        });
        size.ok_or_else(|| "write columns and layers, such as 64x2".into())
    }
}

/// Sizes of steps that a flag may ask for: what fits the memory of one machine.
const MAX_LENGTH: i64 = 16_384;
const MAX_COLUMNS: i64 = 8_192;
const MAX_ITEMS: i64 = 50_000_000;

#[derive(Debug, Args)]
pub(crate) struct StepArgs {
    /// Which model and sizes
    #[arg(
        value_name = "ROW",
        required_unless_present = "list",
        value_parser = PossibleValuesParser::new(STEP_ROWS.iter().map(|row| row.name))
    )]
    pub(crate) row: Option<String>,
    /// Name the rows
    #[arg(long)]
    pub(crate) list: bool,
    /// Write what training starts from to DIR/step.safetensors, for another implementation, and do not train
    #[arg(long, value_name = "DIR", conflicts_with = "list")]
    pub(crate) write: Option<PathBuf>,
    /// Timed steps
    #[arg(long, default_value = "10", value_name = "N")]
    pub(crate) steps: NonZeroUsize,
    /// Tokens of each sequence, in place of the row's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_LENGTH))]
    pub(crate) length: Option<u32>,
    /// Columns, in place of the row's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_COLUMNS))]
    pub(crate) d_model: Option<u32>,
    /// Layers, in place of the row's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) n_layers: Option<u32>,
    /// Items, in place of the row's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(3..=MAX_ITEMS))]
    pub(crate) n_items: Option<u32>,
    /// Vector instructions to use [default: the widest of the processor]
    #[arg(long)]
    pub(crate) instructions: Option<InstructionsName>,
}

/// A set of vector instructions; see `forecart_nn::InstructionSet`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum InstructionsName {
    /// 512-bit vectors on x86-64
    Avx512,
    /// 256-bit vectors on x86-64
    Avx2,
    /// 128-bit vectors on 64-bit ARM
    Neon,
    /// One value at a time
    Scalar,
}
