//! Writes a sample table, row by row.

use std::collections::HashMap;
use std::path::Path;

use super::column::{Cell, NO_TIME, file_name};
use super::manifest::{
    ColumnKind, FORMAT, FORMAT_VERSION, PartCounts, Role, SampleColumn, SampleDescription,
    SampleManifest, check_columns,
};
use super::{NO_PART, SampleSplit};
use crate::background::BackgroundFile;
use crate::error::DataError;
use crate::folder::{self, FileEntry, Files};
use crate::storage::Replacement;
use crate::texts::TextTable;

/// Columns that a table may have: each is a file that a thread writes.
const MAX_COLUMNS: usize = 1000;

/// Streams a sample table into a temporary folder and puts it in place at the end.
///
/// # Cost
/// Memory grows with the different texts, and by 8 bytes a row for its label.
#[derive(Debug)]
pub struct SampleWriter {
    replacement: Replacement,
    columns: Vec<SampleColumn>,
    writers: Vec<Writer>,
    /// Of the first label column.
    labels: Vec<f64>,
    label_at: usize,
}

#[derive(Debug)]
enum Writer {
    Number(BackgroundFile),
    Time(BackgroundFile),
    Category { codes: BackgroundFile, texts: Dictionary },
    List { offsets: BackgroundFile, codes: BackgroundFile, n_codes: u64, texts: Dictionary },
}

/// Texts in the order in which they come; 0 is none.
#[derive(Debug)]
struct Dictionary {
    codes: HashMap<String, u32>,
    texts: TextTable,
}

impl Dictionary {
    fn new() -> Self {
        let mut texts = TextTable::default();
        texts.push("");
        Self { codes: HashMap::new(), texts }
    }

    fn code(&mut self, text: &str) -> Result<u32, DataError> {
        if text.is_empty() {
            return Ok(0);
        }
        if let Some(code) = self.codes.get(text) {
            return Ok(*code);
        }
        let too_many = |_| DataError::TooMany { what: "a column of texts" };
        let code = u32::try_from(self.texts.len()).map_err(too_many)?;
        self.texts.push(text);
        self.codes.insert(text.to_owned(), code);
        Ok(code)
    }
}

impl SampleWriter {
    /// Starts a table that will stand in `folder`.
    ///
    /// # Errors
    /// [`DataError::Inconsistent`] unless at least one column is a label, labels are numbers, all names differ and histories name a
    /// category column, [`DataError::Io`] if the
    /// files cannot be made.
    pub fn new(folder: &Path, columns: Vec<SampleColumn>) -> Result<Self, DataError> {
        let refuse = |reason: String| DataError::Inconsistent { reason };
        check_columns(&columns).map_err(refuse)?;
        if columns.len() > MAX_COLUMNS {
            return Err(refuse(format!("{} columns, {MAX_COLUMNS} are possible", columns.len())));
        }
        let label_at = columns.iter().position(|column| column.role == Role::Label);
        let label_at = label_at.ok_or_else(|| refuse("no column is the label".into()))?;
        let replacement = Replacement::folder(folder)?;
        let writers = columns
            .iter()
            .enumerate()
            .map(|(at, column)| {
                let file = |ending: &str| {
                    BackgroundFile::create(&replacement.path().join(file_name(at, ending)), true)
                };
                Ok(match column.kind {
                    ColumnKind::Number => Writer::Number(file("f64")?),
                    ColumnKind::Time => Writer::Time(file("i64")?),
                    ColumnKind::Category => {
                        Writer::Category { codes: file("u32")?, texts: Dictionary::new() }
                    }
                    ColumnKind::List => {
                        let mut offsets = file("u64")?;
                        offsets.push(&[0u64])?;
                        let (codes, texts) = (file("u32")?, Dictionary::new());
                        Writer::List { offsets, codes, n_codes: 0, texts }
                    }
                })
            })
            .collect::<Result<_, DataError>>()?;
        Ok(Self { replacement, columns, writers, labels: Vec::new(), label_at })
    }

    /// The temporary folder: room for a caller's own intermediate files, which it must remove.
    pub fn folder(&self) -> &Path {
        self.replacement.path()
    }

