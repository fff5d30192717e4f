//! One layer of the encoder: attention or a recurrent layer, then a feed-forward network.

use forecart_nn::{
    Activation, Attention, AttentionWorkspace, Dropout, DropoutKey, GatedResidual,
    GatedResidualGradients, GatedResidualWorkspace, Gradients, Init, LayerNorm, LayerNormCache,
    Linear, Matrix, NnError, Pass, Ragged, RecurrentWorkspace, RelativeBias, SwiGlu,
    SwiGluWorkspace, Weighting,
};
use rand_chacha::ChaCha8Rng;

use super::config::{FeedForwardKind, Mixer, Objective, SequenceConfig};
use super::recurrence::Recurrence;

/// What mixes the tokens of a sequence (one of the two), and the feed-forward network of one layer.
#[derive(Debug, Clone)]
pub(super) struct Block {
    attend: Option<Attend>,
    recurrence: Option<Recurrence>,
    feed_forward: Option<FeedForward>,
}

forecart_nn::trainable!(
    Block,
    /// Gradients of a [`Block`].
    pub(super) struct BlockGradients {
        attend: Option<Attend>,
        recurrence: Option<Recurrence>,
        feed_forward: Option<FeedForward>,
    }
);

/// `x + W_o dropout(attention(W_qkv LN(x)))`. Pointwise attention (HSTU) is gated and normalized:
/// `x + W_o dropout(LN(attention(q, k, v)) ⊙ u)` with `[q, k, v, u] = SiLU(W LN(x))`.
#[derive(Debug, Clone)]
struct Attend {
    norm: LayerNorm,
    project: Linear,
    bias: Option<RelativeBias>,
    out_norm: Option<LayerNorm>,
    out: Linear,
    gate: Option<GatedResidual>,
    attention: Attention,
    dropout: Dropout,
}

forecart_nn::trainable!(
    Attend,
    /// Gradients of an [`Attend`].
    pub(super) struct AttendGradients {
        norm: LayerNorm,
        project: Linear,
        bias: Option<RelativeBias>,
        out_norm: Option<LayerNorm>,
        out: Linear,
        gate: Option<GatedResidual>,
    }
);

/// `x + dropout(F(LN(x)))`, where `F` is a [`Perceptron`] or SwiGLU.
#[derive(Debug, Clone)]
struct FeedForward {
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

/// Activations of one [`Block`] on one tile.
#[derive(Debug, Default)]
pub(super) struct BlockWorkspace {
    attend: AttendWorkspace,
    recurrence: RecurrentWorkspace,
    /// Output of what mixes the tokens.
    middle: Matrix,
    feed_forward: FeedForwardWorkspace,
}

#[derive(Debug, Default)]
struct AttendWorkspace {
    norm: LayerNormCache,
    normed: Matrix,
    /// `W LN(x)`, `[n, 3 d]` or `[n, 4 d]`; with SiLU applied in `active` where there is one.
    projected: Matrix,
    active: Matrix,
    attention: AttentionWorkspace,
    attended: Matrix,
    out_norm: LayerNormCache,
    out_normed: Matrix,
    /// Input of `out`.
    mixed: Matrix,
    branch: Matrix,
    gate: GatedResidualWorkspace,
    d_branch: Matrix,
    d_mixed: Matrix,
    d_attended: Matrix,
    d_projected: Matrix,
    d_normed: Matrix,
    d_x: Matrix,
}

#[derive(Debug, Default)]
struct FeedForwardWorkspace {
    norm: LayerNormCache,
    normed: Matrix,
    perceptron: PerceptronWorkspace,
    swiglu: SwiGluWorkspace,
    branch: Matrix,
    gate: GatedResidualWorkspace,
    d_branch: Matrix,
    d_normed: Matrix,
    d_x: Matrix,
}

#[derive(Debug, Default)]
struct PerceptronWorkspace {
    raised: Matrix,
    active: Matrix,
    d_active: Matrix,
}

/// What all layers of a pass are told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) batch: Ragged<'a>,
    pub(super) times_ms: &'a [i64],
    pub(super) pass: Pass,
}

impl Context<'_> {
    /// Drops values of a part of its own.
    pub(super) fn drop(&self, dropout: Dropout, part: usize, x: &mut Matrix) {
        if let Pass::Training { key, first_row } = self.pass {
            dropout.apply(key.layer(part), first_row, x);
        }
    }

    /// The same for layer `index`, which then has keys of its own.
    pub(super) fn of_layer(self, index: usize) -> Self {
        let layer = |key: DropoutKey| key.layer(1000 + index);
        let pass = match self.pass {
            Pass::Training { key, first_row } => Pass::Training { key: layer(key), first_row },
            Pass::Inference => Pass::Inference,
        };
        Self { pass, ..self }
    }
}

