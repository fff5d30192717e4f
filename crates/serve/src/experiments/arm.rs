//! What a request is answered as.

use std::sync::Arc;

use forecart_models::model_file::LoadedModel;

use super::config::Variant;
use super::{Experiment, Experiments};
use crate::models::Live;

/// What answers where no variant was chosen.
pub(super) const ONLY_VARIANT: &str = "default";

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
    /// Why it does not run though it is its time: a variant's model is not there, or two variants that say different things answer alike. A
    /// variant that answers like another one without saying so would spoil what is read out. Variants that say the same are meant to answer
    /// alike: that is how the read-out itself is tested.
    pub(super) fn suspended(&self, live: &Live) -> Option<String> {
        for (place, variant) in self.variants.iter().enumerate() {
            if let Some(name) = &variant.model
                && !live.beside.contains_key(name)
            {
                return Some(format!(
                    "variant {:?}: the model {name:?} is not loaded; left_out of GET /v1/models says why",
                    variant.name
                ));
            }
            let mut earlier = self.variants[..place].iter();
            if let Some(other) = earlier.find(|other| variant.is_duplicate_of(other, live)) {
                return Some(alike(other, variant));
            }
        }
        None
    }
}

impl Variant {
    /// The version that its lists come from; `None` if no model answers.
    fn version<'a>(&self, live: &'a Live) -> Option<&'a str> {
        let file = match &self.model {
            _ if self.is_popular => None,
            Some(name) => live.beside.get(name),
            None => live.recommend.as_ref(),
        };
        Some(&file?.header().content_hash)
    }

    /// Whether it answers from the very model that another one calls otherwise.
    fn is_duplicate_of(&self, other: &Self, live: &Live) -> bool {
        let version = self.version(live);
        self.model != other.model
            && self.scenario == other.scenario
            && version.is_some()
            && version == other.version(live)
    }
}

/// What is said of two variants that answer alike though they say different things.
fn alike(one: &Variant, other: &Variant) -> String {
    let model = |own: &Variant| match &own.model {
        Some(name) => format!("{name:?}"),
        None => "the live one".to_owned(),
    };
    format!(
        "variants {:?} and {:?} answer alike: their models, {} and {}, are one and the same; name another one in one of them, or say the same in both to compare a model with itself",
        one.name,
        other.name,
        model(one),
        model(other)
    )
}
