//! Rounding to bfloat16, in plain code that every processor runs.

/// Nearest bfloat16 as an f32, ties to even; what is below the smallest normal number becomes a zero of its sign, overflow
/// goes to infinity, NaN stays NaN.
///
/// These are the rules of the `VCVTNEPS2BF16` instructions, so that all machines round alike. [`Bf16Table`](crate::Bf16Table),
/// which no instruction has to read, keeps the small numbers.
#[inline(always)]
pub(super) fn round(value: f32) -> f32 {
    f32::from_bits(round_bits(value))
}

#[inline(always)]
fn round_bits(value: f32) -> u32 {
    let bits = value.to_bits();
    let magnitude = bits & 0x7fff_ffff;
    // Half of the last kept bit, less one unless that bit is odd: a carry then rounds up.
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    // The quiet bit keeps a NaN whose payload lies in the lower half from becoming infinity.
    let kept = if magnitude > f32::INFINITY.to_bits() { bits | 0x40_0000 } else { nearest };
    let kept = if magnitude < f32::MIN_POSITIVE.to_bits() { bits & 0x8000_0000 } else { kept };
    kept & 0xffff_0000
}

/// Two rounded values as the instructions read them: the first in the lower half.
#[inline(always)]
pub(super) fn pair(first: f32, second: f32) -> u32 {
    round_bits(first) >> 16 | round_bits(second)
}

/// What [`pair`] was made of.
#[inline(always)]
pub(super) fn unpair(pair: u32) -> [f32; 2] {
    [f32::from_bits(pair << 16), f32::from_bits(pair & 0xffff_0000)]
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::{Bf16Table, Matrix};

    /// That of the table is tested against the definition.
    #[test]
    fn rounding_is_that_of_the_table_but_for_small_numbers() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut values: Vec<f32> =
            (0..100_000).map(|_| f32::from_bits(rng.random::<u32>())).collect();
        values.extend([0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE]);
        values.extend([0x7f80_0001, 0xffff_ffff, 0x7fc0_0000, 0x3f80_8000].map(f32::from_bits));
        let table = Matrix::from_vec(1, values.len(), values.clone()).unwrap();
        let table = Bf16Table::new(&table);
        for (value, bits) in values.into_iter().zip(table.bits()) {
            let got = (round(value).to_bits() >> 16) as u16;
            if value.abs() < f32::MIN_POSITIVE {
                assert_eq!(got, if value.is_sign_negative() { 0x8000 } else { 0 }, "{value:e}");
            } else {
                assert_eq!(got, *bits, "{value:e}");
            }
        }
    }

    #[test]
    fn pairs_come_apart_again() {
        assert_eq!(unpair(pair(1.5, -3.0)), [1.5, -3.0]);
        assert_eq!(unpair(pair(-0.0, f32::INFINITY)).map(f32::to_bits), [0x8000_0000, 0x7f80_0000]);
        assert_eq!(pair(1.0, 0.0), 0x3f80);
    }
}
