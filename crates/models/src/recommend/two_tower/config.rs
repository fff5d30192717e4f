//! What the model computes, and its hyperparameters.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::super::attributes::Attributes;
use super::super::contract::{FitContext, FitRecord};
use super::super::early_stopping::N_SCORER_TABLES;
use super::super::mlp::HiddenActivation;
use super::super::search_space::Parameter;
use super::super::trained::{TrainedConfig, trained_spec};
use super::super::view::TrainingView;
use super::{TwoTower, fit};
use crate::error::ModelError;
use crate::training::{LearningRateSchedule, OptimizerConfig};

pub(super) const NAME: &str = "two-tower";

/// The two-tower model with its hyperparameters.
///
/// Each item has an input `x`: its learned embedding plus a projection of its attributes (dense ones by a matrix, sparse ones by the mean of their
/// embeddings). With `b` the mean of the inputs of the newest `max_history` events, weighted by `decay^k` for the event `k` steps
/// back, `x_n` that of the newest, and `c` the context, how many events there are on a logarithmic scale from 0 to 1:
///
/// `u = MLP_user([b, x_n, c])`, `v_i = MLP_item(x_i)`, score `u · v_i / temperature`,
///
/// where `residual` adds `b` and `x_i` to what the layers give and `normalize` brings `u` and `v_i` to length 1.
///
/// Trained to predict each event of a sequence from those before it (or each of the target event, where the dataset has one), by softmax
/// cross-entropy over the labels of the batch and `n_negatives` items drawn evenly beside them. The logarithm of the probability that an item is
/// among these is subtracted from its logit (`log-Q correction`), with the share of each item among the labels counted before.
///
/// With `id_dropout`, labels and negatives are now and then shown to their tower without their own embedding, so that attributes alone
/// have to do. An item without an event has no embedding of its own but the attributes', and gets its vector from them.
///
/// Source: Yi et al., *Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations*, RecSys 2019, section 3; the user tower as in
/// Covington, Adams and Sargin, RecSys 2016, section 3.2; drawn negatives as in Yang et al., WWW 2020 companion; the left-out
/// embedding as in Volkovs, Yu and Poutanen, NIPS 2017. We differ: frequencies are counted, not estimated from a stream; an
/// item that is drawn twice is one candidate, and the correction is that of being drawn at all; layers may add to the input (He et al.,
/// CVPR 2016). Datasets carry no attributes of users, so there are none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TwoTowerConfig {
    /// Columns of an item's input and of both vectors.
    pub d_model: NonZeroU32,
    /// Columns of each hidden layer of the users' tower.
    pub user_hidden: Vec<NonZeroU32>,
    /// Columns of each hidden layer of the items' tower.
    pub item_hidden: Vec<NonZeroU32>,
    /// Function after each hidden layer.
    pub activation: HiddenActivation,
    /// Whether layers add to their input.
    pub residual: bool,
    /// Whether vectors have the length 1.
    pub normalize: bool,
    /// What scores are divided by.
    pub temperature: f64,
    /// Newest events that the users' tower sees.
    pub max_history: NonZeroU32,
    /// How much an event weighs against the one after it, in `0.0..=1.0`.
    pub decay: f64,
    /// Share of the values of the users' input and of all hidden layers that are left out at random while training, in `0.0..1.0`.
    pub dropout: f64,
    /// Share of the candidates that are shown without their own embedding while training, in `0.0..1.0`, where items have attributes.
    pub id_dropout: f64,
    /// Step size of Adam.
    pub learning_rate: f64,
    /// Decoupled weight decay (AdamW), of tables in the rows that a step touches.
    pub weight_decay: f64,
    /// How the learning rate goes on after the warm-up.
    pub schedule: LearningRateSchedule,
    /// Steps over which the learning rate rises from 0 in a line.
    pub warmup_steps: u32,
    /// Epochs after which a falling learning rate is 0; 0 for `n_epochs`.
    pub decay_epochs: u32,
    /// Gradients whose norm over all weights is larger are scaled down to it; 0 for never.
    pub max_grad_norm: f64,
    /// Events a step.
    pub batch_size: NonZeroU32,
    /// Items drawn beside the labels of a step; 0 for none.
    pub n_negatives: u32,
    /// Passes over the training events, at most where validation may stop them.
    pub n_epochs: NonZeroU32,
    /// Epochs without a better NDCG@10 on validation, of 1,000 steps in all at least, before training stops.
    pub patience: NonZeroU32,
}

impl Default for TwoTowerConfig {
    fn default() -> Self {
        let positive = |n: u32| NonZeroU32::new(n).expect("the defaults are not 0");
        Self {
            d_model: positive(64), // as in `mlp`
            user_hidden: vec![positive(128)],
            item_hidden: vec![positive(128)],
            activation: HiddenActivation::Relu,
            residual: true,
            normalize: true,
            temperature: 0.1, // on validation of Amazon Beauty, better than 0.05
            max_history: positive(20), // with a decay of 0.85, the 20th weighs 0.05
            decay: 0.85,
            dropout: 0.3,
            id_dropout: 0.1,
            learning_rate: 3e-3,
            weight_decay: 0.0,
            schedule: LearningRateSchedule::Constant,
            warmup_steps: 0,
            decay_epochs: 0,
            max_grad_norm: 0.0,
            batch_size: positive(512),
            n_negatives: 1024,
            n_epochs: positive(40),
            patience: positive(3),
        }
    }
}

