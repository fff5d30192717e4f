//! Conversions that come days after their clicks, through the command line.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use forecart_data::SampleTable;
use serde_json::Value;

use crate::program::{forecart, good, refused};

const DAY_MS: i64 = 86_400_000;
const N_DAYS: i64 = 80;
const CLICKS_A_DAY: i64 = 200;
const START_MS: i64 = 1_700_000_000_000;

/// From this day on three of ten clicks convert, one of ten before.
const NEW_DAY: i64 = 52;

struct Click {
    time_ms: i64,
    bought_ms: Option<i64>,
}

/// Clicks at even distances; delays are exponential with a mean of three days, and at most a week.
fn clicks() -> Vec<Click> {
    // A small generator of its own: the numbers do not change with a library.
    let mut state = 7_u64;
    let mut random = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / f64::from(u32::MAX >> 1)
    };
    let one = |at: i64| {
        let time_ms = START_MS + at * DAY_MS / CLICKS_A_DAY;
        let delay_ms = loop {
            let days = -3.0 * (1.0 - random().min(0.999_999)).ln();
            if days < 7.0 {
                break (days * DAY_MS as f64) as i64;
            }
        };
        let rate = if at < NEW_DAY * CLICKS_A_DAY { 0.1 } else { 0.3 };
        let is_bought = random() < rate;
        Click { time_ms, bought_ms: is_bought.then_some(time_ms + delay_ms) }
    };
    (0..N_DAYS * CLICKS_A_DAY).map(one).collect()
}

fn write_log(folder: &Path, clicks: &[Click]) {
    let mut events: Vec<(i64, String)> = Vec::new();
    for (at, Click { time_ms, bought_ms }) in clicks.iter().enumerate() {
        let of = |event: &str, time: &i64| (*time, format!("u{at},i{},{event},{time}", at % 3));
        events.push(of("select_promotion", time_ms));
        events.extend(bought_ms.iter().map(|time| of("purchase", time)));
    }
    // The log ends with the day.
    let end_ms = START_MS + N_DAYS * DAY_MS;
    events.retain(|(time, _)| *time < end_ms);
    events.sort();
    let mut text = String::from("user_id,item_id,event,timestamp\n");
    for (_, line) in events {
        writeln!(text, "{line}").unwrap();
    }
    fs::write(folder.join("log.csv"), text).unwrap();
}

/// The mean probability that a model gives to the rows of a file.
fn mean_probability(folder: &Path, table: &str, rows: &str) -> f64 {
    good(&forecart(folder, &["train", "--data", table, "--model", "lr"]));
    let said = good(&forecart(folder, &["predict", "--in", rows, "--json"]));
    let found: Vec<f64> = said
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter_map(|line| line["probability"].as_f64())
        .collect();
    assert!(found.len() >= 3, "{said:.300}");
    found.iter().sum::<f64>() / found.len() as f64
}

