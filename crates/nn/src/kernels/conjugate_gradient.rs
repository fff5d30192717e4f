//! The conjugate gradient for least squares over some rows of a table, whole in one kernel.
//!
//! A problem is small (some tens of rows that fit a cache, some hundred unknowns), and there are many of them: rows are read where they
//! lie, eight at a time, and what is between two passes over them stays in vectors.

use pulp::{Simd, WithSimd};

use super::gather::{dot_each, rows_of};
use super::sums::dot_with;
use super::{dispatch, prefetch};

/// Rows of the next problem that are asked for meanwhile.
const N_AHEAD: usize = 32;
/// Of them, those asked for with each block of rows.
const AHEAD_A_BLOCK: usize = 3;

/// Runs a block of code for eight rows at a time, then for four and for one: `first` is the place of the first of them, `block` an
/// array. A macro, since a closure cannot be generic over the length.
macro_rules! for_blocks {
    ($rows:expr, |$first:ident, $block:ident| $body:block) => {{
        let (eights, rest) = $rows.as_chunks::<8>();
        for (index, $block) in eights.iter().enumerate() {
            let $first = 8 * index;
            $body
        }
        let after = 8 * eights.len();
        let (fours, ones) = rest.as_chunks::<4>();
        for $block in fours {
            let $first = after;
            $body
        }
        let after = after + 4 * fours.len();
        for (index, $block) in ones.as_chunks::<1>().0.iter().enumerate() {
            let $first = after + index;
            $body
        }
    }};
}

/// The minimum of `Σ_i c_i (1 - x_i · w)² + wᵀ D w`, or `(D + Xᵀ C X) w = Xᵀ C 1`, is approached from `w`.
pub(crate) struct ConjugateGradientRun<'a> {
    /// `[n_rows, d]`.
    pub(crate) table: &'a [f32],
    /// Of the table, the rows of `X`.
    pub(crate) rows: &'a [u32],
    /// `C`, one a row.
    pub(crate) weights: &'a [f32],
    /// `D⁻¹` and `D`, `[d]` each.
    pub(crate) inverse: &'a [f32],
    pub(crate) diagonal: &'a [f32],
    pub(crate) n_steps: u32,
    /// `[d]`.
    pub(crate) w: &'a mut [f32],
    /// `1 - X w`, one a row: written.
    pub(crate) errors: &'a mut [f32],
    /// `X direction`, one a row.
    pub(crate) products: &'a mut [f32],
    /// `[d]` each.
    pub(crate) residual: &'a mut [f32],
    pub(crate) direction: &'a mut [f32],
    pub(crate) image: &'a mut [f32],
    /// Rows that the next call will read.
    pub(crate) ahead: &'a [u32],
}

impl ConjugateGradientRun<'_> {
    /// # Panics
    /// If a row is not of the table, or a slice is not as long as its doc says.
    pub(crate) fn run(self) {
        let (n, d) = (self.rows.len(), self.w.len());
        let of_rows = [self.weights.len(), self.errors.len(), self.products.len()];
        assert!(of_rows.iter().all(|len| *len == n), "one value a row");
        let of_columns = [&*self.residual, &*self.direction, &*self.image, self.inverse];
        assert!(of_columns.iter().all(|slice| slice.len() == d), "one value a column");
        assert_eq!(self.diagonal.len(), d, "one value a column");
        if d > 0 {
            dispatch(self);
        }
    }
}

