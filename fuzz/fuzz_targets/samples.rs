//! Any bytes read as samples: rows, rejected rows, or an error; the same ones however the text is cut into blocks. The
//! first byte chooses the configuration.
#![no_main]

use forecart_prepare::samples::parse_sample_bytes;
use forecart_prepare::{RawSamplesConfig, SamplesConfig, config};
use libfuzzer_sys::fuzz_target;

const CONFIGS: &[&str] = include!("../sample_configs.rs");

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, text)) = bytes.split_first() else { return };
    let chosen = CONFIGS[usize::from(*choice) % CONFIGS.len()];
    let data = config::parse_toml(chosen).expect("the configurations are valid");
    let table: toml::Table = chosen.parse().expect("the configurations are TOML");
    let section = table.get("samples").cloned().unwrap_or_else(|| toml::Table::new().into());
    let raw: RawSamplesConfig = section.try_into().expect("the configurations are valid");
    let samples = SamplesConfig::try_from(raw).expect("the configurations are valid");
    let whole = parse_sample_bytes(text, &data, &samples);
    let cut = parse_sample_bytes(text, &config::DataConfig { block_bytes: 16, ..data }, &samples);
    match (whole, cut) {
        (Ok(whole), Ok(cut)) => {
            let n_bad: u64 = whole.rejected.iter().map(|group| group.n_rows).sum();
            assert_eq!(whole.n_rows + n_bad, whole.n_read);
            assert_eq!(whole, cut);
        }
        (Err(whole), Err(cut)) => assert_eq!(whole.to_string(), cut.to_string()),
        (whole, cut) => panic!("{whole:?}, in blocks {cut:?}"),
    }
});
