//! What a list is asked for.

use crate::experiments::Arm;
use crate::rules::{Boost, Filter, Values};

/// What a list is asked for.
#[derive(Debug, Clone)]
pub(crate) enum About {
    /// What a user or visitor wants next.
    Next,
    /// What is like an item.
    Like(String),
    /// What is bought together with an item.
    With(String),
    /// The order of given items.
    Among(Vec<String>),
}

/// A request for a list, checked.
#[derive(Debug)]
pub(crate) struct ListAsk {
    pub(crate) about: About,
    pub(crate) user_id: Option<String>,
    /// Item ids of a visit, oldest first, after what is known of the user.
    pub(crate) session: Vec<String>,
    pub(crate) n: usize,
    pub(crate) offset: usize,
    pub(crate) scenario: String,
    pub(crate) filter: Option<Filter>,
    pub(crate) boosts: Vec<Boost>,
    pub(crate) exclude: Vec<String>,
    /// In place of the scenario's.
    pub(crate) diversity: Option<f32>,
    /// Whether items of the history are left out, in place of the scenario's rule.
    pub(crate) leave_out_seen: Option<bool>,
    pub(crate) user: Values,
    pub(crate) context: Values,
    pub(crate) explain: bool,
    /// Whether the user lets history and attributes shape the list.
    pub(crate) is_personal: bool,
    pub(crate) arm: Arm,
}

impl ListAsk {
    /// The scenario whose rules hold.
    pub(super) fn shown_as(&self) -> &str {
        self.arm.scenario.as_deref().unwrap_or(&self.scenario)
    }

    /// Items of the list up to the last that is asked for.
    pub(super) fn n_read(&self) -> usize {
        self.n.saturating_add(self.offset)
    }
}
