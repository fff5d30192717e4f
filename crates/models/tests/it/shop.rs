//! A small shop, generated from a seed, written and opened like a real dataset.

use std::num::NonZeroUsize;
use std::path::Path;

use forecart_data::dataset::{Description, EventRow, Tables};
use forecart_data::encode::FeatureProgram;
use forecart_data::features::FeatureNames;
use forecart_data::{
    Dataset, DatasetWriter, EventOrder, ItemFeatures, ItemIdx, Protocol, SeenItems, Silent,
    TextTable, Vocabulary,
};
use forecart_models::model_file::{LoadedModel, Provenance};
use forecart_models::recommend::{FitContext, FitOn, ModelSpec, TrainingView, registry};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

pub(crate) const N_ITEMS: u32 = 60;
const N_USERS: u32 = 120;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// What differs between two shops: the seed of the events that are held out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) validation: u64,
    pub(crate) test: u64,
}

/// Users walk through the items in small steps, so that there is something to learn; the last two
/// events of each are held out. Some items are unknown.
pub(crate) fn write(folder: &Path, held: Held) -> Dataset {
    let mut writer = DatasetWriter::new(folder, true).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut of_validation = ChaCha8Rng::seed_from_u64(held.validation);
    let mut of_test = ChaCha8Rng::seed_from_u64(held.test);
    for _ in 0..N_USERS {
        let n = rng.random_range(1..15_u32);
        let mut item = rng.random_range(1..=N_ITEMS);
        let mut day = rng.random_range(0..60_i64);
        for position in 0..n + 2 {
            let rng = match position {
                p if p < n => &mut rng,
                p if p == n => &mut of_validation,
                _ => &mut of_test,
            };
            item = (item + rng.random_range(0..4)) % N_ITEMS + 1;
            day += rng.random_range(0..3);
            let unknown = rng.random_range(0..20) == 0;
            writer
                .push(EventRow {
                    item: if unknown { ItemIdx::UNKNOWN } else { ItemIdx(item) },
                    timestamp_ms: day * DAY_MS,
                    event: 1,
                    session: 0,
                    value: 1.0,
                })
                .unwrap();
        }
        writer.end_user(n, n + 1).unwrap();
    }
    writer.finish(tables(N_USERS, N_ITEMS)).unwrap();
    Dataset::open(folder).unwrap()
}

/// Users' items with their values, an hour apart, all of them for training, in a folder that lives as long as the first
/// value.
pub(crate) fn ratings(n_items: u32, users: &[Vec<(u32, f32)>]) -> (tempfile::TempDir, Dataset) {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("dataset");
    let mut writer = DatasetWriter::new(&folder, true).unwrap();
    for events in users {
        for (hour, &(item, value)) in (0..).zip(events) {
            let timestamp_ms = hour * 60 * 60 * 1000;
            writer
                .push(EventRow { item: ItemIdx(item), timestamp_ms, event: 1, session: 0, value })
                .unwrap();
        }
        writer.end_user(events.len() as u32, events.len() as u32).unwrap();
    }
    writer.finish(tables(users.len() as u32, n_items)).unwrap();
    (root, Dataset::open(&folder).unwrap())
}

fn tables(n_users: u32, n_items: u32) -> Tables {
    let names = |prefix: &str, n: u32| {
        let entries = (1..=n).map(|index| (format!("{prefix}/{index}"), 1));
        Vocabulary::from_entries(entries, 0).unwrap()
    };
    let n_rows = n_items as usize + 1;
    Tables {
        users: names("user", n_users),
        items: names("item", n_items),
        event_names: Vocabulary::from_entries([("purchase", 1)], 0).unwrap(),
        titles: (0..n_rows).map(|row| format!("第 {row} 件")).collect::<TextTable>(),
        encoders: FeatureProgram::default(),
        item_features: ItemFeatures {
            names: FeatureNames {
                dense: vec!["price".into()],
                sparse: vec!["even".into(), "odd".into()],
            },
            dense: (0..n_rows).map(|row| row as f32 / 60.0).collect::<Vec<f32>>().into(),
            sparse_offsets: (0..=n_rows as u64).collect::<Vec<u64>>().into(),
            sparse_indices: (0..n_rows as u32).map(|row| row % 2).collect::<Vec<u32>>().into(),
        },
        description: Description {
            protocol: Protocol::LooFull,
            seen: SeenItems::Exclude,
            target_event: None,
            has_time: true,
            order: EventOrder::Time,
            data_hash: "ab".into(),
            config: Value::Null,
            steps: Vec::new(),
            attribute_moments: Vec::new(),
        },
    }
}

