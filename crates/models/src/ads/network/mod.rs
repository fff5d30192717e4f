//! One network over fields, of which linear models, factorization machines, perceptrons and cross networks are arrangements.
//!
//! Here are the network and its two passes; `sizes` says what it may have, `rows` what it reads, `history` how lists whose order
//! counts come in.

use std::ops::Range;

use forecart_nn::{
    Activation, Bags, CrossConfig, CrossNetwork, Embedding, FactorizationMachine,
    FieldAwareMachine, Init, Linear, Matrix, Mlp, MlpConfig, NnError, Pass, RowTermsPart,
    TargetAttention, TargetAttentionConfig,
};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

mod history;
mod rows;
mod sizes;
mod workspace;

pub use rows::{FieldRows, HistoryRows};
pub use sizes::{FieldNetworkConfig, Interactions};
pub(super) use workspace::{DenseGradients, Workspace};

use rows::{add, add_columns, gather, put};

/// Samples whose logits are computed at a time.
const ANSWER_ROWS: usize = 1024;

/// New embeddings: small, so that what few rows teach is little. Ten times as much was worse on the validation part of MovieLens as clicks, and
/// made no difference on the other tables of docs/measurements.md.
const INIT: Init = Init::TruncatedNormal { std_dev: 0.001 };

/// New hidden layers of a perceptron that stands beside other parts: next to nothing, so that those learn first what they can, and it
/// what they leave. A perceptron that is alone would not get away from there, and starts by He's rule.
const BESIDE_OTHERS: Init = Init::TruncatedNormal { std_dev: 0.0001 };

/// The logit of a sample: the sum of the parts that there are.
///
/// With `x` the dense numbers, `r_f` the active row of field `f`, `v` the embeddings and `e = (v[r_1], .., v[r_F], x)`:
///
/// - linear: `w_dense x + b + Σ_f w[r_f]`
/// - interactions: `Σ_{f<g} ⟨v[r_f], v[r_g]⟩` (Rendle, ICDM 2010, equation 1)
/// - perceptron: `mlp(e)`, with ReLU between its layers
/// - field-aware interactions: `Σ_{f<g} ⟨v_g[r_f], v_f[r_g]⟩`, where a row has a vector for each other field (Juan et al., RecSys 2016,
///   equation 4; we differ: there are weights of single rows beside them, and Adam learns them, not AdaGrad)
/// - cross network: `c · cross(e)` (Wang et al., WWW 2021, equation 1; beside a perceptron this is their parallel structure, whose
///   last weights over both are `c` and those of the perceptron's last layer)
///
/// Where a field has several rows active, it has their means. Linear and perceptron together are Wide & Deep (Cheng et al., DLRS 2016), linear,
/// interactions and perceptron DeepFM (Guo et al., IJCAI 2017, equations 1 to 4). We differ: dense numbers enter the perceptron as they
/// are, without embeddings, and are in no interaction.
///
/// With histories, `e = (v[r_1], .., v[r_F], s_1, .., s_H, x)`, where `s_h` is what field `f_h` sees of a list of rows of its own: the sum of
/// their embeddings weighted by what [`TargetAttention`] makes of each and of `v[r_{f_h}]` (Zhou et al., KDD 2018, equation 3). We differ: each
/// list has an activation unit of its own, since lists of a table need not be as long as each other, its hidden values are sigmoids,
/// as in the authors' code, and not Dice.
///
/// With conversions, a second perceptron over the same `e` gives the logit of a conversion after a click, and both learn from all samples
/// ([`forecart_nn::loss::EntireSpace`]; Ma et al., SIGIR 2018, figure 2).
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
    /// One for each history.
    pub(super) attentions: Vec<TargetAttention>,
    /// The perceptron of conversions after clicks.
    pub(super) conversion: Option<Mlp>,
    machine: Option<Machine>,
    /// The field that sees each history.
    seen_by: Vec<usize>,
    n_fields: usize,
    n_dense: usize,
}

#[derive(Debug, Clone, Copy)]
enum Machine {
    Plain(FactorizationMachine),
    FieldAware(FieldAwareMachine),
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
        attentions: Vec<TargetAttention>,
        conversion: Option<Mlp>,
    }
);

