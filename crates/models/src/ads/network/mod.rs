//! One network over fields, of which linear models, factorization machines, perceptrons and cross networks are arrangements.

use std::ops::Range;

use forecart_nn::{
    Activation, BagMode, Bags, CrossConfig, CrossNetwork, CrossWorkspace, Embedding,
    FactorizationMachine, Gradients, Init, Linear, Matrix, Mlp, MlpConfig, MlpWorkspace, NnError,
    Pass, RowTermsPart, Trainable,
};
use rand_chacha::ChaCha8Rng;

/// Standard deviation of new embeddings.
const INIT: Init = Init::TruncatedNormal { std_dev: 0.01 };

/// Sizes of a [`FieldNetwork`], and which parts it has.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldNetworkConfig {
    /// Rows of the tables that all fields share; each field has rows of its own.
    pub n_rows: usize,
    /// Fields; each has one row active, or several.
    pub n_fields: usize,
    /// Numbers beside the fields.
    pub n_dense: usize,
    /// Columns of an embedding; 0 for none, which only a linear model can be without.
    pub n_dims: usize,
    /// Whether each row has a weight, and each number: `w x + Σ_f w[r_f] + b`.
    pub linear: bool,
    /// Whether the products of any two fields count: a factorization machine.
    pub interactions: bool,
    /// Layers of the cross network; 0 for none.
    pub n_cross: usize,
    /// Columns of the cross network's low-rank weights; `None` for full ones.
    pub cross_rank: Option<usize>,
    /// Columns of the hidden layers of the perceptron; `None` for no perceptron, an empty list for one of no hidden layer.
    pub hidden: Option<Vec<usize>>,
    /// Share of hidden values that are left out at random while training, in `0.0..1.0`.
    pub dropout: f32,
}

impl FieldNetworkConfig {
    /// Columns of what enters perceptron and cross network.
    fn n_in(&self) -> usize {
        self.n_fields.saturating_mul(self.n_dims).saturating_add(self.n_dense)
    }

    /// Number of weights of the network.
    pub(super) fn n_values(&self) -> u64 {
        let (n_rows, n_in) = (self.n_rows as u64, self.n_in() as u64);
        let tables = match self.n_fields {
            0 => 0,
            _ => n_rows * (self.n_dims as u64 + u64::from(self.linear)),
        };
        let linear = if self.linear { self.n_dense as u64 + 1 } else { 0 };
        let perceptron = self.hidden.as_ref().map_or(0, |hidden| {
            let hidden = hidden.iter().map(|size| *size as u64);
            let sizes: Vec<u64> = std::iter::once(n_in).chain(hidden).chain([1]).collect();
            sizes.windows(2).map(|pair| (pair[0] + 1).saturating_mul(pair[1])).sum()
        });
        let layer = match self.cross_rank {
            None => n_in.saturating_mul(n_in) + n_in,
            Some(rank) => (2 * rank as u64).saturating_mul(n_in) + n_in,
        };
        let crossed = match self.n_cross {
            0 => 0,
            n => (n as u64).saturating_mul(layer) + n_in + 1,
        };
        tables.saturating_add(linear).saturating_add(perceptron).saturating_add(crossed)
    }
}

/// The logit of a sample: the sum of the parts that there are.
///
/// With `x` the dense numbers, `r_f` the active row of field `f`, `v` the embeddings and `e = (v[r_1], .., v[r_F], x)`:
///
/// - linear: `w_dense x + b + Σ_f w[r_f]`
/// - interactions: `Σ_{f<g} ⟨v[r_f], v[r_g]⟩` (Rendle, ICDM 2010, equation 1)
/// - perceptron: `mlp(e)`, with ReLU between its layers
/// - cross network: `c · cross(e)` (Wang et al., WWW 2021, equation 1; beside a perceptron this is their parallel structure, whose
///   last weights over both are `c` and those of the perceptron's last layer)
///
/// Where a field has several rows active, it has their means. Linear and perceptron together are Wide & Deep (Cheng et al., DLRS 2016), linear,
/// interactions and perceptron DeepFM (Guo et al., IJCAI 2017, equations 1 to 4). We differ: dense numbers enter the perceptron as they
/// are, without embeddings, and are in no interaction.
#[derive(Debug, Clone)]
pub struct FieldNetwork {
    /// `v`, `[n_rows, n_dims]`.
    pub(super) embedding: Option<Embedding>,
    /// `w`, `[n_rows, 1]`.
    pub(super) linear: Option<Embedding>,
    pub(super) dense_linear: Option<Linear>,
    pub(super) mlp: Option<Mlp>,
    pub(super) cross: Option<CrossNetwork>,
    /// `c`.
    pub(super) cross_head: Option<Linear>,
    machine: Option<FactorizationMachine>,
    n_fields: usize,
    n_dense: usize,
}

