//! A search is the same for any number of threads and after any kill; what is chosen is followed to test.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use forecart_data::{Dataset, SeenItems, Silent};
use forecart_eval::Metric;
use forecart_eval::tuning::{Trial, TrialState};
use forecart_train::{Budget, ListMeasure, TrainError, TuneData, TuneOptions, survival, tune};
use serde_json::{Value, json};

use crate::measure::{shop, shop_of_repeats};

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

fn mlp(n_trials: usize) -> TuneOptions {
    options("mlp", json!({"hidden": [8], "n_epochs": 8, "patience": 8}), n_trials)
}

/// Trials without the seconds that they took.
fn timeless(mut trials: Vec<Trial>) -> Vec<Trial> {
    trials.iter_mut().for_each(|trial| (trial.secs, trial.at_secs) = (0.0, 0.0));
    trials
}

fn lists(dataset: &Dataset, seen: Option<SeenItems>) -> TuneData<'_> {
    TuneData::Lists(dataset, ListMeasure { metric: Metric::ndcg(10), max_history: 50, seen })
}

fn search(dataset: &Dataset, options: &TuneOptions, journal: &Path) -> Vec<Trial> {
    timeless(tune(lists(dataset, None), options, journal, &Silent).unwrap())
}

#[test]
fn the_same_trials_with_any_number_of_threads() {
    let (folder, dataset) = shop();
    let one = search(&dataset, &options("item-knn", json!({}), 18), &folder.path().join("1"));
    let more = NonZeroUsize::new(3).unwrap();
    let three = TuneOptions { n_threads: more, ..options("item-knn", json!({}), 18) };
    assert_eq!(search(&dataset, &three, &folder.path().join("3")), one);
    assert_eq!(one.len(), 18);
    assert!(one.iter().all(|trial| trial.state == TrialState::Complete));
    let mut distinct: Vec<String> = one.iter().map(Trial::keys).collect();
    distinct.sort();
    distinct.dedup();
    assert!(distinct.len() > 14, "{distinct:?}");
}

/// Cut off after every trial, and within the line of one, the search comes to the same trials.
#[test]
fn killed_at_any_trial_the_search_goes_on_to_the_same() {
    let (folder, dataset) = shop();
    let options = options("seq-rules", json!({"max_history": 12}), 15);
    let path = folder.path().join("journal");
    let whole = search(&dataset, &options, &path);
    let text = fs::read_to_string(&path).unwrap();
    let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).collect();
    assert_eq!(ends.len(), 16, "a line for the search and for each trial");
    for end in &ends {
        for torn in [0, 9] {
            let kept = &text[..(end + torn).min(text.len())];
            fs::write(&path, kept).unwrap();
            assert_eq!(search(&dataset, &options, &path), whole, "cut after {end} + {torn}");
        }
    }
    // A larger budget goes on, a smaller one has the first trials.
    let budget = |n| Budget::Trials(NonZeroUsize::new(n).unwrap());
    let longer = TuneOptions { budget: budget(17), ..options.clone() };
    let more = search(&dataset, &longer, &path);
    assert_eq!((more.len(), &more[..12]), (17, &whole[..12]));
    let shorter = TuneOptions { budget: budget(3), ..options };
    assert_eq!(search(&dataset, &shorter, &path), whole[..3]);
}

#[test]
fn training_that_falls_behind_is_ended_early() {
    let (folder, dataset) = shop();
    let trials = search(&dataset, &mlp(14), &folder.path().join("pruned"));
    let pruned: Vec<&Trial> =
        trials.iter().filter(|trial| trial.state == TrialState::Pruned).collect();
    assert!(!pruned.is_empty(), "{trials:#?}");
    for trial in pruned {
        assert!((3..8).contains(&trial.epochs.len()), "{trial:?}");
    }
    assert_eq!(trials[0].state, TrialState::Complete, "the defaults are never ended early");
    let whole = TuneOptions { prunes: false, ..mlp(14) };
    let whole = search(&dataset, &whole, &folder.path().join("whole"));
    assert!(whole.iter().all(|trial| trial.state == TrialState::Complete));
}

