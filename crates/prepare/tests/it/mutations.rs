//! The seeds of the fuzz targets, mutated at random: what the targets check, without a fuzzer.
//!
//! `FORECART_MUTATIONS=1000000 cargo test --release mutations` goes on for longer than the default does.

use std::fs;
use std::path::Path;

use forecart_prepare::import::{ParsedText, parse_csv_bytes};
use forecart_prepare::prepare::{RawPrepareConfig, RawSplitConfig};
use forecart_prepare::{DataConfig, PrepareConfig, config};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Configurations that the first byte of a seed of `import_csv` chooses, as in the target.
const CONFIGS: &[&str] = include!("../../../../fuzz/import_configs.rs");

/// What is put into texts: marks that mean something to a reader, and numbers at the edges.
const TOKENS: &[&str] = &[
    "\"",
    "\"\"",
    "'",
    ",",
    "\t",
    ";",
    "::",
    ":",
    "\n",
    "\r\n",
    "\r",
    "\0",
    "\u{feff}",
    "é",
    "商品",
    "🛍️",
    "-",
    "+",
    "1e999",
    "NaN",
    "-inf",
    "9223372036854775807",
    "-9223372036854775808",
    "1e308",
    "0.0000000001",
    "2024-02-30",
    "0000-00-00 00:00:00",
    "9999-12-31T23:59:60.999999999+14:00",
    "{",
    "}",
    "[",
    "null",
    "true",
    "\\u0000",
    "= ",
    "user_id",
    "timestamp",
    "quantity",
    "event",
    "[prepare]",
    "[split]",
    "1",
    "0",
    " ",
];

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn mutated(seeds: &[Vec<u8>], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = seeds[rng.random_range(0..seeds.len())].clone();
    for _ in 0..rng.random_range(1..6) {
        let at = rng.random_range(0..=bytes.len());
        match rng.random_range(0..6) {
            0 => {
                let token = TOKENS[rng.random_range(0..TOKENS.len())];
                bytes.splice(at..at, token.bytes());
            }
            1 => {
                let end = (at + rng.random_range(1..9)).min(bytes.len());
                bytes.drain(at..end);
            }
            2 if at < bytes.len() => bytes[at] = rng.random_range(0..=255),
            3 => {
                let end = (at + rng.random_range(1..40)).min(bytes.len());
                let copied = bytes[at..end].repeat(rng.random_range(1..4));
                let to = rng.random_range(0..=bytes.len());
                bytes.splice(to..to, copied);
            }
            4 => {
                let other = &seeds[rng.random_range(0..seeds.len())];
                let from = rng.random_range(0..=other.len());
                bytes.splice(at..at, other[from..].iter().copied());
            }
            _ => bytes.truncate(at),
        }
    }
    bytes
}

fn n_mutations() -> u32 {
    let stated = std::env::var("FORECART_MUTATIONS").ok();
    stated.map_or(20_000, |n| n.parse().expect("FORECART_MUTATIONS is a number"))
}

fn n_rows(parsed: &ParsedText) -> u64 {
    parsed.batches.iter().map(|batch| batch.num_rows() as u64).sum()
}

#[test]
fn mutations_of_logs_give_rows_or_errors_however_they_are_cut() {
    let seeds = seeds("import_csv");
    let configs: Vec<DataConfig> =
        CONFIGS.iter().map(|text| config::parse_toml(text).unwrap()).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut n_read = 0;
    for _ in 0..n_mutations() {
        let bytes = mutated(&seeds, &mut rng);
        let Some((choice, text)) = bytes.split_first() else { continue };
        let whole = &configs[usize::from(*choice) % configs.len()];
        let cut = DataConfig { block_bytes: rng.random_range(1..40), ..whole.clone() };
        let shown = || String::from_utf8_lossy(&bytes).into_owned();
        match (parse_csv_bytes(text, whole), parse_csv_bytes(text, &cut)) {
            (Ok(whole), Ok(cut)) => {
                let n_rejected: u64 = whole.rejected.iter().map(|group| group.n_rows).sum();
                assert_eq!(n_rows(&whole) + n_rejected, whole.n_read, "{}", shown());
                assert_eq!(n_rows(&whole), n_rows(&cut), "{}", shown());
                assert_eq!(whole.rejected, cut.rejected, "{}", shown());
                n_read += whole.n_read;
            }
            (Err(whole), Err(cut)) => assert_eq!(whole.to_string(), cut.to_string(), "{}", shown()),
            (whole, cut) => panic!("{whole:?}, in blocks {cut:?}: {}", shown()),
        }
    }
    assert!(
        n_read > u64::from(n_mutations()) / 4,
        "only {n_read} rows were read: nothing was tried"
    );
}

#[test]
fn mutations_of_configurations_are_checked_or_refused() {
    let seeds = seeds("config");
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut n_checked = 0;
    for _ in 0..n_mutations() {
        let bytes = mutated(&seeds, &mut rng);
        let Ok(text) = std::str::from_utf8(&bytes) else { continue };
        n_checked += u32::from(config::parse_toml(text).is_ok());
        let Ok(table) = toml::from_str::<toml::Table>(text) else { continue };
        let section = |name: &str| table.get(name).cloned().unwrap_or(toml::Table::new().into());
        let prepare = section("prepare").try_into::<RawPrepareConfig>();
        let split = section("split").try_into::<RawSplitConfig>();
        if let (Ok(prepare), Ok(split)) = (prepare, split) {
            let _ = PrepareConfig::new(prepare, split);
        }
    }
    assert!(n_checked > 0, "no mutation was a configuration");
}
