//! Optimizers: a rule that updates a run of values, applied to whole matrices or to touched rows.
//!
//! **Lazy rows.** For an embedding table, only rows that the batch touched are updated, and only their state is
//! read or written (so the state of a large table costs memory where it is used). A row's moments decay once
//! for each step that touches it, not once a step, and Adam corrects their bias by that same count. Counting
//! all steps instead, as PyTorch's `SparseAdam` does, lets the first update of a row met late be
//! `(1 - beta1) / sqrt(1 - beta2)` (about 3) times the learning rate. On a table whose rows are all
//! touched in every step, lazy and dense updates are the same.

mod adagrad;
mod adam;
mod sgd;

pub use adagrad::AdaGrad;
pub use adam::Adam;
pub use sgd::Sgd;

use crate::{
    Gradient, Gradients, Matrix, Name, NnError, Trainable,
    error::{check_finite, check_range, check_shape},
};

/// An update rule with its hyperparameters.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Rule {
    /// Stochastic gradient descent.
    Sgd(Sgd),
    /// AdaGrad.
    AdaGrad(AdaGrad),
    /// Adam and AdamW.
    Adam(Adam),
}

/// State of one run of values: what [`Rule`] reads and writes beside the weights.
struct State<'a> {
    /// Momentum or first moment; empty if the rule has none.
    first: &'a mut [f32],
    /// Second moment or sum of squares; empty if the rule has none.
    second: &'a mut [f32],
    /// Number of updates of these values, this one included.
    n_updates: u32,
}

impl Rule {
    fn check(&self) -> Result<(), NnError> {
        match self {
            Self::Sgd(rule) => rule.check(),
            Self::AdaGrad(rule) => rule.check(),
            Self::Adam(rule) => rule.check(),
        }
    }

    /// Whether the rule keeps a first and a second value for each weight.
    fn has_state(&self) -> [bool; 2] {
        match self {
            Self::Sgd(rule) => [rule.momentum > 0.0, false],
            Self::AdaGrad(_) => [false, true],
            Self::Adam(_) => [true, true],
        }
    }

    fn update(&self, weights: &mut [f32], gradient: &[f32], state: State<'_>) {
        match self {
            Self::Sgd(rule) => rule.update(weights, gradient, state),
            Self::AdaGrad(rule) => rule.update(weights, gradient, state),
            Self::Adam(rule) => rule.update(weights, gradient, state),
        }
    }
}

/// State of one parameter.
#[derive(Debug, Clone)]
struct Slot {
    name: String,
    shape: [usize; 2],
    first: Vec<f32>,
    second: Vec<f32>,
    /// Updates of the whole matrix, or one count a row once a sparse gradient came.
    n_updates: u32,
    n_row_updates: Vec<u32>,
}

/// A rule together with the state of one model's parameters.
///
/// State is made at the first step, in the order in which the model lists its parameters; a later step with
/// other parameters is an error. See the doctest of [`crate::Mlp`].
#[derive(Debug, Clone)]
pub struct Optimizer {
    rule: Rule,
    clip_norm: Option<f32>,
    slots: Vec<Slot>,
}

impl Optimizer {
    /// An optimizer without state yet; `rule` is an [`Sgd`], [`AdaGrad`] or [`Adam`].
    ///
    /// # Errors
    /// [`NnError::OutOfRange`] for a hyperparameter outside of its range.
    pub fn new(rule: impl Into<Rule>) -> Result<Self, NnError> {
        let rule = rule.into();
        rule.check()?;
        Ok(Self { rule, clip_norm: None, slots: Vec::new() })
    }

    /// Scales gradients down whose norm over all parameters exceeds `clip_norm`.
    ///
    /// # Errors
    /// [`NnError::OutOfRange`] if `clip_norm` is not positive.
    ///
    /// Source: Pascanu et al., ICML 2013, algorithm 1.
    pub fn with_clip_norm(mut self, clip_norm: f32) -> Result<Self, NnError> {
        check_range("clip_norm", f64::from(clip_norm), clip_norm > 0.0, "positive")?;
        self.clip_norm = Some(clip_norm);
        Ok(self)
    }

    /// The rule and its hyperparameters.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// Changes the learning rate, for schedules; the state stays.
    ///
    /// # Errors
    /// [`NnError::OutOfRange`] if it is negative or not finite.
    pub fn set_learning_rate(&mut self, learning_rate: f32) -> Result<(), NnError> {
        let mut rule = self.rule;
        match &mut rule {
            Rule::Sgd(rule) => rule.learning_rate = learning_rate,
            Rule::AdaGrad(rule) => rule.learning_rate = learning_rate,
            Rule::Adam(rule) => rule.learning_rate = learning_rate,
        }
        rule.check()?;
        self.rule = rule;
        Ok(())
    }

