//! Any text read as a configuration: checked sections or errors.
#![no_main]

use forecart_prepare::config;
use forecart_prepare::prepare::{PrepareConfig, RawPrepareConfig, RawSplitConfig};
use libfuzzer_sys::fuzz_target;
use serde::de::DeserializeOwned;

fuzz_target!(|text: &str| {
    let _ = config::parse_toml(text);
    let Ok(table) = toml::from_str::<toml::Table>(text) else { return };
    let prepare = section::<RawPrepareConfig>(&table, "prepare");
    let split = section::<RawSplitConfig>(&table, "split");
    if let (Some(prepare), Some(split)) = (prepare, split) {
        let _ = PrepareConfig::new(prepare, split);
    }
});

/// A section, empty where the table has none; `None` if it is not one.
fn section<T: DeserializeOwned + Default>(table: &toml::Table, name: &str) -> Option<T> {
    match table.get(name) {
        Some(section) => section.clone().try_into().ok(),
        None => Some(T::default()),
    }
}
