//! The report's faces: the same numbers for the terminal, for programs and for a browser.

use forecart_data::dataset::Counts;
use forecart_data::{History, Part, SeenItems, Silent};
use forecart_eval::leakage::{Leak, LeakKind, Leakage};
use forecart_eval::report::{
    ComparisonRow, CurvePoint, Environment, Gate, MetricRow, ModelRow, Reference, SliceBy,
    SliceRow, SliceValue, Timing, TrainingCurve, TrainingPoint,
};
use forecart_eval::{
    Bootstrap, DataFacts, EvaluateOptions, Interval, Metric, MetricKind, ModelRuns, Report,
    ReportOptions, Run, Tally, TestGuard, evaluate,
};

use crate::fixture::{User, dataset_of_purchases, generated};

const NAMES: [(&str, f64, bool); 7] = [
    ("sasrec", 0.0602, false),
    ("hstu-large-with-a-very-long-name", 0.0588, false),
    ("mlp", 0.0501, false),
    ("seq-rules", 0.0481, true),
    ("item-knn", 0.0429, true),
    ("<b>\"R&D\"</b> 模型", 0.0212, false),
    ("popularity", 0.0071, true),
];

fn model(place: usize) -> ModelRow {
    let (name, ndcg, is_baseline) = NAMES[place];
    let row = |kind, k, mean: f64, half: Option<f64>| MetricRow {
        metric: Metric::new(kind, k),
        mean: Some(mean),
        interval: half.map(|half| Interval { low: mean - half, high: mean + half }),
        sd_over_seeds: (!is_baseline).then_some(0.0004),
    };
    let scale = place as f64;
    let metrics = vec![
        row(MetricKind::Ndcg, 10, ndcg, Some(0.0011)),
        row(MetricKind::Hr, 10, ndcg * 1.7, Some(0.0019)),
        row(MetricKind::Mrr, 10, ndcg * 0.8, Some(0.0010)),
        row(MetricKind::Coverage, 10, 0.8 - scale * 0.12, None),
        row(MetricKind::PopularityBias, 10, scale * 0.05 - 0.1, Some(0.004)),
        row(MetricKind::Novelty, 10, 13.5 - scale * 0.5, Some(0.1)),
        row(MetricKind::Popularity, 10, 40.0 + scale * 30.0, Some(1.5)),
    ];
    let at = |k: usize, height: f64| ndcg * height * (1.0 + (k as f64).ln());
    let curve = [1, 2, 3, 5, 7, 10, 15, 20, 30, 50].map(|k| CurvePoint {
        k,
        ndcg: at(k, 0.3),
        recall: at(k, 0.5),
        precision: at(k, 0.5) / k as f64,
    });
    let points = (1..=8u8).map(f64::from).map(|epoch| TrainingPoint {
        epoch,
        loss: 5.0 + 4.0 / epoch + scale * 0.2,
        validation: Some(ndcg * 1.1 * (1.0 - 0.6 / epoch)),
    });
    let training = TrainingCurve { seed: Some(1), points: points.collect() };
    ModelRow {
        name: name.into(),
        is_baseline,
        seeds: if is_baseline { Vec::new() } else { vec![1, 2, 3] },
        hyperparameters: serde_json::json!({"d_model": 64, "learning_rate": 0.001}),
        metrics,
        validation: Some(ndcg * 1.1),
        tie_share: scale * 0.01,
        curve: curve.to_vec(),
        training: if is_baseline { Vec::new() } else { vec![training] },
        timing: Some(Timing {
            fit_secs: 0.5 + 40.0 * f64::from(u8::from(!is_baseline)),
            evaluate_secs: 1.25 + scale,
            memory_bytes: 12_000_000 + 1_000_000 * place as u64,
        }),
        model_bytes: Some(700_000 + 2_300_000 * place as u64),
    }
}

