//! Sums over a run of values, and of runs of values.

use pulp::{Simd, WithSimd};

use super::dispatch;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_every_length() {
        for n in 0..70 {
            let x: Vec<f32> = (0..n).map(|i| (i % 7) as f32 - 3.0).collect();
            let y: Vec<f32> = (0..n).map(|i| (i % 5) as f32).collect();
            let want: f32 = x.iter().zip(&y).map(|(x, y)| x * y).sum();
            assert_eq!(dot(&x, &y), want); // small integers: no rounding
        }
    }
}
