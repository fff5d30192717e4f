//! Element-wise functions and sums over a run of values.

use pulp::{Simd, WithSimd};

use super::dispatch;

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

/// A function of each value.
pub(crate) trait Map: Copy {
    /// The function on a vector of values.
    fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s;
}

/// A function of two values at the same place.
pub(crate) trait Zip: Copy {
    /// The function on two vectors of values.
    fn apply<S: Simd>(self, simd: S, x: S::f32s, y: S::f32s) -> S::f32s;
}

/// `x[i] = f(x[i])`.
pub(crate) fn map(f: impl Map, x: &mut [f32]) {
    struct Op<'a, F>(F, &'a mut [f32]);
    impl<F: Map> WithSimd for Op<'_, F> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let (vectors, rest) = S::as_mut_simd_f32s(self.1);
            for x in vectors {
                *x = self.0.apply(simd, *x);
            }
            if !rest.is_empty() {
                let x = simd.partial_load_f32s(rest);
                simd.partial_store_f32s(rest, self.0.apply(simd, x));
            }
        }
    }
    dispatch(Op(f, x));
}

/// `y[i] = f(x[i])`.
///
/// # Panics
/// If the slices differ in length.
pub(crate) fn map_into(f: impl Map, x: &[f32], y: &mut [f32]) {
    #[derive(Clone, Copy)]
    struct OfFirst<F>(F);
    impl<F: Map> Zip for OfFirst<F> {
        #[inline(always)]
        fn apply<S: Simd>(self, simd: S, x: S::f32s, _: S::f32s) -> S::f32s {
            self.0.apply(simd, x)
        }
    }
    zip(OfFirst(f), x, y);
}

/// `y[i] = f(x[i], y[i])`.
///
/// # Panics
/// If the slices differ in length.
pub(crate) fn zip(f: impl Zip, x: &[f32], y: &mut [f32]) {
    struct Op<'a, F>(F, &'a [f32], &'a mut [f32]);
    impl<F: Zip> WithSimd for Op<'_, F> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let (xs, x_rest) = S::as_simd_f32s(self.1);
            let (ys, y_rest) = S::as_mut_simd_f32s(self.2);
            for (x, y) in xs.iter().zip(ys) {
                *y = self.0.apply(simd, *x, *y);
            }
            if !y_rest.is_empty() {
                let (x, y) = (simd.partial_load_f32s(x_rest), simd.partial_load_f32s(y_rest));
                simd.partial_store_f32s(y_rest, self.0.apply(simd, x, y));
            }
        }
    }
    assert_eq!(x.len(), y.len(), "values come in pairs");
    dispatch(Op(f, x, y));
}

/// `y += factor * x`.
pub(crate) fn add_scaled(factor: f32, x: &[f32], y: &mut [f32]) {
    #[derive(Clone, Copy)]
    struct AddScaled(f32);
    impl Zip for AddScaled {
        #[inline(always)]
        fn apply<S: Simd>(self, simd: S, x: S::f32s, y: S::f32s) -> S::f32s {
            simd.mul_add_e_f32s(simd.splat_f32s(self.0), x, y)
        }
    }
    zip(AddScaled(factor), x, y);
}

/// `sums += Σ factor * values` over `terms`, in their order; the sums stay in registers.
///
/// # Panics
/// If the values of a term are not as many as the sums.
pub(crate) fn sum_rows<'v>(
    sums: &mut [f32],
    terms: impl Iterator<Item = (f32, &'v [f32])> + Clone,
) {
    struct Op<'a, I>(&'a mut [f32], I);
    impl<'v, I: Iterator<Item = (f32, &'v [f32])> + Clone> WithSimd for Op<'_, I> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Self(sums, terms) = self;
            let n_cols = sums.len();
            let (vectors, rest) = S::as_mut_simd_f32s(sums);
            let mut first = 0;
            while vectors.len() - first >= 4 {
                sum_block::<S, 4>(simd, &mut vectors[first..], n_cols, first, terms.clone());
                first += 4;
            }
            while first < vectors.len() {
                sum_block::<S, 1>(simd, &mut vectors[first..], n_cols, first, terms.clone());
                first += 1;
            }
            if !rest.is_empty() {
                let mut sum = simd.partial_load_f32s(rest);
                for (factor, values) in terms {
                    assert_eq!(values.len(), n_cols, "one value for each sum");
                    let value = simd.partial_load_f32s(&values[n_cols - rest.len()..]);
                    sum = simd.mul_add_e_f32s(simd.splat_f32s(factor), value, sum);
                }
                simd.partial_store_f32s(rest, sum);
            }
        }
    }
    dispatch(Op(sums, terms));
}

/// [`sum_rows`] of `NV` vectors of columns from vector `first` on.
#[inline(always)]
fn sum_block<'v, S: Simd, const NV: usize>(
    simd: S,
    sums: &mut [S::f32s],
    n_cols: usize,
    first: usize,
    terms: impl Iterator<Item = (f32, &'v [f32])>,
) {
    let sums: &mut [S::f32s; NV] = (&mut sums[..NV]).try_into().expect("NV long");
    let mut in_registers = *sums;
    for (factor, values) in terms {
        assert_eq!(values.len(), n_cols, "one value for each sum");
        let values = &S::as_simd_f32s(values).0[first..first + NV];
        let factor = simd.splat_f32s(factor);
        for (sum, value) in in_registers.iter_mut().zip(values) {
            *sum = simd.mul_add_e_f32s(factor, *value, *sum);
        }
    }
    *sums = in_registers;
}

