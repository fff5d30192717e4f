//! The candidates that the labels of a step share: the labels, and items drawn beside them.

use forecart_data::ItemIdx;
use forecart_nn::loss::ItemSubset;

use crate::recommend::popularity::ItemCounts;

/// The candidates of one step, and how likely each was to be one.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    items: Vec<u32>,
    log_q: Vec<f32>,
    /// Logarithm of the probability that one label is not this item, by row; empty if nothing is known of that.
    log_other: Vec<f64>,
}

impl Candidates {
    /// Candidates of labels that are distributed as `counts` are.
    pub(super) fn of(counts: &ItemCounts) -> Self {
        let count = |row: usize| f64::from(counts.get(ItemIdx(row as u32)));
        Self::of_shares((0..counts.n_item_rows()).map(count))
    }

    /// Candidates of labels of which `n_labels` counts each item.
    pub(super) fn of_labels(n_labels: &[u64]) -> Self {
        Self::of_shares(n_labels.iter().map(|count| *count as f64))
    }

    fn of_shares(counts: impl Iterator<Item = f64> + Clone) -> Self {
        let total: f64 = counts.clone().sum();
        let log_other = counts.map(|count| (-count / total).ln_1p()).collect();
        Self { log_other, ..Self::default() }
    }

    /// `labels` and `drawn`, each item once. `drawn` are uniform draws from `n_items` items.
    ///
    /// An item is missed by `n` draws and the labels with the probability `(1 - 1 / n_items)^n (1 - share)^n_labels`.
    pub(super) fn join(
        &mut self,
        labels: &[u32],
        drawn: impl Iterator<Item = u32>,
        n_items: usize,
    ) -> ItemSubset<'_> {
        self.items.clear();
        self.items.extend(drawn);
        let log_not_drawn = self.items.len() as f64 * (-1.0 / n_items as f64).ln_1p();
        self.items.extend_from_slice(labels);
        self.items.sort_unstable();
        self.items.dedup();
        let Self { items, log_q, log_other } = self;
        log_q.clear();
        log_q.extend(items.iter().map(|item| {
            let log_other = log_other.get(*item as usize).copied().unwrap_or(0.0);
            let log_missed = log_not_drawn + labels.len() as f64 * log_other;
            (-log_missed.exp_m1()).ln() as f32
        }));
        ItemSubset { items, log_q }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommend::{FitOn, TrainingView};
    use crate::testing::{Log, dataset};

    #[test]
    fn candidates_are_labels_and_draws_with_the_probability_of_either() {
        let log = Log::new(4, &[&[1, 1, 2, 1], &[3]]).all_for_training();
        let (_folder, dataset) = dataset(&log);
        let view = TrainingView::new(&dataset, FitOn::Train);
        let mut candidates = Candidates::of(&ItemCounts::of(&view, "sasrec").unwrap());
        let subset = candidates.join(&[3, 1, 3], [4, 1].into_iter(), 4);
        assert_eq!(subset.items, [1, 3, 4]);
        // Two draws of four miss with (3/4)^2; three labels miss item 1 with (2/5)^3, item 3 with (4/5)^3.
        let missed = [0.5625 * 0.064, 0.5625 * 0.512, 0.5625_f64];
        for (log_q, missed) in subset.log_q.iter().zip(missed) {
            assert!((f64::from(*log_q) - (1.0 - missed).ln()).abs() < 1e-6, "{:?}", subset.log_q);
        }
        let mut blind = Candidates::default();
        let subset = blind.join(&[1], [1, 2].into_iter(), 2);
        assert!(subset.log_q.iter().all(|log_q| (log_q - 0.75_f32.ln()).abs() < 1e-6));
    }
}