impl Block {
    pub(super) fn new(
        config: &SequenceConfig,
        has_time: bool,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self, NnError> {
        let is_recurrent = config.mixer == Mixer::Gru;
        let attend = (!is_recurrent).then(|| Attend::new(config, has_time, rng)).transpose()?;
        let recurrence = is_recurrent.then(|| Recurrence::new(config, rng)).transpose()?;
        let has_feed_forward = config.d_ff > 0;
        let feed_forward = has_feed_forward.then(|| FeedForward::new(config, rng)).transpose()?;
        Ok(Self { attend, recurrence, feed_forward })
    }

    /// Writes `y: [n, d]` for `x: [n, d]`.
    pub(super) fn forward(
        &self,
        x: &Matrix,
        y: &mut Matrix,
        context: Context<'_>,
        ws: &mut BlockWorkspace,
    ) -> Result<(), NnError> {
        match &self.feed_forward {
            None => self.mix(x, y, context, &mut ws.attend, &mut ws.recurrence),
            Some(feed_forward) => {
                self.mix(x, &mut ws.middle, context, &mut ws.attend, &mut ws.recurrence)?;
                feed_forward.forward(&ws.middle, y, context, &mut ws.feed_forward)
            }
        }
    }

    fn mix(
        &self,
        x: &Matrix,
        y: &mut Matrix,
        context: Context<'_>,
        attend: &mut AttendWorkspace,
        recurrence: &mut RecurrentWorkspace,
    ) -> Result<(), NnError> {
        if let Some(layer) = &self.recurrence {
            layer.forward(x, y, context, recurrence)?;
        }
        if let Some(layer) = &self.attend {
            layer.forward(x, y, context, attend)?;
        }
        Ok(())
    }

    /// Turns `dy` into `dx` in place and adds to `gradients`.
    pub(super) fn backward(
        &self,
        x: &Matrix,
        d: &mut Matrix,
        context: Context<'_>,
        ws: &mut BlockWorkspace,
        gradients: &mut BlockGradients,
    ) -> Result<(), NnError> {
        if let (Some(layer), Some(gradients)) = (&self.feed_forward, &mut gradients.feed_forward) {
            layer.backward(&ws.middle, d, context, &mut ws.feed_forward, gradients)?;
        }
        if let (Some(layer), Some(gradients)) = (&self.attend, &mut gradients.attend) {
            layer.backward(x, d, context, &mut ws.attend, gradients)?;
        }
        if let (Some(layer), Some(gradients)) = (&self.recurrence, &mut gradients.recurrence) {
            layer.backward(d, context, &mut ws.middle, &mut ws.recurrence, gradients)?;
        }
        Ok(())
    }
}

impl Attend {
    fn new(config: &SequenceConfig, has_time: bool, rng: &mut ChaCha8Rng) -> Result<Self, NnError> {
        let d = config.d_model.get() as usize;
        let dropout = Dropout::new(config.dropout as f32)?;
        let is_hstu = config.mixer == Mixer::Hstu;
        let weighting = if is_hstu { Weighting::PointwiseSilu } else { Weighting::Softmax };
        let n_heads = config.n_heads.get() as usize;
        // The weights of pointwise attention are not a distribution; its output is dropped instead.
        let on_weights = if is_hstu { Dropout::new(0.0)? } else { dropout };
        let n_parts = if is_hstu { 4 } else { 3 };
        let is_causal = config.objective == Objective::Next;
        let max_len = config.max_tokens();
        let bias = config.relative_bias.then(|| RelativeBias::new(max_len, has_time, rng));
        Ok(Self {
            norm: LayerNorm::new(d),
            project: Linear::new(d, n_parts * d, Init::Xavier, rng)?,
            bias: bias.transpose()?,
            out_norm: is_hstu.then(|| LayerNorm::new(d)),
            out: Linear::new(d, d, Init::Xavier, rng)?,
            gate: config.gated.then(|| GatedResidual::new(d, rng)).transpose()?,
            attention: Attention::new(n_heads, is_causal, weighting, on_weights)?,
            dropout,
        })
    }

    fn forward(
        &self,
        x: &Matrix,
        y: &mut Matrix,
        context: Context<'_>,
        ws: &mut AttendWorkspace,
    ) -> Result<(), NnError> {
        let d = self.out.n_in();
        self.norm.forward(x, &mut ws.normed, &mut ws.norm)?;
        self.project.forward(&ws.normed, &mut ws.projected)?; // [n, 3 d or 4 d]
        let bias = self.bias.as_ref().map(|bias| (bias, context.times_ms));
        let attended = match self.out_norm {
            Some(_) => &mut ws.attended,
            None => &mut ws.mixed,
        };
        let active = match self.out_norm {
            Some(_) => {
                Activation::Silu.forward(&ws.projected, &mut ws.active);
                &ws.active
            }
            None => &ws.projected,
        };
        let Context { batch, pass, .. } = context;
        self.attention.forward(active, d, batch, bias, pass, attended, &mut ws.attention)?;
        if let Some(norm) = &self.out_norm {
            norm.forward(&ws.attended, &mut ws.out_normed, &mut ws.out_norm)?;
            ws.mixed.copy_from(&ws.out_normed);
            multiply_by_gate(&mut ws.mixed, &ws.active);
            context.drop(self.dropout, 1, &mut ws.mixed);
        }
        self.out.forward(&ws.mixed, &mut ws.branch)?; // [n, d]
        if self.out_norm.is_none() {
            context.drop(self.dropout, 1, &mut ws.branch);
        }
        add_branch(self.gate.as_ref(), x, &ws.branch, y, &mut ws.gate)
    }

