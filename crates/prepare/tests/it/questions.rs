//! Question tables from a log: what is in them, what they must not know, and what is refused.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use forecart_data::questions::{MomentCounts, QuestionManifest};
use forecart_data::{Part, Questions, Silent};
use forecart_prepare::generate_questions::{Behavior, INTENTS};
use forecart_prepare::prepare::{PrepareConfig, RawPrepareConfig, RawSplitConfig, prepare};
use forecart_prepare::{
    GenerateQuestionsConfig, PrepareError, QuestionsConfig, RawQuestionsConfig, Resources, Truth,
    generate_questions, prepare_questions,
};
use proptest::prelude::*;

use crate::support::{bytes, events, import_with};

const HOUR_MS: i64 = 3_600_000;
const HEADER: &str = "user_id,item_id,event,timestamp,intent\n";

fn config(text: &str) -> QuestionsConfig {
    QuestionsConfig::try_from(toml::from_str::<RawQuestionsConfig>(text).unwrap()).unwrap()
}

fn resources(root: &Path, n_threads: usize) -> Resources {
    Resources { memory_limit_bytes: Some(1 << 30), n_threads, scratch: root.to_owned() }
}

/// Imports a text and makes a question table of it.
fn prepared(
    root: &Path,
    text: &str,
    settings: &str,
    n_threads: usize,
) -> Result<(PathBuf, QuestionManifest), PrepareError> {
    let input = root.join("input.csv");
    fs::write(&input, text).unwrap();
    let log = root.join("log");
    import_with(&input, "data.missing_user = 'keep'", &log, n_threads).unwrap();
    let out = root.join("questions");
    let config = config(settings);
    let manifest = prepare_questions(&log, &config, &out, &resources(root, n_threads), &Silent)?;
    Ok((out, manifest))
}

/// What stands at a place of a user's history: hour, event, object and, of an ask, its intent.
fn row(questions: &Questions, user: usize, place: usize) -> (i64, String, String) {
    let history = questions.history(user);
    let event = questions.event_names().text(u32::from(history.events[place]));
    let object = questions.objects().text(history.items[place].0);
    (history.timestamps_ms[place] / HOUR_MS, event.to_owned(), object.to_owned())
}

fn asked(questions: &Questions, user: usize, place: usize) -> Vec<String> {
    let mut rows = Vec::new();
    questions.asked(user, place, &mut rows);
    rows.iter().map(|intent| questions.intents().text(*intent).to_owned()).collect()
}

fn line(text: &mut String, user: &str, item: &str, event: &str, hour: i64, intent: &str) {
    // Hours of 2024, so that no time is taken for seconds.
    let at_ms = 1_704_067_200_000 + hour * HOUR_MS;
    writeln!(text, "{user},{item},{event},{at_ms},{intent}").unwrap();
}

/// Two users who ask the same two things again and again, over ten days of which the last two are validation and test.
fn log() -> String {
    let mut text = HEADER.to_owned();
    for day in 0..10 {
        let hour = day * 24;
        line(&mut text, "ann", "i1", "purchase", hour, "");
        line(&mut text, "ann", "delivery", "view_page", hour + 1, "");
        line(&mut text, "ann", "", "ask", hour + 2, "where_is_it");
        line(&mut text, "bo", "i2", "view_item", hour + 3, "");
        line(&mut text, "bo", "", "ask", hour + 3, "which_size");
    }
    line(&mut text, "ann", "", "ask", 2, "where_is_it");
    line(&mut text, "ann", "", "ask", 50, "");
    line(&mut text, "bo", "i9", "view_item", 200, "");
    line(&mut text, "", "i1", "view_item", 5, "");
    line(&mut text, "cy", "i1", "view_item", 201, "");
    text
}

const CUTS: &str = "validation_start = '2024-01-08'\ntest_start = '2024-01-09'\n";

