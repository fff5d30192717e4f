//! Probabilities from the event log, through the command line.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use forecart_data::SampleTable;
use forecart_data::encode::{Row, Value as Cell};
use forecart_data::samples::Role;
use serde_json::{Map, Value};

use crate::program::{forecart, good, refused};

fn bandit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples/open_bandit.parquet")
}

/// Rows of a table without their labels, as JSON lines.
fn lines(table: &SampleTable, n_rows: u32) -> String {
    let names: Vec<&str> = table
        .columns()
        .filter(|(column, _)| column.role != Role::Label)
        .map(|(column, _)| column.name.as_str())
        .collect();
    let mut text = String::new();
    for row in 0..n_rows {
        let row = table.row(row);
        let values = names.iter().map(|name| {
            let value = match row.value(name) {
                Cell::Missing => Value::Null,
                Cell::Number(number) if number.fract() == 0.0 => (number as i64).into(),
                Cell::Number(number) => number.into(),
                Cell::Text(text) => text.into(),
                Cell::List(texts) => texts.iter().map(|text| text.as_ref()).collect(),
            };
            ((*name).to_owned(), value)
        });
        writeln!(text, "{}", Value::Object(values.collect::<Map<_, _>>())).unwrap();
    }
    text
}

#[test]
fn from_impressions_to_probabilities() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    let sample = bandit();
    good(&forecart(folder, &["import", sample.to_str().unwrap(), "--out", "log"]));
    let prepared = good(&forecart(folder, &["prepare", "--task", "click", "--json"]));
    let prepared: Value = serde_json::from_str(&prepared).unwrap();
    // As the source says: each impression of it and each click.
    assert_eq!(prepared["join"]["n_impressions"], 30_000);
    assert_eq!(prepared["join"]["n_clicks_joined"], 157);
    assert_eq!(prepared["join"]["n_clicks_alone"], 0);
    let rows: u64 =
        prepared["parts"].as_array().unwrap().iter().map(|p| p["n_rows"].as_u64().unwrap()).sum();
    assert_eq!(rows + prepared["n_open"].as_u64().unwrap(), 30_000);

    let table = SampleTable::open(&folder.join("samples")).unwrap();
    good(&forecart(folder, &["evaluate", "--data", "samples", "--models", "lr", "--json"]));
    good(&forecart(folder, &["train", "--task", "click", "--data", "samples", "--model", "lr"]));
    fs::write(folder.join("rows.jsonl"), lines(&table, 200)).unwrap();
    let predict = ["predict", "--in", "rows.jsonl"];
    let predicted = good(&forecart(folder, &predict));
    let predicted: Vec<f64> = predicted
        .lines()
        .skip(1)
        .map(|line| line.split_once(',').unwrap().1.parse().unwrap())
        .collect();
    assert_eq!(predicted.len(), 200);
    // One impression in 191 was clicked.
    let mean = predicted.iter().sum::<f64>() / 200.0;
    assert!((0.002..0.02).contains(&mean), "{mean}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    let text =
        "user_id,item_id,event,timestamp\nu1,a,view_item,1700000000\nu2,b,purchase,1700000010\n";
    fs::write(folder.join("events.csv"), text).unwrap();
    good(&forecart(folder, &["import", "events.csv"]));
    let message = refused(&forecart(folder, &["prepare", "--task", "click"]), 3);
    for part in ["view_promotion", "purchase (1), view_item (1)", "samples.log.impressions"] {
        assert!(message.contains(part), "{message}");
    }
    let message =
        refused(&forecart(folder, &["prepare", "--task", "click", "--protocol", "time"]), 2);
    assert!(message.contains("--protocol"), "{message}");
    let message =
        refused(&forecart(folder, &["prepare", "--task", "click", "--data", "nowhere"]), 2);
    assert!(message.contains("not an event log"), "{message}");
    assert!(!folder.join("samples").exists());
}
