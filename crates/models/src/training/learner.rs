//! What a model has to say so that it can be trained.

use forecart_nn::{DropoutKey, Gradient, Name, NnError, Optimizer, Trainable};
use serde::{Deserialize, Serialize};

/// What validation measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// NDCG@10 of the lists.
    #[default]
    Ndcg,
    /// Mean log loss of the probabilities, in nats; the loop sees it with its sign turned, for larger is better there.
    LogLoss,
}

impl Measure {
    /// Name and value, for people.
    pub(crate) fn shown(self, larger_is_better: f64) -> String {
        match self {
            Self::Ndcg => format!("NDCG@10 {larger_is_better:.4}"),
            Self::LogLoss => format!("log loss {:.4}", -larger_is_better),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ndcg => "NDCG@10",
            Self::LogLoss => "the log loss",
        }
    }

    /// What to say of a value that is not a number.
    pub(crate) fn not_a_number(self) -> String {
        format!("{} on validation is not a number", self.name())
    }
}

/// A model in training, with its examples, optimizer and buffers.
pub(crate) trait Learner {
    /// The weights.
    type Network: Trainable;

    /// What [`Self::validate`] measures.
    const MEASURE: Measure = Measure::Ndcg;

    /// Number of examples, which are known by their places `0..n_examples`; at least one.
    fn n_examples(&self) -> usize;

    /// The weights as they are, and the optimizer with its state.
    fn state(&self) -> (&Self::Network, &Optimizer);

    /// The same, to change, and the gradients of the last step, whether it succeeded or not.
    fn parts(&mut self) -> Parts<'_, Self::Network>;

    /// Computes anew what is derived from the weights; called after they were set from outside.
    ///
    /// # Errors
    /// Those of the layers.
    fn refresh(&mut self) -> Result<(), NnError> {
        Ok(())
    }

    /// One step of the optimizer on the examples at the places `batch`. All its randomness comes from `key`, which is
    /// that of the step.
    ///
    /// # Errors
    /// [`NnError::NonFinite`] for a loss or a gradient that is not finite; weights are then those before the step.
    fn step(&mut self, batch: &[u32], key: DropoutKey) -> Result<BatchLoss, NnError>;

    /// [`Self::MEASURE`], larger is better; `None` where there is nothing to validate on.
    ///
    /// # Errors
    /// Those of the layers.
    fn validate(&mut self) -> Result<Option<f64>, NnError>;

    /// Calls `visit` for the gradient of each parameter in the last step.
    ///
    /// # Errors
    /// The first error of `visit`.
    fn visit_gradients(
        &mut self,
        visit: &mut dyn FnMut(&Name<'_>, Gradient<'_>) -> Result<(), NnError>,
    ) -> Result<(), NnError> {
        let Parts { network, gradients, .. } = self.parts();
        network.visit_with_gradients(gradients, &Name::root(), &mut |name, _, gradient| {
            visit(name, gradient)
        })
    }
}

/// What a step changes and what it left.
pub(crate) struct Parts<'a, N: Trainable> {
    pub(crate) network: &'a mut N,
    pub(crate) optimizer: &'a mut Optimizer,
    pub(crate) gradients: &'a N::Gradients,
}

/// The loss of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct BatchLoss {
    /// Mean over the labels; 0 if there are none.
    pub(crate) mean: f64,
    /// Number of labels.
    pub(crate) n_labels: usize,
}