#[test]
fn a_table_holds_what_users_did_and_what_they_then_asked() {
    let root = tempfile::tempdir().unwrap();
    let settings = format!("horizon_hours = 6\nmin_count = 2\nmin_asks = 2\n{CUTS}");
    let (folder, manifest) = prepared(root.path(), &log(), &settings, 2).unwrap();
    let questions = Questions::open(&folder).unwrap();
    questions.verify().unwrap();
    let step = &manifest.description.steps[0];
    assert_eq!((step.n_rows_in, step.n_rows_out), (55, 53));
    let reasons: Vec<_> = step.reasons.iter().map(|r| (r.reason.as_str(), r.n_rows)).collect();
    let repeated = ("the same as another of its user and moment", 1);
    assert_eq!(reasons, [("without a user", 1), repeated]);
    assert_eq!((manifest.n_users, manifest.n_events, manifest.n_asks), (3, 53, 21));
    let names = |v: &forecart_data::Vocabulary| {
        v.iter().map(|(_, text, n)| (text.to_owned(), n)).collect::<Vec<_>>()
    };
    let named = |list: &[(&str, u64)]| {
        list.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect::<Vec<_>>()
    };
    assert_eq!(names(questions.intents()), named(&[("where_is_it", 8), ("which_size", 7)]));
    // `i9` comes after the training part, as does all of cy; the ask that says nothing is of no object.
    let objects = [("where_is_it", 8), ("delivery", 7), ("i1", 7), ("i2", 7), ("which_size", 7)];
    assert_eq!(names(questions.objects()), named(&objects));
    assert_eq!(names(questions.users()), named(&[("ann", 22), ("bo", 14), ("cy", 0)]));
    let hours = 1_704_067_200_000 / HOUR_MS;
    let expected = [(0, "purchase", "i1"), (1, "view_page", "delivery"), (2, "ask", "where_is_it")];
    for (place, (hour, event, object)) in expected.into_iter().enumerate() {
        assert_eq!(row(&questions, 1, place), (hours + hour, event.into(), object.into()));
    }
    assert_eq!(asked(&questions, 1, 0), ["where_is_it"]);
    assert_eq!(asked(&questions, 1, 1), ["where_is_it"]);
    // The next question is 24 hours away; what is asked at the moment itself is known.
    assert!(asked(&questions, 1, 2).is_empty() && asked(&questions, 2, 0).is_empty());
    assert_eq!(questions.asks(1).filter(|ask| ask.intent == 0).count(), 1);
    let parts = manifest.parts.map(|MomentCounts { n_moments, n_open, .. }| (n_moments, n_open));
    assert_eq!(parts, [(36, 0), (5, 0), (7, 5)]);
    assert_eq!(manifest.parts[0].n_asked, 14);
    assert_eq!(questions.moments(1, Part::Validation).len(), 3);
    assert!(
        manifest.description.decisions.iter().any(|d| d == "1 users come after the training part")
    );
}

/// A column of what customers wrote may be named as the one of intents.
#[test]
fn names_of_intents_are_masked() {
    let root = tempfile::tempdir().unwrap();
    let log = log()
        .replace("where_is_it", "call me at 13912345678")
        .replace("which_size", "write to planted.person@shop.example");
    // Twice the same but for the number: one intent.
    let other = "call me at 13987654321";
    let log = log.replacen("call me at 13912345678", other, 3).replace(",intent\n", ",note\n");
    let settings =
        format!("intent = 'note'\nhorizon_hours = 6\nmin_count = 2\nmin_asks = 2\n{CUTS}");
    let (folder, _) = prepared(root.path(), &log, &settings, 2).unwrap();
    let questions = Questions::open(&folder).unwrap();
    let names: Vec<(&str, u64)> =
        questions.intents().iter().map(|(_, name, n)| (name, n)).collect();
    assert_eq!(names, [("call me at <phone>", 8), ("write to <email>", 7)]);
    assert_eq!(asked(&questions, 1, 0), ["call me at <phone>"]);
    for (path, bytes) in bytes(&folder) {
        let text = String::from_utf8_lossy(&bytes);
        for secret in ["1391234", "1398765", "planted"] {
            assert!(!text.contains(secret), "{path:?}: {secret}");
        }
    }
}

