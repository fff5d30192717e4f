//! Layer normalization of rows. Plain code that the compiler turns into the vectors of the instruction set: without
//! fused operations, so that every set gives the same bits.

use pulp::{Simd, WithSimd};

use super::dispatch;
use crate::reduce::sum_zip;

/// Rows of `d` columns to normalize.
pub(crate) struct LayerNormForward<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) weight: &'a [f32],
    pub(crate) bias: &'a [f32],
    pub(crate) epsilon: f32,
    pub(crate) y: &'a mut [f32],
    /// Of each row: the mean, and `1 / sqrt(var + epsilon)`.
    pub(crate) mean: &'a mut [f32],
    pub(crate) scale: &'a mut [f32],
}

/// The reverse of [`LayerNormForward`].
pub(crate) struct LayerNormBackward<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) weight: &'a [f32],
    pub(crate) mean: &'a [f32],
    pub(crate) scale: &'a [f32],
    pub(crate) dy: &'a [f32],
    pub(crate) dx: &'a mut [f32],
    pub(crate) d_weight: &'a mut [f32],
    pub(crate) d_bias: &'a mut [f32],
}

impl LayerNormForward<'_> {
    pub(crate) fn run(self) {
        if !self.weight.is_empty() {
            dispatch(self);
        }
    }
}

impl LayerNormBackward<'_> {
    pub(crate) fn run(self) {
        if !self.weight.is_empty() {
            dispatch(self);
        }
    }
}

impl WithSimd for LayerNormForward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let d = self.weight.len();
        let rows = self.x.chunks_exact(d).zip(self.y.chunks_exact_mut(d));
        let of_rows = self.mean.iter_mut().zip(self.scale);
        for ((x, y), (mean, scale)) in rows.zip(of_rows) {
            *mean = sum_zip(x, x, |x, _| x) / d as f32;
            let mean = *mean;
            // A second walk in place of E[x²] - E[x]², which loses all digits where the mean is large.
            let variance = sum_zip(x, x, |x, _| (x - mean) * (x - mean)) / d as f32;
            *scale = 1.0 / (variance + self.epsilon).sqrt();
            let scale = *scale;
            let parameters = self.weight.iter().zip(self.bias);
            for ((y, &x), (weight, bias)) in y.iter_mut().zip(x).zip(parameters) {
                *y = (x - mean) * scale * weight + bias;
            }
        }
    }
}

impl WithSimd for LayerNormBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { x, weight, mean, scale, dy, dx, d_weight, d_bias } = self;
        let d = weight.len();
        let rows = x.chunks_exact(d).zip(dy.chunks_exact(d)).zip(dx.chunks_exact_mut(d));
        for (((x, dy), dx), (&mean, &scale)) in rows.zip(mean.iter().zip(scale)) {
            let sums = d_weight.iter_mut().zip(d_bias.iter_mut());
            for ((&x, &dy), (d_weight, d_bias)) in x.iter().zip(dy).zip(sums) {
                *d_weight += dy * ((x - mean) * scale);
                *d_bias += dy;
            }
            for ((g, dy), weight) in dx.iter_mut().zip(dy).zip(weight) {
                *g = dy * weight;
            }
            let mean_g = sum_zip(dx, dx, |g, _| g) / d as f32;
            let slope = sum_zip(dx, x, |g, x| g * ((x - mean) * scale)) / d as f32;
            for (dx, &x) in dx.iter_mut().zip(x) {
                *dx = scale * (*dx - mean_g - (x - mean) * scale * slope);
            }
        }
    }
}