    /// Updates all parameters of `model` by the mean gradients in `gradients` and returns their norm before
    /// clipping. The gradients are finished and, if clipped, scaled; they are not cleared.
    ///
    /// # Errors
    /// [`NnError::NonFinite`] if a gradient is NaN or infinite: no parameter has been changed then.
    /// [`NnError::ParametersChanged`] or [`NnError::Shape`] if the model is not the one of earlier steps.
    pub fn step<M: Trainable>(
        &mut self,
        model: &mut M,
        gradients: &mut M::Gradients,
    ) -> Result<f64, NnError> {
        gradients.finish();
        let norm = check_finite("gradient norm", gradients.squared_norm())?.sqrt();
        if let Some(clip_norm) = self.clip_norm.map(f64::from)
            && norm > clip_norm
        {
            gradients.scale((clip_norm / norm) as f32);
        }
        let (rule, slots) = (self.rule, &mut self.slots);
        let mut slot_idx = 0;
        model.visit_with_gradients(gradients, &Name::root(), &mut |name, weights, gradient| {
            if slot_idx == slots.len() {
                slots.push(Slot::new(name, weights, &rule));
            }
            let slot = &mut slots[slot_idx];
            slot_idx += 1;
            if slot.shape != weights.shape() {
                return Err(NnError::ParametersChanged { name: name.to_string() });
            }
            slot.update(&rule, weights, gradient)
        })?;
        match slots.get(slot_idx) {
            None => Ok(norm),
            Some(slot) => Err(NnError::ParametersChanged { name: slot.name.clone() }),
        }
    }
}

impl Slot {
    fn new(name: &Name<'_>, weights: &Matrix, rule: &Rule) -> Self {
        let n_values = weights.rows() * weights.cols();
        // Zeroed by the system on first use: rows that are never touched cost address space alone.
        let values = |wanted: bool| vec![0.0; if wanted { n_values } else { 0 }];
        let [first, second] = rule.has_state().map(values);
        let (name, shape) = (name.to_string(), weights.shape());
        Self { name, shape, first, second, n_updates: 0, n_row_updates: Vec::new() }
    }

