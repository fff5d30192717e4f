//! Packed sequences: every user's events laid end to end, in memory or mapped from a file.

use std::fmt;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;

use bytemuck::Pod;
use mmap_io::MemoryMappedFile;

use crate::error::DataError;
use crate::id::{ItemIdx, UserIdx};

#[cfg(target_endian = "big")]
compile_error!("packed columns are little endian on disk and mapped as they are");

/// One column of fixed-width values, owned or mapped read-only from a little-endian file.
pub struct Column<T>(Storage<T>);

enum Storage<T> {
    Owned(Vec<T>),
    Mapped(Arc<MemoryMappedFile>),
}

impl<T: Pod> Column<T> {
    /// Maps the file at `path`; its length must be a multiple of the value's width.
    ///
    /// # Errors
    /// [`DataError::Damaged`] if it cannot be mapped or its length does not fit.
    pub fn map(path: &Path) -> Result<Self, DataError> {
        let metadata = std::fs::metadata(path).map_err(DataError::io("read", path))?;
        if metadata.len() == 0 {
            return Ok(Self(Storage::Owned(Vec::new()))); // an empty file cannot be mapped
        }
        let width = size_of::<T>() as u64;
        if !metadata.is_file() || metadata.len() % width != 0 {
            let reason = format!("{} bytes are not a multiple of {width}", metadata.len());
            return Err(DataError::damaged(path, reason));
        }
        let file = MemoryMappedFile::open_ro(path)
            .map_err(|error| DataError::damaged(path, error.to_string()))?;
        let column = Self(Storage::Mapped(Arc::new(file)));
        if column.mapped_slice().is_none() {
            return Err(DataError::damaged(path, "the mapping is shorter than the file"));
        }
        Ok(column)
    }

    fn mapped_slice(&self) -> Option<&[T]> {
        match &self.0 {
            Storage::Owned(values) => Some(values),
            Storage::Mapped(file) => {
                let bytes = file.as_slice_bytes(0, file.len()).ok()?;
                bytemuck::try_cast_slice(bytes).ok()
            }
        }
    }

    /// The bytes of the column's file.
    pub fn as_bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self)
    }
}

impl<T: Pod> Deref for Column<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.mapped_slice().expect("checked when the column was mapped; mappings start at a page")
    }
}

impl<T> From<Vec<T>> for Column<T> {
    fn from(values: Vec<T>) -> Self {
        Self(Storage::Owned(values))
    }
}

impl<T> Default for Column<T> {
    fn default() -> Self {
        Self(Storage::Owned(Vec::new()))
    }
}

impl<T: Pod> fmt::Debug for Column<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Column").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// What a user did up to a moment, oldest first: the input of every recommender.
///
/// # Shapes
/// `items: [n]`; `timestamps_ms`, `events`, `values`: `[n]`, or empty where the data has none.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct History<'a> {
    /// The items, oldest first; [`ItemIdx::UNKNOWN`] where the vocabulary does not hold one.
    pub items: &'a [ItemIdx],
    /// When, in milliseconds UTC; empty if the log has an order but no times.
    pub timestamps_ms: &'a [i64],
    /// Which event, as an index into the dataset's event vocabulary; empty if there is one kind.
    pub events: &'a [u8],
    /// How much each event says (a rating, a number of units); empty where every event says 1.
    pub values: &'a [f32],
}

impl<'a> History<'a> {
    /// A history of items alone.
    pub fn of(items: &'a [ItemIdx]) -> Self {
        Self { items, ..Self::default() }
    }

    /// The part of the history in `range`.
    ///
    /// # Panics
    /// If the range ends past the history.
    pub fn slice(self, range: Range<usize>) -> Self {
        fn part<T>(values: &[T], range: Range<usize>) -> &[T] {
            if values.is_empty() { values } else { &values[range] }
        }
        Self {
            items: &self.items[range.clone()],
            timestamps_ms: part(self.timestamps_ms, range.clone()),
            events: part(self.events, range.clone()),
            values: part(self.values, range),
        }
    }

    /// The oldest `n` events, all if there are fewer.
    pub fn first(self, n: usize) -> Self {
        self.slice(0..n.min(self.items.len()))
    }

    /// The newest `n` events, all if there are fewer.
    pub fn newest(self, n: usize) -> Self {
        let len = self.items.len();
        self.slice(len.saturating_sub(n)..len)
    }
}

/// Every user's events end to end, sorted within a user as the log's order says.
///
/// # Shapes
/// `offsets: [n_user_rows + 1]`; the others `[n_events]`. User `u` has the events
/// `offsets[u]..offsets[u + 1]`; row 0, the unknown user, has none.
#[derive(Debug, Default)]
pub struct PackedSequences {
    /// Start of each user's events.
    pub offsets: Column<u64>,
    /// The items.
    pub items: Column<ItemIdx>,
    /// Milliseconds UTC; empty if the log has an order but no times.
    pub timestamps_ms: Column<i64>,
    /// Index into the event vocabulary.
    pub events: Column<u8>,
    /// Ordinal of the session within its user, from 0; empty in a question table.
    pub sessions: Column<u32>,
    /// How much the event says: `value` of the log; where it has none, the units; else 1. Empty in a question table.
    pub values: Column<f32>,
}

impl PackedSequences {
    /// The number of user rows, the unknown user included.
    pub fn n_user_rows(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// The number of events.
    pub fn n_events(&self) -> usize {
        self.items.len()
    }

    /// Where the events of `user` stand; empty for users past the end.
    pub fn range(&self, user: UserIdx) -> Range<usize> {
        match self.offsets.get(user.row()..user.row() + 2) {
            Some(&[start, end]) => start as usize..end as usize,
            _ => 0..0,
        }
    }

    /// All events of `user`.
    pub fn history(&self, user: UserIdx) -> History<'_> {
        let all = History {
            items: &self.items,
            timestamps_ms: &self.timestamps_ms,
            events: &self.events,
            values: &self.values,
        };
        all.slice(self.range(user))
    }

    /// Checks everything that reading histories relies on, so that no later index can be out of range. Sessions and values, which not
    /// every table has, are its owner's to check.
    pub(crate) fn check(&self, n_item_rows: usize, n_event_rows: usize) -> Result<(), String> {
        let n = self.items.len();
        if self.offsets.first() != Some(&0) || self.offsets.last() != Some(&(n as u64)) {
            return Err("offsets do not span the events".into());
        }
        if self.offsets.get(1) != Some(&0) {
            return Err("the unknown user has events".into());
        }
        if !self.offsets.is_sorted() {
            return Err("offsets are not ascending".into());
        }
        if self.events.len() != n {
            return Err(format!("events has {} entries, items has {n}", self.events.len()));
        }
        if !self.timestamps_ms.is_empty() && self.timestamps_ms.len() != n {
            return Err("timestamps and items differ in length".into());
        }
        if self.items.iter().any(|item| item.row() >= n_item_rows) {
            return Err("an item index is past the vocabulary".into());
        }
        if self.events.iter().any(|event| usize::from(*event) >= n_event_rows) {
            return Err("an event index is past the vocabulary".into());
        }
        Ok(())
    }
}
