//! From a log to a forecast of demand, through the command line.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::program::{forecart, good, refused};
use crate::serve::{Process, ask};

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples/online_retail.parquet")
}

fn parsed(output: &Output) -> Value {
    serde_json::from_str(&good(output)).unwrap()
}

fn imported(folder: &Path) {
    fs::write(folder.join("forecart.toml"), "[data]\ntime_zone = \"Europe/London\"\n").unwrap();
    good(&forecart(folder, &["import", sample().to_str().unwrap()]));
}

#[test]
fn from_orders_to_what_to_order() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    imported(folder);
    let manifest = parsed(&forecart(folder, &["prepare", "--task", "demand", "--json"]));
    assert_eq!(
        (manifest["n_items"].as_u64(), manifest["n_periods"].as_u64()),
        (Some(3907), Some(53))
    );
    // The order of 80,995 paper birds, taken back after twelve minutes, is none.
    let left_out = manifest["left_out"].to_string();
    assert!(left_out.contains("taken back"), "{left_out}");

    let evaluate = ["evaluate", "--data", "orders", "--models", "ses,orders", "--deterministic"];
    let gate = [&evaluate[..], &["--gate", "wape", "--out", "report"]].concat();
    let said = good(&forecart(folder, &gate));
    assert!(said.contains("gate: wape against ses") && said.contains("orders passes"), "{said}");
    let page = fs::read_to_string(folder.join("report/report.html")).unwrap();
    assert_eq!(page.matches("<figure>").count(), 4);
    assert!(page.contains("sold (in the color of the text)") && page.contains("data SHA-256"));
    let alone = ["evaluate", "--data", "orders", "--models", "ses", "--gate", "pinball"];
    let message = refused(&forecart(folder, &alone), 4);
    assert!(message.contains("pinball against ses"), "{message}");
    let report = parsed(&forecart(folder, &["evaluate", "--data", "orders", "--json"]));
    let rows = report["rows"].as_array().unwrap();
    assert_eq!((rows.len(), rows[0]["model"].as_str()), (8, Some("orders")));
    let of = |row: &Value, name: &str| row["measured"]["all"][name].as_f64().unwrap();
    for other in &rows[1..] {
        assert!(of(&rows[0], "median_wape") < of(other, "median_wape") - 0.03, "{other}");
        assert!(of(&rows[0], "pinball_loss") < of(other, "pinball_loss"), "{other}");
    }
    let often = rows[0]["measured"]["often"]["coverages"][0]["observed"].as_f64().unwrap();
    assert!((0.75..0.85).contains(&often), "{often}");

    let train = ["train", "--task", "demand", "--data", "orders", "--out", "demand.forecart"];
    good(&forecart(folder, &train));
    let before = fs::read(folder.join("demand.forecart")).unwrap();
    good(&forecart(folder, &[&train[..], &["--threads", "1"]].concat()));
    assert_eq!(fs::read(folder.join("demand.forecart")).unwrap(), before);
    let shown = good(&forecart(folder, &["model", "show", "demand.forecart"]));
    assert!(shown.contains("demand") && shown.contains("period_days"), "{shown}");

    let text =
        good(&forecart(folder, &["predict", "--model", "demand.forecart", "--periods", "2"]));
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("item_id,period_start,expected,low,median,high"));
    assert!(lines.next().unwrap().starts_with("10002,2011-12-10,"), "{text:.200}");
    assert_eq!(text.lines().count(), 1 + 2 * 3907);

    fs::write(folder.join("stock.csv"), "item_id,on_hand\n22423,10\n85123A,900000\nnone,5\n")
        .unwrap();
    let arguments = [
        "predict",
        "--model",
        "demand.forecart",
        "--in",
        "stock.csv",
        "--lead-time",
        "2",
        "--json",
    ];
    let output = forecart(folder, &arguments);
    let lines: Vec<Value> =
        good(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(String::from_utf8_lossy(&output.stderr).contains("left out 1 item"));
    let number = |line: &Value, name: &str| line[name].as_f64().unwrap();
    assert_eq!(lines.len(), 2);
    assert!(number(&lines[0], "needed") > number(&lines[0], "expected"));
    assert_eq!(number(&lines[0], "reorder"), number(&lines[0], "needed") - 10.0);
    assert_eq!(number(&lines[1], "reorder"), 0.0);
    let riskier = forecart(folder, &[&arguments[..], &["--service-level", "0.5"]].concat());
    let riskier: Value = serde_json::from_str(good(&riskier).lines().next().unwrap()).unwrap();
    assert!(number(&riskier, "needed") < number(&lines[0], "needed"));
    over_http(folder, &lines, &text);
}

