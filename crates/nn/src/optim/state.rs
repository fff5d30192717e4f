//! What an optimizer remembers of one parameter.

use std::ops::Range;

use super::{Adam, Rule};
use crate::{
    Gradient, Matrix, NnError, RowGradients,
    error::{check_length, check_shape},
    kernels::{AdamStep, adam, prefetch},
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
                    update_run(rule, weights.as_mut_slice(), gradient.as_slice(), state);
                }
            }
            Gradient::Rows(gradients) => {
                check_shape("gradient of a parameter", self.shape, gradients.shape())?;
                self.n_row_updates.resize(self.shape[0], 0);
                let rows = TableRows {
                    first_row: 0,
                    n_cols: self.shape[1],
                    state_cols: rule.state_cols(self.shape[1]),
                    weights: weights.as_mut_slice(),
                    first: &mut self.first,
                    second: &mut self.second,
                    n_updates: &mut self.n_row_updates,
                };
                rows.update(rule, gradients, 0..gradients.n_touched());
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

/// Values that one thread updates at a time.
const RUN_VALUES: usize = 1 << 14;

/// Updates a run of values in parts, on the threads of the current rayon pool. Every value is updated by itself, so the
/// parts change no result.
fn update_run(rule: &Rule, weights: &mut [f32], gradient: &[f32], state: RunState<'_>) {
    let n = weights.len();
    if n <= RUN_VALUES {
        return rule.update(weights, gradient, state);
    }
    let middle = (n / 2).next_multiple_of(64);
    // A rule without one of the states has it empty.
    let [(first_low, first_high), (second_low, second_high)] =
        [state.first, state.second].map(|values| values.split_at_mut(middle.min(values.len())));
    let (weights_low, weights_high) = weights.split_at_mut(middle);
    let (gradient_low, gradient_high) = gradient.split_at(middle);
    let n_updates = state.n_updates;
    let low = RunState { first: first_low, second: second_low, n_updates };
    let high = RunState { first: first_high, second: second_high, n_updates };
    rayon::join(
        || update_run(rule, weights_low, gradient_low, low),
        || update_run(rule, weights_high, gradient_high, high),
    );
}

/// A range of a table's rows and their state.
struct TableRows<'a> {
    first_row: usize,
    n_cols: usize,
    state_cols: [usize; 2],
    weights: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    n_updates: &'a mut [u32],
}

impl<'a> TableRows<'a> {
    /// Updates the rows that stand at `touched` of the gradients, on the threads of the current rayon pool.
    fn update(mut self, rule: &Rule, gradients: &RowGradients, touched: Range<usize>) {
        if touched.len() * self.n_cols <= RUN_VALUES {
            return self.update_run(rule, gradients, touched);
        }
        let middle = touched.start + touched.len() / 2;
        let (row, _) = gradients.touched_row(middle);
        let high = self.split_off(row);
        rayon::join(
            || self.update(rule, gradients, touched.start..middle),
            || high.update(rule, gradients, middle..touched.end),
        );
    }

    /// The same on this thread.
    fn update_run(&mut self, rule: &Rule, gradients: &RowGradients, touched: Range<usize>) {
        let mut steps = KnownSteps::default();
        for place in touched.clone() {
            if place + ROWS_AHEAD < touched.end {
                let (row, _) = gradients.touched_row(place + ROWS_AHEAD);
                self.prefetch(row - self.first_row);
            }
            let (row, gradient) = gradients.touched_row(place);
            let row = row - self.first_row;
            let of_row = |n_cols: usize| row * n_cols..(row + 1) * n_cols;
            self.n_updates[row] = self.n_updates[row].saturating_add(1);
            let (n_updates, [first, second]) = (self.n_updates[row], self.state_cols.map(of_row));
            let weights = &mut self.weights[of_row(self.n_cols)];
            let [first, second] = [&mut self.first[first], &mut self.second[second]];
            match rule {
                Rule::Adam(rule) => {
                    adam(steps.of(rule, n_updates), weights, gradient, first, second);
                }
                _ => rule.update(weights, gradient, RunState { first, second, n_updates }),
            }
        }
    }

    /// Asks for a row, which may lie anywhere in memory.
    fn prefetch(&self, row: usize) {
        let [first, second] = self.state_cols;
        prefetch(&self.weights[row * self.n_cols..(row + 1) * self.n_cols]);
        prefetch(&self.first[row * first..(row + 1) * first]);
        prefetch(&self.second[row * second..(row + 1) * second]);
    }

    /// Keeps the rows before `row` and returns the others.
    fn split_off(&mut self, row: usize) -> Self {
        let n = row - self.first_row;
        fn cut<'a, T>(values: &mut &'a mut [T], n: usize) -> &'a mut [T] {
            let (low, high) = std::mem::take(values).split_at_mut(n);
            *values = low;
            high
        }
        Self {
            first_row: row,
            n_cols: self.n_cols,
            state_cols: self.state_cols,
            weights: cut(&mut self.weights, n * self.n_cols),
            first: cut(&mut self.first, n * self.state_cols[0]),
            second: cut(&mut self.second, n * self.state_cols[1]),
            n_updates: cut(&mut self.n_updates, n),
        }
    }
}

/// Rows whose memory is asked for before they are updated: as many as come from memory at a time.
const ROWS_AHEAD: usize = 8;

/// Factors of Adam for the numbers of updates that rows had of late: most have had one of a few, and powers cost more than
/// the update of a short row.
#[derive(Default)]
struct KnownSteps([Option<(u32, AdamStep)>; 16]);

impl KnownSteps {
    fn of(&mut self, rule: &Adam, n_updates: u32) -> AdamStep {
        let known = &mut self.0[n_updates as usize % 16];
        match known {
            Some((n, step)) if *n == n_updates => *step,
            _ => known.insert((n_updates, rule.step(n_updates))).1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        AdaGrad, Embedding, Linear, Optimizer, Trainable,
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
