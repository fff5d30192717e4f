//! Layers of attention and perceptrons over all rows of a text.

use forecart_nn::{
    Activation, Attention, AttentionOutput, AttentionWorkspace, Dropout, Init, LayerNorm,
    LayerNormCache, Linear, Matrix, Mlp, MlpConfig, MlpWorkspace, NnError, Pass, Ragged, Weighting,
};
use rand_chacha::ChaCha8Rng;

use super::encoder::{Encoder, add_mean_over_rows, max_backward, max_over_rows, mean_backward};

/// Rows with sines of their places added, through layers of `x + attention(LN(x))` and `x + MLP(LN(x))`, each row seeing all others of its
/// text; then the mean and the largest values over the rows.
///
/// Source: Vaswani et al., NeurIPS 2017, sections 3.1 to 3.5. We differ: normalization stands before each branch (Xiong et al., ICML 2020), the hidden
/// layer has twice as many columns, not four times, and GELU.
#[derive(Debug, Clone)]
pub(super) struct Transformer {
    layers: Vec<Layer>,
}

forecart_nn::trainable!(
    Transformer,
    /// Gradients of a [`Transformer`].
    pub(super) struct TransformerGradients {
        layers: Vec<Layer>,
    }
);

#[derive(Debug, Clone)]
struct Layer {
    attention_norm: LayerNorm,
    project: Linear,
    out: Linear,
    mlp_norm: LayerNorm,
    mlp: Mlp,
    attention: Attention,
}

forecart_nn::trainable!(
    Layer,
    /// Gradients of a [`Layer`].
    pub(super) struct LayerGradients {
        attention_norm: LayerNorm,
        project: Linear,
        out: Linear,
        mlp_norm: LayerNorm,
        mlp: Mlp,
    }
);

/// Buffers of a [`Transformer`].
#[derive(Debug, Default)]
pub(super) struct TransformerWorkspace {
    layers: Vec<LayerWorkspace>,
    /// Of the last layer.
    y: Matrix,
    winners: Vec<usize>,
}

#[derive(Debug, Default)]
struct LayerWorkspace {
    /// Input.
    x: Matrix,
    attention_norm: LayerNormCache,
    attention_normed: Matrix,
    projected: Matrix,
    attention: AttentionWorkspace,
    attended: Matrix,
    /// After the first branch.
    middle: Matrix,
    mlp_norm: LayerNormCache,
    mlp_normed: Matrix,
    mlp: MlpWorkspace,
    branch: Matrix,
    d_normed: Matrix,
    d_attended: Matrix,
    d_projected: Matrix,
}

fn add(sum: &mut Matrix, other: &Matrix) {
    sum.as_mut_slice().iter_mut().zip(other.as_slice()).for_each(|(sum, value)| *sum += value);
}

/// The pass of part `part` of a layer.
fn pass_of(pass: Pass, part: usize) -> Pass {
    match pass {
        Pass::Training { key, first_row } => Pass::Training { key: key.layer(part), first_row },
        Pass::Inference => Pass::Inference,
    }
}

impl Transformer {
    pub(super) fn new(
        d: usize,
        n_layers: usize,
        n_heads: usize,
        dropout: f32,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self, NnError> {
        let mut layer = || {
            let config = MlpConfig {
                n_in: d,
                hidden: vec![2 * d],
                n_out: d,
                activation: Activation::GeluTanh,
                dropout,
            };
            let dropout = Dropout::new(dropout)?;
            Ok(Layer {
                attention_norm: LayerNorm::new(d),
                project: Linear::new(d, 3 * d, Init::Xavier, rng)?,
                out: Linear::new(d, d, Init::Xavier, rng)?,
                mlp_norm: LayerNorm::new(d),
                mlp: Mlp::new(&config, rng)?,
                attention: Attention::new(n_heads, false, Weighting::Softmax, dropout)?,
            })
        };
        Ok(Self { layers: (0..n_layers).map(|_| layer()).collect::<Result<_, NnError>>()? })
    }

    fn d(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.project.n_in())
    }
}

/// Adds to row `i` of each text sines and cosines of `i / 10000^(2 j / d)`.
fn add_positions(x: &mut Matrix, texts: Ragged<'_>) {
    let d = x.cols();
    for rows in texts.sequences() {
        for (place, row) in rows.enumerate() {
            for (pair, values) in x.row_mut(row).chunks_mut(2).enumerate() {
                let angle = place as f64 / 10_000_f64.powf(2.0 * pair as f64 / d as f64);
                let waves = [angle.sin() as f32, angle.cos() as f32];
                values.iter_mut().zip(waves).for_each(|(value, wave)| *value += wave);
            }
        }
    }
}

