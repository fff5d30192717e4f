//! The instructions of AVX512-BF16: two products of rounded values added to each of 16 sums.

use std::ops::Range;

use std::arch::x86_64::{
    __m512bh, __m512i, _mm512_add_ps, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_loadu_ps,
    _mm512_mask_storeu_epi32, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps,
    _mm512_permutexvar_epi16, _mm512_set1_epi32, _mm512_setzero_ps, _mm512_storeu_epi32,
};

use super::super::product::{Part, Plus, Product, Target};
use super::Bf16Panels;
use super::pack::{Left, PackLeft, PackRight, Rounding};
use crate::kernels::InstructionSet;

/// Proof that the processor has the instructions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx512Bf16(());

/// Pairs of a panel that one pass sums: 32 KiB of a panel stay in the L1 cache while the rows pass by.
const MAX_PAIRS: usize = 128;

/// Rows of a block of the result.
const MAX_ROWS: usize = 6;

impl Avx512Bf16 {
    pub(super) fn try_new() -> Option<Self> {
        let is_available = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512cd")
            && is_x86_feature_detected!("avx512bf16");
        is_available.then_some(Self(()))
    }

    /// As [`Self::try_new`], and `None` where a narrower instruction set was selected.
    pub(super) fn active() -> Option<Self> {
        if InstructionSet::active() == InstructionSet::Avx512 { Self::try_new() } else { None }
    }

    #[expect(unsafe_code, reason = "compiled for instructions that not every processor has")]
    pub(super) fn pack_left<'a>(self, pack: PackLeft<'a>) -> Left<'a> {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512cd,avx512bf16")]
        fn run<'a>(rounding: Avx512Bf16, pack: PackLeft<'a>) -> Left<'a> {
            pack.run(rounding)
        }
        // SAFETY: `self` exists, so the processor has these instructions.
        unsafe { run(self, pack) }
    }

    #[expect(unsafe_code, reason = "compiled for instructions that not every processor has")]
    pub(super) fn pack_right(self, pack: PackRight<'_>) {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512cd,avx512bf16")]
        fn run(rounding: Avx512Bf16, pack: PackRight<'_>) {
            pack.run(rounding);
        }
        // SAFETY: `self` exists, so the processor has these instructions.
        unsafe { run(self, pack) }
    }

    /// Writes the product of `a` and `b`, the rounded operands of `product`.
    ///
    /// # Panics
    /// If they, or `c`, do not fit the product.
    #[expect(unsafe_code, reason = "compiled for instructions that not every processor has")]
    pub(super) fn multiply(self, product: Product<'_>, a: Left<'_>, b: &Bf16Panels, c: Target<'_>) {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512cd,avx512bf16")]
        fn run(native: Avx512Bf16, multiply: Multiply<'_>, b: &Bf16Panels) {
            multiply.run(native, b);
        }
        // SAFETY: `self` exists, so the processor has these instructions.
        unsafe { run(self, Multiply { product, a, c }, b) }
    }
}

/// The lowest `n` of 16 lanes.
#[inline(always)]
fn first_lanes(n: usize) -> u16 {
    if n >= 16 { u16::MAX } else { (1 << n) - 1 }
}

impl Rounding for Avx512Bf16 {
    #[inline(always)]
    #[expect(unsafe_code, reason = "vectors are loaded and stored in part")]
    fn pairs(self, row: &[f32], to: &mut [u32]) {
        assert_eq!(row.len().div_ceil(2), to.len(), "a place for each pair");
        let (blocks, rest) = row.as_chunks::<32>();
        let (to_blocks, to_rest) = to.as_chunks_mut::<16>();
        for (block, to) in blocks.iter().zip(to_blocks) {
            // SAFETY: `self` exists, so the processor has these instructions; a block holds the 32 values that are loaded
            // and `to` the 16 pairs that are stored.
            unsafe {
                let low = _mm512_loadu_ps(block.as_ptr());
                let high = _mm512_loadu_ps(block.as_ptr().add(16));
                let pairs: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
                _mm512_storeu_epi32(to.as_mut_ptr().cast(), pairs);
            }
        }
        if rest.is_empty() {
            return;
        }
        let (low, high) = rest.split_at(rest.len().min(16));
        // SAFETY: as above; the masks keep loads and the store within the slices, of which `to_rest` has a place for each two
        // values of `rest` by the assertion.
        unsafe {
            let low = _mm512_maskz_loadu_ps(first_lanes(low.len()), low.as_ptr());
            let high = _mm512_maskz_loadu_ps(first_lanes(high.len()), high.as_ptr());
            let pairs: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
            _mm512_mask_storeu_epi32(
                to_rest.as_mut_ptr().cast(),
                first_lanes(to_rest.len()),
                pairs,
            );
        }
    }

