//! One process that answers over HTTP and learns of new events.

pub mod event;
pub mod store;

pub use event::{Event, EventError};
