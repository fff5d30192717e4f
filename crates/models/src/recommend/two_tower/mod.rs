//! Two towers: one network makes a vector of a history, the other one of an item, and their product is the score.
//!
//! Start at [`TwoTowerConfig`], which says what the model computes; then `network` (forward and backward), `tower` (one network over a
//! batch), `fit` (the steps).

mod config;
mod fit;
mod network;
#[cfg(test)]
mod parity;
mod tower;

use forecart_data::{History, ItemIdx};
use forecart_nn::{Matrix, Mlp, NnError};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

pub use config::TwoTowerConfig;

use self::config::NAME;
use self::fit::{UserWorkspace, encode};
use self::network::Network;
use super::contract::ModelSpec;
use super::popularity::ItemCounts;
use super::vector_model::{Screen, VectorModel};
use crate::error::ModelError;
use crate::tensors::Tensors;

/// The fitted users' tower, and the items' inputs and vectors.
#[derive(Debug, Clone)]
pub struct TwoTower {
    config: TwoTowerConfig,
    /// What the users' tower sees of each item, `[n_item_rows, d_model]`.
    inputs: Matrix,
    /// What the items' tower made of it, `[n_item_rows, d_model]`.
    vectors: Matrix,
    user: Mlp,
    counts: ItemCounts,
    screen: Screen,
}

/// `item`, or the unknown one where there is no row for it.
fn known_or_unknown(item: ItemIdx, n_item_rows: usize) -> ItemIdx {
    if item.row() < n_item_rows { item } else { ItemIdx::UNKNOWN }
}

impl TwoTower {
    /// `network` with fresh inputs.
    fn new(config: TwoTowerConfig, network: &Network, counts: ItemCounts) -> Result<Self, NnError> {
        let vectors = network.vectors(&config)?;
        let (inputs, user) = (network.inputs().clone(), network.user.clone());
        Ok(Self { config, inputs, vectors, user, counts, screen: Screen::default() })
    }

    /// Reads what [`VectorModel::tensors`] gave.
    pub(super) fn load(
        config: TwoTowerConfig,
        tensors: &mut Tensors,
        n_item_rows: usize,
    ) -> Result<Self, ModelError> {
        let cols = config.d_model.get() as usize;
        let mut matrix = |name: &str| {
            let values = tensors.take_matrix(name, n_item_rows, cols)?;
            Matrix::from_vec(n_item_rows, cols, values).map_err(ModelError::training(NAME, None))
        };
        let (inputs, vectors) = (matrix("inputs")?, matrix("vectors")?);
        // Of the right sizes; the values come next.
        let rng = &mut ChaCha8Rng::seed_from_u64(0);
        let [layers, _] = config.layers();
        let mut user = Mlp::new(&layers, rng).map_err(ModelError::training(NAME, None))?;
        tensors.take_parameters(&mut user, NAME)?;
        let counts = ItemCounts::load(tensors, n_item_rows)?;
        Ok(Self { config, inputs, vectors, user, counts, screen: Screen::default() })
    }
}