#[test]
fn shares_cut_at_full_hours() {
    let root = tempfile::tempdir().unwrap();
    let settings = "horizon_hours = 3\nmin_count = 1\nmin_asks = 1\nvalidation = 0.2\ntest = 0.2";
    let (_, manifest) = prepared(root.path(), &log(), settings, 2).unwrap();
    let windows = manifest.windows;
    let day = |ms: i64| (ms - 1_704_067_200_000) / (24 * HOUR_MS);
    assert_eq!((windows.validation_start_ms % HOUR_MS, windows.test_start_ms % HOUR_MS), (0, 0));
    assert_eq!((day(windows.validation_start_ms), day(windows.test_start_ms)), (6, 8));
}

#[test]
fn what_cannot_be_learned_from_is_refused_with_the_fix() {
    let root = tempfile::tempdir().unwrap();
    let refused = |text: &str, settings: &str| {
        let error = prepared(root.path(), text, settings, 1).unwrap_err();
        assert!(error.is_data_invalid(), "{error}");
        assert!(!root.path().join("questions").exists());
        error.to_string()
    };
    let settings = format!("horizon_hours = 6\nmin_count = 1\nmin_asks = 1\n{CUTS}");
    let without_asks = log().replace(",ask,", ",search,");
    let message = refused(&without_asks, &settings);
    assert!(
        message.contains("no event \"ask\"") && message.contains("[events.names]"),
        "{message}"
    );
    let message = refused(&log().replace(",intent", ",topic"), &settings);
    assert!(message.contains("\"intent\"") && message.contains("questions.intent"), "{message}");
    assert!(message.contains("topic"), "{message}");
    let without_intents = log().replace("where_is_it", "").replace("which_size", "");
    let message = refused(&without_intents, &settings);
    assert!(message.contains("no intent stands 1 times"), "{message}");
    let message = refused(&log(), &settings.replace("min_asks = 1", "min_asks = 50"));
    assert!(message.contains("questions.min_asks"), "{message}");
    let message = refused(&log(), &settings.replace("horizon_hours = 6", "horizon_hours = 24"));
    assert!(message.contains("validation part has a window of 24 hours"), "{message}");
    assert!(message.contains("questions.horizon_hours"), "{message}");
    let late = settings.replace("test_start = '2024-01-09'", "test_start = '2024-02-01'");
    assert!(refused(&log(), &late).contains("test part"), "nothing is there");

    let input = root.path().join("order.csv");
    fs::write(&input, "user_id,item_id,event,intent\nann,i1,view_item,\nann,,ask,why\n").unwrap();
    import_with(&input, "data.order_only = true", &root.path().join("log"), 1).unwrap();
    let out = root.path().join("questions");
    let resources = resources(root.path(), 1);
    let error = prepare_questions(&root.path().join("log"), &config(""), &out, &resources, &Silent);
    assert!(error.unwrap_err().to_string().contains("no times"));
}

#[test]
fn a_column_of_another_name_says_what_is_asked() {
    let root = tempfile::tempdir().unwrap();
    let text = log().replace(",intent", ",topic");
    let settings = format!("horizon_hours = 6\nmin_asks = 1\nintent = 'topic'\n{CUTS}");
    let (_, manifest) = prepared(root.path(), &text, &settings, 2).unwrap();
    assert_eq!(manifest.n_intents, 2);
}

