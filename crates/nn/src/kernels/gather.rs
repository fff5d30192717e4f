//! Products with rows of a table that lie anywhere, and sums into such rows.

use pulp::{Simd, WithSimd};

use super::{dispatch, prefetch};

/// The dot product of `vector: [d]` with each of some rows of `table: [n, d]`.
///
/// # Panics
/// If there are other than as many products as items, or a row is not of the table.
pub(crate) fn dot_gathered(vector: &[f32], table: &[f32], items: &[u32], products: &mut [f32]) {
    assert_eq!(items.len(), products.len(), "one product for each item");
    if vector.is_empty() {
        return products.fill(0.0);
    }
    dispatch(Dots { vector, table, items, products });
}

/// `sums += Σ factor * row` over some rows of `table: [n, d]`, in their order; `sums: [d]`.
///
/// # Panics
/// If there are other than as many factors as items, or a row is not of the table.
pub(crate) fn sum_gathered(sums: &mut [f32], factors: &[f32], table: &[f32], items: &[u32]) {
    assert_eq!(items.len(), factors.len(), "one factor for each item");
    if !sums.is_empty() {
        dispatch(Sums { sums, factors, table, items });
    }
}

struct Dots<'a> {
    vector: &'a [f32],
    table: &'a [f32],
    items: &'a [u32],
    products: &'a mut [f32],
}

impl WithSimd for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { vector, table, items, products } = self;
        let (blocks, rest) = items.as_chunks::<8>();
        let (to_blocks, to_rest) = products.as_chunks_mut::<8>();
        for (items, products) in blocks.iter().zip(to_blocks) {
            *products = dot_each(simd, vector, &rows_of(table, vector.len(), items));
        }
        for (item, product) in rest.iter().zip(to_rest) {
            [*product] = dot_each(simd, vector, &rows_of(table, vector.len(), &[*item]));
        }
    }
}

/// The rows of some items.
#[inline(always)]
pub(super) fn rows_of<'a, const N: usize>(
    table: &'a [f32],
    d: usize,
    items: &[u32; N],
) -> [&'a [f32]; N] {
    let mut rows = [&table[..0]; N];
    for (row, item) in rows.iter_mut().zip(items) {
        *row = &table[*item as usize * d..][..d];
    }
    rows
}

/// The product of a vector with each of several rows of its length, in a register of its own, so that none waits for another.
///
/// Loops in place of `map`: its closure would not be compiled for the instruction set.
#[inline(always)]
#[expect(unsafe_code, reason = "a bounds check for each load would cost as much as its product")]
#[expect(clippy::needless_range_loop, reason = "registers of a block read best by number")]
pub(super) fn dot_each<S: Simd, const N: usize>(
    simd: S,
    vector: &[f32],
    rows: &[&[f32]; N],
) -> [f32; N] {
    let d = vector.len();
    assert!(rows.iter().all(|row| row.len() == d), "rows are as long as the vector");
    let (vectors, rest) = S::as_simd_f32s(vector);
    let mut sums = [simd.splat_f32s(0.0); N];
    for at in 0..vectors.len() {
        for r in 0..N {
            // SAFETY: `vectors` are the whole vectors of a slice of `d` values and each row has `d` values by the assertion
            // above, so that vector `at` lies within it; `f32s` is plain old data and is read unaligned.
            let values = unsafe {
                rows[r].as_ptr().add(at * S::F32_LANES).cast::<S::f32s>().read_unaligned()
            };
            sums[r] = simd.mul_add_e_f32s(values, vectors[at], sums[r]);
        }
    }
    if !rest.is_empty() {
        let of_vector = simd.partial_load_f32s(rest);
        for r in 0..N {
            let values = simd.partial_load_f32s(&rows[r][d - rest.len()..]);
            sums[r] = simd.mul_add_e_f32s(values, of_vector, sums[r]);
        }
    }
    let mut products = [0.0; N];
    for r in 0..N {
        products[r] = simd.reduce_sum_f32s(sums[r]);
    }
    products
}

struct Sums<'a> {
    sums: &'a mut [f32],
    factors: &'a [f32],
    table: &'a [f32],
    items: &'a [u32],
}

impl WithSimd for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { sums, factors, table, items } = self;
        let d = sums.len();
        let terms = Terms { d, factors, table, items };
        let (vectors, rest) = S::as_mut_simd_f32s(sums);
        let (blocks, single) = vectors.as_chunks_mut::<4>();
        let n_blocks = blocks.len();
        for (at, block) in blocks.iter_mut().enumerate() {
            terms.add_to(simd, 4 * at, block);
        }
        for (at, vector) in single.iter_mut().enumerate() {
            terms.add_to(simd, 4 * n_blocks + at, std::array::from_mut(vector));
        }
        if !rest.is_empty() {
            let mut sum = simd.partial_load_f32s(rest);
            for (factor, item) in factors.iter().zip(items) {
                let row = &table[*item as usize * d..][..d];
                let value = simd.partial_load_f32s(&row[d - rest.len()..]);
                sum = simd.mul_add_e_f32s(simd.splat_f32s(*factor), value, sum);
            }
            simd.partial_store_f32s(rest, sum);
        }
    }
}

#[derive(Clone, Copy)]
struct Terms<'a> {
    d: usize,
    factors: &'a [f32],
    table: &'a [f32],
    items: &'a [u32],
}

