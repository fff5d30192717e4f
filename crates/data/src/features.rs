//! Encoded attributes of items, one row per item of the vocabulary.

use serde::{Deserialize, Serialize};

use crate::sequences::Column;

/// What the columns of [`ItemFeatures`] mean.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureNames {
    /// Names of the dense columns, in order.
    pub dense: Vec<String>,
    /// Names of the sparse columns (`category=lamps`), in order.
    pub sparse: Vec<String>,
}

/// Encoded item attributes: dense numbers and a list of active sparse columns for each item.
///
/// Row 0 is the unknown item; it holds what the encoders give for an item with nothing known.
///
/// # Shapes
/// `dense: [n_item_rows, n_dense]` row-major; `sparse_offsets: [n_item_rows + 1]`;
/// `sparse_indices: [sum of active]`, each below `n_sparse`, ascending within a row.
#[derive(Debug, Default)]
pub struct ItemFeatures {
    /// Column names; their numbers are `n_dense` and `n_sparse`.
    pub names: FeatureNames,
    /// Dense values.
    pub dense: Column<f32>,
    /// Start of each item's active sparse columns.
    pub sparse_offsets: Column<u64>,
    /// Active sparse columns.
    pub sparse_indices: Column<u32>,
}

impl ItemFeatures {
    /// The number of dense columns.
    pub fn n_dense(&self) -> usize {
        self.names.dense.len()
    }

    /// The number of sparse columns.
    pub fn n_sparse(&self) -> usize {
        self.names.sparse.len()
    }

    /// Whether items have no encoded attributes at all.
    pub fn is_empty(&self) -> bool {
        self.n_dense() == 0 && self.n_sparse() == 0
    }

    /// Dense values of item row `row`.
    ///
    /// # Panics
    /// If the row is past the table.
    pub fn dense_row(&self, row: usize) -> &[f32] {
        let n = self.n_dense();
        &self.dense[row * n..(row + 1) * n]
    }

    /// Active sparse columns of item row `row`.
    ///
    /// # Panics
    /// If the row is past the table.
    pub fn sparse_row(&self, row: usize) -> &[u32] {
        if self.sparse_offsets.is_empty() {
            return &[];
        }
        &self.sparse_indices
            [self.sparse_offsets[row] as usize..self.sparse_offsets[row + 1] as usize]
    }

    /// Checks everything that reading relies on.
    pub(crate) fn check(&self, n_item_rows: usize) -> Result<(), String> {
        if self.dense.len() != n_item_rows * self.n_dense() {
            return Err("dense item features do not fit the item vocabulary".into());
        }
        if self.n_sparse() == 0 && self.sparse_offsets.is_empty() && self.sparse_indices.is_empty()
        {
            return Ok(());
        }
        if self.sparse_offsets.len() != n_item_rows + 1
            || self.sparse_offsets[0] != 0
            || self.sparse_offsets[n_item_rows] != self.sparse_indices.len() as u64
            || !self.sparse_offsets.is_sorted()
        {
            return Err("offsets of sparse item features do not fit".into());
        }
        if self.sparse_indices.iter().any(|index| *index as usize >= self.n_sparse()) {
            return Err("a sparse item feature is past its names".into());
        }
        if self.dense.iter().any(|value| !value.is_finite()) {
            return Err("a dense item feature is not a number".into());
        }
        Ok(())
    }
}
