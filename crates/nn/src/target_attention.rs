//! Attention of a target item to a history.

use rand_chacha::ChaCha8Rng;

use crate::{
    Activation, Matrix, Mlp, MlpConfig, MlpWorkspace, NnError, Pass, Ragged,
    error::{check_range, check_shape},
    kernels::{dot, exp_shifted},
};

/// Sizes of a [`TargetAttention`].
#[derive(Debug, Clone, PartialEq)]
pub struct TargetAttentionConfig {
    /// Columns of history and target.
    pub n_dims: usize,
    /// Columns of the activation unit's hidden layers; 80 and 40 in the authors' code.
    pub hidden: Vec<usize>,
    /// After each hidden layer.
    pub activation: Activation,
    /// Whether the weights of a history are made to sum to one. The paper keeps them as they are, so that a history
    /// with more of what the target asks for gives a longer vector.
    pub softmax: bool,
}

/// The sum of a history, weighted by what a small perceptron makes of each token and the target:
/// `y = Σ_j a_j h_j`, `a_j = mlp([h_j, t, h_j - t, h_j ⊙ t])`.
///
/// # Shapes
/// `history: [n_tokens, n_dims]`, `targets: [n_sequences, n_dims]`, `y: [n_sequences, n_dims]`. A history without tokens
/// gives zeros.
///
/// Source: Zhou et al., "Deep Interest Network", KDD 2018, equation 3; the four inputs are those of the authors' code, which
/// has more of them than figure 2.
#[derive(Debug, Clone)]
pub struct TargetAttention {
    unit: Mlp,
    softmax: bool,
}

crate::trainable!(
    TargetAttention,
    /// Gradients of a [`TargetAttention`].
    pub struct TargetAttentionGradients {
        unit: Mlp,
    }
);

/// Buffers of one forward and backward pass, reused between steps. One for each tile that runs at a time.
#[derive(Debug, Clone, Default)]
pub struct TargetAttentionWorkspace {
    /// `[n_tokens, 4 * n_dims]`.
    pairs: Matrix,
    unit: MlpWorkspace,
    /// `[n_tokens, 1]`.
    weights: Matrix,
    y: Matrix,
    d_weights: Matrix,
    d_pairs: Matrix,
}

/// Where the gradients of the inputs go.
#[derive(Debug)]
pub struct TargetAttentionInputs<'a> {
    /// `[n_tokens, n_dims]`.
    pub d_history: &'a mut Matrix,
    /// `[n_sequences, n_dims]`.
    pub d_targets: &'a mut Matrix,
}

impl TargetAttention {
    /// A layer whose activation unit is drawn as [`Mlp::new`] does.
    ///
    /// # Errors
    /// [`NnError::OutOfRange`] if a size is zero.
    pub fn new(config: &TargetAttentionConfig, rng: &mut ChaCha8Rng) -> Result<Self, NnError> {
        check_range("n_dims", config.n_dims as f64, config.n_dims > 0, "positive")?;
        let unit = MlpConfig {
            n_in: 4 * config.n_dims,
            hidden: config.hidden.clone(),
            n_out: 1,
            activation: config.activation,
            dropout: 0.0,
        };
        Self::from_unit(Mlp::new(&unit, rng)?, config.softmax)
    }

    /// A layer with a given activation unit, from `4 * n_dims` columns to one.
    ///
    /// # Errors
    /// [`NnError::Shape`] if it has others.
    pub fn from_unit(unit: Mlp, softmax: bool) -> Result<Self, NnError> {
        let expected = [1, unit.n_in().div_ceil(4).max(1) * 4];
        check_shape("activation unit", expected, [unit.n_out(), unit.n_in()])?;
        Ok(Self { unit, softmax })
    }

    /// Columns of history, target and output.
    pub fn n_dims(&self) -> usize {
        self.unit.n_in() / 4
    }

    fn check_inputs(
        &self,
        history: &Matrix,
        batch: Ragged<'_>,
        targets: &Matrix,
    ) -> Result<(), NnError> {
        check_shape("history", [batch.n_tokens(), self.n_dims()], history.shape())?;
        check_shape("targets", [batch.n_sequences(), self.n_dims()], targets.shape())
    }

