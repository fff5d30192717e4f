//! The report on probabilities: what it says for people and programs.

use forecart_data::samples::SampleSplit;
use forecart_eval::Bootstrap;
use forecart_eval::probability::{
    Bootstrapped, MeasureOptions, Predictions, ProbabilityMetric as Metric, ResampledUnit,
    SegmentColumn, histogram, offsets, operating_points,
};
use forecart_eval::report::{
    Against, CONSTANT, ColumnSegments, OutcomeReport, OutcomeRow, OutcomeSource,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn options() -> MeasureOptions {
    let bootstrap = Bootstrap { n_resamples: 400, ..Bootstrap::default() };
    MeasureOptions { bootstrap, ..MeasureOptions::default() }
}

/// 3,000 rows whose truth is known: `sharp` knows it, `blunt` half of it, `<wrong>` takes the first of two halves for more likely than it is.
fn report() -> OutcomeReport {
    let mut generator = ChaCha8Rng::seed_from_u64(4);
    let truth: Vec<f64> = (0..3000).map(|_| generator.random_range(0.05..0.6)).collect();
    let labels: Vec<bool> = truth.iter().map(|p| generator.random::<f64>() < *p).collect();
    let halves: Vec<String> = (0..3000).map(|row| format!("<{}>", row % 2)).collect();
    let column = SegmentColumn::of_names(&halves);
    let mean = truth.iter().sum::<f64>() / truth.len() as f64;
    let rows: [(&str, bool, Vec<f64>); 4] = [
        (CONSTANT, true, vec![mean; 3000]),
        ("blunt", true, truth.iter().map(|p| (p + mean) / 2.0).collect()),
        ("sharp", false, truth.clone()),
        (
            "<wrong>",
            false,
            truth.iter().enumerate().map(|(n, p)| if n % 2 == 0 { p * 1.5 } else { *p }).collect(),
        ),
    ];
    let predictions = rows.iter().map(|(_, _, p)| Predictions::new(p.clone(), labels.clone()));
    let predictions: Vec<Predictions> = predictions.collect::<Result<_, _>>().unwrap();
    let all = predictions.iter().map(|own| Bootstrapped::new(own, &options()));
    let all: Vec<Bootstrapped<'_>> = all.collect::<Result<_, _>>().unwrap();
    let made = rows.iter().enumerate().map(|(place, (name, is_baseline, _))| OutcomeRow {
        model: (*name).to_owned(),
        is_baseline: *is_baseline,
        hyperparameters: serde_json::json!({"text": "<b>"}),
        measured: all[place].measured().unwrap(),
        fold_means: Vec::new(),
        against: [0, 1]
            .into_iter()
            .filter(|other| *other != place)
            .map(|other| Against {
                baseline: rows[other].0.to_owned(),
                comparisons: all[place].against(&all[other]).unwrap(),
            })
            .collect(),
        points: operating_points(&predictions[place], 50),
        histogram: histogram(&predictions[place], 20),
        segments: match place {
            0 => Vec::new(),
            _ => vec![ColumnSegments {
                column: "half & half".into(),
                segments: offsets(&predictions[place], std::slice::from_ref(&column), &options())
                    .unwrap()
                    .remove(0),
            }],
        },
        fit_secs: Some(1.5),
        learned_bytes: 8000,
        calibration: vec!["platt".into()],
    });
    let source = OutcomeSource {
        task: "click".into(),
        split: SampleSplit::Order,
        data_hash: "d".repeat(64),
        samples_hash: "5".repeat(64),
        n_rows: 9000,
        n_columns: 3,
    };
    let unit = ResampledUnit::Rows;
    OutcomeReport::new("A <shop>".into(), source, 42, (options().bootstrap, unit), made.collect())
}

#[test]
fn rows_are_in_order_and_signs_are_against_the_strongest_baseline() {
    let report = report();
    let names: Vec<&str> = report.rows.iter().map(|row| row.model.as_str()).collect();
    assert_eq!(names[0], "sharp");
    assert_eq!(report.strongest_baseline(Metric::Logloss).unwrap().model, "blunt");
    // The constant has no calibration error, and would beat every model in it.
    assert_eq!(report.strongest_baseline(Metric::Ece).unwrap().model, "blunt");
    assert_eq!(report.sign("sharp"), Some('+'));
    assert_eq!(report.sign(CONSTANT), Some('-'));
    assert_eq!(report.sign("blunt"), None);
}

#[test]
fn the_gate_knows_which_way_a_metric_is_better() {
    let report = report();
    for metric in [Metric::Logloss, Metric::NormalizedEntropy, Metric::Ece, Metric::Brier] {
        let gate = report.judged_by(metric, None).unwrap();
        assert_eq!((gate.metric.as_str(), gate.baseline.as_str()), (metric.name(), "blunt"));
        let sharp = gate.verdict("sharp").unwrap();
        assert!(sharp.passed && sharp.difference < 0.0, "{metric}: {gate:?}");
        assert!(!gate.verdict("<wrong>").unwrap().passed, "{metric}: {gate:?}");
        assert!(gate.verdict("blunt").is_none());
    }
    // Both rank alike: neither is better than the other.
    let gate = report.judged_by(Metric::Auc, Some("a test")).unwrap();
    assert!(!gate.verdict("sharp").unwrap().passed, "{gate:?}");
    assert!(gate.lines().join("\n").contains("overridden: a test"));
    // No groups, no such metric.
    assert_eq!(report.judged_by(Metric::GroupedAuc, None), None);
}

#[test]
fn the_page_is_self_contained_and_shows_where_probabilities_are_off() {
    let mut report = report();
    report.gate = report.judged_by(Metric::Logloss, None);
    let page = report.to_html().unwrap();
    std::fs::write(concat!(env!("CARGO_TARGET_TMPDIR"), "/outcome.html"), &page).unwrap();
    for forbidden in ["<script", "<link", "src=", "href=", "url(", "<wrong>", "<shop>", "<0>"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    // Four metrics, two curves, three reliability plots, one column.
    assert_eq!(page.matches("<figure>").count(), 10);
    assert!(page.contains("<b>sharp</b> leads with a log loss of"));
    // Of <wrong>, the first half.
    let alarms: Vec<_> = report.row("<wrong>").unwrap().alarms().collect();
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert_eq!((alarms[0].0, alarms[0].1.name.as_str()), ("half & half", "<0>"));
    assert_eq!(report.row("sharp").unwrap().alarms().count(), 0);
    assert_eq!(page.matches("tag off").count(), 1);
    assert!(page.contains("half &amp; half = &lt;0&gt;"));
    assert!(page.contains("gate: logloss against blunt") && page.contains("sharp passes"));
    for fact in ["data SHA-256", "seed", "A &lt;shop&gt;", "test part, split by order"] {
        assert!(page.contains(fact), "{fact}");
    }
}

#[test]
fn the_table_has_every_row_and_the_json_is_read_back() {
    let report = report();
    let table = report.table();
    for name in ["sharp", "blunt *", "constant *", "<wrong>"] {
        assert!(table.lines().any(|line| line.starts_with(name)), "{name}: {table}");
    }
    assert!(table.lines().all(|line| line.chars().count() <= 120), "{table}");
    let json = report.to_json().unwrap();
    let back: OutcomeReport = serde_json::from_str(&json).unwrap();
    assert_eq!(back.to_json().unwrap(), json);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&value["task"], &value["rows"][0]["model"]), (&"click".into(), &"sharp".into()));
}
