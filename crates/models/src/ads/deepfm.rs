//! DeepFM: a factorization machine and a multi-layer perceptron on one table of embeddings.

use std::ops::Range;

use forecart_nn::loss::bce_with_logits;
use forecart_nn::{
    Activation, DropoutKey, Embedding, FactorizationMachine, Gradients, Init, Linear, Matrix, Mlp,
    MlpConfig, MlpWorkspace, NnError, Optimizer, Pass, RowTerms, Trainable,
};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// Impressions of a tile: its activations stay in an L2 cache.
const TILE_ROWS: usize = 256;

/// Parts of a batch whose gradients are summed apart and joined in order: the same for any number of threads, as sums
/// must be.
const N_GROUPS: usize = 8;

/// Standard deviation of new embeddings.
const INIT: Init = Init::TruncatedNormal { std_dev: 0.01 };

/// Sizes of a [`DeepFm`].
#[derive(Debug, Clone, PartialEq)]
pub struct DeepFmConfig {
    /// Rows of the table that all sparse fields share; each field has rows of its own.
    pub n_rows: usize,
    /// Sparse fields; each has one row active.
    pub n_fields: usize,
    /// Columns of an embedding.
    pub n_dims: usize,
    /// Dense fields.
    pub n_dense: usize,
    /// Columns of the hidden layers of the perceptron.
    pub hidden: Vec<usize>,
    /// Share of hidden values that are left out at random while training, in `0.0..1.0`.
    pub dropout: f32,
}

/// The logit of a click: `y = w_dense x + b + Σ_f w[r_f] + Σ_{f<g} ⟨v[r_f], v[r_g]⟩ + mlp(v[r_1], .., v[r_F], x)` for the
/// active rows `r_f` and the dense values `x`, with ReLU between the layers of the perceptron.
///
/// Source: Guo et al., IJCAI 2017, equations 1 to 4. We differ: dense fields enter as values, without embeddings.
#[derive(Debug, Clone)]
pub struct DeepFm {
    /// `v`, `[n_rows, n_dims]`.
    embedding: Embedding,
    /// `w`, `[n_rows, 1]`.
    linear: Embedding,
    dense_linear: Linear,
    mlp: Mlp,
    machine: FactorizationMachine,
    n_fields: usize,
}

forecart_nn::trainable!(
    DeepFm,
    /// Gradients of a [`DeepFm`].
    pub struct DeepFmGradients {
        embedding: Embedding,
        linear: Embedding,
        dense_linear: Linear,
        mlp: Mlp,
    }
);

/// A batch of impressions, one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Impressions<'a> {
    /// The active row of each field, `[n, n_fields]`.
    pub sparse: &'a [u32],
    /// `[n, n_dense]`.
    pub dense: &'a [f32],
    /// Whether it was clicked, 0 or 1, `[n]`.
    pub clicks: &'a [f32],
}

/// Activations and gradients of one tile.
#[derive(Debug, Default)]
struct Workspace {
    /// Embeddings of the fields, then dense values, `[n, n_fields * n_dims + n_dense]`.
    x: Matrix,
    fields: Matrix,
    dense: Matrix,
    weights: Matrix,
    sums: Matrix,
    logits: Matrix,
    interactions: Matrix,
    d_logits: Matrix,
    d_x: Matrix,
    d_fields: Matrix,
    d_weights: Matrix,
    mlp: MlpWorkspace,
}

impl DeepFm {
    /// A network with drawn weights; the first-order weights and the biases start at zero.
    ///
    /// # Errors
    /// [`NnError::OutOfRange`] for a size of 0 or a `dropout` outside of its range.
    pub fn new(config: &DeepFmConfig, rng: &mut ChaCha8Rng) -> Result<Self, NnError> {
        let DeepFmConfig { n_rows, n_fields, n_dims, n_dense, ref hidden, dropout } = *config;
        let n_in = n_fields * n_dims + n_dense;
        let mlp = MlpConfig {
            n_in,
            hidden: hidden.clone(),
            n_out: 1,
            activation: Activation::Relu,
            dropout,
        };
        Ok(Self {
            embedding: Embedding::new(n_rows, n_dims, INIT, rng)?,
            linear: Embedding::from_table(Matrix::zeros(n_rows, 1))?,
            dense_linear: Linear::new(n_dense, 1, Init::Xavier, rng)?,
            mlp: Mlp::new(&mlp, rng)?,
            machine: FactorizationMachine::new(n_fields, n_dims)?,
            n_fields,
        })
    }

