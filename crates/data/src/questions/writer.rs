//! Writes a question table, the events as a stream.

use std::path::Path;

use super::manifest::{
    FORMAT, FORMAT_VERSION, MomentCounts, QuestionDescription, QuestionManifest, Windows,
};
use crate::background::{BackgroundFile, WrittenFile};
use crate::error::DataError;
use crate::folder::{self, FileEntry, Files};
use crate::id::ItemIdx;
use crate::split::Part;
use crate::storage::Replacement;
use crate::vocabulary::Vocabulary;

/// An event on its way into a question table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuestionEvent {
    /// Milliseconds UTC, not before the user's event before it.
    pub timestamp_ms: i64,
    /// A row of the event names.
    pub event: u8,
    /// A row of the objects.
    pub object: u32,
    /// Of an ask, the row of its intent, 0 if that is unknown; `None` of any other event.
    pub intent: Option<u32>,
}

/// Everything of a question table but its events.
#[derive(Debug)]
pub struct QuestionTables {
    /// Users in the order in which their events were pushed.
    pub users: Vocabulary,
    /// Event names.
    pub event_names: Vocabulary,
    /// Objects of events.
    pub objects: Vocabulary,
    /// What is asked.
    pub intents: Vocabulary,
    /// Provenance.
    pub description: QuestionDescription,
}

/// Streams a question table into a temporary folder and puts it in place at the end.
///
/// Users are pushed in index order from 1: events with [`Self::push`], oldest first, then [`Self::end_user`].
///
/// # Cost
/// Memory grows with the events of one user.
#[derive(Debug)]
pub struct QuestionsWriter {
    replacement: Replacement,
    windows: Windows,
    offsets: BackgroundFile,
    objects: BackgroundFile,
    timestamps: BackgroundFile,
    events: BackgroundFile,
    ask_offsets: BackgroundFile,
    ask_places: BackgroundFile,
    ask_intents: BackgroundFile,
    /// Of the current user.
    times_ms: Vec<i64>,
    /// When the current user asked something known.
    known_asks_ms: Vec<i64>,
    n_rows: usize,
    n_events: u64,
    n_asks: u64,
    parts: [MomentCounts; 3],
    /// The largest rows that were pushed: event, object, intent.
    largest: (u8, u32, u32),
}

impl QuestionsWriter {
    /// Starts a table that will stand in `folder`, with moments by `windows`.
    ///
    /// # Errors
    /// [`DataError::Inconsistent`] if the windows make no sense, [`DataError::Io`] if the files cannot be made.
    pub fn new(folder: &Path, windows: Windows) -> Result<Self, DataError> {
        windows.check().map_err(|reason| DataError::Inconsistent { reason })?;
        let replacement = Replacement::folder(folder)?;
        let file = |name: &str| BackgroundFile::create(&replacement.path().join(name), true);
        let mut writer = Self {
            windows,
            offsets: file("offsets.u64")?,
            objects: file("objects.u32")?,
            timestamps: file("timestamps.i64")?,
            events: file("events.u8")?,
            ask_offsets: file("ask_offsets.u64")?,
            ask_places: file("ask_places.u32")?,
            ask_intents: file("ask_intents.u32")?,
            replacement,
            times_ms: Vec::new(),
            known_asks_ms: Vec::new(),
            n_rows: 0,
            n_events: 0,
            n_asks: 0,
            parts: Default::default(),
            largest: (0, 0, 0),
        };
        writer.offsets.push(&[0u64])?;
        writer.ask_offsets.push(&[0u64])?;
        writer.end_user()?; // the unknown user
        Ok(writer)
    }

    /// Adds an event of the current user.
    ///
    /// # Errors
    /// [`DataError::Inconsistent`] if it is before the event before it, [`DataError::TooMany`], [`DataError::Io`].
    pub fn push(&mut self, event: QuestionEvent) -> Result<(), DataError> {
        let QuestionEvent { timestamp_ms, event, object, intent } = event;
        if self.times_ms.last().is_some_and(|last| *last > timestamp_ms) {
            return Err(DataError::Inconsistent { reason: "events are not oldest first".into() });
        }
        let place = u32::try_from(self.times_ms.len())
            .map_err(|_| DataError::TooMany { what: "one user's history" })?;
        self.times_ms.push(timestamp_ms);
        self.objects.push(&[ItemIdx(object)])?;
        self.timestamps.push(&[timestamp_ms])?;
        self.events.push(&[event])?;
        if let Some(intent) = intent {
            self.ask_places.push(&[place])?;
            self.ask_intents.push(&[intent])?;
            self.n_asks += 1;
            if intent != 0 {
                self.known_asks_ms.push(timestamp_ms);
            }
        }
        let (last_event, last_object, last_intent) = self.largest;
        let intent = intent.unwrap_or_default();
        self.largest = (last_event.max(event), last_object.max(object), last_intent.max(intent));
        Ok(())
    }

