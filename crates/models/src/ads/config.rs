//! Hyperparameters of the models over fields, and the published models as sets of defaults.

use std::num::NonZeroU32;

use forecart_data::encode::FeatureSpec;
use forecart_data::samples::{Role, SampleColumn};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::contract::{OutcomeModel, OutcomeSpec};
use super::features::{self, Encoding, Numbers};
use super::network::{FieldNetworkConfig, Interactions};
use super::samples::{EncodedSamples, SampleLayout};
use super::{field_model, fit};
use crate::error::{ModelError, nearest};
use crate::recommend::Parameter;
use crate::recommend::registry::parse_keys_of;
use crate::training::{FitContext, FitRecord, LearningRateSchedule, OptimizerConfig};

/// An arrangement of a [`super::FieldNetwork`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrangement {
    /// Logistic regression.
    Lr,
    /// Rendle, ICDM 2010: a factorization machine.
    Fm,
    /// Juan et al., RecSys 2016: a field-aware factorization machine.
    Ffm,
    /// A multi-layer perceptron over embeddings.
    Mlp,
    /// Cheng et al., DLRS 2016: linear model and perceptron.
    WideDeep,
    /// Guo et al., IJCAI 2017: linear model, factorization machine and perceptron.
    DeepFm,
    /// Wang et al., WWW 2021: cross network and perceptron, side by side.
    DcnV2,
    /// Zhou et al., KDD 2018: a perceptron that sees histories as the row's own values see them.
    Din,
    /// Ma et al., SIGIR 2018: two perceptrons over all impressions, of clicks and of conversions after them.
    Esmm,
}

impl Arrangement {
    /// All, simplest first.
    pub const ALL: [Self; 9] = [
        Self::Lr,
        Self::Fm,
        Self::Ffm,
        Self::Mlp,
        Self::WideDeep,
        Self::DeepFm,
        Self::DcnV2,
        Self::Din,
        Self::Esmm,
    ];

    /// The name in the registry.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lr => "lr",
            Self::Fm => "fm",
            Self::Ffm => "ffm",
            Self::Mlp => "mlp",
            Self::WideDeep => "wide-deep",
            Self::DeepFm => "deepfm",
            Self::DcnV2 => "dcn-v2",
            Self::Din => "din",
            Self::Esmm => "esmm",
        }
    }

    /// What it does, in one line.
    pub fn about(self) -> &'static str {
        match self {
            Self::Lr => "logistic regression: a weight for each value; explains itself",
            Self::Fm => "factorization machine: weights and the products of any two fields",
            Self::Ffm => {
                "factorization machine with a vector for each other field; memory by fields x values"
            }
            Self::Mlp => "multi-layer perceptron over embeddings of the fields",
            Self::WideDeep => "logistic regression and perceptron together",
            Self::DeepFm => "factorization machine and perceptron on one table of embeddings",
            Self::DcnV2 => "explicit products of values up to a degree, beside a perceptron",
            Self::Din => {
                "perceptron that weighs what somebody did before by the item at hand; needs a history column"
            }
            Self::Esmm => {
                "clicks and conversions after them, both from all impressions; needs a second label"
            }
        }
    }

    fn has_linear(self) -> bool {
        !matches!(self, Self::Mlp | Self::DcnV2 | Self::Din | Self::Esmm)
    }

    fn interactions(self) -> Option<Interactions> {
        match self {
            Self::Fm | Self::DeepFm => Some(Interactions::Machine),
            Self::Ffm => Some(Interactions::FieldAware),
            _ => None,
        }
    }

    fn has_perceptron(self) -> bool {
        !matches!(self, Self::Lr | Self::Fm | Self::Ffm)
    }

    fn defaults(self) -> FieldConfig {
        let mut config = FieldConfig::default();
        match self {
            // One vector a field: small ones are enough.
            Self::Ffm => config.n_dims = NonZeroU32::new(4).expect("4 is not 0"),
            // Its loss is convex: what is far from the least is only undertrained.
            Self::Lr => config.learning_rate = 1e-2,
            _ => {}
        }
        config
    }

    /// Whether a hyperparameter means something to it.
    fn has(self, key: &str) -> bool {
        match key {
            "n_dims" => self != Self::Lr,
            "hidden" | "dropout" => self.has_perceptron(),
            "n_cross" | "cross_rank" => self == Self::DcnV2,
            "max_history" | "attention_hidden" => self == Self::Din,
            _ => true,
        }
    }
}

