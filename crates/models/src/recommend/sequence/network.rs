//! Everything that is learned: the items' vectors, those of their attributes, and the encoder.

use forecart_data::ItemFeatures;
use forecart_nn::{Matrix, NnError};
use rand_chacha::ChaCha8Rng;

use super::config::SequenceConfig;
use super::encoder::{Encoder, INIT};
use crate::recommend::attributes::{Attributes, Pooling};
use crate::recommend::item_table::ItemTable;

/// What is learned.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub(super) items: ItemTable,
    pub(super) attributes: Option<Attributes>,
    pub(super) encoder: Encoder,
}

forecart_nn::trainable!(
    Network,
    /// Gradients of a [`Network`].
    pub(crate) struct NetworkGradients {
        items: ItemTable,
        attributes: Option<Attributes>,
        encoder: Encoder,
    }
);

impl Network {
    pub(crate) fn new(
        config: &SequenceConfig,
        n_item_rows: usize,
        has_time: bool,
        n_event_rows: usize,
        features: Option<&ItemFeatures>,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self, NnError> {
        let d = config.d_model.get() as usize;
        let items = ItemTable::new(n_item_rows, d, config.moves_all(), INIT, rng)?;
        let encoder = Encoder::new(config, has_time, n_event_rows, rng)?;
        let new = |features| Attributes::new(features, n_item_rows, d, Pooling::Sum, INIT, rng);
        let attributes = features.map(new).transpose()?.flatten();
        Ok(Self { items, attributes, encoder })
    }

    /// The items' vectors; those of [`Self::compose`] where there are attributes.
    pub(super) fn vectors(&self) -> &Matrix {
        self.attributes.as_ref().map_or(self.items.vectors(), Attributes::vectors)
    }

    /// Says that weights changed.
    pub(super) fn outdate(&mut self) {
        self.attributes.iter_mut().for_each(Attributes::outdate);
    }

    /// Brings the vectors of all items up to date.
    pub(super) fn compose_all(&mut self) {
        if let Some(attributes) = &mut self.attributes {
            attributes.want_all();
            attributes.compose(self.items.vectors());
        }
    }

    /// The network whose items have the composed vectors for their own: for a model that learns no more.
    pub(super) fn without_attributes(mut self) -> Self {
        self.compose_all();
        if let Some(attributes) = self.attributes.take() {
            self.items = self.items.with_vectors(attributes.into_vectors());
        }
        self
    }
}
