//! Training steps of a [`FieldNetwork`].

use std::ops::Range;

use forecart_nn::loss::{EntireSpace, bce_with_logits};
use forecart_nn::{DropoutKey, NnError, Optimizer, Pass, RowTerms, Trainable};
use rayon::prelude::*;

use super::network::{DenseGradients, FieldNetwork, FieldNetworkGradients, FieldRows, Workspace};

/// Samples of a tile: its activations stay in an L2 cache.
const TILE_ROWS: usize = 256;

/// Parts of a batch whose gradients are summed apart and joined in order: the same for any number of threads, as sums
/// must be.
const N_GROUPS: usize = 8;

/// A network in training, with its optimizer and buffers.
#[derive(Debug)]
pub struct FieldTrainer {
    pub(super) network: FieldNetwork,
    pub(super) optimizer: Optimizer,
    pub(super) total: FieldNetworkGradients,
    groups: Vec<Group>,
    terms: RowTerms,
    /// Gradients of the fields of each sample, `[n, n_fields * n_dims]` and `[n, n_fields]`.
    d_fields: Vec<f32>,
    d_weights: Vec<f32>,
    /// Gradients of the rows of histories, `[n_tokens, n_dims]`.
    d_tokens: Vec<f32>,
}

/// A part of the batch: its tiles, one after the other on one thread.
#[derive(Debug)]
struct Group {
    workspace: Workspace,
    gradients: DenseGradients,
    loss: Result<f64, NnError>,
}

impl FieldTrainer {
    /// Nothing has been learned yet.
    pub fn new(network: FieldNetwork, optimizer: Optimizer) -> Self {
        Self {
            total: network.new_gradients(),
            network,
            optimizer,
            groups: Vec::new(),
            terms: RowTerms::default(),
            d_fields: Vec::new(),
            d_weights: Vec::new(),
            d_tokens: Vec::new(),
        }
    }

    /// What has been learned so far.
    pub fn network(&self) -> &FieldNetwork {
        &self.network
    }

