//! Neural matrix factorization: a product of vectors and a perceptron on them, joined in one output.
//!
//! Start at [`NeuMfConfig`], which says what is minimized; then `network` (forward and backward), `fit` (the steps), `fold_in` (a
//! history's vectors) and `scorer` (all items for a user).

mod config;
mod fit;
mod fold_in;
mod network;
#[cfg(test)]
mod parity;
mod scorer;

use std::num::NonZeroUsize;

use forecart_data::{History, ItemIdx};
use forecart_nn::{Embedding, Matrix, Mlp, NnError};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

pub use config::NeuMfConfig;

use self::config::NAME;
use self::fold_in::{FoldIn, Prior};
use self::network::Network;
use self::scorer::Scorer;
use super::choices::take_reference;
use super::contract::{Fallback, ModelSpec, Reason, Recommender, ScoreScale};
use super::interactions::distinct_items;
use super::leave_one_out::leave_one_out;
use super::popularity::ItemCounts;
use super::top_k::Scored;
use super::vector_model::most_alike;
use crate::error::ModelError;
use crate::tensors::{TensorData, Tensors};

/// The fitted items and network. A user's vectors are found from the history when they are asked for.
#[derive(Debug, Clone)]
pub struct NeuMf {
    config: NeuMfConfig,
    network: Network,
    /// Made from `network`.
    scorer: Scorer,
    prior: Prior,
    /// Items that a history is compared with.
    reference: Vec<u32>,
    counts: ItemCounts,
}

/// The distinct known items of a history, ascending.
fn items_of(history: History<'_>, n_item_rows: usize) -> Vec<u32> {
    distinct_items(history, n_item_rows).into_iter().map(|(item, _)| item).collect()
}

impl NeuMf {
    fn new(
        config: NeuMfConfig,
        network: Network,
        prior: Prior,
        reference: Vec<u32>,
        counts: ItemCounts,
    ) -> Result<Self, NnError> {
        let scorer = Scorer::new(&config, &network)?;
        // Their vectors have done their work.
        let network = Network { users: Embedding::from_table(Matrix::zeros(0, 0))?, ..network };
        Ok(Self { config, network, scorer, prior, reference, counts })
    }

    /// Reads what [`Recommender::tensors`] gave.
    pub(super) fn load(
        config: NeuMfConfig,
        tensors: &mut Tensors,
        n_item_rows: usize,
    ) -> Result<Self, ModelError> {
        let failed = || ModelError::training(NAME, None);
        let matrix = |tensors: &mut Tensors, name: &str, rows: usize, cols: usize| {
            let values = tensors.take_matrix(name, rows, cols)?;
            Matrix::from_vec(rows, cols, values).map_err(failed())
        };
        let n_cols = config.n_cols();
        let items = matrix(tensors, "items", n_item_rows, n_cols)?;
        let product = matrix(tensors, "product", 1, config.n_factors.get() as usize)?;
        let prior = Prior(matrix(tensors, "prior", 2, n_cols)?);
        // Of the right sizes; the values come next.
        let rng = &mut ChaCha8Rng::seed_from_u64(0);
        let mut tower = Mlp::new(&network::layers(&config), rng).map_err(failed())?;
        tensors.take_parameters(&mut tower, NAME)?;
        let reference = take_reference(tensors, n_item_rows)?;
        let counts = ItemCounts::load(tensors, n_item_rows)?;
        let network = Embedding::from_table(Matrix::zeros(0, 0)).and_then(|users| {
            Ok(Network { users, items: Embedding::from_table(items)?, product, tower })
        });
        Self::new(config, network.map_err(failed())?, prior, reference, counts).map_err(failed())
    }

