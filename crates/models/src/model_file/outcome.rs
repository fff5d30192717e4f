//! The file of a model of a binary outcome.

use std::path::PathBuf;

use forecart_data::SampleTable;
use forecart_data::samples::{PartCounts, SampleColumn, SampleSplit};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::container;
use super::header::{FORMAT, FORMAT_VERSION, FileHeader, GateRecord};
use crate::ads::{OutcomePredictor, predictor::Serving};
use crate::error::ModelError;
use crate::tensors::{TensorData, Tensors};
use crate::training::FitRecord;

/// The sample table, or the stream of samples, that a model learned from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleFacts {
    /// SHA-256 of the input; of a stream of text `xxh3:` and its XXH3 hash of 128 bits.
    pub data_hash: String,
    /// Content hash of the folder; of a stream, which has none, that of the input.
    pub content_hash: String,
    /// How its parts were made.
    pub split: SampleSplit,
    /// Their sizes; of a stream, what was learned from in each pass, and what was left out.
    pub parts: Vec<PartCounts>,
    /// Its columns.
    pub columns: Vec<SampleColumn>,
}

impl From<&SampleTable> for SampleFacts {
    fn from(table: &SampleTable) -> Self {
        let manifest = &table.manifest;
        Self {
            data_hash: manifest.description.data_hash.clone(),
            content_hash: manifest.content_hash.clone(),
            split: manifest.description.split.clone(),
            parts: manifest.parts.clone(),
            columns: manifest.columns.clone(),
        }
    }
}

/// The header of the file. Holds no clock times, paths or numbers of threads: the same data, hyperparameters and seed give the
/// same bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutcomeHeader {
    /// SHA-256 over the rest of the header and all tensors. First, so that it can be left out of what is hashed.
    pub content_hash: String,
    /// Always `forecart-model`.
    pub format: String,
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Version of the program that wrote it.
    pub forecart_version: String,
    /// The application: `click`, `conversion` or `purchase`.
    pub task: String,
    /// The model's name in the registry.
    pub model: String,
    /// Its hyperparameters.
    pub hyperparameters: Value,
    /// The seed, `None` for models without chance.
    pub seed: Option<u64>,
    /// The loss of each epoch, and which was chosen.
    pub record: FitRecord,
    /// How scores become probabilities, and what rows are given where they say nothing.
    pub serving: Serving,
    /// What was measured, by name (`test/auc`); empty if nothing was.
    pub metrics: std::collections::BTreeMap<String, f64>,
    /// Whether it beat the strongest simple baseline, where that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateRecord>,
    /// What it learned from.
    pub samples: SampleFacts,
}

impl FileHeader for OutcomeHeader {
    const TASKS: &'static str = "click, conversion or purchase";

    fn is_of(task: &str) -> bool {
        matches!(task, "click" | "conversion" | "purchase")
    }

    fn content_hash_mut(&mut self) -> &mut String {
        &mut self.content_hash
    }
}

/// A fitted predictor with what it came from: the content of a model file.
#[derive(Debug)]
pub struct OutcomeModelFile {
    header: OutcomeHeader,
    predictor: OutcomePredictor,
}

container::as_file!(OutcomeModelFile);

impl OutcomeModelFile {
    /// `predictor`, which was fitted on `table`.
    ///
    /// # Errors
    /// [`ModelError::OtherTask`] of a table for a task that these models are not for.
    pub fn new(
        predictor: OutcomePredictor,
        table: &SampleTable,
        seed: Option<u64>,
        record: FitRecord,
    ) -> Result<Self, ModelError> {
        let task = table.manifest.description.task.clone();
        if !OutcomeHeader::is_of(&task) {
            let (path, expected) = (table.folder().to_owned(), OutcomeHeader::TASKS);
            return Err(ModelError::OtherTask { path, found: task, expected });
        }
        Self::of_facts(predictor, task, SampleFacts::from(table), seed, record)
    }

    /// `predictor`, which learned from samples of which these facts are known.
    ///
    /// # Errors
    /// [`ModelError::OtherTask`] of a task that these models are not for.
    pub fn of_facts(
        predictor: OutcomePredictor,
        task: String,
        samples: SampleFacts,
        seed: Option<u64>,
        record: FitRecord,
    ) -> Result<Self, ModelError> {
        if !OutcomeHeader::is_of(&task) {
            let (path, expected) = (PathBuf::from("the stream"), OutcomeHeader::TASKS);
            return Err(ModelError::OtherTask { path, found: task, expected });
        }
        let header = OutcomeHeader {
            content_hash: String::new(),
            format: FORMAT.to_owned(),
            format_version: FORMAT_VERSION,
            forecart_version: env!("CARGO_PKG_VERSION").to_owned(),
            task,
            model: predictor.model().name().to_owned(),
            hyperparameters: predictor.model().hyperparameters(),
            seed,
            record,
            serving: predictor.serving().clone(),
            metrics: std::collections::BTreeMap::new(),
            gate: None,
            samples,
        };
        let mut file = Self { header, predictor };
        file.header = container::write(&file.header, &file.tensors()?)?.1;
        Ok(file)
    }

    fn tensors(&self) -> Result<Tensors, ModelError> {
        let encoders = serde_json::to_vec(self.predictor.encoders())
            .map_err(|error| ModelError::damaged(format!("encoders: {error}")))?;
        let mut tensors = Tensors::default();
        tensors.insert("encoders", TensorData::U8(encoders));
        tensors.extend("model", self.predictor.model().tensors());
        Ok(tensors)
    }

    /// Reads the bytes of a model file. Any bytes give a model or an error: every length is checked against the bytes that are
    /// there before anything is allocated by it, and the content against its hash.
    ///
    /// # Errors
    /// [`ModelError::Damaged`], [`ModelError::FormatVersion`], [`ModelError::OtherTask`]; [`ModelError::UnknownModel`],
    /// [`ModelError::UnknownKey`] or [`ModelError::Hyperparameter`] for a model of another program.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        let (header, mut tensors): (OutcomeHeader, _) = container::read(bytes)?;
        let encoders = serde_json::from_slice(&tensors.take_u8("encoders")?)
            .map_err(|error| ModelError::damaged(format!("encoders: {error}")))?;
        let learned = tensors.split("model");
        tensors.expect_empty()?;
        let predictor = OutcomePredictor::load(
            (&header.model, &header.hyperparameters),
            encoders,
            header.serving.clone(),
            learned,
        )?;
        Ok(Self { header, predictor })
    }

    /// The same model with what the gate of `evaluate` said of it.
    ///
    /// # Errors
    /// As [`Self::to_bytes`].
    pub fn with_gate(mut self, gate: GateRecord) -> Result<Self, ModelError> {
        self.header.gate = Some(gate);
        self.header = container::write(&self.header, &self.tensors()?)?.1;
        Ok(self)
    }

    /// What the model is and where it came from.
    pub fn header(&self) -> &OutcomeHeader {
        &self.header
    }

    /// What answers.
    pub fn predictor(&self) -> &OutcomePredictor {
        &self.predictor
    }
}
