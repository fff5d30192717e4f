//! One training step: a batch of sequences forward and backward on all threads, and the update.

use forecart_data::{History, ItemFeatures};
use forecart_nn::loss::{
    FullSoftmaxGradients, FullSoftmaxWorkspace, OwnNegatives, OwnNegativesGradients,
    OwnNegativesWorkspace, full_softmax, own_sampled_softmax, sampled_bce,
};
use forecart_nn::{
    DropoutKey, Gradients, Matrix, NnError, Optimizer, Pass, RowGradients, Trainable,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::config::{SequenceConfig, SequenceLoss};
use super::encoder::{Encoder, EncoderGradients, INIT, MASK, Tile};
use super::masking::Masking;
use crate::recommend::attributes::{Attributes, Pooling};
use crate::recommend::item_table::{ItemGradients, ItemTable};

/// Tokens of a tile: its activations stay in an L2 cache. A longer sequence is a tile of its own.
const TILE_TOKENS: usize = 128;

/// Parts of a batch whose gradients are summed apart and joined in order: enough for the threads of one machine to
/// share, and the same for any number of them, as sums must be.
pub(super) const N_GROUPS: usize = 16;

/// What is learned.
#[derive(Debug, Clone)]
pub(super) struct Network {
    pub(super) items: ItemTable,
    attributes: Option<Attributes>,
    pub(super) encoder: Encoder,
}

forecart_nn::trainable!(
    Network,
    /// Gradients of a [`Network`].
    pub(super) struct NetworkGradients {
        items: ItemTable,
        attributes: Option<Attributes>,
        encoder: Encoder,
    }
);

impl Network {
    pub(super) fn new(
        config: &SequenceConfig,
        n_item_rows: usize,
        has_time: bool,
        features: Option<&ItemFeatures>,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self, NnError> {
        let d = config.d_model.get() as usize;
        let items = ItemTable::new(n_item_rows, d, config.is_full(), INIT, rng)?;
        let encoder = Encoder::new(config, has_time, rng)?;
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

/// A network in training, with its optimizer and buffers.
#[derive(Debug)]
pub(super) struct Stepper<'a> {
    config: &'a SequenceConfig,
    pub(super) network: Network,
    pub(super) optimizer: Optimizer,
    /// Gradients of the last step.
    pub(super) total: NetworkGradients,
    groups: Vec<Group>,
    softmax: FullSoftmaxWorkspace,
    hidden: Matrix,
    d_hidden: Matrix,
}

/// A part of the batch: its tiles, one after the other on one thread.
#[derive(Debug)]
struct Group {
    tiles: Vec<LabeledTile>,
    n_tiles: usize,
    encoder: EncoderGradients,
    /// Of inputs, labels and negatives.
    items: RowGradients,
    loss: Result<f64, NnError>,
}

#[derive(Debug, Default)]
struct LabeledTile {
    tile: Tile,
    /// Rows whose next item is known, or rows that are masked, and that item.
    rows: Vec<usize>,
    labels: Vec<u32>,
    /// Row of the tile's first token in the batch, and of its first label among the batch's labels.
    first_row: usize,
    first_label: usize,
    negatives: Vec<u32>,
    /// Rows with a label, `[n_labels, d]`, where not all rows have one.
    hidden: Matrix,
    d_hidden: Matrix,
    own: OwnNegativesWorkspace,
}

impl<'a> Stepper<'a> {
    pub(super) fn new(config: &'a SequenceConfig, network: Network, optimizer: Optimizer) -> Self {
        let total = network.new_gradients();
        let [n_rows, d] = network.items.vectors().shape();
        let group = || Group {
            tiles: Vec::new(),
            n_tiles: 0,
            encoder: network.encoder.new_gradients(),
            items: RowGradients::new(n_rows, d),
            loss: Ok(0.0),
        };
        let groups = std::iter::repeat_with(group).take(N_GROUPS).collect();
        Self {
            config,
            total,
            groups,
            network,
            optimizer,
            softmax: FullSoftmaxWorkspace::default(),
            hidden: Matrix::default(),
            d_hidden: Matrix::default(),
        }
    }

    /// One step of the optimizer; the mean loss of the batch's labels, and their number. Masks, dropout and negatives are
    /// drawn by `key`.
    pub(super) fn step(
        &mut self,
        key: DropoutKey,
        batch: &[History<'_>],
    ) -> Result<(f64, usize), NnError> {
        let n_labels = self.lay_out(batch, key);
        if n_labels == 0 {
            return Ok((0.0, 0));
        }
        self.total.clear();
        self.compose(key);
        let loss = match self.config.loss {
            SequenceLoss::Full => self.against_all(key, n_labels)?,
            SequenceLoss::Sampled | SequenceLoss::Bce => self.against_few(key, n_labels)?,
        };
        for group in &self.groups {
            self.total.encoder.add(&group.encoder)?;
            self.total.items.add_rows(&group.items)?;
        }
        let (attributes, total) = (&self.network.attributes, &mut self.total);
        if let (Some(attributes), Some(gradients)) = (attributes, &mut total.attributes) {
            attributes.backward(&total.items, gradients);
        }
        self.network.outdate();
        self.optimizer.step(&mut self.network, &mut self.total)?;
        Ok((loss, n_labels))
    }

    /// Brings the vectors up to date that this step reads, where items have attributes. Negatives are drawn for that.
    fn compose(&mut self, key: DropoutKey) {
        let Self { network, groups, config, .. } = self;
        let Some(attributes) = &mut network.attributes else { return };
        if config.is_full() {
            attributes.want_all();
        }
        for (index, group) in groups.iter_mut().enumerate().filter(|_| !config.is_full()) {
            let mut rng = negatives_rng(key, index);
            for labeled in &mut group.tiles[..group.n_tiles] {
                labeled.draw(config, network.items.n_rows(), &mut rng);
                let inputs = labeled.tile.items.iter().filter(|item| **item != MASK);
                let items = inputs.chain(&labeled.labels).chain(&labeled.negatives);
                items.for_each(|item| attributes.want(*item));
            }
        }
        attributes.compose(network.items.vectors());
    }

    /// Shares the sequences out to groups and tiles; the number of labels.
    fn lay_out(&mut self, batch: &[History<'_>], key: DropoutKey) -> usize {
        let n_item_rows = self.network.items.n_rows();
        let masking = Masking::of(self.config, key);
        let (mut n_sequences, mut n_tokens, mut n_labels) = (0, 0, 0);
        let mut sequences = batch.chunks(batch.len().div_ceil(N_GROUPS).max(1));
        for group in &mut self.groups {
            group.n_tiles = 0;
            for history in sequences.next().unwrap_or_default() {
                let n = history.items.len() - usize::from(masking.is_none());
                let is_full = group.n_tiles == 0
                    || group.tiles[group.n_tiles - 1].tile.n_tokens() + n > TILE_TOKENS;
                if is_full {
                    if group.tiles.len() == group.n_tiles {
                        group.tiles.push(LabeledTile::default());
                    }
                    group.tiles[group.n_tiles].clear(n_tokens, n_labels);
                    group.n_tiles += 1;
                }
                let tile = &mut group.tiles[group.n_tiles - 1];
                n_labels += match &masking {
                    Some(masking) => tile.push_masked(*history, n_item_rows, masking, n_sequences),
                    None => tile.push(*history, n_item_rows),
                };
                n_sequences += 1;
                n_tokens += n;
            }
        }
        n_labels
    }

    /// Loss against all items: all tiles forward, the softmax of the whole batch, all tiles backward.
    fn against_all(&mut self, key: DropoutKey, n_labels: usize) -> Result<f64, NnError> {
        let Self { network, groups, hidden, d_hidden, softmax, total, config, .. } = self;
        let vectors = network.vectors();
        let d = vectors.cols();
        groups.par_iter_mut().with_max_len(1).for_each(|group| {
            group.loss = group.tiles[..group.n_tiles]
                .iter_mut()
                .try_for_each(|labeled| {
                    let pass = Pass::Training { key, first_row: labeled.first_row };
                    network.encoder.forward(vectors, pass, &mut labeled.tile)
                })
                .map(|()| 0.0);
        });
        hidden.reshape(n_labels, d);
        let mut labels = Vec::with_capacity(n_labels);
        for labeled in groups.iter().flat_map(|group| &group.tiles[..group.n_tiles]) {
            for (place, row) in labeled.rows.iter().enumerate() {
                let to = hidden.row_mut(labels.len() + place);
                to.copy_from_slice(labeled.tile.hidden.row(*row));
            }
            labels.extend_from_slice(&labeled.labels);
        }
        for group in groups.iter() {
            group.loss.clone()?;
        }
        let ItemGradients::Dense(d_table) = &mut total.items else {
            unreachable!("a table that is compared as a whole has dense gradients")
        };
        let smoothing = config.label_smoothing as f32;
        let gradients = FullSoftmaxGradients { d_hidden, d_table };
        let mean_over = n_labels as f64;
        let loss =
            full_softmax(hidden, vectors, &labels, smoothing, mean_over, softmax, gradients)?;
        let d_hidden = &*d_hidden;
        groups.par_iter_mut().with_max_len(1).for_each(|group| {
            group.encoder.clear();
            group.items.clear();
            let Group { tiles, n_tiles, encoder, items, .. } = group;
            group.loss = tiles[..*n_tiles]
                .iter_mut()
                .try_for_each(|labeled| {
                    let rows = labeled.first_label..labeled.first_label + labeled.labels.len();
                    labeled.scatter(|place| d_hidden.row(rows.start + place));
                    labeled.backward(network, key, encoder, items)
                })
                .map(|()| 0.0);
        });
        for group in groups.iter() {
            group.loss.clone()?;
        }
        Ok(loss)
    }

    /// Loss against a few items drawn for each label: each tile forward, loss and backward before the next.
    fn against_few(&mut self, key: DropoutKey, n_labels: usize) -> Result<f64, NnError> {
        let Self { network, groups, config, .. } = self;
        let (network, mean_over) = (&*network, n_labels as f64);
        let beta = config.bce_beta(network.items.n_rows() - 1)?; // row 0 is no item
        groups.par_iter_mut().with_max_len(1).enumerate().for_each(|(index, group)| {
            group.encoder.clear();
            group.items.clear();
            let Group { tiles, n_tiles, encoder, items, .. } = group;
            let mut rng = negatives_rng(key, index);
            let losses = tiles[..*n_tiles].iter_mut().map(|labeled| {
                let pass = Pass::Training { key, first_row: labeled.first_row };
                let vectors = network.vectors();
                network.encoder.forward(vectors, pass, &mut labeled.tile)?;
                labeled.gather();
                if network.attributes.is_none() {
                    labeled.draw(config, vectors.rows(), &mut rng);
                }
                let candidates =
                    OwnNegatives { labels: &labeled.labels, negatives: &labeled.negatives };
                let (hidden, own) = (&labeled.hidden, &mut labeled.own);
                let gradients =
                    OwnNegativesGradients { d_hidden: &mut labeled.d_hidden, d_table: items };
                let loss = match config.loss {
                    SequenceLoss::Bce => {
                        sampled_bce(hidden, vectors, candidates, beta, mean_over, own, gradients)?
                    }
                    _ => own_sampled_softmax(
                        hidden, vectors, candidates, None, mean_over, own, gradients,
                    )?,
                };
                let d_hidden = std::mem::take(&mut labeled.d_hidden);
                labeled.scatter(|place| d_hidden.row(place));
                labeled.d_hidden = d_hidden;
                labeled.backward(network, key, encoder, items)?;
                Ok(loss)
            });
            group.loss = losses.sum();
        });
        groups.iter().map(|group| group.loss.clone()).sum()
    }
}

/// Where the negatives of a group come from.
fn negatives_rng(key: DropoutKey, group: usize) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(key.layer(usize::MAX).layer(group).to_seed())
}

impl LabeledTile {
    fn clear(&mut self, first_row: usize, first_label: usize) {
        self.tile.clear();
        self.rows.clear();
        self.labels.clear();
        (self.first_row, self.first_label) = (first_row, first_label);
    }

    /// Adds a sequence whose last item is a label alone; the number of its labels.
    fn push(&mut self, history: History<'_>, n_item_rows: usize) -> usize {
        let (first, before) = (self.tile.n_tokens(), self.labels.len());
        let n = history.items.len() - 1;
        self.tile.push(history.first(n), n_item_rows, false);
        for (place, item) in history.items[1..].iter().enumerate() {
            if item.is_known() && item.row() < n_item_rows {
                self.rows.push(first + place);
                self.labels.push(item.0);
            }
        }
        self.labels.len() - before
    }

    /// Adds a sequence with some of its items masked; the number of its labels. `sequence` is its place in the batch.
    fn push_masked(
        &mut self,
        history: History<'_>,
        n_item_rows: usize,
        masking: &Masking,
        sequence: usize,
    ) -> usize {
        let (first, before) = (self.tile.n_tokens(), self.labels.len());
        self.tile.push(history, n_item_rows, false);
        let Self { tile, rows, labels, .. } = self;
        masking.hide(sequence, first, &mut tile.items, rows, labels);
        self.labels.len() - before
    }

    /// Draws the negatives of all labels.
    fn draw(&mut self, config: &SequenceConfig, n_item_rows: usize, rng: &mut ChaCha8Rng) {
        let n = self.labels.len() * config.n_negatives.get() as usize;
        self.negatives.clear();
        self.negatives.extend((0..n).map(|_| rng.random_range(1..n_item_rows as u32)));
    }

    /// Copies the rows with a label.
    fn gather(&mut self) {
        self.hidden.reshape(self.rows.len(), self.tile.hidden.cols());
        for (place, row) in self.rows.iter().enumerate() {
            self.hidden.row_mut(place).copy_from_slice(self.tile.hidden.row(*row));
        }
    }

    /// Gives each row with a label its gradient, and the others none.
    fn scatter<'b>(&mut self, d_label: impl Fn(usize) -> &'b [f32]) {
        let [n, d] = self.tile.hidden.shape();
        self.tile.d_hidden.reset(n, d);
        for (place, row) in self.rows.iter().enumerate() {
            self.tile.d_hidden.row_mut(*row).copy_from_slice(d_label(place));
        }
    }

    fn backward(
        &mut self,
        network: &Network,
        key: DropoutKey,
        encoder: &mut EncoderGradients,
        items: &mut RowGradients,
    ) -> Result<(), NnError> {
        let pass = Pass::Training { key, first_row: self.first_row };
        network.encoder.backward(pass, &mut self.tile, encoder, |item, d_vector, scale| {
            items.add_to_row(item, d_vector, scale);
        })
    }
}

#[cfg(test)]
mod tests {
    use forecart_data::ItemIdx;
    use forecart_data::features::FeatureNames;
    use forecart_nn::{Adam, Gradient, Name, Parameters, Sgd, gradient_check};
    use serde_json::json;

    use super::super::config::{Objective, Preset};
    use super::*;

    const SEQUENCES: [&[u32]; 4] = [&[1, 2, 3, 4, 2], &[5, 6], &[7, 0, 3, 0], &[2, 5, 1]];

    fn config(preset: Preset, keys: &serde_json::Value) -> SequenceConfig {
        let mut all = json!({
            "d_model": 4, "n_heads": 2, "dropout": 0.2, "input_scale": 1.0, "attributes": false,
        });
        all.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        SequenceConfig::from_keys(preset, &all).unwrap()
    }

    /// Two dense features and up to three of four sparse ones for each of nine items.
    fn features() -> ItemFeatures {
        let names = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect();
        ItemFeatures {
            names: FeatureNames { dense: names(&["x", "y"]), sparse: names(&["a", "b", "c", "d"]) },
            dense: (0..18).map(|i| (i as f32 * 0.7).sin()).collect::<Vec<f32>>().into(),
            sparse_offsets: vec![0, 0, 1, 3, 3, 5, 8, 9, 10, 11].into(),
            sparse_indices: vec![0, 0, 2, 1, 2, 0, 1, 3, 3, 2, 1].into(),
        }
    }

    fn network(config: &SequenceConfig) -> Network {
        let (features, rng) = (features(), &mut ChaCha8Rng::seed_from_u64(3));
        let features = config.attributes.then_some(&features);
        let mut network = Network::new(config, 9, true, features, rng).unwrap();
        // Vectors as small as new ones are would leave gradients that a check cannot see.
        let rng = &mut ChaCha8Rng::seed_from_u64(4);
        network
            .visit_mut(&Name::root(), &mut |name, value| {
                if !name.to_string().contains("norm") {
                    value.as_mut_slice().iter_mut().for_each(|x| *x = rng.random::<f32>() - 0.5);
                }
                Ok(())
            })
            .unwrap();
        network
    }

    /// Loss of one step, and what was added up for the optimizer, in the order of the parameters.
    fn step(config: &SequenceConfig, network: Network, n_threads: usize) -> (f64, Vec<f32>) {
        let items: Vec<Vec<ItemIdx>> =
            SEQUENCES.iter().map(|items| items.iter().copied().map(ItemIdx).collect()).collect();
        let times: Vec<Vec<i64>> = items
            .iter()
            .map(|items| (0..items.len() as i64).map(|i| i * i * 90).collect())
            .collect();
        let batch: Vec<History<'_>> = items
            .iter()
            .zip(&times)
            .map(|(items, times)| History { items, timestamps_ms: times, events: &[] })
            .collect();
        // A step of no length, so that the total is that of the network given.
        let rule = Sgd { learning_rate: 0.0, ..Sgd::default() };
        let mut stepper = Stepper::new(config, network, Optimizer::new(rule).unwrap());
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        let key = DropoutKey::new(1, 1);
        let (loss, n_labels) = pool.install(|| stepper.step(key, &batch)).unwrap();
        match config.objective {
            Objective::Next => assert_eq!(n_labels, 4 + 1 + 1 + 2, "an unknown item is no label"),
            Objective::Masked => assert!((4..=12).contains(&n_labels), "{n_labels}"),
        }
        let mut values = Vec::new();
        let Stepper { mut network, total, .. } = stepper;
        network
            .visit_with_gradients(&total, &Name::root(), &mut |_, weights, gradient| {
                match gradient {
                    Gradient::Dense(gradient) => values.extend(gradient.to_host()),
                    Gradient::Rows(rows) => {
                        let mut dense = Matrix::zeros(weights.rows(), weights.cols());
                        rows.add_to_dense(&mut dense)?;
                        values.extend(dense.to_host());
                    }
                }
                Ok(())
            })
            .unwrap();
        (loss, values)
    }

    fn cases() -> Vec<SequenceConfig> {
        vec![
            config(
                Preset::Gru4Rec,
                &json!({"d_ff": 6, "feed_forward": "gelu", "attributes": true}),
            ),
            config(Preset::Gru4Rec, &json!({"n_layers": 2, "loss": "sampled", "n_negatives": 3})),
            config(Preset::SasRec, &json!({"feed_forward": "gelu"})),
            config(
                Preset::SasRec,
                &json!({"feed_forward": "gelu", "n_negatives": 2, "gbce_t": 0.8}),
            ),
            config(Preset::SasRec, &json!({"feed_forward": "gelu", "loss": "full"})),
            config(Preset::Bert4Rec, &json!({"d_ff": 6, "mask_probability": 0.4})),
            config(
                Preset::Bert4Rec,
                &json!({"d_ff": 6, "loss": "bce", "mixer": "hstu", "attributes": true}),
            ),
            config(Preset::Hstu, &json!({"n_negatives": 3})),
            config(
                Preset::ESasRec,
                &json!({"n_negatives": 3, "d_ff": 6, "relative_bias": true, "attributes": true}),
            ),
        ]
    }

    #[test]
    fn backward_agrees_with_finite_differences_for_every_arrangement() {
        for config in cases() {
            let network = network(&config);
            let (_, analytic) = step(&config, network.clone(), 2);
            let mut point = Vec::new();
            network.visit(&Name::root(), &mut |_, value| point.extend(value.to_host()));
            let report = gradient_check(&mut point, &analytic, 0.005, 0.02, |point| {
                let (mut network, mut rest) = (network.clone(), point);
                network
                    .visit_mut(&Name::root(), &mut |_, value| {
                        let (these, after) = rest.split_at(value.rows() * value.cols());
                        rest = after;
                        value.copy_from_host(these)
                    })
                    .unwrap();
                step(&config, network, 1).0
            });
            assert!(report.error < 5e-3, "{config:?}: {report:?}");
        }
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bytes_and_the_loss_falls() {
        for config in cases() {
            let train = |n_threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
                let rule = Adam { learning_rate: 0.03, ..Adam::default() };
                let optimizer = Optimizer::new(rule).unwrap();
                let mut stepper = Stepper::new(&config, network(&config), optimizer);
                let items = SEQUENCES.map(|items| items.iter().copied().map(ItemIdx).collect());
                let items: Vec<Vec<ItemIdx>> = items.into();
                let batch: Vec<_> = items.iter().map(|items| History::of(items)).collect();
                let step = |step| {
                    let key = DropoutKey::new(1, step);
                    pool.install(|| stepper.step(key, &batch)).unwrap().0
                };
                (1..=60).map(step).collect::<Vec<f64>>()
            };
            let losses = train(1);
            assert_eq!(train(3), losses, "{config:?}");
            let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
            assert!(mean(&losses[50..]) < 0.8 * mean(&losses[..10]), "{config:?} {losses:?}");
        }
    }
}
