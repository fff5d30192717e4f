//! What happened on the way to a list.

use super::request::Pin;
use crate::catalog::ItemRow;

/// How many items of each kind are named.
const N_FIRST: usize = 5;

/// What happened on the way to a list. Counts are of the candidates that were looked at, which are as many as decide the
/// list, not of the catalog.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trace {
    /// In the order in which they were asked.
    pub sources: Vec<SourceTrace>,
    /// What was not eligible, by the first that removed it: `removed` (from the catalog, or never in it), `unavailable`
    /// (expired or not yet published), `excluded`, `seen.NAME` and the names of filters. Without those that removed
    /// nothing.
    pub removed: Vec<Tally>,
    /// What each boost held of, whether or not it was listed.
    pub boosts: Vec<Tally>,
    /// Variants that stood back for another one of their group.
    pub held_by_group: Tally,
    /// Items that stood back for the cap of their category.
    pub held_by_cap: Tally,
    /// Listed items that diversity put elsewhere, by their place.
    pub moved_by_diversity: Vec<Moved>,
    /// Every pin, in the order of the request.
    pub pins: Vec<(Pin, PinOutcome)>,
}

/// How much came from a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTrace {
    /// The source's name.
    pub name: String,
    /// Candidates that were looked at.
    pub n_candidates: usize,
    /// Of these, those that stood before, or are pinned.
    pub n_repeated: usize,
    /// Of these, those that are eligible.
    pub n_eligible: usize,
    /// Items of the answer that are from it.
    pub n_listed: usize,
}

/// A count of items, and the first few of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Of what.
    pub name: String,
    /// How many.
    pub n: usize,
    /// The first few.
    pub first: Vec<ItemRow>,
}

/// An item that diversity put elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// The item.
    pub row: ItemRow,
    /// Its place before, counted from 1 without pins.
    pub from: usize,
    /// Its place after, counted from 1 without pins.
    pub to: usize,
}

/// What became of a pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinOutcome {
    /// It has its position, on whatever page that is, or stands at the end of a list that is shorter.
    Placed,
    /// The item is not eligible; what removed it.
    Removed(String),
    /// Another pin has this position.
    PositionTaken,
    /// The item is pinned elsewhere already.
    ItemTaken,
}

impl Tally {
    pub(super) fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), n: 0, first: Vec::new() }
    }

    pub(super) fn count(&mut self, row: ItemRow) {
        self.n += 1;
        if self.first.len() < N_FIRST {
            self.first.push(row);
        }
    }
}