    fn backward(
        &self,
        x: &Matrix,
        d_y: &mut Matrix,
        context: Context<'_>,
        ws: &mut AttendWorkspace,
        gradients: &mut AttendGradients,
    ) -> Result<(), NnError> {
        let d = self.out.n_in();
        let gate = self.gate.as_ref().zip(gradients.gate.as_mut());
        split_branch(gate, x, &ws.branch, d_y, &mut ws.d_branch, &mut ws.d_x, &mut ws.gate)?;
        if self.out_norm.is_none() {
            context.drop(self.dropout, 1, &mut ws.d_branch);
        }
        self.out.backward(&ws.mixed, &ws.d_branch, Some(&mut ws.d_mixed), &mut gradients.out)?;
        ws.d_projected.reshape(ws.projected.rows(), ws.projected.cols());
        let (active, d_attended) = match (&self.out_norm, &mut gradients.out_norm) {
            (Some(norm), Some(gradients)) => {
                context.drop(self.dropout, 1, &mut ws.d_mixed);
                for row in 0..ws.d_mixed.rows() {
                    let u = &ws.active.row(row)[3 * d..];
                    let d_u = &mut ws.d_projected.row_mut(row)[3 * d..];
                    let normed = ws.out_normed.row(row);
                    let d_mixed = ws.d_mixed.row_mut(row);
                    for (((d_mixed, d_u), u), normed) in
                        d_mixed.iter_mut().zip(d_u).zip(u).zip(normed)
                    {
                        *d_u = *d_mixed * normed;
                        *d_mixed *= u;
                    }
                }
                let d_attended = &mut ws.d_attended;
                norm.backward(&ws.attended, &ws.d_mixed, d_attended, &ws.out_norm, gradients)?;
                (&ws.active, &ws.d_attended)
            }
            _ => (&ws.projected, &ws.d_mixed),
        };
        let bias = self.bias.as_ref().zip(gradients.bias.as_mut());
        let bias = bias.map(|(bias, gradients)| (bias, context.times_ms, gradients));
        let (Context { batch, pass, .. }, ws_attention) = (context, &mut ws.attention);
        let d_projected = &mut ws.d_projected;
        self.attention.backward(
            active,
            d,
            batch,
            bias,
            pass,
            d_attended,
            d_projected,
            ws_attention,
        )?;
        if self.out_norm.is_some() {
            Activation::Silu.backward(&ws.projected, d_projected)?;
        }
        let d_normed = &mut ws.d_normed;
        self.project.backward(&ws.normed, d_projected, Some(d_normed), &mut gradients.project)?;
        self.norm.backward(x, d_normed, &mut ws.d_x, &ws.norm, &mut gradients.norm)?;
        d_y.add(&ws.d_x)
    }
}

impl FeedForward {
    fn new(config: &SequenceConfig, rng: &mut ChaCha8Rng) -> Result<Self, NnError> {
        let (d, d_ff) = (config.d_model.get() as usize, config.d_ff as usize);
        let mut perceptron = |activation| Perceptron::new(config, activation, rng).map(Some);
        let perceptron = match config.feed_forward {
            FeedForwardKind::Relu => perceptron(Activation::Relu)?,
            FeedForwardKind::Gelu => perceptron(Activation::GeluTanh)?,
            FeedForwardKind::SwiGlu => None,
        };
        let swiglu = perceptron.is_none().then(|| SwiGlu::new(d, d_ff, d, true, rng));
        Ok(Self {
            norm: LayerNorm::new(d),
            perceptron,
            swiglu: swiglu.transpose()?,
            gate: config.gated.then(|| GatedResidual::new(d, rng)).transpose()?,
            dropout: Dropout::new(config.dropout as f32)?,
        })
    }

