//! What decides in a session model, and how it is fitted.

use std::fmt::Debug;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::contract::{FitContext, FitRecord, Fitted, ModelSpec};
use super::super::popularity::ItemCounts;
use super::super::search_space::Parameter;
use super::super::view::TrainingView;
use super::log::SessionLog;
use super::model::SessionNeighbors;
use crate::error::ModelError;

/// What decides about the neighbors of a session and what they bring.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// Newest events of the history that are the current session.
    pub(super) max_history: usize,
    /// Newest sessions that share an item with the current one: these are compared.
    pub(super) n_recent: usize,
    /// The most similar of them: these speak.
    pub(super) n_neighbors: usize,
    /// Whether the norms of both sessions divide the similarity.
    pub(super) is_cosine: bool,
    /// `exp(-days / it)` for a session that ended so many days ago.
    pub(super) days: Option<f64>,
    /// `exp(-distance / it)` for an event so far from the newest shared item in the neighbor.
    pub(super) neighbor_distance: Option<f64>,
    /// An item of a neighbor counts `1 + it · idf`.
    pub(super) idf: f64,
    /// Whether items of the current session are scored.
    pub(super) remind: bool,
}

/// Hyperparameters of a session model.
pub(super) trait SessionKeys: Debug + Copy + Serialize + Send + Sync + 'static {
    /// As [`ModelSpec::name`].
    const NAME: &'static str;

    /// As [`ModelSpec::search_space`].
    const SEARCH_SPACE: &'static [Parameter];

    /// What decides, but for the two weights below.
    fn rules(&self) -> Rules;

    /// The names of those that must be above 0, with their values.
    fn positive(&self) -> Vec<(&'static str, f64)>;

    /// The weight of an item of the current session, `steps` events before its end, of `length` events.
    fn of_current(&self, steps: usize, length: usize) -> f64;

    /// The weight of a neighbor whose newest shared item is `steps` events before the end of the current session.
    fn of_match(&self, steps: usize) -> f64;
}

/// A session model with its hyperparameters.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionSpec<K>(pub K);

#[expect(private_bounds, reason = "what a model of this kind is made of is nobody else's business")]
impl<K: SessionKeys> SessionSpec<K> {
    /// Refuses values outside of their ranges.
    pub(in crate::recommend) fn check(&self) -> Result<(), ModelError> {
        let refuse =
            |key: &str, reason: String| Err(ModelError::hyperparameter(K::NAME, key, reason));
        for (key, value) in self.0.positive() {
            if !(value > 0.0 && value.is_finite()) {
                return refuse(key, format!("{value} is not a positive number"));
            }
        }
        let idf = self.0.rules().idf;
        // A bound, so that sums of votes are finite.
        if !(0.0..=1e6).contains(&idf) {
            return refuse("idf_weight", format!("{idf} is not in 0.0..=1e6"));
        }
        Ok(())
    }
}

impl<K: SessionKeys> ModelSpec for SessionSpec<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn hyperparameters(&self) -> Value {
        serde_json::to_value(self.0).expect("numbers and names in a struct are JSON")
    }

    fn uses_seed(&self) -> bool {
        false
    }

    fn search_space(&self) -> &'static [Parameter] {
        K::SEARCH_SPACE
    }

    fn needed_bytes(&self, view: &TrainingView<'_>) -> u64 {
        SessionLog::needed_bytes(view)
    }

    fn fit(&self, view: &TrainingView<'_>, context: &FitContext<'_>) -> Result<Fitted, ModelError> {
        self.check()?;
        context.check_memory(K::NAME, self.needed_bytes(view), "keep fewer events")?;
        let counts = ItemCounts::of(view, K::NAME)?;
        context.progress.begin("sessions", Some(view.users().count() as u64));
        let log = SessionLog::of(view, context)?;
        Ok(Fitted::counted(SessionNeighbors { keys: self.0, log, counts }))
    }

    fn for_refit(&self, _: &FitRecord) -> Box<dyn ModelSpec> {
        Box::new(*self)
    }
}
