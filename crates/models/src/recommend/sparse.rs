//! Sparse rows over the items, built row by row on all threads.

use std::num::NonZeroUsize;

use forecart_data::ItemIdx;
use rayon::prelude::*;

use super::top_k::Scored;
use super::view::TrainingView;
use crate::error::ModelError;
use crate::tensors::{TensorData, Tensors};

/// A square sparse matrix over the items: row `i` holds the items that `i` speaks for.
///
/// # Shapes
/// `offsets: [n_item_rows + 1]`, `cols` and `values: [n_stored]`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ItemMatrix {
    offsets: Vec<u64>,
    cols: Vec<u32>,
    values: Vec<f32>,
}

impl ItemMatrix {
    /// Builds each row by `row(item, scratch, output)`, which appends `(column, value)`.
    ///
    /// Rows are built in parallel, `new_scratch` once for each piece of work, and put together in
    /// order: the result does not depend on the number of threads as long as a row does not depend
    /// on what another left in the scratch.
    pub(super) fn build<S: Send>(
        n_item_rows: usize,
        new_scratch: impl Fn() -> S + Sync,
        row: impl Fn(ItemIdx, &mut S, &mut Vec<(u32, f32)>) + Sync,
        done: impl Fn(u64) + Sync,
    ) -> Self {
        const PIECE: usize = 64;
        let starts: Vec<usize> = (0..n_item_rows).step_by(PIECE).collect();
        let pieces: Vec<Piece> = starts
            .into_par_iter()
            .map_init(&new_scratch, |scratch, start| {
                let mut piece = Piece::default();
                let mut output = Vec::new();
                let rows = start..(start + PIECE).min(n_item_rows);
                for item in rows.clone() {
                    output.clear();
                    row(ItemIdx(item as u32), scratch, &mut output);
                    piece.lens.push(output.len() as u64);
                    piece.cols.extend(output.iter().map(|(col, _)| *col));
                    piece.values.extend(output.iter().map(|(_, value)| *value));
                }
                // What it grew by too much would be held until all are done.
                piece.cols.shrink_to_fit();
                piece.values.shrink_to_fit();
                done(rows.len() as u64);
                piece
            })
            .collect();
        let n_stored = pieces.iter().map(|piece| piece.cols.len()).sum();
        let mut matrix = Self {
            offsets: Vec::with_capacity(n_item_rows + 1),
            cols: Vec::with_capacity(n_stored),
            values: Vec::with_capacity(n_stored),
        };
        matrix.offsets.push(0);
        let mut end = 0;
        for piece in pieces {
            for len in piece.lens {
                end += len;
                matrix.offsets.push(end);
            }
            matrix.cols.extend(piece.cols);
            matrix.values.extend(piece.values);
        }
        matrix
    }

    /// The entries of row `item`: columns and values; empty past the table.
    pub(super) fn row(&self, item: ItemIdx) -> (&[u32], &[f32]) {
        match self.offsets.get(item.row()..item.row() + 2) {
            Some(&[start, end]) => {
                let range = start as usize..end as usize;
                (&self.cols[range.clone()], &self.values[range])
            }
            _ => (&[], &[]),
        }
    }

    /// Whether row `item` has no entry.
    pub(super) fn is_row_empty(&self, item: ItemIdx) -> bool {
        self.row(item).0.is_empty()
    }

    /// The value at `(item, col)`, 0 where nothing is stored. Linear in the row's length.
    pub(super) fn get(&self, item: ItemIdx, col: ItemIdx) -> f32 {
        let (cols, values) = self.row(item);
        cols.iter().position(|stored| *stored == col.0).map_or(0.0, |position| values[position])
    }

    /// Adds `factor` times row `item` to `sums`.
    pub(super) fn add_row(&self, item: ItemIdx, factor: f32, sums: &mut [f32]) {
        let (cols, values) = self.row(item);
        for (&col, &value) in cols.iter().zip(values) {
            sums[col as usize] += factor * value;
        }
    }