    #[inline(always)]
    #[expect(unsafe_code, reason = "vectors are loaded and stored in part")]
    fn interleave(self, first: &[f32], second: &[f32], to: &mut [u32]) {
        assert!(first.len() == to.len() && second.len() == to.len(), "a place for each pair");
        for start in (0..to.len()).step_by(16) {
            let lanes = first_lanes(to.len() - start);
            // SAFETY: `self` exists, so the processor has these instructions; the mask keeps loads and the store within the
            // slices, which are equally long by the assertion above.
            unsafe {
                let order: __m512i = std::mem::transmute(ALTERNATE);
                let first = _mm512_maskz_loadu_ps(lanes, first.as_ptr().add(start));
                let second = _mm512_maskz_loadu_ps(lanes, second.as_ptr().add(start));
                let halves: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(second, first));
                let pairs = _mm512_permutexvar_epi16(order, halves);
                _mm512_mask_storeu_epi32(to.as_mut_ptr().add(start).cast(), lanes, pairs);
            }
        }
    }
}

/// The order that puts the values of the first half between those of the second.
const ALTERNATE: [u16; 32] = {
    let mut order = [0; 32];
    let mut i = 0;
    while i < 16 {
        order[2 * i] = i as u16;
        order[2 * i + 1] = 16 + i as u16;
        i += 1;
    }
    order
};

struct Multiply<'a> {
    /// Which part of it is needed, and what is added to it.
    product: Product<'a>,
    a: Left<'a>,
    c: Target<'a>,
}

/// Pairs of a panel and where their sums go.
struct Strip<'a> {
    /// All pairs of the panel, `[.., stride]`.
    panel: &'a [u32],
    stride: usize,
    /// Those that this pass sums.
    pairs: Range<usize>,
    first_col: usize,
    n_cols: usize,
}

