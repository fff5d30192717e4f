//! What is minimized, and its hyperparameters.

use std::num::NonZeroU32;

use forecart_nn::{Optimizer, Sgd};
use serde::{Deserialize, Serialize};

use super::super::contract::{FitContext, FitRecord};
use super::super::early_stopping::N_SCORER_TABLES;
use super::super::interactions::Interactions;
use super::super::neighbors::Weighting;
use super::super::search_space::Parameter;
use super::super::trained::{TrainedConfig, trained_spec};
use super::super::view::TrainingView;
use super::{Bpr, fit};
use crate::error::ModelError;
use crate::training::{LearningRateSchedule, OptimizerConfig};

pub(super) const NAME: &str = "bpr";

/// Which items a user did not choose are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BprNegatives {
    /// Each item as often.
    #[default]
    Uniform,
    /// An item as often as users chose it, which asks more of popular ones (Rendle and Freudenthaler, WSDM 2014, section 3).
    Popularity,
}

/// How factors are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BprOptimizer {
    /// Adam on the mean of a batch.
    #[default]
    Adam,
    /// A step of stochastic gradient descent for each pair, as in the paper; the steps of a batch all begin where the batch does.
    Sgd,
}

/// Bayesian personalized ranking by matrix factors, with its hyperparameters.
///
/// With the factors `w_u` of users, `h_i` of items and biases `b_i`, the score is `s_ui = w_u · h_i + b_i`, and the mean over the pairs of a user
/// and a chosen item `i` of `-ln σ(s_ui - s_uj)` is minimized, with another item `j` that the user did not choose, drawn evenly in each step.
///
/// The factors of a history are those that minimize
/// `mean over its items i and reference items j of -ln σ(s_i - s_j) + ½ fold_in_l2 |w|²`, approached in `fold_in_steps` steps of the accelerated
/// gradient from 0; the reference items are drawn once. Users of the training part are answered in the same way: their own
/// factors served to find those of the items.
///
/// Source: Rendle, Freudenthaler, Gantner and Schmidt-Thieme, UAI 2009, section 4.3.1; accelerated gradient as in Nesterov, *Introductory Lectures
/// on Convex Optimization*, 2004, scheme 2.2.11. We differ: steps are of batches and of Adam with decoupled decay, not of single triples and SGD with L2.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BprConfig {
    /// Columns of an item's vector.
    pub n_factors: NonZeroU32,
    /// Newest events of a history that count.
    pub max_history: NonZeroU32,
    /// Which items a user did not choose are drawn, in training and as reference items.
    pub negatives: BprNegatives,
    /// How factors are moved.
    pub optimizer: BprOptimizer,
    /// Step size.
    pub learning_rate: f64,
    /// Decoupled weight decay (AdamW) of the rows that a step of Adam touches.
    pub weight_decay: f64,
    /// Regularization: `½ l2 (|w_u|² + |h_i|² + b_i² + |h_j|² + b_j²)` is added for each pair.
    pub l2: f64,
    /// Pairs a step.
    pub batch_size: NonZeroU32,
    /// Passes over the pairs, at most where validation may stop them.
    pub n_epochs: NonZeroU32,
    /// Epochs without a better NDCG@10 on validation before training stops.
    pub patience: NonZeroU32,
    /// Items that a history is compared with.
    pub n_reference: NonZeroU32,
    /// Regularization of the factors of a history.
    pub fold_in_l2: f64,
    /// Steps to the factors of a history.
    pub fold_in_steps: NonZeroU32,
}

impl Default for BprConfig {
    fn default() -> Self {
        let positive = |n: u32| NonZeroU32::new(n).expect("the defaults are not 0");
        Self {
            n_factors: positive(64), // as in `ials`
            max_history: positive(100),
            negatives: BprNegatives::Uniform,
            optimizer: BprOptimizer::Adam,
            learning_rate: 5e-3,
            weight_decay: 0.01,
            l2: 0.0,
            batch_size: positive(1024),
            n_epochs: positive(100),
            patience: positive(5),
            n_reference: positive(256), // enough that another draw moves scores little
            fold_in_l2: 0.01,
            fold_in_steps: positive(20),
        }
    }
}

