//! The journal of a search: who it is, then a line for each trial.

use std::collections::BTreeMap;
use std::path::Path;

use forecart_data::Journal;
use forecart_eval::tuning::Trial;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::subject::{Candidate, Subject};
use super::{BATCH, TuneOptions};
use crate::error::TrainError;

/// Everything that decides about the trials of a search, but how many there are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SearchId {
    format: String,
    format_version: u32,
    model: String,
    dataset: String,
    metric: String,
    seed: u64,
    protocol: String,
    prunes: bool,
    batch: usize,
    defaults: Value,
    space: Value,
}

impl SearchId {
    pub(super) fn new(options: &TuneOptions, model: &dyn Candidate, subject: &dyn Subject) -> Self {
        Self {
            format: "forecart-tuning".into(),
            format_version: 1,
            model: model.name().into(),
            dataset: subject.content_hash().to_owned(),
            metric: subject.objective().to_string(),
            seed: options.seed,
            protocol: subject.protocol_id(),
            prunes: options.prunes,
            batch: BATCH,
            defaults: model.hyperparameters(),
            space: serde_json::to_value(model.search_space()).unwrap_or_default(),
        }
    }

    /// The first thing in which two searches differ, in the words of their keys.
    fn difference(&self, other: &Self) -> Option<String> {
        let (own, other) = (serde_json::to_value(self).ok()?, serde_json::to_value(other).ok()?);
        let mut keys = own.as_object()?.iter();
        let (key, value) = keys.find(|(key, value)| other.get(key) != Some(value))?;
        Some(format!("`{key}` is {}, not {value}", other.get(key).unwrap_or(&Value::Null)))
    }
}

/// Writes trials.
#[derive(Debug)]
pub(super) struct Recorder(Journal);

impl Recorder {
    /// Opens the journal of the search `id`; the trials that it holds, by number.
    pub(super) fn open(
        path: &Path,
        id: &SearchId,
    ) -> Result<(Self, BTreeMap<usize, Trial>), TrainError> {
        let (mut journal, lines) = Journal::open(path)?;
        let other = |reason: String| TrainError::OtherSearch { path: path.to_owned(), reason };
        let Some((first, rest)) = lines.split_first() else {
            journal.append(&json(id)?)?;
            return Ok((Self(journal), BTreeMap::new()));
        };
        let found: SearchId = serde_json::from_str(first)
            .map_err(|error| other(format!("its first line: {error}")))?;
        if let Some(difference) = id.difference(&found) {
            return Err(other(difference));
        }
        let mut trials = BTreeMap::new();
        for line in rest {
            let trial: Trial =
                serde_json::from_str(line).map_err(|error| other(error.to_string()))?;
            trials.insert(trial.number, trial);
        }
        Ok((Self(journal), trials))
    }

    pub(super) fn write(&mut self, trial: &Trial) -> Result<(), TrainError> {
        Ok(self.0.append(&json(trial)?)?)
    }
}

fn json(value: &impl Serialize) -> Result<String, TrainError> {
    serde_json::to_string(value).map_err(|error| TrainError::Search { reason: error.to_string() })
}
