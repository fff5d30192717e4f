//! Searches on sample tables: the same for any number of threads and after any kill, and blind to the test part.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use forecart_data::samples::{
    Cell, ColumnKind, Role, SampleColumn, SampleDescription, SampleSplit,
};
use forecart_data::{SampleTable, SampleWriter, Silent};
use forecart_eval::tuning::{Trial, TrialState};
use forecart_train::{Budget, TuneData, TuneOptions, survival, tune};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

/// 1,500 rows of a number and a text whose product is what counts; in parts of 900, 300 and 300, or in three folds.
fn table(folder: &Path, is_in_folds: bool, flips_test: bool) -> SampleTable {
    let columns = vec![
        SampleColumn::new("x", ColumnKind::Number, Role::Feature),
        SampleColumn::new("side", ColumnKind::Category, Role::Feature),
        SampleColumn::new("click", ColumnKind::Number, Role::Label),
    ];
    let mut writer = SampleWriter::new(folder, columns).unwrap();
    let mut generator = ChaCha8Rng::seed_from_u64(11);
    let parts: Vec<u8> = (0..1500)
        .map(|row| match (is_in_folds, row % 5) {
            (true, _) => (row % 3) as u8,
            (false, 3) => 1,
            (false, 4) => 2,
            (false, _) => 0,
        })
        .collect();
    for part in &parts {
        let (x, is_left) = (generator.random_range(-1.0..1.0), generator.random::<bool>());
        let z: f64 = if is_left { 3.0 * x } else { -2.0 * x };
        let is_click = generator.random::<f64>() < 1.0 / (1.0 + (-z).exp());
        let is_click = is_click != (flips_test && *part == 2);
        let side = if is_left { "left" } else { "right" };
        let click = f64::from(u8::from(is_click));
        writer.push(&[Cell::Number(x), Cell::Text(side), Cell::Number(click)]).unwrap();
    }
    let split = match is_in_folds {
        true => SampleSplit::Folds { n_folds: 3, seed: 1 },
        false => SampleSplit::Given,
    };
    let description = SampleDescription {
        task: "click".into(),
        split,
        negatives_kept: 1.0,
        data_hash: "00".into(),
        config: Value::Null,
        steps: Vec::new(),
    };
    writer.finish(&parts, description).unwrap();
    SampleTable::open(folder).unwrap()
}

fn options(model: &str, keys: Value, n_trials: usize) -> TuneOptions {
    TuneOptions {
        model: model.into(),
        keys,
        budget: Budget::Trials(NonZeroUsize::new(n_trials).unwrap()),
        seed: 5,
        n_threads: NonZeroUsize::MIN,
        memory_limit_bytes: None,
        prunes: true,
    }
}

fn trees(n_trials: usize) -> TuneOptions {
    options("gbdt", json!({"n_trees": 40}), n_trials)
}

/// Trials without the seconds that they took.
fn search(table: &SampleTable, options: &TuneOptions, journal: &Path) -> Vec<Trial> {
    let mut trials = tune(TuneData::Outcomes(table), options, journal, &Silent).unwrap();
    trials.iter_mut().for_each(|trial| (trial.secs, trial.at_secs) = (0.0, 0.0));
    trials
}

#[test]
fn killed_at_any_trial_with_any_number_of_threads_it_comes_to_the_same() {
    let root = tempfile::tempdir().unwrap();
    let table = table(&root.path().join("samples"), false, false);
    let path = root.path().join("journal");
    let whole = search(&table, &trees(9), &path);
    assert_eq!(whole.len(), 9);
    assert!(whole.iter().all(|trial| trial.value.is_some_and(|value| value < 0.0)), "{whole:#?}");
    let text = fs::read_to_string(&path).unwrap();
    let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).collect();
    let three = TuneOptions { n_threads: NonZeroUsize::new(3).unwrap(), ..trees(9) };
    for (end, torn) in [(ends[0], 0), (ends[3], 9), (ends[6], 0)] {
        fs::write(&path, &text[..end + torn]).unwrap();
        assert_eq!(search(&table, &three, &path), whole, "cut after {end} + {torn}");
    }
}

/// Labels of the test part turned around: not a trial differs.
#[test]
fn the_test_part_is_not_read() {
    let root = tempfile::tempdir().unwrap();
    let one = table(&root.path().join("one"), false, false);
    let other = table(&root.path().join("other"), false, true);
    for (options, name) in [(trees(5), "gbdt"), (options("lr", json!({"n_epochs": 6}), 5), "lr")] {
        let journal = |of: &str| root.path().join(format!("{name}-{of}"));
        let trials = search(&one, &options, &journal("one"));
        assert_eq!(search(&other, &options, &journal("other")), trials);
    }
}

#[test]
fn what_is_chosen_on_validation_is_measured_on_test() {
    let root = tempfile::tempdir().unwrap();
    let table = table(&root.path().join("samples"), false, false);
    // From hyperparameters that learn next to nothing, any search gains.
    let options = options("gbdt", json!({"n_trees": 40, "learning_rate": 0.001}), 8);
    let trials = search(&table, &options, &root.path().join("journal"));
    let found = survival(TuneData::Outcomes(&table), &options, trials, "Clicks", &Silent).unwrap();
    // On test, where calibration repairs much of what the defaults lack, less is left of it.
    assert!(found.gain.validation > 0.05 && found.gain.interval[0] > 0.0, "{:?}", found.gain);
    let report = found.report.outcomes().unwrap();
    let names: Vec<&str> = report.rows.iter().map(|row| row.model.as_str()).collect();
    assert_eq!((names[0], names.len()), ("tuned", 3));
    let text = found.table();
    // People read log loss, of which less is better.
    assert!(text.contains("validation log loss: 0.6") && text.contains("(-0."), "{text}");
    let page = found.to_html().unwrap();
    assert!(page.contains("log loss on validation of each trial"));
    let again: toml::Table = toml::from_str(&found.to_toml()).unwrap();
    assert!(again["outcome_models"]["gbdt"].get("learning_rate").is_some());
}

#[test]
fn folds_are_searched_together_and_networks_that_fall_behind_are_ended() {
    let root = tempfile::tempdir().unwrap();
    let folds = table(&root.path().join("folds"), true, false);
    let trials = search(&folds, &trees(2), &root.path().join("trees"));
    assert!(trials.iter().all(|trial| trial.state == TrialState::Complete), "{trials:#?}");
    let found = survival(TuneData::Outcomes(&folds), &trees(2), trials, "Clicks", &Silent).unwrap();
    assert_eq!(found.report.outcomes().unwrap().rows[0].measured.n_rows, 1500);
    assert!(found.table().contains("no row is new to the choice"), "{}", found.table());

    let parts = table(&root.path().join("parts"), false, false);
    let keys = json!({"n_epochs": 8, "batch_size": 64, "n_dims": 4});
    let trials = search(&parts, &options("fm", keys, 14), &root.path().join("fm"));
    let pruned: Vec<&Trial> =
        trials.iter().filter(|trial| trial.state == TrialState::Pruned).collect();
    assert!(!pruned.is_empty(), "{trials:#?}");
    assert!(
        pruned.iter().all(|trial| trial.value == trial.epochs.iter().copied().reduce(f64::max))
    );
}