    /// The logits of `impressions`, whose clicks are not read, `[n, 1]`.
    ///
    /// # Errors
    /// [`NnError::Length`] or [`NnError::Index`] if they do not fit the network.
    pub fn logits(&self, impressions: Impressions<'_>) -> Result<Matrix, NnError> {
        let mut ws = Workspace::default();
        let n = impressions.sparse.len() / self.n_fields;
        self.forward(impressions, 0..n, Pass::Inference, &mut ws)?;
        Ok(ws.logits)
    }

    /// Fills `ws.logits` for some rows of a batch.
    fn forward(
        &self,
        batch: Impressions<'_>,
        rows: Range<usize>,
        pass: Pass,
        ws: &mut Workspace,
    ) -> Result<(), NnError> {
        let (n, n_dense) = (rows.len(), self.dense_linear.n_in());
        let n_sparse = self.n_fields * self.embedding.n_dims();
        let sparse = &batch.sparse[rows.start * self.n_fields..rows.end * self.n_fields];
        let dense = &batch.dense[rows.start * n_dense..rows.end * n_dense];
        self.embedding.forward(sparse, &mut ws.fields)?; // [n n_fields, n_dims]
        self.linear.forward(sparse, &mut ws.weights)?; // [n n_fields, 1]
        ws.fields.reshape(n, n_sparse);
        ws.dense.reshape(n, n_dense);
        ws.dense.as_mut_slice().copy_from_slice(dense);
        ws.x.reshape(n, n_sparse + n_dense);
        for row in 0..n {
            let (of_fields, of_dense) = ws.x.row_mut(row).split_at_mut(n_sparse);
            of_fields.copy_from_slice(ws.fields.row(row));
            of_dense.copy_from_slice(ws.dense.row(row));
        }
        self.dense_linear.forward(&ws.dense, &mut ws.logits)?; // [n, 1]
        self.machine.forward(&ws.fields, &mut ws.interactions, &mut ws.sums)?; // [n, 1]
        let deep = self.mlp.forward(&ws.x, pass, &mut ws.mlp)?; // [n, 1]
        let weights = ws.weights.as_slice().chunks_exact(self.n_fields);
        let parts = ws.interactions.as_slice().iter().zip(deep.as_slice()).zip(weights);
        for (logit, ((interaction, deep), weights)) in
            ws.logits.as_mut_slice().iter_mut().zip(parts)
        {
            *logit += weights.iter().sum::<f32>() + interaction + deep;
        }
        Ok(())
    }

    /// Carries `ws.d_logits` back; leaves the gradients of the fields' rows in `ws.d_fields` and `ws.d_weights`.
    fn backward(&self, ws: &mut Workspace, gradients: &mut DenseGradients) -> Result<(), NnError> {
        let (n, n_sparse) = (ws.x.rows(), ws.fields.cols());
        let (mlp, dense_linear) = gradients;
        self.dense_linear.backward(&ws.dense, &ws.d_logits, None, dense_linear)?;
        self.mlp.backward(&ws.x, &ws.d_logits, Some(&mut ws.d_x), &mut ws.mlp, mlp)?;
        self.machine.backward(&ws.fields, &ws.d_logits, &ws.sums, &mut ws.d_fields)?;
        ws.d_weights.reshape(n, self.n_fields);
        for row in 0..n {
            let d_deep = &ws.d_x.row(row)[..n_sparse];
            ws.d_fields.row_mut(row).iter_mut().zip(d_deep).for_each(|(sum, value)| *sum += value);
            ws.d_weights.row_mut(row).fill(ws.d_logits.as_slice()[row]);
        }
        Ok(())
    }
}