/// A server says what the command line said: of `lead_time` in `lines`, of periods in the table `text`.
fn over_http(folder: &Path, lines: &[Value], text: &str) {
    let model = folder.join("demand.forecart");
    let process =
        Process::start_with(&folder.join("s.sqlite"), &["--model", model.to_str().unwrap()]);
    let post = |body: &Value| {
        let body = body.to_string();
        let (status, text) = ask(&process.address, "POST", "/v1/predict/demand", &body).unwrap();
        (status, serde_json::from_str::<Value>(&text).unwrap())
    };
    let rows = serde_json::json!([{"item_id": "22423", "on_hand": 10}, {"item_id": "none"},
        {"item_id": "85123A", "on_hand": 900_000}, {"item_id": "10002"}]);
    let (status, answer) = post(&serde_json::json!({"rows": rows, "periods": 2, "lead_time": 2}));
    assert_eq!((status, &answer["period_days"]), (200, &7.into()), "{answer}");
    let predicted = answer["predictions"].as_array().unwrap();
    assert_eq!((predicted.len(), &predicted[1]["reorder"]), (4, &Value::Null));
    assert_eq!(predicted[1]["periods"], serde_json::json!([]));
    for (line, own) in lines.iter().zip([&predicted[0], &predicted[2]]) {
        assert_eq!(line["item_id"], own["item_id"]);
        assert_eq!(line["needed"], own["reorder"]["needed"]);
        assert_eq!(line["reorder"], own["reorder"]["order"]);
    }
    let cells: Vec<&str> = text.lines().nth(1).unwrap().split(',').collect();
    let period = &predicted[3]["periods"][0];
    assert_eq!(period["start_ms"], 1_323_475_200_000_i64);
    let round = |name: &str| (period[name].as_f64().unwrap() * 1e3).round() / 1e3;
    for (cell, name) in cells[2..].iter().zip(["expected", "low", "median", "high"]) {
        assert_eq!(cell.parse::<f64>().unwrap(), round(name), "{name}");
    }
    for (body, field) in [
        (serde_json::json!({"rows": [], "periods": 0}), "periods"),
        (serde_json::json!({"rows": [], "service_level": 1.0}), "service_level"),
        (serde_json::json!({"rows": [{"item_id": "a", "on_hand": -1}]}), "rows[0]"),
    ] {
        let (status, answer) = post(&body);
        assert_eq!((status, &answer["error"]["field"]), (422, &field.into()), "{answer}");
    }
    process.kill();
}

#[test]
fn what_does_not_fit_is_refused_with_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    fs::write(
        folder.join("views.csv"),
        "user_id,item_id,event,timestamp\nu,a,view_item,1600000000\nu,b,view_item,1602000000\n",
    )
    .unwrap();
    good(&forecart(folder, &["import", "views.csv"]));
    let message = refused(&forecart(folder, &["prepare", "--task", "demand"]), 3);
    assert!(
        message.contains("no event \"purchase\"") && message.contains("view_item"),
        "{message}"
    );

    let day = |n: u64| 1_600_000_000 + n * 86_400;
    let orders: String = (0..30).map(|n| format!("u,a,purchase,{}\n", day(n))).collect();
    fs::write(folder.join("orders.csv"), format!("user_id,item_id,event,timestamp\n{orders}"))
        .unwrap();
    good(&forecart(folder, &["import", "orders.csv"]));
    good(&forecart(folder, &["prepare", "--task", "demand"]));
    let message =
        refused(&forecart(folder, &["evaluate", "--data", "orders", "--models", "ses"]), 3);
    assert!(message.contains("none is before the last 8"), "{message}");
    let message = refused(&forecart(folder, &["train", "--data", "orders"]), 3);
    assert!(message.contains("demand.period_days"), "{message}");
    good(&forecart(folder, &["train", "--data", "orders", "--model", "ses"]));
    let message = refused(&forecart(folder, &["predict", "--lead-time", "1"]), 3);
    assert!(message.contains("train orders"), "{message}");
    let message = refused(&forecart(folder, &["train", "--data", "orders", "--model", "sess"]), 2);
    assert!(message.contains("ses"), "{message}");
    let message =
        refused(&forecart(folder, &["evaluate", "--data", "orders", "--gate", "ndcg@10"]), 2);
    assert!(message.contains("--gate") && message.contains("wape, pinball"), "{message}");
    let message = refused(&forecart(folder, &["tune", "--data", "orders", "--model", "ses"]), 2);
    assert!(message.contains("order table"), "{message}");
    let message = refused(&forecart(folder, &["train", "--task", "click", "--data", "orders"]), 2);
    assert!(message.contains("for demand"), "{message}");
    let message = refused(&forecart(folder, &["train", "--task", "demand", "--data", "none"]), 2);
    assert!(message.contains("prepare --task demand"), "{message}");
    let message =
        refused(&forecart(folder, &["prepare", "--samples", "orders.csv", "--task", "demand"]), 2);
    assert!(message.contains("--data"), "{message}");
    let message =
        refused(&forecart(folder, &["prepare", "--task", "demand", "--protocol", "time"]), 2);
    assert!(message.contains("--protocol"), "{message}");
    fs::write(folder.join("day.toml"), "[demand]\nperiod_days = 31\n").unwrap();
    let message = refused(&forecart(folder, &["-c", "day.toml", "prepare", "--task", "demand"]), 3);
    assert!(message.contains("lower demand.period_days"), "{message}");
    fs::write(folder.join("pairs.csv"), "user_id,item_id\nu,a\nu,b\n").unwrap();
    fs::write(folder.join("order.toml"), "[data]\norder_only = true\n").unwrap();
    good(&forecart(folder, &["-c", "order.toml", "import", "pairs.csv"]));
    let message = refused(&forecart(folder, &["prepare", "--task", "demand"]), 3);
    assert!(message.contains("no times"), "{message}");
}

#[test]
fn the_demo_of_purchases_ends_with_what_to_order() {
    let root = tempfile::tempdir().unwrap();
    let text = good(&forecart(root.path(), &["demo", "purchase"]));
    assert!(text.contains("gbdt") && text.contains("croston"), "{text}");
    assert!(text.contains("forecart predict --model forecart-demo/demand.forecart"), "{text}");
    assert!(root.path().join("forecart-demo/demand.forecart").is_file());
}