impl WithSimd for ConjugateGradientRun<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { table, rows, weights, inverse, diagonal, n_steps, w, errors, .. } = self;
        let Self { products, residual, direction, image, mut ahead, .. } = self;
        let d = w.len();
        ahead = &ahead[..ahead.len().min(N_AHEAD)];
        let mut ask = |n: usize| {
            let (now, later) = ahead.split_at(ahead.len().min(n));
            ahead = later;
            now.iter().for_each(|row| prefetch(&table[*row as usize * d..][..d]));
        };
        // Rows that were not asked for before, or are so many that they do not stay in the cache from pass to pass.
        let ask_next = |first: usize| {
            if first + 8 >= N_AHEAD {
                let next = rows.iter().skip(first + 8).take(8);
                next.for_each(|row| prefetch(&table[*row as usize * d..][..d]));
            }
        };
        // The right side in `residual`, its part of `w` in `image`.
        residual.fill(0.0);
        scale(diagonal, w, image);
        for_blocks!(rows, |first, block| {
            ask_next(first);
            let x = rows_of(table, d, block);
            let mut factors = dot_each(simd, w, &x);
            for (r, factor) in factors.iter_mut().enumerate() {
                errors[first + r] = 1.0 - *factor;
                *factor *= weights[first + r];
            }
            add_rows(simd, &x, &factors, image);
            factors.copy_from_slice(&weights[first..first + x.len()]);
            add_rows(simd, &x, &factors, residual);
        });
        // What rounding leaves of a solved system: a step from there would be of noise.
        let nothing = square(simd, residual, inverse, direction) * f32::EPSILON * f32::EPSILON;
        for (value, image) in residual.iter_mut().zip(&*image) {
            *value -= image;
        }
        // `direction = D⁻¹ residual` from here on.
        let mut size = square(simd, residual, inverse, direction);
        for step in 1..=n_steps {
            if size <= nothing.max(f32::MIN_POSITIVE) {
                break;
            }
            scale(diagonal, direction, image);
            for_blocks!(rows, |first, block| {
                ask(AHEAD_A_BLOCK);
                ask_next(first);
                let x = rows_of(table, d, block);
                let mut factors = dot_each(simd, direction, &x);
                for (r, factor) in factors.iter_mut().enumerate() {
                    products[first + r] = *factor;
                    *factor *= weights[first + r];
                }
                add_rows(simd, &x, &factors, image);
            });
            let length = size / dot_with(simd, direction, image);
            for (value, by) in w.iter_mut().zip(&*direction) {
                *value += length * by;
            }
            for (error, by) in errors.iter_mut().zip(&*products) {
                *error -= length * by;
            }
            if step == n_steps {
                break;
            }
            for (value, by) in residual.iter_mut().zip(&*image) {
                *value -= length * by;
            }
            let next = square(simd, residual, inverse, image);
            let keep = next / size;
            size = next;
            for (value, scaled) in direction.iter_mut().zip(&*image) {
                *value = scaled + keep * *value;
            }
        }
        ask(N_AHEAD);
    }
}

/// `to = x y`, value by value. Plain code: the compiler turns it into the vectors of the instruction set.
#[inline(always)]
fn scale(x: &[f32], y: &[f32], to: &mut [f32]) {
    for (to, (x, y)) in to.iter_mut().zip(x.iter().zip(y)) {
        *to = x * y;
    }
}

/// Writes `D⁻¹ x` to `scaled`; returns its product with `x`.
#[inline(always)]
fn square<S: Simd>(simd: S, x: &[f32], inverse: &[f32], scaled: &mut [f32]) -> f32 {
    scale(x, inverse, scaled);
    dot_with(simd, x, scaled)
}

