//! What an experiment is, for those who ask.

use serde::Serialize;
use utoipa::ToSchema;

use super::Experiment;
use crate::catalog::time;
use crate::models::Live;

/// Where an experiment is in its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It has not begun.
    Waiting,
    /// Users are answered by its variants.
    Running,
    /// It is its time, and it does not run all the same.
    Suspended,
    /// It is over.
    Ended,
}

/// A variant as it was configured.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct VariantStatus {
    /// Its name.
    pub name: String,
    /// Its part of the experiment's users.
    pub share: f64,
    /// The scenario whose rules its lists have, if another one than was asked for.
    pub scenario: Option<String>,
    /// Its model, if another one than the live one.
    pub model: Option<String>,
    /// Whether its lists come from no model.
    pub popular: bool,
}

/// An experiment as it was configured, and its state.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ExperimentStatus {
    /// Its name.
    pub name: String,
    /// Where it is in its time.
    pub state: State,
    /// Why it is suspended.
    pub reason: Option<String>,
    /// Scenarios that it runs in; empty: all.
    pub scenarios: Vec<String>,
    /// Part of the users that is in it.
    pub share: f64,
    /// As RFC 3339.
    pub begins: Option<String>,
    /// As RFC 3339.
    pub ends: Option<String>,
    /// Hours from a user's first impression in which what they do counts.
    pub attribution_hours: f64,
    /// Probability that any variant is called different though none is.
    pub alpha: f64,
    /// The first is the control.
    pub variants: Vec<VariantStatus>,
}

impl Experiment {
    /// What it is at a moment; whether its models are there is known where they are served.
    pub fn status(&self, live: Option<&Live>, now_ms: i64) -> ExperimentStatus {
        let in_time = if self.begins_ms.is_some_and(|begins_ms| now_ms < begins_ms) {
            State::Waiting
        } else if self.ends_ms.is_some_and(|ends_ms| ends_ms <= now_ms) {
            State::Ended
        } else {
            State::Running
        };
        let reason = match in_time {
            State::Running => live.and_then(|live| self.suspended(live)),
            _ => None,
        };
        let variant = |own: &super::config::Variant| VariantStatus {
            name: own.name.clone(),
            share: own.share,
            scenario: own.scenario.clone(),
            model: own.model.clone(),
            popular: own.is_popular,
        };
        ExperimentStatus {
            name: self.name.clone(),
            state: if reason.is_some() { State::Suspended } else { in_time },
            reason,
            scenarios: self.scenarios.clone(),
            share: self.share,
            begins: self.begins_ms.map(time::in_words),
            ends: self.ends_ms.map(time::in_words),
            attribution_hours: self.attribution_ms as f64 / 3_600_000.0,
            alpha: self.alpha,
            variants: self.variants.iter().map(variant).collect(),
        }
    }
}
