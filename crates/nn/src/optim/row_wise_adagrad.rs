//! AdaGrad with one accumulator a row.

use super::{Rule, RunState, check_learning_rate, check_not_negative};
use crate::{NnError, error::check_range, reduce::sum_zip};

/// `s = s + mean((g + l2 w)²)`, `w = w - learning_rate (g + l2 w) / (sqrt(s) + epsilon)`, with one `s` a row.
///
/// For large embedding tables: the state is one value a row in place of `d`. Matrices with dense gradients
/// are updated by their rows too.
///
/// Source: Naumov et al., arXiv:1906.00091 (DLRM), whose published code has the rule; as a group step of Duchi, Hazan and
/// Singer, JMLR 12, 2011.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowWiseAdaGrad {
    /// Not negative.
    pub learning_rate: f32,
    /// Positive; keeps the first division defined.
    pub epsilon: f32,
    /// Not negative; on the parameters that decay (see [`crate::optim`]).
    pub l2: f32,
}

impl Default for RowWiseAdaGrad {
    fn default() -> Self {
        Self { learning_rate: 0.01, epsilon: 1e-10, l2: 0.0 }
    }
}

impl From<RowWiseAdaGrad> for Rule {
    fn from(rule: RowWiseAdaGrad) -> Self {
        Self::RowWiseAdaGrad(rule)
    }
}

impl RowWiseAdaGrad {
    pub(super) fn check(&self) -> Result<(), NnError> {
        check_learning_rate(self.learning_rate)?;
        check_range("epsilon", f64::from(self.epsilon), self.epsilon > 0.0, "positive")?;
        check_not_negative("l2", self.l2)
    }

    /// Updates one row; `state.second` holds one value.
    pub(super) fn update(&self, weights: &mut [f32], gradient: &[f32], state: RunState<'_>) {
        let Self { learning_rate, epsilon, l2 } = *self;
        let squares = sum_zip(gradient, weights, |g, weight| {
            let g = g + l2 * weight;
            g * g
        });
        let RunState { second, .. } = state;
        second[0] += squares / gradient.len().max(1) as f32;
        let step_size = learning_rate / (second[0].sqrt() + epsilon);
        for (weight, &g) in weights.iter_mut().zip(gradient) {
            *weight -= step_size * (g + l2 * *weight);
        }
    }
}
