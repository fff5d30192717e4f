//! Models of questions: searches on question tables, several seeds, and what is left without what explanations name.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use forecart_data::questions::{QuestionDescription, QuestionEvent, QuestionTables, Windows};
use forecart_data::{Part, Questions, QuestionsWriter, Silent, Vocabulary};
use forecart_eval::tuning::{Objective, Trial};
use forecart_models::support::questions::registry;
use forecart_train::{
    Budget, QuestionContest, QuestionContestant, QuestionTraining, TrainError, TuneData,
    TuneOptions, measure_question_models, survival, tune,
};
use serde_json::{Value, json};

const HOUR_MS: i64 = 3_600_000;
const N_DAYS: i64 = 20;
const VIEW: u8 = 1;
const VISIT: u8 = 2;
const ASK: u8 = 3;

fn windows() -> Windows {
    Windows {
        horizon_ms: 6 * HOUR_MS,
        validation_start_ms: 12 * 24 * HOUR_MS,
        test_start_ms: 16 * 24 * HOUR_MS,
        end_ms: N_DAYS * 24 * HOUR_MS,
    }
}

fn vocabulary<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Vocabulary {
    Vocabulary::from_entries(texts.into_iter().map(|text| (text, 1)), 0).unwrap()
}

/// Each day a user visits one of two pages, looks at an item, and asks on four days of five about the page; in the test part about the other one, if it is `turned`.
fn table(folder: &Path, windows: Windows, turned: bool) -> Questions {
    let mut writer = QuestionsWriter::new(folder, windows).unwrap();
    let n_users = 40_i64;
    for user in 0..n_users {
        for day in 0..N_DAYS {
            let page = 1 + (user * 7 + day * 3) as u32 % 5 % 2;
            let mut push = |hour, event, object, intent| {
                let timestamp_ms = (day * 24 + hour) * HOUR_MS;
                writer.push(QuestionEvent { timestamp_ms, event, object, intent }).unwrap();
            };
            push(1, VISIT, page, None);
            push(2, VIEW, 5 + (user + day) as u32 % 4, None);
            if (user + day) % 5 > 0 {
                let is_turned = turned && day >= 16;
                let asked = if is_turned { 3 - page } else { page };
                push(4, ASK, 2 + asked, Some(asked));
            }
        }
        writer.end_user().unwrap();
    }
    let tables = QuestionTables {
        users: vocabulary((0..n_users).map(|user| format!("u{user}"))),
        event_names: vocabulary(["view_item", "view_page", "ask"]),
        objects: vocabulary(["page1", "page2", "a", "b", "i1", "i2", "i3", "i4"]),
        intents: vocabulary(["a", "b"]),
        description: QuestionDescription {
            data_hash: "of nothing".into(),
            origin: vec![],
            config: Value::Null,
            decisions: vec![],
            steps: vec![],
        },
    };
    writer.finish(tables).unwrap();
    Questions::open(folder).unwrap()
}

fn options(n_trials: usize, n_threads: usize) -> TuneOptions {
    TuneOptions {
        model: "last-event".into(),
        keys: Value::Null,
        budget: Budget::Trials(NonZeroUsize::new(n_trials).unwrap()),
        seed: 5,
        n_threads: NonZeroUsize::new(n_threads).unwrap(),
        memory_limit_bytes: None,
        prunes: true,
    }
}

/// Trials without the seconds that they took.
fn search(table: &Questions, options: &TuneOptions, journal: &Path) -> Vec<Trial> {
    let mut trials = tune(TuneData::Questions(table), options, journal, &Silent).unwrap();
    trials.iter_mut().for_each(|trial| (trial.secs, trial.at_secs) = (0.0, 0.0));
    trials
}

#[test]
fn a_search_killed_at_any_trial_with_any_number_of_threads_comes_to_the_same() {
    let root = tempfile::tempdir().unwrap();
    let one = table(&root.path().join("one"), windows(), false);
    let path = root.path().join("journal");
    let whole = search(&one, &options(6, 1), &path);
    assert_eq!(whole.len(), 6);
    // Log losses, less is better.
    assert!(
        whole.iter().all(|trial| trial.value.is_some_and(|value| (-0.7..0.0).contains(&value)))
    );
    let text = fs::read_to_string(&path).unwrap();
    let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).collect();
    for (end, torn) in [(ends[0], 0), (ends[3], 9)] {
        fs::write(&path, &text[..end + torn]).unwrap();
        assert_eq!(search(&one, &options(6, 2), &path), whole, "cut after {end} + {torn}");
    }
    // Another test part: not a trial differs.
    let other = table(&root.path().join("other"), windows(), true);
    assert_eq!(search(&other, &options(6, 1), &root.path().join("other-journal")), whole);
}

