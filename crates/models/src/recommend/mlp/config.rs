//! What the model computes, and its hyperparameters.

use std::num::NonZeroU32;

use forecart_nn::Activation;
use serde::{Deserialize, Serialize};

use super::super::contract::{FitContext, FitRecord};
use super::super::early_stopping::N_SCORER_TABLES;
use super::super::search_space::Parameter;
use super::super::trained::{TrainedConfig, trained_spec};
use super::super::view::TrainingView;
use super::{Mlp, fit};
use crate::error::ModelError;
use crate::training::{LearningRateSchedule, OptimizerConfig};

pub(super) const NAME: &str = "mlp";

/// Which candidates the right item is compared with while training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SoftmaxLoss {
    /// All items where an epoch then computes at most 2·10⁸ scores (seconds on two cores), else
    /// sampled.
    #[default]
    Auto,
    /// All items.
    Full,
    /// `n_negatives` items, drawn by how often each is chosen and corrected for it.
    Sampled,
}

/// The function after each hidden layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HiddenActivation {
    /// `max(x, 0)`.
    #[default]
    Relu,
    /// GELU, tanh form.
    Gelu,
    /// Hyperbolic tangent.
    Tanh,
    /// Logistic function.
    Sigmoid,
}

impl From<HiddenActivation> for Activation {
    fn from(activation: HiddenActivation) -> Self {
        match activation {
            HiddenActivation::Relu => Self::Relu,
            HiddenActivation::Gelu => Self::GeluTanh,
            HiddenActivation::Tanh => Self::Tanh,
            HiddenActivation::Sigmoid => Self::Sigmoid,
        }
    }
}

/// The multi-layer perceptron with its hyperparameters.
///
/// Each item has one vector `v`, its learned embedding plus a projection of its features (dense
/// ones by a matrix, sparse ones by the mean of their embeddings), used for input and output alike.
/// With `b` the mean of the vectors of the newest `max_history` events, weighted by `decay^k` for
/// the event `k` steps back, and `v_n` that of the newest:
///
/// `h = b + MLP([b, v_n])`, score of an item `= h · v + bias`.
///
/// Trained to predict each event of a sequence from those before it (or each of the target event, where the dataset has
/// one), by softmax cross-entropy and Adam, on batches of events in an order drawn from the seed.
///
/// Source: a history as an average of embeddings and a softmax over items as in Covington, Adams
/// and Sargin, RecSys 2016, sections 3.2 and 3.3. We differ: recent events weigh more, input and
/// output share vectors (Press and Wolf, EACL 2017), and the layers add to the average instead of
/// replacing it (He et al., CVPR 2016).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MlpConfig {
    /// Columns of an item's vector.
    pub d_model: NonZeroU32,
    /// Columns of each hidden layer.
    pub hidden: Vec<NonZeroU32>,
    /// Function after each hidden layer.
    pub activation: HiddenActivation,
    /// Newest events that the network sees.
    pub max_history: NonZeroU32,
    /// How much an event weighs against the one after it, in `0.0..=1.0`.
    pub decay: f64,
    /// Share of the input's and the hidden layers' values that are left out at random while
    /// training, in `0.0..1.0`.
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
    /// Events a step.
    pub batch_size: NonZeroU32,
    /// Passes over the training events, at most where validation may stop them.
    pub n_epochs: NonZeroU32,
    /// Epochs without a better NDCG@10 on validation, of 1,000 steps in all at least, before training stops.
    pub patience: NonZeroU32,
    /// Which candidates the right item is compared with.
    pub loss: SoftmaxLoss,
    /// Candidates a step of the sampled softmax.
    pub n_negatives: NonZeroU32,
}

impl Default for MlpConfig {
    fn default() -> Self {
        let positive = |n: u32| NonZeroU32::new(n).expect("the defaults are not 0");
        Self {
            d_model: positive(64), // of the size that published models of these data have
            hidden: vec![positive(128)], // one layer: the bag has few interactions to find
            activation: HiddenActivation::Relu,
            max_history: positive(20), // with a decay of 0.85, the 20th weighs 0.05
            decay: 0.85,               // as in the sequential rules
            dropout: 0.3,              // on validation of Amazon Beauty, better than 0.5
            learning_rate: 3e-3, // on validation of Amazon Beauty, as good as 1e-3 in half the epochs
            weight_decay: 0.0,   // dropout and early stopping regularize
            schedule: LearningRateSchedule::Constant,
            warmup_steps: 0,
            decay_epochs: 0,
            max_grad_norm: 0.0,
            batch_size: positive(256), // four tiles of 64 rows keep a few cores busy
            n_epochs: positive(30),
            patience: positive(3),
            loss: SoftmaxLoss::Auto,
            n_negatives: positive(1024),
        }
    }
}

/// Scores an epoch of the full softmax may compute before [`SoftmaxLoss::Auto`] samples.
const MAX_FULL_SCORES: u64 = 200_000_000;