impl Multiply<'_> {
    #[inline(always)]
    fn run(mut self, native: Avx512Bf16, b: &Bf16Panels) {
        let (n_rows, n_pairs) = (self.a.rows, b.n_pairs());
        // At least once, for what is added to an empty product.
        for first_pair in (0..n_pairs.max(1)).step_by(MAX_PAIRS) {
            let pairs = first_pair..n_pairs.min(first_pair + MAX_PAIRS);
            for (first_col, n_cols, panel, stride) in b.panels() {
                let strip = Strip { panel, stride, pairs: pairs.clone(), first_col, n_cols };
                for row in (0..n_rows).step_by(MAX_ROWS) {
                    match n_rows - row {
                        1 => self.rows::<1>(native, &strip, row),
                        2 => self.rows::<2>(native, &strip, row),
                        3 => self.rows::<3>(native, &strip, row),
                        4 => self.rows::<4>(native, &strip, row),
                        5 => self.rows::<5>(native, &strip, row),
                        _ => self.rows::<MAX_ROWS>(native, &strip, row),
                    }
                }
            }
        }
    }

    /// The part that is needed of `MR` rows of a strip.
    #[inline(always)]
    fn rows<const MR: usize>(&mut self, native: Avx512Bf16, strip: &Strip<'_>, first_row: usize) {
        let (mut pairs, mut n_cols) = (strip.pairs.clone(), strip.n_cols);
        match self.product.part {
            Part::All => {}
            Part::LowerLeft(reach) => {
                pairs.end = pairs.end.min((first_row + MR + reach).div_ceil(2));
            }
            Part::UpperLeft => pairs.start = pairs.start.max(first_row / 2),
            Part::LowerResult(reach) => {
                let needed = (first_row + MR + reach).saturating_sub(strip.first_col);
                n_cols = n_cols.min(needed.next_multiple_of(16));
            }
        }
        let is_empty = pairs.is_empty() && strip.pairs.start > 0;
        match n_cols.div_ceil(16) {
            _ if is_empty => {}
            0 => {}
            1 => self.block::<MR, 1>(native, strip, first_row, pairs, n_cols),
            2 => self.block::<MR, 2>(native, strip, first_row, pairs, n_cols),
            3 => self.block::<MR, 3>(native, strip, first_row, pairs, n_cols),
            _ => self.block::<MR, 4>(native, strip, first_row, pairs, n_cols),
        }
    }

    /// The micro-kernel: `MR` rows by `NV` vectors of the result, in `MR * NV` of 32 registers.
    #[inline(always)]
    #[expect(
        clippy::needless_range_loop,
        reason = "rows and vectors of a block read best by number"
    )]
    #[expect(
        unsafe_code,
        reason = "a bounds check for each broadcast would cost as much as its products"
    )]
    fn block<const MR: usize, const NV: usize>(
        &mut self,
        _: Avx512Bf16,
        strip: &Strip<'_>,
        first_row: usize,
        pairs: Range<usize>,
        n_cols: usize,
    ) {
        let Strip { panel, stride, first_col, .. } = *strip;
        let Product { bias, plus, .. } = self.product;
        // Later passes over `k` add to what the first has written.
        let (bias, plus) = if strip.pairs.start == 0 { (bias, plus) } else { (None, Plus::Target) };
        assert!(n_cols > (NV - 1) * 16 && n_cols <= NV * 16);
        let lanes = |v: usize| first_lanes(n_cols - v * 16);
        // SAFETY: there is a value of `Avx512Bf16`, so the processor has these instructions.
        let mut sums = [[unsafe { _mm512_setzero_ps() }; NV]; MR];
        if !pairs.is_empty() {
            let Left { row_stride, pair_stride, .. } = self.a;
            let (a_start, n_pairs) =
                (first_row * row_stride + pairs.start * pair_stride, pairs.len());
            let b = &panel[pairs.start * stride..];
            // What the pointers below reach.
            assert!(b.len() >= (n_pairs - 1) * stride + NV * 16);
            assert!(
                self.a.pairs.len() > a_start + (MR - 1) * row_stride + (n_pairs - 1) * pair_stride
            );
            // SAFETY: as above for the instructions. `b` is read at p * stride + v * 16 .. + 16 with p < n_pairs and v < NV, and
            // `a` at a_start + r * row_stride + p * pair_stride with r < MR and p < n_pairs: within their slices by the
            // assertions above; `wrapping_add` lets the pointers step past the end after the last pair. Vectors are read
            // unaligned.
            unsafe {
                let mut b_row = b.as_ptr();
                let mut a_col = self.a.pairs.as_ptr().add(a_start);
                for _ in 0..n_pairs {
                    let zero: __m512bh = std::mem::transmute(_mm512_setzero_ps());
                    let mut vectors = [zero; NV];
                    for v in 0..NV {
                        vectors[v] = b_row.add(v * 16).cast::<__m512bh>().read_unaligned();
                    }
                    for r in 0..MR {
                        let value = _mm512_set1_epi32(*a_col.add(r * row_stride) as i32);
                        let value: __m512bh = std::mem::transmute(value);
                        for v in 0..NV {
                            sums[r][v] = _mm512_dpbf16_ps(sums[r][v], value, vectors[v]);
                        }
                    }
                    b_row = b_row.wrapping_add(stride);
                    a_col = a_col.wrapping_add(pair_stride);
                }
            }
        }
        if let Some(bias) = bias {
            let bias = &bias[first_col..first_col + n_cols];
            for v in 0..NV {
                // SAFETY: as above for the instructions; the lanes end where `bias` does.
                unsafe {
                    let bias = _mm512_maskz_loadu_ps(lanes(v), bias.as_ptr().add(v * 16));
                    for r in 0..MR {
                        sums[r][v] = _mm512_add_ps(sums[r][v], bias);
                    }
                }
            }
        }
        let (c, c_stride) = (&mut *self.c.values, self.c.row_stride);
        let c_start = first_row * c_stride + first_col;
        let addend = match plus {
            Plus::Nothing => None,
            Plus::Target => Some((&*c, c_stride)),
            Plus::Matrix(values, stride) => Some((values, stride)),
        };
        if let Some((values, stride)) = addend {
            let start = first_row * stride + first_col;
            assert!(values.len() >= start + (MR - 1) * stride + n_cols);
            for r in 0..MR {
                for v in 0..NV {
                    // SAFETY: as above for the instructions; values are read at start + r * stride + v * 16 .. with r < MR and
                    // v < NV in lanes that end at column n_cols, within them by the assertion above.
                    unsafe {
                        let place = values.as_ptr().add(start + r * stride + v * 16);
                        let before = _mm512_maskz_loadu_ps(lanes(v), place);
                        sums[r][v] = _mm512_add_ps(before, sums[r][v]);
                    }
                }
            }
        }
        assert!(c.len() >= c_start + (MR - 1) * c_stride + n_cols);
        for r in 0..MR {
            for v in 0..NV {
                // SAFETY: as above for the instructions; `c` is written at c_start + r * c_stride + v * 16 .. with r < MR and v < NV
                // in lanes that end at column n_cols, within it by the assertion above.
                unsafe {
                    let place = c.as_mut_ptr().add(c_start + r * c_stride + v * 16);
                    _mm512_mask_storeu_ps(place, lanes(v), sums[r][v]);
                }
            }
        }
    }
}
