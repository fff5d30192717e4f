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
pub(crate) fn texts() -> String {
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
    let shown = good(&output);
    assert!(shown.contains("ensemble of 3 intents"), "{shown}");
    assert!(shown.contains("texts, held out in turn before it learned from all"), "{shown}");
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
    assert!(rows.len() >= 5 && rows.iter().any(|row| row["model"] == "majority"));
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
fn odd_texts_get_no_answer_and_none_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    fs::write(folder.join("texts.csv"), texts()).unwrap();
    good(&forecart(folder, &["prepare", "--samples", "texts.csv", "--task", "support"]));
    good(&forecart(folder, &["train", "--data", "intents"]));
    let odd = [
        ("qwzx jkvb pxlmt zzcv", "doubtful"),
        ("lkjhgfdsa", "doubtful"),
        ("Wo bleibt denn bloß mein Päckchen hängen?", "doubtful"),
        ("どこに荷物がありますか", "other-script"),
        ("أين طلبي", "other-script"),
        ("", "no-words"),
        (" \t \u{3000}", "no-words"),
        ("🙂👍🏽🇨🇳", "no-words"),
        ("\u{202e}\u{200f}\u{2066}", "no-words"),
        ("\u{202e}qwzx jkvb\u{202c}", "doubtful"),
        ("'; DROP TABLE users; -- OR 1=1", "doubtful"),
        ("<script>alert('x')</script><img src=x onerror=y>", "doubtful"),
        ("{{7*7}} ${jndi:ldap://x} %s%n ../../etc/passwd", "doubtful"),
    ];
    let lines: Vec<&str> = odd.iter().map(|(text, _)| *text).collect();
    let whole = format!("{}\n{}\n", lines.join("\n"), "zq xv kj ".repeat(120_000));
    assert!(whole.len() > 1_000_000);
    fs::write(folder.join("odd.txt"), whole).unwrap();
    let classify = ["classify", "--in", "odd.txt", "--json"];
    let shown = good(&forecart(folder, &classify));
    let answers: Vec<Value> =
        shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), odd.len() + 1);
    for (answer, (text, reason)) in answers.iter().zip(odd) {
        assert_eq!(answer["reason"], reason, "{text:?}: {answer}");
        assert_eq!(answer["intent"], Value::Null, "{text:?}");
    }
    assert_eq!(answers[odd.len()]["abstain"], true);
    for (text, _) in odd {
        good(&forecart(folder, &["explain", "--model", "model.forecart", "--text", text]));
    }
}

/// In rows and files that cannot be read, too, nothing is shown before it is masked.
#[test]
fn what_cannot_be_read_is_not_shown() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    let [phone, email, order, _] = SECRETS;
    let csv = format!("{}bad,row,{phone}\n\"open {email}", texts());
    fs::write(folder.join("texts.csv"), csv).unwrap();
    let nlu = |line: &str| format!("nlu:\n- intent: a\n  examples:\n  - {line}\n");
    fs::write(folder.join("key.yml"), nlu(&format!("my order {order}: {phone}"))).unwrap();
    fs::write(folder.join("quote.yml"), nlu(&format!("\"{phone}"))).unwrap();
    fs::write(folder.join("section.yml"), format!("{}{email}: 1\n", nlu("b"))).unwrap();
    for file in ["texts.csv", "key.yml", "quote.yml", "section.yml"] {
        for more in [&[][..], &["--json"], &["-v"]] {
            let prepare = ["prepare", "--samples", file, "--task", "support"];
            let output = forecart(folder, &[&prepare[..], more].concat());
            assert!(
                !holds_secret(&output.stdout) && !holds_secret(&output.stderr),
                "{file}: {output:?}"
            );
        }
    }
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

