//! What other choices would have earned, through the command line.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use forecart_data::encode::Value as Cell;
use forecart_models::ads::Positions;
use forecart_models::model_file::OutcomeModelFile;
use serde_json::Value;

use crate::program::{forecart, good, refused};

/// Impressions of one of four items, drawn with .4, .3, .2 and .1; which is clicked most goes by the hour.
fn impressions(folder: &Path, name: &str, n: usize, seed: u64) {
    let mut text = String::from("click,item,hour,kind,propensity_score\n");
    // A small generator of its own: the numbers do not change with a library.
    let mut state = seed;
    let mut random = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / f64::from(u32::MAX >> 1)
    };
    for _ in 0..n {
        let drawn = random();
        let item = [0.4, 0.7, 0.9].iter().filter(|end| drawn >= **end).count();
        let hour = (random() * 4.0) as usize % 4;
        let click = u8::from(random() < RATES[hour][item]);
        let propensity = [0.4, 0.3, 0.2, 0.1][item];
        writeln!(text, "{click},i{item},h{hour},k{},{propensity}", item % 2).unwrap();
    }
    fs::write(folder.join(name), text).unwrap();
}

/// By hour and item.
const RATES: [[f64; 4]; 4] = [
    [0.30, 0.05, 0.05, 0.05],
    [0.05, 0.30, 0.05, 0.05],
    [0.05, 0.05, 0.30, 0.05],
    [0.05, 0.05, 0.05, 0.30],
];

fn estimate<'a>(report: &'a Value, policy: &str, estimator: &str) -> &'a Value {
    let rows = report["policies"].as_array().unwrap();
    let row = rows.iter().find(|row| row["policy"] == policy).unwrap();
    let estimates = row["estimates"].as_array().unwrap();
    estimates.iter().find(|one| one["estimator"]["estimator"] == estimator).unwrap()
}

#[test]
fn what_a_model_would_have_shown_is_judged_by_a_log_that_showed_others() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    impressions(folder, "past.csv", 8000, 1);
    impressions(folder, "log.csv", 8000, 2);
    let config = "[samples]\nsplit = \"order\"\npropensity = \"propensity_score\"\n";
    fs::write(folder.join("forecart.toml"), config).unwrap();
    let prepared = good(&forecart(folder, &["prepare", "--samples", "past.csv"]));
    assert!(prepared.contains("number (propensity)"), "{prepared}");
    good(&forecart(folder, &["train", "--data", "samples", "--model", "fm"]));
    let asked = ["ads", "off-policy", "--in", "log.csv", "--item", "item"];
    let report = good(&forecart(folder, &[&asked[..], &["--json"]].concat()));
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["n_rows"], &report["n_items"]), (&8000.into(), &4.into()));
    // The kind goes with the item, the hour does not.
    assert_eq!(report["item_columns"], serde_json::json!(["item", "kind"]));

    let values = |policy: &str| {
        ["ips", "snips", "doubly_robust"].map(|name| {
            let found = estimate(&report, policy, name);
            let [value, low, high] =
                [&found["value"], &found["interval"]["low"], &found["interval"]["high"]]
                    .map(|number| number.as_f64().unwrap());
            assert!(low < value && value < high, "{policy} {name}: {found}");
            (value, low, high)
        })
    };
    // Whatever is drawn alike has a rate of .1125, and so has the log: each item is clicked most in a quarter of the hours.
    let logged = report["logged"]["value"].as_f64().unwrap();
    assert!((logged - 0.1125).abs() < 0.01, "{logged}");
    for (value, low, high) in values("uniform") {
        assert!(low < 0.1125 && 0.1125 < high, "{value} ({low} to {high})");
    }
    // The best item of each hour is clicked in .3.
    for (value, low, high) in values("greedy") {
        assert!(low < 0.3 && 0.3 < high && high - low < 0.12, "{value} ({low} to {high})");
    }
    // In proportion to the odds that the model gives.
    let file = OutcomeModelFile::open(&folder.join("model.forecart")).unwrap();
    let truth: f64 = (0..4)
        .map(|hour| {
            let names = [format!("h{hour}")];
            let of_item = |item: usize| {
                let (id, kind) = (format!("i{item}"), format!("k{}", item % 2));
                let row = [
                    ("item", Cell::Text(&id)),
                    ("kind", Cell::Text(&kind)),
                    ("hour", Cell::Text(&names[0])),
                ];
                let found = file.predictor().predict([&row[..]], Positions::AsLogged).unwrap();
                let p = found[0].probability;
                (p / (1.0 - p), RATES[hour][item])
            };
            let all: Vec<(f64, f64)> = (0..4).map(of_item).collect();
            let clicked: f64 = all.iter().map(|(odds, rate)| odds * rate).sum();
            clicked / all.iter().map(|(odds, _)| odds).sum::<f64>() / 4.0
        })
        .sum();
    assert!(truth > 0.15, "{truth}");
    for (value, low, high) in values("softmax") {
        assert!(low < truth && truth < high, "{value} ({low} to {high}), {truth}");
    }
    let greedy = estimate(&report, "greedy", "ips");
    assert!((greedy["mean_weight"].as_f64().unwrap() - 1.0).abs() < 0.1, "{greedy}");
    assert!(greedy["effective_rows"].as_f64().unwrap() < 2500.0, "{greedy}");

    let table = good(&forecart(folder, &asked));
    assert!(table.contains("the log's own") && table.contains("greedy"), "{table}");
    assert!(!table.contains("WARNING"), "{table}");
    // A temperature near nothing is greedy, a high one uniform.
    for (temperature, like) in [("0.01", "greedy"), ("1000", "uniform")] {
        let flags = ["--temperature", temperature, "--json"];
        let other = good(&forecart(folder, &[&asked[..], &flags].concat()));
        let other: Value = serde_json::from_str(&other).unwrap();
        let value = |policy| estimate(&other, policy, "ips")["value"].as_f64().unwrap();
        assert!((value("softmax") - value(like)).abs() < 0.005, "{temperature}: {other}");
    }
    // The test part of the model's own table.
    let flags = ["ads", "off-policy", "--data", "samples", "--item", "item", "--json"];
    let own: Value = serde_json::from_str(&good(&forecart(folder, &flags))).unwrap();
    assert_eq!(own["n_rows"], 1600);
    // Of few rows it says how little they are.
    let few: String = fs::read_to_string(folder.join("log.csv"))
        .unwrap()
        .split_inclusive('\n')
        .take(60)
        .collect();
    fs::write(folder.join("few.csv"), few).unwrap();
    let few = ["ads", "off-policy", "--in", "few.csv", "--item", "item"];
    let said = good(&forecart(folder, &few));
    assert!(said.contains("WARNING  greedy: the log says as much of it as"), "{said}");
    // Propensities that are not those of the log show in the mean weight.
    let wrong = fs::read_to_string(folder.join("log.csv")).unwrap().replace(",0.4\n", ",0.8\n");
    fs::write(folder.join("wrong.csv"), wrong).unwrap();
    let said =
        good(&forecart(folder, &["ads", "off-policy", "--in", "wrong.csv", "--item", "item"]));
    assert!(said.contains("uniform: the mean weight is 0.8"), "{said}");
}

