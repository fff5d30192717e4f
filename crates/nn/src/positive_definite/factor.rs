//! Cholesky factors and triangular systems, by halves.

use std::ops::Range;

use rayon::prelude::*;

use super::products::{GoOn, PANELS, PARALLEL_WORK, Sum, TILE_COLS, View, to_panels};
use crate::kernels::{TRIANGLE, factor_triangle, solve_triangle};

/// The rows of the first half: whole triangles, and of large problems whole vectors of blocks.
pub(super) fn half(n: usize) -> usize {
    let unit = if n > 16 * TRIANGLE { 4 * TRIANGLE } else { TRIANGLE };
    (n / 2).next_multiple_of(unit)
}

/// Overwrites the upper triangle of the `n` rows of `a` with `U` of `A = Uᵀ U`; what is below the diagonal of the blocks is
/// not read and not specified afterwards.
///
/// # Errors
/// The row of the first pivot that is not positive.
pub(super) fn factor(
    a: &mut [f32],
    stride: usize,
    n: usize,
    go_on: &GoOn<'_>,
) -> Result<(), usize> {
    if n <= TRIANGLE {
        return factor_triangle(a, stride, n);
    }
    let first = half(n);
    let rest = n - first;
    factor(a, stride, first, go_on)?;
    let (top, bottom) = a.split_at_mut(first * stride);
    solve(Triangle::Beside(0), first, top, stride, first..n, go_on);
    let right = View { values: &top[first..], stride };
    let terms = |rows: Range<usize>, cols: Range<usize>| {
        if cols.end <= rows.start { 0..0 } else { 0..first }
    };
    let sum =
        Sum { sign: -1.0, a: right, b: right, depth: first, n_rows: rest, n_cols: rest, terms };
    sum.add_to(&mut bottom[first..], stride, go_on);
    factor(&mut bottom[first..], stride, rest, go_on).map_err(|row| first + row)
}

/// Where an upper triangle stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Triangle<'a> {
    /// In the rows of what is solved, from this column on.
    Beside(usize),
    /// Elsewhere.
    Of(View<'a>),
}

impl Triangle<'_> {
    /// Copies the triangle of `n` rows; `b` is what is solved.
    fn copy(self, n: usize, b: &[f32], stride: usize, to: &mut [f32], to_stride: usize) {
        let from = match self {
            Self::Beside(col) => View { values: &b[col..], stride },
            Self::Of(view) => view,
        };
        for row in 0..n {
            let from = &from.values[row * from.stride..][row..n];
            to[row * to_stride..][row..n].copy_from_slice(from);
        }
    }
}

/// Rows of which the columns are solved on all threads: products of so few rows are too small to share.
const PANEL_ROWS: usize = 256;

/// [`solve`] with the columns in panels, each of which one thread solves in its cache.
fn solve_by_panels(
    u: Triangle<'_>,
    n: usize,
    b: &mut [f32],
    stride: usize,
    cols: Range<usize>,
    go_on: &GoOn<'_>,
) {
    let mut triangle = vec![0.0; PANEL_ROWS * PANEL_ROWS];
    u.copy(n, b, stride, &mut triangle, PANEL_ROWS);
    let triangle = Triangle::Of(View { values: &triangle, stride: PANEL_ROWS });
    let mut buffer = PANELS.take();
    let len = cols.len().next_multiple_of(TILE_COLS) * n;
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    let panels = &mut buffer[..len];
    to_panels(View { values: &b[cols.start..], stride }, cols.len(), panels, n, true);
    panels.par_chunks_exact_mut(n * TILE_COLS).enumerate().for_each(|(tile, panel)| {
        let width = TILE_COLS.min(cols.len() - tile * TILE_COLS);
        solve(triangle, n, panel, TILE_COLS, 0..width, go_on);
    });
    b[..(n - 1) * stride + cols.end].par_chunks_mut(stride).enumerate().for_each(|(row, b)| {
        let panels = panels.chunks_exact(n * TILE_COLS);
        for (to, panel) in b[cols.clone()].chunks_mut(TILE_COLS).zip(panels) {
            to.copy_from_slice(&panel[row * TILE_COLS..][..to.len()]);
        }
    });
    PANELS.set(buffer);
}

/// `B ← U⁻ᵀ B` for the `n` rows of `b` and their columns `cols`.
pub(super) fn solve(
    u: Triangle<'_>,
    n: usize,
    b: &mut [f32],
    stride: usize,
    cols: Range<usize>,
    go_on: &GoOn<'_>,
) {
    if n <= TRIANGLE {
        let mut copy = [0.0; TRIANGLE * TRIANGLE];
        u.copy(n, b, stride, &mut copy, TRIANGLE);
        return solve_triangle((&copy, TRIANGLE), n, &mut b[cols.start..], stride, cols.len());
    }
    if n <= PANEL_ROWS && n * n * cols.len() >= PARALLEL_WORK {
        return solve_by_panels(u, n, b, stride, cols, go_on);
    }
    let first = half(n);
    let (top, bottom) = b.split_at_mut(first * stride);
    solve(u, first, top, stride, cols.clone(), go_on);
    let (right, below) = match u {
        Triangle::Beside(col) => {
            (View { values: top, stride }.at(0, col + first), Triangle::Beside(col + first))
        }
        Triangle::Of(view) => (view.at(0, first), Triangle::Of(view.at(first, first))),
    };
    let solved = View { values: top, stride }.at(0, cols.start);
    let sum = Sum {
        sign: -1.0,
        a: right,
        b: solved,
        depth: first,
        n_rows: n - first,
        n_cols: cols.len(),
        terms: |_, _| 0..first,
    };
    sum.add_to(&mut bottom[cols.start..], stride, go_on);
    solve(below, n - first, bottom, stride, cols, go_on);
}
