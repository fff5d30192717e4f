//! Finds test data that has leaked into what a model may learn from.
//!
//! [`find_leaks`] reads a prepared dataset, no model: whatever it finds would flatter every model that looks at it. What
//! is searched for stands in [`LeakKind`]. Exact rules (an event on the wrong side of the cut) report every case;
//! statistical ones (an attribute that knows the future) have thresholds that untouched public data stays well below, and
//! need effects that are many standard errors from nothing.
//!
//! Not searched for: what only a person can know, such as an attribute that was computed from later visits but does not
//! tell what is bought, and leaks of the raw log that preparation already removed.

mod attributes;
mod duplicates;
mod ids;
mod ranks;
mod times;

use std::fmt;

use forecart_data::{Dataset, Part, UserIdx};
use serde::{Deserialize, Serialize};

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
    /// A held-out event stands in the training part too: same user, item, event and time.
    DuplicateRow,
    /// What a user did before a held-out event, and that event, stand in the training part of another user.
    DuplicateUser,
    /// The item counts of the vocabulary, which models and encoders use, hold more than the training events.
    CountsOfTheFuture,
    /// An attribute of items tells what is chosen in the test part, beyond what training popularity tells.
    AttributeOfTheFuture,
    /// An attribute of items is a moment after the cut, for items that were there before it.
    MomentAfterCut,
    /// Ids of items, or their order, tell what is chosen in the test part.
    ItemIdOfTheFuture,
    /// Ids that grow with time are an attribute that models learn from.
    IdAsAttribute,
    /// Ids of users hold the id of the item that they choose in the test part, or are ordered by it.
    UserIdOfTheFuture,
}

impl LeakKind {
    /// The kind in words, for the start of a line.
    pub fn words(self) -> &'static str {
        match self {
            Self::EventAcrossCut => "events on the wrong side of the cut",
            Self::SessionAfterTest => "training sessions later than test sessions",
            Self::OrderBroken => "held-out events older than training events",
            Self::DuplicateRow => "held-out rows repeated in the training part",
            Self::DuplicateUser => "held-out sequences repeated under another id",
            Self::CountsOfTheFuture => "item counts that hold held-out events",
            Self::AttributeOfTheFuture => "an item attribute that knows the test part",
            Self::MomentAfterCut => "an item attribute that is a moment after the cut",
            Self::ItemIdOfTheFuture => "item ids that know the test part",
            Self::IdAsAttribute => "an id that tells the time is an attribute",
            Self::UserIdOfTheFuture => "user ids that know the test part",
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
    let counts = HeldOut::count(dataset);
    counts.search(dataset, &mut found);
    attributes::search(dataset, &counts, &mut found);
    ids::search(dataset, &counts, &mut found);
    found.leaks.sort_by_key(|leak| leak.kind);
    found
}

/// Events of each item, by part.
#[derive(Debug)]
struct HeldOut {
    /// Events of the training part by item row.
    train: Vec<u64>,
    /// Events of the test part by item row; of the validation part where there is no test part.
    test: Vec<u64>,
}

impl HeldOut {
    fn count(dataset: &Dataset) -> Self {
        let n = dataset.items.len();
        let mut counts = Self { train: vec![0; n], test: vec![0; n] };
        for user in dataset.user_indices() {
            for item in dataset.events_in(user, Part::Train).items {
                counts.train[item.row()] += 1;
            }
            for item in dataset.events_in(user, Part::Test).items {
                counts.test[item.row()] += 1;
            }
        }
        counts
    }

    /// Vocabulary counts are those of the training part; more can only come from the future.
    fn search(&self, dataset: &Dataset, found: &mut Leakage) {
        let mut cases = Cases::default();
        for (item, id, count) in dataset.items.iter() {
            let trained = self.train[item as usize];
            if count > trained {
                cases.add(|| {
                    format!("item {id:?}: the vocabulary says {count}, training has {trained}")
                });
            }
        }
        let n_items = grouped(dataset.items.n_known() as u64);
        found.leaks.extend(cases.leak(LeakKind::CountsOfTheFuture, "items.vocab", |n| {
            format!("{n} of {n_items} items are counted more often than training has them")
        }));
    }
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
