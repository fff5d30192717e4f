//! Verbs on a trained model.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::SeenName;

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
#[command(
    after_help = "Examples:\n  forecart predict --model model.forecart --in rows.csv --out predictions.csv\n  \
                  head -1000 rows.csv | forecart predict --model model.forecart --in -\n  \
                  forecart predict --model demand.forecart --periods 4\n  \
                  forecart predict --model demand.forecart --in stock.csv --lead-time 2 --service-level 0.95\n\n\
                  Rows are read as a stream, so that a file may be of any size. Where an ad stands counts for\n\
                  nothing: every row is taken to stand in the same place, unless --as-logged is given. Models of conversions\n\
                  say two things more: how probable one is after a click, and click and conversion together."
)]
pub(crate) struct PredictArgs {
    /// The model file
    #[arg(short, long, default_value = "model.forecart", value_name = "FILE")]
    pub(crate) model: PathBuf,
    /// Rows with the columns that the model knows: CSV, JSONL or Parquet. Of demand: item_id, and on_hand and on_order where there are
    /// some [default: all items]
    #[arg(long = "in", value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Where to write a line number and a probability for each row, or the forecast [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Positions count as the rows say
    #[arg(long)]
    pub(crate) as_logged: bool,
    /// Periods ahead that demand is forecast for
    #[arg(long, default_value = "1", value_name = "N")]
    pub(crate) periods: NonZeroU32,
    /// What to order of each item: periods until an order that is placed now is there
    #[arg(long, value_name = "N", conflicts_with = "periods")]
    pub(crate) lead_time: Option<NonZeroU32>,
    /// Share of lead times that are to end without the item being out
    #[arg(long, default_value = "0.95", value_name = "SHARE", requires = "lead_time")]
    pub(crate) service_level: f64,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  forecart classify --model support.forecart \"where is my parcel?\" --json\n  \
                  forecart classify --model support.forecart --in questions.txt\n  \
                  tail -f chat.log | forecart classify --model support.forecart --in -\n  \
                  forecart classify --model support.forecart --in questions.txt --review 20\n\n\
                  E-mail addresses, phone numbers, order ids and numbers are masked before anything is read or printed."
)]
pub(crate) struct ClassifyArgs {
    /// Texts
    #[arg(value_name = "TEXT", required_unless_present = "input")]
    pub(crate) texts: Vec<String>,
    /// The model file
    #[arg(short, long, default_value = "model.forecart", value_name = "FILE")]
    pub(crate) model: PathBuf,
    /// A file with a text on each line, or - for standard input
    #[arg(long = "in", value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// How many intents of each text, the most probable first
    #[arg(long, default_value = "3", value_name = "N")]
    pub(crate) top: NonZeroUsize,
    /// Only the N texts that the model is least sure of, for people to label
    #[arg(long, value_name = "N")]
    pub(crate) review: Option<NonZeroUsize>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  forecart questions --model questions.forecart --data questions --user u17\n  \
                  forecart questions --model questions.forecart --data questions --user u17 -n 3 --json\n\n\
                  How probable each question is within the horizon after the newest event of the user, and what led to it: the\n\
                  behaviors without each of which much of that goes, the latest first. Who is in no row of the table gets what anybody asks, and is told so."
)]
pub(crate) struct QuestionsArgs {
    /// The model file
    #[arg(short, long, default_value = "model.forecart", value_name = "FILE")]
    pub(crate) model: PathBuf,
    /// The question table that holds the users' histories
    #[arg(short, long, default_value = "questions", value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// A user's id; may be given several times
    #[arg(long, value_name = "ID", required = true)]
    pub(crate) user: Vec<String>,
    /// How many questions, the most probable first
    #[arg(short, default_value = "5", value_name = "N")]
    pub(crate) n: NonZeroUsize,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  forecart explain --model model.forecart --in rows.csv --top 5\n  \
                  head -3 rows.csv | forecart explain --model model.forecart --in - --json\n  \
                  forecart explain --model support.forecart --text \"my card has not arrived\"\n  \
                  forecart explain --model questions.forecart --data questions --user u17 --intent where_is_my_parcel\n\n\
                  What columns add, in logits before calibration, sums to the difference between the row and the baseline: a\n\
                  row without texts and lists, whose numbers are at their mean; `gap` is what the sum misses. `lr` is\n\
                  explained by its weights, `gbdt` by Shapley values, both exactly; networks by integrated gradients."
)]
pub(crate) struct ExplainArgs {
    /// The model file
    #[arg(short, long, default_value = "model.forecart", value_name = "FILE")]
    pub(crate) model: PathBuf,
    /// Rows with the columns that the model knows: CSV, JSONL or Parquet
    #[arg(long = "in", value_name = "FILE", required_unless_present_any = ["text", "user"])]
    pub(crate) input: Option<PathBuf>,
    /// A text, of a model that says what a text asks
    #[arg(long, value_name = "TEXT", conflicts_with = "input")]
    pub(crate) text: Option<String>,
    /// A user, of a model that says what is asked next
    #[arg(long, value_name = "ID", conflicts_with_all = ["input", "text"])]
    pub(crate) user: Option<String>,
    /// The question table that holds the user's history
    #[arg(short, long, default_value = "questions", value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Which question of --user [default: the most probable one]
    #[arg(long, value_name = "NAME", requires = "user")]
    pub(crate) intent: Option<String>,
    /// How many columns of each row, words of the text or behaviors of the user, those that add most [default: 5, all with --json]
    #[arg(long, value_name = "N")]
    pub(crate) top: Option<NonZeroUsize>,
    /// Positions count as the rows say
    #[arg(long)]
    pub(crate) as_logged: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  forecart ads simulate --model click.forecart --in impressions.csv --budget 500 --price paid --value-per-click 0.8\n  \
                  forecart ads off-policy --model click.forecart --in impressions.csv --propensity pscore"
)]
pub(crate) struct AdsArgs {
    #[command(subcommand)]
    pub(crate) verb: AdsVerb,
}

