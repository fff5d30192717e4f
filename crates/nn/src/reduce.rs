//! Sums in a fixed order that vector registers can follow.

/// Sums that run side by side: four registers of SSE, two of AVX, one of AVX-512.
const LANES: usize = 16;

/// `Σ_i term(a_i, b_i)` in f32: sixteen interleaved sums, added in halves. The order depends on the length alone.
///
/// Of slices of unequal lengths, what exceeds the shorter one is left out.
#[inline(always)]
pub(crate) fn sum_zip<A: Copy, B: Copy>(a: &[A], b: &[B], term: impl Fn(A, B) -> f32) -> f32 {
    let n = a.len().min(b.len());
    let (a_blocks, a_rest) = a[..n].as_chunks::<LANES>();
    let (b_blocks, b_rest) = b[..n].as_chunks::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] += term(a[lane], b[lane]);
        }
    }
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(&a, &b)| term(a, b)).sum();
    sums[0] + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_counted_once() {
        for n in [0, 1, 15, 16, 17, 40, 64] {
            let values: Vec<f32> = (1..=n).map(|value| value as f32).collect();
            let want = (1..=n).map(|value| value * value).sum::<u32>();
            assert_eq!(sum_zip(&values, &values, |a, b| a * b), want as f32);
        }
        assert!(sum_zip(&[1.0; 20], &[f32::NAN; 20], |a, b| a * b).is_nan());
    }
}
