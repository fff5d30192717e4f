//! Cross-entropy over given logits.

use super::{check_label_smoothing, check_mean_over, weight_of};
use crate::{
    Matrix, NnError,
    error::{check_finite, check_indices, check_length, check_range},
};

/// Softmax cross-entropy of one label a row: `Σ w (ln Σ_c exp(z_c) - Σ_c t_c z_c) / mean_over`, with the target
/// `t_c = (1 - label_smoothing) [c = label] + label_smoothing / n_classes`. Without smoothing,
/// `Σ_c t_c z_c` is the label's logit.
///
/// # Shapes
/// `logits: [n, n_classes]`, `labels: [n]`, `weights: [n]`; `d_logits` becomes `[n, n_classes]`, with
/// `w (softmax(z)_c - t_c) / mean_over`.
///
/// # Errors
/// [`NnError::Length`]; [`NnError::Index`] for a label outside of the classes; [`NnError::OutOfRange`] for a
/// `label_smoothing` outside of `0.0..1.0`; [`NnError::NonFinite`] if the loss is NaN or infinite.
///
/// Source: Goodfellow et al., *Deep Learning*, equations 6.29 to 6.33 (the largest logit is subtracted); smoothing
/// as in Szegedy et al., CVPR 2016, section 7.
pub fn softmax_cross_entropy(
    logits: &Matrix,
    labels: &[u32],
    weights: Option<&[f32]>,
    label_smoothing: f32,
    mean_over: f64,
    d_logits: &mut Matrix,
) -> Result<f64, NnError> {
    let [n, n_classes] = logits.shape();
    check_length("labels", n, labels.len())?;
    check_length("weights", n, weights.map_or(n, <[f32]>::len))?;
    check_indices("label", labels, n_classes)?;
    check_label_smoothing(label_smoothing)?;
    check_mean_over(mean_over)?;
    d_logits.reshape(n, n_classes);
    let smoothing = f64::from(label_smoothing);
    let mut sum = 0.0_f64;
    for (position, &label) in labels.iter().enumerate() {
        let (row, d_row) = (logits.row(position), d_logits.row_mut(position));
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut total = 0.0_f64;
        for (d_logit, &logit) in d_row.iter_mut().zip(row) {
            *d_logit = (logit - max).exp();
            total += f64::from(*d_logit);
        }
        let weight = weight_of(weights, position);
        let mut expected = (1.0 - smoothing) * f64::from(row[label as usize]);
        if smoothing > 0.0 {
            let sum: f64 = row.iter().map(|&logit| f64::from(logit)).sum();
            expected += smoothing * sum / n_classes as f64;
        }
        sum += weight * (total.ln() + f64::from(max) - expected);
        let scale = (weight / mean_over / total) as f32;
        let uniform = (weight / mean_over * smoothing / n_classes as f64) as f32;
        d_row.iter_mut().for_each(|d_logit| *d_logit = *d_logit * scale - uniform);
        d_row[label as usize] -= (weight / mean_over * (1.0 - smoothing)) as f32;
    }
    check_finite("softmax cross-entropy", sum / mean_over)
}

