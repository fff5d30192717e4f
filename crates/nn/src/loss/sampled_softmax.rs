//! Softmax over the label and a few negatives that all rows share.

use super::check_mean_over;
use crate::{
    Matrix, NnError, RowGradients,
    error::{check_finite, check_indices, check_length, check_shape},
    kernels::{Operand, add_scaled, dot, exp_scaled, matmul, scale_by},
};

/// The candidates of one call.
#[derive(Debug, Clone, Copy)]
pub struct SampledSoftmax<'a> {
    /// The right item of each row, `[n]`.
    pub labels: &'a [u32],
    /// Items drawn as negatives for all rows, `[m]`, repeats allowed. Where one is the row's label it is left
    /// out for that row (an accidental hit).
    pub negatives: &'a [u32],
    /// Subtracted from the logits; `None` for uniform draws, where it cancels.
    pub log_q: Option<LogQ<'a>>,
}

/// Natural logarithms of the probabilities with which items are drawn as negatives. Subtracted from the logits, they
/// keep popular items, drawn more often, from being pushed down more than a full softmax would.
#[derive(Debug, Clone, Copy)]
pub enum LogQ<'a> {
    /// One for each item, `[n_items]`.
    Items(&'a [f32]),
    /// One for each candidate as it was drawn: for a list of negatives from several sources, such as the
    /// labels of the batch followed by uniform draws.
    Candidates {
        /// Of each row's label, `[n]`.
        labels: &'a [f32],
        /// Of each negative, in the shape of the negatives.
        negatives: &'a [f32],
    },
}

impl LogQ<'_> {
    pub(super) fn check(self, n_items: usize, n: usize, n_negatives: usize) -> Result<(), NnError> {
        match self {
            Self::Items(items) => check_length("log_q", n_items, items.len()),
            Self::Candidates { labels, negatives } => {
                check_length("log_q of labels", n, labels.len())?;
                check_length("log_q of negatives", n_negatives, negatives.len())
            }
        }
    }

    /// Of the label of `row`.
    pub(super) fn of_label(self, row: usize, item: u32) -> f32 {
        match self {
            Self::Items(items) => items[item as usize],
            Self::Candidates { labels, .. } => labels[row],
        }
    }

    /// Of the negative at a position of the list of negatives.
    pub(super) fn of_negative(self, position: usize, item: u32) -> f32 {
        match self {
            Self::Items(items) => items[item as usize],
            Self::Candidates { negatives, .. } => negatives[position],
        }
    }
}

/// Buffers of [`sampled_softmax`], reused between calls.
#[derive(Debug, Clone, Default)]
pub struct SampledSoftmaxWorkspace {
    /// Rows of the negatives, `[m, d]`.
    negatives: Matrix,
    /// Logits, then gradients of the negatives, `[n, m]`.
    logits: Matrix,
    /// Gradient of the rows of the negatives, `[m, d]`.
    d_negatives: Matrix,
    /// Gradient of each label's logit, `[n]`.
    d_labels: Vec<f32>,
}

/// Where [`sampled_softmax`] puts its gradients.
#[derive(Debug)]
pub struct SampledSoftmaxGradients<'a> {
    /// Overwritten with `[n, d]`.
    pub d_hidden: &'a mut Matrix,
    /// Of the table's shape; added to.
    pub d_table: &'a mut RowGradients,
}

