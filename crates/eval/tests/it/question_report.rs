//! The report on what customers ask next: what it says for people and programs.

use forecart_data::Part;
use forecart_eval::Bootstrap;
use forecart_eval::questions::{
    DeletedMoment, DeletionCheck, QuestionCases, QuestionMetric, check_deletions,
    compare_questions, measure_questions, share_of_ceiling,
};
use forecart_eval::report::{Against, QuestionReport, QuestionRow, QuestionSource};

const N_MOMENTS: usize = 600;
const N_INTENTS: usize = 4;

/// Whether an intent is asked after a moment: one after two of three, most often the first.
fn is_asked(at: usize, intent: usize) -> bool {
    !at.is_multiple_of(3) && [0, 0, 1, 2, 0, 3, 1][at * 5 % 7] == intent
}

/// Probabilities that know what is asked after so many of a hundred moments, and say the same of all others.
fn probabilities(known_of_100: usize) -> Vec<f64> {
    let row = |at: usize| {
        let is_known = at * 37 % 100 < known_of_100;
        (0..N_INTENTS).map(move |intent| match (is_known, is_asked(at, intent)) {
            (false, _) => 0.2 - 0.03 * intent as f64,
            (true, true) => 0.8,
            (true, false) => 0.05,
        })
    };
    (0..N_MOMENTS).flat_map(row).collect()
}

fn deletion(bootstrap: &Bootstrap) -> DeletionCheck {
    let moment = |user| DeletedMoment {
        user,
        n_named: 2,
        probability: 0.625,
        without_named: 0.125,
        without_random: 0.5,
    };
    check_deletions(&[moment(1), moment(2)], bootstrap).unwrap().unwrap()
}

fn report() -> QuestionReport {
    let bootstrap = Bootstrap { n_resamples: 200, ..Bootstrap::default() };
    let users: Vec<u32> = (0..N_MOMENTS as u32).map(|at| at / 4).collect();
    let asked = (0..N_MOMENTS).flat_map(|at| (0..N_INTENTS).map(move |own| is_asked(at, own)));
    let cases = QuestionCases::new(&users, asked.collect(), N_INTENTS).unwrap();
    let models = [("rates", true, 0), ("last <event>", true, 20), ("<wise>", false, 70)];
    let truth = [probabilities(90)];
    let rows = models.map(|(model, is_baseline, known)| {
        let own = [probabilities(known)];
        let beaten =
            models.iter().filter(|(other, is_baseline, _)| *is_baseline && *other != model);
        let against = beaten.map(|(other, _, known)| Against {
            baseline: (*other).to_owned(),
            comparisons: compare_questions(&cases, &own, &[probabilities(*known)], &bootstrap)
                .unwrap(),
        });
        QuestionRow {
            model: model.to_owned(),
            is_baseline,
            hyperparameters: serde_json::json!({"keys": "<b>"}),
            seeds: vec![1],
            measured: measure_questions(&cases, &own, &bootstrap).unwrap(),
            against: against.collect(),
            share_of_ceiling: share_of_ceiling(&cases, &own, &truth, &bootstrap).unwrap(),
            share_of_gain: Some([Some(0.5), None]),
            deletion: (!is_baseline).then(|| deletion(&bootstrap)),
            fit_secs: Some(1.5),
        }
    });
    let source = QuestionSource {
        data_hash: "d".repeat(64),
        questions_hash: "5".repeat(64),
        intents: ["cancel", "track", "<refund>", "other"].map(str::to_owned).to_vec(),
        horizon_ms: 86_400_000,
        measured_on: Part::Test,
        n_moments: 1200,
    };
    let mut report = QuestionReport::new("A <shop>".into(), source, bootstrap, rows.to_vec());
    report.ceiling = Some(measure_questions(&cases, &truth, &bootstrap).unwrap());
    report
}

