//! User-kNN: what users with like histories chose.

use forecart_data::{History, ItemIdx};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Interactions;
use super::comparison::{Comparison, Scratch, Shared, SharedCentered, SharedCount, SharedDot};
use super::keys::NeighborKeys;
use super::ratings_of;
use super::weigher::Weigher;
use crate::error::ModelError;
use crate::recommend::contract::{
    Fallback, FitContext, FitRecord, Fitted, ModelSpec, Reason, Recommender, weightiest,
};
use crate::recommend::popularity::ItemCounts;
use crate::recommend::search_space::Parameter;
use crate::recommend::top_k::{Scored, TopK};
use crate::recommend::view::TrainingView;
use crate::tensors::Tensors;

const NAME: &str = "user-knn";

/// User-kNN with its hyperparameters: users are rows over the items, compared as [`NeighborKeys`] says.
///
/// The history that is asked about is a row like those of the users of the training part, who are all in the model file
/// with their items. The score of an item is `Σ_v similarity(history, v) · rating(v, item)` over the `n_neighbors` most
/// similar users `v`. A user of the training part is one of their own neighbors: a history does not say whose it is.
///
/// Source: Herlocker et al., SIGIR 1999 (neighbors; what few items support counts less, here by the shrinkage and not by
/// their `n / 50`); the sum of similarities without a division, which ranks, as Cremonesi et al., RecSys 2010, section 3.1,
/// have it for items.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct UserKnnConfig {
    /// How users are compared.
    #[serde(flatten)]
    pub neighbors: NeighborKeys,
}

impl UserKnnConfig {
    /// Refuses values outside of their ranges.
    pub(in crate::recommend) fn check(&self) -> Result<(), ModelError> {
        self.neighbors.check(NAME)
    }
}

/// What `tune` varies.
const SEARCH_SPACE: &[Parameter] = &[
    Parameter::log_int("n_neighbors", 10, 1000),
    Parameter::choice("weighting", &["binary", "count", "tf-idf", "bm25"]),
    Parameter::choice("similarity", &["cosine", "jaccard"]),
    // Against 0, the plain cosine, a hundredth makes no difference.
    Parameter::log("shrinkage", 0.01, 1000.0),
];

impl ModelSpec for UserKnnConfig {
    fn name(&self) -> &'static str {
        NAME
    }

    fn hyperparameters(&self) -> Value {
        serde_json::to_value(self).expect("numbers and names in a struct are JSON")
    }

    fn uses_seed(&self) -> bool {
        false
    }

    fn search_space(&self) -> &'static [Parameter] {
        SEARCH_SPACE
    }

    /// The rows and the index.
    fn needed_bytes(&self, view: &TrainingView<'_>) -> u64 {
        let (n_users, n_items) = (view.users().count() as u64, view.n_item_rows() as u64);
        view.n_events() * self.neighbors.bytes_per_event() * 2 + (n_users + n_items) * 24
    }

    fn fit(&self, view: &TrainingView<'_>, context: &FitContext<'_>) -> Result<Fitted, ModelError> {
        self.check()?;
        context.check_memory(
            NAME,
            self.needed_bytes(view),
            "keep fewer users or raise the limit",
        )?;
        let counts = ItemCounts::of(view, NAME)?;
        context.progress.begin("histories", Some(view.users().count() as u64));
        let ratings =
            context.on_threads(|| Ok(Interactions::of(view, self.neighbors.weighting)))?;
        context.check_cancelled()?;
        Ok(Fitted::counted(UserKnn::new(*self, ratings, counts)))
    }

    fn for_refit(&self, _: &FitRecord) -> Box<dyn ModelSpec> {
        Box::new(*self)
    }
}

/// The histories of the training part, and where each item occurs in them.
#[derive(Debug)]
pub struct UserKnn {
    config: UserKnnConfig,
    ratings: Interactions,
    weigher: Weigher,
    comparison: Comparison,
    counts: ItemCounts,
}

/// A history as a row: its items and their weights, none where all are 1.
#[derive(Debug, Default)]
struct Row {
    items: Vec<u32>,
    weights: Vec<f32>,
}

impl UserKnn {
    fn new(config: UserKnnConfig, ratings: Interactions, counts: ItemCounts) -> Self {
        let n_items = counts.n_item_rows();
        let weigher = Weigher::of(config.neighbors, &ratings, n_items);
        let index = weigher.weigh_all(ratings.clone()).transposed(n_items);
        let comparison = Comparison::of(config.neighbors, index, ratings.n_rows());
        Self { config, ratings, weigher, comparison, counts }
    }

