//! Stochastic gradient descent.

use super::{Rule, RunState, check_learning_rate, check_not_negative};
use crate::{NnError, error::check_range};

/// `v = momentum v + g + l2 w`, `w = w - learning_rate v`.
///
/// Source: Sutskever et al., ICML 2013, equations 1 and 2, with the learning rate outside of `v` as in PyTorch, so
/// that a schedule acts at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// Not negative.
    pub learning_rate: f32,
    /// In `0.0..1.0`; 0 keeps no state.
    pub momentum: f32,
    /// Not negative; on the parameters that decay (see [`crate::optim`]).
    pub l2: f32,
}

impl Default for Sgd {
    fn default() -> Self {
        Self { learning_rate: 0.01, momentum: 0.0, l2: 0.0 }
    }
}

impl From<Sgd> for Rule {
    fn from(rule: Sgd) -> Self {
        Self::Sgd(rule)
    }
}

impl Sgd {
    pub(super) fn check(&self) -> Result<(), NnError> {
        check_learning_rate(self.learning_rate)?;
        let inside = (0.0..1.0).contains(&self.momentum);
        check_range("momentum", f64::from(self.momentum), inside, "in 0.0..1.0")?;
        check_not_negative("l2", self.l2)
    }

    pub(super) fn update(&self, weights: &mut [f32], gradient: &[f32], state: RunState<'_>) {
        let Self { learning_rate, momentum, l2 } = *self;
        if state.first.is_empty() {
            for (weight, &g) in weights.iter_mut().zip(gradient) {
                *weight -= learning_rate * (g + l2 * *weight);
            }
            return;
        }
        for ((weight, &g), velocity) in weights.iter_mut().zip(gradient).zip(state.first) {
            *velocity = momentum * *velocity + (g + l2 * *weight);
            *weight -= learning_rate * *velocity;
        }
    }
}
