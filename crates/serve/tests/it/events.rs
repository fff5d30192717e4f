//! Events, items and users as they come in over HTTP.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use forecart_serve::RawServeConfig;
use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::served::Served;

#[tokio::test]
async fn good_rows_are_kept_and_bad_ones_are_told_one_by_one() {
    let served = Served::empty().await;
    let body = json!([
        {"user_id": "u", "item_id": "a", "event": "view_item", "event_id": "1", "timestamp": 1_764_000_000},
        {"user_id": "u", "event": "view_item"},
        {"user_id": "u", "item_id": "a", "event": "purchase", "event_id": "1"},
        7,
    ]);
    let answer = served.post("/v1/events", &body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let taken = answer.json();
    assert_eq!((&taken["accepted"], &taken["duplicates"]), (&json!(2), &json!(1)));
    assert_eq!(taken["rejected"][0]["index"], 1);
    assert_eq!(taken["rejected"][0]["code"], "missing_item_id");
    assert_eq!(taken["rejected"][1]["code"], "not_an_object");
    let again = served.post("/v1/events", &body[0]).await.json();
    assert_eq!((&again["accepted"], &again["duplicates"]), (&json!(1), &json!(1)));
    let export = served.get("/v1/users/u/export").await;
    let lines: Vec<&str> = export.text.lines().collect();
    assert_eq!(lines.len(), 2, "{}", export.text);
    assert!(lines[1].contains("1764000000000"), "{}", lines[1]);
    let metrics = served.get("/metrics").await.text;
    assert!(
        metrics.contains("forecart_events_ingested_total{event=\"view_item\",source=\"http\"} 1"),
        "{metrics}"
    );
    assert!(metrics.contains("forecart_events_rejected_total{code=\"not_an_object\"} 1"));
}

#[tokio::test]
async fn lines_are_taken_too_and_a_broken_one_costs_itself_alone() {
    let served = Served::empty().await;
    let lines = "{\"user_id\":\"u\",\"event\":\"search\"}\n{\"user_id\": \n\n{\"user_id\":\"v\",\"event\":\"search\"}\n";
    let taken = served.ask("POST", "/v1/events", lines).await.json();
    assert_eq!(taken["accepted"], 2);
    assert_eq!(
        (&taken["rejected"][0]["index"], &taken["rejected"][0]["code"]),
        (&json!(1), &json!("not_json"))
    );
}

#[tokio::test]
async fn what_is_no_event_at_all_is_refused_with_its_reason() {
    let served = Served::with(RawServeConfig {
        max_body_bytes: std::num::NonZeroUsize::new(10_000),
        queue_events: std::num::NonZeroUsize::new(50),
        ..RawServeConfig::default()
    })
    .await;
    let deep = "[".repeat(5_000) + &"]".repeat(5_000);
    let long = format!("\"{}\"", "x".repeat(20_000));
    let cases = [
        ("", 400, "not_json"),
        ("{", 400, "not_json"),
        ("NaN", 400, "not_json"),
        ("{\"user_id\": NaN}", 400, "not_json"),
        (deep.as_str(), 400, "not_json"),
        (long.as_str(), 413, "body_too_large"),
        ("{\"event\": \"search\"}", 422, "missing_user_id"),
        ("{\"user_id\": \"u\", \"event\": \"search\", \"timestamp\": 1e999}", 400, "not_json"),
        ("[[[]]]", 422, "not_an_object"),
    ];
    for (body, status, code) in cases {
        let answer = served.ask("POST", "/v1/events", body).await;
        let shown: String = body.chars().take(40).collect();
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{shown}");
    }
    let row = json!({"user_id": "u", "event": "search"});
    let answer = served.post("/v1/events", &json!(vec![row; 51])).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (413, "too_many_events"));
    assert_eq!(served.post("/v1/events", &json!([])).await.status, StatusCode::ACCEPTED);
}

/// Another program holds the file, so that nothing can be written: what waits is bounded.
#[tokio::test]
async fn a_full_queue_refuses_more_at_once_and_keeps_what_it_took() {
    let raw = RawServeConfig {
        queue_events: std::num::NonZeroUsize::new(50),
        ..RawServeConfig::default()
    };
    let served = Served::with(raw).await;
    let rows = |name: &str, n: usize| -> Value {
        let row = |place| json!({"user_id": "u", "event": "search", "event_id": format!("{name}-{place}")});
        (0..n).map(row).collect()
    };
    let address = format!("sqlite://{}", served.folder.path().join("store.sqlite").display());
    let mut other = sqlx::SqliteConnection::connect(&address).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let (first, second) = (rows("first", 40), rows("second", 20));
    let refused = async {
        // Behind the first ones, which wait for the file.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let began = Instant::now();
        let refused = served.post("/v1/events", &second).await;
        let took = began.elapsed();
        sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
        (refused, took)
    };
    let (taken, (refused, took)) = tokio::join!(served.post("/v1/events", &first), refused);
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (429, "queue_full"));
    assert_eq!(refused.headers["retry-after"], "1");
    assert!(took < Duration::from_secs(3), "it waited for {took:?}");
    assert_eq!(taken.status, StatusCode::ACCEPTED);
    assert_eq!(taken.json()["accepted"], 40);
    // None of what was refused was written.
    let again = served.post("/v1/events", &second).await;
    assert_eq!((again.status, &again.json()["duplicates"]), (StatusCode::ACCEPTED, &json!(0)));
    assert_eq!(served.post("/v1/events", &first).await.json()["duplicates"], 40);
}

