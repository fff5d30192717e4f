//! Softmax over some of the items, drawn once for all rows, without the logits in memory.

use super::{FullSoftmaxGradients, FullSoftmaxWorkspace, full_softmax};
use crate::{
    Matrix, NnError, RowGradients,
    error::{check_indices, check_length, check_shape},
};

/// The candidates of one call: the labels of the batch and items drawn beside them.
#[derive(Debug, Clone, Copy)]
pub struct ItemSubset<'a> {
    /// Ascending, each once, the label of every row among them, `[m]`.
    pub items: &'a [u32],
    /// Natural logarithm of the probability that the item is among the candidates, `[m]`. Subtracted from the logits, it
    /// keeps popular items, which are labels of the batch more often, from being pushed down more than others.
    pub log_q: &'a [f32],
}

/// Buffers of [`subset_softmax`], reused between calls. Column `d` is the bias.
#[derive(Debug, Default)]
pub struct SubsetSoftmaxWorkspace {
    hidden: Matrix,
    table: Matrix,
    d_hidden: Matrix,
    d_table: Matrix,
    labels: Vec<u32>,
    softmax: FullSoftmaxWorkspace,
}

/// Where [`subset_softmax`] puts its gradients.
#[derive(Debug)]
pub struct SubsetSoftmaxGradients<'a> {
    /// Overwritten with `[n, d]`.
    pub d_hidden: &'a mut Matrix,
    /// Of the table's shape; added to, in the order of the candidates.
    pub d_table: &'a mut RowGradients,
}