forecart_nn::trainable!(
    FieldNetwork,
    /// Gradients of a [`FieldNetwork`].
    pub struct FieldNetworkGradients {
        embedding: Option<Embedding>,
        linear: Option<Embedding>,
        dense_linear: Option<Linear>,
        mlp: Option<Mlp>,
        cross: Option<CrossNetwork>,
        cross_head: Option<Linear>,
    }
);

/// Samples, one after the other.
#[derive(Debug, Clone, Copy)]
pub struct FieldRows<'a> {
    /// The active rows of each field, sample by sample: `[n n_fields]`, or as many as `offsets` says.
    pub rows: &'a [u32],
    /// Where the rows of each field of each sample begin, `[n n_fields + 1]`; `None` where each has one.
    pub offsets: Option<&'a [usize]>,
    /// `[n, n_dense]`.
    pub dense: &'a [f32],
    /// What is to be predicted, 0 or 1, `[n]`. Its length is the number of samples.
    pub labels: &'a [f32],
}

/// Gradients of what every sample touches.
#[derive(Debug, Clone)]
pub(super) struct DenseGradients {
    dense_linear: Option<forecart_nn::LinearGradients>,
    mlp: Option<forecart_nn::MlpGradients>,
    cross: Option<forecart_nn::CrossGradients>,
    cross_head: Option<forecart_nn::LinearGradients>,
}

impl DenseGradients {
    pub(super) fn of(network: &FieldNetwork) -> Self {
        Self {
            dense_linear: network.dense_linear.new_gradients(),
            mlp: network.mlp.new_gradients(),
            cross: network.cross.new_gradients(),
            cross_head: network.cross_head.new_gradients(),
        }
    }

    pub(super) fn clear(&mut self) {
        self.dense_linear.clear();
        self.mlp.clear();
        self.cross.clear();
        self.cross_head.clear();
    }

    pub(super) fn add(&mut self, other: &Self) -> Result<(), NnError> {
        self.dense_linear.add(&other.dense_linear)?;
        self.mlp.add(&other.mlp)?;
        self.cross.add(&other.cross)?;
        self.cross_head.add(&other.cross_head)
    }

    /// Changes places with the same parts of `total`.
    pub(super) fn swap(&mut self, total: &mut FieldNetworkGradients) {
        std::mem::swap(&mut total.dense_linear, &mut self.dense_linear);
        std::mem::swap(&mut total.mlp, &mut self.mlp);
        std::mem::swap(&mut total.cross, &mut self.cross);
        std::mem::swap(&mut total.cross_head, &mut self.cross_head);
    }
}

/// Activations and gradients of one tile.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    /// Embeddings of the fields, then dense numbers, `[n, n_fields * n_dims + n_dense]`.
    x: Matrix,
    fields: Matrix,
    dense: Matrix,
    weights: Matrix,
    sums: Matrix,
    pub(super) logits: Matrix,
    interactions: Matrix,
    crossed: Matrix,
    pub(super) d_logits: Matrix,
    d_x: Matrix,
    d_crossed: Matrix,
    d_x_of_cross: Matrix,
    pub(super) d_fields: Matrix,
    pub(super) d_weights: Matrix,
    mlp: MlpWorkspace,
    cross: CrossWorkspace,
}

impl FieldNetwork {
    /// A network with drawn weights; those of the linear part and the biases start at zero.
    ///
    /// # Errors
    /// [`NnError::OutOfRange`] for a `dropout` outside of its range or a network of no part.
    pub fn new(config: &FieldNetworkConfig, rng: &mut ChaCha8Rng) -> Result<Self, NnError> {
        let FieldNetworkConfig { n_rows, n_fields, n_dense, n_dims, .. } = *config;
        let n_in = config.n_in();
        let has_vectors = n_fields > 0 && n_dims > 0;
        let mlp = config.hidden.as_ref().map(|hidden| MlpConfig {
            n_in,
            hidden: hidden.clone(),
            n_out: 1,
            activation: Activation::Relu,
            dropout: config.dropout,
        });
        let cross = CrossConfig { n_in, n_layers: config.n_cross, rank: config.cross_rank };
        let has_cross = config.n_cross > 0;
        // Drawn in this order, which seeds of older models rely on.
        let embedding = has_vectors.then(|| Embedding::new(n_rows, n_dims, INIT, rng));
        let linear = (config.linear && n_fields > 0)
            .then(|| Embedding::from_table(Matrix::zeros(n_rows, 1)));
        let dense_linear = config
            .linear
            .then(|| Linear::from_parts(Matrix::zeros(1, n_dense), Some(Matrix::zeros(1, 1))));
        let mlp = mlp.map(|mlp| Mlp::new(&mlp, rng));
        let head = has_cross.then(|| Linear::new(n_in, 1, Init::Xavier, rng));
        let cross = has_cross.then(|| CrossNetwork::new(&cross, rng));
        let machine = (config.interactions && has_vectors)
            .then(|| FactorizationMachine::new(n_fields, n_dims));
        let network = Self {
            embedding: embedding.transpose()?,
            linear: linear.transpose()?,
            dense_linear: dense_linear.transpose()?,
            mlp: mlp.transpose()?,
            cross: cross.transpose()?,
            cross_head: head.transpose()?,
            machine: machine.transpose()?,
            n_fields,
            n_dense,
        };
        let has_part =
            network.dense_linear.is_some() || network.mlp.is_some() || network.cross.is_some();
        match has_part {
            true => Ok(network),
            false => Err(NnError::OutOfRange {
                name: "parts of a network",
                value: 0.0,
                allowed: "at least linear, perceptron or cross network",
            }),
        }
    }

