//! Fitting and measuring on a small generated shop.

use std::num::NonZeroUsize;

use forecart_data::dataset::{Description, EventRow, Tables};
use forecart_data::encode::FeatureProgram;
use forecart_data::{
    Dataset, DatasetWriter, EventOrder, ItemFeatures, ItemIdx, Protocol, SeenItems, Silent,
    TextTable, Vocabulary,
};
use forecart_eval::{Metric, Report};
use forecart_models::ModelError;
use forecart_models::recommend::{FitOn, FitRecord, registry};
use forecart_train::{Contestant, Given, MeasureOptions, TrainError, TrainOptions, measure, train};
use serde_json::{Value, json};

const N_ITEMS: u32 = 40;
const N_USERS: u32 = 80;

/// User `u` walks from item `u` by steps of 1, 2, 1, 2, ...; the last two events are held out.
pub(crate) fn shop() -> (tempfile::TempDir, Dataset) {
    shop_with_validation(1)
}

/// The same with so many of the events before the last for validation.
pub(crate) fn shop_with_validation(n_validation: u32) -> (tempfile::TempDir, Dataset) {
    let walk = |user: u32, position: u32| (user + position + position / 2) % N_ITEMS + 1;
    shop_of(walk, n_validation, SeenItems::Exclude)
}

/// User `u` has one of five baskets of three items and buys them in turn, again and again: what is held out has been
/// bought before. The dataset leaves out `seen`.
pub(crate) fn shop_of_repeats(seen: SeenItems) -> (tempfile::TempDir, Dataset) {
    shop_of(|user, position| user % 5 * 3 + position % 3 + 1, 1, seen)
}

