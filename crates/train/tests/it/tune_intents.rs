//! Searches on intent tables: the same after any kill and for any number of threads, and blind to the test part.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use forecart_data::intents::IntentDescription;
use forecart_data::{IntentTable, IntentWriter, Part, Silent};
use forecart_eval::tuning::{Objective, Trial};
use forecart_models::support::{IntentOptions, registry};
use forecart_train::{Budget, TrainError, TuneData, TuneOptions, survival, tune};
use serde_json::Value;

/// 360 texts of three intents that share most of their words.
fn table(folder: &Path, has_validation: bool, flips_test: bool) -> IntentTable {
    let names = ["cancel", "refund", "track"];
    let mut writer = IntentWriter::new(folder, names.into_iter().collect()).unwrap();
    let things = ["order", "parcel", "package", "thing", "shirt", "phone"];
    for row in 0..360_usize {
        let intent = row * 7 % 3;
        let word =
            [["cancel", "stop"], ["refund", "money"], ["track", "where"]][intent][row / 3 % 2];
        let noise = ["please", "money", "stop", "where", "now"][row / 5 % 5];
        let text =
            format!("{noise} the {} {} {word} {}", things[row % 6], row % 17, things[row / 7 % 6]);
        let part = match row % 5 {
            3 if has_validation => Part::Validation,
            4 => Part::Test,
            _ => Part::Train,
        };
        let intent = if flips_test && part == Part::Test { (intent + 1) % 3 } else { intent };
        writer.push(&text, Some(intent as u32), part).unwrap();
    }
    writer
        .finish(IntentDescription {
            data_hash: "00".into(),
            // The defaults.
            pipeline: serde_json::json!({}),
            config: Value::Null,
            left_out: Vec::new(),
        })
        .unwrap();
    IntentTable::open(folder).unwrap()
}

fn without_test(folder: &Path) -> IntentTable {
    let mut writer = IntentWriter::new(folder, ["a", "b"].into_iter().collect()).unwrap();
    writer.push("parcel", Some(0), Part::Train).unwrap();
    writer.push("money", Some(1), Part::Train).unwrap();
    let whole = tempfile::tempdir().unwrap();
    let description = table(whole.path().join("t").as_path(), false, false).manifest.description;
    writer.finish(description).unwrap();
    IntentTable::open(folder).unwrap()
}

fn options(n_trials: usize, n_threads: usize) -> TuneOptions {
    TuneOptions {
        model: "tfidf-lr".into(),
        keys: serde_json::json!({"max_iterations": 50}),
        budget: Budget::Trials(NonZeroUsize::new(n_trials).unwrap()),
        seed: 5,
        n_threads: NonZeroUsize::new(n_threads).unwrap(),
        memory_limit_bytes: None,
        prunes: true,
    }
}

fn data(table: &IntentTable) -> TuneData<'_> {
    TuneData::Intents(table, IntentOptions::default())
}

/// Trials without the seconds that they took.
fn search(table: &IntentTable, options: &TuneOptions, journal: &Path) -> Vec<Trial> {
    let mut trials = tune(data(table), options, journal, &Silent).unwrap();
    trials.iter_mut().for_each(|trial| (trial.secs, trial.at_secs) = (0.0, 0.0));
    trials
}

#[test]
fn killed_at_any_trial_with_any_number_of_threads_it_comes_to_the_same() {
    let root = tempfile::tempdir().unwrap();
    let one = table(&root.path().join("one"), true, false);
    let path = root.path().join("journal");
    let whole = search(&one, &options(6, 1), &path);
    assert_eq!(whole.len(), 6);
    assert!(whole.iter().all(|trial| trial.value.is_some_and(|value| value > 0.3)), "{whole:#?}");
    let text = fs::read_to_string(&path).unwrap();
    let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).collect();
    for (end, torn) in [(ends[0], 0), (ends[3], 9)] {
        fs::write(&path, &text[..end + torn]).unwrap();
        assert_eq!(search(&one, &options(6, 2), &path), whole, "cut after {end} + {torn}");
    }
    // Labels of the test part turned around: not a trial differs.
    let other = table(&root.path().join("other"), true, true);
    assert_eq!(search(&other, &options(6, 1), &root.path().join("other-journal")), whole);
}

