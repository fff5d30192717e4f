//! The feed-forward network of a layer.

use forecart_nn::{
    Activation, Dropout, GatedResidual, GatedResidualWorkspace, Init, LayerNorm, LayerNormCache,
    Linear, Matrix, NnError, SwiGlu, SwiGluWorkspace,
};
use rand_chacha::ChaCha8Rng;

use super::block::{Context, Dropped, Scratch, add_branch, split_branch};
use super::config::{FeedForwardKind, SequenceConfig};

/// `x + dropout(F(LN(x)))`, where `F` is a [`Perceptron`] or SwiGLU.
#[derive(Debug, Clone)]
pub(super) struct FeedForward {
    norm: LayerNorm,
    perceptron: Option<Perceptron>,
    swiglu: Option<SwiGlu>,
    gate: Option<GatedResidual>,
    dropout: Dropout,
}

forecart_nn::trainable!(
    FeedForward,
    /// Gradients of a [`FeedForward`].
    pub(super) struct FeedForwardGradients {
        norm: LayerNorm,
        perceptron: Option<Perceptron>,
        swiglu: Option<SwiGlu>,
        gate: Option<GatedResidual>,
    }
);

/// `W_2 dropout(f(W_1 x))`.
#[derive(Debug, Clone)]
struct Perceptron {
    up: Linear,
    down: Linear,
    activation: Activation,
    dropout: Dropout,
}

forecart_nn::trainable!(
    Perceptron,
    /// Gradients of a [`Perceptron`].
    pub(super) struct PerceptronGradients {
        up: Linear,
        down: Linear,
    }
);

#[derive(Debug, Default)]
pub(super) struct FeedForwardWorkspace {
    norm: LayerNormCache,
    normed: Matrix,
    perceptron: PerceptronWorkspace,
    swiglu: SwiGluWorkspace,
    branch: Matrix,
    gate: GatedResidualWorkspace,
}

#[derive(Debug, Default)]
struct PerceptronWorkspace {
    raised: Matrix,
    active: Matrix,
}

impl FeedForward {
    pub(super) fn new(config: &SequenceConfig, rng: &mut ChaCha8Rng) -> Result<Self, NnError> {
        let (d, d_ff) = (config.d_model.get() as usize, config.d_ff as usize);
        let mut perceptron = |activation| Perceptron::new(config, activation, rng).map(Some);
        let perceptron = match config.feed_forward {
            FeedForwardKind::Relu => perceptron(Activation::Relu)?,
            FeedForwardKind::Gelu => perceptron(Activation::GeluTanh)?,
            FeedForwardKind::SwiGlu => None,
        };
        let swiglu = perceptron.is_none().then(|| SwiGlu::new(d, d_ff, d, true, rng));
        let swiglu = swiglu.transpose()?;
        let gate = config.gated.then(|| GatedResidual::new(d, rng)).transpose()?;
        let precision = config.precision.into();
        Ok(Self {
            norm: LayerNorm::new(d),
            perceptron,
            swiglu: swiglu.map(|layer| layer.in_precision(precision)),
            gate: gate.map(|gate| gate.in_precision(precision)),
            dropout: Dropout::new(config.dropout as f32)?,
        })
    }

    pub(super) fn forward(
        &self,
        x: &Matrix,
        y: &mut Matrix,
        context: Context<'_>,
        ws: &mut FeedForwardWorkspace,
    ) -> Result<(), NnError> {
        self.norm.forward(x, &mut ws.normed, &mut ws.norm)?;
        if let Some(layer) = &self.perceptron {
            let (normed, ws_inner) = (&ws.normed, &mut ws.perceptron);
            if self.is_joined(context) {
                return layer.forward(normed, Some(x), y, context, ws_inner);
            }
            layer.forward(normed, None, &mut ws.branch, context, ws_inner)?;
        }
        if let Some(layer) = &self.swiglu {
            layer.forward(&ws.normed, &mut ws.branch, &mut ws.swiglu)?;
        }
        context.drop(self.dropout, Dropped::FeedForward, &mut ws.branch);
        add_branch(self.gate.as_ref(), x, &ws.branch, y, &mut ws.gate)
    }

    /// Whether the branch is added to the layer's input as it is.
    fn is_joined(&self, context: Context<'_>) -> bool {
        self.gate.is_none() && !context.drops(self.dropout)
    }

    pub(super) fn backward(
        &self,
        x: &Matrix,
        d_y: &mut Matrix,
        context: Context<'_>,
        ws: &mut FeedForwardWorkspace,
        scratch: &mut Scratch,
        gradients: &mut FeedForwardGradients,
    ) -> Result<(), NnError> {
        let Scratch { d_branch, d_normed, d_x, d_active, .. } = scratch;
        let d_branch = if self.is_joined(context) {
            &*d_y
        } else {
            let gate = self.gate.as_ref().zip(gradients.gate.as_mut());
            split_branch(gate, x, &ws.branch, d_y, d_branch, d_x, &mut ws.gate)?;
            context.drop(self.dropout, Dropped::FeedForward, d_branch);
            &*d_branch
        };
        let normed = &ws.normed;
        if let (Some(layer), Some(gradients)) = (&self.perceptron, &mut gradients.perceptron) {
            let ws = &ws.perceptron;
            layer.backward(normed, d_branch, d_normed, context, ws, d_active, gradients)?;
        }
        if let (Some(layer), Some(gradients)) = (&self.swiglu, &mut gradients.swiglu) {
            layer.backward(normed, d_branch, Some(&mut *d_normed), &mut ws.swiglu, gradients)?;
        }
        self.norm.backward_onto(x, d_normed, d_y, &ws.norm, &mut gradients.norm)
    }
}

impl Perceptron {
    fn new(
        config: &SequenceConfig,
        activation: Activation,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self, NnError> {
        let (d, d_ff) = (config.d_model.get() as usize, config.d_ff as usize);
        let precision = config.precision.into();
        Ok(Self {
            up: Linear::new(d, d_ff, Init::Xavier, rng)?.in_precision(precision),
            down: Linear::new(d_ff, d, Init::Xavier, rng)?.in_precision(precision),
            activation,
            dropout: Dropout::new(config.dropout as f32)?,
        })
    }

    /// Adds `rest` to the output, if there is one.
    fn forward(
        &self,
        x: &Matrix,
        rest: Option<&Matrix>,
        y: &mut Matrix,
        context: Context<'_>,
        ws: &mut PerceptronWorkspace,
    ) -> Result<(), NnError> {
        self.up.forward(x, &mut ws.raised)?; // [n, d_ff]
        self.activation.forward(&ws.raised, &mut ws.active);
        context.drop(self.dropout, Dropped::Hidden, &mut ws.active);
        match rest {
            Some(rest) => self.down.forward_beside(&ws.active, rest, y), // [n, d]
            None => self.down.forward(&ws.active, y),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the inputs and outputs of two layers")]
    fn backward(
        &self,
        x: &Matrix,
        d_y: &Matrix,
        d_x: &mut Matrix,
        context: Context<'_>,
        ws: &PerceptronWorkspace,
        d_active: &mut Matrix,
        gradients: &mut PerceptronGradients,
    ) -> Result<(), NnError> {
        self.down.backward(&ws.active, d_y, Some(&mut *d_active), &mut gradients.down)?;
        context.drop(self.dropout, Dropped::Hidden, d_active);
        self.activation.backward(&ws.raised, d_active)?;
        self.up.backward(x, d_active, Some(d_x), &mut gradients.up)
    }
}
