//! What users allow, and what is done without it.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, StatusCode};
use forecart_serve::{
    ConsentDefault, Consents, Purpose, RawServeConfig, ServeConfig, Server, store,
};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::served::{Served, dataset, write_model};
use crate::store::on_postgres;

async fn with_model(raw: RawServeConfig) -> Served {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("models")).unwrap();
    let data = dataset(folder.path());
    write_model("seq-rules", &json!({}), &data, 1, &folder.path().join("models/m.forecart"));
    Served::at(folder, raw).await
}

async fn says(served: &Served, method: &str, user: &str, body: &Value) {
    let answer = served.ask(method, &format!("/v1/users/{user}"), &body.to_string()).await;
    assert!(answer.status == StatusCode::NO_CONTENT, "{}", answer.text);
}

fn items(list: &Value) -> &Value {
    &list["items"]
}

#[tokio::test]
async fn without_consent_nothing_that_is_known_of_a_user_shapes_an_answer() {
    let raw: RawServeConfig = toml::from_str(
        "[user]\nfavorite = \"text\"\n[[rule]]\nname = \"f\"\nboost = \"boost 100 if item.brand == user.favorite\"",
    )
    .unwrap();
    let served = with_model(raw).await;
    served.post("/v1/items", &json!({"item_id": "item/40", "brand": "Rare"})).await;
    for user in ["u", "v"] {
        served.event(user, "item/10", "purchase", 1_764_000_000).await;
        says(&served, "PUT", user, &json!({"favorite": "Rare"})).await;
    }
    let own = served.get("/v1/recommend/u?n=10").await.json();
    let nobody = served.get("/v1/recommend/nobody?n=10").await.json();
    assert!(own["fallback"].is_null() && items(&own) != items(&nobody), "{own}");
    // At once, by each way to say it.
    says(&served, "PATCH", "u", &json!({"consent": {"personalization": false}})).await;
    let body = json!([{"user_id": "v", "favorite": "Rare", "consent": {"personalization": false}}]);
    assert_eq!(served.post("/v1/users", &body).await.status, StatusCode::ACCEPTED);
    for user in ["u", "v"] {
        let list = served.get(&format!("/v1/recommend/{user}?n=10")).await.json();
        assert_eq!(list["fallback"], "no_consent");
        assert_eq!(items(&list), items(&nobody), "{user}");
        let visit = json!({"user_id": user, "session": ["item/3"], "n": 10});
        assert_eq!(items(&served.post("/v1/recommend", &visit).await.json()), items(&nobody));
    }
    let many = json!({"user_ids": ["u", "nobody"], "n": 10});
    let lists = served.post("/v1/recommend", &many).await.json();
    assert_eq!(items(&lists["results"][0]), items(&nobody));
    let candidates: Vec<Value> = (1..=60).map(|n| json!({"id": format!("item/{n}")})).collect();
    let rank = async |user: &str| {
        served.post("/v1/rank", &json!({"user_id": user, "items": candidates})).await.json()
    };
    let ranked = rank("u").await;
    assert_eq!(
        (items(&ranked), &ranked["fallback"]),
        (items(&rank("nobody").await), &json!("no_consent"))
    );
    // Another purpose changes nothing of this one.
    says(&served, "PATCH", "u", &json!({"consent": {"training": true}})).await;
    assert_eq!(served.get("/v1/recommend/u").await.json()["fallback"], "no_consent");
    says(&served, "PATCH", "u", &json!({"consent": {"personalization": null}})).await;
    let again = served.get("/v1/recommend/u?n=10").await.json();
    assert_eq!((items(&again), &again["fallback"]), (items(&own), &json!(null)));
}

#[tokio::test]
async fn consent_is_kept_over_a_restart_exported_and_forgotten_with_the_user() {
    let served = with_model(RawServeConfig::default()).await;
    for user in ["u", "v"] {
        served.event(user, "item/10", "purchase", 1_764_000_000).await;
    }
    says(&served, "PUT", "u", &json!({"consent": {"personalization": false, "ads": true}})).await;
    let export = served.get("/v1/users/u/export").await.text;
    assert!(export.lines().next().unwrap().contains("\"personalization\":false"), "{export}");
    let served = Served::at(served.end(), RawServeConfig::default()).await;
    assert_eq!(served.get("/v1/recommend/u").await.json()["fallback"], "no_consent");
    assert!(served.get("/v1/recommend/v").await.json()["fallback"].is_null());
    assert_eq!(served.ask("DELETE", "/v1/users/u", "").await.status, StatusCode::ACCEPTED);
    assert_eq!(served.get("/v1/recommend/u").await.json()["fallback"], "unknown_user");
    served.event("u", "item/10", "purchase", 1_764_000_000).await;
    assert!(served.get("/v1/recommend/u").await.json()["fallback"].is_null());
}

