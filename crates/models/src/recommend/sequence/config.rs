//! What the models compute, and their hyperparameters.

use std::num::NonZeroU32;

use forecart_data::ItemFeatures;
use forecart_nn::NnError;
use forecart_nn::loss::gbce_beta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::attributes::Attributes;
use super::super::contract::{FitContext, FitRecord, Fitted, ModelSpec};
use super::super::early_stopping::N_SCORER_TABLES;
use super::super::registry::parse_keys_of;
use super::super::view::TrainingView;
use super::fit;
use super::step::N_GROUPS;
use crate::error::ModelError;
use crate::training::{LearningRateSchedule, OptimizerConfig};

/// How a token learns of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mixer {
    /// Softmax attention (Vaswani et al., NeurIPS 2017).
    #[default]
    Attention,
    /// Pointwise, gated attention (Zhai et al., ICML 2024).
    Hstu,
    /// A gated recurrent unit over the tokens, oldest first (Cho et al., EMNLP 2014).
    Gru,
}

/// What a model is trained to predict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// Each item from those before it.
    #[default]
    Next,
    /// Items behind a mask, from all around them (cloze). Tokens look both ways, and a mask after the history stands
    /// for the item that is asked for.
    Masked,
}

/// What stands inside of a feed-forward network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeedForwardKind {
    /// Two layers with `max(x, 0)` between them.
    #[default]
    Relu,
    /// Two layers with GELU, tanh form.
    Gelu,
    /// `W_3 (SiLU(W_1 x) ⊙ W_2 x)` (Shazeer, arXiv:2002.05202).
    SwiGlu,
}

/// Which candidates the right item is compared with while training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SequenceLoss {
    /// Softmax over all items.
    #[default]
    Full,
    /// [`Self::Full`] while its products of labels' and items' vectors are few enough for an epoch of half a minute, past
    /// that [`Self::Mixed`] with 4096 items drawn for a step.
    Auto,
    /// Softmax over the labels of a step and `n_negatives` items, drawn uniformly once for all events of the step, each
    /// corrected for how likely it is to be among them.
    Mixed,
    /// Softmax over the right item and `n_negatives` others, drawn uniformly for each event.
    Sampled,
    /// Softmax over the right item and `n_negatives` others, drawn uniformly once for all events of a step: cheaper than
    /// [`Self::Sampled`] by a matrix product.
    Shared,
    /// Binary cross-entropy of the right item and `n_negatives` others, drawn uniformly for each event; with a `gbce_t`
    /// above 0 the generalized one, gBCE.
    Bce,
}

/// The arithmetic of matrix products; weights, gradients and the optimizer are f32 in any case, and so are model files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// f32.
    #[default]
    F32,
    /// Operands rounded to bfloat16, sums in f32: see [`forecart_nn::Precision::Bf16`].
    Bf16,
}

impl From<Precision> for forecart_nn::Precision {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::Bf16 => Self::Bf16,
        }
    }
}

/// Which items a step moves.
///
/// Adam's momentum carries an item on for some steps after each one that touches it, and its second moment fades until
/// the next one. Where a step touches few items, as one negative an event does, an item that its own steps alone move
/// goes a fraction as far, and training stops early: `docs/measurements.md` has the figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ItemUpdates {
    /// [`Self::All`] of a table of at most 8 million values, [`Self::Touched`] past that: a pass over a larger one would
    /// take more time than the rest of a step.
    #[default]
    Auto,
    /// All of them, as published codes do.
    All,
    /// Those in the step's sequences, labels and candidates; all where the loss touches all.
    Touched,
}

/// A published model, as a set of defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// Hidasi et al., ICLR 2016: a gated recurrent unit; softmax over all items in place of the ranking losses.
    Gru4Rec,
    /// Kang and McAuley, ICDM 2018: causal softmax attention, one negative an event.
    SasRec,
    /// Sun et al., CIKM 2019: attention both ways, trained to find masked items again.
    Bert4Rec,
    /// Zhai et al., ICML 2024: pointwise attention with relative bias; softmax over all items where there are few enough, in
    /// place of the sampled one.
    Hstu,
    /// Tikhonovich et al., arXiv:2508.06450: SASRec with the gated residuals and SwiGLU of LiGR, and
    /// sampled softmax.
    ESasRec,
}

