//! One process that answers over HTTP and learns of new events.

pub mod catalog;
pub mod rules;
