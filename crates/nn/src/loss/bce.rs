//! Binary cross-entropy.

use super::{check_mean_over, weight_of};
use crate::{
    Matrix, NnError,
    error::{check_finite, check_length, check_range},
};

/// Binary cross-entropy of logits `z` against targets `t` in `0.0..=1.0`:
/// `Σ w (max(z, 0) - z t + ln(1 + exp(-|z|))) / mean_over`, which overflows for no `z`.
///
/// # Shapes
/// `logits: [n, m]`, `targets` and `weights`: `n * m` values, row-major; `d_logits` becomes `[n, m]`, with
/// `w (sigmoid(z) - t) / mean_over`.
///
/// # Errors
/// [`NnError::Length`]; [`NnError::OutOfRange`] for a target outside of `0.0..=1.0`; [`NnError::NonFinite`] if
/// the loss is NaN or infinite.
///
/// Source: Goodfellow et al., *Deep Learning*, equation 6.26; the stable form is that of TensorFlow's
/// `sigmoid_cross_entropy_with_logits`.
pub fn bce_with_logits(
    logits: &Matrix,
    targets: &[f32],
    weights: Option<&[f32]>,
    mean_over: f64,
    d_logits: &mut Matrix,
) -> Result<f64, NnError> {
    let n_values = logits.as_slice().len();
    check_length("targets", n_values, targets.len())?;
    check_length("weights", n_values, weights.map_or(n_values, <[f32]>::len))?;
    check_mean_over(mean_over)?;
    d_logits.reshape(logits.rows(), logits.cols());
    let mut sum = 0.0_f64;
    let outputs = d_logits.as_mut_slice().iter_mut().zip(logits.as_slice());
    for (position, ((d_logit, &logit), &target)) in outputs.zip(targets).enumerate() {
        let inside = (0.0..=1.0).contains(&target);
        check_range("target", f64::from(target), inside, "in 0.0..=1.0")?;
        let weight = weight_of(weights, position);
        let (z, t) = (f64::from(logit), f64::from(target));
        // f64: 1 - sigmoid(z) loses all digits in f32 past z = 17.
        let e = (-z.abs()).exp();
        sum += weight * (z.max(0.0) - z * t + e.ln_1p());
        let sigmoid = if z >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) };
        *d_logit = (weight * (sigmoid - t) / mean_over) as f32;
    }
    check_finite("binary cross-entropy", sum / mean_over)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(logit: f32, target: f32) -> (f64, f32) {
        let mut d_logits = Matrix::default();
        let logits = Matrix::from_rows(&[[logit]]);
        let loss = bce_with_logits(&logits, &[target], None, 1.0, &mut d_logits).unwrap();
        (loss, d_logits.as_slice()[0])
    }

    #[test]
    fn by_hand() {
        let (value, d) = loss(0.0, 1.0);
        assert!((value - 2.0_f64.ln()).abs() < 1e-15 && d == -0.5);
        // sigmoid(ln 3) = 3/4: the loss of target 0 is ln 4.
        let (value, d) = loss(3.0_f32.ln(), 0.0);
        assert!((value - 4.0_f64.ln()).abs() < 1e-7 && (d - 0.75).abs() < 1e-7);
    }

    #[test]
    fn extreme_logits_stay_finite() {
        assert_eq!(loss(1e30, 1.0), (0.0, 0.0));
        let (value, d) = loss(1e30, 0.0);
        assert!((value / 1e30 - 1.0).abs() < 1e-6 && d == 1.0);
        assert_eq!(loss(-1e30, 0.0), (0.0, 0.0));
        assert!(loss(60.0, 1.0).0 > 0.0);
    }

    #[test]
    fn weights_and_parts_add_up() {
        let logits = Matrix::from_rows(&[[0.5], [-1.0], [2.0]]);
        let (targets, weights) = ([1.0, 0.0, 0.0], [1.0, 2.0, 0.5]);
        let mut d_logits = Matrix::default();
        let whole = bce_with_logits(&logits, &targets, Some(&weights), 3.5, &mut d_logits).unwrap();
        let mut parts = 0.0;
        for row in 0..3 {
            let mut d_logit = Matrix::default();
            let logit = Matrix::from_rows(&[[logits.row(row)[0]]]);
            let weight = &weights[row..=row];
            let target = &targets[row..=row];
            parts += bce_with_logits(&logit, target, Some(weight), 3.5, &mut d_logit).unwrap();
            assert_eq!(d_logit.row(0), d_logits.row(row));
        }
        assert!((whole - parts).abs() < 1e-15);
    }

    #[test]
    fn nan_and_bad_targets_are_errors() {
        let mut d_logits = Matrix::default();
        let nan = Matrix::from_rows(&[[f32::NAN]]);
        let result = bce_with_logits(&nan, &[1.0], None, 1.0, &mut d_logits);
        assert!(matches!(result, Err(NnError::NonFinite { .. })));
        let infinite = Matrix::from_rows(&[[f32::INFINITY]]);
        let result = bce_with_logits(&infinite, &[0.0], None, 1.0, &mut d_logits);
        assert!(matches!(result, Err(NnError::NonFinite { .. })));
        let zero = Matrix::from_rows(&[[0.0]]);
        assert!(bce_with_logits(&zero, &[1.5], None, 1.0, &mut d_logits).is_err());
        assert!(bce_with_logits(&zero, &[f32::NAN], None, 1.0, &mut d_logits).is_err());
        assert!(bce_with_logits(&zero, &[1.0, 0.0], None, 1.0, &mut d_logits).is_err());
        assert!(bce_with_logits(&zero, &[1.0], None, 0.0, &mut d_logits).is_err());
    }
}