#[test]
fn what_was_chosen_is_measured_on_test_beside_the_defaults() {
    let root = tempfile::tempdir().unwrap();
    let table = table(&root.path().join("intents"), true, false);
    let options = options(6, 2);
    let trials = tune(data(&table), &options, &root.path().join("journal"), &Silent).unwrap();
    let found = survival(data(&table), &options, trials, "texts", &Silent).unwrap();
    let report = found.report.intents().unwrap();
    let mut names: Vec<&str> = report.rows.iter().map(|row| row.model.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["default", "tuned"]);
    assert_eq!((report.source.measured_on, report.rows[0].measured.n_texts), (Part::Test, 72));
    assert_eq!(found.report.objective(), Objective::Accuracy);
    assert!(found.gain.validation >= 0.0);
    assert!(found.to_toml().starts_with("[intent_models.tfidf-lr]\n"));
    let read: forecart_eval::tuning::Search =
        serde_json::from_str(&found.to_json().unwrap()).unwrap();
    assert!(read.report.intents().is_some());
    assert!(found.to_html().unwrap().contains("accuracy on validation of each trial"));
    assert!(found.table().contains("test accuracy:"), "{}", found.table());
}

/// Without a validation part, the training texts take turns in being held out.
#[test]
fn a_table_without_validation_is_searched_by_folds() {
    let root = tempfile::tempdir().unwrap();
    let one = table(&root.path().join("one"), false, false);
    let trials = search(&one, &options(4, 2), &root.path().join("journal"));
    let values: Vec<f64> = trials.iter().map(|trial| trial.value.unwrap()).collect();
    // Of 288 training texts each is held out once.
    assert!(
        values.iter().all(|value| (value * 288.0 - (value * 288.0).round()).abs() < 1e-3),
        "{values:?}"
    );
    assert!(values.iter().all(|value| (0.3..=1.0).contains(value)), "{values:?}");
    // Labels of the test part turned around: not a trial differs.
    let other = table(&root.path().join("other"), false, true);
    assert_eq!(search(&other, &options(4, 1), &root.path().join("other-journal")), trials);
}

#[test]
fn a_distilled_model_is_searched_by_how_its_student_learns() {
    let root = tempfile::tempdir().unwrap();
    let one = table(&root.path().join("one"), true, false);
    let keys = serde_json::json!({
        "teacher": {"model": "tfidf-svm"},
        "student": {"model": "fasttext", "hyperparameters": {"n_epochs": 1}},
    });
    let options = TuneOptions { model: "distilled".into(), keys, ..options(3, 2) };
    let trials = search(&one, &options, &root.path().join("journal"));
    assert_eq!(trials.len(), 3);
    for trial in &trials[1..] {
        assert!(trial.value.is_some(), "{trial:?}");
        let names: Vec<&str> = trial.parameters.keys().map(String::as_str).collect();
        assert_eq!(names, ["copies_left_out", "n_copies", "temperature"]);
    }
}

#[test]
fn every_model_names_what_may_be_varied_and_a_table_without_test_is_refused() {
    for (name, _) in registry::models() {
        let spec = registry::spec(name, &Value::Null).unwrap();
        let keys = spec.hyperparameters();
        for parameter in spec.search_space() {
            assert!(keys.get(parameter.name).is_some(), "{name}: {}", parameter.name);
        }
    }
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("journal");
    let whole = table(&root.path().join("one"), true, false);
    let ensemble = TuneOptions { model: "ensemble".into(), keys: Value::Null, ..options(3, 1) };
    let error = tune(data(&whole), &ensemble, &path, &Silent).unwrap_err();
    assert!(matches!(error, TrainError::NothingToTune { .. }), "{error}");
    let message = error.to_string();
    for said in ["tfidf-svm, ngram-mlp, textcnn, fasttext", "hyperparameters", "best.toml"] {
        assert!(message.contains(said), "{message}");
    }
    let table = without_test(&root.path().join("two"));
    let error = tune(data(&table), &options(3, 1), &path, &Silent).unwrap_err();
    assert!(error.to_string().contains("text.test"), "{error}");
}
