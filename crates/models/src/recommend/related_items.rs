//! What rules and neighbors share: for each item the items that it speaks for, and the score that is their sum.

use std::fmt::Debug;
use std::num::NonZeroUsize;

use forecart_data::{History, ItemIdx};
use serde::Serialize;
use serde_json::Value;

use super::contract::{
    Fallback, FitContext, FitRecord, Fitted, ModelSpec, Reason, Recommender, weightiest,
};
use super::popularity::ItemCounts;
use super::search_space::Parameter;
use super::sparse::ItemMatrix;
use super::top_k::{Scored, TopK, top_k};
use super::view::TrainingView;
use crate::error::ModelError;
use crate::tensors::Tensors;

/// An event that speaks: its position in the history, its item and its weight.
pub(super) type Speaking = (usize, ItemIdx, f32);

/// Each distinct item of the newest `max_history` events at its newest one, newest first, all with the weight 1.
pub(super) fn newest_of_each(history: History<'_>, max_history: usize) -> Vec<Speaking> {
    let newest = history.items.iter().enumerate().rev().take(max_history);
    let mut events: Vec<Speaking> = newest.map(|(position, item)| (position, *item, 1.0)).collect();
    // Stable: of equal items the newest event stays.
    events.sort_by_key(|(_, item, _)| *item);
    events.dedup_by_key(|(_, item, _)| *item);
    events.sort_unstable_by_key(|(position, ..)| std::cmp::Reverse(*position));
    events
}

/// Multiplies the weight of each event with `decay` to the number of events after it.
pub(super) fn decay_by_place(events: &mut [Speaking], history: History<'_>, decay: f64) {
    for (position, _, weight) in events {
        let steps = history.items.len() - 1 - *position;
        *weight *= decay.powi(i32::try_from(steps).unwrap_or(i32::MAX)) as f32;
    }
}

/// Hyperparameters of a model that holds related items; it is a [`ModelSpec`] by that.
pub(super) trait RelatedItemsConfig:
    Debug + Copy + Serialize + Send + Sync + 'static
{
    /// As [`ModelSpec::name`].
    const NAME: &'static str;

    /// As [`ModelSpec::search_space`].
    const SEARCH_SPACE: &'static [Parameter] = &[];

    /// What is built, for the progress bar.
    const PHASE: &'static str;

    /// What to do where memory does not suffice.
    const IF_TOO_LARGE: &'static str;

    /// Refuses values outside of their ranges.
    fn check(&self) -> Result<(), ModelError>;

    /// Refuses data that nothing can be learned from.
    fn check_view(&self, _view: &TrainingView<'_>) -> Result<(), ModelError> {
        Ok(())
    }

    /// As [`ModelSpec::needed_bytes`].
    fn needed_bytes(&self, view: &TrainingView<'_>) -> u64;

    /// Whether a score of 0 or less means something too. Otherwise a list that items with positive scores do not fill is
    /// filled by popularity.
    const SPEAKS_OF_ALL: bool = false;

    /// The items that each item speaks for.
    ///
    /// # Errors
    /// As [`ModelSpec::fit`].
    fn relate(
        &self,
        view: &TrainingView<'_>,
        context: &FitContext<'_>,
    ) -> Result<ItemMatrix, ModelError>;

    /// The events of a history that speak, whether or not something is known of their items.
    fn speaking(&self, history: History<'_>) -> Vec<Speaking>;
}

/// A fitted model: for each item the items that it speaks for, and how strongly.
#[derive(Debug, Clone, PartialEq)]
pub struct RelatedItems<C> {
    config: C,
    pub(super) related: ItemMatrix,
    counts: ItemCounts,
}

#[expect(private_bounds, reason = "what a model of this kind is made of is nobody else's business")]
impl<C: RelatedItemsConfig> RelatedItems<C> {
    /// # Errors
    /// [`ModelError::Hyperparameter`], [`ModelError::Memory`], [`ModelError::NoEvents`],
    /// [`ModelError::Threads`] or [`ModelError::Cancelled`].
    pub(super) fn fit(
        config: C,
        view: &TrainingView<'_>,
        context: &FitContext<'_>,
    ) -> Result<Self, ModelError> {
        config.check()?;
        let needed = RelatedItemsConfig::needed_bytes(&config, view);
        context.check_memory(C::NAME, needed, C::IF_TOO_LARGE)?;
        config.check_view(view)?;
        let counts = ItemCounts::of(view, C::NAME)?;
        context.progress.begin(C::PHASE, Some(view.n_item_rows() as u64));
        let related = context.on_threads(|| config.relate(view, context))?;
        context.check_cancelled()?;
        Ok(Self { config, related, counts })
    }

    /// Reads what [`Recommender::tensors`] gave.
    pub(super) fn load(
        config: C,
        tensors: &mut Tensors,
        n_item_rows: usize,
    ) -> Result<Self, ModelError> {
        let related = ItemMatrix::load(tensors, n_item_rows)?;
        Ok(Self { config, related, counts: ItemCounts::load(tensors, n_item_rows)? })
    }

    /// Of a log of the items of each user, all of them for training.
    #[cfg(test)]
    pub(super) fn of_users(config: C, n_items: u32, users: &[&[u32]]) -> Self {
        use crate::testing::{Log, dataset, one_thread};
        let (_folder, dataset) = dataset(&Log::new(n_items, users).all_for_training());
        let view = TrainingView::new(&dataset, super::FitOn::Train);
        Self::fit(config, &view, &one_thread()).unwrap()
    }

    /// The events that say anything.
    fn speaking(&self, history: History<'_>) -> Vec<Speaking> {
        let mut events = self.config.speaking(history);
        events.retain(|(_, item, weight)| *weight > 0.0 && !self.related.is_row_empty(*item));
        events
    }
}

impl<C: RelatedItemsConfig> ModelSpec for C {
    fn name(&self) -> &'static str {
        C::NAME
    }

    fn hyperparameters(&self) -> Value {
        serde_json::to_value(self).expect("numbers and names in a struct are JSON")
    }

    fn uses_seed(&self) -> bool {
        false
    }

    fn search_space(&self) -> &'static [Parameter] {
        C::SEARCH_SPACE
    }

    fn needed_bytes(&self, view: &TrainingView<'_>) -> u64 {
        RelatedItemsConfig::needed_bytes(self, view)
    }

    fn fit(&self, view: &TrainingView<'_>, context: &FitContext<'_>) -> Result<Fitted, ModelError> {
        Ok(Fitted::counted(RelatedItems::fit(*self, view, context)?))
    }

    fn for_refit(&self, _: &FitRecord) -> Box<dyn ModelSpec> {
        Box::new(*self)
    }
}