/// A shop in a folder that lives as long as the first value.
pub(crate) fn shop() -> (tempfile::TempDir, Dataset) {
    let root = tempfile::tempdir().unwrap();
    let dataset = write(&root.path().join("dataset"), Held { validation: 2, test: 3 });
    (root, dataset)
}

/// Every model of the registry, networks small; the sampled softmax beside the full one.
pub(crate) fn specs() -> Vec<Box<dyn ModelSpec>> {
    let keys = |name: &str| match name {
        "mlp" => json!({"n_epochs": 3, "d_model": 8, "hidden": [6], "batch_size": 100}),
        "gru4rec" | "sasrec" | "bert4rec" | "hstu" | "esasrec" => json!({
            "n_epochs": 3, "d_model": 8, "n_heads": 2, "batch_size": 20, "n_negatives": 4,
            "input_scale": 1.0,
        }),
        "bpr" => json!({"n_epochs": 3, "n_factors": 8, "batch_size": 100}),
        "neumf" => json!({
            "n_epochs": 3, "n_factors": 8, "mlp_factors": 4, "hidden": [6, 4], "batch_size": 100,
            "n_reference": 30,
        }),
        "two-tower" => json!({
            "n_epochs": 3, "d_model": 8, "user_hidden": [6], "item_hidden": [6], "batch_size": 100,
            "n_negatives": 16,
        }),
        "fusion" => json!({"members": [
            {"model": "sasrec", "n_epochs": 2, "d_model": 8, "loss": "full", "input_scale": 1.0},
            {"model": "hstu", "n_epochs": 2, "d_model": 8, "loss": "full", "input_scale": 1.0},
            {"model": "seq-rules"},
        ]}),
        _ => json!({}),
    };
    let mut specs: Vec<_> = registry::MODELS
        .iter()
        .map(|entry| registry::spec(entry.name, &keys(entry.name)).unwrap())
        .collect();
    for (similarity, weighting) in [("jaccard", "binary"), ("dot", "bm25"), ("cosine", "tf-idf")] {
        let keys = json!({"similarity": similarity, "weighting": weighting});
        specs.push(registry::spec("item-knn", &keys).unwrap());
        specs.push(registry::spec("user-knn", &keys).unwrap());
    }
    let mut by_pairs = keys("bpr");
    by_pairs["negatives"] = json!("popularity");
    by_pairs["optimizer"] = json!("sgd");
    by_pairs["l2"] = json!(0.01);
    specs.push(registry::spec("bpr", &by_pairs).unwrap());
    let by_rank = json!({"method": "reciprocal-rank", "members": [
        {"model": "seq-rules"}, {"model": "stan"}, {"model": "together"},
    ]});
    specs.push(registry::spec("fusion", &by_rank).unwrap());
    let mut sampled = keys("mlp");
    sampled["loss"] = json!("sampled");
    sampled["n_negatives"] = json!(16);
    specs.push(registry::spec("mlp", &sampled).unwrap());
    let mut full = keys("sasrec");
    full["loss"] = json!("full");
    full["label_smoothing"] = json!(0.1);
    full["attributes"] = json!(false);
    specs.push(registry::spec("sasrec", &full).unwrap());
    full["precision"] = json!("bf16");
    specs.push(registry::spec("sasrec", &full).unwrap());
    let mut plain = keys("two-tower");
    plain["normalize"] = json!(false);
    plain["residual"] = json!(false);
    plain["n_negatives"] = json!(0);
    specs.push(registry::spec("two-tower", &plain).unwrap());
    let mut mixed = keys("hstu");
    mixed["loss"] = json!("mixed");
    mixed["item_updates"] = json!("touched");
    specs.push(registry::spec("hstu", &mixed).unwrap());
    specs
}

pub(crate) fn context(seed: u64, n_threads: usize) -> FitContext<'static> {
    FitContext {
        seed,
        n_threads: NonZeroUsize::new(n_threads).unwrap(),
        progress: &Silent,
        memory_limit_bytes: None,
        checkpoint: None,
    }
}

/// `spec` fitted on the training part.
pub(crate) fn fit(
    spec: &dyn ModelSpec,
    dataset: &Dataset,
    context: &FitContext<'_>,
) -> LoadedModel {
    let view = TrainingView::new(dataset, FitOn::Train);
    let fitted = spec.fit(&view, context).unwrap();
    let provenance = Provenance {
        seed: spec.uses_seed().then_some(context.seed),
        fit_on: FitOn::Train,
        record: fitted.record,
        ..Provenance::default()
    };
    LoadedModel::new(fitted.model, dataset, provenance).unwrap()
}