impl FieldNetwork {
    /// A network with drawn weights; those of the linear part and the biases start at zero.
    ///
    /// # Errors
    /// [`NnError::OutOfRange`] for a `dropout` outside of its range or a network of no part.
    pub fn new(config: &FieldNetworkConfig, rng: &mut ChaCha8Rng) -> Result<Self, NnError> {
        let FieldNetworkConfig { n_rows, n_fields, n_dense, n_dims, .. } = *config;
        let n_in = config.n_in();
        let has_vectors = n_fields > 0 && config.n_cols() > 0;
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
        let embedding = has_vectors.then(|| Embedding::new(n_rows, config.n_cols(), INIT, rng));
        let linear = (config.linear && n_fields > 0)
            .then(|| Embedding::from_table(Matrix::zeros(n_rows, 1)));
        let dense_linear = config
            .linear
            .then(|| Linear::from_parts(Matrix::zeros(1, n_dense), Some(Matrix::zeros(1, 1))));
        let conversion = mlp.clone().filter(|_| config.conversion);
        let stands_beside = config.linear || has_cross;
        let mlp = mlp.map(|mlp| match stands_beside {
            true => Mlp::with_hidden(&mlp, BESIDE_OTHERS, rng),
            false => Mlp::new(&mlp, rng),
        });
        let head = has_cross.then(|| Linear::new(n_in, 1, Init::Xavier, rng));
        let cross = has_cross.then(|| CrossNetwork::new(&cross, rng));
        let unit = TargetAttentionConfig {
            n_dims,
            hidden: config.attention_hidden.clone(),
            activation: Activation::Sigmoid,
            softmax: false,
        };
        let attentions = config.histories.iter().map(|_| TargetAttention::new(&unit, rng));
        let attentions = attentions.collect::<Result<Vec<_>, _>>()?;
        let conversion = conversion.map(|mlp| Mlp::new(&mlp, rng));
        let machine = config.interactions.filter(|_| has_vectors).map(|kind| match kind {
            Interactions::Machine => {
                FactorizationMachine::new(n_fields, n_dims).map(Machine::Plain)
            }
            Interactions::FieldAware => {
                FieldAwareMachine::new(n_fields, n_dims).map(Machine::FieldAware)
            }
        });
        let network = Self {
            embedding: embedding.transpose()?,
            linear: linear.transpose()?,
            dense_linear: dense_linear.transpose()?,
            mlp: mlp.transpose()?,
            cross: cross.transpose()?,
            cross_head: head.transpose()?,
            attentions,
            conversion: conversion.transpose()?,
            machine: machine.transpose()?,
            seen_by: config.histories.clone(),
            n_fields,
            n_dense,
        };
        let has_part =
            network.dense_linear.is_some() || network.mlp.is_some() || network.cross.is_some();
        let refuse = |name, value: usize, allowed| {
            Err(NnError::OutOfRange { name, value: value as f64, allowed })
        };
        // The vectors of histories are those of their fields, of which a field-aware machine has several and a linear part none.
        let sees = network.mlp.is_some() && !config.linear && config.interactions.is_none();
        match config.histories.iter().max() {
            _ if !has_part => {
                let allowed = "at least linear, perceptron or cross network";
                refuse("parts of a network", 0, allowed)
            }
            Some(_) if !sees => refuse("histories", 1, "in a perceptron alone"),
            Some(field) if *field >= n_fields => {
                refuse("field of a history", *field, "one of the fields")
            }
            _ => Ok(network),
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

    /// The field that sees each history.
    pub(super) fn seen_by(&self) -> &[usize] {
        &self.seen_by
    }

    /// Whether it has the second perceptron.
    pub(super) fn has_conversions(&self) -> bool {
        self.conversion.is_some()
    }

    /// Columns of the table of embeddings, 0 without.
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
        Ok(self.answers(samples)?.0)
    }

    /// The logits, and those of conversions where the network has them, on the threads of the current rayon pool.
    ///
    /// # Errors
    /// As [`Self::logits`].
    pub(super) fn answers(
        &self,
        samples: FieldRows<'_>,
    ) -> Result<(Matrix, Option<Matrix>), NnError> {
        self.check(samples)?;
        let n = samples.labels.len();
        let starts: Vec<usize> = (0..n).step_by(ANSWER_ROWS).collect();
        let tiles = starts.into_par_iter().map_init(Workspace::default, |ws, start| {
            self.forward(samples, start..(start + ANSWER_ROWS).min(n), Pass::Inference, ws)?;
            let conversions = self.conversion.as_ref().map(|_| ws.conversions.as_slice().to_vec());
            Ok((ws.logits.as_slice().to_vec(), conversions.unwrap_or_default()))
        });
        let tiles = tiles.collect::<Result<Vec<_>, NnError>>()?;
        let (logits, conversions): (Vec<_>, Vec<_>) = tiles.into_iter().unzip();
        let column = |tiles: Vec<Vec<f32>>| Matrix::from_vec(n, 1, tiles.concat());
        let conversions = self.conversion.as_ref().map(|_| column(conversions));
        Ok((column(logits)?, conversions.transpose()?))
    }

    /// Refuses samples that are not as many as they say.
    pub(super) fn check(&self, samples: FieldRows<'_>) -> Result<(), NnError> {
        let length = |what: &'static str, expected: usize, found: usize| match expected == found {
            true => Ok(()),
            false => Err(NnError::Length { what, expected, found }),
        };
        let n = samples.labels.len();
        length("dense numbers", n * self.n_dense, samples.dense.len())?;
        if !samples.weights.is_empty() {
            length("weights", n, samples.weights.len())?;
        }
        if !self.attentions.is_empty() {
            let lists = Bags::new(samples.histories.rows, samples.histories.offsets, None)?;
            length("histories", n * self.attentions.len(), lists.n_bags())?;
        }
        match samples.offsets {
            None => length("rows of fields", n * self.n_fields, samples.rows.len()),
            Some(offsets) => {
                let bags = Bags::new(samples.rows, offsets, None)?;
                length("fields", n * self.n_fields, bags.n_bags())
            }
        }
    }

