//! Forward and backward of the network, for the examples of a step and for histories that are to be answered.

use std::num::NonZeroU32;

use forecart_data::{ItemFeatures, ItemIdx};
use forecart_nn::loss::{
    ItemSubset, SubsetSoftmaxGradients, SubsetSoftmaxWorkspace, subset_softmax,
};
use forecart_nn::{
    Activation, DropoutKey, Embedding, Gradients, Init, Matrix, Mlp, MlpConfig, NnError,
    RowGradients,
};
use rand_chacha::ChaCha8Rng;

use super::config::TwoTowerConfig;
use super::tower::{Shape, TowerPass};
use crate::recommend::attributes::{Attributes, Pooling};
use crate::recommend::item_table::ItemGradients;

/// Standard deviation of new vectors, as in `mlp`.
const INIT_STD_DEV: f32 = 0.05;

/// Items whose vectors are computed at a time.
pub(super) const BLOCK_ITEMS: usize = 4096;

/// The towers' places among the networks of a step, for dropout.
const USER: usize = 0;
const ITEM: usize = 1;

/// What is learned.
#[derive(Debug, Clone)]
pub(super) struct Network {
    /// Own vector of each item, `[n_item_rows, d_model]`; 0 of an item without an event.
    pub(super) items: Embedding,
    pub(super) attributes: Option<Attributes>,
    /// From `2 d_model + 1` columns.
    pub(super) user: Mlp,
    /// From `d_model` columns.
    pub(super) item: Mlp,
}

forecart_nn::trainable!(
    Network,
    /// Gradients of a [`Network`].
    pub(super) struct NetworkGradients {
        items: Embedding,
        attributes: Option<Attributes>,
        user: Mlp,
        item: Mlp,
    }
);

/// The examples of a step: what came before, and the label.
#[derive(Debug, Clone, Copy)]
pub(super) struct Examples<'a> {
    /// At most `max_history` items each, of which the model knows one at least.
    pub(super) histories: &'a [&'a [ItemIdx]],
    /// Of each row the place of its label among the candidates.
    pub(super) labels: &'a [u32],
    /// Ascending, each once.
    pub(super) candidates: ItemSubset<'a>,
    /// Of each candidate, whether it is shown without its own embedding; empty if none is.
    pub(super) is_bare: &'a [bool],
}

/// Buffers of a step.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    /// `[n, 2 d_model + 1]`.
    x_users: Matrix,
    users: Matrix,
    d_users: Matrix,
    dx_users: Matrix,
    user_pass: TowerPass,
    /// `[n_candidates, d_model]`.
    x_items: Matrix,
    items: Matrix,
    d_items: Matrix,
    dx_items: Matrix,
    item_pass: TowerPass,
    places: Vec<u32>,
    softmax: SubsetSoftmaxWorkspace,
}

impl TwoTowerConfig {
    fn shape(&self) -> Shape {
        Shape { residual: self.residual, normalize: self.normalize, dropout: 0.0 }
    }

    /// Of the users' tower.
    pub(super) fn user_shape(&self) -> Shape {
        Shape { dropout: self.dropout as f32, ..self.shape() }
    }

    /// Sizes of both towers.
    pub(super) fn layers(&self) -> [MlpConfig; 2] {
        let d_model = self.d_model.get() as usize;
        let of = |n_in: usize, hidden: &[NonZeroU32]| MlpConfig {
            n_in,
            hidden: hidden.iter().map(|size| size.get() as usize).collect(),
            n_out: d_model,
            activation: Activation::from(self.activation),
            dropout: self.dropout as f32,
        };
        [of(2 * d_model + 1, &self.user_hidden), of(d_model, &self.item_hidden)]
    }
}

/// The weight of each event of a history of `n`, before the division by their sum.
fn weights(n: usize, config: &TwoTowerConfig) -> impl Iterator<Item = f32> + Clone + use<> {
    let decay = config.decay as f32;
    let n = i32::try_from(n).unwrap_or(i32::MAX);
    (0..n).rev().map(move |steps_back| decay.powi(steps_back))
}

