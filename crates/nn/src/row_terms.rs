//! Terms that the gradients of a table's rows are summed from.

use rayon::prelude::*;

use crate::kernels::Term;

/// Rows of a table that one bucket holds at least: their sums stay in the L1 cache where a row has 64 values.
const MIN_BUCKET_BITS: u32 = 7;

/// At most this many buckets are made.
const MAX_BUCKETS: usize = 128;

/// Terms `factor * source` of the gradients of a table's rows, where sources are rows of a matrix: what a batch with many
/// more lookups than rows, or with few lookups in a large table, is summed from.
///
/// Tasks fill parts of it, each its own. Terms are kept in buckets of neighboring rows, so that the sums of a bucket stay in a cache
/// while its terms pass by in the order of their parts, whatever the number of threads;
/// [`RowGradients::sum_terms`](crate::RowGradients::sum_terms) does that.
///
/// ```
/// use forecart_nn::{RowGradients, RowTerms};
/// let sources = [1.0, 2.0, 10.0, 20.0]; // two rows
/// let mut terms = RowTerms::default();
/// for part in terms.clear(1_000_000, 2) {
///     part.push(7, 0, 0.5);
///     part.push(3, 1, 1.0);
/// }
/// terms.finish();
/// let mut gradients = RowGradients::new(1_000_000, 2);
/// gradients.sum_terms(&terms, [&sources, &[]]);
/// let rows: Vec<(usize, &[f32])> = gradients.rows().collect();
/// assert_eq!(rows, [(3, &[20.0, 40.0][..]), (7, &[1.0, 2.0][..])]);
/// ```
#[derive(Debug, Clone, Default)]
pub struct RowTerms {
    pub(crate) parts: Vec<RowTermsPart>,
    pub(crate) buckets: Vec<Bucket>,
    n_rows: usize,
}

/// The terms of one task.
#[derive(Debug, Clone, Default)]
pub struct RowTermsPart {
    pub(crate) buckets: Vec<Vec<Term>>,
    bucket_bits: u32,
}

/// The rows of a range and which of them have terms.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bucket {
    pub(crate) first_row: u32,
    /// Rows with terms, ascending.
    pub(crate) rows: Vec<u32>,
    /// Place in `rows` of each row of the range that has terms.
    pub(crate) slots: Vec<u32>,
}

impl RowTerms {
    /// Removes all terms; empty parts for tasks to fill, for a table of `n_rows`.
    ///
    /// # Panics
    /// If `n_rows` does not fit in a `u32`.
    pub fn clear(&mut self, n_rows: usize, n_parts: usize) -> &mut [RowTermsPart] {
        assert!(u32::try_from(n_rows).is_ok(), "a table has at most u32::MAX rows");
        let is_enough = |bits: &u32| n_rows >> bits < MAX_BUCKETS;
        let bucket_bits = (MIN_BUCKET_BITS..).find(is_enough).expect("a shift that leaves no row");
        let n_buckets = n_rows.div_ceil(1 << bucket_bits);
        self.n_rows = n_rows;
        self.buckets.resize_with(n_buckets, Bucket::default);
        for (index, bucket) in self.buckets.iter_mut().enumerate() {
            bucket.first_row = (index << bucket_bits) as u32;
            bucket.rows.clear();
        }
        self.parts.resize_with(n_parts, RowTermsPart::default);
        for part in &mut self.parts {
            part.bucket_bits = bucket_bits;
            part.buckets.resize_with(n_buckets, Vec::new);
            part.buckets.iter_mut().for_each(Vec::clear);
        }
        &mut self.parts
    }

    /// Finds the rows that have terms, on the threads of the current rayon pool.
    ///
    /// # Cost
    /// Linear in the terms and the table's rows.
    ///
    /// # Panics
    /// If the row of a term is not of the table: layers check their indices.
    pub fn finish(&mut self) {
        const NONE: u32 = u32::MAX;
        let Self { parts, buckets, n_rows } = self;
        let ends = buckets.iter().skip(1).map(|bucket| bucket.first_row);
        let ends: Vec<u32> = ends.chain([*n_rows as u32]).collect();
        buckets.par_iter_mut().zip(ends).enumerate().for_each(|(index, (bucket, end))| {
            let Bucket { first_row, rows, slots } = bucket;
            slots.clear();
            slots.resize((end - *first_row) as usize, NONE);
            for term in parts.iter().flat_map(|part| &part.buckets[index]) {
                slots[(term.row - *first_row) as usize] = 0;
            }
            // Every row is written, and kept where it has terms: a branch here would be taken at random.
            rows.clear();
            rows.resize(slots.len(), 0);
            let mut n_touched = 0;
            for (row, slot) in (*first_row..).zip(slots.iter_mut()) {
                rows[n_touched] = row;
                let is_touched = *slot != NONE;
                *slot = if is_touched { n_touched as u32 } else { NONE };
                n_touched += usize::from(is_touched);
            }
            rows.truncate(n_touched);
        });
    }

    /// Number of terms.
    pub fn n_terms(&self) -> usize {
        self.parts.iter().flat_map(|part| &part.buckets).map(Vec::len).sum()
    }

    /// Number of distinct rows, once finished.
    pub fn n_touched(&self) -> usize {
        self.buckets.iter().map(|bucket| bucket.rows.len()).sum()
    }

    pub(crate) fn n_rows(&self) -> usize {
        self.n_rows
    }
}

impl RowTermsPart {
    /// Adds the term `factor * source` to the gradient of `row`.
    ///
    /// # Panics
    /// If `row` is not of the table, here or when the terms are finished.
    #[inline]
    pub fn push(&mut self, row: u32, source: u32, factor: f32) {
        self.buckets[(row >> self.bucket_bits) as usize].push(Term { row, source, factor });
    }
}
