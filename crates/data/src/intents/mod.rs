//! Intent tables: what customers wrote, masked, and what each text asks; what models of intents learn from.
//!
//! ```text
//! intents/
//!   manifest.json      the pipeline, counts, hash of every file
//!   intents.texts      names of the intents, ascending
//!   texts.u8           the clean texts, one after the other
//!   ends.u64           the end of each text, [n]
//!   labels.u32         0 for a text that asks for none of the intents, else 1 + the intent, [n]
//!   parts.u8           0 training, 1 validation, 2 test, [n]
//! ```
//! Little endian and memory-mapped. Start at [`IntentTable::open`]; [`IntentWriter`] makes one.

mod manifest;
mod writer;

use std::path::{Path, PathBuf};

pub use manifest::{FORMAT_VERSION, IntentCounts, IntentDescription, IntentManifest};
pub use writer::IntentWriter;

use crate::error::DataError;
use crate::folder::{self, MANIFEST};
use crate::sequences::Column;
use crate::split::Part;
use crate::texts::TextTable;

/// The parts, by what stands in the file.
const PARTS: [Part; 3] = [Part::Train, Part::Validation, Part::Test];

/// An intent table, opened.
#[derive(Debug)]
pub struct IntentTable {
    folder: PathBuf,
    /// What the folder holds and how it was made.
    pub manifest: IntentManifest,
    /// Names of the intents, ascending.
    pub intents: TextTable,
    texts: Column<u8>,
    ends: Column<u64>,
    labels: Column<u32>,
    parts: Column<u8>,
}

impl IntentTable {
    /// Whether the folder says of itself that it is an intent table.
    pub fn is_at(folder: &Path) -> bool {
        folder::format_of(folder).is_some_and(|format| format == manifest::FORMAT)
    }

    /// Opens the table in `folder` and checks everything that later reads rely on; the hashes of the files are not compared (see
    /// [`Self::verify`]).
    ///
    /// # Errors
    /// [`DataError::NotAnIntentTable`], [`DataError::FormatVersion`], [`DataError::Damaged`] or [`DataError::Io`].
    pub fn open(folder: &Path) -> Result<Self, DataError> {
        if !folder.join(MANIFEST).is_file() {
            return Err(DataError::NotAnIntentTable { path: folder.to_owned() });
        }
        let manifest: IntentManifest =
            folder::read_manifest(folder, manifest::FORMAT, FORMAT_VERSION)?;
        folder::check_files(folder, &manifest.files)?;
        let path = folder.join("intents.texts");
        let table = Self {
            folder: folder.to_owned(),
            intents: TextTable::from_bytes(&folder::read(&path)?, &path)?,
            texts: folder::map(folder, "texts.u8")?,
            ends: folder::map(folder, "ends.u64")?,
            labels: folder::map(folder, "labels.u32")?,
            parts: folder::map(folder, "parts.u8")?,
            manifest,
        };
        table.check().map_err(|reason| DataError::damaged(folder, reason))?;
        Ok(table)
    }

    fn check(&self) -> Result<(), String> {
        let Self { manifest, intents, texts, ends, labels, parts, .. } = self;
        let n = ends.len();
        if labels.len() != n || parts.len() != n {
            return Err("texts, labels and parts are not as many".into());
        }
        let all = std::str::from_utf8(texts).map_err(|_| "texts are not UTF-8")?;
        let mut start = 0;
        for end in ends.iter() {
            let end = usize::try_from(*end).unwrap_or(usize::MAX);
            if all.get(start..end).is_none() {
                return Err("a text is reversed or cuts a character".into());
            }
            start = end;
        }
        if start != all.len() {
            return Err("there are texts that are no row".into());
        }
        if !labels.iter().all(|label| (*label as usize) <= intents.len()) {
            return Err("a label is of no intent".into());
        }
        let names: Vec<&str> = intents.iter().collect();
        if !names.is_sorted_by(|a, b| a < b) || manifest.n_intents != names.len() as u64 {
            return Err("its intents are out of order".into());
        }
        let mut counts = [IntentCounts::default(); 3];
        for (part, label) in parts.iter().zip(labels.iter()) {
            let counts = counts.get_mut(usize::from(*part)).ok_or("a text is of no part")?;
            counts.n_texts += 1;
            counts.n_out_of_scope += u64::from(*label == 0);
        }
        match counts == manifest.parts {
            true => Ok(()),
            false => Err("its parts are not as large as the manifest says".into()),
        }
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

    /// Number of texts.
    pub fn n_texts(&self) -> usize {
        self.ends.len()
    }

    /// The text of a row, clean.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn text(&self, row: usize) -> &str {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        let bytes = &self.texts[start as usize..self.ends[row] as usize];
        std::str::from_utf8(bytes).expect("checked when the table was opened")
    }

    /// What a row asks, as a place in [`Self::intents`]; `None` for none of them.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn label(&self, row: usize) -> Option<u32> {
        self.labels[row].checked_sub(1)
    }

    /// The part of a row.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn part(&self, row: usize) -> Part {
        PARTS[usize::from(self.parts[row])]
    }

    /// The rows of a part, in the order of the input.
    pub fn rows(&self, part: Part) -> Vec<usize> {
        (0..self.n_texts()).filter(|row| self.part(*row) == part).collect()
    }
}
