//! Softmax over all items, on all threads, a block of rows at a time.

use std::f32::consts::LOG2_E;
use std::f64::consts::LN_2;
use std::ops::Range;

use rayon::prelude::*;

use super::{check_label_smoothing, check_mean_over};
use crate::{
    Matrix, NnError, Precision,
    error::{check_finite, check_indices, check_length, check_shape},
    kernels::{
        Bf16Panels, Operand, Plus, Product, Target, add_scaled, dot, exp2_columns, round_to_bf16,
        scale_by, sum_rows, transpose,
    },
};

/// Rows whose exponentials against all items exist at a time.
const BLOCK_ROWS: usize = 128;

/// From the exponentials of one item to those of the next: an odd number of cache lines, so that a column of them has all
/// places of the L1 cache.
const STRIDE: usize = BLOCK_ROWS + 16;

/// Items whose logits, exponentials and first gradients are made together, while they are in the L2 cache.
const CHUNK_ITEMS: usize = 64;

/// Items of a share are at least this many, and at most [`MAX_SHARES`] shares are made.
const SHARE_ITEMS: usize = 256;
const MAX_SHARES: usize = 16;

/// A row whose exponentials add up to more is shifted anew, before its gradients lose digits.
const MAX_TOTAL: f64 = 1e20;

/// Buffers of [`full_softmax`], reused between calls: 144 exponentials for each item, and for each of at most 16 shares
/// of the items a gradient of 128 hidden rows.
#[derive(Debug, Default)]
pub struct FullSoftmaxWorkspace {
    precision: Precision,
    /// `[n_items, STRIDE]`: in column `r` those of row `r` of the block at hand.
    exponentials: Vec<f32>,
    shares: Vec<Share>,
    block: Block,
    /// The block before, whose part of the gradient of the table is still to be added.
    before: Block,
}

impl FullSoftmaxWorkspace {
    /// Buffers for products in `precision`. In bf16 hidden rows and items are rounded, and so are exponentials where they are multiplied;
    /// their sums, the loss and all that is added up stay f32 or f64.
    pub fn new(precision: Precision) -> Self {
        Self { precision, ..Self::default() }
    }
}

/// What the work on some of the items leaves for the other shares to see.
#[derive(Debug, Default)]
struct Share {
    /// Sum of the exponentials of each row of the block.
    totals: Vec<f32>,
    /// The same sum of the items' vectors, `[n_rows, d]`.
    d_hidden: Vec<f32>,
    /// Each chunk of items, `[n_items, d]`, where products are in bf16.
    rounded: Vec<Bf16Panels>,
}

/// Some rows of the batch.
#[derive(Debug, Default)]
struct Block {
    rows: Range<usize>,
    /// Hidden rows in units of `log2(e)`, `[d, STRIDE]`, zero past the last row: logits to the base 2.
    transposed: Vec<f32>,
    /// Vectors of the labels as products see them, `[n_rows, d]`.
    label_items: Vec<f32>,
    /// Logits of the labels, `[n_rows]`.
    label_logits: Vec<f32>,
    /// What is taken from the logits of each row before they become exponents: the label's, so that no total is small.
    shifts: Vec<f32>,
    /// Hidden rows times the factor that turns exponentials into gradients, as products see them, `[n_rows, d]`.
    scaled: Vec<f32>,
    /// What each row of `scaled` is multiplied by for the label's part of the targets.
    of_labels: Vec<f32>,
    /// `transposed` and `scaled`, where products are in bf16.
    rounded_transposed: Bf16Panels,
    rounded_scaled: Bf16Panels,
}

/// Where [`full_softmax`] puts its gradients.
#[derive(Debug)]
pub struct FullSoftmaxGradients<'a> {
    /// Overwritten with `[n, d]`.
    pub d_hidden: &'a mut Matrix,
    /// `[n_items, d]`, added to. Dense: a softmax touches every item.
    pub d_table: &'a mut Matrix,
}