    /// Fields of a sample.
    pub fn n_fields(&self) -> usize {
        self.n_fields
    }

    /// Numbers of a sample.
    pub fn n_dense(&self) -> usize {
        self.n_dense
    }

    /// Columns of an embedding, 0 without.
    pub(super) fn n_dims(&self) -> usize {
        self.embedding.as_ref().map_or(0, Embedding::n_dims)
    }

    /// Rows of the tables, 0 without.
    pub(super) fn n_rows(&self) -> usize {
        self.embedding.as_ref().or(self.linear.as_ref()).map_or(0, Embedding::n_rows)
    }

    /// The logits of `samples`, whose labels are not read but counted, `[n, 1]`.
    ///
    /// # Errors
    /// [`NnError::Length`], [`NnError::Offsets`] or [`NnError::Index`] if they do not fit the network.
    pub fn logits(&self, samples: FieldRows<'_>) -> Result<Matrix, NnError> {
        let mut ws = Workspace::default();
        self.check(samples)?;
        self.forward(samples, 0..samples.labels.len(), Pass::Inference, &mut ws)?;
        Ok(ws.logits)
    }

    /// Refuses samples that are not as many as they say.
    pub(super) fn check(&self, samples: FieldRows<'_>) -> Result<(), NnError> {
        let length = |what: &'static str, expected: usize, found: usize| match expected == found {
            true => Ok(()),
            false => Err(NnError::Length { what, expected, found }),
        };
        let n = samples.labels.len();
        length("dense numbers", n * self.n_dense, samples.dense.len())?;
        match samples.offsets {
            None => length("rows of fields", n * self.n_fields, samples.rows.len()),
            Some(offsets) => {
                let bags = Bags::new(samples.rows, offsets, None)?;
                length("fields", n * self.n_fields, bags.n_bags())
            }
        }
    }

    /// Fills `ws.logits` for some rows of a batch that was checked.
    pub(super) fn forward(
        &self,
        batch: FieldRows<'_>,
        rows: Range<usize>,
        pass: Pass,
        ws: &mut Workspace,
    ) -> Result<(), NnError> {
        let n = rows.len();
        let dense = &batch.dense[rows.start * self.n_dense..rows.end * self.n_dense];
        ws.dense.reshape(n, self.n_dense);
        ws.dense.as_mut_slice().copy_from_slice(dense);
        let slots = rows.start * self.n_fields..rows.end * self.n_fields;
        if let Some(embedding) = &self.embedding {
            gather(embedding, batch, slots.clone(), &mut ws.fields)?; // [n n_fields, n_dims]
            ws.fields.reshape(n, self.n_fields * embedding.n_dims());
        } else {
            ws.fields.reshape(n, 0);
        }
        match &self.dense_linear {
            Some(layer) => layer.forward(&ws.dense, &mut ws.logits)?, // [n, 1]
            None => ws.logits.reset(n, 1),
        }
        let logits = ws.logits.as_mut_slice();
        if let Some(linear) = &self.linear {
            gather(linear, batch, slots, &mut ws.weights)?; // [n n_fields, 1]
            for (logit, weights) in
                logits.iter_mut().zip(ws.weights.as_slice().chunks_exact(self.n_fields))
            {
                *logit += weights.iter().sum::<f32>();
            }
        }
        if let Some(machine) = self.machine {
            machine.forward(&ws.fields, &mut ws.interactions, &mut ws.sums)?; // [n, 1]
            add(logits, ws.interactions.as_slice());
        }
        if self.mlp.is_some() || self.cross.is_some() {
            join(&ws.fields, &ws.dense, &mut ws.x); // [n, n_in]
        }
        if let Some(mlp) = &self.mlp {
            add(logits, mlp.forward(&ws.x, pass, &mut ws.mlp)?.as_slice()); // [n, 1]
        }
        if let (Some(cross), Some(head)) = (&self.cross, &self.cross_head) {
            ws.crossed.copy_from(cross.forward(&ws.x, &mut ws.cross)?); // [n, n_in]
            head.forward(&ws.crossed, &mut ws.interactions)?; // [n, 1]
            add(logits, ws.interactions.as_slice());
        }
        Ok(())
    }

    /// Carries `ws.d_logits` back; leaves the gradients of the fields in `ws.d_fields` and `ws.d_weights`.
    pub(super) fn backward(
        &self,
        ws: &mut Workspace,
        gradients: &mut DenseGradients,
    ) -> Result<(), NnError> {
        let (n, n_sparse) = (ws.dense.rows(), ws.fields.cols());
        if let (Some(layer), Some(gradients)) = (&self.dense_linear, &mut gradients.dense_linear) {
            layer.backward(&ws.dense, &ws.d_logits, None, gradients)?;
        }
        match self.machine {
            Some(machine) => {
                machine.backward(&ws.fields, &ws.d_logits, &ws.sums, &mut ws.d_fields)?;
            }
            None => ws.d_fields.reset(n, n_sparse),
        }
        if let (Some(mlp), Some(gradients)) = (&self.mlp, &mut gradients.mlp) {
            mlp.backward(&ws.x, &ws.d_logits, Some(&mut ws.d_x), &mut ws.mlp, gradients)?;
            add_fields(&ws.d_x, &mut ws.d_fields);
        }
        if let (Some(cross), Some(head)) = (&self.cross, &self.cross_head)
            && let (Some(of_cross), Some(of_head)) =
                (&mut gradients.cross, &mut gradients.cross_head)
        {
            head.backward(&ws.crossed, &ws.d_logits, Some(&mut ws.d_crossed), of_head)?;
            cross.backward(&ws.x, &ws.d_crossed, &mut ws.d_x_of_cross, &mut ws.cross, of_cross)?;
            add_fields(&ws.d_x_of_cross, &mut ws.d_fields);
        }
        if self.linear.is_some() {
            ws.d_weights.reshape(n, self.n_fields);
            for (row, d_logit) in ws.d_logits.as_slice().iter().enumerate() {
                ws.d_weights.row_mut(row).fill(*d_logit);
            }
        }
        Ok(())
    }

    /// Notes which rows of the tables the fields of some samples are made of.
    pub(super) fn push_terms(
        &self,
        batch: FieldRows<'_>,
        rows: Range<usize>,
        terms: &mut RowTermsPart,
    ) {
        let places = rows.start * self.n_fields..rows.end * self.n_fields;
        match batch.offsets {
            None => {
                for (row, place) in batch.rows[places.clone()].iter().zip(places) {
                    terms.push(*row, place as u32, 1.0);
                }
            }
            Some(offsets) => {
                for place in places {
                    let active = &batch.rows[offsets[place]..offsets[place + 1]];
                    let share = 1.0 / active.len() as f32;
                    active.iter().for_each(|row| terms.push(*row, place as u32, share));
                }
            }
        }
    }
}

