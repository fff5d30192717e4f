//! The verbs as a user types them: outputs, JSON, exit codes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub(crate) fn forecart(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forecart"));
    command.current_dir(folder).args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub(crate) fn ok(folder: &Path, arguments: &[&str]) -> String {
    let output = forecart(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    stdout(&output)
}

pub(crate) fn json(folder: &Path, arguments: &[&str]) -> serde_json::Value {
    let text = ok(folder, &[arguments, &["--json"]].concat());
    assert_eq!(text.trim().lines().count(), 1, "one object on one line: {text}");
    serde_json::from_str(&text).unwrap()
}

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples/online_retail.parquet")
}

/// A log with sequential structure: whoever buys `i` buys `i + 1` next.
pub(crate) fn write_log(folder: &Path) -> PathBuf {
    let mut text = String::from("user_id,item_id,event,timestamp\n");
    for user in 0..60 {
        for step in 0..8 {
            let item = (user * 3 + step) % 20;
            let time = 1_700_000_000 + user * 7 + step * 86_400;
            text.push_str(
                &format!("user/{user},茶 \"\"{item}\"\",purchase,{time}\n")
                    .replace(&format!("茶 \"\"{item}\"\""), &format!("\"茶 \"\"{item}\"\"\"")),
            );
        }
    }
    let path = folder.join("log.csv");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn the_whole_way_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write_log(root);
    ok(root, &["init", "--from", "log.csv"]);
    let log = json(root, &["import", "log.csv"]);
    assert_eq!(log["n_rows"], 480);
    json(root, &["validate"]);
    let dataset = json(root, &["prepare", "--protocol", "loo-full"]);
    assert_eq!(dataset["counts"]["n_test"], 60);
    json(root, &["train", "--model", "seq-rules"]);
    let header = json(root, &["model", "show"]);
    assert_eq!(header["header"]["model"], "seq-rules");
    let known = json(root, &["recommend", "--user", "user/1", "-k", "3"]);
    assert_eq!(known["items"].as_array().unwrap().len(), 3);
    let history = r#"茶 "4",茶 "5""#;
    let stranger = json(root, &["recommend", "--history", history, "-k", "1"]);
    assert_eq!(stranger["items"][0]["item_id"], r#"茶 "6""#);
    let unknown = json(root, &["recommend", "--user", "nobody", "-k", "3"]);
    assert_eq!(unknown["items"].as_array().unwrap().len(), 3);
    assert!(unknown["fallback"].is_string(), "{unknown}");
    let similar = json(root, &["similar", "--item", r#"茶 "6""#, "-k", "2"]);
    assert_eq!(similar["items"].as_array().unwrap().len(), 2);
    let measured = json(root, &["evaluate", "--data", "dataset", "--model", "model.forecart"]);
    assert!(measured["models"].as_array().unwrap().len() >= 2, "{measured}");
}

#[test]
fn one_line_for_researchers() {
    let folder = tempfile::tempdir().unwrap();
    let log = write_log(folder.path());
    let arguments = [
        "evaluate",
        "--input",
        log.to_str().unwrap(),
        "--protocol",
        "loo-full",
        "--models",
        "popularity,seq-rules,item-knn",
    ];
    let report = json(folder.path(), &arguments);
    assert_eq!(report["data"]["data_hash"].as_str().unwrap().len(), 64);
    let text = report.to_string();
    for name in ["popularity", "seq-rules", "item-knn", "ndcg@10", "fit_secs", "memory_bytes"] {
        assert!(text.contains(name), "{name} is missing in {text}");
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "only the log itself: {left:?}");
}

#[test]
fn sessions_without_ids_are_parted_by_pauses() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = String::from("user_id,item_id,timestamp\n");
    for day in 0..6 {
        for user in 0..9 {
            for click in 0..3 {
                let time = 1_700_000_000 + day * 86_400 + user * 60 + click;
                text.push_str(&format!("u{user},i{},{time}\n", (user + day + click) % 5));
            }
        }
    }
    std::fs::write(folder.path().join("clicks.csv"), text).unwrap();
    let evaluate = ["evaluate", "--input", "clicks.csv", "--protocol", "session", "--models"];
    let report = json(folder.path(), &[&evaluate[..], &["seq-rules"]].concat());
    let protocol = report["protocol"].as_str().unwrap();
    assert!(protocol.starts_with("session/") && protocol.ends_with("/gap=30min"), "{protocol}");
    // One session a user and day; the last day is for test.
    assert_eq!(report["data"]["counts"]["n_users"], 54, "{}", report["data"]);
    assert_eq!(report["data"]["counts"]["n_test"], 27);
    std::fs::write(folder.path().join("pairs.txt"), "1 2\n1 3\n2 2\n").unwrap();
    let output = forecart(
        folder.path(),
        &["evaluate", "--input", "pairs.txt", "--protocol", "session", "--models", "seq-rules"],
    );
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("no times and no session ids"), "{}", stderr(&output));
}

#[test]
fn the_same_seed_gives_the_same_bytes_with_one_and_two_threads() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write_log(root);
    let mut files = Vec::new();
    for threads in ["1", "2"] {
        ok(root, &["import", "log.csv", "--threads", threads]);
        ok(root, &["prepare", "--protocol", "loo-full", "--threads", threads]);
        let out = "model.forecart";
        ok(root, &["train", "--model", "mlp", "--threads", threads, "--out", out, "--seed", "7"]);
        let report = format!("report-{threads}");
        let models = "popularity,item-knn";
        ok(
            root,
            &[
                "evaluate",
                "--data",
                "dataset",
                "--models",
                models,
                "--model",
                out,
                "--threads",
                threads,
                "--out",
                &report,
                "--deterministic",
            ],
        );
        let read = |name: &str| std::fs::read(root.join(name)).unwrap();
        let report_file = |name: &str| read(&format!("{report}/{name}"));
        files.push((
            read("log/log.json"),
            read("dataset/manifest.json"),
            read(out),
            report_file("report.json"),
            report_file("report.html"),
        ));
    }
    assert!(files[0].0 == files[1].0, "the logs differ");
    assert!(files[0].1 == files[1].1, "the datasets differ");
    assert!(files[0].2 == files[1].2, "the models differ");
    assert!(files[0].3 == files[1].3, "the reports differ (JSON)");
    assert!(files[0].4 == files[1].4, "the reports differ (HTML)");
}

