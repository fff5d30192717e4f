//! Softmax of rows of scores that are padded to whole vectors, as attention keeps them.

use pulp::{Simd, WithSimd};

use super::{dispatch, functions::exp};

/// Replaces the first `n_seen` scores by `exp(scale x) / Σ exp(scale x)` and all others by 0.
///
/// A row of `-inf` alone becomes NaN, as one with a NaN does.
///
/// # Panics
/// If the row is not whole vectors of the widest instruction set, or `n_seen` is 0 or more than there are.
pub(crate) fn softmax(row: &mut [f32], n_seen: usize, scale: f32) {
    struct Op<'a>(&'a mut [f32], usize, f32);
    impl WithSimd for Op<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Self(row, n_seen, scale) = self;
            let (vectors, rest) = S::as_mut_simd_f32s(row);
            assert!(rest.is_empty(), "rows are whole vectors");
            let n_vectors = n_seen.div_ceil(S::F32_LANES);
            let (vectors, unseen) = vectors.split_at_mut(n_vectors);
            let lowest = simd.splat_f32s(f32::NEG_INFINITY);
            let n_in_last = n_seen - (n_vectors - 1) * S::F32_LANES;
            let is_seen = simd.mask_between_m32s(0, n_in_last as u32).mask();
            // Scores of minus infinity have a weight of exactly 0.
            let last = &mut vectors[n_vectors - 1];
            *last = simd.select_f32s(is_seen, *last, lowest);
            let mut max = lowest;
            for x in vectors.iter() {
                max = simd.max_f32s(max, *x);
            }
            let (shift, factor) =
                (simd.splat_f32s(simd.reduce_max_f32s(max)), simd.splat_f32s(scale));
            let mut sum = simd.splat_f32s(0.0);
            for x in vectors.iter_mut() {
                *x = exp(simd, simd.mul_f32s(factor, simd.sub_f32s(*x, shift)));
                sum = simd.add_f32s(sum, *x);
            }
            let share = simd.splat_f32s(1.0 / simd.reduce_sum_f32s(sum));
            for x in vectors {
                *x = simd.mul_f32s(*x, share);
            }
            unseen.fill(simd.splat_f32s(0.0));
        }
    }
    assert!((1..=row.len()).contains(&n_seen), "some scores, and no more than there are");
    dispatch(Op(row, n_seen, scale));
}

/// Turns the gradient of the weights `p` that [`softmax`] made into that of the scores: `scale p (d - Σ p d)`.
///
/// # Panics
/// If the rows differ in length or are not whole vectors.
pub(crate) fn softmax_backward(p: &[f32], d: &mut [f32], scale: f32) {
    struct Op<'a>(&'a [f32], &'a mut [f32], f32);
    impl WithSimd for Op<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Self(p, d, scale) = self;
            let (ps, p_rest) = S::as_simd_f32s(p);
            let (ds, d_rest) = S::as_mut_simd_f32s(d);
            assert!(p_rest.is_empty() && d_rest.is_empty(), "rows are whole vectors");
            let mut sum = simd.splat_f32s(0.0);
            for (p, d) in ps.iter().zip(ds.iter()) {
                sum = simd.mul_add_e_f32s(*p, *d, sum);
            }
            let mean = simd.splat_f32s(simd.reduce_sum_f32s(sum));
            let factor = simd.splat_f32s(scale);
            for (p, d) in ps.iter().zip(ds) {
                *d = simd.mul_f32s(simd.mul_f32s(factor, *p), simd.sub_f32s(*d, mean));
            }
        }
    }
    assert_eq!(p.len(), d.len(), "values come in pairs");
    dispatch(Op(p, d, scale));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_add_up_to_one_and_unseen_ones_are_zero() {
        for n_seen in 1..=48 {
            let scores: Vec<f32> = (0..48).map(|i| ((i * 7) % 11) as f32 - 5.0).collect();
            let mut got = scores.clone();
            softmax(&mut got, n_seen, 0.5);
            let want: Vec<f64> =
                scores[..n_seen].iter().map(|x| (0.5 * f64::from(*x)).exp()).collect();
            let sum: f64 = want.iter().sum();
            for (got, want) in got.iter().zip(&want) {
                assert!((f64::from(*got) - want / sum).abs() < 1e-6, "{n_seen}: {got}");
            }
            assert!(got[n_seen..].iter().all(|weight| *weight == 0.0), "{n_seen}");
        }
        let mut row = [0.0; 16];
        row[2] = f32::NAN;
        softmax(&mut row, 2, 1.0);
        assert_eq!(row[..2], [0.5; 2]);
        row[1] = f32::NAN;
        softmax(&mut row, 2, 1.0);
        assert!(row[0].is_nan());
    }

    #[test]
    fn the_gradient_of_a_softmax_by_hand() {
        let mut p = [0.0; 16];
        let mut d = [100.0; 16]; // of unseen scores: without effect
        (p[0], p[1]) = (0.25, 0.75);
        (d[0], d[1]) = (4.0, 0.0);
        softmax_backward(&p, &mut d, 2.0); // the mean is 1
        assert_eq!(d[..3], [1.5, -1.5, 0.0]);
    }
}
