//! What a model proposes, asked for as far as a list needs it.

use std::num::NonZeroUsize;

use forecart_data::{History, ItemIdx, SeenItems};
use forecart_models::model_file::LoadedModel;
use forecart_models::recommend::{Scored, TopK};

use crate::assemble::{Candidate, Source};
use crate::catalog::Catalog;

/// How many candidates are asked for beyond those of a list that nothing is filtered from.
const FIRST: usize = 64;
/// How many times as many are asked for when those did not suffice.
const MORE: usize = 16;

/// What is asked of a model.
#[derive(Debug, Clone, Copy)]
pub(super) enum Question<'a> {
    /// What comes next after a history.
    Next(History<'a>, SeenItems),
    /// What is like an item.
    Like(ItemIdx),
}

/// The model's own list, by rows of the catalog. It is the list that the library and the command line give: asked for as long as need be.
pub(super) struct ModelCandidates<'a> {
    model: &'a LoadedModel,
    catalog: &'a Catalog,
    question: Question<'a>,
    list: Vec<Scored>,
    next: usize,
    k: usize,
}

impl<'a> ModelCandidates<'a> {
    pub(super) fn new(
        model: &'a LoadedModel,
        catalog: &'a Catalog,
        question: Question<'a>,
        n: usize,
    ) -> Self {
        let k = n.saturating_add(FIRST);
        Self { model, catalog, question, list: Vec::new(), next: 0, k }
    }

    fn ask(&self, k: NonZeroUsize) -> Vec<Scored> {
        match self.question {
            Question::Next(history, seen) => {
                self.model.model().recommend(history, &TopK::new(k, seen))
            }
            Question::Like(item) => self.model.model().similar(item, k),
        }
    }
}

impl Source for ModelCandidates<'_> {
    fn name(&self) -> &str {
        &self.model.header().model
    }

    fn next_best(&mut self) -> Option<Candidate> {
        loop {
            if self.next == self.list.len() {
                let n_items = self.model.items().len();
                // The list before was all of it.
                if self.next > 0 && (self.next < self.k / MORE || self.next >= n_items) {
                    return None;
                }
                let k = NonZeroUsize::new(self.k.min(n_items))?;
                self.list = self.ask(k);
                self.k = self.k.saturating_mul(MORE);
                if self.next >= self.list.len() {
                    return None;
                }
            }
            let Scored { item, score } = self.list[self.next];
            self.next += 1;
            // An item that cannot be one of the catalog's has no row.
            if let Some(row) = self.catalog.row(self.model.items().text(item.0)) {
                return Some(Candidate { row, score: Some(score) });
            }
        }
    }
}
