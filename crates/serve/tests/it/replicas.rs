//! Two servers on one PostgreSQL.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use forecart_serve::{RawServeConfig, store};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::served::{Running, Served, dataset, within, write_model};

const SOON: Duration = Duration::from_secs(1);

/// Two servers on one cluster, with the same two models each.
async fn two(cluster: &Cluster) -> [Running; 2] {
    let mut servers = Vec::new();
    for _ in 0..2 {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("models")).unwrap();
        let data = dataset(folder.path());
        for (name, window) in [("a", 10), ("b", 2)] {
            let path = folder.path().join("models").join(format!("{name}.forecart"));
            write_model("seq-rules", &json!({"window": window}), &data, 1, &path);
        }
        let raw = RawServeConfig { store: Some(cluster.address()), ..RawServeConfig::default() };
        servers.push(Running::start(folder, raw).await);
    }
    servers.try_into().unwrap_or_else(|_| panic!("two"))
}

async fn list(served: &Served, user: &str) -> Value {
    let list = served.get(&format!("/v1/recommend/{user}?n=60")).await;
    assert_eq!(list.status, StatusCode::OK, "{}", list.text);
    list.json()
}

async fn promote(served: &Served, file: &str) -> Value {
    let answer = served.post("/v1/models/recommend/promote", &json!({"version": file})).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer.json()["live"]["version"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_server_accepts_the_other_knows_within_a_second() {
    let Some(cluster) = Cluster::new() else { return };
    let [one, other] = two(&cluster).await;
    // Both serve what was promoted last.
    let mut versions = Vec::new();
    for (by, follows, file) in [(&one, &other, "a.forecart"), (&other, &one, "b.forecart")] {
        let version = promote(by, file).await;
        within(SOON, "a promotion is followed", async || {
            list(follows, "nobody").await["model_version"] == version
        })
        .await;
        versions.push(version);
    }
    assert_ne!(versions[0], versions[1]);
    let rolled_back = other.post("/v1/models/recommend/rollback", &json!(null)).await;
    assert_eq!(rolled_back.status, StatusCode::OK, "{}", rolled_back.text);
    within(SOON, "a rollback is followed", async || {
        list(&one, "nobody").await["model_version"] == versions[0]
    })
    .await;

    // Events: each server has the history in memory before the other one writes.
    for (n, (by, reads)) in [(&one, &other), (&other, &one), (&one, &other)].into_iter().enumerate()
    {
        for server in [&one, &other] {
            list(server, "u").await;
        }
        let before = list(reads, "u").await;
        by.event("u", &format!("item/{}", 10 * (n + 1)), "purchase", 1_764_000_000).await;
        within(SOON, "an event changes the other's answer", async || {
            list(reads, "u").await["items"] != before["items"]
        })
        .await;
        within(SOON, "both answer the same", async || {
            list(&one, "u").await["items"] == list(&other, "u").await["items"]
        })
        .await;
    }

    // What is popular: of somebody who is not known.
    let first = |list: &Value| list["items"][0]["item_id"].clone();
    for _ in 0..30 {
        one.event("many", "only-popular", "view_item", 1_764_000_000).await;
    }
    let popular = async || {
        let path = "/v1/recommend/nobody?n=60&filter=item.title%20%3D%3D%20%22Popular%22";
        first(&other.get(path).await.json()) == "only-popular"
    };
    // Items, too: what one says of it, the other filters by.
    let item = json!({"title": "Popular"}).to_string();
    assert_eq!(
        one.ask("PUT", "/v1/items/only-popular", &item).await.status,
        StatusCode::NO_CONTENT
    );
    within(SOON, "an item is followed", popular).await;

    // A forgotten user is gone from both, and from the traces of both.
    let traced = list(&other, "u").await;
    let trace = format!("/v1/requests/{}", traced["request_id"].as_str().unwrap());
    assert_eq!(other.get(&trace).await.status, StatusCode::OK);
    let nobody = list(&other, "nobody").await;
    let forgotten = one.ask("DELETE", "/v1/users/u", "").await;
    assert_eq!(forgotten.status, StatusCode::ACCEPTED);
    assert_eq!(forgotten.json()["n_events"], 3);
    for server in [&one, &other] {
        within(SOON, "a forgotten user is nobody", async || {
            let list = list(server, "u").await;
            list["items"] == nobody["items"] && list["fallback"] == "unknown_user"
        })
        .await;
    }
    within(SOON, "the trace is gone", async || other.get(&trace).await.status == 404).await;

    // Keys.
    let beside = store::open(&cluster.address()).await.unwrap();
    let key = forecart_serve::generate_key(store::Scope::Read, 1);
    beside.put_key(&key.record).await.unwrap();
    beside.close().await;
    for server in [&one, &other] {
        within(SOON, "a key holds", async || server.get("/v1/models").await.status == 401).await;
    }
    one.end().await;
    other.end().await;
}

/// Histories are answered from memory, and the other server's events are known within milliseconds all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_in_memory_is_soon_told_of_what_another_server_accepted() {
    let Some(cluster) = Cluster::new() else { return };
    let [one, other] = two(&cluster).await;
    let mut waits = Vec::new();
    let n = 200;
    for at in 0..n {
        let user = format!("user-{}", at % 20);
        let before = other.get(&format!("/v1/users/{user}/export")).await.text.lines().count() - 1;
        list(&other, &user).await;
        list(&other, &user).await;
        let reads = async || list(&other, &user).await["items"].clone();
        let earlier = reads().await;
        one.event(
            &user,
            &format!("item/{}", 1 + (at * 7 + before) % 60),
            "purchase",
            1_764_000_000 + at as i64,
        )
        .await;
        let acknowledged = Instant::now();
        within(SOON, "an event changes the other's answer", async || reads().await != earlier)
            .await;
        waits.push(acknowledged.elapsed());
    }
    waits.sort_unstable();
    let (median, p99) = (waits[n / 2], waits[n * 99 / 100]);
    // Into the test's own output: `--nocapture` shows it.
    use std::io::Write as _;
    writeln!(std::io::stderr(), "known after {median:?} at the median, {p99:?} at p99").unwrap();
    // Some milliseconds on a machine with nothing else to do.
    assert!(p99 < Duration::from_millis(500), "{p99:?}");

    // The store is asked for nothing that is in memory: it answers while the database is stopped for a moment, and knows all after.
    within(Duration::from_secs(5), "histories are kept", async || {
        let metrics = other.get("/metrics").await.text;
        !metrics.contains("forecart_replica_lag_seconds 0.0\n")
    })
    .await;
    cluster.kill();
    let away = list(&other, "user-1").await;
    assert!(away["fallback"].is_null() || away["fallback"] == "store_away", "{away}");
    within(SOON, "what is kept is let go of", async || {
        list(&other, "user-1").await["fallback"] == "store_away"
    })
    .await;
    cluster.start();
    for server in [&one, &other] {
        within(Duration::from_secs(5), "it is ready again", async || {
            server.get("/health/ready").await.status == 200
        })
        .await;
    }
    let before = list(&other, "user-1").await;
    one.event("user-1", "item/33", "purchase", 1_764_100_000).await;
    within(SOON, "changes are heard again", async || {
        list(&other, "user-1").await["items"] != before["items"]
    })
    .await;
    one.end().await;
    other.end().await;
}
