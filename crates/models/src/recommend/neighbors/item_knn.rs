//! Item-kNN: items that the same users chose are neighbors.

use forecart_data::{History, ItemIdx};
use serde::{Deserialize, Serialize};

use super::Interactions;
use super::comparison::{Comparison, Scratch, Shared, SharedCentered, SharedCount, SharedDot};
use super::keys::{NeighborKeys, Weighting};
use super::weigher::Weigher;
use crate::error::ModelError;
use crate::recommend::contract::FitContext;
use crate::recommend::related_items::{
    RelatedItems, RelatedItemsConfig, Speaking, decay_by_place, newest_of_each,
};
use crate::recommend::search_space::Parameter;
use crate::recommend::sparse::ItemMatrix;
use crate::recommend::view::TrainingView;

/// Item-kNN with its hyperparameters: items are rows over the users, compared as [`NeighborKeys`] says.
///
/// The score of an item is the sum of its similarities to the items of the history that
/// have it as a neighbor: with binary weights each distinct item once, with values every event by its value, else every
/// event.
///
/// Source: Sarwar et al., WWW 2001, section 3.2.1 (there divided by the sum of all
/// similarities, which ranks rare items first); neighbors of the history's items, not of the
/// candidate, as in Deshpande and Karypis, ACM TOIS 22(1), 2004, figure 2.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ItemKnnConfig {
    /// How items are compared. 100 neighbors bound the model; keeping all raises NDCG@10 by 3 % on
    /// Amazon Beauty and by 10 % on Sports.
    #[serde(flatten)]
    pub neighbors: NeighborKeys,
    /// How much an event counts against the one after it, in `0.0..=1.0`. 1 is off: the
    /// similarities know no order.
    pub decay: f64,
}

impl Default for ItemKnnConfig {
    fn default() -> Self {
        Self { neighbors: NeighborKeys::default(), decay: 1.0 }
    }
}

/// The neighbors of every item.
pub type ItemKnn = RelatedItems<ItemKnnConfig>;

impl RelatedItemsConfig for ItemKnnConfig {
    const NAME: &'static str = "item-knn";
    const SEARCH_SPACE: &'static [Parameter] = &[
        Parameter::log_int("n_neighbors", 20, 1000),
        Parameter::choice("weighting", &["binary", "count", "tf-idf", "bm25"]),
        // Against 0, the plain cosine, a hundredth makes no difference.
        Parameter::log("shrinkage", 0.01, 1000.0),
        Parameter::float("decay", 0.1, 1.0),
    ];
    const PHASE: &'static str = "neighbors";
    const IF_TOO_LARGE: &'static str = "lower `n_neighbors`";

    fn check(&self) -> Result<(), ModelError> {
        self.neighbors.check(Self::NAME)?;
        if !(0.0..=1.0).contains(&self.decay) {
            let reason = format!("{} is not in 0.0..=1.0", self.decay);
            return Err(ModelError::hyperparameter(Self::NAME, "decay", reason));
        }
        Ok(())
    }

    /// The rows and their transpose, what each thread adds up, and the neighbors, held twice while the rows are put
    /// together.
    fn needed_bytes(&self, view: &TrainingView<'_>) -> u64 {
        let (n_users, n_items) = (view.users().count() as u64, view.n_item_rows() as u64);
        let n_neighbors = u64::from(self.neighbors.n_neighbors.get());
        let n_stored = n_items.saturating_mul(n_neighbors.min(n_items));
        view.n_events() * self.neighbors.bytes_per_event()
            + n_users * 48
            + n_items * (24 + self.neighbors.scratch_bytes_per_row())
            + n_stored.saturating_mul(16)
    }

    /// Exact, in O(Σ over users of the square of their distinct items).
    fn relate(
        &self,
        view: &TrainingView<'_>,
        context: &FitContext<'_>,
    ) -> Result<ItemMatrix, ModelError> {
        let (n_items, keys) = (view.n_item_rows(), self.neighbors);
        let by_user = Interactions::of(view, keys.weighting);
        let n_users = by_user.n_rows();
        let by_item = by_user.transposed(n_items);
        let weigher = Weigher::of(keys, &by_item, n_users);
        // Weights of 1 are the ratings.
        let (by_user, by_item) = match weigher.is_binary() {
            true => (by_user, by_item),
            false => {
                drop(by_user);
                let by_item = weigher.weigh_all(by_item);
                (by_item.transposed(n_users), by_item)
            }
        };
        let comparison = Comparison::of(keys, by_user, n_items);
        Ok(if keys.similarity.is_centered() {
            relate::<SharedCentered>(&comparison, &by_item, context)
        } else if weigher.is_binary() {
            relate::<SharedCount>(&comparison, &by_item, context)
        } else {
            relate::<SharedDot>(&comparison, &by_item, context)
        })
    }

    /// With binary weights each distinct item once, at its newest event.
    fn speaking(&self, history: History<'_>) -> Vec<Speaking> {
        let value = |position| match self.neighbors.weighting {
            Weighting::Value => history.values.get(position).copied().unwrap_or(1.0),
            _ => 1.0,
        };
        let mut events = match self.neighbors.weighting {
            Weighting::Binary => newest_of_each(history, usize::MAX),
            _ => {
                let newest = history.items.iter().enumerate().rev();
                newest.map(|(position, item)| (position, *item, value(position))).collect()
            }
        };
        decay_by_place(&mut events, history, self.decay);
        events
    }
}

