//! Where blanks, colons and bars stand in a text.
//!
//! They are looked for in the whole text before any of it is read: a search between two features would be a branch that nobody can
//! foretell, once for every 64 bytes, which costs more than the search.

use wide::u8x16;

/// Bytes that are looked at together.
const CHUNK: usize = 64;

/// The places of blanks, control characters, colons and bars in a text, one after the other.
#[derive(Debug, Default)]
pub(in super::super) struct Stops {
    /// The first `n` are those of the text; the others are room.
    at: Vec<u32>,
    n: usize,
    next: usize,
    n_bytes: usize,
    is_ascii: bool,
}

impl Stops {
    /// Finds those of another text; false if it is too long to number its bytes.
    pub(in super::super) fn find(&mut self, text: &[u8]) -> bool {
        if u32::try_from(text.len()).is_err() {
            return false;
        }
        // All bytes may be stops, and a chunk is written whole.
        let needed = text.len().next_multiple_of(CHUNK);
        if self.at.len() < needed {
            self.at.resize(needed, 0);
        }
        (self.next, self.n_bytes) = (0, text.len());
        let (chunks, rest) = text.as_chunks::<CHUNK>();
        let found = find_in(chunks, &mut self.at);
        (self.n, self.is_ascii) = (found.n, found.is_ascii && rest.is_ascii());
        for (at, byte) in (chunks.as_flattened().len()..).zip(rest) {
            self.at[self.n] = at as u32;
            self.n += usize::from(is_stop(*byte));
        }
        true
    }

    /// Whether all bytes of the text are ASCII.
    pub(in super::super) fn is_ascii(&self) -> bool {
        self.is_ascii
    }

    /// Goes on with the first one at or behind `at`.
    pub(super) fn skip_to(&mut self, at: usize) {
        let left = &self.at[self.next..self.n];
        self.next += left.partition_point(|stop| (*stop as usize) < at);
    }

    /// The next one, or the end of the text.
    #[inline(always)]
    pub(super) fn next(&mut self) -> usize {
        if self.next == self.n {
            return self.n_bytes;
        }
        let at = self.at[self.next] as usize;
        self.next += 1;
        at
    }
}

fn is_stop(byte: u8) -> bool {
    byte <= b' ' || matches!(byte, b':' | b'|')
}

/// What [`find_in`] has found.
struct FoundStops {
    n: usize,
    is_ascii: bool,
}

/// Writes the places of the stops in whole chunks to the front of `out`, which is as long as the chunks.
fn find_in(chunks: &[[u8; CHUNK]], out: &mut [u32]) -> FoundStops {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V4::try_new() {
        return pulp::Simd::vectorize(simd, avx512::Find { simd, chunks, out });
    }
    find_in_any(chunks, out)
}

/// The same with the instructions that every processor has.
fn find_in_any(chunks: &[[u8; CHUNK]], out: &mut [u32]) -> FoundStops {
    let mut n = 0;
    let mut all = u8x16::splat(0);
    for (chunk, base) in chunks.iter().zip((0..).step_by(CHUNK)) {
        let (parts, _) = chunk.as_chunks::<16>();
        let mut mask = 0;
        for (at, part) in parts.iter().enumerate() {
            let part = u8x16::new(*part);
            all |= part;
            let blanks = part.min(u8x16::splat(b' ')).simd_eq(part);
            let marks = part.simd_eq(u8x16::splat(b':')) | part.simd_eq(u8x16::splat(b'|'));
            mask |= u64::from((blanks | marks).to_bitmask()) << (16 * at);
        }
        while mask != 0 {
            out[n] = base + mask.trailing_zeros();
            n += 1;
            mask &= mask - 1;
        }
    }
    FoundStops { n, is_ascii: all.to_bitmask() == 0 }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use pulp::x86::V4;
    use pulp::{Simd, WithSimd, cast, u8x64, u32x16};

    use super::{CHUNK, FoundStops};

    /// [`super::find_in`] with vectors of 64 bytes: the places of 16 bytes at a time are moved together and written whole.
    pub(super) struct Find<'a> {
        pub(super) simd: V4,
        pub(super) chunks: &'a [[u8; CHUNK]],
        pub(super) out: &'a mut [u32],
    }

    impl WithSimd for Find<'_> {
        type Output = FoundStops;

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> FoundStops {
            let Self { simd, chunks, out } = self;
            let (blank, colon, bar) =
                (simd.splat_u8x64(b' '), simd.splat_u8x64(b':'), simd.splat_u8x64(b'|'));
            let (mut n, mut all) = (0, simd.splat_u8x64(0));
            let mut places = u32x16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            let step = simd.splat_u32x16(16);
            for chunk in chunks {
                let bytes: u8x64 = cast(*chunk);
                all = simd.or_u8x64(all, bytes);
                let blanks = simd.cmp_le_u8x64(bytes, blank).0;
                let colons = simd.avx512bw._mm512_cmpeq_epi8_mask(cast(bytes), cast(colon));
                let bars = simd.avx512bw._mm512_cmpeq_epi8_mask(cast(bytes), cast(bar));
                let mask = blanks | colons | bars;
                for part in 0..4 {
                    let mask = (mask >> (16 * part)) as u16;
                    let found = simd.avx512f._mm512_maskz_compress_epi32(mask, cast(places));
                    // There is room: places before this part are no more than its bytes before it.
                    out[n..n + 16].copy_from_slice(&cast::<_, [u32; 16]>(found));
                    n += mask.count_ones() as usize;
                    places = cast(simd.avx512f._mm512_add_epi32(cast(places), cast(step)));
                }
            }
            let high = simd.cmp_le_u8x64(simd.splat_u8x64(0x80), all).0;
            FoundStops { n, is_ascii: high == 0 }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn stops_are_found_wherever_they_stand(
            bytes in proptest::collection::vec(
                prop_oneof![Just(b' '), Just(b'a'), Just(b':'), Just(b'|'), 0x21_u8..0x7f, any::<u8>()], 0..300),
            at in 0_usize..300,
        ) {
            let expected: Vec<usize> = (0..bytes.len()).filter(|at| is_stop(bytes[*at])).collect();
            let mut stops = Stops::default();
            // What a longer text has left behind is of no account.
            prop_assert!(stops.find(&[b' '; 500]));
            prop_assert!(stops.find(&bytes));
            prop_assert_eq!(stops.is_ascii(), bytes.is_ascii());
            let found: Vec<usize> = expected.iter().map(|_| stops.next()).collect();
            prop_assert_eq!(&found, &expected);
            prop_assert_eq!([stops.next(), stops.next()], [bytes.len(), bytes.len()]);
            stops.find(&bytes);
            stops.skip_to(at);
            let next = expected.iter().copied().find(|stop| *stop >= at);
            prop_assert_eq!(stops.next(), next.unwrap_or(bytes.len()));
            // Every set of instructions finds the same.
            let (chunks, _) = bytes.as_chunks::<CHUNK>();
            let mut places = [vec![0; bytes.len()], vec![0; bytes.len()]];
            let [wide, any] = &mut places;
            let found = [find_in(chunks, wide), find_in_any(chunks, any)];
            prop_assert_eq!(found[0].n, found[1].n);
            prop_assert_eq!(found[0].is_ascii, found[1].is_ascii);
            prop_assert_eq!(&places[0][..found[0].n], &places[1][..found[0].n]);
        }
    }
}
