//! Traps that cost others their results; each has a test that closes it.

use forecart_data::{EventOrder, History, Protocol, SeenItems, Silent};
use forecart_eval::{
    Bootstrap, EvalError, EvaluateOptions, Evaluation, Metric, MetricKind, ModelRuns, Report,
    ReportOptions, Run, TestGuard, choose, compare, evaluate, interval,
};

use crate::fixture::{Fixture, SESSION, dataset, generated, leave_one_out, test_sessions};

/// Prefers the items that follow the newest one; `skill` of 1 is nearly right on [`generated`].
fn follower(skill: u32) -> impl Fn(History<'_>, &mut [f32]) {
    move |history, scores| {
        let newest = history.items.last().map_or(0, |item| item.0);
        let n = scores.len() as u32 - 1;
        for item in 1..=n {
            let distance = (item + n - newest) % n;
            scores[item as usize] = -((distance + skill * (item % 7)) as f32);
        }
    }
}

fn measured(data: &Fixture, skill: u32, options: &EvaluateOptions) -> Evaluation {
    evaluate(&data.dataset, &follower(skill), options, &Silent).unwrap()
}

fn row(name: &str, runs: Vec<Run>) -> ModelRuns {
    ModelRuns {
        name: name.into(),
        is_baseline: name == "base",
        hyperparameters: serde_json::Value::Null,
        runs,
    }
}

#[test]
fn the_test_part_is_read_once_for_each_model_and_seed() {
    let data = generated(40, 30);
    let guard = TestGuard::new();
    let options = EvaluateOptions::test("sasrec seed 1", &guard);
    measured(&data, 0, &options);
    let again = evaluate(&data.dataset, &follower(1), &options, &Silent).unwrap_err();
    assert!(matches!(again, EvalError::TestReadTwice { label } if label == "sasrec seed 1"));
    measured(&data, 0, &EvaluateOptions::test("sasrec seed 2", &guard));
    assert_eq!(guard.readings(), ["sasrec seed 1", "sasrec seed 2"]);
}

#[test]
fn readings_of_test_that_are_not_in_the_table_are_told() {
    let data = generated(40, 30);
    let options = ReportOptions::default();
    let mut kept = None;
    for attempt in ["learning rate .1", "learning rate .01"] {
        kept = Some(measured(&data, 0, &EvaluateOptions::test(attempt, &options.guard)));
    }
    let report = Report::new(&[row("base", vec![Run::new(kept.unwrap())])], &options).unwrap();
    assert_eq!(report.test_readings.len(), 2);
    let told = report.warnings.iter().any(|warning| warning.contains("read 2 times, but 1 runs"));
    assert!(told, "{:?}", report.warnings);
}

#[test]
fn only_validation_chooses() {
    let data = generated(80, 30);
    let good = measured(&data, 0, &EvaluateOptions::validation("good"));
    let bad = measured(&data, 5, &EvaluateOptions::validation("bad"));
    let metric = Metric::ndcg(10);
    assert!(good.ndcg(10) > bad.ndcg(10));
    assert_eq!(choose(&[&bad, &good], metric).unwrap(), 1);
    assert_eq!(choose(&[&good, &good], metric).unwrap(), 0);
    let test = measured(&data, 0, &EvaluateOptions::test("good", &TestGuard::new()));
    assert!(matches!(choose(&[&test], metric), Err(EvalError::ChoiceOnTest { .. })));
    assert!(choose(&[], metric).is_err());
}

#[test]
fn a_test_result_cannot_pass_for_validation() {
    let data = generated(80, 30);
    let test = measured(&data, 0, &EvaluateOptions::test("model", &TestGuard::new()));
    let run = Run { validation: Some(test.clone()), ..Run::new(test) };
    let error = Report::new(&[row("base", vec![run])], &ReportOptions::default()).unwrap_err();
    assert!(error.to_string().contains("another part"), "{error}");
}

#[test]
fn masking_seen_items_is_another_protocol() {
    let data = generated(80, 30);
    let masked = measured(&data, 0, &EvaluateOptions::validation("masked"));
    let mut options = EvaluateOptions::validation("open");
    options.seen = Some(SeenItems::Keep);
    let open = measured(&data, 0, &options);
    assert_ne!(masked.protocol_id, open.protocol_id);
    let error = compare(&masked, &open, Metric::ndcg(10), &Bootstrap::default()).unwrap_err();
    assert!(matches!(error, EvalError::NotComparable { .. }));
    let rows = [row("base", vec![Run::new(masked)]), row("b", vec![Run::new(open)])];
    assert!(Report::new(&rows, &ReportOptions::default()).is_err());
}

#[test]
fn the_data_is_known_by_its_hash_not_by_a_name() {
    // Two files that somebody calls by one name: they differ in one event.
    let open = |last| {
        let users = [leave_one_out(&[1, 2, 3]), leave_one_out(&[2, 3, last])];
        dataset(Protocol::LooFull, SeenItems::Exclude, 5, &users)
    };
    let on = |data: &Fixture| measured(data, 0, &EvaluateOptions::validation("model"));
    let (left, right) = (on(&open(4)), on(&open(5)));
    assert!(left.check_comparable(&on(&open(4))).is_ok());
    let error = left.check_comparable(&right).unwrap_err();
    assert!(error.to_string().contains("the data differs"), "{error}");
    let report = Report::new(&[row("base", vec![Run::new(left)])], &ReportOptions::default());
    let table = report.unwrap().table();
    assert!(table.contains(&"5e".repeat(32)) && table.contains("2 users, 5 items, 6 events"));
}

