//! `manifest.json` of an intent table.

use serde::{Deserialize, Serialize};

use crate::dataset::Reason;
use crate::folder::Files;

/// The newest format of intent tables that this program writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// What `format` says in the manifest of every intent table.
pub(super) const FORMAT: &str = "forecart-intents";

/// What the writer of an intent table knows beside the texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IntentDescription {
    /// SHA-256 of the inputs.
    pub data_hash: String,
    /// The pipeline that cleaned the texts, for the models that learn from them.
    pub pipeline: serde_json::Value,
    /// The configuration that made it, after all defaults.
    pub config: serde_json::Value,
    /// Rows of the inputs that are not in the table, by reason, most first.
    pub left_out: Vec<Reason>,
}

/// Sizes of a part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntentCounts {
    /// Texts.
    pub n_texts: u64,
    /// Those among them that ask for none of the intents.
    pub n_out_of_scope: u64,
}

/// `manifest.json` of an intent table. Holds no clock times and no paths: the same texts and configuration give the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IntentManifest {
    /// Always `forecart-intents`.
    pub format: String,
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Version of the program that wrote it.
    pub forecart_version: String,
    /// SHA-256 over the names and hashes of all files.
    pub content_hash: String,
    /// Number of intents.
    pub n_intents: u64,
    /// Training, validation and test part.
    pub parts: [IntentCounts; 3],
    /// Where it came from and what was done.
    #[serde(flatten)]
    pub description: IntentDescription,
    /// The files, by name.
    pub files: Files,
}
