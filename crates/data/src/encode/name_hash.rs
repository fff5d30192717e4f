//! XXH3 of the names of features.
//!
//! Names are a few bytes long, and the library's function is not compiled into the loop that reads them, with the instructions
//! that the loop has: for up to 16 bytes its formulas stand here, and a test holds them against the library.
//!
//! Source: Yann Collet, the XXH3 specification, `XXH3_len_1to3_64b`, `XXH3_len_4to8_64b` and `XXH3_len_9to16_64b`.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The first bytes of the default secret of XXH3.
const SECRET: [u8; 56] = [
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
    0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
    0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
    0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e,
];

/// The secret's words from these bytes on, joined by exclusive or.
const fn words(first: usize, second: usize) -> u64 {
    let mut joined = 0;
    let mut at = 0;
    while at < 8 {
        joined |= ((SECRET[first + at] ^ SECRET[second + at]) as u64) << (8 * at);
        at += 1;
    }
    joined
}

const OF_THREE: u64 = words(0, 4) & 0xffff_ffff;
const OF_EIGHT: u64 = words(8, 16);
const OF_SIXTEEN: [u64; 2] = [words(24, 32), words(40, 48)];

/// `XXH3_64bits_withSeed`.
#[inline(always)]
pub(super) fn xxh3(name: &[u8], seed: u64) -> u64 {
    let n = name.len();
    match n {
        9..=16 => {
            let (low, high) = (word(name, 0), word(name, n - 8));
            let low = low ^ OF_SIXTEEN[0].wrapping_add(seed);
            let high = high ^ OF_SIXTEEN[1].wrapping_sub(seed);
            let product = u128::from(low) * u128::from(high);
            let folded = product as u64 ^ (product >> 64) as u64;
            let sum = (n as u64).wrapping_add(low.swap_bytes()).wrapping_add(high);
            let mixed = sum.wrapping_add(folded);
            let mixed = (mixed ^ (mixed >> 37)).wrapping_mul(0x1656_6791_9e37_79f9);
            mixed ^ (mixed >> 32)
        }
        4..=8 => {
            let (first, last) = (half_word(name, 0), half_word(name, n - 4));
            let seed = seed ^ (u64::from((seed as u32).swap_bytes()) << 32);
            let text = u64::from(last).wrapping_add(u64::from(first) << 32);
            let keyed = text ^ OF_EIGHT.wrapping_sub(seed);
            let mixed = keyed ^ keyed.rotate_left(49) ^ keyed.rotate_left(24);
            let mixed = mixed.wrapping_mul(0x9fb2_1c65_1e98_df25);
            let mixed = mixed ^ (mixed >> 35).wrapping_add(n as u64);
            let mixed = mixed.wrapping_mul(0x9fb2_1c65_1e98_df25);
            mixed ^ (mixed >> 28)
        }
        1..=3 => {
            let [first, middle, last] = [name[0], name[n / 2], name[n - 1]].map(u32::from);
            let text = (first << 16) | (middle << 24) | last | ((n as u32) << 8);
            let keyed = u64::from(text) ^ OF_THREE.wrapping_add(seed);
            let mixed = (keyed ^ (keyed >> 33)).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
            let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0x1656_67b1_9e37_79f9);
            mixed ^ (mixed >> 32)
        }
        _ => xxh3_64_with_seed(name, seed),
    }
}

#[inline(always)]
fn word(name: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*name[at..].first_chunk().expect("the name is as long"))
}

#[inline(always)]
fn half_word(name: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*name[at..].first_chunk().expect("the name is as long"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_name_has_the_hash_of_the_library(
            name in proptest::collection::vec(any::<u8>(), 0..40), seed in any::<u64>(),
        ) {
            for n in 0..=name.len() {
                prop_assert_eq!(xxh3(&name[..n], seed), xxh3_64_with_seed(&name[..n], seed), "{}", n);
            }
            prop_assert_eq!(xxh3(&name, 0), xxhash_rust::xxh3::xxh3_64(&name));
        }
    }
}
