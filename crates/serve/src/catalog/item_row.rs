//! Rows of the catalog, and the external ids they stand for.

use std::hash::{BuildHasher, RandomState};

use forecart_data::TextTable;
use hashbrown::HashTable;

use super::error::CatalogError;
use super::fields::{MAX_ID_BYTES, MAX_ITEMS};

/// A dense row of the serving catalog, counted from 0. Rows are given in the order in which items are first seen and
/// never change; this is not the index of a model's vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemRow(pub u32);

impl ItemRow {
    /// The row as a position in a table.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// External ids of rows, and rows of external ids.
#[derive(Debug, Clone, Default)]
pub(super) struct Ids {
    ids: TextTable,
    rows: HashTable<u32>,
    hasher: RandomState,
    n_id_bytes: usize,
}

impl Ids {
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn row(&self, id: &str) -> Option<ItemRow> {
        let hash = self.hasher.hash_one(id);
        self.rows.find(hash, |row| self.ids.get(*row as usize) == id).map(|row| ItemRow(*row))
    }

    pub(super) fn id(&self, row: ItemRow) -> &str {
        self.ids.get(row.index())
    }

    /// Whether `id` can be the id of an item.
    pub(super) fn check(&self, id: &str) -> Result<(), CatalogError> {
        if id.is_empty() {
            return Err(CatalogError::EmptyId);
        }
        if id.len() > MAX_ID_BYTES {
            return Err(CatalogError::LongId { n_bytes: id.len(), limit: MAX_ID_BYTES });
        }
        if self.len() >= MAX_ITEMS && self.row(id).is_none() {
            return Err(CatalogError::TooManyItems { limit: MAX_ITEMS });
        }
        Ok(())
    }

    /// The row of a checked id, a new one if it has none.
    pub(super) fn row_or_new(&mut self, id: &str) -> ItemRow {
        if let Some(row) = self.row(id) {
            return row;
        }
        let row = ItemRow(self.len() as u32);
        self.ids.push(id);
        self.n_id_bytes += id.len();
        let (ids, hasher) = (&self.ids, &self.hasher);
        self.rows.insert_unique(hasher.hash_one(id), row.0, |row| {
            hasher.hash_one(ids.get(*row as usize))
        });
        row
    }

    pub(super) fn n_bytes(&self) -> usize {
        self.n_id_bytes + self.len() * 8 + self.rows.capacity() * 5
    }
}
