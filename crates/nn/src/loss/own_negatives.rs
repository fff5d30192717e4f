//! What the losses with negatives of each row's own share: logits of a row's candidates, and the way back.

use super::check_mean_over;
use crate::{
    Matrix, NnError, RowGradients,
    error::{check_finite, check_indices, check_length, check_shape},
    kernels::{dot, dot_gathered, scale_into, sum_gathered},
};

/// The candidates of each row: its label and negatives that no other row sees.
///
/// A negative that is the row's label is left out for that row (an accidental hit).
#[derive(Debug, Clone, Copy)]
pub struct OwnNegatives<'a> {
    /// The right item of each row, `[n]`.
    pub labels: &'a [u32],
    /// Items drawn as negatives, `[n, k]` row-major with the same `k` for all rows; repeats are allowed.
    pub negatives: &'a [u32],
}

/// Buffers of the losses with [`OwnNegatives`], reused between calls.
#[derive(Debug, Clone, Default)]
pub struct OwnNegativesWorkspace {
    /// Logits, then their gradients, `[n, 1 + k]`: the label first.
    logits: Matrix,
}

/// Where the losses with [`OwnNegatives`] put their gradients.
#[derive(Debug)]
pub struct OwnNegativesGradients<'a> {
    /// Overwritten with `[n, d]`.
    pub d_hidden: &'a mut Matrix,
    /// Of the table's shape; added to. `None` for a caller that sums the rows of a whole batch by itself, from
    /// [`OwnNegativesWorkspace::d_logits`].
    pub d_table: Option<&'a mut RowGradients>,
}

impl OwnNegativesWorkspace {
    /// Gradients of the logits after a loss, `[n, 1 + k]` with the label first; 0 for accidental hits. The gradient of a
    /// candidate's row of the table is the sum of these times the hidden rows.
    pub fn d_logits(&self) -> &Matrix {
        &self.logits
    }
}

impl OwnNegatives<'_> {
    /// Candidates of a row beside its label; rounded down where the negatives do not fill the last column.
    fn n_negatives(&self) -> usize {
        self.negatives.len() / self.labels.len().max(1)
    }

    /// Its label and its negatives.
    fn row(&self, row: usize) -> (u32, &[u32]) {
        let k = self.n_negatives();
        (self.labels[row], &self.negatives[row * k..(row + 1) * k])
    }

    /// Runs a loss that is a sum over rows.
    ///
    /// `row_loss` gets a row and its logits `[1 + k]`, the label's first and those of accidental hits at negative
    /// infinity; it turns them into gradients of the mean and returns the loss of the row before the division
    /// by `mean_over`. Rows of the table are read where they lie: nothing of `[n, k, d]` is ever stored.
    pub(super) fn run(
        self,
        what: &'static str,
        [hidden, table]: [&Matrix; 2],
        mean_over: f64,
        workspace: &mut OwnNegativesWorkspace,
        gradients: OwnNegativesGradients<'_>,
        mut row_loss: impl FnMut(usize, &mut [f32]) -> f64,
    ) -> Result<f64, NnError> {
        let OwnNegativesGradients { d_hidden, d_table } = gradients;
        let ([n, d], n_items, k) = (hidden.shape(), table.rows(), self.n_negatives());
        check_shape("item table", [n_items, d], table.shape())?;
        let d_shape = d_table.as_ref().map_or([n_items, d], |d_table| d_table.shape());
        check_shape("gradient of item table", [n_items, d], d_shape)?;
        check_length("labels", n, self.labels.len())?;
        check_length("negatives", n * k, self.negatives.len())?;
        check_indices("label", self.labels, n_items)?;
        check_indices("negative", self.negatives, n_items)?;
        check_mean_over(mean_over)?;

        let logits = &mut workspace.logits;
        logits.reshape(n, 1 + k);
        d_hidden.reshape(n, d);
        let mut sum = 0.0_f64;
        for row in 0..n {
            let ((label, negatives), logits) = (self.row(row), logits.row_mut(row));
            let (hidden, of_label) = (hidden.row(row), table.row(label as usize));
            let (label_logit, of_negatives) = logits.split_at_mut(1);
            label_logit[0] = dot(hidden, of_label);
            dot_gathered(hidden, table.as_slice(), negatives, of_negatives);
            for (logit, item) in of_negatives.iter_mut().zip(negatives) {
                *logit = if *item == label { f32::NEG_INFINITY } else { *logit };
            }
            sum += row_loss(row, logits);
            // Now, while the candidates' rows are still in the cache.
            let d_hidden = d_hidden.row_mut(row);
            scale_into(logits[0], of_label, d_hidden);
            sum_gathered(d_hidden, &logits[1..], table.as_slice(), negatives);
        }
        let loss = check_finite(what, sum / mean_over)?;
        if let Some(d_table) = d_table {
            for row in 0..n {
                let hidden = hidden.row(row);
                let (label, negatives) = self.row(row);
                let items = std::iter::once(&label).chain(negatives);
                for (item, &d_logit) in items.zip(logits.row(row)) {
                    // Also keeps accidental hits out of the touched rows.
                    if d_logit != 0.0 {
                        d_table.add_to_row(*item, hidden, d_logit);
                    }
                }
            }
        }
        Ok(loss)
    }
}

