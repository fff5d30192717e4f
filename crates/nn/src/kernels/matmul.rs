//! Matrix products by the `gemm` crate (AVX-512, AVX2 and FMA, NEON or portable code, chosen at run time).

/// A matrix to multiply with: a slice read as it lies or transposed.
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

/// `c = a b`, or `c += a b` if `accumulate`; `a: [m, k]`, `b: [k, n]`, `c: [m, n]` row-major.
///
/// One thread. The order of the sums depends on the shapes and the processor alone.
///
/// # Panics
/// If the shapes do not fit: a mistake inside this crate, since layers check what they are given.
#[expect(unsafe_code, reason = "gemm takes raw pointers and strides")]
pub(crate) fn matmul(a: Operand<'_>, b: Operand<'_>, c: &mut [f32], accumulate: bool) {
    let (m, k, n) = (a.rows, a.cols, b.cols);
    assert_eq!(b.rows, k, "inner dimensions agree");
    assert_eq!(c.len(), m * n, "the product has m * n values");
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if !accumulate {
            c.fill(0.0);
        }
        return;
    }
    // A slice never holds more than isize::MAX bytes, and a stride never exceeds the slice.
    let stride = |stride: usize| isize::try_from(stride).expect("a stride is within a slice");
    // SAFETY: `Operand::new` is the only constructor and `transposed` only swaps the two axes, so with
    // rows, cols > 0 the largest offset read is (rows - 1) * row_stride + (cols - 1) * col_stride =
    // rows * cols - 1, inside `values`. `c` holds m * n values, is written at i * n + j with i < m and
    // j < n, and is borrowed mutably, so it overlaps neither operand. `f32` is one of gemm's types.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            stride(n),
            accumulate,
            a.values.as_ptr(),
            stride(a.col_stride),
            stride(a.row_stride),
            b.values.as_ptr(),
            stride(b.col_stride),
            stride(b.row_stride),
            1.0_f32,
            1.0_f32,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// The scalar twin: the definition, summed in f64.
    fn matmul_scalar(a: Operand<'_>, b: Operand<'_>, c: &mut [f32], accumulate: bool) {
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

    #[test]
    fn equals_the_scalar_twin_for_all_shapes_and_layouts() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let sizes = [0, 1, 2, 3, 7, 16, 17, 33, 65];
        for m in sizes {
            for k in sizes {
                for n in sizes {
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
                        let (mut got, mut want) = (start.clone(), start.clone());
                        matmul(a, b, &mut got, accumulate);
                        matmul_scalar(a, b, &mut want, accumulate);
                        for (got, want) in got.iter().zip(&want) {
                            // At most 66 terms below 0.25 each: f32 rounding stays below 66 ulp(16).
                            assert!((got - want).abs() < 2e-5, "{m} {k} {n} {layout}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "inner dimensions agree")]
    fn shapes_that_do_not_fit_never_reach_the_kernel() {
        let values = [0.0; 6];
        matmul(Operand::new(&values, 2, 3), Operand::new(&values, 2, 3), &mut [0.0; 6], false);
    }
}
