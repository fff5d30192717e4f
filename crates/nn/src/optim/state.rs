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
    /// Momentum or first moments, row-major; empty if the rule has none.
    pub first: Vec<f32>,
    /// Second moments or sums of squares, row-major, or one a row; empty if the rule has none.
    pub second: Vec<f32>,
    /// Updates of the whole matrix by dense gradients.
    pub n_updates: u32,
    /// Updates of each row by sparse gradients; empty until the first one came.
    pub n_row_updates: Vec<u32>,
}

impl ParameterState {
    pub(super) fn new(name: String, shape: [usize; 2], rule: &Rule) -> Self {
        // Zeroed by the system on first use: rows that are never touched cost address space alone.
        let values = |n_cols: usize| vec![0.0; shape[0] * n_cols];
        let [first, second] = rule.state_cols(shape[1]).map(values);
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
                if let Rule::RowWiseAdaGrad(_) = rule {
                    for row in 0..self.shape[0] {
                        let state = self.row(row, rule, self.n_updates);
                        rule.update(weights.row_mut(row), gradient.row(row), state);
                    }
                } else {
                    let Self { first, second, n_updates, .. } = self;
                    let state = RunState { first, second, n_updates: *n_updates };
                    rule.update(weights.as_mut_slice(), gradient.as_slice(), state);
                }
            }
            Gradient::Rows(gradients) => {
                check_shape("gradient of a parameter", self.shape, gradients.shape())?;
                self.n_row_updates.resize(self.shape[0], 0);
                for (row, gradient) in gradients.rows() {
                    self.n_row_updates[row] = self.n_row_updates[row].saturating_add(1);
                    let state = self.row(row, rule, self.n_row_updates[row]);
                    rule.update(weights.row_mut(row), gradient, state);
                }
            }
        }
        Ok(())
    }

    fn row(&mut self, row: usize, rule: &Rule, n_updates: u32) -> RunState<'_> {
        let [first, second] = rule.state_cols(self.shape[1]);
        RunState {
            first: &mut self.first[row * first..(row + 1) * first],
            second: &mut self.second[row * second..(row + 1) * second],
            n_updates,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        AdaGrad, Adam, Embedding, Linear, Optimizer, Trainable,
        optim::tests::{rules, table, table_row},
    };

    /// A table by rows and a matrix as a whole, with a state from after step 3 of 6.
    #[test]
    fn a_restored_optimizer_goes_on_to_the_bit() {
        for rule in rules() {
            let mut dense = Linear::from_parts(table(), Some(table_row())).unwrap();
            let mut lazy = Embedding::from_table(table()).unwrap();
            let mut for_dense = Optimizer::new(rule).unwrap();
            let mut for_lazy = Optimizer::new(rule).unwrap();
            let step = |step: usize,
                        (dense, for_dense): (&mut Linear, &mut Optimizer),
                        (lazy, for_lazy): (&mut Embedding, &mut Optimizer)| {
                let (mut d_dense, mut d_lazy) = (dense.new_gradients(), lazy.new_gradients());
                d_lazy.add_to_row(step as u32 % 2, &[0.3 - step as f32, 0.1], 1.0);
                d_dense.weight.fill(0.2 * step as f32 - 0.5);
                for_dense.step(dense, &mut d_dense).unwrap();
                for_lazy.step(lazy, &mut d_lazy).unwrap();
            };
            for at in 0..3 {
                step(at, (&mut dense, &mut for_dense), (&mut lazy, &mut for_lazy));
            }
            let restored = |optimizer: &Optimizer| {
                Optimizer::new(rule).unwrap().with_state(optimizer.state().to_vec()).unwrap()
            };
            let (mut dense_after, mut lazy_after) = (dense.clone(), lazy.clone());
            let mut for_dense_after = restored(&for_dense);
            let mut for_lazy_after = restored(&for_lazy);
            for at in 3..6 {
                step(at, (&mut dense, &mut for_dense), (&mut lazy, &mut for_lazy));
                step(
                    at,
                    (&mut dense_after, &mut for_dense_after),
                    (&mut lazy_after, &mut for_lazy_after),
                );
            }
            assert_eq!(dense.weight(), dense_after.weight(), "{rule:?}");
            assert_eq!(lazy.table(), lazy_after.table(), "{rule:?}");
            assert_eq!(for_dense.state(), for_dense_after.state(), "{rule:?}");
            assert_eq!(for_lazy.state(), for_lazy_after.state(), "{rule:?}");
        }
    }

    #[test]
    fn a_state_of_another_rule_or_model_is_refused() {
        let mut layer = Linear::from_parts(table(), None).unwrap();
        let mut gradients = layer.new_gradients();
        let mut optimizer = Optimizer::new(Adam::default()).unwrap();
        optimizer.step(&mut layer, &mut gradients).unwrap();
        let saved = optimizer.state().to_vec();
        let with_state = |rule: Rule, state| Optimizer::new(rule).unwrap().with_state(state);
        let error = with_state(AdaGrad::default().into(), saved.clone()).unwrap_err();
        let want = NnError::Length { what: "first moments", expected: 0, found: 6 };
        assert_eq!(error, want);
        let mut cut = saved.clone();
        cut[0].n_row_updates = vec![1];
        assert!(with_state(Adam::default().into(), cut).is_err());
        let mut renamed = saved;
        renamed[0].name = "scale".into();
        let mut optimizer = with_state(Adam::default().into(), renamed).unwrap();
        gradients.weight.fill(1.0);
        let error = optimizer.step(&mut layer, &mut gradients).unwrap_err();
        assert_eq!(error, NnError::ParametersChanged { name: "weight".into() });
        assert_eq!(layer.weight(), &table());
    }
}