    /// Fills `ws.logits`, and `ws.conversions` where there are such, for some rows of a batch that was checked.
    pub(super) fn forward(
        &self,
        batch: FieldRows<'_>,
        rows: Range<usize>,
        pass: Pass,
        ws: &mut Workspace,
    ) -> Result<(), NnError> {
        self.gather(batch, rows, ws)?;
        self.compute(pass, ws)
    }

    /// Fills what the parts of the network begin with: dense numbers, and the rows of the tables.
    pub(super) fn gather(
        &self,
        batch: FieldRows<'_>,
        rows: Range<usize>,
        ws: &mut Workspace,
    ) -> Result<(), NnError> {
        let n = rows.len();
        let dense = &batch.dense[rows.start * self.n_dense..rows.end * self.n_dense];
        ws.dense.reshape(n, self.n_dense);
        ws.dense.as_mut_slice().copy_from_slice(dense);
        let slots = rows.start * self.n_fields..rows.end * self.n_fields;
        if let Some(embedding) = &self.embedding {
            gather(embedding, batch, slots.clone(), &mut ws.offsets, &mut ws.fields)?; // [n n_fields, n_cols]
            ws.fields.reshape(n, self.n_fields * embedding.n_dims());
        } else {
            ws.fields.reshape(n, 0);
        }
        if let Some(linear) = &self.linear {
            gather(linear, batch, slots, &mut ws.offsets, &mut ws.weights)?; // [n n_fields, 1]
        }
        self.gather_histories(batch, rows, ws)
    }

    /// From what [`Self::gather`] fills to the logits.
    pub(super) fn compute(&self, pass: Pass, ws: &mut Workspace) -> Result<(), NnError> {
        let n = ws.dense.rows();
        match &self.dense_linear {
            Some(layer) => layer.forward(&ws.dense, &mut ws.logits)?, // [n, 1]
            None => ws.logits.reset(n, 1),
        }
        if self.linear.is_some() {
            let logits = ws.logits.as_mut_slice().iter_mut();
            for (logit, weights) in logits.zip(ws.weights.as_slice().chunks_exact(self.n_fields)) {
                *logit += weights.iter().sum::<f32>();
            }
        }
        match self.machine {
            Some(Machine::Plain(machine)) => {
                machine.forward(&ws.fields, &mut ws.interactions, &mut ws.sums)?; // [n, 1]
                add(ws.logits.as_mut_slice(), ws.interactions.as_slice());
            }
            Some(Machine::FieldAware(machine)) => {
                machine.forward(&ws.fields, &mut ws.interactions)?; // [n, 1]
                add(ws.logits.as_mut_slice(), ws.interactions.as_slice());
            }
            None => {}
        }
        if self.mlp.is_some() || self.cross.is_some() {
            let n_seen = self.attentions.len() * self.n_dims();
            ws.x.reshape(n, ws.fields.cols() + n_seen + self.n_dense);
            let at = put(&ws.fields, 0, &mut ws.x);
            let at = self.attend(at, ws)?;
            put(&ws.dense, at, &mut ws.x); // [n, n_in]
        }
        if let Some(mlp) = &self.mlp {
            let logits = mlp.forward(&ws.x, pass, &mut ws.mlp)?; // [n, 1]
            add(ws.logits.as_mut_slice(), logits.as_slice());
        }
        if let (Some(cross), Some(head)) = (&self.cross, &self.cross_head) {
            ws.crossed.copy_from(cross.forward(&ws.x, &mut ws.cross)?); // [n, n_in]
            head.forward(&ws.crossed, &mut ws.interactions)?; // [n, 1]
            add(ws.logits.as_mut_slice(), ws.interactions.as_slice());
        }
        if let Some(mlp) = &self.conversion {
            let pass = match pass {
                Pass::Inference => pass,
                // Another mask than the first perceptron's.
                Pass::Training { key, first_row } => {
                    Pass::Training { key: key.layer(usize::MAX), first_row }
                }
            };
            ws.conversions.copy_from(mlp.forward(&ws.x, pass, &mut ws.conversion)?); // [n, 1]
        }
        Ok(())
    }