impl MlpConfig {
    /// Refuses values outside of their ranges.
    ///
    /// # Errors
    /// [`ModelError::Hyperparameter`].
    pub fn check(&self) -> Result<(), ModelError> {
        let refuse = |name: &str, value: f64, range: &str| {
            Err(ModelError::hyperparameter(NAME, name, format!("{value} is not {range}")))
        };
        if !(0.0..=1.0).contains(&self.decay) {
            return refuse("decay", self.decay, "in 0.0..=1.0");
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse("dropout", self.dropout, "in 0.0..1.0");
        }
        self.optimizer().check(NAME)?;
        // A bound, since sizes in a model file are read by anyone.
        let sizes = self.hidden.iter().chain([&self.d_model]);
        if let Some(size) = sizes.into_iter().find(|size| size.get() > 1 << 16) {
            let reason = format!("{size} columns are more than 65,536");
            return Err(ModelError::hyperparameter(NAME, "hidden", reason));
        }
        Ok(())
    }

    pub(super) fn optimizer(&self) -> OptimizerConfig {
        OptimizerConfig {
            learning_rate: self.learning_rate,
            weight_decay: self.weight_decay,
            schedule: self.schedule,
            warmup_steps: self.warmup_steps,
            decay_epochs: self.decay_epochs,
            max_grad_norm: self.max_grad_norm,
        }
    }

    /// Columns of the network's input, hidden layers and output.
    pub(super) fn sizes(&self) -> Vec<usize> {
        let d_model = self.d_model.get() as usize;
        let hidden = self.hidden.iter().map(|size| size.get() as usize);
        [2 * (d_model + 1)].into_iter().chain(hidden).chain([d_model]).collect()
    }

    /// Whether the softmax is over all items, for so many events and items.
    pub(super) fn is_full(&self, n_events: u64, n_items: u64) -> bool {
        match self.loss {
            SoftmaxLoss::Full => true,
            SoftmaxLoss::Sampled => false,
            SoftmaxLoss::Auto => n_events.saturating_mul(n_items) <= MAX_FULL_SCORES,
        }
    }

    /// Trains on `view`.
    ///
    /// # Errors
    /// As [`ModelSpec::fit`](crate::recommend::ModelSpec::fit).
    pub fn fit(
        &self,
        view: &TrainingView<'_>,
        context: &FitContext<'_>,
    ) -> Result<(Mlp, FitRecord), ModelError> {
        self.checked_fit(view, context)
    }
}

/// What `tune` varies.
const SEARCH_SPACE: &[Parameter] = &[
    Parameter::log_int("d_model", 16, 256),
    Parameter::log("learning_rate", 1e-4, 1e-2),
    Parameter::float("dropout", 0.0, 0.8),
    Parameter::float("decay", 0.3, 1.0),
    Parameter::log("weight_decay", 1e-6, 1e-1),
    Parameter::log_int("batch_size", 64, 1024),
];

impl TrainedConfig for MlpConfig {
    type Model = Mlp;

    const NAME: &'static str = NAME;

    const SEARCH_SPACE: &'static [Parameter] = SEARCH_SPACE;

    const IF_TOO_LARGE: &'static str = "lower `d_model` or `batch_size`";

    fn check(&self) -> Result<(), ModelError> {
        self.check()
    }

    /// Weights, two moments, the best weights so far, vectors of items with features, what validation holds, one
    /// gradient of each tile, and 24 bytes an event.
    fn needed_bytes(&self, view: &TrainingView<'_>) -> u64 {
        let n_items = view.n_item_rows() as u64;
        let n_rows = n_items + view.item_features().n_sparse() as u64;
        let n_cols = u64::from(self.d_model.get()) + 1;
        let n_tiles = u64::from(self.batch_size.get()).div_ceil(fit::TILE_ROWS as u64);
        let n_gradients = match self.is_full(view.n_events(), n_items) {
            true => n_tiles.min(16) + 1,
            false => 1,
        };
        let n_vectors = u64::from(!view.item_features().is_empty());
        let table = n_rows.saturating_mul(n_cols * 4);
        let in_layers: u64 = self.sizes().windows(2).map(|pair| (pair[0] * pair[1]) as u64).sum();
        table
            .saturating_mul(4 + n_vectors + N_SCORER_TABLES + n_gradients)
            .saturating_add(in_layers * 4 * (4 + n_tiles.min(16)))
            .saturating_add(view.n_events() * 24)
    }

    fn train(
        &self,
        view: &TrainingView<'_>,
        context: &FitContext<'_>,
    ) -> Result<(Mlp, FitRecord), ModelError> {
        fit::fit(self, view, context)
    }

    fn with_epochs(&self, n_epochs: NonZeroU32) -> Self {
        let decay_epochs = self.optimizer().decay_epochs_of(self.n_epochs.get());
        Self { n_epochs, decay_epochs, ..self.clone() }
    }
}

trained_spec!(MlpConfig);
