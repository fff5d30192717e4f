//! Models of questions: what every one of them must do, on a log whose truth is known.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::OnceLock;

use forecart_data::questions::{QuestionDescription, QuestionEvent, QuestionTables, Windows};
use forecart_data::{History, ItemIdx, Part, Questions, QuestionsWriter, Silent, Vocabulary};
use forecart_models::ModelError;
use forecart_models::model_file::{AnyHeader, QuestionModelFile, inspect};
use forecart_models::support::questions::{QuestionPredictor, registry};
use forecart_models::training::{Checkpoint, FitContext};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::model_file::forged;

const HOUR_MS: i64 = 3_600_000;
const HORIZON: i64 = 6;
const N_DAYS: i64 = 30;
const N_PAGES: u32 = 3;
/// Questions come at most so many hours after the page, and other events too: no window reaches the next day.
const LAST_HOUR: i64 = 17;
const P_ASK: f64 = 0.6;

const VIEW: u8 = 1;
const VISIT: u8 = 2;
const ASK: u8 = 3;

fn vocabulary<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Vocabulary {
    Vocabulary::from_entries(texts.into_iter().map(|text| (text, 1)), 0).unwrap()
}

/// Objects 1..=3 are pages, 4..=6 the intents of asks, from 7 on items.
fn tables(n_users: usize) -> QuestionTables {
    let pages = (1..=N_PAGES).map(|page| format!("page{page}"));
    let intents = (1..=N_PAGES).map(|intent| format!("intent{intent}"));
    let items = (0..20).map(|item| format!("item{item}"));
    QuestionTables {
        users: vocabulary((0..n_users).map(|user| format!("u{user}"))),
        event_names: vocabulary(["view_item", "view_page", "ask"]),
        objects: vocabulary(pages.chain(intents).chain(items)),
        intents: vocabulary((1..=N_PAGES).map(|intent| format!("intent{intent}"))),
        description: QuestionDescription {
            data_hash: "of nothing".into(),
            origin: vec![],
            config: Value::Null,
            decisions: vec![],
            steps: vec![],
        },
    }
}

/// Each day a user visits one of three pages, looks at items, and asks about the page with probability 0.6 within 17 hours, each hour alike.
fn write(folder: &Path, windows: Windows, n_users: usize) -> Questions {
    let mut writer = QuestionsWriter::new(folder, windows).unwrap();
    let rng = &mut ChaCha8Rng::seed_from_u64(7);
    for _ in 0..n_users {
        for day in 0..N_DAYS {
            let page = rng.random_range(1..=N_PAGES);
            let mut events = vec![(0, VISIT, page, None)];
            for _ in 0..rng.random_range(3..8) {
                let item = rng.random_range(7..27);
                events.push((rng.random_range(1..=LAST_HOUR), VIEW, item, None));
            }
            if rng.random::<f64>() < P_ASK {
                let hour = rng.random_range(1..=LAST_HOUR);
                events.push((hour, ASK, N_PAGES + page, Some(page)));
            }
            events.sort_unstable();
            for (hour, event, object, intent) in events {
                let timestamp_ms = (day * 24 + hour) * HOUR_MS;
                writer.push(QuestionEvent { timestamp_ms, event, object, intent }).unwrap();
            }
        }
        writer.end_user().unwrap();
    }
    writer.finish(tables(n_users)).unwrap();
    Questions::open(folder).unwrap()
}

/// The probability of each intent after the last event of a history of a whole log.
fn truth(history: History<'_>) -> Vec<f64> {
    let page_at = history.events.iter().rposition(|event| *event == VISIT).unwrap();
    let page = history.items[page_at].0;
    let age_ms = history.timestamps_ms.last().unwrap() - history.timestamps_ms[page_at];
    let age = age_ms / HOUR_MS;
    let is_asked = history.events[page_at..].contains(&ASK);
    let n_hours = ((age + HORIZON).min(LAST_HOUR) - age) as f64;
    let an_hour = P_ASK / LAST_HOUR as f64;
    let p = an_hour * n_hours / (1.0 - an_hour * age as f64);
    let of = |intent| if intent == page && !is_asked { p } else { 0.0 };
    (1..=N_PAGES).map(of).collect()
}

fn windows() -> Windows {
    Windows {
        horizon_ms: HORIZON * HOUR_MS,
        validation_start_ms: 20 * 24 * HOUR_MS,
        test_start_ms: 24 * 24 * HOUR_MS,
        end_ms: N_DAYS * 24 * HOUR_MS,
    }
}

fn table() -> &'static Questions {
    static TABLE: OnceLock<(tempfile::TempDir, Questions)> = OnceLock::new();
    let make = || {
        let root = tempfile::tempdir().unwrap();
        let table = write(&root.path().join("q"), windows(), 60);
        (root, table)
    };
    &TABLE.get_or_init(make).1
}

