//! Softmax over all items, on all threads, without the logits in memory.

use rayon::prelude::*;

use super::{check_label_smoothing, check_mean_over};
use crate::{
    Matrix, NnError,
    error::{check_finite, check_indices, check_length, check_shape},
    kernels::{Operand, Target, add_scaled, dot, exp_scaled, matmul_into, max},
};

/// Rows and items whose logits exist at a time, 128 KiB: within an L2 cache.
const BLOCK_ROWS: usize = 128;
const BLOCK_ITEMS: usize = 256;

/// Items of a share are a multiple of this, and at most [`MAX_SHARES`] shares are made.
const SHARE_ITEMS: usize = 1024;
const MAX_SHARES: usize = 16;

/// Buffers of [`full_softmax`], reused between calls: a transposed copy of the table and, for each of at most 16
/// shares of the items, a gradient of the hidden rows.
#[derive(Debug, Default)]
pub struct FullSoftmaxWorkspace {
    shares: Vec<Share>,
    /// Of each row: the largest logit, and the factor that turns `exp(logit - max)` into a gradient.
    max: Vec<f32>,
    factor: Vec<f32>,
}

/// The work on some of the items.
#[derive(Debug, Default)]
struct Share {
    first: usize,
    n_items: usize,
    /// `[d, width]`, zero past the last item.
    transposed: Vec<f32>,
    width: usize,
    block: Vec<f32>,
    max: Vec<f32>,
    total: Vec<f64>,
    label_logit: Vec<Option<f32>>,
    d_hidden: Matrix,
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
/// The items are shared out, and a share walks over its items twice, in blocks that fit a cache: for the largest
/// logit and the sum of exponentials of each row (rescaled when a block raises the largest), and for the gradients
/// `G = (softmax(z) - t) / mean_over`, `d_hidden = G table`, `d_table += Gᵀ hidden`. Between the walks the shares' sums are
/// joined in order, so the result does not depend on the number of threads.
///
/// # Shapes
/// `hidden: [n, d]`, `table: [n_items, d]`, `labels: [n]`.
///
/// # Cost
/// `8 n n_items d` floating-point operations, against `6 n n_items d` with stored logits; memory for a copy of the table and
/// `16 n d` values in place of `n n_items`.
///
/// # Errors
/// [`NnError::Shape`], [`NnError::Length`], [`NnError::Index`]; [`NnError::OutOfRange`] for a `label_smoothing`
/// outside of `0.0..1.0`; [`NnError::NonFinite`] if the loss is NaN or infinite, in which case `d_table` is left as
/// it was.
///
/// Source: Milakov and Gimelshein, arXiv:1805.02867, algorithm 3 (online normalizer); the second walk as in
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

    let share_items = n_items.div_ceil(MAX_SHARES).next_multiple_of(SHARE_ITEMS);
    let FullSoftmaxWorkspace { shares, max, factor } = workspace;
    shares.resize_with(n_items.div_ceil(share_items), Share::default);
    let uniform = smoothing / n_items as f64;
    shares.par_iter_mut().with_max_len(1).enumerate().for_each(|(index, share)| {
        share.first = index * share_items;
        share.n_items = share_items.min(n_items - share.first);
        share.measure(hidden, table, labels);
    });

    max.clear();
    factor.clear();
    let mut sum = 0.0_f64;
    for row in 0..n {
        let largest = shares.iter().map(|share| share.max[row]).fold(f32::NEG_INFINITY, f32::max);
        let total: f64 = shares
            .iter()
            .map(|share| share.total[row] * f64::from(share.max[row] - largest).exp())
            .sum();
        let log_total = total.ln() + f64::from(largest);
        let label_logit = shares.iter().find_map(|share| share.label_logit[row]);
        sum += log_total - (1.0 - smoothing) * f64::from(label_logit.unwrap_or(f32::NAN));
        max.push(largest);
        factor.push((1.0 / mean_over / total) as f32);
    }
    if smoothing > 0.0 {
        // Σ_i z_i is the product with the sum of all items.
        let mut all = vec![0.0_f32; d];
        table.as_slice().chunks_exact(d).for_each(|item| add_scaled(1.0, item, &mut all));
        let logits = hidden.as_slice().chunks_exact(d).map(|row| dot(row, &all));
        sum -= uniform * logits.map(f64::from).sum::<f64>();
    }
    let loss = check_finite("full softmax", sum / mean_over)?;

