//! What every model can do: be fitted, score, recommend, give reasons, be stored.

use std::fmt::Debug;
use std::num::NonZeroUsize;

use forecart_data::{History, ItemIdx, SeenItems};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::search_space::Parameter;
use super::top_k::{Scored, TopK, top_k};
use super::view::TrainingView;
use crate::error::ModelError;
use crate::tensors::Tensors;
pub use crate::training::{EpochRecord, FitContext, FitRecord, MemberRecord};

/// A fitted model and how the fit went.
#[derive(Debug)]
pub struct Fitted {
    /// The model.
    pub model: Box<dyn Recommender>,
    /// The loss of each epoch, and which was chosen.
    pub record: FitRecord,
}

impl Fitted {
    /// A model that has no epochs.
    pub fn counted(model: impl Recommender + 'static) -> Self {
        Self { model: Box::new(model), record: FitRecord::default() }
    }
}

/// A model with its hyperparameters, ready to be fitted.
pub trait ModelSpec: Debug + Send + Sync {
    /// The model's name in the [registry](super::registry).
    fn name(&self) -> &'static str;

    /// All hyperparameters with their values, as a JSON object.
    fn hyperparameters(&self) -> Value;

    /// Whether another seed gives another model: such models are measured with several.
    fn uses_seed(&self) -> bool;

    /// What a search for better hyperparameters may vary; empty for a model that has nothing to tune.
    fn search_space(&self) -> &'static [Parameter] {
        &[]
    }

    /// What to tune in place of a model whose [`Self::search_space`] is empty, in words for people; `None` if nothing.
    fn tuned_instead(&self) -> Option<String> {
        None
    }

    /// Memory that fitting needs at its peak, beside the dataset: an estimate, stated before it
    /// starts.
    fn needed_bytes(&self, view: &TrainingView<'_>) -> u64;

    /// Floating-point operations of one pass over what `view` has to learn from, by the definition of the model; `None`
    /// where nobody counts them.
    fn epoch_flop(&self, _view: &TrainingView<'_>) -> Option<f64> {
        None
    }

    /// Fits the model.
    ///
    /// # Errors
    /// [`ModelError::Memory`] before anything else if the estimate is past the limit,
    /// [`ModelError::NoEvents`], [`ModelError::NeedsTime`], [`ModelError::Hyperparameter`],
    /// [`ModelError::Cancelled`]; of models that are trained by epochs also [`ModelError::Training`],
    /// [`ModelError::Diverged`], [`ModelError::OtherRun`] and [`ModelError::DamagedCheckpoint`].
    fn fit(&self, view: &TrainingView<'_>, context: &FitContext<'_>) -> Result<Fitted, ModelError>;

    /// The spec for fitting once more on more data, with what `record` chose (the number of
    /// epochs).
    fn for_refit(&self, record: &FitRecord) -> Box<dyn ModelSpec>;
}

/// Why an answer is the popularity of the items and not what the model makes of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    /// The history is empty.
    NoHistory,
    /// The history holds no item that the model has learned anything about.
    NothingKnown,
}

impl Fallback {
    /// The reason for popularity, unless the model `speaks` of the history.
    pub(super) fn unless(speaks: impl FnOnce() -> bool, history: History<'_>) -> Option<Self> {
        if history.items.is_empty() {
            return Some(Self::NoHistory);
        }
        (!speaks()).then_some(Self::NothingKnown)
    }
}

/// Why an item was scored as it was.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reason {
    /// Because of an event of the history.
    Event {
        /// Position in the history that was asked about, from 0, the oldest.
        position: usize,
        /// The item of that event.
        item: ItemIdx,
        /// How much of the score it brought. For models that add up, the contributions of all
        /// events are the score; for networks, what the score loses without this event.
        contribution: f32,
    },
    /// Because many others chose it.
    Popular {
        /// Events counted, weighted by age where the model does so.
        n_events: f32,
        /// Place among all items, from 1.
        rank: usize,
        /// Over how many days the events were counted; `None` if over all time or by decay.
        days: Option<u32>,
    },
    /// Because it is chosen more often than before.
    Trending {
        /// How many times as often as usual.
        times: f32,
        /// Place among all items, from 1.
        rank: usize,
    },
    /// Because it is new.
    New {
        /// Days since its first event, at the end of what was learned from.
        days: f32,
        /// Place among all items, from 1.
        rank: usize,
    },
}

/// What scores say beside their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScoreScale {
    /// Weights of 0 or more that add up, such as counts: an item's share of their sum is a probability.
    Weight,
    /// Logarithms of probabilities up to a constant, as a softmax takes them.
    Logit,
}

