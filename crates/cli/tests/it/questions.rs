//! Questions before they are asked, through the command line, on a small generated log.

use std::fs;
use std::path::Path;
use std::process::Output;

use forecart_prepare::{GenerateQuestionsConfig, generate_questions};
use serde_json::Value;

use crate::program::{forecart, good, refused};

fn parsed(output: &Output) -> Value {
    serde_json::from_str(&good(output)).unwrap()
}

/// Trained in seconds.
const SMALL: &str = "[question_models.sequence]\nd_model = 16\nn_layers = 1\nn_heads = 2\nd_ff = 16\nmax_history = 32\nn_epochs = 2\nobject_dropout = 0.003\n";

/// A folder with a question table, a model and a configuration.
pub(crate) fn prepared(folder: &Path) {
    let mut csv = Vec::new();
    let config = GenerateQuestionsConfig { n_users: 200, n_days: 40, seed: 3 };
    generate_questions(&config, &mut csv).unwrap();
    fs::write(folder.join("log.csv"), csv).unwrap();
    fs::write(folder.join("forecart.toml"), SMALL).unwrap();
    good(&forecart(folder, &["import", "log.csv"]));
    good(&forecart(folder, &["prepare", "--task", "question"]));
    let train = ["train", "--task", "question", "--data", "questions", "--out", "q.forecart"];
    let trained = good(&forecart(folder, &train));
    assert!(trained.contains("next: forecart questions --model q.forecart"), "{trained}");
}

#[test]
fn from_a_log_to_the_next_question_and_what_led_to_it() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    prepared(folder);

    let ask = ["questions", "--model", "q.forecart", "--user", "u7", "-n", "3"];
    let found = parsed(&forecart(folder, &[&ask[..], &["--json"]].concat()));
    let questions = found["questions"].as_array().unwrap();
    assert_eq!((questions.len(), &found["is_known"]), (3, &Value::Bool(true)));
    let p = |at: usize| questions[at]["probability"].as_f64().unwrap();
    assert!(p(0) >= p(1) && p(1) >= p(2) && p(2) > 0.0 && p(0) < 1.0);
    let shown = good(&forecart(folder, &ask));
    assert!(shown.contains("what led to it"), "{shown}");
    assert!(shown.contains(questions[0]["intent"].as_str().unwrap()), "{shown}");

    // Somebody who is in no row gets what anybody asks, and is told so.
    let nobody = ["questions", "--model", "q.forecart", "--user", "nobody"];
    let shown = good(&forecart(folder, &nobody));
    assert!(shown.contains("nobody is not in this table: what anybody asks"), "{shown}");
    let found = parsed(&forecart(folder, &[&nobody[..], &["--json"]].concat()));
    assert_eq!(found["is_known"], false);
    assert_eq!(found["questions"][0]["probability"], found["questions"][0]["usual_probability"]);
    assert_eq!(found["questions"][0]["led_by"], serde_json::json!([]));

    let explain = ["explain", "--model", "q.forecart", "--user", "u7"];
    let named = [&explain[..], &["--intent", "where_is_my_parcel", "--json"]].concat();
    let found = parsed(&forecart(folder, &named));
    assert_eq!(found["intent"], "where_is_my_parcel");
    assert!(!found["behaviors"].as_array().unwrap().is_empty());
    let shown = good(&forecart(folder, &explain));
    assert!(shown.contains("probability without it"), "{shown}");
    let error = refused(&forecart(folder, &[&explain[..], &["--intent", "x"]].concat()), 2);
    assert!(error.contains("this model knows") && error.contains("refund_status"), "{error}");

    let evaluate = |more: &[&str]| {
        let given = ["evaluate", "--data", "questions", "--model", "q.forecart", "--deterministic"];
        good(&forecart(folder, &[&given[..], more].concat()))
    };
    let shown = evaluate(&["--out", "one", "--threads", "1"]);
    let against = "sequence (q.forecart) against ";
    for text in ["popularity *", "last-event *", against, "mean probability", "one/report.html"] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    evaluate(&["--out", "other", "--threads", "2"]);
    for file in ["report.json", "report.html"] {
        let read = |name: &str| fs::read(folder.join(name).join(file)).unwrap();
        assert_eq!(read("one"), read("other"), "{file}");
    }
    let report: Value =
        serde_json::from_slice(&fs::read(folder.join("one/report.json")).unwrap()).unwrap();
    assert_eq!(report["rows"].as_array().unwrap().len(), 3);
    assert_eq!((&report["ceiling"], &report["environment"]), (&Value::Null, &Value::Null));
    let page = fs::read_to_string(folder.join("one/report.html")).unwrap();
    for text in [
        "sequence (q.forecart)",
        "popularity<span class=\"tag\">baseline</span>",
        "last-event<span",
        "<svg role=\"img\" aria-label=\"sequence (q.forecart): observed against predicted in",
        "where_is_my_parcel",
    ] {
        assert!(page.contains(text), "{text}");
    }
    assert!(!page.contains("fit s") && !page.contains("machine"));

    let shown = evaluate(&["--models", "sequence", "--seeds", "2"]);
    assert!(shown.contains("sd of loss"), "{shown}");
    let shown = evaluate(&["--gate", "log_loss", "--gate-override", "a trial"]);
    assert!(shown.starts_with("gate: log_loss against "), "{shown}");
    let error =
        refused(&forecart(folder, &["evaluate", "--data", "questions", "--gate", "ndcg@10"]), 2);
    assert!(error.contains("top_3, top_1, log_loss"), "{error}");
    let tune =
        ["tune", "--data", "questions", "--model", "last-event", "--trials", "2", "--out", "t"];
    let shown = good(&forecart(folder, &tune));
    assert!(shown.contains("test log loss:"), "{shown}");
    let best = fs::read_to_string(folder.join("t/best.toml")).unwrap();
    assert!(best.starts_with("[question_models.last-event]"), "{best}");

    let shown = good(&forecart(folder, &["model", "show", "q.forecart"]));
    assert!(shown.contains("question"), "{shown}");
}

