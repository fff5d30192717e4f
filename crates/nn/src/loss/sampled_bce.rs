//! Binary cross-entropy against sampled negatives, and its generalization gBCE.

use super::{OwnNegatives, OwnNegativesGradients, OwnNegativesWorkspace, own_negatives::softplus};
use crate::{Matrix, NnError, error::check_range};

/// Binary cross-entropy of each label against the row's own negatives, with `z_i = hidden · table_i`:
/// `Σ_rows (-beta ln sigmoid(z_label) - Σ_negatives ln(1 - sigmoid(z_i))) / mean_over`.
///
/// With a `beta` of 1 and one negative it is the loss of SASRec. A smaller `beta` raises the label's probability to
/// that power (gBCE), which undoes the overconfidence that comes of seeing few of the negatives; see
/// [`gbce_beta`]. Published code averages over all candidates: `mean_over = n (1 + k)`.
///
/// # Shapes
/// `hidden: [n, d]`, `table: [n_items, d]`, `k` negatives a row; `d_hidden` becomes `[n, d]`; `d_table`, of the table's
/// shape, is added to row by row, the label before its negatives.
///
/// # Cost
/// `O(n k d)` operations and `O(n k)` memory, whatever the number of items.
///
/// # Errors
/// [`NnError::Shape`], [`NnError::Length`], [`NnError::Index`]; [`NnError::OutOfRange`] for a `beta` outside of
/// `0.0..=1.0`; [`NnError::NonFinite`] if the loss is NaN or infinite, in which case the gradients are left as
/// they were.
///
/// Source: Kang and McAuley, ICDM 2018, equation 6; Petrov and Macdonald, RecSys 2023 (arXiv:2308.07192), section
/// 5. They transform the label's logit so that its sigmoid is the power; `-ln sigmoid(z)^beta` is
/// `beta softplus(-z)`, which overflows for no `z`.
pub fn sampled_bce(
    hidden: &Matrix,
    table: &Matrix,
    candidates: OwnNegatives<'_>,
    beta: f32,
    mean_over: f64,
    workspace: &mut OwnNegativesWorkspace,
    gradients: OwnNegativesGradients<'_>,
) -> Result<f64, NnError> {
    check_range("beta", f64::from(beta), (0.0..=1.0).contains(&beta), "in 0.0..=1.0")?;
    let inputs = [hidden, table];
    candidates.run("sampled BCE", inputs, mean_over, workspace, gradients, |_, logits| {
        let (label, negatives) = logits.split_first_mut().expect("a row starts with its label");
        let (loss, slope) = softplus(-f64::from(*label));
        let mut sum = f64::from(beta) * loss;
        *label = (-f64::from(beta) * slope / mean_over) as f32;
        for logit in negatives {
            let (loss, slope) = softplus(f64::from(*logit));
            sum += loss;
            *logit = (slope / mean_over) as f32;
        }
        sum
    })
}

/// The `beta` of gBCE: `alpha (t (1 - 1/alpha) + 1/alpha)` with the sampling rate
/// `alpha = n_negatives / (n_items - 1)`.
///
/// `t = 0` gives 1, plain binary cross-entropy; `t = 1` gives `alpha`, with which the scores are calibrated as if
/// every item had been a negative. The authors advise 0.75 to 1.
///
/// # Errors
/// [`NnError::OutOfRange`] for `t` outside of `0.0..=1.0`, or unless `1 <= n_negatives < n_items`.
///
/// Source: Petrov and Macdonald, RecSys 2023 (arXiv:2308.07192), section 5.
pub fn gbce_beta(n_negatives: usize, n_items: usize, t: f64) -> Result<f32, NnError> {
    check_range("t", t, (0.0..=1.0).contains(&t), "in 0.0..=1.0")?;
    let inside = (1..n_items).contains(&n_negatives);
    check_range("n_negatives", n_negatives as f64, inside, "from 1 to below the number of items")?;
    let alpha = n_negatives as f64 / (n_items - 1) as f64;
    Ok((t * (alpha - 1.0) + 1.0) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RowGradients;

    fn run(hidden: f32, beta: f32) -> Result<(f64, f32), NnError> {
        let (hidden, table) = (Matrix::from_rows(&[[hidden]]), Matrix::from_rows(&[[1.0], [-1.0]]));
        let (mut d_hidden, mut d_table) = (Matrix::default(), RowGradients::new(2, 1));
        let candidates = OwnNegatives { labels: &[0], negatives: &[1] };
        let gradients =
            OwnNegativesGradients { d_hidden: &mut d_hidden, d_table: Some(&mut d_table) };
        let mut workspace = OwnNegativesWorkspace::default();
        sampled_bce(&hidden, &table, candidates, beta, 1.0, &mut workspace, gradients)
            .map(|loss| (loss, d_hidden.as_slice()[0]))
    }

    #[test]
    fn by_hand() {
        // sigmoid(ln 3) = 3/4 for the label, 1/4 for the negative: each loses ln(4/3).
        let (loss, d_hidden) = run(3.0_f32.ln(), 1.0).unwrap();
        assert!((loss - 2.0 * (4.0_f64 / 3.0).ln()).abs() < 1e-7);
        assert!((d_hidden + 0.5).abs() < 1e-7);
        let (loss, d_hidden) = run(3.0_f32.ln(), 0.5).unwrap();
        assert!((loss - 1.5 * (4.0_f64 / 3.0).ln()).abs() < 1e-7);
        assert!((d_hidden + 0.375).abs() < 1e-7);
    }

    #[test]
    fn extreme_logits_stay_finite() {
        assert_eq!(run(1e30, 0.5).unwrap(), (0.0, 0.0));
        let (loss, d_hidden) = run(-1e30, 0.5).unwrap();
        assert!((loss / 1.5e30 - 1.0).abs() < 1e-6 && d_hidden == -1.5);
        assert!(matches!(run(f32::NAN, 1.0), Err(NnError::NonFinite { what: "sampled BCE", .. })));
    }

    #[test]
    fn beta_runs_from_plain_to_calibrated() {
        assert_eq!(gbce_beta(25, 101, 0.0), Ok(1.0));
        assert_eq!(gbce_beta(25, 101, 1.0), Ok(0.25));
        assert_eq!(gbce_beta(25, 101, 0.5), Ok(0.625));
        assert_eq!(gbce_beta(100, 101, 1.0), Ok(1.0));
        assert!(gbce_beta(101, 101, 1.0).is_err() && gbce_beta(0, 101, 1.0).is_err());
        assert!(gbce_beta(1, 0, 1.0).is_err() && gbce_beta(25, 101, 1.1).is_err());
        assert!(run(0.0, 1.5).is_err());
    }
}
