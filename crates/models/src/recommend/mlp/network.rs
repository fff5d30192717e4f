//! Forward and backward of the network.

use forecart_data::{ItemFeatures, ItemIdx};
use forecart_nn::{
    Dropout, DropoutKey, Embedding, Init, Matrix, Mlp as Layers, MlpConfig as LayersConfig,
    MlpWorkspace, NnError, Pass, RowGradients, Trainable,
};
use rand_chacha::ChaCha8Rng;

use super::config::MlpConfig;
use super::gradients::NetworkGradients;
use crate::recommend::attributes::{Attributes, Pooling};
use crate::recommend::item_table::ItemGradients;

/// Standard deviation of new vectors: dot products of 64 such values start near 0.16 and leave the
/// softmax open.
const INIT_STD_DEV: f32 = 0.05;

/// The dropout layer of the input, past those of the hidden layers.
const INPUT_DROPOUT: usize = 1 << 20;

/// What is learned.
#[derive(Debug, Clone)]
pub(super) struct Network {
    /// Own vector of each item, its bias as the last column: `[n_item_rows, d_model + 1]`.
    pub(super) items: Embedding,
    pub(super) features: Option<Attributes>,
    pub(super) layers: Layers,
}

impl Network {
    pub(super) fn new(
        config: &MlpConfig,
        features: &ItemFeatures,
        n_item_rows: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self, NnError> {
        let d_model = config.d_model.get() as usize;
        let init = Init::TruncatedNormal { std_dev: INIT_STD_DEV };
        let mut items = init.matrix(n_item_rows, d_model + 1, rng)?;
        for row in 0..n_item_rows {
            items.row_mut(row)[d_model] = 0.0; // no item starts favored
        }
        let layers = LayersConfig {
            n_in: 2 * (d_model + 1),
            hidden: config.hidden.iter().map(|size| size.get() as usize).collect(),
            n_out: d_model,
            activation: config.activation.into(),
            dropout: config.dropout as f32,
        };
        let layers = Layers::new(&layers, rng)?;
        let features =
            Attributes::new(features, n_item_rows, d_model + 1, Pooling::Mean, init, rng)?;
        Ok(Self { items: Embedding::from_table(items)?, features, layers })
    }

    /// The items' vectors, features included; those of [`Self::refresh`] where there are features.
    pub(super) fn vectors(&self) -> &Matrix {
        self.features.as_ref().map_or(self.items.table(), Attributes::vectors)
    }

    /// Computes the vectors anew, after the weights changed.
    pub(super) fn refresh(&mut self) -> Result<(), NnError> {
        if let Some(features) = &mut self.features {
            features.outdate();
            features.want_all();
            features.compose(self.items.table());
        }
        Ok(())
    }

    /// Carries the gradients of the items' vectors on to those of their features.
    pub(super) fn backward_features(
        &self,
        gradients: &mut NetworkGradients,
    ) -> Result<(), NnError> {
        if let (Some(features), Some(of_features)) = (&self.features, &mut gradients.features) {
            features.backward(&gradients.items, of_features);
        }
        Ok(())
    }

    /// Zero gradients, of all items or of the rows that will be touched.
    pub(super) fn gradients(&self, is_full: bool) -> NetworkGradients {
        let [n_rows, n_cols] = self.items.table().shape();
        NetworkGradients {
            items: match is_full {
                true => ItemGradients::Dense(Matrix::zeros(n_rows, n_cols)),
                false => ItemGradients::Rows(RowGradients::new(n_rows, n_cols)),
            },
            features: self.features.new_gradients(),
            layers: self.layers.new_gradients(),
        }
    }
}

/// Buffers of one tile.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    /// `[n, 2 (d_model + 1)]`: the mean of the history and the newest item.
    x: Matrix,
    /// Users' vectors with a constant 1 for the item's bias, `[n, d_model + 1]`.
    pub(super) hidden: Matrix,
    pub(super) d_hidden: Matrix,
    d_output: Matrix,
    dx: Matrix,
    layers: MlpWorkspace,
}

/// The weight of the event `steps_back` steps back, before the division by their sum.
fn weights(n: usize, config: &MlpConfig) -> impl Iterator<Item = f32> + use<> {
    let decay = config.decay as f32;
    let n = i32::try_from(n).unwrap_or(i32::MAX);
    (0..n).rev().map(move |steps_back| decay.powi(steps_back))
}

