//! Item-kNN: items that the same users chose are neighbors.

use std::num::NonZeroU32;

use forecart_data::{History, ItemIdx};
use serde::{Deserialize, Serialize};

use super::contract::FitContext;
use super::related_items::{RelatedItems, RelatedItemsConfig, Speaking};
use super::search_space::Parameter;
use super::sparse::{Accumulator, ItemMatrix};
use super::view::TrainingView;
use crate::error::ModelError;

/// What an item's vector over the users holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weighting {
    /// 1 for each user who chose the item, however often.
    #[default]
    Binary,
    /// How often the user chose it.
    Count,
}

/// Item-kNN by cosine, with its hyperparameters.
///
/// The similarity of items `i` and `j` is `v_i · v_j / (|v_i| |v_j| + shrinkage)`, with `v_i` as
/// [`Weighting`] says. Each item keeps its `n_neighbors` most similar ones (equal ones: the smaller
/// index). The score of an item is the sum of its similarities to the items of the history that
/// have it as a neighbor: with binary weights each distinct item once, else every event.
///
/// Source: Sarwar et al., WWW 2001, sections 3.1.1 and 3.2.1 (there divided by the sum of all
/// similarities, which ranks rare items first); neighbors of the history's items, not of the
/// candidate, as in Deshpande and Karypis, ACM TOIS 22(1), 2004, figure 2.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ItemKnnConfig {
    /// Neighbors kept for each item. 100 bounds the model; keeping all raises NDCG@10 by 3 % on
    /// Amazon Beauty and by 10 % on Sports.
    pub n_neighbors: NonZeroU32,
    /// What counts. Binary: how often somebody bought a thing says little about what else they
    /// want.
    pub weighting: Weighting,
    /// Added to the product of the norms; pulls down pairs that few users support. 0 is the plain
    /// cosine.
    pub shrinkage: f64,
    /// How much an event counts against the one after it, in `0.0..=1.0`. 1 is off: the cosine
    /// knows no order.
    pub decay: f64,
}

impl Default for ItemKnnConfig {
    fn default() -> Self {
        Self {
            n_neighbors: NonZeroU32::new(100).expect("100 is not 0"),
            weighting: Weighting::Binary,
            shrinkage: 0.0,
            decay: 1.0,
        }
    }
}

/// The neighbors of every item.
pub type ItemKnn = RelatedItems<ItemKnnConfig>;

impl RelatedItemsConfig for ItemKnnConfig {
    const NAME: &'static str = "item-knn";
    const SEARCH_SPACE: &'static [Parameter] = &[
        Parameter::log_int("n_neighbors", 20, 1000),
        Parameter::choice("weighting", &["binary", "count"]),
        // Against 0, the plain cosine, a hundredth makes no difference.
        Parameter::log("shrinkage", 0.01, 1000.0),
        Parameter::float("decay", 0.1, 1.0),
    ];
    const PHASE: &'static str = "neighbors";
    const IF_TOO_LARGE: &'static str = "lower `n_neighbors`";

    fn check(&self) -> Result<(), ModelError> {
        if !(self.shrinkage >= 0.0 && self.shrinkage.is_finite()) {
            let reason = format!("{} is not a number from 0 up", self.shrinkage);
            return Err(ModelError::hyperparameter(Self::NAME, "shrinkage", reason));
        }
        if !(0.0..=1.0).contains(&self.decay) {
            let reason = format!("{} is not in 0.0..=1.0", self.decay);
            return Err(ModelError::hyperparameter(Self::NAME, "decay", reason));
        }
        Ok(())
    }

    /// The baskets and their transpose, and the neighbors, held twice while the rows are put
    /// together.
    fn needed_bytes(&self, view: &TrainingView<'_>) -> u64 {
        let (n_users, n_items) = (view.users().count() as u64, view.n_item_rows() as u64);
        let bytes_per_event = if self.weighting == Weighting::Count { 16 } else { 8 };
        let n_stored = n_items.saturating_mul(u64::from(self.n_neighbors.get()).min(n_items));
        view.n_events() * bytes_per_event
            + (n_users + 4 * n_items) * 8
            + n_stored.saturating_mul(16)
    }

    /// Exact, in O(Σ over users of the square of their distinct items).
    fn relate(
        &self,
        view: &TrainingView<'_>,
        context: &FitContext<'_>,
    ) -> Result<ItemMatrix, ModelError> {
        let n_item_rows = view.n_item_rows();
        let log = Baskets::of(view, self.weighting);
        let norms: Vec<f64> = log.norms(n_item_rows);
        let row = |item: ItemIdx, sums: &mut Accumulator, output: &mut Vec<(u32, f32)>| {
            if context.progress.is_cancelled() {
                return;
            }
            log.add_products(item, sums);
            let norm = norms[item.row()];
            sums.drain(|other, dot| {
                if other != item.0 {
                    let similarity = dot / (norm * norms[other as usize] + self.shrinkage);
                    output.push((other, similarity as f32));
                }
            });
            keep_largest(output, self.n_neighbors.get() as usize);
        };
        Ok(ItemMatrix::build(
            n_item_rows,
            || Accumulator::new(n_item_rows),
            row,
            |n| context.progress.advance(n),
        ))
    }

    /// With binary weights each distinct item once, at its newest event.
    fn speaking(&self, history: History<'_>) -> Vec<Speaking> {
        let newest = history.items.iter().enumerate().rev().zip(0_i32..);
        let mut events: Vec<_> = newest
            .map(|((position, item), steps)| (position, *item, self.decay.powi(steps) as f32))
            .collect();
        if self.weighting == Weighting::Binary {
            // Stable: of equal items the newest event stays.
            events.sort_by_key(|(_, item, _)| *item);
            events.dedup_by_key(|(_, item, _)| *item);
            events.sort_unstable_by_key(|(position, ..)| std::cmp::Reverse(*position));
        }
        events
    }
}