/// Softmax cross-entropy over all items, `z_i = hidden · table_i`:
/// `Σ_rows (ln Σ_i exp(z_i) - Σ_i t_i z_i) / mean_over`, with the target
/// `t_i = (1 - label_smoothing) [i = label] + label_smoothing / n_items`. A bias is a column of the table whose hidden
/// value is 1. Runs on the current rayon pool.
///
/// The rows are taken in blocks of 128. For a block, shares of the items go through their items once, a chunk that fits a cache at a
/// time: logits, exponentials `E`, their sums and `E table`. When the sums of all shares are known, a factor for each row
/// turns what was made of `E` into gradients of `G = (softmax(z) - t) / mean_over`: `d_hidden = G table` by rows, and
/// `d_table += Gᵀ hidden` with the factor on the hidden rows; the targets are few and come apart. Sums of shares are joined in order, so the
/// result does not depend on the number of threads.
///
/// Exponents are shifted by the label's logit in place of the largest, which is not known before all are made; where another
/// logit is so much larger that digits would be lost, the block is done again with the largest.
///
/// # Shapes
/// `hidden: [n, d]`, `table: [n_items, d]`, `labels: [n]`.
///
/// # Cost
/// `6 n n_items d` floating-point operations and `n n_items` exponentials; memory for `144 n_items` values in place of
/// `n n_items`.
///
/// # Errors
/// [`NnError::Shape`], [`NnError::Length`], [`NnError::Index`]; [`NnError::OutOfRange`] for a `label_smoothing`
/// outside of `0.0..1.0`; [`NnError::NonFinite`] if the loss is NaN or infinite, in which case the gradients are of
/// no use.
///
/// Source: Milakov and Gimelshein, arXiv:1805.02867, for the sums of parts; blocks in place of stored logits as in
/// Wijmans et al., arXiv:2411.09009; smoothing as in Szegedy et al., CVPR 2016, section 7.
pub fn full_softmax(
    hidden: &Matrix,
    table: &Matrix,
    labels: &[u32],
    label_smoothing: f32,
    mean_over: f64,
    workspace: &mut FullSoftmaxWorkspace,
    gradients: FullSoftmaxGradients<'_>,
) -> Result<f64, NnError> {
    let FullSoftmaxGradients { d_hidden, d_table } = gradients;
    let ([n, d], n_items) = (hidden.shape(), table.rows());
    check_shape("item table", [n_items, d], table.shape())?;
    check_shape("gradient of item table", [n_items, d], d_table.shape())?;
    check_length("labels", n, labels.len())?;
    check_indices("label", labels, n_items)?;
    check_mean_over(mean_over)?;
    check_label_smoothing(label_smoothing)?;
    let smoothing = f64::from(label_smoothing);
    d_hidden.reset(n, d);
    if n == 0 || n_items == 0 || d == 0 {
        return Ok(0.0);
    }

    let share_items = n_items.div_ceil(MAX_SHARES).next_multiple_of(CHUNK_ITEMS).max(SHARE_ITEMS);
    let FullSoftmaxWorkspace { precision, exponentials, shares, block, before } = workspace;
    shares.resize_with(n_items.div_ceil(share_items), Share::default);
    exponentials.resize(n_items * STRIDE, 0.0);
    let uniform = smoothing / n_items as f64;
    let problem = Problem {
        precision: *precision,
        hidden,
        table,
        labels,
        share_items,
        of_label: ((1.0 - smoothing) / mean_over) as f32,
    };
    // Sums of all items and of all rows, for the part of the targets that is the same for all items.
    let of_each = (uniform / mean_over) as f32;
    let sum_of = |matrix: &Matrix| {
        let n_cols = if smoothing > 0.0 { d } else { 0 };
        let mut sum = vec![0.0_f32; n_cols];
        let rows = matrix.as_slice().chunks_exact(d);
        sum_rows(&mut sum, rows.map(|row| (1.0, &row[..n_cols])));
        sum
    };
    let all_items = sum_of(table);
    *before = Block::default();
    let mut sum = 0.0_f64;
    for first in (0..n).step_by(BLOCK_ROWS) {
        block.fill(&problem, first..(first + BLOCK_ROWS).min(n));
        problem.pass(shares, exponentials, d_table, before, block);
        if block.shift_anew(&problem, shares) {
            before.rows = 0..0;
            problem.pass(shares, exponentials, d_table, before, block);
        }
        for (place, row) in block.rows.clone().enumerate() {
            let total = total_of(shares, place);
            let label_logit = f64::from(block.label_logits[place]);
            let log_total = total.ln() + LN_2 * f64::from(block.shifts[place]);
            sum += log_total - (1.0 - smoothing) * LN_2 * label_logit;
            let factor = (1.0 / mean_over / total) as f32;
            block.scaled.extend(hidden.row(row).iter().map(|value| factor * value));
            let of_shares = shares.iter().map(|share| &share.d_hidden[place * d..(place + 1) * d]);
            let d_hidden = d_hidden.row_mut(row);
            sum_rows(d_hidden, of_shares.map(|values| (factor, values)));
            block.of_labels.push(-problem.of_label / factor);
            let label_item = &block.label_items[place * d..(place + 1) * d];
            add_scaled(-problem.of_label, label_item, d_hidden);
            if smoothing > 0.0 {
                sum -= uniform * f64::from(dot(hidden.row(row), &all_items));
                add_scaled(-of_each, &all_items, d_hidden);
            }
        }
        if problem.precision == Precision::Bf16 {
            round_to_bf16(&mut block.scaled);
            block.rounded_scaled.fill(Operand::new(&block.scaled, block.rows.len(), d));
        }
        std::mem::swap(block, before);
    }
    let loss = check_finite("full softmax", sum / mean_over)?;
    block.rows = 0..0;
    problem.pass(shares, exponentials, d_table, before, block);
    if smoothing > 0.0 {
        let all_rows = sum_of(hidden);
        let items = d_table.as_mut_slice().chunks_exact_mut(d);
        items.for_each(|d_item| add_scaled(-of_each, &all_rows, d_item));
    }
    Ok(loss)
}

