//! Element-wise functions of a run of values.

use pulp::{Simd, WithSimd};

use super::dispatch;

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

    #[test]
    fn runs_of_every_length() {
        for n in 0..70 {
            let x: Vec<f32> = (0..n).map(|i| (i % 7) as f32 - 3.0).collect();
            let y: Vec<f32> = (0..n).map(|i| (i % 5) as f32).collect();
            let mut z = y.clone();
            add_scaled(2.0, &x, &mut z);
            assert!(z.iter().zip(x.iter().zip(&y)).all(|(z, (x, y))| *z == 2.0 * x + y));
            let mut w = vec![f32::NAN; n];
            scaled_sum(2.0, &x, &y, &mut w);
            assert_eq!(w, z);
        }
    }
}
