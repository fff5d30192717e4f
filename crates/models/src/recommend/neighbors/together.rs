//! Frequently bought together: what the baskets of an item hold beside it.

use std::num::NonZeroU32;

use forecart_data::{History, ItemIdx};
use serde::{Deserialize, Serialize};

use super::Interactions;
use super::comparison::{Scratch, Shared, SharedCount};
use crate::error::ModelError;
use crate::recommend::contract::FitContext;
use crate::recommend::related_items::{RelatedItems, RelatedItemsConfig, Speaking, newest_of_each};
use crate::recommend::search_space::Parameter;
use crate::recommend::sparse::ItemMatrix;
use crate::recommend::view::TrainingView;

/// What a rule `a -> b` is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleMeasure {
    /// `n_ab / n_a`: the share of the baskets with `a` that have `b`.
    #[default]
    Confidence,
    /// `n_ab n / (n_a n_b)`: how much more often than if the two had nothing to do with each other.
    Lift,
}

/// Frequently bought together, with its hyperparameters.
///
/// A basket is a session of the dataset with its distinct items (where nothing divides a user's events, all of them are
/// one); every event counts, so for what is *bought* together prepare the dataset with `events = ["purchase"]`. Of `n`
/// baskets `n_a` hold item `a` and `n_ab` both `a` and `b`. Rules below a minimum are left out. The score of an item is the
/// sum of what the rules from the distinct items of the newest `max_history` events to it are worth.
///
/// Source: Agrawal and Srikant, VLDB 1994 (support, confidence); Brin et al., SIGMOD 1997, section 4 (lift, there called
/// interest).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TogetherConfig {
    /// By what rules are ordered and added up. Lift puts rare items first, confidence frequent ones.
    pub rank_by: RuleMeasure,
    /// Least `n_ab`, in baskets. Two: once is chance.
    pub min_support: NonZeroU32,
    /// Least confidence, in `0.0..=1.0`.
    pub min_confidence: f64,
    /// Least lift. 1: below, the two keep away from each other.
    pub min_lift: f64,
    /// Rules kept for each item.
    pub n_neighbors: NonZeroU32,
    /// Newest events that are the basket at hand.
    pub max_history: NonZeroU32,
}

impl Default for TogetherConfig {
    fn default() -> Self {
        let count = |n| NonZeroU32::new(n).expect("a default is not 0");
        Self {
            rank_by: RuleMeasure::Confidence,
            min_support: count(2),
            min_confidence: 0.0,
            min_lift: 1.0,
            n_neighbors: count(100),
            max_history: count(20),
        }
    }
}

/// The rules of every item.
pub type Together = RelatedItems<TogetherConfig>;