/// Of the exponentials of a row of the block, in all shares.
fn total_of(shares: &[Share], place: usize) -> f64 {
    shares.iter().map(|share| f64::from(share.totals[place])).sum()
}

/// What stays the same from block to block.
struct Problem<'a> {
    precision: Precision,
    hidden: &'a Matrix,
    table: &'a Matrix,
    labels: &'a [u32],
    share_items: usize,
    /// `∂L/∂z` has minus this at the label.
    of_label: f32,
}

impl Problem<'_> {
    /// In each share, adds what `before` still has to give to the gradient of the table, and then takes up `block` in
    /// its place.
    fn pass(
        &self,
        shares: &mut [Share],
        exponentials: &mut [f32],
        d_table: &mut Matrix,
        before: &Block,
        block: &Block,
    ) {
        let d = self.hidden.cols();
        let tables = self.table.as_slice().par_chunks(self.share_items * d);
        let d_tables = d_table.as_mut_slice().par_chunks_mut(self.share_items * d);
        let exponentials = exponentials.par_chunks_mut(self.share_items * STRIDE);
        let tasks =
            shares.par_iter_mut().with_max_len(1).zip(exponentials).zip(tables).zip(d_tables);
        tasks.enumerate().for_each(|(index, (((share, exponentials), items), d_items))| {
            if !before.rows.is_empty() {
                self.add_gradients(before, exponentials, index * self.share_items, d_items);
            }
            if !block.rows.is_empty() {
                if block.rows.start == 0 {
                    share.round(self, items);
                }
                share.measure(self, block, items, exponentials);
            }
        });
    }

    /// The rounded copy of an operand, if products are in bf16.
    fn rounded<'a>(&self, panels: &'a Bf16Panels) -> Option<&'a Bf16Panels> {
        (self.precision == Precision::Bf16).then_some(panels)
    }

    /// Adds a block's part of `Gᵀ hidden` to the gradients of a share's items, of which `first` is the first.
    fn add_gradients(
        &self,
        block: &Block,
        exponentials: &[f32],
        first: usize,
        d_items: &mut [f32],
    ) {
        let d = self.hidden.cols();
        let (n_items, n_rows) = (d_items.len() / d, block.rows.len());
        let e = Operand::strided(exponentials, n_items, n_rows, STRIDE);
        let scaled = Operand::new(&block.scaled, n_rows, d);
        let product = Product { plus: Plus::Target, ..Product::new(e, scaled) };
        let rounded = self.rounded(&block.rounded_scaled);
        product.write_with(rounded, Target::strided(d_items, d)); // [n_items, d]
        for (place, row) in block.rows.clone().enumerate() {
            let item = (self.labels[row] as usize).wrapping_sub(first);
            if item < n_items {
                let d_item = &mut d_items[item * d..(item + 1) * d];
                let scaled = &block.scaled[place * d..(place + 1) * d];
                add_scaled(block.of_labels[place], scaled, d_item);
            }
        }
    }
}

