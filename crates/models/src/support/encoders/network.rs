//! From bags of pieces to a logit for each class.

use std::ops::Range;

use forecart_nn::loss::{soft_cross_entropy, softmax_cross_entropy};
use forecart_nn::{
    Activation, BagMode, Dropout, Embedding, Init, Linear, Matrix, NnError, Pass, Ragged,
};
use rand_chacha::ChaCha8Rng;

use super::bag::{Bag, BagWorkspace};
use super::convolution::{Convolution, ConvolutionWorkspace};
use super::encoder::Encoder;
use super::recurrence::{Cell, Recurrence, RecurrenceWorkspace};
use super::targets::Targets;
use super::texts::BaggedTexts;
use super::transformer::{Transformer, TransformerWorkspace};

/// Which encoder stands between the rows and the logits, with its sizes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum EncoderSizes {
    Bag(Activation),
    Convolution { n_filters: usize, widths: Vec<usize> },
    Recurrence { cell: Cell, n_hidden: usize, n_heads: usize },
    Transformer { n_layers: usize, n_heads: usize, dropout: f32 },
}

/// Sizes of a [`TextNetwork`].
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TextNetworkSizes {
    pub(super) n_rows: usize,
    pub(super) n_dims: usize,
    pub(super) n_classes: usize,
    pub(super) encoder: EncoderSizes,
    /// How the rows of a bag become one.
    pub(super) bag_mode: BagMode,
    /// Of what the encoder reads, and of what it makes.
    pub(super) dropout_in: f32,
    pub(super) dropout_out: f32,
}

impl TextNetworkSizes {
    /// Values of all layers but the embeddings.
    pub(super) fn n_dense(&self) -> usize {
        let d = self.n_dims;
        let linear = |n_in: usize, n_out: usize| n_in * n_out + n_out;
        let (inside, n_out) = match &self.encoder {
            EncoderSizes::Bag(_) => (d, d),
            EncoderSizes::Convolution { n_filters, widths } => {
                let filters = widths.iter().map(|width| linear(width * d, *n_filters));
                (filters.sum(), widths.len() * n_filters)
            }
            &EncoderSizes::Recurrence { cell, n_hidden: h, n_heads } => {
                let gates = cell.n_gates() * h;
                let one_way = linear(d, gates) + linear(h, gates);
                (2 * one_way + linear(2 * h, n_heads), (n_heads + 1) * 2 * h)
            }
            EncoderSizes::Transformer { n_layers, .. } => {
                let attention = linear(d, 3 * d) + linear(d, d);
                let mlp = linear(d, 2 * d) + linear(2 * d, d);
                (n_layers * (attention + mlp + 4 * d), 2 * d)
            }
        };
        inside + linear(n_out, self.n_classes)
    }

    /// Values of all weights.
    pub(super) fn n_values(&self) -> usize {
        self.n_rows * self.n_dims + self.n_dense()
    }
}

/// `logits = W dropout(encode(dropout(x))) + b`, where row `i` of `x` is the sum or mean of the embeddings of bag `i`.
#[derive(Debug, Clone)]
pub(super) struct TextNetwork {
    embedding: Embedding,
    /// One of these is there.
    bag: Option<Bag>,
    convolution: Option<Convolution>,
    recurrence: Option<Recurrence>,
    transformer: Option<Transformer>,
    output: Linear,
    bag_mode: BagMode,
    dropout_in: Dropout,
    dropout_out: Dropout,
}

forecart_nn::trainable!(
    TextNetwork,
    /// Gradients of a [`TextNetwork`].
    pub(super) struct TextNetworkGradients {
        embedding: Embedding,
        bag: Option<Bag>,
        convolution: Option<Convolution>,
        recurrence: Option<Recurrence>,
        transformer: Option<Transformer>,
        output: Linear,
    }
);

/// Buffers of one tile.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    x: Matrix,
    z: Matrix,
    logits: Matrix,
    dx: Matrix,
    dz: Matrix,
    d_logits: Matrix,
    targets: Matrix,
    bag: BagWorkspace,
    convolution: ConvolutionWorkspace,
    recurrence: RecurrenceWorkspace,
    transformer: TransformerWorkspace,
}

/// Keys of the two places where values are dropped, and of the encoder's own.
const DROPPED_IN: usize = 0;
const DROPPED_OUT: usize = 1;
const DROPPED_INSIDE: usize = 2;

/// Standard deviation of new embeddings of one piece in `n_dims` columns: rows of length about 1.
fn std_dev(n_dims: usize) -> f32 {
    1.0 / (n_dims as f32).sqrt()
}

/// The pass of layer `layer`, whose rows begin at `first_row` of the batch.
fn pass_of(pass: Pass, layer: usize, first_row: usize) -> Pass {
    match pass {
        Pass::Training { key, .. } => Pass::Training { key: key.layer(layer), first_row },
        Pass::Inference => Pass::Inference,
    }
}