/// Writes users' vectors to `workspace.hidden` for `histories`, none of them empty.
pub(super) fn forward(
    (vectors, layers, config): (&Matrix, &Layers, &MlpConfig),
    histories: &[&[ItemIdx]],
    pass: Pass,
    workspace: &mut Workspace,
) -> Result<(), NnError> {
    let (n, n_cols) = (histories.len(), vectors.cols());
    let Workspace { x, hidden, layers: in_layers, .. } = workspace;
    x.reset(n, 2 * n_cols);
    for (row, history) in histories.iter().enumerate() {
        let (mean, newest) = x.row_mut(row).split_at_mut(n_cols);
        let total: f32 = weights(history.len(), config).sum();
        for (item, weight) in history.iter().zip(weights(history.len(), config)) {
            for (sum, value) in mean.iter_mut().zip(vectors.row(item.row())) {
                *sum += weight / total * value;
            }
        }
        if let Some(item) = history.last() {
            newest.copy_from_slice(vectors.row(item.row()));
        }
    }
    apply_input_dropout(config, pass, x)?;
    let output = layers.forward(x, pass, in_layers)?; // [n, d_model]
    hidden.reshape(n, n_cols);
    for row in 0..n {
        let (sums, one) = hidden.row_mut(row).split_at_mut(n_cols - 1);
        for ((sum, mean), output) in sums.iter_mut().zip(x.row(row)).zip(output.row(row)) {
            *sum = mean + output;
        }
        one[0] = 1.0;
    }
    Ok(())
}

/// Adds to `gradients`, given `workspace` as `forward` left it with `d_hidden` filled in.
pub(super) fn backward(
    (layers, config): (&Layers, &MlpConfig),
    histories: &[&[ItemIdx]],
    pass: Pass,
    workspace: &mut Workspace,
    gradients: &mut NetworkGradients,
) -> Result<(), NnError> {
    let Workspace { x, d_hidden, d_output, dx, layers: in_layers, .. } = workspace;
    let (n, n_cols) = (d_hidden.rows(), d_hidden.cols());
    d_output.reshape(n, n_cols - 1);
    for row in 0..n {
        // The last column is the constant 1.
        d_output.row_mut(row).copy_from_slice(&d_hidden.row(row)[..n_cols - 1]);
    }
    layers.backward(x, d_output, Some(dx), in_layers, &mut gradients.layers)?; // [n, 2 (d_model + 1)]
    for row in 0..n {
        for (sum, value) in dx.row_mut(row).iter_mut().zip(d_output.row(row)) {
            *sum += value;
        }
    }
    apply_input_dropout(config, pass, dx)?;
    for (row, history) in histories.iter().enumerate() {
        let (mean, newest) = dx.row(row).split_at(n_cols);
        let total: f32 = weights(history.len(), config).sum();
        for (item, weight) in history.iter().zip(weights(history.len(), config)) {
            gradients.items.add_to_row(*item, mean, weight / total);
        }
        if let Some(item) = history.last() {
            gradients.items.add_to_row(*item, newest, 1.0);
        }
    }
    Ok(())
}

