//! Imports of texts in memory, and logs read back.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use forecart_data::Silent;
use forecart_prepare::{LogManifest, PrepareError, Resources, config, import, log};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// Imports `bytes` as a file without a telling name.
pub(crate) fn import_text(bytes: &[u8], config: &str) -> Result<LogManifest, PrepareError> {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("input");
    fs::write(&input, bytes).unwrap();
    import_with(&input, config, &folder.path().join("log"), 2)
}

/// Imports a file or folder.
pub(crate) fn import_with(
    input: &Path,
    config: &str,
    out: &Path,
    n_threads: usize,
) -> Result<LogManifest, PrepareError> {
    let config = config::parse_toml(config)?;
    let scratch = out.parent().unwrap().to_owned();
    let resources = Resources { memory_limit_bytes: Some(1 << 30), n_threads, scratch };
    import(&[input.to_owned()], &config, out, &resources, &Silent)
}

/// The rows of a Parquet file as texts by column; null is `None`.
pub(crate) fn read(path: &Path) -> BTreeMap<String, Vec<Option<String>>> {
    let file = fs::File::open(path).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let mut columns: BTreeMap<String, Vec<Option<String>>> = BTreeMap::new();
    for batch in reader {
        let batch = batch.unwrap();
        for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
            let values = columns.entry(field.name().clone()).or_default();
            let options = FormatOptions::default();
            let formatter = ArrayFormatter::try_new(array.as_ref(), &options).unwrap();
            for row in 0..array.len() {
                let text = match array.as_string_opt::<i32>() {
                    Some(texts) => texts.value(row).to_owned(),
                    None => formatter.value(row).to_string(),
                };
                values.push(array.is_valid(row).then_some(text));
            }
        }
    }
    columns
}

/// All events of a log in the order of their row numbers, a column each.
pub(crate) fn events(log: &Path) -> BTreeMap<String, Vec<Option<String>>> {
    let mut columns: BTreeMap<String, Vec<Option<String>>> = BTreeMap::new();
    for file in log::event_files(log).unwrap() {
        for (name, values) in read(&file) {
            columns.entry(name).or_default().extend(values);
        }
    }
    let numbers = columns["row_number"].iter().map(|n| n.as_ref().unwrap().parse::<u64>().unwrap());
    let mut order: Vec<(u64, usize)> = numbers.zip(0..).collect();
    order.sort_unstable();
    for values in columns.values_mut() {
        *values = order.iter().map(|(_, at)| values[*at].clone()).collect();
    }
    columns
}

/// Every file of a folder and its bytes.
pub(crate) fn bytes(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_owned();
                files.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    files
}
