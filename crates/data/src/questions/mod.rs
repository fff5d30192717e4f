//! Question tables: what users did, what they then asked, and which of the moments between can be learned from.
//!
//! ```text
//! questions/
//!   manifest.json        windows, counts, steps, configuration, hash of every file
//!   users.vocab  events.vocab  objects.vocab  intents.vocab
//!   offsets.u64          the start of each user's events, [n_user_rows + 1]
//!   objects.u32  timestamps.i64  events.u8          [n_events]
//!   ask_offsets.u64      the start of each user's asks, [n_user_rows + 1]
//!   ask_places.u32  ask_intents.u32                 [n_asks]
//! ```
//! Little endian and memory-mapped.
//!
//! A behavior is an event and its object: the item, or what an `ask` asked; row 0 where there is neither, or the training part had it too seldom.
//! A moment is any event of a user; what is known at it is everything up to and including its place. Its label is which intents
//! the user asked in the window after it ([`Windows`]). Nothing is computed ahead: labels are looked up in the asks. Start at
//! [`Questions::open`]; [`QuestionsWriter`] makes one.

mod manifest;
mod writer;

use std::ops::Range;
use std::path::{Path, PathBuf};

pub use manifest::{FORMAT_VERSION, MomentCounts, QuestionDescription, QuestionManifest, Windows};
pub use writer::{QuestionEvent, QuestionTables, QuestionsWriter};

use crate::error::DataError;
use crate::folder::{self, MANIFEST};
use crate::id::UserIdx;
use crate::sequences::{Column, History, PackedSequences};
use crate::split::Part;
use crate::vocabulary::Vocabulary;

/// A question table, opened: vocabularies in memory, number columns mapped.
#[derive(Debug)]
pub struct Questions {
    folder: PathBuf,
    manifest: QuestionManifest,
    users: Vocabulary,
    event_names: Vocabulary,
    objects: Vocabulary,
    intents: Vocabulary,
    sequences: PackedSequences,
    asks: Asks,
}

/// Every user's asks end to end, in the order of their places.
#[derive(Debug)]
struct Asks {
    offsets: Column<u64>,
    places: Column<u32>,
    intents: Column<u32>,
}

impl Asks {
    /// Where the asks of `user` stand; empty for users past the end.
    fn range(&self, user: usize) -> Range<usize> {
        match self.offsets.get(user..user.saturating_add(2)) {
            Some(&[start, end]) => start as usize..end as usize,
            _ => 0..0,
        }
    }
}

/// A question that a user asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// When, in milliseconds UTC.
    pub timestamp_ms: i64,
    /// What: a row of [`Questions::intents`], 0 if the training part had it too seldom or the log does not say.
    pub intent: u32,
    /// Its place in the user's history.
    pub place: usize,
}

impl Questions {
    /// Whether the folder says of itself that it is a question table.
    pub fn is_at(folder: &Path) -> bool {
        folder::format_of(folder).is_some_and(|format| format == manifest::FORMAT)
    }

    /// Opens the table in `folder` and checks everything that later reads rely on; the hashes of the files are not compared (see
    /// [`Self::verify`]).
    ///
    /// # Errors
    /// [`DataError::NotAQuestionTable`], [`DataError::FormatVersion`], [`DataError::Damaged`] or [`DataError::Io`].
    pub fn open(folder: &Path) -> Result<Self, DataError> {
        if !folder.join(MANIFEST).is_file() {
            return Err(DataError::NotAQuestionTable { path: folder.to_owned() });
        }
        let manifest: QuestionManifest =
            folder::read_manifest(folder, manifest::FORMAT, FORMAT_VERSION)?;
        folder::check_files(folder, &manifest.files)?;
        let vocabulary = |name: &str| {
            let path = folder.join(name);
            Vocabulary::from_bytes(&folder::read(&path)?, &path)
        };
        let questions = Self {
            users: vocabulary("users.vocab")?,
            event_names: vocabulary("events.vocab")?,
            objects: vocabulary("objects.vocab")?,
            intents: vocabulary("intents.vocab")?,
            sequences: PackedSequences {
                offsets: folder::map(folder, "offsets.u64")?,
                items: folder::map(folder, "objects.u32")?,
                timestamps_ms: folder::map(folder, "timestamps.i64")?,
                events: folder::map(folder, "events.u8")?,
                ..PackedSequences::default()
            },
            asks: Asks {
                offsets: folder::map(folder, "ask_offsets.u64")?,
                places: folder::map(folder, "ask_places.u32")?,
                intents: folder::map(folder, "ask_intents.u32")?,
            },
            folder: folder.to_owned(),
            manifest,
        };
        questions.check().map_err(|reason| DataError::damaged(folder, reason))?;
        Ok(questions)
    }