fn context(n_threads: usize) -> FitContext<'static> {
    FitContext {
        seed: 3,
        n_threads: NonZeroUsize::new(n_threads).unwrap(),
        progress: &Silent,
        memory_limit_bytes: None,
        checkpoint: None,
    }
}

/// Small, so that fits take a second or two.
fn keys(name: &str) -> Value {
    match name {
        "sequence" => json!({
            "d_model": 16, "n_layers": 1, "n_heads": 2, "d_ff": 32, "max_history": 24, "batch_size": 8, "learning_rate": 0.01,
            "dropout": 0.0, "object_dropout": 0.003, "n_epochs": 6
        }),
        _ => Value::Null,
    }
}

fn fitted_with(
    name: &str,
    keys: &Value,
    table: &Questions,
    context: &FitContext<'_>,
) -> Result<QuestionModelFile, ModelError> {
    let spec = registry::spec(name, keys)?;
    let (predictor, record) = QuestionPredictor::fit(spec.as_ref(), table, context)?;
    QuestionModelFile::new(predictor, table, spec.uses_seed().then_some(context.seed), record)
}

/// All models, fitted.
fn models() -> &'static [(&'static str, QuestionModelFile)] {
    static FITTED: OnceLock<Vec<(&str, QuestionModelFile)>> = OnceLock::new();
    let fit = |(name, _)| (name, fitted_with(name, &keys(name), table(), &context(2)).unwrap());
    FITTED.get_or_init(|| registry::MODELS.into_iter().map(fit).collect())
}

pub(crate) fn model(name: &str) -> &'static QuestionModelFile {
    &models().iter().find(|(other, _)| *other == name).unwrap().1
}

fn each(check: impl Fn(&str, &QuestionModelFile)) {
    models().iter().for_each(|(name, file)| check(name, file));
}

