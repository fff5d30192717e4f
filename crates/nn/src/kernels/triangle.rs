//! The small triangles at the bottom of a Cholesky factorization: 16 rows at a time, in registers.

use pulp::{Simd, WithSimd};

use super::dispatch;

/// Rows of the largest triangle.
pub(crate) const TRIANGLE: usize = 16;

type Block = [[f32; TRIANGLE]; TRIANGLE];

/// The first `n` rows and columns of `values`, whose rows are `stride` apart, on and above the diagonal; the unit matrix
/// past them.
fn load(values: &[f32], stride: usize, n: usize) -> Block {
    let mut block: Block = [[0.0; TRIANGLE]; TRIANGLE];
    for (row, to) in block.iter_mut().enumerate() {
        to[row] = 1.0;
        if row < n {
            to[row..n].copy_from_slice(&values[row * stride + row..row * stride + n]);
        }
    }
    block
}

/// `to -= factor row`. Written out: left to itself, the compiler takes columns of the block together and gathers them.
#[inline(always)]
fn subtract<S: Simd>(simd: S, factor: f32, row: &[f32; TRIANGLE], to: &mut [f32; TRIANGLE]) {
    let factor = simd.splat_f32s(-factor);
    let (row, _) = S::as_simd_f32s(row);
    let (to, _) = S::as_mut_simd_f32s(to);
    for (value, of_row) in to.iter_mut().zip(row) {
        *value = simd.mul_add_e_f32s(factor, *of_row, *value);
    }
}

/// Overwrites `A`, of which the upper triangle is read, with `U` of `A = Uᵀ U`; what stands below the diagonal stays.
///
/// # Errors
/// The first row whose pivot is not positive.
///
/// # Panics
/// If `n` is more than [`TRIANGLE`] or the values do not hold it.
pub(crate) fn factor_triangle(a: &mut [f32], stride: usize, n: usize) -> Result<(), usize> {
    struct Op<'a>(&'a mut Block, usize);
    impl WithSimd for Op<'_> {
        type Output = Result<(), usize>;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Result<(), usize> {
            let Self(block, n) = self;
            for pivot in 0..n {
                let square = block[pivot][pivot];
                if !(square > 0.0 && square.is_finite()) {
                    return Err(pivot);
                }
                let inverse = 1.0 / square.sqrt();
                let mut row = block[pivot];
                row.iter_mut().for_each(|value| *value *= inverse);
                block[pivot] = row;
                for below in pivot + 1..TRIANGLE {
                    subtract(simd, row[below], &row, &mut block[below]);
                }
            }
            Ok(())
        }
    }
    assert!(n <= TRIANGLE, "a triangle fits a block");
    let mut block = load(a, stride, n);
    dispatch(Op(&mut block, n))?;
    for (row, from) in block[..n].iter().enumerate() {
        a[row * stride + row..row * stride + n].copy_from_slice(&from[row..n]);
    }
    Ok(())
}

/// `B ← U⁻ᵀ B` for the upper triangle `u` of `n` rows and the `n` rows of `b`, `n_cols` values each.
///
/// # Panics
/// As [`factor_triangle`].
pub(crate) fn solve_triangle(
    (u, u_stride): (&[f32], usize),
    n: usize,
    b: &mut [f32],
    stride: usize,
    n_cols: usize,
) {
    struct Op<'a> {
        u: &'a Block,
        n: usize,
        b: &'a mut [f32],
        stride: usize,
        n_cols: usize,
    }
    impl WithSimd for Op<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Self { u, n, b, stride, n_cols } = self;
            let inverses: [f32; TRIANGLE] = std::array::from_fn(|row| 1.0 / u[row][row]);
            for first in (0..n_cols).step_by(TRIANGLE) {
                let width = TRIANGLE.min(n_cols - first);
                let mut block: Block = [[0.0; TRIANGLE]; TRIANGLE];
                for (row, to) in block[..n].iter_mut().enumerate() {
                    let from = &b[row * stride + first..][..width];
                    match from.as_array::<TRIANGLE>() {
                        Some(from) => *to = *from,
                        None => to[..width].copy_from_slice(from),
                    }
                }
                for pivot in 0..TRIANGLE {
                    let mut row = block[pivot];
                    row.iter_mut().for_each(|value| *value *= inverses[pivot]);
                    block[pivot] = row;
                    for below in pivot + 1..TRIANGLE {
                        subtract(simd, u[pivot][below], &row, &mut block[below]);
                    }
                }
                for (row, from) in block[..n].iter().enumerate() {
                    b[row * stride + first..][..width].copy_from_slice(&from[..width]);
                }
            }
        }
    }
    assert!(n <= TRIANGLE, "a triangle fits a block");
    let block = load(u, u_stride, n);
    dispatch(Op { u: &block, n, b, stride, n_cols });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_triangle_by_hand() {
        // [[4, 2], [2, 10]] = Uᵀ U with U = [[2, 1], [0, 3]]; -1 stands where nothing is read.
        let mut a = [4.0, 2.0, 9.0, -1.0, 10.0, 9.0];
        factor_triangle(&mut a, 3, 2).unwrap();
        assert_eq!(a, [2.0, 1.0, 9.0, -1.0, 3.0, 9.0]);
        // Uᵀ x = (2, 7): x = (1, 2).
        let mut b = [2.0, 7.0];
        solve_triangle((&a, 3), 2, &mut b, 1, 1);
        assert_eq!(b, [1.0, 2.0]);
    }

    #[test]
    fn a_pivot_that_is_not_positive_is_named() {
        let mut a = [1.0, 2.0, 0.0, 4.0];
        assert_eq!(factor_triangle(&mut a, 2, 2), Err(1));
        assert_eq!(factor_triangle(&mut [f32::NAN], 1, 1), Err(0));
        assert_eq!(factor_triangle(&mut [f32::INFINITY], 1, 1), Err(0));
    }
}
