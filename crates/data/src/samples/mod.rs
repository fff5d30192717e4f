//! Sample tables: rows of named values with a label, the other kind of prepared data beside sequences.
//!
//! ```text
//! samples/
//!   manifest.json             columns with kind and role, split, counts, hash of every file
//!   parts.u8                  the part (or the fold) of each row; 255 for none
//!   c0.f64                    numbers, NaN for a missing one
//!   c1.u32  c1.texts          categories as rows of a table of texts, 0 for a missing one
//!   c2.u64  c2.u32  c2.texts  lists of texts: the start of each row's, and the texts
//!   c3.i64                    moments, the smallest number for a missing one
//! ```
//! Values are as they came: no encoder has been fitted. A model fits its own on the rows that it learns from, and keeps them
//! ([`crate::encode`]), so that no number in this folder knows anything of the test part. Number columns are little endian and
//! memory-mapped. Start at [`SampleTable::open`]; [`SampleWriter`] makes one.

mod column;
mod manifest;
mod writer;

use std::path::{Path, PathBuf};

pub use column::{Cell, ColumnData};
pub use manifest::{
    ColumnKind, FORMAT_VERSION, PartCounts, Role, SampleColumn, SampleDescription, SampleManifest,
    SampleSplit,
};
pub use writer::SampleWriter;

use crate::encode::{Row, Value};
use crate::error::DataError;
use crate::folder::{self, MANIFEST};
use crate::sequences::Column;
use crate::split::Part;

/// What `parts` says of a row that belongs to none.
pub const NO_PART: u8 = u8::MAX;

/// A sample table, opened.
#[derive(Debug)]
pub struct SampleTable {
    folder: PathBuf,
    /// What the folder holds and how it was made.
    pub manifest: SampleManifest,
    parts: Column<u8>,
    columns: Vec<ColumnData>,
}

impl SampleTable {
    /// Whether the folder says of itself that it is a sample table.
    pub fn is_at(folder: &Path) -> bool {
        folder::format_of(folder).is_some_and(|format| format == manifest::FORMAT)
    }

    /// Opens the table in `folder` and checks everything that later reads rely on.
    ///
    /// The lengths of all files and the ranges of all indices are checked; their hashes are not (see [`Self::verify`]).
    ///
    /// # Errors
    /// [`DataError::NotASampleTable`], [`DataError::FormatVersion`], [`DataError::Damaged`] or [`DataError::Io`].
    pub fn open(folder: &Path) -> Result<Self, DataError> {
        if !folder.join(MANIFEST).is_file() {
            return Err(DataError::NotASampleTable { path: folder.to_owned() });
        }
        let manifest: SampleManifest =
            folder::read_manifest(folder, manifest::FORMAT, FORMAT_VERSION)?;
        folder::check_files(folder, &manifest.files)?;
        let columns = manifest.columns.iter().enumerate();
        let columns = columns
            .map(|(at, column)| ColumnData::open(folder, at, column.kind))
            .collect::<Result<Vec<_>, _>>()?;
        let parts = folder::map(folder, "parts.u8")?;
        let table = Self { folder: folder.to_owned(), manifest, parts, columns };
        table.check().map_err(|reason| DataError::damaged(folder, reason))?;
        Ok(table)
    }

    fn check(&self) -> Result<(), String> {
        let n_rows = self.parts.len();
        if u32::try_from(n_rows).is_err() {
            return Err("more rows than an index can name".into());
        }
        for (column, data) in self.manifest.columns.iter().zip(&self.columns) {
            data.check(n_rows).map_err(|reason| format!("column {:?}: {reason}", column.name))?;
        }
        manifest::check_columns(&self.manifest.columns)?;
        let Some(label) = self.labels() else { return Err("no column is the label".into()) };
        let labels = self.columns().filter(|(column, _)| column.role == Role::Label);
        for (column, data) in labels {
            if (0..n_rows)
                .any(|row| !matches!(data.value(row), Value::Number(0.0 | 1.0) | Value::Missing))
            {
                return Err(format!("a label of column {:?} is neither 0 nor 1", column.name));
            }
        }
        if let Some(weights) = self.weights() {
            let is_weight = |weight: &f64| weight.is_finite() && *weight >= 0.0;
            let mut of_parts = weights.iter().zip(self.parts.iter());
            if of_parts.any(|(weight, part)| *part != NO_PART && !is_weight(weight)) {
                return Err("a row of a part has a weight that is no number of 0 or more".into());
            }
        }
        let mut counts = vec![PartCounts::default(); self.manifest.parts.len()];
        let mut n_open = 0;
        for (part, label) in self.parts.iter().zip(label) {
            if *part == NO_PART {
                n_open += 1;
                continue;
            }
            let Some(count) = counts.get_mut(usize::from(*part)) else {
                return Err("a row is in a part that there is not".into());
            };
            if label.is_nan() {
                return Err("a row of a part has no label".into());
            }
            count.n_rows += 1;
            count.n_positive += u64::from(*label == 1.0);
        }
        if counts != self.manifest.parts || n_open != self.manifest.n_open {
            return Err("the rows of the parts are not as many as the manifest says".into());
        }
        Ok(())
    }