#[test]
fn what_says_nothing_of_questions_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    let error = refused(&forecart(folder, &["train", "--task", "question"]), 2);
    assert!(error.contains("forecart prepare --task question"), "{error}");
    let error = refused(&forecart(folder, &["questions", "--user", "u1"]), 1);
    assert!(error.contains("model.forecart"), "{error}");
}

#[test]
fn a_generated_log_has_a_ceiling_that_no_model_is_above() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("forecart.toml"), SMALL).unwrap();
    let bench = [
        "bench",
        "questions",
        "--users",
        "150",
        "--days",
        "40",
        "--moments",
        "500",
        "--cases",
        "5",
        "--seed",
        "5",
        "--out",
        "bench",
        "--json",
    ];
    let found = parsed(&forecart(root.path(), &bench));
    let report = &found["report"];
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 3);
    let ceiling = report["ceiling"]["log_loss"]["value"].as_f64().unwrap();
    for row in rows {
        assert!(row["measured"]["log_loss"]["value"].as_f64().unwrap() > ceiling, "{row}");
    }
    let share = &found["share_of_ceiling_top_3"];
    let of = |value: &Value| value.as_f64().unwrap();
    let [low, high] = ["low", "high"].map(|end| of(&share["interval"][end]));
    assert!(0.2 < low && low <= of(&share["value"]) && of(&share["value"]) <= high, "{share}");
    let page = fs::read_to_string(root.path().join("bench/report.html")).unwrap();
    for text in ["(ceiling)", "of the ceiling", "sequence: observed against predicted", "machine"] {
        assert!(page.contains(text), "{text}");
    }
    let n_cases = found["explain"]["n_cases"].as_u64().unwrap();
    assert!((1..=5).contains(&n_cases), "{found}");
}
