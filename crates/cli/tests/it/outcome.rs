//! Probabilities from a plain table, through the command line.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use forecart_data::SampleWriter;
use forecart_data::samples::{
    Cell, ColumnKind, Role, SampleColumn, SampleDescription, SampleSplit,
};
use serde_json::Value;

use crate::program::{forecart, good, refused};

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples/online_shoppers.parquet")
}

/// The bundled sessions as a sample table, in `samples`.
fn prepared(folder: &Path) -> Value {
    let sample = sample();
    let arguments = [
        "prepare",
        "--samples",
        sample.to_str().unwrap(),
        "--label",
        "Revenue",
        "--task",
        "purchase",
        "--json",
    ];
    serde_json::from_str(&good(&forecart(folder, &arguments))).unwrap()
}

#[test]
fn from_sessions_to_probabilities() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    let report = prepared(folder);
    let kinds: Vec<(&str, &str)> = report["columns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| (column["name"].as_str().unwrap(), column["kind"].as_str().unwrap()))
        .collect();
    for (name, kind) in [
        ("Administrative", "number"),
        ("BounceRates", "number"),
        ("Browser", "category"),
        ("Month", "category"),
        ("Weekend", "category"),
    ] {
        assert!(kinds.contains(&(name, kind)), "{name}: {kinds:?}");
    }
    // The worth of pages by purchases before them is known too late.
    let message =
        refused(&forecart(folder, &["evaluate", "--data", "samples", "--models", "lr"]), 3);
    assert!(message.contains("\"PageValues\"") && message.contains("samples.ignore"), "{message}");
    // What published models of these sessions reach, less three standard errors.
    let measured = forecart(
        folder,
        &["evaluate", "--data", "samples", "--models", "lr,gbdt", "--allow-leaks", "--json"],
    );
    let measured: Value = serde_json::from_str(&good(&measured)).unwrap();
    let rows = measured["rows"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["model"].as_str().unwrap()).collect();
    assert_eq!(names, ["gbdt", "lr", "constant"]); // the lowest log loss first
    let auc = |row: &Value| row["measured"]["measurements"][0]["value"].as_f64().unwrap();
    assert!(auc(&rows[0]) > 0.92 && auc(&rows[1]) > 0.89, "{measured}");
    assert_eq!(auc(&rows[2]), 0.5);

    good(&forecart(folder, &["train", "--task", "purchase", "--data", "samples", "--model", "lr"]));
    let before = fs::read(folder.join("model.forecart")).unwrap();
    good(&forecart(folder, &["train", "--data", "samples", "--model", "lr", "--threads", "1"]));
    assert_eq!(fs::read(folder.join("model.forecart")).unwrap(), before);
    let shown = good(&forecart(folder, &["model", "show", "model.forecart"]));
    assert!(shown.contains("purchase") && shown.contains("calibrator"), "{shown}");

    let sample = sample();
    let said =
        good(&forecart(folder, &["predict", "--in", sample.to_str().unwrap(), "--out", "p.csv"]));
    assert!(said.contains("12,330 rows"), "{said}");
    let predictions = fs::read_to_string(folder.join("p.csv")).unwrap();
    let lines: Vec<&str> = predictions.lines().collect();
    assert_eq!((lines.len(), lines[0]), (12_331, "line,probability"));
    let probabilities = lines[1..].iter().map(|line| line.split_once(',').unwrap().1);
    let sum: f64 = probabilities.map(|p| p.parse::<f64>().unwrap()).sum();
    assert!((sum / 12_330.0 - 0.1547).abs() < 0.01, "{sum}");

    // The same row through a pipe, as another format: the same bits.
    let row = concat!(
        r#"{"Administrative":0,"Administrative_Duration":0,"Informational":0,"Informational_Duration":0,"ProductRelated":1,"#,
        r#""ProductRelated_Duration":0,"BounceRates":0.2,"ExitRates":0.2,"PageValues":0,"SpecialDay":0,"Month":"Feb","#,
        r#""OperatingSystems":1,"Browser":1,"Region":1,"TrafficType":1,"VisitorType":"Returning_Visitor","Weekend":"false"}"#
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_forecart"));
    let command = command.current_dir(folder).args(["predict", "--in", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), row.as_bytes()).unwrap();
    drop(child.stdin.take());
    let piped = good(&child.wait_with_output().unwrap());
    let of = |line: &str| line.split_once(',').unwrap().1.to_owned();
    assert_eq!(of(piped.lines().nth(1).unwrap()), of(lines[1]));
}

#[test]
fn folds_are_measured_by_models_that_did_not_learn_from_them() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    fs::write(folder.join("forecart.toml"), "[samples]\nsplit = \"folds\"\nn_folds = 3\n").unwrap();
    prepared(folder);
    let sample = sample();
    let arguments = ["prepare", "--samples", sample.to_str().unwrap(), "--label", "Revenue"];
    let said = good(&forecart(folder, &[&arguments[..], &["--task", "purchase"]].concat()));
    assert!(said.contains("fold 3") && !said.contains("validation"), "{said}");
    let arguments = ["evaluate", "--data", "samples", "--models", "lr", "--allow-leaks", "--json"];
    let measured = forecart(folder, &arguments);
    let measured: Value = serde_json::from_str(&good(&measured)).unwrap();
    let row = &measured["rows"][0];
    assert_eq!(row["measured"]["n_rows"], 12_330);
    assert_eq!(row["calibration"].as_array().unwrap().len(), 3);
    let mean = row["fold_means"][0][1].as_f64().unwrap();
    assert!(mean > 0.89 && mean < 0.95, "{mean}");
}