impl<C: RelatedItemsConfig> Recommender for RelatedItems<C> {
    fn name(&self) -> &'static str {
        C::NAME
    }

    fn hyperparameters(&self) -> Value {
        self.config.hyperparameters()
    }

    fn n_item_rows(&self) -> usize {
        self.counts.n_item_rows()
    }

    fn score_all(&self, history: History<'_>, scores: &mut [f32]) {
        assert_eq!(scores.len(), self.n_item_rows(), "one score for each item row");
        let events = self.speaking(history);
        if events.is_empty() {
            return self.counts.score_all(scores);
        }
        scores.fill(0.0);
        for (_, item, weight) in events {
            self.related.add_row(item, weight, scores);
        }
    }

    fn fallback(&self, history: History<'_>) -> Option<Fallback> {
        Fallback::unless(|| !self.speaking(history).is_empty(), history)
    }

    fn recommend(&self, history: History<'_>, request: &TopK<'_>) -> Vec<Scored> {
        let mut scores = vec![0.0; self.n_item_rows()];
        self.score_all(history, &mut scores);
        match C::SPEAKS_OF_ALL {
            true => top_k(&scores, history, request),
            false => self.counts.top_k_filled(&scores, history, request),
        }
    }

    /// The related items, the strongest first; fewer than `k` if there are fewer.
    fn similar(&self, item: ItemIdx, k: NonZeroUsize) -> Vec<Scored> {
        self.related.largest(item, k)
    }

    fn reasons(&self, history: History<'_>, item: ItemIdx, n: usize) -> Vec<Reason> {
        let events = self.speaking(history);
        if events.is_empty() {
            return self.counts.reason(item, None).into_iter().take(n).collect();
        }
        let contributions = events.into_iter().map(|(position, because, weight)| {
            (position, because, weight * self.related.get(because, item))
        });
        weightiest(contributions.collect(), n)
    }

    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        self.related.save(&mut tensors);
        self.counts.save(&mut tensors);
        tensors
    }
}
