//! Matrix products for the shapes of training: a tile of some hundred tokens times weights that fit a cache.
//!
//! One micro-kernel keeps a block of the result in registers, streams rows of `b` past it and broadcasts values
//! of `a`. Every product of forward and backward is of this form, whichever operand is transposed: only a `b`
//! whose rows are not contiguous must be copied into panels first.

use std::{cell::RefCell, ops::Range};

use pulp::{Simd, WithSimd};

use super::dispatch;
use super::product::{Operand, Part, Plus, Product, Target};

/// `c = a b`, or `c += a b` if `accumulate`; `a: [m, k]`, `b: [k, n]`, `c: [m, n]` row-major.
///
/// One thread. The order of the sums depends on the shapes and the instruction set alone.
///
/// # Panics
/// If the shapes do not fit: a mistake inside this crate, since layers check what they are given.
pub(crate) fn matmul(a: Operand<'_>, b: Operand<'_>, c: &mut [f32], accumulate: bool) {
    assert_eq!(c.len(), a.rows * b.cols, "the product has m * n values");
    matmul_into(a, b, Target::strided(c, b.cols), accumulate);
}

/// [`matmul`] into some columns of a wider matrix.
pub(crate) fn matmul_into(a: Operand<'_>, b: Operand<'_>, c: Target<'_>, accumulate: bool) {
    let plus = if accumulate { Plus::Target } else { Plus::Nothing };
    Product { plus, ..Product::new(a, b) }.write(c);
}

impl Product<'_> {
    /// Writes the product and what is added to it.
    ///
    /// # Panics
    /// As [`matmul`].
    pub(crate) fn write(self, c: Target<'_>) {
        if self.is_empty(&c) {
            return;
        }
        SCRATCH.with_borrow_mut(|(panel, block)| {
            block.reserve(MAX_BLOCK);
            dispatch(Multiply { product: self, c, panel, block });
        });
    }
}

thread_local! {
    /// One panel of `b`, at most `PANEL_VALUES`, and one block of the result.
    static SCRATCH: RefCell<(Vec<f32>, Vec<f32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// Values of the rows of a strip of `b` that one pass sums: 32 KiB of them stay in the L1 cache while the rows of `a` pass by.
const PANEL_VALUES: usize = 8192;

/// Rows of a block of the result.
const MAX_ROWS: usize = 6;

/// Values of the largest block: 6 rows of 4 vectors of 16.
const MAX_BLOCK: usize = MAX_ROWS * 4 * 16;

struct Multiply<'a> {
    product: Product<'a>,
    c: Target<'a>,
    panel: &'a mut Vec<f32>,
    /// The sums of one block on their way to `c`.
    block: &'a mut Vec<f32>,
}

impl WithSimd for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // The sums of 6 rows by 4 vectors fill 24 of 32 registers, those of 6 by 2 fill 12 of 16; what is left holds
        // a row of `b` and a value of `a`.
        if S::REGISTER_COUNT >= 32 { self.run::<S, 4>(simd) } else { self.run::<S, 2>(simd) }
    }
}