/// `sums += Σ factor x` over some rows.
#[inline(always)]
#[expect(unsafe_code, reason = "a bounds check for each load would cost as much as its product")]
fn add_rows<S: Simd, const N: usize>(
    simd: S,
    x: &[&[f32]; N],
    factors: &[f32; N],
    sums: &mut [f32],
) {
    let d = sums.len();
    assert!(x.iter().all(|row| row.len() == d), "one value for each sum");
    let mut splats = [simd.splat_f32s(0.0); N];
    for r in 0..N {
        splats[r] = simd.splat_f32s(factors[r]);
    }
    let (vectors, rest) = S::as_mut_simd_f32s(sums);
    for (at, sum) in vectors.iter_mut().enumerate() {
        let mut in_register = *sum;
        for r in 0..N {
            // SAFETY: `vectors` are the whole vectors of a slice of `d` values, and each row has `d` values by the assertion
            // above, so that vector `at` lies within it; `f32s` is plain old data and is read unaligned.
            let values =
                unsafe { x[r].as_ptr().add(at * S::F32_LANES).cast::<S::f32s>().read_unaligned() };
            in_register = simd.mul_add_e_f32s(splats[r], values, in_register);
        }
        *sum = in_register;
    }
    if !rest.is_empty() {
        let mut sum = simd.partial_load_f32s(rest);
        for r in 0..N {
            let values = simd.partial_load_f32s(&x[r][d - rest.len()..]);
            sum = simd.mul_add_e_f32s(splats[r], values, sum);
        }
        simd.partial_store_f32s(rest, sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InstructionSet;

    /// The textbook's steps in f64, on the dense matrix; returns `w` and `1 - X w`.
    fn in_f64(x: &[Vec<f64>], c: &[f64], d: &[f64], n_steps: u32, w: &[f64]) -> [Vec<f64>; 2] {
        let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
        let apply = |v: &[f64]| -> Vec<f64> {
            let mut image: Vec<f64> = d.iter().zip(v).map(|(d, v)| d * v).collect();
            for (row, c) in x.iter().zip(c) {
                let product = c * dot(row, v);
                image.iter_mut().zip(row).for_each(|(sum, x)| *sum += product * x);
            }
            image
        };
        let mut w = w.to_vec();
        let mut residual: Vec<f64> = apply(&w).iter().map(|value| -value).collect();
        for (row, c) in x.iter().zip(c) {
            residual.iter_mut().zip(row).for_each(|(sum, x)| *sum += c * x);
        }
        let scaled =
            |residual: &[f64]| -> Vec<f64> { residual.iter().zip(d).map(|(r, d)| r / d).collect() };
        let mut direction = scaled(&residual);
        for _ in 0..n_steps {
            let size = dot(&residual, &scaled(&residual));
            let image = apply(&direction);
            let length = size / dot(&direction, &image);
            w.iter_mut().zip(&direction).for_each(|(w, by)| *w += length * by);
            residual.iter_mut().zip(&image).for_each(|(r, by)| *r -= length * by);
            let next = scaled(&residual);
            let keep = dot(&residual, &next) / size;
            direction.iter_mut().zip(next).for_each(|(value, next)| *value = next + keep * *value);
        }
        let errors = x.iter().map(|row| 1.0 - dot(row, &w)).collect();
        [w, errors]
    }

    #[test]
    fn every_instruction_set_takes_the_steps_of_the_textbook() {
        // Squares modulo a prime: rows that no few others make up, so that no step is one of rounding errors.
        let value = |at: usize| ((at + 1).pow(2) % 997) as f32 / 498.5 - 1.0;
        for (n, d) in [(1, 1), (3, 5), (4, 16), (8, 17), (13, 64), (23, 33), (40, 130)] {
            let table: Vec<f32> = (0..50 * d).map(value).collect();
            let rows: Vec<u32> = (0..n).map(|at| (at * 7 % 50) as u32).collect();
            let weights: Vec<f32> = (0..n).map(|at| 0.5 + (at % 3) as f32).collect();
            let diagonal: Vec<f32> = (0..d).map(|at| 2.0 + value(at)).collect();
            let inverse: Vec<f32> = diagonal.iter().map(|value| 1.0 / value).collect();
            let start: Vec<f32> = (0..d).map(|at| 0.1 * value(3 * at)).collect();
            let wide = |values: &[f32]| values.iter().copied().map(f64::from).collect::<Vec<f64>>();
            let x: Vec<Vec<f64>> =
                rows.iter().map(|row| wide(&table[*row as usize * d..][..d])).collect();
            for n_steps in [0, 1, 3] {
                // A problem of one unknown is solved by one step.
                let n_steps = if d == 1 { n_steps.min(1) } else { n_steps };
                let [want, want_errors] =
                    in_f64(&x, &wide(&weights), &wide(&diagonal), n_steps, &wide(&start));
                for set in InstructionSet::available() {
                    let mut w = start.clone();
                    let [mut errors, mut products] = [(); 2].map(|()| vec![f32::NAN; n]);
                    let [mut residual, mut direction, mut image] = [(); 3].map(|()| vec![0.0; d]);
                    set.run(ConjugateGradientRun {
                        table: &table,
                        rows: &rows,
                        weights: &weights,
                        inverse: &inverse,
                        diagonal: &diagonal,
                        n_steps,
                        w: &mut w,
                        errors: &mut errors,
                        products: &mut products,
                        residual: &mut residual,
                        direction: &mut direction,
                        image: &mut image,
                        ahead: &rows,
                    });
                    let pairs = w.iter().zip(&want).chain(errors.iter().zip(&want_errors));
                    for (got, want) in pairs {
                        // f32 sums of some tens of terms, three times one after the other.
                        let off = (f64::from(*got) - want).abs();
                        assert!(off < 1e-4, "{set:?} {n} {d} {n_steps}: {got} {want}");
                    }
                }
            }
        }
    }
}
