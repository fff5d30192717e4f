//! The memory that training states before it starts, against what it took. Each training runs in a process of its own:
//! the peak is that of the process, which keeps what an earlier training has freed.
#![cfg(target_os = "linux")]

use std::num::NonZeroUsize;
use std::process::Command;
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
            target_event: None,
            has_time: false,
            order: EventOrder::File,
            data_hash: "00".into(),
            config: Value::Null,
            steps: Vec::new(),
            attribute_moments: Vec::new(),
        },
    };
    writer.finish(tables).unwrap();
    Dataset::open(folder).unwrap()
}

/// Which case a child process trains.
const CASE: &str = "FORECART_TEST_MEMORY";

fn cases() -> [(&'static str, Value); 4] {
    [
        ("mlp", json!({"n_epochs": 1, "loss": "sampled", "d_model": 128})),
        ("sasrec", json!({"n_epochs": 1, "d_model": 128})),
        ("sasrec", json!({"n_epochs": 1, "d_model": 32, "batch_size": 512, "loss": "full"})),
        ("esasrec", json!({"n_epochs": 1, "d_model": 128, "n_negatives": 32})),
    ]
}

#[test]
fn training_takes_between_0_6_and_1_1_times_what_is_stated() {
    for case in 0..cases().len() {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["trains_in_a_process_of_its_own", "--exact", "--ignored", "--nocapture"]);
        let output = child.env(CASE, case.to_string()).output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words}");
    }
}

#[test]
#[ignore = "the process that the test above starts"]
fn trains_in_a_process_of_its_own() {
    let case: usize = std::env::var(CASE).unwrap().parse().unwrap();
    let (name, keys) = &cases()[case];
    let root = tempfile::tempdir().unwrap();
    let dataset = shop(&root.path().join("dataset"));
    let spec = registry::spec(name, keys).unwrap();
    let checkpoint = Checkpoint::new(root.path().join("checkpoint")).every(Duration::ZERO);
    let options = TrainOptions {
        fit_on: FitOn::Train,
        seed: 1,
        n_threads: NonZeroUsize::new(2).unwrap(),
        memory_limit_bytes: None,
        seen: None,
        checkpoint: Some(checkpoint),
    };
    let trained = train(&dataset, spec.as_ref(), &options, &Silent).unwrap();
    let factor = trained.memory_bytes as f64 / trained.needed_bytes as f64;
    let [stated, taken] = [trained.needed_bytes, trained.memory_bytes].map(|n| n / 1_000_000);
    assert!(
        (0.6..=1.1).contains(&factor),
        "{name}: stated {stated} MB, taken {taken} MB, factor {factor:.2}"
    );
}