/// `Σ x[i] y[i]`.
///
/// # Panics
/// If the slices differ in length.
pub fn dot(x: &[f32], y: &[f32]) -> f32 {
    struct Op<'a>(&'a [f32], &'a [f32]);
    impl WithSimd for Op<'_> {
        type Output = f32;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> f32 {
            dot_with(simd, self.0, self.1)
        }
    }
    assert_eq!(x.len(), y.len(), "values come in pairs");
    dispatch(Op(x, y))
}

/// The dot product of `vector` with each row of `rows`, equal to the bit to [`dot`].
pub(crate) fn dot_rows(rows: &[f32], vector: &[f32], products: &mut [f32]) {
    struct Op<'a>(&'a [f32], &'a [f32], &'a mut [f32]);
    impl WithSimd for Op<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            for (row, product) in self.0.chunks_exact(self.1.len()).zip(self.2) {
                *product = dot_with(simd, row, self.1);
            }
        }
    }
    match vector {
        [] => products.fill(0.0),
        _ => dispatch(Op(rows, vector, products)),
    }
}

#[derive(Clone, Copy)]
struct Scale(f32);

impl Map for Scale {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
        simd.mul_f32s(simd.splat_f32s(self.0), x)
    }
}

/// `x *= factor`.
pub(crate) fn scale_by(factor: f32, x: &mut [f32]) {
    map(Scale(factor), x);
}

/// `y = factor * x`.
///
/// # Panics
/// If the slices differ in length.
pub(crate) fn scale_into(factor: f32, x: &[f32], y: &mut [f32]) {
    map_into(Scale(factor), x, y);
}

/// `y = factor * x + z`.
///
/// # Panics
/// If the slices differ in length.
pub fn scaled_sum(factor: f32, x: &[f32], z: &[f32], y: &mut [f32]) {
    struct Op<'a>(f32, &'a [f32], &'a [f32], &'a mut [f32]);
    impl WithSimd for Op<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) {
            let Self(factor, x, z, y) = self;
            // Plain code: the compiler turns it into the vectors of the instruction set.
            for (y, (x, z)) in y.iter_mut().zip(x.iter().zip(z)) {
                *y = factor * x + z;
            }
        }
    }
    assert!(x.len() == y.len() && z.len() == y.len(), "one of each a value");
    dispatch(Op(factor, x, z, y));
}

/// `Σ_i term(values[0][i], values[1][i], ...)` inside of a kernel, of slices of one length; `single` is the same term for
/// what does not fill a vector.
#[inline(always)]
pub(crate) fn sum_of<S: Simd, const N: usize>(
    simd: S,
    values: [&[f32]; N],
    term: impl Fn([S::f32s; N]) -> S::f32s,
    single: impl Fn([f32; N]) -> f32,
) -> f32 {
    let parts = values.map(|values| S::as_simd_f32s(values));
    let mut sum = simd.splat_f32s(0.0);
    for i in 0..parts[0].0.len() {
        sum = simd.add_f32s(sum, term(parts.map(|(vectors, _)| vectors[i])));
    }
    let n_rest = parts[0].1.len();
    let rest: f32 = (0..n_rest).map(|i| single(parts.map(|(_, rest)| rest[i]))).sum();
    simd.reduce_sum_f32s(sum) + rest
}

/// [`dot`] inside of a kernel.
#[inline(always)]
pub(crate) fn dot_with<S: Simd>(simd: S, x: &[f32], y: &[f32]) -> f32 {
    let (xs, x_rest) = S::as_simd_f32s(x);
    let (ys, y_rest) = S::as_simd_f32s(y);
    // A partial load is a call.
    let mut sum = match x_rest {
        [] => simd.splat_f32s(0.0),
        _ => simd.mul_f32s(simd.partial_load_f32s(x_rest), simd.partial_load_f32s(y_rest)),
    };
    for (x, y) in xs.iter().zip(ys) {
        sum = simd.mul_add_e_f32s(*x, *y, sum);
    }
    simd.reduce_sum_f32s(sum)
}

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

/// Sets `x[i]` to 0 if the hash of `key` and `i` is below `threshold`, else multiplies it by `scale`.
///
/// The hash is a bijection of 32 bits in two multiplications (found by search: Wellons, "Prospecting for Hash
/// Functions", 2018, the one called lowbias32).
pub(crate) fn drop_by_hash(x: &mut [f32], key: u32, threshold: u32, scale: f32) {
    struct Op<'a>(&'a mut [f32], u32, u32, f32);
    impl WithSimd for Op<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) {
            let Self(x, key, threshold, scale) = self;
            // Plain code: the compiler turns it into the vectors of the instruction set.
            for (i, value) in x.iter_mut().enumerate() {
                let mut hash = key ^ i as u32;
                hash ^= hash >> 16;
                hash = hash.wrapping_mul(0x7feb_352d);
                hash ^= hash >> 15;
                hash = hash.wrapping_mul(0x846c_a68b);
                hash ^= hash >> 16;
                let kept = *value * scale;
                *value = if hash < threshold { 0.0 } else { kept };
            }
        }
    }
    dispatch(Op(x, key, threshold, scale));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InstructionSet;

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

    #[test]
    fn sums_over_every_length() {
        for n in 0..70 {
            let x: Vec<f32> = (0..n).map(|i| (i % 7) as f32 - 3.0).collect();
            let y: Vec<f32> = (0..n).map(|i| (i % 5) as f32).collect();
            let want: f32 = x.iter().zip(&y).map(|(x, y)| x * y).sum();
            assert_eq!(dot(&x, &y), want); // small integers: no rounding
            let mut z = y.clone();
            add_scaled(2.0, &x, &mut z);
            assert!(z.iter().zip(x.iter().zip(&y)).all(|(z, (x, y))| *z == 2.0 * x + y));
            let mut w = vec![f32::NAN; n];
            scaled_sum(2.0, &x, &y, &mut w);
            assert_eq!(w, z);
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
