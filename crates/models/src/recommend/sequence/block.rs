//! One layer of the encoder: attention or a recurrent layer, then a feed-forward network.

use forecart_nn::{
    Activation, Attention, AttentionOutput, AttentionWorkspace, Dropout, FoldedHead, GatedResidual,
    GatedResidualGradients, GatedResidualWorkspace, Init, LayerNorm, LayerNormCache, Linear,
    Matrix, NnError, Pass, Ragged, RecurrentWorkspace, RelativeBias, Weighting,
};
use rand_chacha::ChaCha8Rng;

use super::config::{Mixer, Objective, Precision, SequenceConfig};
use super::feed_forward::{FeedForward, FeedForwardWorkspace};
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
    /// `project` and `out` multiplied out, where there is one head.
    folded: Option<FoldedHead>,
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
    then fold
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
}

/// What the backward pass of one layer after the other is worked out in.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) d_branch: Matrix,
    pub(super) d_normed: Matrix,
    pub(super) d_x: Matrix,
    pub(super) d_active: Matrix,
    d_mixed: Matrix,
    d_attended: Matrix,
    d_projected: Matrix,
}

/// Where a layer drops values. Each has keys of its own, so that no mask of a step is another's.
#[derive(Debug, Clone, Copy)]
pub(super) enum Dropped {
    /// What the first layer is given.
    Input,
    /// What attention or recurrence adds to the stream.
    Branch,
    /// The hidden values of the feed-forward network.
    Hidden,
    /// What the feed-forward network adds to the stream.
    FeedForward,
    /// The weights of attention.
    Weights,
}

/// What all layers of a pass are told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) batch: Ragged<'a>,
    pub(super) times_ms: &'a [i64],
    pub(super) pass: Pass,
}