/// A fitted model: from a history to scores.
///
/// A history is all that is known of a user, so users who were not there at training are answered
/// like any other. Indices past the model's items count as the unknown item.
pub trait Recommender: Debug + Send + Sync {
    /// The model's name in the [registry](super::registry).
    fn name(&self) -> &'static str;

    /// The hyperparameters that it was fitted with, as a JSON object.
    fn hyperparameters(&self) -> Value;

    /// Rows of a table over the items: known ones and row 0, the unknown item.
    fn n_item_rows(&self) -> usize;

    /// Scores every item for `history`.
    ///
    /// All scores are finite. Where [`Self::fallback`] is not `None` they are the popularity of the
    /// items.
    ///
    /// # Shapes
    /// `scores: [n_item_rows]`; row 0, the unknown item, becomes 0 and means nothing.
    ///
    /// # Panics
    /// If `scores` has another length.
    fn score_all(&self, history: History<'_>, scores: &mut [f32]);

    /// What the scores of [`Self::score_all`] say, where they are the model's own.
    fn score_scale(&self) -> ScoreScale {
        ScoreScale::Weight
    }

    /// Why the answer to `history` is the popularity of the items, `None` if it is the model's own.
    fn fallback(&self, history: History<'_>) -> Option<Fallback>;

    /// Scores `candidates` for `history`: equal to what [`Self::score_all`] gives for them, to the
    /// bit. The unknown item and indices past the table get 0.
    fn score(&self, history: History<'_>, candidates: &[ItemIdx]) -> Vec<f32> {
        let mut scores = vec![0.0; self.n_item_rows()];
        self.score_all(history, &mut scores);
        let score = |item: &ItemIdx| scores.get(item.row()).copied().unwrap_or(0.0);
        candidates.iter().map(score).collect()
    }

    /// The best items for `history`, best first, equal scores in the order of [`ItemIdx`].
    ///
    /// Fewer than `k` if the items left are fewer. Models that know nothing at all about most items
    /// (rules, neighbors) fill a list that their own items do not fill by popularity, with the
    /// score 0.
    fn recommend(&self, history: History<'_>, request: &TopK<'_>) -> Vec<Scored> {
        let mut scores = vec![0.0; self.n_item_rows()];
        self.score_all(history, &mut scores);
        top_k(&scores, history, request)
    }

    /// [`Self::recommend`] for several requests, on this thread: equal to the bit. Where what is learned is larger than the cache, they share
    /// one reading of it.
    fn recommend_together(&self, requests: &[(History<'_>, TopK<'_>)]) -> Vec<Vec<Scored>> {
        requests.iter().map(|(history, request)| self.recommend(*history, request)).collect()
    }

    /// Makes what lists need beside what was learned, which the first list would wait for otherwise.
    fn warm(&self) {}

    /// [`Self::recommend`] for many histories, on all threads of the current pool.
    ///
    /// Models may take users together where that is faster; their scores then differ from those of [`Self::recommend`] in the last
    /// bits, and items whose scores differ by no more may change places.
    fn recommend_all(&self, histories: &[History<'_>], request: &TopK<'_>) -> Vec<Vec<Scored>> {
        histories.par_iter().map(|history| self.recommend(*history, request)).collect()
    }

    /// The items most like `item`, best first, without it.
    ///
    /// Unless a model knows better: its answer to a history of this one item. Models that hold
    /// lists of related items give those, and fewer than `k` where they hold fewer.
    fn similar(&self, item: ItemIdx, k: NonZeroUsize) -> Vec<Scored> {
        let history = [item];
        self.recommend(History::of(&history), &TopK::new(k, SeenItems::Exclude))
    }

    /// At most `n` reasons for the score of `item`, the weightiest first; empty if there is none.
    fn reasons(&self, history: History<'_>, item: ItemIdx, n: usize) -> Vec<Reason>;

    /// What the model has learned, for the model file; the registry's entry of its name reads it
    /// back.
    fn tensors(&self) -> Tensors;
}

/// Sorts contributions by weight and keeps the first `n`; those that are 0 say nothing.
pub(super) fn weightiest(mut reasons: Vec<(usize, ItemIdx, f32)>, n: usize) -> Vec<Reason> {
    reasons.retain(|(_, _, contribution)| *contribution != 0.0);
    // Equal contributions: the newest event first.
    reasons.sort_by(|a, b| b.2.total_cmp(&a.2).then(b.0.cmp(&a.0)));
    let reasons = reasons.into_iter().take(n);
    reasons
        .map(|(position, item, contribution)| Reason::Event { position, item, contribution })
        .collect()
}
