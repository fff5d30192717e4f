//! Any bytes read as a log: rows, rejected rows, or an error; the same ones however the text is cut
//! into blocks. The first byte chooses the configuration.
#![no_main]

use forecart_prepare::config;
use forecart_prepare::import::{ParsedText, parse_csv_bytes};
use libfuzzer_sys::fuzz_target;

const CONFIGS: &[&str] = include!("../import_configs.rs");

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, text)) = bytes.split_first() else { return };
    let chosen = CONFIGS[usize::from(*choice) % CONFIGS.len()];
    let config = config::parse_toml(chosen).expect("the configurations are valid");
    let whole = parse_csv_bytes(text, &config);
    let cut = parse_csv_bytes(text, &config::DataConfig { block_bytes: 16, ..config });
    match (whole, cut) {
        (Ok(whole), Ok(cut)) => {
            assert_eq!(n_rows(&whole) + n_rejected(&whole), whole.n_read);
            assert_eq!(n_rows(&whole), n_rows(&cut));
            assert_eq!(whole.rejected, cut.rejected);
        }
        (Err(whole), Err(cut)) => assert_eq!(whole.to_string(), cut.to_string()),
        (whole, cut) => panic!("{whole:?}, in blocks {cut:?}"),
    }
});

fn n_rows(parsed: &ParsedText) -> u64 {
    parsed.batches.iter().map(|batch| batch.num_rows() as u64).sum()
}

fn n_rejected(parsed: &ParsedText) -> u64 {
    parsed.rejected.iter().map(|group| group.n_rows).sum()
}