#[test]
fn what_was_chosen_is_measured_on_test_beside_the_defaults() {
    let root = tempfile::tempdir().unwrap();
    let table = table(&root.path().join("questions"), windows(), false);
    let (options, data) = (options(6, 2), TuneData::Questions(&table));
    let trials = tune(data, &options, &root.path().join("journal"), &Silent).unwrap();
    let found = survival(data, &options, trials, "a table", &Silent).unwrap();
    let report = found.report.questions().unwrap();
    let mut names: Vec<&str> = report.rows.iter().map(|row| row.model.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["default", "tuned"]);
    assert_eq!(report.source.measured_on, Part::Test);
    assert_eq!(found.report.objective(), Objective::QuestionLogLoss);
    assert!(found.gain.validation >= 0.0);
    assert!(found.to_toml().starts_with("[question_models.last-event]\n"));
    let read: forecart_eval::tuning::Search =
        serde_json::from_str(&found.to_json().unwrap()).unwrap();
    assert!(read.report.questions().is_some());
    assert!(found.to_html().unwrap().contains("log loss on validation of each trial"));
    assert!(found.table().contains("test log loss:"), "{}", found.table());
}

#[test]
fn what_cannot_be_searched_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let end = windows().end_ms;
    let all = Windows { validation_start_ms: end, test_start_ms: end, ..windows() };
    let whole = table(&root.path().join("whole"), all, false);
    let journal = root.path().join("journal");
    let refused = |table: &Questions, options: &TuneOptions| {
        tune(TuneData::Questions(table), options, &journal, &Silent).unwrap_err()
    };
    let error = refused(&whole, &options(2, 1)).to_string();
    assert!(error.contains("no moment of the validation part"), "{error}");
    let table = table(&root.path().join("cut"), windows(), false);
    let popularity = TuneOptions { model: "popularity".into(), ..options(2, 1) };
    let error = refused(&table, &popularity);
    assert!(matches!(error, TrainError::NothingToTune { model: "popularity", .. }), "{error}");
}

#[test]
fn several_seeds_are_measured_together_and_what_is_named_carries_the_probability() {
    let root = tempfile::tempdir().unwrap();
    let table = table(&root.path().join("questions"), windows(), false);
    let keys = json!({
        "d_model": 16, "n_layers": 1, "n_heads": 2, "d_ff": 16, "max_history": 24, "batch_size": 8, "learning_rate": 0.01,
        "dropout": 0.0, "object_dropout": 0.003, "n_epochs": 8
    });
    let contestants =
        [("sequence", keys), ("last-event", Value::Null), ("popularity", Value::Null)]
            .map(|(name, keys)| QuestionContestant::new(registry::spec(name, &keys).unwrap()));
    let training = QuestionTraining {
        seed: 3,
        n_threads: NonZeroUsize::new(2).unwrap(),
        memory_limit_bytes: None,
        checkpoint: None,
    };
    let contest = QuestionContest {
        contestants: &contestants,
        n_seeds: NonZeroUsize::new(2).unwrap(),
        given: &[],
        part: Part::Test,
        max_moments: NonZeroUsize::new(300).unwrap(),
        n_resamples: 50,
        ceiling: None,
        title: "seeds".into(),
        commit: None,
        deterministic: true,
    };
    let report = measure_question_models(&table, &contest, &training, &Silent).unwrap();
    let row = report.row("sequence").unwrap();
    assert_eq!(row.seeds, [3, 4]);
    assert!(row.measured.log_loss.sd_over_seeds.unwrap() > 0.0);
    let found = row.deletion.unwrap();
    assert!(found.n_moments > 50 && (1.0..=4.0).contains(&found.mean_named), "{found:?}");
    let [p, named, random] =
        [found.probability, found.without_named, found.without_random].map(|own| own.value);
    assert!(named < 0.7 * p && named < 0.8 * random, "{found:?}");
    // Without chance there is one, and what sees the newest event alone has nothing to leave out.
    let baseline = report.row("last-event").unwrap();
    assert_eq!((&baseline.seeds[..], baseline.deletion), (&[3][..], None));
    assert_eq!(baseline.measured.log_loss.sd_over_seeds, None);
    let page = report.to_html().unwrap();
    assert!(page.contains("sd of loss") && page.contains("carry the probability?"));
    assert!(report.table().contains("sd of loss"), "{}", report.table());
}