    fn seen<'h>(&self, history: History<'h>) -> History<'h> {
        history.newest(self.config.max_history.get() as usize)
    }

    /// Whether the model has learned anything about an item: the vectors of those without an event are as they were drawn.
    fn knows(&self, item: ItemIdx) -> bool {
        item.is_known() && self.counts.get(item) > 0.0
    }

    /// `None` where there is nothing to see.
    fn user(&self, history: History<'_>, fold_in: &mut FoldIn) -> Option<Vec<f32>> {
        let mut items = items_of(self.seen(history), self.scorer.n_item_rows());
        items.retain(|item| self.knows(ItemIdx(*item)));
        if items.is_empty() {
            return None;
        }
        let mut user = vec![0.0; self.config.n_cols()];
        let fixed = (&self.scorer, &self.prior);
        fold_in
            .write(&self.config, fixed, &self.reference, &items, &mut user)
            .expect("the sizes were checked when the model was fitted or loaded");
        Some(user)
    }

    fn score_user(&self, user: &[f32], scores: &mut [f32], fold_in: &mut FoldIn) {
        self.scorer
            .score_all(user, scores, &mut fold_in.scorer)
            .expect("the sizes were checked when the model was fitted or loaded");
        for score in scores.iter_mut() {
            // Only a file can overflow.
            if !score.is_finite() {
                *score = 0.0;
            }
        }
        scores[ItemIdx::UNKNOWN.row()] = 0.0;
    }
}