    /// Carries `ws.d_logits` back, and `ws.d_conversions` where there are such; leaves the gradients of the fields in `ws.d_fields` and
    /// `ws.d_weights`, those of histories in their `d_tokens`.
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
            Some(Machine::Plain(machine)) => {
                machine.backward(&ws.fields, &ws.d_logits, &ws.sums, &mut ws.d_fields)?;
            }
            Some(Machine::FieldAware(machine)) => {
                machine.backward(&ws.fields, &ws.d_logits, &mut ws.d_fields)?;
            }
            None => ws.d_fields.reset(n, n_sparse),
        }
        let has_x = self.mlp.is_some() || self.cross.is_some();
        if let (Some(mlp), Some(gradients)) = (&self.mlp, &mut gradients.mlp) {
            mlp.backward(&ws.x, &ws.d_logits, Some(&mut ws.d_x), &mut ws.mlp, gradients)?;
        } else if has_x {
            ws.d_x.reset(n, ws.x.cols());
        }
        if let (Some(cross), Some(head)) = (&self.cross, &self.cross_head)
            && let (Some(of_cross), Some(of_head)) =
                (&mut gradients.cross, &mut gradients.cross_head)
        {
            head.backward(&ws.crossed, &ws.d_logits, Some(&mut ws.d_crossed), of_head)?;
            cross.backward(&ws.x, &ws.d_crossed, &mut ws.d_x_of_part, &mut ws.cross, of_cross)?;
            add(ws.d_x.as_mut_slice(), ws.d_x_of_part.as_slice());
        }
        if let (Some(mlp), Some(gradients)) = (&self.conversion, &mut gradients.conversion) {
            let d_x = Some(&mut ws.d_x_of_part);
            mlp.backward(&ws.x, &ws.d_conversions, d_x, &mut ws.conversion, gradients)?;
            add(ws.d_x.as_mut_slice(), ws.d_x_of_part.as_slice());
        }
        if has_x {
            add_columns(&ws.d_x, 0..n_sparse, 0, &mut ws.d_fields);
            self.attend_backward(ws, gradients)?;
        }
        if self.linear.is_some() {
            ws.d_weights.reshape(n, self.n_fields);
            for (row, d_logit) in ws.d_logits.as_slice().iter().enumerate() {
                ws.d_weights.row_mut(row).fill(*d_logit);
            }
        }
        Ok(())
    }

    /// The gradients of the dense numbers of each sample that [`Self::backward`] left, but for those of the linear part
    /// ([`Self::dense_weights`]); `None` where the network has no other.
    pub(super) fn d_dense<'w>(&self, ws: &'w Workspace) -> Option<impl Iterator<Item = &'w [f32]>> {
        let has_x = self.mlp.is_some() || self.cross.is_some();
        let first = ws.d_x.cols().saturating_sub(self.n_dense);
        has_x.then(|| (0..ws.d_x.rows()).map(move |row| &ws.d_x.row(row)[first..]))
    }

    /// The linear part's weights of the dense numbers; none without it.
    pub(super) fn dense_weights(&self) -> &[f32] {
        self.dense_linear.as_ref().map_or(&[], |layer| layer.weight().as_slice())
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
        self.push_history_terms(batch, rows, terms);
    }
}
