//! The dataset folder: what is written is what is read, and damage is an error.

use std::fs;
use std::path::Path;

use forecart_data::dataset::{Description, EventRow, Tables};
use forecart_data::features::FeatureNames;
use forecart_data::{
    DataError, Dataset, DatasetWriter, EventOrder, ItemFeatures, ItemIdx, Part, Protocol,
    SeenItems, TextTable, UserIdx, Vocabulary,
};

/// Two users: (lamp, mug, lamp) split 1 | 1 | 1 and (mug) for training alone.
fn write(folder: &Path) {
    let mut writer = DatasetWriter::new(folder, true).unwrap();
    let row = |item: u32, timestamp_ms| EventRow {
        item: ItemIdx(item),
        timestamp_ms,
        event: 1,
        session: 0,
        value: 1.0,
    };
    for (item, time) in [(1, 10), (2, 20), (1, 30)] {
        writer.push(row(item, time)).unwrap();
    }
    writer.end_user(1, 2).unwrap();
    writer.push(row(2, 5)).unwrap();
    writer.end_user(1, 1).unwrap();
    let tables = Tables {
        users: Vocabulary::from_entries([("ann", 1), ("bo", 1)], 0).unwrap(),
        items: Vocabulary::from_entries([("lamp", 1), ("mug", 1)], 0).unwrap(),
        event_names: Vocabulary::from_entries([("purchase", 2)], 0).unwrap(),
        titles: ["", "A lamp", "杯子"].iter().collect::<TextTable>(),
        encoders: forecart_data::encode::FeatureProgram::default(),
        item_features: ItemFeatures {
            names: FeatureNames { dense: vec!["price".into()], sparse: vec!["red".into()] },
            dense: vec![0.0, 1.5, -1.5].into(),
            sparse_offsets: vec![0, 0, 1, 1].into(),
            sparse_indices: vec![0].into(),
        },
        description: Description {
            protocol: Protocol::LooFull,
            seen: SeenItems::Exclude,
            target_event: None,
            has_time: true,
            order: EventOrder::Time,
            data_hash: "00".into(),
            config: serde_json::json!({"k": 1}),
            steps: Vec::new(),
        },
    };
    let manifest = writer.finish(tables).unwrap();
    assert_eq!((manifest.counts.n_users, manifest.counts.n_events), (2, 4));
    assert_eq!((manifest.counts.n_train, manifest.counts.n_test), (2, 1));
}

#[test]
fn what_is_written_is_what_is_read() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("dataset");
    write(&folder);
    let dataset = Dataset::open(&folder).unwrap();
    dataset.verify().unwrap();
    let ann = UserIdx(1);
    assert_eq!(dataset.history_before(ann, Part::Test).items, [ItemIdx(1), ItemIdx(2)]);
    assert_eq!(dataset.events_in(ann, Part::Test).timestamps_ms, [30]);
    assert_eq!(dataset.events_in(UserIdx(2), Part::Validation).items, []);
    assert_eq!(dataset.history_before(UserIdx(77), Part::Test).items, []);
    assert_eq!(dataset.item_features.sparse_row(1), [0]);
    assert_eq!(dataset.titles.get(2), "杯子");
}

#[test]
fn the_same_content_gives_the_same_bytes() {
    let root = tempfile::tempdir().unwrap();
    let (a, b) = (root.path().join("a"), root.path().join("b"));
    write(&a);
    write(&b);
    let manifest = |folder: &Path| fs::read(folder.join("manifest.json")).unwrap();
    assert_eq!(manifest(&a), manifest(&b));
}

#[test]
fn any_damaged_file_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("dataset");
    write(&folder);
    let names: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    for name in names {
        let path = folder.join(&name);
        let good = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(Dataset::open(&folder).is_err(), "{name:?} removed");
        fs::write(&path, [&good[..], b"12345678"].concat()).unwrap();
        assert!(Dataset::open(&folder).is_err(), "{name:?} longer");
        let mut flipped = good.clone();
        if let Some(byte) = flipped.last_mut() {
            *byte ^= 0xff;
            fs::write(&path, &flipped).unwrap();
            let detected = Dataset::open(&folder).and_then(|dataset| dataset.verify());
            assert!(detected.is_err(), "{name:?} with a flipped byte");
        }
        fs::write(&path, &good).unwrap();
    }
    Dataset::open(&folder).unwrap();
}

#[test]
fn a_folder_that_is_no_dataset_and_a_newer_format_say_so() {
    let root = tempfile::tempdir().unwrap();
    assert!(matches!(Dataset::open(root.path()), Err(DataError::NotADataset { .. })));
    let folder = root.path().join("dataset");
    write(&folder);
    let path = folder.join("manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"format_version\": 1", "\"format_version\": 9")).unwrap();
    assert!(matches!(Dataset::open(&folder), Err(DataError::FormatVersion { found: 9, .. })));
}
