//! Backward passes against finite differences: for the tests of this crate and of the models built on it.

/// The largest disagreement that [`gradient_check`] found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GradientReport {
    /// Position of the value in `point`.
    pub position: usize,
    /// What backward says.
    pub analytic: f64,
    /// What differences of the loss say.
    pub numeric: f64,
    /// `|analytic - numeric| / max(|analytic|, |numeric|, floor)`.
    pub error: f64,
}

/// Compares `analytic`, a gradient by a backward pass at `point`, with five-point central differences of `loss`:
/// `(f(x - 2h) - 8 f(x - h) + 8 f(x + h) - f(x + 2h)) / 12h`, whose own error is of order `h⁴`.
///
/// `point` is moved value by value and comes back unchanged. In f32, rounding of `loss` disturbs the differences by
/// about `1e-7 |loss| / h`: `step` near 0.02 and a `floor` near 0.01, below which errors count as absolute
/// ones relative to it, let right gradients stay under an error of 1e-3. `loss` must be smooth
/// within `2 step` of the point; keep inputs of ReLU away from 0.
///
/// # Panics
/// If `analytic` and `point` differ in length.
///
/// ```
/// use forecart_nn::gradient_check;
/// // f(x, y) = x² y, whose gradient is (2 x y, x²).
/// let loss = |p: &[f32]| f64::from(p[0] * p[0] * p[1]);
/// let report = gradient_check(&mut [3.0, 2.0], &[12.0, 9.0], 0.02, 0.01, loss);
/// assert!(report.error < 1e-3);
/// let report = gradient_check(&mut [3.0, 2.0], &[12.0, 8.0], 0.02, 0.01, loss);
/// assert!(report.error > 0.1 && report.position == 1);
/// ```
///
/// Source: Abramowitz and Stegun, *Handbook of Mathematical Functions*, formula 25.3.6 for the stencil.
pub fn gradient_check(
    point: &mut [f32],
    analytic: &[f32],
    step: f32,
    floor: f64,
    mut loss: impl FnMut(&[f32]) -> f64,
) -> GradientReport {
    assert_eq!(point.len(), analytic.len(), "one gradient for each value");
    let mut worst = GradientReport { position: 0, analytic: 0.0, numeric: 0.0, error: 0.0 };
    for position in 0..point.len() {
        let start = point[position];
        let mut numeric = 0.0;
        for (n_steps, coefficient) in [(-2.0, 1.0), (-1.0, -8.0), (1.0, 8.0), (2.0, -1.0)] {
            point[position] = start + n_steps * step;
            numeric += coefficient * loss(point);
        }
        point[position] = start;
        let (analytic, numeric) =
            (f64::from(analytic[position]), numeric / (12.0 * f64::from(step)));
        let error = (analytic - numeric).abs() / analytic.abs().max(numeric.abs()).max(floor);
        // NaN counts as the worst, and stays.
        if error.is_nan() || error > worst.error {
            worst = GradientReport { position, analytic, numeric, error };
        }
    }
    worst
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_is_never_a_pass() {
        let report = gradient_check(&mut [1.0, 2.0], &[f32::NAN, 1.0], 0.02, 0.01, |p| {
            f64::from(p[0] + p[1])
        });
        assert!(report.error.is_nan() && report.position == 0);
        let report = gradient_check(&mut [1.0], &[1.0], 0.02, 0.01, |_| f64::NAN);
        assert!(report.error.is_nan());
    }

    #[test]
    fn polynomials_of_degree_four_are_exact_but_for_rounding() {
        // 4 x³ - 6 x at x = 1.5 is 4.5.
        let quartic = |p: &[f32]| f64::from(p[0]).powi(4) - 3.0 * f64::from(p[0]).powi(2);
        let report = gradient_check(&mut [1.5], &[4.5], 0.125, 0.01, quartic);
        assert!(report.error < 1e-12, "{report:?}");
        let report = gradient_check(&mut [1.5], &[-4.5], 0.125, 0.01, quartic);
        assert!((report.error - 2.0).abs() < 1e-12, "{report:?}");
    }
}
