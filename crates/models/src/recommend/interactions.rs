//! Who chose what: distinct items of each user and how often, as sparse rows.

use forecart_data::History;

use super::view::TrainingView;

/// Sparse rows with their columns ascending.
///
/// # Shapes
/// `offsets: [n_rows + 1]`, `cols` and `counts: [n_stored]`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Interactions {
    offsets: Vec<usize>,
    cols: Vec<u32>,
    counts: Vec<f32>,
}

/// The distinct known items of `history` below `n_item_rows`, ascending, with the number of their events.
pub(super) fn distinct_items(history: History<'_>, n_item_rows: usize) -> Vec<(u32, f32)> {
    let known = history.items.iter().filter(|item| item.is_known() && item.row() < n_item_rows);
    let mut items: Vec<u32> = known.map(|item| item.0).collect();
    items.sort_unstable();
    items.chunk_by(|a, b| a == b).map(|equal| (equal[0], equal.len() as f32)).collect()
}

impl Interactions {
    /// A row for each user of `view`, over the items; users without a known item have an empty one.
    pub(super) fn of(view: &TrainingView<'_>) -> Self {
        let mut rows = Self { offsets: vec![0], cols: Vec::new(), counts: Vec::new() };
        for user in view.users() {
            for (item, count) in distinct_items(view.history(user), view.n_item_rows()) {
                rows.cols.push(item);
                rows.counts.push(count);
            }
            rows.offsets.push(rows.cols.len());
        }
        rows
    }

    /// Memory of [`Self::of`] and of its transpose.
    pub(super) fn needed_bytes(view: &TrainingView<'_>) -> u64 {
        let n_rows = (view.users().count() + 2 * view.n_item_rows()) as u64;
        view.n_events() * 16 + n_rows * 8
    }

    /// Columns as rows, `n_cols` of them.
    pub(super) fn transposed(&self, n_cols: usize) -> Self {
        let mut offsets = vec![0; n_cols + 1];
        for col in &self.cols {
            offsets[*col as usize + 1] += 1;
        }
        for col in 0..n_cols {
            offsets[col + 1] += offsets[col];
        }
        let mut next = offsets.clone();
        let (mut cols, mut counts) = (vec![0; self.cols.len()], vec![0.0; self.cols.len()]);
        for row in 0..self.n_rows() {
            for place in self.offsets[row]..self.offsets[row + 1] {
                let slot = &mut next[self.cols[place] as usize];
                (cols[*slot], counts[*slot]) = (row as u32, self.counts[place]);
                *slot += 1;
            }
        }
        Self { offsets, cols, counts }
    }

    pub(super) fn n_rows(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Entries of all rows.
    pub(super) fn n_stored(&self) -> usize {
        self.cols.len()
    }

    /// Columns and counts of a row.
    pub(super) fn row(&self, row: usize) -> (&[u32], &[f32]) {
        let range = self.offsets[row]..self.offsets[row + 1];
        (&self.cols[range.clone()], &self.counts[range])
    }
}
