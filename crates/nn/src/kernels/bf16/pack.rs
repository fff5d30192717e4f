//! Operands in pairs of rounded values that follow each other along the sums.

use pulp::{Simd, WithSimd};

use super::super::product::Operand;
use super::PANEL_COLS;
use super::round::pair;

/// Makes pairs of rounded values; all implementations give the same bits.
pub(super) trait Rounding: Copy {
    /// `to[i]` from `row[2 i]` and `row[2 i + 1]`; 0 stands for the value after the last of an odd number.
    fn pairs(self, row: &[f32], to: &mut [u32]);

    /// `to[i]` from `first[i]` and `second[i]`.
    fn interleave(self, first: &[f32], second: &[f32], to: &mut [u32]);
}

/// Plain code, which the compiler turns into the vectors of the instruction set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plain;

impl Rounding for Plain {
    #[inline(always)]
    fn pairs(self, row: &[f32], to: &mut [u32]) {
        let (pairs, rest) = row.as_chunks::<2>();
        for (to, [first, second]) in to.iter_mut().zip(pairs) {
            *to = pair(*first, *second);
        }
        if let ([last], Some(to)) = (rest, to.get_mut(pairs.len())) {
            *to = pair(*last, 0.0);
        }
    }

    #[inline(always)]
    fn interleave(self, first: &[f32], second: &[f32], to: &mut [u32]) {
        for ((to, first), second) in to.iter_mut().zip(first).zip(second) {
            *to = pair(*first, *second);
        }
    }
}

/// A left operand in pairs: value pair `p` of row `r` stands at `r * row_stride + p * pair_stride`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left<'a> {
    pub(super) pairs: &'a [u32],
    pub(super) rows: usize,
    pub(super) row_stride: usize,
    pub(super) pair_stride: usize,
}

/// Rounds a left operand.
pub(super) struct PackLeft<'a> {
    a: Operand<'a>,
    pairs: &'a mut Vec<u32>,
}

impl<'a> PackLeft<'a> {
    /// Into `pairs`, which grows where it must.
    pub(super) fn new(a: Operand<'a>, pairs: &'a mut Vec<u32>) -> Self {
        Self { a, pairs }
    }

    #[inline(always)]
    pub(super) fn run(self, rounding: impl Rounding) -> Left<'a> {
        let Self { a, pairs } = self;
        let n_pairs = a.cols.div_ceil(2);
        let (row_stride, pair_stride) = match a.col_stride {
            1 => (n_pairs, 1),
            // An odd number of cache lines: rows a power of two apart would share few places of the L1 cache.
            _ => (1, (a.rows.div_ceil(16) | 1) * 16),
        };
        let len = n_pairs * if a.col_stride == 1 { a.rows } else { pair_stride };
        pairs.resize(len, 0);
        if a.col_stride == 1 {
            for (row, to) in pairs.chunks_exact_mut(n_pairs.max(1)).enumerate() {
                rounding.pairs(&a.values[row * a.row_stride..][..a.cols], to);
            }
        } else {
            for (p, to) in pairs.chunks_exact_mut(pair_stride).enumerate() {
                interleave_rows(rounding, a.transposed(), 2 * p, 0, &mut to[..a.rows]);
            }
        }
        Left { pairs, rows: a.rows, row_stride, pair_stride }
    }
}

impl<'a> WithSimd for PackLeft<'a> {
    type Output = Left<'a>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Left<'a> {
        self.run(Plain)
    }
}

/// Rounds a right operand into [panels](super::Bf16Panels).
pub(super) struct PackRight<'a> {
    pub(super) b: Operand<'a>,
    pub(super) panels: &'a mut [u32],
}

impl PackRight<'_> {
    #[inline(always)]
    pub(super) fn run(self, rounding: impl Rounding) {
        let Self { b, mut panels } = self;
        let n_pairs = b.rows.div_ceil(2);
        let mut columns = Vec::new();
        for first in (0..b.cols).step_by(PANEL_COLS) {
            let n_cols = PANEL_COLS.min(b.cols - first);
            let stride = n_cols.next_multiple_of(16);
            let (panel, rest) = panels.split_at_mut(stride * n_pairs);
            panels = rest;
            if b.col_stride == 1 {
                for (p, to) in panel.chunks_exact_mut(stride).enumerate() {
                    let (to, past) = to.split_at_mut(n_cols);
                    interleave_rows(rounding, b, 2 * p, first, to);
                    past.fill(0);
                }
                continue;
            }
            // Columns are contiguous: sixteen are paired along themselves, then put side by side.
            columns.resize(16 * n_pairs, 0);
            for from in (0..n_cols).step_by(16) {
                for (col, to) in columns.chunks_exact_mut(n_pairs.max(1)).enumerate() {
                    if from + col < n_cols {
                        let start = (first + from + col) * b.col_stride;
                        rounding.pairs(&b.values[start..][..b.rows], to);
                    } else {
                        to.fill(0);
                    }
                }
                let columns: [&[u32]; 16] =
                    std::array::from_fn(|col| &columns[col * n_pairs..][..n_pairs]);
                for (p, to) in panel.chunks_exact_mut(stride).enumerate() {
                    let to: &mut [u32; 16] =
                        (&mut to[from..from + 16]).try_into().expect("16 long");
                    *to = columns.map(|column| column[p]);
                }
            }
        }
    }
}

impl WithSimd for PackRight<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.run(Plain);
    }
}

/// Pairs of rows `row` and `row + 1` of a matrix whose rows are contiguous, from column `first` on; zeros stand for a
/// row after the last.
#[inline(always)]
fn interleave_rows(
    rounding: impl Rounding,
    matrix: Operand<'_>,
    row: usize,
    first: usize,
    to: &mut [u32],
) {
    let values = |row: usize| &matrix.values[row * matrix.row_stride + first..][..to.len()];
    let of_first = values(row);
    if row + 1 < matrix.rows {
        let of_second = values(row + 1);
        rounding.interleave(of_first, of_second, to);
    } else {
        let zeros = [0.0; PANEL_COLS];
        for (from, to) in of_first.chunks(PANEL_COLS).zip(to.chunks_mut(PANEL_COLS)) {
            rounding.interleave(from, &zeros[..from.len()], to);
        }
    }
}
