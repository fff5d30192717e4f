//! Layer normalization of rows.

use pulp::{Simd, WithSimd};

use super::{dispatch, sums::sum_of};

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
    /// Whether `dx` is added to, not overwritten.
    pub(crate) adds: bool,
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
    fn with_simd<S: Simd>(self, simd: S) {
        let d = self.weight.len();
        let (weights, weight_rest) = S::as_simd_f32s(self.weight);
        let (biases, bias_rest) = S::as_simd_f32s(self.bias);
        let rows = self.x.chunks_exact(d).zip(self.y.chunks_exact_mut(d));
        let of_rows = self.mean.iter_mut().zip(self.scale);
        for ((x, y), (mean, scale)) in rows.zip(of_rows) {
            *mean = sum_of(simd, [x], |[x]| x, |[x]| x) / d as f32;
            // A second walk in place of E[x²] - E[x]², which loses all digits where the mean is large.
            let (m, vector_m) = (*mean, simd.splat_f32s(*mean));
            let square = |[x]: [S::f32s; 1]| {
                let off = simd.sub_f32s(x, vector_m);
                simd.mul_f32s(off, off)
            };
            let variance = sum_of(simd, [x], square, |[x]| (x - m) * (x - m)) / d as f32;
            *scale = 1.0 / (variance + self.epsilon).sqrt();
            let (s, vector_s) = (*scale, simd.splat_f32s(*scale));
            let (xs, x_rest) = S::as_simd_f32s(x);
            let (ys, y_rest) = S::as_mut_simd_f32s(y);
            for ((y, x), (weight, bias)) in ys.iter_mut().zip(xs).zip(weights.iter().zip(biases)) {
                let normed = simd.mul_f32s(simd.sub_f32s(*x, vector_m), vector_s);
                *y = simd.mul_add_e_f32s(normed, *weight, *bias);
            }
            let parameters = weight_rest.iter().zip(bias_rest);
            for ((y, x), (weight, bias)) in y_rest.iter_mut().zip(x_rest).zip(parameters) {
                *y = (x - m) * s * weight + bias;
            }
        }
    }
}

impl WithSimd for LayerNormBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        self.parameters(simd);
        let Self { x, weight, mean, scale, dy, dx, adds, .. } = self;
        let d = weight.len();
        let rows = x.chunks_exact(d).zip(dy.chunks_exact(d)).zip(dx.chunks_exact_mut(d));
        for (((x, dy), dx), (&mean, &scale)) in rows.zip(mean.iter().zip(scale)) {
            let (vector_m, vector_s) = (simd.splat_f32s(mean), simd.splat_f32s(scale));
            let normed = |x| simd.mul_f32s(simd.sub_f32s(x, vector_m), vector_s);
            let product = |[dy, weight]: [S::f32s; 2]| simd.mul_f32s(dy, weight);
            let mean_g = sum_of(simd, [dy, weight], product, |[dy, weight]| dy * weight);
            let slope = sum_of(
                simd,
                [dy, weight, x],
                |[dy, weight, x]| simd.mul_f32s(simd.mul_f32s(dy, weight), normed(x)),
                |[dy, weight, x]| dy * weight * ((x - mean) * scale),
            );
            let (mean_g, slope) = (mean_g / d as f32, slope / d as f32);
            let (vector_g, vector_slope) = (simd.splat_f32s(mean_g), simd.splat_f32s(slope));
            let (xs, x_rest) = S::as_simd_f32s(x);
            let (dys, dy_rest) = S::as_simd_f32s(dy);
            let (weights, weight_rest) = S::as_simd_f32s(weight);
            let (dxs, dx_rest) = S::as_mut_simd_f32s(dx);
            for ((dx, x), (dy, weight)) in dxs.iter_mut().zip(xs).zip(dys.iter().zip(weights)) {
                let g = simd.sub_f32s(simd.mul_f32s(*dy, *weight), vector_g);
                let g = simd.sub_f32s(g, simd.mul_f32s(normed(*x), vector_slope));
                let before = if adds { *dx } else { simd.splat_f32s(0.0) };
                *dx = simd.mul_add_e_f32s(vector_s, g, before);
            }
            let values = dy_rest.iter().zip(weight_rest);
            for ((dx, x), (dy, weight)) in dx_rest.iter_mut().zip(x_rest).zip(values) {
                let g = dy * weight - mean_g - (x - mean) * scale * slope;
                *dx = scale * g + if adds { *dx } else { 0.0 };
            }
        }
    }
}

impl LayerNormBackward<'_> {
    /// Adds to the gradients of weights and bias, some columns of all rows at a time, whose sums stay in registers.
    #[inline(always)]
    fn parameters<S: Simd>(&mut self, simd: S) {
        let d = self.weight.len();
        let (d_weights, d_weight_rest) = S::as_mut_simd_f32s(self.d_weight);
        let (d_biases, d_bias_rest) = S::as_mut_simd_f32s(self.d_bias);
        let rows = self.x.chunks_exact(d).zip(self.dy.chunks_exact(d));
        let rows = rows.zip(self.mean.iter().zip(self.scale));
        let (weight_blocks, weight_singles) = d_weights.as_chunks_mut::<4>();
        let (bias_blocks, bias_singles) = d_biases.as_chunks_mut::<4>();
        let singles = 4 * weight_blocks.len()..;
        for (block, sums) in weight_blocks.iter_mut().zip(bias_blocks).enumerate() {
            column_sums(simd, 4 * block, sums, rows.clone());
        }
        let sums = weight_singles
            .as_chunks_mut::<1>()
            .0
            .iter_mut()
            .zip(bias_singles.as_chunks_mut::<1>().0);
        for (first, sums) in singles.zip(sums) {
            column_sums(simd, first, sums, rows.clone());
        }
        let first = d - d_weight_rest.len();
        for ((x, dy), (mean, scale)) in rows {
            let sums = d_weight_rest.iter_mut().zip(&mut *d_bias_rest);
            for ((x, dy), (d_weight, d_bias)) in x[first..].iter().zip(&dy[first..]).zip(sums) {
                *d_weight += dy * ((x - mean) * scale);
                *d_bias += dy;
            }
        }
    }
}

/// Adds `dy x̂` and `dy` of all rows to `NV` vectors of columns from vector `first` on.
#[inline(always)]
fn column_sums<'a, S: Simd, const NV: usize>(
    simd: S,
    first: usize,
    (d_weights, d_biases): (&mut [S::f32s; NV], &mut [S::f32s; NV]),
    rows: impl Iterator<Item = ((&'a [f32], &'a [f32]), (&'a f32, &'a f32))>,
) {
    let (mut of_weights, mut of_biases) = (*d_weights, *d_biases);
    for ((x, dy), (mean, scale)) in rows {
        let x = &S::as_simd_f32s(x).0[first..first + NV];
        let dy = &S::as_simd_f32s(dy).0[first..first + NV];
        let (mean, scale) = (simd.splat_f32s(*mean), simd.splat_f32s(*scale));
        for v in 0..NV {
            let normed = simd.mul_f32s(simd.sub_f32s(x[v], mean), scale);
            of_weights[v] = simd.mul_add_e_f32s(dy[v], normed, of_weights[v]);
            of_biases[v] = simd.add_f32s(of_biases[v], dy[v]);
        }
    }
    (*d_weights, *d_biases) = (of_weights, of_biases);
}
