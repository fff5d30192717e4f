//! Products of bytes, summed in whole numbers: exact, so that every processor gives the same.

use pulp::{Simd, WithSimd};

use super::dispatch;

/// Rows of a block: as many sums as a vector of 512 bits holds.
pub(crate) const INT8_ROWS: usize = 16;
/// Values of a row that lie side by side in a block: what the instruction multiplies and adds at once.
pub(crate) const INT8_RUN: usize = 4;
/// Bytes of a run of all rows of a block.
const RUN_BYTES: usize = INT8_ROWS * INT8_RUN;

/// The products of `vector: [d]` with each row of some blocks, `d` a multiple of [`INT8_RUN`].
///
/// # Shapes
/// `blocks: [n_blocks, d / INT8_RUN, INT8_ROWS, INT8_RUN]`, `products: [n_blocks, INT8_ROWS]`.
///
/// # Panics
/// If they do not fit, or a sum could leave an `i32`: `d` is at most 2^16.
pub(crate) fn dot_int8(blocks: &[u8], vector: &[i8], products: &mut [i32]) {
    let d = vector.len();
    assert!(d.is_multiple_of(INT8_RUN) && d <= 1 << 16, "whole runs, and sums within an i32");
    assert_eq!(blocks.len(), products.len() * d, "a product for each row");
    assert!(products.len().is_multiple_of(INT8_ROWS), "whole blocks");
    if d == 0 {
        return products.fill(0);
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(native) = vnni::Avx512Vnni::active() {
        return native.dot(blocks, vector, products);
    }
    dispatch(Dots { blocks, vector, products });
}

struct Dots<'a> {
    blocks: &'a [u8],
    vector: &'a [i8],
    products: &'a mut [i32],
}

impl WithSimd for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { blocks, vector, products } = self;
        // A run for each row, so that the compiler sees vectors of pairs: it turns them into those of the instruction set.
        let runs = vector.as_chunks::<INT8_RUN>().0;
        let runs: Vec<[i16; RUN_BYTES]> = runs
            .iter()
            .map(|run| std::array::from_fn(|at| i16::from(run[at % INT8_RUN])))
            .collect();
        let (products, _) = products.as_chunks_mut::<INT8_ROWS>();
        for (block, products) in blocks.chunks_exact(vector.len() * INT8_ROWS).zip(products) {
            let mut sums = [0_i32; 2 * INT8_ROWS];
            for (values, run) in block.as_chunks::<RUN_BYTES>().0.iter().zip(&runs) {
                let mut wide = [0_i16; RUN_BYTES];
                for (wide, value) in wide.iter_mut().zip(values) {
                    *wide = i16::from(*value);
                }
                // No sum leaves an i32, by the assertion above: a check for each would cost as much as its product.
                for (at, sum) in sums.iter_mut().enumerate() {
                    let first = i32::from(wide[2 * at]).wrapping_mul(i32::from(run[2 * at]));
                    let second =
                        i32::from(wide[2 * at + 1]).wrapping_mul(i32::from(run[2 * at + 1]));
                    *sum = sum.wrapping_add(first.wrapping_add(second));
                }
            }
            for (at, product) in products.iter_mut().enumerate() {
                *product = sums[2 * at].wrapping_add(sums[2 * at + 1]);
            }
        }
    }
}

/// Between which values the dot product of a vector and a row lies, up to what is the same for all rows, from the product of their bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Int8Bounds {
    /// What the product of a row of zeros is.
    pub(crate) offset: i32,
    /// The scale of the vector.
    pub(crate) factor: f32,
    /// How far from the middle the bounds are, in units of the row's scale.
    pub(crate) width: f32,
}

impl Int8Bounds {
    /// The upper bounds of some blocks of rows, and the highest of each block.
    ///
    /// # Panics
    /// If there are other than as many products, scales and bounds, or one highest for each block.
    pub(crate) fn most(
        self,
        products: &[i32],
        scales: &[f32],
        bounds: &mut [f32],
        highest: &mut [f32],
    ) {
        struct Op<'a> {
            of: Int8Bounds,
            products: &'a [i32],
            scales: &'a [f32],
            bounds: &'a mut [f32],
            highest: &'a mut [f32],
        }
        impl WithSimd for Op<'_> {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) {
                let Self { of: Int8Bounds { offset, factor, width }, .. } = self;
                // Plain code: the compiler turns it into the vectors of the instruction set.
                let rows = self.products.iter().zip(self.scales);
                for (bound, (product, scale)) in self.bounds.iter_mut().zip(rows) {
                    *bound = scale * (factor * product.wrapping_sub(offset) as f32 + width);
                }
                let blocks = self.bounds.as_chunks::<INT8_ROWS>().0;
                for (block, highest) in blocks.iter().zip(self.highest) {
                    let vectors = S::as_simd_f32s(block).0;
                    let mut most = vectors[0];
                    // A loop in place of `fold`, whose closure would not be compiled for the instruction set.
                    for bounds in &vectors[1..] {
                        most = simd.max_f32s(most, *bounds);
                    }
                    *highest = simd.reduce_max_f32s(most);
                }
            }
        }
        assert!(
            products.len() == scales.len() && scales.len() == bounds.len(),
            "one of each a row"
        );
        assert_eq!(products.len(), highest.len() * INT8_ROWS, "one highest a block");
        dispatch(Op { of: self, products, scales, bounds, highest });
    }

    /// The lower bound of a row.
    pub(crate) fn least(self, product: i32, scale: f32) -> f32 {
        scale * (self.factor * product.wrapping_sub(self.offset) as f32 - self.width)
    }
}

