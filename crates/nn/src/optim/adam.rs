//! Adam, and with decoupled weight decay AdamW.

use super::{Rule, RunState, check_learning_rate, check_not_negative};
use crate::{
    NnError,
    error::check_range,
    kernels::{AdamStep, adam},
};

/// `m = beta1 m + (1 - beta1) g`, `v = beta2 v + (1 - beta2) g²`,
/// `w = w - learning_rate (m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon) + weight_decay w)`.
///
/// `t` counts the updates of the values at hand: for a table, those of the row (see the notes on lazy rows in
/// [`crate::optim`]). Weight decay reaches a row when it is touched.
///
/// Source: Kingma and Ba, ICLR 2015, algorithm 1; decay as in Loshchilov and Hutter, ICLR 2019, algorithm 2.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// Not negative.
    pub learning_rate: f32,
    /// Decay of the first moment, in `0.0..1.0`.
    pub beta1: f32,
    /// Decay of the second moment, in `0.0..1.0`.
    pub beta2: f32,
    /// Positive.
    pub epsilon: f32,
    /// Not negative; 0 is Adam, more is AdamW. On the parameters that decay (see [`crate::optim`]).
    pub weight_decay: f32,
}

impl Default for Adam {
    fn default() -> Self {
        Self { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
    }
}

impl From<Adam> for Rule {
    fn from(rule: Adam) -> Self {
        Self::Adam(rule)
    }
}

impl Adam {
    pub(super) fn check(&self) -> Result<(), NnError> {
        check_learning_rate(self.learning_rate)?;
        for (name, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            check_range(name, f64::from(beta), (0.0..1.0).contains(&beta), "in 0.0..1.0")?;
        }
        check_range("epsilon", f64::from(self.epsilon), self.epsilon > 0.0, "positive")?;
        check_not_negative("weight_decay", self.weight_decay)
    }

    pub(super) fn update(&self, weights: &mut [f32], gradient: &[f32], state: RunState<'_>) {
        let RunState { first, second, n_updates } = state;
        adam(self.step(n_updates), weights, gradient, first, second);
    }

    /// The factors of the update of this number.
    pub(super) fn step(&self, n_updates: u32) -> AdamStep {
        let Self { learning_rate, beta1, beta2, epsilon, weight_decay } = *self;
        // f64: in f32, 1 - 0.999 has four right digits.
        let correction =
            |beta: f32| 1.0 - f64::from(beta).powi(i32::try_from(n_updates).unwrap_or(i32::MAX));
        AdamStep {
            beta1,
            beta2,
            epsilon,
            step_size: (f64::from(learning_rate) / correction(beta1)) as f32,
            scale: (1.0 / correction(beta2).sqrt()) as f32,
            keep: 1.0 - learning_rate * weight_decay,
        }
    }
}