    /// Reads what [`Recommender::tensors`] gave.
    pub(in crate::recommend) fn load(
        config: UserKnnConfig,
        tensors: &mut Tensors,
        n_item_rows: usize,
    ) -> Result<Self, ModelError> {
        let ratings = Interactions::load(tensors, config.neighbors.weighting, n_item_rows)?;
        let counts = ItemCounts::load(tensors, n_item_rows)?;
        Ok(Self::new(config, ratings, counts))
    }

    /// The history as a row.
    fn row_of(&self, history: History<'_>) -> Row {
        let mut row = Row::default();
        let mut ratings = Vec::new();
        let (weighting, n_items) = (self.config.neighbors.weighting, self.n_item_rows());
        ratings_of(history, weighting, n_items, &mut Vec::new(), |item, rating| {
            row.items.push(item);
            ratings.extend(rating);
        });
        if !self.weigher.is_binary() {
            self.weigher.weigh(&row.items, &ratings, &mut row.weights);
        }
        row
    }

    /// The users most like `row`, with their similarities.
    fn nearest(&self, row: &Row) -> Vec<(u32, f32)> {
        if self.config.neighbors.similarity.is_centered() {
            self.nearest_by::<SharedCentered>(row)
        } else if self.weigher.is_binary() {
            self.nearest_by::<SharedCount>(row)
        } else {
            self.nearest_by::<SharedDot>(row)
        }
    }

    fn nearest_by<S: Shared>(&self, row: &Row) -> Vec<(u32, f32)> {
        let mut scratch = Scratch::<S>::new(self.comparison.n_rows());
        self.comparison.nearest((&row.items, &row.weights), None, &mut scratch).collect()
    }

    /// Calls `take` with the items of a user and their ratings.
    fn each_rating(&self, user: u32, mut take: impl FnMut(u32, f32)) {
        let (items, ratings) = self.ratings.row(user as usize);
        for (place, item) in items.iter().enumerate() {
            take(*item, ratings.get(place).copied().unwrap_or(1.0));
        }
    }
}

