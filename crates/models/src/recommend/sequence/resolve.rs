//! What the training part decides where the configuration leaves it open: how far back the model sees, and over how many
//! candidates its softmax goes.

use super::config::{ItemUpdates, SequenceConfig, SequenceLoss};
use crate::recommend::view::TrainingView;

/// Most products of a label's vector with an item's, times `d_model`, that an epoch of [`SequenceLoss::Auto`] takes for the
/// softmax over all items. Each is eight floating-point operations forward and backward: about half a minute on two cores
/// that do 150 GFLOP/s.
const FULL_SOFTMAX_PRODUCTS: u64 = 600_000_000_000;

/// Items that [`SequenceLoss::Auto`] draws for a step where the softmax over all of them is too much.
const N_DRAWN: u32 = 4096;

/// Most values of a table of which [`ItemUpdates::Auto`] moves all in every step.
const ALL_VALUES: usize = 8_000_000;

impl SequenceConfig {
    /// With nothing left open. Decided by the training part, whatever part is fitted on, so that a model that is fitted
    /// once more with the validation part is the same model.
    pub(super) fn resolved(&self, view: &TrainingView<'_>) -> Self {
        let mut config = self.clone();
        config.asked_event = view.target_event().unwrap_or(0);
        if config.max_history == 0 {
            config.max_history = view.usual_length() as u32;
        }
        if config.loss == SequenceLoss::Auto {
            let n_labels = view.users().map(|user| {
                let length = view.training_length(user);
                length.saturating_sub(1).min(config.max_history as usize) as u64
            });
            let n_labels: u64 = n_labels.sum();
            let n_products = n_labels
                .saturating_mul(view.n_item_rows() as u64)
                .saturating_mul(config.d_model.get().into());
            // A draw of about all items costs what all items cost.
            if n_products <= FULL_SOFTMAX_PRODUCTS || view.n_item_rows() <= 2 * N_DRAWN as usize {
                config.loss = SequenceLoss::Full;
            } else {
                config.loss = SequenceLoss::Mixed;
                config.n_negatives = N_DRAWN.try_into().expect("it is not 0");
            }
        }
        if config.item_updates == ItemUpdates::Auto {
            let n_values = view.n_item_rows().saturating_mul(config.d_model.get() as usize);
            config.item_updates =
                if n_values <= ALL_VALUES { ItemUpdates::All } else { ItemUpdates::Touched };
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::config::Preset;
    use super::*;
    use crate::recommend::FitOn;
    use crate::testing::{Log, dataset};

    fn resolved(
        n_items: u32,
        lengths: &[u32],
        fit_on: FitOn,
        keys: &serde_json::Value,
    ) -> SequenceConfig {
        let users: Vec<Vec<u32>> = lengths
            .iter()
            .map(|length| (0..length + 2).map(|place| place % n_items + 1).collect())
            .collect();
        let users: Vec<&[u32]> = users.iter().map(Vec::as_slice).collect();
        let (_folder, dataset) = dataset(&Log::new(n_items, &users));
        let config = SequenceConfig::from_keys(Preset::SasRec, keys).unwrap();
        config.resolved(&TrainingView::new(&dataset, fit_on))
    }

    #[test]
    fn histories_are_as_long_as_nine_of_ten_sequences_need_in_the_training_part() {
        let mut lengths = [4; 20];
        lengths[..2].fill(400);
        for (others, expected) in [(50, 50), (51, 100), (99, 100), (101, 200), (201, 200)] {
            lengths[2..4].fill(others);
            for fit_on in [FitOn::Train, FitOn::TrainValidation] {
                let config = resolved(3, &lengths, fit_on, &json!({}));
                assert_eq!(config.max_history, expected, "{others}");
            }
        }
        assert_eq!(resolved(3, &[1], FitOn::Train, &json!({})).max_history, 50);
        assert_eq!(resolved(3, &[300], FitOn::Train, &json!({"max_history": 7})).max_history, 7);
    }

    #[test]
    fn all_items_are_candidates_until_that_is_too_much_of_them() {
        let auto = |n_items, d_model: u32| {
            let keys = json!({"loss": "auto", "d_model": d_model, "n_heads": 1, "max_history": 50});
            let config = resolved(n_items, &[60, 3, 1], FitOn::Train, &keys);
            (config.loss, config.n_negatives.get())
        };
        // 52 labels of at most 50 a sequence.
        let most = FULL_SOFTMAX_PRODUCTS / 52 / 20_001;
        assert_eq!(auto(20_000, most as u32), (SequenceLoss::Full, 1));
        assert_eq!(auto(20_000, most as u32 + 1), (SequenceLoss::Mixed, N_DRAWN));
        assert_eq!(auto(8_000, 4_000_000), (SequenceLoss::Full, 1), "few items");
        let keys = json!({"loss": "bce", "d_model": 4_000_000});
        assert_eq!(resolved(20_000, &[60], FitOn::Train, &keys).loss, SequenceLoss::Bce);
    }

    #[test]
    fn all_items_move_unless_they_are_very_many() {
        let updates = |d_model: usize| {
            let keys = json!({"d_model": d_model, "n_heads": 1});
            resolved(99, &[3], FitOn::Train, &keys).item_updates
        };
        assert_eq!(updates(80_000), ItemUpdates::All);
        assert_eq!(updates(80_001), ItemUpdates::Touched);
    }
}