impl VectorModel for TwoTower {
    fn name(&self) -> &'static str {
        NAME
    }

    fn hyperparameters(&self) -> Value {
        self.config.hyperparameters()
    }

    fn vectors(&self) -> &Matrix {
        &self.vectors
    }

    fn screen(&self) -> &Screen {
        &self.screen
    }

    fn n_dims(&self) -> usize {
        self.vectors.cols()
    }

    fn counts(&self) -> &ItemCounts {
        &self.counts
    }

    fn max_history(&self) -> usize {
        self.config.max_history.get() as usize
    }

    fn encode(&self, history: History<'_>) -> Vec<f32> {
        let n_item_rows = self.vectors.rows();
        let items: Vec<ItemIdx> =
            history.items.iter().map(|item| known_or_unknown(*item, n_item_rows)).collect();
        let mut hidden = Matrix::default();
        let parts = (&self.inputs, &self.user);
        let histories = std::iter::once(items.as_slice());
        encode(&self.config, parts, histories, &mut UserWorkspace::default(), &mut hidden)
            .expect("the shapes were checked when the model was fitted or loaded");
        hidden.row(0).to_vec()
    }

    /// An item with an event or attributes: there is nothing else to make an input of.
    fn knows(&self, item: ItemIdx) -> bool {
        item.is_known()
            && item.row() < self.inputs.rows()
            && self.inputs.row(item.row()).iter().any(|value| *value != 0.0)
    }

    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        tensors.insert_matrix("inputs", self.inputs.to_host(), self.inputs.cols());
        tensors.insert_matrix("vectors", self.vectors.to_host(), self.vectors.cols());
        tensors.insert_parameters(&self.user);
        self.counts.save(&mut tensors);
        tensors
    }
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU32, NonZeroUsize};

    use forecart_data::SeenItems;

    use super::*;
    use crate::recommend::{FitOn, Recommender, TopK, TrainingView};
    use crate::testing::{Log, dataset, one_thread};

    fn config() -> TwoTowerConfig {
        let positive = |n: u32| NonZeroU32::new(n).unwrap();
        TwoTowerConfig {
            d_model: positive(8),
            n_epochs: positive(80),
            batch_size: positive(8),
            n_negatives: 8,
            dropout: 0.0,
            learning_rate: 0.01,
            id_dropout: 0.3,
            ..TwoTowerConfig::default()
        }
    }

    /// Two tastes with an attribute each; items 4 and 8 are in the catalog and in no event.
    #[test]
    fn a_new_item_is_recommended_by_its_attributes() {
        let users: &[&[u32]] = &[
            &[1, 2, 3, 1],
            &[2, 3, 1, 2],
            &[3, 1, 2],
            &[1, 3, 2, 3],
            &[5, 6, 7, 5],
            &[6, 7, 5, 6],
            &[7, 5, 6],
            &[5, 7, 6, 7],
        ];
        let tastes = [&[][..], &[0], &[0], &[0], &[0], &[1], &[1], &[1], &[1]];
        let log = Log::new(8, users).all_for_training().with_sparse(&["a", "b"], &tastes);
        let (_folder, dataset) = dataset(&log);
        let view = TrainingView::new(&dataset, FitOn::Train);
        let (model, record) = config().fit(&view, &one_thread()).unwrap();
        let (first, last) = (record.curve[0].train_loss, record.curve[79].train_loss);
        assert!(last < 0.8 * first, "{first} {last}");
        let request = TopK::new(NonZeroUsize::new(1).unwrap(), SeenItems::Exclude);
        let best =
            |items: [u32; 3]| model.recommend(History::of(&items.map(ItemIdx)), &request)[0].item;
        assert_eq!(best([1, 2, 3]), ItemIdx(4));
        assert_eq!(best([5, 6, 7]), ItemIdx(8));
        // It speaks for itself in a history too.
        assert_eq!(model.fallback(History::of(&[ItemIdx(4)])), None);
        let score = |item: u32| model.score(History::of(&[ItemIdx(4)]), &[ItemIdx(item)])[0];
        assert!([1, 2, 3].map(score).iter().sum::<f32>() > [5, 6, 7].map(score).iter().sum());
    }

    /// Without attributes nothing is known of such an item.
    #[test]
    fn an_item_without_event_and_attributes_says_nothing() {
        let (_folder, dataset) = dataset(&Log::new(3, &[&[1, 2, 1], &[2, 1]]).all_for_training());
        let view = TrainingView::new(&dataset, FitOn::Train);
        let (model, _) = config().fit(&view, &one_thread()).unwrap();
        assert!(model.fallback(History::of(&[ItemIdx(3)])).is_some());
        assert!(model.fallback(History::of(&[ItemIdx(3), ItemIdx(1)])).is_none());
    }
}
