//! Losses against a few items drawn for each label, or for the step: each tile is forward and back at once, while it is in
//! the cache.

use forecart_data::History;
use forecart_nn::{DropoutKey, Gradients, Matrix, NnError, Pass};

use super::super::config::SequenceLoss;
use super::Stepper;
use super::groups::{Group, lock, sum_of_groups};
use super::masking::Masking;
use super::negatives::negatives;

/// Values of the candidates' vectors that are asked for before the forward pass of their tile, if they are not more: they have to stay in
/// the cache beside its activations.
const AHEAD_VALUES: usize = 1 << 15;

impl Stepper {
    /// Loss against a few items drawn for each label: each tile forward, loss and backward before the next.
    pub(super) fn against_few(
        &mut self,
        batch: &[History<'_>],
        key: DropoutKey,
        n_labels: usize,
        given: Option<&[u32]>,
    ) -> Result<f64, NnError> {
        let Self { network, groups, idle, idle_gradients, terms, total, config, .. } = self;
        let (network, mean_over) = (&*network, n_labels as f64);
        let vectors = network.vectors();
        let masking = Masking::of(config, key);
        let n_item_rows = vectors.rows();
        let beta = config.bce_beta(n_item_rows - 1)?; // row 0 is no item
        let n_negatives = config.n_negatives.get() as usize;
        let is_shared = config.loss == SequenceLoss::Shared;
        let shared: Vec<u32> = match (is_shared, given) {
            (true, Some(given)) => given.to_vec(),
            (true, None) => negatives(key, None, n_item_rows).take(n_negatives).collect(),
            (false, _) => Vec::new(),
        };
        sum_of_groups(
            network,
            groups,
            terms,
            idle_gradients,
            &mut total.encoder,
            |index, group, mut terms, encoder| {
                group.shared.clear();
                let Group { spans, shared: d_shared, .. } = group;
                // As many as there are threads; which one is taken changes no result.
                let mut labeled = lock(idle).pop().unwrap_or_default();
                let mut drawn = negatives(key, Some(index), n_item_rows);
                let losses = spans.iter().enumerate().map(|(at, span)| {
                    labeled.fill(batch, span.sequences.clone(), vectors.rows(), masking.as_ref());
                    if at == 0 {
                        ask(vectors, &labeled.tile.items);
                    }
                    if !is_shared {
                        labeled.negatives.clear();
                        let n = labeled.labels.len() * n_negatives;
                        match given {
                            None => labeled.negatives.extend(drawn.by_ref().take(n)),
                            Some(given) => {
                                let first = span.first_label * n_negatives;
                                labeled.negatives.extend_from_slice(&given[first..first + n]);
                            }
                        }
                        if n * vectors.cols() <= AHEAD_VALUES {
                            ask(vectors, &labeled.labels);
                            ask(vectors, &labeled.negatives);
                        }
                    }
                    // The inputs of the next tile.
                    if let Some(next) = spans.get(at + 1) {
                        let items = batch[next.sequences.clone()].iter().flat_map(|at| at.items);
                        vectors.prefetch_rows(items.map(|item| item.row()));
                    }
                    let pass = Pass::Training { key, first_row: span.first_row };
                    network.encoder.forward(vectors, pass, &mut labeled.tile)?;
                    labeled.gather();
                    let loss = if is_shared {
                        labeled.against_shared(vectors, &shared, mean_over, d_shared)?
                    } else {
                        let loss = labeled.against_own(vectors, config.loss, beta, mean_over)?;
                        labeled.keep_candidates(span, &mut terms);
                        loss
                    };
                    labeled.scatter_own();
                    labeled.backward(network, key, span, encoder, &mut terms)?;
                    Ok(loss)
                });
                let loss = losses.sum();
                lock(idle).push(labeled);
                loss
            },
        )
    }
}

/// Asks for the vectors of some items.
fn ask(vectors: &Matrix, items: &[u32]) {
    vectors.prefetch_rows(items.iter().map(|item| *item as usize));
}
