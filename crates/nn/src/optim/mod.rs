//! Optimizers: a rule that updates a run of values, applied to whole matrices or to touched rows.
//!
//! **Lazy rows.** For an embedding table, only rows that the batch touched are updated, and only their state is
//! read or written (so the state of a large table costs memory where it is used). A row's moments decay once
//! for each step that touches it, not once a step, and Adam corrects their bias by that same count. Counting
//! all steps instead, as PyTorch's `SparseAdam` does, lets the first update of a row met late be
//! `(1 - beta1) / sqrt(1 - beta2)` (about 3) times the learning rate. On a table whose rows are all
//! touched in every step, lazy and dense updates are the same.
//!
//! **Decay.** `l2` and `weight_decay` act on the parameters that [`decays_by_default`] or the function given to
//! [`Optimizer::with_decay_of`] picks, and on a row of a table when it is touched.

mod adagrad;
mod adam;
mod row_wise_adagrad;
mod schedule;
mod sgd;
mod state;

pub use adagrad::AdaGrad;
pub use adam::Adam;
pub use row_wise_adagrad::RowWiseAdaGrad;
pub use schedule::{Decay, Schedule};
pub use sgd::Sgd;
pub use state::ParameterState;

use crate::{
    Gradients, Name, NnError, Trainable,
    error::{check_finite, check_range},
};
use state::RunState;

/// An update rule with its hyperparameters.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Rule {
    /// Stochastic gradient descent.
    Sgd(Sgd),
    /// AdaGrad.
    AdaGrad(AdaGrad),
    /// AdaGrad with one accumulator a row.
    RowWiseAdaGrad(RowWiseAdaGrad),
    /// Adam and AdamW.
    Adam(Adam),
}

impl Rule {
    /// The learning rate.
    pub fn learning_rate(&self) -> f32 {
        match self {
            Self::Sgd(rule) => rule.learning_rate,
            Self::AdaGrad(rule) => rule.learning_rate,
            Self::RowWiseAdaGrad(rule) => rule.learning_rate,
            Self::Adam(rule) => rule.learning_rate,
        }
    }

    fn check(&self) -> Result<(), NnError> {
        match self {
            Self::Sgd(rule) => rule.check(),
            Self::AdaGrad(rule) => rule.check(),
            Self::RowWiseAdaGrad(rule) => rule.check(),
            Self::Adam(rule) => rule.check(),
        }
    }

    /// How many first and second values the rule keeps for a row of `n_cols` weights.
    fn state_cols(&self, n_cols: usize) -> [usize; 2] {
        match self {
            Self::Sgd(rule) => [if rule.momentum > 0.0 { n_cols } else { 0 }, 0],
            Self::AdaGrad(_) => [0, n_cols],
            Self::RowWiseAdaGrad(_) => [0, 1],
            Self::Adam(_) => [n_cols, n_cols],
        }
    }

    /// The same rule for parameters that do not decay.
    fn without_decay(mut self) -> Self {
        match &mut self {
            Self::Sgd(rule) => rule.l2 = 0.0,
            Self::AdaGrad(rule) => rule.l2 = 0.0,
            Self::RowWiseAdaGrad(rule) => rule.l2 = 0.0,
            Self::Adam(rule) => rule.weight_decay = 0.0,
        }
        self
    }

    fn update(&self, weights: &mut [f32], gradient: &[f32], state: RunState<'_>) {
        match self {
            Self::Sgd(rule) => rule.update(weights, gradient, state),
            Self::AdaGrad(rule) => rule.update(weights, gradient, state),
            Self::RowWiseAdaGrad(rule) => rule.update(weights, gradient, state),
            Self::Adam(rule) => rule.update(weights, gradient, state),
        }
    }
}

/// A rule together with the state of one model's parameters.
///
/// State is made at the first step, in the order in which the model lists its parameters; a later step with
/// other parameters is an error. See the doctest of [`crate::Mlp`].
#[derive(Debug, Clone)]
pub struct Optimizer {
    rule: Rule,
    clip_norm: Option<f32>,
    decays: fn(&str) -> bool,
    states: Vec<ParameterState>,
}

/// Whether a parameter of this name decays: all but biases, whose last part starts with `bias`, and the weights of
/// normalization layers, which models list under a part with `norm` in it (`attention_norm.weight`). Decay of either
/// limits no complexity: it moves outputs toward zero.
pub fn decays_by_default(name: &str) -> bool {
    let mut parts = name.rsplit('.');
    let is_bias = parts.next().is_some_and(|last| last.starts_with("bias"));
    !is_bias && !parts.any(|part| part.contains("norm"))
}

impl Optimizer {
    /// An optimizer without state yet; `rule` is an [`Sgd`], [`AdaGrad`], [`RowWiseAdaGrad`] or [`Adam`].
    ///
    /// # Errors
    /// [`NnError::OutOfRange`] for a hyperparameter outside of its range.
    pub fn new(rule: impl Into<Rule>) -> Result<Self, NnError> {
        let rule = rule.into();
        rule.check()?;
        Ok(Self { rule, clip_norm: None, decays: decays_by_default, states: Vec::new() })
    }

