//! What each protocol asks and counts, on datasets small enough to work out by hand.

use std::sync::Mutex;

use forecart_data::{Dataset, History, ItemIdx, Protocol, SeenItems, Silent};
use forecart_eval::{
    EvalError, EvaluateOptions, Evaluation, Metric, MetricKind, Scorer, TestGuard, evaluate,
};

use crate::fixture::{
    SESSION, User, dataset, dataset_of_purchases, generated, leave_one_out, parts, test_sessions,
};

const TIME: Protocol = Protocol::GlobalTime { validation_start_ms: 10, test_start_ms: 20 };

/// Scores fall with the item index: item 1 is best.
fn first_is_best(_: History<'_>, scores: &mut [f32]) {
    for (item, score) in scores.iter_mut().enumerate() {
        *score = -(item as f32);
    }
}

/// Remembers what it was shown.
#[derive(Default)]
struct Recorder(Mutex<Vec<Vec<u32>>>);

impl Scorer for Recorder {
    fn score_all(&self, history: History<'_>, scores: &mut [f32]) {
        self.0.lock().unwrap().push(history.items.iter().map(|item| item.0).collect());
        first_is_best(history, scores);
    }
}

fn shown(dataset: &Dataset, options: &EvaluateOptions) -> Vec<Vec<u32>> {
    let recorder = Recorder::default();
    evaluate(dataset, &recorder, options, &Silent).unwrap();
    let mut shown = recorder.0.into_inner().unwrap();
    shown.sort();
    shown
}

fn on_test(dataset: &Dataset, scorer: &dyn Scorer) -> Evaluation {
    let options = EvaluateOptions::test("model", &TestGuard::new());
    evaluate(dataset, scorer, &options, &Silent).unwrap()
}

fn values(evaluation: &Evaluation, kind: MetricKind, k: usize) -> Vec<f64> {
    let values = evaluation.values(Metric::new(kind, k)).unwrap();
    values.into_iter().map(Option::unwrap).collect()
}

#[test]
fn loo_full_shows_training_events_for_validation_and_all_but_the_last_for_test() {
    let users = [leave_one_out(&[3, 4, 5, 6]), leave_one_out(&[7, 8, 9])];
    let data = dataset(Protocol::LooFull, SeenItems::Exclude, 9, &users);
    let validation = EvaluateOptions::validation("model");
    assert_eq!(shown(&data.dataset, &validation), [vec![3, 4], vec![7]]);
    let mut test = EvaluateOptions::test("model", &TestGuard::new());
    test.max_history = 2;
    assert_eq!(shown(&data.dataset, &test), [vec![4, 5], vec![7, 8]]);
}

#[test]
fn loo_full_masks_all_seen_items_not_only_those_shown() {
    // Target 5; items 1 and 2 are seen, 3 and 4 are not: rank 3 with the mask, 5 without.
    let data =
        dataset(Protocol::LooFull, SeenItems::Exclude, 9, &[leave_one_out(&[1, 2, 2, 6, 5])]);
    let mut options = EvaluateOptions::test("masked", &TestGuard::new());
    options.max_history = 1;
    let masked = evaluate(&data.dataset, &first_is_best, &options, &Silent).unwrap();
    assert_eq!(values(&masked, MetricKind::Mrr, 9), [1.0 / 3.0]);
    assert_eq!(masked.protocol_id, "loo-full/full/mask-seen/len1/order=file");
    let mut options = EvaluateOptions::test("open", &TestGuard::new());
    options.seen = Some(SeenItems::Keep);
    let open = evaluate(&data.dataset, &first_is_best, &options, &Silent).unwrap();
    assert_eq!(values(&open, MetricKind::Mrr, 9), [1.0 / 5.0]);
    assert_eq!(open.protocol_id, "loo-full/full/mask-none/len50/order=file");
}