fn drop(dropout: Dropout, pass: Pass, x: &mut Matrix) {
    if let Pass::Training { key, first_row } = pass {
        dropout.apply(key, first_row, x);
    }
}

impl TextNetwork {
    pub(super) fn new(sizes: &TextNetworkSizes, rng: &mut ChaCha8Rng) -> Result<Self, NnError> {
        let &TextNetworkSizes { n_rows, n_dims, n_classes, ref encoder, bag_mode, .. } = sizes;
        let std_dev = std_dev(n_dims);
        let embedding = Embedding::new(n_rows, n_dims, Init::TruncatedNormal { std_dev }, rng)?;
        let (mut bag, mut convolution, mut recurrence, mut transformer) = (None, None, None, None);
        let n_out = match *encoder {
            EncoderSizes::Bag(activation) => bag.insert(Bag::new(n_dims, activation)).n_out(),
            EncoderSizes::Convolution { n_filters, ref widths } => {
                let layer = Convolution::new(n_dims, n_filters, widths.clone(), rng)?;
                convolution.insert(layer).n_out()
            }
            EncoderSizes::Recurrence { cell, n_hidden, n_heads } => {
                let layer = Recurrence::new(cell, n_dims, n_hidden, n_heads, rng)?;
                recurrence.insert(layer).n_out()
            }
            EncoderSizes::Transformer { n_layers, n_heads, dropout } => {
                let layer = Transformer::new(n_dims, n_layers, n_heads, dropout, rng)?;
                transformer.insert(layer).n_out()
            }
        };
        Ok(Self {
            embedding,
            bag,
            convolution,
            recurrence,
            transformer,
            output: Linear::new(n_out, n_classes, Init::Xavier, rng)?,
            bag_mode,
            dropout_in: Dropout::new(sizes.dropout_in)?,
            dropout_out: Dropout::new(sizes.dropout_out)?,
        })
    }

