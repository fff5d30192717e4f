//! What the models compute, and their hyperparameters.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::contract::{FitContext, FitRecord, Fitted, ModelSpec};
use super::super::early_stopping::N_SCORER_TABLES;
use super::super::registry::parse_keys_of;
use super::super::view::TrainingView;
use super::fit;
use super::step::N_GROUPS;
use crate::error::ModelError;
use crate::training::{LearningRateSchedule, OptimizerConfig};

/// How tokens look at those before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttentionKind {
    /// Softmax attention (Vaswani et al., NeurIPS 2017).
    #[default]
    Softmax,
    /// Pointwise, gated attention (Zhai et al., ICML 2024).
    Hstu,
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
    /// Softmax over the right item and `n_negatives` others, drawn uniformly for each event.
    Sampled,
    /// Binary cross-entropy of the right item and `n_negatives` others, drawn uniformly for each event.
    Bce,
}

/// A published model, as a set of defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// Kang and McAuley, ICDM 2018: causal softmax attention, one negative an event.
    SasRec,
    /// Zhai et al., ICML 2024: pointwise attention with relative bias, sampled softmax.
    Hstu,
    /// Tikhonovich et al., arXiv:2508.06450: SASRec with the gated residuals and SwiGLU of LiGR, and
    /// sampled softmax.
    ESasRec,
}

impl Preset {
    /// The name in the [registry](super::super::registry).
    pub fn name(self) -> &'static str {
        match self {
            Self::SasRec => "sasrec",
            Self::Hstu => "hstu",
            Self::ESasRec => "esasrec",
        }
    }
}

/// A model over the sequence of a user's items, with its hyperparameters.
///
/// Each token is the vector of its item, times `input_scale`, plus that of its position counted back from the
/// newest. `n_layers` of attention and feed-forward network, each normalized on its way in and added to its input,
/// and a last normalization give a vector `h` for each token, which has seen the tokens up to itself. The score of an
/// item is `h · v`, with the vector that is also its input.
///
/// Trained to predict each event of a sequence from those before it, by Adam, on batches of whole sequences in an
/// order drawn from the seed.
///
/// Source: Kang and McAuley, ICDM 2018, section 3. We differ: the norm of a layer's input is also that of its keys
/// and values, and its residual passes the norm by (pre-norm).
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
    /// How tokens look at those before them.
    pub attention: AttentionKind,
    /// Whether the branches of a layer are gated by its input.
    pub gated: bool,
    /// Whether tokens carry their position.
    pub positions: bool,
    /// Whether attention is biased by distance and, where there are times, by time gap.
    pub relative_bias: bool,
    /// Factor of items' vectors on their way in.
    pub input_scale: f64,
    /// Newest events that the model sees.
    pub max_history: NonZeroU32,
    /// Share of values that are left out at random while training, in `0.0..1.0`.
    pub dropout: f64,
    /// Which candidates the right item is compared with.
    pub loss: SequenceLoss,
    /// Candidates an event, of the losses that draw them.
    pub n_negatives: NonZeroU32,
    /// Share of the label that is spread over all items, of the full softmax, in `0.0..1.0`.
    pub label_smoothing: f64,
    /// Step size of Adam.
    pub learning_rate: f64,
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
            attention: AttentionKind::Softmax,
            gated: false,
            positions: true,
            relative_bias: false,
            input_scale: 8.0, // √d_model, as in the paper's code
            max_history: positive(50),
            dropout: 0.5,
            loss: SequenceLoss::Bce,
            n_negatives: positive(1),
            label_smoothing: 0.0,
            learning_rate: 1e-3,
            weight_decay: 0.0,
            schedule: LearningRateSchedule::Constant,
            warmup_steps: 0,
            decay_epochs: 0,
            max_grad_norm: 0.0,
            batch_size: positive(128),
            n_epochs: positive(200),
            patience: positive(10),
        };
        match preset {
            Preset::SasRec => sasrec,
            Preset::Hstu => Self {
                d_ff: 0,
                attention: AttentionKind::Hstu,
                relative_bias: true,
                loss: SequenceLoss::Sampled,
                n_negatives: positive(128),
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
        self.optimizer().check(name)?;
        if !(self.input_scale > 0.0 && self.input_scale.is_finite()) {
            return refuse("input_scale", self.input_scale, "positive");
        }
        if !self.d_model.get().is_multiple_of(self.n_heads.get()) {
            return refuse("d_model", self.d_model.get().into(), "a multiple of n_heads");
        }
        Ok(())
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

    pub(super) fn is_full(&self) -> bool {
        self.loss == SequenceLoss::Full
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
        let SequenceConfig { d_model, n_layers, d_ff, max_history, batch_size, .. } = self.config;
        let (d, n_layers) = (u64::from(d_model.get()), u64::from(n_layers.get()));
        let [batch_size, max_history] = [batch_size, max_history].map(|n| n.get() as usize);
        let n_tokens = view.n_events_of_longest(batch_size, max_history);
        let table = view.n_item_rows() as u64 * d;
        let in_layers = n_layers * d * (8 * d + 2 * u64::from(d_ff));
        let a_token = n_layers * (26 * d + 4 * u64::from(d_ff)) + 8 * d;
        let softmax = if self.config.is_full() { table + 17 * n_tokens * d } else { 0 };
        // Inputs, labels and drawn items.
        let n_drawn = if self.config.is_full() { 0 } else { self.config.n_negatives.get().into() };
        let (n_rows, n_groups) = (n_tokens * (2 + n_drawn), N_GROUPS as u64);
        let in_groups = n_groups * n_rows.div_ceil(n_groups).min(view.n_item_rows() as u64);
        let rows = (in_groups + n_rows.min(view.n_item_rows() as u64)) * d * 3 / 2;
        4 * ((4 + N_SCORER_TABLES) * table + 20 * in_layers + softmax + rows + n_tokens * a_token)
            + view.n_events() * 12
    }

    fn fit(&self, view: &TrainingView<'_>, context: &FitContext<'_>) -> Result<Fitted, ModelError> {
        let needed = self.needed_bytes(view);
        context.check_memory(self.name(), needed, "lower d_model or batch_size")?;
        context.on_threads(|| {
            let (model, record) = fit::fit(self, view, context)?;
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
