//! The arithmetic of Adam.

use pulp::{Simd, WithSimd};

use super::dispatch;

/// One step of Adam: its factors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AdamStep {
    pub(crate) beta1: f32,
    pub(crate) beta2: f32,
    pub(crate) epsilon: f32,
    /// The learning rate over the correction of the first moment.
    pub(crate) step_size: f32,
    /// One over the root of the correction of the second moment.
    pub(crate) scale: f32,
    /// One less the decay.
    pub(crate) keep: f32,
}

/// Updates weights and moments; the same for a run of values and for its parts.
///
/// # Panics
/// If the slices differ in length.
pub(crate) fn adam(
    step: AdamStep,
    weights: &mut [f32],
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
) {
    struct Op<'a>(AdamStep, &'a mut [f32], &'a [f32], &'a mut [f32], &'a mut [f32]);
    impl WithSimd for Op<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) {
            let Self(step, weights, gradient, first, second) = self;
            let AdamStep { beta1, beta2, epsilon, step_size, scale, keep } = step;
            // Plain code: the compiler turns it into the vectors of the instruction set.
            let moments = first.iter_mut().zip(second);
            for ((weight, &g), (m, v)) in weights.iter_mut().zip(gradient).zip(moments) {
                *m = beta1 * *m + (1.0 - beta1) * g;
                *v = beta2 * *v + (1.0 - beta2) * (g * g);
                *weight = *weight * keep - step_size * *m / (v.sqrt() * scale + epsilon);
            }
        }
    }
    let n = weights.len();
    assert!(gradient.len() == n && first.len() == n && second.len() == n, "one of each a weight");
    dispatch(Op(step, weights, gradient, first, second));
}
