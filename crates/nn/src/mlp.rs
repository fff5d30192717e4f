//! The multi-layer perceptron.

use rand_chacha::ChaCha8Rng;

use crate::{
    Activation, Dropout, DropoutKey, Init, Linear, Matrix, NnError,
    error::{check_length, check_range, check_shape},
};

/// Sizes of a multi-layer perceptron.
#[derive(Debug, Clone, PartialEq)]
pub struct MlpConfig {
    /// Columns of the input.
    pub n_in: usize,
    /// Columns of each hidden layer; empty gives a single affine layer, i.e. a linear model.
    pub hidden: Vec<usize>,
    /// Columns of the output.
    pub n_out: usize,
    /// After each hidden layer, not after the last.
    pub activation: Activation,
    /// Dropout after each activation, in `0.0..1.0`.
    pub dropout: f32,
}

/// Linear layers with an activation and dropout between them:
/// `h_0 = x`, `h_l = dropout(f(h_{l-1} W_lᵀ + b_l))`, `y = h_{L-1} W_Lᵀ + b_L`.
///
/// # Shapes
/// `x: [n, n_in]`, `h_l: [n, hidden[l - 1]]`, `y: [n, n_out]`: logits or scores, with no function on them.
///
/// Backward is the chain rule from the last layer to the first (Rumelhart, Hinton and Williams, Nature 323,
/// 1986; Goodfellow et al., *Deep Learning*, algorithm 6.4).
///
/// ```
/// use forecart_nn::{
///     Activation, Adam, Matrix, Mlp, MlpConfig, MlpWorkspace, Optimizer, Pass, Trainable,
///     Gradients, loss::bce_with_logits,
/// };
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
///
/// // Exclusive or: no linear model can learn it.
/// let x = Matrix::from_rows(&[[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]);
/// let targets = [0.0, 1.0, 1.0, 0.0];
///
/// let config = MlpConfig {
///     n_in: 2, hidden: vec![8], n_out: 1, activation: Activation::Tanh, dropout: 0.0,
/// };
/// let mut mlp = Mlp::new(&config, &mut ChaCha8Rng::seed_from_u64(7))?;
/// let mut gradients = mlp.new_gradients();
/// let mut optimizer = Optimizer::new(Adam { learning_rate: 0.05, ..Adam::default() })?;
/// let (mut workspace, mut d_logits) = (MlpWorkspace::default(), Matrix::default());
/// for _ in 0..300 {
///     let logits = mlp.forward(&x, Pass::Inference, &mut workspace)?;
///     bce_with_logits(logits, &targets, None, 4.0, &mut d_logits)?;
///     gradients.clear();
///     mlp.backward(&x, &d_logits, None, &mut workspace, &mut gradients)?;
///     optimizer.step(&mut mlp, &mut gradients)?;
/// }
/// let logits = mlp.forward(&x, Pass::Inference, &mut workspace)?;
/// let answers: Vec<bool> = logits.as_slice().iter().map(|&logit| logit > 0.0).collect();
/// assert_eq!(answers, [false, true, true, false]);
/// # Ok::<(), forecart_nn::NnError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Mlp {
    layers: Vec<Linear>,
    activation: Activation,
    dropout: Dropout,
}

crate::trainable!(
    Mlp,
    /// Gradients of an [`Mlp`].
    pub struct MlpGradients {
        layers: Vec<Linear>,
    }
);

/// What a forward pass is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// No dropout.
    Inference,
    /// With dropout.
    Training {
        /// Of this step.
        key: DropoutKey,
        /// Position of the first row of the input in the whole batch.
        first_row: usize,
    },
}

/// Buffers of one forward and backward pass, reused between steps. One for each tile that runs at a time.
#[derive(Debug, Clone)]
pub struct MlpWorkspace {
    pass: Pass,
    /// `h_{l-1} W_lᵀ + b_l` of each layer; the last is the output.
    linear: Vec<Matrix>,
    /// `h_l` of each hidden layer.
    hidden: Vec<Matrix>,
    d_output: Matrix,
    d_input: Matrix,
}

impl Default for MlpWorkspace {
    fn default() -> Self {
        Self {
            pass: Pass::Inference,
            linear: Vec::new(),
            hidden: Vec::new(),
            d_output: Matrix::default(),
            d_input: Matrix::default(),
        }
    }
}

