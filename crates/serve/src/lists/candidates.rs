//! What a model proposes, asked for as far as a list needs it.

use std::num::NonZeroUsize;
use std::sync::Arc;

use forecart_data::{History, ItemIdx, SeenItems};
use forecart_models::model_file::LoadedModel;
use forecart_models::recommend::{Scored, TopK};

use super::ask::{About, ListAsk};
use super::model_history::Known;
use crate::assemble::{Candidate, Source};
use crate::catalog::Catalog;

/// How many candidates are asked for beyond those of a list that nothing is filtered from.
const FIRST: usize = 64;
/// How many times as many are asked for when those did not suffice.
const MORE: usize = 16;

/// How many candidates are asked for at first.
pub(super) fn first_k(n: usize) -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add(n).saturating_add(FIRST - 1)
}

/// What is asked of a model.
#[derive(Debug, Clone, Copy)]
pub(super) enum Question<'a> {
    /// What comes next after a history.
    Next(History<'a>, SeenItems),
    /// What is like an item.
    Like(ItemIdx),
}

/// The model's own list. It is the list that the library and the command line give: asked for as long as need be.
pub(super) struct ModelList<'a> {
    model: &'a LoadedModel,
    question: Question<'a>,
    list: Vec<Scored>,
    next: usize,
    k: usize,
}

impl<'a> ModelList<'a> {
    /// Asks for what a list of `n` items needs if few are filtered from it, unless that was asked already.
    pub(super) fn new(
        model: &'a LoadedModel,
        question: Question<'a>,
        n: usize,
        first: Option<Vec<Scored>>,
    ) -> Self {
        let k = first_k(n);
        let mut list = Self { model, question, list: Vec::new(), next: 0, k: k.get() };
        match first {
            Some(first) => list.list = first,
            None => list.ask(),
        }
        list
    }

    fn ask(&mut self) {
        let k = NonZeroUsize::new(self.k).unwrap_or(NonZeroUsize::MIN);
        self.list = match self.question {
            Question::Next(history, seen) => {
                self.model.model().recommend(history, &TopK::new(k, seen))
            }
            Question::Like(item) => self.model.model().similar(item, k),
        };
    }

    fn next(&mut self) -> Option<Scored> {
        // A list that is shorter than what was asked for is all there is.
        while self.next == self.list.len() && self.list.len() >= self.k {
            let n_items = self.model.items().len();
            if self.k >= n_items {
                return None;
            }
            self.k = self.k.saturating_mul(MORE).min(n_items);
            self.ask();
        }
        let scored = *self.list.get(self.next)?;
        self.next += 1;
        Some(scored)
    }
}

/// The model's list by rows of the catalog.
pub(super) struct InCatalog<'a, 'b> {
    pub(super) list: &'b mut ModelList<'a>,
    pub(super) catalog: &'b Catalog,
}

impl Source for InCatalog<'_, '_> {
    fn name(&self) -> &str {
        &self.list.model.header().model
    }

    fn next_best(&mut self) -> Option<Candidate> {
        loop {
            let Scored { item, score } = self.list.next()?;
            // An item that cannot be one of the catalog's has no row.
            if let Some(row) = self.catalog.row(self.list.model.items().text(item.0)) {
                return Some(Candidate { row, score: Some(score) });
            }
        }
    }
}

/// What a model says before the catalog is looked at.
#[derive(Default)]
pub(super) struct Proposed<'a> {
    pub(super) list: Option<ModelList<'a>>,
    /// Of given items the model's scores, where it knows them.
    pub(super) scores: Vec<(&'a str, f32)>,
}

impl<'a> Proposed<'a> {
    pub(super) fn new(
        ask: &'a ListAsk,
        pair: Option<(&'a Arc<LoadedModel>, &'a Known)>,
        seen: SeenItems,
        first: Option<Vec<Scored>>,
    ) -> Self {
        let Some((file, known)) = pair else { return Self::default() };
        let n = ask.n_read();
        let question = match &ask.about {
            About::Next => Some(Question::Next(known.history(), seen)),
            About::Like(item) | About::With(item) => {
                file.items().index(item).map(|index| Question::Like(ItemIdx(index)))
            }
            About::Among(items) => {
                let known_items =
                    items.iter().filter_map(|item| Some((item, file.items().index(item)?)));
                let (items, indices): (Vec<&String>, Vec<ItemIdx>) =
                    known_items.map(|(item, index)| (item, ItemIdx(index))).unzip();
                let scores = file.model().score(known.history(), &indices);
                let scores = items.into_iter().map(String::as_str).zip(scores).collect();
                return Self { list: None, scores };
            }
        };
        let list = question.map(|question| ModelList::new(file, question, n, first));
        Self { list, scores: Vec::new() }
    }
}