    /// Lets `l2` and `weight_decay` act on the parameters for whose name `decays` is true, in place of
    /// [`decays_by_default`].
    pub fn with_decay_of(mut self, decays: fn(&str) -> bool) -> Self {
        self.decays = decays;
        self
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

    /// Goes on from a state that [`Optimizer::state`] gave, to the bit, if the model has its weights of then.
    ///
    /// ```
    /// use forecart_nn::{Adam, Init, Linear, Optimizer, Trainable};
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    ///
    /// let mut layer = Linear::new(3, 2, Init::Xavier, &mut ChaCha8Rng::seed_from_u64(1))?;
    /// let mut gradients = layer.new_gradients();
    /// let mut optimizer = Optimizer::new(Adam::default())?;
    /// optimizer.step(&mut layer, &mut gradients)?;
    /// let saved = optimizer.state().to_vec();
    /// assert_eq!(saved[0].name, "weight");
    ///
    /// let mut restored = Optimizer::new(Adam::default())?.with_state(saved)?;
    /// restored.step(&mut layer, &mut gradients)?;
    /// # Ok::<(), forecart_nn::NnError>(())
    /// ```
    ///
    /// # Errors
    /// [`NnError::Length`] if a list has another length than the rule and the parameter's shape ask for.
    pub fn with_state(mut self, states: Vec<ParameterState>) -> Result<Self, NnError> {
        states.iter().try_for_each(|state| state.check(&self.rule))?;
        self.states = states;
        Ok(self)
    }

    /// The state of each parameter in the order of the model's list; empty before the first step.
    pub fn state(&self) -> &[ParameterState] {
        &self.states
    }

    /// The rule and its hyperparameters.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// Changes the learning rate, for a [`Schedule`]; the state stays.
    ///
    /// # Errors
    /// [`NnError::OutOfRange`] if it is negative or not finite.
    pub fn set_learning_rate(&mut self, learning_rate: f32) -> Result<(), NnError> {
        let mut rule = self.rule;
        match &mut rule {
            Rule::Sgd(rule) => rule.learning_rate = learning_rate,
            Rule::AdaGrad(rule) => rule.learning_rate = learning_rate,
            Rule::RowWiseAdaGrad(rule) => rule.learning_rate = learning_rate,
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
        let Self { rule, decays, states, .. } = self;
        let undecayed = rule.without_decay();
        let mut position = 0;
        model.visit_with_gradients(gradients, &Name::root(), &mut |name, weights, gradient| {
            if position == states.len() {
                states.push(ParameterState::new(name.to_string(), weights.shape(), rule));
            }
            let state = &mut states[position];
            position += 1;
            if state.shape != weights.shape() || !name.is(&state.name) {
                return Err(NnError::ParametersChanged { name: name.to_string() });
            }
            let rule = if decays(&state.name) { &*rule } else { &undecayed };
            state.update(rule, weights, gradient)
        })?;
        match states.get(position) {
            None => Ok(norm),
            Some(state) => Err(NnError::ParametersChanged { name: state.name.clone() }),
        }
    }
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
    use crate::{Embedding, Linear, Matrix, RowGradients};

    pub(super) fn rules() -> [Rule; 5] {
        [
            Sgd { learning_rate: 0.1, momentum: 0.9, l2: 0.01 }.into(),
            Sgd::default().into(),
            AdaGrad { l2: 0.01, ..AdaGrad::default() }.into(),
            RowWiseAdaGrad { l2: 0.01, ..RowWiseAdaGrad::default() }.into(),
            Adam { weight_decay: 0.1, ..Adam::default() }.into(),
        ]
    }

    pub(super) fn table() -> Matrix {
        Matrix::from_rows(&[[1.0, -2.0], [0.5, 0.25], [3.0, 4.0]])
    }

    pub(super) fn table_row() -> Matrix {
        Matrix::from_rows(&[[1.0, -2.0, 0.5]])
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

    /// With gradients of zero, decay alone moves a parameter.
    #[test]
    fn biases_and_norms_do_not_decay_unless_asked_to() {
        let decayed = |optimizer: Optimizer| {
            let mut optimizer = optimizer;
            let mut layer = Linear::from_parts(table(), Some(table_row())).unwrap();
            let mut gradients = layer.new_gradients();
            optimizer.step(&mut layer, &mut gradients).unwrap();
            [layer.weight() != &table(), layer.bias() != Some(&table_row())]
        };
        for rule in [
            Sgd { l2: 0.1, ..Sgd::default() }.into(),
            AdaGrad { l2: 0.1, ..AdaGrad::default() }.into(),
            RowWiseAdaGrad { l2: 0.1, ..RowWiseAdaGrad::default() }.into(),
            Rule::Adam(Adam { weight_decay: 0.1, ..Adam::default() }),
        ] {
            let optimizer = Optimizer::new(rule).unwrap();
            assert_eq!(decayed(optimizer.clone().with_decay_of(|_| true)), [true, true]);
            assert_eq!(decayed(optimizer.clone().with_decay_of(|_| false)), [false, false]);
            assert_eq!(decayed(optimizer), [true, false], "{rule:?}");
        }
        for (name, decays) in [
            ("weight", true),
            ("items.weight", true),
            ("blocks.0.gate.weight", true),
            ("blocks.0.gate.bias", false),
            ("gru.bias_ih", false),
            ("blocks.0.attention_norm.weight", false),
            ("norm.bias", false),
        ] {
            assert_eq!(decays_by_default(name), decays, "{name}");
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
