//! What the models compute, and their hyperparameters: from the keys of a configuration to a checked [`SequenceConfig`].
//!
//! `options` are the keys whose values are names, `preset` the defaults of each published model. What the data decide is
//! in `resolve`, beside this folder; what is fitted with it in `spec`.

mod options;
mod preset;

use std::num::NonZeroU32;

use forecart_data::ItemFeatures;
use forecart_nn::NnError;
use forecart_nn::loss::gbce_beta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::options::{FeedForwardKind, ItemUpdates, Mixer, Objective, Precision, SequenceLoss};
pub use self::preset::Preset;

use super::super::registry::parse_keys_of;
use super::super::view::TrainingView;
use crate::error::ModelError;
use crate::training::{LearningRateSchedule, OptimizerConfig};

/// A model over the sequence of a user's items, with its hyperparameters.
///
/// An item's vector `v` is one of its own and, with `attributes`, the sum of those of its attributes (dense ones times
/// their value): items with few events share what their attributes know.
///
/// Each token is the vector of its item, times `input_scale`, plus, with `positions`, that of its position counted back
/// from the newest. `n_layers` of attention and feed-forward network, each normalized on its way in and added to its
/// input, and a last normalization give a vector `h` for each token, which has seen the tokens up to itself. With a
/// recurrent unit as `mixer` its state takes the place of the attention and of what attention is added to. The score of
/// an item is `h · v`, with the vector that is also its input.
///
/// Trained to predict each event of a sequence from those before it, or masked ones from all others, by Adam, on
/// batches of whole sequences in an order drawn from the seed.
///
/// Source: Kang and McAuley, ICDM 2018, section 3. We differ: the norm of a layer's input is also that of its keys
/// and values, and its residual passes the norm by (pre-norm). The recurrent model: Hidasi et al., ICLR 2016, with the
/// cross-entropy and the shared item vectors of Hidasi and Karatzoglou, CIKM 2018. We differ: batches are of whole
/// sequences, candidates are not those of the batch, and the state is normalized before it scores. The masked one: Sun
/// et al., CIKM 2019; we differ: pre-norm, and no layer or bias between the last norm and the scores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SequenceConfig {
    /// Columns of an item's vector and of all that passes between layers.
    pub d_model: NonZeroU32,
    /// Layers.
    pub n_layers: NonZeroU32,
    /// Heads of each attention; `d_model` is a multiple.
    pub n_heads: NonZeroU32,
    /// Columns inside of the feed-forward network; 0 leaves it out.
    pub d_ff: u32,
    /// What stands inside of the feed-forward network.
    pub feed_forward: FeedForwardKind,
    /// How a token learns of the others.
    pub mixer: Mixer,
    /// Whether the branches of a layer (attention and feed-forward network) are gated by its input.
    pub gated: bool,
    /// Whether tokens carry their position.
    pub positions: bool,
    /// Whether attention is biased by distance and, where there are times, by time gap.
    pub relative_bias: bool,
    /// Factor of items' vectors on their way in.
    pub input_scale: f64,
    /// Whether items share what their attributes know, where the dataset has any.
    pub attributes: bool,
    /// Whether tokens carry which event they are of, and which one comes next, where the dataset has several.
    pub events: bool,
    /// The event that is asked for, an index into the dataset's event names; the dataset says it, whatever stands here. 0 for any.
    pub asked_event: u8,
    /// What the model is trained to predict.
    pub objective: Objective,
    /// Share of the items that are masked, where masked ones are predicted, in `0.0..=1.0`.
    pub mask_probability: f64,
    /// Share of the sequences of which the newest item alone is masked instead, in `0.0..=1.0`.
    pub last_mask_share: f64,
    /// Newest events that the model sees; 0 for 50, 100 or 200, the first that holds nine of ten training sequences whole.
    pub max_history: u32,
    /// Share of values that are left out at random while training, in `0.0..1.0`; absent: 0.2 where items have 100 training events
    /// each or more, on average, else 0.5.
    pub dropout: Option<f64>,
    /// Which candidates the right item is compared with.
    pub loss: SequenceLoss,
    /// Candidates an event, or a step where events share them, of the losses that draw them.
    pub n_negatives: NonZeroU32,
    /// How far binary cross-entropy is corrected for the items that are not drawn, in `0.0..=1.0`: 0 not at all, 1 until
    /// scores are calibrated (Petrov and Macdonald, RecSys 2023, who advise 0.75 to 1 and many negatives).
    pub gbce_t: f64,
    /// Share of the label that is spread over all items, of the full softmax, in `0.0..1.0`.
    pub label_smoothing: f64,
    /// Step size of Adam.
    pub learning_rate: f64,
    /// Which items a step moves.
    pub item_updates: ItemUpdates,
    /// Decoupled weight decay (AdamW).
    pub weight_decay: f64,
    /// How the learning rate goes on after the warm-up.
    pub schedule: LearningRateSchedule,
    /// Steps over which the learning rate rises from 0 in a line.
    pub warmup_steps: u32,
    /// Epochs after which a falling learning rate is 0; 0 for `n_epochs`.
    pub decay_epochs: u32,
    /// Gradients whose norm over all weights is larger are scaled down to it; 0 for never (Pascanu et al., ICML 2013).
    pub max_grad_norm: f64,
    /// Sequences a step.
    pub batch_size: NonZeroU32,
    /// Passes over the training sequences, at most where validation may stop them.
    pub n_epochs: NonZeroU32,
    /// Epochs without a better NDCG@10 on validation, of 1,000 steps in all at least, before training stops.
    pub patience: NonZeroU32,
    /// The arithmetic of the products of linear layers, of attention and of the softmax over all items; norms, recurrent
    /// units and the other losses are f32.
    pub precision: Precision,
}