#[test]
fn the_page_and_the_gate_of_sessions() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    prepared(folder);
    let evaluate = ["evaluate", "--data", "samples", "--allow-leaks", "--deterministic"];
    let run = |more: &[&str]| forecart(folder, &[&evaluate[..], more].concat());
    let said = good(&run(&["--models", "gbdt", "--gate", "logloss", "--out", "one"]));
    assert!(said.contains("gate: logloss against lr") && said.contains("gbdt passes"), "{said}");
    assert!(said.contains("report: one/report.html"), "{said}");
    good(&run(&["--models", "gbdt", "--gate", "logloss", "--out", "two", "--threads", "1"]));
    for name in ["report.html", "report.json"] {
        let read = |of: &str| fs::read(folder.join(of).join(name)).unwrap();
        assert!(read("one") == read("two"), "{name} differs");
    }
    let page = fs::read_to_string(folder.join("one/report.html")).unwrap();
    assert!(page.contains("Where probabilities are off") && page.contains("gbdt: observed"));
    let report: Value =
        serde_json::from_slice(&fs::read(folder.join("one/report.json")).unwrap()).unwrap();
    assert_eq!(report["rows"].as_array().unwrap().len(), 3); // the baseline is always there
    assert_eq!(report["gate"]["verdicts"][0]["passed"], true);

    // Nothing but baselines, and a file of one: neither beats itself.
    let message = refused(&run(&["--models", "lr", "--gate", "auc"]), 4);
    assert!(message.contains("against lr"), "{message}");
    good(&forecart(folder, &["train", "--data", "samples", "--model", "lr"]));
    let gate = ["--model", "model.forecart", "--gate", "average-precision"];
    let message = refused(&run(&gate), 4);
    assert!(message.contains("lr (model.forecart) does not pass: +0.0000"), "{message}");
    let shown = || good(&forecart(folder, &["model", "show", "model.forecart", "--json"]));
    let shown_now: Value = serde_json::from_str(&shown()).unwrap();
    assert_eq!(shown_now["header"]["gate"]["passed"], false, "{shown_now}");
    good(&run(&[&gate[..], &["--gate-override", "a test"]].concat()));
    assert!(shown().contains("a test"));
}

#[test]
fn a_search_on_a_sample_table_writes_what_training_reads() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    prepared(folder);
    let tune = ["tune", "--data", "samples", "--model", "default", "--trials", "2"];
    let message = refused(&forecart(folder, &tune), 3);
    assert!(message.contains("PageValues"), "{message}");
    let tune = [&tune[..], &["--allow-leaks"]].concat();
    let said = good(&forecart(folder, &tune));
    assert!(said.contains("validation log loss") && said.contains("test log loss"), "{said}");
    let best = fs::read_to_string(folder.join("tuning/best.toml")).unwrap();
    assert!(best.starts_with("[outcome_models.gbdt]\n"), "{best}");
    let page = fs::read_to_string(folder.join("tuning/report.html")).unwrap();
    assert!(page.contains("Every trial"));
    let train = ["train", "--config", "tuning/best.toml", "--data", "samples", "--model", "gbdt"];
    good(&forecart(folder, &train));
    let again = good(&forecart(folder, &tune)); // from the journal
    assert_eq!(again.lines().last(), said.lines().last());
}

