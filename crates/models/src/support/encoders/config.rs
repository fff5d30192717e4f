//! The networks by name, and their hyperparameters.

use std::num::NonZeroU32;

use forecart_nn::{Activation, BagMode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::input::{Limits, Reading};
use super::network::{EncoderSizes, TextNetworkSizes};
use super::recurrence::Cell;
use super::texts::LeftOut;
use crate::error::ModelError;
use crate::recommend::Parameter;
use crate::recommend::registry::parse_keys_of;
use crate::training::{LearningRateSchedule, OptimizerConfig};

/// Which network reads a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextEncoder {
    /// The mean of the embeddings of words, pairs of words and subwords, and a linear layer (Joulin et al., EACL 2017; subwords as in Bojanowski et al.,
    /// TACL 5, 2017).
    FastText,
    /// TF-IDF of words and characters through a hidden layer.
    NgramMlp,
    /// Filters over embeddings of words and subwords (Kim, EMNLP 2014).
    TextCnn,
    /// A gated recurrent unit either way, pooled by attention and by the largest values.
    BiGru,
    /// The same with long short-term memory.
    BiLstm,
    /// Attention between all words (Vaswani et al., NeurIPS 2017).
    Transformer,
}

impl TextEncoder {
    /// All, simplest first.
    pub const ALL: [Self; 6] = [
        Self::FastText,
        Self::NgramMlp,
        Self::TextCnn,
        Self::BiGru,
        Self::BiLstm,
        Self::Transformer,
    ];

    /// The model's name in the registry.
    pub const fn model(self) -> &'static str {
        match self {
            Self::FastText => "fasttext",
            Self::NgramMlp => "ngram-mlp",
            Self::TextCnn => "textcnn",
            Self::BiGru => "bigru",
            Self::BiLstm => "bilstm",
            Self::Transformer => "text-transformer",
        }
    }

    /// One line about it.
    pub const fn about(self) -> &'static str {
        match self {
            Self::FastText => "mean of embeddings of words, pairs of words and subwords",
            Self::NgramMlp => "TF-IDF of words and characters through a hidden layer",
            Self::TextCnn => "convolutions over embeddings of words and subwords",
            Self::BiGru => "gated recurrent units both ways over embeddings, pooled by attention",
            Self::BiLstm => "long short-term memory both ways over embeddings, pooled by attention",
            Self::Transformer => "attention between embeddings of words and subwords",
        }
    }

    pub(super) const fn reading(self) -> Reading {
        match self {
            Self::NgramMlp => Reading::Weighted,
            Self::FastText => Reading::Whole,
            Self::TextCnn | Self::BiGru | Self::BiLstm | Self::Transformer => Reading::ByWord,
        }
    }

    fn defaults(self) -> EncoderConfig {
        let positive = |n: u32| NonZeroU32::new(n).expect("the defaults are not 0");
        // On validation of BANKING77, see docs/measurements.md.
        let by_word = EncoderConfig {
            n_dims: positive(64),
            n_filters: None,
            widths: None,
            n_hidden: None,
            n_heads: None,
            n_layers: None,
            min_count: 1,
            max_features: positive(1 << 16),
            dropout_in: 0.3,
            dropout_out: 0.5,
            left_out: 0.1,
            label_smoothing: 0.1, // without it .885, not .905
            learning_rate: 2e-3,
            weight_decay: 0.01,
            warmup_steps: 100,
            batch_size: positive(64),
            n_epochs: positive(60), // few texts make few steps
            n_steps: positive(3200),
        };
        match self {
            Self::TextCnn => EncoderConfig {
                n_filters: Some(positive(96)),
                widths: Some([1, 2, 3, 4].map(positive).to_vec()),
                ..by_word
            },
            Self::BiGru | Self::BiLstm => EncoderConfig {
                n_hidden: Some(positive(64)),
                n_heads: Some(positive(4)),
                ..by_word
            },
            Self::Transformer => {
                EncoderConfig { n_layers: Some(positive(1)), n_heads: Some(positive(4)), ..by_word }
            }
            Self::NgramMlp => EncoderConfig {
                n_dims: positive(256),
                min_count: 2,
                dropout_in: 0.0,
                left_out: 0.2,
                warmup_steps: 0,
                n_steps: positive(1200),
                ..by_word
            },
            Self::FastText => EncoderConfig {
                dropout_in: 0.0,
                dropout_out: 0.0,
                left_out: 0.2,
                label_smoothing: 0.0,
                learning_rate: 1e-2,
                warmup_steps: 0,
                ..by_word
            },
        }
    }
}