/// Softmax cross-entropy against given probabilities, with both sides at a temperature: `T² Σ_i -Σ_c q_ic ln p_ic / mean_over` with
/// `p_i = softmax(z_i / T)`. `T²` keeps gradients as large as without a temperature.
///
/// # Shapes
/// `logits` and `targets`, whose rows sum to 1: `[n, n_classes]`; `d_logits` becomes `[n, n_classes]`, with `T (p - q) / mean_over`.
///
/// # Errors
/// [`NnError::Length`]; [`NnError::OutOfRange`] for a temperature that is not positive; [`NnError::NonFinite`] if the loss is NaN or infinite.
///
/// Source: Hinton, Vinyals and Dean, *Distilling the Knowledge in a Neural Network*, 2015, section 2, where `q` is a larger model's
/// `softmax(v / T)`.
pub fn soft_cross_entropy(
    logits: &Matrix,
    targets: &Matrix,
    temperature: f32,
    mean_over: f64,
    d_logits: &mut Matrix,
) -> Result<f64, NnError> {
    check_length("targets", logits.as_slice().len(), targets.as_slice().len())?;
    let is_inside = temperature > 0.0 && temperature.is_finite();
    check_range("temperature", f64::from(temperature), is_inside, "finite and positive")?;
    check_mean_over(mean_over)?;
    let [n, n_classes] = logits.shape();
    d_logits.reshape(n, n_classes);
    let mut sum = 0.0_f64;
    for position in 0..n {
        let (row, targets) = (logits.row(position), targets.row(position));
        let d_row = d_logits.row_mut(position);
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut total = 0.0_f64;
        for (d_logit, &logit) in d_row.iter_mut().zip(row) {
            *d_logit = ((logit - max) / temperature).exp();
            total += f64::from(*d_logit);
        }
        let log_total = total.ln();
        for (&target, &logit) in targets.iter().zip(row) {
            sum += f64::from(target) * (log_total - f64::from((logit - max) / temperature));
        }
        let scale = f64::from(temperature) / mean_over;
        for (d_logit, target) in d_row.iter_mut().zip(targets) {
            *d_logit = (scale * (f64::from(*d_logit) / total - f64::from(*target))) as f32;
        }
    }
    let squared = f64::from(temperature).powi(2);
    check_finite("soft cross-entropy", squared * sum / mean_over)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soft_targets_by_hand() {
        // At temperature 2 exp: 1, 3, 4; softmax 1/8, 3/8, 4/8.
        let logits = Matrix::from_rows(&[[0.0, 2.0 * 3.0_f32.ln(), 2.0 * 4.0_f32.ln()]]);
        let targets = Matrix::from_rows(&[[0.5, 0.25, 0.25]]);
        let mut d_logits = Matrix::default();
        let loss = soft_cross_entropy(&logits, &targets, 2.0, 4.0, &mut d_logits).unwrap();
        let want = 8.0_f64.ln() - 0.25 * 3.0_f64.ln() - 0.25 * 4.0_f64.ln();
        assert!((loss - want).abs() < 1e-6, "{loss} {want}");
        for (got, want) in d_logits.as_slice().iter().zip([-0.1875, 0.0625, 0.125]) {
            assert!((got - want).abs() < 1e-6);
        }
        for temperature in [0.0, -1.0, f32::NAN] {
            let found = soft_cross_entropy(&logits, &targets, temperature, 1.0, &mut d_logits);
            assert!(matches!(found, Err(NnError::OutOfRange { name: "temperature", .. })));
        }
    }

    #[test]
    fn targets_that_are_certain_are_labels() {
        let logits = Matrix::from_rows(&[[0.5, -1.0, 2.0]]);
        let targets = Matrix::from_rows(&[[0.0, 1.0, 0.0]]);
        let (mut d_soft, mut d_hard) = (Matrix::default(), Matrix::default());
        let soft = soft_cross_entropy(&logits, &targets, 1.0, 1.0, &mut d_soft).unwrap();
        let hard = softmax_cross_entropy(&logits, &[1], None, 0.0, 1.0, &mut d_hard).unwrap();
        assert!((soft - hard).abs() < 1e-6);
        for (soft, hard) in d_soft.as_slice().iter().zip(d_hard.as_slice()) {
            assert!((soft - hard).abs() < 1e-6);
        }
    }

    #[test]
    fn by_hand() {
        // exp: 1, 3, 4; softmax 1/8, 3/8, 4/8.
        let logits = Matrix::from_rows(&[[0.0, 3.0_f32.ln(), 4.0_f32.ln()]]);
        let mut d_logits = Matrix::default();
        let loss = softmax_cross_entropy(&logits, &[1], None, 0.0, 2.0, &mut d_logits).unwrap();
        assert!((loss - (8.0_f64 / 3.0).ln() / 2.0).abs() < 1e-7);
        for (got, want) in d_logits.as_slice().iter().zip([0.0625, -0.3125, 0.25]) {
            assert!((got - want).abs() < 1e-7);
        }
    }

    #[test]
    fn smoothing_by_hand() {
        // Targets 0.1, 0.8, 0.1 against softmax 1/8, 3/8, 4/8.
        let logits = Matrix::from_rows(&[[0.0, 3.0_f32.ln(), 4.0_f32.ln()]]);
        let mut d_logits = Matrix::default();
        let loss = softmax_cross_entropy(&logits, &[1], None, 0.3, 1.0, &mut d_logits).unwrap();
        let want = 8.0_f64.ln() - 0.8 * 3.0_f64.ln() - 0.1 * 4.0_f64.ln();
        assert!((loss - want).abs() < 1e-7);
        for (got, want) in d_logits.as_slice().iter().zip([0.025, -0.425, 0.4]) {
            assert!((got - want).abs() < 1e-7);
        }
        for bad in [-0.1, 1.0, f32::NAN] {
            let result = softmax_cross_entropy(&logits, &[1], None, bad, 1.0, &mut d_logits);
            assert!(matches!(result, Err(NnError::OutOfRange { name: "label_smoothing", .. })));
        }
    }

    #[test]
    fn shifted_logits_change_nothing_and_large_ones_do_not_overflow() {
        let small = Matrix::from_rows(&[[1.0, 2.0, 4.0]]);
        let large = Matrix::from_rows(&[[1025.0, 1026.0, 1028.0]]);
        let (mut d_small, mut d_large) = (Matrix::default(), Matrix::default());
        let a = softmax_cross_entropy(&small, &[0], None, 0.0, 1.0, &mut d_small).unwrap();
        let b = softmax_cross_entropy(&large, &[0], None, 0.0, 1.0, &mut d_large).unwrap();
        assert!((a - b).abs() < 1e-12);
        assert_eq!(d_small, d_large);
    }

    #[test]
    fn nan_and_bad_labels_are_errors() {
        let mut d_logits = Matrix::default();
        let nan = Matrix::from_rows(&[[0.0, f32::NAN]]);
        let result = softmax_cross_entropy(&nan, &[0], None, 0.0, 1.0, &mut d_logits);
        assert!(matches!(result, Err(NnError::NonFinite { .. })));
        let zero = Matrix::from_rows(&[[0.0, 0.0]]);
        let result = softmax_cross_entropy(&zero, &[2], None, 0.0, 1.0, &mut d_logits);
        assert!(matches!(result, Err(NnError::Index { what: "label", index: 2, .. })));
        assert!(softmax_cross_entropy(&zero, &[0, 1], None, 0.0, 1.0, &mut d_logits).is_err());
    }
}
