//! Exponentials of a matrix whose columns are shifted and summed apart.

use pulp::{Simd, WithSimd};

use super::dispatch;

/// `values[r][c] = 2^(values[r][c] - shifts[c])` for the first columns of each row, as many as there are shifts, and
/// `sums[c] += Σ_r values[r][c]`.
///
/// The relative error is below 3e-7 from -126 to 127; what is below counts as -126, what is above as 127. NaN stays NaN.
///
/// # Panics
/// If there are other than as many sums as shifts, more than a row is wide, or the last row is shorter than they are.
pub(crate) fn exp2_columns(values: &mut [f32], stride: usize, shifts: &[f32], sums: &mut [f32]) {
    assert!(shifts.len() == sums.len() && shifts.len() <= stride, "one of each a column");
    if !shifts.is_empty() {
        dispatch(Exp2Columns { values, stride, shifts, sums });
    }
}

struct Exp2Columns<'a> {
    values: &'a mut [f32],
    stride: usize,
    shifts: &'a [f32],
    sums: &'a mut [f32],
}

impl WithSimd for Exp2Columns<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { values, stride, shifts, sums } = self;
        let n_cols = shifts.len();
        let (shift_vectors, shift_rest) = S::as_simd_f32s(shifts);
        let (sum_vectors, sum_rest) = S::as_mut_simd_f32s(sums);
        for (at, (shift, sum)) in shift_vectors.iter().zip(sum_vectors).enumerate() {
            let mut in_register = simd.splat_f32s(0.0);
            for row in values.chunks_mut(stride) {
                let value = &mut S::as_mut_simd_f32s(&mut row[..n_cols]).0[at];
                *value = exp2(simd, simd.sub_f32s(*value, *shift));
                in_register = simd.add_f32s(in_register, *value);
            }
            *sum = simd.add_f32s(*sum, in_register);
        }
        if !shift_rest.is_empty() {
            let shift = simd.partial_load_f32s(shift_rest);
            let mut sum = simd.splat_f32s(0.0);
            for row in values.chunks_mut(stride) {
                let rest = S::as_mut_simd_f32s(&mut row[..n_cols]).1;
                let value = exp2(simd, simd.sub_f32s(simd.partial_load_f32s(rest), shift));
                simd.partial_store_f32s(rest, value);
                sum = simd.add_f32s(sum, value);
            }
            let before = simd.partial_load_f32s(sum_rest);
            simd.partial_store_f32s(sum_rest, simd.add_f32s(before, sum));
        }
    }
}

/// `2^x`: a polynomial of degree 5 around the nearest integer, whose power of two is added to the exponent bits.
///
/// Few operations, since a softmax over all items takes one for each logit. The coefficients have the smallest largest
/// relative error on `-0.5..=0.5`, 7.5e-8 (found by the Remez algorithm), but for the last, which is rounded to 1.
#[inline(always)]
fn exp2<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    /// Adding it rounds to an integer, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23
    #[expect(clippy::approx_constant, reason = "a coefficient near ln 2, not ln 2")]
    const COEFFICIENTS: [f32; 6] =
        [0.001_327_647_2, 0.009_675_541, 0.055_507_133, 0.240_221_2, 0.693_147, 1.0];
    let splat = |value| simd.splat_f32s(value);
    let [low, high] = [splat(-126.0), splat(127.0)];
    // In this order NaN passes through.
    let bounded = simd.select_f32s(simd.less_than_f32s(x, low), low, x);
    let bounded = simd.select_f32s(simd.greater_than_f32s(bounded, high), high, bounded);
    let shifted = simd.add_f32s(bounded, splat(ROUND));
    let r = simd.sub_f32s(bounded, simd.sub_f32s(shifted, splat(ROUND)));
    let mut p = splat(COEFFICIENTS[0]);
    for coefficient in &COEFFICIENTS[1..] {
        p = simd.mul_add_e_f32s(p, r, splat(*coefficient));
    }
    let bits = simd.transmute_u32s_f32s(shifted);
    let exponent = simd.wrapping_dyn_shl_u32s(bits, simd.splat_u32s(23));
    simd.transmute_f32s_u32s(simd.add_u32s(simd.transmute_u32s_f32s(p), exponent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InstructionSet;

    fn run(set: InstructionSet, values: &mut [f32], stride: usize, shifts: &[f32]) -> Vec<f32> {
        let mut sums = vec![0.5; shifts.len()];
        set.run(Exp2Columns { values, stride, shifts, sums: &mut sums });
        sums
    }

    #[test]
    fn powers_are_as_near_as_the_doc_says() {
        let (n_rows, stride, n_cols) = (500, 40, 37);
        let start: Vec<f32> = (0..n_rows * stride).map(|i| i as f32 * 0.0125 - 125.0).collect();
        let shifts: Vec<f32> = (0..n_cols).map(|col| col as f32 * 0.02).collect();
        for set in InstructionSet::available() {
            let mut got = start.clone();
            let sums = run(set, &mut got, stride, &shifts);
            let mut want_sums = vec![0.5_f64; n_cols];
            for (at, (got, x)) in got.iter().zip(&start).enumerate() {
                let Some(shift) = shifts.get(at % stride) else {
                    assert_eq!(got, x, "{set:?}: columns without a shift stay");
                    continue;
                };
                let want = f64::from(x - shift).exp2();
                want_sums[at % stride] += want;
                let relative = (f64::from(*got) - want).abs() / want;
                assert!(relative < 3e-7, "{set:?}: 2^({x} - {shift}) = {got}, not {want}");
            }
            for (sum, want) in sums.iter().zip(want_sums) {
                assert!((f64::from(*sum) / want - 1.0).abs() < 1e-6, "{set:?}: {sum} {want}");
            }
        }
    }

    #[test]
    fn powers_at_the_ends() {
        for set in InstructionSet::available() {
            let mut got = [0.0, 3.0, -1e30, 1e30, f32::INFINITY, f32::NAN];
            run(set, &mut got, 6, &[0.0; 6]);
            assert_eq!(&got[..4], [1.0, 8.0, 2.0_f32.powi(-126), 2.0_f32.powi(127)], "{set:?}");
            assert!(got[4] == got[3] && got[5].is_nan(), "{set:?} {got:?}");
        }
    }
}
