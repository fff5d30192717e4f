//! What one column of a sample table holds.

use std::borrow::Cow;
use std::path::Path;

use super::manifest::ColumnKind;
use crate::encode::Value;
use crate::error::DataError;
use crate::folder::{map, read};
use crate::sequences::Column;
use crate::texts::TextTable;

/// One value on its way into a table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// Nothing is known.
    Missing,
    /// A number; NaN counts as missing.
    Number(f64),
    /// A text; an empty one is missing.
    Text(&'a str),
    /// Several texts.
    List(&'a [&'a str]),
    /// A moment, milliseconds UTC.
    Time(i64),
}

/// A moment that is not known.
pub(super) const NO_TIME: i64 = i64::MIN;

/// The values of a column, `[n_rows]`.
#[derive(Debug)]
pub enum ColumnData {
    /// NaN for a missing one.
    Number(Column<f64>),
    /// Rows of `texts`, whose row 0 is the missing value.
    Category {
        /// Which text each row has.
        codes: Column<u32>,
        /// The texts, in the order of their first row.
        texts: TextTable,
    },
    /// Any number of texts.
    List {
        /// Where the texts of each row begin, `[n_rows + 1]`.
        offsets: Column<u64>,
        /// Rows of `texts`, none of them 0.
        codes: Column<u32>,
        /// The texts, in the order of their first row.
        texts: TextTable,
    },
    /// Milliseconds UTC; the smallest number for a missing one.
    Time(Column<i64>),
}

/// Name of a file of the column at a place.
pub(super) fn file_name(at: usize, ending: &str) -> String {
    format!("c{at}.{ending}")
}

impl ColumnData {
    pub(super) fn open(folder: &Path, at: usize, kind: ColumnKind) -> Result<Self, DataError> {
        let texts = || {
            let path = folder.join(file_name(at, "texts"));
            TextTable::from_bytes(&read(&path)?, &path)
        };
        Ok(match kind {
            ColumnKind::Number => Self::Number(map(folder, &file_name(at, "f64"))?),
            ColumnKind::Time => Self::Time(map(folder, &file_name(at, "i64"))?),
            ColumnKind::Category => {
                Self::Category { codes: map(folder, &file_name(at, "u32"))?, texts: texts()? }
            }
            ColumnKind::List => Self::List {
                offsets: map(folder, &file_name(at, "u64"))?,
                codes: map(folder, &file_name(at, "u32"))?,
                texts: texts()?,
            },
        })
    }

    /// Checks everything that reading relies on.
    pub(super) fn check(&self, n_rows: usize) -> Result<(), String> {
        let n_found = match self {
            Self::Number(values) => values.len(),
            Self::Time(times) => times.len(),
            Self::Category { codes, .. } => codes.len(),
            Self::List { offsets, .. } => offsets.len().saturating_sub(1),
        };
        if n_found != n_rows {
            return Err(format!("{n_found} values for {n_rows} rows"));
        }
        match self {
            Self::Number(_) | Self::Time(_) => Ok(()),
            Self::Category { codes, texts } => check_codes(codes, texts, true),
            Self::List { offsets, codes, texts } => {
                if offsets.first() != Some(&0)
                    || offsets.last() != Some(&(codes.len() as u64))
                    || !offsets.is_sorted()
                {
                    return Err("offsets do not span the texts".into());
                }
                check_codes(codes, texts, false)
            }
        }
    }

    /// The value of a row.
    ///
    /// # Panics
    /// If the row is past the column.
    pub fn value(&self, row: usize) -> Value<'_> {
        match self {
            Self::Number(values) if values[row].is_nan() => Value::Missing,
            Self::Number(values) => Value::Number(values[row]),
            Self::Time(times) if times[row] == NO_TIME => Value::Missing,
            Self::Time(times) => Value::Number(times[row] as f64),
            Self::Category { codes, .. } if codes[row] == 0 => Value::Missing,
            Self::Category { codes, texts } => Value::Text(texts.get(codes[row] as usize)),
            Self::List { offsets, codes, texts } => {
                let codes = &codes[offsets[row] as usize..offsets[row + 1] as usize];
                Value::List(
                    codes.iter().map(|code| Cow::Borrowed(texts.get(*code as usize))).collect(),
                )
            }
        }
    }

    /// The moment of a row, if the column holds moments and this one is known.
    pub fn time_ms(&self, row: usize) -> Option<i64> {
        match self {
            Self::Time(times) => times.get(row).copied().filter(|time| *time != NO_TIME),
            _ => None,
        }
    }
}

fn check_codes(codes: &[u32], texts: &TextTable, may_miss: bool) -> Result<(), String> {
    if texts.is_empty() || !texts.get(0).is_empty() {
        return Err("its texts do not begin with the missing one".into());
    }
    let least = u32::from(!may_miss);
    match codes.iter().all(|code| *code >= least && (*code as usize) < texts.len()) {
        true => Ok(()),
        false => Err("a text is past its table".into()),
    }
}
