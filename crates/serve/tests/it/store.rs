//! One suite for every store.
//!
//! SQLite always; PostgreSQL where `FORECART_TEST_POSTGRES` holds an address of a server on which databases may be made
//! (`.ci/run` starts one and fails without it).

use std::io::Write as _;
use std::sync::Arc;

use forecart_serve::Event;
use forecart_serve::store::{self, ItemRecord, KeyRecord, Scope, Store, StoreCounts, UserRecord};
use futures::FutureExt as _;
use serde_json::{Map, Value, json};

/// Runs a test on an empty store of each kind.
pub(crate) async fn on_each<F: AsyncFn(Arc<dyn Store>)>(test: F) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep").join("store.sqlite");
    let sqlite = store::open(path.to_str().unwrap()).await.unwrap();
    test(sqlite.clone()).await;
    sqlite.close().await;
    on_postgres(async |address| {
        let postgres = store::open(&address).await.unwrap();
        let outcome = std::panic::AssertUnwindSafe(test(postgres.clone())).catch_unwind().await;
        postgres.close().await;
        outcome.unwrap();
    })
    .await;
}

/// Runs a test with the address of an empty database of PostgreSQL, where there is a server.
pub(crate) async fn on_postgres<F: AsyncFn(String)>(test: F) {
    match std::env::var("FORECART_TEST_POSTGRES") {
        Ok(address) => {
            let database = format!("test_{}", uuid::Uuid::now_v7().simple());
            let server = sqlx::PgPool::connect(&address).await.unwrap();
            let sql = |verb: &str| sqlx::AssertSqlSafe(format!("{verb} DATABASE {database}"));
            sqlx::query(sql("CREATE")).execute(&server).await.unwrap();
            let (server_part, _) = address.rsplit_once('/').unwrap();
            let tested = test(format!("{server_part}/{database}"));
            let outcome = std::panic::AssertUnwindSafe(tested).catch_unwind().await;
            sqlx::query(sql("DROP")).execute(&server).await.unwrap();
            outcome.unwrap();
        }
        Err(_) if std::env::var_os("FORECART_TEST_ALL").is_some() => {
            panic!("FORECART_TEST_ALL is set, but FORECART_TEST_POSTGRES names no server")
        }
        Err(_) => {
            // Not by a macro of the test's own output, which nobody sees of a test that passes.
            let said = "left out: PostgreSQL, as FORECART_TEST_POSTGRES names no server\n";
            std::io::stderr().write_all(said.as_bytes()).unwrap();
        }
    }
}

pub(crate) fn event(id: &str, user: &str, item: Option<&str>, kind: &str, time: i64) -> Event {
    Event {
        event_id: id.into(),
        user_id: user.into(),
        item_id: item.map(str::to_owned),
        event: kind.into(),
        timestamp_ms: time,
        value: None,
        further: Map::new(),
    }
}

fn ids(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.event_id.as_str()).collect()
}