/// The input of the users' tower: the mean of the history's inputs, the newest one, and the number of events.
///
/// # Shapes
/// `inputs: [n_item_rows, d]`, `x: [2 d + 1]`, overwritten. Unknown items are part of the number alone.
pub(super) fn write_user(
    config: &TwoTowerConfig,
    inputs: &Matrix,
    history: &[ItemIdx],
    x: &mut [f32],
) {
    let d = inputs.cols();
    x.fill(0.0);
    let (mean, rest) = x.split_at_mut(d);
    let (newest, context) = rest.split_at_mut(d);
    for (item, weight) in shares(config, history) {
        let row = inputs.row(item.row());
        mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * value);
        newest.copy_from_slice(row);
    }
    let whole = (1.0 + config.max_history.get() as f32).ln();
    context[0] = (1.0 + history.len() as f32).ln() / whole;
}

/// The known items of a history, oldest first, and their shares of the mean.
fn shares<'a>(
    config: &TwoTowerConfig,
    history: &'a [ItemIdx],
) -> impl Iterator<Item = (ItemIdx, f32)> + use<'a> {
    let weighted = history.iter().zip(weights(history.len(), config));
    let known = weighted.filter(|(item, _)| item.is_known());
    let total: f32 = known.clone().map(|(_, weight)| weight).sum();
    known.map(move |(item, weight)| (*item, weight / total.max(f32::MIN_POSITIVE)))
}

impl Network {
    /// `has_event` says of each item row whether anything can be learned of the item itself.
    pub(super) fn new(
        config: &TwoTowerConfig,
        features: &ItemFeatures,
        has_event: &[bool],
        rng: &mut ChaCha8Rng,
    ) -> Result<Self, NnError> {
        let d_model = config.d_model.get() as usize;
        let init = Init::TruncatedNormal { std_dev: INIT_STD_DEV };
        let mut items = init.matrix(has_event.len(), d_model, rng)?;
        for (row, _) in has_event.iter().enumerate().filter(|(_, has_event)| !**has_event) {
            items.row_mut(row).fill(0.0);
        }
        let attributes =
            Attributes::new(features, has_event.len(), d_model, Pooling::Mean, init, rng)?;
        let [user, item] = config.layers();
        let (user, item) = (Mlp::new(&user, rng)?, Mlp::new(&item, rng)?);
        Ok(Self { items: Embedding::from_table(items)?, attributes, user, item })
    }

    /// The items' inputs, attributes included, of the rows that were asked for last.
    pub(super) fn inputs(&self) -> &Matrix {
        self.attributes.as_ref().map_or(self.items.table(), Attributes::vectors)
    }

    /// Computes the inputs of all items anew.
    pub(super) fn refresh(&mut self) {
        if let Some(attributes) = &mut self.attributes {
            attributes.outdate();
            attributes.want_all();
            attributes.compose(self.items.table());
        }
    }

    /// Computes the inputs of the items of a step anew.
    pub(super) fn refresh_for(&mut self, histories: &[&[ItemIdx]], candidates: &[u32]) {
        if let Some(attributes) = &mut self.attributes {
            attributes.outdate();
            let items = histories.iter().flat_map(|history| history.iter());
            items.for_each(|item| attributes.want(item.0));
            candidates.iter().for_each(|item| attributes.want(*item));
            attributes.compose(self.items.table());
        }
    }

    /// Vectors of all items, `[n_item_rows, d_model]`; inputs are fresh.
    pub(super) fn vectors(&self, config: &TwoTowerConfig) -> Result<Matrix, NnError> {
        let (inputs, tower) = (self.inputs(), (&self.item, config.shape()));
        let [n_rows, d] = inputs.shape();
        let mut vectors = Matrix::zeros(n_rows, d);
        // A block at a time: activations of all items would be the largest thing in memory.
        let (mut x, mut y, mut pass) = (Matrix::default(), Matrix::default(), TowerPass::default());
        let blocks = vectors.as_mut_slice().chunks_mut(BLOCK_ITEMS * d);
        for (block, inputs) in blocks.zip(inputs.as_slice().chunks(BLOCK_ITEMS * d)) {
            x.reshape(inputs.len() / d, d);
            x.as_mut_slice().copy_from_slice(inputs);
            pass.forward(tower, &x, None, &mut y)?;
            block.copy_from_slice(y.as_slice());
        }
        Ok(vectors)
    }

