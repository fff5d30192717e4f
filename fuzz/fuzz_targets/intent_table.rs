//! A folder of an intent table with any bytes in place of one of its files, which the first byte chooses: an error, or a table whose every row can be
//! read.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use forecart_data::intents::IntentDescription;
use forecart_data::{IntentTable, IntentWriter, Part};
use libfuzzer_sys::fuzz_target;

/// The folder, and its files as they were written.
fn table() -> &'static (tempfile::TempDir, Vec<(PathBuf, Vec<u8>)>) {
    static TABLE: OnceLock<(tempfile::TempDir, Vec<(PathBuf, Vec<u8>)>)> = OnceLock::new();
    TABLE.get_or_init(|| {
        let root = tempfile::tempdir().expect("a temporary folder");
        let folder = root.path().join("intents");
        let names = ["cancel", "track"].into_iter().collect();
        let mut writer = IntentWriter::new(&folder, names).expect("it can be written");
        let rows = [
            ("cancel it", Some(0), Part::Train),
            ("where", Some(1), Part::Test),
            ("hm", None, Part::Validation),
        ];
        for (text, label, part) in rows {
            writer.push(text, label, part).expect("it can be written");
        }
        let description = IntentDescription {
            data_hash: "00".to_owned(),
            pipeline: serde_json::Value::Null,
            config: serde_json::Value::Null,
            left_out: Vec::new(),
        };
        writer.finish(description).expect("it can be written");
        let mut files: Vec<(PathBuf, Vec<u8>)> = fs::read_dir(&folder)
            .expect("the folder is there")
            .map(|entry| entry.expect("an entry").path())
            .map(|path| (path.clone(), fs::read(path).expect("a file")))
            .collect();
        files.sort();
        (root, files)
    })
}

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, content)) = bytes.split_first() else { return };
    let (root, files) = table();
    let (path, original) = &files[usize::from(*choice) % files.len()];
    fs::write(path, content).expect("it can be written");
    if let Ok(table) = IntentTable::open(&root.path().join("intents")) {
        for row in 0..table.n_texts() {
            let _ = (
                table.text(row),
                table.part(row),
                table.label(row).map(|at| table.intents.get(at as usize)),
            );
        }
        let _ = table.verify();
    }
    fs::write(path, original).expect("it can be written");
});