impl Layer {
    /// Writes `y` for the input in `ws.x`.
    fn forward(
        &self,
        texts: Ragged<'_>,
        pass: Pass,
        ws: &mut LayerWorkspace,
        y: &mut Matrix,
    ) -> Result<(), NnError> {
        let d = self.project.n_in();
        let LayerWorkspace { x, middle, branch, projected, attended, .. } = ws;
        self.attention_norm.forward(x, &mut ws.attention_normed, &mut ws.attention_norm)?;
        self.project.forward(&ws.attention_normed, projected)?; // [n, 3 d]
        let out = AttentionOutput::Write(attended);
        let saved = &mut ws.attention;
        self.attention.forward(projected, d, texts, None, pass_of(pass, 0), out, saved)?;
        self.out.forward(attended, branch)?; // [n, d]
        middle.copy_from(x);
        add(middle, branch);
        self.mlp_norm.forward(middle, &mut ws.mlp_normed, &mut ws.mlp_norm)?;
        let branch = self.mlp.forward(&ws.mlp_normed, pass_of(pass, 1), &mut ws.mlp)?;
        y.copy_from(middle);
        add(y, branch);
        Ok(())
    }

    /// Turns the gradient `d` of the output into that of the input.
    fn backward(
        &self,
        texts: Ragged<'_>,
        pass: Pass,
        d: &mut Matrix,
        ws: &mut LayerWorkspace,
        gradients: &mut LayerGradients,
    ) -> Result<(), NnError> {
        let n_cols = self.project.n_in();
        let LayerWorkspace { d_normed, d_attended, d_projected, projected, attended, .. } = ws;
        let d_mlp = &mut gradients.mlp;
        self.mlp.backward(&ws.mlp_normed, d, Some(d_normed), &mut ws.mlp, d_mlp)?;
        let d_norm = &mut gradients.mlp_norm;
        self.mlp_norm.backward_onto(&ws.middle, d_normed, d, &ws.mlp_norm, d_norm)?;
        self.out.backward(attended, d, Some(d_attended), &mut gradients.out)?;
        d_projected.reset(projected.rows(), projected.cols());
        self.attention.backward(
            projected,
            n_cols,
            texts,
            None,
            pass_of(pass, 0),
            d_attended,
            d_projected,
            &mut ws.attention,
        )?;
        let d_project = &mut gradients.project;
        self.project.backward(&ws.attention_normed, d_projected, Some(d_normed), d_project)?;
        let d_norm = &mut gradients.attention_norm;
        self.attention_norm.backward_onto(&ws.x, d_normed, d, &ws.attention_norm, d_norm)
    }
}

impl Encoder for Transformer {
    type Workspace = TransformerWorkspace;

    fn n_out(&self) -> usize {
        2 * self.d()
    }

    fn forward(
        &self,
        x: &Matrix,
        texts: Ragged<'_>,
        pass: Pass,
        ws: &mut TransformerWorkspace,
        z: &mut Matrix,
    ) -> Result<(), NnError> {
        let TransformerWorkspace { layers, y, winners } = ws;
        layers.resize_with(self.layers.len(), LayerWorkspace::default);
        y.copy_from(x);
        add_positions(y, texts);
        for (index, (layer, ws)) in self.layers.iter().zip(layers).enumerate() {
            std::mem::swap(&mut ws.x, y);
            layer.forward(texts, pass_of(pass, 10 + index), ws, y)?;
        }
        let d = self.d();
        z.reset(texts.n_sequences(), 2 * d);
        add_mean_over_rows(y, texts, z);
        max_over_rows(y, texts, d, z, winners);
        Ok(())
    }

    fn backward(
        &self,
        _: &Matrix,
        texts: Ragged<'_>,
        pass: Pass,
        dz: &mut Matrix,
        dx: &mut Matrix,
        ws: &mut TransformerWorkspace,
        gradients: &mut TransformerGradients,
    ) -> Result<(), NnError> {
        let d = self.d();
        mean_backward(dz, texts, d, dx);
        max_backward(dz, d, &ws.winners, dx);
        let layers = self.layers.iter().zip(&mut ws.layers).zip(&mut gradients.layers);
        for (index, ((layer, ws), gradients)) in layers.enumerate().rev() {
            layer.backward(texts, pass_of(pass, 10 + index), dx, ws, gradients)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::encoder::check;
    use super::*;
    use rand::SeedableRng;

    fn encoder() -> Transformer {
        Transformer::new(4, 2, 2, 0.2, &mut ChaCha8Rng::seed_from_u64(5)).unwrap()
    }

    #[test]
    fn gradients_agree_with_differences() {
        check::gradients_agree(encoder(), 4, 3e-3);
    }

    #[test]
    fn texts_do_not_see_each_other() {
        check::texts_do_not_see_each_other(&encoder(), 4);
    }

    #[test]
    fn the_order_of_words_counts() {
        let x = Matrix::from_rows(&[[1.0, 0.0, 0.0, 2.0], [0.0, 1.0, 0.5, 0.0]]);
        let turned = Matrix::from_rows(&[[0.0, 1.0, 0.5, 0.0], [1.0, 0.0, 0.0, 2.0]]);
        let vector = |x: &Matrix| {
            let (mut ws, mut z) = (TransformerWorkspace::default(), Matrix::default());
            let texts = Ragged::new(&[0, 2]).unwrap();
            encoder().forward(x, texts, Pass::Inference, &mut ws, &mut z).unwrap();
            z
        };
        assert_ne!(vector(&x), vector(&turned));
    }
}