/// Log loss over the intents of all moments of a part.
fn log_loss(part: Part, probabilities: impl Fn(History<'_>, &[usize]) -> Vec<f64>) -> f64 {
    let (mut sum, mut n, mut asked) = (0.0, 0.0, Vec::new());
    for user in 0..table().n_users() {
        let places: Vec<usize> = table().moments(user, part).collect();
        let found = probabilities(table().history(user), &places);
        for (row, place) in found.chunks(N_PAGES as usize).zip(&places) {
            table().asked(user, *place, &mut asked);
            for (intent, p) in (1..=N_PAGES).zip(row) {
                let p = if asked.contains(&intent) { *p } else { 1.0 - p };
                (sum, n) = (sum - p.max(1e-15).ln(), n + 1.0);
            }
        }
    }
    sum / n
}

fn loss_of(file: &QuestionModelFile, part: Part) -> f64 {
    log_loss(part, |history, places| file.predictor().probabilities_at(history, places).unwrap())
}

#[test]
fn the_history_is_worth_most_of_what_the_truth_is_worth() {
    let truth = log_loss(Part::Test, |history, places| {
        places.iter().flat_map(|place| truth(history.first(place + 1))).collect()
    });
    let loss = |name: &str| loss_of(model(name), Part::Test);
    let nothing = loss("popularity");
    let share = |name: &str| (nothing - loss(name)) / (nothing - truth);
    let shares = ["last-event", "sequence"].map(share);
    assert!(shares[0] > 0.1 && shares[0] < 0.6, "{shares:?}");
    assert!(shares[1] > 0.85 && shares[1] < 1.0, "{shares:?}");
}

#[test]
fn on_validation_every_intent_is_as_probable_as_it_is_asked() {
    each(|name, file| {
        let (mut expected, mut n_asked, mut asked) = ([0.0; 3], [0.0; 3], Vec::new());
        for user in 0..table().n_users() {
            let places: Vec<usize> = table().moments(user, Part::Validation).collect();
            let found = file.predictor().probabilities_at(table().history(user), &places).unwrap();
            for (row, place) in found.chunks(3).zip(&places) {
                table().asked(user, *place, &mut asked);
                for (at, p) in row.iter().enumerate() {
                    expected[at] += p;
                    n_asked[at] += f64::from(u8::from(asked.contains(&(at as u32 + 1))));
                }
            }
        }
        for (expected, n_asked) in expected.iter().zip(n_asked) {
            assert!(
                n_asked > 50.0 && (expected - n_asked).abs() < 2.0,
                "{name} {expected} {n_asked}"
            );
        }
    });
}

#[test]
fn the_same_seed_gives_the_same_bytes_on_any_number_of_threads() {
    each(|name, file| {
        for n_threads in [1, 3] {
            let other = fitted_with(name, &keys(name), table(), &context(n_threads)).unwrap();
            assert_eq!(file.to_bytes().unwrap(), other.to_bytes().unwrap(), "{name} {n_threads}");
        }
    });
}

#[test]
fn a_file_answers_as_the_model_did() {
    each(|name, file| {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("m.forecart");
        file.save(&path).unwrap();
        assert!(matches!(inspect(&path).unwrap().header, AnyHeader::Question(_)), "{name}");
        let loaded = QuestionModelFile::open(&path).unwrap();
        assert_eq!(loaded.header(), file.header());
        for user in 0..table().n_users() {
            let [one, other] = [file, &loaded]
                .map(|file| file.predictor().probabilities(table().history(user)).unwrap());
            assert_eq!(one, other, "{name}");
        }
        assert_eq!(loaded.to_bytes().unwrap(), file.to_bytes().unwrap());
    });
}

/// Else a model would be measured with what nobody knew at the moment.
#[test]
fn what_comes_later_changes_no_answer() {
    each(|name, file| {
        for user in [1, 7, 20] {
            let history = table().history(user);
            let places: Vec<usize> = (0..history.items.len()).collect();
            let along = file.predictor().probabilities_at(history, &places).unwrap();
            for (place, along) in places.iter().zip(along.chunks(3)).step_by(5) {
                let alone = file.predictor().probabilities(history.first(place + 1)).unwrap();
                for (along, alone) in along.iter().zip(alone) {
                    // Products of other sizes sum in another order.
                    assert!((along - alone).abs() < 1e-5, "{name} {place}: {along} {alone}");
                }
            }
        }
    });
}

#[test]
fn any_history_is_answered() {
    let times = [i64::MIN, -5, 0, i64::MAX];
    let objects = [0, 3, 1_000_000, u32::MAX].map(ItemIdx);
    let events = [0, 200, 255, 3];
    let odd = History { items: &objects, timestamps_ms: &times, events: &events, values: &[] };
    each(|name, file| {
        let predictor = file.predictor();
        let rates = predictor.probabilities(History::default()).unwrap();
        assert_eq!(rates, predictor.serving().rates, "{name}");
        for n in 1..=4 {
            let found = predictor.probabilities(odd.first(n)).unwrap();
            assert!(found.iter().all(|p| *p > 0.0 && *p < 1.0), "{name} {found:?}");
        }
    });
}

#[test]
fn the_page_that_led_to_a_question_is_named() {
    let predictor = model("sequence").predictor();
    let (mut n, mut n_named) = (0, 0);
    for user in 1..table().n_users() {
        for place in table().moments(user, Part::Test).step_by(9) {
            let history = table().history(user).first(place + 1);
            let Some(intent) = truth(history).iter().position(|p| *p > 0.2) else { continue };
            let found = predictor.explain(history, intent).unwrap();
            let (cause, rest) = found.behaviors.split_at(found.n_named);
            assert!(rest.is_sorted_by(|a, b| a.effect >= b.effect));
            assert!(cause.is_sorted_by(|a, b| a.last_ms >= b.last_ms));
            let [first, ..] = cause else { panic!("there are events") };
            let seen = predictor.model().n_seen(place + 1);
            let count: usize = found.behaviors.iter().map(|behavior| behavior.count).sum();
            assert_eq!(count, seen);
            // The effect is what the probability loses without it.
            let deleted = [(first.event, first.object)];
            let without = predictor.without(history, &deleted).unwrap()[intent];
            assert_eq!(first.effect, found.probability - without);
            n += 1;
            let page = (VISIT, intent as u32 + 1);
            n_named += usize::from(cause.iter().any(|own| (own.event, own.object) == page));
        }
    }
    assert!(n > 50 && n_named * 10 >= n * 9, "{n_named} of {n}");
}

#[test]
fn a_run_that_was_stopped_goes_on_to_the_same_bytes() {
    struct StopAfter(std::sync::atomic::AtomicI64);
    impl forecart_data::Progress for StopAfter {
        fn begin(&self, _: &str, _: Option<u64>) {}
        fn advance(&self, _: u64) {}
        fn note(&self, _: &str) {}
        fn is_cancelled(&self) -> bool {
            self.0.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) <= 0
        }
    }
    each(|name, file| {
        let root = tempfile::tempdir().unwrap();
        let checkpoint = Checkpoint::new(root.path().join("c"));
        let stop = StopAfter(25.into());
        let context = FitContext { checkpoint: Some(&checkpoint), ..context(2) };
        let stopped =
            fitted_with(name, &keys(name), table(), &FitContext { progress: &stop, ..context });
        if name == "sequence" {
            assert!(matches!(stopped, Err(ModelError::Cancelled { .. })), "{stopped:?}");
            assert!(checkpoint.path().is_file());
        }
        let went_on = fitted_with(name, &keys(name), table(), &context).unwrap();
        assert_eq!(went_on.to_bytes().unwrap(), file.to_bytes().unwrap(), "{name}");
    });
}

