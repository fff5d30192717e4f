//! Attention within each sequence of a ragged batch, forward and backward.
//!
//! Start at [`Attention`]; `weighting` turns scores into weights and back, `bias` adds what is learned of
//! distance and time gap.

mod bias;
mod weighting;

pub use bias::{RelativeBias, RelativeBiasGradients};
pub use weighting::Weighting;

use std::ops::Range;

use crate::{
    Dropout, DropoutKey, Matrix, NnError, Pass, Ragged,
    error::{check_range, check_shape},
    kernels::{Operand, Target, matmul_into, transpose},
};

/// Multi-head attention: `O = dropout(f(Q Kᵀ / √d_head + B)) V` for each sequence and head, where `f` is the
/// [`Weighting`] and `B` an optional [`RelativeBias`]. Causal attention sees no later token of the sequence;
/// no attention sees another sequence.
///
/// # Shapes
/// Queries, keys and values stand side by side, as one linear layer makes them: `qkv: [n_tokens, 3 d]`, or wider, in
/// which case the rest of the columns is left alone; head `h` has columns `h d_head..(h + 1) d_head` of each third.
/// `y: [n_tokens, d]`.
///
/// # Cost
/// `4 d Σ length²` operations forward and 10 backward, half of that if causal; memory for
/// `n_heads Σ length²` scores of the tile at hand, which backward reads again.
///
/// Source: Vaswani et al., NeurIPS 2017, section 3.2; pointwise weights: see [`Weighting`].
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    n_heads: usize,
    is_causal: bool,
    weighting: Weighting,
    dropout: Dropout,
}

/// What a forward pass keeps for the backward pass, and scratch of both.
#[derive(Debug, Clone, Default)]
pub struct AttentionWorkspace {
    /// Of each sequence and head, `[length, width(length)]`: what [`Weighting`] needs to find the weights again.
    saved: Vec<f32>,
    weights: Vec<f32>,
    d_scores: Vec<f32>,
    /// Keys or values of one head, transposed: `[d_head, width(length)]`.
    transposed: Vec<f32>,
}

/// Rows of scores that are computed together: a causal row is then at most this much too long.
const ROWS: usize = 32;

/// Length of a row of scores: whole vectors of the widest instruction set.
fn width(length: usize) -> usize {
    length.next_multiple_of(16)
}

impl Attention {
    /// Attention of `n_heads` heads with dropout on the weights.
    ///
    /// # Errors
    /// [`NnError::OutOfRange`] without heads.
    pub fn new(
        n_heads: usize,
        is_causal: bool,
        weighting: Weighting,
        dropout: Dropout,
    ) -> Result<Self, NnError> {
        check_range("n_heads", n_heads as f64, n_heads > 0, "positive")?;
        Ok(Self { n_heads, is_causal, weighting, dropout })
    }

    /// Writes `y: [n_tokens, d]`. `times_ms` are the tokens' times, where the bias looks at them.
    ///
    /// # Errors
    /// [`NnError::Shape`] if `qkv` has fewer than `3 d` columns or other than `n_tokens` rows,
    /// [`NnError::OutOfRange`] if `d` is no multiple of the heads; those of the bias.
    #[expect(clippy::too_many_arguments, reason = "the inputs and outputs of one product")]
    pub fn forward(
        &self,
        qkv: &Matrix,
        d: usize,
        batch: Ragged<'_>,
        bias: Option<(&RelativeBias, &[i64])>,
        pass: Pass,
        y: &mut Matrix,
        workspace: &mut AttentionWorkspace,
    ) -> Result<(), NnError> {
        self.check(qkv, d, batch, bias)?;
        y.reshape(batch.n_tokens(), d);
        let AttentionWorkspace { saved, weights, transposed, .. } = workspace;
        saved.resize(self.n_scores(batch), 0.0);
        let mut first_saved = 0;
        for rows in batch.sequences() {
            let length = rows.len();
            for head in self.heads(qkv, d, &rows) {
                let scores = &mut saved[first_saved..first_saved + length * width(length)];
                first_saved += scores.len();
                transpose_head(head.keys, head.stride, head.d_head, length, transposed);
                for chunk in chunks(length) {
                    let n_cols = self.n_cols(&chunk, length);
                    let queries = head.queries.rows(&chunk, head.d_head, head.stride);
                    let keys =
                        Operand::strided(transposed, head.d_head, width(n_cols), width(length));
                    let target = &mut scores[chunk.start * width(length)..];
                    matmul_into(queries, keys, Target::strided(target, width(length)), false);
                }
                let scale = 1.0 / (head.d_head as f32).sqrt();
                let bias = bias.map(|(bias, times_ms)| (bias, &times_ms[rows.clone()]));
                for (i, row) in scores.chunks_exact_mut(width(length)).enumerate() {
                    let n_seen = self.n_seen(i, length);
                    row[..n_seen].iter_mut().for_each(|score| *score *= scale);
                    if let Some((bias, times_ms)) = bias {
                        bias.add_to(i, times_ms, &mut row[..n_seen]);
                    }
                    self.weighting.prepare(&mut row[..n_seen]);
                    row[n_seen..].fill(0.0);
                }
                self.weights(scores, length, &rows, pass, head.index, weights);
                for chunk in chunks(length) {
                    let n_cols = self.n_cols(&chunk, length);
                    let weights = Operand::strided(
                        &weights[chunk.start * width(length)..],
                        chunk.len(),
                        n_cols,
                        width(length),
                    );
                    let values = head.values.rows(&(0..n_cols), head.d_head, head.stride);
                    let start = (rows.start + chunk.start) * d + head.index * head.d_head;
                    let target = Target::strided(&mut y.as_mut_slice()[start..], d);
                    matmul_into(weights, values, target, false); // [n_chunk, d_head]
                }
            }
        }
        Ok(())
    }

