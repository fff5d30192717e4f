//! Any text read as a configuration: a checked configuration or an error.
#![no_main]

use forecart_prepare::config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = config::parse_toml(text);
});
