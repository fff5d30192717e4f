//! From labeled texts to answers, through the command line.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::program::{forecart, good, refused};

const SECRETS: [&str; 4] =
    ["13912345678", "planted.person@shop.example", "ORD-2026-777123", "+44 20 7946 0958"];

fn parsed(output: &Output) -> Value {
    serde_json::from_str(&good(output)).unwrap()
}

/// Texts of three intents; every fourth with a secret.
fn texts() -> String {
    let [verbs, things, ends] = [
        [
            ["cancel", "stop", "call off"],
            ["track", "where is", "when comes"],
            ["refund", "money back for", "pay me back for"],
        ],
        [["my order", "the parcel", "it all"]; 3],
        [["please", "today", "at last"]; 3],
    ];
    let mut csv = "text,intent\n".to_owned();
    let mut at = 0;
    for (intent, name) in ["cancel", "track", "refund"].iter().enumerate() {
        for verb in verbs[intent] {
            for thing in things[intent] {
                for end in ends[intent] {
                    let secret = if at % 4 == 0 { SECRETS[at / 4 % 4] } else { "" };
                    writeln!(csv, "\"{verb} {thing} {end} {secret}\",{name}").unwrap();
                    at += 1;
                }
            }
        }
    }
    csv
}

fn holds_secret(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    SECRETS.iter().any(|secret| text.contains(secret))
}

#[test]
fn from_texts_to_answers_and_no_secret_on_the_way() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    fs::write(folder.join("texts.csv"), texts() + "\"\",cancel\ncancel my order today,cancel\n")
        .unwrap();
    let prepare = ["prepare", "--samples", "texts.csv", "--task", "support"];
    let output = forecart(folder, &[&prepare[..], &["--json"]].concat());
    assert!(!holds_secret(&output.stdout) && !holds_secret(&output.stderr));
    let report = parsed(&output);
    assert_eq!(report["manifest"]["n_intents"], 3);
    let left_out = report["manifest"]["left_out"].to_string();
    assert!(left_out.contains("shows anything"), "{left_out}");

    let train = ["train", "--task", "support", "--data", "intents", "--out", "m.forecart"];
    let output = forecart(folder, &train);
    assert!(good(&output).contains("ensemble of 3 intents"));
    assert!(!holds_secret(&output.stderr));
    let before = fs::read(folder.join("m.forecart")).unwrap();
    good(&forecart(folder, &[&train[..], &["--threads", "1"]].concat()));
    assert_eq!(fs::read(folder.join("m.forecart")).unwrap(), before);
    assert!(!holds_secret(&before));
    for entry in fs::read_dir(folder.join("intents")).unwrap() {
        assert!(!holds_secret(&fs::read(entry.unwrap().path()).unwrap()));
    }

    let classify = |texts: &[&str]| {
        let arguments = [&["classify", "--model", "m.forecart", "--json"][..], texts].concat();
        let text = good(&forecart(folder, &arguments));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    let answers = classify(&["call off my order 13912345678", "🙂", "Где мой заказ?"]);
    assert_eq!(answers[0]["intent_ranking"][0]["name"], "cancel");
    assert_eq!(answers[0]["text"], "call off my order <phone>");
    assert_eq!(answers[0]["intent_ranking"].as_array().unwrap().len(), 3);
    for (answer, reason) in answers[1..].iter().zip(["no-words", "other-script"]) {
        assert_eq!((&answer["abstain"], &answer["reason"]), (&true.into(), &reason.into()));
        assert_eq!(answer["intent"], Value::Null);
    }

    fs::write(folder.join("new.txt"), "track the parcel today\nblah\n\nrefund it all please\n")
        .unwrap();
    let review = ["--in", "new.txt", "--review", "1"];
    assert_eq!(classify(&review)[0]["text"], "blah");
    assert_eq!(classify(&["--in", "new.txt"]).len(), 4);

    let explain =
        ["explain", "--model", "m.forecart", "--json", "--text", "cancel the parcel today"];
    let why = parsed(&forecart(folder, &explain));
    assert_eq!((&why["intent"], &why["words"][0]["word"]), (&"cancel".into(), &"cancel".into()));
    let without = |which: &str| why["deletion"][which].as_f64().unwrap();
    let least = without("confidence_without_those_that_add_least");
    assert!(without("confidence_without_those_that_add_most") < least - 0.1, "{why}");

    let evaluate =
        ["evaluate", "--data", "intents", "--model", "m.forecart", "--models", "all", "--json"];
    let report = parsed(&forecart(folder, &evaluate));
    let rows = report["rows"].as_array().unwrap();
    assert!(rows.len() >= 3);
    assert!(rows[0]["measured"]["accuracy"]["value"].as_f64().unwrap() > 0.9, "{report}");
    assert!(good(&forecart(folder, &["model", "show", "m.forecart"])).contains("support"));
}

