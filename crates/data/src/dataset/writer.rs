//! Writes a dataset folder, the sequences as a stream.

use std::collections::BTreeMap;
use std::path::Path;

use bytemuck::cast_slice;

use super::manifest::{Counts, Description, FORMAT_VERSION, Manifest};
use crate::background::BackgroundFile;
use crate::encode::FeatureProgram;
use crate::error::DataError;
use crate::features::ItemFeatures;
use crate::folder::{self, FileEntry};
use crate::id::ItemIdx;
use crate::storage::Replacement;
use crate::texts::TextTable;
use crate::vocabulary::Vocabulary;

/// One event on its way into the packed sequences.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EventRow {
    /// The item; unknown if the vocabulary does not hold it.
    pub item: ItemIdx,
    /// Milliseconds UTC; ignored if the dataset has no times.
    pub timestamp_ms: i64,
    /// Index into the event vocabulary.
    pub event: u8,
    /// Ordinal of the session within the user.
    pub session: u32,
    /// How much the event says: the value of the log; where it has none, the units; else 1.
    pub value: f32,
}

/// Everything of a dataset but the sequences and their split.
#[derive(Debug)]
pub struct Tables {
    /// Users in the order in which their events were pushed.
    pub users: Vocabulary,
    /// Items.
    pub items: Vocabulary,
    /// Event names.
    pub event_names: Vocabulary,
    /// A title for each item row, row 0 included.
    pub titles: TextTable,
    /// Fitted encoders of item attributes.
    pub encoders: FeatureProgram,
    /// Encoded item attributes.
    pub item_features: ItemFeatures,
    /// Provenance.
    pub description: Description,
}

/// Streams a dataset into a temporary folder and puts it in place at the end.
///
/// Users are pushed in index order from 1: events with [`Self::push`], then [`Self::end_user`].
/// Memory does not grow with the number of events.
#[derive(Debug)]
pub struct DatasetWriter {
    folder: Replacement,
    has_time: bool,
    offsets: BackgroundFile,
    items: BackgroundFile,
    timestamps: BackgroundFile,
    events: BackgroundFile,
    sessions: BackgroundFile,
    values: BackgroundFile,
    validation_start: BackgroundFile,
    test_start: BackgroundFile,
    n_users: usize,
    n_user_events: u32,
    user_targets_unknown: Vec<bool>,
    counts: Counts,
}

impl DatasetWriter {
    /// Starts a dataset that will stand in `folder`. `has_time` is false if the log has an order
    /// but no times.
    ///
    /// # Errors
    /// [`DataError::Io`] if the files cannot be made.
    pub fn new(folder: &Path, has_time: bool) -> Result<Self, DataError> {
        let folder = Replacement::folder(folder)?;
        let file = |name: &str| BackgroundFile::create(&folder.path().join(name), true);
        let mut writer = Self {
            offsets: file("offsets.u64")?,
            items: file("items.u32")?,
            timestamps: file("timestamps.i64")?,
            events: file("events.u8")?,
            sessions: file("sessions.u32")?,
            values: file("values.f32")?,
            validation_start: file("validation_start.u32")?,
            test_start: file("test_start.u32")?,
            folder,
            has_time,
            n_users: 0,
            n_user_events: 0,
            user_targets_unknown: Vec::new(),
            counts: Counts::default(),
        };
        writer.offsets.push(&[0u64])?;
        writer.end_user_row(0, 0)?; // the unknown user
        Ok(writer)
    }

    /// The temporary folder: room for a caller's own intermediate files, which it must remove.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Adds an event of the current user.
    ///
    /// # Errors
    /// [`DataError::Io`] if it cannot be written.
    pub fn push(&mut self, row: EventRow) -> Result<(), DataError> {
        self.items.push(&[row.item])?;
        if self.has_time {
            self.timestamps.push(&[row.timestamp_ms])?;
        }
        self.events.push(&[row.event])?;
        self.sessions.push(&[row.session])?;
        self.values.push(&[row.value])?;
        self.user_targets_unknown.push(!row.item.is_known());
        self.n_user_events = self
            .n_user_events
            .checked_add(1)
            .ok_or(DataError::TooMany { what: "one user's history" })?;
        Ok(())
    }

