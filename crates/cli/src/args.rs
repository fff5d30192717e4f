//! The command line: verbs, flags, and an example for each.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use forecart_models::step_bench::STEP_ROWS;

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
    /// Run the whole way on real orders that come with the program
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
    /// Look inside model files
    Model(ModelArgs),
    /// Generate data and measure the program
    Bench(BenchArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  forecart demo --out forecart-demo")]
pub(crate) struct DemoArgs {
    /// Folder for the log, dataset, model and report
    #[arg(short, long, default_value = "forecart-demo", value_name = "DIR")]
    pub(crate) out: PathBuf,
}

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

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  forecart train --data dataset --out model.forecart\n  \
                  forecart train --model item-knn --fit-on train-validation\n  \
                  forecart train --model sasrec --out model.forecart  # stopped with Ctrl-C, or killed\n  \
                  forecart train --model sasrec --out model.forecart  # goes on from its last checkpoint\n\n\
                  A network saves itself to OUT.checkpoint about every 30 seconds of training; the same\n\
                  command goes on from there, to exactly the model of a run that was never stopped.")]
pub(crate) struct TrainArgs {
    /// The dataset
    #[arg(short, long, default_value = "dataset", value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Which model: `default`, or a name of `forecart model list`
    #[arg(short, long, default_value = "default", value_name = "NAME")]
    pub(crate) model: String,
    /// Where to write the model file
    #[arg(short, long, default_value = "model.forecart", value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Which events the model learns from
    #[arg(long, default_value = "train")]
    pub(crate) fit_on: FitOnName,
    /// Train from the beginning, though a stopped run left a checkpoint
    #[arg(long)]
    pub(crate) restart: bool,
}

/// Which events a model may learn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FitOnName {
    /// The training part
    Train,
    /// Training and validation parts: everything before the test part
    TrainValidation,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  forecart evaluate --data dataset --models popularity,item-knn,mlp\n  \
                  forecart evaluate --input Beauty.txt --protocol loo-full --models seq-rules --json\n  \
                  forecart evaluate --input train.csv --test test.csv --protocol session \
                  --models item-knn,seq-rules\n  \
                  forecart evaluate --data dataset --model model.forecart --gate ndcg@10\n  \
                  forecart evaluate --log log --folds 4 --horizon 30 --models item-knn --out backtest\n\n\
                  Before anything is trained the dataset is searched for test data that has leaked into the training\n\
                  part; exit code 3 says that there is some, and where."
)]
pub(crate) struct EvaluateArgs {
    /// A raw log: it is imported, prepared, trained on and measured in a temporary folder
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    pub(crate) input: Vec<PathBuf>,
    /// A prepared dataset
    #[arg(short, long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Models to fit and measure, `all`, or `default`; the simple baselines are always in the table
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) models: Vec<String>,
    /// A trained model file to measure beside them
    #[arg(short, long, value_name = "FILE")]
    pub(crate) model: Vec<PathBuf>,
    /// How to split `--input` [default: loo-full]
    #[arg(long)]
    pub(crate) protocol: Option<ProtocolName>,
    /// Raw log of test sessions, for `--protocol session`
    #[arg(long, value_name = "FILE", requires = "input")]
    pub(crate) test: Option<PathBuf>,
    /// Rolling back-test: cut the log by time at N moments, fit and measure at each
    #[arg(
        long,
        value_name = "N",
        conflicts_with_all = ["data", "model", "test", "gate", "protocol"]
    )]
    pub(crate) folds: Option<NonZeroU32>,
    /// Days of each fold's test part [default: 30]
    #[arg(long, value_name = "DAYS", requires = "folds")]
    pub(crate) horizon: Option<NonZeroU32>,
    /// An imported event log, for --folds
    #[arg(long, value_name = "DIR", requires = "folds", conflicts_with = "input")]
    pub(crate) log: Option<PathBuf>,
    /// Seeds for models that are trained with chance: mean and spread over N of them, from --seed
    /// on [first: 1]
    #[arg(long, default_value = "1", value_name = "N")]
    pub(crate) seeds: NonZeroUsize,
    /// Which events the models learn from
    #[arg(long, default_value = "train")]
    pub(crate) fit_on: FitOnName,
    /// How many of a user's newest events a model sees [default: 50, 100 or 200, whichever first
    /// holds nine of ten training sequences whole]
    #[arg(long, value_name = "N")]
    pub(crate) max_history: Option<NonZeroUsize>,
    /// Whether items a user has acted on are left out of the lists; overrides the dataset's rule
    #[arg(long)]
    pub(crate) seen: Option<SeenName>,
    /// Only the models that were asked for, without the baselines
    #[arg(long)]
    pub(crate) no_baselines: bool,
    /// Fail with exit code 4 if no asked-for model, or one of the --model files, does not beat the strongest baseline on
    /// this metric; the verdict is written into the model files
    #[arg(long, value_name = "METRIC")]
    pub(crate) gate: Option<String>,
    /// Why models may be promoted though they do not pass the gate; recorded in the report and the model files
    #[arg(long, value_name = "REASON", requires = "gate")]
    pub(crate) gate_override: Option<String>,
    /// Measure though test data has leaked into what models learn from; the leaks stand in the report
    #[arg(long)]
    pub(crate) allow_leaks: bool,
    /// Leave machine, seconds and memory out of the report: the same seed gives the same bytes
    #[arg(long)]
    pub(crate) deterministic: bool,
    /// Folder for report.html, report.json
    #[arg(short, long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  forecart tune --data dataset --model item-knn --trials 40\n  \
                  forecart tune --data dataset --model sasrec --minutes 60 --out tuning-sasrec\n  \
                  forecart train --config tuning/best.toml --model item-knn\n\n\
                  Trial 0 has the defaults (or what the configuration file says). Every trial is written to\n\
                  OUT/trials.journal at once; the same command goes on from there after a kill, or with a larger\n\
                  budget. Validation chooses. At the end the test part is read once for the defaults and once for\n\
                  what was chosen, and the report says how much of the gain is left."
)]
pub(crate) struct TuneArgs {
    /// The dataset
    #[arg(short, long, default_value = "dataset", value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Which model
    #[arg(short, long, value_name = "NAME")]
    pub(crate) model: String,
    /// End after so many trials, those of earlier runs included [default: 40]
    #[arg(long, value_name = "N", conflicts_with = "minutes")]
    pub(crate) trials: Option<NonZeroUsize>,
    /// End after so many minutes, those of earlier runs included
    #[arg(long, value_name = "M")]
    pub(crate) minutes: Option<f64>,
    /// The metric that decides
    #[arg(long, default_value = "ndcg@10", value_name = "METRIC")]
    pub(crate) metric: String,
    /// How many of a user's newest events a model sees
    #[arg(long, value_name = "N")]
    pub(crate) max_history: Option<NonZeroUsize>,
    /// Whether items a user has acted on are left out of the lists; overrides the dataset's rule
    #[arg(long)]
    pub(crate) seen: Option<SeenName>,
    /// Train every trial to its end, though it falls behind the others
    #[arg(long)]
    pub(crate) no_pruning: bool,
    /// Search though test data has leaked into what models learn from
    #[arg(long)]
    pub(crate) allow_leaks: bool,
    /// Begin again, though an earlier run left trials
    #[arg(long)]
    pub(crate) restart: bool,
    /// Folder for trials.journal, report.html, report.json and best.toml
    #[arg(short, long, default_value = "tuning", value_name = "DIR")]
    pub(crate) out: PathBuf,
}