impl Multiply<'_> {
    #[inline(always)]
    fn run<S: Simd, const NV: usize>(mut self, simd: S) {
        let Operand { rows: n_rows, cols: k, .. } = self.product.a;
        let Operand { cols: n, row_stride, col_stride, .. } = self.product.b;
        let width = NV * S::F32_LANES;
        let max_k = PANEL_VALUES / width;
        // At least once, for what is added to an empty product.
        for first_k in (0..k.max(1)).step_by(max_k) {
            let n_k = max_k.min(k - first_k);
            let is_first = first_k == 0;
            for first_col in (0..n).step_by(width) {
                let n_cols = width.min(n - first_col);
                let n_vectors = n_cols.div_ceil(S::F32_LANES);
                let is_whole = n_cols.is_multiple_of(S::F32_LANES);
                // Rows that lie a power of two apart share few places of the L1 cache.
                let is_near = row_stride < 256 || n_k * n_rows < 4096;
                let b = if n_k == 0 || (col_stride == 1 && is_whole && is_near) {
                    Rows { offset: first_k * row_stride + first_col, stride: row_stride }
                } else {
                    self.pack(first_k, n_k, first_col, n_cols, n_vectors * S::F32_LANES);
                    Rows { offset: usize::MAX, stride: n_vectors * S::F32_LANES }
                };
                let strip = Strip { first_k, n_k, first_col, n_cols, b, is_first };
                for row in (0..n_rows).step_by(MAX_ROWS) {
                    match n_rows - row {
                        1 => self.rows::<S, 1>(simd, &strip, row),
                        2 => self.rows::<S, 2>(simd, &strip, row),
                        3 => self.rows::<S, 3>(simd, &strip, row),
                        4 => self.rows::<S, 4>(simd, &strip, row),
                        5 => self.rows::<S, 5>(simd, &strip, row),
                        _ => self.rows::<S, MAX_ROWS>(simd, &strip, row),
                    }
                }
            }
        }
    }

    /// The part that is needed of `MR` rows of a strip.
    #[inline(always)]
    fn rows<S: Simd, const MR: usize>(&mut self, simd: S, strip: &Strip, first_row: usize) {
        let Strip { first_k, n_k, first_col, n_cols, .. } = *strip;
        let (mut ks, mut n_cols) = (first_k..first_k + n_k, n_cols);
        match self.product.part {
            Part::All => {}
            Part::LowerLeft(reach) => ks.end = ks.end.min(first_row + MR + reach),
            Part::UpperLeft => ks.start = ks.start.max(first_row),
            Part::LowerResult(reach) => {
                let needed = (first_row + MR + reach).saturating_sub(first_col);
                n_cols = n_cols.min(needed.next_multiple_of(S::F32_LANES));
            }
        }
        let is_empty = ks.is_empty() && !strip.is_first;
        match n_cols.div_ceil(S::F32_LANES) {
            _ if is_empty => {}
            0 => {}
            1 => self.block::<S, MR, 1>(simd, strip, first_row, ks, n_cols),
            2 => self.block::<S, MR, 2>(simd, strip, first_row, ks, n_cols),
            3 => self.block::<S, MR, 3>(simd, strip, first_row, ks, n_cols),
            _ => self.block::<S, MR, 4>(simd, strip, first_row, ks, n_cols),
        }
    }

    /// Copies columns of `b` into `self.panel: [n_k, stride]`, zeros past the last column.
    #[inline(always)]
    fn pack(&mut self, first_k: usize, n_k: usize, first_col: usize, n_cols: usize, stride: usize) {
        self.panel.resize((n_k * stride).max(self.panel.len()), 0.0);
        let panel = &mut self.panel[..n_k * stride];
        let Operand { values, row_stride, col_stride, .. } = self.product.b;
        if col_stride == 1 {
            for (k, row) in panel.chunks_exact_mut(stride).enumerate() {
                let from = &values[(first_k + k) * row_stride + first_col..][..n_cols];
                // By arrays, whose copies are moves of registers in place of calls.
                let (to_blocks, _) = row.as_chunks_mut::<16>();
                let (blocks, rest) = from.as_chunks::<16>();
                for (to, block) in to_blocks.iter_mut().zip(blocks) {
                    *to = *block;
                }
                if n_cols < stride || !rest.is_empty() {
                    row[n_cols - rest.len()..n_cols].copy_from_slice(rest);
                    row[n_cols..].fill(0.0);
                }
            }
            return;
        }
        if n_cols < stride {
            panel.fill(0.0);
        }
        // Sixteen columns of `b`, which are contiguous where it is transposed, at a time: whole lines are written.
        for first in (0..n_cols).step_by(16) {
            let n = (n_cols - first).min(16);
            let column = |col: usize| {
                let start = (first_col + first + col) * col_stride + first_k * row_stride;
                &values[start..][..(n_k - 1) * row_stride + 1]
            };
            if n == 16 && row_stride == 1 {
                let columns: [&[f32]; 16] = std::array::from_fn(column);
                for (k, row) in panel.chunks_exact_mut(stride).enumerate() {
                    let to: &mut [f32; 16] =
                        (&mut row[first..first + 16]).try_into().expect("16 long");
                    *to = columns.map(|column| column[k]);
                }
            } else {
                for col in 0..n {
                    let from = column(col).iter().step_by(row_stride.max(1));
                    for (row, value) in panel.chunks_exact_mut(stride).zip(from) {
                        row[first + col] = *value;
                    }
                }
            }
        }
    }

    /// The micro-kernel: `MR` rows by `NV` vectors of the result.
    #[inline(always)]
    #[expect(
        clippy::needless_range_loop,
        reason = "rows and vectors of a block read best by number"
    )]
    #[expect(
        unsafe_code,
        reason = "a bounds check for each broadcast would cost as much as its products"
    )]
    fn block<S: Simd, const MR: usize, const NV: usize>(
        &mut self,
        simd: S,
        strip: &Strip,
        first_row: usize,
        ks: Range<usize>,
        n_cols: usize,
    ) {
        let lanes = S::F32_LANES;
        let Strip { first_k, first_col, b: rows, is_first, .. } = *strip;
        let Product { a, b, bias, plus, .. } = self.product;
        let (b, offset) = match rows.offset {
            usize::MAX => (self.panel.as_slice(), 0),
            offset => (b.values, offset),
        };
        let mut sums = [[simd.splat_f32s(0.0); NV]; MR];
        if !ks.is_empty() {
            let offset = offset + (ks.start - first_k) * rows.stride;
            let a_start = first_row * a.row_stride + ks.start * a.col_stride;
            let n_k = ks.len();
            // What the pointers below reach; both hold by the constructors of `Operand`.
            assert!(b.len() >= offset + (n_k - 1) * rows.stride + NV * lanes);
            assert!(a.values.len() > a_start + (MR - 1) * a.row_stride + (n_k - 1) * a.col_stride);
            // SAFETY: `b` is read at offset + k * stride + v * lanes .. + lanes with k < n_k and v < NV, and `a` at
            // a_start + r * row_stride + k * col_stride with r < MR and k < n_k: within their slices by the
            // assertions above; `wrapping_add` lets the pointers step past the end after the last row. `f32s` is
            // plain old data of `lanes` f32 values and is read unaligned.
            unsafe {
                let mut b_row = b.as_ptr().add(offset);
                let mut a_col = a.values.as_ptr().add(a_start);
                for _ in 0..n_k {
                    let mut vectors = [simd.splat_f32s(0.0); NV];
                    for v in 0..NV {
                        vectors[v] = b_row.add(v * lanes).cast::<S::f32s>().read_unaligned();
                    }
                    for r in 0..MR {
                        let value = simd.splat_f32s(*a_col.add(r * a.row_stride));
                        for v in 0..NV {
                            sums[r][v] = simd.mul_add_e_f32s(value, vectors[v], sums[r][v]);
                        }
                    }
                    b_row = b_row.wrapping_add(rows.stride);
                    a_col = a_col.wrapping_add(a.col_stride);
                }
            }
        }
        // Later passes over `k` add to what the first has written.
        let (bias, plus) = if is_first { (bias, plus) } else { (None, Plus::Target) };
        let (c, stride) = (&mut *self.c.values, self.c.row_stride);
        let start = first_row * stride + first_col;
        if n_cols == NV * lanes {
            if let Some(bias) = bias {
                let (bias, _) = S::as_simd_f32s(&bias[first_col..first_col + NV * lanes]);
                let bias: &[S::f32s; NV] = bias.try_into().expect("NV vectors");
                for r in 0..MR {
                    for v in 0..NV {
                        sums[r][v] = simd.add_f32s(sums[r][v], bias[v]);
                    }
                }
            }
            let addend = match plus {
                Plus::Nothing => None,
                Plus::Target => Some((&*c, stride, start)),
                Plus::Matrix(values, stride) => {
                    Some((values, stride, first_row * stride + first_col))
                }
            };
            if let Some((values, stride, start)) = addend {
                assert!(values.len() >= start + (MR - 1) * stride + NV * lanes);
                for r in 0..MR {
                    for v in 0..NV {
                        // SAFETY: start + r * stride + v * lanes .. + lanes with r < MR and v < NV is within `values` by
                        // the assertion above; `f32s` is plain old data and is read unaligned.
                        let before = unsafe {
                            let place = values.as_ptr().add(start + r * stride + v * lanes);
                            place.cast::<S::f32s>().read_unaligned()
                        };
                        sums[r][v] = simd.add_f32s(before, sums[r][v]);
                    }
                }
            }
            assert!(c.len() >= start + (MR - 1) * stride + NV * lanes);
            for r in 0..MR {
                for v in 0..NV {
                    // SAFETY: start + r * stride + v * lanes .. + lanes with r < MR and v < NV is within `c` by the
                    // assertion above; `f32s` is plain old data and is written unaligned.
                    unsafe {
                        let place = c.as_mut_ptr().add(start + r * stride + v * lanes);
                        place.cast::<S::f32s>().write_unaligned(sums[r][v]);
                    }
                }
            }
            return;
        }
        // The sums are taken out of their registers by plain stores: anything longer is not unrolled, and
        // indices that are not constant would keep the sums in memory from the start.
        self.block.clear();
        let block = self.block.spare_capacity_mut();
        assert!(block.len() >= MR * NV * lanes);
        let block = block.as_mut_ptr().cast::<f32>();
        for r in 0..MR {
            for v in 0..NV {
                // SAFETY: MR * NV vectors of `lanes` values fit the block by the assertion above.
                unsafe {
                    block.add((r * NV + v) * lanes).cast::<S::f32s>().write_unaligned(sums[r][v])
                };
            }
        }
        // SAFETY: the loop above has written them all.
        unsafe { self.block.set_len(MR * NV * lanes) };
        for (r, sums) in self.block.chunks_exact_mut(NV * lanes).enumerate() {
            let (row, sums) = (&mut c[start + r * stride..][..n_cols], &mut sums[..n_cols]);
            let add = |sums: &mut [f32], values: &[f32]| {
                sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            };
            if let Some(bias) = bias {
                add(sums, &bias[first_col..]);
            }
            match plus {
                Plus::Nothing => {}
                Plus::Target => add(sums, row),
                Plus::Matrix(values, stride) => {
                    add(sums, &values[(first_row + r) * stride + first_col..]);
                }
            }
            row.copy_from_slice(sums);
        }
    }
}

