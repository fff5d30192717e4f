//! Who chose what, as sparse rows in both directions.

use forecart_data::{History, UserIdx};
use rayon::prelude::*;

use super::neighbors::Weighting;
use super::view::TrainingView;
use crate::error::ModelError;
use crate::tensors::{TensorData, Tensors};

/// Users in one piece of work.
const PIECE: usize = 512;

/// Sparse rows with their columns ascending.
///
/// # Shapes
/// `offsets: [n_rows + 1]`, `cols: [n_stored]`, `values: [n_stored]` or empty where all are 1.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Interactions {
    pub(super) offsets: Vec<u64>,
    pub(super) cols: Vec<u32>,
    pub(super) values: Vec<f32>,
}

/// The distinct known items of a history below `n_item_rows`, ascending, with their ratings; none where all are 1.
pub(super) fn ratings_of(
    history: History<'_>,
    weighting: Weighting,
    n_item_rows: usize,
    pairs: &mut Vec<(u32, u32)>,
    mut take: impl FnMut(u32, Option<f32>),
) {
    pairs.clear();
    let known = history.items.iter().zip(0_u32..);
    let known = known.filter(|(item, _)| item.is_known() && item.row() < n_item_rows);
    pairs.extend(known.map(|(item, position)| (item.0, position)));
    pairs.sort_unstable();
    for equal in pairs.chunk_by(|a, b| a.0 == b.0) {
        let rating = match weighting {
            Weighting::Binary => None,
            Weighting::Value if !history.values.is_empty() => {
                // f64: as exact as the sum can be, in the order of the events.
                let values = equal.iter().map(|(_, place)| history.values[*place as usize]);
                Some(values.map(f64::from).sum::<f64>() as f32)
            }
            _ => Some(equal.len() as f32),
        };
        take(equal[0].0, rating);
    }
}

/// The distinct known items of `history` below `n_item_rows`, ascending, with the number of their events.
pub(super) fn distinct_items(history: History<'_>, n_item_rows: usize) -> Vec<(u32, f32)> {
    let mut items = Vec::new();
    ratings_of(history, Weighting::Count, n_item_rows, &mut Vec::new(), |item, count| {
        items.push((item, count.unwrap_or(1.0)));
    });
    items
}

impl Interactions {
    /// The ratings of all users of `view`, a row each in their order, over the items.
    pub(super) fn of(view: &TrainingView<'_>, weighting: Weighting) -> Self {
        Self::collect(view, weighting != Weighting::Binary, |user, rows, pairs| {
            rows.push(view.history(user), weighting, view.n_item_rows(), pairs);
        })
    }

    /// The distinct items of all sessions of `view`, a row each in the order of users.
    pub(super) fn of_sessions(view: &TrainingView<'_>) -> Self {
        Self::collect(view, false, |user, rows, pairs| {
            let mut start = 0;
            for session in view.sessions(user).chunk_by(|a, b| a == b) {
                let events = view.history(user).slice(start..start + session.len());
                rows.push(events, Weighting::Binary, view.n_item_rows(), pairs);
                start += session.len();
            }
        })
    }

    /// Rows that `of_user` appends for each user.
    fn collect(
        view: &TrainingView<'_>,
        has_values: bool,
        of_user: impl Fn(UserIdx, &mut Self, &mut Vec<(u32, u32)>) + Sync,
    ) -> Self {
        let users: Vec<_> = view.users().collect();
        let pieces: Vec<Self> = users
            .par_chunks(PIECE)
            .map(|users| {
                let n_events = users.iter().map(|user| view.history(*user).items.len()).sum();
                let mut piece = Self::empty(users.len(), n_events, has_values);
                let mut pairs = Vec::new();
                users.iter().for_each(|user| of_user(*user, &mut piece, &mut pairs));
                piece
            })
            .collect();
        let n_stored = pieces.iter().map(|piece| piece.cols.len()).sum();
        let mut rows = Self::empty(users.len(), n_stored, has_values);
        for piece in pieces {
            let start = rows.cols.len() as u64;
            rows.offsets.extend(piece.offsets[1..].iter().map(|end| start + end));
            rows.cols.extend(piece.cols);
            rows.values.extend(piece.values);
        }
        rows
    }

    fn push(
        &mut self,
        history: History<'_>,
        weighting: Weighting,
        n_item_rows: usize,
        pairs: &mut Vec<(u32, u32)>,
    ) {
        ratings_of(history, weighting, n_item_rows, pairs, |item, rating| {
            self.cols.push(item);
            self.values.extend(rating);
        });
        self.offsets.push(self.cols.len() as u64);
    }

    fn empty(n_rows: usize, n_stored: usize, has_values: bool) -> Self {
        let mut offsets = Vec::with_capacity(n_rows + 1);
        offsets.push(0);
        let values = Vec::with_capacity(if has_values { n_stored } else { 0 });
        Self { offsets, cols: Vec::with_capacity(n_stored), values }
    }