#[test]
fn the_least_log_loss_comes_first_and_signs_are_against_the_strongest_baseline() {
    let report = report();
    let names: Vec<&str> = report.rows.iter().map(|row| row.model.as_str()).collect();
    assert_eq!(names, ["<wise>", "last <event>", "rates"]);
    assert_eq!(report.strongest_baseline().unwrap().model, "last <event>");
    let signs = names.iter().map(|name| report.sign(name)).collect::<Vec<_>>();
    assert_eq!(signs, [Some('+'), None, Some('-')]);
    let found = report.rows[0].against("rates", QuestionMetric::Top1).unwrap();
    assert!(found.difference > 0.0 && found.interval.low > 0.0, "{found:?}");
    let shares = report.rows.iter().map(|row| row.share_of_ceiling.unwrap());
    for share in shares {
        assert!(share.interval.low <= share.value && share.value <= share.interval.high);
        assert!(share.value < 1.0, "{share:?}");
    }
}

#[test]
fn a_gate_asks_for_the_whole_interval_on_the_better_side() {
    let report = report();
    for metric in QuestionMetric::ALL {
        let gate = report.judged_by(metric, None).unwrap();
        assert_eq!((gate.metric.as_str(), gate.verdicts.len()), (metric.name(), 1));
        assert_eq!(gate.baseline, "last <event>");
        let verdict = gate.verdict("<wise>").unwrap();
        assert!(verdict.passed, "{verdict:?}");
        assert_eq!(verdict.difference > 0.0, metric.higher_is_better());
        assert_eq!(metric.name().parse::<QuestionMetric>().unwrap(), metric);
    }
    let mut without = report.clone();
    without.rows.retain(|row| !row.is_baseline);
    assert_eq!(without.judged_by(QuestionMetric::LogLoss, None), None);
    let error = "ndcg@10".parse::<QuestionMetric>().unwrap_err().to_string();
    assert!(error.contains("top_3, top_1, log_loss"), "{error}");
}

#[test]
fn json_is_read_back_and_says_the_same() {
    let json = report().to_json().unwrap();
    let read: QuestionReport = serde_json::from_str(&json).unwrap();
    assert_eq!(read.to_json().unwrap(), json);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["format"], "forecart-question-report");
    assert_eq!(value["rows"][0]["measured"]["n_asked"], 400);
    let compared = &value["rows"][0]["against"][0]["comparisons"];
    assert_eq!((&compared[0][0], &compared[2][0]), (&"top_3".into(), &"log_loss".into()));
}

#[test]
fn the_page_is_whole_and_nothing_in_it_is_taken_for_markup() {
    let mut report = report();
    report.gate = report.judged_by(QuestionMetric::LogLoss, None);
    let page = report.to_html().unwrap();
    for said in [
        "A &lt;shop&gt;",
        "<b>&lt;wise&gt;</b> leads with a log loss of",
        "against the strongest baseline, last &lt;event&gt;",
        "of what the best of all models could have",
        "<th>of the ceiling</th>",
        "600 of 1,200 moments of the test part, 400 of them before a question within 24.0 h; 150 users",
        "Is the difference real?",
        "carry the probability?",
        "<td>2</td><td>2.00</td><td>0.6250",
        "gate: log_loss against last &lt;event&gt;",
        "&lt;wise&gt; passes",
        "&lt;refund&gt;",
        "by chance alone",
    ] {
        assert!(page.contains(said), "{said}");
    }
    // Two of values, and predicted against observed of the models and the ceiling.
    assert_eq!(page.matches("<figure>").count(), 2 + 4);
    for markup in ["<shop>", "<wise>", "<refund>", "<event>", "<script", "src="] {
        assert!(!page.contains(markup), "{markup}");
    }
    report.ceiling = None;
    let page = report.to_html().unwrap();
    assert!(!page.contains("<th>of the ceiling</th>") && page.matches("<figure>").count() == 5);
}

#[test]
fn a_terminal_shows_what_decides() {
    let mut report = report();
    let text = report.table();
    for said in [
        "<wise>",
        "rates *",
        "(ceiling)",
        "<wise> against last <event>: top-3 +",
        "mean probability",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(text.lines().all(|line| line.chars().count() < 200), "{text}");
    report.rows.clear();
    assert!(!report.table().is_empty());
    assert!(report.to_html().unwrap().contains("</html>"));
}