    /// Mean loss of `examples`; adds to `gradients`, whose part `composed` is that of the items' inputs. Inputs of the items are fresh.
    /// Runs on the current rayon pool; the result does not depend on its threads.
    pub(super) fn learn(
        &self,
        config: &TwoTowerConfig,
        examples: Examples<'_>,
        key: DropoutKey,
        ws: &mut Workspace,
        (gradients, composed): (&mut NetworkGradients, &mut RowGradients),
    ) -> Result<f64, NnError> {
        let Examples { histories, labels, candidates, is_bare } = examples;
        let (inputs, d) = (self.inputs(), self.items.n_dims());
        let (user_key, item_key) = (Some(key.layer(USER)), Some(key.layer(ITEM)));
        ws.x_users.reshape(histories.len(), 2 * d + 1);
        for (row, history) in histories.iter().enumerate() {
            write_user(config, inputs, history, ws.x_users.row_mut(row));
        }
        let user_tower = (&self.user, config.user_shape());
        ws.user_pass.forward(user_tower, &ws.x_users, user_key, &mut ws.users)?; // [n, d]
        ws.x_items.reshape(candidates.items.len(), d);
        for (place, item) in candidates.items.iter().enumerate() {
            let x = ws.x_items.row_mut(place);
            x.copy_from_slice(inputs.row(*item as usize));
            if is_bare.get(place) == Some(&true) {
                let own = self.items.table().row(*item as usize);
                x.iter_mut().zip(own).for_each(|(value, own)| *value -= own);
            }
        }
        let item_tower = (&self.item, config.shape());
        ws.item_pass.forward(item_tower, &ws.x_items, item_key, &mut ws.items)?; // [n_candidates, d]

        let scale = 1.0 / config.temperature as f32;
        ws.users.as_mut_slice().iter_mut().for_each(|value| *value *= scale);
        ws.places.clear();
        ws.places.extend(0..candidates.items.len() as u32);
        let mut d_table = RowGradients::new(ws.places.len(), d);
        let loss = subset_softmax(
            &ws.users,
            &ws.items,
            labels,
            ItemSubset { items: &ws.places, log_q: candidates.log_q },
            histories.len() as f64,
            &mut ws.softmax,
            SubsetSoftmaxGradients { d_hidden: &mut ws.d_users, d_table: &mut d_table },
        )?;
        ws.d_users.as_mut_slice().iter_mut().for_each(|value| *value *= scale);
        ws.d_items.reset(ws.places.len(), d);
        d_table.add_to_dense(&mut ws.d_items)?;

        let (dy, dx) = (&ws.d_users, &mut ws.dx_users);
        ws.user_pass.backward(user_tower, user_key, dy, dx, &mut gradients.user)?;
        let (dy, dx) = (&ws.d_items, &mut ws.dx_items);
        ws.item_pass.backward(item_tower, item_key, dy, dx, &mut gradients.item)?;
        composed.clear();
        for (row, history) in histories.iter().enumerate() {
            let (mean, rest) = ws.dx_users.row(row).split_at(d);
            for (item, share) in shares(config, history) {
                composed.add_to_row(item.0, mean, share);
            }
            if let Some(item) = history.iter().rev().find(|item| item.is_known()) {
                composed.add_to_row(item.0, &rest[..d], 1.0);
            }
        }
        gradients.items.add(composed)?;
        for (place, item) in candidates.items.iter().enumerate() {
            composed.add_to_row(*item, ws.dx_items.row(place), 1.0);
            if is_bare.get(place) != Some(&true) {
                gradients.items.add_to_row(*item, ws.dx_items.row(place), 1.0);
            }
        }
        gradients.items.finish();
        composed.finish();
        Ok(loss)
    }

    /// Carries the gradients of the items' inputs on to those of their attributes.
    pub(super) fn backward_attributes(
        &self,
        composed: RowGradients,
        gradients: &mut NetworkGradients,
    ) -> RowGradients {
        let composed = ItemGradients::Rows(composed);
        if let (Some(attributes), Some(of_attributes)) =
            (&self.attributes, &mut gradients.attributes)
        {
            attributes.backward(&composed, of_attributes);
            of_attributes.finish();
        }
        match composed {
            ItemGradients::Rows(composed) => composed,
            ItemGradients::Dense(_) => unreachable!("it was made of rows"),
        }
    }
}