/// Keeps the `n` largest values, equal ones by the smaller column, ascending by column.
fn keep_largest(entries: &mut Vec<(u32, f32)>, n: usize) {
    if entries.len() > n {
        entries.select_nth_unstable_by(n, |a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        entries.truncate(n);
    }
    entries.sort_unstable_by_key(|(col, _)| *col);
}

/// Each user's distinct known items with their weights, and each item's users.
#[derive(Debug)]
struct Baskets {
    offsets: Vec<usize>,
    items: Vec<u32>,
    /// As `items`; empty if all weights are 1.
    weights: Vec<f32>,
    user_offsets: Vec<usize>,
    /// Users of each item, in order, and (for counts) the item's weight in that user's basket.
    users: Vec<u32>,
    user_weights: Vec<f32>,
}

impl Baskets {
    fn of(view: &TrainingView<'_>, weighting: Weighting) -> Self {
        let (mut offsets, mut items, mut weights) = (vec![0], Vec::new(), Vec::new());
        let mut basket: Vec<u32> = Vec::new();
        for user in view.users() {
            basket.clear();
            let known = view.history(user).items.iter().filter(|item| item.is_known());
            basket.extend(known.map(|item| item.0));
            basket.sort_unstable();
            for equal in basket.chunk_by(|a, b| a == b) {
                items.push(equal[0]);
                if weighting == Weighting::Count {
                    weights.push(equal.len() as f32);
                }
            }
            offsets.push(items.len());
        }
        let mut user_offsets = vec![0; view.n_item_rows() + 1];
        for item in &items {
            user_offsets[*item as usize + 1] += 1;
        }
        for row in 0..view.n_item_rows() {
            user_offsets[row + 1] += user_offsets[row];
        }
        let mut next = user_offsets.clone();
        let mut users = vec![0; items.len()];
        let mut user_weights = vec![0.0; weights.len()];
        for user in 0..offsets.len() - 1 {
            for place in offsets[user]..offsets[user + 1] {
                let slot = &mut next[items[place] as usize];
                users[*slot] = user as u32;
                if let Some(weight) = weights.get(place) {
                    user_weights[*slot] = *weight;
                }
                *slot += 1;
            }
        }
        Self { offsets, items, weights, user_offsets, users, user_weights }
    }

    fn norms(&self, n_item_rows: usize) -> Vec<f64> {
        let mut squares = vec![0.0_f64; n_item_rows];
        for (place, item) in self.items.iter().enumerate() {
            squares[*item as usize] +=
                self.weights.get(place).map_or(1.0, |w| f64::from(*w).powi(2));
        }
        squares.into_iter().map(f64::sqrt).collect()
    }

    /// Adds the products of `item`'s vector with those of all items it shares a user with.
    fn add_products(&self, item: ItemIdx, sums: &mut Accumulator) {
        let slots = self.user_offsets[item.row()]..self.user_offsets[item.row() + 1];
        for slot in slots {
            let user = self.users[slot] as usize;
            let places = self.offsets[user]..self.offsets[user + 1];
            if self.weights.is_empty() {
                for other in &self.items[places] {
                    sums.add(*other, 1.0);
                }
            } else {
                let weight = f64::from(self.user_weights[slot]);
                for (other, with) in self.items[places.clone()].iter().zip(&self.weights[places]) {
                    sums.add(*other, weight * f64::from(*with));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use proptest::prelude::*;

    use super::*;
    use crate::recommend::{Fallback, FitOn, Reason, Recommender, TopK};
    use crate::testing::{Log, dataset, one_thread};

    fn config(n_neighbors: u32) -> ItemKnnConfig {
        let n_neighbors = NonZeroU32::new(n_neighbors).unwrap();
        ItemKnnConfig { n_neighbors, ..ItemKnnConfig::default() }
    }

    fn fit(config: ItemKnnConfig, n_items: u32, users: &[&[u32]]) -> ItemKnn {
        let (_folder, dataset) = dataset(&Log::new(n_items, users).all_for_training());
        ItemKnn::fit(config, &TrainingView::new(&dataset, FitOn::Train), &one_thread()).unwrap()
    }

    fn scores(model: &ItemKnn, items: &[u32]) -> Vec<f32> {
        let items: Vec<ItemIdx> = items.iter().copied().map(ItemIdx).collect();
        let mut scores = vec![7.0; model.n_item_rows()];
        model.score_all(History::of(&items), &mut scores);
        scores
    }

    fn assert_close(got: &[f32], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(want) {
            // Sums of a few f32 numbers near 1.
            assert!((f64::from(*got) - want).abs() < 1e-6, "{got:?} {want:?}");
        }
    }

    /// Users of 1: a b c; of 2: a b; of 3: a. Repeats of 1 by a count once.
    #[test]
    fn binary_cosine_by_hand() {
        let model = fit(config(9), 3, &[&[1, 2, 1, 3], &[2, 1], &[1]]);
        let (s12, s13, s23) = (2.0 / 6.0_f64.sqrt(), 1.0 / 3.0_f64.sqrt(), 1.0 / 2.0_f64.sqrt());
        assert_close(&scores(&model, &[1]), &[0.0, 0.0, s12, s13]);
        assert_close(&scores(&model, &[3, 2, 2]), &[0.0, s12 + s13, s23, s23]);
    }

    #[test]
    fn counts_shrinkage_and_decay_by_hand() {
        let counted =
            ItemKnnConfig { weighting: Weighting::Count, shrinkage: 1.0, decay: 0.5, ..config(9) };
        let model = fit(counted, 2, &[&[1, 2, 1], &[2]]);
        // v_1 = (2, 0), v_2 = (1, 1).
        let s12 = 2.0 / (2.0 * 2.0_f64.sqrt() + 1.0);
        assert_close(&scores(&model, &[1, 1, 2]), &[0.0, s12, s12 * (0.5 + 0.25)]);
    }

    #[test]
    fn only_the_nearest_are_kept_and_equal_ones_by_index() {
        let model = fit(config(1), 4, &[&[1, 2], &[1, 3], &[1, 4], &[1, 4]]);
        let (cols, _) = model.related.row(ItemIdx(1));
        assert_eq!(cols, [4]);
        let model = fit(config(1), 4, &[&[1, 2], &[1, 3], &[1, 4]]);
        assert_eq!(model.related.row(ItemIdx(1)).0, [2]);
        let similar = model.similar(ItemIdx(1), NonZeroUsize::new(5).unwrap());
        assert_eq!(similar.len(), 1);
    }

    #[test]
    fn what_no_neighbor_fills_popularity_does() {
        let model = fit(config(9), 5, &[&[1, 2], &[4, 3], &[4, 3], &[4, 5]]);
        let request = TopK::new(NonZeroUsize::new(4).unwrap(), forecart_data::SeenItems::Exclude);
        let list = model.recommend(History::of(&[ItemIdx(1)]), &request);
        let rows: Vec<u32> = list.iter().map(|scored| scored.item.0).collect();
        assert_eq!(rows, [2, 4, 3, 5]);
        assert_eq!(list[1].score, 0.0);
    }

    #[test]
    fn contributions_sum_to_the_score() {
        let model = fit(config(9), 3, &[&[1, 2, 1, 3], &[2, 1], &[1]]);
        let items = [ItemIdx(3), ItemIdx(2), ItemIdx(2)];
        let reasons = model.reasons(History::of(&items), ItemIdx(1), 9);
        let total: f32 = reasons
            .iter()
            .map(|reason| match reason {
                Reason::Event { contribution, .. } => *contribution,
                Reason::Popular { .. } => panic!("the history speaks"),
            })
            .sum();
        assert!((total - scores(&model, &[3, 2, 2])[1]).abs() < 1e-6);
        assert!(matches!(reasons[0], Reason::Event { position: 2, item: ItemIdx(2), .. }));
        assert_eq!(reasons.len(), 2);
    }

    /// The definition, with dense vectors and in f64.
    fn naive(config: &ItemKnnConfig, n: usize, users: &[Vec<u32>], history: &[u32]) -> Vec<f64> {
        let weight = |items: &[u32], item: usize| {
            let count = items.iter().filter(|other| **other as usize == item).count() as f64;
            if config.weighting == Weighting::Binary { count.min(1.0) } else { count }
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
                    (other, dot(item, other) / (norms + config.shrinkage))
                })
                .collect();
            // In f32, as the model compares: sums in another order may differ in the last bit of
            // f64.
            near.sort_by(|a, b| (b.1 as f32).total_cmp(&(a.1 as f32)));
            near.truncate(config.n_neighbors.get() as usize);
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
            let config = ItemKnnConfig { shrinkage, weighting, ..config(n_neighbors) };
            let borrowed: Vec<&[u32]> = users.iter().map(Vec::as_slice).collect();
            let model = fit(config, 7, &borrowed);
            let want = naive(&config, 8, &users, &history);
            if want.iter().any(|score| *score > 0.0) {
                for (got, want) in scores(&model, &history).iter().zip(&want) {
                    // f32 values, f32 sums of at most 8 terms.
                    prop_assert!((f64::from(*got) - want).abs() <= 1e-6 + 1e-6 * want);
                }
            } else {
                let items: Vec<ItemIdx> = history.iter().copied().map(ItemIdx).collect();
                prop_assert_eq!(
                    model.fallback(History::of(&items)), Some(Fallback::NothingKnown)
                );
            }
        }
    }
}
