//! What may be chosen by name.

use serde::{Deserialize, Serialize};

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