/// Hyperparameters of the networks; those of one encoder alone are `None` for the others, and no keys of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderConfig {
    /// Columns of the embeddings; of `ngram-mlp` those of the hidden layer.
    pub n_dims: NonZeroU32,
    /// Filters of each width.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_filters: Option<NonZeroU32>,
    /// Words that filters see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub widths: Option<Vec<NonZeroU32>>,
    /// Columns of the recurrent states of one direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_hidden: Option<NonZeroU32>,
    /// Heads of attention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_heads: Option<NonZeroU32>,
    /// Layers of attention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_layers: Option<NonZeroU32>,
    /// Training texts that a piece has to be in to have an embedding.
    pub min_count: u32,
    /// Pieces that have an embedding at most, those in most texts.
    pub max_features: NonZeroU32,
    /// Share of what the encoder reads that is dropped while training, in `0.0..1.0`.
    pub dropout_in: f64,
    /// Share of what the encoder makes that is dropped while training, in `0.0..1.0`.
    pub dropout_out: f64,
    /// Share of words, or of the n-grams of models that read no single words, that are left out while training, in `0.0..1.0`.
    pub left_out: f64,
    /// Share of the target that all intents have alike, in `0.0..1.0`.
    pub label_smoothing: f64,
    /// Step size of Adam, which falls to 0 in a line.
    pub learning_rate: f64,
    /// Decoupled weight decay (AdamW), of embeddings in the rows that a step touches.
    pub weight_decay: f64,
    /// Steps in which the step size rises.
    pub warmup_steps: u32,
    /// Texts a step.
    pub batch_size: NonZeroU32,
    /// Passes over the texts, at most.
    pub n_epochs: NonZeroU32,
    /// Steps after which the pass that is under way is the last one.
    pub n_steps: NonZeroU32,
}

/// A network with its hyperparameters.
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderSpec {
    pub(super) encoder: TextEncoder,
    pub(super) config: EncoderConfig,
}

impl EncoderSpec {
    /// With `keys` in place of defaults.
    ///
    /// # Errors
    /// [`ModelError::UnknownKey`] or [`ModelError::Hyperparameter`].
    pub fn from_keys(encoder: TextEncoder, keys: &Value) -> Result<Self, ModelError> {
        let config = parse_keys_of(encoder.model(), &encoder.defaults(), keys)?;
        let spec = Self { encoder, config };
        spec.check()?;
        Ok(spec)
    }

    fn check(&self) -> Result<(), ModelError> {
        let Self { encoder, config } = self;
        let refuse = |name: &str, reason: String| {
            Err(ModelError::hyperparameter(encoder.model(), name, reason))
        };
        for (name, share) in [
            ("dropout_in", config.dropout_in),
            ("dropout_out", config.dropout_out),
            ("left_out", config.left_out),
            ("label_smoothing", config.label_smoothing),
        ] {
            // What is computed with is the f32.
            if !(0.0..1.0).contains(&(share as f32)) {
                return refuse(name, format!("{share} is not in 0.0..1.0"));
            }
        }
        if config.min_count == 0 {
            return refuse("min_count", "give 1 or more".to_owned());
        }
        // Bounds, since sizes in a model file are read by anyone.
        let widths = config.widths.iter().flatten().copied().map(|width| ("widths", width, 16));
        let sizes = [
            ("n_dims", Some(config.n_dims), 1 << 12),
            ("n_filters", config.n_filters, 1 << 12),
            ("n_hidden", config.n_hidden, 1 << 12),
            ("n_heads", config.n_heads, 64),
            ("n_layers", config.n_layers, 16),
        ];
        let sizes = sizes.into_iter().filter_map(|(name, size, most)| Some((name, size?, most)));
        if let Some((name, size, most)) =
            sizes.chain(widths).find(|(_, size, most)| size.get() > *most)
        {
            return refuse(name, format!("{size} is more than {most}"));
        }
        if config.widths.as_ref().is_some_and(Vec::is_empty) {
            return refuse("widths", "there is none".to_owned());
        }
        if config
            .n_layers
            .zip(config.n_heads)
            .is_some_and(|(_, heads)| config.n_dims.get() % heads != 0)
        {
            return refuse(
                "n_heads",
                format!("{} columns cannot be shared out to them", config.n_dims),
            );
        }
        self.optimizer().check(encoder.model())
    }

    pub(super) fn optimizer(&self) -> OptimizerConfig {
        OptimizerConfig {
            learning_rate: self.config.learning_rate,
            weight_decay: self.config.weight_decay,
            schedule: LearningRateSchedule::Linear,
            warmup_steps: self.config.warmup_steps,
            decay_epochs: 0,
            max_grad_norm: 0.0,
        }
    }

