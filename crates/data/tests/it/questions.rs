//! The question table: what is written is what is read, labels are those of a plain search, and damage is an error.

use std::fs;
use std::path::Path;

use forecart_data::questions::{
    Ask, MomentCounts, QuestionDescription, QuestionEvent, QuestionTables, Windows,
};
use forecart_data::{DataError, ItemIdx, Part, Questions, QuestionsWriter, Vocabulary};
use proptest::prelude::*;

const PARTS: [Part; 3] = [Part::Train, Part::Validation, Part::Test];
const WINDOWS: Windows =
    Windows { horizon_ms: 10, validation_start_ms: 100, test_start_ms: 200, end_ms: 301 };

fn event(timestamp_ms: i64, event: u8, object: u32, intent: Option<u32>) -> QuestionEvent {
    QuestionEvent { timestamp_ms, event, object, intent }
}

fn tables(n_users: usize) -> QuestionTables {
    let named =
        |names: &[&str]| Vocabulary::from_entries(names.iter().map(|n| (*n, 1)), 0).unwrap();
    let users = (0..n_users).map(|user| (format!("u{user}"), 1));
    QuestionTables {
        users: Vocabulary::from_entries(users, 0).unwrap(),
        event_names: named(&["view_item", "ask"]),
        objects: named(&["lamp", "where_is_it", "return_it"]),
        intents: named(&["return_it", "where_is_it"]),
        description: QuestionDescription {
            data_hash: "00".into(),
            origin: vec!["log.csv".into()],
            config: serde_json::json!({}),
            decisions: Vec::new(),
            steps: Vec::new(),
        },
    }
}

/// Ann looks at the lamp and asks, three times; Bo looks once.
fn write(folder: &Path) {
    let mut writer = QuestionsWriter::new(folder, WINDOWS).unwrap();
    writer.push(event(10, 1, 1, None)).unwrap();
    writer.push(event(20, 2, 2, Some(2))).unwrap();
    writer.push(event(20, 2, 3, Some(1))).unwrap();
    writer.push(event(95, 1, 1, None)).unwrap();
    writer.push(event(101, 2, 0, Some(0))).unwrap();
    writer.end_user().unwrap();
    writer.push(event(250, 1, 1, None)).unwrap();
    writer.end_user().unwrap();
    let manifest = writer.finish(tables(2)).unwrap();
    assert_eq!((manifest.n_users, manifest.n_events, manifest.n_asks), (2, 6, 3));
    let train = MomentCounts { n_moments: 3, n_asked: 1, n_open: 1 };
    let quiet = MomentCounts { n_moments: 1, n_asked: 0, n_open: 0 };
    assert_eq!(manifest.parts, [train, quiet, quiet]);
}

#[test]
fn what_is_written_is_what_is_read() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("questions");
    write(&folder);
    assert!(Questions::is_at(&folder) && !Questions::is_at(root.path()));
    let questions = Questions::open(&folder).unwrap();
    questions.verify().unwrap();
    assert_eq!((questions.n_users(), questions.intents().n_known()), (3, 2));
    let ann = questions.users().index("u0").unwrap() as usize;
    let history = questions.history(ann);
    assert_eq!(history.items, [1, 2, 3, 1, 0].map(ItemIdx));
    assert_eq!(history.timestamps_ms, [10, 20, 20, 95, 101]);
    assert_eq!((history.events, history.values), (&[1, 2, 2, 1, 2][..], &[][..]));
    let ask = |timestamp_ms, intent, place| Ask { timestamp_ms, intent, place };
    let asks: Vec<Ask> = questions.asks(ann).collect();
    assert_eq!(asks, [ask(20, 2, 1), ask(20, 1, 2), ask(101, 0, 4)]);
    assert_eq!(PARTS.map(|part| questions.moments(ann, part)), [0..3, 4..5, 5..5]);
    let mut out = vec![9];
    questions.asked(ann, 0, &mut out);
    assert_eq!(out, [1, 2]);
    // What is asked at the moment itself is known, before or after it in the log's order.
    for place in [1, 2, 3] {
        questions.asked(ann, place, &mut out);
        assert!(out.is_empty(), "{place}");
    }
    for nobody in [0, 3, usize::MAX] {
        assert!(questions.history(nobody).items.is_empty(), "{nobody}");
        assert_eq!(questions.asks(nobody).len(), 0);
        assert_eq!(questions.moments(nobody, Part::Train), 0..0);
    }
}

#[test]
fn any_damaged_file_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("questions");
    write(&folder);
    let names: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 12);
    for name in names {
        let path = folder.join(&name);
        let good = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(Questions::open(&folder).is_err(), "{name:?} removed");
        fs::write(&path, [&good[..], b"12345678"].concat()).unwrap();
        assert!(Questions::open(&folder).is_err(), "{name:?} longer");
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 0xff;
        fs::write(&path, &flipped).unwrap();
        let detected = Questions::open(&folder).and_then(|questions| questions.verify());
        assert!(detected.is_err(), "{name:?} with a flipped byte");
        fs::write(&path, &good).unwrap();
    }
    let path = folder.join("manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    let changes = [
        ("\"horizon_ms\": 10", "\"horizon_ms\": 0"),
        ("\"end_ms\": 301", "\"end_ms\": 100"),
        ("\"n_asks\": 3", "\"n_asks\": 4"),
        ("\"n_intents\": 2", "\"n_intents\": 3"),
        ("forecart-questions", "forecart-samples"),
        ("\"format_version\": 1", "\"format_version\": 9"),
    ];
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        assert!(Questions::open(&folder).is_err(), "{to}");
    }
    assert!(matches!(Questions::open(root.path()), Err(DataError::NotAQuestionTable { .. })));
}

