//! Candidates in the order that boosts make of them.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::eligible::{Eligible, Entry};
use super::lookahead::Lookahead;
use super::request::NamedBoost;
use super::trace::Tally;

/// Entries by rank over boost, within each source; ties by rank. Reads on only while a later entry could come first.
pub(super) struct Boosted<'a, 's> {
    pub(super) eligible: Lookahead<Eligible<'a, 's>>,
    boosts: &'a [NamedBoost<'a>],
    /// What each boost held of.
    pub(super) tallies: Vec<Tally>,
    /// Product of the factors above 1: no entry has a larger boost.
    most: f64,
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// The source of what waits.
    source: u32,
    /// Entries of this source that were read.
    n_read: usize,
}

#[derive(Debug)]
struct Waiting {
    place: f64,
    rank: usize,
    entry: Entry,
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place.total_cmp(&other.place).then(self.rank.cmp(&other.rank))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Waiting {}

impl<'a, 's> Boosted<'a, 's> {
    pub(super) fn new(eligible: Eligible<'a, 's>, boosts: &'a [NamedBoost<'a>]) -> Self {
        Self {
            eligible: Lookahead::new(eligible),
            boosts,
            tallies: boosts.iter().map(|boost| Tally::named(boost.name)).collect(),
            most: product(boosts.iter().map(|named| named.boost.factor()).filter(|f| *f > 1.0)),
            waiting: BinaryHeap::new(),
            source: 0,
            n_read: 0,
        }
    }

    /// Reads entries of one source until the first of those that wait is the first of all.
    fn read(&mut self) {
        loop {
            let Some(next) = self.eligible.peek() else { return };
            if next.source != self.source {
                if !self.waiting.is_empty() {
                    return;
                }
                self.source = next.source;
                self.n_read = 0;
            }
            let rank = self.n_read + 1;
            // Rounding does not change what is larger: a boost is at most `most`, a place at least rank / most.
            // Of equal places the earlier rank comes first, which is what waits.
            let least = rank as f64 / self.most;
            if self.waiting.peek().is_some_and(|Reverse(first)| first.place <= least) {
                return;
            }
            let Some(entry) = self.eligible.next() else { return };
            self.n_read = rank;
            let waiting = self.placed(rank, entry);
            self.waiting.push(Reverse(waiting));
        }
    }

    /// An entry that is the `rank`-th of its source, with its boosts.
    fn placed(&mut self, rank: usize, mut entry: Entry) -> Waiting {
        let (boosts, tallies) = (self.boosts, &mut self.tallies);
        let held = boosts.iter().zip(tallies).filter(|(named, _)| named.boost.matches(entry.row));
        entry.boost = product(held.map(|(named, tally)| {
            tally.count(entry.row);
            named.boost.factor()
        }));
        Waiting { place: rank as f64 / entry.boost, rank, entry }
    }

    /// Entries of one source, best first, in the order that boosts make of them.
    pub(super) fn ordered(&mut self, entries: Vec<Entry>) -> impl Iterator<Item = Entry> + use<> {
        let placed = (1..).zip(entries).map(|(rank, entry)| self.placed(rank, entry));
        let mut placed: Vec<Waiting> = placed.collect();
        placed.sort_unstable();
        placed.into_iter().map(|waiting| waiting.entry)
    }
}

/// Kept finite and above 0, however many factors there are.
fn product(factors: impl Iterator<Item = f64>) -> f64 {
    factors.fold(1.0, |product: f64, factor| (product * factor).clamp(1e-100, 1e100))
}

impl Iterator for Boosted<'_, '_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        if self.boosts.is_empty() {
            return self.eligible.next();
        }
        self.read();
        self.waiting.pop().map(|Reverse(first)| first.entry)
    }
}