/// Hyperparameters of the models over fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldConfig {
    /// What becomes of a column of numbers.
    pub numbers: Numbers,
    /// Buckets of a column of numbers, `2..=4096`, where there are any.
    pub n_buckets: u32,
    /// Texts in fewer training rows are unknown ones.
    pub min_count: NonZeroU32,
    /// Columns of an embedding; of a field-aware machine, of each of the vectors that a value has for the other fields.
    pub n_dims: NonZeroU32,
    /// Columns of each hidden layer of the perceptron.
    pub hidden: Vec<NonZeroU32>,
    /// Layers of the cross network.
    pub n_cross: NonZeroU32,
    /// Columns of the cross network's low-rank weights; 0 for full ones.
    pub cross_rank: u32,
    /// Newest values of a history that are read.
    pub max_history: NonZeroU32,
    /// Columns of each hidden layer of the unit that weighs the values of a history.
    pub attention_hidden: Vec<NonZeroU32>,
    /// Share of hidden values that are left out at random while training, in `0.0..1.0`.
    pub dropout: f64,
    /// Step size of Adam.
    pub learning_rate: f64,
    /// Decoupled weight decay (AdamW).
    pub weight_decay: f64,
    /// How the learning rate goes on after the warm-up.
    pub schedule: LearningRateSchedule,
    /// Steps over which the learning rate rises from 0 in a line.
    pub warmup_steps: u32,
    /// Epochs after which a falling learning rate is 0; 0 for `n_epochs`.
    pub decay_epochs: u32,
    /// Gradients whose norm over all weights is larger are scaled down to it; 0 for never (Pascanu et al., ICML 2013).
    pub max_grad_norm: f64,
    /// Samples a step.
    pub batch_size: NonZeroU32,
    /// Passes over the training samples, at most where validation may stop them.
    pub n_epochs: NonZeroU32,
    /// Epochs without a smaller log loss on validation, of 1,000 steps in all at least, before training stops.
    pub patience: NonZeroU32,
}

impl Default for FieldConfig {
    fn default() -> Self {
        let positive = |n: u32| NonZeroU32::new(n).expect("the defaults are not 0");
        Self {
            numbers: Numbers::Both,
            n_buckets: 16,
            min_count: positive(2), // one row alone says nothing of its text
            n_dims: positive(8),
            hidden: vec![positive(64), positive(32)],
            n_cross: positive(2),
            cross_rank: 0,
            max_history: positive(50),
            attention_hidden: vec![positive(32), positive(16)], // 80 and 40 in the paper, for vectors twice as long
            dropout: 0.2,
            learning_rate: 1e-3,
            weight_decay: 0.1,
            schedule: LearningRateSchedule::Constant,
            warmup_steps: 0,
            decay_epochs: 0,
            max_grad_norm: 0.0,
            batch_size: positive(256),
            n_epochs: positive(50),
            patience: positive(3),
        }
    }
}

/// A model over fields.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldSpec {
    /// Which.
    pub arrangement: Arrangement,
    /// Its hyperparameters; those that it does not have are at their defaults.
    pub config: FieldConfig,
}

/// What `tune` varies.
const SEARCH_SPACE: &[Parameter] = &[
    Parameter::log("learning_rate", 1e-4, 3e-2),
    Parameter::log("weight_decay", 1e-5, 1.0),
    Parameter::log_int("n_buckets", 4, 64),
    Parameter::log_int("batch_size", 64, 2048),
];

/// What `tune` varies of a network.
const NETWORK_SEARCH_SPACE: &[Parameter] = &[
    Parameter::log("learning_rate", 1e-4, 3e-2),
    Parameter::log("weight_decay", 1e-5, 1.0),
    Parameter::log_int("n_buckets", 4, 64),
    Parameter::log_int("batch_size", 64, 2048),
    Parameter::log_int("n_dims", 2, 64),
    Parameter::float("dropout", 0.0, 0.6),
];

/// What `tune` varies of a factorization machine.
const MACHINE_SEARCH_SPACE: &[Parameter] = &[
    Parameter::log("learning_rate", 1e-4, 3e-2),
    Parameter::log("weight_decay", 1e-5, 1.0),
    Parameter::log_int("n_buckets", 4, 64),
    Parameter::log_int("batch_size", 64, 2048),
    Parameter::log_int("n_dims", 2, 64),
];

