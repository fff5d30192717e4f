//! Integration tests: files in, event log and reports out.

mod broken;
mod formats;
mod from_log;
mod memory;
mod mutations;
mod prepare;
mod properties;
mod questions;
mod samples;
mod stream;
mod support;
