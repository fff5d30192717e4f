//! The dataset folder: what `prepare` writes, and what training, evaluation and serving read.
//!
//! ```text
//! dataset/
//!   manifest.json        counts, protocol, steps, configuration, hash of every file
//!   users.vocab  items.vocab  events.vocab
//!   titles.texts         title of each item row, for people
//!   encoders.json        the fitted encoders: the same object that serving uses
//!   offsets.u64  items.u32  timestamps.i64  events.u8  sessions.u32  values.f32
//!   validation_start.u32  test_start.u32
//!   dense.f32  sparse_offsets.u64  sparse_indices.u32
//! ```
//! Number columns are little endian and memory-mapped. Start at [`Dataset::open`].

mod manifest;
mod writer;

use std::path::{Path, PathBuf};

pub use manifest::{
    AttributeMoments, Counts, Description, FORMAT_VERSION, Manifest, Reason, SeenItems, StepReport,
};
pub use writer::{DatasetWriter, EventRow, Tables};

use crate::encode::FeatureProgram;
use crate::error::DataError;
use crate::features::ItemFeatures;
pub use crate::folder::FileEntry;
use crate::folder::{MANIFEST, check_files, map, read, read_manifest, verify_files};
use crate::id::{ItemIdx, UserIdx};
use crate::sequences::{History, PackedSequences};
use crate::split::{Part, Split};
use crate::texts::TextTable;
use crate::vocabulary::Vocabulary;

/// A prepared dataset, opened: vocabularies in memory, number columns mapped.
#[derive(Debug)]
pub struct Dataset {
    folder: PathBuf,
    /// What the folder holds and how it was made.
    pub manifest: Manifest,
    /// Users; counts are their training events.
    pub users: Vocabulary,
    /// Items; counts are their training events.
    pub items: Vocabulary,
    /// Event names; the sequences name them by `u8`.
    pub event_names: Vocabulary,
    /// Title of each item row; empty where the catalog has none.
    pub titles: TextTable,
    /// The fitted encoders of item attributes.
    pub encoders: FeatureProgram,
    /// All events.
    pub sequences: PackedSequences,
    /// Where validation and test start.
    pub split: Split,
    /// Encoded item attributes.
    pub item_features: ItemFeatures,
}

impl Dataset {
    /// Opens the dataset in `folder` and checks everything that later reads rely on.
    ///
    /// The lengths of all files and the ranges of all indices are checked; their hashes are not
    /// (see [`Self::verify`]).
    ///
    /// # Errors
    /// [`DataError::NotADataset`], [`DataError::FormatVersion`], [`DataError::Damaged`], or
    /// [`DataError::Io`].
    pub fn open(folder: &Path) -> Result<Self, DataError> {
        if !folder.join(MANIFEST).is_file() {
            return Err(DataError::NotADataset { path: folder.to_owned() });
        }
        let manifest: Manifest = read_manifest(folder, "forecart-dataset", FORMAT_VERSION)?;
        check_files(folder, &manifest.files)?;
        let encoders_path = folder.join("encoders.json");
        let encoders = serde_json::from_slice(&read(&encoders_path)?)
            .map_err(|error| DataError::damaged(&encoders_path, error.to_string()))?;
        let titles_path = folder.join("titles.texts");
        let dataset = Self {
            users: vocabulary(folder, "users.vocab")?,
            items: vocabulary(folder, "items.vocab")?,
            event_names: vocabulary(folder, "events.vocab")?,
            titles: TextTable::from_bytes(&read(&titles_path)?, &titles_path)?,
            encoders,
            sequences: PackedSequences {
                offsets: map(folder, "offsets.u64")?,
                items: map(folder, "items.u32")?,
                timestamps_ms: map(folder, "timestamps.i64")?,
                events: map(folder, "events.u8")?,
                sessions: map(folder, "sessions.u32")?,
                values: map(folder, "values.f32")?,
            },
            split: Split {
                validation_start: map(folder, "validation_start.u32")?,
                test_start: map(folder, "test_start.u32")?,
            },
            item_features: ItemFeatures {
                names: manifest.feature_names.clone(),
                dense: map(folder, "dense.f32")?,
                sparse_offsets: map(folder, "sparse_offsets.u64")?,
                sparse_indices: map(folder, "sparse_indices.u32")?,
            },
            folder: folder.to_owned(),
            manifest,
        };
        dataset.check().map_err(|reason| DataError::damaged(folder, reason))?;
        Ok(dataset)
    }

