//! The report of a search.

use forecart_eval::report::Reference;
use forecart_eval::tuning::{Search, SearchReport, Trial, TrialState};
use serde_json::{Map, json};

use crate::report::sample;

fn parameters(decay: f64, weighting: &str) -> Map<String, serde_json::Value> {
    let value = json!({"decay": decay, "n_neighbors": 100, "weighting": weighting});
    value.as_object().unwrap().clone()
}

fn search() -> Search {
    let mut trials: Vec<Trial> = [0.03, 0.05, 0.04, 0.05]
        .into_iter()
        .enumerate()
        .map(|(n, value)| Trial::complete(n, parameters(0.5 + 0.1 * n as f64, "<binary>"), value))
        .collect();
    trials.push(Trial {
        state: TrialState::Pruned,
        epochs: vec![0.01, 0.02, 0.06],
        ..Trial::complete(4, parameters(0.9, "count"), 0.06)
    });
    trials.push(Trial {
        state: TrialState::Failed,
        value: None,
        reason: Some("more than 10 MB".into()),
        ..Trial::complete(5, parameters(1.0, "count"), 0.0)
    });
    let mut report = sample();
    report.models.truncate(2);
    report.comparisons.retain(|row| row.against == Reference::StrongestBaseline);
    report.comparisons.truncate(1);
    report.comparisons[0].model = "tuned".into();
    for (model, name) in report.models.iter_mut().zip(["default", "tuned"]) {
        model.name = name.into();
    }
    report.models[0].validation = Some(0.03);
    report.models[1].validation = Some(0.05);
    let space = json!([
        {"name": "n_neighbors", "range": {"kind": "log_int", "low": 20, "high": 1000}},
        {"name": "weighting", "range": {"kind": "choice", "values": ["<binary>", "count"]}},
    ]);
    Search::new("item-knn", 7, space, trials, SearchReport::Lists(Box::new(report))).unwrap()
}

#[test]
fn the_best_finished_trial_is_chosen_and_its_gain_followed_to_test() {
    let search = search();
    assert_eq!(search.chosen, 1, "the first of equals; what was ended early cannot be chosen");
    // Differences of a few numbers: the last digits alone may differ.
    assert!((search.gain.validation - 0.02).abs() < 1e-12);
    assert!((search.gain.survives.unwrap() - search.gain.test / 0.02).abs() < 1e-12);
    let text = search.table();
    assert!(text.contains("6 trials, 1 ended early, 1 failed"), "{text}");
    assert!(text.contains("of the gain on validation is there on test"), "{text}");
    let toml = search.to_toml();
    assert_eq!(
        toml,
        "[models.item-knn]\ndecay = 0.6\nn_neighbors = 100\nweighting = \"<binary>\"\n"
    );
    let back: Search = serde_json::from_str(&search.to_json().unwrap()).unwrap();
    assert_eq!(back.trials, search.trials);
    assert_eq!(Search::best(&search.trials[4..]), None);
}

#[test]
fn the_page_is_self_contained_and_escapes_values() {
    let page = search().to_html().unwrap();
    std::fs::write(concat!(env!("CARGO_TARGET_TMPDIR"), "/search.html"), &page).unwrap();
    for forbidden in ["<script", "<link", "src=", "href=", "url(", "<binary>"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert!(page.contains("failed: more than 10 MB"));
    for name in ["decay", "n_neighbors", "weighting"] {
        assert_eq!(page.matches(&format!("<th>{name}</th>")).count(), 1, "{name}");
    }
    let chosen = "<tr class=\"first\"><th scope=\"row\">1<span class=\"tag\">chosen</span></th>";
    assert_eq!(page.matches("class=\"first\"").count(), 1);
    assert!(page.contains(chosen), "{page}");
    // The course, epochs, validation and test, and three parameters, one of them a choice.
    assert_eq!(page.matches("<figure>").count(), 6);
    assert!(page.contains("against weighting") && page.contains("after each epoch"));
}
