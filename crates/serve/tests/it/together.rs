//! Lists that are asked for at the same time are answered together, and are the same.

use axum::http::StatusCode;
use forecart_serve::RawServeConfig;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::lists::with_model;

/// A list without what is its own alone.
fn lasting(mut list: Value) -> Value {
    let fields = list.as_object_mut().unwrap();
    assert!(fields.remove("request_id").is_some() && fields.remove("took_ms").is_some());
    list
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_at_once_and_in_a_batch_are_those_asked_for_one_by_one() {
    let small =
        json!({"n_epochs": 2, "d_model": 8, "n_heads": 2, "batch_size": 20, "n_negatives": 4});
    for (name, keys) in [("hstu", &small), ("seq-rules", &json!({}))] {
        let served = with_model(name, keys, RawServeConfig::default()).await;
        // Some whom nobody knows, and one twice.
        let users: Vec<String> = (1..60).map(|n| format!("user/{}", n * 3 % 150)).collect();
        let users: Vec<&str> = users.iter().map(String::as_str).chain(["user/3"]).collect();
        let path =
            |user: &str, n: usize| format!("/v1/recommend/{}?n={n}", user.replace('/', "%2F"));
        let mut want = Vec::new();
        for (place, user) in users.iter().enumerate() {
            want.push(lasting(served.get(&path(user, 1 + place % 9)).await.json()));
        }
        let n_fallbacks = want.iter().filter(|list| !list["fallback"].is_null()).count();
        assert!((1..30).contains(&n_fallbacks), "{name}: {n_fallbacks}");
        for _ in 0..5 {
            let asked = users.iter().enumerate().map(async |(place, user)| {
                let answer = served.get(&path(user, 1 + place % 9)).await;
                assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
                lasting(answer.json())
            });
            // What is not about users goes on among them.
            let alike = async || served.get("/v1/items/item%2F7/similar").await.status;
            let (got, alike) = tokio::join!(join_all(asked), join_all((0..20).map(|_| alike())));
            assert_eq!(got, want, "{name}");
            assert!(alike.iter().all(|status| *status == StatusCode::OK));
        }
        let batch = served.post("/v1/recommend", &json!({"user_ids": users, "n": 4})).await.json();
        let batch = batch["results"].as_array().unwrap();
        assert_eq!(batch.len(), users.len());
        for (user, list) in users.iter().zip(batch) {
            let alone = lasting(served.get(&path(user, 4)).await.json());
            assert_eq!(lasting(list.clone()), alone, "{name}: {user}");
        }
    }
}
