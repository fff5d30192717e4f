//! The report on answers to texts: what it says for people and programs.

use forecart_data::Part;
use forecart_eval::Bootstrap;
use forecart_eval::intents::{
    IntentAnswer, IntentMetric, compare_intents, confusions, measure_intents,
};
use forecart_eval::report::{
    Against, ConfusedIntents, IntentReport, IntentRow, IntentSource, MAJORITY, TextExample,
};

const N_TEXTS: usize = 600;
const N_INTENTS: usize = 3;

/// 600 texts, every tenth out of scope. A model is right in so many of a hundred, surer where it is, and abstains below a probability of .5.
fn answers(right_of_100: usize, seed: usize) -> Vec<IntentAnswer> {
    let answer = |place: usize| {
        let label = (place % 10 != 9).then_some((place % N_INTENTS) as u32);
        let is_right = (place * 37 + seed) % 100 < right_of_100;
        let best = label.unwrap_or(0) + u32::from(!is_right);
        let draw = (place * 61 % 100) as f64 / 100.0;
        let confidence =
            if is_right && label.is_some() { 0.4 + 0.6 * draw } else { 0.34 + 0.4 * draw };
        IntentAnswer {
            best: best % N_INTENTS as u32,
            confidence,
            score: confidence,
            abstained: confidence < 0.5,
            label,
        }
    };
    (0..N_TEXTS).map(answer).collect()
}

fn report() -> IntentReport {
    let bootstrap = Bootstrap { n_resamples: 200, ..Bootstrap::default() };
    let flat = |mut answers: Vec<IntentAnswer>| {
        answers.iter_mut().for_each(|own| {
            (own.best, own.confidence, own.score, own.abstained) = (0, 0.33, 0.33, false)
        });
        answers
    };
    let models: [(&str, bool, Vec<Vec<IntentAnswer>>); 4] = [
        (MAJORITY, true, vec![flat(answers(0, 0))]),
        ("blunt", true, vec![answers(70, 0)]),
        ("<sharp>", false, vec![answers(90, 0), answers(88, 5)]),
        ("worse", false, vec![answers(50, 0)]),
    ];
    let name = |intent: u32| ["cancel", "track", "<refund>"][intent as usize].to_owned();
    let rows = models.iter().map(|(model, is_baseline, seeds)| {
        let beaten = models.iter().filter(|(other, is_baseline, _)| *is_baseline && other != model);
        let against = beaten.map(|(other, _, theirs)| Against {
            baseline: (*other).to_owned(),
            comparisons: IntentMetric::ALL
                .map(|metric| {
                    let found = compare_intents(seeds, theirs, metric, N_INTENTS, &bootstrap);
                    (metric, found.unwrap())
                })
                .to_vec(),
        });
        let pairs = confusions(seeds).into_iter().map(|pair| ConfusedIntents {
            asked: name(pair.asked),
            found: name(pair.found),
            n_texts: pair.n_texts,
            examples: pair
                .examples
                .iter()
                .map(|place| TextExample { row: *place, text: format!("<order> {place}") })
                .collect(),
        });
        IntentRow {
            model: (*model).to_owned(),
            is_baseline: *is_baseline,
            hyperparameters: serde_json::json!({"text": "<b>"}),
            seeds: (1..=seeds.len() as u64).collect(),
            measured: measure_intents(seeds, N_INTENTS, Some(0.1), &bootstrap).unwrap(),
            confusions: pairs.collect(),
            against: against.collect(),
            fit_secs: Some(1.5),
            classify_micros: Some([20.0, 90.0]),
        }
    });
    let source = IntentSource {
        data_hash: "d".repeat(64),
        texts_hash: "5".repeat(64),
        intents: (0..N_INTENTS as u32).map(name).collect(),
        n_train: 9000,
        measured_on: Part::Test,
    };
    IntentReport::new("A <shop>".into(), source, bootstrap, rows.collect())
}

#[test]
fn the_best_comes_first_and_signs_are_against_the_strongest_baseline() {
    let report = report();
    let names: Vec<&str> = report.rows.iter().map(|row| row.model.as_str()).collect();
    assert_eq!(names, ["<sharp>", "blunt", "worse", MAJORITY]);
    assert_eq!(report.strongest_baseline(IntentMetric::Accuracy).unwrap().model, "blunt");
    let signs = names.iter().map(|name| report.sign(name)).collect::<Vec<_>>();
    assert_eq!(signs, [Some('+'), None, Some('-'), Some('-')]);
    for metric in IntentMetric::ALL {
        let gate = report.judged_by(metric, Some("it is Friday")).unwrap();
        assert_eq!((gate.metric.as_str(), gate.baseline.as_str()), (metric.name(), "blunt"));
        let passed: Vec<bool> = gate.verdicts.iter().map(|verdict| verdict.passed).collect();
        assert_eq!(passed, [true, false]);
    }
}

#[test]
fn json_is_read_back_and_says_the_same() {
    let mut report = report();
    report.gate = report.judged_by(IntentMetric::Accuracy, None);
    let json = report.to_json().unwrap();
    let read: IntentReport = serde_json::from_str(&json).unwrap();
    assert_eq!(read.to_json().unwrap(), json);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["format"], "forecart-intent-report");
    let measured = &value["rows"][0]["measured"];
    assert_eq!((&measured["n_texts"], &measured["n_out_of_scope"]), (&540.into(), &60.into()));
    assert_eq!(measured["rates_from"]["min_confidence"], 0.1);
    assert_eq!(measured["rates_from"]["coverage"], 1.0);
    assert!(measured["false_alarm_rate"].as_f64().unwrap() > 0.0);
}

#[test]
fn the_page_is_whole_and_nothing_in_it_is_taken_for_markup() {
    let mut report = report();
    report.gate = report.judged_by(IntentMetric::Accuracy, None);
    let page = report.to_html().unwrap();
    for said in [
        "A &lt;shop&gt;",
        "<b>&lt;sharp&gt;</b> leads with an accuracy of",
        "60 of them out of scope",
        "From a probability of 0.1 on",
        "What &lt;sharp&gt; confuses",
        "&lt;order&gt; ",
        "&lt;refund&gt;",
        "gate: accuracy against blunt",
        "values are means over them",
        "share of wrong answers against the share of texts",
    ] {
        assert!(page.contains(said), "{said}");
    }
    // Values, risk, and the reliability of all but the majority.
    assert_eq!(page.matches("<figure>").count(), 2 + 1 + 3);
    for markup in ["<shop>", "<sharp>", "<refund>", "<order>", "<script", "src="] {
        assert!(!page.contains(markup), "{markup}");
    }
}

#[test]
fn a_terminal_shows_what_decides() {
    let text = report().table();
    for said in [
        "<sharp>",
        "blunt *",
        "refused",
        "false alarms",
        "<order> ",
        "if texts are answered from a probability of 0.1 on",
        " sd ",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(text.lines().all(|line| line.chars().count() < 200), "{text}");
}

/// Without anything out of scope, nothing is said of it.
#[test]
fn columns_of_strangers_are_there_where_strangers_are() {
    let mut report = report();
    report.rows.iter_mut().for_each(|row| row.measured.n_out_of_scope = 0);
    assert!(!report.table().contains("refused"));
    assert!(!report.to_html().unwrap().contains("<th>refused</th>"));
    report.rows.clear();
    assert!(report.to_html().unwrap().contains("</html>") && !report.table().is_empty());
}