    /// Ends the current user: events from `validation_start` and from `test_start` on, counted
    /// within the user, are for validation and test.
    ///
    /// # Errors
    /// [`DataError::Inconsistent`] if the parts are reversed or past the user's events.
    pub fn end_user(&mut self, validation_start: u32, test_start: u32) -> Result<(), DataError> {
        let n = self.n_user_events;
        if validation_start > test_start || test_start > n {
            let reason = format!("parts {validation_start}, {test_start} of {n} events");
            return Err(DataError::Inconsistent { reason });
        }
        self.counts.n_users += 1;
        self.counts.n_events += u64::from(n);
        self.counts.n_train += u64::from(validation_start);
        self.counts.n_validation += u64::from(test_start - validation_start);
        self.counts.n_test += u64::from(n - test_start);
        let targets = &self.user_targets_unknown[validation_start as usize..];
        self.counts.n_unknown_targets += targets.iter().filter(|unknown| **unknown).count() as u64;
        self.end_user_row(validation_start, test_start)
    }

    fn end_user_row(&mut self, validation_start: u32, test_start: u32) -> Result<(), DataError> {
        self.offsets.push(&[self.counts.n_events])?;
        self.validation_start.push(&[validation_start])?;
        self.test_start.push(&[test_start])?;
        self.n_users += 1;
        self.n_user_events = 0;
        self.user_targets_unknown.clear();
        Ok(())
    }

    /// Writes the tables and the manifest, syncs, and puts the folder in place of an older one.
    ///
    /// # Errors
    /// [`DataError::Inconsistent`] if the tables do not fit what was pushed, [`DataError::Io`]
    /// if anything cannot be written.
    pub fn finish(self, tables: Tables) -> Result<Manifest, DataError> {
        let Self { folder: replacement, n_users, mut counts, .. } = self;
        let root = replacement.path().to_owned();
        if tables.users.len() != n_users {
            let reason = format!("{} user rows, {n_users} were pushed", tables.users.len());
            return Err(DataError::Inconsistent { reason });
        }
        if tables.event_names.len() > 256 {
            return Err(DataError::Inconsistent { reason: "more than 255 event names".into() });
        }
        tables
            .item_features
            .check(tables.items.len())
            .map_err(|reason| DataError::Inconsistent { reason })?;
        counts.n_items = tables.items.n_known() as u64;
        let columns = [
            ("offsets.u64", self.offsets),
            ("items.u32", self.items),
            ("timestamps.i64", self.timestamps),
            ("events.u8", self.events),
            ("sessions.u32", self.sessions),
            ("values.f32", self.values),
            ("validation_start.u32", self.validation_start),
            ("test_start.u32", self.test_start),
        ];
        let mut entries = BTreeMap::new();
        for (name, column) in columns {
            let written = column.finish()?;
            let sha256 = written.sha256.unwrap_or_default();
            entries.insert(name.to_owned(), FileEntry { n_bytes: written.n_bytes, sha256 });
        }
        let encoders = serde_json::to_vec_pretty(&tables.encoders)
            .map_err(|error| DataError::Inconsistent { reason: error.to_string() })?;
        let features = &tables.item_features;
        let files: [(&str, &[u8]); 8] = [
            ("users.vocab", &tables.users.to_bytes()),
            ("items.vocab", &tables.items.to_bytes()),
            ("events.vocab", &tables.event_names.to_bytes()),
            ("titles.texts", &tables.titles.to_bytes()),
            ("encoders.json", &encoders),
            ("dense.f32", cast_slice(&features.dense)),
            ("sparse_offsets.u64", cast_slice(&features.sparse_offsets)),
            ("sparse_indices.u32", cast_slice(&features.sparse_indices)),
        ];
        for (name, bytes) in files {
            folder::write(&root, name, bytes, &mut entries)?;
        }
        let manifest = manifest(entries, counts, tables);
        folder::write_manifest(&root, &manifest)?;
        replacement.commit()?;
        Ok(manifest)
    }
}

fn manifest(files: BTreeMap<String, FileEntry>, counts: Counts, tables: Tables) -> Manifest {
    Manifest {
        format: "forecart-dataset".into(),
        format_version: FORMAT_VERSION,
        forecart_version: env!("CARGO_PKG_VERSION").into(),
        content_hash: folder::content_hash(&files),
        counts,
        description: tables.description,
        feature_names: tables.item_features.names,
        files,
    }
}