#[test]
fn exit_codes_are_those_of_the_conventions() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let log = write_log(root);
    let code = |arguments: &[&str]| forecart(root, arguments).status.code();
    assert_eq!(code(&["--version"]), Some(0));
    assert_eq!(code(&["no-such-verb"]), Some(2));
    assert_eq!(code(&["import", "missing.csv"]), Some(1));
    std::fs::write(root.join("bad.toml"), "[prepare]\nmin_user_event = 3\n").unwrap();
    let output = forecart(root, &["prepare", "--config", "bad.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("did you mean `min_user_events`"), "{}", stderr(&output));
    std::fs::write(root.join("broken.csv"), "user_id,item_id,timestamp\nu,i,yesterday\n").unwrap();
    let output = forecart(root, &["import", "broken.csv", "--out", "broken"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("timestamp"), "{}", stderr(&output));
    assert_eq!(code(&["train", "--data", "missing"]), Some(3));
    assert_eq!(code(&["recommend", "--model", "missing", "--history", "a"]), Some(1));
    std::fs::write(root.join("junk"), "junk").unwrap();
    assert_eq!(code(&["recommend", "--model", "junk", "--history", "a"]), Some(3));
    let gate = ["evaluate", "--input", log.to_str().unwrap(), "--models", "popularity"];
    assert_eq!(code(&[&gate[..], &["--gate", "ndcg@10"]].concat()), Some(4));
    assert_eq!(code(&["train", "--model", "seq-rule", "--data", "missing"]), Some(2));
}

#[test]
fn every_verb_has_help_with_an_example() {
    let folder = tempfile::tempdir().unwrap();
    let verbs: &[&[&str]] = &[
        &["demo"],
        &["init"],
        &["import"],
        &["validate"],
        &["prepare"],
        &["train"],
        &["evaluate"],
        &["tune"],
        &["recommend"],
        &["similar"],
        &["model"],
        &["model", "show"],
        &["model", "list"],
        &["bench"],
        &["bench", "generate"],
        &["bench", "prepare"],
        &["bench", "step"],
        &["bench", "scaling"],
        &["completions"],
    ];
    for verb in verbs {
        let help = ok(folder.path(), &[verb, &["--help"][..]].concat());
        let example = format!("forecart {}", verb.join(" "));
        let examples = help.split("Example").nth(1).unwrap_or_default();
        assert!(examples.contains(&example), "{verb:?}: {help}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(ok(folder.path(), &["completions", shell]).contains("recommend"));
    }
}

#[test]
fn the_bundled_orders_import_as_order_lines() {
    let folder = tempfile::tempdir().unwrap();
    let sample = sample();
    // The orders state no zone.
    std::fs::write(folder.path().join("forecart.toml"), "data.time_zone = \"Europe/London\"")
        .unwrap();
    let log = json(folder.path(), &["import", sample.to_str().unwrap()]);
    assert_eq!(log["n_rows"].as_u64().unwrap() + log["n_rejected"].as_u64().unwrap(), 541_909);
    assert_eq!(log["n_guests"], 135_080);
}

/// A small network on the real orders: what it answers to a stranger comes from the stranger's events.
#[test]
fn a_stranger_with_three_events_gets_no_popularity_list() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let settings = "data.time_zone = \"Europe/London\"\n[models.hstu]\nd_model = 32\nn_epochs = 3\n\
                    max_history = 20\n";
    std::fs::write(root.join("forecart.toml"), settings).unwrap();
    ok(root, &["import", sample().to_str().unwrap()]);
    ok(root, &["prepare"]);
    ok(root, &["train", "--model", "hstu"]);
    let list = |history: &str| {
        let reply = json(root, &["recommend", "--history", history, "-k", "10"]);
        let items = reply["items"].as_array().unwrap().iter();
        let items: Vec<String> = items.map(|item| item["item_id"].to_string()).collect();
        assert_eq!(items.len(), 10);
        (items, reply["fallback"].clone(), reply["n_unknown_history_items"].clone())
    };
    let (popular, fallback, _) = list("no-such-item");
    assert_eq!(fallback, "nothing_known");
    // Cake cases; Christmas decorations.
    let (cakes, fallback, n_unknown) = list("21212,84991,21977");
    assert_eq!((fallback, n_unknown), (serde_json::Value::Null, 0.into()));
    let (christmas, fallback, n_unknown) = list("22086,22910,22578");
    assert_eq!((fallback, n_unknown), (serde_json::Value::Null, 0.into()));
    assert_ne!(cakes, popular);
    assert_ne!(christmas, popular);
    let n_common = christmas.iter().filter(|item| cakes.contains(item)).count();
    assert!(n_common < 8, "{cakes:?} {christmas:?}");
}

/// A catalog that says when an item was last sold, read as an attribute.
#[test]
fn leaked_test_data_is_an_error_that_says_where_and_can_be_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write_log(root);
    let mut items = String::from("item_id,last_sold_at\n");
    for item in 0..20 {
        items.push_str(&format!("\"茶 \"\"{item}\"\"\",{}\n", 1_700_700_000_000_i64 + item * 1000));
    }
    std::fs::write(root.join("items.csv"), items).unwrap();
    let config = "[data]\nitems = \"items.csv\"\n[[prepare.item_features.columns]]\n\
                  kind = \"numeric\"\ncolumn = \"last_sold_at\"\n";
    std::fs::write(root.join("forecart.toml"), config).unwrap();
    let evaluate =
        ["evaluate", "--input", "log.csv", "--protocol", "time", "--models", "seq-rules"];
    let output = forecart(root, &evaluate);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let message = stderr(&output);
    for word in ["last_sold_at", "items.parquet", "after the cut", "--allow-leaks", "20 of 20"] {
        assert!(message.contains(word), "{word:?} is missing in {message}");
    }
    let report = json(root, &[&evaluate[..], &["--allow-leaks"]].concat());
    assert_eq!(report["leakage"]["leaks"][0]["kind"], "moment_after_cut", "{}", report["leakage"]);
    std::fs::write(root.join("forecart.toml"), "[data]\nitems = \"items.csv\"\n").unwrap();
    let clean = json(root, &evaluate);
    assert_eq!(clean["leakage"]["leaks"], serde_json::json!([]));
}

#[test]
fn the_gate_writes_its_verdict_into_the_model_file() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write_log(root);
    ok(root, &["import", "log.csv"]);
    ok(root, &["prepare", "--protocol", "loo-full"]);
    ok(root, &["train", "--model", "popularity"]);
    let before = json(root, &["model", "show"]);
    assert_eq!(before["header"]["gate"], serde_json::Value::Null);
    // A baseline itself, it has the others to beat.
    let gate = ["evaluate", "--data", "dataset", "--model", "model.forecart", "--gate", "ndcg@10"];
    let output = forecart(root, &gate);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    let verdict = json(root, &["model", "show"])["header"]["gate"].clone();
    assert_eq!((&verdict["passed"], &verdict["baseline"]), (&false.into(), &"seq-rules".into()));
    assert!(verdict.get("override_reason").is_none(), "{verdict}");
    let report = json(root, &[&gate[..], &["--gate-override", "for one page"]].concat());
    assert_eq!(report["gate"]["override_reason"], "for one page");
    let verdict = json(root, &["model", "show"])["header"]["gate"].clone();
    assert_eq!(
        (&verdict["passed"], &verdict["override_reason"]),
        (&false.into(), &"for one page".into())
    );
    let known = json(root, &["recommend", "--user", "user/1", "-k", "3"]);
    assert_eq!(known["items"].as_array().unwrap().len(), 3, "the file is whole");
    // Two files of one name are told apart by their paths; one file twice is a slip.
    std::fs::create_dir(root.join("other")).unwrap();
    std::fs::copy(root.join("model.forecart"), root.join("other/model.forecart")).unwrap();
    let other = ["--model", "other/model.forecart"];
    let both = json(root, &[&gate[..5], &other].concat());
    let names = both["models"].to_string();
    assert!(names.contains("(model.forecart)") && names.contains("(other/model.forecart)"));
    let output = forecart(root, &[&gate[..], &["--model", "model.forecart"]].concat());
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("twice"), "{}", stderr(&output));
    // What cannot decide is refused before anything is fitted.
    let bias = ["evaluate", "--data", "dataset", "--models", "item-knn", "--gate", "coverage@10"];
    let output = forecart(root, &bias);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("coverage@10 cannot decide"), "{}", stderr(&output));
}

