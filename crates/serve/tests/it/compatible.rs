//! Requests in the shapes of other servers.

use axum::http::StatusCode;
use forecart_serve::RawServeConfig;
use serde_json::json;

use crate::served::Served;

#[tokio::test]
async fn other_servers_clients_are_answered_in_their_shapes() {
    let raw = RawServeConfig { compatible: true, ..RawServeConfig::default() };
    let served = Served::with(raw).await;
    let feedback = json!([
        {"FeedbackType": "star", "UserId": "bob", "ItemId": "a", "Timestamp": "2026-02-20T10:00:00Z"},
        {"FeedbackType": "read", "UserId": "bob", "ItemId": "b", "Timestamp": "2026-02-20T10:00:01Z"},
    ]);
    let answer = served.post("/api/feedback", &feedback).await;
    assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!({"RowAffected": 2})));
    let interaction = json!({"event": "interaction", "id": "e1", "type": "click", "user": "bob", "item": "b",
        "timestamp": "1764000000000", "ranking": "r1", "session": "s1", "fields": []});
    assert_eq!(served.post("/feedback", &interaction).await.json()["accepted"], 1);
    assert_eq!(served.post("/feedback", &interaction).await.json()["accepted"], 0);
    assert_eq!(served.post("/feedback", &json!({"event": "item"})).await.code(), "wrong_fields");
    let export = served.get("/v1/users/bob/export").await.text;
    assert!(
        export.contains("\"request_id\":\"r1\"") && export.contains("\"select_item\""),
        "{export}"
    );
    let list = served.get("/api/recommend/alice?n=1").await.json();
    assert!(list.as_array().is_some_and(|ids| ids.len() == 1 && ids[0].is_string()), "{list}");
    let ranking = json!({"event": "ranking", "id": "r2", "timestamp": "1764000000000", "user": "bob",
        "session": "s1", "items": [{"id": "b", "relevancy": 0.5}, {"id": "a"}]});
    let ranked = served.post("/rank/xgboost", &ranking).await.json();
    assert_eq!(ranked["items"].as_array().map(Vec::len), Some(2), "{ranked}");
    assert!(ranked["items"][0]["score"].is_number() && ranked["items"][0]["item"].is_string());
    assert_eq!(served.post("/model/parse", &json!({"text": "hi"})).await.code(), "no_model");
    assert_eq!(served.get("/api/health/ready").await.status, StatusCode::OK);
    let plain = Served::empty().await;
    assert_eq!(plain.post("/api/feedback", &feedback).await.code(), "unknown_path");
}