fn check_length(what: &'static str, expected: usize, found: usize) -> Result<(), NnError> {
    if expected == found { Ok(()) } else { Err(NnError::Length { what, expected, found }) }
}

/// Gradients of what every impression touches.
type DenseGradients = (forecart_nn::MlpGradients, forecart_nn::LinearGradients);

/// A network in training, with its optimizer and buffers.
#[derive(Debug)]
pub struct DeepFmTrainer {
    network: DeepFm,
    optimizer: Optimizer,
    total: DeepFmGradients,
    groups: Vec<Group>,
    terms: RowTerms,
    /// Gradients of the active rows of each impression, `[n, n_fields * n_dims]` and `[n, n_fields]`.
    d_fields: Vec<f32>,
    d_weights: Vec<f32>,
    seed: u64,
    n_steps: u64,
}

/// A part of the batch: its tiles, one after the other on one thread.
#[derive(Debug)]
struct Group {
    workspace: Workspace,
    gradients: DenseGradients,
    loss: Result<f64, NnError>,
}

impl DeepFmTrainer {
    /// `seed` is that of dropout.
    pub fn new(network: DeepFm, optimizer: Optimizer, seed: u64) -> Self {
        Self {
            total: network.new_gradients(),
            network,
            optimizer,
            groups: Vec::new(),
            terms: RowTerms::default(),
            d_fields: Vec::new(),
            d_weights: Vec::new(),
            seed,
            n_steps: 0,
        }
    }

    /// What has been learned so far.
    pub fn network(&self) -> &DeepFm {
        &self.network
    }

    /// One step of the optimizer; the mean loss of the batch. Runs on the current rayon pool; its result does not
    /// depend on the number of threads.
    ///
    /// # Errors
    /// [`NnError::Length`] or [`NnError::Index`] if the batch does not fit the network, [`NnError::OutOfRange`] for a
    /// click outside of `0.0..=1.0`, [`NnError::NonFinite`] if the loss or a gradient is not finite: nothing has been
    /// learned then.
    pub fn step(&mut self, batch: Impressions<'_>) -> Result<f64, NnError> {
        self.n_steps += 1;
        let key = DropoutKey::new(self.seed, self.n_steps);
        let n = batch.clicks.len();
        let n_fields = self.network.n_fields;
        let n_sparse = n_fields * self.network.embedding.n_dims();
        check_length("sparse fields", n * n_fields, batch.sparse.len())?;
        check_length("dense fields", n * self.network.dense_linear.n_in(), batch.dense.len())?;
        if n == 0 {
            return Ok(0.0);
        }
        let rows_a_group = n.div_ceil(N_GROUPS).next_multiple_of(TILE_ROWS);
        let n_groups = n.div_ceil(rows_a_group);
        let Self { network, groups, terms, d_fields, d_weights, total, .. } = self;
        while groups.len() < n_groups {
            let dense = (total.mlp.clone(), total.dense_linear.clone());
            groups.push(Group { workspace: Workspace::default(), gradients: dense, loss: Ok(0.0) });
        }
        d_fields.resize(n * n_sparse, 0.0);
        d_weights.resize(n * n_fields, 0.0);
        let outputs = d_fields
            .par_chunks_mut(rows_a_group * n_sparse)
            .zip(d_weights.par_chunks_mut(rows_a_group * n_fields))
            .zip(terms.clear(network.embedding.n_rows(), n_groups));
        groups[..n_groups].par_iter_mut().with_max_len(1).zip(outputs).enumerate().for_each(
            |(index, (group, ((d_fields, d_weights), terms)))| {
                let first = index * rows_a_group;
                let rows = first..(first + rows_a_group).min(n);
                group.run(network, batch, rows.clone(), key, d_fields, d_weights);
                // A row that is not of the table is an error of the group.
                if group.loss.is_ok() {
                    let places = rows.start * n_fields..rows.end * n_fields;
                    for (row, place) in batch.sparse[places.clone()].iter().zip(places) {
                        terms.push(*row, place as u32, 1.0);
                    }
                }
            },
        );
        let groups = &mut groups[..n_groups];
        let losses = groups.iter().map(|group| group.loss.clone());
        let loss = losses.sum::<Result<f64, _>>()?;
        // Neighbors, then pairs of them, and so on: the same tree for any number of threads.
        let mut width = 1;
        while width < n_groups {
            groups.par_chunks_mut(2 * width).try_for_each(|groups| match groups.get(width) {
                Some(_) => {
                    let (low, high) = groups.split_at_mut(width);
                    low[0].gradients.add(&high[0].gradients)
                }
                None => Ok(()),
            })?;
            width *= 2;
        }
        std::mem::swap(&mut total.mlp, &mut groups[0].gradients.0);
        std::mem::swap(&mut total.dense_linear, &mut groups[0].gradients.1);
        terms.finish();
        total.embedding.sum_terms(terms, [d_fields, &[]]);
        total.linear.sum_terms(terms, [d_weights, &[]]);
        self.optimizer.step(network, total)?;
        Ok(loss)
    }
}

