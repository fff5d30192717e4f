//! Candidates that may be shown, each once.

use rustc_hash::FxHashMap;

use super::request::ListRequest;
use super::sources::Source;
use super::trace::{SourceTrace, Tally};
use crate::catalog::{Catalog, ItemRow};

/// An item on its way to the list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) row: ItemRow,
    pub(super) score: Option<f32>,
    /// Which source.
    pub(super) source: u32,
    /// Product of the factors of its boosts.
    pub(super) boost: f64,
    /// Counts up where variants or the cap give way: everything of one stretch stands before the next.
    pub(super) stretch: u32,
}

/// Which items may be shown, and what removed the others.
#[derive(Debug)]
pub(super) struct Gate<'a> {
    catalog: &'a Catalog,
    request: &'a ListRequest<'a>,
    /// Rows that are excluded or seen, with their place in `removed`.
    barred: FxHashMap<u32, usize>,
    /// `removed`, `unavailable`, `excluded`, rules of what is seen, filters.
    removed: Vec<Tally>,
    /// A bit for each row that stood before.
    stood: Vec<u64>,
}

const REMOVED: usize = 0;
const UNAVAILABLE: usize = 1;
const EXCLUDED: usize = 2;
const SEEN: usize = 3;

impl<'a> Gate<'a> {
    pub(super) fn new(catalog: &'a Catalog, request: &'a ListRequest<'a>) -> Self {
        let mut removed: Vec<Tally> =
            ["removed", "unavailable", "excluded"].map(Tally::named).into();
        removed.extend(request.seen.iter().map(|rule| Tally::named(format!("seen.{}", rule.name))));
        removed.extend(request.filters.iter().map(|filter| Tally::named(filter.name)));
        let mut barred = FxHashMap::default();
        for event in &request.events {
            let mut rules = request.seen.iter();
            if let Some(rule) = rules.position(|rule| rule.counts(event, request.now_ms)) {
                let first = barred.entry(event.row.0).or_insert(SEEN + rule);
                *first = (*first).min(SEEN + rule);
            }
        }
        barred.extend(request.exclude.iter().map(|row| (row.0, EXCLUDED)));
        let stood = vec![0; catalog.n_rows().div_ceil(64)];
        Self { catalog, request, barred, removed, stood }
    }

    /// Marks a row as one that stood; whether it is the first time. Rows that the catalog does not have are never
    /// eligible, so that it does not matter how often they come.
    pub(super) fn is_first(&mut self, row: ItemRow) -> bool {
        let Some(bits) = self.stood.get_mut(row.index() / 64) else { return true };
        let bit = 1 << (row.index() % 64);
        let is_first = *bits & bit == 0;
        *bits |= bit;
        is_first
    }

    /// Whether a row may be shown; if not, what removed it.
    #[inline]
    pub(super) fn pass(&mut self, row: ItemRow) -> Result<(), usize> {
        let removed_by = self.removed_by(row);
        if let Some(place) = removed_by {
            self.removed[place].count(row);
            return Err(place);
        }
        Ok(())
    }

    #[inline]
    fn removed_by(&self, row: ItemRow) -> Option<usize> {
        if !self.catalog.is_live(row) {
            return Some(REMOVED);
        }
        if !self.catalog.is_eligible(row, self.request.now_ms) {
            return Some(UNAVAILABLE);
        }
        if !self.barred.is_empty()
            && let Some(place) = self.barred.get(&row.0)
        {
            return Some(*place);
        }
        let failed = self.request.filters.iter().position(|named| !named.filter.matches(row));
        failed.map(|filter| SEEN + self.request.seen.len() + filter)
    }

    /// The name of what removed something.
    pub(super) fn name(&self, removed_by: usize) -> &str {
        &self.removed[removed_by].name
    }

    /// What removed something.
    pub(super) fn into_removed(self) -> Vec<Tally> {
        self.removed.into_iter().filter(|tally| tally.n > 0).collect()
    }
}

/// The eligible candidates of all sources, source after source, best first.
pub(super) struct Eligible<'a, 's> {
    pub(super) gate: Gate<'a>,
    sources: &'a mut [&'s mut dyn Source],
    /// Of each source.
    pub(super) traces: Vec<SourceTrace>,
    /// The source that is asked now.
    current: usize,
}

impl<'a, 's> Eligible<'a, 's> {
    pub(super) fn new(gate: Gate<'a>, sources: &'a mut [&'s mut dyn Source]) -> Self {
        let trace = |source: &&mut dyn Source| SourceTrace {
            name: source.name().into(),
            n_candidates: 0,
            n_repeated: 0,
            n_eligible: 0,
            n_listed: 0,
        };
        let traces = sources.iter().map(trace).collect();
        Self { gate, sources, traces, current: 0 }
    }
}

impl Eligible<'_, '_> {
    /// The next best of one source, whosever turn it is.
    fn next_of(&mut self, place: usize) -> Option<Entry> {
        let (source, trace) = (self.sources.get_mut(place)?, &mut self.traces[place]);
        while let Some(candidate) = source.next_best() {
            trace.n_candidates += 1;
            if !self.gate.is_first(candidate.row) {
                trace.n_repeated += 1;
            } else if self.gate.pass(candidate.row).is_ok() {
                trace.n_eligible += 1;
                return Some(Entry {
                    row: candidate.row,
                    score: candidate.score,
                    source: place as u32,
                    boost: 1.0,
                    stretch: 0,
                });
            }
        }
        None
    }

    /// The best `n` of one source, before any other is asked.
    pub(super) fn best_of(&mut self, place: usize, n: usize) -> Vec<Entry> {
        std::iter::from_fn(|| self.next_of(place)).take(n).collect()
    }
}

impl Iterator for Eligible<'_, '_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        while self.current < self.sources.len() {
            if let Some(entry) = self.next_of(self.current) {
                return Some(entry);
            }
            self.current += 1;
        }
        None
    }
}
