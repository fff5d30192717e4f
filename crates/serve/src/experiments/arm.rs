//! What a request is answered as.

use std::sync::Arc;

use forecart_models::model_file::LoadedModel;

use super::{Experiment, Experiments};
use crate::lists::ONLY_VARIANT;
use crate::models::Live;

/// The variant that a request is answered as, and what it changes.
#[derive(Debug, Clone)]
pub(crate) struct Arm {
    /// `None`: in no experiment.
    pub(crate) experiment: Option<String>,
    pub(crate) variant: String,
    /// In place of the scenario that was asked for.
    pub(crate) scenario: Option<String>,
    /// In place of the live one.
    pub(crate) model: Option<Arc<LoadedModel>>,
    /// Whether no model answers.
    pub(crate) is_held_out: bool,
}

impl Default for Arm {
    fn default() -> Self {
        Self {
            experiment: None,
            variant: ONLY_VARIANT.to_owned(),
            scenario: None,
            model: None,
            is_held_out: false,
        }
    }
}

impl Experiments {
    /// What a user's request is answered as. An experiment that is [suspended](Experiment::suspended) answers as if it was not there.
    pub(crate) fn arm(&self, scenario: &str, user_id: &str, live: &Live, now_ms: i64) -> Arm {
        let mut running = self.all().iter().filter(|own| own.is_for(scenario) && own.is_at(now_ms));
        let Some(experiment) = running.next() else { return Arm::default() };
        let Some((place, _)) = experiment.assigned(user_id) else { return Arm::default() };
        if experiment.suspended(live).is_some() {
            return Arm::default();
        }
        let variant = &experiment.variants[place];
        Arm {
            experiment: Some(experiment.name.clone()),
            variant: variant.name.clone(),
            scenario: variant.scenario.clone(),
            model: variant.model.as_ref().and_then(|name| live.beside.get(name).cloned()),
            is_held_out: variant.is_popular,
        }
    }
}

impl Experiment {
    /// Why it does not run though it is its time: a variant's model is not there, or is the very model that another variant answers with. A
    /// variant that answers like the control without saying so would spoil what is read out.
    pub(super) fn suspended(&self, live: &Live) -> Option<String> {
        for variant in &self.variants {
            let Some(name) = &variant.model else { continue };
            let Some(file) = live.beside.get(name) else {
                return Some(format!(
                    "variant {:?}: the model {name:?} is not loaded; left_out of GET /v1/models says why",
                    variant.name
                ));
            };
            let is_live = live
                .recommend
                .as_ref()
                .is_some_and(|live| live.header().content_hash == file.header().content_hash);
            let alike = self.variants.iter().find(|other| {
                other.model.is_none() && !other.is_popular && other.scenario == variant.scenario
            });
            if let (true, Some(other)) = (is_live, alike) {
                return Some(format!(
                    "variants {:?} and {:?} answer alike: the model {name:?} is the live one",
                    variant.name, other.name
                ));
            }
        }
        None
    }
}