/// The rows of some fields, their means where a field has several.
fn gather(
    table: &Embedding,
    batch: FieldRows<'_>,
    slots: Range<usize>,
    out: &mut Matrix,
) -> Result<(), NnError> {
    match batch.offsets {
        None => table.forward(&batch.rows[slots], out),
        Some(offsets) => {
            let bags = Bags::new(batch.rows, offsets, None)?.slice(slots);
            table.forward_bags(bags, BagMode::Mean, out)
        }
    }
}

/// Writes the columns of `left`, then those of `right`.
fn join(left: &Matrix, right: &Matrix, out: &mut Matrix) {
    out.reshape(left.rows(), left.cols() + right.cols());
    for row in 0..left.rows() {
        let (first, rest) = out.row_mut(row).split_at_mut(left.cols());
        first.copy_from_slice(left.row(row));
        rest.copy_from_slice(right.row(row));
    }
}

fn add(sums: &mut [f32], values: &[f32]) {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}

/// Adds the first columns of `d_x`, which are those of the fields.
fn add_fields(d_x: &Matrix, d_fields: &mut Matrix) {
    let n_sparse = d_fields.cols();
    for row in 0..d_fields.rows() {
        add(d_fields.row_mut(row), &d_x.row(row)[..n_sparse]);
    }
}
