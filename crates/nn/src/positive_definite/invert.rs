//! The inverse of one large matrix, on all threads.

use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::factor::{Triangle, factor, half, solve};
use super::products::{GoOn, Sum, View};
use super::system::not_positive;
use crate::error::check_shape;
use crate::kernels::{TRIANGLE, solve_triangle, transpose};
use crate::{Matrix, NnError};

/// The inverse of a positive definite matrix, of which the upper triangle is read; `None` if `go_on` said to stop.
///
/// `go_on` is told the multiplications that were done since it was last asked, `n³ / 2` and some in all, from any thread.
///
/// `A = Uᵀ U`, `W = U⁻ᵀ` and `A⁻¹ = Wᵀ W`, each by halves; f32 throughout, so that relative errors are about the condition number
/// times 1e-7. The result is the same to the bit on any number of threads.
///
/// # Errors
/// [`NnError::Shape`] if the matrix is not square, [`NnError::OutOfRange`] if it is not positive definite.
///
/// # Cost
/// `n³` operations, as LAPACK's `potrf` and `potri`; memory for two matrices, the one given included.
pub fn invert(
    mut matrix: Matrix,
    go_on: &(dyn Fn(u64) -> bool + Sync),
) -> Result<Option<Matrix>, NnError> {
    let n = matrix.rows();
    check_shape("matrix to invert", [n, n], matrix.shape())?;
    let is_stopped = AtomicBool::new(false);
    let go_on: &GoOn<'_> = &|n_done| {
        let goes_on = go_on(n_done);
        is_stopped.fetch_or(!goes_on, Ordering::Relaxed);
        goes_on
    };
    let factored = factor(matrix.as_mut_slice(), n, n, go_on);
    if is_stopped.load(Ordering::Relaxed) {
        return Ok(None); // blocks were left out: no wonder if it is not positive definite
    }
    factored.map_err(not_positive)?;
    let mut inverse = Matrix::zeros(n, n);
    invert_triangle(
        View { values: matrix.as_slice(), stride: n },
        n,
        inverse.as_mut_slice(),
        n,
        go_on,
    );
    matrix.fill(0.0);
    let w = View { values: inverse.as_slice(), stride: n };
    let terms = |rows: std::ops::Range<usize>, cols: std::ops::Range<usize>| {
        if cols.end <= rows.start { 0..0 } else { cols.start.max(rows.start)..n }
    };
    let sum = Sum { sign: 1.0, a: w, b: w, depth: n, n_rows: n, n_cols: n, terms };
    sum.add_to(matrix.as_mut_slice(), n, go_on);
    if is_stopped.load(Ordering::Relaxed) {
        return Ok(None);
    }
    mirror(matrix.as_slice(), inverse.as_mut_slice(), n);
    Ok(Some(inverse))
}

/// Writes the lower triangle `U⁻ᵀ` to `w`, which holds zeros.
fn invert_triangle(u: View<'_>, n: usize, w: &mut [f32], stride: usize, go_on: &GoOn<'_>) {
    if n <= TRIANGLE {
        for row in 0..n {
            w[row * stride + row] = 1.0;
        }
        return solve_triangle((u.values, u.stride), n, w, stride, n);
    }
    let first = half(n);
    let (top, bottom) = w.split_at_mut(first * stride);
    invert_triangle(u, first, top, stride, go_on);
    let below = u.at(first, first);
    invert_triangle(below, n - first, &mut bottom[first..], stride, go_on);
    let sum = Sum {
        sign: -1.0,
        a: u.at(0, first),
        b: View { values: top, stride },
        depth: first,
        n_rows: n - first,
        n_cols: first,
        terms: |_, cols: std::ops::Range<usize>| cols.start..first,
    };
    sum.add_to(bottom, stride, go_on);
    solve(Triangle::Of(below), n - first, bottom, stride, 0..first, go_on);
}

/// Copies the upper triangle of `from` to both triangles of `to`.
fn mirror(from: &[f32], to: &mut [f32], n: usize) {
    const SIDE: usize = 64;
    to.par_chunks_mut((SIDE * n).max(1)).enumerate().for_each(|(strip, to)| {
        let first_row = strip * SIDE;
        let n_rows = to.len() / n;
        for first_col in (0..first_row).step_by(SIDE) {
            let block = &from[first_col * n + first_row..];
            transpose(&block[..(SIDE - 1) * n + n_rows], n, n_rows, &mut to[first_col..], n);
        }
        for (row, to) in to.chunks_exact_mut(n).enumerate() {
            let row = first_row + row;
            to[row..].copy_from_slice(&from[row * n + row..(row + 1) * n]);
            for col in first_row..row {
                to[col] = from[col * n + row];
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn positive_definite(n: usize) -> Matrix {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let m = n / 3 + 1;
        let x: Vec<f32> = (0..m * n).map(|_| rng.random::<f32>() - 0.5).collect();
        let mut matrix = Matrix::zeros(n, n);
        for i in 0..n {
            for j in 0..n {
                matrix.row_mut(i)[j] = (0..m).map(|k| x[k * n + i] * x[k * n + j]).sum();
            }
            matrix.row_mut(i)[i] += 2.0;
        }
        matrix
    }

    #[test]
    fn a_matrix_times_its_inverse_is_the_unit_matrix() {
        for n in [0, 1, 5, 16, 17, 64, 150, 257, 600] {
            let matrix = positive_definite(n);
            let mut upper = matrix.clone();
            for row in 0..n {
                upper.row_mut(row)[..row].fill(f32::NAN); // never read
            }
            let inverse = invert(upper, &|_| true).unwrap().unwrap();
            for i in 0..n {
                for j in 0..n {
                    assert_eq!(inverse.row(i)[j], inverse.row(j)[i], "{n} {i} {j}");
                    if n > 300 && (i * 7 + j) % 11 > 0 {
                        continue;
                    }
                    let terms = (0..n).map(|k| f64::from(matrix.row(i)[k] * inverse.row(k)[j]));
                    let want = f64::from(u8::from(i == j));
                    assert!((terms.sum::<f64>() - want).abs() < 1e-4, "{n} {i} {j}");
                }
            }
        }
    }

    #[test]
    fn the_same_bytes_on_any_number_of_threads() {
        let run = |n_threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            pool.install(|| invert(positive_definite(700), &|_| true).unwrap().unwrap())
        };
        let one = run(1);
        assert!(run(2) == one && run(3) == one);
    }

    #[test]
    fn it_stops_when_told_and_refuses_what_it_cannot_invert() {
        assert_eq!(invert(positive_definite(300), &|_| false).unwrap(), None);
        let n_done = AtomicU64::new(0);
        invert(positive_definite(600), &|n| {
            n_done.fetch_add(n, Ordering::Relaxed);
            true
        })
        .unwrap();
        let share = n_done.into_inner() as f64 / (600_f64.powi(3) / 2.0);
        assert!((0.9..1.6).contains(&share), "{share}");
        let mut matrix = positive_definite(100);
        matrix.row_mut(70)[70] = -1.0;
        assert!(matches!(invert(matrix, &|_| true), Err(NnError::OutOfRange { value: 70.0, .. })));
        assert!(matches!(invert(Matrix::zeros(2, 3), &|_| true), Err(NnError::Shape { .. })));
    }
}