    /// Adds a row: a value for each column, in their order.
    ///
    /// # Errors
    /// [`DataError::Inconsistent`] if a value is not of its column's kind or a label is neither 0 nor 1, [`DataError::TooMany`] or [`DataError::Io`].
    pub fn push(&mut self, cells: &[Cell<'_>]) -> Result<(), DataError> {
        if cells.len() != self.writers.len() {
            let reason = format!("{} values for {} columns", cells.len(), self.writers.len());
            return Err(DataError::Inconsistent { reason });
        }
        for (at, (writer, cell)) in self.writers.iter_mut().zip(cells).enumerate() {
            match (writer, *cell) {
                (Writer::Number(_), Cell::Number(value))
                    if self.columns[at].role == Role::Label
                        && value != 0.0
                        && value != 1.0
                        && !value.is_nan() =>
                {
                    let reason =
                        format!("{value} of column {:?} is no label", self.columns[at].name);
                    return Err(DataError::Inconsistent { reason });
                }
                (Writer::Number(file), Cell::Number(value)) => {
                    // One kind of NaN: the bytes of a table do not depend on where it came from.
                    file.push(&[if value.is_nan() { f64::NAN } else { value }])?;
                }
                (Writer::Number(file), Cell::Missing) => file.push(&[f64::NAN])?,
                (Writer::Time(file), Cell::Time(time)) => file.push(&[time])?,
                (Writer::Time(file), Cell::Missing) => file.push(&[NO_TIME])?,
                (Writer::Category { codes, texts }, Cell::Text(text)) => {
                    codes.push(&[texts.code(text)?])?;
                }
                (Writer::Category { codes, .. }, Cell::Missing) => codes.push(&[0u32])?,
                (Writer::List { offsets, codes, n_codes, texts }, cell) => {
                    let list = match &cell {
                        Cell::List(list) => *list,
                        Cell::Text(text) => std::slice::from_ref(text),
                        Cell::Missing => &[],
                        Cell::Number(_) | Cell::Time(_) => return Err(self.wrong(at, cell)),
                    };
                    for text in list.iter().filter(|text| !text.is_empty()) {
                        codes.push(&[texts.code(text)?])?;
                        *n_codes += 1;
                    }
                    offsets.push(&[*n_codes])?;
                }
                (_, cell) => return Err(self.wrong(at, cell)),
            }
        }
        self.labels.push(match cells[self.label_at] {
            Cell::Number(label) => label,
            _ => f64::NAN,
        });
        Ok(())
    }

    fn wrong(&self, at: usize, cell: Cell<'_>) -> DataError {
        let SampleColumn { name, kind, .. } = &self.columns[at];
        let reason = format!("{cell:?} is no {} of column {name:?}", kind.name());
        DataError::Inconsistent { reason }
    }

    /// The labels so far; NaN where one is not known.
    pub fn labels(&self) -> &[f64] {
        &self.labels
    }

    /// Writes parts, texts and manifest, syncs, and puts the folder in place of an older one. `parts` has the part of each row:
    /// training, validation and test are 0, 1 and 2; a fold has its number; [`NO_PART`] is none.
    ///
    /// # Errors
    /// [`DataError::Inconsistent`] if the parts do not fit the rows or a row of a part has no label, [`DataError::Io`] if
    /// anything cannot be written.
    pub fn finish(
        self,
        parts: &[u8],
        description: SampleDescription,
    ) -> Result<SampleManifest, DataError> {
        let Self { replacement, columns, writers, labels, .. } = self;
        let (counts, n_open) = count(parts, &labels, &description.split)?;
        let root = replacement.path().to_owned();
        let mut files = Files::new();
        for (at, writer) in writers.into_iter().enumerate() {
            let (written, texts) = match writer {
                Writer::Number(file) => (vec![("f64", file)], None),
                Writer::Time(file) => (vec![("i64", file)], None),
                Writer::Category { codes, texts } => (vec![("u32", codes)], Some(texts)),
                Writer::List { offsets, codes, texts, .. } => {
                    (vec![("u64", offsets), ("u32", codes)], Some(texts))
                }
            };
            for (ending, file) in written {
                let written = file.finish()?;
                let sha256 = written.sha256.unwrap_or_default();
                let entry = FileEntry { n_bytes: written.n_bytes, sha256 };
                files.insert(file_name(at, ending), entry);
            }
            if let Some(Dictionary { texts, .. }) = texts {
                folder::write(&root, &file_name(at, "texts"), &texts.to_bytes(), &mut files)?;
            }
        }
        folder::write(&root, "parts.u8", parts, &mut files)?;
        let manifest = SampleManifest {
            format: FORMAT.into(),
            format_version: FORMAT_VERSION,
            forecart_version: env!("CARGO_PKG_VERSION").into(),
            content_hash: folder::content_hash(&files),
            parts: counts,
            n_open,
            columns,
            description,
            files,
        };
        folder::write_manifest(&root, &manifest)?;
        replacement.commit()?;
        Ok(manifest)
    }
}

fn count(
    parts: &[u8],
    labels: &[f64],
    split: &SampleSplit,
) -> Result<(Vec<PartCounts>, u64), DataError> {
    let refuse = |reason: String| Err(DataError::Inconsistent { reason });
    if parts.len() != labels.len() {
        return refuse(format!("{} parts for {} rows", parts.len(), labels.len()));
    }
    let n_parts = match split {
        SampleSplit::Folds { n_folds, .. } => usize::from(*n_folds),
        _ => 3,
    };
    let mut counts = vec![PartCounts::default(); n_parts];
    let mut n_open = 0;
    for (row, (part, label)) in parts.iter().zip(labels).enumerate() {
        if *part == NO_PART {
            n_open += 1;
            continue;
        }
        let Some(count) = counts.get_mut(usize::from(*part)) else {
            return refuse(format!("part {part} of row {row}, there are {n_parts}"));
        };
        if label.is_nan() {
            return refuse(format!("row {row} is in a part and has no label"));
        }
        count.n_rows += 1;
        count.n_positive += u64::from(*label == 1.0);
    }
    Ok((counts, n_open))
}