/// Softmax cross-entropy of each label against the shared negatives, with
/// `z_i = hidden · table_i - log_q_i`: `Σ_rows (ln(exp(z_label) + Σ_negatives exp(z_i)) - z_label) / mean_over`.
///
/// # Shapes
/// `hidden: [n, d]`, `table: [n_items, d]`; `d_hidden` becomes `[n, d]`; `d_table`, of the table's shape, is added
/// to: first the labels in row order, then the negatives in their order.
///
/// # Cost
/// `O(n m d)` operations and `O((n + d) m)` memory, whatever the number of items.
///
/// # Errors
/// [`NnError::Shape`], [`NnError::Length`], [`NnError::Index`]; [`NnError::NonFinite`] if the loss is NaN or
/// infinite, in which case `d_table` is left as it was.
///
/// Source: Jean et al., ACL 2015, section 3; correction as in Bengio and Senécal, IEEE TNN 19(4), 2008.
pub fn sampled_softmax(
    hidden: &Matrix,
    table: &Matrix,
    candidates: SampledSoftmax<'_>,
    mean_over: f64,
    workspace: &mut SampledSoftmaxWorkspace,
    gradients: SampledSoftmaxGradients<'_>,
) -> Result<f64, NnError> {
    let SampledSoftmax { labels, negatives, log_q } = candidates;
    let SampledSoftmaxGradients { d_hidden, d_table } = gradients;
    let ([n, d], n_items, m) = (hidden.shape(), table.rows(), negatives.len());
    check_shape("item table", [n_items, d], table.shape())?;
    check_shape("gradient of item table", [n_items, d], d_table.shape())?;
    check_length("labels", n, labels.len())?;
    check_indices("label", labels, n_items)?;
    check_indices("negative", negatives, n_items)?;
    log_q.map_or(Ok(()), |log_q| log_q.check(n_items, n, m))?;
    check_mean_over(mean_over)?;

    let ws = workspace;
    ws.negatives.reshape(m, d);
    for (position, &item) in negatives.iter().enumerate() {
        ws.negatives.row_mut(position).copy_from_slice(table.row(item as usize));
    }
    ws.logits.reshape(n, m);
    let hidden_rows = Operand::new(hidden.as_slice(), n, d);
    let items = Operand::new(ws.negatives.as_slice(), m, d);
    matmul(hidden_rows, items.transposed(), ws.logits.as_mut_slice(), false); // [n, m]

    ws.d_labels.clear();
    let mut sum = 0.0_f64;
    for (row_idx, &label) in labels.iter().enumerate() {
        let label_logit = dot(hidden.row(row_idx), table.row(label as usize))
            - log_q.map_or(0.0, |log_q| log_q.of_label(row_idx, label));
        let row = ws.logits.row_mut(row_idx);
        let mut max = label_logit;
        for (position, (logit, &item)) in row.iter_mut().zip(negatives).enumerate() {
            let correction = log_q.map_or(0.0, |log_q| log_q.of_negative(position, item));
            *logit = if item == label { f32::NEG_INFINITY } else { *logit - correction };
            max = max.max(*logit);
        }
        let label_exp = (label_logit - max).exp();
        let total = f64::from(label_exp) + f64::from(exp_scaled(row, max, 1.0));
        sum += total.ln() + f64::from(max) - f64::from(label_logit);
        let scale = 1.0 / mean_over / total;
        scale_by(scale as f32, row);
        ws.d_labels.push((f64::from(label_exp) * scale - 1.0 / mean_over) as f32);
    }
    let loss = check_finite("sampled softmax", sum / mean_over)?;

    d_hidden.reshape(n, d);
    let g = Operand::new(ws.logits.as_slice(), n, m);
    matmul(g, items, d_hidden.as_mut_slice(), false); // [n, d]
    for (row_idx, (&label, &d_label)) in labels.iter().zip(&ws.d_labels).enumerate() {
        let item = table.row(label as usize);
        add_scaled(d_label, item, d_hidden.row_mut(row_idx));
        d_table.add_to_row(label, hidden.row(row_idx), d_label);
    }
    ws.d_negatives.reshape(m, d);
    matmul(g.transposed(), hidden_rows, ws.d_negatives.as_mut_slice(), false); // [m, d]
    for (position, &item) in negatives.iter().enumerate() {
        d_table.add_to_row(item, ws.d_negatives.row(position), 1.0);
    }
    Ok(loss)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Gradients,
        loss::{FullSoftmaxGradients, FullSoftmaxWorkspace, full_softmax},
    };

    fn problem() -> (Matrix, Matrix) {
        let hidden = Matrix::from_rows(&[[0.5, -1.0], [2.0, 0.3]]);
        let table = Matrix::from_rows(&[[1.0, 0.0], [0.2, 0.7], [-0.4, 0.9], [0.3, -0.8]]);
        (hidden, table)
    }

    /// With every item once as a negative, the label's own copy left out, it is the full softmax.
    #[test]
    fn all_items_as_negatives_give_the_full_softmax() {
        let (hidden, table) = problem();
        let (mut want_hidden, mut want_table) = (Matrix::default(), Matrix::zeros(4, 2));
        let want = full_softmax(
            &hidden,
            &table,
            &[3, 1],
            0.0,
            2.0,
            &mut FullSoftmaxWorkspace::default(),
            FullSoftmaxGradients { d_hidden: &mut want_hidden, d_table: &mut want_table },
        )
        .unwrap();
        let (mut d_hidden, mut d_table) = (Matrix::default(), RowGradients::new(4, 2));
        let log_q = [-1.5; 4];
        for log_q in [None, Some(LogQ::Items(&log_q))] {
            d_table.clear();
            let candidates = SampledSoftmax { labels: &[3, 1], negatives: &[2, 0, 1, 3], log_q };
            let mut workspace = SampledSoftmaxWorkspace::default();
            let gradients =
                SampledSoftmaxGradients { d_hidden: &mut d_hidden, d_table: &mut d_table };
            let got = sampled_softmax(&hidden, &table, candidates, 2.0, &mut workspace, gradients);
            assert!((got.unwrap() - want).abs() < 1e-6);
            let mut dense = Matrix::zeros(4, 2);
            d_table.add_to_dense(&mut dense).unwrap();
            for (got, want) in [(&d_hidden, &want_hidden), (&dense, &want_table)] {
                for (got, want) in got.as_slice().iter().zip(want.as_slice()) {
                    assert!((got - want).abs() < 1e-6);
                }
            }
        }
    }

    #[test]
    fn log_q_lowers_what_is_drawn_often() {
        let (hidden, table) = problem();
        let run = |log_q: &[f32]| {
            let candidates = SampledSoftmax {
                labels: &[3, 1],
                negatives: &[2],
                log_q: Some(LogQ::Items(log_q)),
            };
            let mut d_table = RowGradients::new(4, 2);
            let mut d_hidden = Matrix::default();
            let gradients =
                SampledSoftmaxGradients { d_hidden: &mut d_hidden, d_table: &mut d_table };
            let mut workspace = SampledSoftmaxWorkspace::default();
            sampled_softmax(&hidden, &table, candidates, 2.0, &mut workspace, gradients).unwrap()
        };
        assert!(run(&[0.0, 0.0, 0.5, 0.0]) < run(&[0.0; 4]));
    }

    /// Candidates' own values, here those of their items, and a list drawn from two sources.
    #[test]
    fn log_q_by_candidate_is_that_by_item_where_they_agree() {
        let (hidden, table) = problem();
        let run = |log_q: LogQ<'_>| {
            let candidates =
                SampledSoftmax { labels: &[3, 1], negatives: &[3, 1, 2, 2], log_q: Some(log_q) };
            let mut d_table = RowGradients::new(4, 2);
            let mut d_hidden = Matrix::default();
            let gradients =
                SampledSoftmaxGradients { d_hidden: &mut d_hidden, d_table: &mut d_table };
            let mut workspace = SampledSoftmaxWorkspace::default();
            sampled_softmax(&hidden, &table, candidates, 2.0, &mut workspace, gradients)
        };
        let by_item = run(LogQ::Items(&[-3.0, -1.0, -2.0, -0.5])).unwrap();
        let labels = &[-0.5, -1.0];
        let same = LogQ::Candidates { labels, negatives: &[-0.5, -1.0, -2.0, -2.0] };
        assert_eq!(run(same), Ok(by_item));
        let rarer = LogQ::Candidates { labels, negatives: &[-0.5, -1.0, -2.0, -4.0] };
        assert!(run(rarer).unwrap() > by_item);
        assert!(run(LogQ::Candidates { labels, negatives: &[-0.5] }).is_err());
        assert!(run(LogQ::Items(&[-3.0])).is_err());
    }

    #[test]
    fn a_row_whose_negatives_are_all_its_label_loses_nothing() {
        let (hidden, table) = problem();
        let candidates = SampledSoftmax { labels: &[2, 2], negatives: &[2, 2], log_q: None };
        let (mut d_hidden, mut d_table) = (Matrix::default(), RowGradients::new(4, 2));
        let mut workspace = SampledSoftmaxWorkspace::default();
        let gradients = SampledSoftmaxGradients { d_hidden: &mut d_hidden, d_table: &mut d_table };
        let loss = sampled_softmax(&hidden, &table, candidates, 2.0, &mut workspace, gradients);
        assert_eq!(loss, Ok(0.0));
        assert_eq!(d_hidden, Matrix::zeros(2, 2));
    }
}