impl Context<'_> {
    /// Whether values are dropped.
    pub(super) fn drops(&self, dropout: Dropout) -> bool {
        self.pass != Pass::Inference && dropout.probability() > 0.0
    }

    /// Drops values of `place`.
    pub(super) fn drop(&self, dropout: Dropout, place: Dropped, x: &mut Matrix) {
        if let Pass::Training { key, first_row } = self.pass {
            dropout.apply(key.layer(place as usize), first_row, x);
        }
    }

    /// The pass of attention, whose heads derive keys of their own.
    fn pass_of_weights(&self) -> Pass {
        self.with_keys(Dropped::Weights as usize).pass
    }

    /// The same for layer `index`, which then has keys of its own.
    pub(super) fn of_layer(self, index: usize) -> Self {
        self.with_keys(1000 + index)
    }

    fn with_keys(self, base: usize) -> Self {
        let pass = match self.pass {
            Pass::Training { key, first_row } => Pass::Training { key: key.layer(base), first_row },
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

    /// Turns summed gradients into those of the parameters: of a folded head, [`Self::backward`] adds up others.
    pub(super) fn finish(&self, gradients: &mut BlockGradients) -> Result<(), NnError> {
        let Some((layer, gradients)) = self.attend.as_ref().zip(gradients.attend.as_mut()) else {
            return Ok(());
        };
        let AttendGradients { project, out, .. } = gradients;
        match &layer.folded {
            Some(folded) => folded.unfold(&layer.project, &layer.out, project, out),
            None => Ok(()),
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

    /// Turns `dy` into `dx` in place and adds to `gradients`, which are to be [finished](Self::finish).
    pub(super) fn backward(
        &self,
        x: &Matrix,
        d: &mut Matrix,
        context: Context<'_>,
        ws: &mut BlockWorkspace,
        scratch: &mut Scratch,
        gradients: &mut BlockGradients,
    ) -> Result<(), NnError> {
        if let (Some(layer), Some(gradients)) = (&self.feed_forward, &mut gradients.feed_forward) {
            layer.backward(&ws.middle, d, context, &mut ws.feed_forward, scratch, gradients)?;
        }
        if let (Some(layer), Some(gradients)) = (&self.attend, &mut gradients.attend) {
            layer.backward(x, d, context, &mut ws.attend, scratch, gradients)?;
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
        let dropout = Dropout::new(config.dropout() as f32)?;
        let is_hstu = config.mixer == Mixer::Hstu;
        let weighting = if is_hstu { Weighting::PointwiseSilu } else { Weighting::Softmax };
        let n_heads = config.n_heads.get() as usize;
        // The weights of pointwise attention are not a distribution; its output is dropped instead.
        let on_weights = if is_hstu { Dropout::new(0.0)? } else { dropout };
        let n_parts = if is_hstu { 4 } else { 3 };
        let is_causal = config.objective == Objective::Next;
        let max_len = config.max_tokens();
        let bias = config.relative_bias.then(|| RelativeBias::new(max_len, has_time, rng));
        let precision = config.precision.into();
        let project = Linear::new(d, n_parts * d, Init::Xavier, rng)?;
        let out = Linear::new(d, d, Init::Xavier, rng)?;
        let gate = config.gated.then(|| GatedResidual::new(d, rng)).transpose()?;
        let attention = Attention::new(n_heads, is_causal, weighting, on_weights)?;
        // A folded head has no products in bf16.
        let is_folded = n_heads == 1 && !is_hstu && config.precision == Precision::F32;
        let mut layer = Self {
            norm: LayerNorm::new(d),
            project: project.in_precision(precision),
            bias: bias.transpose()?,
            out_norm: is_hstu.then(|| LayerNorm::new(d)),
            out: out.in_precision(precision),
            gate: gate.map(|gate| gate.in_precision(precision)),
            attention: attention.in_precision(precision),
            dropout,
            folded: is_folded.then(FoldedHead::default),
        };
        layer.fold();
        Ok(layer)
    }

    /// Brings `folded` up to date with the layers.
    fn fold(&mut self) {
        if let Some(folded) = &mut self.folded {
            folded.fold(&self.project, &self.out).expect("the layers are made to fit");
        }
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
        match &self.folded {
            Some(folded) => folded.forward(&ws.normed, &mut ws.projected)?,
            None => self.project.forward(&ws.normed, &mut ws.projected)?, // [n, 3 d or 4 d]
        }
        let bias = self.bias.as_ref().map(|bias| (bias, context.times_ms));
        let (batch, pass) = (context.batch, context.pass_of_weights());
        let is_joined = self.is_joined(context);
        if let Some(folded) = &self.folded {
            let (rest, branch) =
                if is_joined { (Some(x), &mut *y) } else { (None, &mut ws.branch) };
            folded.start_out(rest, x.rows(), branch)?;
            let (qkv, ws) = (&ws.projected, &mut ws.attention);
            let out = AttentionOutput::AddTo(branch);
            self.attention.forward(qkv, d, batch, bias, pass, out, ws)?;
        } else {
            if let Some(norm) = &self.out_norm {
                Activation::Silu.forward(&ws.projected, &mut ws.active);
                let (active, out) = (&ws.active, AttentionOutput::Write(&mut ws.attended));
                self.attention.forward(active, d, batch, bias, pass, out, &mut ws.attention)?;
                norm.forward(&ws.attended, &mut ws.out_normed, &mut ws.out_norm)?;
                ws.mixed.copy_from(&ws.out_normed);
                multiply_by_gate(&mut ws.mixed, &ws.active);
                context.drop(self.dropout, Dropped::Branch, &mut ws.mixed);
            } else {
                let (qkv, out) = (&ws.projected, AttentionOutput::Write(&mut ws.mixed));
                self.attention.forward(qkv, d, batch, bias, pass, out, &mut ws.attention)?;
            }
            if is_joined {
                self.out.forward_beside(&ws.mixed, x, y)?;
            } else {
                self.out.forward(&ws.mixed, &mut ws.branch)?; // [n, d]
            }
        }
        if is_joined {
            return Ok(());
        }
        if self.out_norm.is_none() {
            context.drop(self.dropout, Dropped::Branch, &mut ws.branch);
        }
        add_branch(self.gate.as_ref(), x, &ws.branch, y, &mut ws.gate)
    }

    /// Whether the branch is added to the layer's input as it is.
    fn is_joined(&self, context: Context<'_>) -> bool {
        let is_dropped = self.out_norm.is_none() && context.drops(self.dropout);
        self.gate.is_none() && !is_dropped
    }

    fn backward(
        &self,
        x: &Matrix,
        d_y: &mut Matrix,
        context: Context<'_>,
        ws: &mut AttendWorkspace,
        scratch: &mut Scratch,
        gradients: &mut AttendGradients,
    ) -> Result<(), NnError> {
        let d = self.out.n_in();
        let Scratch { d_branch, d_normed, d_x, d_mixed, d_attended, d_projected, .. } = scratch;
        let d_branch = if self.is_joined(context) {
            &*d_y
        } else {
            let gate = self.gate.as_ref().zip(gradients.gate.as_mut());
            split_branch(gate, x, &ws.branch, d_y, d_branch, d_x, &mut ws.gate)?;
            if self.out_norm.is_none() {
                context.drop(self.dropout, Dropped::Branch, d_branch);
            }
            &*d_branch
        };
        match &self.folded {
            Some(folded) => folded.backward_out(d_branch, &mut gradients.out)?,
            None => self.out.backward(&ws.mixed, d_branch, Some(d_mixed), &mut gradients.out)?,
        }
        d_projected.reshape(ws.projected.rows(), ws.projected.cols());
        let (active, d_attended) = match (&self.out_norm, &mut gradients.out_norm) {
            (Some(norm), Some(gradients)) => {
                context.drop(self.dropout, Dropped::Branch, d_mixed);
                for row in 0..d_mixed.rows() {
                    let u = &ws.active.row(row)[3 * d..];
                    let d_u = &mut d_projected.row_mut(row)[3 * d..];
                    let normed = ws.out_normed.row(row);
                    let d_mixed = d_mixed.row_mut(row);
                    for (((d_mixed, d_u), u), normed) in
                        d_mixed.iter_mut().zip(d_u).zip(u).zip(normed)
                    {
                        *d_u = *d_mixed * normed;
                        *d_mixed *= u;
                    }
                }
                norm.backward(&ws.attended, d_mixed, d_attended, &ws.out_norm, gradients)?;
                (&ws.active, &*d_attended)
            }
            _ if self.folded.is_some() => (&ws.projected, d_branch),
            _ => (&ws.projected, &*d_mixed),
        };
        let bias = self.bias.as_ref().zip(gradients.bias.as_mut());
        let bias = bias.map(|(bias, gradients)| (bias, context.times_ms, gradients));
        let (batch, pass) = (context.batch, context.pass_of_weights());
        let ws_attention = &mut ws.attention;
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
        let d_project = &mut gradients.project;
        match &self.folded {
            Some(folded) => folded.backward(&ws.normed, d_projected, d_normed, d_project)?,
            None => self.project.backward(&ws.normed, d_projected, Some(d_normed), d_project)?,
        }
        self.norm.backward_onto(x, d_normed, d_y, &ws.norm, &mut gradients.norm)
    }
}

/// `y = x + branch`, or with the branch gated by `x`.
pub(super) fn add_branch(
    gate: Option<&GatedResidual>,
    x: &Matrix,
    branch: &Matrix,
    y: &mut Matrix,
    ws: &mut GatedResidualWorkspace,
) -> Result<(), NnError> {
    match gate {
        Some(gate) => gate.forward(x, branch, y, ws),
        None => y.set_sum(x, branch),
    }
}

/// The reverse of [`add_branch`]: leaves the gradient of the branch in `d_branch`, and in `d_y` what reaches `x` past
/// it.
pub(super) fn split_branch(
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

#[cfg(test)]
mod tests {
    use forecart_nn::DropoutKey;

    use super::*;

    /// Else a mask of one place is the mask of another.
    #[test]
    fn every_place_and_head_of_every_layer_has_a_key_of_its_own() {
        let key = DropoutKey::new(1, 2);
        let pass = Pass::Training { key, first_row: 0 };
        let whole = Context { batch: Ragged::new(&[0]).unwrap(), times_ms: &[], pass };
        let key_of = |pass| match pass {
            Pass::Training { key, .. } => key,
            Pass::Inference => unreachable!("the pass above trains"),
        };
        let mut keys = Vec::new();
        for context in [whole, whole.of_layer(0), whole.of_layer(1)] {
            let own = key_of(context.pass);
            let places = [Dropped::Input, Dropped::Branch, Dropped::Hidden, Dropped::FeedForward];
            keys.extend(places.map(|place| own.layer(place as usize)));
            keys.extend((0..8).map(|head| key_of(context.pass_of_weights()).layer(head)));
        }
        for (place, key) in keys.iter().enumerate() {
            assert!(!keys[..place].contains(key), "{place}");
        }
    }
}