#[test]
fn a_target_that_was_seen_is_a_miss_where_lists_leave_it_out() {
    for (seen, mrr, n_hidden) in [(SeenItems::Exclude, 0.0, 1), (SeenItems::Keep, 0.5, 0)] {
        let data = dataset(Protocol::LooFull, seen, 9, &[leave_one_out(&[2, 1, 3, 2])]);
        let found = on_test(&data.dataset, &first_is_best);
        assert_eq!(values(&found, MetricKind::Mrr, 9), [mrr]);
        assert_eq!((found.tally.n_seen_targets, found.tally.n_hidden_targets), (1, n_hidden));
        assert_eq!(found.tally.tie_share(), 0.0);
    }
}

#[test]
fn users_too_short_for_a_test_event_are_counted_and_left_out() {
    let users = [leave_one_out(&[1, 2, 3]), parts(&[4], &[], &[])];
    let data = dataset(Protocol::LooFull, SeenItems::Exclude, 5, &users);
    let tally = on_test(&data.dataset, &first_is_best).tally;
    assert_eq!((tally.n_users, tally.n_cases, tally.n_users_without_targets), (2, 1, 1));
}

#[test]
fn time_split_wants_the_distinct_items_of_the_part() {
    // Targets 1, 3 and the unknown item; 1 twice.
    let users = [parts(&[4], &[5], &[1, 3, 1, 0, 0]), parts(&[1], &[2], &[])];
    let data = dataset(TIME, SeenItems::Exclude, 6, &users);
    let found = on_test(&data.dataset, &first_is_best);
    assert_eq!(values(&found, MetricKind::Recall, 3), [2.0 / 3.0]);
    assert_eq!(values(&found, MetricKind::Precision, 3), [2.0 / 3.0]);
    let gain = |rank: f64| 1.0 / (rank + 1.0).log2();
    let want = (gain(1.0) + gain(3.0)) / (gain(1.0) + gain(2.0) + gain(3.0));
    assert!((found.ndcg(3) - want).abs() < 1e-12);
    let tally = found.tally;
    assert_eq!((tally.n_targets, tally.n_unknown_targets), (3, 1));
    assert_eq!((tally.n_cases, tally.n_users_without_targets), (1, 1));
    assert_eq!(found.protocol_id, "time/full/mask-seen/len50/order=file/split=10,20");
}

#[test]
fn cold_users_count() {
    let users = [parts(&[], &[], &[1]), parts(&[2], &[], &[5])];
    let data = dataset(TIME, SeenItems::Keep, 6, &users);
    let found = on_test(&data.dataset, &first_is_best);
    assert_eq!((found.tally.n_cases, found.tally.n_cold_cases), (2, 1));
    assert_eq!(values(&found, MetricKind::Mrr, 10), [1.0, 0.2]);
    // A user without history has no taste of their own to compare the list with.
    let bias = found.values(Metric::new(MetricKind::PopularityBias, 10)).unwrap();
    assert!(bias[0].is_none() && bias[1].is_some());
}

#[test]
fn an_unknown_target_is_a_miss_for_any_scorer() {
    let data = dataset(Protocol::LooFull, SeenItems::Exclude, 4, &[leave_one_out(&[1, 2, 0])]);
    let unknown_is_best = |_: History<'_>, scores: &mut [f32]| {
        scores.fill(0.0);
        scores[0] = 1.0;
    };
    let found = on_test(&data.dataset, &unknown_is_best);
    assert_eq!(values(&found, MetricKind::Hr, 4), [0.0]);
    assert_eq!((found.tally.n_targets, found.tally.n_unknown_targets), (1, 1));
}

#[test]
fn sessions_ask_for_the_next_item_of_every_prefix() {
    let user = test_sessions(&[&[2, 2, 3], &[4], &[5, 1]]);
    let data = dataset(SESSION, SeenItems::Keep, 6, &[user]);
    let options = EvaluateOptions::test("model", &TestGuard::new());
    assert_eq!(shown(&data.dataset, &options), [vec![2], vec![2, 2], vec![5]]);
    let found = on_test(&data.dataset, &first_is_best);
    // Targets 2 (a repeat, which competes), 3 and 1, in the order of the sessions.
    assert_eq!(values(&found, MetricKind::Mrr, 20), [1.0 / 2.0, 1.0 / 3.0, 1.0]);
    assert_eq!(found.group_users().len(), 2);
    assert_eq!((found.tally.n_cases, found.tally.n_seen_targets), (3, 1));
}