/// What `forecart ads` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum AdsVerb {
    /// Replay a log of impressions under a budget: what bids by a model would have bought
    Simulate(SimulateArgs),
    /// What would have been the click rate, had a model chosen what was shown?
    OffPolicy(OffPolicyArgs),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  forecart ads simulate --model click.forecart --in impressions.csv --budget 500 --price paid --value-per-click 0.8\n\n\
                  The bid for an impression is what it is expected to be worth: its probability of a click times the value of a\n\
                  click, or of a model that knows conversions, its probability of a click and a conversion times the value of\n\
                  a conversion. A bid of at least the price wins and pays the price (a second-price auction). With pacing, bids\n\
                  are scaled so that the budget lasts (Balseiro and Gur, 2019). Hindsight buys the most value a price first.\n\
                  Rows are taken in their order. Prices and outcomes are as they were: nobody answers our bids."
)]
pub(crate) struct SimulateArgs {
    /// The model file: a model of clicks, or of clicks and conversions
    #[arg(short, long, default_value = "model.forecart", value_name = "FILE")]
    pub(crate) model: PathBuf,
    /// Impressions in the order of time, with the columns that the model knows, its labels and a price
    #[arg(long = "in", value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// Money for all of them
    #[arg(long, value_name = "MONEY")]
    pub(crate) budget: f64,
    /// The column of what an impression cost, or a number: the same for all
    #[arg(long, value_name = "COLUMN")]
    pub(crate) price: String,
    /// What a click is worth
    #[arg(long, default_value = "1", value_name = "MONEY")]
    pub(crate) value_per_click: f64,
    /// What a conversion is worth, of a model that knows conversions; a click is worth nothing by itself then
    #[arg(long, value_name = "MONEY")]
    pub(crate) value_per_conversion: Option<f64>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  forecart ads off-policy --model click.forecart --data samples --within campaign\n  \
                  forecart ads off-policy --model click.forecart --in impressions.csv --item item_id --propensity pscore --within position\n\n\
                  The log must say with which probability each item had been drawn: its propensity, above 0 and at most 1. The\n\
                  model is asked for each item that could have stood in a row. `uniform` shows each of them alike, `softmax`\n\
                  each in proportion to its odds of a click, `greedy` the one with the highest score. Their click rates are\n\
                  estimated by inverse propensities (IPS), self-normalized ones (SNIPS) and doubly robust (DR), for which the\n\
                  model says what to expect of each item.\n\n\
                  An item brings its own columns along, as they stood when it was shown last: the item, those named item_* or\n\
                  item.*, those that never differ between its rows, and those of --item-columns. All others stay as they were;\n\
                  a column about user and item together would be that of the item shown, so train without it. Give rows that\n\
                  the model has not learned from; --data takes the test part."
)]
pub(crate) struct OffPolicyArgs {
    /// The model file: a model of clicks
    #[arg(short, long, default_value = "model.forecart", value_name = "FILE")]
    pub(crate) model: PathBuf,
    /// Impressions in the order of time, with the columns that the model knows, its label and the propensity
    #[arg(
        long = "in",
        value_name = "FILE",
        required_unless_present = "data",
        conflicts_with = "data"
    )]
    pub(crate) input: Option<PathBuf>,
    /// A sample table with `samples.propensity`: its test part
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The column of the item that was shown
    #[arg(long, default_value = "item_id", value_name = "COLUMN")]
    pub(crate) item: String,
    /// The column of the probability with which it had been drawn [default: `samples.propensity`, else propensity_score]
    #[arg(long, value_name = "COLUMN")]
    pub(crate) propensity: Option<String>,
    /// Items shown in rows with the same values in these columns could have stood in each other's place [default: all items]
    #[arg(long, value_delimiter = ',', value_name = "COLUMNS")]
    pub(crate) within: Vec<String>,
    /// Further columns that go with the item
    #[arg(long, value_delimiter = ',', value_name = "COLUMNS")]
    pub(crate) item_columns: Vec<String>,
    /// Of the softmax: low shows the best alone, high all alike
    #[arg(long, default_value = "1", value_name = "T")]
    pub(crate) temperature: f64,
    /// Largest weight of a row: steadier, and as a rule too low
    #[arg(long, value_name = "WEIGHT")]
    pub(crate) clip: Option<f64>,
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
    /// Sign a model file, in place of whoever signed it before
    #[command(
        after_help = "Example:\n  forecart keygen --signing --out signing.key\n  forecart model sign model.forecart --key signing.key"
    )]
    Sign {
        /// The model file
        #[arg(default_value = "model.forecart", value_name = "FILE")]
        file: PathBuf,
        /// The file of the signing key
        #[arg(long, value_name = "FILE", env = "FORECART_SIGNING_KEY", hide_env_values = true)]
        key: PathBuf,
    },
    /// Say by which of some keys a model file is signed; exit code 3 if by none, or if it was altered
    #[command(
        after_help = "Example:\n  forecart model verify model.forecart --public forecart-verify-…"
    )]
    Verify {
        /// The model file
        #[arg(default_value = "model.forecart", value_name = "FILE")]
        file: PathBuf,
        /// A public key, or a file of them; may be given several times [default: serve.trusted_keys]
        #[arg(long, value_name = "KEY|FILE")]
        public: Vec<String>,
    },
    /// List the models that `train` and `evaluate` know
    #[command(after_help = "Example:\n  forecart model list")]
    List,
}