/// A strip of columns of the result and the rows of `b` that are summed into it.
struct Strip {
    first_k: usize,
    n_k: usize,
    first_col: usize,
    n_cols: usize,
    b: Rows,
    /// Whether this is the first pass over `k`.
    is_first: bool,
}

/// Rows of `b` from `offset` on, or of the panel if that is `usize::MAX`.
#[derive(Clone, Copy)]
struct Rows {
    offset: usize,
    stride: usize,
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::InstructionSet;

    /// The definition, summed in f64.
    fn matmul_by_definition(a: Operand<'_>, b: Operand<'_>, c: &mut [f32], accumulate: bool) {
        for i in 0..a.rows {
            for j in 0..b.cols {
                let products = (0..a.cols).map(|p| {
                    let left = a.values[i * a.row_stride + p * a.col_stride];
                    let right = b.values[p * b.row_stride + j * b.col_stride];
                    f64::from(left) * f64::from(right)
                });
                let before = if accumulate { f64::from(c[i * b.cols + j]) } else { 0.0 };
                c[i * b.cols + j] = (before + products.sum::<f64>()) as f32;
            }
        }
    }

    fn run(set: InstructionSet, a: Operand<'_>, b: Operand<'_>, c: &mut [f32], accumulate: bool) {
        let c = Target::strided(c, b.cols);
        if a.rows > 0 && b.cols > 0 {
            let block = &mut Vec::with_capacity(MAX_BLOCK);
            let plus = if accumulate { Plus::Target } else { Plus::Nothing };
            let product = Product { plus, ..Product::new(a, b) };
            set.run(Multiply { product, c, panel: &mut Vec::new(), block });
        }
    }

