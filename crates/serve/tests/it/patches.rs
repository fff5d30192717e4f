//! Changes of one record by many at once: none takes back what another has changed.

use axum::http::StatusCode;
use forecart_serve::{RawServeConfig, store};
use futures::future::join_all;
use serde_json::{Map, Value, json};

use crate::served::Served;
use crate::store::on_postgres;

/// Changes of each record, of disjoint attributes.
const N: usize = 200;

async fn on(address: &str) -> Served {
    let raw = RawServeConfig { store: Some(address.to_owned()), ..RawServeConfig::default() };
    Served::with(raw).await
}

fn named(n: usize) -> String {
    format!("a{n}")
}

/// Patches a user that is not there and an item that is, by the servers in turn, all at once.
async fn patch_by_all(servers: &[&Served]) {
    let patch = |n: usize| async move {
        let server = servers[n % servers.len()];
        let (user, item) = (json!({ named(n): n }), json!({"attributes": { named(n): n }}));
        for (path, body) in [("/v1/users/u", user), ("/v1/items/i", item)] {
            let answer = server.ask("PATCH", path, &body.to_string()).await;
            assert_eq!(answer.status, StatusCode::NO_CONTENT, "{path}: {}", answer.text);
        }
    };
    let item = json!({"title": "Mug"}).to_string();
    let put = servers[0].ask("PUT", "/v1/items/i", &item).await;
    assert_eq!(put.status, StatusCode::NO_CONTENT, "{}", put.text);
    join_all((0..N).map(patch)).await;
}

/// What is kept of the user and of the item, by a program beside the servers.
async fn kept(address: &str) -> (Map<String, Value>, Map<String, Value>) {
    let store = store::open(address).await.unwrap();
    let user = store.user("u").await.unwrap().unwrap();
    let [item] = store.items(0, "", 9).await.unwrap().try_into().unwrap();
    store.close().await;
    (user.attributes, item.attributes)
}

fn all() -> Map<String, Value> {
    (0..N).map(|n| (named(n), json!(n))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_on_one_database_lose_no_change() {
    on_postgres(async |address| {
        let (one, other) = (on(&address).await, on(&address).await);
        patch_by_all(&[&one, &other]).await;
        let (user, item) = kept(&address).await;
        assert_eq!(user, all());
        assert_eq!(item, *json!({"title": "Mug", "attributes": all()}).as_object().unwrap());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_at_once_on_a_file_lose_no_change() {
    let served = Served::empty().await;
    patch_by_all(&[&served]).await;
    let address = served.folder.path().join("store.sqlite").display().to_string();
    let (user, item) = kept(&address).await;
    assert_eq!(user, all());
    assert_eq!(item["attributes"], json!(all()));
    // And it is what is answered.
    assert_eq!(served.get("/v1/items/i").await.json()["attributes"], json!(all()));
}

#[tokio::test]
async fn what_another_server_has_just_written_is_changed_and_not_replaced() {
    on_postgres(async |address| {
        let (one, other) = (on(&address).await, on(&address).await);
        // Neither follows the other: what is known of a record is what the store says.
        let ask = async |served: &Served, method: &str, path: &str, body: Value| {
            served.ask(method, path, &body.to_string()).await
        };
        let is_done = async |served: &Served, method: &str, path: &str, body: Value| {
            let answer = ask(served, method, path, body).await;
            assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text);
        };
        let item = json!({"title": "Mug", "price": 9.5});
        is_done(&one, "PUT", "/v1/items/i", item).await;
        is_done(&other, "PATCH", "/v1/items/i", json!({"price": 8})).await;
        let known = other.get("/v1/items/i").await.json();
        assert_eq!(known, json!({"item_id": "i", "title": "Mug", "price": 8}));
        is_done(&one, "DELETE", "/v1/items/i", Value::Null).await;
        let gone = ask(&other, "PATCH", "/v1/items/i", json!({"price": 7})).await;
        assert_eq!(gone.code(), "unknown_item");

        // A list of users that says nothing of consent takes nothing back, whoever was told of it.
        let withheld = json!({"consent": {"training": false}, "country": "CN"});
        is_done(&one, "PATCH", "/v1/users/u", withheld).await;
        let list = json!([{"user_id": "u", "country": "DE"}, {"user_id": "v", "vip": true}]);
        assert_eq!(other.post("/v1/users", &list).await.json()["accepted"], 2);
        let known = one.get("/v1/users/u").await.json();
        let expected = json!({"user_id": "u", "country": "DE", "consent": {"training": false}});
        assert_eq!(known, expected);
        assert_eq!(one.get("/v1/users/v").await.json(), json!({"user_id": "v", "vip": true}));
    })
    .await;
}

#[tokio::test]
async fn a_change_that_is_refused_leaves_nothing() {
    let served = Served::empty().await;
    let unknown = served.ask("PATCH", "/v1/items/i", "{\"price\": 4}").await;
    assert_eq!(unknown.code(), "unknown_item");
    served.ask("PUT", "/v1/items/j", "{\"price\": 4}").await;
    let bad = served.ask("PATCH", "/v1/items/j", "{\"title\": \"Mug\", \"price\": \"dear\"}").await;
    assert_eq!(
        (bad.status, &bad.json()["error"]["field"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("price"))
    );
    let long = json!({"note": "x".repeat(100_000)}).to_string();
    assert_eq!(served.ask("PATCH", "/v1/users/u", &long).await.code(), "too_large");
    let address = served.folder.path().join("store.sqlite").display().to_string();
    let store = store::open(&address).await.unwrap();
    let counts = store.counts().await.unwrap();
    assert_eq!((counts.n_items, counts.n_users), (1, 0));
    let item = &store.items(0, "", 9).await.unwrap()[0];
    assert_eq!(Value::Object(item.attributes.clone()), json!({"price": 4}));
    store.close().await;
}
