//! Matrix products for the shapes of training: a tile of some hundred tokens times weights that fit a cache.
//!
//! One micro-kernel keeps a block of the result in registers, streams rows of `b` past it and broadcasts values
//! of `a`. Every product of forward and backward is of this form, whichever operand is transposed: only a `b`
//! whose rows are not contiguous must be copied into panels first.

use std::cell::RefCell;

use pulp::{Simd, WithSimd};

use super::dispatch;

/// A matrix to multiply with: a slice read as it lies, by blocks of columns, or transposed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operand<'a> {
    values: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Operand<'a> {
    /// `values` is row-major `[rows, cols]`.
    ///
    /// # Panics
    /// If there are other than `rows * cols` values.
    pub(crate) fn new(values: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(values.len(), rows * cols, "an operand holds rows * cols values");
        Self { values, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// `cols` columns of a row-major matrix whose rows are `row_stride` values apart, from the first value on.
    ///
    /// # Panics
    /// If the last row ends past `values`, or rows overlap.
    pub(crate) fn strided(values: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(cols <= row_stride || rows <= 1, "rows do not overlap");
        assert!(values.len() >= extent(rows, cols, row_stride), "an operand ends within its slice");
        Self { values, rows, cols, row_stride, col_stride: 1 }
    }

    /// The same values read as `[cols, rows]`.
    pub(crate) fn transposed(self) -> Self {
        Self {
            values: self.values,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }
}

/// Where a product goes: `cols` columns of rows that are `row_stride` values apart.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    values: &'a mut [f32],
    row_stride: usize,
}

impl<'a> Target<'a> {
    /// From the first value of the first row on.
    pub(crate) fn strided(values: &'a mut [f32], row_stride: usize) -> Self {
        Self { values, row_stride }
    }
}

/// Values from the first of the first row to the last of the last.
fn extent(rows: usize, cols: usize, row_stride: usize) -> usize {
    if rows == 0 || cols == 0 { 0 } else { (rows - 1) * row_stride + cols }
}

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
    assert_eq!(b.rows, a.cols, "inner dimensions agree");
    assert!(c.values.len() >= extent(a.rows, b.cols, c.row_stride), "the product fits its target");
    assert!(b.cols <= c.row_stride || a.rows <= 1, "rows of the product do not overlap");
    if a.rows == 0 || b.cols == 0 {
        return;
    }
    SCRATCH.with_borrow_mut(|(panel, block)| {
        block.reserve(MAX_BLOCK);
        dispatch(Product { a, b, c, accumulate, panel, block });
    });
}

thread_local! {
    /// One panel of `b`, at most `PANEL_VALUES`, and one block of the result.
    static SCRATCH: RefCell<(Vec<f32>, Vec<f32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// Values of the rows of a strip of `b` that one pass sums: 32 KiB of them stay in the L1 cache while the rows of `a` pass by.
const PANEL_VALUES: usize = 8192;

/// Values of the largest block: 6 rows of 4 vectors of 16.
const MAX_BLOCK: usize = 6 * 4 * 16;

struct Product<'a> {
    a: Operand<'a>,
    b: Operand<'a>,
    c: Target<'a>,
    accumulate: bool,
    panel: &'a mut Vec<f32>,
    /// The sums of one block on their way to `c`.
    block: &'a mut Vec<f32>,
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // The sums of 6 rows by 4 vectors fill 24 of 32 registers, those of 6 by 2 fill 12 of 16; what is left holds
        // a row of `b` and a value of `a`.
        if S::REGISTER_COUNT >= 32 { self.run::<S, 4>(simd) } else { self.run::<S, 2>(simd) }
    }
}