#[cfg(target_arch = "x86_64")]
mod vnni {
    use std::arch::x86_64::{
        __m512i, _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_si512,
        _mm512_storeu_si512,
    };

    use super::{INT8_ROWS, INT8_RUN, RUN_BYTES};
    use crate::kernels::InstructionSet;

    /// Proof that the processor has the instructions of AVX512-VNNI.
    #[derive(Debug, Clone, Copy)]
    pub(super) struct Avx512Vnni(());

    /// Blocks that share a run of the vector in a register.
    const N_BLOCKS: usize = 4;

    impl Avx512Vnni {
        pub(super) fn try_new() -> Option<Self> {
            let is_available =
                is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni");
            is_available.then_some(Self(()))
        }

        /// As [`Self::try_new`], and `None` where a narrower instruction set was selected.
        pub(super) fn active() -> Option<Self> {
            if InstructionSet::active() == InstructionSet::Avx512 { Self::try_new() } else { None }
        }

        /// As [`super::dot_int8`], which checks the shapes.
        #[expect(unsafe_code, reason = "compiled for instructions that not every processor has")]
        pub(super) fn dot(self, blocks: &[u8], vector: &[i8], products: &mut [i32]) {
            // SAFETY: `self` exists, so the processor has these instructions.
            unsafe { dot(blocks, vector, products) }
        }
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    fn dot(blocks: &[u8], vector: &[i8], products: &mut [i32]) {
        let (runs, _) = vector.as_chunks::<INT8_RUN>();
        let (values, _) = blocks.as_chunks::<RUN_BYTES>();
        let (products, _) = products.as_chunks_mut::<INT8_ROWS>();
        let (many, rest) = products.as_chunks_mut::<N_BLOCKS>();
        let (of_many, of_rest) = values.split_at(many.len() * N_BLOCKS * runs.len());
        for (values, products) in of_many.chunks_exact(N_BLOCKS * runs.len()).zip(many) {
            dot_blocks(values, runs, products);
        }
        for (values, product) in of_rest.chunks_exact(runs.len()).zip(rest) {
            dot_blocks(values, runs, std::array::from_mut(product));
        }
    }

    /// `N` blocks at once, so that no sum waits for another and each run of the vector is loaded once.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vnni")]
    #[expect(unsafe_code, reason = "vectors are loaded and stored")]
    fn dot_blocks<const N: usize>(
        values: &[[u8; RUN_BYTES]],
        runs: &[[i8; INT8_RUN]],
        products: &mut [[i32; INT8_ROWS]; N],
    ) {
        assert_eq!(values.len(), N * runs.len(), "a run of each block for each of the vector");
        let mut sums = [_mm512_setzero_si512(); N];
        for (at, run) in runs.iter().enumerate() {
            let run = _mm512_set1_epi32(i32::from_le_bytes(run.map(|value| value as u8)));
            for (n, sum) in sums.iter_mut().enumerate() {
                // SAFETY: `n * runs.len() + at` is below `N * runs.len()`, the length by the assertion above; an element has 64 bytes.
                let values: __m512i =
                    unsafe { _mm512_loadu_si512(values.as_ptr().add(n * runs.len() + at).cast()) };
                *sum = _mm512_dpbusd_epi32(*sum, values, run);
            }
        }
        for (sum, product) in sums.iter().zip(products) {
            // SAFETY: `product` has the 64 bytes that are stored.
            unsafe { _mm512_storeu_si512(product.as_mut_ptr().cast(), *sum) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InstructionSet;

    #[test]
    fn every_processor_gives_the_products_of_whole_numbers() {
        let hash = |at: usize| (at as u32 ^ 77).wrapping_mul(0x9e37_79b9) >> 24;
        // The largest sums that there are, then any.
        for (n_blocks, d, is_large) in
            [(1, 4, true), (3, 60, true), (1, 1 << 16, true), (4, 64, false), (9, 68, false)]
        {
            let vector: Vec<i8> =
                (0..d).map(|at| if is_large { -128 } else { hash(at) as u8 as i8 }).collect();
            let value = |at: usize| if is_large { 255 } else { hash(at * 3 + 1) as u8 };
            let blocks: Vec<u8> = (0..n_blocks * d * INT8_ROWS).map(value).collect();
            let want: Vec<i32> = (0..n_blocks * INT8_ROWS)
                .map(|row| {
                    let (block, lane) = (row / INT8_ROWS, row % INT8_ROWS);
                    let place = |at: usize| {
                        let run = block * d / INT8_RUN + at / INT8_RUN;
                        (run * INT8_ROWS + lane) * INT8_RUN + at % INT8_RUN
                    };
                    (0..d).map(|at| i32::from(blocks[place(at)]) * i32::from(vector[at])).sum()
                })
                .collect();
            for set in InstructionSet::available() {
                let mut products = vec![i32::MAX; want.len()];
                set.run(Dots { blocks: &blocks, vector: &vector, products: &mut products });
                assert_eq!(products, want, "{set:?} {n_blocks} {d}");
            }
            let mut products = vec![i32::MAX; want.len()];
            dot_int8(&blocks, &vector, &mut products);
            assert_eq!(products, want, "{n_blocks} {d}");
        }
        dot_int8(&[], &[], &mut []);
    }
}