#[tokio::test]
async fn a_catalog_that_was_sent_is_there_after_a_restart() {
    let served = Served::empty().await;
    let items = json!([
        {"item_id": "a/b 茶", "title": "Tea", "price": 3.5, "tags": ["hot"], "attributes": {"color": "green"}},
        {"item_id": "b", "title": "Mug", "price": "dear"},
        {"title": "nothing"},
    ]);
    let taken = served.post("/v1/items", &items).await.json();
    assert_eq!(taken["accepted"], 1);
    assert_eq!(taken["rejected"][0]["index"], 1);
    assert_eq!(taken["rejected"][0]["field"], "price");
    assert_eq!(taken["rejected"][1]["code"], "missing_item_id");
    let path = "/v1/items/a%2Fb%20%E8%8C%B6";
    let patched = served.ask("PATCH", path, "{\"price\": 4, \"tags\": null}").await;
    assert_eq!(patched.status, StatusCode::NO_CONTENT, "{}", patched.text);
    assert_eq!(
        served.ask("PUT", "/v1/items/c", "{\"title\": \"Cup\"}").await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(served.ask("DELETE", "/v1/items/c", "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(served.ask("PATCH", "/v1/items/c", "{\"price\": 4}").await.code(), "unknown_item");
    let expected =
        json!({"item_id": "a/b 茶", "title": "Tea", "price": 4, "attributes": {"color": "green"}});
    assert_eq!(served.get(path).await.json(), expected);
    let folder = served.end();
    let again = Served::at(folder, RawServeConfig::default()).await;
    assert_eq!(again.get(path).await.json(), expected);
    assert_eq!(again.get("/v1/items/c").await.code(), "unknown_item");
}

#[tokio::test]
async fn a_user_is_described_exported_and_forgotten() {
    let served = Served::empty().await;
    served.event("secret-user", "a", "view_item", 1_764_000_000).await;
    let user = json!({"user_id": "secret-user", "country": "CN", "consent": {"ads": true}});
    assert_eq!(served.post("/v1/users", &user).await.json()["accepted"], 1);
    let patch =
        served.ask("PATCH", "/v1/users/secret-user", "{\"country\": null, \"vip\": true}").await;
    assert_eq!(patch.status, StatusCode::NO_CONTENT);
    let expected = json!({"user_id": "secret-user", "consent": {"ads": true}, "vip": true});
    assert_eq!(served.get("/v1/users/secret-user").await.json(), expected);
    let store = std::fs::read(served.folder.path().join("store.sqlite-wal")).unwrap();
    assert!(
        store.windows(11).any(|window| window == b"secret-user"),
        "nothing was there to forget"
    );
    let receipt = served.ask("DELETE", "/v1/users/secret-user", "").await;
    assert_eq!(receipt.status, StatusCode::ACCEPTED);
    let receipt = receipt.json();
    assert_eq!((&receipt["n_events"], &receipt["had_attributes"]), (&json!(1), &json!(true)));
    let id = receipt["receipt"].as_str().unwrap();
    assert_eq!(served.get(&format!("/v1/privacy/receipts/{id}")).await.json(), receipt);
    assert_eq!(served.get("/v1/privacy/receipts/none").await.code(), "unknown_receipt");
    assert_eq!(served.get("/v1/users/secret-user/export").await.text.lines().count(), 1);
    let folder = served.end();
    // Nothing of the user is left in the files of the store either.
    let again = Served::at(folder, RawServeConfig::default()).await;
    let files = std::fs::read_dir(again.folder.path()).unwrap();
    for file in files.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        let bytes = std::fs::read(&file).unwrap();
        let is_there = bytes.windows(11).any(|window| window == b"secret-user");
        assert!(!is_there, "{file:?}");
    }
}

#[tokio::test]
async fn paths_and_methods_that_are_not_there_are_told_so() {
    let served = Served::empty().await;
    assert_eq!(served.get("/v1/nothing").await.code(), "unknown_path");
    assert_eq!(served.ask("DELETE", "/v1/events", "").await.code(), "wrong_method");
    assert_eq!(served.get("/health/live").await.text, "live\n");
    let ready = served.get("/health/ready").await;
    assert_eq!(ready.status, StatusCode::OK);
    assert_eq!(ready.json()["store"], true);
    assert!(ready.headers.contains_key("x-request-id"));
    let document = served.get("/openapi.json").await.json();
    assert!(document["paths"]["/v1/events"]["post"].is_object());
    assert_eq!(
        document,
        serde_json::from_str::<serde_json::Value>(&forecart_serve::document()).unwrap()
    );
    let page = served.get("/docs/").await;
    assert!(page.status == StatusCode::OK && page.text.contains("swagger"), "{}", page.text);
}
