//! What is minimized, and its hyperparameters.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::super::contract::{FitContext, FitRecord};
use super::super::interactions::Interactions;
use super::super::mlp::HiddenActivation;
use super::super::neighbors::Weighting;
use super::super::search_space::Parameter;
use super::super::trained::{TrainedConfig, trained_spec};
use super::super::view::TrainingView;
use super::{NeuMf, fit};
use crate::error::ModelError;
use crate::training::{LearningRateSchedule, OptimizerConfig};

pub(super) const NAME: &str = "neumf";

/// Neural matrix factorization with its hyperparameters.
///
/// Users and items have two vectors each, `p^G, q^G` and `p^M, q^M`. The logit of a pair is
///
/// `h · (p^G_u ⊙ q^G_i) + MLP([p^M_u, q^M_i])`, where `MLP` ends in one column,
///
/// that is generalized matrix factorization and a perceptron, joined in one output (equations 9 to 12). Trained by binary
/// cross-entropy (equation 7) on the pairs of users and items that they chose, each with `n_negatives` items that the user did not choose,
/// drawn evenly in each step, and Adam.
///
/// A history is answered like a user of the training part whose vectors are looked for with items and network held fixed: in
/// `fold_in_steps` steps from the mean of the users' vectors, on the same loss over the distinct items of the history and
/// reference items, which are drawn once, with a normal prior on the vectors that has the mean and spread of the
/// users' and counts as `fold_in_prior` events. Users of the training part are answered in the same way.
///
/// Source: He, Liao, Zhang, Nie, Hu and Chua, *Neural Collaborative Filtering*, WWW 2017, equations 7 to 12. We differ: both parts are trained
/// together from the first step, without a first training of each alone (section 3.4.1), and users are folded in. Rendle, Krichene, Zhang and
/// Anderson, *Neural Collaborative Filtering vs. Matrix Factorization Revisited*, RecSys 2020, find well-tuned matrix factors better.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NeuMfConfig {
    /// Columns of the vectors that are multiplied.
    pub n_factors: NonZeroU32,
    /// Columns of the vectors that the perceptron sees.
    pub mlp_factors: NonZeroU32,
    /// Columns of each hidden layer, one at least.
    pub hidden: Vec<NonZeroU32>,
    /// Function after each hidden layer.
    pub activation: HiddenActivation,
    /// Share of the hidden layers' values that are left out at random while training, in `0.0..1.0`.
    pub dropout: f64,
    /// Newest events of a history that count.
    pub max_history: NonZeroU32,
    /// Items that were not chosen for each that was.
    pub n_negatives: NonZeroU32,
    /// Step size of Adam.
    pub learning_rate: f64,
    /// Decoupled weight decay (AdamW), of tables in the rows that a step touches.
    pub weight_decay: f64,
    /// Chosen pairs a step.
    pub batch_size: NonZeroU32,
    /// Passes over the pairs, at most where validation may stop them.
    pub n_epochs: NonZeroU32,
    /// Epochs without a better NDCG@10 on validation before training stops.
    pub patience: NonZeroU32,
    /// Items that a history is compared with.
    pub n_reference: NonZeroU32,
    /// Events that the users' mean and spread count as against those of a history.
    pub fold_in_prior: f64,
    /// Steps to the vectors of a history.
    pub fold_in_steps: NonZeroU32,
}

impl Default for NeuMfConfig {
    fn default() -> Self {
        let positive = |n: u32| NonZeroU32::new(n).expect("the defaults are not 0");
        Self {
            n_factors: positive(64), // as in `bpr`
            mlp_factors: positive(32),
            hidden: vec![positive(32), positive(16)], // a tower that halves, as in the paper
            activation: HiddenActivation::Relu,
            dropout: 0.0,
            max_history: positive(100),
            n_negatives: positive(4), // as in the paper
            learning_rate: 3e-3,
            weight_decay: 0.1, // on validation of Amazon Beauty .026, against .019 with 0.01 and 32 factors
            batch_size: positive(256),
            n_epochs: positive(40),
            patience: positive(5),
            n_reference: positive(256),
            // On validation of Amazon Beauty 0.1 is twice as good as 1, on MovieLens 100k a tenth worse.
            fold_in_prior: 0.1,
            fold_in_steps: positive(12), // 20 and 50 give no more
        }
    }
}