#[test]
fn a_back_test_refits_at_each_cut() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write_log(root);
    let evaluate = ["evaluate", "--input", "log.csv", "--folds", "2", "--horizon", "1"];
    let evaluate =
        [&evaluate[..], &["--models", "seq-rules", "--out", "back", "--deterministic"]].concat();
    let test = json(root, &evaluate);
    let folds = test["folds"].as_array().unwrap();
    assert_eq!(folds.len(), 2);
    let counts = |fold: usize| &folds[fold]["report"]["data"]["counts"];
    // A day more is known at the second cut, and nothing after the first one's end.
    assert_eq!((&counts(0)["n_events"], &counts(1)["n_events"]), (&420.into(), &480.into()));
    assert_eq!((&counts(0)["n_test"], &counts(1)["n_test"]), (&60.into(), &60.into()));
    assert!(test["models"][0]["sd"].is_number(), "{}", test["models"][0]);
    for file in ["report.html", "report.json", "fold-1/report.html", "fold-2/report.json"] {
        assert!(root.join("back").join(file).is_file(), "{file}");
    }
    let again = json(root, &evaluate);
    assert_eq!(again, test);
    let code = |arguments: &[&str]| forecart(root, arguments).status.code();
    assert_eq!(code(&["evaluate", "--models", "seq-rules", "--folds", "2"]), Some(2));
    let long = ["evaluate", "--input", "log.csv", "--models", "seq-rules", "--folds", "9"];
    assert_eq!(code(&long), Some(2));
}