#[test]
fn constant_scores_earn_next_to_nothing() {
    let data = generated(400, 500);
    let constant = |_: History<'_>, scores: &mut [f32]| scores.fill(1.0);
    let found = on_test(&data.dataset, &constant);
    assert_eq!(found.ndcg(10), 0.0);
    assert_eq!(found.tally.tie_share(), 1.0);
}

#[test]
fn lists_of_popular_items_are_seen_as_such() {
    let data = generated(400, 60);
    let items = &data.dataset.items;
    let by_count = |sign: f32| {
        move |_: History<'_>, scores: &mut [f32]| {
            for (item, score) in scores.iter_mut().enumerate() {
                *score = sign * items.count(item as u32) as f32;
            }
        }
    };
    let popular = on_test(&data.dataset, &by_count(1.0));
    let rare = on_test(&data.dataset, &by_count(-1.0));
    let metric = |found: &Evaluation, kind| found.metric(Metric::new(kind, 10)).unwrap().unwrap();
    assert!(metric(&popular, MetricKind::PopularityBias) > 0.0);
    assert!(metric(&rare, MetricKind::PopularityBias) < 0.0);
    assert!(metric(&popular, MetricKind::Novelty) < metric(&rare, MetricKind::Novelty));
    assert!(metric(&popular, MetricKind::Popularity) > metric(&rare, MetricKind::Popularity));
    assert!(metric(&popular, MetricKind::Coverage) < 0.5);
    assert!(metric(&popular, MetricKind::Gini) > 0.5);
}

#[test]
fn the_result_is_the_same_bits_for_any_number_of_threads() {
    let data = generated(700, 90);
    let mixed = |history: History<'_>, scores: &mut [f32]| {
        let newest = history.items.last().map_or(0, |item| item.0);
        for (item, score) in scores.iter_mut().enumerate() {
            *score = ((item as u32 * 31 + newest * 17) % 23) as f32;
        }
    };
    let run = |n_threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        pool.install(|| on_test(&data.dataset, &mixed))
    };
    assert_eq!(run(1), run(2));
    assert_eq!(run(1), run(7));
}

#[test]
fn renaming_items_changes_no_accuracy() {
    // Item i becomes n + 1 - i, in data and scores alike.
    let n_items = 40;
    let histories: Vec<Vec<u32>> =
        (0..60u32).map(|u| (0..5).map(|s| 1 + (u * 11 + s * s * 3) % n_items).collect()).collect();
    let mirror = |item: u32| n_items + 1 - item;
    let open = |rename: &dyn Fn(u32) -> u32| {
        let users: Vec<_> = histories
            .iter()
            .map(|items| leave_one_out(&items.iter().map(|i| rename(*i)).collect::<Vec<_>>()))
            .collect();
        dataset(Protocol::LooFull, SeenItems::Exclude, n_items as usize, &users)
    };
    let score = |item: u32| ((item * 7) % 11) as f32;
    let plain = on_test(&open(&|item| item).dataset, &|_: History<'_>, scores: &mut [f32]| {
        (1..=n_items).for_each(|item| scores[item as usize] = score(item));
    });
    let mirrored = on_test(&open(&mirror).dataset, &|_: History<'_>, scores: &mut [f32]| {
        (1..=n_items).for_each(|item| scores[item as usize] = score(mirror(item)));
    });
    for kind in MetricKind::ACCURACY {
        assert_eq!(values(&plain, kind, 10), values(&mirrored, kind, 10), "{kind:?}");
    }
}