    fn forward(
        &self,
        x: &Matrix,
        y: &mut Matrix,
        context: Context<'_>,
        ws: &mut FeedForwardWorkspace,
    ) -> Result<(), NnError> {
        self.norm.forward(x, &mut ws.normed, &mut ws.norm)?;
        if let Some(layer) = &self.perceptron {
            layer.forward(&ws.normed, &mut ws.branch, context, &mut ws.perceptron)?;
        }
        if let Some(layer) = &self.swiglu {
            layer.forward(&ws.normed, &mut ws.branch, &mut ws.swiglu)?;
        }
        context.drop(self.dropout, 3, &mut ws.branch);
        add_branch(self.gate.as_ref(), x, &ws.branch, y, &mut ws.gate)
    }

    fn backward(
        &self,
        x: &Matrix,
        d_y: &mut Matrix,
        context: Context<'_>,
        ws: &mut FeedForwardWorkspace,
        gradients: &mut FeedForwardGradients,
    ) -> Result<(), NnError> {
        let gate = self.gate.as_ref().zip(gradients.gate.as_mut());
        split_branch(gate, x, &ws.branch, d_y, &mut ws.d_branch, &mut ws.d_x, &mut ws.gate)?;
        context.drop(self.dropout, 3, &mut ws.d_branch);
        let (normed, d_branch, d_normed) = (&ws.normed, &ws.d_branch, &mut ws.d_normed);
        if let (Some(layer), Some(gradients)) = (&self.perceptron, &mut gradients.perceptron) {
            layer.backward(normed, d_branch, d_normed, context, &mut ws.perceptron, gradients)?;
        }
        if let (Some(layer), Some(gradients)) = (&self.swiglu, &mut gradients.swiglu) {
            layer.backward(normed, d_branch, Some(&mut *d_normed), &mut ws.swiglu, gradients)?;
        }
        self.norm.backward(x, d_normed, &mut ws.d_x, &ws.norm, &mut gradients.norm)?;
        d_y.add(&ws.d_x)
    }
}

impl Perceptron {
    fn new(
        config: &SequenceConfig,
        activation: Activation,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self, NnError> {
        let (d, d_ff) = (config.d_model.get() as usize, config.d_ff as usize);
        Ok(Self {
            up: Linear::new(d, d_ff, Init::Xavier, rng)?,
            down: Linear::new(d_ff, d, Init::Xavier, rng)?,
            activation,
            dropout: Dropout::new(config.dropout as f32)?,
        })
    }

    fn forward(
        &self,
        x: &Matrix,
        y: &mut Matrix,
        context: Context<'_>,
        ws: &mut PerceptronWorkspace,
    ) -> Result<(), NnError> {
        self.up.forward(x, &mut ws.raised)?; // [n, d_ff]
        self.activation.forward(&ws.raised, &mut ws.active);
        context.drop(self.dropout, 2, &mut ws.active);
        self.down.forward(&ws.active, y) // [n, d]
    }

    fn backward(
        &self,
        x: &Matrix,
        d_y: &Matrix,
        d_x: &mut Matrix,
        context: Context<'_>,
        ws: &mut PerceptronWorkspace,
        gradients: &mut PerceptronGradients,
    ) -> Result<(), NnError> {
        let d_active = &mut ws.d_active;
        self.down.backward(&ws.active, d_y, Some(&mut *d_active), &mut gradients.down)?;
        context.drop(self.dropout, 2, d_active);
        self.activation.backward(&ws.raised, d_active)?;
        self.up.backward(x, d_active, Some(d_x), &mut gradients.up)
    }
}

/// `y = x + branch`, or with the branch gated by `x`.
fn add_branch(
    gate: Option<&GatedResidual>,
    x: &Matrix,
    branch: &Matrix,
    y: &mut Matrix,
    ws: &mut GatedResidualWorkspace,
) -> Result<(), NnError> {
    match gate {
        Some(gate) => gate.forward(x, branch, y, ws),
        None => {
            y.copy_from(x);
            y.add(branch)
        }
    }
}

/// The reverse of [`add_branch`]: leaves the gradient of the branch in `d_branch`, and in `d_y` what reaches `x` past
/// it.
fn split_branch(
    gate: Option<(&GatedResidual, &mut GatedResidualGradients)>,
    x: &Matrix,
    branch: &Matrix,
    d_y: &mut Matrix,
    d_branch: &mut Matrix,
    d_x: &mut Matrix,
    ws: &mut GatedResidualWorkspace,
) -> Result<(), NnError> {
    match gate {
        Some((gate, gradients)) => {
            gate.backward(x, branch, d_y, d_x, d_branch, ws, gradients)?;
            d_y.copy_from(d_x);
        }
        None => d_branch.copy_from(d_y),
    }
    Ok(())
}

/// `x ⊙ u`, where `u` is the last fourth of the projection.
fn multiply_by_gate(x: &mut Matrix, projected: &Matrix) {
    let d = x.cols();
    for row in 0..x.rows() {
        let u = &projected.row(row)[3 * d..];
        x.row_mut(row).iter_mut().zip(u).for_each(|(x, u)| *x *= u);
    }
}
