//! What is minimized, and its hyperparameters.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::super::contract::{FitContext, FitRecord};
use super::super::early_stopping::N_SCORER_TABLES;
use super::super::interactions::Interactions;
use super::super::neighbors::Weighting;
use super::super::search_space::Parameter;
use super::super::trained::{TrainedConfig, trained_spec};
use super::super::view::TrainingView;
use super::{Ials, fit};
use crate::error::ModelError;

pub(super) const NAME: &str = "ials";

/// How much a choice counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// 1, however often a user chose the item.
    #[default]
    Binary,
    /// The number of events.
    Count,
}

/// How the system of a user or an item is solved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IalsSolver {
    /// Cholesky up to 128 factors, conjugate gradient above.
    #[default]
    Auto,
    /// Exactly: of the system of the factors or of that of the chosen items, the smaller one.
    Cholesky,
    /// `cg_steps` steps of the conjugate gradient from where the last sweep ended (Takács, Pilászy and Tikk, RecSys 2011).
    Cg,
}

/// Implicit alternating least squares with its hyperparameters.
///
/// With the factors `w_u` of users and `h_i` of items, over all pairs of which the set `S` was chosen, it minimizes
///
/// `Σ_S c_ui (1 - w_u · h_i)² + α Σ_u Σ_i (w_u · h_i)² + Σ_u λ_u |w_u|² + Σ_i λ_i |h_i|²`
///
/// with `c` as [`Confidence`] says, `α = unobserved_weight`, `λ_u = l2 (|S_u| + α n_items)^l2_exponent` and
/// `λ_i = l2 (|S_i| + α n_users)^l2_exponent`: in turn all users for fixed items and all items for fixed users, each exactly or
/// by conjugate gradient.
///
/// The score of an item is `w · h_i` with the `w` that minimizes this for the history alone: users of the training part are
/// answered like any other.
///
/// Source: Hu, Koren and Volinsky, ICDM 2008; weights, regularization and first values as in Rendle, Krichene, Zhang and Koren, RecSys 2022.
/// The `alpha` (confidence) and `regularization` of the `implicit` package are `unobserved_weight = 1 / (alpha - 1)`,
/// `l2 = regularization / alpha`, `l2_exponent = 0` here: the same ranking.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IalsConfig {
    /// Columns of an item's vector.
    pub n_factors: NonZeroU32,
    /// Sweeps over users and items, at most where validation may stop them.
    pub n_epochs: NonZeroU32,
    /// Sweeps without a better NDCG@10 on validation before they stop.
    pub patience: NonZeroU32,
    /// How much a pair that was not chosen counts against one that was.
    pub unobserved_weight: f64,
    /// Regularization.
    pub l2: f64,
    /// How regularization grows with the number of choices of a user or item: 0 not at all, 1 in proportion.
    pub l2_exponent: f64,
    /// Standard deviation of the first values, times the square root of `n_factors`.
    pub init_scale: f64,
    /// How much a choice counts.
    pub confidence: Confidence,
    /// How a system is solved.
    pub solver: IalsSolver,
    /// Steps of the conjugate gradient.
    pub cg_steps: NonZeroU32,
}

impl Default for IalsConfig {
    fn default() -> Self {
        let positive = |n: u32| NonZeroU32::new(n).expect("the defaults are not 0");
        Self {
            n_factors: positive(128), // on validation of Amazon Beauty .043, with 64 .034, with 256 .048
            n_epochs: positive(20),   // validation stops before
            patience: positive(3),
            unobserved_weight: 0.03, // between .01 (as good on Amazon Beauty) and .1 (on MovieLens 100k)
            l2: 0.003,               // the best of the paper on MovieLens 20M
            l2_exponent: 1.0,        // the best of the paper on all its data
            init_scale: 0.1,         // as in the paper's code
            confidence: Confidence::Binary,
            solver: IalsSolver::Auto,
            cg_steps: positive(3), // as in `implicit`
        }
    }
}

/// Factors up to which [`IalsSolver::Auto`] solves exactly.
const MAX_EXACT_FACTORS: u32 = 128;