impl Recommender for UserKnn {
    fn name(&self) -> &'static str {
        NAME
    }

    fn hyperparameters(&self) -> Value {
        self.config.hyperparameters()
    }

    fn n_item_rows(&self) -> usize {
        self.counts.n_item_rows()
    }

    fn score_all(&self, history: History<'_>, scores: &mut [f32]) {
        assert_eq!(scores.len(), self.n_item_rows(), "one score for each item row");
        let nearest = self.nearest(&self.row_of(history));
        if nearest.is_empty() {
            return self.counts.score_all(scores);
        }
        scores.fill(0.0);
        for (user, similarity) in nearest {
            self.each_rating(user, |item, rating| scores[item as usize] += similarity * rating);
        }
    }

    fn fallback(&self, history: History<'_>) -> Option<Fallback> {
        Fallback::unless(|| !self.nearest(&self.row_of(history)).is_empty(), history)
    }

    fn recommend(&self, history: History<'_>, request: &TopK<'_>) -> Vec<Scored> {
        let mut scores = vec![0.0; self.n_item_rows()];
        self.score_all(history, &mut scores);
        self.counts.top_k_filled(&scores, history, request)
    }

    /// What each item of the history brought to the products with those neighbors who chose `item`, at the newest event
    /// of each.
    fn reasons(&self, history: History<'_>, item: ItemIdx, n: usize) -> Vec<Reason> {
        if !item.is_known() || item.row() >= self.n_item_rows() {
            return Vec::new();
        }
        let row = self.row_of(history);
        let nearest = self.nearest(&row);
        if nearest.is_empty() {
            return self.counts.reason(item, None).into_iter().take(n).collect();
        }
        let mut brought = vec![0.0_f64; row.items.len()];
        let mut weights = Vec::new();
        for (user, similarity) in nearest {
            let (items, ratings) = self.ratings.row(user as usize);
            let Ok(place) = items.binary_search(&item.0) else { continue };
            let rating = ratings.get(place).map_or(1.0, |rating| f64::from(*rating));
            self.weigher.weigh(items, ratings, &mut weights);
            let products: Vec<f64> = (row.items.iter().enumerate())
                .map(|(own, shared)| match items.binary_search(shared) {
                    Ok(place) => {
                        let weight = row.weights.get(own).map_or(1.0, |w| f64::from(*w));
                        weight * f64::from(weights[place])
                    }
                    Err(_) => 0.0,
                })
                .collect();
            let dot: f64 = products.iter().sum();
            for (sum, product) in brought.iter_mut().zip(products) {
                *sum += f64::from(similarity) * rating * product / dot;
            }
        }
        let newest = |shared: u32| {
            history.items.iter().rposition(|item| item.0 == shared).expect("an item of the history")
        };
        let because = row.items.iter().zip(brought);
        let because = because.map(|(item, sum)| (newest(*item), ItemIdx(*item), sum as f32));
        weightiest(because.collect(), n)
    }

    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        self.ratings.save(&mut tensors);
        self.counts.save(&mut tensors);
        tensors
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::recommend::FitOn;
    use crate::testing::{Log, dataset, one_thread, scores, total_contribution};

    fn fit(n_neighbors: u32, users: &[&[u32]]) -> Box<dyn Recommender> {
        let (_folder, dataset) = dataset(&Log::new(5, users).all_for_training());
        let mut config = UserKnnConfig::default();
        config.neighbors.n_neighbors = NonZeroU32::new(n_neighbors).unwrap();
        config.fit(&TrainingView::new(&dataset, FitOn::Train), &one_thread()).unwrap().model
    }

    /// The history 1 2 2 has the cosine 2 / √6 with 1 2 3, 1 / √4 with 1 4, and nothing with 5.
    #[test]
    fn neighbors_bring_their_items_by_hand() {
        let users: [&[u32]; 3] = [&[1, 2, 3], &[4, 1, 4], &[5]];
        let (first, second) = ((2.0 / 6.0_f64.sqrt()) as f32, 0.5);
        let model = fit(9, &users);
        assert_eq!(
            scores(model.as_ref(), &[1, 2, 2]),
            [0.0, first + second, first, first, second, 0.0]
        );
        let model = fit(1, &users);
        assert_eq!(scores(model.as_ref(), &[1, 2, 2]), [0.0, first, first, first, 0.0, 0.0]);
    }

    #[test]
    fn contributions_sum_to_the_score_and_stand_at_the_newest_event() {
        let model = fit(9, &[&[1, 2, 3], &[4, 1, 3], &[2, 3], &[5]]);
        let items = [1, 2, 0, 2].map(ItemIdx);
        let reasons = model.reasons(History::of(&items), ItemIdx(3), 9);
        let total = total_contribution(&reasons);
        for reason in &reasons {
            let Reason::Event { position, item, .. } = reason else { panic!("{reason:?}") };
            assert!(matches!((position, item.0), (0, 1) | (3, 2)), "{reason:?}");
        }
        assert!((total - scores(model.as_ref(), &[1, 2, 0, 2])[3]).abs() < 1e-6);
        assert_eq!(reasons.len(), 2);
    }

    #[test]
    fn a_history_like_nobody_s_gets_popularity() {
        let model = fit(9, &[&[1, 2], &[1]]);
        assert_eq!(scores(model.as_ref(), &[4]), [0.0, 2.0, 1.0, 0.0, 0.0, 0.0]);
        assert_eq!(model.fallback(History::of(&[ItemIdx(4)])), Some(Fallback::NothingKnown));
    }

    #[test]
    fn damaged_rows_are_refused() {
        let config = UserKnnConfig::default();
        let model = fit(9, &[&[1, 2], &[3]]);
        let load = |name: &str, data: crate::TensorData| {
            let mut tensors = model.tensors();
            tensors.insert(name, data);
            UserKnn::load(config, &mut tensors, 6)
        };
        assert!(load("user_items", crate::TensorData::U32(vec![1, 2, 3])).is_ok());
        for items in [vec![2, 1, 3], vec![1, 1, 3], vec![1, 2, 6], vec![0, 2, 3], vec![1, 2]] {
            let error = load("user_items", crate::TensorData::U32(items)).unwrap_err();
            assert!(matches!(error, ModelError::Damaged { .. }), "{error}");
        }
        for offsets in [vec![], vec![0, 3, 2, 3], vec![1, 3], vec![0, 2], vec![0, 9, 3]] {
            let error = load("user_offsets", crate::TensorData::U64(offsets)).unwrap_err();
            assert!(matches!(error, ModelError::Damaged { .. }), "{error}");
        }
    }
}