impl TwoTowerConfig {
    /// Refuses values outside of their ranges.
    ///
    /// # Errors
    /// [`ModelError::Hyperparameter`].
    pub fn check(&self) -> Result<(), ModelError> {
        let refuse = |name: &str, value: f64, range: &str| {
            Err(ModelError::hyperparameter(NAME, name, format!("{value} is not {range}")))
        };
        self.optimizer().check(NAME)?;
        if !(0.0..=1.0).contains(&self.decay) {
            return refuse("decay", self.decay, "in 0.0..=1.0");
        }
        for (name, share) in [("dropout", self.dropout), ("id_dropout", self.id_dropout)] {
            if !(0.0..1.0).contains(&share) {
                return refuse(name, share, "in 0.0..1.0");
            }
        }
        // In f32 as it is used, and so that a score stays finite.
        if !(1e-3..=1e3).contains(&self.temperature) {
            return refuse("temperature", self.temperature, "in 0.001..=1000");
        }
        // A bound, since sizes in a model file are read by anyone.
        let sizes = self.user_hidden.iter().chain(&self.item_hidden).chain([&self.d_model]);
        if let Some(size) = sizes.into_iter().find(|size| size.get() > 1 << 16) {
            let reason = format!("{size} columns are more than 65,536");
            return Err(ModelError::hyperparameter(NAME, "d_model", reason));
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

    /// Trains on `view`.
    ///
    /// # Errors
    /// As [`ModelSpec::fit`](crate::recommend::ModelSpec::fit).
    pub fn fit(
        &self,
        view: &TrainingView<'_>,
        context: &FitContext<'_>,
    ) -> Result<(TwoTower, FitRecord), ModelError> {
        self.checked_fit(view, context)
    }
}

/// What `tune` varies.
const SEARCH_SPACE: &[Parameter] = &[
    Parameter::log_int("d_model", 16, 256),
    Parameter::log("temperature", 0.03, 1.0),
    Parameter::log("learning_rate", 3e-4, 1e-2),
    Parameter::float("dropout", 0.0, 0.8),
    Parameter::float("id_dropout", 0.0, 0.5),
    Parameter::float("decay", 0.3, 1.0),
    Parameter::log("weight_decay", 1e-6, 1e-1),
    Parameter::log_int("batch_size", 128, 2048),
    Parameter::log_int("n_negatives", 64, 4096),
];

impl TrainedConfig for TwoTowerConfig {
    type Model = TwoTower;

    const NAME: &'static str = NAME;

    const SEARCH_SPACE: &'static [Parameter] = SEARCH_SPACE;

    const IF_TOO_LARGE: &'static str = "lower `d_model` or `batch_size`";

    fn check(&self) -> Result<(), ModelError> {
        self.check()
    }

    /// Embeddings, two moments, the best ones so far and a checkpoint's, those of attributes, the items' vectors, what validation holds,
    /// 32 bytes an event, and inputs, activations and logits of a step with the gradients of its tiles.
    fn needed_bytes(&self, view: &TrainingView<'_>) -> u64 {
        let n_items = view.n_item_rows() as u64;
        let d = u64::from(self.d_model.get());
        let n_rows = u64::from(self.batch_size.get());
        let n_candidates = (n_rows + u64::from(self.n_negatives)).min(n_rows + n_items);
        let sum = |n_in: u64, hidden: &[NonZeroU32]| {
            let mut sizes = vec![n_in];
            sizes.extend(hidden.iter().map(|size| u64::from(size.get())));
            sizes.push(d);
            let in_layers: u64 = sizes.windows(2).map(|pair| pair[0] * pair[1]).sum();
            [in_layers, sizes.iter().sum::<u64>()]
        };
        let [user_layers, user_sizes] = sum(2 * d + 1, &self.user_hidden);
        let [item_layers, item_sizes] = sum(d, &self.item_hidden);
        let n_tiles = |rows: u64| rows.div_ceil(super::tower::TILE_ROWS as u64);
        let of_towers =
            user_layers * (6 + n_tiles(n_rows)) + item_layers * (6 + n_tiles(n_candidates));
        // Of a step, or of a block of items whose vectors are computed.
        let of_rows = n_rows * 4 * user_sizes
            + n_candidates * 2 * 144
            + n_candidates.max(n_items.min(super::network::BLOCK_ITEMS as u64)) * 4 * item_sizes;
        (n_items * d * 4)
            .saturating_mul(6 + N_SCORER_TABLES)
            .saturating_add(Attributes::needed_bytes(view.item_features(), n_items, d))
            .saturating_add(view.n_events() * 32)
            .saturating_add(4 * (of_towers + of_rows))
    }

    fn train(
        &self,
        view: &TrainingView<'_>,
        context: &FitContext<'_>,
    ) -> Result<(TwoTower, FitRecord), ModelError> {
        fit::fit(self, view, context)
    }

    fn with_epochs(&self, n_epochs: NonZeroU32) -> Self {
        let decay_epochs = self.optimizer().decay_epochs_of(self.n_epochs.get());
        Self { n_epochs, decay_epochs, ..self.clone() }
    }
}

trained_spec!(TwoTowerConfig);