    pub(super) fn sizes(&self, n_rows: usize, n_classes: usize) -> TextNetworkSizes {
        let Self { encoder, config } = self;
        let size = |size: Option<NonZeroU32>| size.map_or(1, NonZeroU32::get) as usize;
        TextNetworkSizes {
            n_rows,
            n_dims: config.n_dims.get() as usize,
            n_classes,
            encoder: match encoder {
                TextEncoder::FastText => EncoderSizes::Bag(Activation::Identity),
                TextEncoder::NgramMlp => EncoderSizes::Bag(Activation::Relu),
                TextEncoder::TextCnn => EncoderSizes::Convolution {
                    n_filters: size(config.n_filters),
                    widths: config
                        .widths
                        .iter()
                        .flatten()
                        .map(|width| width.get() as usize)
                        .collect(),
                },
                TextEncoder::BiGru | TextEncoder::BiLstm => EncoderSizes::Recurrence {
                    cell: match encoder {
                        TextEncoder::BiLstm => Cell::Lstm,
                        _ => Cell::Gru,
                    },
                    n_hidden: size(config.n_hidden),
                    n_heads: size(config.n_heads),
                },
                TextEncoder::Transformer => EncoderSizes::Transformer {
                    n_layers: size(config.n_layers),
                    n_heads: size(config.n_heads),
                    dropout: config.dropout_in as f32,
                },
            },
            bag_mode: match encoder.reading() {
                Reading::Weighted => BagMode::Sum,
                Reading::Whole | Reading::ByWord => BagMode::Mean,
            },
            dropout_in: config.dropout_in as f32,
            dropout_out: config.dropout_out as f32,
        }
    }

    pub(super) fn limits(&self) -> Limits {
        (self.config.min_count, self.config.max_features)
    }

    pub(super) fn left_out(&self) -> LeftOut {
        let share = self.config.left_out as f32;
        match self.encoder.reading() {
            Reading::ByWord => LeftOut::Bags(share),
            Reading::Weighted | Reading::Whole => LeftOut::Indices(share),
        }
    }

    /// Passes over so many texts.
    pub(super) fn n_epochs(&self, n_texts: usize) -> NonZeroU32 {
        let steps = n_texts.div_ceil(self.config.batch_size.get() as usize).max(1) as u64;
        let n = u64::from(self.config.n_steps.get()).div_ceil(steps);
        let n = u32::try_from(n).unwrap_or(u32::MAX).min(self.config.n_epochs.get());
        NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN)
    }

    pub(super) fn search_space(&self) -> &'static [Parameter] {
        const SPACE: &[Parameter] = &[
            Parameter::log_int("n_dims", 32, 256),
            Parameter::float("dropout_out", 0.0, 0.7),
            Parameter::float("left_out", 0.0, 0.3),
            Parameter::float("label_smoothing", 0.0, 0.2),
            Parameter::log("learning_rate", 5e-4, 1e-2),
        ];
        SPACE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_network_has_keys_of_its_own_and_refuses_what_cannot_be() {
        let refused =
            |encoder, keys: Value| EncoderSpec::from_keys(encoder, &keys).unwrap_err().to_string();
        EncoderSpec::from_keys(TextEncoder::TextCnn, &json!({"widths": [2, 5]})).unwrap();
        for (encoder, keys, named) in [
            (TextEncoder::BiGru, json!({"widths": [2]}), "widths"),
            (TextEncoder::FastText, json!({"n_heads": 2}), "n_heads"),
            (TextEncoder::TextCnn, json!({"widths": []}), "widths"),
            (TextEncoder::TextCnn, json!({"widths": [17]}), "widths"),
            (TextEncoder::TextCnn, json!({"dropout_out": 1.0}), "dropout_out"),
            (TextEncoder::TextCnn, json!({"min_count": 0}), "min_count"),
            (TextEncoder::Transformer, json!({"n_heads": 5}), "n_heads"),
            (TextEncoder::NgramMlp, json!({"n_dims": 5000}), "n_dims"),
            (TextEncoder::NgramMlp, json!({"learning_rate": 0.0}), "learning_rate"),
        ] {
            let message = refused(encoder, keys);
            assert!(message.contains(named), "{message}");
        }
    }

    #[test]
    fn the_hyperparameters_of_a_spec_make_the_same_spec() {
        for encoder in TextEncoder::ALL {
            let spec = EncoderSpec::from_keys(encoder, &Value::Null).unwrap();
            let keys = serde_json::to_value(&spec.config).unwrap();
            assert_eq!(EncoderSpec::from_keys(encoder, &keys).unwrap(), spec);
        }
    }

    #[test]
    fn passes_end_by_their_number_or_by_that_of_steps() {
        let keys = json!({"n_epochs": 20, "n_steps": 100, "batch_size": 10});
        let spec = EncoderSpec::from_keys(TextEncoder::TextCnn, &keys).unwrap();
        assert_eq!(
            [1, 50, 99, 100, 1000, 100_000].map(|n| spec.n_epochs(n).get()),
            [20, 20, 10, 10, 1, 1]
        );
    }
}