/// Two ways of parting, every model in each slice.
fn slices() -> Vec<SliceRow> {
    let row = |by, name: &str, n_cases: u64, scale: f64| {
        let value = |(model, ndcg, _): (&str, f64, bool)| {
            let mean = ndcg * scale;
            let interval = Interval { low: mean - 0.003, high: mean + 0.003 };
            SliceValue { model: model.into(), mean, interval }
        };
        let values = NAMES.into_iter().map(value).collect();
        SliceRow { by, name: name.into(), metric: Metric::ndcg(10), n_cases, values }
    };
    vec![
        row(SliceBy::User, "new", 1_203, 0.4),
        row(SliceBy::User, "returning", 21_160, 1.1),
        row(SliceBy::TargetPopularity, "1 (rarest tenth)", 2_618, 0.5),
        row(SliceBy::TargetPopularity, "10 (most popular)", 6_581, 1.6),
        row(SliceBy::TargetCategory, "lamps <b>", 340, 1.2),
    ]
}

fn leakage() -> Leakage {
    let leak = Leak {
        kind: LeakKind::AttributeOfTheFuture,
        place: "dense.f32, column \"n_reviews\"".into(),
        n: 12_101,
        what: "\"n_reviews\" goes with the test part".into(),
        examples: vec!["item \"<i>\"".into()],
    };
    Leakage { leaks: vec![leak], notes: vec!["item ids tell the time".into()] }
}

/// A report of made-up numbers, so that its looks do not change with any computation.
pub(crate) fn sample() -> Report {
    let models: Vec<ModelRow> = (0..NAMES.len()).map(model).collect();
    let against = |against, reference: usize| {
        let others = (0..NAMES.len()).filter(move |place| *place != reference);
        others.map(move |place| {
            let difference = NAMES[place].1 - NAMES[reference].1;
            let interval = Interval { low: difference - 0.0012, high: difference + 0.0012 };
            ComparisonRow {
                model: NAMES[place].0.into(),
                against,
                reference: NAMES[reference].0.into(),
                difference,
                interval,
                p_value: if difference.abs() > 0.002 { 0.001998 } else { 0.0312 },
                p_holm: if difference.abs() > 0.002 { 0.011988 } else { 0.0624 },
            }
        })
    };
    let comparisons =
        against(Reference::Best, 0).chain(against(Reference::StrongestBaseline, 3)).collect();
    Report {
        format: "forecart-report".into(),
        format_version: 1,
        forecart_version: "0.1.0".into(),
        commit: Some("1a2b3c4".into()),
        title: "Evaluation of Beauty <5-core>".into(),
        protocol: "loo-full/full/mask-seen/len50/order=file".into(),
        part: Part::Test,
        data: DataFacts {
            data_hash: "5e".repeat(32),
            dataset_hash: "c0".repeat(32),
            counts: Counts {
                n_users: 22_363,
                n_items: 12_101,
                n_events: 198_502,
                n_train: 153_776,
                n_validation: 22_363,
                n_test: 22_363,
                n_unknown_targets: 31,
            },
        },
        tally: Tally {
            n_users: 22_363,
            n_users_without_targets: 0,
            n_cases: 22_363,
            n_cold_cases: 0,
            n_targets: 22_363,
            n_unknown_targets: 31,
            n_seen_targets: 0,
            n_hidden_targets: 0,
            n_tied_targets: 0,
        },
        primary: Metric::ndcg(10),
        bootstrap: Bootstrap::default(),
        models,
        comparisons,
        slices: slices(),
        gate: None,
        leakage: leakage(),
        references_chosen_on: Part::Validation,
        test_readings: vec!["sasrec seed 1".into(), "popularity".into()],
        warnings: vec!["popularity: 12 % of the targets are tied with another item".into()],
        environment: Some(Environment {
            cpu: Some("AMD EPYC 9R14".into()),
            n_cores: 2,
            n_threads: 2,
            memory_bytes: Some(24 << 30),
            system: "linux x86_64".into(),
            made_at: None,
        }),
    }
}