#[test]
fn a_row_is_the_mean_over_all_seeds_and_no_seed_can_be_left_out() {
    let data = generated(80, 30);
    let guard = TestGuard::new();
    let run = |name: &str, seed: u64, skill| {
        let label = format!("{name} seed {seed}");
        let evaluation = measured(&data, skill, &EvaluateOptions::test(label, &guard));
        Run { seed: Some(seed), ..Run::new(evaluation) }
    };
    let deep: Vec<Run> = (0..3).map(|seed| run("deep", seed, seed as u32)).collect();
    let values: Vec<f64> = deep.iter().map(|run| run.evaluation.ndcg(10)).collect();
    let options = ReportOptions { guard: guard.clone(), ..ReportOptions::default() };
    let report = Report::new(&[row("deep", deep.clone())], &options).unwrap();
    let found = report.models[0].metric(Metric::ndcg(10)).unwrap();
    let mean = values.iter().sum::<f64>() / 3.0;
    assert!((found.mean.unwrap() - mean).abs() < 1e-12);
    assert!(values.iter().any(|value| *value > mean + 0.001), "the seeds must differ here");
    assert!(found.sd_over_seeds.unwrap() > 0.0);
    let interval = found.interval.unwrap();
    assert!(interval.low < mean && mean < interval.high);

    let lucky = vec![run("lucky", 7, 0)];
    let error = Report::new(&[row("deep", deep.clone()), row("lucky", lucky)], &options);
    assert!(error.unwrap_err().to_string().contains("seeds differ"));
    let twice = vec![deep[0].clone(), deep[0].clone()];
    assert!(Report::new(&[row("deep", twice)], &options).is_err());
}

#[test]
fn repeats_in_sessions_are_kept_and_the_protocol_says_so() {
    let users = [test_sessions(&[&[2, 2, 2]])];
    let data = dataset(SESSION, SeenItems::Exclude, 4, &users);
    let found = measured(&data, 0, &EvaluateOptions::test("model", &TestGuard::new()));
    assert_eq!(found.tally.n_cases, 2);
    let id = "session/full/mask-none/len50/order=file/every-prefix/repeats-kept";
    assert_eq!(found.protocol_id, id);
    let data = dataset(Protocol::Session { gap_minutes: Some(30) }, SeenItems::Keep, 4, &users);
    let by_pauses = EvaluateOptions::validation("model").protocol_id(&data.dataset);
    assert_eq!(by_pauses, format!("{id}/gap=30min"));
}

#[test]
fn the_protocol_names_the_order_that_cut_the_parts_not_whether_there_are_times() {
    let mut data = generated(20, 30);
    for (has_time, order, want) in
        [(true, EventOrder::File, "order=file"), (true, EventOrder::Time, "order=time")]
    {
        let description = &mut data.dataset.manifest.description;
        (description.has_time, description.order) = (has_time, order);
        let id = EvaluateOptions::validation("any").protocol_id(&data.dataset);
        assert!(id.split('/').any(|word| word == want), "{id}");
    }
}

#[test]
fn session_intervals_resample_sessions_not_prefixes() {
    // One long session that is always right, nine short ones that are always wrong.
    let long: Vec<u32> = (1..=19).collect();
    let mut sessions: Vec<&[u32]> = vec![&long];
    sessions.extend([&[5u32, 1][..]; 9]);
    let users: Vec<_> = sessions.iter().map(|session| test_sessions(&[session])).collect();
    let data = dataset(SESSION, SeenItems::Keep, 20, &users);
    let next = |history: History<'_>, scores: &mut [f32]| {
        scores.fill(0.0);
        let newest = history.items.last().map_or(0, |item| item.row());
        scores[newest + 1] = 1.0;
    };
    let options = EvaluateOptions::test("next", &TestGuard::new());
    let found = evaluate(&data.dataset, &next, &options, &Silent).unwrap();
    let metric = Metric::new(MetricKind::Hr, 1);
    assert_eq!(found.metric(metric).unwrap(), Some(18.0 / 27.0));
    let interval = interval(&found, metric, &Bootstrap::default()).unwrap().unwrap();
    // A third of the resamples lacks the long session; resampled prefixes would give .48 to .85.
    assert_eq!(interval.low, 0.0);
}

#[test]
fn every_metric_is_of_the_full_ranking() {
    let data = generated(20, 30);
    let found = measured(&data, 0, &EvaluateOptions::validation("model"));
    assert!(found.protocol_id.split('/').any(|word| word == "full"));
    let report = Report::new(&[row("base", vec![Run::new(found)])], &ReportOptions::default());
    let json = report.unwrap().to_json().unwrap();
    assert!(json.contains("ndcg@10") && !json.contains("@neg"));
}

#[test]
fn a_difference_between_models_is_told_from_none() {
    let data = generated(300, 40);
    let options = |label: &str| EvaluateOptions::validation(label);
    let good = measured(&data, 0, &options("good"));
    let bad = measured(&data, 3, &options("bad"));
    let bootstrap = Bootstrap::default();
    let found = compare(&good, &bad, Metric::ndcg(10), &bootstrap).unwrap();
    assert!(found.difference > 0.0 && found.interval.low > 0.0 && found.p_value < 0.01);
    assert_eq!(compare(&good, &good, Metric::ndcg(10), &bootstrap).unwrap().p_value, 1.0);
}
