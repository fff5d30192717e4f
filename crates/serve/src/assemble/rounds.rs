//! So many of each kind first, then as many again: how variants and categories stand back.

use std::hash::Hash;
use std::vec;

use rustc_hash::FxHashMap;

use super::eligible::Entry;
use super::lookahead::Lookahead;
use super::trace::Tally;
use crate::catalog::ItemRow;

/// Entries such that a stretch has at most `limit` of each kind.
///
/// Of each stretch of `entries`, the first `limit` entries of every kind and all without a kind come first, then the next
/// `limit` of every kind as a stretch of their own, and so on; in their order within each.
pub(super) struct Rounds<I: Iterator<Item = Entry>, K, F> {
    pub(super) entries: Lookahead<I>,
    limit: u32,
    kind: F,
    /// How many of each kind came in this stretch.
    counts: FxHashMap<K, u32>,
    /// Entries for later, with their round: 1 is the next.
    held: Vec<(u32, Entry)>,
    /// Held entries of the stretch whose first round is over, in order.
    replayed: vec::IntoIter<(u32, Entry)>,
    /// The stretch of `entries` that is read.
    stretch_in: u32,
    stretch_out: u32,
    /// The round of the last entry.
    round: u32,
    /// What stood back.
    pub(super) tally: Tally,
}

impl<I, K, F> Rounds<I, K, F>
where
    I: Iterator<Item = Entry>,
    K: Hash + Eq,
    F: Fn(ItemRow) -> Option<K>,
{
    /// `pinned` are listed anyway, and count in the first stretch.
    pub(super) fn new(entries: I, limit: u32, kind: F, pinned: &[ItemRow]) -> Self {
        let mut counts = FxHashMap::default();
        for kind in pinned.iter().filter_map(|row| kind(*row)) {
            *counts.entry(kind).or_insert(0) += 1;
        }
        Self {
            entries: Lookahead::new(entries),
            limit,
            kind,
            counts,
            held: Vec::new(),
            replayed: Vec::new().into_iter(),
            stretch_in: 0,
            stretch_out: 0,
            round: 0,
            tally: Tally::default(),
        }
    }

    fn replay(&mut self) -> Option<Entry> {
        let (round, mut entry) = self.replayed.next()?;
        if round != self.round {
            self.round = round;
            self.stretch_out += 1;
        }
        entry.stretch = self.stretch_out;
        Some(entry)
    }
}

impl<I, K, F> Iterator for Rounds<I, K, F>
where
    I: Iterator<Item = Entry>,
    K: Hash + Eq,
    F: Fn(ItemRow) -> Option<K>,
{
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        loop {
            if let Some(entry) = self.replay() {
                return Some(entry);
            }
            let stretch_in = self.stretch_in;
            let Some(mut entry) = self.entries.next_if(|next| next.stretch == stretch_in) else {
                if !self.held.is_empty() {
                    // Stable: entries of a round keep their order.
                    self.held.sort_by_key(|(round, _)| *round);
                    self.replayed = std::mem::take(&mut self.held).into_iter();
                    continue;
                }
                self.stretch_in = self.entries.peek()?.stretch;
                self.stretch_out += 1;
                self.round = 0;
                self.counts.clear();
                continue;
            };
            entry.stretch = self.stretch_out;
            let Some(kind) = (self.kind)(entry.row) else { return Some(entry) };
            let count = self.counts.entry(kind).or_insert(0);
            let round = *count / self.limit;
            *count += 1;
            if round == 0 {
                return Some(entry);
            }
            self.tally.count(entry.row);
            self.held.push((round, entry));
        }
    }
}