#[test]
fn table_on_a_terminal() {
    let table = sample().table();
    // Leaks are told whole.
    for line in table.lines().filter(|line| !line.starts_with("LEAK")) {
        assert!(line.chars().count() <= 100, "{line}");
    }
    insta::assert_snapshot!(table);
}

#[test]
fn a_baseline_that_is_the_best_has_its_comparisons_shown_once() {
    let mut report = sample();
    report.comparisons.retain(|row| row.against == Reference::StrongestBaseline);
    let of_best = report.comparisons.clone().into_iter();
    report.comparisons.extend(of_best.map(|row| ComparisonRow { against: Reference::Best, ..row }));
    let (table, page) = (report.table(), report.to_html().unwrap());
    assert_eq!(table.matches("ndcg@10 against").count(), 1, "{table}");
    assert!(table.contains("against seq-rules, the best and the strongest baseline"), "{table}");
    assert_eq!(page.matches("(best, a baseline)").count(), NAMES.len() - 1);
    assert!(!page.contains("(strongest baseline)"));
    report.comparisons.retain(|row| row.against == Reference::Best);
    assert!(report.table().contains("against seq-rules, the best by"), "no baseline was measured");
}

#[test]
fn json_has_the_same_keys_as_ever_and_is_read_back() {
    let report = sample();
    let json = report.to_json().unwrap();
    let back: Report = serde_json::from_str(&json).unwrap();
    assert_eq!(back.models.len(), report.models.len());
    assert_eq!(back.data, report.data);
    assert_eq!(back.models[0].metrics[0].metric, report.models[0].metrics[0].metric);
    let mut keys = Vec::new();
    paths("", &serde_json::from_str(&json).unwrap(), &mut keys);
    keys.dedup();
    insta::assert_snapshot!(keys.join("\n"));
}

/// Every path to a value, with its type; of lists, the first entry.
fn paths(prefix: &str, value: &serde_json::Value, out: &mut Vec<String>) {
    use serde_json::Value;
    let kind = match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                paths(&format!("{prefix}.{name}"), field, out);
            }
            return;
        }
        Value::Array(entries) => {
            if let Some(first) = entries.first() {
                return paths(&format!("{prefix}[]"), first, out);
            }
            "[]"
        }
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
    };
    out.push(format!("{prefix}: {kind}"));
}