    /// Ends the current user.
    ///
    /// # Errors
    /// [`DataError::Io`].
    pub fn end_user(&mut self) -> Result<(), DataError> {
        let Self { windows, times_ms, known_asks_ms, parts, .. } = self;
        for (part, counts) in [Part::Train, Part::Validation, Part::Test].into_iter().zip(parts) {
            let moments = windows.moments(times_ms, part);
            counts.n_moments += moments.len() as u64;
            counts.n_open += windows.n_open(times_ms, part) as u64;
            let is_asked = |at_ms: &&i64| {
                let next = known_asks_ms.partition_point(|asked_ms| *asked_ms <= **at_ms);
                let end_ms = at_ms.saturating_add(windows.horizon_ms);
                known_asks_ms.get(next).is_some_and(|asked_ms| *asked_ms <= end_ms)
            };
            counts.n_asked += times_ms[moments].iter().filter(is_asked).count() as u64;
        }
        self.n_rows += 1;
        self.n_events += self.times_ms.len() as u64;
        self.times_ms.clear();
        self.known_asks_ms.clear();
        self.offsets.push(&[self.n_events])?;
        self.ask_offsets.push(&[self.n_asks])
    }

    /// Sizes of the parts, of the users that were ended.
    pub fn parts(&self) -> [MomentCounts; 3] {
        self.parts
    }

    /// Writes the vocabularies and the manifest, syncs, and puts the folder in place of an older one.
    ///
    /// # Errors
    /// [`DataError::Inconsistent`] if the vocabularies do not fit what was pushed, [`DataError::Io`].
    pub fn finish(self, tables: QuestionTables) -> Result<QuestionManifest, DataError> {
        let QuestionTables { users, event_names, objects, intents, description } = tables;
        let inconsistent = |reason: String| Err(DataError::Inconsistent { reason });
        if users.len() != self.n_rows || !self.times_ms.is_empty() {
            return inconsistent(format!("{} user rows, {} were pushed", users.len(), self.n_rows));
        }
        if event_names.len() > 256 {
            return inconsistent("more than 255 event names".into());
        }
        let (event, object, intent) = self.largest;
        if usize::from(event) >= event_names.len()
            || object as usize >= objects.len()
            || intent as usize >= intents.len()
        {
            return inconsistent("an event is past the vocabularies".into());
        }
        let columns = [
            ("offsets.u64", self.offsets),
            ("objects.u32", self.objects),
            ("timestamps.i64", self.timestamps),
            ("events.u8", self.events),
            ("ask_offsets.u64", self.ask_offsets),
            ("ask_places.u32", self.ask_places),
            ("ask_intents.u32", self.ask_intents),
        ];
        let mut files = Files::new();
        for (name, column) in columns {
            let WrittenFile { n_bytes, sha256 } = column.finish()?;
            let entry = FileEntry { n_bytes, sha256: sha256.unwrap_or_default() };
            files.insert(name.to_owned(), entry);
        }
        let root = self.replacement.path().to_owned();
        let vocabularies = [
            ("users.vocab", &users),
            ("events.vocab", &event_names),
            ("objects.vocab", &objects),
            ("intents.vocab", &intents),
        ];
        for (name, vocabulary) in vocabularies {
            folder::write(&root, name, &vocabulary.to_bytes(), &mut files)?;
        }
        let manifest = QuestionManifest {
            format: FORMAT.into(),
            format_version: FORMAT_VERSION,
            forecart_version: env!("CARGO_PKG_VERSION").into(),
            content_hash: folder::content_hash(&files),
            n_users: users.n_known() as u64,
            n_objects: objects.n_known() as u64,
            n_intents: intents.n_known() as u64,
            n_events: self.n_events,
            n_asks: self.n_asks,
            parts: self.parts,
            windows: self.windows,
            description,
            files,
        };
        folder::write_manifest(&root, &manifest)?;
        self.replacement.commit()?;
        Ok(manifest)
    }
}