#[test]
fn another_search_and_a_model_without_a_space_are_refused() {
    let (folder, dataset) = shop();
    let path = folder.path().join("journal");
    let options = options("item-knn", json!({}), 2);
    search(&dataset, &options, &path);
    let other = TuneOptions { seed: 6, ..options.clone() };
    let error = tune(lists(&dataset, None), &other, &path, &Silent).unwrap_err();
    assert!(
        matches!(&error, TrainError::OtherSearch { reason, .. } if reason.contains("seed")),
        "{error}"
    );
    for (model, keys, what_to_do) in [
        ("popularity", json!({}), "forecart model list"),
        ("fusion", json!({}), "(hstu, sasrec, seq-rules, two-tower)"),
        ("fusion", json!({"members": [{"model": "popularity"}]}), "choose others as members"),
    ] {
        let none = TuneOptions { model: model.into(), keys, ..options.clone() };
        let error =
            tune(lists(&dataset, None), &none, &folder.path().join("none"), &Silent).unwrap_err();
        assert!(
            matches!(&error, TrainError::NothingToTune { instead, .. } if instead.contains(what_to_do)),
            "{error}"
        );
    }
}

/// By reciprocal rank no weight is chosen; what a rank counts may be.
#[test]
fn a_fusion_by_reciprocal_rank_is_searched() {
    let (folder, dataset) = shop();
    let members = json!([{"model": "seq-rules"}, {"model": "popularity"}]);
    let keys = json!({"method": "reciprocal-rank", "members": members});
    let trials = search(&dataset, &options("fusion", keys, 6), &folder.path().join("journal"));
    assert_eq!(trials[0].parameters["rrf_k"], 60.0);
    let tried: std::collections::BTreeSet<String> = trials.iter().map(Trial::keys).collect();
    assert_eq!(tried.len(), 6, "{tried:?}");
    assert!(trials.iter().all(|trial| trial.value.is_some()), "{trials:#?}");
}

/// See `training_stops_by_the_lists_that_are_measured`.
#[test]
fn trials_stop_by_the_lists_that_are_measured() {
    let (folder, dataset) = shop_of_repeats(SeenItems::Exclude);
    let options = mlp(2);
    let path = folder.path().join("journal");
    let search = |dataset: &Dataset, seen| {
        tune(lists(dataset, seen), &options, &path, &Silent).map(timeless)
    };
    let trials = search(&dataset, Some(SeenItems::Keep)).unwrap();
    assert!(trials.iter().flat_map(|trial| &trial.epochs).all(|ndcg| *ndcg > 0.0), "{trials:#?}");
    // The same events, measured otherwise: none of these trials is one of that search.
    let (_folder, dataset) = shop_of_repeats(SeenItems::Keep);
    let same = search(&dataset, None).unwrap();
    assert_eq!(same, trials, "the dataset says what was asked for");
    let error = search(&dataset, Some(SeenItems::Exclude)).unwrap_err();
    assert!(
        matches!(&error, TrainError::OtherSearch { reason, .. } if reason.contains("mask-none")),
        "{error}"
    );
}

/// A trial that needs more memory than there is fails alone, with its reason.
#[test]
fn a_trial_that_cannot_be_fitted_is_recorded() {
    let (folder, dataset) = shop();
    // Between what the smallest and what the largest tables of the space need.
    let options = TuneOptions { memory_limit_bytes: Some(40_000), ..mlp(10) };
    let keys = json!({"hidden": [8], "n_epochs": 3, "d_model": 4, "batch_size": 16});
    let options = TuneOptions { keys, ..options };
    let trials = search(&dataset, &options, &folder.path().join("journal"));
    let failed: Vec<&Trial> = trials.iter().filter(|t| t.state == TrialState::Failed).collect();
    assert!(!failed.is_empty(), "{trials:#?}");
    assert!(failed[0].reason.as_ref().unwrap().contains("MB"), "{failed:?}");
    assert_eq!(trials[0].state, TrialState::Complete, "{:?}", trials[0]);
}

#[test]
fn what_is_chosen_on_validation_is_read_once_on_test() {
    let (folder, dataset) = shop();
    // From hyperparameters that are bad on walks, any search gains.
    let options = options("seq-rules", json!({"window": 18, "backward_weight": 1.0}), 16);
    let trials = search(&dataset, &options, &folder.path().join("journal"));
    let found = survival(lists(&dataset, None), &options, trials, "A shop", &Silent).unwrap();
    let best = found.trials[found.chosen].value.unwrap();
    assert!(found.trials.iter().all(|trial| trial.value.unwrap() <= best));
    assert!(found.gain.validation > 0.0, "{:?}", found.gain);
    // The journal keeps six decimals.
    let report = found.report.lists().unwrap();
    assert!((report.model("tuned").unwrap().validation.unwrap() - best).abs() < 1e-6);
    assert_eq!(report.test_readings, ["default", "tuned"]);
    assert_eq!(found.gain.survives, Some(found.gain.test / found.gain.validation));
    let again: toml::Table = toml::from_str(&found.to_toml()).unwrap();
    assert!(again["models"]["seq-rules"].get("window").is_some());
}