#[test]
fn page_is_self_contained_and_escapes_names() {
    let page = sample().to_html().unwrap();
    // For a look with a browser; the page is no part of the test's result.
    std::fs::write(concat!(env!("CARGO_TARGET_TMPDIR"), "/report.html"), &page).unwrap();
    assert!(page.starts_with("<!doctype html>\n<html lang=\"en\">"));
    for forbidden in
        ["<script", "<link", "src=", "href=", "url(", "@import", "<b>\"R&D\"", "<5-core>"]
    {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    let without_namespace = page.replace("http://www.w3.org/2000/svg", "");
    assert!(!without_namespace.contains("http"));
    assert!(page.contains("&lt;b&gt;&quot;R&amp;D&quot;&lt;/b&gt; 模型"));
    for (name, _, is_baseline) in NAMES {
        let name = name.replace('&', "&amp;").replace('<', "&lt;");
        let name = name.replace('>', "&gt;").replace('"', "&quot;");
        let row = format!("<th scope=\"row\">{name}<span class=\"tag\">baseline</span></th>");
        assert_eq!(page.contains(&row), is_baseline, "{name}");
        assert!(page.contains(&name));
    }
    assert_eq!(page.matches("<figure>").count(), 14);
    assert_eq!(page.matches("<svg ").count(), page.matches("</svg>").count());
}

/// Colors are for the best and for the strongest baseline; the others are gray, and slices leave them out.
#[test]
fn many_models_do_not_share_colors() {
    let mut report = sample();
    for number in 0..6 {
        let model = ModelRow { name: format!("also {number}"), ..model(6) };
        report.models.push(model);
        let mut comparison = report.comparisons[0].clone();
        comparison.model = format!("also {number}");
        report.comparisons.push(comparison);
    }
    let strongest = report.comparisons.iter_mut();
    strongest
        .filter(|row| row.against == Reference::StrongestBaseline)
        .for_each(|row| row.reference = "also 5".into());
    let page = report.to_html().unwrap();
    let legends: Vec<&str> = page.split("<ul class=\"legend\">").skip(1).collect();
    assert_eq!(legends.len(), 2);
    for legend in legends {
        let legend = &legend[..legend.find("</ul>").unwrap()];
        assert_eq!(
            legend.matches("<li>").count(),
            8,
            "six, the baseline, and the others: {legend}"
        );
        assert!(legend.contains("6 others") && legend.contains("also 5"), "{legend}");
        assert!(!legend.contains("also 4"), "{legend}");
        let mut colors: Vec<&str> =
            legend.match_indices("rgb(").map(|(at, _)| &legend[at..at + 14]).collect();
        colors.sort_unstable();
        colors.dedup();
        assert_eq!(colors.len(), 8, "{legend}");
    }
}

/// Measures two models from scratch and reports them, with wall-clock times that differ each time.
fn measured_report(n_threads: usize, deterministic: bool) -> Report {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
    pool.install(|| {
        let data = generated(300, 40);
        let guard = TestGuard::new();
        let follow = |history: History<'_>, scores: &mut [f32]| {
            let newest = history.items.last().map_or(0, |item| item.0);
            for (item, score) in scores.iter_mut().enumerate() {
                *score = -((item as f32) - (newest as f32) - 1.0).abs();
            }
        };
        let items = &data.dataset.items;
        let popular = |_: History<'_>, scores: &mut [f32]| {
            for (item, score) in scores.iter_mut().enumerate() {
                *score = items.count(item as u32) as f32;
            }
        };
        let scorers: [(&str, &dyn forecart_eval::Scorer); 2] =
            [("popularity", &popular), ("follow", &follow)];
        let rows = scorers.map(|(name, scorer)| {
            let started = std::time::Instant::now();
            let options = EvaluateOptions::test(name, &guard);
            let evaluation = evaluate(&data.dataset, scorer, &options, &Silent).unwrap();
            let options = EvaluateOptions::validation(name);
            let validation = evaluate(&data.dataset, scorer, &options, &Silent).unwrap();
            let timing = Timing {
                fit_secs: 0.0,
                evaluate_secs: started.elapsed().as_secs_f64(),
                memory_bytes: 1,
            };
            let run =
                Run { validation: Some(validation), timing: Some(timing), ..Run::new(evaluation) };
            ModelRuns {
                name: name.into(),
                is_baseline: name == "popularity",
                hyperparameters: serde_json::json!({}),
                runs: vec![run],
            }
        });
        let environment = Some(Environment::detect(n_threads));
        let options = ReportOptions { guard, environment, deterministic, ..Default::default() };
        Report::new(&rows, &options).unwrap()
    })
}

#[test]
fn same_seed_same_bytes_with_one_and_two_threads() {
    let (one, two) = (measured_report(1, true), measured_report(2, true));
    assert_eq!(one.to_json().unwrap(), two.to_json().unwrap());
    assert_eq!(one.to_html().unwrap(), two.to_html().unwrap());
    assert_eq!(one.table(), two.table());
    assert!(one.environment.is_none() && one.models[0].timing.is_none());
}

