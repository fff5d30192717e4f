//! The event log folder: what import writes, and what validate and prepare read.
//!
//! ```text
//! log/
//!   log.json                                    LogManifest
//!   events/month=YYYY-MM/part-00000.parquet     rows of a month in input order
//!   items.parquet                               item catalog, absent if there is none
//!   users.parquet                               user table, absent if there is none
//! ```
//! Inputs that only have an order, no time, lie in `month=none`, with `timestamp` equal to
//! `row_number`. The same inputs and configuration give the same bytes.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use forecart_data::DataError;
use serde::{Deserialize, Serialize};

use crate::PrepareError;

/// Value of [`LogManifest::format`].
pub const FORMAT: &str = "forecart-log";
/// Value of [`LogManifest::format_version`] that this program writes, and the newest it reads.
pub const FORMAT_VERSION: u32 = 1;

/// What an event log is and how it came to be, in `log.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogManifest {
    /// Always [`FORMAT`].
    pub format: String,
    /// Version of the folder's layout.
    pub format_version: u32,
    /// Version of the program that wrote it.
    pub forecart_version: String,
    /// SHA-256 of the one input's bytes, or of the sorted lines `name sha256` of many.
    pub data_hash: String,
    /// The inputs, in the order in which they were read.
    pub inputs: Vec<Input>,
    /// Whether rows have a time; without one, `timestamp` is `row_number`.
    pub has_time: bool,
    /// Events in the log.
    pub n_rows: u64,
    /// Rows that were read and not kept; [`LogManifest::rejected`] says why.
    pub n_rejected: u64,
    /// Events without a user, such as guests' orders.
    pub n_guests: u64,
    /// Different users.
    pub n_users: u64,
    /// Different items.
    pub n_items: u64,
    /// Whether `n_users` and `n_items` are exact; past 8 million they are estimates (within 0.2 %).
    pub counts_are_exact: bool,
    /// First and last time, in milliseconds UTC; `None` without a time.
    pub time_range_ms: Option<(i64, i64)>,
    /// Events by name, in order of the name.
    pub events: Vec<EventCount>,
    /// The input's columns under our names, in the input's order.
    pub columns: Vec<ColumnMapping>,
    /// Further columns that are kept as text, under their own names.
    pub extra_columns: Vec<String>,
    /// Rows that were not kept, by reason.
    pub rejected: Vec<Rejected>,
    /// What was kept and looks wrong, by reason.
    pub warnings: Vec<Rejected>,
    /// What was decided by looking at the data, in sentences: delimiter, time unit, format.
    pub decisions: Vec<String>,
}

/// One input file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// File name, without the folder.
    pub name: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// How it was read: `csv`, `parquet`, `jsonl`, `recbole`, `pairs`, `sequences`...
    pub format: String,
    /// Rows that were read from it.
    pub n_read: u64,
}

/// How often an event occurs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCount {
    /// The event's name in the log.
    pub name: String,
    /// Rows with it.
    pub n_rows: u64,
    /// Whether it is one of [`forecart_data::event::STANDARD_EVENTS`].
    pub is_known: bool,
}

/// One column of the input and what it became.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnMapping {
    /// The input's name.
    pub theirs: String,
    /// Ours.
    pub ours: String,
}

/// Rows that share a reason for not being kept, or for a warning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// A short stable name, such as `bad_timestamp`.
    pub code: String,
    /// The reason in words.
    pub reason: String,
    /// What to do about it.
    pub fix: String,
    /// How many rows.
    pub n_rows: u64,
    /// The first few.
    pub examples: Vec<RejectedRow>,
}

/// One example of a bad row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedRow {
    /// File name, without the folder.
    pub file: String,
    /// Line from 1; in Parquet, row from 1.
    pub line: u64,
    /// The input's name of the column.
    pub field: String,
    /// The value, cut.
    pub found: String,
}

impl fmt::Display for RejectedRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, field, found } = self;
        match field.as_str() {
            "" => write!(f, "{file}, line {line}: {found:?}"),
            field => write!(f, "{file}, line {line}, column {field:?}: {found:?}"),
        }
    }
}

impl LogManifest {
    /// Reads the manifest of a log folder.
    ///
    /// # Errors
    /// [`PrepareError::NotALog`] if there is none, [`PrepareError::Data`] if it is damaged or of
    /// a newer version.
    pub fn read(log: &Path) -> Result<Self, PrepareError> {
        let path = log.join("log.json");
        if !path.is_file() {
            return Err(PrepareError::NotALog { path: log.to_owned() });
        }
        let bytes = fs::read(&path).map_err(PrepareError::io("read", &path))?;
        // The version is read first: a newer layout need not parse as this one.
        let value: serde_json::Value = serde_json::from_slice(&bytes)
            .map_err(|error| DataError::damaged(&path, error.to_string()))?;
        if value.get("format").and_then(|format| format.as_str()) != Some(FORMAT) {
            return Err(DataError::damaged(&path, format!("its format is not {FORMAT:?}")).into());
        }
        let found = value.get("format_version").and_then(serde_json::Value::as_u64);
        let found = found.and_then(|version| u32::try_from(version).ok()).unwrap_or(u32::MAX);
        if found > FORMAT_VERSION {
            let supported = FORMAT_VERSION;
            return Err(DataError::FormatVersion { path, found, supported }.into());
        }
        serde_json::from_value(value)
            .map_err(|error| DataError::damaged(&path, error.to_string()).into())
    }

    /// Writes the manifest into a log folder that is in the making.
    ///
    /// # Errors
    /// [`PrepareError::Io`] if the file cannot be written.
    pub fn write(&self, log: &Path) -> Result<(), PrepareError> {
        let path = log.join("log.json");
        let mut text = serde_json::to_string_pretty(self).expect("a manifest has only text keys");
        text.push('\n');
        fs::write(&path, text).map_err(PrepareError::io("write", path))
    }
}

/// Folder of the events' partitions.
pub fn events_folder(log: &Path) -> PathBuf {
    log.join("events")
}

/// The events' Parquet files by month and part: the order of this list is the order in time.
///
/// # Errors
/// [`PrepareError::Io`] if a folder cannot be read.
pub fn event_files(log: &Path) -> Result<Vec<PathBuf>, PrepareError> {
    let mut files = Vec::new();
    for month in entries(&events_folder(log))? {
        files.extend(
            entries(&month)?
                .into_iter()
                .filter(|path| path.extension().is_some_and(|extension| extension == "parquet")),
        );
    }
    files.sort();
    Ok(files)
}

/// The item catalog, if the log has one.
pub fn items_file(log: &Path) -> Option<PathBuf> {
    Some(log.join("items.parquet")).filter(|path| path.is_file())
}

/// The user table, if the log has one.
pub fn users_file(log: &Path) -> Option<PathBuf> {
    Some(log.join("users.parquet")).filter(|path| path.is_file())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, PrepareError> {
    let entries = fs::read_dir(folder).map_err(PrepareError::io("read", folder))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    paths.collect::<Result<_, _>>().map_err(PrepareError::io("read", folder))
}