    fn check(&self) -> Result<(), String> {
        let (n_items, n_users) = (self.items.len(), self.users.len());
        if self.sequences.n_user_rows() != n_users {
            return Err("offsets do not fit the user vocabulary".into());
        }
        if self.event_names.len() > 256 {
            return Err("more than 255 event names".into());
        }
        self.sequences.check(n_items, self.event_names.len())?;
        let n_events = self.sequences.n_events();
        let lengths =
            [("sessions", self.sequences.sessions.len()), ("values", self.sequences.values.len())];
        for (name, len) in lengths {
            if len != n_events {
                return Err(format!("{name} has {len} entries, items has {n_events}"));
            }
        }
        if let Some(target) = self.manifest.description.target_event
            && usize::from(target) >= self.event_names.len()
        {
            return Err("the target event is none of the event names".into());
        }
        if self.titles.len() != n_items {
            return Err("titles do not fit the item vocabulary".into());
        }
        let (validation, test) = (&self.split.validation_start, &self.split.test_start);
        if validation.len() != n_users || test.len() != n_users {
            return Err("the split does not fit the user vocabulary".into());
        }
        for user in 0..n_users {
            let n_events = self.sequences.range(UserIdx(user as u32)).len();
            if validation[user] > test[user] || test[user] as usize > n_events {
                return Err(format!("the split of user row {user} is out of range"));
            }
        }
        self.item_features.check(n_items)
    }

    /// Reads every file and compares it with the hash in the manifest.
    ///
    /// # Errors
    /// [`DataError::Damaged`] names the first file that differs.
    pub fn verify(&self) -> Result<(), DataError> {
        verify_files(&self.folder, &self.manifest.files)
    }

    /// The folder that was opened.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// All known users, in index order.
    pub fn user_indices(&self) -> impl Iterator<Item = UserIdx> + Clone + use<> {
        (1..self.users.len() as u32).map(UserIdx)
    }

    /// What is known of `user` when `part` begins: everything for training before it.
    ///
    /// `Part::Train` gives an empty history, `Part::Validation` the training events, `Part::Test`
    /// the training and validation events.
    pub fn history_before(&self, user: UserIdx, part: Part) -> History<'_> {
        let all = self.sequences.history(user);
        all.slice(0..self.start_of(user, part))
    }

    /// The events of `user` in `part`: the ground truth where `part` is not for training.
    pub fn events_in(&self, user: UserIdx, part: Part) -> History<'_> {
        let all = self.sequences.history(user);
        let end = match part {
            Part::Train => self.start_of(user, Part::Validation),
            Part::Validation => self.start_of(user, Part::Test),
            Part::Test => all.items.len(),
        };
        all.slice(self.start_of(user, part)..end)
    }

    /// The items of `user` in `part` that are to be found, in order: those of the target event, where the dataset has one.
    pub fn targets(&self, user: UserIdx, part: Part) -> Vec<ItemIdx> {
        let events = self.events_in(user, part);
        let places = 0..events.items.len();
        places.filter(|p| self.is_target(events, *p)).map(|p| events.items[p]).collect()
    }

    /// Whether the event at `place` of `events` is of the kind that is to be predicted.
    ///
    /// # Panics
    /// If the dataset has a target event and `place` is past the events.
    pub fn is_target(&self, events: History<'_>, place: usize) -> bool {
        let target = self.manifest.description.target_event;
        target.is_none_or(|target| events.events[place] == target)
    }

    /// How often each item row was chosen in the training part by the event that is to be predicted; by any, where the dataset
    /// names none.
    pub fn training_choices(&self) -> Vec<u64> {
        let mut counts = vec![0; self.items.len()];
        for user in self.user_indices() {
            for item in self.targets(user, Part::Train) {
                counts[item.row()] += 1;
            }
        }
        counts[ItemIdx::UNKNOWN.row()] = 0;
        counts
    }

    fn start_of(&self, user: UserIdx, part: Part) -> usize {
        let starts = match part {
            Part::Train => return 0,
            Part::Validation => &self.split.validation_start,
            Part::Test => &self.split.test_start,
        };
        starts.get(user.row()).map_or(0, |start| *start as usize)
    }
}

fn vocabulary(folder: &Path, name: &str) -> Result<Vocabulary, DataError> {
    let path = folder.join(name);
    Vocabulary::from_bytes(&read(&path)?, &path)
}
