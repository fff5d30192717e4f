//! All that a store holds, as one file, and back.

use std::path::Path;
use std::sync::Arc;

use forecart_data::Progress;
use forecart_serve::store::{self, ItemRecord, KeyRecord, Receipt, Scope, Store, UserRecord};
use forecart_serve::{ConsentDefault, DumpError, dump, export, restore};
use serde_json::{Map, Value, json};

use crate::store::{event, on_each};

struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, _: u64) {}
    fn note(&self, _: &str) {}
}

/// A store with something of everything.
async fn fill(store: &dyn Store) {
    for batch in 0..3 {
        let events: Vec<_> = (0..40)
            .map(|n| {
                let mut own = event(
                    &format!("{batch}-{n}"),
                    &format!("u{}", n % 7),
                    Some("i"),
                    "purchase",
                    n,
                );
                own.value = (n % 3 == 0).then_some(0.1 * n as f64);
                own.further.insert("text".into(), json!("茶 \" \n \\ \u{1F600}"));
                own
            })
            .collect();
        store.append(&events, 60_000 * (1 + batch)).await.unwrap();
    }
    let items = ["a", "b/茶", "c"].map(|id| ItemRecord {
        item_id: id.into(),
        attributes: Map::from_iter([("price".to_owned(), json!(2.5))]),
        is_removed: id == "c",
        changed_ms: 7,
    });
    store.put_items(&items).await.unwrap();
    let attributes = Map::from_iter([("consent".to_owned(), json!({"training": false}))]);
    let user = UserRecord { user_id: "u1".into(), attributes, changed_ms: 8 };
    store.put_users(&[user]).await.unwrap();
    store.forget("u6", "receipt-1", 9).await.unwrap();
    for (version, at) in [("v1", 1), ("v2", 2), ("v1", 3)] {
        store.promote("recommend", version, at).await.unwrap();
    }
    store.note_dataset("hash", 5).await.unwrap();
    store.note_position("nats/shop", 77).await.unwrap();
    let key = KeyRecord {
        key_id: "k".into(),
        secret_hash: "00".into(),
        scope: Scope::Write,
        made_ms: 1,
        ends_ms: Some(2),
    };
    store.put_key(&key).await.unwrap();
}

/// The lines of a dump but the first, which says when it was made.
fn lines(path: &Path) -> Vec<String> {
    let text = zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap();
    String::from_utf8(text).unwrap().lines().skip(1).map(str::to_owned).collect()
}

async fn empty(folder: &Path, name: &str) -> Arc<dyn Store> {
    store::open(folder.join(name).to_str().unwrap()).await.unwrap()
}

#[tokio::test]
async fn what_is_restored_is_what_was_dumped() {
    on_each(async |store| {
        fill(store.as_ref()).await;
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("1.dump"), folder.path().join("2.dump"));
        let dumped = dump(store.as_ref(), &first, &Silent).await.unwrap();
        assert_eq!((dumped.n_events, dumped.n_items, dumped.n_users), (105, 3, 1));
        let other = empty(folder.path(), "other.sqlite").await;
        assert_eq!(restore(other.as_ref(), &first, false, &Silent).await.unwrap(), dumped);
        dump(other.as_ref(), &second, &Silent).await.unwrap();
        assert_eq!(lines(&first), lines(&second));
        assert_eq!(lines(&first).len() as u64, dumped.n_rows + 1);
        let receipt = other.receipt("receipt-1").await.unwrap();
        assert_eq!(receipt.map(|own| own.n_events), Some(15));
        // From the file into the store that it came from, over all that is there: nothing changes.
        let refused = restore(store.as_ref(), &first, false, &Silent).await.unwrap_err();
        assert!(matches!(refused, DumpError::NotEmpty { .. }), "{refused}");
        restore(store.as_ref(), &first, true, &Silent).await.unwrap();
        dump(store.as_ref(), &second, &Silent).await.unwrap();
        assert_eq!(lines(&first), lines(&second));
    })
    .await;
}