    /// Returns the logits of the texts at `rows`, `[n, n_classes]`, which stay in `ws`.
    pub(super) fn forward<'w>(
        &self,
        texts: &BaggedTexts,
        rows: Range<usize>,
        pass: Pass,
        ws: &'w mut Workspace,
    ) -> Result<&'w Matrix, NnError> {
        let first_text = rows.start;
        let rows = texts.of(rows)?;
        let (first_row, ragged) = (rows.first_row, rows.ragged()?);
        let Workspace { x, z, logits, .. } = ws;
        self.embedding.forward_bags(rows.bags, self.bag_mode, x)?; // [n_bags, n_dims]
        drop(self.dropout_in, pass_of(pass, DROPPED_IN, first_row), x);
        let inside = pass_of(pass, DROPPED_INSIDE, first_row);
        if let Some(layer) = &self.bag {
            layer.forward(x, ragged, inside, &mut ws.bag, z)?;
        }
        if let Some(layer) = &self.convolution {
            layer.forward(x, ragged, inside, &mut ws.convolution, z)?;
        }
        if let Some(layer) = &self.recurrence {
            layer.forward(x, ragged, inside, &mut ws.recurrence, z)?;
        }
        if let Some(layer) = &self.transformer {
            layer.forward(x, ragged, inside, &mut ws.transformer, z)?;
        }
        drop(self.dropout_out, pass_of(pass, DROPPED_OUT, first_text), z); // [n, n_out]
        self.output.forward(z, logits)?; // [n, n_classes]
        Ok(logits)
    }

    /// Cross-entropy of the texts at `rows`, a part of a batch of `n_batch`; adds to `gradients`.
    #[expect(clippy::too_many_arguments, reason = "a tile of a batch and its loss")]
    pub(super) fn learn(
        &self,
        texts: &BaggedTexts,
        targets: &Targets,
        rows: Range<usize>,
        n_batch: usize,
        pass: Pass,
        ws: &mut Workspace,
        gradients: &mut TextNetworkGradients,
    ) -> Result<f64, NnError> {
        self.forward(texts, rows.clone(), pass, ws)?;
        let (logits, d_logits) = (&ws.logits, &mut ws.d_logits);
        let mean_over = n_batch as f64;
        let loss = match targets {
            Targets::Labels { labels, smoothing } => {
                let labels = &labels[rows.clone()];
                softmax_cross_entropy(logits, labels, None, *smoothing, mean_over, d_logits)?
            }
            Targets::Soft { probabilities, temperature } => {
                ws.targets.copy_rows_from(probabilities, rows.clone());
                soft_cross_entropy(logits, &ws.targets, *temperature, mean_over, d_logits)?
            }
        };
        let first_text = rows.start;
        let rows = texts.of(rows)?;
        self.backward(
            rows.bags,
            rows.ragged()?,
            (first_text, rows.first_row),
            pass,
            ws,
            gradients,
        )?;
        Ok(loss)
    }

    fn backward(
        &self,
        bags: forecart_nn::Bags<'_>,
        ragged: Ragged<'_>,
        (first_text, first_row): (usize, usize),
        pass: Pass,
        ws: &mut Workspace,
        gradients: &mut TextNetworkGradients,
    ) -> Result<(), NnError> {
        let Workspace { x, z, dx, dz, d_logits, .. } = ws;
        self.output.backward(z, d_logits, Some(dz), &mut gradients.output)?;
        drop(self.dropout_out, pass_of(pass, DROPPED_OUT, first_text), dz);
        let inside = pass_of(pass, DROPPED_INSIDE, first_row);
        if let (Some(layer), Some(gradients)) = (&self.bag, &mut gradients.bag) {
            layer.backward(x, ragged, inside, dz, dx, &mut ws.bag, gradients)?;
        }
        if let (Some(layer), Some(gradients)) = (&self.convolution, &mut gradients.convolution) {
            layer.backward(x, ragged, inside, dz, dx, &mut ws.convolution, gradients)?;
        }
        if let (Some(layer), Some(gradients)) = (&self.recurrence, &mut gradients.recurrence) {
            layer.backward(x, ragged, inside, dz, dx, &mut ws.recurrence, gradients)?;
        }
        if let (Some(layer), Some(gradients)) = (&self.transformer, &mut gradients.transformer) {
            layer.backward(x, ragged, inside, dz, dx, &mut ws.transformer, gradients)?;
        }
        drop(self.dropout_in, pass_of(pass, DROPPED_IN, first_row), dx);
        self.embedding.backward_bags(bags, self.bag_mode, dx, &mut gradients.embedding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::networks::{key, largest_gradient_error, set, values};
    use forecart_nn::Parameters;
    use rand::SeedableRng;

    fn networks() -> Vec<(TextNetworkSizes, TextNetwork)> {
        let encoders = [
            EncoderSizes::Bag(Activation::Tanh),
            EncoderSizes::Convolution { n_filters: 3, widths: vec![1, 2] },
            EncoderSizes::Recurrence { cell: Cell::Gru, n_hidden: 3, n_heads: 2 },
            EncoderSizes::Recurrence { cell: Cell::Lstm, n_hidden: 3, n_heads: 2 },
            EncoderSizes::Transformer { n_layers: 2, n_heads: 2, dropout: 0.1 },
        ];
        let network = |encoder: EncoderSizes| {
            let sizes = TextNetworkSizes {
                n_rows: 6,
                n_dims: 4,
                n_classes: 3,
                encoder,
                bag_mode: BagMode::Mean,
                dropout_in: 0.2,
                dropout_out: 0.3,
            };
            let network = TextNetwork::new(&sizes, &mut ChaCha8Rng::seed_from_u64(3)).unwrap();
            (sizes, network)
        };
        encoders.map(network).into()
    }

    fn texts() -> BaggedTexts {
        let mut texts = BaggedTexts::new();
        for text in [vec![vec![0, 1], vec![2]], vec![vec![3], vec![], vec![5, 4, 1]], vec![]] {
            for bag in text {
                texts.indices.extend_from_slice(&bag);
                texts.end_bag();
            }
            texts.end_text();
        }
        texts
    }

    #[test]
    fn sizes_say_how_many_values_there_are() {
        for (sizes, network) in networks() {
            assert_eq!(network.n_parameters(), sizes.n_values(), "{sizes:?}");
        }
    }

    #[test]
    fn gradients_of_the_whole_agree_with_differences() {
        for (sizes, mut network) in networks() {
            // Biases of 0 put ReLU of an empty text on its edge.
            let moved = values(&network).into_iter().enumerate();
            let moved: Vec<f32> =
                moved.map(|(at, value)| value + 0.1 * (at as f32).cos()).collect();
            set(&mut network, &moved);
            let error = largest_gradient_error(&mut network, 2e-3, |network, gradients| {
                let pass = Pass::Training { key: key(), first_row: 0 };
                let mut ws = Workspace::default();
                let targets = Targets::Labels { labels: vec![2, 0, 1], smoothing: 0.1 };
                network.learn(&texts(), &targets, 0..3, 3, pass, &mut ws, gradients).unwrap()
            });
            assert!(error < 0.03, "{sizes:?}: {error}");
        }
    }

    /// Tiles are told where they stand, so that what is dropped does not depend on them.
    #[test]
    fn tiles_are_the_batch() {
        for (sizes, network) in networks() {
            let pass = |first_row| Pass::Training { key: key(), first_row };
            let (texts, mut ws) = (texts(), Workspace::default());
            let whole = network.forward(&texts, 0..3, pass(0), &mut ws).unwrap().clone();
            let mut ws = Workspace::default();
            let tile = network.forward(&texts, 1..3, pass(1), &mut ws).unwrap();
            for row in 0..2 {
                for (a, b) in tile.row(row).iter().zip(whole.row(row + 1)) {
                    // Products of other sizes sum in another order.
                    assert!((a - b).abs() < 1e-5, "{sizes:?}");
                }
            }
        }
    }
}