    fn update(
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
                let state = State { first, second, n_updates: *n_updates };
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
                    rule.update(weights.row_mut(row), gradient, State { first, second, n_updates });
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

fn check_learning_rate(learning_rate: f32) -> Result<(), NnError> {
    check_not_negative("learning_rate", learning_rate)
}

fn check_not_negative(name: &'static str, value: f32) -> Result<(), NnError> {
    let inside = value >= 0.0 && value.is_finite();
    check_range(name, f64::from(value), inside, "finite and not negative")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Embedding, Linear, RowGradients};

    fn rules() -> [Rule; 4] {
        [
            Sgd { learning_rate: 0.1, momentum: 0.9, l2: 0.01 }.into(),
            Sgd::default().into(),
            AdaGrad { l2: 0.01, ..AdaGrad::default() }.into(),
            Adam { weight_decay: 0.1, ..Adam::default() }.into(),
        ]
    }

    fn table() -> Matrix {
        Matrix::from_rows(&[[1.0, -2.0], [0.5, 0.25], [3.0, 4.0]])
    }

    /// Rows touched in every step: the lazy path and the dense path are equal to the bit.
    #[test]
    fn lazy_updates_of_rows_that_are_always_touched_are_dense_updates() {
        for rule in rules() {
            let mut dense = Linear::from_parts(table(), None).unwrap();
            let mut lazy = Embedding::from_table(table()).unwrap();
            let mut for_dense = Optimizer::new(rule).unwrap();
            let mut for_lazy = Optimizer::new(rule).unwrap();
            for step in 0..5 {
                let (mut d_dense, mut d_lazy) = (dense.new_gradients(), lazy.new_gradients());
                for row in [2, 0, 1] {
                    let gradient = [0.3 * step as f32 - 0.5, row as f32 - 0.7];
                    d_lazy.add_to_row(row, &gradient, 1.0);
                    d_dense.weight.row_mut(row as usize).copy_from_slice(&gradient);
                }
                let a = for_dense.step(&mut dense, &mut d_dense).unwrap();
                let b = for_lazy.step(&mut lazy, &mut d_lazy).unwrap();
                assert!((a - b).abs() < 1e-12);
            }
            assert_eq!(dense.weight(), lazy.table(), "{rule:?}");
            assert_ne!(lazy.table(), &table(), "{rule:?}");
        }
    }

    /// A row met first at step 5 moves as one met first at step 1.
    #[test]
    fn rows_that_are_not_touched_keep_value_and_state() {
        for rule in rules() {
            let mut layer = Embedding::from_table(table()).unwrap();
            let mut optimizer = Optimizer::new(rule).unwrap();
            let one_row = |row| {
                let mut gradients = RowGradients::new(3, 2);
                gradients.add_to_row(row, &[0.5, -0.25], 1.0);
                gradients
            };
            for _ in 0..4 {
                optimizer.step(&mut layer, &mut one_row(0)).unwrap();
            }
            assert_eq!(layer.table().row(1), table().row(1), "{rule:?}");
            optimizer.step(&mut layer, &mut one_row(1)).unwrap();

            let mut fresh = Embedding::from_table(table()).unwrap();
            Optimizer::new(rule).unwrap().step(&mut fresh, &mut one_row(1)).unwrap();
            assert_eq!(layer.table().row(1), fresh.table().row(1), "{rule:?}");
            assert_eq!(layer.table().row(2), table().row(2), "{rule:?}");
        }
    }

    #[test]
    fn clipping_bounds_the_norm_and_keeps_the_direction() {
        let rule = Sgd { learning_rate: 1.0, ..Sgd::default() };
        let mut layer = Linear::from_parts(Matrix::zeros(1, 2), None).unwrap();
        let mut optimizer = Optimizer::new(rule).unwrap().with_clip_norm(1.0).unwrap();
        let mut gradients = layer.new_gradients();
        gradients.weight = Matrix::from_rows(&[[3.0, 4.0]]);
        assert_eq!(optimizer.step(&mut layer, &mut gradients), Ok(5.0));
        let weight = layer.weight().row(0);
        assert!((weight[0] + 0.6).abs() < 1e-6 && (weight[1] + 0.8).abs() < 1e-6);
    }

    #[test]
    fn a_gradient_that_is_not_finite_changes_nothing() {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut layer = Linear::from_parts(table(), None).unwrap();
            let mut gradients = layer.new_gradients();
            gradients.weight.row_mut(2)[1] = bad;
            let mut optimizer = Optimizer::new(Adam::default()).unwrap();
            let error = optimizer.step(&mut layer, &mut gradients).unwrap_err();
            assert!(matches!(error, NnError::NonFinite { what: "gradient norm", .. }));
            assert_eq!(layer.weight(), &table());
        }
    }

    #[test]
    fn another_model_is_refused() {
        let mut optimizer = Optimizer::new(Adam::default()).unwrap();
        let mut layer = Linear::from_parts(table(), Some(Matrix::zeros(1, 3))).unwrap();
        let mut gradients = layer.new_gradients();
        optimizer.step(&mut layer, &mut gradients).unwrap();
        let mut other = Linear::from_parts(Matrix::zeros(1, 1), None).unwrap();
        let mut gradients = other.new_gradients();
        let error = optimizer.step(&mut other, &mut gradients).unwrap_err();
        assert_eq!(error, NnError::ParametersChanged { name: "weight".into() });
        let mut other = Linear::from_parts(table(), None).unwrap();
        let mut gradients = other.new_gradients();
        let error = optimizer.step(&mut other, &mut gradients).unwrap_err();
        assert_eq!(error, NnError::ParametersChanged { name: "bias".into() });
    }

    #[test]
    fn hyperparameters_are_checked() {
        let name = |rule: Rule| match Optimizer::new(rule) {
            Err(NnError::OutOfRange { name, .. }) => Some(name),
            _ => None,
        };
        assert_eq!(
            name(Sgd { learning_rate: -1.0, ..Sgd::default() }.into()),
            Some("learning_rate")
        );
        assert_eq!(name(Sgd { momentum: 1.0, ..Sgd::default() }.into()), Some("momentum"));
        assert_eq!(name(AdaGrad { l2: f32::NAN, ..AdaGrad::default() }.into()), Some("l2"));
        assert_eq!(name(Adam { beta1: 1.0, ..Adam::default() }.into()), Some("beta1"));
        assert_eq!(name(Adam { epsilon: 0.0, ..Adam::default() }.into()), Some("epsilon"));
        let mut optimizer = Optimizer::new(Adam::default()).unwrap();
        assert!(optimizer.set_learning_rate(f32::INFINITY).is_err());
        assert_eq!(optimizer.rule(), Rule::Adam(Adam::default()));
    }
}