impl RelatedItemsConfig for TogetherConfig {
    const NAME: &'static str = "together";
    const SEARCH_SPACE: &'static [Parameter] = &[
        Parameter::choice("rank_by", &["confidence", "lift"]),
        Parameter::log_int("min_support", 1, 20),
        Parameter::float("min_lift", 0.0, 3.0),
        Parameter::log_int("n_neighbors", 10, 1000),
        Parameter::log_int("max_history", 1, 50),
    ];
    const PHASE: &'static str = "baskets";
    const IF_TOO_LARGE: &'static str = "lower `n_neighbors`";

    fn check(&self) -> Result<(), ModelError> {
        let refuse = |key: &str, reason| Err(ModelError::hyperparameter(Self::NAME, key, reason));
        if !(0.0..=1.0).contains(&self.min_confidence) {
            return refuse(
                "min_confidence",
                format!("{} is not in 0.0..=1.0", self.min_confidence),
            );
        }
        if !(self.min_lift >= 0.0 && self.min_lift.is_finite()) {
            return refuse("min_lift", format!("{} is not a number from 0 up", self.min_lift));
        }
        Ok(())
    }

    /// As item-kNN, with a basket in place of a user.
    fn needed_bytes(&self, view: &TrainingView<'_>) -> u64 {
        let n_items = view.n_item_rows() as u64;
        let n_stored = n_items.saturating_mul(u64::from(self.n_neighbors.get()).min(n_items));
        Interactions::needed_bytes_of_sessions(view)
            .saturating_add(n_items * (8 + 8 * 16))
            .saturating_add(n_stored.saturating_mul(16))
    }

    /// Exact, in O(Σ over baskets of the square of their items).
    fn relate(
        &self,
        view: &TrainingView<'_>,
        context: &FitContext<'_>,
    ) -> Result<ItemMatrix, ModelError> {
        let baskets = Interactions::of_sessions(view);
        let by_item = baskets.transposed(view.n_item_rows());
        let n_baskets = baskets.n_rows() as f64;
        let n_with = |item: usize| by_item.row(item).0.len() as f64;
        let row = |item: ItemIdx, scratch: &mut Scratch<SharedCount>, output: &mut Vec<_>| {
            if context.progress.is_cancelled() {
                return;
            }
            let (of_item, n_a) = (by_item.row(item.row()).0, n_with(item.row()));
            scratch.add_features(&baskets, of_item, &[]);
            output.extend(scratch.largest(self.n_neighbors.get() as usize, |other, shared| {
                let (n_ab, n_b) = (shared.dot(), n_with(other));
                let is_kept = other != item.row()
                    && n_ab >= f64::from(self.min_support.get())
                    // Quotients: 7 of 25 are .28, but .28 times 25 is more than 7.
                    && n_ab / n_a >= self.min_confidence
                    && n_ab * n_baskets / (n_a * n_b) >= self.min_lift;
                is_kept.then_some(match self.rank_by {
                    RuleMeasure::Confidence => (n_ab, n_a),
                    RuleMeasure::Lift => (n_ab * n_baskets, n_a * n_b),
                })
            }));
        };
        Ok(ItemMatrix::build(
            view.n_item_rows(),
            || Scratch::new(view.n_item_rows()),
            row,
            |n| context.progress.advance(n),
        ))
    }

    fn speaking(&self, history: History<'_>) -> Vec<Speaking> {
        newest_of_each(history, self.max_history.get() as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::recommend::{FitOn, Recommender, Scored};
    use crate::testing::{Log, dataset, one_thread};

    fn similar(config: TogetherConfig, item: u32) -> Vec<(u32, f32)> {
        // Baskets 1 2 | 1 2 | 1 3 | 4 2 | 1 2: sessions of two events.
        let users: [&[u32]; 2] = [&[1, 2, 1, 2, 1, 3], &[4, 2, 1, 2]];
        let (_folder, dataset) = dataset(&Log::new(4, &users).in_sessions_of(2));
        let view = TrainingView::new(&dataset, FitOn::TrainValidation);
        let model = Together::fit(config, &view, &one_thread()).unwrap();
        let list = model.similar(ItemIdx(item), NonZeroUsize::new(9).unwrap());
        list.into_iter().map(|Scored { item, score }| (item.0, score)).collect()
    }

    fn config(min_support: u32, min_lift: f64) -> TogetherConfig {
        let min_support = NonZeroU32::new(min_support).unwrap();
        TogetherConfig { min_support, min_lift, ..TogetherConfig::default() }
    }

    /// Of 5 baskets 4 hold item 1, 4 hold item 2, 3 both; 3 is in one of 1, 4 in one of 2.
    #[test]
    fn confidence_and_lift_by_hand() {
        assert_eq!(similar(config(1, 0.0), 1), [(2, 0.75), (3, 0.25)]);
        assert_eq!(similar(config(1, 0.0), 4), [(2, 1.0)]);
        let by_lift = TogetherConfig { rank_by: RuleMeasure::Lift, ..config(1, 0.0) };
        assert_eq!(similar(by_lift, 1), [(3, 1.25), (2, 0.9375)]);
    }

    #[test]
    fn rules_below_a_minimum_are_left_out() {
        assert_eq!(similar(config(2, 0.0), 1), [(2, 0.75)]);
        assert_eq!(similar(config(1, 1.0), 1), [(3, 0.25)]);
        let confident = TogetherConfig { min_confidence: 0.5, ..config(1, 0.0) };
        assert_eq!(similar(confident, 1), [(2, 0.75)]);
    }

    /// .28 times 25 is more than 7 in f64: a rule of exactly the least confidence, or lift, stays.
    #[test]
    fn a_minimum_that_is_just_reached_is_reached() {
        let baskets = [[1, 2].repeat(7), [1].repeat(36)].concat();
        let (_folder, dataset) = dataset(&Log::new(2, &[&baskets]).in_sessions_of(2));
        let view = TrainingView::new(&dataset, FitOn::TrainValidation);
        let measured = TogetherConfig { min_confidence: 0.28, min_lift: 0.0, ..config(1, 0.0) };
        let rules = |config| {
            let model = Together::fit(config, &view, &one_thread()).unwrap();
            model.similar(ItemIdx(1), NonZeroUsize::MIN).len()
        };
        assert_eq!(rules(measured), 1);
        assert_eq!(rules(TogetherConfig { min_confidence: 0.2801, ..measured }), 0);
        // 25 of 25 baskets hold 1: the lift is 1.
        assert_eq!(rules(config(1, 1.0)), 1);
    }
}