impl FieldSpec {
    /// The defaults with `keys` (a JSON object or null) in their place.
    ///
    /// # Errors
    /// [`ModelError::UnknownKey`] for one that the arrangement does not have, [`ModelError::Hyperparameter`].
    pub fn from_keys(arrangement: Arrangement, keys: &Value) -> Result<Self, ModelError> {
        let model = arrangement.name();
        let own = own_keys(arrangement, &arrangement.defaults());
        let foreign =
            keys.as_object().and_then(|keys| keys.keys().find(|key| !own.contains_key(*key)));
        if let Some(key) = foreign {
            let (key, suggestion) = (key.clone(), nearest(key, own.keys().map(String::as_str)));
            let known = own.keys().cloned().collect();
            return Err(ModelError::UnknownKey { model, key, suggestion, known });
        }
        let config = parse_keys_of(model, &arrangement.defaults(), keys)?;
        let spec = Self { arrangement, config };
        spec.check()?;
        Ok(spec)
    }

    /// Refuses values outside of their ranges.
    ///
    /// # Errors
    /// [`ModelError::Hyperparameter`].
    pub fn check(&self) -> Result<(), ModelError> {
        let Self { arrangement, config } = self;
        let refuse = |name: &str, reason: String| {
            Err(ModelError::hyperparameter(arrangement.name(), name, reason))
        };
        if !(0.0..1.0).contains(&config.dropout) {
            return refuse("dropout", format!("{} is not in 0.0..1.0", config.dropout));
        }
        if !(2..=4096).contains(&config.n_buckets) {
            return refuse("n_buckets", format!("{} is not in 2..=4096", config.n_buckets));
        }
        // A bound, since sizes in a model file are read by anyone.
        let sizes = config.hidden.iter().chain([&config.n_dims]);
        if let Some(size) = sizes.into_iter().find(|size| size.get() > 1 << 16) {
            return refuse("hidden", format!("{size} columns are more than 65,536"));
        }
        if config.attention_hidden.iter().any(|size| size.get() > 1 << 16)
            || config.attention_hidden.len() > 64
        {
            return refuse("attention_hidden", "more than 64 layers or 65,536 columns".into());
        }
        if config.max_history.get() > 1 << 16 {
            return refuse("max_history", format!("{} is more than 65,536", config.max_history));
        }
        if config.hidden.len() > 64 || config.n_cross.get() > 64 {
            return refuse("hidden", "more than 64 layers".into());
        }
        if config.cross_rank > 1 << 16 {
            return refuse("cross_rank", format!("{} is more than 65,536", config.cross_rank));
        }
        self.optimizer().check(arrangement.name())
    }

    pub(super) fn optimizer(&self) -> OptimizerConfig {
        let config = &self.config;
        OptimizerConfig {
            learning_rate: config.learning_rate,
            weight_decay: config.weight_decay,
            schedule: config.schedule,
            warmup_steps: config.warmup_steps,
            decay_epochs: config.decay_epochs,
            max_grad_norm: config.max_grad_norm,
        }
    }

    /// The network for samples of a layout.
    pub(super) fn network(&self, layout: &SampleLayout) -> FieldNetworkConfig {
        let Self { arrangement, config } = self;
        let sizes = |sizes: &[NonZeroU32]| sizes.iter().map(|size| size.get() as usize).collect();
        let n_dims = if *arrangement == Arrangement::Lr { 0 } else { config.n_dims.get() };
        let is_crossed = *arrangement == Arrangement::DcnV2;
        FieldNetworkConfig {
            n_rows: layout.n_rows(),
            n_fields: layout.fields.len(),
            n_dense: layout.n_dense,
            n_dims: n_dims as usize,
            linear: arrangement.has_linear(),
            interactions: arrangement.interactions(),
            n_cross: if is_crossed { config.n_cross.get() as usize } else { 0 },
            cross_rank: (config.cross_rank > 0).then_some(config.cross_rank as usize),
            hidden: arrangement.has_perceptron().then(|| sizes(&config.hidden)),
            dropout: config.dropout as f32,
            histories: layout.histories.clone(),
            attention_hidden: sizes(&config.attention_hidden),
            conversion: *arrangement == Arrangement::Esmm,
        }
    }

