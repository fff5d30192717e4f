//! Matrix products of operands rounded to bfloat16, summed in f32.
//!
//! Start at [`Product::write_in`]. `round` says what rounding is, `pack` brings operands into pairs of rounded values,
//! `avx512` multiplies them with the instructions of AVX512-BF16. Other machines compute the same products of the same
//! rounded values with the f32 kernel.

#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(not(target_arch = "x86_64"))]
#[path = "absent.rs"]
mod avx512;
mod pack;
mod round;

use std::cell::RefCell;

use pulp::{Simd, WithSimd};

use super::dispatch;
use super::product::{Operand, Product, Target};
use crate::Precision;
use avx512::Avx512Bf16;
use pack::{PackLeft, PackRight};
use round::{round, unpair};

/// Columns of a panel: 4 vectors of 16 sums.
const PANEL_COLS: usize = 64;

/// A right operand `[k, n]`, rounded once for any number of products.
///
/// In panels of 64 columns, the last one of as many as fill whole vectors; a panel is `[k / 2, columns]` pairs of values
/// that follow each other in a column, zeros past the last row and column.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bf16Panels {
    rows: usize,
    cols: usize,
    pairs: Vec<u32>,
}

/// Rounds values as the operands of products are.
pub(crate) fn round_to_bf16(values: &mut [f32]) {
    values.iter_mut().for_each(|value| *value = round(*value));
}

impl Bf16Panels {
    /// Becomes a rounded copy of `b`; keeps its allocation.
    pub(crate) fn fill(&mut self, b: Operand<'_>) {
        (self.rows, self.cols) = (b.rows, b.cols);
        self.pairs.resize(b.rows.div_ceil(2) * b.cols.next_multiple_of(16), 0);
        let panels = self.pairs.as_mut_slice();
        match Avx512Bf16::active() {
            Some(native) => native.pack_right(PackRight { b, panels }),
            None => dispatch(PackRight { b, panels }),
        }
    }

    /// Number of pairs in a column.
    fn n_pairs(&self) -> usize {
        self.rows.div_ceil(2)
    }

    /// First column, number of columns, and pairs with their stride of each panel.
    fn panels(&self) -> impl Iterator<Item = (usize, usize, &[u32], usize)> {
        (0..self.cols).step_by(PANEL_COLS).map(|first| {
            let n_cols = PANEL_COLS.min(self.cols - first);
            let stride = n_cols.next_multiple_of(16);
            let pairs = &self.pairs[first * self.n_pairs()..][..stride * self.n_pairs()];
            (first, n_cols, pairs, stride)
        })
    }

    /// The rounded values, row-major `[rows, cols]`.
    fn unpack(&self, values: &mut Vec<f32>) {
        values.resize(self.rows * self.cols, 0.0);
        for (first, n_cols, pairs, stride) in self.panels() {
            for (i, pairs) in pairs.chunks_exact(stride).enumerate() {
                for (row, half) in [2 * i, 2 * i + 1].into_iter().zip(0..) {
                    if row < self.rows {
                        let to = &mut values[row * self.cols + first..][..n_cols];
                        to.iter_mut().zip(pairs).for_each(|(to, pair)| *to = unpair(*pair)[half]);
                    }
                }
            }
        }
    }
}

impl Product<'_> {
    /// Writes the product and what is added to it, in `precision`; in bf16 `b` is rounded for this one product.
    ///
    /// In bf16 the values of `a` and `b` are rounded and their products, exact in f32, are summed in f32; what is added to them is
    /// not rounded. AVX512-BF16 adds products in pairs of neighboring `k` and takes sums and products below the smallest normal f32
    /// for 0; elsewhere they are added one by one. The results differ by that order of the sums, as those of two
    /// instruction sets do in f32.
    ///
    /// # Panics
    /// As [`Self::write`].
    pub(crate) fn write_in(self, precision: Precision, c: Target<'_>) {
        match precision {
            Precision::F32 => self.write(c),
            Precision::Bf16 => RIGHT.with_borrow_mut(|panels| {
                panels.fill(self.b);
                self.write_with(Some(panels), c);
            }),
        }
    }

    /// The same in bf16 if there is a copy of `b` that was rounded before, else in f32.
    ///
    /// # Panics
    /// As [`Self::write`], or if the copy has another shape than `b`.
    pub(crate) fn write_with(self, rounded: Option<&Bf16Panels>, c: Target<'_>) {
        match rounded {
            Some(panels) => run(Avx512Bf16::active(), self, panels, c),
            None => self.write(c),
        }
    }
}

/// Whether this processor computes products of bfloat16 by instructions of its own; without them they take as long as
/// those of f32, or longer.
pub(crate) fn has_bf16_arithmetic() -> bool {
    Avx512Bf16::active().is_some()
}