impl Recommender for NeuMf {
    fn name(&self) -> &'static str {
        NAME
    }

    fn hyperparameters(&self) -> Value {
        self.config.hyperparameters()
    }

    fn n_item_rows(&self) -> usize {
        self.scorer.n_item_rows()
    }

    fn score_scale(&self) -> ScoreScale {
        ScoreScale::Logit
    }

    fn score_all(&self, history: History<'_>, scores: &mut [f32]) {
        assert_eq!(scores.len(), self.n_item_rows(), "one score for each item row");
        let mut fold_in = FoldIn::default();
        match self.user(history, &mut fold_in) {
            Some(user) => self.score_user(&user, scores, &mut fold_in),
            None => self.counts.score_all(scores),
        }
    }

    fn fallback(&self, history: History<'_>) -> Option<Fallback> {
        let seen = self.seen(history);
        Fallback::unless(|| seen.items.iter().any(|item| self.knows(*item)), history)
    }

    /// By the cosine of the items' vectors, both parts together.
    fn similar(&self, item: ItemIdx, k: NonZeroUsize) -> Vec<Scored> {
        let items = self.network.items.table();
        most_alike(self, items, items.cols(), item, k)
    }

    /// Leave one out: what the score of `item` loses without each known item of the history.
    fn reasons(&self, history: History<'_>, item: ItemIdx, n: usize) -> Vec<Reason> {
        if !item.is_known() || item.row() >= self.n_item_rows() {
            return Vec::new();
        }
        if self.fallback(history).is_some() {
            return self.counts.reason(item, None).into_iter().take(n).collect();
        }
        let (fold_in, scores) = (FoldIn::default(), vec![0.0; self.n_item_rows()]);
        let buffers = std::cell::RefCell::new((fold_in, scores));
        let score = |rest: History<'_>| {
            let (fold_in, scores) = &mut *buffers.borrow_mut();
            // Nothing known is left: the answer to a user of whom nothing is known but that there is one.
            let nobody = || self.prior.0.row(0).to_vec();
            let user = self.user(rest, fold_in).unwrap_or_else(nobody);
            self.score_user(&user, scores, fold_in);
            scores[item.row()]
        };
        leave_one_out(history, self.seen(history), |item| self.knows(item), score, n)
    }

    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        let items = self.network.items.table();
        tensors.insert_matrix("items", items.to_host(), items.cols());
        let product = &self.network.product;
        tensors.insert_matrix("product", product.to_host(), product.cols());
        tensors.insert_matrix("prior", self.prior.0.to_host(), self.prior.0.cols());
        tensors.insert_parameters(&self.network.tower);
        tensors.insert("reference", TensorData::U32(self.reference.clone()));
        self.counts.save(&mut tensors);
        tensors
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::recommend::{FitOn, TrainingView};
    use crate::testing::{Log, dataset, one_thread};

    fn fitted() -> (NeuMf, f64, f64) {
        let users: &[&[u32]] =
            &[&[1, 2], &[1, 2, 3], &[2, 3, 1], &[4, 5], &[5, 6, 4], &[6, 4], &[1, 3], &[5, 4]];
        let (_folder, dataset) = dataset(&Log::new(6, users).all_for_training());
        let positive = |n: u32| NonZeroU32::new(n).unwrap();
        let config = NeuMfConfig {
            n_epochs: positive(150),
            n_factors: positive(8),
            mlp_factors: positive(8),
            hidden: vec![positive(8)],
            learning_rate: 0.02,
            ..NeuMfConfig::default()
        };
        let view = TrainingView::new(&dataset, FitOn::Train);
        let (model, record) = config.fit(&view, &one_thread()).unwrap();
        (model, record.curve[0].train_loss, record.curve[149].train_loss)
    }

    #[test]
    fn a_taste_is_told_from_the_other_one_and_the_loss_falls() {
        let (model, first, last) = fitted();
        // ln 2 is what equal logits cost.
        assert!(first < 0.75 && last < 0.25, "{first} {last}");
        let total = |history: [u32; 2], items: [u32; 3]| {
            let history = history.map(ItemIdx);
            model.score(History::of(&history), &items.map(ItemIdx)).iter().sum::<f32>()
        };
        assert!(total([1, 2], [1, 2, 3]) > total([1, 2], [4, 5, 6]));
        assert!(total([6, 5], [4, 5, 6]) > total([6, 5], [1, 2, 3]));
    }

    /// The split of the first layer into a user's and an item's part is the network: its logits by the training's forward pass.
    #[test]
    fn scores_are_the_logits_of_the_network() {
        use forecart_nn::{Gradients, Pass, Trainable};

        let (model, ..) = fitted();
        let row: Vec<f32> = (0..16).map(|at| (at as f32 * 1.3).sin()).collect();
        let users = Matrix::from_vec(1, 16, row.clone()).unwrap();
        let users = Embedding::from_table(users).unwrap();
        let network = Network { users, ..model.network.clone() };
        let mut scores = vec![0.0; 7];
        model.scorer.score_all(&row, &mut scores, &mut Default::default()).unwrap();
        for (item, score) in scores.iter().enumerate() {
            // The loss of the target 0 is ln(1 + exp(logit)).
            let example = network::Example { user: 0, item: item as u32, target: 0.0 };
            let mut gradients = network.new_gradients();
            gradients.clear();
            let ws = &mut network::Workspace::default();
            let loss = network.learn(&[example], 1, Pass::Inference, ws, &mut gradients).unwrap();
            let logit = loss.exp_m1().ln();
            assert!((logit - f64::from(*score)).abs() < 1e-4, "{item}: {logit} {score}");
        }
    }

    /// The slope that fold-in goes down is that of the logits, by finite differences.
    #[test]
    fn the_slope_of_a_users_row_is_that_of_its_logits() {
        let (model, ..) = fitted();
        let (mut some, mut ws) = (Default::default(), Default::default());
        model.scorer.gather([3, 1, 6, 1].into_iter(), &mut some);
        let weights = [0.5, -1.0, 2.0, 0.25];
        let mut row: Vec<f32> = (0..16).map(|at| (at as f32 * 0.9).cos()).collect();
        model.scorer.forward(&row, &some, &mut ws).unwrap();
        ws.d_logits = Matrix::from_vec(4, 1, weights.to_vec()).unwrap();
        let mut slope = vec![0.0; 16];
        model.scorer.backward(&some, &mut ws, &mut slope).unwrap();
        // Steps short enough that no ReLU changes its side.
        let report = forecart_nn::gradient_check(&mut row, &slope, 0.002, 0.05, |row| {
            model.scorer.forward(row, &some, &mut ws).unwrap();
            let pairs = ws.logits.as_slice().iter().zip(weights);
            pairs.map(|(logit, weight)| f64::from(*logit) * f64::from(weight)).sum()
        });
        assert!(report.error < 1e-2, "{report:?}");
    }
}
