//! Softmax over the label and negatives of each row's own.

use super::{LogQ, OwnNegatives, OwnNegativesGradients, OwnNegativesWorkspace};
use crate::{
    Matrix, NnError,
    kernels::{exp_shifted, scale_by},
};

/// Softmax cross-entropy of each label against the row's own negatives, with `z_i = hidden · table_i - log_q_i`:
/// `Σ_rows (ln(exp(z_label) + Σ_negatives exp(z_i)) - z_label) / mean_over`.
///
/// `log_q` of `None` is for uniform draws, where it cancels. For a temperature, divide `hidden` by it before
/// the call and `d_hidden` after it.
///
/// # Shapes
/// `hidden: [n, d]`, `table: [n_items, d]`, `k` negatives a row; `d_hidden` becomes `[n, d]`; `d_table`, of the table's
/// shape, is added to row by row, the label before its negatives.
///
/// # Cost
/// `O(n k d)` operations and `O(n k)` memory, whatever the number of items; the rows of the negatives,
/// `[n, k, d]`, are read where they lie. Negatives shared by all rows
/// ([`sampled_softmax`](super::sampled_softmax)) are cheaper by a matrix product.
///
/// # Errors
/// [`NnError::Shape`], [`NnError::Length`], [`NnError::Index`]; [`NnError::NonFinite`] if the loss is NaN or
/// infinite, in which case the gradients are left as they were.
///
/// Source: as of [`sampled_softmax`](super::sampled_softmax); own negatives as in HSTU, Zhai et al., ICML 2024.
pub fn own_sampled_softmax(
    hidden: &Matrix,
    table: &Matrix,
    candidates: OwnNegatives<'_>,
    log_q: Option<LogQ<'_>>,
    mean_over: f64,
    workspace: &mut OwnNegativesWorkspace,
    gradients: OwnNegativesGradients<'_>,
) -> Result<f64, NnError> {
    let OwnNegatives { labels, negatives } = candidates;
    let k = negatives.len() / labels.len().max(1);
    log_q.map_or(Ok(()), |q| q.check(table.rows(), labels.len(), negatives.len()))?;
    let inputs = [hidden, table];
    candidates.run("own sampled softmax", inputs, mean_over, workspace, gradients, |row, logits| {
        if let Some(log_q) = log_q {
            logits[0] -= log_q.of_label(row, labels[row]);
            for (at, logit) in (row * k..).zip(&mut logits[1..]) {
                *logit -= log_q.of_negative(at, negatives[at]);
            }
        }
        let label_logit = f64::from(logits[0]);
        let (max, total) = exp_shifted(logits);
        let total = f64::from(total);
        let scale = 1.0 / mean_over / total;
        let label = (f64::from(logits[0]) * scale - 1.0 / mean_over) as f32;
        scale_by(scale as f32, logits);
        logits[0] = label;
        total.ln() + f64::from(max) - label_logit
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Gradients, RowGradients,
        loss::{SampledSoftmax, SampledSoftmaxGradients, SampledSoftmaxWorkspace, sampled_softmax},
    };

    /// Rows that draw the same negatives in other orders lose what they lose with shared ones, hits included.
    #[test]
    fn equal_draws_give_the_softmax_with_shared_negatives() {
        let hidden = Matrix::from_rows(&[[0.5, -1.0], [2.0, 0.3]]);
        let table = Matrix::from_rows(&[[1.0, 0.0], [0.2, 0.7], [-0.4, 0.9], [0.3, -0.8]]);
        let (labels, shared) = ([3, 1], [2, 0, 1]);
        let own = OwnNegatives { labels: &labels, negatives: &[2, 0, 1, 1, 2, 0] };
        let of_items = [-1.0, -2.0, -0.5, -1.5];
        let of_candidates = LogQ::Candidates {
            labels: &[-1.5, -2.0],
            negatives: &[-0.5, -1.0, -2.0, -2.0, -0.5, -1.0],
        };
        for (log_q, for_shared) in [
            (None, None),
            (Some(LogQ::Items(&of_items)), Some(LogQ::Items(&of_items))),
            (Some(of_candidates), Some(LogQ::Items(&of_items))),
        ] {
            let (mut want_hidden, mut want_table) = (Matrix::default(), RowGradients::new(4, 2));
            let candidates =
                SampledSoftmax { labels: &labels, negatives: &shared, log_q: for_shared };
            let mut workspace = SampledSoftmaxWorkspace::default();
            let gradients =
                SampledSoftmaxGradients { d_hidden: &mut want_hidden, d_table: &mut want_table };
            let want = sampled_softmax(&hidden, &table, candidates, 2.0, &mut workspace, gradients);

            let (mut d_hidden, mut d_table) = (Matrix::default(), RowGradients::new(4, 2));
            let gradients =
                OwnNegativesGradients { d_hidden: &mut d_hidden, d_table: Some(&mut d_table) };
            let mut workspace = OwnNegativesWorkspace::default();
            let got =
                own_sampled_softmax(&hidden, &table, own, log_q, 2.0, &mut workspace, gradients);
            assert!((got.unwrap() - want.unwrap()).abs() < 1e-6);
            want_table.scale(-1.0);
            want_table.add(&d_table).unwrap();
            assert!(want_table.squared_norm() < 1e-12);
            for (got, want) in d_hidden.as_slice().iter().zip(want_hidden.as_slice()) {
                assert!((got - want).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn log_q_of_another_length_is_refused() {
        let (hidden, table) = (Matrix::zeros(2, 1), Matrix::zeros(3, 1));
        for log_q in [
            LogQ::Items(&[0.0; 2]),
            LogQ::Candidates { labels: &[0.0; 1], negatives: &[0.0; 2] },
            LogQ::Candidates { labels: &[0.0; 2], negatives: &[0.0; 1] },
        ] {
            let (mut d_hidden, mut d_table) = (Matrix::default(), RowGradients::new(3, 1));
            let gradients =
                OwnNegativesGradients { d_hidden: &mut d_hidden, d_table: Some(&mut d_table) };
            let own = OwnNegatives { labels: &[0, 1], negatives: &[2, 2] };
            let mut workspace = OwnNegativesWorkspace::default();
            let log_q = Some(log_q);
            let result =
                own_sampled_softmax(&hidden, &table, own, log_q, 2.0, &mut workspace, gradients);
            assert!(matches!(result, Err(NnError::Length { .. })));
        }
    }
}
