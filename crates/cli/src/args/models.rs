//! Verbs that fit and measure models.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{ProtocolName, TaskName, of_nothing_said};

/// Who signs the model files that are written.
#[derive(Debug, Clone, Args)]
pub(crate) struct SignFlag {
    /// Sign model files by the key in this file, which `forecart keygen --signing` made
    #[arg(long, value_name = "FILE", env = "FORECART_SIGNING_KEY", hide_env_values = true)]
    pub(crate) sign_key: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  forecart train --data dataset --out model.forecart\n  \
                  forecart train --model item-knn --fit-on train-validation\n  \
                  forecart train --task click --data samples --model deepfm\n  \
                  forecart train --task question --data questions --out questions.forecart\n  \
                  forecart train --task click --model ftrl --samples day_*.tsv.gz --hold-out 100 --out m.forecart\n  \
                  forecart train --model sasrec --out model.forecart  # stopped with Ctrl-C, or killed\n  \
                  forecart train --model sasrec --out model.forecart  # goes on from its last checkpoint\n\n\
                  A network saves itself to OUT.checkpoint about every 30 seconds of training; the same\n\
                  command goes on from there, to exactly the model of a run that was never stopped.")]
pub(crate) struct TrainArgs {
    /// The dataset, a sample table, an order table, an intent table or a question table
    #[arg(short, long, default_value = "dataset", value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Which model: `default`, or a name of `forecart model list`
    #[arg(short, long, default_value = "default", value_name = "NAME")]
    pub(crate) model: String,
    /// Where to write the model file
    #[arg(short, long, default_value = "model.forecart", value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// What the model learns from in the end [default: train; of an intent table, all: train-validation]
    #[arg(long)]
    pub(crate) fit_on: Option<FitOnName>,
    /// Train from the beginning, though a stopped run left a checkpoint
    #[arg(long)]
    pub(crate) restart: bool,
    /// What is predicted, of a sample table or of orders [default: what the table says]
    #[arg(long)]
    pub(crate) task: Option<TaskName>,
    /// Rows with a label in place of a sample table, learned from as they come, whatever their size: Vowpal Wabbit text, libsvm,
    /// libffm, CSV, TSV, JSONL or Parquet, also .gz or .zst; for the model `ftrl`, which is `default` here
    #[arg(
        long,
        value_name = "FILE",
        num_args = 1..,
        conflicts_with_all = ["data", "fit_on", "restart"]
    )]
    pub(crate) samples: Vec<PathBuf>,
    /// The column of --samples that says what happened
    #[arg(long, value_name = "COLUMN", requires = "samples")]
    pub(crate) label: Option<String>,
    /// How often the rows of --samples are passed over
    #[arg(long, value_name = "N", default_value = "1", requires = "samples")]
    pub(crate) passes: NonZeroU32,
    /// Learn nothing from every K-th row of --samples: it is measured, and the last 50,000 to 100,000 of them calibrate
    #[arg(long, value_name = "K", requires = "samples", value_parser = clap::value_parser!(u64).range(2..))]
    pub(crate) hold_out: Option<u64>,
    /// Rows that the model of --samples is measured on in the end
    #[arg(long, value_name = "FILE", requires = "samples")]
    pub(crate) test: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) sign: SignFlag,
}

/// Which parts a model may learn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FitOnName {
    /// The training part
    Train,
    /// Training and validation parts: everything before the test part
    TrainValidation,
}

impl Default for TrainArgs {
    fn default() -> Self {
        of_nothing_said()
    }
}

impl Default for EvaluateArgs {
    fn default() -> Self {
        of_nothing_said()
    }
}

#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  forecart evaluate --data dataset --models popularity,item-knn,mlp\n  \
                  forecart evaluate --input Beauty.txt --protocol loo-full --models seq-rules --json\n  \
                  forecart evaluate --input train.csv --test test.csv --protocol session \
                  --models item-knn,seq-rules\n  \
                  forecart evaluate --data dataset --model model.forecart --gate ndcg@10\n  \
                  forecart evaluate --data samples --models all --gate logloss --out report\n  \
                  forecart evaluate --data questions --model questions.forecart --gate log_loss\n  \
                  forecart evaluate --log log --folds 4 --horizon 30 --models item-knn --out backtest\n\n\
                  Before anything is trained the dataset is searched for test data that has leaked into the training\n\
                  part; exit code 3 says that there is some, and where."
)]
pub(crate) struct EvaluateArgs {
    /// A raw log: it is imported, prepared, trained on and measured in a temporary folder
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    pub(crate) input: Vec<PathBuf>,
    /// A prepared dataset, a sample table, an order table, an intent table or a question table
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
    /// What the models learn from in the end [default: train; of an intent table with a test part, all: train-validation]
    #[arg(long)]
    pub(crate) fit_on: Option<FitOnName>,
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
    /// this metric (of a sample table auc, average_precision, logloss, normalized_entropy, ece, brier; of orders wape, pinball; of an intent table
    /// accuracy, macro_f1; of a question table top_1, top_3, log_loss); the verdict is written into the model files
    #[arg(long, value_name = "METRIC")]
    pub(crate) gate: Option<String>,
    /// Why models may be promoted though they do not pass the gate; recorded in the report and the model files
    #[arg(long, value_name = "REASON", requires = "gate")]
    pub(crate) gate_override: Option<String>,
    #[command(flatten)]
    pub(crate) sign: SignFlag,
    /// Of an intent table, also measure what comes of answering every text whose most probable intent has this probability or more, in place of
    /// the threshold of each model
    #[arg(long, value_name = "P")]
    pub(crate) min_confidence: Option<f64>,
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
                  forecart tune --data samples --model gbdt\n  \
                  forecart tune --data intents --model tfidf-svm --trials 20\n  \
                  forecart tune --data questions --model sequence --trials 20\n  \
                  forecart train --config tuning/best.toml --model item-knn\n\n\
                  Trial 0 has the defaults (or what the configuration file says). Every trial is written to\n\
                  OUT/trials.journal at once; the same command goes on from there after a kill, or with a larger\n\
                  budget. Validation chooses. At the end the test part is read once for the defaults and once for\n\
                  what was chosen, and the report says how much of the gain is left."
)]
pub(crate) struct TuneArgs {
    /// The dataset, a sample table, an intent table or a question table
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
    /// The metric that decides (ndcg@10 where none is named; of a sample table log loss, of an intent table accuracy, and no other)
    #[arg(long, value_name = "METRIC")]
    pub(crate) metric: Option<String>,
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
