//! AdaGrad.

use super::{Rule, RunState, check_learning_rate, check_not_negative};
use crate::{NnError, error::check_range};

/// `s = s + (g + l2 w)²`, `w = w - learning_rate (g + l2 w) / (sqrt(s) + epsilon)`.
///
/// Well suited to embedding tables: rows of rare items keep a large step.
///
/// Source: Duchi, Hazan and Singer, JMLR 12, 2011, figure 1, diagonal case.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdaGrad {
    /// Not negative.
    pub learning_rate: f32,
    /// Positive; keeps the first division defined.
    pub epsilon: f32,
    /// Not negative; on the parameters that decay (see [`crate::optim`]).
    pub l2: f32,
}

impl Default for AdaGrad {
    fn default() -> Self {
        Self { learning_rate: 0.01, epsilon: 1e-10, l2: 0.0 }
    }
}

impl From<AdaGrad> for Rule {
    fn from(rule: AdaGrad) -> Self {
        Self::AdaGrad(rule)
    }
}

impl AdaGrad {
    pub(super) fn check(&self) -> Result<(), NnError> {
        check_learning_rate(self.learning_rate)?;
        check_range("epsilon", f64::from(self.epsilon), self.epsilon > 0.0, "positive")?;
        check_not_negative("l2", self.l2)
    }

    pub(super) fn update(&self, weights: &mut [f32], gradient: &[f32], state: RunState<'_>) {
        let Self { learning_rate, epsilon, l2 } = *self;
        for ((weight, &g), sum) in weights.iter_mut().zip(gradient).zip(state.second) {
            let g = g + l2 * *weight;
            *sum += g * g;
            *weight -= learning_rate * g / (sum.sqrt() + epsilon);
        }
    }
}
