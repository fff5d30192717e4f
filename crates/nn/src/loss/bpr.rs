//! Bayesian personalized ranking.

use super::{OwnNegatives, OwnNegativesGradients, OwnNegativesWorkspace, own_negatives::softplus};
use crate::{Matrix, NnError};

/// The label above each of the row's own negatives, with `z_i = hidden · table_i`:
/// `Σ_rows Σ_negatives -ln sigmoid(z_label - z_i) / mean_over`.
///
/// # Shapes
/// `hidden: [n, d]`, `table: [n_items, d]`, `k` negatives a row; `d_hidden` becomes `[n, d]`; `d_table`, of the table's
/// shape, is added to row by row, the label before its negatives. For the mean over pairs, `mean_over = n k`.
///
/// # Cost
/// `O(n k d)` operations and `O(n k)` memory, whatever the number of items.
///
/// # Errors
/// [`NnError::Shape`], [`NnError::Length`], [`NnError::Index`]; [`NnError::NonFinite`] if the loss is NaN or
/// infinite, in which case the gradients are left as they were.
///
/// Source: Rendle et al., UAI 2009, section 4.1; its regularization is the optimizer's.
pub fn bpr(
    hidden: &Matrix,
    table: &Matrix,
    candidates: OwnNegatives<'_>,
    mean_over: f64,
    workspace: &mut OwnNegativesWorkspace,
    gradients: OwnNegativesGradients<'_>,
) -> Result<f64, NnError> {
    let inputs = [hidden, table];
    candidates.run("BPR", inputs, mean_over, workspace, gradients, |_, logits| {
        let (label, negatives) = logits.split_first_mut().expect("a row starts with its label");
        let (mut sum, mut d_label) = (0.0, 0.0);
        for logit in negatives {
            let (loss, slope) = softplus(f64::from(*logit) - f64::from(*label));
            sum += loss;
            d_label -= slope / mean_over;
            *logit = (slope / mean_over) as f32;
        }
        *label = d_label as f32;
        sum
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RowGradients;

    fn run(hidden: f32) -> Result<(f64, f32), NnError> {
        let hidden = Matrix::from_rows(&[[hidden]]);
        let table = Matrix::from_rows(&[[1.0], [0.0], [-1.0]]);
        let (mut d_hidden, mut d_table) = (Matrix::default(), RowGradients::new(3, 1));
        let candidates = OwnNegatives { labels: &[0], negatives: &[1, 2] };
        let gradients =
            OwnNegativesGradients { d_hidden: &mut d_hidden, d_table: Some(&mut d_table) };
        let mut workspace = OwnNegativesWorkspace::default();
        bpr(&hidden, &table, candidates, 1.0, &mut workspace, gradients)
            .map(|loss| (loss, d_hidden.as_slice()[0]))
    }

    #[test]
    fn by_hand() {
        // Margins ln 3 and 2 ln 3: sigmoids 3/4 and 9/10.
        let (loss, d_hidden) = run(3.0_f32.ln()).unwrap();
        assert!((loss - (4.0_f64 / 3.0).ln() - (10.0_f64 / 9.0).ln()).abs() < 1e-7);
        assert!((d_hidden + 0.25 + 2.0 * 0.1).abs() < 1e-7);
    }

    #[test]
    fn extreme_logits_stay_finite() {
        assert_eq!(run(1e30).unwrap(), (0.0, 0.0));
        let (loss, d_hidden) = run(-1e30).unwrap();
        assert!((loss / 3e30 - 1.0).abs() < 1e-6 && d_hidden == -3.0);
        assert!(matches!(run(f32::NAN), Err(NnError::NonFinite { what: "BPR", .. })));
    }
}
