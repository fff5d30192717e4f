//! Published models, each as defaults.

use std::num::NonZeroU32;

use super::SequenceConfig;
use super::options::{FeedForwardKind, ItemUpdates, Mixer, Objective, Precision, SequenceLoss};
use crate::training::LearningRateSchedule;

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
    /// The name in the [registry](crate::recommend::registry).
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
            dropout: None,
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
                positions: false,   // the order is what the unit reads
                dropout: Some(0.3), // on validation of Amazon Beauty, with batches of 32
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
                dropout: Some(0.2),
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
}