#[test]
fn a_pipe_that_closes_early_ends_predictions_quietly() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    prepared(folder);
    good(&forecart(folder, &["train", "--data", "samples", "--model", "lr"]));
    let mut command = Command::new(env!("CARGO_BIN_EXE_forecart"));
    let command = command.current_dir(folder).args(["predict", "--in", sample().to_str().unwrap()]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take()); // as `head` does
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
}

#[test]
fn what_does_not_fit_says_so_with_its_exit_code() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    prepared(folder);
    let run = |arguments: &[&str], code| refused(&forecart(folder, arguments), code);
    let message = run(&["train", "--data", "samples", "--task", "click"], 2);
    assert!(message.contains("is for purchase"), "{message}");
    let message = run(&["train", "--data", "samples", "--model", "gbtd"], 2);
    assert!(message.contains("did you mean \"gbdt\""), "{message}");
    let message = run(&["evaluate", "--data", "samples", "--gate", "ndcg@10"], 2);
    assert!(message.contains("--gate") && message.contains("average_precision"), "{message}");
    let message = run(&["evaluate", "--data", "samples", "--seen", "keep"], 2);
    assert!(message.contains("--seen"), "{message}");
    let message = run(&["tune", "--data", "samples", "--model", "gbdt", "--metric", "auc"], 2);
    assert!(message.contains("--metric") && message.contains("log loss"), "{message}");
    let message = run(&["train", "--data", "nowhere", "--task", "click"], 2);
    assert!(message.contains("prepare --samples"), "{message}");
    fs::write(folder.join("forecart.toml"), "[outcome_models.gbdt]\nmax_leafs = 3\n").unwrap();
    let message = run(&["train", "--data", "samples"], 2);
    assert!(message.contains("max_leaves"), "{message}");
    fs::remove_file(folder.join("forecart.toml")).unwrap();

    // One label and no history.
    let message = run(&["train", "--data", "samples", "--model", "din"], 3);
    assert!(message.contains("history"), "{message}");
    let message = run(&["evaluate", "--data", "samples", "--models", "lr,esmm"], 3);
    assert!(message.contains("second"), "{message}");

    fs::write(folder.join("rows.csv"), "a,click\n1,0\n2,1\n3,2\n").unwrap();
    let message = run(&["prepare", "--samples", "rows.csv", "--label", "clik"], 3);
    assert!(message.contains("click"), "{message}");
    run(&["predict", "--model", "rows.csv", "--in", "rows.csv"], 3);

    good(&forecart(folder, &["train", "--data", "samples", "--model", "lr"]));
    let message = run(&["recommend", "--history", "a"], 2);
    assert!(message.contains("for the task \"purchase\""), "{message}");
}

#[test]
fn what_columns_add_is_said_for_each_row() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    prepared(folder);
    let sample = sample();
    for model in ["lr", "gbdt"] {
        good(&forecart(folder, &["train", "--data", "samples", "--model", model]));
        let rows = sample.to_str().unwrap();
        let said = good(&forecart(folder, &["explain", "--in", rows, "--json"]));
        let lines: Vec<Value> =
            said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 12_330);
        let predicted = good(&forecart(folder, &["predict", "--in", rows, "--json"]));
        for (line, predicted) in lines.iter().zip(predicted.lines()).take(500) {
            let predicted: Value = serde_json::from_str(predicted).unwrap();
            assert_eq!(line["probability"], predicted["probability"]);
            let columns = line["columns"].as_array().unwrap();
            assert_eq!(columns.len(), 17);
            let number = |value: &Value| value.as_f64().unwrap();
            let adds: Vec<f64> =
                columns.iter().map(|column| number(&column["contribution"])).collect();
            assert!(adds.windows(2).all(|pair| pair[0].abs() >= pair[1].abs()));
            let difference = number(&line["logit"]) - number(&line["baseline_logit"]);
            assert!((adds.iter().sum::<f64>() - difference).abs() < 1e-3, "{line}");
        }
        let arguments = ["explain", "--in", rows, "--top", "2"];
        let said = good(&forecart(folder, &arguments));
        let first: Vec<&str> = said.split("\n\n").next().unwrap().lines().collect();
        assert!(first[0].starts_with("line ") && first[0].contains("baseline"), "{first:?}");
        assert!(said.contains("15 others"), "{first:?}");
    }
}