#[test]
fn a_score_that_is_no_number_names_the_first_user() {
    // 300 users, several pieces of parallel work; those from the 151st on have item 2 newest.
    let users: Vec<_> =
        (1..=300).map(|user| leave_one_out(&[3, if user > 150 { 2 } else { 1 }, 4])).collect();
    let data = dataset(Protocol::LooFull, SeenItems::Exclude, 5, &users);
    let broken = |history: History<'_>, scores: &mut [f32]| {
        scores.fill(0.0);
        if history.items.last() == Some(&ItemIdx(2)) {
            scores[5] = f32::NAN;
        }
    };
    let options = EvaluateOptions::validation("model");
    assert!(evaluate(&data.dataset, &broken, &options, &Silent).is_ok());
    let options = EvaluateOptions::test("model", &TestGuard::new());
    let error = evaluate(&data.dataset, &broken, &options, &Silent).unwrap_err();
    assert_eq!(error.to_string(), "the model gave a score that is not a number for user \"u151\"");
}

#[test]
fn a_row_that_is_not_written_is_found() {
    let data = generated(5, 50);
    let lazy = |_: History<'_>, scores: &mut [f32]| scores[..40].fill(1.0);
    let options = EvaluateOptions::validation("model");
    let error = evaluate(&data.dataset, &lazy, &options, &Silent).unwrap_err();
    assert!(matches!(error, EvalError::NanScore { user } if user == "u1"));
}

#[test]
fn a_part_without_targets_and_options_out_of_range_are_errors() {
    let data = dataset(TIME, SeenItems::Keep, 3, &[parts(&[1, 2], &[3], &[])]);
    let options = EvaluateOptions::test("model", &TestGuard::new());
    let error = evaluate(&data.dataset, &first_is_best, &options, &Silent).unwrap_err();
    assert!(matches!(error, EvalError::NoTargets { part: "test" }));
    let mut options = EvaluateOptions::validation("model");
    options.max_history = 0;
    let error = evaluate(&data.dataset, &first_is_best, &options, &Silent).unwrap_err();
    assert!(matches!(error, EvalError::Option { option: "max_history", .. }));
}

#[test]
fn work_can_be_stopped() {
    struct Stop;
    impl forecart_data::Progress for Stop {
        fn begin(&self, _: &str, _: Option<u64>) {}
        fn advance(&self, _: u64) {}
        fn note(&self, _: &str) {}
        fn is_cancelled(&self) -> bool {
            true
        }
    }
    let data = generated(5, 50);
    let options = EvaluateOptions::validation("model");
    let error = evaluate(&data.dataset, &first_is_best, &options, &Stop).unwrap_err();
    assert!(matches!(error, EvalError::Cancelled));
}

/// The user views 1, buys 2, views 3 and 4, buys 5, views 6 and buys 3; nothing is asked of one who only views.
#[test]
fn where_purchases_are_asked_for_views_are_known_but_neither_targets_nor_masked() {
    let buyer = User {
        events: vec![(1, 0), (2, 1), (3, 0), (4, 0), (5, 1), (6, 0), (3, 1)],
        validation_start: 4,
        test_start: 6,
    };
    let viewer = User { events: vec![(1, 0), (2, 0)], validation_start: 1, test_start: 1 };
    let data = dataset_of_purchases(SeenItems::ExcludeEvent(2), 9, &[buyer, viewer]);
    let validation = EvaluateOptions::validation("model");
    assert_eq!(shown(&data.dataset, &validation), [vec![1, 2, 3, 4]]);
    let evaluation = evaluate(&data.dataset, &first_is_best, &validation, &Silent).unwrap();
    assert_eq!(evaluation.tally.n_users_without_targets, 1);
    // Before 5 come 1, 3 and 4: the bought 2 is masked, the viewed ones are not, and 6 is no target.
    assert_eq!(values(&evaluation, MetricKind::Mrr, 10), [0.25]);
    let evaluation = on_test(&data.dataset, &first_is_best);
    assert_eq!(evaluation.tally.n_seen_targets, 1);
    assert_eq!(values(&evaluation, MetricKind::Mrr, 10), [0.5], "1, then 3");
    let id = validation.protocol_id(&data.dataset);
    assert_eq!(id, "loo-full/full/mask-purchase/len50/order=file/target=purchase");
}
