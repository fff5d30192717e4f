//! Attention within each sequence of a ragged batch, forward and backward.
//!
//! Start at [`Attention`]; `weighting` turns scores into weights and back, `bias` adds what is learned of
//! distance and time gap, `folded` saves two of the four projections of a single head.

mod bias;
mod folded;
mod weighting;

pub use bias::{RelativeBias, RelativeBiasGradients};
pub use folded::FoldedHead;
pub use weighting::Weighting;

use std::{cell::RefCell, ops::Range};

use crate::{
    Dropout, DropoutKey, Matrix, NnError, Pass, Precision, Ragged,
    error::{check_range, check_shape},
    kernels::{Operand, Part, Plus, Product, Target, scale_by, transpose},
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
    precision: Precision,
}

/// Where the result of [`Attention::forward`] goes.
#[derive(Debug)]
pub enum AttentionOutput<'a> {
    /// Overwritten, whatever its shape.
    Write(&'a mut Matrix),
    /// Added to, `[n_tokens, d]`: what stands beside attention, such as its input.
    AddTo(&'a mut Matrix),
}

/// What a forward pass keeps for the backward pass.
#[derive(Debug, Clone, Default)]
pub struct AttentionWorkspace {
    /// Of each sequence and head, `[length, width(length)]`: what [`Weighting`] needs to find the weights again.
    saved: Vec<f32>,
}

/// Values of one sequence and head that no other needs.
#[derive(Default)]
struct Scratch {
    weights: Vec<f32>,
    d_scores: Vec<f32>,
    /// Keys or values, transposed: `[d_head, width(length)]`.
    transposed: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Rows of scores that are computed together, while they are in a cache: a multiple of the rows that a product sums at a
/// time.
const ROWS: usize = 96;

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
        Ok(Self { n_heads, is_causal, weighting, dropout, precision: Precision::F32 })
    }

    /// The layer with products in `precision`; scores become weights, and their gradients those of scores, in f32.
    #[must_use]
    pub fn in_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Writes or adds to `y: [n_tokens, d]`. `times_ms` are the tokens' times, where the bias looks at them.
    ///
    /// # Errors
    /// [`NnError::Shape`] if `qkv` has fewer than `3 d` columns or other than `n_tokens` rows, or what is added to does not
    /// fit; [`NnError::OutOfRange`] if `d` is no multiple of the heads; those of the bias.
    #[expect(clippy::too_many_arguments, reason = "the inputs and outputs of one product")]
    pub fn forward(
        &self,
        qkv: &Matrix,
        d: usize,
        batch: Ragged<'_>,
        bias: Option<(&RelativeBias, &[i64])>,
        pass: Pass,
        y: AttentionOutput<'_>,
        workspace: &mut AttentionWorkspace,
    ) -> Result<(), NnError> {
        self.check(qkv, d, batch, bias)?;
        let (y, plus) = match y {
            AttentionOutput::Write(y) => {
                y.reshape(batch.n_tokens(), d);
                (y, Plus::Nothing)
            }
            AttentionOutput::AddTo(y) => {
                check_shape("what attention adds to", [batch.n_tokens(), d], y.shape())?;
                (y, Plus::Target)
            }
        };
        workspace.saved.resize(self.n_scores(batch), 0.0);
        SCRATCH.with_borrow_mut(|Scratch { weights, transposed, .. }| {
            let mut rest = workspace.saved.as_mut_slice();
            for rows in batch.sequences() {
                let (length, w) = (rows.len(), width(rows.len()));
                let bias = bias.map(|(bias, times_ms)| (bias, &times_ms[rows.clone()]));
                for head in self.heads(qkv, d, &rows) {
                    let (scores, after) = std::mem::take(&mut rest).split_at_mut(length * w);
                    rest = after;
                    transpose_head(head.keys, head.stride, head.d_head, length, transposed);
                    for chunk in chunks(length) {
                        let n_cols = self.n_cols(&chunk, length);
                        let scores = &mut scores[chunk.start * w..chunk.end * w];
                        let queries = head.queries.rows(&chunk, head.d_head, head.stride);
                        let keys = Operand::strided(transposed, head.d_head, width(n_cols), w);
                        let part = self.part(Part::LowerResult(chunk.start));
                        let product = Product { part, ..Product::new(queries, keys) };
                        product.write_in(self.precision, Target::strided(scores, w)); // [n_chunk, n_cols]
                        let scale = 1.0 / (head.d_head as f32).sqrt();
                        for (i, row) in chunk.clone().zip(scores.chunks_exact_mut(w)) {
                            let (row, n_seen) = (&mut row[..width(n_cols)], self.n_seen(i, length));
                            match bias {
                                None => self.weighting.prepare(scale, row, n_seen),
                                Some((bias, times_ms)) => {
                                    let seen = &mut row[..n_seen];
                                    scale_by(scale, seen);
                                    bias.add_to(i, times_ms, seen);
                                    self.weighting.prepare(1.0, row, n_seen);
                                }
                            }
                        }
                        let weights =
                            self.weights(scores, &chunk, length, &rows, pass, head.index, weights);
                        let weights = Operand::strided(weights, chunk.len(), n_cols, w);
                        let values = head.values.rows(&(0..n_cols), head.d_head, head.stride);
                        let start = (rows.start + chunk.start) * d + head.index * head.d_head;
                        let target = Target::strided(&mut y.as_mut_slice()[start..], d);
                        let part = self.part(Part::LowerLeft(chunk.start));
                        Product { part, plus, ..Product::new(weights, values) }
                            .write_in(self.precision, target); // [n_chunk, d_head]
                    }
                }
            }
        });
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
        crate::error::check_length("saved scores", self.n_scores(batch), workspace.saved.len())?;
        let stride = qkv.cols();
        SCRATCH.with_borrow_mut(|Scratch { weights, d_scores, transposed }| {
            let mut rest = workspace.saved.as_slice();
            for rows in batch.sequences() {
                let (length, w) = (rows.len(), width(rows.len()));
                for head in self.heads(qkv, d, &rows) {
                    let d_head = head.d_head;
                    let saved = rest.split_off(..length * w).expect("checked above");
                    let all = 0..length;
                    let weights =
                        self.weights(saved, &all, length, &rows, pass, head.index, weights);
                    transpose_head(head.values, stride, d_head, length, transposed);
                    d_scores.resize(length * w, 0.0);
                    let first = rows.start * d + head.index * d_head;
                    let dy = Block { values: Block { values: dy.as_slice() }.from(first) };
                    let out =
                        &mut d_qkv.as_mut_slice()[rows.start * stride + head.index * d_head..];
                    for chunk in chunks(length) {
                        let n_cols = self.n_cols(&chunk, length);
                        let d_scores = &mut d_scores[chunk.start * w..chunk.end * w];
                        let values = Operand::strided(transposed, d_head, width(n_cols), w);
                        let d_chunk = dy.rows(&chunk, d_head, d);
                        let part = self.part(Part::LowerResult(chunk.start));
                        let product = Product { part, ..Product::new(d_chunk, values) };
                        product.write_in(self.precision, Target::strided(d_scores, w)); // [n_chunk, n_cols]
                        let scale = 1.0 / (d_head as f32).sqrt();
                        for (i, row) in chunk.clone().zip(d_scores.chunks_exact_mut(w)) {
                            let (row, n_seen) = (&mut row[..width(n_cols)], self.n_seen(i, length));
                            self.drop(pass, head.index, rows.start + i, &mut row[..n_seen]);
                            let saved = &saved[i * w..][..row.len()];
                            match &mut bias {
                                None => {
                                    self.weighting.backward(scale, saved, row, n_seen, length);
                                }
                                Some((bias, times_ms, gradients)) => {
                                    self.weighting.backward(1.0, saved, row, n_seen, length);
                                    let (times_ms, seen) =
                                        (&times_ms[rows.clone()], &mut row[..n_seen]);
                                    bias.add_gradients(i, times_ms, seen, gradients);
                                    scale_by(scale, seen);
                                }
                            }
                        }
                        let d_scores = Operand::strided(d_scores, chunk.len(), n_cols, w);
                        let keys = head.keys.rows(&(0..n_cols), d_head, stride);
                        let target = Target::strided(&mut out[chunk.start * stride..], stride);
                        let part = self.part(Part::LowerLeft(chunk.start));
                        Product { part, ..Product::new(d_scores, keys) }
                            .write_in(self.precision, target); // queries: [n_chunk, d_head]
                    }
                    for chunk in chunks(length) {
                        // The rows that look at this chunk's keys.
                        let from = if self.is_causal { chunk.start } else { 0 };
                        let lookers = from..length;
                        let column = |values| {
                            let values = Block { values }.from(from * w + chunk.start);
                            Operand::strided(values, lookers.len(), chunk.len(), w).transposed()
                        };
                        let queries = head.queries.rows(&lookers, d_head, stride);
                        let target = Target::strided(&mut out[chunk.start * stride + d..], stride);
                        let part = self.part(Part::UpperLeft);
                        Product { part, ..Product::new(column(d_scores), queries) }
                            .write_in(self.precision, target); // keys
                        let d_lookers = dy.rows(&lookers, d_head, d);
                        let target =
                            Target::strided(&mut out[chunk.start * stride + 2 * d..], stride);
                        Product { part, ..Product::new(column(weights), d_lookers) }
                            .write_in(self.precision, target); // values
                    }
                }
            }
        });
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

    /// The part of a product that causal attention needs.
    fn part(&self, causal: Part) -> Part {
        if self.is_causal { causal } else { Part::All }
    }

    /// Tokens that row `i` looks at, from the first on.
    fn n_seen(&self, i: usize, length: usize) -> usize {
        if self.is_causal { i + 1 } else { length }
    }

    /// Tokens that any row of a chunk looks at.
    fn n_cols(&self, chunk: &Range<usize>, length: usize) -> usize {
        self.n_seen(chunk.end - 1, length)
    }

    /// The weights of a chunk of rows, `[n_chunk, width(length)]`, from what was saved of it: in `buffer` if they are not
    /// the same.
    #[expect(clippy::too_many_arguments, reason = "the place of the rows in the batch")]
    fn weights<'a>(
        &self,
        saved: &'a [f32],
        chunk: &Range<usize>,
        length: usize,
        rows: &Range<usize>,
        pass: Pass,
        head: usize,
        buffer: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        let is_dropped = pass != Pass::Inference && self.dropout.probability() > 0.0;
        if self.weighting == Weighting::Softmax && !is_dropped {
            return saved;
        }
        buffer.clear();
        buffer.extend_from_slice(saved);
        for (i, row) in chunk.clone().zip(buffer.chunks_exact_mut(width(length))) {
            let seen = &mut row[..self.n_seen(i, length)];
            self.weighting.finish(seen, length);
            self.drop(pass, head, rows.start + i, seen);
        }
        buffer
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

/// `[d_head, width(length)]` from `length` rows of `d_head` columns; 0 past them.
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
    to.chunks_exact_mut(width(length)).for_each(|row| row[length..].fill(0.0));
}
