//! Maximal marginal relevance.

use super::eligible::Entry;
use super::lookahead::Lookahead;
use crate::catalog::Catalog;

/// How many items are reordered among themselves at a time: none moves further than this.
pub const DIVERSITY_BLOCK: usize = 200;

/// Entries such that each is both good and unlike those before it.
///
/// Next comes the entry with the largest `λ · relevance − (1 − λ) · similarity`, where λ is 1 − diversity, the relevance
/// falls evenly from 1 at the first of the block by 1 / [`DIVERSITY_BLOCK`] a place, and the similarity is that to the most
/// alike of those that came before in the block ([`Catalog::similarity`]). So at diversity d an item that is wholly like an
/// earlier one falls behind by `200 · d / (1 − d)` places. Ties go to the better place; the best of a block stays first.
///
/// Source: Carbonell and Goldstein, SIGIR 1998. We differ: relevance is by place, not by score, so that it has the scale of
/// the similarity whatever the model's scores are; and it works in blocks of fixed size, so that the list is the same for
/// every page.
pub(super) struct Diversified<'a, I: Iterator<Item = Entry>> {
    pub(super) entries: Lookahead<I>,
    catalog: &'a Catalog,
    diversity: f32,
    /// What is left of the block.
    block: Vec<Waiting>,
    n_read: usize,
}

struct Waiting {
    entry: Entry,
    /// Place before, from 0, in the whole.
    place: usize,
    relevance: f32,
    /// To the most alike of those that came before.
    similarity: f32,
}

impl<'a, I: Iterator<Item = Entry>> Diversified<'a, I> {
    pub(super) fn new(entries: I, catalog: &'a Catalog, diversity: f32) -> Self {
        // NaN is no wish.
        let diversity = if diversity > 0.0 { diversity.min(1.0) } else { 0.0 };
        Self { entries: Lookahead::new(entries), catalog, diversity, block: Vec::new(), n_read: 0 }
    }

    fn read(&mut self) {
        let Some(stretch) = self.entries.peek().map(|next| next.stretch) else { return };
        while self.block.len() < DIVERSITY_BLOCK
            && let Some(entry) = self.entries.next_if(|next| next.stretch == stretch)
        {
            let relevance = 1.0 - self.block.len() as f32 / DIVERSITY_BLOCK as f32;
            let place = self.n_read;
            self.block.push(Waiting { entry, place, relevance, similarity: 0.0 });
            self.n_read += 1;
        }
    }
}

impl<I: Iterator<Item = Entry>> Iterator for Diversified<'_, I> {
    /// With the place before, from 0.
    type Item = (Entry, usize);

    fn next(&mut self) -> Option<(Entry, usize)> {
        if self.diversity == 0.0 {
            let entry = self.entries.next()?;
            self.n_read += 1;
            return Some((entry, self.n_read - 1));
        }
        if self.block.is_empty() {
            self.read();
        }
        let diversity = self.diversity;
        let worth = |one: &Waiting| (1.0 - diversity) * one.relevance - diversity * one.similarity;
        let mut best: Option<(usize, f32)> = None;
        for (at, waiting) in self.block.iter().enumerate() {
            let worth = worth(waiting);
            if best.is_none_or(|(_, most)| worth > most) {
                best = Some((at, worth));
            }
        }
        // `remove` keeps the others in order, which is what ties go by.
        let chosen = self.block.remove(best?.0);
        for waiting in &mut self.block {
            let similarity = self.catalog.similarity(chosen.entry.row, waiting.entry.row);
            waiting.similarity = waiting.similarity.max(similarity);
        }
        Some((chosen.entry, chosen.place))
    }
}