#[tokio::test]
async fn where_consent_is_asked_for_nothing_is_personal_until_it_is_granted() {
    let raw: RawServeConfig = toml::from_str("consent_default = \"asked\"").unwrap();
    let served = with_model(raw).await;
    served.event("u", "item/10", "purchase", 1_764_000_000).await;
    assert_eq!(served.get("/v1/recommend/u").await.json()["fallback"], "no_consent");
    says(&served, "PUT", "u", &json!({"consent": {"personalization": true}})).await;
    assert!(served.get("/v1/recommend/u").await.json()["fallback"].is_null());
    // A new record that says nothing of consent takes nothing back.
    says(&served, "PUT", "u", &json!({"country": "CN"})).await;
    assert!(served.get("/v1/recommend/u").await.json()["fallback"].is_null());
    let user = served.get("/v1/users/u").await.json();
    assert_eq!(user["consent"], json!({"personalization": true}));
    says(&served, "PATCH", "u", &json!({"consent": null})).await;
    assert_eq!(served.get("/v1/recommend/u").await.json()["fallback"], "no_consent");
    let error =
        toml::from_str::<RawServeConfig>("consent_default = \"given\"").unwrap_err().to_string();
    assert!(error.contains("granted") && error.contains("asked"), "{error}");
}

#[tokio::test]
async fn a_consent_that_cannot_be_read_is_refused_with_its_field() {
    let served = Served::empty().await;
    for (consent, field) in [
        (json!({"personalization": "no"}), "consent.personalization"),
        (json!({"training": 0}), "consent.training"),
        (json!({"personalisation": false}), "consent.personalisation"),
        (json!(false), "consent"),
    ] {
        let body = json!({"consent": consent}).to_string();
        for method in ["PUT", "PATCH"] {
            let refused = served.ask(method, "/v1/users/u", &body).await;
            assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
            assert_eq!(
                (refused.code().as_str(), &refused.json()["error"]["field"]),
                ("bad_consent", &json!(field))
            );
        }
        let rows = json!([{"user_id": "u", "consent": consent}, {"user_id": "v"}]);
        let taken = served.post("/v1/users", &rows).await.json();
        assert_eq!(
            (&taken["accepted"], &taken["rejected"][0]["field"]),
            (&json!(1), &json!(field))
        );
    }
}

#[tokio::test]
async fn who_may_be_learned_from_is_read_from_the_store() {
    let served = Served::empty().await;
    says(&served, "PUT", "refuses", &json!({"consent": {"training": false}})).await;
    says(&served, "PUT", "grants", &json!({"consent": {"training": true}})).await;
    let path = served.folder.path().join("store.sqlite");
    let store = store::open(path.to_str().unwrap()).await.unwrap();
    for (default, expected) in [
        (ConsentDefault::Granted, [false, true, true]),
        (ConsentDefault::Asked, [false, true, false]),
    ] {
        let consents = Consents::read(store.as_ref(), default).await.unwrap();
        let allowed =
            ["refuses", "grants", "silent"].map(|user| consents.allows(user, Purpose::Training));
        assert_eq!(allowed, expected, "{default:?}");
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_processes_on_the_same_store_know_within_a_second() {
    on_postgres(async |address| {
        let process = async || {
            let raw = RawServeConfig {
                store: Some(address.clone()),
                port: Some(0),
                ..RawServeConfig::default()
            };
            let config = ServeConfig::new(raw, NonZeroUsize::MIN).unwrap();
            let server = Server::start(config, false).await.unwrap();
            let router = forecart_serve::router(server.app().clone());
            let (end, ended) = tokio::sync::oneshot::channel::<()>();
            let running = tokio::spawn(server.run(async { drop(ended.await) }));
            (router, end, running)
        };
        let (one, end_one, running_one) = process().await;
        let (other, end_other, running_other) = process().await;
        let fallback = async || {
            let request = Request::get("/v1/recommend/u").body(Body::empty()).unwrap();
            let response = other.clone().oneshot(request).await.unwrap();
            let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
            serde_json::from_slice::<Value>(&bytes).unwrap()["fallback"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        let ask = async |method: &str, body: &str| {
            let request = Request::builder().method(method).uri("/v1/users/u");
            let request = request.body(Body::from(body.to_owned())).unwrap();
            let response = one.clone().oneshot(request).await.unwrap();
            assert!(response.status().is_success());
        };
        let until = async |expected: &str| {
            let begun = Instant::now();
            while fallback().await != expected {
                assert!(begun.elapsed() < Duration::from_secs(10), "never {expected}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            begun.elapsed()
        };
        assert_eq!(fallback().await, "no_model");
        ask("PUT", "{\"consent\": {\"personalization\": false}}").await;
        // A turn each second, and what a busy machine adds.
        let took = until("no_consent").await;
        assert!(took < Duration::from_secs(3), "{took:?}");
        ask("DELETE", "").await;
        let took = until("no_model").await;
        assert!(took < Duration::from_secs(3), "{took:?}");
        // A server that ends waits for those who hold what it serves.
        drop((one, other));
        drop((end_one, end_other));
        running_one.await.unwrap();
        running_other.await.unwrap();
    })
    .await;
}