    fn check(&self) -> Result<(), String> {
        let Self { manifest, users, sequences, asks, .. } = self;
        let n_users = users.len();
        if self.event_names.len() > 256 {
            return Err("more than 255 event names".into());
        }
        if sequences.n_user_rows() != n_users {
            return Err("offsets do not fit the user vocabulary".into());
        }
        sequences.check(self.objects.len(), self.event_names.len())?;
        if sequences.timestamps_ms.len() != sequences.n_events() {
            return Err("its events have no times".into());
        }
        let n_asks = asks.places.len();
        let ends = (asks.offsets.first(), asks.offsets.last());
        if asks.offsets.len() != n_users + 1
            || ends != (Some(&0), Some(&(n_asks as u64)))
            || !asks.offsets.is_sorted()
            || asks.intents.len() != n_asks
        {
            return Err("the asks of the users are not those of its files".into());
        }
        if asks.intents.iter().any(|intent| *intent as usize >= self.intents.len()) {
            return Err("an ask is of no intent of the vocabulary".into());
        }
        for user in 0..n_users {
            let times = self.history(user).timestamps_ms;
            let places = &asks.places[asks.range(user)];
            if !times.is_sorted() {
                return Err(format!("the events of user row {user} are out of order"));
            }
            if !places.is_sorted_by(|a, b| a < b)
                || places.last().is_some_and(|last| *last as usize >= times.len())
            {
                return Err(format!("the asks of user row {user} are out of order"));
            }
        }
        let counted = [users, &self.objects, &self.intents].map(|v| v.n_known() as u64);
        let counted = (counted, sequences.n_events() as u64, n_asks as u64);
        let QuestionManifest { n_users, n_objects, n_intents, n_events, n_asks, .. } = *manifest;
        if counted != ([n_users, n_objects, n_intents], n_events, n_asks) {
            return Err("its files do not hold as much as the manifest says".into());
        }
        manifest.windows.check()
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

    /// What the folder holds and how it was made.
    pub fn manifest(&self) -> &QuestionManifest {
        &self.manifest
    }

    /// Users with an event in any part; counts are their training events.
    pub fn users(&self) -> &Vocabulary {
        &self.users
    }

    /// Event names of the training part; histories name them by `u8`.
    pub fn event_names(&self) -> &Vocabulary {
        &self.event_names
    }

    /// Items and, as the objects of asks, intents of the training part; histories name them as items.
    pub fn objects(&self) -> &Vocabulary {
        &self.objects
    }

    /// What is asked: the intents of the training part.
    pub fn intents(&self) -> &Vocabulary {
        &self.intents
    }

    /// The number of user rows: those of [`Self::users`], the unknown user included, who is row 0 and has no events.
    pub fn n_users(&self) -> usize {
        self.users.len()
    }

    /// What a user did, asks included, oldest first; items are objects, and there are no values. Empty for users past the end.
    pub fn history(&self, user: usize) -> History<'_> {
        self.sequences.history(u32::try_from(user).map_or(UserIdx::UNKNOWN, UserIdx))
    }

    /// What a user asked, oldest first.
    pub fn asks(&self, user: usize) -> impl ExactSizeIterator<Item = Ask> + Clone + '_ {
        let times_ms = self.history(user).timestamps_ms;
        self.asks.range(user).map(move |at| {
            let place = self.asks.places[at] as usize;
            Ask { timestamp_ms: times_ms[place], intent: self.asks.intents[at], place }
        })
    }

    /// The places of a user's history that are moments of `part`: those in it whose whole window is in it too.
    pub fn moments(&self, user: usize, part: Part) -> Range<usize> {
        self.manifest.windows.moments(self.history(user).timestamps_ms, part)
    }

    /// Puts into `out` the intents that a user asks in the window after the moment at `place`, each once, ascending; what is of
    /// no known intent is none of them.
    ///
    /// # Panics
    /// If the history has no such place.
    pub fn asked(&self, user: usize, place: usize, out: &mut Vec<u32>) {
        let times_ms = self.history(user).timestamps_ms;
        let start_ms = times_ms[place];
        let end_ms = start_ms.saturating_add(self.manifest.windows.horizon_ms);
        let range = self.asks.range(user);
        let places = &self.asks.places[range.clone()];
        let n_until = |at_ms: i64| places.partition_point(|at| times_ms[*at as usize] <= at_ms);
        let in_window = range.start + n_until(start_ms)..range.start + n_until(end_ms);
        out.clear();
        out.extend(self.asks.intents[in_window].iter().filter(|intent| **intent != 0));
        out.sort_unstable();
        out.dedup();
    }
}
