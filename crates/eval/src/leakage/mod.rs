//! Finds test data that has leaked into what a model may learn from.
//!
//! [`find_leaks`] reads a prepared dataset, [`find_sample_leaks`] a sample table, no model: whatever it finds would flatter every model that looks at it. What
//! is searched for stands in [`LeakKind`]. Exact rules (an event on the wrong side of the cut) report every case;
//! statistical ones (an attribute that knows the future) have thresholds that untouched public data stays well below, and
//! need effects that are many standard errors from nothing.
//!
//! Held-out events are those of the kind that is to be predicted, where the dataset names one: nothing else is asked for.
//!
//! What cannot be seen stands in docs/measurements.md: what only a person can know, such as an attribute that was computed
//! from later visits but does not tell what is bought, and leaks of the raw log that preparation already removed.

mod times;

mod duplicates;
mod twins;

mod future;
mod ranks;

mod attributes;
mod ids;
mod people;

mod samples;

use std::fmt;

use forecart_data::{Dataset, UserIdx};
use serde::{Deserialize, Serialize};

use self::future::Future;
pub use self::samples::find_sample_leaks;
use crate::report::grouped;

/// What kind of leak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeakKind {
    /// Under a split by time: an event stands in a part whose time it does not belong to.
    EventAcrossCut,
    /// Under a split by sessions: training sessions end after test sessions do.
    SessionAfterTest,
    /// A user's held-out event is older than one that may be learned from.
    OrderBroken,
    /// A held-out event stands in the training part too: same user, item, event and time, or always the same time before it.
    DuplicateRow,
    /// A held-out event, or what a user did before it and the event, stand in the training part of another user.
    DuplicateUser,
    /// The item counts of the vocabulary, which models and encoders use, hold more than the training events.
    CountsOfTheFuture,
    /// An attribute of items, a word of their titles or a value of training events tells what is chosen in the test part, beyond
    /// what came before it tells; or an attribute names the users who choose the item.
    AttributeOfTheFuture,
    /// An attribute of items is a moment after the cut, for items that were there before it.
    MomentAfterCut,
    /// Ids of items, or their order, tell what is chosen in the test part.
    ItemIdOfTheFuture,
    /// Ids of items were made from the log, held-out parts included: in the order of first moments, or of last ones.
    ItemIdTellsTime,
    /// Ids that grow with time are an attribute that models learn from.
    IdAsAttribute,
    /// Ids of users hold the id of the item that they choose in the test part, or are ordered by it.
    UserIdOfTheFuture,
    /// Ids of users are in the order of their last events, which the held-out parts hold.
    UserIdTellsTime,
    /// A column of a sample table tells the outcome, as what is written down after it does.
    OutcomeAsColumn,
}

impl LeakKind {
    /// The kind in words, for the start of a line.
    pub fn words(self) -> &'static str {
        match self {
            Self::EventAcrossCut => "events on the wrong side of the cut",
            Self::SessionAfterTest => "training sessions later than test sessions",
            Self::OrderBroken => "held-out events older than training events",
            Self::DuplicateRow => "held-out rows repeated in the training part",
            Self::DuplicateUser => "held-out events repeated under another id",
            Self::CountsOfTheFuture => "item counts that hold held-out events",
            Self::AttributeOfTheFuture => "an item attribute that knows the test part",
            Self::MomentAfterCut => "an item attribute that is a moment after the cut",
            Self::ItemIdOfTheFuture => "item ids that know the test part",
            Self::ItemIdTellsTime => "item ids that tell the time",
            Self::IdAsAttribute => "an id that tells the time is an attribute",
            Self::UserIdOfTheFuture => "user ids that know the test part",
            Self::UserIdTellsTime => "user ids that tell the time",
            Self::OutcomeAsColumn => "a column that knows the outcome",
        }
    }
}

/// One leak that was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Leak {
    /// What kind.
    pub kind: LeakKind,
    /// The file or column of the dataset, and the part.
    pub place: String,
    /// How many events, users or items it concerns.
    pub n: u64,
    /// What happened, with its numbers.
    pub what: String,
    /// The first few cases: user, item, moment.
    pub examples: Vec<String>,
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.kind.words(), self.what, self.place)?;
        if !self.examples.is_empty() {
            write!(f, "; for example {}", self.examples.join("; "))?;
        }
        Ok(())
    }
}

/// What [`find_leaks`] found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Leakage {
    /// Leaks: numbers of the test part cannot be trusted.
    pub leaks: Vec<Leak>,
    /// What is worth knowing and no leak as things stand.
    pub notes: Vec<String>,
}

/// Cases that are named of each leak.
const N_EXAMPLES: usize = 3;

/// Collects the cases of one kind: counts all, keeps the first.
#[derive(Debug, Default)]
struct Cases {
    n: u64,
    examples: Vec<String>,
}

impl Cases {
    fn add(&mut self, example: impl FnOnce() -> String) {
        self.n += 1;
        if self.examples.len() < N_EXAMPLES {
            self.examples.push(example());
        }
    }

    fn leak(self, kind: LeakKind, place: &str, what: impl FnOnce(&str) -> String) -> Option<Leak> {
        let text = what(&grouped(self.n));
        (self.n > 0).then_some(Leak {
            kind,
            place: place.into(),
            n: self.n,
            what: text,
            examples: self.examples,
        })
    }
}

/// Searches `dataset` for leaks between its parts.
///
/// # Cost
/// A few passes over the events, a sort of the items for each attribute; memory grows with users and items.
///
/// # Example
/// ```no_run
/// # let dataset = forecart_data::Dataset::open(std::path::Path::new("dataset")).unwrap();
/// for leak in forecart_eval::leakage::find_leaks(&dataset).leaks {
///     eprintln!("{leak}");
/// }
/// ```
pub fn find_leaks(dataset: &Dataset) -> Leakage {
    let mut found = Leakage::default();
    times::search(dataset, &mut found);
    duplicates::search(dataset, &mut found);
    twins::search(dataset, &mut found);
    let future = Future::of(dataset);
    future.search_counts(dataset, &mut found);
    attributes::search(dataset, &future, &mut found);
    ids::search(dataset, &future, &mut found);
    people::search(dataset, &mut found);
    found.leaks.sort_by_key(|leak| leak.kind);
    found
}

/// A user's id, for an example.
fn user_name(dataset: &Dataset, user: UserIdx) -> String {
    format!("user {:?}", dataset.users.text(user.0))
}

/// A moment, for an example.
fn moment(time_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(time_ms)
        .map_or_else(|_| time_ms.to_string(), |t| t.to_string())
}
