//! Softmax over all items without the logits in memory.

use super::{check_label_smoothing, check_mean_over};
use crate::{
    Matrix, NnError,
    error::{check_finite, check_indices, check_length, check_shape},
    kernels::{Operand, matmul},
};

/// Items whose logits exist at a time: 256 logits of 64 rows are 64 KiB, within an L2 cache.
const BLOCK_ITEMS: usize = 256;

/// Buffers of [`full_softmax`], reused between calls.
#[derive(Debug, Clone, Default)]
pub struct FullSoftmaxWorkspace {
    /// Logits of one block, `[n, BLOCK_ITEMS]`.
    block: Vec<f32>,
    max: Vec<f32>,
    total: Vec<f64>,
    label_logit: Vec<f32>,
}

/// The output layer over all items.
#[derive(Debug, Clone, Copy)]
pub struct ItemTable<'a> {
    /// One row an item, `[n_items, d]`.
    pub items: &'a Matrix,
    /// `[1, n_items]`, if there is one.
    pub bias: Option<&'a Matrix>,
}

/// Where [`full_softmax`] puts its gradients.
#[derive(Debug)]
pub struct FullSoftmaxGradients<'a> {
    /// Overwritten with `[n, d]`.
    pub d_hidden: &'a mut Matrix,
    /// `[n_items, d]`, added to. Dense: a softmax touches every item.
    pub d_table: &'a mut Matrix,
    /// `[1, n_items]`, added to; there must be one if and only if there is a bias.
    pub d_bias: Option<&'a mut Matrix>,
}

/// Softmax cross-entropy over all items, `z_i = hidden · table_i + bias_i`:
/// `Σ_rows (ln Σ_i exp(z_i) - Σ_i t_i z_i) / mean_over`, with the target
/// `t_i = (1 - label_smoothing) [i = label] + label_smoothing / n_items`. Without smoothing, `Σ_i t_i z_i` is the
/// label's logit.
///
/// # Shapes
/// `hidden: [n, d]`, `output.items: [n_items, d]`, `output.bias: [1, n_items]`, `labels: [n]`.
///
/// The items are walked twice in blocks of 256: once for the largest logit and the sum of exponentials
/// (rescaled when a block raises the largest), once for the gradients
/// `G = (softmax(z) - t) / mean_over`, `d_hidden = G table`, `d_table += Gᵀ hidden`, `d_bias += Σ_rows G`.
///
/// # Cost
/// `8 n n_items d` floating-point operations, against `6 n n_items d` with stored logits; memory for `256 n`
/// logits in place of `n n_items`.
///
/// # Errors
/// [`NnError::Shape`], [`NnError::Length`], [`NnError::Index`]; [`NnError::OutOfRange`] for a `label_smoothing`
/// outside of `0.0..1.0`; [`NnError::NonFinite`] if the loss is NaN or infinite, in which case the
/// gradients are left as they were.
///
/// Source: Milakov and Gimelshein, arXiv:1805.02867, algorithm 3 (online normalizer); the second walk as in
/// Wijmans et al., arXiv:2411.09009; smoothing as in Szegedy et al., CVPR 2016, section 7.
pub fn full_softmax(
    hidden: &Matrix,
    output: ItemTable<'_>,
    labels: &[u32],
    label_smoothing: f32,
    mean_over: f64,
    workspace: &mut FullSoftmaxWorkspace,
    gradients: FullSoftmaxGradients<'_>,
) -> Result<f64, NnError> {
    let ItemTable { items: table, bias } = output;
    let ([n, d], n_items) = (hidden.shape(), table.rows());
    let FullSoftmaxGradients { d_hidden, d_table, mut d_bias } = gradients;
    check_shape("item table", [n_items, d], table.shape())?;
    check_shape("gradient of item table", [n_items, d], d_table.shape())?;
    check_length("labels", n, labels.len())?;
    check_indices("label", labels, n_items)?;
    check_label_smoothing(label_smoothing)?;
    check_mean_over(mean_over)?;
    let bias_shape = bias.map_or([0, 0], Matrix::shape);
    if bias.is_some() {
        check_shape("item bias", [1, n_items], bias_shape)?;
    }
    let d_bias_shape = d_bias.as_deref().map_or([0, 0], Matrix::shape);
    check_shape("gradient of item bias", bias_shape, d_bias_shape)?;

    let problem = Problem { hidden, table, bias };
    let mut sum = problem.sum_of_losses(labels, workspace);
    let smoothing = f64::from(label_smoothing);
    if smoothing > 0.0 {
        let of_labels: f64 = workspace.label_logit.iter().map(|&logit| f64::from(logit)).sum();
        sum += smoothing * (of_labels - problem.sum_of_mean_logits());
    }
    let loss = check_finite("full softmax", sum / mean_over)?;

    d_hidden.reset(n, d);
    let FullSoftmaxWorkspace { block, max, total, .. } = workspace;
    let scale = 1.0 / mean_over;
    let uniform = (scale * smoothing / n_items as f64) as f32;
    let of_label = (scale * (1.0 - smoothing)) as f32;
    for first in (0..n_items).step_by(BLOCK_ITEMS) {
        let last = (first + BLOCK_ITEMS).min(n_items);
        let n_block = last - first;
        let logits = problem.logits(first, last, block); // [n, n_block]
        for (row_idx, row) in logits.chunks_exact_mut(n_block).enumerate() {
            let scale_row = (scale / total[row_idx]) as f32;
            for value in row.iter_mut() {
                *value = (*value - max[row_idx]).exp() * scale_row - uniform;
            }
            let label = labels[row_idx] as usize;
            if (first..last).contains(&label) {
                row[label - first] -= of_label;
            }
            if let Some(d_bias) = &mut d_bias {
                for (sum, value) in d_bias.as_mut_slice()[first..last].iter_mut().zip(&*row) {
                    *sum += value;
                }
            }
        }
        let g = Operand::new(logits, n, n_block);
        let items = Operand::new(&table.as_slice()[first * d..last * d], n_block, d);
        matmul(g, items, d_hidden.as_mut_slice(), true); // [n, d]
        let d_items = &mut d_table.as_mut_slice()[first * d..last * d];
        matmul(g.transposed(), Operand::new(hidden.as_slice(), n, d), d_items, true); // [n_block, d]
    }
    Ok(loss)
}

