//! One source mixed into the others.

use std::collections::VecDeque;

use super::boosted::Boosted;
use super::eligible::Entry;

/// Most items that are mixed in; further ones of the source wait for its turn. It does not depend on the page, so that pages are of one list.
pub(super) const MAX_BLENDED: usize = 100;

/// Entries of which every so many-th is of one source, as long as that has any; what it has left follows the others.
pub(super) struct Blended<'a, 's> {
    pub(super) inner: Boosted<'a, 's>,
    mixed: VecDeque<Entry>,
    one_in: usize,
    n: usize,
}

impl<'a, 's> Blended<'a, 's> {
    /// `mixed` are the best of the source, best first, each of which comes once every `one_in` entries.
    pub(super) fn new(mut inner: Boosted<'a, 's>, mixed: Vec<Entry>, one_in: usize) -> Self {
        let mixed = inner.ordered(mixed).collect();
        Self { inner, mixed, one_in, n: 0 }
    }
}

impl Iterator for Blended<'_, '_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        self.n += 1;
        if self.n.is_multiple_of(self.one_in)
            && let Some(entry) = self.mixed.pop_front()
        {
            return Some(entry);
        }
        self.inner.next().or_else(|| self.mixed.pop_front())
    }
}