#[tokio::test]
async fn a_file_that_was_altered_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = empty(folder.path(), "store.sqlite").await;
    fill(store.as_ref()).await;
    let (path, altered) = (folder.path().join("whole.dump"), folder.path().join("altered.dump"));
    dump(store.as_ref(), &path, &Silent).await.unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let other = empty(folder.path(), "other.sqlite").await;
    let refused = async |bytes: &[u8]| {
        std::fs::write(&altered, bytes).unwrap();
        let error = restore(other.as_ref(), &altered, false, &Silent).await.unwrap_err();
        assert!(error.is_about_data(), "{error}");
        assert_eq!(other.counts().await.unwrap(), store::StoreCounts::default());
        error.to_string()
    };
    for cut in (0..bytes.len()).step_by(97) {
        refused(&bytes[..cut]).await;
    }
    for place in (0..bytes.len()).step_by(53) {
        let mut own = bytes.clone();
        own[place] ^= 1 << (place % 8);
        refused(&own).await;
    }
    // Whole as a compressed file, but not what was written.
    let text = String::from_utf8(zstd::decode_all(&bytes[..]).unwrap()).unwrap();
    let packed = |text: &str| zstd::encode_all(text.as_bytes(), 1).unwrap();
    let cases = [
        (text.replacen("purchase", "refund", 1), "not those that were written"),
        (text.replacen("\"forecart_dump\":1", "\"forecart_dump\":2", 1), "newer program"),
        (text.replacen("\"item\":", "\"itme\":", 1), "itme"),
        (text.trim_end().to_owned(), "has no end"),
        (text.lines().take(9).fold(String::new(), |all, line| all + line + "\n"), "cut short"),
        (text.clone() + "{}\n", "more after the end"),
        ("{}\n".to_owned(), "no dump of forecart"),
        (String::new(), "no dump of forecart"),
    ];
    for (text, said) in cases {
        let error = refused(&packed(&text)).await;
        assert!(error.contains(said) && error.contains("altered.dump"), "{said}: {error}");
    }
}

#[tokio::test]
async fn what_was_cut_short_is_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = empty(folder.path(), "store.sqlite").await;
    fill(store.as_ref()).await;
    let (first, second) = (folder.path().join("1.dump"), folder.path().join("2.dump"));
    dump(store.as_ref(), &first, &Silent).await.unwrap();
    // What a process that was killed has left: some of the events, a receipt, one promotion.

    let other = empty(folder.path(), "other.sqlite").await;
    let page = store.log(0, 50).await.unwrap();
    let events: Vec<_> =
        page.into_iter().filter(|own| own.received_ms == 60_000).map(|own| own.event).collect();
    other.append(&events, 60_000).await.unwrap();
    let receipt =
        Receipt { receipt: "receipt-1".into(), at_ms: 9, n_events: 15, had_attributes: false };
    other.put_receipts(&[receipt]).await.unwrap();
    other.promote("recommend", "v1", 1).await.unwrap();
    restore(other.as_ref(), &first, true, &Silent).await.unwrap();
    dump(other.as_ref(), &second, &Silent).await.unwrap();
    assert_eq!(lines(&first), lines(&second));
}

#[tokio::test]
async fn what_models_learn_from_is_written_as_lines() {
    let folder = tempfile::tempdir().unwrap();
    let store = empty(folder.path(), "store.sqlite").await;
    fill(store.as_ref()).await;
    let granted = ConsentDefault::Granted;
    let log = export(store.as_ref(), granted, folder.path(), &Silent).await.unwrap();
    // Without the 18 of the user who withholds them.
    assert_eq!((log.n_events, log.n_items), (87, 2));
    let events = std::fs::read_to_string(&log.events).unwrap();
    let first: Value = serde_json::from_str(events.lines().next().unwrap()).unwrap();
    let expected = json!({"event_id": "0-0", "user_id": "u0", "item_id": "i", "event": "purchase",
        "timestamp": 0, "value": 0.0, "text": "茶 \" \n \\ \u{1F600}"});
    assert_eq!(first, expected);
    assert_eq!(events.lines().count(), 87);
    assert!(!events.contains("\"u1\""), "an event of who withholds it");
    let items = std::fs::read_to_string(log.items.unwrap()).unwrap();
    let asked = ConsentDefault::Asked;
    let log = export(store.as_ref(), asked, folder.path(), &Silent).await.unwrap();
    assert_eq!(log.n_events, 0);
    assert_eq!(items, "{\"item_id\":\"a\",\"price\":2.5}\n{\"item_id\":\"b/茶\",\"price\":2.5}\n");
}
