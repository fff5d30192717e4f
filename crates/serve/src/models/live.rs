//! What answers, one whole version in each slot, and how it comes from a file.

use std::collections::BTreeMap;
use std::sync::Arc;

use forecart_models::ModelError;
use forecart_models::model_file::{
    DemandModelFile, IntentModelFile, LoadedModel, OutcomeModelFile, QuestionModelFile, Trust,
};

use super::{Found, RECOMMEND, TOGETHER};

/// What answers now.
#[derive(Debug, Clone, Default)]
pub struct Live {
    /// Lists of items.
    pub recommend: Option<Arc<LoadedModel>>,
    /// What is bought together; a model `together` has this slot of its own.
    pub together: Option<Arc<LoadedModel>>,
    /// Clicks, conversions, purchases, by task.
    pub outcomes: BTreeMap<String, Arc<OutcomeModelFile>>,
    /// What texts ask.
    pub support: Option<Arc<IntentModelFile>>,
    /// What users will ask.
    pub question: Option<Arc<QuestionModelFile>>,
    /// How much will be sold.
    pub demand: Option<Arc<DemandModelFile>>,
    /// Models of lists that variants of experiments answer with, by what the configuration calls them.
    pub beside: BTreeMap<String, Arc<LoadedModel>>,
}

impl Live {
    /// The model and version in a slot.
    pub fn in_slot(&self, slot: &str) -> Option<(&str, &str)> {
        let (model, version) = match slot {
            RECOMMEND => {
                let header = self.recommend.as_ref()?.header();
                (&header.model, &header.content_hash)
            }
            TOGETHER => {
                let header = self.together.as_ref()?.header();
                (&header.model, &header.content_hash)
            }
            "support" => {
                let header = self.support.as_ref()?.header();
                (&header.model, &header.content_hash)
            }
            "question" => {
                let header = self.question.as_ref()?.header();
                (&header.model, &header.content_hash)
            }
            "demand" => {
                let header = self.demand.as_ref()?.header();
                (&header.model, &header.content_hash)
            }
            outcome => {
                let header = self.outcomes.get(outcome)?.header();
                (&header.model, &header.content_hash)
            }
        };
        Some((model, version))
    }

    pub(super) fn put(&mut self, slot: &str, file: Loaded) {
        match file {
            Loaded::Recommend(file) if slot == TOGETHER => self.together = Some(file),
            Loaded::Recommend(file) => self.recommend = Some(file),
            Loaded::Outcome(file) => drop(self.outcomes.insert(slot.to_owned(), file)),
            Loaded::Intent(file) => self.support = Some(file),
            Loaded::Question(file) => self.question = Some(file),
            Loaded::Demand(file) => self.demand = Some(file),
        }
    }
}

/// A file, loaded for the slot that it is for.
#[derive(Debug)]
pub(super) enum Loaded {
    Recommend(Arc<LoadedModel>),
    Outcome(Arc<OutcomeModelFile>),
    Intent(Arc<IntentModelFile>),
    Question(Arc<QuestionModelFile>),
    Demand(Arc<DemandModelFile>),
}

pub(super) fn load(found: &Found, trust: &Trust) -> Result<Loaded, ModelError> {
    let path = &found.path;
    Ok(match found.name.as_str() {
        RECOMMEND | TOGETHER => {
            let file = LoadedModel::open_trusted(path, trust)?;
            file.model().warm();
            Loaded::Recommend(Arc::new(file))
        }
        "support" => Loaded::Intent(Arc::new(IntentModelFile::open_trusted(path, trust)?)),
        "question" => Loaded::Question(Arc::new(QuestionModelFile::open_trusted(path, trust)?)),
        "demand" => Loaded::Demand(Arc::new(DemandModelFile::open_trusted(path, trust)?)),
        _ => Loaded::Outcome(Arc::new(OutcomeModelFile::open_trusted(path, trust)?)),
    })
}