#[test]
fn the_writer_refuses_what_does_not_fit() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("questions");
    QuestionsWriter::new(&folder, Windows { horizon_ms: 0, ..WINDOWS }).unwrap_err();
    QuestionsWriter::new(&folder, Windows { test_start_ms: 99, ..WINDOWS }).unwrap_err();
    let finished = |events: &[QuestionEvent], n_users: usize| {
        let mut writer = QuestionsWriter::new(&folder, WINDOWS)?;
        events.iter().try_for_each(|event| writer.push(*event))?;
        writer.end_user()?;
        writer.finish(tables(n_users))
    };
    finished(&[event(20, 1, 1, None), event(19, 1, 1, None)], 1).unwrap_err();
    finished(&[event(20, 3, 1, None)], 1).unwrap_err();
    finished(&[event(20, 1, 4, None)], 1).unwrap_err();
    finished(&[event(20, 2, 1, Some(3))], 1).unwrap_err();
    finished(&[event(20, 1, 1, None)], 2).unwrap_err();
    assert!(!folder.exists());
    finished(&[event(20, 1, 1, None), event(20, 2, 2, Some(2))], 1).unwrap();
}

/// Damage beyond what the files' lengths and hashes tell: any value anywhere in a column is an error or a table that can be read.
fn read_all(folder: &Path) -> Result<usize, DataError> {
    let questions = Questions::open(folder)?;
    let mut out = Vec::new();
    let mut n_asked = 0;
    for user in 0..questions.n_users() + 1 {
        n_asked += questions.asks(user).filter(|ask| ask.intent != 0).count();
        for place in 0..questions.history(user).items.len() {
            questions.asked(user, place, &mut out);
            n_asked += out.len();
        }
        PARTS.iter().for_each(|part| n_asked += questions.moments(user, *part).len());
    }
    Ok(n_asked)
}

proptest! {
    // Each case syncs a folder to disk.
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn damaged_columns_never_panic(file in 0usize..7, position in 0usize..64, byte: u8) {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("questions");
        write(&folder);
        let name = [
            "offsets.u64", "objects.u32", "timestamps.i64", "events.u8", "ask_offsets.u64",
            "ask_places.u32", "ask_intents.u32",
        ][file];
        let mut bytes = fs::read(folder.join(name)).unwrap();
        let at = position % bytes.len();
        bytes[at] = byte;
        fs::write(folder.join(name), bytes).unwrap();
        let _ = read_all(&folder);
    }

    #[test]
    fn labels_and_parts_are_those_of_a_plain_search(
        users in prop::collection::vec(
            prop::collection::vec((0i64..300, 0u32..4), 0..12), 1..4,
        ),
    ) {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("questions");
        let mut writer = QuestionsWriter::new(&folder, WINDOWS).unwrap();
        let sorted: Vec<Vec<(i64, u32)>> = users
            .into_iter()
            .map(|mut events| {
                events.sort_by_key(|(at, _)| *at);
                events
            })
            .collect();
        for events in &sorted {
            for (at, kind) in events {
                // 3 is no ask, 0 one of an unknown intent.
                let intent = (*kind < 3).then_some(*kind);
                writer.push(event(*at, 1, 1, intent)).unwrap();
            }
            writer.end_user().unwrap();
        }
        let manifest = writer.finish(tables(sorted.len())).unwrap();
        let questions = Questions::open(&folder).unwrap();
        let mut counted = [MomentCounts::default(); 3];
        let mut out = Vec::new();
        for (user, events) in sorted.iter().enumerate() {
            for (place, (at, _)) in events.iter().enumerate() {
                let part = usize::from(*at >= 100) + usize::from(*at >= 200);
                let is_closed = at + 10 < [100, 200, 301][part];
                let moments = questions.moments(user + 1, PARTS[part]);
                prop_assert_eq!(moments.contains(&place), is_closed);
                let asked = events.iter().filter(|(other, kind)| {
                    other > at && *other <= at + 10 && (1..3).contains(kind)
                });
                let mut asked: Vec<u32> = asked.map(|(_, kind)| *kind).collect();
                asked.sort_unstable();
                asked.dedup();
                questions.asked(user + 1, place, &mut out);
                prop_assert_eq!(&out, &asked);
                counted[part].n_moments += u64::from(is_closed);
                counted[part].n_open += u64::from(!is_closed);
                counted[part].n_asked += u64::from(is_closed && !asked.is_empty());
            }
        }
        prop_assert_eq!(manifest.parts, counted);
    }
}
