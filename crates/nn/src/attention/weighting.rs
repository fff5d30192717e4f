//! From scores to weights.

use pulp::Simd;

use crate::kernels::{Map, Zip, map, scale_by, sigmoid, softmax, softmax_backward, zip};

/// How the scores of one token become its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weighting {
    /// `w_j = exp(s_j) / Σ exp(s)`: weights add up to 1.
    Softmax,
    /// `w_j = SiLU(s_j) / length`: a strong match stays strong however many tokens there are, so that the number of
    /// matching events is not lost. Source: Zhai et al., ICML 2024, equation 2. We differ: scores are divided by `√d_head`,
    /// and the length is that of the sequence, not that of the padded batch.
    PointwiseSilu,
}

impl Weighting {
    /// Turns `n_seen` scores, times `scale`, into what is kept for backward: the weights of a softmax, the scores otherwise.
    /// What is kept of others is 0. Rows are whole vectors.
    pub(super) fn prepare(self, scale: f32, row: &mut [f32], n_seen: usize) {
        match self {
            Self::Softmax => softmax(row, n_seen, scale),
            Self::PointwiseSilu => {
                let (seen, rest) = row.split_at_mut(n_seen);
                scale_by(scale, seen);
                rest.fill(0.0);
            }
        }
    }

    /// Turns what was kept into weights.
    pub(super) fn finish(self, row: &mut [f32], length: usize) {
        if self == Self::PointwiseSilu {
            map(Silu(1.0 / length as f32), row);
        }
    }

    /// Turns the gradient of the weights into that of the scores before they were scaled; 0 for those that were not seen.
    pub(super) fn backward(
        self,
        scale: f32,
        kept: &[f32],
        gradient: &mut [f32],
        n_seen: usize,
        length: usize,
    ) {
        match self {
            Self::Softmax => softmax_backward(kept, gradient, scale),
            Self::PointwiseSilu => {
                let (seen, rest) = gradient.split_at_mut(n_seen);
                zip(SiluBackward(scale / length as f32), &kept[..n_seen], seen);
                rest.fill(0.0);
            }
        }
    }
}

/// `factor x σ(x)`.
#[derive(Clone, Copy)]
struct Silu(f32);

impl Map for Silu {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
        let scaled = simd.mul_f32s(simd.splat_f32s(self.0), x);
        simd.mul_f32s(scaled, sigmoid(simd, x))
    }
}

/// `dy factor σ(x) (1 + x (1 - σ(x)))`.
#[derive(Clone, Copy)]
struct SiluBackward(f32);

impl Zip for SiluBackward {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::f32s, dy: S::f32s) -> S::f32s {
        let one = simd.splat_f32s(1.0);
        let s = sigmoid(simd, x);
        let slope = simd.mul_add_e_f32s(x, simd.sub_f32s(one, s), one);
        let scaled = simd.mul_f32s(simd.splat_f32s(self.0), dy);
        simd.mul_f32s(scaled, simd.mul_f32s(s, slope))
    }
}
