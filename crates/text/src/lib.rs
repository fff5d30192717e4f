//! From a text as a customer typed it to what a model reads.
//!
//! ```text
//! as typed ──clean──▶ clean text ──analyze──▶ Analyzed ──ngrams──▶ hashes of n-grams
//!           NFKC, marks of direction and     lower case, simplified,
//!           width gone, secrets masked       cut into tokens
//! ```
//! [`Pipeline::clean`] comes before anything is stored: e-mail addresses, phone numbers, order ids and numbers become [`Mask`]s there. A
//! clean text is what tables of texts hold; cleaning it again changes nothing. [`Pipeline::analyze`] is the same in training and in
//! service, for its configuration stands in the model file. Nothing here is learned: [`ngrams`] names features by their hash, and which
//! of them count is the part of a model.
//!
//! Start at [`Pipeline`].
//!
//! ```
//! use forecart_text::{Pipeline, PipelineConfig};
//!
//! let pipeline = Pipeline::new(PipelineConfig::default())?;
//! let text = pipeline.clean("Ｗhere is order ＃12345?  Call +44 20 7946 0958");
//! assert_eq!(text, "Where is order <order>? Call <phone>");
//! let words: Vec<String> = pipeline.analyze(&text).words().map(str::to_owned).collect();
//! assert_eq!(words, ["where", "is", "order", "<order>", "call", "<phone>"]);
//! # Ok::<(), forecart_text::TextError>(())
//! ```

mod error;

mod config;
mod pipeline;

mod mask;
mod normalize;
mod simplify;

mod language;
mod tokens;

pub mod ngrams;

mod near;

pub use config::{Mask, PipelineConfig, StopList};
pub use error::TextError;
pub use language::{Language, Script};
pub use near::{NearPair, near_duplicates};
pub use pipeline::Pipeline;
pub use tokens::{Analyzed, Token, TokenKind};
