//! Networks that read a text: rows of a table, summed by word or over the text, through an encoder to a logit for each intent.
//!
//! Start at `config`, which has them by name; `input` makes of a text the bags that `network` reads (`texts`), `encoder` is what stands in
//! it (`bag`, `convolution`, `recurrence`, `transformer`), `fit` its steps, `model` the whole as a model of intents.

mod config;
mod model;

mod input;
mod targets;
mod texts;

mod bag;
mod convolution;
mod encoder;
mod recurrence;
mod transformer;

mod fit;
mod network;

pub use config::{EncoderConfig, EncoderSpec, TextEncoder};
pub use model::EncoderModel;