impl BprConfig {
    /// Refuses values outside of their ranges.
    ///
    /// # Errors
    /// [`ModelError::Hyperparameter`].
    pub fn check(&self) -> Result<(), ModelError> {
        self.optimizer().check(NAME)?;
        if !(self.fold_in_l2 as f32 > 0.0 && (self.fold_in_l2 as f32).is_finite()) {
            let reason = format!("{} is not a positive number", self.fold_in_l2);
            return Err(ModelError::hyperparameter(NAME, "fold_in_l2", reason));
        }
        if !(self.l2 >= 0.0 && (self.l2 as f32).is_finite()) {
            let reason = format!("{} is not a number from 0 up", self.l2);
            return Err(ModelError::hyperparameter(NAME, "l2", reason));
        }
        // A bound, since sizes in a model file are read by anyone.
        for (name, size) in [
            ("n_factors", self.n_factors),
            ("n_reference", self.n_reference),
            ("fold_in_steps", self.fold_in_steps),
        ] {
            if size.get() > 1 << 12 {
                return Err(ModelError::hyperparameter(
                    NAME,
                    name,
                    format!("{size} is more than 4,096"),
                ));
            }
        }
        Ok(())
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

    /// Without state yet.
    pub(super) fn new_optimizer(&self) -> Result<Optimizer, ModelError> {
        match self.optimizer {
            BprOptimizer::Adam => self.optimizer().build(NAME),
            BprOptimizer::Sgd => {
                let learning_rate = self.learning_rate as f32;
                Optimizer::new(Sgd { learning_rate, ..Sgd::default() })
                    .map_err(ModelError::training(NAME, None))
            }
        }
    }

    /// Fits the factors to `view`.
    ///
    /// # Errors
    /// As [`ModelSpec::fit`](crate::recommend::ModelSpec::fit).
    pub fn fit(
        &self,
        view: &TrainingView<'_>,
        context: &FitContext<'_>,
    ) -> Result<(Bpr, FitRecord), ModelError> {
        self.checked_fit(view, context)
    }
}

/// What `tune` varies.
const SEARCH_SPACE: &[Parameter] = &[
    Parameter::choice("n_factors", &["16", "32", "64", "128"]),
    Parameter::choice("negatives", &["uniform", "popularity"]),
    Parameter::log("learning_rate", 5e-4, 0.05),
    Parameter::log("weight_decay", 1e-3, 3.0),
    Parameter::log("fold_in_l2", 1e-4, 1.0),
];

impl TrainedConfig for BprConfig {
    type Model = Bpr;

    const NAME: &'static str = NAME;

    const SEARCH_SPACE: &'static [Parameter] = SEARCH_SPACE;

    const IF_TOO_LARGE: &'static str = "lower `n_factors`";

    fn check(&self) -> Result<(), ModelError> {
        self.check()
    }

    /// Factors, two moments and the best factors so far, what validation holds, the pairs in both forms, and the gradients
    /// of a batch in its tiles.
    fn needed_bytes(&self, view: &TrainingView<'_>) -> u64 {
        let (n_users, n_items) = (view.users().count() as u64, view.n_item_rows() as u64);
        let row = (u64::from(self.n_factors.get()) + 1) * 4;
        Interactions::needed_bytes(view, Weighting::Binary)
            + view.n_events() * 8
            + (4 * n_users + (5 + N_SCORER_TABLES) * n_items).saturating_mul(row)
            + u64::from(self.batch_size.get()).saturating_mul(6 * row)
    }

    fn train(
        &self,
        view: &TrainingView<'_>,
        context: &FitContext<'_>,
    ) -> Result<(Bpr, FitRecord), ModelError> {
        fit::fit(self, view, context)
    }

    fn with_epochs(&self, n_epochs: NonZeroU32) -> Self {
        Self { n_epochs, ..*self }
    }
}

trained_spec!(BprConfig);
