//! The model file: one safetensors file with all that a fitted model needs to answer for external
//! ids.
//!
//! ```text
//! safetensors
//!   __metadata__
//!     forecart-signature   if it is signed: by which key, and the signature over all the rest of the file
//!     forecart-model   the header, as JSON text: see Header
//!   items              U8   the item vocabulary, in its own format
//!   titles             U8   a title for each item row
//!   encoders           U8   the fitted encoders of item attributes, JSON
//!   model.*                 what the model has learned
//! ```
//! A model of a binary outcome ([`OutcomeModelFile`]) has `encoders` and `model.*`; its calibration stands in the header.
//! A forecast of demand ([`DemandModelFile`]) has `items` and `forecast`, JSON.
//! A model of intents ([`IntentModelFile`]) has `intents` and `model.*`; its pipeline stands in the header.
//! A model of questions ([`QuestionModelFile`]) has `intents`, `objects`, `events` and `model.*`; its calibration stands in the header.
//!
//! Every safetensors reader opens it; nothing in it is executed. Start at [`LoadedModel`], at
//! [`inspect`] for the header alone, at [`Trust`] for whose files are loaded.

pub(crate) mod container;
mod demand;
mod header;
mod inspection;
mod intent;
mod loaded;
mod outcome;
mod question;
mod signing;

pub use container::TensorEntry;
pub(crate) use container::to_safetensors;
pub use demand::{DemandHeader, DemandModelFile, OrderFacts};
pub use header::{DatasetFacts, FORMAT_VERSION, GateRecord, Header, Provenance};
pub use inspection::{AnyHeader, Inspection, inspect};
pub use intent::{IntentFacts, IntentHeader, IntentModelFile};
pub use loaded::{Answer, LoadedModel, NamedReason, Recommended};
pub use outcome::{OutcomeHeader, OutcomeModelFile, SampleFacts};
pub use question::{QuestionFacts, QuestionHeader, QuestionModelFile};
pub use signing::{Distrust, KeyId, SigningKey, Trust, VerifyingKey, sign_file};