    pub(super) fn n_rows(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Entries of all rows.
    pub(super) fn n_stored(&self) -> usize {
        self.cols.len()
    }

    /// Memory of [`Self::of`], whose rows are held twice while they are put together, and then of them and their transpose.
    pub(super) fn needed_bytes(view: &TrainingView<'_>, weighting: Weighting) -> u64 {
        let (n_users, n_items) = (view.users().count() as u64, view.n_item_rows() as u64);
        let entry = if weighting == Weighting::Binary { 4 } else { 8 };
        view.n_events() * 2 * entry + n_users * (4 + 8 + 8) + n_items * (8 + 8)
    }

    /// The same of [`Self::of_sessions`], the number of which is not known before: where rows begin grows by doubling.
    pub(super) fn needed_bytes_of_sessions(view: &TrainingView<'_>) -> u64 {
        let n_sessions = |user| view.sessions(user).last().map_or(0, |last| u64::from(*last) + 1);
        let n_rows: u64 = view.users().map(n_sessions).sum();
        Self::needed_bytes(view, Weighting::Binary) + n_rows * (16 + 16)
    }

    fn range(&self, row: usize) -> std::ops::Range<usize> {
        self.offsets[row] as usize..self.offsets[row + 1] as usize
    }

    /// Columns and values of a row; no values where all are 1.
    #[inline]
    pub(super) fn row(&self, row: usize) -> (&[u32], &[f32]) {
        let range = self.range(row);
        let values = if self.values.is_empty() { &[][..] } else { &self.values[range.clone()] };
        (&self.cols[range], values)
    }

    /// Columns as rows: `n_cols` of them, each with its rows ascending.
    pub(super) fn transposed(&self, n_cols: usize) -> Self {
        let mut offsets = vec![0_u64; n_cols + 1];
        for col in &self.cols {
            offsets[*col as usize + 1] += 1;
        }
        for col in 0..n_cols {
            offsets[col + 1] += offsets[col];
        }
        let mut next = offsets.clone();
        let mut cols = vec![0; self.cols.len()];
        let mut values = vec![0.0; self.values.len()];
        for row in 0..self.n_rows() {
            for place in self.range(row) {
                let slot = &mut next[self.cols[place] as usize];
                cols[*slot as usize] = row as u32;
                if let Some(value) = self.values.get(place) {
                    values[*slot as usize] = *value;
                }
                *slot += 1;
            }
        }
        Self { offsets, cols, values }
    }

    pub(super) fn save(&self, tensors: &mut Tensors) {
        tensors.insert("user_offsets", TensorData::U64(self.offsets.clone()));
        tensors.insert("user_items", TensorData::U32(self.cols.clone()));
        if !self.values.is_empty() {
            tensors.insert("user_ratings", TensorData::F32(self.values.clone()));
        }
    }

    /// Reads what [`Self::save`] gave of rows over the items and checks all that later reads rely on.
    pub(super) fn load(
        tensors: &mut Tensors,
        weighting: Weighting,
        n_item_rows: usize,
    ) -> Result<Self, ModelError> {
        let offsets = tensors.take_u64("user_offsets", None)?;
        let cols = tensors.take_u32("user_items", None)?;
        let values = match weighting {
            Weighting::Binary => Vec::new(),
            _ if cols.is_empty() => Vec::new(),
            _ => tensors.take_f32("user_ratings", Some(cols.len()))?,
        };
        let spans = offsets.first() == Some(&0) && offsets.last() == Some(&(cols.len() as u64));
        if !spans || !offsets.is_sorted() || u32::try_from(offsets.len()).is_err() {
            return Err(ModelError::damaged("user_offsets do not span the entries"));
        }
        let rows = Self { offsets, cols, values };
        let ascends = |row| {
            let cols = rows.row(row).0;
            cols.is_sorted_by(|a, b| a < b) && !cols.contains(&0)
        };
        let fits = rows.cols.iter().all(|col| (*col as usize) < n_item_rows);
        if !fits || !(0..rows.n_rows()).all(ascends) {
            return Err(ModelError::damaged("user_items are not ascending items"));
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommend::FitOn;
    use crate::testing::{Log, dataset};

    fn held_bytes(rows: &Interactions) -> u64 {
        let Interactions { offsets, cols, values } = rows;
        (offsets.capacity() * 8 + cols.capacity() * 4 + values.capacity() * 4) as u64
    }

    /// 2,000 users of 1 to 20 items each, in sessions of three.
    fn log() -> Log {
        let users: Vec<Vec<u32>> = (0..2000_u32)
            .map(|user| (0..user % 20 + 1).map(|at| (user * 7 + at * at) % 300 + 1).collect())
            .collect();
        let users: Vec<&[u32]> = users.iter().map(Vec::as_slice).collect();
        Log::new(300, &users).in_sessions_of(3)
    }

    /// Numbers of events are held where they are asked for, and estimated where they are held.
    #[test]
    fn the_estimate_holds_the_rows_and_their_transpose_and_little_more() {
        let (_folder, dataset) = dataset(&log());
        let view = TrainingView::new(&dataset, FitOn::TrainValidation);
        let check = |rows: &Interactions, needed: u64| {
            let held = held_bytes(rows) + held_bytes(&rows.transposed(view.n_item_rows()));
            assert!(held <= needed && needed <= 2 * held, "{held} of {needed}");
        };
        for weighting in [Weighting::Binary, Weighting::Count, Weighting::Value] {
            let rows = Interactions::of(&view, weighting);
            assert_eq!(rows.values.is_empty(), weighting == Weighting::Binary);
            check(&rows, Interactions::needed_bytes(&view, weighting));
        }
        let sessions = Interactions::of_sessions(&view);
        check(&sessions, Interactions::needed_bytes_of_sessions(&view));
    }
}