    /// Reads every file and compares it with the hash in the manifest.
    ///
    /// # Errors
    /// [`DataError::Damaged`] names the first file that differs.
    pub fn verify(&self) -> Result<(), DataError> {
        folder::verify_files(&self.folder, &self.manifest.files)
    }

    /// The folder that was opened.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Number of rows, those of no part included.
    pub fn n_rows(&self) -> usize {
        self.parts.len()
    }

    /// The columns with what they hold, in the order of the input.
    pub fn columns(&self) -> impl Iterator<Item = (&SampleColumn, &ColumnData)> {
        self.manifest.columns.iter().zip(&self.columns)
    }

    /// What the first column with this role holds.
    pub fn with_role(&self, role: Role) -> Option<(&SampleColumn, &ColumnData)> {
        self.columns().find(|(column, _)| column.role == role)
    }

    /// What the first label column says of each row, `[n_rows]`: 0, 1, or NaN where it is not known yet. `None` if there is no such
    /// column, which no table that could be opened has.
    fn labels(&self) -> Option<&[f64]> {
        match self.with_role(Role::Label)?.1 {
            ColumnData::Number(values) => Some(values),
            _ => None,
        }
    }

    /// What the second label column says of each row, `[n_rows]`: 0, 1, or NaN where it is not known (yet). `None` if there is none.
    pub fn second_label(&self) -> Option<&[f64]> {
        let mut labels = self.columns().filter(|(column, _)| column.role == Role::Label);
        match labels.nth(1)?.1 {
            ColumnData::Number(values) => Some(values),
            _ => None,
        }
    }

    /// How much each row counts in what is learned from it, `[n_rows]`. `None` if no column says so: all count alike.
    pub fn weights(&self) -> Option<&[f64]> {
        match self.with_role(Role::Weight)?.1 {
            ColumnData::Number(values) => Some(values),
            _ => None,
        }
    }

    /// How much a row counts in what is learned from it; 1 where no column says so.
    ///
    /// # Panics
    /// If the row is past the table.
    pub fn weight(&self, row: u32) -> f64 {
        self.weights().map_or(1.0, |weights| weights[row as usize])
    }

    /// The (first) label of a row.
    ///
    /// # Panics
    /// If the row is past the table.
    pub fn label(&self, row: u32) -> f64 {
        self.labels().expect("checked when the table was opened")[row as usize]
    }

    /// The rows of a part, ascending. Of a table in folds, none: see [`Self::fold`].
    pub fn rows(&self, part: Part) -> Vec<u32> {
        let place = match part {
            _ if matches!(self.manifest.description.split, SampleSplit::Folds { .. }) => {
                return Vec::new();
            }
            Part::Train => 0,
            Part::Validation => 1,
            Part::Test => 2,
        };
        self.fold(place)
    }

    /// The rows whose part has this number, ascending.
    pub fn fold(&self, number: u8) -> Vec<u32> {
        let rows = (0u32..).zip(self.parts.iter());
        rows.filter(|(_, part)| **part == number).map(|(row, _)| row).collect()
    }

    /// A row, as encoders read it.
    ///
    /// # Panics
    /// If the row is past the table.
    pub fn row(&self, row: u32) -> SampleRow<'_> {
        assert!((row as usize) < self.n_rows(), "row {row} of {}", self.n_rows());
        SampleRow { table: self, row: row as usize }
    }
}

/// A row of a [`SampleTable`].
#[derive(Debug, Clone, Copy)]
pub struct SampleRow<'a> {
    table: &'a SampleTable,
    row: usize,
}

impl Row for SampleRow<'_> {
    fn value(&self, column: &str) -> Value<'_> {
        let at = self.table.manifest.columns.iter().position(|known| known.name == column);
        at.map_or(Value::Missing, |at| self.table.columns[at].value(self.row))
    }
}