    let target = Gradient {
        max,
        factor,
        labels,
        of_label: ((1.0 - smoothing) / mean_over) as f32,
        of_each: (uniform / mean_over) as f32,
    };
    let d_tables = d_table.as_mut_slice().par_chunks_mut(share_items * d);
    shares.par_iter_mut().with_max_len(1).zip(d_tables).for_each(|(share, d_items)| {
        share.differentiate(hidden, table, &target, d_items);
    });
    for share in shares.iter() {
        add_scaled(1.0, share.d_hidden.as_slice(), d_hidden.as_mut_slice());
    }
    Ok(loss)
}

/// What the gradient of a logit is made of.
struct Gradient<'a> {
    max: &'a [f32],
    factor: &'a [f32],
    labels: &'a [u32],
    /// `∂L/∂z` has minus this at the label, and minus `of_each` everywhere.
    of_label: f32,
    of_each: f32,
}

impl Share {
    /// The first walk: the largest logit of each row, the sum of exponentials and the label's logit.
    fn measure(&mut self, hidden: &Matrix, table: &Matrix, labels: &[u32]) {
        let [n, d] = hidden.shape();
        self.width = self.n_items.next_multiple_of(16);
        let items = &table.as_slice()[self.first * d..(self.first + self.n_items) * d];
        self.transposed.clear();
        self.transposed.resize(d * self.width, 0.0);
        crate::kernels::transpose(items, d, d, &mut self.transposed, self.width);
        self.max.clear();
        self.total.clear();
        self.label_logit.clear();
        self.max.resize(n, f32::NEG_INFINITY);
        self.total.resize(n, 0.0);
        self.label_logit.resize(n, None);
        self.block.resize(BLOCK_ROWS * BLOCK_ITEMS, 0.0);
        for rows in blocks(n, BLOCK_ROWS) {
            for items in blocks(self.n_items, BLOCK_ITEMS) {
                self.logits(hidden, &rows, &items);
                for (row, logits) in rows.clone().zip(self.block.chunks_exact_mut(BLOCK_ITEMS)) {
                    let logits = &mut logits[..items.len()];
                    let label = (labels[row] as usize).wrapping_sub(self.first + items.start);
                    if let Some(logit) = logits.get(label) {
                        self.label_logit[row] = Some(*logit);
                    }
                    let largest = max(logits);
                    if largest > self.max[row] {
                        // exp(-inf) is 0: the first block starts from an empty sum.
                        self.total[row] *= f64::from(self.max[row] - largest).exp();
                        self.max[row] = largest;
                    }
                    self.total[row] += f64::from(exp_scaled(logits, self.max[row], 1.0));
                }
            }
        }
    }

    /// The second walk: the gradients, with the sums of all shares.
    fn differentiate(
        &mut self,
        hidden: &Matrix,
        table: &Matrix,
        gradient: &Gradient<'_>,
        d_items: &mut [f32],
    ) {
        let [n, d] = hidden.shape();
        self.d_hidden.reset(n, d);
        for rows in blocks(n, BLOCK_ROWS) {
            for items in blocks(self.n_items, BLOCK_ITEMS) {
                self.logits(hidden, &rows, &items);
                for (row, logits) in rows.clone().zip(self.block.chunks_exact_mut(BLOCK_ITEMS)) {
                    let logits = &mut logits[..items.len()];
                    exp_scaled(logits, gradient.max[row], gradient.factor[row]);
                    if gradient.of_each > 0.0 {
                        logits.iter_mut().for_each(|value| *value -= gradient.of_each);
                    }
                    let label = gradient.labels[row] as usize;
                    if let Some(value) =
                        logits.get_mut(label.wrapping_sub(self.first + items.start))
                    {
                        *value -= gradient.of_label;
                    }
                }
                let g = Operand::strided(&self.block, rows.len(), items.len(), BLOCK_ITEMS);
                let first = self.first + items.start;
                let of_items = &table.as_slice()[first * d..(first + items.len()) * d];
                let of_items = Operand::new(of_items, items.len(), d);
                let target = &mut self.d_hidden.as_mut_slice()[rows.start * d..];
                matmul_into(g, of_items, Target::strided(target, d), true); // [n_rows, d]
                let of_rows = &hidden.as_slice()[rows.start * d..rows.end * d];
                let target = Target::strided(&mut d_items[items.start * d..], d);
                matmul_into(g.transposed(), Operand::new(of_rows, rows.len(), d), target, true);
            }
        }
    }