    /// The `k` largest entries of row `item`, largest first, equal ones in the order of items.
    pub(super) fn largest(&self, item: ItemIdx, k: NonZeroUsize) -> Vec<Scored> {
        let (cols, values) = self.row(item);
        let entries = cols.iter().zip(values).filter(|(col, _)| **col != item.0);
        let mut list: Vec<Scored> =
            entries.map(|(col, value)| Scored { item: ItemIdx(*col), score: *value }).collect();
        list.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.item.cmp(&b.item)));
        list.truncate(k.get());
        list
    }

    /// Rows as columns.
    pub(super) fn transposed(&self) -> Self {
        let n_item_rows = self.offsets.len() - 1;
        let mut offsets = vec![0_u64; n_item_rows + 1];
        for col in &self.cols {
            offsets[*col as usize + 1] += 1;
        }
        for row in 0..n_item_rows {
            offsets[row + 1] += offsets[row];
        }
        let mut next = offsets.clone();
        let (mut cols, mut values) = (vec![0; self.cols.len()], vec![0.0; self.values.len()]);
        for (row, col, value) in self.iter() {
            let slot = &mut next[col];
            (cols[*slot as usize], values[*slot as usize]) = (row as u32, value);
            *slot += 1;
        }
        Self { offsets, cols, values }
    }

    /// Calls `change(row, column, value)` for every entry.
    pub(super) fn map_values(&mut self, change: impl Fn(usize, usize, f32) -> f32) {
        for row in 0..self.offsets.len() - 1 {
            let range = self.offsets[row] as usize..self.offsets[row + 1] as usize;
            for (col, value) in self.cols[range.clone()].iter().zip(&mut self.values[range]) {
                *value = change(row, *col as usize, *value);
            }
        }
    }

    /// Entries as `(row, column, value)`, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, usize, f32)> {
        (0..self.offsets.len() - 1).flat_map(move |row| {
            let (cols, values) = self.row(ItemIdx(row as u32));
            cols.iter().zip(values).map(move |(col, value)| (row, *col as usize, *value))
        })
    }

    pub(super) fn save(&self, tensors: &mut Tensors) {
        tensors.insert("offsets", TensorData::U64(self.offsets.clone()));
        tensors.insert("items", TensorData::U32(self.cols.clone()));
        tensors.insert("values", TensorData::F32(self.values.clone()));
    }

    /// Reads what [`Self::save`] gave and checks all that later reads rely on.
    pub(super) fn load(tensors: &mut Tensors, n_item_rows: usize) -> Result<Self, ModelError> {
        let offsets = tensors.take_u64("offsets", Some(n_item_rows + 1))?;
        let cols = tensors.take_u32("items", None)?;
        let values = tensors.take_f32("values", Some(cols.len()))?;
        let spans = offsets[0] == 0 && offsets[n_item_rows] == cols.len() as u64;
        if !spans || !offsets.is_sorted() {
            return Err(ModelError::damaged("offsets do not span the entries"));
        }
        if cols.iter().any(|col| *col as usize >= n_item_rows) {
            return Err(ModelError::damaged("an entry is past the items"));
        }
        Ok(Self { offsets, cols, values })
    }
}

#[derive(Debug, Default)]
struct Piece {
    lens: Vec<u64>,
    cols: Vec<u32>,
    values: Vec<f32>,
}

/// Sums by column with the list of columns touched, so that a row costs what it touches.
#[derive(Debug)]
pub(super) struct Accumulator {
    sums: Vec<f64>,
    touched: Vec<u32>,
}

impl Accumulator {
    pub(super) fn new(n_item_rows: usize) -> Self {
        Self { sums: vec![0.0; n_item_rows], touched: Vec::new() }
    }

    /// Adds a positive value to a column.
    pub(super) fn add(&mut self, col: u32, value: f64) {
        let sum = &mut self.sums[col as usize];
        if *sum == 0.0 {
            self.touched.push(col);
        }
        *sum += value;
    }

    /// Calls `take(column, sum)` for each column touched, in the order of touching, and empties the
    /// accumulator.
    pub(super) fn drain(&mut self, mut take: impl FnMut(u32, f64)) {
        for col in self.touched.drain(..) {
            take(col, self.sums[col as usize]);
            self.sums[col as usize] = 0.0;
        }
    }
}

/// All sequences of a view end to end, and where each item occurs in them.
#[derive(Debug)]
pub(super) struct Occurrences {
    /// Start of each sequence in `items`; the last entry is the end.
    pub(super) offsets: Vec<usize>,
    /// The sequences.
    pub(super) items: Vec<ItemIdx>,
    /// Start of each item's places.
    place_offsets: Vec<usize>,
    /// Sequence and position in `items` of each occurrence, in the order of the log.
    places: Vec<(u32, usize)>,
}

impl Occurrences {
    /// Reads `view`; O(events) memory, see [`Self::needed_bytes`].
    pub(super) fn of(view: &TrainingView<'_>) -> Self {
        let mut offsets = vec![0];
        let mut items = Vec::with_capacity(view.n_events() as usize);
        for user in view.users() {
            items.extend_from_slice(view.history(user).items);
            offsets.push(items.len());
        }
        let mut place_offsets = vec![0; view.n_item_rows() + 1];
        for item in &items {
            place_offsets[item.row() + 1] += 1;
        }
        for row in 0..view.n_item_rows() {
            place_offsets[row + 1] += place_offsets[row];
        }
        let mut next = place_offsets.clone();
        let mut places = vec![(0, 0); items.len()];
        for sequence in 0..offsets.len() - 1 {
            for position in offsets[sequence]..offsets[sequence + 1] {
                let slot = &mut next[items[position].row()];
                places[*slot] = (sequence as u32, position);
                *slot += 1;
            }
        }
        Self { offsets, items, place_offsets, places }
    }

    /// Memory of [`Self::of`].
    pub(super) fn needed_bytes(view: &TrainingView<'_>) -> u64 {
        let (n_users, n_items) = (view.users().count() as u64, view.n_item_rows() as u64);
        view.n_events() * (4 + 16) + n_users * 8 + n_items * 16
    }

    /// The occurrences of `item`: `(sequence, position in items)`.
    pub(super) fn places(&self, item: ItemIdx) -> &[(u32, usize)] {
        &self.places[self.place_offsets[item.row()]..self.place_offsets[item.row() + 1]]
    }

    /// The bounds of a sequence in `items`.
    pub(super) fn bounds(&self, sequence: u32) -> std::ops::Range<usize> {
        self.offsets[sequence as usize]..self.offsets[sequence as usize + 1]
    }
}