/// The neighbors of each item, all rows compared with all.
fn relate<S: Shared>(
    comparison: &Comparison,
    by_item: &Interactions,
    context: &FitContext<'_>,
) -> ItemMatrix {
    let row = |item: ItemIdx, scratch: &mut Scratch<S>, output: &mut Vec<(u32, f32)>| {
        if !context.progress.is_cancelled() {
            output.extend(comparison.nearest(by_item.row(item.row()), Some(item.row()), scratch));
        }
    };
    ItemMatrix::build(
        by_item.n_rows(),
        || Scratch::new(comparison.n_rows()),
        row,
        |n| context.progress.advance(n),
    )
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU32, NonZeroUsize};

    use proptest::prelude::*;

    use super::*;
    use crate::recommend::{Reason, Recommender, TopK};
    use crate::testing::{assert_close, assert_defined, scores, total_contribution};

    fn config(n_neighbors: u32) -> ItemKnnConfig {
        let n_neighbors = NonZeroU32::new(n_neighbors).unwrap();
        let neighbors = NeighborKeys { n_neighbors, ..NeighborKeys::default() };
        ItemKnnConfig { neighbors, ..ItemKnnConfig::default() }
    }

    /// Users of 1: a b c; of 2: a b; of 3: a. Repeats of 1 by a count once.
    #[test]
    fn binary_cosine_by_hand() {
        let model = ItemKnn::of_users(config(9), 3, &[&[1, 2, 1, 3], &[2, 1], &[1]]);
        let (s12, s13, s23) = (2.0 / 6.0_f64.sqrt(), 1.0 / 3.0_f64.sqrt(), 1.0 / 2.0_f64.sqrt());
        assert_close(&scores(&model, &[1]), &[0.0, 0.0, s12, s13]);
        assert_close(&scores(&model, &[3, 2, 2]), &[0.0, s12 + s13, s23, s23]);
    }

    #[test]
    fn counts_shrinkage_and_decay_by_hand() {
        let mut counted = ItemKnnConfig { decay: 0.5, ..config(9) };
        counted.neighbors.weighting = Weighting::Count;
        counted.neighbors.shrinkage = 1.0;
        let model = ItemKnn::of_users(counted, 2, &[&[1, 2, 1], &[2]]);
        // v_1 = (2, 0), v_2 = (1, 1).
        let s12 = 2.0 / (2.0 * 2.0_f64.sqrt() + 1.0);
        assert_close(&scores(&model, &[1, 1, 2]), &[0.0, s12, s12 * (0.5 + 0.25)]);
    }

    #[test]
    fn only_the_nearest_are_kept_and_equal_ones_by_index() {
        let model = ItemKnn::of_users(config(1), 4, &[&[1, 2], &[1, 3], &[1, 4], &[1, 4]]);
        let (cols, _) = model.related.row(ItemIdx(1));
        assert_eq!(cols, [4]);
        let model = ItemKnn::of_users(config(1), 4, &[&[1, 2], &[1, 3], &[1, 4]]);
        assert_eq!(model.related.row(ItemIdx(1)).0, [2]);
        let similar = model.similar(ItemIdx(1), NonZeroUsize::new(5).unwrap());
        assert_eq!(similar.len(), 1);
    }

    #[test]
    fn what_no_neighbor_fills_popularity_does() {
        let model = ItemKnn::of_users(config(9), 5, &[&[1, 2], &[4, 3], &[4, 3], &[4, 5]]);
        let request = TopK::new(NonZeroUsize::new(4).unwrap(), forecart_data::SeenItems::Exclude);
        let list = model.recommend(History::of(&[ItemIdx(1)]), &request);
        let rows: Vec<u32> = list.iter().map(|scored| scored.item.0).collect();
        assert_eq!(rows, [2, 4, 3, 5]);
        assert_eq!(list[1].score, 0.0);
    }

    #[test]
    fn contributions_sum_to_the_score() {
        let model = ItemKnn::of_users(config(9), 3, &[&[1, 2, 1, 3], &[2, 1], &[1]]);
        let items = [ItemIdx(3), ItemIdx(2), ItemIdx(2)];
        let reasons = model.reasons(History::of(&items), ItemIdx(1), 9);
        let total = total_contribution(&reasons);
        assert!((total - scores(&model, &[3, 2, 2])[1]).abs() < 1e-6);
        assert!(matches!(reasons[0], Reason::Event { position: 2, item: ItemIdx(2), .. }));
        assert_eq!(reasons.len(), 2);
    }

    /// The definition, with dense vectors and in f64.
    fn naive(config: &ItemKnnConfig, n: usize, users: &[Vec<u32>], history: &[u32]) -> Vec<f64> {
        let weight = |items: &[u32], item: usize| {
            let count = items.iter().filter(|other| **other as usize == item).count() as f64;
            if config.neighbors.weighting == Weighting::Binary { count.min(1.0) } else { count }
        };
        let vectors: Vec<Vec<f64>> =
            (0..n).map(|item| users.iter().map(|items| weight(items, item)).collect()).collect();
        let dot = |a: usize, b: usize| -> f64 {
            vectors[a].iter().zip(&vectors[b]).map(|(x, y)| x * y).sum()
        };
        let mut scores = vec![0.0; n];
        for item in 1..n {
            let mut near: Vec<(usize, f64)> = (1..n)
                .filter(|other| *other != item && dot(item, *other) > 0.0)
                .map(|other| {
                    let norms = dot(item, item).sqrt() * dot(other, other).sqrt();
                    (other, dot(item, other) / (norms + config.neighbors.shrinkage))
                })
                .collect();
            // In f32, as the model compares: sums in another order may differ in the last bit of
            // f64.
            near.sort_by(|a, b| (b.1 as f32).total_cmp(&(a.1 as f32)));
            near.truncate(config.neighbors.n_neighbors.get() as usize);
            for (other, similarity) in near {
                scores[other] += similarity * weight(history, item);
            }
        }
        scores
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn equals_the_dense_definition(
            users in prop::collection::vec(prop::collection::vec(0u32..8, 1..9), 1..12),
            history in prop::collection::vec(1u32..8, 1..9),
            n_neighbors in 1u32..9,
            shrinkage in prop_oneof![Just(0.0), 0.1..20.0],
            binary: bool,
        ) {
            prop_assume!(users.iter().flatten().any(|item| *item != 0));
            let weighting = if binary { Weighting::Binary } else { Weighting::Count };
            let mut config = config(n_neighbors);
            config.neighbors.shrinkage = shrinkage;
            config.neighbors.weighting = weighting;
            let borrowed: Vec<&[u32]> = users.iter().map(Vec::as_slice).collect();
            let model = ItemKnn::of_users(config, 7, &borrowed);
            let want = naive(&config, 8, &users, &history);
            assert_defined(&model, &history, &want);
        }
    }
}