    /// Overwrites the first `3 d` columns of `d_qkv`, which has the shape of `qkv`, and adds to the gradients of the
    /// bias. All other arguments are those of the forward pass before.
    ///
    /// # Errors
    /// As the forward pass; [`NnError::Shape`] if `dy` or `d_qkv` do not fit.
    #[expect(clippy::too_many_arguments, reason = "the inputs and outputs of one product")]
    pub fn backward(
        &self,
        qkv: &Matrix,
        d: usize,
        batch: Ragged<'_>,
        mut bias: Option<(&RelativeBias, &[i64], &mut RelativeBiasGradients)>,
        pass: Pass,
        dy: &Matrix,
        d_qkv: &mut Matrix,
        workspace: &mut AttentionWorkspace,
    ) -> Result<(), NnError> {
        self.check(qkv, d, batch, bias.as_ref().map(|(bias, times_ms, _)| (*bias, *times_ms)))?;
        check_shape("gradient of attention", [batch.n_tokens(), d], dy.shape())?;
        check_shape("gradient of queries, keys and values", qkv.shape(), d_qkv.shape())?;
        let AttentionWorkspace { saved, weights, d_scores, transposed } = workspace;
        crate::error::check_length("saved scores", self.n_scores(batch), saved.len())?;
        let stride = qkv.cols();
        let mut first_saved = 0;
        for rows in batch.sequences() {
            let length = rows.len();
            for head in self.heads(qkv, d, &rows) {
                let d_head = head.d_head;
                let w = width(length);
                let saved = &saved[first_saved..first_saved + length * w];
                first_saved += saved.len();
                self.weights(saved, length, &rows, pass, head.index, weights);
                transpose_head(head.values, stride, d_head, length, transposed);
                d_scores.resize(length * w, 0.0);
                let start = rows.start * d + head.index * d_head;
                let dy = &dy.as_slice()[start.min(dy.as_slice().len())..];
                let dy = Block { values: dy };
                for chunk in chunks(length) {
                    let n_cols = self.n_cols(&chunk, length);
                    let values = Operand::strided(transposed, d_head, width(n_cols), w);
                    let target = Target::strided(&mut d_scores[chunk.start * w..], w);
                    matmul_into(dy.rows(&chunk, d_head, d), values, target, false); // [n_chunk, n_cols]
                }
                let scale = 1.0 / (d_head as f32).sqrt();
                for (i, (row, saved)) in
                    d_scores.chunks_exact_mut(w).zip(saved.chunks_exact(w)).enumerate()
                {
                    let n_seen = self.n_seen(i, length);
                    let (seen, rest) = row.split_at_mut(n_seen);
                    self.drop(pass, head.index, rows.start + i, seen);
                    self.weighting.backward(&saved[..n_seen], seen, length);
                    if let Some((bias, times_ms, gradients)) = &mut bias {
                        bias.add_gradients(i, &times_ms[rows.clone()], seen, gradients);
                    }
                    seen.iter_mut().for_each(|value| *value *= scale);
                    rest.fill(0.0);
                }
                let out = &mut d_qkv.as_mut_slice()[rows.start * stride + head.index * d_head..];
                for chunk in chunks(length) {
                    let n_cols = self.n_cols(&chunk, length);
                    let d_scores_of =
                        Operand::strided(&d_scores[chunk.start * w..], chunk.len(), n_cols, w);
                    let keys = head.keys.rows(&(0..n_cols), d_head, stride);
                    let target = Target::strided(&mut out[chunk.start * stride..], stride);
                    matmul_into(d_scores_of, keys, target, false); // queries: [n_chunk, d_head]

                    // The rows that look at this chunk's keys.
                    let from = if self.is_causal { chunk.start } else { 0 };
                    let lookers = from..length;
                    let column = |values| {
                        let first = from * w + chunk.start;
                        Operand::strided(
                            Block { values }.from(first),
                            lookers.len(),
                            chunk.len(),
                            w,
                        )
                        .transposed()
                    };
                    let queries = head.queries.rows(&lookers, d_head, stride);
                    let target = Target::strided(&mut out[chunk.start * stride + d..], stride);
                    matmul_into(column(d_scores), queries, target, false); // keys
                    let target = Target::strided(&mut out[chunk.start * stride + 2 * d..], stride);
                    matmul_into(column(weights), dy.rows(&lookers, d_head, d), target, false); // values
                }
            }
        }
        Ok(())
    }