thread_local! {
    static RIGHT: RefCell<Bf16Panels> = RefCell::default();
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// A rounded operand on its way into the kernel.
#[derive(Default)]
struct Scratch {
    /// Of `a`, in pairs along `k`.
    left: Vec<u32>,
    /// Of `a` and `b` where there is no arithmetic in bfloat16.
    values: [Vec<f32>; 2],
}

fn run(native: Option<Avx512Bf16>, product: Product<'_>, panels: &Bf16Panels, c: Target<'_>) {
    assert_eq!([panels.rows, panels.cols], [product.b.rows, product.b.cols], "a copy of `b`");
    if product.is_empty(&c) {
        return;
    }
    SCRATCH.with_borrow_mut(|Scratch { left, values }| match native {
        Some(native) => {
            let left = native.pack_left(PackLeft::new(product.a, left));
            native.multiply(product, left, panels, c);
        }
        None => {
            let [left, right] = values;
            panels.unpack(right);
            let b = Operand::new(right, panels.rows, panels.cols);
            Product { a: rounded(product.a, left), b, ..product }.write(c);
        }
    });
}

/// A copy of `a` with its values rounded, laid out as `a` is.
fn rounded<'a>(a: Operand<'_>, values: &'a mut Vec<f32>) -> Operand<'a> {
    struct Round<'a>(&'a [f32], &'a mut [f32]);
    impl WithSimd for Round<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) {
            // Plain code: the compiler turns it into the vectors of the instruction set.
            self.1.iter_mut().zip(self.0).for_each(|(to, from)| *to = round::round(*from));
        }
    }
    let (is_transposed, rows) = match a.col_stride {
        1 => (false, a),
        _ => (true, a.transposed()),
    };
    let Operand { rows, cols, row_stride, values: from, .. } = rows;
    values.resize(rows * cols, 0.0);
    for (row, to) in values.chunks_exact_mut(cols.max(1)).enumerate() {
        dispatch(Round(&from[row * row_stride..][..cols], to));
    }
    let values = Operand::new(values, rows, cols);
    if is_transposed { values.transposed() } else { values }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::product::{Part, Plus};
    use super::round::round;
    use super::*;

    /// The scalar twin: operands rounded one by one, products added in f32 in order.
    fn matmul_by_definition(a: Operand<'_>, b: Operand<'_>, c: &mut [f32], accumulate: bool) {
        for i in 0..a.rows {
            for j in 0..b.cols {
                let sum = (0..a.cols).fold(0.0, |sum: f32, p| {
                    let left = a.values[i * a.row_stride + p * a.col_stride];
                    let right = b.values[p * b.row_stride + j * b.col_stride];
                    sum + round(left) * round(right)
                });
                let before = if accumulate { c[i * b.cols + j] } else { 0.0 };
                c[i * b.cols + j] = before + sum;
            }
        }
    }

    /// With the instructions of this machine and without them.
    fn paths() -> impl Iterator<Item = Option<Avx512Bf16>> {
        let native = Avx512Bf16::try_new();
        std::iter::once(None).chain(native.map(Some))
    }

    #[test]
    fn every_path_computes_the_definition_for_all_shapes_and_layouts() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for m in [0, 1, 5, 6, 13, 16, 17] {
            for k in [0, 1, 2, 3, 16, 33, 64, 65] {
                for n in [0, 1, 7, 16, 17, 48, 63, 64, 65, 130] {
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
                        let mut panels = Bf16Panels::default();
                        panels.fill(b);
                        let plus = if accumulate { Plus::Target } else { Plus::Nothing };
                        for path in paths() {
                            let mut got = start.clone();
                            let product = Product { plus, ..Product::new(a, b) };
                            run(path, product, &panels, Target::strided(&mut got, n));
                            for (got, want) in got.iter().zip(&want) {
                                // At most 66 terms below 0.25 each: f32 rounding stays below 66 ulp(16).
                                assert!((got - want).abs() < 2e-5, "{path:?} {m} {k} {n} {layout}");
                            }
                        }
                    }
                }
            }
        }
    }

    /// Small integers are exact in bfloat16 and so are their sums, in any order: no path may differ.
    #[test]
    fn long_sums_and_many_rows_are_exact_where_numbers_are() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        for (m, k, n) in [(7, 2 * 4096 + 3, 70), (200, 300, 192), (131, 17, 513)] {
            let mut draw = |len: usize| -> Vec<f32> {
                (0..len).map(|_| rng.random_range(-8..=8) as f32).collect()
            };
            let (left, right) = (draw(m * k), draw(k * n));
            let a = Operand::new(&left, k, m).transposed();
            let b = Operand::new(&right, k, n);
            let mut want = vec![0.0; m * n];
            matmul_by_definition(a, b, &mut want, false);
            let mut panels = Bf16Panels::default();
            panels.fill(b);
            for path in paths() {
                let mut got = vec![f32::NAN; m * n];
                run(path, Product::new(a, b), &panels, Target::strided(&mut got, n));
                assert_eq!(got, want, "{path:?} {m} {k} {n}");
            }
        }
    }

    #[test]
    fn blocks_of_columns_are_read_and_written_in_place() {
        let wide: Vec<f32> = (0..12).map(|value| value as f32).collect(); // [3, 4]
        let a = Operand::strided(&wide[1..], 3, 2, 4); // columns 1 and 2
        let b = Operand::strided(&wide[2..], 2, 2, 4); // rows 0 and 1 of columns 2 and 3
        let mut panels = Bf16Panels::default();
        panels.fill(b);
        for path in paths() {
            let mut c = vec![-1.0; 9]; // [3, 3]
            run(path, Product::new(a, b), &panels, Target::strided(&mut c[1..], 3));
            assert_eq!(c, [-1.0, 14.0, 17.0, -1.0, 46.0, 57.0, -1.0, 78.0, 97.0]);
        }
    }

    /// Small integers, for which nothing is rounded: equal to the product in f32.
    #[test]
    fn parts_biases_and_addends_are_those_of_the_product_in_f32() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        for (m, k, n) in [(7, 7, 7), (96, 131, 64), (37, 300, 150), (5, 0, 20), (200, 200, 200)] {
            let mut draw = |len: usize| -> Vec<f32> {
                (0..len).map(|_| rng.random_range(-8..=8) as f32).collect()
            };
            let (left, right, bias, rest) = (draw(m * k), draw(k * n), draw(n), draw(m * (n + 3)));
            for part in [Part::All, Part::LowerLeft(5), Part::UpperLeft, Part::LowerResult(5)] {
                let mut left = left.clone();
                for (i, row) in left.chunks_exact_mut(k.max(1)).enumerate() {
                    match part {
                        Part::LowerLeft(reach) => row[k.min(i + reach + 1)..].fill(0.0),
                        Part::UpperLeft => row[..k.min(i)].fill(0.0),
                        Part::All | Part::LowerResult(_) => {}
                    }
                }
                let (a, b) = (Operand::new(&left, m, k), Operand::new(&right, k, n));
                let mut panels = Bf16Panels::default();
                panels.fill(b);
                for plus in [Plus::Nothing, Plus::Target, Plus::Matrix(&rest, n + 3)] {
                    for bias in [None, Some(bias.as_slice())] {
                        let product = Product { part, plus, bias, ..Product::new(a, b) };
                        let mut want = vec![1.0; m * n];
                        product.write(Target::strided(&mut want, n));
                        for path in paths() {
                            let mut got = vec![1.0; m * n];
                            run(path, product, &panels, Target::strided(&mut got, n));
                            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                                let is_needed = match part {
                                    Part::LowerResult(reach) => i % n <= i / n + reach,
                                    _ => true,
                                };
                                assert!(got == want || !is_needed, "{path:?} {product:?} {i}");
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn every_path_rounds_and_packs_to_the_same_bits() {
        let Some(native) = Avx512Bf16::try_new() else { return };
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for (rows, cols, stride) in
            [(1, 1, 1), (2, 33, 40), (7, 64, 64), (16, 17, 19), (33, 130, 131)]
        {
            let any = |rng: &mut ChaCha8Rng| f32::from_bits(rng.random::<u32>());
            let values: Vec<f32> = (0..rows * stride).map(|_| any(&mut rng)).collect();
            let matrix = Operand::strided(&values, rows, cols, stride);
            for operand in [matrix, matrix.transposed()] {
                let [mut plain, mut by_instructions] = [(); 2].map(|()| Vec::new());
                let want = dispatch(PackLeft::new(operand, &mut plain));
                let got = native.pack_left(PackLeft::new(operand, &mut by_instructions));
                assert_eq!(got, want);

                let n = operand.rows.div_ceil(2) * operand.cols.next_multiple_of(16);
                let [mut plain, mut by_instructions] = [(); 2].map(|()| vec![7; n]);
                dispatch(PackRight { b: operand, panels: &mut plain });
                native.pack_right(PackRight { b: operand, panels: &mut by_instructions });
                assert_eq!(by_instructions, plain);
            }
        }
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        for path in paths() {
            for (value, want) in [(f32::NAN, f32::NAN), (f32::INFINITY, f32::INFINITY)] {
                let (left, right) = ([value, 1.0], [1.0, 1.0]);
                let mut panels = Bf16Panels::default();
                let (a, b) = (Operand::new(&left, 1, 2), Operand::new(&right, 2, 1));
                panels.fill(b);
                let mut got = [0.0];
                run(path, Product::new(a, b), &panels, Target::strided(&mut got, 1));
                assert!(
                    got[0].is_nan() == want.is_nan() && !got[0].is_finite(),
                    "{path:?} {got:?}"
                );
            }
        }
    }

    #[test]
    #[should_panic(expected = "inner dimensions agree")]
    fn shapes_that_do_not_fit_never_reach_the_kernel() {
        let values = [0.0; 6];
        let (a, b) = (Operand::new(&values, 2, 3), Operand::new(&values, 2, 3));
        Product::new(a, b).write_in(Precision::Bf16, Target::strided(&mut [0.0; 6], 3));
    }
}
