//! What an optimizer remembers of one parameter.

use super::Rule;
use crate::{
    Gradient, Matrix, NnError,
    error::{check_length, check_shape},
};

/// State of one run of values: what a [`Rule`] reads and writes beside the weights.
pub(super) struct RunState<'a> {
    /// Momentum or first moment; empty if the rule has none.
    pub(super) first: &'a mut [f32],
    /// Second moment or sum of squares; empty if the rule has none.
    pub(super) second: &'a mut [f32],
    /// Number of updates of these values, this one included.
    pub(super) n_updates: u32,
}

/// State of one parameter: what a checkpoint stores beside the weights.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterState {
    /// Name of the parameter.
    pub name: String,
    /// Shape of the parameter.
    pub shape: [usize; 2],
    /// Momentum or first moments, in the shape of the parameter; empty if the rule has none.
    pub first: Vec<f32>,
    /// Second moments or sums of squares, in the shape of the parameter; empty if the rule has none.
    pub second: Vec<f32>,
    /// Updates of the whole matrix by dense gradients.
    pub n_updates: u32,
    /// Updates of each row by sparse gradients; empty until the first one came.
    pub n_row_updates: Vec<u32>,
}

impl ParameterState {
    pub(super) fn new(name: String, shape: [usize; 2], rule: &Rule) -> Self {
        // Zeroed by the system on first use: rows that are never touched cost address space alone.
        let values = |wanted: bool| vec![0.0; if wanted { shape[0] * shape[1] } else { 0 }];
        let [first, second] = rule.has_state().map(values);
        Self { name, shape, first, second, n_updates: 0, n_row_updates: Vec::new() }
    }

    /// Whether the lists have the lengths that `rule` works with.
    pub(super) fn check(&self, rule: &Rule) -> Result<(), NnError> {
        let want = Self::new(String::new(), self.shape, rule);
        check_length("first moments", want.first.len(), self.first.len())?;
        check_length("second moments", want.second.len(), self.second.len())?;
        let n_counts = if self.n_row_updates.is_empty() { 0 } else { self.shape[0] };
        check_length("updates of rows", n_counts, self.n_row_updates.len())
    }

    pub(super) fn update(
        &mut self,
        rule: &Rule,
        weights: &mut Matrix,
        gradient: Gradient<'_>,
    ) -> Result<(), NnError> {
        match gradient {
            Gradient::Dense(gradient) => {
                check_shape("gradient of a parameter", self.shape, gradient.shape())?;
                self.n_updates = self.n_updates.saturating_add(1);
                let Self { first, second, n_updates, .. } = self;
                let state = RunState { first, second, n_updates: *n_updates };
                rule.update(weights.as_mut_slice(), gradient.as_slice(), state);
            }
            Gradient::Rows(gradients) => {
                check_shape("gradient of a parameter", self.shape, gradients.shape())?;
                self.n_row_updates.resize(self.shape[0], 0);
                for (row, gradient) in gradients.rows() {
                    self.n_row_updates[row] = self.n_row_updates[row].saturating_add(1);
                    let n_updates = self.n_row_updates[row];
                    let first = row_of(&mut self.first, row, self.shape[1]);
                    let second = row_of(&mut self.second, row, self.shape[1]);
                    let state = RunState { first, second, n_updates };
                    rule.update(weights.row_mut(row), gradient, state);
                }
            }
        }
        Ok(())
    }
}

/// One row of a state, or nothing where the rule keeps none.
fn row_of(values: &mut [f32], row: usize, n_cols: usize) -> &mut [f32] {
    if values.is_empty() { values } else { &mut values[row * n_cols..(row + 1) * n_cols] }
}
