//! Exponentials of a run of values, with their sum.

use pulp::{Simd, WithSimd};

use super::{dispatch, functions::exp};

/// Replaces `x` by `exp(x - max x)` and returns the largest value and the sum of the results.
///
/// `(-inf, 0)` for no values; a row of `-inf` alone becomes NaN, as a NaN among the values does.
pub(crate) fn exp_shifted(x: &mut [f32]) -> (f32, f32) {
    struct Op<'a>(&'a mut [f32]);
    impl WithSimd for Op<'_> {
        type Output = (f32, f32);

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> (f32, f32) {
            let (vectors, rest) = S::as_mut_simd_f32s(self.0);
            let lowest = simd.splat_f32s(f32::NEG_INFINITY);
            let mut max = lowest;
            for x in vectors.iter() {
                max = simd.max_f32s(max, *x);
            }
            let rest_max = rest.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let max = simd.reduce_max_f32s(max).max(rest_max);
            let shift = simd.splat_f32s(max);
            let mut sum = simd.splat_f32s(0.0);
            for x in vectors {
                *x = exp(simd, simd.sub_f32s(*x, shift));
                sum = simd.add_f32s(sum, *x);
            }
            let mut rest_sum = 0.0;
            if !rest.is_empty() {
                let x = exp(simd, simd.sub_f32s(simd.partial_load_f32s(rest), shift));
                simd.partial_store_f32s(rest, x);
                rest_sum = rest.iter().sum();
            }
            (max, simd.reduce_sum_f32s(sum) + rest_sum)
        }
    }
    if x.is_empty() { (f32::NEG_INFINITY, 0.0) } else { dispatch(Op(x)) }
}

/// Replaces `x` by `factor exp(x - shift)` and returns the sum of the results.
pub(crate) fn exp_scaled(x: &mut [f32], shift: f32, factor: f32) -> f32 {
    struct Op<'a>(&'a mut [f32], f32, f32);
    impl WithSimd for Op<'_> {
        type Output = f32;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> f32 {
            let (vectors, rest) = S::as_mut_simd_f32s(self.0);
            let (shift, factor) = (simd.splat_f32s(self.1), simd.splat_f32s(self.2));
            let mut sum = simd.splat_f32s(0.0);
            for x in vectors {
                *x = simd.mul_f32s(factor, exp(simd, simd.sub_f32s(*x, shift)));
                sum = simd.add_f32s(sum, *x);
            }
            let mut rest_sum = 0.0;
            if !rest.is_empty() {
                let x = exp(simd, simd.sub_f32s(simd.partial_load_f32s(rest), shift));
                simd.partial_store_f32s(rest, simd.mul_f32s(factor, x));
                rest_sum = rest.iter().sum();
            }
            simd.reduce_sum_f32s(sum) + rest_sum
        }
    }
    dispatch(Op(x, shift, factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_every_length() {
        for n in 0..70 {
            let x: Vec<f32> = (0..n).map(|i| (i % 7) as f32 - 3.0).collect();
            let mut e = x.clone();
            let (max, sum) = exp_shifted(&mut e);
            assert_eq!(max, x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            let want: f64 = x.iter().map(|x| f64::from(x - max).exp()).sum();
            assert!((f64::from(sum) - want).abs() <= 1e-6 * want, "{n}: {sum} {want}");
            let mut e = x.clone();
            let sum = exp_scaled(&mut e, 1.0, 0.5);
            let want: f64 = x.iter().map(|x| 0.5 * f64::from(x - 1.0).exp()).sum();
            assert!((f64::from(sum) - want).abs() <= 1e-6 * want.max(1e-9), "{n}: {sum} {want}");
        }
    }
}