#[test]
fn models_stand_side_by_side_on_a_page_and_at_a_gate() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    fs::write(folder.join("texts.csv"), texts()).unwrap();
    good(&forecart(folder, &["prepare", "--samples", "texts.csv", "--task", "support"]));
    good(&forecart(folder, &["train", "--data", "intents", "--out", "m.forecart"]));
    let evaluate = |more: &[&str]| {
        forecart(folder, &[&["evaluate", "--data", "intents", "--deterministic"], more].concat())
    };
    let first = good(&evaluate(&["--out", "one", "--min-confidence", "0.5", "--threads", "1"]));
    assert!(first.contains("majority *") && first.contains("tfidf-lr *"), "{first}");
    assert!(first.contains("from a probability of 0.5 on"), "{first}");
    good(&evaluate(&["--out", "other", "--min-confidence", "0.5", "--threads", "2"]));
    for file in ["report.json", "report.html"] {
        let read = |name: &str| fs::read(folder.join(name).join(file)).unwrap();
        assert_eq!(read("one"), read("other"), "{file}");
        assert!(!holds_secret(&read("one")), "{file}");
    }
    let page = fs::read_to_string(folder.join("one/report.html")).unwrap();
    assert!(
        !page.contains("http")
            || page.matches("http").count() == page.matches("http://www.w3.org").count()
    );
    assert!(!page.contains("fit s") && page.contains("<svg role=\"img\""));

    // Nothing beats the default by more than chance on so easy texts: the gate holds it back, and the file says so.
    let gate = ["--model", "m.forecart", "--gate", "accuracy"];
    let message = refused(&evaluate(&gate), 4);
    assert!(message.contains("accuracy") && message.contains("tfidf-lr"), "{message}");
    good(&evaluate(&[&gate[..], &["--gate-override", "a trial"]].concat()));
    let shown = parsed(&forecart(folder, &["model", "show", "m.forecart", "--json"]));
    assert!(shown.to_string().contains("a trial"), "{shown}");

    let seeds = ["--models", "ngram-mlp", "--seeds", "2", "--json"];
    let report = parsed(&evaluate(&seeds));
    let rows = report["rows"].as_array().unwrap();
    let network = rows.iter().find(|row| row["model"] == "ngram-mlp").unwrap();
    assert_eq!(network["seeds"].as_array().unwrap().len(), 2);
    assert!(network["measured"]["accuracy"]["sd_over_seeds"].is_number(), "{network}");
    let majority = rows.iter().find(|row| row["model"] == "majority").unwrap();
    assert_eq!(majority["measured"]["accuracy"].get("sd_over_seeds"), None);

    refused(&evaluate(&["--gate", "auc"]), 2);
    refused(&evaluate(&["--gate", "accuracy", "--no-baselines"]), 2);
    refused(&evaluate(&["--min-confidence", "2"]), 2);
    refused(&evaluate(&["--allow-leaks"]), 2);
}

#[test]
fn hyperparameters_of_intents_are_searched_on_validation() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    fs::write(folder.join("texts.csv"), texts()).unwrap();
    good(&forecart(folder, &["prepare", "--samples", "texts.csv", "--task", "support"]));
    let tune = ["tune", "--data", "intents", "--model", "tfidf-lr", "--trials", "6"];
    let shown = good(&forecart(folder, &tune));
    assert!(shown.contains("validation accuracy:"), "{shown}");
    let best = fs::read_to_string(folder.join("tuning/best.toml")).unwrap();
    assert!(best.starts_with("[intent_models.tfidf-lr]\n"), "{best}");
    let train =
        ["train", "--config", "tuning/best.toml", "--data", "intents", "--model", "tfidf-lr"];
    good(&forecart(folder, &train));
    assert!(fs::read_to_string(folder.join("tuning/report.html")).unwrap().contains("accuracy"));
    let message = refused(&forecart(folder, &[&tune[..], &["--metric", "macro_f1"]].concat()), 2);
    assert!(message.contains("accuracy decides"), "{message}");
    let message =
        refused(&forecart(folder, &["tune", "--data", "intents", "--model", "default"]), 2);
    assert!(message.contains("tune a member") && message.contains("ngram-mlp"), "{message}");
    fs::write(folder.join("forecart.toml"), "[text]\ntest = 0\n").unwrap();
    good(&forecart(folder, &["prepare", "--samples", "texts.csv", "--task", "support"]));
    let message = refused(&forecart(folder, &[&tune[..], &["--restart"]].concat()), 1);
    assert!(message.contains("text.test"), "{message}");
    let evaluate = ["evaluate", "--data", "intents", "--models", "tfidf-svm"];
    assert!(refused(&forecart(folder, &evaluate), 2).contains("text.test"));
}