impl Group {
    fn run(
        &mut self,
        network: &DeepFm,
        batch: Impressions<'_>,
        rows: Range<usize>,
        key: DropoutKey,
        d_fields: &mut [f32],
        d_weights: &mut [f32],
    ) {
        let Self { workspace: ws, gradients, loss } = self;
        gradients.clear();
        let (n, mean_over) = (rows.len(), batch.clicks.len() as f64);
        let n_fields = network.n_fields;
        let n_sparse = d_fields.len() / n;
        let tiles = (rows.start..rows.end).step_by(TILE_ROWS);
        let losses = tiles.map(|start| {
            let tile = start..(start + TILE_ROWS).min(rows.end);
            let pass = Pass::Training { key, first_row: start };
            network.forward(batch, tile.clone(), pass, ws)?;
            let clicks = &batch.clicks[tile.clone()];
            let loss = bce_with_logits(&ws.logits, clicks, None, mean_over, &mut ws.d_logits)?;
            network.backward(ws, gradients)?;
            let place = tile.start - rows.start..tile.end - rows.start;
            d_fields[place.start * n_sparse..place.end * n_sparse]
                .copy_from_slice(ws.d_fields.as_slice());
            d_weights[place.start * n_fields..place.end * n_fields]
                .copy_from_slice(ws.d_weights.as_slice());
            Ok(loss)
        });
        *loss = losses.sum();
    }
}

#[cfg(test)]
mod tests {
    use forecart_nn::{Adam, Gradient, Name, Parameters, Sgd, gradient_check};
    use rand::{RngExt, SeedableRng};

    use super::*;

    const N: usize = 7;

    fn network(dropout: f32) -> DeepFm {
        let config = DeepFmConfig {
            n_rows: 9,
            n_fields: 3,
            n_dims: 2,
            n_dense: 2,
            hidden: vec![5, 4],
            dropout,
        };
        let mut network = DeepFm::new(&config, &mut ChaCha8Rng::seed_from_u64(1)).unwrap();
        // Vectors as small as new ones are would leave gradients that a check cannot see.
        let rng = &mut ChaCha8Rng::seed_from_u64(2);
        network
            .visit_mut(&Name::root(), &mut |_, value| {
                value.as_mut_slice().iter_mut().for_each(|x| *x = rng.random::<f32>() - 0.5);
                Ok(())
            })
            .unwrap();
        network
    }

    fn step(trainer: &mut DeepFmTrainer, n_threads: usize) -> f64 {
        let rng = &mut ChaCha8Rng::seed_from_u64(3);
        let sparse: Vec<u32> =
            (0..N * 3).map(|at| 3 * (at as u32 % 3) + rng.random_range(0..3)).collect();
        let dense: Vec<f32> = (0..N * 2).map(|_| rng.random::<f32>() - 0.5).collect();
        let clicks: Vec<f32> = (0..N).map(|at| (at % 2) as f32).collect();
        let batch = Impressions { sparse: &sparse, dense: &dense, clicks: &clicks };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        pool.install(|| trainer.step(batch)).unwrap()
    }

