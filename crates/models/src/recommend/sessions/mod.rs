//! Session neighbors: what happened in sessions like the current one.
//!
//! V-SKNN, STAN and VSTAN are one code with other weights; start at [`VsknnConfig`], [`StanConfig`] and
//! [`VstanConfig`], which give the formulas. A session of training is a session of the dataset; where nothing divides a
//! user's events (a log without times), all of them are one session. The current session is the newest `max_history`
//! events of the history.
//!
//! A session is the order of its distinct items, each at its newest event: what is clicked again and again is one item of
//! it. Sessions of one item say nothing of others and are left out.

mod keys;
mod log;
mod model;
mod neighbors;
mod spec;

pub use keys::{PositionDecay, StanKeys, VsknnKeys, VstanKeys};
pub use model::SessionNeighbors;
pub use spec::SessionSpec;

/// V-SKNN with its hyperparameters.
pub type VsknnConfig = SessionSpec<VsknnKeys>;

/// STAN with its hyperparameters.
pub type StanConfig = SessionSpec<StanKeys>;

/// VSTAN with its hyperparameters.
pub type VstanConfig = SessionSpec<VstanKeys>;

/// V-SKNN.
pub type Vsknn = SessionNeighbors<VsknnKeys>;

/// STAN.
pub type Stan = SessionNeighbors<StanKeys>;

/// VSTAN.
pub type Vstan = SessionNeighbors<VstanKeys>;
