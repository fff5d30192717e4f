//! One process that answers over HTTP and learns of new events.

pub mod assemble;
pub mod catalog;
pub mod rules;