impl IalsConfig {
    /// Refuses values outside of their ranges.
    ///
    /// # Errors
    /// [`ModelError::Hyperparameter`].
    pub fn check(&self) -> Result<(), ModelError> {
        let refuse =
            |name: &str, reason: String| Err(ModelError::hyperparameter(NAME, name, reason));
        // In f32 as they are used.
        let is_positive = |value: f64| value as f32 > 0.0 && (value as f32).is_finite();
        for (name, value) in [("l2", self.l2), ("init_scale", self.init_scale)] {
            if !is_positive(value) {
                return refuse(name, format!("{value} is not a positive number"));
            }
        }
        if !(self.unobserved_weight == 0.0 || is_positive(self.unobserved_weight)) {
            let reason = format!("{} is not a number from 0 up", self.unobserved_weight);
            return refuse("unobserved_weight", reason);
        }
        if !(0.0..=2.0).contains(&self.l2_exponent) {
            return refuse("l2_exponent", format!("{} is not in 0.0..=2.0", self.l2_exponent));
        }
        // A bound, since sizes in a model file are read by anyone.
        if self.n_factors.get() > 1 << 12 {
            return refuse("n_factors", format!("{} factors are more than 4,096", self.n_factors));
        }
        Ok(())
    }

    /// With the solver decided.
    pub(super) fn resolved(self) -> Self {
        let solver = match self.solver {
            IalsSolver::Auto if self.n_factors.get() <= MAX_EXACT_FACTORS => IalsSolver::Cholesky,
            IalsSolver::Auto => IalsSolver::Cg,
            decided => decided,
        };
        Self { solver, ..self }
    }

    /// What is read of who chose what.
    pub(super) fn weighting(&self) -> Weighting {
        match self.confidence {
            Confidence::Binary => Weighting::Binary,
            Confidence::Count => Weighting::Count,
        }
    }

    /// How much each of `n_chosen` choices counts; `counts` are the numbers of their events, none where all are 1.
    pub(super) fn confidences<'a>(
        &self,
        n_chosen: usize,
        counts: &'a [f32],
    ) -> impl Iterator<Item = f32> + Clone + use<'a> {
        let counts = if self.confidence == Confidence::Count { counts } else { &[] };
        (0..n_chosen).map(|place| counts.get(place).copied().unwrap_or(1.0))
    }

    /// The regularization of a user or item with so many choices, of `n_others` that it could have.
    pub(super) fn l2_of(&self, n_chosen: usize, n_others: usize) -> f32 {
        let size = n_chosen as f64 + self.unobserved_weight * n_others as f64;
        (self.l2 * size.powf(self.l2_exponent)).max(f64::from(f32::MIN_POSITIVE)) as f32
    }

    /// Fits the factors to `view`.
    ///
    /// # Errors
    /// As [`ModelSpec::fit`](crate::recommend::ModelSpec::fit).
    pub fn fit(
        &self,
        view: &TrainingView<'_>,
        context: &FitContext<'_>,
    ) -> Result<(Ials, FitRecord), ModelError> {
        self.checked_fit(view, context)
    }
}

/// What `tune` varies: the ranges of Rendle et al., RecSys 2022, section 4, and some more.
const SEARCH_SPACE: &[Parameter] = &[
    Parameter::choice("n_factors", &["16", "32", "64", "128", "256"]),
    Parameter::log("unobserved_weight", 0.003, 3.0),
    Parameter::log("l2", 1e-4, 0.3),
    Parameter::float("l2_exponent", 0.0, 1.2),
    Parameter::log("init_scale", 0.01, 1.0),
];

impl TrainedConfig for IalsConfig {
    type Model = Ials;

    const NAME: &'static str = NAME;

    const SEARCH_SPACE: &'static [Parameter] = SEARCH_SPACE;

    const IF_TOO_LARGE: &'static str = "lower `n_factors`";

    fn check(&self) -> Result<(), ModelError> {
        self.check()
    }

    /// Who chose what in both directions, the factors twice, the best ones and what validation holds, 65 Gram matrices, and a
    /// system for each of 64 threads.
    fn needed_bytes(&self, view: &TrainingView<'_>) -> u64 {
        let (n_users, n_items) = (view.users().count() as u64, view.n_item_rows() as u64);
        let n_factors = u64::from(self.n_factors.get());
        let row = n_factors * 4;
        Interactions::needed_bytes(view, self.weighting())
            + (2 * n_users + (3 + N_SCORER_TABLES) * n_items).saturating_mul(row)
            + (n_factors * n_factors * 4).saturating_mul(65 + 2 * 64)
    }

    fn train(
        &self,
        view: &TrainingView<'_>,
        context: &FitContext<'_>,
    ) -> Result<(Ials, FitRecord), ModelError> {
        fit::fit(&self.resolved(), view, context)
    }

    fn with_epochs(&self, n_epochs: NonZeroU32) -> Self {
        Self { n_epochs, ..*self }
    }
}

trained_spec!(IalsConfig);
