//! From a shop's log to a dataset: import, validate, prepare.
//!
//! Async and SQL stay inside: every public function blocks. Memory is bounded by
//! [`Resources::memory_limit_bytes`], and what does not fit is spilled to
//! [`Resources::scratch`]. Start at [`log`] for what import writes and prepare reads.

mod error;
mod resources;

pub mod config;
mod read;

pub mod import;

pub mod generate;
pub mod generate_questions;
pub mod generate_rows;
pub mod init;
pub mod log;
pub mod orders;
pub mod prepare;
pub mod questions;
pub mod samples;
pub mod session;
pub mod texts;
pub mod validate;

pub use config::DataConfig;
pub use error::PrepareError;
pub use generate::{GenerateConfig, generate};
pub use generate_questions::{GenerateQuestionsConfig, Truth, generate_questions};
pub use generate_rows::{GeneratedRows, RowFormat, generate_rows};
pub use import::import;
pub use init::{InitReport, init_from};
pub use log::LogManifest;
pub use orders::{DemandConfig, RawDemandConfig, prepare_orders};
pub use prepare::{PrepareConfig, RawPrepareConfig, RawSplitConfig, prepare};
pub use questions::{QuestionsConfig, RawQuestionsConfig, prepare_questions};
pub use resources::Resources;
pub use samples::{
    RawSamplesConfig, SampleRows, SampleStream, SamplesConfig, SamplesReport, prepare_from_log,
    prepare_samples,
};
pub use texts::{RawTextConfig, TextConfig, TextsReport, prepare_texts};
pub use validate::{ValidateConfig, ValidationReport, validate};