impl Share {
    /// Exponentials of the share's items, their sums, and `E table`.
    fn measure(
        &mut self,
        problem: &Problem<'_>,
        block: &Block,
        items: &[f32],
        exponentials: &mut [f32],
    ) {
        let (n_rows, n_cols, d) = (block.rows.len(), block.shifts.len(), problem.hidden.cols());
        let hidden = Operand::strided(&block.transposed, d, n_cols, STRIDE);
        let rounded_hidden = problem.rounded(&block.rounded_transposed);
        self.totals.clear();
        self.totals.resize(n_cols, 0.0);
        self.d_hidden.resize(n_rows * d, 0.0);
        let chunks =
            items.chunks(CHUNK_ITEMS * d).zip(exponentials.chunks_mut(CHUNK_ITEMS * STRIDE));
        for (index, (items, exponentials)) in chunks.enumerate() {
            let n_items = items.len() / d;
            let items = Operand::new(items, n_items, d);
            let target = Target::strided(exponentials, STRIDE);
            Product::new(items, hidden).write_with(rounded_hidden, target); // [n_items, n_rows]
            exp2_columns(exponentials, STRIDE, &block.shifts, &mut self.totals);
            let e = Operand::strided(exponentials, n_items, n_rows, STRIDE).transposed();
            let target = Target::strided(&mut self.d_hidden, d);
            let plus = if index > 0 { Plus::Target } else { Plus::Nothing };
            let product = Product { plus, ..Product::new(e, items) };
            product.write_with(problem.rounded(&self.rounded[index]), target); // [n_rows, d]
        }
    }

    /// Rounds the items, once for all blocks, if products are in bf16.
    fn round(&mut self, problem: &Problem<'_>, items: &[f32]) {
        let d = problem.hidden.cols();
        let chunks = items.chunks(CHUNK_ITEMS * d);
        self.rounded.resize_with(chunks.len(), Bf16Panels::default);
        if problem.precision == Precision::Bf16 {
            for (rounded, items) in self.rounded.iter_mut().zip(chunks) {
                rounded.fill(Operand::new(items, items.len() / d, d));
            }
        }
    }
}

impl Block {
    /// Takes rows, to be shifted by the logits of their labels.
    fn fill(&mut self, problem: &Problem<'_>, rows: Range<usize>) {
        let d = problem.hidden.cols();
        let values = &problem.hidden.as_slice()[rows.start * d..rows.end * d];
        self.transposed.clear();
        self.transposed.resize(d * STRIDE, 0.0);
        transpose(values, d, d, &mut self.transposed, STRIDE);
        scale_by(LOG2_E, &mut self.transposed);
        self.label_items.clear();
        for label in &problem.labels[rows.clone()] {
            self.label_items.extend_from_slice(problem.table.row(*label as usize));
        }
        // The label's exponential must be what the products make of it: its part of a gradient is the small difference
        // of two large terms once a row is learned. `scaled` serves as the hidden rows in the units of `transposed`.
        self.scaled.clear();
        self.scaled.extend(values.iter().map(|value| LOG2_E * value));
        if problem.precision == Precision::Bf16 {
            round_to_bf16(&mut self.label_items);
            round_to_bf16(&mut self.scaled);
        }
        self.label_logits.clear();
        let pairs = self.scaled.chunks_exact(d).zip(self.label_items.chunks_exact(d));
        self.label_logits.extend(pairs.map(|(hidden, item)| dot(hidden, item)));
        self.shifts.clear();
        self.shifts.extend_from_slice(&self.label_logits);
        // Whole vectors.
        self.shifts.resize(rows.len().next_multiple_of(16), 0.0);
        if problem.precision == Precision::Bf16 {
            let transposed = Operand::strided(&self.transposed, d, self.shifts.len(), STRIDE);
            self.rounded_transposed.fill(transposed);
        }
        self.scaled.clear();
        self.of_labels.clear();
        self.rows = rows;
    }

