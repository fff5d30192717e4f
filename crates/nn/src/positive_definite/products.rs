//! Products of large matrices over all threads.

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use crate::error::check_shape;
use crate::kernels::{Operand, Part, Plus, Product, Target, scale_by, transpose};
use crate::{Matrix, NnError};

/// Rows of the result that one thread works on at a time.
const STRIP_ROWS: usize = 128;
/// The same where the result has few rows, so that all threads have some.
const NARROW_STRIP_ROWS: usize = 64;
/// Columns of the result that are computed together: those of a block of the matrix kernel.
pub(super) const TILE_COLS: usize = 64;
/// Terms of the sums that are taken at a time: a strip of so many, turned around, stays in the L2 cache.
const DEPTH: usize = 512;
/// Multiplications from which on they are worth a second thread, which has to be woken.
pub(super) const PARALLEL_WORK: usize = 1 << 23;
/// Added to the length of the strip's rows: those a power of two apart would share few places of the L1 cache.
const PADDING: usize = 16;

/// A part of a row-major matrix: from its first value on, with rows so many values apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) values: &'a [f32],
    pub(super) stride: usize,
}

impl<'a> View<'a> {
    /// From a row and a column on.
    pub(super) fn at(self, row: usize, col: usize) -> Self {
        Self { values: &self.values[row * self.stride + col..], stride: self.stride }
    }
}

/// `target += sign aᵀ b` of a large matrix, block by block.
///
/// Operands are copied into the order in which the kernel reads them: rows of a large matrix lie pages apart.
pub(super) struct Sum<'a, K> {
    /// The factor of all products.
    pub(super) sign: f32,
    /// `[depth, n_rows]`.
    pub(super) a: View<'a>,
    /// `[depth, n_cols]`.
    pub(super) b: View<'a>,
    pub(super) depth: usize,
    pub(super) n_rows: usize,
    pub(super) n_cols: usize,
    /// Which rows of `a` and `b` are summed into a block of rows and columns of the result; none where the block is not
    /// wanted.
    pub(super) terms: K,
}

thread_local! {
    static STRIP: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    pub(super) static PANELS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl<K: Fn(Range<usize>, Range<usize>) -> Range<usize> + Sync> Sum<'_, K> {
    /// Adds to `target`, whose rows are `stride` values apart. The order of the sums of a value does not depend on the number
    /// of threads.
    ///
    /// `go_on` is told the multiplications done, and says whether more are wanted.
    pub(super) fn add_to(&self, target: &mut [f32], stride: usize, go_on: &GoOn<'_>) {
        if self.n_rows == 0 || self.n_cols == 0 {
            return;
        }
        // The last row may end with its last column.
        let target = &mut target[..(self.n_rows - 1) * stride + self.n_cols];
        let is_narrow = self.n_rows < 4 * STRIP_ROWS;
        let strip_rows = if is_narrow { NARROW_STRIP_ROWS } else { STRIP_ROWS };
        // Taken out, since this thread may come by here again while it waits for others.
        let mut panels = PANELS.take();
        let panels_len = self.n_cols.next_multiple_of(TILE_COLS) * DEPTH.min(self.depth);
        if panels.len() < panels_len {
            panels.resize(panels_len, 0.0);
        }
        for first in (0..self.depth).step_by(DEPTH) {
            let terms = first..(first + DEPTH).min(self.depth);
            let is_parallel = terms.len() * self.n_rows * self.n_cols >= PARALLEL_WORK;
            let panels = &mut panels[..self.n_cols.next_multiple_of(TILE_COLS) * terms.len()];
            let b = self.b.at(first, 0);
            to_panels(b, self.n_cols, panels, terms.len(), is_parallel);
            let strip = |(strip, target): (usize, &mut [f32])| {
                let first = strip * strip_rows;
                let rows = first..(first + strip_rows).min(self.n_rows);
                self.strip(rows, terms.clone(), panels, (target, stride), go_on);
            };
            match is_parallel {
                true => target.par_chunks_mut(strip_rows * stride).enumerate().for_each(strip),
                false => target.chunks_mut(strip_rows * stride).enumerate().for_each(strip),
            }
        }
        PANELS.set(panels);
    }

    /// Adds `terms` to some rows.
    fn strip(
        &self,
        rows: Range<usize>,
        terms: Range<usize>,
        panels: &[f32],
        (target, stride): (&mut [f32], usize),
        go_on: &GoOn<'_>,
    ) {
        STRIP.with_borrow_mut(|copy| {
            let copy_stride = terms.len() + PADDING;
            if copy.len() < rows.len() * copy_stride {
                copy.resize(rows.len() * copy_stride, 0.0);
            }
            let mut is_packed = false;
            for (tile, panel) in panels.chunks_exact(terms.len() * TILE_COLS).enumerate() {
                let cols = tile * TILE_COLS..((tile + 1) * TILE_COLS).min(self.n_cols);
                let wanted = (self.terms)(rows.clone(), cols.clone());
                let wanted = wanted.start.max(terms.start)..wanted.end.min(terms.end);
                let n_done = rows.len() * cols.len() * wanted.len();
                if n_done == 0 || !go_on(n_done as u64) {
                    continue;
                }
                if !is_packed {
                    let copy = &mut copy[..rows.len() * copy_stride];
                    let from = self.a.at(terms.start, rows.start);
                    let values = &from.values[..(terms.len() - 1) * from.stride + rows.len()];
                    transpose(values, from.stride, rows.len(), copy, copy_stride);
                    if self.sign != 1.0 {
                        scale_by(self.sign, copy);
                    }
                    is_packed = true;
                }
                let first = wanted.start - terms.start;
                let a = Operand::strided(&copy[first..], rows.len(), wanted.len(), copy_stride);
                let b = &panel[first * TILE_COLS..];
                let b = Operand::strided(b, wanted.len(), cols.len(), TILE_COLS);
                let product = Product { plus: Plus::Target, ..Product::new(a, b) };
                product.write(Target::strided(&mut target[cols.start..], stride));
            }
        });
    }
}