    /// Returns `y: [n_sequences, n_dims]`, which stays in `workspace`.
    ///
    /// # Errors
    /// [`NnError::Shape`] if `history` or `targets` do not fit the layer and the batch.
    pub fn forward<'w>(
        &self,
        history: &Matrix,
        batch: Ragged<'_>,
        targets: &Matrix,
        workspace: &'w mut TargetAttentionWorkspace,
    ) -> Result<&'w Matrix, NnError> {
        self.check_inputs(history, batch, targets)?;
        let n_dims = self.n_dims();
        let TargetAttentionWorkspace { pairs, unit, weights, y, .. } = workspace;
        pairs.reshape(batch.n_tokens(), 4 * n_dims);
        for (sequence, tokens) in batch.sequences().enumerate() {
            let target = targets.row(sequence);
            for token in tokens {
                let item = history.row(token);
                let (copies, products) = pairs.row_mut(token).split_at_mut(2 * n_dims);
                copies[..n_dims].copy_from_slice(item);
                copies[n_dims..].copy_from_slice(target);
                let (difference, product) = products.split_at_mut(n_dims);
                for dim in 0..n_dims {
                    difference[dim] = item[dim] - target[dim];
                    product[dim] = item[dim] * target[dim];
                }
            }
        }
        weights.copy_from(self.unit.forward(pairs, Pass::Inference, unit)?); // [n_tokens, 1]
        y.reset(batch.n_sequences(), n_dims);
        for (sequence, tokens) in batch.sequences().enumerate() {
            if self.softmax {
                let weights = &mut weights.as_mut_slice()[tokens.clone()];
                let (_, sum) = exp_shifted(weights);
                weights.iter_mut().for_each(|weight| *weight /= sum);
            }
            for token in tokens {
                let weight = weights.as_slice()[token];
                for (sum, value) in y.row_mut(sequence).iter_mut().zip(history.row(token)) {
                    *sum += weight * value;
                }
            }
        }
        Ok(y)
    }

    /// Adds to `gradients` and overwrites those of the inputs.
    ///
    /// `history`, `batch`, `targets` and `workspace` are those of the forward pass that came before,
    /// `dy: [n_sequences, n_dims]` the gradient of its output.
    ///
    /// # Errors
    /// [`NnError::Shape`] or [`NnError::Length`] if they do not fit.
    pub fn backward(
        &self,
        (history, batch, targets): (&Matrix, Ragged<'_>, &Matrix),
        dy: &Matrix,
        inputs: TargetAttentionInputs<'_>,
        workspace: &mut TargetAttentionWorkspace,
        gradients: &mut TargetAttentionGradients,
    ) -> Result<(), NnError> {
        self.check_inputs(history, batch, targets)?;
        check_shape("gradient of target attention", targets.shape(), dy.shape())?;
        let TargetAttentionWorkspace { pairs, unit, weights, d_weights, d_pairs, .. } = workspace;
        check_shape("weights in a workspace", [history.rows(), 1], weights.shape())?;
        d_weights.reshape(history.rows(), 1);
        for (sequence, tokens) in batch.sequences().enumerate() {
            let d_weights = &mut d_weights.as_mut_slice()[tokens.clone()];
            for (d_weight, token) in d_weights.iter_mut().zip(tokens.clone()) {
                *d_weight = dot(dy.row(sequence), history.row(token));
            }
            if self.softmax {
                let weights = &weights.as_slice()[tokens];
                let mean = dot(weights, d_weights);
                for (d_weight, weight) in d_weights.iter_mut().zip(weights) {
                    *d_weight = weight * (*d_weight - mean);
                }
            }
        }
        self.unit.backward(pairs, d_weights, Some(&mut *d_pairs), unit, &mut gradients.unit)?; // [n_tokens, 4 * n_dims]

        let n_dims = self.n_dims();
        let TargetAttentionInputs { d_history, d_targets } = inputs;
        d_history.reshape(history.rows(), n_dims);
        d_targets.reset(targets.rows(), n_dims);
        for (sequence, tokens) in batch.sequences().enumerate() {
            let (target, dy) = (targets.row(sequence), dy.row(sequence));
            let d_target = d_targets.row_mut(sequence);
            for token in tokens {
                let (item, weight) = (history.row(token), weights.as_slice()[token]);
                let [d_copy, d_target_copy, d_difference, d_product] =
                    [0, 1, 2, 3].map(|part| &d_pairs.row(token)[part * n_dims..][..n_dims]);
                let d_item = d_history.row_mut(token);
                for dim in 0..n_dims {
                    d_item[dim] = weight * dy[dim]
                        + d_copy[dim]
                        + d_difference[dim]
                        + d_product[dim] * target[dim];
                    d_target[dim] +=
                        d_target_copy[dim] - d_difference[dim] + d_product[dim] * item[dim];
                }
            }
        }
        Ok(())
    }
}