    /// Shifts the rows by their largest logits whose totals are too large; whether there are any.
    fn shift_anew(&mut self, problem: &Problem<'_>, shares: &[Share]) -> bool {
        let mut is_any = false;
        for (place, row) in self.rows.clone().enumerate() {
            if total_of(shares, place) > MAX_TOTAL {
                let items = problem.table.as_slice().chunks_exact(problem.table.cols());
                let logits = items.map(|item| LOG2_E * dot(problem.hidden.row(row), item));
                self.shifts[place] = logits.fold(f32::NEG_INFINITY, f32::max);
                is_any = true;
            }
        }
        is_any
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::{kernels::matmul, loss::softmax_cross_entropy};

    fn random(rows: usize, cols: usize, rng: &mut ChaCha8Rng) -> Matrix {
        let values = (0..rows * cols).map(|_| 4.0 * rng.random::<f32>() - 2.0).collect();
        Matrix::from_vec(rows, cols, values).unwrap()
    }

    fn run(
        hidden: &Matrix,
        table: &Matrix,
        labels: &[u32],
        smoothing: f32,
        n_threads: usize,
        precision: Precision,
    ) -> (f64, Matrix, Matrix) {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        let (mut d_hidden, mut d_table) =
            (Matrix::default(), Matrix::zeros(table.rows(), table.cols()));
        let gradients = FullSoftmaxGradients { d_hidden: &mut d_hidden, d_table: &mut d_table };
        let workspace = &mut FullSoftmaxWorkspace::new(precision);
        let loss = pool
            .install(|| full_softmax(hidden, table, labels, smoothing, 5.0, workspace, gradients));
        (loss.unwrap(), d_hidden, d_table)
    }

    /// Loss and gradients by stored logits.
    fn by_definition(
        hidden: &Matrix,
        table: &Matrix,
        labels: &[u32],
        smoothing: f32,
    ) -> (f64, Vec<f32>, Vec<f32>) {
        let ([n, d], n_items) = (hidden.shape(), table.rows());
        let mut logits = Matrix::zeros(n, n_items);
        let h = Operand::new(hidden.as_slice(), n, d);
        let t = Operand::new(table.as_slice(), n_items, d);
        matmul(h, t.transposed(), logits.as_mut_slice(), false);
        let mut g = Matrix::default();
        let loss = softmax_cross_entropy(&logits, labels, None, smoothing, 5.0, &mut g).unwrap();
        let g = Operand::new(g.as_slice(), n, n_items);
        let (mut d_hidden, mut d_table) = (vec![0.0; n * d], vec![0.0; n_items * d]);
        matmul(g, t, &mut d_hidden, false);
        matmul(g.transposed(), h, &mut d_table, false);
        (loss, d_hidden, d_table)
    }

    /// For numbers of rows and items around the sizes of blocks, chunks and shares.
    #[test]
    fn equals_the_softmax_with_stored_logits_on_any_number_of_threads() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for (n, n_items, smoothing) in [
            (5, 1, 0.0),
            (5, 3, 0.1),
            (5, 255, 0.1),
            (128, 256, 0.0),
            (129, 257, 0.0),
            (300, 2500, 0.1),
            (5, 17_000, 0.1),
        ] {
            let d = 6;
            let (hidden, table) = (random(n, d, &mut rng), random(n_items, d, &mut rng));
            let labels: Vec<u32> = (0..n).map(|_| rng.random_range(0..n_items as u32)).collect();
            let (want, want_hidden, want_table) =
                by_definition(&hidden, &table, &labels, smoothing);
            let (got, d_hidden, d_table) =
                run(&hidden, &table, &labels, smoothing, 1, Precision::F32);
            assert!((got - want).abs() < 2e-6 * want.max(1.0), "{n_items}: {got} {want}");
            for (got, want) in [(&d_hidden, &want_hidden), (&d_table, &want_table)] {
                for (got, want) in got.as_slice().iter().zip(want) {
                    // f32 sums of probabilities of at most 1/5 times values of at most 2.
                    assert!((got - want).abs() < 5e-6, "{n_items}: {got} {want}");
                }
            }
            let on_three = run(&hidden, &table, &labels, smoothing, 3, Precision::F32);
            assert_eq!(on_three, (got, d_hidden, d_table), "{n_items}");
        }
    }

