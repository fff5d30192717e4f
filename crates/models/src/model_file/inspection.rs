//! What a model file says of itself, whatever it is for.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use forecart_data::DataError;
use serde::Serialize;

use super::container::{self, Front, TensorEntry};
use super::demand::DemandHeader;
use super::header::{FileHeader, Header};
use super::intent::IntentHeader;
use super::outcome::OutcomeHeader;
use super::question::QuestionHeader;
use super::signing::signed_by;
use crate::error::ModelError;

/// The header of a model for any task.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum AnyHeader {
    /// Of a recommender.
    Recommend(Box<Header>),
    /// Of a model of a binary outcome.
    Outcome(Box<OutcomeHeader>),
    /// Of a forecast of demand.
    Demand(Box<DemandHeader>),
    /// Of a model of intents.
    Intent(Box<IntentHeader>),
    /// Of a model of questions.
    Question(Box<QuestionHeader>),
}

impl AnyHeader {
    fn of(front: &Front) -> Result<Self, ModelError> {
        match front.task() {
            task if OutcomeHeader::is_of(task) => Ok(Self::Outcome(Box::new(front.header()?))),
            task if DemandHeader::is_of(task) => Ok(Self::Demand(Box::new(front.header()?))),
            task if IntentHeader::is_of(task) => Ok(Self::Intent(Box::new(front.header()?))),
            task if QuestionHeader::is_of(task) => Ok(Self::Question(Box::new(front.header()?))),
            _ => Ok(Self::Recommend(Box::new(front.header()?))),
        }
    }
}

/// What a model file says about itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// The header, of a model for any task.
    pub header: AnyHeader,
    /// Id of the key that it says to be signed by, which is not checked here: see [`Trust`](super::Trust).
    pub signed_by: Option<String>,
    /// The tensors, in the order of their names.
    pub tensors: Vec<TensorEntry>,
    /// Size of the file.
    pub n_bytes: u64,
}

/// Reads the header of a model file and the list of its tensors, not their values; so the content
/// hash is not checked.
///
/// # Errors
/// [`ModelError::Data`] if it cannot be read, [`ModelError::Damaged`] or
/// [`ModelError::FormatVersion`].
pub fn inspect(path: &Path) -> Result<Inspection, ModelError> {
    let front = || -> Result<(Front, Option<String>, u64), ModelError> {
        let mut file = File::open(path).map_err(DataError::io("read", path))?;
        let n_bytes = file.metadata().map_err(DataError::io("read", path))?.len();
        let mut first = [0; 8];
        if n_bytes < first.len() as u64 {
            return Err(ModelError::damaged("it is shorter than any model file"));
        }
        file.read_exact(&mut first).map_err(DataError::io("read", path))?;
        let n_rest = n_bytes - first.len() as u64;
        let mut json = vec![0; container::json_len(first, n_rest)?];
        file.read_exact(&mut json).map_err(DataError::io("read", path))?;
        let front = Front::parse(&json)?;
        front.check_data_len(usize::try_from(n_rest).unwrap_or(usize::MAX) - json.len())?;
        Ok((front, signed_by(&json).map(|id| id.to_string()), n_bytes))
    };
    let (front, signed_by, n_bytes) = front().map_err(|error| with_path(error, path))?;
    Ok(Inspection { tensors: front.entries(), header: AnyHeader::of(&front)?, signed_by, n_bytes })
}

/// The same error of a file whose path is known.
pub(super) fn with_path(error: ModelError, path: &Path) -> ModelError {
    match error {
        ModelError::Damaged { reason, .. } => ModelError::Damaged { path: path.to_owned(), reason },
        ModelError::Refused { reason, .. } => ModelError::Refused { path: path.to_owned(), reason },
        ModelError::OtherTask { found, expected, .. } => {
            ModelError::OtherTask { path: path.to_owned(), found, expected }
        }
        ModelError::FormatVersion { found, supported, forecart_version, .. } => {
            let path = path.to_owned();
            ModelError::FormatVersion { path, found, supported, forecart_version }
        }
        ModelError::Data(DataError::Damaged { path: part, reason }) => {
            let reason = format!("{}: {reason}", part.display());
            ModelError::Damaged { path: path.to_owned(), reason }
        }
        other => other,
    }
}
