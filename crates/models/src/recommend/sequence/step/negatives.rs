//! Which items a step reads beside those of its sequences, before it reads them.

use forecart_data::{History, ItemIdx};
use forecart_nn::DropoutKey;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::config::SequenceLoss;
use super::Stepper;

/// Items drawn uniformly, for a group of the batch or for all of them.
pub(super) fn negatives(
    key: DropoutKey,
    group: Option<usize>,
    n_item_rows: usize,
) -> impl Iterator<Item = u32> {
    let key = key.layer(usize::MAX);
    let seed = group.map_or(key, |group| key.layer(group)).to_seed();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    std::iter::repeat_with(move || rng.random_range(1..n_item_rows as u32))
}

impl Stepper {
    /// Brings the vectors up to date that the step reads, where items have attributes.
    pub(super) fn compose(
        &mut self,
        batch: &[History<'_>],
        key: DropoutKey,
        given: Option<&[u32]>,
    ) {
        let Self { network, groups, config, .. } = self;
        let Some(attributes) = &mut network.attributes else { return };
        let n_item_rows = network.items.n_rows();
        let n_negatives = config.n_negatives.get() as usize;
        let is_shared = matches!(config.loss, SequenceLoss::Shared | SequenceLoss::Mixed);
        let n_drawn = groups.iter().map(|group| group.n_labels * n_negatives);
        let n_all = if is_shared { n_negatives } else { n_drawn.clone().sum() };
        if config.is_full() || n_all >= n_item_rows {
            attributes.want_all(); // as many draws touch most items
        } else {
            let known = |item: &ItemIdx| if item.row() < n_item_rows { item.0 } else { 0 };
            let items = batch.iter().flat_map(|history| history.items.iter().map(known));
            items.for_each(|item| attributes.want(item));
            match given {
                Some(given) => given.iter().for_each(|item| attributes.want(*item)),
                None if is_shared => {
                    let negatives = negatives(key, None, n_item_rows).take(n_negatives);
                    negatives.for_each(|item| attributes.want(item));
                }
                None => n_drawn.enumerate().for_each(|(group, n)| {
                    let negatives = negatives(key, Some(group), n_item_rows).take(n);
                    negatives.for_each(|item| attributes.want(item));
                }),
            }
        }
        attributes.compose(network.items.vectors());
    }
}