#[tokio::test]
async fn an_event_is_there_once_however_often_it_is_sent() {
    on_each(async |store| {
        let mut first = event("a", "u", Some("x"), "view_item", 10);
        first.value = Some(2.0);
        first.further =
            json!({"price": 3.5, "text": "a \u{0} 茶 \" ' \\", "deep": {"a": [1, null]}})
                .as_object()
                .unwrap()
                .clone();
        let second = event("b", "u", Some("y"), "view_item", 10);
        let new = store.append(&[first.clone(), second.clone(), first.clone()], 100).await.unwrap();
        assert_eq!(new, [0, 1]);
        let mut other = event("a", "other", Some("z"), "purchase", 99);
        other.value = Some(7.0);
        let new =
            store.append(&[other, event("c", "u", Some("x"), "purchase", 5)], 101).await.unwrap();
        assert_eq!(new, [1]);
        let history = store.history("u", 10).await.unwrap();
        assert_eq!(history, [event("c", "u", Some("x"), "purchase", 5), first, second]);
        assert_eq!(store.history("other", 10).await.unwrap(), []);
        assert!(store.append(&[], 1).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_history_is_the_newest_events_in_their_order() {
    on_each(async |store| {
        let rows = [
            event("1", "u", Some("a"), "view_item", 50),
            event("2", "u", None, "search", 60),
            event("3", "u", None, "ask", 70),
            event("4", "u", Some("b"), "view_item", 70),
            event("5", "u", Some("c"), "view_item", 20),
            event("6", "v", Some("c"), "view_item", 80),
        ];
        store.append(&rows, 1).await.unwrap();
        assert_eq!(ids(&store.history("u", 3).await.unwrap()), ["2", "3", "4"]);
        assert_eq!(ids(&store.history("u", 9).await.unwrap()), ["5", "1", "2", "3", "4"]);
        let (page, next) = store.events_of("u", 0, 2).await.unwrap();
        assert_eq!(ids(&page), ["1", "2"]);
        let (page, next) = store.events_of("u", next.unwrap(), 2).await.unwrap();
        assert_eq!(ids(&page), ["3", "4"]);
        let (page, next) = store.events_of("u", next.unwrap(), 2).await.unwrap();
        assert_eq!((ids(&page), next), (vec!["5"], None));
        let popular = store.popularity(50, 9).await.unwrap();
        let expected = [("a", 1), ("b", 1), ("c", 1)].map(|(item, n)| (item.to_owned(), n));
        assert_eq!(popular, expected);
        assert_eq!(store.popularity(0, 1).await.unwrap(), [("c".to_owned(), 2)]);
    })
    .await;
}

#[tokio::test]
async fn events_of_some_kinds_come_in_pages_in_the_order_they_came() {
    on_each(async |store| {
        let rows = [
            event("1", "u", None, "view_item_list", 50),
            event("2", "v", Some("a"), "select_item", 10),
            event("3", "u", Some("a"), "view_item", 60),
            event("4", "v", Some("a"), "select_item", 40),
            event("5", "u", None, "view_item_list", 20),
            event("6", "u", Some("b"), "purchase", 70),
        ];
        store.append(&rows, 1).await.unwrap();
        let kinds = ["select_item", "purchase", "view_item_list"];
        let (page, next) = store.events_of_kinds(&kinds, 20, 0, 2).await.unwrap();
        assert_eq!(ids(&page), ["1", "4"]);
        let (page, next) = store.events_of_kinds(&kinds, 20, next.unwrap(), 3).await.unwrap();
        assert_eq!((ids(&page), next), (vec!["5", "6"], None));
        let (page, next) = store.events_of_kinds(&["view_item"], 0, 0, 9).await.unwrap();
        assert_eq!((page, next), (vec![rows[2].clone()], None));
    })
    .await;
}

#[tokio::test]
async fn users_come_in_pages_by_their_change() {
    on_each(async |store| {
        let user = |id: &str, changed_ms| UserRecord {
            user_id: id.into(),
            attributes: Map::from_iter([("consent".to_owned(), json!({"training": false}))]),
            changed_ms,
        };
        let all = [user("a", 30), user("b", 10), user("c", 20)];
        store.put_users(&all).await.unwrap();
        assert_eq!(store.users(0, "", 2).await.unwrap(), all[..2]);
        assert_eq!(store.users(0, "b", 2).await.unwrap(), all[2..]);
        assert_eq!(store.users(20, "", 9).await.unwrap(), [all[0].clone(), all[2].clone()]);
        store.forget("a", "r", 40).await.unwrap();
        assert_eq!(store.users(20, "", 9).await.unwrap(), all[2..]);
    })
    .await;
}

#[tokio::test]
async fn events_end_with_their_time_of_keeping() {
    on_each(async |store| {
        let row = |n: i64| event(&n.to_string(), "u", Some("a"), "view_item", n);
        let old: Vec<Event> = (0..12_000).map(row).collect();
        store.append(&old, 100).await.unwrap();
        store.append(&[row(20_000)], 200).await.unwrap();
        assert_eq!(store.retain(100).await.unwrap(), 0);
        assert_eq!(store.retain(150).await.unwrap(), 12_000);
        assert_eq!(ids(&store.history("u", 9).await.unwrap()), ["20000"]);
    })
    .await;
}

#[tokio::test]
async fn items_and_users_are_kept_as_they_were_last_written() {
    on_each(async |store| {
        let attributes = |json: Value| json.as_object().unwrap().clone();
        let item = |id: &str, json: Value, is_removed, changed_ms| ItemRecord {
            item_id: id.into(),
            attributes: attributes(json),
            is_removed,
            changed_ms,
        };
        let first = [
            item("a", json!({"price": 1.5}), false, 10),
            item("b", json!({}), false, 20),
            item("c", json!({"tags": ["x", "茶"]}), false, 30),
        ];
        store.put_items(&first).await.unwrap();
        let removed = item("a", json!({"price": 1.5}), true, 40);
        store.put_items(std::slice::from_ref(&removed)).await.unwrap();
        let all = store.items(0, "", 2).await.unwrap();
        assert_eq!(all, [removed.clone(), first[1].clone()]);
        assert_eq!(store.items(0, "b", 2).await.unwrap(), [first[2].clone()]);
        assert_eq!(store.items(30, "", 9).await.unwrap(), [removed, first[2].clone()]);
        let user = UserRecord {
            user_id: "u".into(),
            attributes: attributes(json!({"consent": {"ads": false}})),
            changed_ms: 5,
        };
        store.put_users(std::slice::from_ref(&user)).await.unwrap();
        assert_eq!(store.user("u").await.unwrap(), Some(user));
        assert_eq!(store.user("v").await.unwrap(), None);
        let fresh = item("d", json!({}), false, 50);
        let again = item("a", json!({"price": 9}), false, 50);
        assert_eq!(store.add_items(&[fresh, again]).await.unwrap(), 1);
        assert!(store.items(0, "", 1).await.unwrap()[0].is_removed);
        assert!(!store.has_dataset("h").await.unwrap());
        store.note_dataset("h", 1).await.unwrap();
        store.note_dataset("h", 2).await.unwrap();
        assert!(store.has_dataset("h").await.unwrap());
        store.probe(7).await.unwrap();
        store.probe(8).await.unwrap();
        let counts = StoreCounts { n_events: 0, n_items: 3, n_users: 1 };
        assert_eq!(store.counts().await.unwrap(), counts);
    })
    .await;
}

#[tokio::test]
async fn records_are_revised_by_what_is_known_of_them() {
    on_each(async |store| {
        let attributes = |json: Value| json.as_object().unwrap().clone();
        let of = |id: &str, json: Value, changed_ms| UserRecord {
            user_id: id.into(),
            attributes: attributes(json),
            changed_ms,
        };
        store.put_users(&[of("b", json!({"n": 1}), 5), of("d", json!({}), 5)]).await.unwrap();
        let mut asked = Vec::new();
        let ids = ["d", "c", "b", "a"].into();
        let revise = |id: &str, known: Option<UserRecord>| {
            asked.push((id.to_owned(), known.clone()));
            match id {
                "a" | "d" => None,
                _ => Some(of(id, json!({"was": known.map(|own| own.attributes)}), 9)),
            }
        };
        let written = store.revise_users(&ids, Box::new(revise)).await.unwrap();
        let expected = [of("b", json!({"was": {"n": 1}}), 9), of("c", json!({"was": null}), 9)];
        assert_eq!(written, expected);
        let known = [
            ("a".to_owned(), None),
            ("b".to_owned(), Some(of("b", json!({"n": 1}), 5))),
            ("c".to_owned(), None),
            ("d".to_owned(), Some(of("d", json!({}), 5))),
        ];
        assert_eq!(asked, known);
        let [b, c] = expected;
        assert_eq!(store.users(0, "", 9).await.unwrap(), [b, c, of("d", json!({}), 5)]);
        // More than one statement takes.
        let many: Vec<String> = (0..2_500).map(|n| format!("m{n:04}")).collect();
        let many = many.iter().map(String::as_str).collect();
        let count = |id: &str, known: Option<UserRecord>| {
            let n = known.map_or(0, |own| own.attributes["n"].as_i64().unwrap());
            Some(of(id, json!({"n": n + 1}), 9))
        };
        for n in 1..=2 {
            let written = store.revise_users(&many, Box::new(count)).await.unwrap();
            assert!(written.len() == 2_500 && written.iter().all(|own| own.attributes["n"] == n));
        }

        let item = |json: Value, is_removed| ItemRecord {
            item_id: "i".into(),
            attributes: attributes(json),
            is_removed,
            changed_ms: 7,
        };
        let revised =
            async |revise: store::ReviseItem<'_>| store.revise_item("i", revise).await.unwrap();
        let nothing = revised(Box::new(|known| {
            assert_eq!(known, None);
            None
        }));
        assert_eq!(nothing.await, None);
        assert_eq!(store.items(i64::MIN, "", 9).await.unwrap(), []);
        let first = item(json!({"price": 1}), true);
        let written = revised(Box::new(|_| Some(first.clone()))).await;
        assert_eq!(written, Some(first.clone()));
        let second = item(json!({}), false);
        let written = revised(Box::new(|known| {
            assert_eq!(known, Some(first));
            Some(second.clone())
        }));
        assert_eq!(written.await, Some(second.clone()));
        assert_eq!(store.items(0, "", 9).await.unwrap(), [second]);
    })
    .await;
}

#[tokio::test]
async fn a_forgotten_user_is_gone_and_the_receipt_does_not_say_who() {
    on_each(async |store| {
        let events = [
            event("1", "secret-user", Some("a"), "view_item", 1),
            event("2", "secret-user", None, "search", 2),
            event("3", "v", Some("a"), "view_item", 3),
        ];
        store.append(&events, 1).await.unwrap();
        let user =
            UserRecord { user_id: "secret-user".into(), attributes: Map::new(), changed_ms: 1 };
        store.put_users(&[user]).await.unwrap();
        let receipt = store.forget("secret-user", "r", 9).await.unwrap();
        assert_eq!((receipt.n_events, receipt.had_attributes, receipt.at_ms), (2, true, 9));
        assert_eq!(store.receipt("r").await.unwrap(), Some(receipt.clone()));
        assert!(!serde_json::to_string(&receipt).unwrap().contains("secret-user"));
        assert_eq!(store.history("secret-user", 9).await.unwrap(), []);
        assert_eq!(store.events_of("secret-user", 0, 9).await.unwrap(), (vec![], None));
        assert_eq!(store.user("secret-user").await.unwrap(), None);
        assert_eq!(ids(&store.history("v", 9).await.unwrap()), ["3"]);
        assert_eq!(store.receipt("other").await.unwrap(), None);
    })
    .await;
}

/// A reader of the file keeps the log of transactions; neither a deletion nor the writes behind it wait for it.
#[tokio::test]
async fn what_was_deleted_leaves_the_log_of_sqlite_once_no_reader_needs_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite").display().to_string();
    let store = store::open(&path).await.unwrap();
    let events = [event("1", "secret-user", None, "search", 1)];
    store.append(&events, 1).await.unwrap();
    let reader = sqlx::SqlitePool::connect(&format!("sqlite://{path}")).await.unwrap();
    let mut reading = reader.begin().await.unwrap();
    let n: i64 =
        sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&mut *reading).await.unwrap();
    assert_eq!(n, 1);
    let started = std::time::Instant::now();
    let receipt = store.forget("secret-user", "r", 9).await.unwrap();
    assert_eq!(receipt.n_events, 1);
    store.clean().await.unwrap();
    assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
    let log = format!("{path}-wal");
    assert!(std::fs::metadata(&log).unwrap().len() > 0);
    reading.rollback().await.unwrap();
    store.clean().await.unwrap();
    assert_eq!(std::fs::metadata(&log).unwrap().len(), 0);
    let file = std::fs::read(&path).unwrap();
    assert!(!file.windows(11).any(|bytes| bytes == b"secret-user"));
    reader.close().await;
    store.close().await;
}

#[tokio::test]
async fn what_is_too_old_leaves_the_log_of_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite").display().to_string();
    let store = store::open(&path).await.unwrap();
    store.clean().await.unwrap();
    let log = format!("{path}-wal");
    store.append(&[event("1", "old-user", None, "search", 1)], 1).await.unwrap();
    assert!(std::fs::metadata(&log).unwrap().len() > 0);
    assert_eq!(store.retain(1).await.unwrap(), 0);
    assert!(std::fs::metadata(&log).unwrap().len() > 0, "nothing was removed");
    assert_eq!(store.retain(2).await.unwrap(), 1);
    assert_eq!(std::fs::metadata(&log).unwrap().len(), 0);
    store.close().await;
}

#[tokio::test]
async fn promotions_are_taken_back_in_turn() {
    on_each(async |store| {
        for (at, version) in (1..).zip(["a", "b", "a"]) {
            store.promote("recommend", version, at).await.unwrap();
        }
        store.promote("click", "z", 1).await.unwrap();
        let versions = async |slot: &str| -> Vec<String> {
            let promotions = store.promotions(slot).await.unwrap();
            promotions.into_iter().map(|promotion| promotion.version).collect()
        };
        assert_eq!(versions("recommend").await, ["a", "b", "a"]);
        assert!(store.demote("recommend").await.unwrap());
        assert_eq!(versions("recommend").await, ["b", "a"]);
        assert_eq!(versions("click").await, ["z"]);
        assert!(!store.demote("support").await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn keys_are_kept_by_their_hash() {
    on_each(async |store| {
        let key = KeyRecord {
            key_id: "k".into(),
            secret_hash: "00ff".into(),
            scope: Scope::Write,
            made_ms: 1,
            ends_ms: None,
        };
        store.put_key(&key).await.unwrap();
        let ended = KeyRecord { ends_ms: Some(7), ..key };
        store.put_key(&ended).await.unwrap();
        assert_eq!(store.keys().await.unwrap(), [ended]);
    })
    .await;
}

#[tokio::test]
async fn a_position_is_that_which_was_noted_last() {
    on_each(async |store| {
        assert_eq!(store.position("a").await.unwrap(), None);
        store.note_position("a", 7).await.unwrap();
        store.note_position("b", 1 << 40).await.unwrap();
        store.note_position("a", 5).await.unwrap();
        assert_eq!(store.position("a").await.unwrap(), Some(5));
        assert_eq!(store.position("b").await.unwrap(), Some(1 << 40));
    })
    .await;
}

#[tokio::test]
async fn what_was_written_is_there_after_it_was_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let store = store::open(path.to_str().unwrap()).await.unwrap();
    store.append(&[event("1", "u", Some("a"), "view_item", 1)], 1).await.unwrap();
    store.close().await;
    let store = store::open(path.to_str().unwrap()).await.unwrap();
    assert_eq!(ids(&store.history("u", 9).await.unwrap()), ["1"]);
    store.close().await;
    std::fs::write(&path, "not a database").unwrap();
    let error = store::open(path.to_str().unwrap()).await.unwrap_err().to_string();
    assert!(error.contains("store.sqlite"), "{error}");
}
