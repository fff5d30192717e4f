//! Bayesian personalized ranking: factors that put what a user chose above what the user did not choose.
//!
//! Start at [`BprConfig`], which says what is minimized; then `fit` (the steps) and `fold_in` (a history's factors).

mod config;
mod fit;
mod fold_in;

use forecart_data::{History, ItemIdx};
use forecart_nn::Matrix;
use serde_json::Value;

pub use config::{BprConfig, BprNegatives, BprOptimizer};

use self::config::NAME;
use self::fold_in::FoldIn;
use super::choices::take_reference;
use super::contract::ModelSpec;
use super::interactions::distinct_items;
use super::popularity::ItemCounts;
use super::vector_model::{Screen, VectorModel};
use crate::error::ModelError;
use crate::tensors::{TensorData, Tensors};

/// The fitted factors of the items. A user's factors are found from the history when they are asked for.
#[derive(Debug, Clone)]
pub struct Bpr {
    config: BprConfig,
    /// Factors of each item and its bias as the last column: `[n_item_rows, n_factors + 1]`.
    vectors: Matrix,
    /// Items that a history is compared with.
    reference: Vec<u32>,
    counts: ItemCounts,
    screen: Screen,
}

impl Bpr {
    /// Reads what [`VectorModel::tensors`] gave.
    pub(super) fn load(
        config: BprConfig,
        tensors: &mut Tensors,
        n_item_rows: usize,
    ) -> Result<Self, ModelError> {
        let cols = config.n_factors.get() as usize + 1;
        let vectors = tensors.take_matrix("vectors", n_item_rows, cols)?;
        let vectors = Matrix::from_vec(n_item_rows, cols, vectors)
            .map_err(ModelError::training(NAME, None))?;
        let reference = take_reference(tensors, n_item_rows)?;
        Ok(Self {
            config,
            vectors,
            reference,
            counts: ItemCounts::load(tensors, n_item_rows)?,
            screen: Screen::default(),
        })
    }
}

impl VectorModel for Bpr {
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
        self.vectors.cols() - 1
    }

    fn counts(&self) -> &ItemCounts {
        &self.counts
    }

    fn max_history(&self) -> usize {
        self.config.max_history.get() as usize
    }

    fn encode(&self, history: History<'_>) -> Vec<f32> {
        let items: Vec<u32> = distinct_items(history, self.vectors.rows())
            .into_iter()
            .map(|(item, _)| item)
            .collect();
        let mut user = vec![0.0; self.vectors.cols()];
        let mut fold_in = FoldIn::default();
        fold_in.write(&self.config, &self.vectors, &self.reference, &items, &mut user);
        user
    }

    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        tensors.insert_matrix("vectors", self.vectors.to_host(), self.vectors.cols());
        tensors.insert("reference", TensorData::U32(self.reference.clone()));
        self.counts.save(&mut tensors);
        tensors
    }

    /// An item with an event: of others, factors are what they were drawn as.
    fn knows(&self, item: ItemIdx) -> bool {
        self.counts.get(item) > 0.0 && item.is_known()
    }
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU32, NonZeroUsize};

    use forecart_data::SeenItems;

    use super::*;
    use crate::recommend::{FitOn, Recommender, TopK, TrainingView};
    use crate::testing::{Log, dataset, one_thread};

    #[test]
    fn items_of_one_taste_are_recommended_together_and_the_loss_falls() {
        let users: &[&[u32]] =
            &[&[1, 2], &[1, 2, 3], &[2, 3, 1], &[4, 5], &[5, 6, 4], &[6, 4], &[1, 3], &[5, 4]];
        let (_folder, dataset) = dataset(&Log::new(6, users).all_for_training());
        let n_epochs = NonZeroU32::new(60).unwrap();
        let config = BprConfig { n_epochs, learning_rate: 0.02, ..BprConfig::default() };
        let view = TrainingView::new(&dataset, FitOn::Train);
        let (model, record) = config.fit(&view, &one_thread()).unwrap();
        let loss = |epoch: usize| record.curve[epoch].train_loss;
        // ln 2 is what equal scores cost.
        assert!((loss(0) - 2_f64.ln()).abs() < 0.1 && loss(59) < 0.3, "{} {}", loss(0), loss(59));
        let request = TopK::new(NonZeroUsize::new(1).unwrap(), SeenItems::Exclude);
        let first =
            |items: [u32; 2]| model.recommend(History::of(&items.map(ItemIdx)), &request)[0].item;
        assert_eq!(first([1, 2]), ItemIdx(3));
        assert_eq!(first([6, 5]), ItemIdx(4));
    }
}