/// Copies `n_rows` rows of a matrix, tile by tile of columns: `[n_tiles, n_rows, TILE_COLS]`. What is past the last column of the
/// last tile is not specified.
pub(super) fn to_panels(
    from: View<'_>,
    n_cols: usize,
    panels: &mut [f32],
    n_rows: usize,
    is_parallel: bool,
) {
    let panel_len = n_rows * TILE_COLS;
    let pack = |(tile, panel): (usize, &mut [f32])| {
        let cols = tile * TILE_COLS..((tile + 1) * TILE_COLS).min(n_cols);
        for (row, to) in panel.chunks_exact_mut(TILE_COLS).enumerate() {
            let from = &from.values[row * from.stride..][cols.clone()];
            match from.as_array::<TILE_COLS>() {
                Some(from) => to.copy_from_slice(from),
                None => to[..from.len()].copy_from_slice(from),
            }
        }
    };
    match is_parallel {
        true => panels.par_chunks_exact_mut(panel_len).enumerate().for_each(pack),
        false => panels.chunks_exact_mut(panel_len).enumerate().for_each(pack),
    }
}

/// Told how many multiplications were done since; says whether to go on.
pub(super) type GoOn<'a> = dyn Fn(u64) -> bool + Sync + 'a;

/// `xᵀ x` in f64, row-major and symmetric, on all threads.
///
/// # Shapes
/// `x: [n, k]`; returns `[k, k]`. Sums of 1,024 rows or of a 64th of them are in f32.
///
/// # Cost
/// A matrix of `k * k` values for each of those.
pub fn gram(x: &Matrix) -> Vec<f64> {
    let [n, k] = x.shape();
    let tile_rows = n.div_ceil(64).max(1024);
    let tiles: Vec<Vec<f32>> = (0..n.div_ceil(tile_rows))
        .into_par_iter()
        .map(|tile| {
            let rows = tile * tile_rows..((tile + 1) * tile_rows).min(n);
            let values = &x.as_slice()[rows.start * k..rows.end * k];
            let mut sums = vec![0.0; k * k];
            let rows = Operand::new(values, rows.len(), k);
            let product = Product::new(rows.transposed(), rows);
            let product = Product { part: Part::LowerResult(0), ..product };
            product.write(Target::strided(&mut sums, k));
            sums
        })
        .collect();
    let mut total = vec![0.0; k * k];
    total.par_chunks_mut(k.max(1)).enumerate().for_each(|(row, total)| {
        for tile in &tiles {
            let of_tile = &tile[row * k..][..row + 1];
            total.iter_mut().zip(of_tile).for_each(|(sum, value)| *sum += f64::from(*value));
        }
    });
    for row in 0..k {
        for col in row + 1..k {
            total[row * k + col] = total[col * k + row];
        }
    }
    total
}

