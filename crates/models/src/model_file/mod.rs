//! The model file: one safetensors file with all that a fitted model needs to answer for external
//! ids.
//!
//! ```text
//! safetensors
//!   __metadata__
//!     forecart-model   the header, as JSON text: see Header
//!   items              U8   the item vocabulary, in its own format
//!   titles             U8   a title for each item row
//!   encoders           U8   the fitted encoders of item attributes, JSON
//!   model.*                 what the model has learned
//! ```
//! Every safetensors reader opens it; nothing in it is executed. Start at [`LoadedModel`], at
//! [`inspect`] for the header alone.

pub(crate) mod container;
mod header;
mod loaded;

pub use container::TensorEntry;
pub(crate) use container::to_safetensors;
pub use header::{DatasetFacts, FORMAT_VERSION, GateRecord, Header, Provenance};
pub use loaded::{Answer, Inspection, LoadedModel, NamedReason, Recommended, inspect};