/// Softmax cross-entropy of each label over the same candidates, with `z_i = hidden · table_i - log_q_i`:
/// `Σ_rows (ln Σ_i exp(z_i) - z_label) / mean_over`. Runs on the current rayon pool; the result does not depend on its
/// threads.
///
/// # Shapes
/// `hidden: [n, d]`, `table: [n_items, d]`, `labels: [n]`.
///
/// # Cost
/// That of [`full_softmax`] over `m` items, and copies of the candidates' rows.
///
/// # Errors
/// [`NnError::Shape`], [`NnError::Length`]; [`NnError::Index`] for a candidate that is no row of the table, or a label that
/// is no candidate; [`NnError::NonFinite`] if the loss is NaN or infinite, in which case `d_table` is left as it was.
///
/// Source: Yang et al., WWW 2020 companion (mixed negative sampling: uniform draws beside the batch's labels); correction
/// as in Bengio and Senécal, IEEE TNN 19(4), 2008. We differ: an item that is drawn twice is one candidate, so `log_q` is
/// that of being drawn at all.
pub fn subset_softmax(
    hidden: &Matrix,
    table: &Matrix,
    labels: &[u32],
    subset: ItemSubset<'_>,
    mean_over: f64,
    workspace: &mut SubsetSoftmaxWorkspace,
    gradients: SubsetSoftmaxGradients<'_>,
) -> Result<f64, NnError> {
    let ItemSubset { items, log_q } = subset;
    let SubsetSoftmaxGradients { d_hidden, d_table } = gradients;
    let ([n, d], [n_items, _]) = (hidden.shape(), table.shape());
    check_shape("item table", [n_items, d], table.shape())?;
    check_shape("gradient of item table", [n_items, d], d_table.shape())?;
    check_length("labels", n, labels.len())?;
    check_length("log_q", items.len(), log_q.len())?;
    check_indices("candidate", items, n_items)?;

    let ws = workspace;
    ws.labels.clear();
    for (position, label) in labels.iter().enumerate() {
        let place = items.binary_search(label).map_err(|_| NnError::Index {
            what: "label among the candidates",
            position,
            index: u64::from(*label),
            bound: items.len(),
        })?;
        ws.labels.push(place as u32);
    }
    ws.hidden.reshape(n, d + 1);
    for row in 0..n {
        let (value, one) = ws.hidden.row_mut(row).split_at_mut(d);
        value.copy_from_slice(hidden.row(row));
        one.fill(1.0);
    }
    ws.table.reshape(items.len(), d + 1);
    for (place, (item, log_q)) in items.iter().zip(log_q).enumerate() {
        let (vector, bias) = ws.table.row_mut(place).split_at_mut(d);
        vector.copy_from_slice(table.row(*item as usize));
        bias.fill(-log_q);
    }
    ws.d_table.reset(items.len(), d + 1);
    let gradients = FullSoftmaxGradients { d_hidden: &mut ws.d_hidden, d_table: &mut ws.d_table };
    let (hidden, table, softmax) = (&ws.hidden, &ws.table, &mut ws.softmax);
    let loss = full_softmax(hidden, table, &ws.labels, 0.0, mean_over, softmax, gradients)?;
    d_hidden.reshape(n, d);
    for row in 0..n {
        d_hidden.row_mut(row).copy_from_slice(&ws.d_hidden.row(row)[..d]);
    }
    for (place, item) in items.iter().enumerate() {
        d_table.add_to_row(*item, &ws.d_table.row(place)[..d], 1.0);
    }
    Ok(loss)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Gradients, gradient_check,
        loss::sampled_softmax,
        loss::{LogQ, SampledSoftmax, SampledSoftmaxGradients, SampledSoftmaxWorkspace},
    };

    fn problem() -> (Matrix, Matrix) {
        let hidden = Matrix::from_rows(&[[0.5, -1.0], [2.0, 0.3], [-0.7, 0.1]]);
        let table = Matrix::from_rows(&[
            [1.0, 0.0],
            [0.2, 0.7],
            [-0.4, 0.9],
            [0.3, -0.8],
            [0.6, 0.5],
            [-1.0, 0.2],
        ]);
        (hidden, table)
    }

    fn run(
        hidden: &Matrix,
        table: &Matrix,
        labels: &[u32],
        subset: ItemSubset<'_>,
    ) -> Result<(f64, Matrix, Matrix), NnError> {
        let mut d_rows = RowGradients::new(table.rows(), table.cols());
        let mut d_hidden = Matrix::default();
        let gradients = SubsetSoftmaxGradients { d_hidden: &mut d_hidden, d_table: &mut d_rows };
        let workspace = &mut SubsetSoftmaxWorkspace::default();
        let loss = subset_softmax(hidden, table, labels, subset, 3.0, workspace, gradients)?;
        let mut d_table = Matrix::zeros(table.rows(), table.cols());
        d_rows.finish();
        d_rows.add_to_dense(&mut d_table)?;
        Ok((loss, d_hidden, d_table))
    }

    fn assert_close(got: &Matrix, want: &Matrix) {
        assert_eq!(got.shape(), want.shape());
        for (got, want) in got.as_slice().iter().zip(want.as_slice()) {
            assert!((got - want).abs() < 1e-6, "{got} {want}"); // f32 sums of a few numbers near 1
        }
    }

    /// A batch of one label: its candidates are shared negatives, which have a loss of their own.
    #[test]
    fn one_row_agrees_with_shared_negatives() {
        let (_, table) = problem();
        let hidden = Matrix::from_rows(&[[0.5, -1.0]]);
        let log_q = [-0.3, -0.1, -0.9, -0.5];
        let subset = ItemSubset { items: &[0, 2, 3, 5], log_q: &log_q };
        let (loss, d_hidden, d_table) = run(&hidden, &table, &[3], subset).unwrap();

        let candidates = SampledSoftmax {
            labels: &[3],
            negatives: &[0, 2, 5],
            log_q: Some(LogQ::Candidates { labels: &[-0.9], negatives: &[-0.3, -0.1, -0.5] }),
        };
        let mut rows = RowGradients::new(6, 2);
        let mut want_hidden = Matrix::default();
        let gradients = SampledSoftmaxGradients { d_hidden: &mut want_hidden, d_table: &mut rows };
        let workspace = &mut SampledSoftmaxWorkspace::default();
        let want = sampled_softmax(&hidden, &table, candidates, 3.0, workspace, gradients);
        let mut want_table = Matrix::zeros(6, 2);
        rows.add_to_dense(&mut want_table).unwrap();
        assert!((loss - want.unwrap()).abs() < 1e-6);
        assert_close(&d_hidden, &want_hidden);
        assert_close(&d_table, &want_table);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let (hidden, table) = problem();
        let log_q = [-0.3, -1.1, -0.9, -0.5];
        let subset = ItemSubset { items: &[1, 2, 3, 5], log_q: &log_q };
        let labels = [3, 1, 3];
        let (_, d_hidden, d_table) = run(&hidden, &table, &labels, subset).unwrap();
        let mut point = [hidden.as_slice(), table.as_slice()].concat();
        let analytic = [d_hidden.as_slice(), d_table.as_slice()].concat();
        let report = gradient_check(&mut point, &analytic, 0.01, 0.02, |point| {
            let (h, t) = point.split_at(6);
            let hidden = Matrix::from_vec(3, 2, h.to_vec()).unwrap();
            let table = Matrix::from_vec(6, 2, t.to_vec()).unwrap();
            run(&hidden, &table, &labels, subset).unwrap().0
        });
        assert!(report.error < 2e-3, "{report:?}");
        assert_eq!((d_table.row(0), d_table.row(4)), (&[0.0; 2][..], &[0.0; 2][..]));
    }

    #[test]
    fn labels_must_be_candidates() {
        let (hidden, table) = problem();
        let subset = ItemSubset { items: &[1, 3], log_q: &[0.0; 2] };
        let error = run(&hidden, &table, &[3, 2, 1], subset).unwrap_err();
        assert!(matches!(error, NnError::Index { position: 1, index: 2, .. }), "{error}");
        let subset = ItemSubset { items: &[1, 6], log_q: &[0.0; 2] };
        let error = run(&hidden, &table, &[1, 1, 1], subset).unwrap_err();
        assert!(matches!(error, NnError::Index { index: 6, bound: 6, .. }), "{error}");
    }
}