/// What a user bought is left out where `prepare.seen` says so, what the user looked at is not: answers know the kinds of events.
#[test]
fn a_known_users_kinds_of_events_reach_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    let mut csv = "user,item,event,timestamp\n".to_owned();
    for user in 0..20 {
        for (at, kind) in ["purchase", "view", "purchase", "view", "purchase"].iter().enumerate() {
            let item = (user + at) % 7;
            csv += &format!("u{user},i{item},{kind},{}\n", 1_600_000_000 + user * 100 + at * 10);
        }
    }
    std::fs::write(folder.path().join("log.csv"), csv).unwrap();
    let toml = "[prepare]\nseen = \"exclude_target\"\nmin_user_events = 1\nmin_item_events = 1\n\
                [split]\nkind = \"loo-full\"\ntarget_event = \"purchase\"\n";
    std::fs::write(folder.path().join("forecart.toml"), toml).unwrap();
    ok(folder.path(), &["import", "log.csv", "--out", "log"]);
    ok(folder.path(), &["-c", "forecart.toml", "prepare", "--data", "log", "--out", "dataset"]);
    ok(
        folder.path(),
        &["train", "--data", "dataset", "--model", "popularity", "--out", "m.forecart"],
    );
    let arguments =
        ["recommend", "--data", "dataset", "--model", "m.forecart", "--user", "u0", "-k", "7"];
    let reply = json(folder.path(), &arguments);
    let listed: Vec<&str> = reply["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["item_id"].as_str().unwrap())
        .collect();
    for bought in ["i0", "i2", "i4"] {
        assert!(!listed.contains(&bought), "{bought}: {listed:?}");
    }
    for looked_at in ["i1", "i3"] {
        assert!(listed.contains(&looked_at), "{looked_at}: {listed:?}");
    }
}