    fn check(
        &self,
        qkv: &Matrix,
        d: usize,
        batch: Ragged<'_>,
        bias: Option<(&RelativeBias, &[i64])>,
    ) -> Result<(), NnError> {
        let cols = qkv.cols().max(3 * d);
        check_shape("queries, keys and values", [batch.n_tokens(), cols], qkv.shape())?;
        let is_divided = d > 0 && d.is_multiple_of(self.n_heads);
        check_range("d", d as f64, is_divided, "a multiple of n_heads")?;
        bias.map_or(Ok(()), |(bias, times_ms)| bias.check(batch, times_ms, self.is_causal))
    }

    fn n_scores(&self, batch: Ragged<'_>) -> usize {
        batch.sequences().map(|rows| self.n_heads * rows.len() * width(rows.len())).sum()
    }

    /// Tokens that row `i` looks at, from the first on.
    fn n_seen(&self, i: usize, length: usize) -> usize {
        if self.is_causal { i + 1 } else { length }
    }

    /// Tokens that any row of a chunk looks at.
    fn n_cols(&self, chunk: &Range<usize>, length: usize) -> usize {
        self.n_seen(chunk.end - 1, length)
    }

    /// The weights `[length, width(length)]` from what was saved, with dropout.
    fn weights(
        &self,
        saved: &[f32],
        length: usize,
        rows: &Range<usize>,
        pass: Pass,
        head: usize,
        weights: &mut Vec<f32>,
    ) {
        weights.clear();
        weights.extend_from_slice(saved);
        for (i, row) in weights.chunks_exact_mut(width(length).max(1)).enumerate() {
            let seen = &mut row[..self.n_seen(i, length)];
            self.weighting.finish(seen, length);
            self.drop(pass, head, rows.start + i, seen);
        }
    }

    fn drop(&self, pass: Pass, head: usize, row: usize, values: &mut [f32]) {
        if let Pass::Training { key, first_row } = pass {
            let key: DropoutKey = key.layer(head);
            self.dropout.apply_row(key, first_row + row, values);
        }
    }

    fn heads<'a>(
        &self,
        qkv: &'a Matrix,
        d: usize,
        rows: &Range<usize>,
    ) -> impl Iterator<Item = Head<'a>> + use<'a> {
        let (d_head, stride) = (d / self.n_heads, qkv.cols());
        let values = &qkv.as_slice()[(rows.start * stride).min(qkv.as_slice().len())..];
        let n_heads = if rows.is_empty() { 0 } else { self.n_heads };
        let block = move |first: usize| Block { values: Block { values }.from(first) };
        (0..n_heads).map(move |index| Head {
            index,
            d_head,
            stride,
            queries: block(index * d_head),
            keys: block(d + index * d_head),
            values: block(2 * d + index * d_head),
        })
    }
}

/// Columns of one head, from the first token of a sequence on.
#[derive(Clone, Copy)]
struct Block<'a> {
    values: &'a [f32],
}

impl<'a> Block<'a> {
    fn from(self, first: usize) -> &'a [f32] {
        &self.values[first..]
    }

    fn rows(self, rows: &Range<usize>, cols: usize, stride: usize) -> Operand<'a> {
        Operand::strided(self.from(rows.start * stride), rows.len(), cols, stride)
    }
}

#[derive(Clone, Copy)]
struct Head<'a> {
    index: usize,
    d_head: usize,
    stride: usize,
    queries: Block<'a>,
    keys: Block<'a>,
    values: Block<'a>,
}

fn chunks(length: usize) -> impl Iterator<Item = Range<usize>> {
    (0..length).step_by(ROWS).map(move |start| start..(start + ROWS).min(length))
}

/// `[d_head, width(length)]` from `length` rows of `d_head` columns.
fn transpose_head(
    block: Block<'_>,
    stride: usize,
    d_head: usize,
    length: usize,
    to: &mut Vec<f32>,
) {
    to.resize(d_head * width(length), 0.0);
    let n_values = (length - 1) * stride + d_head;
    transpose(&block.values[..n_values], stride, d_head, to, width(length));
}