#[test]
fn two_labels_and_a_history_are_for_the_models_that_ask_for_them() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    let column = |name: &str, kind, role| SampleColumn::new(name, kind, role);
    let columns = vec![
        column("item", ColumnKind::Category, Role::Feature),
        column("seen", ColumnKind::List, Role::Feature).history_of("item"),
        column("click", ColumnKind::Number, Role::Label),
        column("order", ColumnKind::Number, Role::Label),
    ];
    let mut writer = SampleWriter::new(&folder.join("samples"), columns).unwrap();
    let items = ["a", "b", "c", "d"];
    for row in 0..800usize {
        let (item, other) = (row % 4, (row / 4) % 4);
        let is_click = (item == other) != (row % 11 == 0);
        let is_order = is_click && (item < 2) != (row % 7 == 0);
        let cells = [
            Cell::Text(items[item]),
            Cell::List(&[items[other], "a"]),
            Cell::Number(f64::from(u8::from(is_click))),
            if row % 50 == 0 { Cell::Missing } else { Cell::Number(f64::from(u8::from(is_order))) },
        ];
        writer.push(&cells).unwrap();
    }
    let description = SampleDescription {
        task: "click".into(),
        split: SampleSplit::Order,
        negatives_kept: 1.0,
        data_hash: "00".into(),
        config: Value::Null,
        steps: Vec::new(),
    };
    let parts: Vec<u8> = (0..800).map(|row| [0, 0, 0, 1, 2][row / 160]).collect();
    writer.finish(&parts, description).unwrap();
    let short = "n_epochs = 40\nlearning_rate = 0.01\nbatch_size = 32\n";
    let config: String = ["lr", "fm", "ffm", "mlp", "wide-deep", "deepfm", "dcn-v2", "din", "esmm"]
        .map(|name| format!("[outcome_models.{name}]\n{short}"))
        .concat();
    fs::write(folder.join("forecart.toml"), config).unwrap();
    let said = good(&forecart(folder, &["evaluate", "--data", "samples", "--models", "all"]));
    assert!(said.contains("din") && said.contains("esmm") && !said.contains("left out"), "{said}");

    let said = forecart(folder, &["evaluate", "--data", "samples", "--models", "esmm", "--json"]);
    let report: Value = serde_json::from_str(&good(&said)).unwrap();
    let further = report["further"].as_array().unwrap();
    let names: Vec<&str> = further.iter().map(|own| own["task"].as_str().unwrap()).collect();
    assert_eq!(names, ["what came of each click", "click, and what was to come of it"]);
    let number = |at: usize, name: &str| further[at]["rows"][0]["measured"][name].as_u64().unwrap();
    // Clicks whose outcome is known alone; of the others it is known that nothing came of them.
    assert!(number(0, "n_rows") < 160 / 2 && number(1, "n_rows") > 160 - 4, "{further:#?}");
    assert_eq!(number(0, "n_positive"), number(1, "n_positive"));
    for own in further {
        assert_eq!(own["rows"][0]["model"], "esmm", "{own:#?}"); // before the constant
    }

    good(&forecart(folder, &["train", "--data", "samples", "--model", "esmm"]));
    fs::write(folder.join("rows.csv"), "item,seen\na,b|a\nd,d|a\nnew,\n").unwrap();
    let said = good(&forecart(folder, &["predict", "--in", "rows.csv"]));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "line,probability,conversion_given_click,click_and_conversion");
    assert_eq!(lines.len(), 4);
    for line in &lines[1..] {
        let numbers: Vec<f64> = line.split(',').map(|text| text.parse().unwrap()).collect();
        assert_eq!(numbers[3], numbers[1] * numbers[2], "{line}");
    }
    let said = good(&forecart(folder, &["predict", "--in", "rows.csv", "--json"]));
    let first: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    assert!(first["conversion_given_click"].as_f64().unwrap() > 0.5, "{said}");

    good(&forecart(folder, &["train", "--data", "samples", "--model", "din"]));
    let said = good(&forecart(folder, &["explain", "--in", "rows.csv", "--json"]));
    let rows: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows[1]["columns"].as_array().unwrap().len(), 2);
    assert!(rows[1]["probability"].as_f64() > rows[0]["probability"].as_f64(), "{said}");
}