/// A file of texts that choose: models learn from them too in the end, and are not measured on them.
#[test]
fn given_validation_texts_choose_and_teach() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    let (mut train, mut validation) = ("text,intent\n".to_owned(), "text,intent\n".to_owned());
    for (at, line) in texts().lines().skip(1).enumerate() {
        let part = if at % 4 == 1 { &mut validation } else { &mut train };
        writeln!(part, "{line}").unwrap();
    }
    fs::write(folder.join("train.csv"), train).unwrap();
    fs::write(folder.join("validation.csv"), validation).unwrap();
    fs::write(folder.join("forecart.toml"), "[text]\ntest = 0\n").unwrap();
    let prepare = ["prepare", "--samples", "train.csv", "--validation", "validation.csv"];
    let report =
        parsed(&forecart(folder, &[&prepare[..], &["--task", "support", "--json"]].concat()));
    let parts: Vec<u64> = report["manifest"]["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| part["n_texts"].as_u64().unwrap())
        .collect();
    assert!(parts[0] >= 55 && parts[1] == 20 && parts[2] == 0, "{parts:?}");
    let train = ["train", "--data", "intents", "--model", "tfidf-svm", "--out", "m.forecart"];
    let shown = good(&forecart(folder, &train));
    let said = format!(
        "learned from {} training and validation texts; on 20 validation texts, before",
        parts[0] + 20
    );
    assert!(shown.contains(&said), "{shown}");
    let header = parsed(&forecart(folder, &["model", "show", "m.forecart", "--json"]));
    assert!(header.to_string().contains(r#""fit_on":"train-validation""#), "{header}");
    // There is no test part: validation is measured on, by models that have not learned from it.
    let evaluate = ["evaluate", "--data", "intents", "--no-baselines", "--json"];
    let message =
        refused(&forecart(folder, &[&evaluate[..], &["--model", "m.forecart"]].concat()), 1);
    assert!(message.contains("learned from the validation part"), "{message}");
    let with_model = [&evaluate[..], &["--models", "tfidf-svm"]].concat();
    let report = parsed(&forecart(folder, &with_model));
    assert_eq!(report["n_train"], parts[0]);
    let message = refused(
        &forecart(folder, &[&with_model[..], &["--fit-on", "train-validation"]].concat()),
        2,
    );
    assert!(message.contains("validation texts are measured on"), "{message}");
    let shown = good(&forecart(folder, &[&train[..], &["--fit-on", "train"]].concat()));
    assert!(
        shown.contains(&format!(
            "learned from {} training texts; on 20 validation texts it",
            parts[0]
        )),
        "{shown}"
    );
    good(&forecart(folder, &[&evaluate[..], &["--model", "m.forecart"]].concat()));
    let other = ["prepare", "--samples", "train.csv", "--validation", "validation.csv"];
    assert!(refused(&forecart(folder, &other), 2).contains("--task support"));
}

#[test]
fn the_demo_goes_all_the_way_in_two_languages() {
    let root = tempfile::tempdir().unwrap();
    let text = good(&forecart(root.path(), &["demo", "support"]));
    for said in
        ["77 intents", "majority *", "track_order", "<phone>", "abstains", "快递", "all of it took"]
    {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(!text.contains("13912345678"), "{text}");
    let out = root.path().join("forecart-demo");
    for file in
        ["banking77-report/report.html", "support_zh-report/report.html", "support_zh.forecart"]
    {
        assert!(out.join(file).is_file(), "{file}");
    }
    let report = fs::read(out.join("banking77-report/report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    let accuracy = report["rows"][0]["measured"]["accuracy"]["value"].as_f64().unwrap();
    assert!(accuracy > 0.9, "{accuracy}");
    let report = fs::read(out.join("support_zh-report/report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    let measured = &report["rows"][0]["measured"];
    assert!(measured["accuracy"]["value"].as_f64().unwrap() > 0.4, "{measured}");
    assert!(measured["n_out_of_scope"].as_u64().unwrap() > 5, "{measured}");
}