#[test]
fn a_measured_report_holds_together() {
    let report = measured_report(2, false);
    assert_eq!(report.models[0].name, "follow");
    assert!(report.models[1].is_baseline);
    assert_eq!(report.references_chosen_on, Part::Validation);
    let found = report.comparison("follow", Reference::StrongestBaseline).unwrap();
    let means = report.models.iter().map(|model| model.mean(report.primary).unwrap());
    let means: Vec<f64> = means.collect();
    assert!((found.difference - (means[0] - means[1])).abs() < 1e-12);
    assert!(report.comparison("follow", Reference::Best).is_none());
    assert!(
        report.warnings.iter().all(|text| text.contains("tied") || text.contains("seen before")),
        "{:?}",
        report.warnings
    );
    for model in &report.models {
        assert!(model.timing.is_some());
        for row in &model.metrics {
            let without = row.metric.kind.is_of_all_lists();
            assert_eq!(row.interval.is_none(), without, "{}", row.metric);
            if let (Some(mean), Some(interval)) = (row.mean, row.interval) {
                assert!(interval.low <= mean && mean <= interval.high, "{}", row.metric);
            }
        }
        assert!(model.curve.is_sorted_by(|a, b| a.recall <= b.recall));
    }
    assert_eq!(report.environment.unwrap().n_threads, 2);
}

#[test]
fn the_gate_lets_through_what_beats_the_strongest_baseline_beyond_its_interval() {
    let report = sample();
    let gate = Gate::of(&report, None).unwrap();
    assert_eq!(gate.baseline, "seq-rules");
    let passed = |name: &str| gate.verdict(name).unwrap().passed;
    assert!(passed("sasrec") && passed("mlp"));
    assert!(!passed("<b>\"R&D\"</b> 模型"));
    assert!(gate.verdict("item-knn").is_none(), "a baseline is not promoted");
    let mut near = report.clone();
    for row in &mut near.comparisons {
        row.interval = Interval { low: -0.0001, high: 0.02 };
    }
    assert!(!Gate::of(&near, None).unwrap().verdict("sasrec").unwrap().passed, "0 lies within");
    let overridden = Gate::of(&near, Some("a trial on one page")).unwrap();
    let text = overridden.lines().join("\n");
    assert!(text.contains("sasrec does not pass, overridden"), "{text}");
    assert!(text.contains("a trial on one page"), "{text}");
    let mut without = report;
    without.models.retain(|model| !model.is_baseline);
    without.comparisons.clear();
    assert_eq!(Gate::of(&without, None), None);
}

#[test]
fn slices_part_the_cases_and_their_means_are_those_of_the_whole() {
    let report = measured_report(2, true);
    for model in &report.models {
        for by in [SliceBy::User, SliceBy::History] {
            let rows = report.slices.iter().filter(|row| row.by == by);
            let (mut sum, mut n) = (0.0, 0);
            for row in rows {
                let value = row.values.iter().find(|value| value.model == model.name).unwrap();
                assert!(value.interval.low <= value.mean && value.mean <= value.interval.high);
                sum += value.mean * row.n_cases as f64;
                n += row.n_cases;
            }
            assert_eq!(n, report.tally.n_cases, "{by:?}");
            // Sums in another order: the last digits may differ.
            assert!((sum / n as f64 - model.mean(report.primary).unwrap()).abs() < 1e-12, "{by:?}");
        }
        // One target a case: each case is in one tenth.
        let tenths = report.slices.iter().filter(|row| row.by == SliceBy::TargetPopularity);
        assert_eq!(tenths.map(|row| row.n_cases).sum::<u64>(), report.tally.n_cases);
    }
    let deciles = report.slices.iter().filter(|row| row.by == SliceBy::TargetPopularity).count();
    assert!(deciles > 5, "{deciles}");
}