#[test]
fn the_same_log_gives_the_same_bytes_with_any_number_of_threads() {
    let mut text = Vec::new();
    let config = GenerateQuestionsConfig { n_users: 60, n_days: 40, seed: 4 };
    generate_questions(&config, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let of = |n_threads: usize| {
        let root = tempfile::tempdir().unwrap();
        let (folder, _) = prepared(root.path(), &text, "min_asks = 2", n_threads).unwrap();
        bytes(&folder)
    };
    assert_eq!(of(1), of(3));
}

#[test]
fn a_generated_log_keeps_all_that_its_truth_needs() {
    let root = tempfile::tempdir().unwrap();
    let mut text = Vec::new();
    let config = GenerateQuestionsConfig { n_users: 150, n_days: 40, seed: 9 };
    generate_questions(&config, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let (folder, manifest) =
        prepared(root.path(), &text, "min_asks = 1\nmin_count = 1", 2).unwrap();
    assert_eq!(manifest.n_events as usize, text.lines().count() - 1);
    assert_eq!(manifest.n_asks as usize, text.lines().filter(|l| l.contains(",ask,")).count());
    assert_eq!(manifest.description.origin, ["input.csv"]);
    let questions = Questions::open(&folder).unwrap();
    assert_eq!(questions.intents().n_known(), INTENTS.len());
    assert!(INTENTS.iter().all(|intent| questions.intents().index(intent).is_some()));
    // The truth of a history is the same read from the table and from the log.
    let truth = Truth::new(manifest.windows.horizon_ms);
    let user = questions.users().index("u7").unwrap() as usize;
    let place = questions.moments(user, Part::Train).end - 1;
    let rows: Vec<(String, String, i64)> = (0..=place)
        .map(|place| {
            let (_, event, object) = row(&questions, user, place);
            (event, object, questions.history(user).timestamps_ms[place])
        })
        .collect();
    let of_table: Vec<Behavior<'_>> = rows
        .iter()
        .map(|(event, object, at)| Behavior { event, object, timestamp_ms: *at })
        .collect();
    let of_log: Vec<Behavior<'_>> = text
        .lines()
        .filter(|line| line.starts_with("u7,"))
        .take(place + 1)
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            Behavior { event: cells[2], object: cells[1], timestamp_ms: cells[3].parse().unwrap() }
        })
        .collect();
    assert_eq!(truth.probabilities(&of_table, 3), truth.probabilities(&of_log, 3));
}

#[test]
fn a_question_needs_no_item_and_its_text_is_masked() {
    let root = tempfile::tempdir().unwrap();
    let input = root.path().join("input.csv");
    let text = "user_id,item_id,event,timestamp,text,topic\n\
                u1,i1,view_item,1704067200,my mail is ann@example.com,\n\
                u1,,support_message,1704067260,Where is it? ann@example.com,where\n\
                u1,i1,咨询,1704067320,,size\n\
                u1,,search,1704067380,,\n\
                u1,,view_page,1704067440,,\n\
                u1,,view_item,1704067500,,\n";
    fs::write(&input, text).unwrap();
    let log = root.path().join("log");
    let base = "data.max_bad_rows = 0.5\ndata.columns.intent = 'topic'\n";
    let manifest = import_with(&input, base, &log, 1).unwrap();
    assert_eq!((manifest.n_rows, manifest.n_rejected), (4, 2));
    assert_eq!(manifest.rejected[0].code, "missing_item");
    assert!(manifest.decisions.iter().any(|line| line.contains("texts of asks are masked")));
    let names: Vec<&str> = manifest.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["ask", "search", "view_item"]);
    let rows = events(&log);
    let column = |name: &str| rows[name].iter().map(Option::as_deref).collect::<Vec<_>>();
    assert_eq!(column("item_id"), [Some("i1"), None, Some("i1"), None]);
    assert_eq!(column("intent"), [None, Some("where"), Some("size"), None]);
    let texts = column("text");
    assert_eq!(texts[0], Some("my mail is ann@example.com"));
    assert!(texts[1].is_some_and(|text| text.starts_with("Where is it?") && !text.contains("ann")));

    let more = format!("{base}events.without_item = ['view_page']\n");
    let manifest = import_with(&input, &more, &log, 1).unwrap();
    assert_eq!((manifest.n_rows, manifest.n_rejected), (5, 1));
}