impl Product<'_> {
    #[inline(always)]
    fn run<S: Simd, const NV: usize>(mut self, simd: S) {
        let width = NV * S::F32_LANES;
        let k = self.a.cols;
        if k == 0 && !self.accumulate {
            for row in 0..self.a.rows {
                self.c.values[row * self.c.row_stride..][..self.b.cols].fill(0.0);
            }
        }
        let max_k = PANEL_VALUES / width;
        for first_k in (0..k).step_by(max_k) {
            let n_k = max_k.min(k - first_k);
            let accumulate = self.accumulate || first_k > 0;
            for first_col in (0..self.b.cols).step_by(width) {
                let n_cols = width.min(self.b.cols - first_col);
                let n_vectors = n_cols.div_ceil(S::F32_LANES);
                let is_whole = n_cols.is_multiple_of(S::F32_LANES);
                // Rows that lie a power of two apart share few places of the L1 cache.
                let is_near = self.b.row_stride < 256 || n_k * self.a.rows < 4096;
                let b = if self.b.col_stride == 1 && is_whole && is_near {
                    Rows {
                        offset: first_k * self.b.row_stride + first_col,
                        stride: self.b.row_stride,
                    }
                } else {
                    self.pack(first_k, n_k, first_col, n_cols, n_vectors * S::F32_LANES);
                    Rows { offset: usize::MAX, stride: n_vectors * S::F32_LANES }
                };
                let strip = Strip { first_k, n_k, first_col, n_cols, b, accumulate };
                match n_vectors {
                    1 => self.strip::<S, 1>(simd, &strip),
                    2 => self.strip::<S, 2>(simd, &strip),
                    3 => self.strip::<S, 3>(simd, &strip),
                    _ => self.strip::<S, 4>(simd, &strip),
                }
            }
        }
    }

    /// Copies columns of `b` into `self.panel: [n_k, stride]`, zeros past the last column.
    #[inline(always)]
    fn pack(&mut self, first_k: usize, n_k: usize, first_col: usize, n_cols: usize, stride: usize) {
        self.panel.resize((n_k * stride).max(self.panel.len()), 0.0);
        let panel = &mut self.panel[..n_k * stride];
        let Operand { values, row_stride, col_stride, .. } = self.b;
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

    #[inline(always)]
    fn strip<S: Simd, const NV: usize>(&mut self, simd: S, strip: &Strip) {
        let mut row = 0;
        while row + 6 <= self.a.rows {
            self.block::<S, 6, NV>(simd, strip, row);
            row += 6;
        }
        if row + 3 <= self.a.rows {
            self.block::<S, 3, NV>(simd, strip, row);
            row += 3;
        }
        while row < self.a.rows {
            self.block::<S, 1, NV>(simd, strip, row);
            row += 1;
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
    ) {
        let lanes = S::F32_LANES;
        let Strip { first_k, n_k, first_col, n_cols, b: rows, accumulate } = *strip;
        let (b, offset) = match rows.offset {
            usize::MAX => (self.panel.as_slice(), 0),
            offset => (self.b.values, offset),
        };
        let a_start = first_row * self.a.row_stride + first_k * self.a.col_stride;
        let (row_stride, col_stride) = (self.a.row_stride, self.a.col_stride);
        // What the pointers below reach; both hold by the constructors of `Operand`.
        assert!(b.len() >= offset + (n_k - 1) * rows.stride + NV * lanes);
        assert!(self.a.values.len() > a_start + (MR - 1) * row_stride + (n_k - 1) * col_stride);
        let mut sums = [[simd.splat_f32s(0.0); NV]; MR];
        // SAFETY: `b` is read at offset + k * stride + v * lanes .. + lanes with k < n_k and v < NV, and `a` at
        // a_start + r * row_stride + k * col_stride with r < MR and k < n_k: within their slices by the
        // assertions above; `wrapping_add` lets the pointers step past the end after the last row. `f32s` is
        // plain old data of `lanes` f32 values and is read unaligned.
        unsafe {
            let mut b_row = b.as_ptr().add(offset);
            let mut a_col = self.a.values.as_ptr().add(a_start);
            for _ in 0..n_k {
                let mut vectors = [simd.splat_f32s(0.0); NV];
                for v in 0..NV {
                    vectors[v] = b_row.add(v * lanes).cast::<S::f32s>().read_unaligned();
                }
                for r in 0..MR {
                    let value = simd.splat_f32s(*a_col.add(r * row_stride));
                    for v in 0..NV {
                        sums[r][v] = simd.mul_add_e_f32s(value, vectors[v], sums[r][v]);
                    }
                }
                b_row = b_row.wrapping_add(rows.stride);
                a_col = a_col.wrapping_add(col_stride);
            }
        }
        let start = first_row * self.c.row_stride + first_col;
        if n_cols == NV * lanes {
            let (c, stride) = (&mut *self.c.values, self.c.row_stride);
            assert!(c.len() >= start + (MR - 1) * stride + NV * lanes);
            for r in 0..MR {
                for v in 0..NV {
                    // SAFETY: start + r * stride + v * lanes .. + lanes with r < MR and v < NV is within `c` by the
                    // assertion above; `f32s` is plain old data and is read and written unaligned.
                    unsafe {
                        let place = c.as_mut_ptr().add(start + r * stride + v * lanes);
                        let place = place.cast::<S::f32s>();
                        let before = place.read_unaligned();
                        let sum = sums[r][v];
                        let sum = if accumulate { simd.add_f32s(before, sum) } else { sum };
                        place.write_unaligned(sum);
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
        for (r, sums) in self.block.chunks_exact(NV * lanes).enumerate() {
            let start = start + r * self.c.row_stride;
            let row = &mut self.c.values[start..start + n_cols];
            if accumulate {
                for (value, sum) in row.iter_mut().zip(sums) {
                    *value += sum;
                }
            } else {
                row.copy_from_slice(&sums[..n_cols]);
            }
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
    accumulate: bool,
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
            set.run(Product { a, b, c, accumulate, panel: &mut Vec::new(), block });
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