    /// One step of the optimizer; the mean loss of the batch. Runs on the current rayon pool; its result does not
    /// depend on the number of threads. `key` is that of dropout.
    ///
    /// # Errors
    /// [`NnError::Length`], [`NnError::Offsets`] or [`NnError::Index`] if the batch does not fit the network, [`NnError::OutOfRange`] for a
    /// label outside of `0.0..=1.0`, [`NnError::NonFinite`] if the loss or a gradient is not finite: nothing has been
    /// learned then.
    pub fn step(&mut self, batch: FieldRows<'_>, key: DropoutKey) -> Result<f64, NnError> {
        self.network.check(batch)?;
        let n = batch.labels.len();
        if self.network.has_conversions() && batch.conversions.len() != n {
            let (expected, found) = (n, batch.conversions.len());
            return Err(NnError::Length { what: "conversions", expected, found });
        }
        let total_weight = batch.total_weight();
        if total_weight == 0.0 {
            return Ok(0.0); // nothing that counts
        }
        let (n_fields, n_sparse) =
            (self.network.n_fields(), self.network.n_fields() * self.network.n_dims());
        let rows_a_group = n.div_ceil(N_GROUPS).next_multiple_of(TILE_ROWS);
        let n_groups = n.div_ceil(rows_a_group);
        let Self { network, groups, terms, d_fields, d_weights, d_tokens, total, .. } = self;
        while groups.len() < n_groups {
            let gradients = DenseGradients::of(network);
            groups.push(Group { workspace: Workspace::default(), gradients, loss: Ok(0.0) });
        }
        let n_weights = if network.linear.is_some() { n_fields } else { 0 };
        d_fields.resize(n * n_sparse, 0.0);
        d_weights.resize(n * n_weights, 0.0);
        let d_fields_of = chunks(d_fields, rows_a_group * n_sparse, n_groups);
        let d_weights_of = chunks(d_weights, rows_a_group * n_weights, n_groups);
        let n_histories = network.seen_by().len();
        let tokens = |rows: Range<usize>| batch.histories.of(rows, n_histories);
        d_tokens.resize(tokens(0..n).len() * network.n_dims(), 0.0);
        let mut rest = d_tokens.as_mut_slice();
        let d_tokens_of: Vec<&mut [f32]> = (0..n_groups)
            .map(|index| {
                let rows = index * rows_a_group..((index + 1) * rows_a_group).min(n);
                let n_values = tokens(rows).len() * network.n_dims();
                rest.split_off_mut(..n_values).expect("the groups' tokens are those of the batch")
            })
            .collect();
        let outputs = d_fields_of
            .into_par_iter()
            .zip(d_weights_of)
            .zip(d_tokens_of)
            .zip(terms.clear(network.n_rows(), n_groups));
        groups[..n_groups].par_iter_mut().with_max_len(1).zip(outputs).enumerate().for_each(
            |(index, (group, (((d_fields, d_weights), d_tokens), terms)))| {
                let first = index * rows_a_group;
                let rows = first..(first + rows_a_group).min(n);
                let out = Outputs { d_fields, d_weights, d_tokens };
                group.run(network, batch, rows.clone(), key, out);
                // A row that is not of the table is an error of the group.
                if group.loss.is_ok() {
                    network.push_terms(batch, rows, terms);
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
        groups[0].gradients.swap(total);
        terms.finish();
        if let Some(gradients) = &mut total.embedding {
            gradients.sum_terms(terms, [d_fields, d_tokens]);
        }
        if let Some(gradients) = &mut total.linear {
            gradients.sum_terms(terms, [d_weights, &[]]);
        }
        self.optimizer.step(network, total)?;
        Ok(loss)
    }
}

/// `n` parts of `width` values, the last shorter; empty ones where there are no values.
fn chunks(values: &mut [f32], width: usize, n: usize) -> Vec<&mut [f32]> {
    let mut parts: Vec<&mut [f32]> = match width {
        0 => Vec::with_capacity(n),
        width => values.chunks_mut(width).collect(),
    };
    parts.resize_with(n, Default::default);
    parts
}

/// Where the gradients of a part's rows of tables go.
struct Outputs<'a> {
    d_fields: &'a mut [f32],
    d_weights: &'a mut [f32],
    d_tokens: &'a mut [f32],
}

impl Group {
    fn run(
        &mut self,
        network: &FieldNetwork,
        batch: FieldRows<'_>,
        rows: Range<usize>,
        key: DropoutKey,
        out: Outputs<'_>,
    ) {
        let Self { workspace: ws, gradients, loss } = self;
        let Outputs { d_fields, d_weights, d_tokens } = out;
        let first_token = batch.histories.of(rows.clone(), network.seen_by().len()).start;
        gradients.clear();
        let (n, mean_over) = (rows.len(), batch.total_weight());
        let (n_sparse, n_weights) = (d_fields.len() / n, d_weights.len() / n);
        let tiles = (rows.start..rows.end).step_by(TILE_ROWS);
        let losses = tiles.map(|start| {
            let tile = start..(start + TILE_ROWS).min(rows.end);
            let pass = Pass::Training { key, first_row: start };
            network.forward(batch, tile.clone(), pass, ws)?;
            let labels = &batch.labels[tile.clone()];
            let weights = batch.weights_of(tile.clone());
            let loss = match network.has_conversions() {
                false => bce_with_logits(&ws.logits, labels, weights, mean_over, &mut ws.d_logits)?,
                true => {
                    let conversions = &batch.conversions[tile.clone()];
                    let space = EntireSpace { clicks: labels, conversions, weights };
                    let d_logits = [&mut ws.d_logits, &mut ws.d_conversions];
                    space.loss([&ws.logits, &ws.conversions], mean_over, d_logits)?
                }
            };
            network.backward(ws, gradients)?;
            let place = tile.start - rows.start..tile.end - rows.start;
            d_fields[place.start * n_sparse..place.end * n_sparse]
                .copy_from_slice(ws.d_fields.as_slice());
            if n_weights > 0 {
                d_weights[place.start * n_weights..place.end * n_weights]
                    .copy_from_slice(ws.d_weights.as_slice());
            }
            network.put_tokens(ws, batch, tile, first_token, d_tokens);
            Ok(loss)
        });
        *loss = losses.sum();
    }
}
