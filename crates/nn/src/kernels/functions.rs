//! Functions of real numbers on vectors, for use inside of kernels.

use pulp::Simd;

/// `exp(x)` with a relative error below 2.5e-7 from -87.3 to 88.3; 0 below, `exp(88.3)` above, NaN for NaN.
///
/// `x = n ln 2 + r` with `|r| <= ln 2 / 2`; `exp(r)` by a polynomial of degree 6, `2^n` by its exponent bits.
/// The reduction is that of Cody and Waite, *Software Manual for the Elementary Functions*, 1980; the coefficients are those of the
/// Taylor series, whose error is 1.2e-7 there.
#[inline(always)]
pub(crate) fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    const LN_2_HIGH: f32 = 0.693_359_4; // few bits, so that n times it is exact
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    /// Adding it rounds to an integer, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23
    let splat = |value| simd.splat_f32s(value);
    let floor = splat(-87.3);
    let is_low = simd.less_than_f32s(x, floor);
    // In this order NaN passes through.
    let bounded = simd.select_f32s(is_low, floor, x);
    let high = splat(88.3);
    let bounded = simd.select_f32s(simd.greater_than_f32s(bounded, high), high, bounded);
    let shifted = simd.mul_add_e_f32s(bounded, splat(LOG2_E), splat(ROUND));
    let n = simd.sub_f32s(shifted, splat(ROUND));
    let r = simd.mul_add_e_f32s(n, splat(-LN_2_HIGH), bounded);
    let r = simd.mul_add_e_f32s(n, splat(-LN_2_LOW), r);
    let mut p = splat(1.0 / 720.0);
    for coefficient in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = simd.mul_add_e_f32s(p, r, splat(coefficient));
    }
    let bits = simd.transmute_u32s_f32s(shifted);
    let exponent = simd.wrapping_dyn_shl_u32s(bits, simd.splat_u32s(23));
    let scaled = simd.add_u32s(simd.transmute_u32s_f32s(p), exponent);
    simd.select_f32s(is_low, splat(0.0), simd.transmute_f32s_u32s(scaled))
}

/// `1 / (1 + exp(-x))`, with all digits of small results: 0 below -87.3.
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let one = simd.splat_f32s(1.0);
    let e = exp(simd, simd.neg_f32s(simd.abs_f32s(x)));
    let is_negative = simd.less_than_f32s(x, simd.splat_f32s(0.0));
    simd.div_f32s(simd.select_f32s(is_negative, e, one), simd.add_f32s(one, e))
}

/// Hyperbolic tangent with a relative error below 5e-7.
///
/// A polynomial below 0.625 (that of `tanhf` in Moshier's Cephes), `1 - 2 / (exp(2 |x|) + 1)` above.
#[inline(always)]
pub(crate) fn tanh<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let splat = |value| simd.splat_f32s(value);
    let size = simd.abs_f32s(x);
    let square = simd.mul_f32s(x, x);
    let mut p = splat(-5.704_988_7e-3);
    for coefficient in [0.020_639_088, -5.373_971_6e-2, 1.333_144_2e-1, -0.333_332_8] {
        p = simd.mul_add_e_f32s(p, square, splat(coefficient));
    }
    let near = simd.mul_add_e_f32s(simd.mul_f32s(p, square), x, x);
    let e = exp(simd, simd.add_f32s(size, size));
    let far = simd.div_f32s(splat(2.0), simd.add_f32s(e, splat(1.0)));
    let far = simd.sub_f32s(splat(1.0), far);
    let is_negative = simd.less_than_f32s(x, splat(0.0));
    let far = simd.select_f32s(is_negative, simd.neg_f32s(far), far);
    simd.select_f32s(simd.less_than_f32s(size, splat(0.625)), near, far)
}

#[cfg(test)]
mod tests {
    use pulp::WithSimd;

    use super::*;
    use crate::InstructionSet;
    use crate::kernels::{Map, map};

    struct Exp<'a>(&'a mut [f32]);
    impl WithSimd for Exp<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let (vectors, rest) = S::as_mut_simd_f32s(self.0);
            assert!(rest.is_empty());
            vectors.iter_mut().for_each(|x| *x = exp(simd, *x));
        }
    }

    #[test]
    fn exp_is_as_near_as_its_doc_says() {
        let n = if cfg!(miri) { 160 } else { 64_000 };
        let values: Vec<f32> = (0..n).map(|i| -87.3 + i as f32 * (175.6 / n as f32)).collect();
        for set in InstructionSet::available() {
            let mut got = values.clone();
            set.run(Exp(&mut got));
            for (x, got) in values.iter().zip(got) {
                let want = f64::from(*x).exp();
                let relative = (f64::from(got) - want).abs() / want;
                assert!(relative < 2.5e-7, "{set:?}: exp({x}) = {got}, not {want}");
            }
        }
    }

    #[test]
    fn sigmoid_and_tanh_keep_the_digits_of_small_results() {
        #[derive(Clone, Copy)]
        struct Sigmoid;
        impl Map for Sigmoid {
            fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
                sigmoid(simd, x)
            }
        }
        #[derive(Clone, Copy)]
        struct Tanh;
        impl Map for Tanh {
            fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
                tanh(simd, x)
            }
        }
        let step = if cfg!(miri) { 400 } else { 1 };
        for i in (-8000..=8000).step_by(step) {
            let x = i as f32 * 0.01;
            for x in [x, x * 1e-3] {
                let wide = f64::from(x);
                let mut got = [x];
                map(Sigmoid, &mut got);
                let want = 1.0 / (1.0 + (-wide).exp());
                assert!((f64::from(got[0]) / want - 1.0).abs() < 5e-7, "{x}: {got:?} {want}");
                let mut got = [x];
                map(Tanh, &mut got);
                let error = (f64::from(got[0]) - wide.tanh()).abs();
                assert!(error <= 5e-7 * wide.tanh().abs(), "{x}: {got:?}");
            }
        }
    }

    #[test]
    fn exp_at_the_ends() {
        for set in InstructionSet::available() {
            let mut got = [0.0_f32; 16];
            got[..5].copy_from_slice(&[f32::NEG_INFINITY, -200.0, 0.0, 1000.0, f32::NAN]);
            set.run(Exp(&mut got));
            assert_eq!(&got[..3], [0.0, 0.0, 1.0], "{set:?}");
            assert!(got[3] > 1e38 && got[3].is_finite() && got[4].is_nan(), "{set:?} {got:?}");
        }
    }
}
