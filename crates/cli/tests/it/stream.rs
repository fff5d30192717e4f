//! `train --samples`: a model from rows as they come, through the command line.

use std::fs;
use std::path::Path;
use std::process::Output;

use forecart_data::Silent;
use forecart_data::encode::{HashedRows, Value};
use forecart_models::ads::Positions;
use forecart_models::model_file::OutcomeModelFile;
use forecart_prepare::samples::{SampleStream, StreamPurpose};
use forecart_prepare::{DataConfig, SamplesConfig};
use serde_json::Value as Json;

use crate::program::{forecart, good, refused};

fn json(output: &Output) -> Json {
    serde_json::from_str(&good(output)).unwrap()
}

fn rows(folder: &Path, n_rows: &str, format: &str, seed: &str, name: &str) -> Json {
    let arguments = [
        "bench", "rows", "--rows", n_rows, "--format", format, "--seed", seed, "--out", name,
        "--json",
    ];
    json(&forecart(folder, &arguments))
}

const SMALL: &str = "[outcome_models.ftrl]\nbits = 18\nnumbers = \"as-they-are\"\n";
const TRAIN: [&str; 7] = ["train", "--task", "click", "--model", "ftrl", "--samples", "rows.vw"];

#[test]
fn from_rows_to_probabilities_with_the_same_bits_by_library_and_command() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    fs::write(folder.join("forecart.toml"), SMALL).unwrap();
    let made = rows(folder, "40000", "vw", "1", "rows.vw");
    rows(folder, "5000", "vw", "2", "test.vw");
    let arguments = [&TRAIN[..], &["--hold-out", "10", "--test", "test.vw", "--json"]].concat();
    let report = json(&forecart(folder, &arguments));
    assert_eq!(
        (&report["rows"], &report["rows_learned_from"], &report["held_out"]["rows"]),
        (&Json::from(40_000), &Json::from(36_000), &Json::from(4000))
    );
    // Better than the share of clicks, and not better than what the clicks were drawn by.
    let rate = made["positive"].as_f64().unwrap() / 40_000.0;
    let constant = -(rate * rate.ln() + (1.0 - rate) * (1.0 - rate).ln());
    let truth = made["log_loss_of_truth"].as_f64().unwrap();
    for loss in [
        &report["progressive_log_loss"],
        &report["held_out"]["log_loss"],
        &report["test"]["log_loss"],
    ] {
        let loss = loss.as_f64().unwrap();
        assert!(loss < constant - 0.02 && loss > truth, "{loss}, {constant}, {truth}");
    }
    assert!(report["test"]["auc"].as_f64().unwrap() > 0.65, "{report}");
    assert!(report["test"]["ece"].as_f64().unwrap() < 0.04, "{report}");

    let predict = ["predict", "--in", "test.vw", "--out", "p.csv"];
    let said = good(&forecart(folder, &predict));
    assert!(said.contains("5,000 rows"), "{said}");
    let predictions = fs::read_to_string(folder.join("p.csv")).unwrap();
    let by_command: Vec<&str> =
        predictions.lines().skip(1).map(|line| line.split_once(',').unwrap().1).collect();
    let file = OutcomeModelFile::open(&folder.join("model.forecart")).unwrap();
    let space = file.predictor().encoders().hash_space().unwrap();
    let (data, config) = (DataConfig::default(), SamplesConfig::default());
    let (paths, purpose) = ([folder.join("test.vw")], StreamPurpose::Features(&[]));
    let mut stream = SampleStream::open(&paths, purpose, space, &data, &config, &Silent).unwrap();
    let (mut block, mut by_library) = (HashedRows::default(), Vec::new());
    while stream.next_block(&mut block).unwrap().is_some() {
        let found = file.predictor().predict_stream(&block).unwrap();
        by_library.extend(found.iter().map(|prediction| prediction.probability.to_string()));
    }
    assert_eq!(by_command, by_library);

    // The first row of the test as values by column: the same probability.
    let text = fs::read_to_string(folder.join("test.vw")).unwrap();
    let mut numbers = Vec::new();
    let mut codes = Vec::new();
    for token in text.lines().next().unwrap().split(' ').skip(2) {
        match token.split_once(':') {
            Some((name, value)) => numbers.push((format!("i:{name}"), value.parse().unwrap())),
            None if token != "|c" => codes.push(token.into()),
            None => {}
        }
    }
    let mut row = vec![("c", Value::List(codes))];
    row.extend(numbers.iter().map(|(name, value)| (name.as_str(), Value::Number(*value))));
    let alone = file.predictor().predict([AsRow(&row)], Positions::Neutral).unwrap();
    let difference = alone[0].probability - by_library[0].parse::<f64>().unwrap();
    assert!(difference.abs() < 1e-6, "{difference}"); // the logit is rounded to f32 after another order of the sum

    let shown = good(&forecart(folder, &["model", "show", "model.forecart"]));
    assert!(shown.contains("stream") && shown.contains("ftrl"), "{shown}");
}

