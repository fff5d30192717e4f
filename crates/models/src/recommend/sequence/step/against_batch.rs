//! Losses against candidates that all labels of a batch share: nothing goes back before everything is forward.

use forecart_data::History;
use forecart_nn::loss::{
    FullSoftmaxGradients, SubsetSoftmaxGradients, full_softmax, subset_softmax,
};
use forecart_nn::{DropoutKey, Gradients, NnError, Pass};
use rayon::prelude::*;

use super::groups::{Group, sum_of_groups};
use super::labeled_tile::{LabeledTile, Span};
use super::masking::Masking;
use super::negatives::negatives;
use super::{Mixed, Stepper};
use crate::recommend::item_table::ItemGradients;

impl Stepper {
    /// Loss against candidates that all labels share: all tiles forward, the softmax of the whole batch, all tiles
    /// backward.
    pub(super) fn against_batch(
        &mut self,
        batch: &[History<'_>],
        key: DropoutKey,
        n_labels: usize,
        given: Option<&[u32]>,
    ) -> Result<f64, NnError> {
        let Self {
            network,
            groups,
            idle_gradients,
            terms,
            d_hidden,
            softmax,
            mixed,
            total,
            config,
            ..
        } = self;
        let network = &*network;
        let vectors = network.vectors();
        let masking = Masking::of(config, key);
        let of_groups =
            terms.of_groups(groups.iter().map(|group| [group.n_labels, group.n_tokens]));
        let tasks = groups.par_iter_mut().with_max_len(1).zip(of_groups);
        tasks.for_each(|(group, terms)| {
            let Group { tiles, spans, loss, .. } = group;
            if tiles.len() < spans.len() {
                tiles.resize_with(spans.len(), LabeledTile::default);
            }
            let forward = |(labeled, span): (&mut LabeledTile, &Span)| {
                labeled.fill(batch, span.sequences.clone(), vectors.rows(), masking.as_ref());
                let pass = Pass::Training { key, first_row: span.first_row };
                network.encoder.forward(vectors, pass, &mut labeled.tile)?;
                labeled.gather();
                let values = labeled.hidden.as_slice();
                let first = span.in_group[1] * vectors.cols();
                terms.hidden[first..first + values.len()].copy_from_slice(values);
                Ok(0.0)
            };
            *loss = tiles.iter_mut().zip(&*spans).map(forward).sum();
        });
        let tiles = || groups.iter().flat_map(|group| group.tiles.iter().zip(&group.spans));
        let mut labels = Vec::with_capacity(n_labels);
        tiles().for_each(|(labeled, _)| labels.extend_from_slice(&labeled.labels));
        for group in groups.iter() {
            group.loss.clone()?;
        }
        let mean_over = n_labels as f64;
        let hidden = &terms.hidden;
        let loss = match &mut total.items {
            ItemGradients::Dense(d_table) if config.is_full() => {
                let gradients = FullSoftmaxGradients { d_hidden, d_table };
                let smoothing = config.label_smoothing as f32;
                full_softmax(hidden, vectors, &labels, smoothing, mean_over, softmax, gradients)?
            }
            _ => {
                let Mixed { candidates, softmax, rows } = mixed;
                let n_item_rows = vectors.rows();
                let n_drawn = config.n_negatives.get() as usize;
                let drawn = negatives(key, None, n_item_rows).take(n_drawn);
                let n_items = n_item_rows - 1; // row 0 is no item
                let subset = match given {
                    Some(given) => candidates.join(&labels, given.iter().copied(), n_items),
                    None => candidates.join(&labels, drawn, n_items),
                };
                rows.clear();
                let gradients = SubsetSoftmaxGradients { d_hidden, d_table: rows };
                subset_softmax(hidden, vectors, &labels, subset, mean_over, softmax, gradients)?
            }
        };
        let d_hidden = &*d_hidden;
        sum_of_groups(
            network,
            groups,
            terms,
            idle_gradients,
            &mut total.encoder,
            |_, group, mut terms, encoder| {
                let backward = |(labeled, span): (&mut LabeledTile, &Span)| {
                    labeled.scatter(|place| d_hidden.row(span.first_label + place));
                    labeled.backward(network, key, span, encoder, &mut terms)?;
                    Ok(0.0)
                };
                group.tiles.iter_mut().zip(&group.spans).map(backward).sum()
            },
        )?;
        Ok(loss)
    }
}