impl SequenceConfig {
    /// The defaults of `preset` with `keys` in their place.
    pub(in super::super) fn from_keys(preset: Preset, keys: &Value) -> Result<Self, ModelError> {
        let config = parse_keys_of(preset.name(), &Self::preset(preset), keys)?;
        config.check(preset.name())?;
        Ok(config)
    }

    fn check(&self, name: &'static str) -> Result<(), ModelError> {
        let refuse = |key: &str, value: f64, range: &str| {
            Err(ModelError::hyperparameter(name, key, format!("{value} is not {range}")))
        };
        for (key, value) in [("dropout", self.dropout()), ("label_smoothing", self.label_smoothing)]
        {
            if !(0.0..1.0).contains(&value) {
                return refuse(key, value, "in 0.0..1.0");
            }
        }
        for (key, value) in [
            ("mask_probability", self.mask_probability),
            ("last_mask_share", self.last_mask_share),
            ("gbce_t", self.gbce_t),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return refuse(key, value, "in 0.0..=1.0");
            }
        }
        self.optimizer().check(name)?;
        if !(self.input_scale > 0.0 && self.input_scale.is_finite()) {
            return refuse("input_scale", self.input_scale, "positive");
        }
        let is_recurrent = self.mixer == Mixer::Gru;
        if self.objective == Objective::Masked && is_recurrent {
            let reason = "a recurrent unit sees no later item, so it cannot predict masked ones";
            return Err(ModelError::hyperparameter(name, "objective", reason));
        }
        if self.relative_bias && (is_recurrent || self.objective == Objective::Masked) {
            let reason = "there is a bias in attention to earlier items alone; set it to false";
            return Err(ModelError::hyperparameter(name, "relative_bias", reason));
        }
        if !is_recurrent && !self.d_model.get().is_multiple_of(self.n_heads.get()) {
            return refuse("d_model", self.d_model.get().into(), "a multiple of n_heads");
        }
        Ok(())
    }

    /// The power of the label's probability in binary cross-entropy.
    pub(super) fn bce_beta(&self, n_items: usize) -> Result<f32, NnError> {
        let n_negatives = self.n_negatives.get() as usize;
        // Negatives are drawn with repeats: as many as there are other items, or more, leave nothing to correct.
        if self.gbce_t == 0.0 || n_negatives >= n_items {
            Ok(1.0)
        } else {
            gbce_beta(n_negatives, n_items, self.gbce_t)
        }
    }

    /// The attributes that items are to share.
    pub(super) fn features<'a>(&self, view: &TrainingView<'a>) -> Option<&'a ItemFeatures> {
        self.attributes.then(|| view.item_features())
    }

    /// Tokens of the longest sequence: a masked one has the item asked for beside those that the model sees.
    pub(super) fn max_tokens(&self) -> usize {
        self.max_history as usize + usize::from(self.objective == Objective::Masked)
    }

    /// Fewer weights than a network of these sizes with so many rows of items has: what a file must hold before one is made.
    pub(crate) fn least_weights(&self, n_item_rows: usize) -> u128 {
        let [d, d_ff, n_layers] =
            [self.d_model.get(), self.d_ff, self.n_layers.get()].map(u128::from);
        let n_tokens = self.max_tokens() as u128;
        let n_biases = if self.relative_bias && self.mixer != Mixer::Gru { n_tokens } else { 0 };
        let n_positions = if self.positions { n_tokens } else { 0 };
        let in_layer = n_biases + d * (d + 2 * d_ff);
        d * (n_item_rows as u128 + n_positions + 1) + n_layers * in_layer
    }

    pub(super) fn optimizer(&self) -> OptimizerConfig {
        OptimizerConfig {
            learning_rate: self.learning_rate,
            weight_decay: self.weight_decay,
            schedule: self.schedule,
            warmup_steps: self.warmup_steps,
            decay_epochs: self.decay_epochs,
            max_grad_norm: self.max_grad_norm,
        }
    }

    /// Whether the loss touches every item.
    pub(super) fn is_full(&self) -> bool {
        matches!(self.loss, SequenceLoss::Full | SequenceLoss::Auto)
    }

    /// Whether a step moves every item.
    pub(super) fn moves_all(&self) -> bool {
        self.is_full() || self.item_updates == ItemUpdates::All
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_that_do_not_go_together_are_refused_by_name() {
        for (preset, keys, key) in [
            (Preset::Gru4Rec, json!({"relative_bias": true}), "relative_bias"),
            (Preset::Gru4Rec, json!({"objective": "masked"}), "objective"),
            (Preset::Bert4Rec, json!({"relative_bias": true}), "relative_bias"),
            (Preset::Bert4Rec, json!({"mask_probability": 1.5}), "mask_probability"),
            (Preset::Bert4Rec, json!({"last_mask_share": -0.1}), "last_mask_share"),
            (Preset::SasRec, json!({"gbce_t": 1.1}), "gbce_t"),
            (Preset::SasRec, json!({"d_model": 9}), "d_model"),
            (Preset::SasRec, json!({"mixer": "lstm"}), "mixer"),
        ] {
            let error = SequenceConfig::from_keys(preset, &keys).unwrap_err();
            assert!(
                matches!(&error, ModelError::Hyperparameter { name, .. } if name == key),
                "{keys}: {error}"
            );
        }
        assert!(SequenceConfig::from_keys(Preset::Gru4Rec, &json!({"d_model": 9})).is_ok());
    }

    #[test]
    fn gbce_corrects_for_what_is_not_drawn() {
        let beta = |keys| SequenceConfig::from_keys(Preset::SasRec, &keys).unwrap().bce_beta(101);
        assert_eq!(beta(json!({"n_negatives": 25})), Ok(1.0));
        assert_eq!(beta(json!({"n_negatives": 25, "gbce_t": 0.5})), Ok(0.625));
        assert_eq!(beta(json!({"n_negatives": 500, "gbce_t": 1.0})), Ok(1.0));
    }
}