struct AsRow<'a>(&'a [(&'a str, Value<'a>)]);

impl forecart_data::encode::Row for AsRow<'_> {
    fn value(&self, column: &str) -> Value<'_> {
        self.0.value(column)
    }
}

#[test]
fn the_same_rows_give_the_same_bytes_and_passes_go_on() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    fs::write(folder.join("forecart.toml"), "[outcome_models.ftrl]\nbits = 18\n").unwrap();
    rows(folder, "5000", "criteo", "1", "rows.vw"); // the content says what it is, not the name
    let train = |more: &[&str]| json(&forecart(folder, &[&TRAIN[..], &["--json"], more].concat()));
    let bytes = |name: &str| fs::read(folder.join(name)).unwrap();
    let once = train(&["--out", "a", "--threads", "1"]);
    train(&["--out", "b", "--threads", "2"]);
    assert_eq!(bytes("a"), bytes("b"));
    let text = bytes("rows.vw");
    fs::write(folder.join("rows.zst"), zstd::encode_all(text.as_slice(), 1).unwrap()).unwrap();
    let packed = ["train", "--task", "click", "--samples", "rows.zst", "--json", "--out", "c"];
    let packed = json(&forecart(folder, &packed));
    assert_eq!(packed["progressive_log_loss"], once["progressive_log_loss"]);
    let thrice = train(&["--passes", "3", "--out", "d"]);
    let curve = thrice["training"]["curve"].as_array().unwrap();
    assert_eq!(curve.len(), 3);
    let losses: Vec<f64> = curve.iter().map(|pass| pass["train_loss"].as_f64().unwrap()).collect();
    // Of the first pass each row is new; later ones have been learned from.
    assert_eq!(losses[0], (once["progressive_log_loss"].as_f64().unwrap() * 1e6).round() / 1e6);
    assert!(losses[2] < losses[1] && losses[1] < losses[0], "{losses:?}");
    let rule = "[outcome_models.ftrl]\nbits = 18\nrule = \"adagrad\"\n";
    fs::write(folder.join("forecart.toml"), rule).unwrap();
    let adagrad = train(&["--out", "e"])["progressive_log_loss"].as_f64().unwrap();
    assert!(adagrad < 0.6 && adagrad != losses[0], "{adagrad}");
}

#[test]
fn what_does_not_fit_says_so_with_its_exit_code() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    let run = |arguments: &[&str], code| refused(&forecart(folder, arguments), code);
    fs::write(folder.join("rows.vw"), "1 |a x\n0 |a y\nno bar\n").unwrap();
    let message = run(&TRAIN, 3);
    assert!(message.contains("rows.vw, line 3") && message.contains("max_bad_rows"), "{message}");
    assert!(!folder.join("model.forecart").exists());
    fs::write(folder.join("rows.vw"), "1 |a x\n1 |a y\n").unwrap();
    let message = run(&TRAIN, 3);
    assert!(message.contains("nothing to tell apart"), "{message}");
    let message = run(&["train", "--model", "lr", "--samples", "rows.vw"], 2);
    assert!(message.contains("prepare --samples"), "{message}");
    let message = run(&["train", "--samples", "rows.vw", "--data", "samples"], 2);
    assert!(message.contains("--data"), "{message}");
    run(&[&TRAIN[..], &["--passes", "0"]].concat(), 2);
    run(&["train", "--passes", "2"], 2);
    fs::write(folder.join("forecart.toml"), "[outcome_models.ftrl]\nalhpa = 1.0\n").unwrap();
    let message = run(&TRAIN, 2);
    assert!(message.contains("alpha"), "{message}");
    fs::write(folder.join("forecart.toml"), "[outcome_models.ftrl]\nbits = 24\n").unwrap();
    let message = run(&[&TRAIN[..], &["--memory-limit", "64MiB"]].concat(), 1);
    assert!(message.contains("lower `bits`"), "{message}");
    fs::write(folder.join("forecart.toml"), "[outcome_models.ftrl]\nbits = 40\n").unwrap();
    let message = run(&TRAIN, 2);
    assert!(message.contains("bits"), "{message}");
}
