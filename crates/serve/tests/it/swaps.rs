//! Models that are promoted, rolled back and damaged while others are served.

use axum::http::StatusCode;
use serde_json::json;

use crate::served::{Served, dataset, write_model};

#[tokio::test]
async fn the_newest_file_is_served_until_one_is_promoted() {
    let served = Served::empty().await;
    let data = tempfile::tempdir().unwrap();
    let dataset = dataset(data.path());
    for (seed, name) in [(1, "a.forecart"), (2, "b.forecart")] {
        let keys = json!({"n_epochs": 1, "n_factors": 4});
        write_model("bpr", &keys, &dataset, seed, &served.models().join(name));
    }
    std::fs::write(served.models().join("c.forecart"), "no model").unwrap();
    let listed = served.post("/v1/models/refresh", &json!(null)).await.json();
    assert_eq!(listed["left_out"][0]["file"], "c.forecart");
    let version = |file: &str| {
        let models = listed["models"].as_array().unwrap();
        let found = models.iter().find(|own| own["file"] == file).unwrap();
        found["version"].as_str().unwrap().to_owned()
    };
    let live = async || {
        let listed = served.get("/v1/models").await.json();
        let models = listed["models"].as_array().unwrap().clone();
        let live: Vec<_> = models.into_iter().filter(|own| own["is_live"] == true).collect();
        assert_eq!(live.len(), 1, "{listed}");
        live[0]["version"].as_str().unwrap().to_owned()
    };
    let (a, b) = (version("a.forecart"), version("b.forecart"));
    assert_ne!(a, b);
    let first = live().await;
    let other = if first == a { b.clone() } else { a.clone() };
    assert_eq!(
        served.post("/v1/models/recommend/rollback", &json!(null)).await.code(),
        "nothing_earlier"
    );
    let promoted =
        served.post("/v1/models/recommend/promote", &json!({"version": other[..12]})).await;
    assert_eq!(promoted.status, StatusCode::OK, "{}", promoted.text);
    assert_eq!(live().await, other);
    // What was promoted stays promoted when files are looked for again.
    served.post("/v1/models/refresh", &json!(null)).await;
    assert_eq!(live().await, other);
    let again = served.post("/v1/models/recommend/promote", &json!({"version": other[..12]})).await;
    assert_eq!(again.json()["promotions"].as_array().map(Vec::len), Some(2), "{}", again.text);
    let back = served.post("/v1/models/recommend/rollback", &json!(null)).await;
    assert_eq!(back.status, StatusCode::OK, "{}", back.text);
    assert_eq!(live().await, first);
    // What was gone back to is what is served from then on, also where the other file is the newer one.
    served.post("/v1/models/refresh", &json!(null)).await;
    assert_eq!(live().await, first);
    assert_eq!(
        served.post("/v1/models/recommend/rollback", &json!(null)).await.code(),
        "nothing_earlier"
    );
    assert_eq!(
        served.post("/v1/models/recommend/promote", &json!({"version": other[..12]})).await.status,
        StatusCode::OK
    );
    assert_eq!(
        served.post("/v1/models/recommend/rollback", &json!(null)).await.status,
        StatusCode::OK
    );
    let unknown =
        served.post("/v1/models/recommend/promote", &json!({"version": "0000000000"})).await;
    assert_eq!((unknown.status.as_u16(), unknown.code().as_str()), (404, "unknown_version"));
    // A file that was cut short is refused, and what answers goes on answering.
    let path = served.models().join(if other == a { "a.forecart" } else { "b.forecart" });
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let file = path.file_name().unwrap().to_str().unwrap();
    let refused = served.post("/v1/models/recommend/promote", &json!({"version": file})).await;
    assert_eq!(refused.status.as_u16(), 404, "{}", refused.text);
    assert_eq!(live().await, first);
}

/// Every answer while models are swapped is 200, and is what one whole version answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_or_mixes_versions_while_models_are_swapped() {
    const N_SWAPS: usize = 200;
    const N_ROLLBACKS: usize = 20;
    let served = Served::empty().await;
    let data = tempfile::tempdir().unwrap();
    let dataset = dataset(data.path());
    let keys = json!({"n_epochs": 2, "n_factors": 8});
    for (seed, name) in [(1, "a.forecart"), (2, "b.forecart")] {
        write_model("bpr", &keys, &dataset, seed, &served.models().join(name));
    }
    for item in ["item/3", "item/9", "item/20"] {
        served.event("u", item, "purchase", 1_764_000_000).await;
    }
    let promote = async |file: &str| {
        let body = json!({"version": file});
        let answer = served.post("/v1/models/recommend/promote", &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    };
    let list = async || {
        let answer = served.get("/v1/recommend/u?n=60").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let mut list = answer.json();
        let version = list["model_version"].as_str().unwrap().to_owned();
        (version, list["items"].take())
    };
    promote("a.forecart").await;
    let of_a = list().await;
    promote("b.forecart").await;
    let of_b = list().await;
    assert!(of_a.0 != of_b.0 && of_a.1 != of_b.1);
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let n_answers = [const { std::sync::atomic::AtomicUsize::new(0) }; 2];
    let ask = async || {
        while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
            let answer = list().await;
            assert!(answer == of_a || answer == of_b, "an answer of no one version");
            let of = usize::from(answer.0 == of_b.0);
            n_answers[of].fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    };
    let swap = async {
        for round in 0..N_SWAPS {
            promote(if round % 2 == 0 { "a.forecart" } else { "b.forecart" }).await;
            if round % (N_SWAPS / N_ROLLBACKS) == 0 {
                let answer = served.post("/v1/models/recommend/rollback", &json!(null)).await;
                assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
            }
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    tokio::join!(swap, ask(), ask(), ask(), ask());
    let n_answers = n_answers.map(std::sync::atomic::AtomicUsize::into_inner);
    assert!(n_answers.iter().all(|n| *n > 20), "{n_answers:?}");
}