    /// Fills the block with the logits of some rows and items, `[n_rows, BLOCK_ITEMS]`.
    fn logits(
        &mut self,
        hidden: &Matrix,
        rows: &std::ops::Range<usize>,
        items: &std::ops::Range<usize>,
    ) {
        let d = hidden.cols();
        let of_rows = Operand::new(&hidden.as_slice()[rows.start * d..rows.end * d], rows.len(), d);
        // Whole vectors: the columns past the last item are zeros.
        let n_cols = items.len().next_multiple_of(16);
        let of_items = Operand::strided(&self.transposed[items.start..], d, n_cols, self.width);
        matmul_into(of_rows, of_items, Target::strided(&mut self.block, BLOCK_ITEMS), false);
    }
}

fn blocks(n: usize, size: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..n).step_by(size).map(move |start| start..(start + size).min(n))
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
    ) -> (f64, Matrix, Matrix) {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        let (mut d_hidden, mut d_table) =
            (Matrix::default(), Matrix::zeros(table.rows(), table.cols()));
        let gradients = FullSoftmaxGradients { d_hidden: &mut d_hidden, d_table: &mut d_table };
        let workspace = &mut FullSoftmaxWorkspace::default();
        let loss = pool
            .install(|| full_softmax(hidden, table, labels, smoothing, 5.0, workspace, gradients));
        (loss.unwrap(), d_hidden, d_table)
    }

    /// The same by stored logits, for numbers of rows and items around the sizes of blocks and shares.
    #[test]
    fn equals_the_softmax_with_stored_logits_on_any_number_of_threads() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for (n, n_items, smoothing) in [
            (5, 1, 0.0),
            (5, 3, 0.1),
            (5, 255, 0.1),
            (128, 256, 0.0),
            (129, 257, 0.0),
            (300, 2500, 0.0),
            (5, 17_000, 0.1),
        ] {
            let d = 6;
            let (hidden, table) = (random(n, d, &mut rng), random(n_items, d, &mut rng));
            let labels: Vec<u32> = (0..n).map(|_| rng.random_range(0..n_items as u32)).collect();

            let mut logits = Matrix::zeros(n, n_items);
            let h = Operand::new(hidden.as_slice(), n, d);
            let t = Operand::new(table.as_slice(), n_items, d);
            matmul(h, t.transposed(), logits.as_mut_slice(), false);
            let mut g = Matrix::default();
            let want =
                softmax_cross_entropy(&logits, &labels, None, smoothing, 5.0, &mut g).unwrap();
            let g = Operand::new(g.as_slice(), n, n_items);
            let (mut want_hidden, mut want_table) = (vec![0.0; n * d], vec![0.0; n_items * d]);
            matmul(g, t, &mut want_hidden, false);
            matmul(g.transposed(), h, &mut want_table, false);

            let (got, d_hidden, d_table) = run(&hidden, &table, &labels, smoothing, 1);
            assert!((got - want).abs() < 2e-6 * want.max(1.0), "{n_items}: {got} {want}");
            for (got, want) in [(&d_hidden, &want_hidden), (&d_table, &want_table)] {
                for (got, want) in got.as_slice().iter().zip(want) {
                    // f32 sums of probabilities of at most 1/5 times values of at most 2.
                    assert!((got - want).abs() < 5e-6, "{n_items}: {got} {want}");
                }
            }
            let on_three = run(&hidden, &table, &labels, smoothing, 3);
            assert_eq!(on_three, (got, d_hidden, d_table), "{n_items}");
        }
    }

    #[test]
    fn nan_leaves_the_gradients_alone() {
        let (hidden, table) = (Matrix::from_rows(&[[f32::NAN]]), Matrix::from_rows(&[[1.0]]));
        let (mut d_hidden, mut d_table) = (Matrix::default(), Matrix::zeros(1, 1));
        let gradients = FullSoftmaxGradients { d_hidden: &mut d_hidden, d_table: &mut d_table };
        let workspace = &mut FullSoftmaxWorkspace::default();
        let result = full_softmax(&hidden, &table, &[0], 0.0, 1.0, workspace, gradients);
        assert!(matches!(result, Err(NnError::NonFinite { .. })));
        assert_eq!(d_table, Matrix::zeros(1, 1));
    }
}
