//! What is this customer asking? The intent of a text, or that it is none of those known.
//!
//! Start at [`contract`] for what a model is: fitted on texts that went through a [`Pipeline`](forecart_text::Pipeline), it gives a logit for
//! each intent. [`registry`] has them by name. [`IntentPredictor`] is a model with its pipeline and what is known of its errors: it answers, or abstains.
//! What a customer is likely to ask next, before there is a text, is in [`questions`].

pub mod contract;
mod folds;

mod vocabulary;

mod dual;
mod features;
pub mod linear;
mod sentence_encoder;

mod encoders;
mod ensemble;

mod distilled;

pub mod registry;

pub mod confidence;
mod held_out;
pub mod predictor;

#[cfg(test)]
mod testing;

pub mod questions;

pub use confidence::{Confidence, DoubtScore};
pub use contract::{IntentModel, IntentSpec, IntentTexts};
pub use distilled::{DistilledConfig, DistilledModel, DistilledSpec};
pub use encoders::{EncoderConfig, EncoderModel, EncoderSpec, TextEncoder};
pub use ensemble::{EnsembleConfig, EnsembleModel, EnsembleSpec, Member};
pub use folds::Folds;
pub use held_out::{ChosenOn, held_out_accuracy};
pub use linear::{LinearConfig, LinearLoss, LinearModel, LinearSpec};
pub use predictor::{Abstained, Classified, IntentOptions, IntentPredictor, Learned};
