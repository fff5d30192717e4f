//! The JSON header: what a model is and where it came from.

use std::collections::BTreeMap;

use forecart_data::dataset::Counts;
use forecart_data::{Dataset, Protocol, SeenItems};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::recommend::{FitOn, FitRecord};

/// The newest model format that this program writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// What `format` says in every model file.
pub(super) const FORMAT: &str = "forecart-model";

/// The JSON header of a model file, of one kind of task.
pub(super) trait FileHeader: Clone + Serialize + DeserializeOwned {
    /// The tasks, for people.
    const TASKS: &'static str;

    /// Whether a model for `task` has such a header.
    fn is_of(task: &str) -> bool;

    /// Its first field.
    fn content_hash_mut(&mut self) -> &mut String;
}

impl FileHeader for Header {
    const TASKS: &'static str = "recommend";

    fn is_of(task: &str) -> bool {
        task == "recommend"
    }

    fn content_hash_mut(&mut self) -> &mut String {
        &mut self.content_hash
    }
}

/// How a model came to be, beside its hyperparameters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The seed, `None` for models without chance.
    pub seed: Option<u64>,
    /// The part that it learned from.
    pub fit_on: FitOn,
    /// The loss of each epoch, and which was chosen.
    pub record: FitRecord,
    /// What was measured, by name (`test/ndcg@10`); empty if nothing was.
    pub metrics: BTreeMap<String, f64>,
    /// Whether it beat the strongest simple baseline, where that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateRecord>,
}

/// What the gate of `evaluate` said of a model: whether it may take the place of the strongest simple baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateRecord {
    /// The metric that decided: `ndcg@10`.
    pub metric: String,
    /// The strongest baseline.
    pub baseline: String,
    /// Mean of the model minus mean of the baseline, on the test part.
    pub difference: f64,
    /// Its paired interval.
    pub interval: [f64; 2],
    /// Whether the whole interval is above 0.
    pub passed: bool,
    /// Why it may be served though it did not pass, where somebody said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_reason: Option<String>,
}

impl GateRecord {
    /// Whether the model may be served: it passed, or somebody said why it may.
    pub fn may_serve(&self) -> bool {
        self.passed || self.override_reason.is_some()
    }
}

/// The dataset that a model learned from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatasetFacts {
    /// SHA-256 of the input.
    pub data_hash: String,
    /// Content hash of the dataset folder.
    pub content_hash: String,
    /// Its sizes.
    pub counts: Counts,
    /// How its parts were made.
    pub protocol: Protocol,
    /// Whether seen items are left out of lists.
    pub seen: SeenItems,
    /// False if the log had an order but no times.
    pub has_time: bool,
}

impl From<&Dataset> for DatasetFacts {
    fn from(dataset: &Dataset) -> Self {
        let manifest = &dataset.manifest;
        Self {
            data_hash: manifest.description.data_hash.clone(),
            content_hash: manifest.content_hash.clone(),
            counts: manifest.counts,
            protocol: manifest.description.protocol.clone(),
            seen: manifest.description.seen,
            has_time: manifest.description.has_time,
        }
    }
}

/// The header of a model file. Holds no clock times, paths or numbers of threads: the same data,
/// hyperparameters and seed give the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// SHA-256 over the rest of the header and all tensors. First, so that it can be left out of
    /// what is hashed.
    pub content_hash: String,
    /// Always `forecart-model`.
    pub format: String,
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Version of the program that wrote it.
    pub forecart_version: String,
    /// The application: `recommend`.
    pub task: String,
    /// The model's name in the registry.
    pub model: String,
    /// Its hyperparameters.
    pub hyperparameters: Value,
    /// How it was fitted and what was measured.
    #[serde(flatten)]
    pub provenance: Provenance,
    /// What it learned from.
    pub dataset: DatasetFacts,
    /// Event names by their index in histories; the first is the unknown event.
    pub event_names: Vec<String>,
}