impl Preset {
    /// The name in the [registry](super::super::registry).
    pub fn name(self) -> &'static str {
        match self {
            Self::Gru4Rec => "gru4rec",
            Self::SasRec => "sasrec",
            Self::Bert4Rec => "bert4rec",
            Self::Hstu => "hstu",
            Self::ESasRec => "esasrec",
        }
    }
}

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
    /// Share of values that are left out at random while training, in `0.0..1.0`.
    pub dropout: f64,
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
    /// Epochs without a better NDCG@10 on validation before training stops.
    pub patience: NonZeroU32,
    /// The arithmetic of the products of linear layers and of the softmax over all items; attention, norms and
    /// recurrent units are f32.
    pub precision: Precision,
}

impl SequenceConfig {
    /// The defaults of a published model.
    pub fn preset(preset: Preset) -> Self {
        let positive = |n: u32| NonZeroU32::new(n).expect("the defaults are not 0");
        let sasrec = Self {
            d_model: positive(64),
            n_layers: positive(2),
            n_heads: positive(2),
            d_ff: 64,
            feed_forward: FeedForwardKind::Relu,
            mixer: Mixer::Attention,
            gated: false,
            positions: true,
            relative_bias: false,
            input_scale: 8.0, // √d_model, as in the paper's code
            attributes: true,
            events: true,
            asked_event: 0,
            objective: Objective::Next,
            mask_probability: 0.2,
            last_mask_share: 0.5,
            max_history: 0,
            dropout: 0.5,
            loss: SequenceLoss::Bce,
            n_negatives: positive(1),
            gbce_t: 0.0,
            label_smoothing: 0.0,
            learning_rate: 1e-3,
            item_updates: ItemUpdates::Auto,
            weight_decay: 0.0,
            schedule: LearningRateSchedule::Constant,
            warmup_steps: 0,
            decay_epochs: 0,
            max_grad_norm: 0.0,
            batch_size: positive(128),
            n_epochs: positive(200),
            patience: positive(10),
            precision: Precision::F32,
        };
        match preset {
            Preset::Gru4Rec => Self {
                n_layers: positive(1),
                d_ff: 0,
                mixer: Mixer::Gru,
                positions: false, // the order is what the unit reads
                dropout: 0.3,     // on validation of Amazon Beauty, with batches of 32
                batch_size: positive(32),
                loss: SequenceLoss::Auto,
                ..sasrec
            },
            Preset::SasRec => sasrec,
            Preset::Bert4Rec => Self {
                d_ff: 256,
                feed_forward: FeedForwardKind::Gelu,
                input_scale: 1.0, // a mask finds its neighbors by position, which larger vectors would drown
                objective: Objective::Masked,
                dropout: 0.2,
                batch_size: positive(32),
                loss: SequenceLoss::Auto,
                ..sasrec
            },
            Preset::Hstu => Self {
                d_ff: 0,
                mixer: Mixer::Hstu,
                relative_bias: true,
                loss: SequenceLoss::Auto, // on validation of Amazon Beauty, before 128 drawn for each event
                n_negatives: positive(128),
                batch_size: positive(32),
                patience: positive(3),
                ..sasrec
            },
            Preset::ESasRec => Self {
                d_ff: 256,
                gated: true,
                feed_forward: FeedForwardKind::SwiGlu,
                loss: SequenceLoss::Sampled,
                n_negatives: positive(256),
                ..sasrec
            },
        }
    }

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
        for (key, value) in [("dropout", self.dropout), ("label_smoothing", self.label_smoothing)] {
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

/// A published model with checked hyperparameters, ready to be fitted.
#[derive(Debug, Clone)]
pub struct SequenceSpec {
    pub(super) preset: Preset,
    pub(super) config: SequenceConfig,
}

impl SequenceSpec {
    pub(in super::super) fn from_keys(preset: Preset, keys: &Value) -> Result<Self, ModelError> {
        Ok(Self { preset, config: SequenceConfig::from_keys(preset, keys)? })
    }
}

impl ModelSpec for SequenceSpec {
    fn name(&self) -> &'static str {
        self.preset.name()
    }

    fn hyperparameters(&self) -> Value {
        serde_json::to_value(&self.config).expect("numbers and names are JSON")
    }

    fn uses_seed(&self) -> bool {
        true
    }

    /// The weights four times (values, two moments, best epoch) and twice more for validation or, at other times, for a
    /// gradient and a checkpoint; the buffers of the softmax, gradients by rows in lists that grow by doubling, and the
    /// activations of the longest batch.
    fn needed_bytes(&self, view: &TrainingView<'_>) -> u64 {
        let config = self.config.resolved(view);
        let SequenceConfig { d_model, n_layers, d_ff, batch_size, .. } = config;
        let (d, n_layers) = (u64::from(d_model.get()), u64::from(n_layers.get()));
        let n_tokens = view.n_events_of_longest(batch_size.get() as usize, config.max_tokens());
        let table = view.n_item_rows() as u64 * d;
        let in_layers = n_layers * d * (8 * d + 2 * u64::from(d_ff));
        let a_token = n_layers * (26 * d + 4 * u64::from(d_ff)) + 8 * d;
        let n_items = view.n_item_rows() as u64;
        let n_negatives = u64::from(config.n_negatives.get());
        let softmax = match config.loss {
            SequenceLoss::Full | SequenceLoss::Auto => 17 * n_tokens * d,
            // Three tables of the candidates, and the hidden rows with a column more.
            SequenceLoss::Mixed => {
                3 * (n_negatives + n_tokens).min(n_items) * (d + 1) + 19 * n_tokens * (d + 1)
            }
            _ => 0,
        };
        let dense = if config.moves_all() { table } else { 0 };
        // Inputs, labels and drawn items.
        let n_drawn = match config.loss {
            SequenceLoss::Full | SequenceLoss::Auto => 0,
            SequenceLoss::Mixed | SequenceLoss::Shared => n_negatives,
            SequenceLoss::Sampled | SequenceLoss::Bce => n_tokens * n_negatives,
        };
        let (n_rows, n_groups) = (n_tokens * 2 + n_drawn, N_GROUPS as u64);
        let in_groups = n_groups * n_rows.div_ceil(n_groups).min(n_items);
        let rows = (in_groups + n_rows.min(n_items)) * d * 3 / 2;
        let attributes = config.features(view);
        let attributes = attributes.map_or(0, |all| Attributes::needed_bytes(all, n_items, d));
        4 * ((4 + N_SCORER_TABLES) * table
            + dense
            + 20 * in_layers
            + softmax
            + rows
            + n_tokens * a_token)
            + view.n_events() * 12
            + attributes
    }

    fn epoch_flop(&self, view: &TrainingView<'_>) -> Option<f64> {
        let config = self.config.resolved(view);
        let max_history = config.max_history as usize;
        // The newest event of a causal sequence is a label alone.
        let n_unseen = usize::from(config.objective == Objective::Next);
        let tokens = view.users().filter_map(|user| {
            let n_events = view.history(user).items.len().min(max_history + 1);
            (n_events > 1).then(|| n_events - n_unseen)
        });
        Some(config.training_flop(tokens, view.n_item_rows()))
    }

    fn fit(&self, view: &TrainingView<'_>, context: &FitContext<'_>) -> Result<Fitted, ModelError> {
        let needed = self.needed_bytes(view);
        context.check_memory(self.name(), needed, "lower d_model or batch_size")?;
        context.on_threads(|| {
            let spec = Self { config: self.config.resolved(view), ..*self };
            let (model, record) = fit::fit(&spec, view, context)?;
            Ok(Fitted { model: Box::new(model), record })
        })
    }

    fn for_refit(&self, record: &FitRecord) -> Box<dyn ModelSpec> {
        let chosen = record.chosen_epoch.and_then(|epoch| u32::try_from(epoch).ok());
        let n_epochs = chosen.and_then(NonZeroU32::new).unwrap_or(self.config.n_epochs);
        let decay_epochs = self.config.optimizer().decay_epochs_of(self.config.n_epochs.get());
        let config = SequenceConfig { n_epochs, decay_epochs, ..self.config.clone() };
        Box::new(Self { config, ..*self })
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