    fn still(network: DeepFm) -> DeepFmTrainer {
        let rule = Sgd { learning_rate: 0.0, ..Sgd::default() };
        DeepFmTrainer::new(network, Optimizer::new(rule).unwrap(), 1)
    }

    #[test]
    fn backward_agrees_with_finite_differences() {
        let network = network(0.2);
        let mut trainer = still(network.clone());
        step(&mut trainer, 2);
        let (mut analytic, mut point) = (Vec::new(), Vec::new());
        let DeepFmTrainer { network: trained, total, .. } = &mut trainer;
        trained
            .visit_with_gradients(total, &Name::root(), &mut |_, weights, gradient| {
                match gradient {
                    Gradient::Dense(gradient) => analytic.extend(gradient.to_host()),
                    Gradient::Rows(rows) => {
                        let mut dense = Matrix::zeros(weights.rows(), weights.cols());
                        rows.add_to_dense(&mut dense)?;
                        analytic.extend(dense.to_host());
                    }
                }
                Ok(())
            })
            .unwrap();
        network.visit(&Name::root(), &mut |_, value| point.extend(value.to_host()));
        // A step short enough that no ReLU changes its side.
        let report = gradient_check(&mut point, &analytic, 0.002, 0.02, |point| {
            let (mut network, mut rest) = (network.clone(), point);
            network
                .visit_mut(&Name::root(), &mut |_, value| {
                    let (these, after) = rest.split_at(value.rows() * value.cols());
                    rest = after;
                    value.copy_from_host(these)
                })
                .unwrap();
            step(&mut still(network), 1)
        });
        assert!(report.error < 5e-3, "{report:?}");
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bytes_and_the_loss_falls() {
        let train = |n_threads: usize| {
            let rule = Adam { learning_rate: 0.02, ..Adam::default() };
            let mut trainer = DeepFmTrainer::new(network(0.1), Optimizer::new(rule).unwrap(), 1);
            (0..80).map(|_| step(&mut trainer, n_threads)).collect::<Vec<f64>>()
        };
        let losses = train(1);
        assert_eq!(train(3), losses);
        assert!(losses[70..].iter().sum::<f64>() < 0.6 * losses[..10].iter().sum::<f64>());
    }

    /// Two fields of one dimension and no hidden layer, by hand.
    #[test]
    fn logits_by_hand() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let config = DeepFmConfig {
            n_rows: 2,
            n_fields: 2,
            n_dims: 1,
            n_dense: 1,
            hidden: vec![],
            dropout: 0.0,
        };
        let mut network = DeepFm::new(&config, &mut rng).unwrap();
        let values = [
            ("embedding.weight", vec![2.0, 3.0]),
            ("linear.weight", vec![0.5, 0.25]),
            ("dense_linear.weight", vec![10.0]),
            ("dense_linear.bias", vec![1.0]),
            ("mlp.layers.0.weight", vec![1.0, -1.0, 4.0]),
            ("mlp.layers.0.bias", vec![0.0]),
        ];
        network
            .visit_mut(&Name::root(), &mut |name, value| {
                let name = name.to_string();
                let (_, given) = values.iter().find(|(known, _)| *known == name).unwrap();
                value.copy_from_host(given)
            })
            .unwrap();
        let batch = Impressions { sparse: &[0, 1], dense: &[0.5], clicks: &[] };
        // 10 · 0.5 + 1, 0.5 + 0.25, 2 · 3, 2 - 3 + 4 · 0.5
        assert_eq!(network.logits(batch).unwrap().as_slice(), [6.0 + 0.75 + 6.0 + 1.0]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut trainer = still(network(0.0));
        let batch = Impressions { sparse: &[0, 3], dense: &[0.0, 0.0], clicks: &[1.0] };
        assert!(matches!(trainer.step(batch), Err(NnError::Length { .. })));
        let batch = Impressions { sparse: &[0, 3, 9], dense: &[0.0, 0.0], clicks: &[1.0] };
        assert!(matches!(trainer.step(batch), Err(NnError::Index { .. })));
    }
}