/// What happens with items that a user has already acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SeenName {
    /// They are left out
    Exclude,
    /// They stay
    Keep,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  forecart recommend --model model.forecart --data dataset --user 17850\n  \
                  forecart recommend --model model.forecart --history 85123A,71053 -k 5 --json"
)]
pub(crate) struct RecommendArgs {
    /// The model file
    #[arg(short, long, default_value = "model.forecart", value_name = "FILE")]
    pub(crate) model: PathBuf,
    /// The dataset that holds the users' histories; needed with --user and --users
    #[arg(short, long, default_value = "dataset", value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// A user's id
    #[arg(long, value_name = "ID", required_unless_present_any = ["history", "users"])]
    pub(crate) user: Vec<String>,
    /// Item ids, oldest first: a visitor that the log has never seen
    #[arg(long, value_delimiter = ',', value_name = "IDS", conflicts_with = "user")]
    pub(crate) history: Option<Vec<String>>,
    /// A file with a user id on each line, or `all`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "history"])]
    pub(crate) users: Option<String>,
    /// How many items
    #[arg(short, default_value = "10", value_name = "K")]
    pub(crate) k: NonZeroUsize,
    /// Whether items the user has acted on are left out [default: the dataset's rule]
    #[arg(long)]
    pub(crate) seen: Option<SeenName>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  forecart similar --model model.forecart --item 85123A -k 5")]
pub(crate) struct SimilarArgs {
    /// The model file
    #[arg(short, long, default_value = "model.forecart", value_name = "FILE")]
    pub(crate) model: PathBuf,
    /// The item's id
    #[arg(long, value_name = "ID")]
    pub(crate) item: String,
    /// How many items
    #[arg(short, default_value = "10", value_name = "K")]
    pub(crate) k: NonZeroUsize,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  forecart model list\n  forecart model show model.forecart")]
pub(crate) struct ModelArgs {
    #[command(subcommand)]
    pub(crate) verb: ModelVerb,
}

/// What `forecart model` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum ModelVerb {
    /// Show the header and the tensors of a model file without loading its weights
    #[command(after_help = "Example:\n  forecart model show model.forecart --json")]
    Show {
        /// The model file
        #[arg(default_value = "model.forecart", value_name = "FILE")]
        file: PathBuf,
    },
    /// List the models that `train` and `evaluate` know
    #[command(after_help = "Example:\n  forecart model list")]
    List,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  forecart bench generate --events 1000000 --out events.csv\n  \
                  forecart bench prepare --events 1000000\n  forecart bench step --list"
)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(crate) verb: BenchVerb,
}

/// What `forecart bench` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchVerb {
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
    /// Train several sizes of a model, time steps of growing sizes, and fit how loss and cost grow
    #[command(after_help = "Examples:\n  forecart bench scaling --out scaling\n  \
                            forecart bench scaling --data dataset --model hstu --sizes 32x1,64x2,128x2,256x4\n  \
                            forecart bench scaling --only steps --lengths 50,100,200,400,800\n\n\
                            Trains on the orders that come with the program unless --data names a dataset: minutes.\n\
                            Loss and NDCG@10 against operations and seconds, time and memory of a step against\n\
                            length, items, columns and threads; a power law for each, and what a day is enough for.")]
    Scaling(ScalingArgs),
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

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  forecart completions bash > /etc/bash_completion.d/forecart")]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}
