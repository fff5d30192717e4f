//! The memory that training states before it starts, against what it took. In a process of its own, since the peak is
//! that of the process.
#![cfg(target_os = "linux")]

use std::num::NonZeroUsize;
use std::time::Duration;

use forecart_data::dataset::{Description, EventRow, Tables};
use forecart_data::encode::FeatureProgram;
use forecart_data::{
    Dataset, DatasetWriter, EventOrder, ItemFeatures, ItemIdx, Protocol, SeenItems, Silent,
    TextTable, Vocabulary,
};
use forecart_models::recommend::{FitOn, registry};
use forecart_models::training::Checkpoint;
use forecart_train::{TrainOptions, train};
use serde_json::{Value, json};

const N_ITEMS: u32 = 50_000;
const N_USERS: u32 = 4000;

/// Every item is somebody's, so that no row of a table stays untouched.
fn shop(folder: &std::path::Path) -> Dataset {
    let mut writer = DatasetWriter::new(folder, false).unwrap();
    for user in 0..N_USERS {
        let n = 16;
        for position in 0..n {
            let item = ItemIdx((user * n + position) % N_ITEMS + 1);
            let row = EventRow { item, timestamp_ms: 0, event: 1, session: 0, value: 1.0 };
            writer.push(row).unwrap();
        }
        writer.end_user(n - 2, n - 1).unwrap();
    }
    let names = |prefix: &str, n: u32| {
        let entries = (1..=n).map(|index| (format!("{prefix}{index}"), 1));
        Vocabulary::from_entries(entries, 0).unwrap()
    };
    let tables = Tables {
        users: names("u", N_USERS),
        items: names("i", N_ITEMS),
        event_names: names("e", 1),
        titles: (0..=N_ITEMS).map(|_| "").collect::<TextTable>(),
        encoders: FeatureProgram::default(),
        item_features: ItemFeatures::default(),
        description: Description {
            protocol: Protocol::LooFull,
            seen: SeenItems::Exclude,
            has_time: false,
            order: EventOrder::File,
            data_hash: "00".into(),
            config: Value::Null,
            steps: Vec::new(),
        },
    };
    writer.finish(tables).unwrap();
    Dataset::open(folder).unwrap()
}

#[test]
fn training_takes_between_0_6_and_1_1_times_what_is_stated() {
    let root = tempfile::tempdir().unwrap();
    let dataset = shop(&root.path().join("dataset"));
    for (name, keys) in [
        ("mlp", json!({"n_epochs": 1, "loss": "sampled", "d_model": 128})),
        ("sasrec", json!({"n_epochs": 1, "d_model": 128})),
        ("sasrec", json!({"n_epochs": 1, "d_model": 16, "loss": "full"})),
        ("esasrec", json!({"n_epochs": 1, "d_model": 128, "n_negatives": 32})),
    ] {
        let spec = registry::spec(name, &keys).unwrap();
        let checkpoint = Checkpoint::new(root.path().join("checkpoint")).every(Duration::ZERO);
        let options = TrainOptions {
            fit_on: FitOn::Train,
            seed: 1,
            n_threads: NonZeroUsize::new(2).unwrap(),
            memory_limit_bytes: None,
            checkpoint: Some(checkpoint.clone()),
        };
        let trained = train(&dataset, spec.as_ref(), &options, &Silent).unwrap();
        checkpoint.remove().unwrap();
        let factor = trained.memory_bytes as f64 / trained.needed_bytes as f64;
        assert!(
            (0.6..=1.1).contains(&factor),
            "{name}: stated {} MB, taken {} MB, factor {factor:.2}",
            trained.needed_bytes / 1_000_000,
            trained.memory_bytes / 1_000_000
        );
    }
}
