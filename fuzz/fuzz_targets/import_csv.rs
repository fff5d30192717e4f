//! Any bytes read as a CSV log: rows, rejected rows, or an error.
#![no_main]

use forecart_prepare::{DataConfig, import};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = import::parse_csv_bytes(bytes, &DataConfig::default());
});
