//! `bench scaling` on sizes that take a second.

use serde_json::Value;

use crate::commands::{forecart, json, ok, stderr, write_log};

const SIZES: [&str; 12] = [
    "--sizes",
    "8x1,8x2,16x1,16x2",
    "--epochs",
    "2",
    "--lengths",
    "3,6",
    "--items",
    "20,40",
    "--d-models",
    "8,16",
    "--steps",
    "1",
];

/// What differs between runs and machines, replaced by its kind.
fn without_measurements(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => *value = "a number".into(),
        Value::String(text) if text.len() == 64 => *value = "a hash".into(),
        Value::Array(list) => list.iter_mut().for_each(without_measurements),
        Value::Object(map) => {
            for (key, value) in map {
                match key.as_str() {
                    "environment" => *value = "the machine".into(),
                    "hyperparameters" => *value = "as configured".into(),
                    "day" => *value = "by the seconds that it took".into(),
                    "memory_bytes" | "forecart_version" | "commit" | "chosen_epoch" => {
                        *value = "some".into()
                    }
                    _ => without_measurements(value),
                }
            }
        }
        _ => {}
    }
}

#[test]
fn a_small_run_says_what_grows_and_how() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write_log(root);
    ok(root, &["import", "log.csv"]);
    ok(root, &["prepare", "--protocol", "loo-full"]);
    let of_data = ["bench", "scaling", "--data", "dataset", "--threads", "2", "--out", "scaling"];
    let mut report = json(root, &[&of_data[..], &SIZES].concat());

    let read = |name: &str| std::fs::read_to_string(root.join("scaling").join(name)).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&read("scaling.json")).unwrap(), report);
    let page = read("scaling.html");
    // Four plots of trainings, eight of steps: two for each of four axes.
    assert_eq!(page.matches("<figure>").count(), 12, "{page}");
    assert!(!page.contains("NaN") && !page.contains("<script"), "{page}");

    let trainings = report["trainings"].as_array().unwrap();
    let number = |training: &Value, key: &str| training[key].as_f64().unwrap();
    for pair in trainings.windows(2) {
        assert!(number(&pair[0], "epoch_flop") < number(&pair[1], "epoch_flop"), "{pair:?}");
        assert!(number(&pair[0], "n_parameters") < number(&pair[1], "n_parameters"), "{pair:?}");
    }
    // 20 items: to know nothing is to lose ln 20 = 3.0 nats.
    let losses = trainings.iter().map(|training| number(training, "validation_loss"));
    assert!(
        losses.clone().all(|loss| loss > 0.0 && loss < 3.3),
        "{:?}",
        losses.collect::<Vec<_>>()
    );
    // Full softmax over twice the items: more operations, by twenty items.
    let curve = |axis: &str, row: &str| {
        let steps = report["steps"].as_array().unwrap();
        steps.iter().find(|curve| curve["axis"] == axis && curve["row"] == row).unwrap().clone()
    };
    let flop = |curve: &Value, place: usize| curve["points"][place]["flop"].as_f64().unwrap();
    let items = curve("n_items", "full-softmax");
    assert_eq!(flop(&items, 1) - flop(&items, 0), 6.0 * 6400.0 * 20.0 * 64.0);
    assert_eq!(flop(&curve("n_items", "sasrec-50"), 0), flop(&curve("n_items", "sasrec-50"), 1));

    assert!(report["day"]["flop"].as_f64().unwrap() > 0.0, "{report}");
    assert_eq!(report["hyperparameters"]["loss"], "full");
    assert!(report["hyperparameters"]["d_model"].is_null(), "sizes are not shared");
    without_measurements(&mut report);
    insta::assert_snapshot!(serde_json::to_string_pretty(&report).unwrap());
}

#[test]
fn one_part_alone_and_wrong_sizes() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write_log(root);
    ok(root, &["import", "log.csv"]);
    ok(root, &["prepare", "--protocol", "loo-full"]);
    let training = ["bench", "scaling", "--data", "dataset", "--only", "training"];
    let text = ok(root, &[&training[..], &["--sizes", "8x1,16x1", "--epochs", "1"]].concat());
    assert!(text.contains("Trainings") && !text.contains("One training step"), "{text}");
    for (wrong, code) in [
        (&["--sizes", "64"][..], 2),
        (&["--sizes", "0x1"][..], 2),
        (&["--lengths", "0"][..], 2),
        (&["--model", "item-knn"][..], 2),
        (&["--model", "sasrek"][..], 2),
        (&["--sizes", "9x1"][..], 2), // two heads
    ] {
        let output = forecart(root, &[&["bench", "scaling"], wrong].concat());
        assert_eq!(output.status.code(), Some(code), "{wrong:?}: {}", stderr(&output));
    }
    let fixed = forecart(root, &["bench", "step", "deepfm", "--length", "20"]);
    assert_eq!(fixed.status.code(), Some(2), "{}", stderr(&fixed));
}