#[test]
fn without_propensities_nothing_is_said_of_other_policies() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    impressions(folder, "log.csv", 1500, 3);
    let config = "[samples]\nsplit = \"order\"\nignore = [\"propensity_score\"]\n";
    fs::write(folder.join("forecart.toml"), config).unwrap();
    good(&forecart(folder, &["prepare", "--samples", "log.csv"]));
    good(&forecart(folder, &["train", "--data", "samples", "--model", "lr"]));
    let asked = |file: &str, more: &[&str]| {
        forecart(
            folder,
            &[&["ads", "off-policy", "--in", file, "--item", "item"][..], more].concat(),
        )
    };
    good(&asked("log.csv", &[]));
    let text = fs::read_to_string(folder.join("log.csv")).unwrap();
    let changed = |change: &dyn Fn(&str) -> String| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines[7] = change(&lines[7]);
        fs::write(folder.join("changed.csv"), lines.join("\n")).unwrap();
    };
    let with =
        |line: &str, propensity: &str| format!("{},{propensity}", line.rsplit_once(',').unwrap().0);
    for (propensity, said) in
        [("0", "the propensity 0"), ("1.5", "the propensity 1.5"), ("", "no propensity")]
    {
        changed(&|line| with(line, propensity));
        let message = refused(&asked("changed.csv", &[]), 3);
        assert!(message.contains("line 8") && message.contains(said), "{message}");
    }
    let message = refused(&asked("log.csv", &["--propensity", "pscore"]), 3);
    assert!(
        message.contains("no column \"pscore\"") && message.contains("--propensity"),
        "{message}"
    );
    let message = refused(&asked("log.csv", &["--within", "campaign"]), 3);
    assert!(
        message.contains("no column \"campaign\"") && message.contains("--within"),
        "{message}"
    );
    let message = refused(&asked("log.csv", &["--temperature", "0"]), 2);
    assert!(message.contains("--temperature"), "{message}");
    let message = refused(&asked("log.csv", &["--clip", "0"]), 2);
    assert!(message.contains("--clip"), "{message}");
    let message = refused(&forecart(folder, &["ads", "off-policy"]), 2);
    assert!(message.contains("--in"), "{message}");
    // The table does not have it, and it is not the model's.
    let message = refused(
        &forecart(folder, &["ads", "off-policy", "--data", "samples", "--item", "item"]),
        3,
    );
    assert!(message.contains("samples.propensity"), "{message}");
    impressions(folder, "changed.csv", 1500, 4);
    good(&forecart(folder, &["prepare", "--samples", "changed.csv", "--out", "other"]));
    let message =
        refused(&forecart(folder, &["ads", "off-policy", "--data", "other", "--item", "item"]), 2);
    assert!(message.contains("did not learn from the table"), "{message}");
}

#[test]
fn the_demo_of_ads_ends_with_what_to_try() {
    let root = tempfile::tempdir().unwrap();
    let text = good(&forecart(root.path(), &["demo", "ads"]));
    for said in
        ["30,000", "value, paced", "the log's own", "greedy", "forecart ads off-policy --model"]
    {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(root.path().join("forecart-demo/click.forecart").is_file());
    let again = good(&forecart(
        root.path(),
        &[
            "ads",
            "off-policy",
            "--model",
            "forecart-demo/click.forecart",
            "--data",
            "forecart-demo/samples-ads",
            "--within",
            "campaign",
            "--json",
        ],
    ));
    let report: Value = serde_json::from_str(&again).unwrap();
    // Of the 160 items of three campaigns, those that the last days show.
    assert_eq!(report["n_items"], 157);
    assert_eq!(report["n_candidates"], serde_json::json!([34, 78]));
}
