//! The file of a model of questions.

use std::path::Path;

use forecart_data::questions::{MomentCounts, Windows};
use forecart_data::{Questions, Vocabulary};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::container;
use super::header::{FORMAT, FORMAT_VERSION, FileHeader, GateRecord};
use crate::error::ModelError;
use crate::support::questions::predictor::QuestionNames;
use crate::support::questions::{QuestionPredictor, QuestionServing};
use crate::tensors::{TensorData, Tensors};
use crate::training::FitRecord;

/// The question table that a model learned from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuestionFacts {
    /// SHA-256 of the log's inputs.
    pub data_hash: String,
    /// Content hash of the folder.
    pub content_hash: String,
    /// Where its parts are cut.
    pub windows: Windows,
    /// Sizes of its parts.
    pub parts: [MomentCounts; 3],
}

/// The header of the file. Holds no clock times, paths or numbers of threads: the same table, hyperparameters and seed give the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuestionHeader {
    /// SHA-256 over the rest of the header and all tensors. First, so that it can be left out of what is hashed.
    pub content_hash: String,
    /// Always `forecart-model`.
    pub format: String,
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Version of the program that wrote it.
    pub forecart_version: String,
    /// Always `question`.
    pub task: String,
    /// The model's name in the registry.
    pub model: String,
    /// Its hyperparameters.
    pub hyperparameters: Value,
    /// The seed, `None` for models without chance.
    pub seed: Option<u64>,
    /// How the fit went.
    pub record: FitRecord,
    /// Horizon, rates and calibration.
    pub serving: QuestionServing,
    /// What it learned from.
    pub questions: QuestionFacts,
    /// What the gate of `evaluate` said of it, if it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateRecord>,
}

impl FileHeader for QuestionHeader {
    const TASKS: &'static str = "question";

    fn is_of(task: &str) -> bool {
        task == "question"
    }

    fn content_hash_mut(&mut self) -> &mut String {
        &mut self.content_hash
    }
}

/// A model of questions with what it came from: the content of a model file.
#[derive(Debug)]
pub struct QuestionModelFile {
    header: QuestionHeader,
    predictor: QuestionPredictor,
}

container::as_file!(QuestionModelFile);

impl QuestionModelFile {
    /// `predictor`, which learned from `questions`.
    ///
    /// # Errors
    /// [`ModelError::Damaged`] if a part cannot be written, which the parts of a fitted model always can.
    pub fn new(
        predictor: QuestionPredictor,
        questions: &Questions,
        seed: Option<u64>,
        record: FitRecord,
    ) -> Result<Self, ModelError> {
        let manifest = questions.manifest();
        let header = QuestionHeader {
            content_hash: String::new(),
            format: FORMAT.to_owned(),
            format_version: FORMAT_VERSION,
            forecart_version: env!("CARGO_PKG_VERSION").to_owned(),
            task: QuestionHeader::TASKS.to_owned(),
            model: predictor.model().name().to_owned(),
            hyperparameters: predictor.model().hyperparameters(),
            seed,
            record,
            serving: predictor.serving().clone(),
            questions: QuestionFacts {
                data_hash: manifest.description.data_hash.clone(),
                content_hash: manifest.content_hash.clone(),
                windows: manifest.windows,
                parts: manifest.parts,
            },
            gate: None,
        };
        let mut file = Self { header, predictor };
        file.header = container::write(&file.header, &file.tensors()?)?.1;
        Ok(file)
    }

    fn tensors(&self) -> Result<Tensors, ModelError> {
        let QuestionNames { intents, objects, events } = self.predictor.names();
        let mut tensors = Tensors::default();
        for (name, names) in [("intents", intents), ("objects", objects), ("events", events)] {
            tensors.insert(name, TensorData::U8(names.to_bytes()));
        }
        tensors.extend("model", self.predictor.model().tensors());
        Ok(tensors)
    }

    /// The same model with what the gate of `evaluate` said of it, in place of what an older one said.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_gate(mut self, gate: GateRecord) -> Result<Self, ModelError> {
        self.header.gate = Some(gate);
        self.header = container::write(&self.header, &self.tensors()?)?.1;
        Ok(self)
    }

    /// Reads the bytes of a model file. Any bytes give a model or an error.
    ///
    /// # Errors
    /// [`ModelError::Damaged`], [`ModelError::FormatVersion`], [`ModelError::OtherTask`]; [`ModelError::UnknownModel`],
    /// [`ModelError::UnknownKey`] or [`ModelError::Hyperparameter`] for a model of another program.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        let (header, mut tensors): (QuestionHeader, _) = container::read(bytes)?;
        let mut vocabulary = |name: &str| -> Result<Vocabulary, ModelError> {
            Ok(Vocabulary::from_bytes(&tensors.take_u8(name)?, Path::new(name))?)
        };
        let names = QuestionNames {
            intents: vocabulary("intents")?,
            objects: vocabulary("objects")?,
            events: vocabulary("events")?,
        };
        let learned = tensors.split("model");
        tensors.expect_empty()?;
        let predictor = QuestionPredictor::load(
            (&header.model, &header.hyperparameters),
            names,
            header.serving.clone(),
            learned,
        )?;
        Ok(Self { header, predictor })
    }

    /// What the model is and where it came from.
    pub fn header(&self) -> &QuestionHeader {
        &self.header
    }

    /// What answers.
    pub fn predictor(&self) -> &QuestionPredictor {
        &self.predictor
    }
}
