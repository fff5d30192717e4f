//! What training and serving share: ids, events, vocabularies, encoders, packed sequences and the
//! dataset folder.
//!
//! This crate knows no model, no query engine and no async. Start at [`Dataset::open`] for a dataset that
//! stands on disk, at [`DatasetWriter`] for making one.

mod error;
mod id;

pub mod event;

mod texts;
mod vocabulary;

pub mod encode;
pub mod features;

mod progress;
mod sequences;
mod split;

mod background;
pub mod dataset;
mod folder;
pub mod intents;
pub mod orders;
pub mod questions;
pub mod samples;
pub mod storage;

mod journal;

pub use background::{BackgroundFile, WrittenFile};
pub use dataset::{Dataset, DatasetWriter, Manifest, SeenItems};
pub use error::DataError;
pub use features::ItemFeatures;
pub use id::{ItemId, ItemIdx, UserId, UserIdx};
pub use intents::{IntentTable, IntentWriter};
pub use journal::Journal;
pub use orders::{OrderTable, OrderWriter};
pub use progress::{Progress, Silent};
pub use questions::{Questions, QuestionsWriter};
pub use samples::{SampleTable, SampleWriter};
pub use sequences::{Column, History, PackedSequences};
pub use split::{EventOrder, Part, Protocol, Split};
pub use texts::TextTable;
pub use vocabulary::Vocabulary;