fn apply_input_dropout(config: &MlpConfig, pass: Pass, x: &mut Matrix) -> Result<(), NnError> {
    if let Pass::Training { key, first_row } = pass {
        let key: DropoutKey = key.layer(INPUT_DROPOUT);
        Dropout::new(config.dropout as f32)?.apply(key, first_row, x);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use forecart_data::features::FeatureNames;
    use forecart_nn::loss::{FullSoftmaxGradients, FullSoftmaxWorkspace, full_softmax};
    use forecart_nn::{Linear, Name, Parameters};
    use rand::SeedableRng;

    use super::*;
    use crate::recommend::HiddenActivation;
    use crate::testing::networks::{analytic, largest_gradient_error};

    fn config() -> MlpConfig {
        serde_json::from_value(serde_json::json!({
            "d_model": 3, "hidden": [4], "activation": "tanh", "decay": 0.5, "dropout": 0.25
        }))
        .unwrap()
    }

    /// Five items with a dense feature and up to two of three sparse ones.
    fn features() -> ItemFeatures {
        ItemFeatures {
            names: FeatureNames {
                dense: vec!["price".into()],
                sparse: ["a", "b", "c"].map(String::from).to_vec(),
            },
            dense: vec![0.0, 0.5, -1.0, 1.5, 0.25].into(),
            sparse_offsets: vec![0, 0, 1, 3, 3, 5].into(),
            sparse_indices: vec![0, 0, 2, 1, 2].into(),
        }
    }

    fn network(features: &ItemFeatures) -> Network {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut network = Network::new(&config(), features, 5, &mut rng).unwrap();
        // Larger weights than the first ones, so that no gradient is lost in rounding.
        let scale = |_: &Name<'_>, value: &mut Matrix| {
            value.as_mut_slice().iter_mut().for_each(|weight| *weight *= 4.0);
            Ok(())
        };
        network.visit_mut(&Name::root(), &mut { scale }).unwrap();
        network
    }

    const LABELS: [u32; 3] = [2, 4, 1];

    fn histories() -> [Vec<ItemIdx>; 3] {
        [vec![1, 3], vec![4], vec![2, 0, 2, 3]]
            .map(|items| items.into_iter().map(ItemIdx).collect())
    }

    /// Loss and gradients of one tile, with dropout.
    fn loss(network: &mut Network, gradients: &mut NetworkGradients) -> f64 {
        network.refresh().unwrap();
        let histories = histories();
        let histories: Vec<&[ItemIdx]> = histories.iter().map(Vec::as_slice).collect();
        let pass = Pass::Training { key: DropoutKey::new(1, 2), first_row: 0 };
        let mut workspace = Workspace::default();
        let config = config();
        let parts = (network.vectors(), &network.layers, &config);
        forward(parts, &histories, pass, &mut workspace).unwrap();
        let Workspace { hidden, d_hidden, .. } = &mut workspace;
        let ItemGradients::Dense(d_table) = &mut gradients.items else { panic!("dense") };
        let loss = full_softmax(
            hidden,
            network.vectors(),
            &LABELS,
            0.0,
            3.0,
            &mut FullSoftmaxWorkspace::default(),
            FullSoftmaxGradients { d_hidden, d_table },
        )
        .unwrap();
        let parts = (&network.layers, &config);
        backward(parts, &histories, pass, &mut workspace, gradients).unwrap();
        network.backward_features(gradients).unwrap();
        loss
    }

    #[test]
    fn backward_agrees_with_finite_differences_with_and_without_features() {
        for features in [features(), ItemFeatures::default()] {
            let mut network = network(&features);
            let error = largest_gradient_error(&mut network, 0.01, loss);
            // Rounding of the loss to f32 activations over the length of the step is 1e-3.
            assert!(error < 3e-3, "{error}");
        }
    }

    /// Rows and dense gradients are two stores of the same numbers.
    #[test]
    fn sparse_gradients_of_items_carry_on_to_features_like_dense_ones() {
        let mut network = network(&features());
        network.refresh().unwrap();
        let [mut dense, mut rows] = [true, false].map(|is_full| network.gradients(is_full));
        for (item, values) in [(4, [1.0, -2.0, 0.5, 3.0]), (2, [0.25, 0.5, -1.0, 2.0])] {
            dense.items.add_to_row(ItemIdx(item), &values, 0.5);
            rows.items.add_to_row(ItemIdx(item), &values, 0.5);
        }
        for gradients in [&mut dense, &mut rows] {
            network.backward_features(gradients).unwrap();
        }
        let [dense, rows] =
            [dense, rows].map(|mut gradients| analytic(&mut network, &mut gradients));
        for (a, b) in dense.iter().zip(&rows) {
            assert!((a - b).abs() < 1e-6, "{a} {b}"); // the order of three f32 terms may differ
        }
    }

    /// d_model 1, no hidden layer with the weights 0: the user is the weighted mean and the
    /// constant 1.
    #[test]
    fn forward_by_hand() {
        let vectors = Matrix::from_rows(&[[0.0, 0.0], [2.0, 0.1], [-1.0, 0.2]]);
        let weight = Matrix::from_rows(&[[0.0, 0.0, 10.0, 0.0]]);
        let layer = Linear::from_parts(weight, Some(Matrix::from_rows(&[[0.5]]))).unwrap();
        let activation = HiddenActivation::Relu.into();
        let layers = Layers::from_layers(vec![layer], activation, 0.0).unwrap();
        let config = MlpConfig { dropout: 0.0, ..config() };
        let history = [1, 2, 2].map(ItemIdx);
        let mut workspace = Workspace::default();
        let parts = (&vectors, &layers, &config);
        forward(parts, &[&history], Pass::Inference, &mut workspace).unwrap();
        // Mean (0.25 * 2 - 0.5 - 1) / 1.75 = -4/7; newest -1, times 10, plus 0.5.
        let hidden = workspace.hidden.row(0);
        assert!((hidden[0] - (-4.0 / 7.0 - 10.0 + 0.5)).abs() < 1e-5 && hidden[1] == 1.0);
        let score = forecart_nn::dot(hidden, vectors.row(2));
        assert!((score - (-hidden[0] + 0.2)).abs() < 1e-5);
    }
}