#[test]
fn a_table_that_cannot_be_learned_from_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let late = Windows { validation_start_ms: 1, test_start_ms: 2, ..windows() };
    let no_moments = write(&root.path().join("a"), late, 2);
    let folder = root.path().join("b");
    let writer = QuestionsWriter::new(&folder, windows()).unwrap();
    let no_intents =
        QuestionTables { users: Vocabulary::new(), intents: Vocabulary::new(), ..tables(0) };
    writer.finish(no_intents).unwrap();
    let no_intents = Questions::open(&folder).unwrap();
    for (name, _) in registry::MODELS {
        let refused = |table: &Questions| {
            fitted_with(name, &keys(name), table, &context(1)).unwrap_err().to_string()
        };
        assert!(refused(&no_moments).contains("no moment whose horizon ends"), "{name}");
        assert!(refused(&no_intents).contains("no intent is asked often enough"), "{name}");
    }
    // Calibration takes room whatever the model is; the last takes more by itself.
    for (name, n_bytes) in [("popularity", 1000), ("last-event", 1000), ("sequence", 1 << 20)] {
        let small = FitContext { memory_limit_bytes: Some(n_bytes), ..context(1) };
        let error = fitted_with(name, &Value::Null, table(), &small).unwrap_err();
        assert!(matches!(error, ModelError::Memory { .. }), "{name}: {error}");
    }
}

/// The epoch is the last one then, and probabilities are those of the network.
#[test]
fn without_a_validation_part_nothing_is_chosen_or_calibrated() {
    let root = tempfile::tempdir().unwrap();
    let end = windows().end_ms;
    let all = Windows { validation_start_ms: end, test_start_ms: end, ..windows() };
    let table = write(&root.path().join("q"), all, 3);
    for (name, _) in registry::MODELS {
        let file = fitted_with(name, &keys(name), &table, &context(2)).unwrap();
        assert_eq!(file.header().serving.calibration.n_moments(), 0, "{name}");
    }
}

#[test]
fn bad_names_and_keys_are_refused() {
    let refused = |name: &str, keys: Value| registry::spec(name, &keys).unwrap_err().to_string();
    assert!(refused("sequenz", Value::Null).contains("did you mean \"sequence\"?"));
    assert!(refused("popularity", json!({"c": 1})).contains("no hyperparameter"));
    assert!(refused("last-event", json!({"smoothing": 0})).contains("smoothing"));
    assert!(refused("sequence", json!({"d_model": 30})).contains("multiple of n_heads"));
    assert!(refused("sequence", json!({"mixer": "hstu"})).contains("what comes later"));
    assert!(refused("sequence", json!({"dropout": 1.0})).contains("dropout"));
    for (name, _) in registry::MODELS {
        let spec = registry::spec(name, &Value::Null).unwrap();
        let again = registry::spec(name, &spec.hyperparameters()).unwrap();
        assert_eq!(spec.hyperparameters(), again.hyperparameters(), "{name}");
    }
}

/// Nothing of that size is made: tests have not got so much memory.
#[test]
fn a_header_that_asks_for_a_larger_network_than_the_file_holds_is_refused() {
    let bytes = model("sequence").to_bytes().unwrap();
    let sizes = [("d_model", 16_u32), ("n_layers", 1), ("d_ff", 32), ("max_history", 24)];
    for (key, size) in sizes {
        let huge = size * 100_000_000;
        let change = [format!("\"{key}\":{size}"), format!("\"{key}\":{huge}")];
        let read = |bytes: &[u8]| QuestionModelFile::from_bytes(bytes).map(drop);
        let error = read(&forged(&bytes, &change, read)).unwrap_err().to_string();
        assert!(error.contains("its hyperparameters ask for"), "{key}: {error}");
    }
}

#[test]
fn recurrence_learns_too() {
    let mut keys = keys("sequence");
    keys["mixer"] = json!("gru");
    let file = fitted_with("sequence", &keys, table(), &context(2)).unwrap();
    let baseline = loss_of(model("last-event"), Part::Test);
    assert!(loss_of(&file, Part::Test) < 0.9 * baseline);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn damaged_files_are_refused(position in 0usize..1_000_000, byte: u8, cut in 0usize..1_000_000) {
        each(|_, file| {
            let bytes = file.to_bytes().unwrap();
            let mut damaged = bytes.clone();
            let at = position % damaged.len();
            damaged[at] = byte;
            damaged.truncate(damaged.len() - cut % 9);
            assert_eq!(QuestionModelFile::from_bytes(&damaged).is_ok(), damaged == bytes);
        });
    }
}
