//! The file of a model of intents.

use std::path::Path;

use forecart_data::intents::IntentCounts;
use forecart_data::{IntentTable, TextTable};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::container;
use super::header::{FORMAT, FORMAT_VERSION, FileHeader, GateRecord};
use crate::error::ModelError;
use crate::support::IntentPredictor;
use crate::support::predictor::Serving;
use crate::tensors::{TensorData, Tensors};
use crate::training::FitRecord;

/// The intent table that a model learned from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IntentFacts {
    /// SHA-256 of the inputs.
    pub data_hash: String,
    /// Content hash of the folder.
    pub content_hash: String,
    /// Sizes of its parts.
    pub parts: [IntentCounts; 3],
}

/// The header of the file. Holds no clock times, paths or numbers of threads: the same texts, hyperparameters and seed give the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IntentHeader {
    /// SHA-256 over the rest of the header and all tensors. First, so that it can be left out of what is hashed.
    pub content_hash: String,
    /// Always `forecart-model`.
    pub format: String,
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Version of the program that wrote it.
    pub forecart_version: String,
    /// Always `support`.
    pub task: String,
    /// The model's name in the registry.
    pub model: String,
    /// Its hyperparameters.
    pub hyperparameters: Value,
    /// The seed, `None` for models without chance.
    pub seed: Option<u64>,
    /// How the fit went.
    pub record: FitRecord,
    /// The pipeline, and how sure an answer is.
    pub serving: Serving,
    /// What it learned from.
    pub texts: IntentFacts,
    /// What the gate of `evaluate` said of it, if it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateRecord>,
}

impl FileHeader for IntentHeader {
    const TASKS: &'static str = "support";

    fn is_of(task: &str) -> bool {
        task == "support"
    }

    fn content_hash_mut(&mut self) -> &mut String {
        &mut self.content_hash
    }
}

/// A model of intents with what it came from: the content of a model file. No text that it learned from is in it.
#[derive(Debug)]
pub struct IntentModelFile {
    header: IntentHeader,
    predictor: IntentPredictor,
}

container::as_file!(IntentModelFile);

impl IntentModelFile {
    /// `predictor`, which learned from `table`.
    ///
    /// # Errors
    /// [`ModelError::Damaged`] if a part cannot be written, which the parts of a fitted model always can.
    pub fn new(
        predictor: IntentPredictor,
        table: &IntentTable,
        seed: Option<u64>,
        record: FitRecord,
    ) -> Result<Self, ModelError> {
        let header = IntentHeader {
            content_hash: String::new(),
            format: FORMAT.to_owned(),
            format_version: FORMAT_VERSION,
            forecart_version: env!("CARGO_PKG_VERSION").to_owned(),
            task: IntentHeader::TASKS.to_owned(),
            model: predictor.model().name().to_owned(),
            hyperparameters: predictor.model().hyperparameters(),
            seed,
            record,
            serving: predictor.serving().clone(),
            texts: IntentFacts {
                data_hash: table.manifest.description.data_hash.clone(),
                content_hash: table.manifest.content_hash.clone(),
                parts: table.manifest.parts,
            },
            gate: None,
        };
        let mut file = Self { header, predictor };
        file.header = container::write(&file.header, &file.tensors()?)?.1;
        Ok(file)
    }

    fn tensors(&self) -> Result<Tensors, ModelError> {
        let mut tensors = Tensors::default();
        tensors.insert("intents", TensorData::U8(self.predictor.intents().to_bytes()));
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
    /// [`ModelError::Damaged`], [`ModelError::FormatVersion`], [`ModelError::OtherTask`], [`ModelError::Text`]; [`ModelError::UnknownModel`],
    /// [`ModelError::UnknownKey`] or [`ModelError::Hyperparameter`] for a model of another program.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        let (header, mut tensors): (IntentHeader, _) = container::read(bytes)?;
        let intents = TextTable::from_bytes(&tensors.take_u8("intents")?, Path::new("intents"))?;
        let learned = tensors.split("model");
        tensors.expect_empty()?;
        if intents.len() < 2 {
            return Err(ModelError::damaged("it has fewer than two intents"));
        }
        let predictor = IntentPredictor::load(
            (&header.model, &header.hyperparameters),
            intents,
            header.serving.clone(),
            learned,
        )?;
        Ok(Self { header, predictor })
    }

    /// What the model is and where it came from.
    pub fn header(&self) -> &IntentHeader {
        &self.header
    }

    /// What answers.
    pub fn predictor(&self) -> &IntentPredictor {
        &self.predictor
    }
}
