//! Any bytes read as a stream of samples: hashed features, rejected rows, or an error; the same ones however the text is cut into
//! blocks. The first byte chooses the configuration.
#![no_main]

use forecart_data::encode::{HashSpace, HashedNumbers, HashedRows};
use forecart_prepare::config::DataConfig;
use forecart_prepare::{RawSamplesConfig, SampleStream, SamplesConfig, config};
use libfuzzer_sys::fuzz_target;

const CONFIGS: &[&str] = include!("../sample_configs.rs");
const SPACE: HashSpace = HashSpace { bits: 18, numbers: HashedNumbers::Log };

/// All rows, the number of bad ones, of those without a label, and of all that were read.
fn read(text: &[u8], data: &DataConfig, samples: &SamplesConfig) -> Result<(HashedRows, [u64; 3]), String> {
    let stream = SampleStream::of_bytes(text, SPACE, data, samples);
    let mut stream = stream.map_err(|error| error.to_string())?;
    let (mut all, mut block) = (HashedRows::default(), HashedRows::default());
    while stream.next_block(&mut block).map_err(|error| error.to_string())?.is_some() {
        block.iter().for_each(|row| all.push_row(row));
    }
    let n_bad = stream.rejected().iter().map(|group| group.n_rows).sum();
    Ok((all, [n_bad, stream.n_open(), stream.n_read()]))
}

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, text)) = bytes.split_first() else { return };
    let chosen = CONFIGS[usize::from(*choice) % CONFIGS.len()];
    let data = config::parse_toml(chosen).expect("the configurations are valid");
    let table: toml::Table = chosen.parse().expect("the configurations are TOML");
    let section = table.get("samples").cloned().unwrap_or_else(|| toml::Table::new().into());
    let raw: RawSamplesConfig = section.try_into().expect("the configurations are valid");
    let samples = SamplesConfig::try_from(raw).expect("the configurations are valid");
    let whole = read(text, &data, &samples);
    let cut = read(text, &DataConfig { block_bytes: 16, ..data }, &samples);
    assert_eq!(whole, cut);
    if let Ok((rows, [n_bad, n_open, n_read])) = whole {
        assert_eq!(rows.len() as u64 + n_bad + n_open, n_read);
        assert!(rows.iter().flat_map(|row| row.features).all(|f| f.slot < 1 << 18 && f.value.is_finite()));
    }
});