    #[test]
    fn every_instruction_set_computes_the_definition_for_all_shapes_and_layouts() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let sizes: &[usize] = match cfg!(miri) {
            true => &[0, 1, 7, 17],
            false => &[0, 1, 2, 3, 7, 16, 17, 33, 65],
        };
        for &m in sizes {
            for &k in sizes {
                for &n in sizes {
                    let mut draw = |len: usize| -> Vec<f32> {
                        (0..len).map(|_| rng.random::<f32>() - 0.5).collect()
                    };
                    let (left, right, start) = (draw(m * k), draw(k * n), draw(m * n));
                    for layout in 0..8 {
                        let a = match layout & 1 {
                            0 => Operand::new(&left, m, k),
                            _ => Operand::new(&left, k, m).transposed(),
                        };
                        let b = match layout & 2 {
                            0 => Operand::new(&right, k, n),
                            _ => Operand::new(&right, n, k).transposed(),
                        };
                        let accumulate = layout & 4 != 0;
                        let mut want = start.clone();
                        matmul_by_definition(a, b, &mut want, accumulate);
                        for set in InstructionSet::available() {
                            let mut got = start.clone();
                            run(set, a, b, &mut got, accumulate);
                            for (got, want) in got.iter().zip(&want) {
                                // At most 66 terms below 0.25 each: f32 rounding stays below 66 ulp(16).
                                assert!((got - want).abs() < 2e-5, "{set:?} {m} {k} {n} {layout}");
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn long_sums_are_taken_in_passes() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let (m, n) = if cfg!(miri) { (2, 17) } else { (7, 300) };
        let k = 2 * PANEL_VALUES / 16 + 3;
        let mut draw =
            |len: usize| -> Vec<f32> { (0..len).map(|_| rng.random::<f32>() - 0.5).collect() };
        let (left, right) = (draw(m * k), draw(k * n));
        let (a, b) = (Operand::new(&left, m, k), Operand::new(&right, k, n));
        let mut want = vec![0.0; m * n];
        matmul_by_definition(a, b, &mut want, false);
        for set in InstructionSet::available() {
            let mut got = vec![f32::NAN; m * n];
            run(set, a, b, &mut got, false);
            for (got, want) in got.iter().zip(&want) {
                assert!((got - want).abs() < 2e-4, "{set:?}: {got} {want}");
            }
        }
    }

    #[test]
    fn parts_and_addends_for_all_shapes() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let sizes = [1, 5, 6, 7, 16, 33, 70];
        for (m, n) in sizes.iter().flat_map(|m| sizes.map(|n| (*m, n))) {
            for k in [0, 3, 33, 600] {
                let mut draw = |len: usize| -> Vec<f32> {
                    (0..len).map(|_| rng.random::<f32>() - 0.5).collect()
                };
                let (mut left, right) = (draw(m * k), draw(k * n));
                let (bias, other) = (draw(n), draw(m * (n + 1)));
                for part in [Part::All, Part::LowerLeft(2), Part::UpperLeft, Part::LowerResult(2)] {
                    for (index, value) in left.iter_mut().enumerate() {
                        let (row, col) = (index / k, index % k);
                        let is_zero = match part {
                            Part::LowerLeft(reach) => col > row + reach,
                            Part::UpperLeft => col < row,
                            Part::All | Part::LowerResult(_) => false,
                        };
                        *value = if is_zero { 0.0 } else { *value + 0.01 };
                    }
                    let (a, b) = (Operand::new(&left, m, k), Operand::new(&right, k, n));
                    let mut want = vec![0.0; m * n];
                    matmul_by_definition(a, b, &mut want, false);
                    let plus = Plus::Matrix(&other, n + 1);
                    let product = Product { a, b, part, bias: Some(&bias), plus };
                    for set in InstructionSet::available() {
                        let mut got = vec![f32::NAN; m * n];
                        let c = Target::strided(&mut got, n);
                        let block = &mut Vec::with_capacity(MAX_BLOCK);
                        set.run(Multiply { product, c, panel: &mut Vec::new(), block });
                        for (index, (got, want)) in got.iter().zip(&want).enumerate() {
                            let (row, col) = (index / n, index % n);
                            let want = want + bias[col] + other[row * (n + 1) + col];
                            let is_needed = part != Part::LowerResult(2) || col <= row + 2;
                            let error = (got - want).abs();
                            assert!(!is_needed || error < 1e-4, "{set:?} {m} {k} {n} {part:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn blocks_of_columns_are_read_and_written_in_place() {
        let wide: Vec<f32> = (0..12).map(|value| value as f32).collect(); // [3, 4]
        let a = Operand::strided(&wide[1..], 3, 2, 4); // columns 1 and 2
        let b = Operand::strided(&wide[2..], 2, 2, 4); // rows 0 and 1 of columns 2 and 3
        let mut c = vec![-1.0; 9]; // [3, 3]
        matmul_into(a, b, Target::strided(&mut c[1..], 3), false);
        assert_eq!(c, [-1.0, 14.0, 17.0, -1.0, 46.0, 57.0, -1.0, 78.0, 97.0]);
    }

    #[test]
    #[should_panic(expected = "inner dimensions agree")]
    fn shapes_that_do_not_fit_never_reach_the_kernel() {
        let values = [0.0; 6];
        matmul(Operand::new(&values, 2, 3), Operand::new(&values, 2, 3), &mut [0.0; 6], false);
    }
}