impl Terms<'_> {
    /// Sums `NV` vectors of columns from vector `first` on, in registers.
    #[inline(always)]
    fn add_to<S: Simd, const NV: usize>(self, simd: S, first: usize, sums: &mut [S::f32s; NV]) {
        let Self { d, factors, table, items } = self;
        let mut in_registers = *sums;
        for (factor, item) in factors.iter().zip(items) {
            let row = &table[*item as usize * d..][..d];
            let values = &S::as_simd_f32s(row).0[first..first + NV];
            let factor = simd.splat_f32s(*factor);
            for (sum, value) in in_registers.iter_mut().zip(values) {
                *sum = simd.mul_add_e_f32s(factor, *value, *sum);
            }
        }
        *sums = in_registers;
    }
}

/// `factor` times a row of the sources, for the sum of a row of a table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Term {
    pub(crate) row: u32,
    pub(crate) source: u32,
    pub(crate) factor: f32,
}

/// Terms whose sources, which lie anywhere, are asked for before they are added.
const TERMS_AHEAD: usize = 8;

/// Adds each term to the sum of its row, in turn. `slots` are the places of rows from `first_row` on in
/// `sums: [n_slots, n_cols]`; the sources are the rows of the first matrix and then those of the second.
///
/// # Panics
/// If a row has no slot within the sums, or a source is in neither matrix.
pub(crate) fn add_terms(
    sums: &mut [f32],
    n_cols: usize,
    (first_row, slots): (u32, &[u32]),
    terms: &[Term],
    sources: [&[f32]; 2],
) {
    struct Op<'a> {
        sums: &'a mut [f32],
        n_cols: usize,
        first_row: u32,
        slots: &'a [u32],
        terms: &'a [Term],
        sources: [&'a [f32]; 2],
    }
    impl WithSimd for Op<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Self { sums, n_cols, first_row, slots, terms, sources: [low, high] } = self;
            let source_of = |term: &Term| {
                let start = term.source as usize * n_cols;
                match start.checked_sub(low.len()) {
                    None => &low[start..][..n_cols],
                    Some(start) => &high[start..][..n_cols],
                }
            };
            terms.iter().take(TERMS_AHEAD).for_each(|term| prefetch(source_of(term)));
            for (at, term) in terms.iter().enumerate() {
                if let Some(later) = terms.get(at + TERMS_AHEAD) {
                    prefetch(source_of(later));
                }
                let Term { row, factor, .. } = term;
                let slot = slots[(row - first_row) as usize] as usize;
                let source = source_of(term);
                let sum = &mut sums[slot * n_cols..][..n_cols];
                if let ([sum], [value]) = (&mut *sum, source) {
                    *sum = factor.mul_add(*value, *sum);
                    continue;
                }
                let (sums, sum_rest) = S::as_mut_simd_f32s(sum);
                let (values, value_rest) = S::as_simd_f32s(source);
                let splat = simd.splat_f32s(*factor);
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum = simd.mul_add_e_f32s(splat, *value, *sum);
                }
                if !sum_rest.is_empty() {
                    let before = simd.partial_load_f32s(sum_rest);
                    let value = simd.partial_load_f32s(value_rest);
                    simd.partial_store_f32s(sum_rest, simd.mul_add_e_f32s(splat, value, before));
                }
            }
        }
    }
    if n_cols > 0 {
        dispatch(Op { sums, n_cols, first_row, slots, terms, sources });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InstructionSet;

    /// Small integers, whose sums do not round.
    fn table(n: usize, d: usize) -> Vec<f32> {
        (0..n * d).map(|at| (at * at % 11) as f32 - 5.0).collect()
    }

    #[test]
    fn products_and_sums_of_rows_of_every_width() {
        let items: Vec<u32> = (0..29).map(|at| at * at % 13).collect();
        let factors: Vec<f32> = (0..29).map(|at| at as f32 - 9.0).collect();
        for d in [1, 2, 7, 16, 17, 33, 64, 67, 130] {
            let (table, vector) = (table(13, d), table(1, d));
            let row = |item: &u32| &table[*item as usize * d..][..d];
            let dot = |item| row(item).iter().zip(&vector).map(|(x, y)| x * y).sum::<f32>();
            let want: Vec<f32> = items.iter().map(dot).collect();
            let mut want_sums = vec![1.0; d];
            for (factor, item) in factors.iter().zip(&items) {
                want_sums.iter_mut().zip(row(item)).for_each(|(sum, value)| *sum += factor * value);
            }
            for set in InstructionSet::available() {
                let mut products = vec![f32::NAN; items.len()];
                let (vector, table, items) = (&vector[..], &table[..], &items[..]);
                set.run(Dots { vector, table, items, products: &mut products });
                assert_eq!(products, want, "{set:?} {d}");
                let mut sums = vec![1.0; d];
                set.run(Sums { sums: &mut sums, factors: &factors, table, items });
                assert_eq!(sums, want_sums, "{set:?} {d}");
            }
        }
        dot_gathered(&[], &[], &items, &mut [1.0; 29]);
        sum_gathered(&mut [], &factors, &[], &items);
    }

    #[test]
    #[should_panic(expected = "out of range")]
    fn rows_past_the_table_are_refused() {
        dot_gathered(&[1.0, 2.0], &[0.0; 8], &[0, 4], &mut [0.0; 2]);
    }
}