/// `ln(1 + exp(z))` and its derivative `sigmoid(z)`, without overflow for any `z`.
pub(super) fn softplus(z: f64) -> (f64, f64) {
    // f64: 1 - sigmoid(z) loses all digits in f32 past z = 17.
    let e = (-z.abs()).exp();
    (z.max(0.0) + e.ln_1p(), if z >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem() -> (Matrix, Matrix) {
        let hidden = Matrix::from_rows(&[[1.0, 2.0], [3.0, -1.0]]);
        let table = Matrix::from_rows(&[[1.0, 0.0], [0.5, 1.0], [-1.0, 2.0], [0.0, 1.0]]);
        (hidden, table)
    }

    fn run(
        candidates: OwnNegatives<'_>,
        d_table: &mut RowGradients,
        row_loss: impl FnMut(usize, &mut [f32]) -> f64,
    ) -> Result<(f64, Matrix), NnError> {
        let (hidden, table) = problem();
        let (mut d_hidden, mut workspace) = (Matrix::default(), OwnNegativesWorkspace::default());
        let gradients = OwnNegativesGradients { d_hidden: &mut d_hidden, d_table: Some(d_table) };
        candidates
            .run("test", [&hidden, &table], 2.0, &mut workspace, gradients, row_loss)
            .map(|loss| (loss, d_hidden))
    }

    #[test]
    fn each_row_sees_its_label_then_its_own_negatives_without_hits() {
        let candidates = OwnNegatives { labels: &[1, 2], negatives: &[0, 1, 3, 0] };
        let (mut seen, mut d_table) = (Vec::new(), RowGradients::new(4, 2));
        let (loss, d_hidden) = run(candidates, &mut d_table, |_, logits| {
            seen.push(logits.to_vec());
            logits.copy_from_slice(&[2.0, 1.0, 0.0]);
            3.0
        })
        .unwrap();
        assert_eq!(loss, 3.0);
        assert_eq!(seen, [[2.5, 1.0, f32::NEG_INFINITY], [-5.0, -1.0, 3.0]]);
        assert_eq!(d_hidden, Matrix::from_rows(&[[2.0, 2.0], [-2.0, 5.0]]));
        let rows: Vec<_> = d_table.rows().map(|(row, values)| (row, values.to_vec())).collect();
        let want = [(1, [2.0, 4.0]), (0, [1.0, 2.0]), (2, [6.0, -2.0]), (3, [3.0, -1.0])];
        assert_eq!(rows, want.map(|(row, values)| (row, values.to_vec())));
    }

    #[test]
    fn what_does_not_fit_or_is_not_finite_touches_no_row() {
        let mut d_table = RowGradients::new(4, 2);
        let fine = OwnNegatives { labels: &[1, 2], negatives: &[0, 1] };
        let too_few = OwnNegatives { labels: &[1, 2], negatives: &[0, 1, 3] };
        let outside = OwnNegatives { labels: &[1, 2], negatives: &[0, 4] };
        assert!(matches!(
            run(too_few, &mut d_table, |_, _| 0.0),
            Err(NnError::Length { what: "negatives", expected: 2, found: 3 })
        ));
        assert!(matches!(
            run(outside, &mut d_table, |_, _| 0.0),
            Err(NnError::Index { what: "negative", position: 1, index: 4, bound: 4 })
        ));
        let error = run(fine, &mut d_table, |_, _| f64::NAN);
        assert!(matches!(error, Err(NnError::NonFinite { what: "test", .. })));
        assert_eq!(d_table.n_touched(), 0);
        assert!(run(fine, &mut d_table, |_, _| 0.0).is_ok());
    }

    #[test]
    fn softplus_is_right_far_out() {
        assert_eq!(softplus(0.0), (2.0_f64.ln(), 0.5));
        assert_eq!(softplus(1e30), (1e30, 1.0));
        assert_eq!(softplus(f64::NEG_INFINITY), (0.0, 0.0));
        assert_eq!(softplus(-50.0), ((-50.0_f64).exp().ln_1p(), (-50.0_f64).exp()));
    }
}
