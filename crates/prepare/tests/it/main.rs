//! Integration tests: files in, event log and reports out.

mod broken;
mod formats;
mod memory;
mod prepare;
mod properties;
mod support;