/// Rows without an item are no interactions, and are accounted for.
#[test]
fn datasets_leave_out_events_without_an_item() {
    let root = tempfile::tempdir().unwrap();
    let input = root.path().join("input.csv");
    let mut text = "user_id,item_id,event,timestamp\n".to_owned();
    for user in 0..6 {
        for at in 0..5 {
            let time = 1_704_067_200 + user * 10 + at;
            writeln!(text, "u{user},i{},view_item,{time}", at % 3).unwrap();
        }
        writeln!(text, "u{user},,search,{}", 1_704_070_000 + user).unwrap();
        writeln!(text, "u{user},,ask,{}", 1_704_080_000 + user).unwrap();
    }
    fs::write(&input, text).unwrap();
    let log = root.path().join("log");
    import_with(&input, "", &log, 2).unwrap();
    let raw: RawPrepareConfig = toml::from_str(
        "events = ['view_item', 'search']\nmin_user_events = 1\nmin_item_events = 1",
    )
    .unwrap();
    let config = PrepareConfig::new(raw, RawSplitConfig::default()).unwrap();
    let out = root.path().join("dataset");
    let manifest = prepare(&log, &config, &out, &resources(root.path(), 2), &Silent).unwrap();
    assert_eq!((manifest.counts.n_items, manifest.counts.n_users), (3, 6));
    let step = manifest.description.steps.iter().find(|step| step.step == "events").unwrap();
    let reasons: Vec<_> = step.reasons.iter().map(|r| (r.reason.as_str(), r.n_rows)).collect();
    assert!(reasons.contains(&("no item", 6)), "{reasons:?}");
    assert_eq!(step.n_rows_in - step.n_rows_out, 12);
}

proptest! {
    // Each case imports and prepares two logs.
    #![proptest_config(ProptestConfig::with_cases(12))]
    /// What comes after a part changes nothing in it: neither histories, nor labels, nor which moments it has.
    #[test]
    fn the_future_changes_nothing_before_it(
        past in prop::collection::vec((0usize..3, 0usize..5, 0i64..160), 20..60),
        futures in prop::array::uniform2(
            prop::collection::vec((0usize..4, 0usize..5, 160i64..240), 1..30),
        ),
        cut in prop::sample::select(vec![160i64, 120]),
    ) {
        let kinds = [("i1", "view_item", ""), ("i2", "view_item", ""), ("i1", "purchase", ""),
            ("", "ask", "why"), ("", "ask", "when")];
        // Each part has a moment with an answer that the training part knows, so that no log is refused.
        let anchors = [(5, "why"), (20, "when"), (90, "why"), (130, "when"), (165, "why")];
        let tables = futures.map(|future| {
            let mut text = HEADER.to_owned();
            for (hour, intent) in anchors {
                line(&mut text, "u0", "i1", "view_item", hour, "");
                line(&mut text, "u0", "", "ask", hour + 1, intent);
            }
            line(&mut text, "u0", "i1", "view_item", 250, "");
            for (user, kind, hour) in past.iter().chain(&future) {
                // What is in the past of one cut is the same for all.
                let (item, event, intent) = kinds[*kind];
                line(&mut text, &format!("u{user}"), item, event, *hour, intent);
            }
            let root = tempfile::tempdir().unwrap();
            let day = |hour: i64| {
                format!("2024-01-{:02}T{:02}:00:00Z", 1 + hour / 24, hour % 24)
            };
            let settings = format!(
                "horizon_hours = 4\nmin_count = 1\nmin_asks = 1\n\
                 validation_start = '{}'\ntest_start = '{}'",
                day(if cut == 160 { 120 } else { 80 }), day(cut),
            );
            let (folder, _) = prepared(root.path(), &text, &settings, 1).unwrap();
            (Questions::open(&folder).unwrap(), root)
        });
        let [(one, _a), (other, _b)] = &tables;
        prop_assert_eq!(one.intents(), other.intents());
        prop_assert_eq!(one.objects(), other.objects());
        prop_assert_eq!(one.event_names(), other.event_names());
        let (mut asked, mut asked_there) = (Vec::new(), Vec::new());
        for part in [Part::Train, Part::Validation] {
            for user in 1..one.n_users() {
                let there = other.users().index(one.users().text(user as u32));
                let there = there.map_or(0, |row| row as usize);
                let moments = one.moments(user, part);
                prop_assert_eq!(moments.clone(), other.moments(there, part));
                for place in moments {
                    let known = place + 1;
                    prop_assert_eq!(
                        one.history(user).first(known), other.history(there).first(known)
                    );
                    one.asked(user, place, &mut asked);
                    other.asked(there, place, &mut asked_there);
                    prop_assert_eq!(&asked, &asked_there);
                }
            }
        }
    }
}