impl NeuMfConfig {
    /// Refuses values outside of their ranges.
    ///
    /// # Errors
    /// [`ModelError::Hyperparameter`].
    pub fn check(&self) -> Result<(), ModelError> {
        let refuse =
            |name: &str, reason: String| Err(ModelError::hyperparameter(NAME, name, reason));
        self.optimizer().check(NAME)?;
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse("dropout", format!("{} is not in 0.0..1.0", self.dropout));
        }
        if !(self.fold_in_prior as f32 > 0.0 && (self.fold_in_prior as f32).is_finite()) {
            let reason = format!("{} is not a positive number", self.fold_in_prior);
            return refuse("fold_in_prior", reason);
        }
        if self.hidden.is_empty() {
            return refuse("hidden", "there is no hidden layer".to_owned());
        }
        // Bounds, since sizes in a model file are read by anyone.
        let sizes = self.hidden.iter().map(|size| ("hidden", size));
        let others = [
            ("n_factors", &self.n_factors),
            ("mlp_factors", &self.mlp_factors),
            ("n_negatives", &self.n_negatives),
            ("n_reference", &self.n_reference),
            ("fold_in_steps", &self.fold_in_steps),
        ];
        match sizes.chain(others).find(|(_, size)| size.get() > 1 << 12) {
            Some((name, size)) => refuse(name, format!("{size} is more than 4,096")),
            None => Ok(()),
        }
    }

    pub(super) fn optimizer(&self) -> OptimizerConfig {
        OptimizerConfig {
            learning_rate: self.learning_rate,
            weight_decay: self.weight_decay,
            schedule: LearningRateSchedule::Constant,
            warmup_steps: 0,
            decay_epochs: 0,
            max_grad_norm: 0.0,
        }
    }

    /// Columns of a user's or an item's row: those that are multiplied, then those that the perceptron sees.
    pub(super) fn n_cols(&self) -> usize {
        (self.n_factors.get() + self.mlp_factors.get()) as usize
    }

    /// Trains on `view`.
    ///
    /// # Errors
    /// As [`ModelSpec::fit`](crate::recommend::ModelSpec::fit).
    pub fn fit(
        &self,
        view: &TrainingView<'_>,
        context: &FitContext<'_>,
    ) -> Result<(NeuMf, FitRecord), ModelError> {
        self.checked_fit(view, context)
    }
}

/// What `tune` varies.
const SEARCH_SPACE: &[Parameter] = &[
    Parameter::choice("n_factors", &["16", "32", "64", "128"]),
    Parameter::choice("mlp_factors", &["16", "32", "64"]),
    Parameter::log_int("n_negatives", 2, 16),
    Parameter::float("dropout", 0.0, 0.6),
    Parameter::log("learning_rate", 1e-4, 1e-2),
    Parameter::log("weight_decay", 1e-3, 1.0),
    Parameter::log("fold_in_prior", 0.1, 30.0),
];

impl TrainedConfig for NeuMfConfig {
    type Model = NeuMf;

    const NAME: &'static str = NAME;

    const SEARCH_SPACE: &'static [Parameter] = SEARCH_SPACE;

    const IF_TOO_LARGE: &'static str = "lower `n_factors` and `mlp_factors`";

    fn check(&self) -> Result<(), ModelError> {
        self.check()
    }

    /// Vectors, two moments, the best vectors so far and a checkpoint's, the item side made ready for scoring, the pairs in
    /// both forms, the gradients of a batch in its tiles, and the perceptron with its activations.
    fn needed_bytes(&self, view: &TrainingView<'_>) -> u64 {
        let (n_users, n_items) = (view.users().count() as u64, view.n_item_rows() as u64);
        let row = self.n_cols() as u64 * 4;
        let sizes: Vec<u64> = std::iter::once(2 * u64::from(self.mlp_factors.get()))
            .chain(self.hidden.iter().map(|size| u64::from(size.get())))
            .collect();
        let in_layers: u64 = sizes.windows(2).map(|pair| pair[0] * pair[1]).sum();
        let first = sizes.get(1).copied().unwrap_or_default();
        let ready = (u64::from(self.n_factors.get()) + first) * 4;
        let n_examples = u64::from(self.batch_size.get()) * (1 + u64::from(self.n_negatives.get()));
        let n_buffers = fit::N_BUFFERS as u64;
        Interactions::needed_bytes(view, Weighting::Binary)
            + view.n_events() * 8
            + (5 * (n_users + n_items)).saturating_mul(row)
            + n_items.saturating_mul(ready + 4 * n_buffers)
            + n_examples.saturating_mul(4 * row)
            + (n_buffers * fit::TILE_ROWS as u64 * 4 * 6).saturating_mul(sizes.iter().sum())
            + in_layers.saturating_mul(4 * (6 + n_buffers))
    }

    fn train(
        &self,
        view: &TrainingView<'_>,
        context: &FitContext<'_>,
    ) -> Result<(NeuMf, FitRecord), ModelError> {
        fit::fit(self, view, context)
    }

    fn with_epochs(&self, n_epochs: NonZeroU32) -> Self {
        Self { n_epochs, ..self.clone() }
    }
}

trained_spec!(NeuMfConfig);