/// Item 1 is viewed by everybody and bought once, item 2 is bought by everybody: it is the popular one, and every target is it.
#[test]
fn the_popularity_of_targets_is_that_of_what_is_asked_for() {
    let user = |first: u32| User {
        events: vec![(1, 0), (1, 0), (first, 1), (2, 1), (3, 0), (2, 1)],
        validation_start: 5,
        test_start: 5,
    };
    let users: Vec<User> = (0..30).map(|n| user(if n == 0 { 1 } else { 2 + n % 9 })).collect();
    let data = dataset_of_purchases(SeenItems::Keep, 20, &users);
    let guard = TestGuard::new();
    let flat = |_: History<'_>, scores: &mut [f32]| scores.fill(0.0);
    let evaluation =
        evaluate(&data.dataset, &flat, &EvaluateOptions::test("flat", &guard), &Silent).unwrap();
    let hyperparameters = serde_json::json!({});
    let runs = vec![Run::new(evaluation)];
    let row = ModelRuns { name: "flat".into(), is_baseline: true, hyperparameters, runs };
    let report = Report::new(&[row], &ReportOptions { guard, ..Default::default() }).unwrap();
    let tenths: Vec<_> =
        report.slices.iter().filter(|row| row.by == SliceBy::TargetPopularity).collect();
    assert_eq!(tenths.len(), 1, "{tenths:?}");
    // Ten items are bought in training, item 2 most: the last of ten.
    assert_eq!((tenths[0].name.as_str(), tenths[0].n_cases), ("10, top", 30));
}

/// People buy the same again, and lists leave out what they have: whoever reads the report should know.
#[test]
fn many_targets_that_lists_leave_out_are_told() {
    let user = || User { events: vec![(1, 1), (2, 1), (1, 1)], validation_start: 2, test_start: 2 };
    let told = |seen| {
        let data = dataset_of_purchases(seen, 20, &[user(), user()]);
        let guard = TestGuard::new();
        let flat = |_: History<'_>, scores: &mut [f32]| scores.fill(0.0);
        let options = EvaluateOptions::test("flat", &guard);
        let evaluation = evaluate(&data.dataset, &flat, &options, &Silent).unwrap();
        let hyperparameters = serde_json::json!({});
        let runs = vec![Run::new(evaluation)];
        let row = ModelRuns { name: "flat".into(), is_baseline: true, hyperparameters, runs };
        let report = Report::new(&[row], &ReportOptions { guard, ..Default::default() }).unwrap();
        report.warnings.join("\n")
    };
    let hidden = told(SeenItems::Exclude);
    assert!(hidden.contains("100 % of the targets were seen before"), "{hidden}");
    assert!(hidden.contains("prepare.seen"), "{hidden}");
    assert!(!told(SeenItems::Keep).contains("seen before"));
}

#[test]
fn everyone_sees_the_same_list_is_told() {
    let report = measured_report(1, true);
    let overlap =
        |name: &str| report.model(name).unwrap().mean(Metric::new(MetricKind::Overlap, 10));
    assert!(overlap("popularity").unwrap() > 0.6, "{:?}", overlap("popularity"));
    assert!(overlap("follow").unwrap() < 0.5, "{:?}", overlap("follow"));
    assert!(!report.warnings.iter().any(|w| w.contains("same list")), "a baseline is meant so");
    let told = measured_same_list().warnings.join("\n");
    assert!(told.contains("everyone sees the same list") && told.contains("too: same "), "{told}");
}

/// A model that is no baseline and shows everybody the same.
fn measured_same_list() -> Report {
    let data = generated(300, 40);
    let guard = TestGuard::new();
    let same = |_: History<'_>, scores: &mut [f32]| {
        scores.iter_mut().enumerate().for_each(|(item, score)| *score = item as f32);
    };
    let options = EvaluateOptions::test("same", &guard);
    let evaluation = evaluate(&data.dataset, &same, &options, &Silent).unwrap();
    let runs = vec![Run::new(evaluation)];
    let hyperparameters = serde_json::json!({});
    let row = ModelRuns { name: "same".into(), is_baseline: false, hyperparameters, runs };
    Report::new(&[row], &ReportOptions { guard, ..Default::default() }).unwrap()
}
