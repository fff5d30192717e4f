//! Softmax over all items for a whole batch on all threads, without the logits in memory.

use rayon::prelude::*;

use super::check_mean_over;
use crate::{
    Matrix, NnError,
    error::{check_finite, check_indices, check_length, check_shape},
    kernels::{Operand, Target, add_scaled, exp_scaled, matmul_into, max},
};

/// Rows and items whose logits exist at a time, 128 KiB: within an L2 cache.
const BLOCK_ROWS: usize = 128;
const BLOCK_ITEMS: usize = 256;

/// Items of a share are a multiple of this, and at most [`MAX_SHARES`] shares are made.
const SHARE_ITEMS: usize = 1024;
const MAX_SHARES: usize = 16;

/// Buffers of [`batch_softmax`], reused between calls: a transposed copy of the table and, for each of at most 16
/// shares of the items, a gradient of the hidden rows.
#[derive(Debug, Default)]
pub struct BatchSoftmaxWorkspace {
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

/// As [`super::full_softmax`] with a smoothed label, for a batch of any size and on the current rayon pool:
/// `Σ_rows -(Σ_i t_i ln softmax(hidden tableᵀ)_i) / mean_over`, `t = (1 - smoothing) onehot + smoothing / n_items`.
///
/// The items are shared out; a share walks over its items twice, in blocks that fit a cache: for the largest
/// logit and the sum of exponentials of each row, and for the gradients. Between the walks the shares' sums are
/// joined in order, so the result does not depend on the number of threads.
///
/// # Shapes
/// `hidden: [n, d]`, `table: [n_items, d]`, `labels: [n]`; `d_hidden` is overwritten with `[n, d]`, `d_table: [n_items,
/// d]` is added to.
///
/// # Cost
/// `8 n n_items d` floating-point operations; memory for the table and `16 n d` values.
///
/// # Errors
/// [`NnError::Shape`], [`NnError::Length`], [`NnError::Index`]; [`NnError::NonFinite`] if the loss is NaN or
/// infinite, in which case `d_table` is left as it was.
///
/// Source: as [`super::full_softmax`]; label smoothing as in Szegedy et al., CVPR 2016, section 7.
#[expect(clippy::too_many_arguments, reason = "the inputs and outputs of one loss")]
pub fn batch_softmax(
    hidden: &Matrix,
    table: &Matrix,
    labels: &[u32],
    smoothing: f32,
    mean_over: f64,
    workspace: &mut BatchSoftmaxWorkspace,
    d_hidden: &mut Matrix,
    d_table: &mut Matrix,
) -> Result<f64, NnError> {
    let ([n, d], n_items) = (hidden.shape(), table.rows());
    check_shape("item table", [n_items, d], table.shape())?;
    check_shape("gradient of item table", [n_items, d], d_table.shape())?;
    check_length("labels", n, labels.len())?;
    check_indices("label", labels, n_items)?;
    check_mean_over(mean_over)?;
    let inside = (0.0..1.0).contains(&smoothing);
    crate::error::check_range("label_smoothing", f64::from(smoothing), inside, "in 0.0..1.0")?;
    d_hidden.reset(n, d);
    if n == 0 || n_items == 0 || d == 0 {
        return Ok(0.0);
    }

    let share_items = n_items.div_ceil(MAX_SHARES).next_multiple_of(SHARE_ITEMS);
    let BatchSoftmaxWorkspace { shares, max, factor } = workspace;
    shares.resize_with(n_items.div_ceil(share_items), Share::default);
    let uniform = smoothing / n_items as f32;
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
        sum += log_total - f64::from(1.0 - smoothing) * f64::from(label_logit.unwrap_or(f32::NAN));
        max.push(largest);
        factor.push((1.0 / mean_over / total) as f32);
    }
    if smoothing > 0.0 {
        // Σ_i z_i is the product with the sum of all items.
        let mut all = vec![0.0_f32; d];
        table.as_slice().chunks_exact(d).for_each(|item| add_scaled(1.0, item, &mut all));
        let logits = hidden.as_slice().chunks_exact(d).map(|row| crate::kernels::dot(row, &all));
        sum -= f64::from(uniform) * logits.map(f64::from).sum::<f64>();
    }
    let loss = check_finite("batch softmax", sum / mean_over)?;

    let target = Gradient {
        max,
        factor,
        labels,
        of_label: ((1.0 - f64::from(smoothing)) / mean_over) as f32,
        of_each: (f64::from(uniform) / mean_over) as f32,
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
    use crate::loss::{FullSoftmaxGradients, FullSoftmaxWorkspace, ItemTable, full_softmax};

    fn random(rows: usize, cols: usize, rng: &mut ChaCha8Rng) -> Matrix {
        let values = (0..rows * cols).map(|_| 2.0 * rng.random::<f32>() - 1.0).collect();
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
        let workspace = &mut BatchSoftmaxWorkspace::default();
        let loss = pool.install(|| {
            batch_softmax(
                hidden,
                table,
                labels,
                smoothing,
                7.0,
                workspace,
                &mut d_hidden,
                &mut d_table,
            )
        });
        (loss.unwrap(), d_hidden, d_table)
    }

    #[test]
    fn equals_the_loss_of_one_tile_on_any_number_of_threads() {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let (hidden, table) = (random(300, 12, rng), random(2500, 12, rng));
        let labels: Vec<u32> = (0..300).map(|_| rng.random_range(0..2500)).collect();
        let (loss, d_hidden, d_table) = run(&hidden, &table, &labels, 0.0, 1);
        assert_eq!(
            run(&hidden, &table, &labels, 0.0, 3),
            (loss, d_hidden.clone(), d_table.clone())
        );
        let (mut want_hidden, mut want_table) = (Matrix::default(), Matrix::zeros(2500, 12));
        let gradients = FullSoftmaxGradients {
            d_hidden: &mut want_hidden,
            d_table: &mut want_table,
            d_bias: None,
        };
        let output = ItemTable { items: &table, bias: None };
        let workspace = &mut FullSoftmaxWorkspace::default();
        let want = full_softmax(&hidden, output, &labels, 0.0, 7.0, workspace, gradients).unwrap();
        assert!((loss - want).abs() < 1e-5 * want, "{loss} {want}");
        for (got, want) in [(&d_hidden, &want_hidden), (&d_table, &want_table)] {
            for (got, want) in got.as_slice().iter().zip(want.as_slice()) {
                assert!((got - want).abs() < 2e-6, "{got} {want}");
            }
        }
    }

    #[test]
    fn smoothed_labels_by_finite_differences() {
        let rng = &mut ChaCha8Rng::seed_from_u64(2);
        let (hidden, table) = (random(3, 4, rng), random(9, 4, rng));
        let labels = [0, 8, 3];
        let (loss, d_hidden, d_table) = run(&hidden, &table, &labels, 0.2, 1);
        assert!(loss > run(&hidden, &table, &labels, 0.0, 1).0 * 0.8);
        let check = |point: &Matrix, analytic: &Matrix, of: &dyn Fn(&Matrix) -> f64| {
            let mut values = point.to_host();
            let report =
                crate::gradient_check(&mut values, analytic.as_slice(), 0.02, 0.01, |values| {
                    of(&Matrix::from_vec(point.rows(), point.cols(), values.to_vec()).unwrap())
                });
            assert!(report.error < 1e-3, "{report:?}");
        };
        check(&hidden, &d_hidden, &|hidden| run(hidden, &table, &labels, 0.2, 1).0);
        check(&table, &d_table, &|table| run(&hidden, table, &labels, 0.2, 1).0);
    }
}