#[test]
fn what_comes_late_is_counted_neither_as_none_nor_left_out() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    let clicks = clicks();
    write_log(folder, &clicks);
    good(&forecart(folder, &["import", "log.csv", "--out", "log"]));
    // Counters of a log that began with the first click say how old it is; here the item, the hour and the day are known.
    let counters = r#"["user_events", "user_clicks", "user_looks", "user_purchases", "user_purchase_rate",
        "item_events", "item_clicks", "item_looks", "item_purchases", "item_purchase_rate", "user_item_clicks", "user_item_looks", "user_item_purchases",
        "secs_since_event", "secs_since_click", "secs_since_purchase", "secs_since_item", "session_events", "session_secs"]"#;
    let config = |open_windows: &str| {
        let text = format!(
            "[samples]\nignore = {counters}\n[samples.log]\nhistory_length = 0\nopen_windows = \"{open_windows}\"\n"
        );
        fs::write(folder.join("forecart.toml"), text).unwrap();
    };
    let prepare =
        |out: &str| good(&forecart(folder, &["prepare", "--task", "conversion", "--out", out]));
    config("leave-out");
    let said = prepare("left-out");
    assert!(!said.contains("weight"), "{said}");
    config("correct");
    let said = prepare("corrected");
    assert!(said.contains("number (weight)") && said.contains("kept with a weight"), "{said}");

    // The parts end where they did, and the test part has closed windows alone: the same rows and labels.
    let [left_out, corrected] =
        ["left-out", "corrected"].map(|name| SampleTable::open(&folder.join(name)).unwrap());
    assert_eq!(left_out.manifest.description.split, corrected.manifest.description.split);
    assert_eq!(left_out.manifest.parts[2], corrected.manifest.parts[2]);
    for part in [0, 1] {
        assert!(corrected.manifest.parts[part].n_rows > left_out.manifest.parts[part].n_rows);
    }
    let weights = corrected.weights().unwrap();
    assert!(
        weights.iter().any(|weight| *weight > 1.5) && weights.iter().any(|weight| *weight < 0.9)
    );

    // The same clicks where those without a purchase by the end of their part are negatives: a table of its own.
    let forecart_data::samples::SampleSplit::Time { validation_start_ms, test_start_ms } =
        corrected.manifest.description.split
    else {
        panic!("{:?}", corrected.manifest.description.split)
    };
    let day = |time: i64| (time - START_MS) as f64 / DAY_MS as f64;
    assert!((50.0..52.0).contains(&day(validation_start_ms)), "{}", day(validation_start_ms));
    let mut naive = String::from("converted,item_id,moment\n");
    // Those whose window is closed when the log ends: the parts then have the same cuts.
    let known = (N_DAYS - 7) * CLICKS_A_DAY;
    for (at, Click { time_ms, bought_ms }) in clicks.iter().take(known as usize).enumerate() {
        let ends = [validation_start_ms, test_start_ms, i64::MAX];
        let end = ends.into_iter().find(|end| time_ms < end).unwrap();
        let label = u8::from(bought_ms.is_some_and(|bought| bought < end));
        writeln!(naive, "{label},i{},{time_ms}", at % 3).unwrap();
    }
    fs::write(folder.join("naive.csv"), naive).unwrap();
    let mut rows = String::from("item_id,hour,weekday\n");
    for at in 0..3 * 24 * 7 {
        writeln!(rows, "i{},{},{}", at % 3, at / 3 % 24, at / 72 + 1).unwrap();
    }
    fs::write(folder.join("rows.csv"), rows).unwrap();
    fs::write(
        folder.join("forecart.toml"),
        "[data]\ntime_unit = \"ms\"\n[samples]\nlabel = \"converted\"\ntime = \"moment\"\n",
    )
    .unwrap();
    good(&forecart(
        folder,
        &["prepare", "--samples", "naive.csv", "--task", "conversion", "--out", "naive"],
    ));

    // What the clicks of validation come to in the end, which is what a calibration on them should say.
    let of_validation =
        |click: &&Click| (validation_start_ms..test_start_ms).contains(&click.time_ms);
    let of_validation: Vec<&Click> = clicks.iter().filter(of_validation).collect();
    let truth = of_validation.iter().filter(|click| click.bought_ms.is_some()).count() as f64
        / of_validation.len() as f64;
    assert!(truth > 0.25, "{truth}");
    let mean = |table| mean_probability(folder, table, "rows.csv");
    let (corrected, left_out, naive) = (mean("corrected"), mean("left-out"), mean("naive"));
    // 1,460 clicks: a standard error of .012 as they are, about .016 with these weights.
    assert!((corrected - truth).abs() < 0.04, "{corrected}, {truth}");
    assert!(naive < truth - 0.06, "{naive}, {truth}");
    assert!(left_out < truth - 0.1, "{left_out}, {truth}");
}

#[test]
fn delays_that_nobody_knows_correct_nothing() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    let mut clicks = clicks();
    for click in &mut clicks {
        click.bought_ms = click.bought_ms.filter(|_| click.time_ms > START_MS + 50 * DAY_MS);
    }
    write_log(folder, &clicks);
    good(&forecart(folder, &["import", "log.csv", "--out", "log"]));
    let config = |text: &str| fs::write(folder.join("forecart.toml"), text).unwrap();
    config("[samples.log]\nopen_windows = \"correct\"\n");
    let prepare = ["prepare", "--task", "conversion"];
    let message = refused(&forecart(folder, &prepare), 3);
    assert!(message.contains("needs 30 outcomes") && message.contains("leave-out"), "{message}");
    config("[samples]\nsplit = \"random\"\n[samples.log]\nopen_windows = \"correct\"\n");
    let message = refused(&forecart(folder, &prepare), 2);
    assert!(message.contains("samples.split"), "{message}");
    config("[samples.log]\nopen_windows = \"guess\"\n");
    let message = refused(&forecart(folder, &prepare), 2);
    assert!(message.contains("samples.log.open_windows"), "{message}");
}