/// Writes `a b` to `out` on all threads.
///
/// # Shapes
/// `a: [m, k]`, `b: [k, n]`, `out: [m, n]`, whose allocation is kept.
///
/// # Errors
/// [`NnError::Shape`] if the inner dimensions differ.
pub fn multiply(a: &Matrix, b: &Matrix, out: &mut Matrix) -> Result<(), NnError> {
    check_shape("right operand", [a.cols(), b.cols()], b.shape())?;
    let [k, n] = b.shape();
    out.reshape(a.rows(), n);
    if k == 0 || n == 0 {
        out.fill(0.0);
        return Ok(());
    }
    let b = Operand::new(b.as_slice(), k, n);
    let strips = out.as_mut_slice().par_chunks_mut(STRIP_ROWS * n);
    strips.zip(a.as_slice().par_chunks(STRIP_ROWS * k)).for_each(|(out, a)| {
        let a = Operand::new(a, a.len() / k, k);
        Product::new(a, b).write(Target::strided(out, n));
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn drawn(rows: usize, cols: usize) -> Matrix {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let values = (0..rows * cols).map(|_| rng.random::<f32>() - 0.5).collect();
        Matrix::from_vec(rows, cols, values).unwrap()
    }

    fn at(x: &Matrix, row: usize, col: usize) -> f64 {
        f64::from(x.row(row)[col])
    }

    #[test]
    fn a_gram_matrix_is_its_definition() {
        let x = drawn(2100, 5);
        let got = gram(&x);
        for (i, j) in (0..5).flat_map(|i| (0..5).map(move |j| (i, j))) {
            let want: f64 = (0..x.rows()).map(|row| at(&x, row, i) * at(&x, row, j)).sum();
            // 1,024 terms below 0.25 in f32.
            assert!((got[i * 5 + j] - want).abs() < 1e-3, "{i} {j}");
        }
        assert_eq!(gram(&Matrix::zeros(0, 2)), [0.0; 4]);
    }

    #[test]
    fn a_product_is_its_definition() {
        let (a, b) = (drawn(300, 7), drawn(7, 3));
        let mut got = Matrix::default();
        multiply(&a, &b, &mut got).unwrap();
        for (row, col) in (0..300).flat_map(|row| (0..3).map(move |col| (row, col))) {
            let want: f64 = (0..7).map(|k| at(&a, row, k) * at(&b, k, col)).sum();
            assert!((at(&got, row, col) - want).abs() < 1e-5);
        }
        assert!(multiply(&b, &b, &mut got).is_err());
        multiply(&Matrix::zeros(2, 0), &Matrix::zeros(0, 3), &mut got).unwrap();
        assert_eq!(got, Matrix::zeros(2, 3));
    }

    #[test]
    fn blocks_get_the_terms_that_they_ask_for() {
        let (a, b) = (drawn(600, 130), drawn(600, 70));
        let (a, b) =
            (View { values: a.as_slice(), stride: 130 }, View { values: b.as_slice(), stride: 70 });
        let mut target = vec![1.0; 129 * 80 + 70];
        let terms = |_: Range<usize>, cols: Range<usize>| cols.start..600;
        let sum = Sum { sign: -1.0, a, b, depth: 600, n_rows: 130, n_cols: 70, terms };
        sum.add_to(&mut target, 80, &|_| true);
        for (row, col) in (0..130).flat_map(|row| (0..70).map(move |col| (row, col))) {
            let terms = col / 64 * 64..600;
            let value = |view: View<'_>, term: usize, col: usize| {
                f64::from(view.values[term * view.stride + col])
            };
            let want: f64 = 1.0 - terms.map(|k| value(a, k, row) * value(b, k, col)).sum::<f64>();
            assert!((f64::from(target[row * 80 + col]) - want).abs() < 1e-4);
        }
        assert!(target[70..80].iter().all(|value| *value == 1.0));
        let mut stopped = vec![1.0; 129 * 80 + 70];
        sum.add_to(&mut stopped, 80, &|_| false);
        assert!(stopped.iter().all(|value| *value == 1.0));
    }
}
