//! The sessions of the training part, oldest first, and where each item occurs in them.

use forecart_data::ItemIdx;

use super::super::contract::FitContext;
use super::super::view::TrainingView;
use crate::error::ModelError;
use crate::tensors::{TensorData, Tensors};

/// Sessions of at least two items, in the order in which they ended (without times: in the order of users).
///
/// # Shapes
/// `offsets: [n_sessions + 1]`, `items: [n_stored]`, `ended_ms: [n_sessions]` or empty without times,
/// `session_offsets: [n_item_rows + 1]`, `sessions: [n_stored]`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SessionLog {
    offsets: Vec<u64>,
    /// The distinct known items of each session, in the order of their newest events.
    items: Vec<u32>,
    ended_ms: Vec<i64>,
    session_offsets: Vec<u64>,
    /// The sessions of each item, ascending: the newest last.
    sessions: Vec<u32>,
}

impl SessionLog {
    /// Reads `view`.
    pub(super) fn of(
        view: &TrainingView<'_>,
        context: &FitContext<'_>,
    ) -> Result<Self, ModelError> {
        let mut items: Vec<u32> = Vec::new();
        // When a session ended, and where its items stand.
        let mut found: Vec<(i64, std::ops::Range<usize>)> = Vec::new();
        let mut newest_first: Vec<u32> = Vec::new();
        let mut last_seen = vec![usize::MAX; view.n_item_rows()];
        for user in view.users() {
            if user.0 % 1024 == 0 {
                context.check_cancelled()?;
            }
            let (history, sessions) = (view.history(user), view.sessions(user));
            let mut start = 0;
            for session in sessions.chunk_by(|a, b| a == b) {
                let end = start + session.len();
                newest_first.clear();
                for item in history.items[start..end].iter().rev().filter(|item| item.is_known()) {
                    if std::mem::replace(&mut last_seen[item.row()], found.len()) != found.len() {
                        newest_first.push(item.0);
                    }
                }
                // Also one that is left out has a number, so that no other is taken for it.
                let first = items.len();
                if newest_first.len() > 1 {
                    items.extend(newest_first.iter().rev());
                }
                let ended = history.timestamps_ms.get(end - 1).copied().unwrap_or(0);
                found.push((ended, first..items.len()));
                start = end;
            }
            context.progress.advance(1);
        }
        context.check_cancelled()?;
        found.retain(|(_, range)| !range.is_empty());
        // Stable: sessions that end at once stay in the order of users.
        found.sort_by_key(|(ended, _)| *ended);
        let mut offsets = vec![0];
        let mut ordered = Vec::with_capacity(items.len());
        for (_, range) in &found {
            ordered.extend_from_slice(&items[range.clone()]);
            offsets.push(ordered.len() as u64);
        }
        let ended_ms = match view.has_time() {
            true => found.iter().map(|(ended, _)| *ended).collect(),
            false => Vec::new(),
        };
        Ok(Self::indexed(offsets, ordered, ended_ms, view.n_item_rows()))
    }

    fn indexed(offsets: Vec<u64>, items: Vec<u32>, ended_ms: Vec<i64>, n_item_rows: usize) -> Self {
        let mut session_offsets = vec![0_u64; n_item_rows + 1];
        for item in &items {
            session_offsets[*item as usize + 1] += 1;
        }
        for row in 0..n_item_rows {
            session_offsets[row + 1] += session_offsets[row];
        }
        let mut next = session_offsets.clone();
        let mut sessions = vec![0; items.len()];
        for (session, range) in (0..).zip(offsets.windows(2)) {
            for item in &items[range[0] as usize..range[1] as usize] {
                let slot = &mut next[*item as usize];
                sessions[*slot as usize] = session;
                *slot += 1;
            }
        }
        Self { offsets, items, ended_ms, session_offsets, sessions }
    }

    /// Memory of [`Self::of`]: items twice while they are put in order, their sessions, and a session for each event at
    /// worst.
    pub(super) fn needed_bytes(view: &TrainingView<'_>) -> u64 {
        view.n_events() * (4 + 4 + 4 + 24 + 16) + view.n_item_rows() as u64 * 24
    }

    /// The distinct items of a session, in the order of their newest events.
    pub(super) fn items(&self, session: u32) -> &[u32] {
        let [start, end] = [session as usize, session as usize + 1].map(|row| self.offsets[row]);
        &self.items[start as usize..end as usize]
    }

    /// The sessions that have `item`, the newest last; none past the table.
    pub(super) fn sessions_of(&self, item: ItemIdx) -> &[u32] {
        match self.session_offsets.get(item.row()..item.row() + 2) {
            Some(&[start, end]) => &self.sessions[start as usize..end as usize],
            _ => &[],
        }
    }

    /// When a session ended; `None` without times.
    pub(super) fn ended_ms(&self, session: u32) -> Option<i64> {
        self.ended_ms.get(session as usize).copied()
    }

    /// `ln(n_sessions / sessions with the item)`; 0 for an item that no session has.
    pub(super) fn idf(&self, item: ItemIdx) -> f64 {
        let n_with = self.sessions_of(item).len().max(1) as f64;
        ((self.offsets.len() - 1) as f64 / n_with).ln().max(0.0)
    }

    pub(super) fn save(&self, tensors: &mut Tensors) {
        tensors.insert("session_offsets", TensorData::U64(self.offsets.clone()));
        tensors.insert("session_items", TensorData::U32(self.items.clone()));
        // Two's complement: times before 1970 are there and back the same.
        let ended = self.ended_ms.iter().map(|ended| ended.cast_unsigned()).collect();
        tensors.insert("session_ended_ms", TensorData::U64(ended));
    }

    /// Reads what [`Self::save`] gave and checks all that later reads rely on.
    pub(super) fn load(tensors: &mut Tensors, n_item_rows: usize) -> Result<Self, ModelError> {
        let offsets = tensors.take_u64("session_offsets", None)?;
        let items = tensors.take_u32("session_items", None)?;
        let ended = tensors.take_u64("session_ended_ms", None)?;
        let ended_ms: Vec<i64> = ended.into_iter().map(u64::cast_signed).collect();
        let spans = offsets.first() == Some(&0) && offsets.last() == Some(&(items.len() as u64));
        if !spans || !offsets.is_sorted() || u32::try_from(offsets.len()).is_err() {
            return Err(ModelError::damaged("session_offsets do not span the entries"));
        }
        if !ended_ms.is_sorted() || !(ended_ms.is_empty() || ended_ms.len() == offsets.len() - 1) {
            return Err(ModelError::damaged("session_ended_ms do not fit the sessions"));
        }
        let mut last_seen = vec![usize::MAX; n_item_rows];
        for (session, range) in offsets.windows(2).enumerate() {
            for item in &items[range[0] as usize..range[1] as usize] {
                let seen = last_seen.get_mut(*item as usize).filter(|_| *item > 0);
                if seen.is_none_or(|seen| std::mem::replace(seen, session) == session) {
                    return Err(ModelError::damaged("session_items are not distinct items"));
                }
            }
        }
        Ok(Self::indexed(offsets, items, ended_ms, n_item_rows))
    }
}