    /// Refuses training samples of which no conversion can be learned.
    fn check_conversions(&self, train: &EncodedSamples) -> Result<(), ModelError> {
        let outcomes = train.labels().iter().zip(train.conversions());
        let known = outcomes.filter(|(click, outcome)| **click == 1.0 && !outcome.is_nan());
        let (n_known, n_positive) = known.fold((0, 0), |(n, n_positive), (_, outcome)| {
            (n + 1, n_positive + usize::from(*outcome == 1.0))
        });
        match n_positive == 0 || n_positive == n_known {
            false => Ok(()),
            true => {
                let reason = format!(
                    "of {n_known} training rows whose first label is 1 and whose second is known, {n_positive} have 1 for it too, so that there \
                     is nothing to tell apart"
                );
                Err(ModelError::NotForTable { model: self.name(), reason })
            }
        }
    }
}

fn to_object(config: &FieldConfig) -> Map<String, Value> {
    match serde_json::to_value(config).expect("numbers and names in a struct are JSON") {
        Value::Object(keys) => keys,
        _ => unreachable!("a struct is an object"),
    }
}

/// The keys that mean something to the arrangement.
fn own_keys(arrangement: Arrangement, config: &FieldConfig) -> Map<String, Value> {
    to_object(config).into_iter().filter(|(key, _)| arrangement.has(key)).collect()
}

impl OutcomeSpec for FieldSpec {
    fn name(&self) -> &'static str {
        self.arrangement.name()
    }

    fn hyperparameters(&self) -> Value {
        Value::Object(own_keys(self.arrangement, &self.config))
    }

    fn search_space(&self) -> &'static [Parameter] {
        match self.arrangement {
            Arrangement::Lr => SEARCH_SPACE,
            Arrangement::Fm | Arrangement::Ffm => MACHINE_SEARCH_SPACE,
            _ => NETWORK_SEARCH_SPACE,
        }
    }

    fn uses_threads(&self) -> bool {
        true
    }

    fn check_columns(&self, columns: &[SampleColumn]) -> Result<(), ModelError> {
        let n_labels = columns.iter().filter(|column| column.role == Role::Label).count();
        let reason = match self.arrangement {
            Arrangement::Din if features::histories(columns).next().is_none() => {
                "no list is the history of a category column that models may learn from; `mlp` is the same without histories"
            }
            Arrangement::Esmm if n_labels < 2 => {
                "it has one label column; a second one has to say what came of each row whose first label is 1, such as a purchase \
                 after a click"
            }
            _ => return Ok(()),
        };
        Err(ModelError::NotForTable { model: self.name(), reason: reason.to_owned() })
    }

    fn features(&self, columns: &[SampleColumn], span_ms: i64) -> FeatureSpec {
        let FieldConfig { numbers, n_buckets, min_count, max_history, .. } = self.config;
        let max_history = (self.arrangement == Arrangement::Din).then_some(max_history.get());
        let min_count = min_count.get().into();
        Encoding { numbers, n_buckets, min_count, max_history }.spec(columns, span_ms)
    }

    /// Weights, two moments, gradients and the best weights so far, and what a batch leaves behind. Of `ffm`, weights are
    /// `n_rows (n_fields - 1) n_dims`: they grow with the square of the columns.
    fn needed_bytes(&self, samples: &EncodedSamples) -> u64 {
        let network = self.network(samples.layout());
        let in_tables = network.n_table_values();
        let in_layers = network.n_values().saturating_sub(in_tables);
        let a_sample = network.n_values_of_sample(samples.max_tokens() as u64);
        let batch = u64::from(self.config.batch_size.get()).saturating_mul(a_sample);
        in_tables
            .saturating_mul(4)
            .saturating_add(in_layers.saturating_mul(14))
            .saturating_add(batch)
            .saturating_mul(4)
    }

    fn fit(
        &self,
        train: &EncodedSamples,
        validation: &EncodedSamples,
        identity: &str,
        context: &FitContext<'_>,
    ) -> Result<(Box<dyn OutcomeModel>, FitRecord), ModelError> {
        if self.arrangement == Arrangement::Esmm {
            self.check_conversions(train)?;
        }
        let (network, record) = fit::fit(self, train, validation, identity, context)?;
        let layout = train.layout().clone();
        let model = field_model::FieldModel { spec: self.clone(), layout, network };
        Ok((Box::new(model), record))
    }
}