#[test]
fn standard_input_is_answered_line_by_line_whatever_it_is() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    fs::write(folder.join("texts.csv"), texts()).unwrap();
    good(&forecart(folder, &["prepare", "--samples", "texts.csv", "--task", "support"]));
    good(&forecart(folder, &["train", "--data", "intents"]));
    let mut input = b"\xff\xfe\0 track\n<b>'; DROP TABLE x; --</b>\n".to_vec();
    input.extend(b"where ".repeat(1_000_000));
    fs::write(folder.join("input"), &input).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_forecart"))
        .current_dir(folder)
        .env_remove("FORECART_CONFIG")
        .args(["classify", "--in", "-"])
        .stdin(Stdio::from(fs::File::open(folder.join("input")).unwrap()))
        .output()
        .unwrap();
    assert_eq!(good(&output).lines().count(), 3);
}

#[test]
fn rasa_files_are_read_and_what_is_wrong_with_texts_is_said() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    let nlu = "nlu:\n- intent: greet\n  examples: |\n    - hello there my good and very dear friend of so many long and happy years\n    - hi [Bob](name)\n- intent: bye\n  examples: |\n    \
               - goodbye now\n    - hello there my good and very dear friend of so many long and happy year\n";
    fs::write(folder.join("nlu.yml"), nlu).unwrap();
    fs::write(folder.join("forecart.toml"), "[text]\nvalidation = 0\ntest = 0\n").unwrap();
    let prepare = ["prepare", "--samples", "nlu.yml", "--task", "support"];
    let shown = good(&forecart(folder, &prepare));
    assert!(shown.contains("1 pairs of texts say almost the same"), "{shown}");
    assert!(shown.contains("\"greet\" has 2 training texts"), "{shown}");

    let found = parsed(&forecart(folder, &["validate", "--data", "intents", "--json"]));
    assert_eq!((&found["n_contradictions"], &found["n_leaked"]), (&1.into(), &0.into()));

    let columns = "question,kind\nhello,greet\n";
    fs::write(folder.join("other.csv"), columns).unwrap();
    let other = ["prepare", "--samples", "other.csv", "--task", "support"];
    let message = refused(&forecart(folder, &other), 3);
    assert!(message.contains("other.csv") && message.contains("text.intent"), "{message}");
    let named = [&other[..], &["--label", "kind"]].concat();
    let message = refused(&forecart(folder, &named), 3);
    assert!(message.contains("nothing can be told apart"), "{message}");
    refused(&forecart(folder, &["prepare", "--task", "support"]), 2);
    let message = refused(&forecart(folder, &["train", "--task", "support", "--data", "none"]), 2);
    assert!(message.contains("prepare --task support"), "{message}");
    fs::write(folder.join("forecart.toml"), "[text]\nprecison = 0.9\n").unwrap();
    assert!(refused(&forecart(folder, &prepare), 2).contains("precision"));
    assert!(Path::new(folder).join("intents/manifest.json").is_file());
}