impl Mlp {
    /// A network with drawn weights: [`Init::He`] before ReLU, GELU and SiLU, [`Init::Xavier`] before the others
    /// and in the last layer. Biases start at zero.
    ///
    /// # Errors
    /// [`NnError::OutOfRange`] if a layer has no columns or `dropout` is not in `0.0..1.0`.
    pub fn new(config: &MlpConfig, rng: &mut ChaCha8Rng) -> Result<Self, NnError> {
        let init = match config.activation {
            Activation::Relu | Activation::GeluTanh | Activation::Silu => Init::He,
            Activation::Identity | Activation::Sigmoid | Activation::Tanh => Init::Xavier,
        };
        Self::with_hidden(config, init, rng)
    }

    /// The same with hidden layers drawn by `init`.
    ///
    /// # Errors
    /// As [`Self::new`], and those of [`Init::matrix`].
    pub fn with_hidden(
        config: &MlpConfig,
        init: Init,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self, NnError> {
        let mut layers = Vec::with_capacity(config.hidden.len() + 1);
        let mut n_in = config.n_in;
        check_range("n_in", n_in as f64, n_in > 0, "positive")?;
        for &n_out in &config.hidden {
            check_range("hidden", n_out as f64, n_out > 0, "positive")?;
            layers.push(Linear::new(n_in, n_out, init, rng)?);
            n_in = n_out;
        }
        check_range("n_out", config.n_out as f64, config.n_out > 0, "positive")?;
        layers.push(Linear::new(n_in, config.n_out, Init::Xavier, rng)?);
        Self::from_layers(layers, config.activation, config.dropout)
    }

    /// A network from given layers.
    ///
    /// # Errors
    /// [`NnError::Shape`] if a layer's input is not its predecessor's output, [`NnError::Length`] if there is
    /// none, [`NnError::OutOfRange`] if `dropout` is not in `0.0..1.0`.
    pub fn from_layers(
        layers: Vec<Linear>,
        activation: Activation,
        dropout: f32,
    ) -> Result<Self, NnError> {
        if layers.is_empty() {
            return Err(NnError::Length { what: "layers", expected: 1, found: 0 });
        }
        for pair in layers.windows(2) {
            let expected = [pair[1].n_out(), pair[0].n_out()];
            check_shape("layer", expected, pair[1].weight().shape())?;
        }
        Ok(Self { layers, activation, dropout: Dropout::new(dropout)? })
    }

    /// Columns of the input.
    pub fn n_in(&self) -> usize {
        self.layers[0].n_in()
    }

    /// Columns of the output.
    pub fn n_out(&self) -> usize {
        self.layers[self.layers.len() - 1].n_out()
    }

    /// The affine layers, first to last.
    pub fn layers(&self) -> &[Linear] {
        &self.layers
    }

    /// Returns `y: [n, n_out]`, which stays in `workspace`, for `x: [n, n_in]`.
    ///
    /// # Errors
    /// [`NnError::Shape`] if `x` has other than `n_in` columns.
    pub fn forward<'w>(
        &self,
        x: &Matrix,
        pass: Pass,
        workspace: &'w mut MlpWorkspace,
    ) -> Result<&'w Matrix, NnError> {
        let n_hidden = self.layers.len() - 1;
        let MlpWorkspace { linear, hidden, .. } = workspace;
        linear.resize_with(n_hidden + 1, Matrix::default);
        hidden.resize_with(n_hidden, Matrix::default);
        for (layer_idx, layer) in self.layers.iter().enumerate() {
            let input = if layer_idx == 0 { x } else { &hidden[layer_idx - 1] };
            layer.forward(input, &mut linear[layer_idx])?; // [n, hidden[layer_idx]] or [n, n_out]
            if layer_idx < n_hidden {
                self.activation.forward(&linear[layer_idx], &mut hidden[layer_idx]);
                if let Pass::Training { key, first_row } = pass {
                    self.dropout.apply(key.layer(layer_idx), first_row, &mut hidden[layer_idx]);
                }
            }
        }
        workspace.pass = pass;
        Ok(&workspace.linear[n_hidden])
    }

    /// Adds to `gradients` and, where a `dx` is wanted, overwrites it with `[n, n_in]`.
    ///
    /// `x` and `workspace` are those of the forward pass that came before, `dy: [n, n_out]` the gradient of
    /// its output.
    ///
    /// # Errors
    /// [`NnError::Shape`] or [`NnError::Length`] if `x`, `dy`, `workspace` or `gradients` do not fit.
    pub fn backward(
        &self,
        x: &Matrix,
        dy: &Matrix,
        mut dx: Option<&mut Matrix>,
        workspace: &mut MlpWorkspace,
        gradients: &mut MlpGradients,
    ) -> Result<(), NnError> {
        let MlpWorkspace { pass, linear, hidden, d_output, d_input } = workspace;
        check_length("layers of a workspace", self.layers.len(), linear.len())?;
        check_length("layers of gradients", self.layers.len(), gradients.layers.len())?;
        check_shape("gradient of output", [x.rows(), self.n_out()], dy.shape())?;
        d_output.copy_from(dy);
        for layer_idx in (0..self.layers.len()).rev() {
            let (layer, gradients) = (&self.layers[layer_idx], &mut gradients.layers[layer_idx]);
            if layer_idx == 0 {
                return layer.backward(x, d_output, dx.take(), gradients);
            }
            let before = layer_idx - 1;
            layer.backward(&hidden[before], d_output, Some(&mut *d_input), gradients)?;
            if let Pass::Training { key, first_row } = *pass {
                self.dropout.apply(key.layer(before), first_row, d_input);
            }
            self.activation.backward(&linear[before], d_input)?; // [n, hidden[before]]
            std::mem::swap(d_output, d_input);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::{Name, Parameters, Trainable};

    fn config() -> MlpConfig {
        let hidden = vec![5, 4];
        MlpConfig { n_in: 3, hidden, n_out: 2, activation: Activation::Relu, dropout: 0.5 }
    }

    fn mlp() -> Mlp {
        Mlp::new(&config(), &mut ChaCha8Rng::seed_from_u64(1)).unwrap()
    }

    #[test]
    fn names_are_stable_and_count_all_parameters() {
        let mut names = Vec::new();
        mlp().visit(&Name::root().child("tower"), &mut |name, value| {
            names.push((name.to_string(), value.shape()));
        });
        let names: Vec<(&str, [usize; 2])> =
            names.iter().map(|(name, shape)| (name.as_str(), *shape)).collect();
        let want = [
            ("tower.layers.0.weight", [5, 3]),
            ("tower.layers.0.bias", [1, 5]),
            ("tower.layers.1.weight", [4, 5]),
            ("tower.layers.1.bias", [1, 4]),
            ("tower.layers.2.weight", [2, 4]),
            ("tower.layers.2.bias", [1, 2]),
        ];
        assert_eq!(names, want);
        assert_eq!(mlp().n_parameters(), 15 + 5 + 20 + 4 + 8 + 2);
    }

    #[test]
    fn dropout_acts_in_training_alone() {
        let (mlp, x) = (mlp(), Matrix::from_rows(&[[1.0, -2.0, 0.5], [0.3, 0.2, -0.1]]));
        let run = |pass| mlp.forward(&x, pass, &mut MlpWorkspace::default()).unwrap().clone();
        let training = |step| Pass::Training { key: DropoutKey::new(1, step), first_row: 0 };
        assert_eq!(run(Pass::Inference), run(Pass::Inference));
        assert_eq!(run(training(1)), run(training(1)));
        let differs = (1..10).any(|step| run(training(step)) != run(Pass::Inference));
        assert!(differs);
    }

    #[test]
    fn a_workspace_may_be_reused_for_other_sizes() {
        let mlp = mlp();
        let (small, large) = (Matrix::from_rows(&[[1.0, 2.0, 3.0]]), Matrix::zeros(9, 3));
        let mut workspace = MlpWorkspace::default();
        let first = mlp.forward(&small, Pass::Inference, &mut workspace).unwrap().clone();
        mlp.forward(&large, Pass::Inference, &mut workspace).unwrap();
        let again = mlp.forward(&small, Pass::Inference, &mut workspace).unwrap();
        assert_eq!(&first, again);
    }

    #[test]
    fn impossible_networks_are_refused() {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        assert!(Mlp::new(&MlpConfig { n_in: 0, ..config() }, rng).is_err());
        assert!(Mlp::new(&MlpConfig { hidden: vec![4, 0], ..config() }, rng).is_err());
        assert!(Mlp::new(&MlpConfig { dropout: 1.0, ..config() }, rng).is_err());
        assert!(Mlp::from_layers(vec![], Activation::Relu, 0.0).is_err());
        let mut layers = mlp().layers().to_vec();
        layers.swap(0, 1);
        assert!(Mlp::from_layers(layers, Activation::Relu, 0.0).is_err());
    }

    #[test]
    fn backward_without_forward_is_refused() {
        let mlp = mlp();
        let (x, dy) = (Matrix::zeros(2, 3), Matrix::zeros(2, 2));
        let mut workspace = MlpWorkspace::default();
        let result = mlp.backward(&x, &dy, None, &mut workspace, &mut mlp.new_gradients());
        assert!(matches!(result, Err(NnError::Length { .. })));
        // A forward pass of another batch size does not fit either.
        mlp.forward(&Matrix::zeros(3, 3), Pass::Inference, &mut workspace).unwrap();
        let result = mlp.backward(&x, &dy, None, &mut workspace, &mut mlp.new_gradients());
        assert!(matches!(result, Err(NnError::Shape { .. })));
    }
}
