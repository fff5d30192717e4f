//! `manifest.json`: what a dataset folder holds, where it came from and what was dropped on the way.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::features::FeatureNames;
use crate::folder::FileEntry;
use crate::id::ItemIdx;
use crate::sequences::History;
use crate::split::{EventOrder, Protocol};

/// The newest dataset format that this program writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// Whether items that a user has already acted on may be recommended to that user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeenItems {
    /// They are left out of every list.
    #[default]
    Exclude,
    /// They stay: people buy the same things again.
    Keep,
    /// Those are left out that the user came to by this event, an index into the event names: what was bought, where what was
    /// only looked at may still be bought.
    ExcludeEvent(u8),
}

impl SeenItems {
    /// The items of `history` that are left out, as often as they are there. Where nothing is known of events, all were of
    /// the one that counts.
    pub fn hidden(self, history: History<'_>) -> impl Iterator<Item = ItemIdx> + '_ {
        let is_hidden = move |place: usize| match self {
            Self::Exclude => true,
            Self::Keep => false,
            Self::ExcludeEvent(event) => history.events.get(place).is_none_or(|own| *own == event),
        };
        (0..history.items.len())
            .filter(move |place| is_hidden(*place))
            .map(|place| history.items[place])
    }
}

/// What one step of the preparation did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StepReport {
    /// Name of the step: `duplicates`, `cancellations`, `k-core`.
    pub step: String,
    /// Rows before the step.
    pub n_rows_in: u64,
    /// Rows after the step.
    pub n_rows_out: u64,
    /// Users with a row after the step; sessions, where these are the dataset's sequences.
    pub n_users: u64,
    /// Items with a row after the step.
    pub n_items: u64,
    /// What was dropped or changed, by reason, largest first.
    pub reasons: Vec<Reason>,
}

/// One reason of a [`StepReport`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// In words a person understands.
    pub reason: String,
    /// How many rows it concerned.
    pub n_rows: u64,
}

/// Sizes of a dataset; unknown buckets are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Users with at least one event.
    pub n_users: u64,
    /// Items of the vocabulary.
    pub n_items: u64,
    /// Events of all parts.
    pub n_events: u64,
    /// Events of the training part.
    pub n_train: u64,
    /// Events of the validation part.
    pub n_validation: u64,
    /// Events of the test part.
    pub n_test: u64,
    /// Validation and test events whose item the vocabulary does not hold.
    pub n_unknown_targets: u64,
}

/// What the writer of a dataset knows beside the sequences and tables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// How the parts were made.
    pub protocol: Protocol,
    /// Whether seen items are masked when this dataset is evaluated and served.
    pub seen: SeenItems,
    /// The event that is to be predicted, an index into the event names: others are known of a user, but not asked for. `None`
    /// if any event counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_event: Option<u8>,
    /// False if the log has an order but no times: windows of days make no sense then.
    pub has_time: bool,
    /// What ordered each user's events, and so cut the parts.
    pub order: EventOrder,
    /// SHA-256 of the input: of the one file, or of the sorted list of hashes if there are many.
    pub data_hash: String,
    /// The configuration that made it, after all defaults.
    pub config: serde_json::Value,
    /// What each step did.
    pub steps: Vec<StepReport>,
    /// Item attributes that are encoded and hold moments, under a split by time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attribute_moments: Vec<AttributeMoments>,
}

impl Description {
    /// Which seen items lists leave out where this dataset is measured and nobody asks otherwise: those of
    /// [`Self::seen`], and none under the session protocol, which asks for repeats too.
    pub fn seen_when_measured(&self) -> SeenItems {
        match self.protocol {
            Protocol::Session { .. } => SeenItems::Keep,
            Protocol::LooFull | Protocol::GlobalTime { .. } => self.seen,
        }
    }
}

/// An item attribute whose values are moments, put against the cut: something that happened after the test part began
/// cannot have been known at the cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributeMoments {
    /// The column of the catalog.
    pub column: String,
    /// Items with training events and a moment.
    pub n_items: u64,
    /// Those of them whose moment is not before the test part.
    pub n_after_test_start: u64,
    /// The first of those, as id and value.
    pub examples: Vec<String>,
}

/// `manifest.json`. Holds no clock times and no paths: the same input and configuration give the
/// same bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always `forecart-dataset`.
    pub format: String,
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Version of the program that wrote it.
    pub forecart_version: String,
    /// SHA-256 over the names and hashes of all files.
    pub content_hash: String,
    /// Sizes.
    pub counts: Counts,
    /// Where it came from and what was done.
    #[serde(flatten)]
    pub description: Description,
    /// Columns of the item features.
    pub feature_names: FeatureNames,
    /// The files, by name.
    pub files: BTreeMap<String, FileEntry>,
}
