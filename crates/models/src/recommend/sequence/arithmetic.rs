//! How much arithmetic training asks for, by the definition of the model.
//!
//! What is counted does not depend on how the arithmetic is done: a product that a program computes twice, or columns
//! that it computes and throws away, count once or not at all. So figures of two versions of the program, or of two
//! machines, can stand on one axis.

use super::config::{FeedForwardKind, Mixer, Objective, SequenceConfig, SequenceLoss};

/// Forward, gradient of the input, gradient of the weights: three products, each of two operations a multiply-add.
const OPERATIONS: f64 = 2.0 * 3.0;

impl SequenceConfig {
    /// Floating-point operations of training on sequences of these lengths in tokens, each once.
    ///
    /// Three parts, with `d` columns and each product done forward and, twice, backward:
    /// - the weights of the layers, once for each token;
    /// - attention: scores and sums, `2 d` multiply-adds for each pair of a token and one that it sees;
    /// - candidates of the loss, `d` multiply-adds each, for each label.
    ///
    /// Norms, exponentials and other element-wise work, lookups, sums of gradients and the optimizer are left out. Of masked
    /// items the expected number is taken, and labels of a batch that are candidates of its other labels are not counted.
    /// What the data decide must be decided: [`Self::resolved`].
    ///
    /// `n_item_rows` counts the unknown item, as tables do.
    pub(crate) fn training_flop(
        &self,
        lengths: impl IntoIterator<Item = usize>,
        n_item_rows: usize,
    ) -> f64 {
        let d = f64::from(self.d_model.get());
        let n_layers = f64::from(self.n_layers.get());
        let candidates = match self.loss {
            SequenceLoss::Full | SequenceLoss::Auto => n_item_rows as f64,
            SequenceLoss::Sampled
            | SequenceLoss::Shared
            | SequenceLoss::Mixed
            | SequenceLoss::Bce => 1.0 + f64::from(self.n_negatives.get()),
        };
        let of_layers = n_layers * self.layer_weights();
        let of_sequence = |length: usize| {
            let n = length as f64;
            let n_labels = match self.objective {
                Objective::Next => n,
                Objective::Masked => {
                    let hidden = (n * self.mask_probability).max(1.0);
                    self.last_mask_share + (1.0 - self.last_mask_share) * hidden
                }
            };
            let pairs = match (self.mixer, self.objective) {
                (Mixer::Gru, _) => 0.0,
                (_, Objective::Next) => n * (n + 1.0) / 2.0,
                (_, Objective::Masked) => n * n,
            };
            OPERATIONS * (n * of_layers + n_layers * 2.0 * d * pairs + n_labels * candidates * d)
        };
        lengths.into_iter().filter(|length| *length > 0).map(of_sequence).sum()
    }

    /// Values of the matrices of one layer.
    fn layer_weights(&self) -> f64 {
        let (d, d_ff) = (f64::from(self.d_model.get()), f64::from(self.d_ff));
        let gate = if self.gated { d * d } else { 0.0 };
        let mixing = match self.mixer {
            Mixer::Attention => 4.0 * d * d + gate,
            Mixer::Hstu => 5.0 * d * d + gate,
            Mixer::Gru => 6.0 * d * d,
        };
        let feed_forward = match (self.d_ff, self.feed_forward) {
            (0, _) => 0.0,
            (_, FeedForwardKind::SwiGlu) => 3.0 * d * d_ff + gate,
            (_, FeedForwardKind::Relu | FeedForwardKind::Gelu) => 2.0 * d * d_ff + gate,
        };
        mixing + feed_forward
    }
}

#[cfg(test)]
mod tests {
    use forecart_nn::{Name, Parameters};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use serde_json::json;

    use super::super::config::Preset;
    use super::super::network::Network;
    use super::*;

    const PRESETS: [Preset; 5] =
        [Preset::Gru4Rec, Preset::SasRec, Preset::Bert4Rec, Preset::Hstu, Preset::ESasRec];

    /// Matrices of the network that it is about: one multiply-add a value and token.
    #[test]
    fn the_weights_that_are_counted_are_those_of_the_network() {
        for preset in PRESETS {
            let keys = json!({"d_model": 12, "n_layers": 3, "n_heads": 2, "max_history": 9});
            let config = SequenceConfig::from_keys(preset, &keys).unwrap();
            let rng = &mut ChaCha8Rng::seed_from_u64(1);
            let network = Network::new(&config, 5, true, 0, None, rng).unwrap();
            let mut n_values = 0;
            network.visit(&Name::root(), &mut |name, value| {
                let name = name.to_string();
                if name.contains("blocks") && value.rows() > 1 {
                    n_values += value.rows() * value.cols();
                }
            });
            assert_eq!(3.0 * config.layer_weights(), n_values as f64, "{}", preset.name());
        }
    }

    #[test]
    fn by_hand() {
        let keys = json!({"d_model": 2, "d_ff": 3, "n_layers": 1, "n_heads": 1, "n_negatives": 4});
        let of = |keys: &serde_json::Value, lengths: &[usize]| {
            let config = SequenceConfig::from_keys(Preset::SasRec, keys).unwrap();
            config.training_flop(lengths.iter().copied(), 10)
        };
        // Two tokens of 4·4 + 2·6 weights, 3 pairs of 4 multiply-adds, 2 labels with 5 candidates of 2.
        let one = 6.0 * (2.0 * 28.0 + 3.0 * 4.0 + 2.0 * 5.0 * 2.0);
        assert_eq!(of(&keys, &[2]), one);
        assert_eq!(of(&keys, &[2, 0, 2]), 2.0 * one);
        let mut full = keys.clone();
        full["loss"] = json!("full");
        assert_eq!(of(&full, &[2]) - one, 6.0 * 2.0 * 5.0 * 2.0);
        let mut masked = full;
        masked["objective"] = json!("masked");
        masked["mask_probability"] = json!(0.5);
        masked["last_mask_share"] = json!(0.5);
        // Four tokens see all four; one label, or two, each as often.
        assert_eq!(of(&masked, &[4]), 6.0 * (4.0 * 28.0 + 16.0 * 4.0 + 1.5 * 10.0 * 2.0));
    }
}