    /// A logit is a sum of six products of values below 2, each of which is off by up to 2^-7 of itself, and so is each product of
    /// an exponential: a few hundredths in a gradient, of either sign.
    #[test]
    fn in_bf16_it_is_near_that_in_f32_on_any_number_of_threads() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        for (n, n_items, smoothing) in [(5, 1, 0.0), (129, 257, 0.0), (300, 2500, 0.1)] {
            let d = 6;
            let (hidden, table) = (random(n, d, &mut rng), random(n_items, d, &mut rng));
            let labels: Vec<u32> = (0..n).map(|_| rng.random_range(0..n_items as u32)).collect();
            let in_f32 = run(&hidden, &table, &labels, smoothing, 1, Precision::F32);
            let in_bf16 = run(&hidden, &table, &labels, smoothing, 1, Precision::Bf16);
            assert!((in_bf16.0 - in_f32.0).abs() < 0.02 * in_f32.0.max(1.0), "{n_items}");
            for (got, want) in [(&in_bf16.1, &in_f32.1), (&in_bf16.2, &in_f32.2)] {
                let norm = |values: &mut dyn Iterator<Item = f32>| -> f32 {
                    values.map(|value| value * value).sum::<f32>().sqrt()
                };
                let mut errors =
                    got.as_slice().iter().zip(want.as_slice()).map(|(got, want)| got - want);
                let off = norm(&mut errors);
                let size = norm(&mut want.as_slice().iter().copied());
                assert!(off < 0.03 * size.max(1.0), "{n_items}: {off} of {size}");
                assert!(off > 0.0, "values are rounded");
            }
            let on_three = run(&hidden, &table, &labels, smoothing, 3, Precision::Bf16);
            assert_eq!(on_three, in_bf16, "{n_items}");
        }
    }

    /// The rounding of a hidden row or of its label must not push at what is learned already: the label's two terms are of the
    /// same rounded values and cancel. Other items have logits that are smaller by 40 and more.
    #[test]
    fn a_label_that_is_learned_has_no_gradient_in_bf16() {
        let table = Matrix::from_rows(&[[3.3, 4.7], [-3.1, 0.3], [-5.1, -0.7]]);
        let hidden = Matrix::from_rows(&[[4.3, 5.9]; 2]);
        let (loss, d_hidden, d_table) = run(&hidden, &table, &[0, 0], 0.0, 1, Precision::Bf16);
        let gradients = d_hidden.as_slice().iter().chain(d_table.as_slice());
        let largest = gradients.fold(0.0_f32, |largest, value| largest.max(value.abs()));
        assert!(loss.abs() < 1e-6 && largest < 1e-5, "{loss} {d_hidden:?} {d_table:?}");
    }

    /// The second block has one row of these; the first keeps what it gave.
    #[test]
    fn rows_whose_labels_are_far_below_the_largest_logit_are_shifted_anew() {
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        let (mut hidden, mut table) = (random(140, 2, &mut rng), random(300, 2, &mut rng));
        hidden.row_mut(139).copy_from_slice(&[8.0, 8.0]);
        for (item, far) in [(7, -8.0), (290, 7.0), (291, 7.1)] {
            table.row_mut(item).copy_from_slice(&[far, far]); // logits of -128, 112 and 113.6
        }
        let mut labels = vec![3; 140];
        labels[139] = 7;
        let (want, want_hidden, want_table) = by_definition(&hidden, &table, &labels, 0.0);
        let (got, d_hidden, d_table) = run(&hidden, &table, &labels, 0.0, 2, Precision::F32);
        assert!((got - want).abs() < 2e-6 * want, "{got} {want}");
        for (got, want) in [(&d_hidden, &want_hidden), (&d_table, &want_table)] {
            for (got, want) in got.as_slice().iter().zip(want) {
                // As above, with values of at most 8.
                assert!((got - want).abs() < 2e-5 + 1e-6 * want.abs(), "{got} {want}");
            }
        }
    }

    #[test]
    fn nan_is_an_error() {
        let (hidden, table) = (Matrix::from_rows(&[[f32::NAN]]), Matrix::from_rows(&[[1.0]]));
        let (mut d_hidden, mut d_table) = (Matrix::default(), Matrix::zeros(1, 1));
        let gradients = FullSoftmaxGradients { d_hidden: &mut d_hidden, d_table: &mut d_table };
        let workspace = &mut FullSoftmaxWorkspace::default();
        let result = full_softmax(&hidden, &table, &[0], 0.0, 1.0, workspace, gradients);
        assert!(matches!(result, Err(NnError::NonFinite { .. })));
    }
}