struct Problem<'a> {
    hidden: &'a Matrix,
    table: &'a Matrix,
    bias: Option<&'a Matrix>,
}

impl Problem<'_> {
    /// Logits of the items `first..last`, `[n, last - first]`.
    fn logits<'b>(&self, first: usize, last: usize, block: &'b mut Vec<f32>) -> &'b mut [f32] {
        let ([n, d], n_block) = (self.hidden.shape(), last - first);
        block.resize(n * BLOCK_ITEMS, 0.0);
        let logits = &mut block[..n * n_block];
        if let Some(bias) = self.bias {
            for row in logits.chunks_exact_mut(n_block) {
                row.copy_from_slice(&bias.as_slice()[first..last]);
            }
        }
        let items = Operand::new(&self.table.as_slice()[first * d..last * d], n_block, d);
        let hidden = Operand::new(self.hidden.as_slice(), n, d);
        matmul(hidden, items.transposed(), logits, self.bias.is_some());
        logits
    }

    /// The first walk: leaves the largest logit and the sum of exponentials of each row in `workspace`.
    fn sum_of_losses(&self, labels: &[u32], workspace: &mut FullSoftmaxWorkspace) -> f64 {
        let (n, n_items) = (self.hidden.rows(), self.table.rows());
        let FullSoftmaxWorkspace { block, max, total, label_logit } = workspace;
        max.clear();
        max.resize(n, f32::NEG_INFINITY);
        total.clear();
        total.resize(n, 0.0);
        label_logit.clear();
        label_logit.resize(n, f32::NAN);
        for first in (0..n_items).step_by(BLOCK_ITEMS) {
            let last = (first + BLOCK_ITEMS).min(n_items);
            let logits = self.logits(first, last, block);
            for (row_idx, row) in logits.chunks_exact(last - first).enumerate() {
                let label = labels[row_idx] as usize;
                if (first..last).contains(&label) {
                    label_logit[row_idx] = row[label - first];
                }
                let block_max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                if block_max > max[row_idx] {
                    // exp(-inf) is 0: the first block starts from an empty sum.
                    total[row_idx] *= f64::from(max[row_idx] - block_max).exp();
                    max[row_idx] = block_max;
                }
                let sum: f32 = row.iter().map(|&logit| (logit - max[row_idx]).exp()).sum();
                total[row_idx] += f64::from(sum);
            }
        }
        let losses = max.iter().zip(&*total).zip(&*label_logit);
        losses.map(|((&max, total), &z)| total.ln() + f64::from(max) - f64::from(z)).sum()
    }

    /// `Σ_rows Σ_i z_i / n_items` without the logits: the mean commutes with the product. `O((n + n_items) d)`.
    fn sum_of_mean_logits(&self) -> f64 {
        let sum_of_rows = |rows: &Matrix| {
            let mut sums = vec![0.0_f64; rows.cols()];
            for row in rows.as_slice().chunks_exact(rows.cols().max(1)) {
                sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
            }
            sums
        };
        let (hidden, items) = (sum_of_rows(self.hidden), sum_of_rows(self.table));
        let products: f64 = hidden.iter().zip(&items).map(|(hidden, item)| hidden * item).sum();
        let biases = self.bias.map_or(&[][..], Matrix::as_slice).iter().copied().map(f64::from);
        (products + self.hidden.rows() as f64 * biases.sum::<f64>())
            / self.table.rows().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::loss::softmax_cross_entropy;

    fn random(rows: usize, cols: usize, rng: &mut ChaCha8Rng) -> Matrix {
        let values = (0..rows * cols).map(|_| 4.0 * rng.random::<f32>() - 2.0).collect();
        Matrix::from_vec(rows, cols, values).unwrap()
    }

    /// The same by stored logits, for any number of items around the block size.
    #[test]
    fn equals_the_softmax_with_stored_logits() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for (n_items, smoothing) in
            [(1, 0.0), (3, 0.1), (255, 0.1), (256, 0.0), (257, 0.0), (700, 0.0), (700, 0.1)]
        {
            let (n, d) = (5, 6);
            let (hidden, table) = (random(n, d, &mut rng), random(n_items, d, &mut rng));
            let bias = random(1, n_items, &mut rng);
            let labels: Vec<u32> = (0..n).map(|_| rng.random_range(0..n_items as u32)).collect();

            let mut logits = Matrix::zeros(n, n_items);
            let h = Operand::new(hidden.as_slice(), n, d);
            let t = Operand::new(table.as_slice(), n_items, d);
            matmul(h, t.transposed(), logits.as_mut_slice(), false);
            for row in 0..n {
                for (logit, bias) in logits.row_mut(row).iter_mut().zip(bias.as_slice()) {
                    *logit += bias;
                }
            }
            let mut g = Matrix::default();
            let want =
                softmax_cross_entropy(&logits, &labels, None, smoothing, 5.0, &mut g).unwrap();
            let g_ref = Operand::new(g.as_slice(), n, n_items);
            let (mut want_hidden, mut want_table) = (vec![0.0; n * d], vec![0.0; n_items * d]);
            matmul(g_ref, t, &mut want_hidden, false);
            matmul(g_ref.transposed(), h, &mut want_table, false);
            let want_bias: Vec<f32> =
                (0..n_items).map(|item| (0..n).map(|row| g.row(row)[item]).sum()).collect();

            let mut d_hidden = Matrix::default();
            let (mut d_table, mut d_bias) = (Matrix::zeros(n_items, d), Matrix::zeros(1, n_items));
            let got = full_softmax(
                &hidden,
                ItemTable { items: &table, bias: Some(&bias) },
                &labels,
                smoothing,
                5.0,
                &mut FullSoftmaxWorkspace::default(),
                FullSoftmaxGradients {
                    d_hidden: &mut d_hidden,
                    d_table: &mut d_table,
                    d_bias: Some(&mut d_bias),
                },
            )
            .unwrap();
            assert!((got - want).abs() < 1e-5, "{n_items}: {got} {want}");
            let pairs = [(&d_hidden, &want_hidden), (&d_table, &want_table), (&d_bias, &want_bias)];
            for (got, want) in pairs {
                for (got, want) in got.as_slice().iter().zip(want) {
                    // f32 sums of up to 700 terms of probabilities at most 1/5.
                    assert!((got - want).abs() < 2e-6, "{n_items}: {got} {want}");
                }
            }
        }
    }

    #[test]
    fn nan_leaves_the_gradients_alone() {
        let (hidden, table) = (Matrix::from_rows(&[[f32::NAN]]), Matrix::from_rows(&[[1.0]]));
        let (mut d_hidden, mut d_table) = (Matrix::default(), Matrix::zeros(1, 1));
        let gradients =
            FullSoftmaxGradients { d_hidden: &mut d_hidden, d_table: &mut d_table, d_bias: None };
        let mut workspace = FullSoftmaxWorkspace::default();
        let output = ItemTable { items: &table, bias: None };
        let result = full_softmax(&hidden, output, &[0], 0.0, 1.0, &mut workspace, gradients);
        assert!(matches!(result, Err(NnError::NonFinite { .. })));
        assert_eq!(d_table, Matrix::zeros(1, 1));
    }
}