/// `item_of(user, position)` are the events; the last one is for test, the `n_validation` before it for validation.
fn shop_of(
    item_of: impl Fn(u32, u32) -> u32,
    n_validation: u32,
    seen: SeenItems,
) -> (tempfile::TempDir, Dataset) {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("dataset");
    let mut writer = DatasetWriter::new(&folder, false).unwrap();
    for user in 0..N_USERS {
        let n = 5 + user % 7;
        for position in 0..n {
            let item = ItemIdx(item_of(user, position));
            let row = EventRow { item, timestamp_ms: 0, event: 1, session: 0, value: 1.0 };
            writer.push(row).unwrap();
        }
        writer.end_user(n - 1 - n_validation, n - 1).unwrap();
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
            seen,
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
    let dataset = Dataset::open(&folder).unwrap();
    (root, dataset)
}

fn contestant(name: &str) -> Contestant {
    let keys = match name {
        "mlp" => json!({"d_model": 8, "hidden": [8], "n_epochs": 4}),
        _ => json!({}),
    };
    let spec = registry::spec(name, &keys).unwrap();
    Contestant { spec, is_baseline: name == "popularity", is_required: true }
}

fn options(n_threads: usize) -> MeasureOptions {
    MeasureOptions {
        fit_on: FitOn::Train,
        seeds: vec![1, 2],
        n_threads: NonZeroUsize::new(n_threads).unwrap(),
        memory_limit_bytes: None,
        max_history: None,
        seen: None,
        primary: Metric::ndcg(10),
        title: "A shop".into(),
        commit: None,
        deterministic: true,
    }
}

fn report(names: &[&str], options: &MeasureOptions) -> Result<Report, TrainError> {
    let (_folder, dataset) = shop();
    let contestants: Vec<Contestant> = names.iter().map(|name| contestant(name)).collect();
    measure(&dataset, &contestants, &[], options, &Silent)
}

#[test]
fn rules_beat_popularity_on_walks_and_only_chance_is_repeated() {
    let report = report(&["popularity", "seq-rules", "mlp"], &options(2)).unwrap();
    let ndcg = |name: &str| report.model(name).unwrap().mean(Metric::ndcg(10)).unwrap();
    // Walks by steps of 1 and 2: the right item is one of two.
    assert!(ndcg("seq-rules") > 0.5, "{}", ndcg("seq-rules"));
    assert!(ndcg("popularity") < 0.3, "{}", ndcg("popularity"));
    assert_eq!(report.model("mlp").unwrap().seeds, [1, 2]);
    assert!(report.model("seq-rules").unwrap().seeds.len() <= 1);
    assert_eq!(report.model("mlp").unwrap().training.len(), 2);
    assert!(report.model("seq-rules").unwrap().validation.is_some());
}

#[test]
fn the_report_has_the_same_bytes_on_any_number_of_threads() {
    let names = ["popularity", "seq-rules", "item-knn", "mlp"];
    let one = report(&names, &options(1)).unwrap().to_json().unwrap();
    let three = report(&names, &options(3)).unwrap().to_json().unwrap();
    assert!(one == three);
}

#[test]
fn a_model_that_learned_from_validation_has_no_validation_number() {
    let options = MeasureOptions { fit_on: FitOn::TrainValidation, ..options(2) };
    let report = report(&["seq-rules", "mlp"], &options).unwrap();
    assert!(report.models.iter().all(|row| row.validation.is_none()));
}

#[test]
fn a_window_of_days_without_times_is_an_error_or_left_out_where_nobody_asked_for_it() {
    let error = report(&["popularity-7d"], &options(1)).unwrap_err();
    assert!(matches!(error, TrainError::Model(ModelError::NeedsTime { .. })), "{error}");
    let (_folder, dataset) = shop();
    let unasked = Contestant { is_required: false, ..contestant("popularity-7d") };
    let contestants = [contestant("popularity"), unasked];
    let report = measure(&dataset, &contestants, &[], &options(1), &Silent).unwrap();
    assert_eq!(report.models.len(), 1);
    let warnings = report.warnings.join("\n");
    assert!(warnings.contains("left out: model popularity-7d"), "{warnings}");
}

/// One of many that nobody named does not cost the table of the others; a named one does, and so does a baseline, without
/// which the table would flatter.
#[test]
fn what_cannot_be_fitted_is_left_out_where_nobody_asked_for_it() {
    let (_folder, dataset) = shop();
    // Enough for popularity, not for the neighborhoods.
    let options = MeasureOptions { memory_limit_bytes: Some(2000), ..options(1) };
    let run = |is_required: bool, is_baseline: bool| {
        let other = Contestant { is_required, is_baseline, ..contestant("item-knn") };
        measure(&dataset, &[contestant("popularity"), other], &[], &options, &Silent)
    };
    let report = run(false, false).unwrap();
    assert_eq!(report.models.len(), 1);
    let warnings = report.warnings.join("\n");
    assert!(warnings.contains("left out: ") && warnings.contains("item-knn"), "{warnings}");
    for (is_required, is_baseline) in [(true, false), (false, true)] {
        let error = run(is_required, is_baseline).unwrap_err();
        assert!(matches!(error, TrainError::Model(ModelError::Memory { .. })), "{error}");
    }
}

/// Everything held out has been bought before, so no list has it where seen items are left out: there validation tells
/// nothing. What is asked for decides, whatever the dataset was prepared for.
#[test]
fn training_stops_by_the_lists_that_are_measured() {
    for (of_dataset, asked, finds) in [
        (SeenItems::Exclude, Some(SeenItems::Keep), true),
        (SeenItems::Keep, Some(SeenItems::Exclude), false),
        (SeenItems::Keep, None, true),
    ] {
        let (_folder, dataset) = shop_of_repeats(of_dataset);
        let options = MeasureOptions { seen: asked, ..options(1) };
        let report = measure(&dataset, &[contestant("mlp")], &[], &options, &Silent).unwrap();
        let mlp = report.model("mlp").unwrap();
        assert_eq!(mlp.mean(Metric::ndcg(10)).unwrap() > 0.0, finds);
        for point in mlp.training.iter().flat_map(|curve| &curve.points) {
            assert_eq!(
                point.validation.unwrap() > 0.0,
                finds,
                "{of_dataset:?} {asked:?} {point:?}"
            );
        }
    }
}

#[test]
fn a_limit_on_memory_refuses_before_training() {
    let options = MeasureOptions { memory_limit_bytes: Some(1000), ..options(1) };
    let error = report(&["mlp"], &options).unwrap_err();
    assert!(matches!(error, TrainError::Model(ModelError::Memory { .. })), "{error}");
}

#[test]
fn a_refit_trains_as_long_as_validation_chose() {
    let (_folder, dataset) = shop();
    let spec = contestant("mlp").spec;
    let fit = |fit_on: FitOn| {
        let options = TrainOptions {
            fit_on,
            seed: 1,
            n_threads: NonZeroUsize::MIN,
            memory_limit_bytes: None,
            seen: None,
            checkpoint: None,
        };
        train(&dataset, spec.as_ref(), &options, &Silent).unwrap()
    };
    let (chosen, refit) = (fit(FitOn::Train), fit(FitOn::TrainValidation));
    assert_eq!(refit.record, chosen.record);
    let n_epochs = chosen.record.chosen_epoch.unwrap();
    assert_eq!(refit.model.hyperparameters()["n_epochs"], n_epochs);
    assert_eq!((refit.seed, refit.fit_on), (Some(1), FitOn::TrainValidation));
    assert!(refit.memory_bytes > 0 && refit.fit_secs > 0.0);
}

#[test]
fn a_given_model_is_measured_as_it_is_and_only_on_its_own_dataset() {
    let (_folder, dataset) = shop();
    let spec = contestant("seq-rules").spec;
    let given = |dataset_hash: &str| {
        let options = TrainOptions {
            fit_on: FitOn::Train,
            seed: 0,
            n_threads: NonZeroUsize::MIN,
            memory_limit_bytes: None,
            seen: None,
            checkpoint: None,
        };
        let trained = train(&dataset, spec.as_ref(), &options, &Silent).unwrap();
        Given {
            name: "rules.forecart".into(),
            model: trained.model,
            fit_on: FitOn::Train,
            dataset_hash: dataset_hash.into(),
            n_bytes: 1,
            record: FitRecord::default(),
        }
    };
    let right = given(&dataset.manifest.content_hash);
    let contestants = [contestant("seq-rules")];
    let report = measure(&dataset, &contestants, &[right], &options(1), &Silent).unwrap();
    let ndcg = |name: &str| report.model(name).unwrap().mean(Metric::ndcg(10));
    assert_eq!(ndcg("rules.forecart"), ndcg("seq-rules"));
    let error = measure(&dataset, &[], &[given("other")], &options(1), &Silent).unwrap_err();
    assert!(matches!(error, TrainError::OtherDataset { .. }), "{error}");
}
