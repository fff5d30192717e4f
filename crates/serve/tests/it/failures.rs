//! What happens around the server: its database ends, its disk is full, its model files are damaged. It stays up, says so, and recovers by itself.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use forecart_models::model_file::LoadedModel;
use forecart_serve::{App, RawServeConfig, ServeConfig, StartError, store};
use serde_json::{Value, json};

use crate::cluster::{Cluster, is_root, left_out, run};
use crate::served::{Answer, Running, Served, dataset, within, write_model};

/// A folder with a model of lists.
fn with_model() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("models")).unwrap();
    let data = dataset(folder.path());
    write_model("seq-rules", &json!({}), &data, 1, &folder.path().join("models/model.forecart"));
    folder
}

/// Sends events one after the other until it is told to end; the ids of those that were accepted, and the codes of the others' errors.
async fn write_until(served: &Served, is_over: &AtomicBool) -> (Vec<String>, Vec<Answer>) {
    let (mut accepted, mut refused) = (Vec::new(), Vec::new());
    while !is_over.load(Ordering::Relaxed) {
        let id = format!("sent-{}-{}", accepted.len(), refused.len());
        let event = json!({"user_id": format!("user-{}", accepted.len() % 50), "item_id": "item/3",
            "event": "view_item", "event_id": id, "timestamp": 1_764_000_000});
        let answer = served.post("/v1/events", &event).await;
        match answer.status {
            StatusCode::ACCEPTED => accepted.push(id),
            _ => refused.push(answer),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    (accepted, refused)
}

/// Does something to a cluster while requests go on.
async fn apart(cluster: &Arc<Cluster>, change: fn(&Cluster)) {
    let cluster = cluster.clone();
    tokio::task::spawn_blocking(move || change(&cluster)).await.unwrap();
}

async fn readiness(served: &Served) -> (u16, Value) {
    let answer = served.get("/health/ready").await;
    (answer.status.as_u16(), answer.json()["store"].clone())
}

fn metric(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_may_be_killed_and_started_again_under_load() {
    let Some(cluster) = Cluster::new().map(Arc::new) else { return };
    let raw = RawServeConfig { store: Some(cluster.address()), ..RawServeConfig::default() };
    let served = Running::start(with_model(), raw).await;
    served.event("u", "item/10", "purchase", 1_764_000_000).await;
    let own = served.get("/v1/recommend/u").await.json();
    assert!(own["fallback"].is_null(), "{own}");

    let is_over = AtomicBool::new(false);
    let read = async {
        let mut answered: Vec<(String, Duration)> = Vec::new();
        while !is_over.load(Ordering::Relaxed) {
            let started = Instant::now();
            let list = served.get("/v1/recommend/u").await;
            assert_eq!(list.status, StatusCode::OK, "{}", list.text);
            let list = list.json();
            assert_eq!(list["items"].as_array().unwrap().len(), 10, "{list}");
            answered.push((list["fallback"].to_string(), started.elapsed()));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        answered
    };
    let kill = async {
        let mut n_answered_away = 0;
        for round in 1..=2 {
            // Events go to one user after the other.
            let path = format!("/v1/users/user-{}/export", 15 * round);
            within(Duration::from_secs(20), "events were accepted", async || {
                served.get(&path).await.text.lines().count() > 1
            })
            .await;
            apart(&cluster, Cluster::kill).await;
            within(Duration::from_secs(2), "it says that the store is away", async || {
                readiness(&served).await == (503, json!(false))
            })
            .await;
            let metrics = served.get("/metrics").await.text;
            assert!(metric(&metrics, "forecart_store_failures_total") > 0.0);
            assert_eq!(metric(&metrics, "forecart_store_up"), 0.0);
            // From then on nobody waits.
            let end = Instant::now() + Duration::from_secs(1);
            while Instant::now() < end {
                let started = Instant::now();
                let list = served.get("/v1/recommend/somebody").await;
                assert_eq!(
                    (list.status, &list.json()["fallback"]),
                    (StatusCode::OK, &json!("store_away"))
                );
                let written =
                    served.post("/v1/events", &json!({"user_id": "x", "event": "search"})).await;
                assert_eq!(
                    (written.status.as_u16(), written.code().as_str()),
                    (503, "store_unavailable")
                );
                assert!(written.headers.contains_key("retry-after"));
                for (method, path, body) in [
                    ("PUT", "/v1/users/x", "{}"),
                    ("DELETE", "/v1/users/x", ""),
                    ("PUT", "/v1/items/x", "{}"),
                    ("POST", "/v1/models/recommend/rollback", ""),
                ] {
                    let refused = served.ask(method, path, body).await;
                    assert_eq!(
                        (refused.status.as_u16(), refused.code().as_str()),
                        (503, "store_unavailable"),
                        "{method} {path}"
                    );
                    assert!(refused.headers.contains_key("retry-after"), "{method} {path}");
                }
                assert!(
                    started.elapsed() < Duration::from_millis(1_800),
                    "{:?}",
                    started.elapsed()
                );
                n_answered_away += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            apart(&cluster, Cluster::start).await;
            within(Duration::from_secs(5), "it is ready again", async || {
                readiness(&served).await == (200, json!(true))
            })
            .await;
            within(Duration::from_secs(5), "lists are the user's own again", async || {
                served.get("/v1/recommend/u").await.json()["items"] == own["items"]
            })
            .await;
            served.event("v", "item/3", "view_item", 1_764_000_000).await;
        }
        is_over.store(true, Ordering::Relaxed);
        n_answered_away
    };
    let ((accepted, refused), answered, n_answered_away) =
        tokio::join!(write_until(&served, &is_over), read, kill);
    assert!(n_answered_away > 20, "{n_answered_away}");
    assert!(accepted.len() > 20 && !refused.is_empty(), "{} {}", accepted.len(), refused.len());
    for answer in refused {
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "store_unavailable"));
    }
    let slowest = answered.iter().map(|(_, took)| *took).max().unwrap();
    assert!(slowest < Duration::from_secs(9), "a list took {slowest:?}");
    assert!(answered.iter().any(|(fallback, _)| fallback == "\"store_away\""));
    assert!(
        answered.iter().all(|(fallback, _)| fallback == "null" || fallback == "\"store_away\"")
    );
    served.end().await;
    let store = store::open(&cluster.address()).await.unwrap();
    assert_all_there(store.as_ref(), &accepted).await;
    store.close().await;
}

/// Every acknowledged event is there, once.
async fn assert_all_there(store: &dyn store::Store, accepted: &[String]) {
    let mut found = std::collections::HashMap::<String, usize>::new();
    for user in 0..50 {
        let (events, next) = store.events_of(&format!("user-{user}"), 0, 1_000_000).await.unwrap();
        assert!(next.is_none());
        for event in events {
            *found.entry(event.event_id).or_default() += 1;
        }
    }
    let lost: Vec<&String> = accepted.iter().filter(|id| found.get(*id) != Some(&1)).collect();
    assert!(lost.is_empty(), "lost, or there twice: {lost:?}");
}

/// A disk of some megabytes, which ends with this.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(n_megabytes: u32) -> Option<Self> {
        let disk = Self(tempfile::tempdir().unwrap());
        let size = format!("size={n_megabytes}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(disk.0.path());
        if !is_root() || !mount.output().is_ok_and(|done| done.status.success()) {
            left_out("a small disk cannot be mounted, which only root may");
            return None;
        }
        Some(disk)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Leaves room for nothing.
    fn fill(&self) -> PathBuf {
        use std::io::Write as _;
        let path = self.path().join("filler");
        let mut file = std::fs::File::create(&path).unwrap();
        for n_bytes in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![7; n_bytes]).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run(Command::new("umount").arg("-l").arg(self.path()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_alone_and_only_while_it_is_full() {
    let Some(disk) = SmallDisk::new(24) else { return };
    let path = disk.path().join("store.sqlite").display().to_string();
    let raw = RawServeConfig { store: Some(path.clone()), ..RawServeConfig::default() };
    let served = Running::start(with_model(), raw).await;
    served.event("u", "item/10", "purchase", 1_764_000_000).await;
    let own = served.get("/v1/recommend/u").await.json();
    assert!(own["fallback"].is_null(), "{own}");
    let is_over = AtomicBool::new(false);
    let fill = async {
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let filler = disk.fill();
            within(Duration::from_secs(10), "it says that it cannot write", async || {
                // What is sent makes the log of transactions grow; another user each time, so that histories are read from the store.
                let large =
                    json!({"user_id": "large", "event": "search", "text": "x".repeat(9_000)});
                served.post("/v1/events", &json!(vec![large; 20])).await;
                readiness(&served).await == (503, json!(false))
            })
            .await;
            for n in 0..100 {
                let refused =
                    served.post("/v1/events", &json!({"user_id": "x", "event": "search"})).await;
                assert_eq!(
                    (refused.status.as_u16(), refused.code().as_str()),
                    (503, "store_full"),
                    "{}",
                    refused.text
                );
                assert!(refused.json()["error"]["hint"].as_str().unwrap().contains("make room"));
                assert!(refused.headers.contains_key("retry-after"));
                let item = served
                    .ask(
                        "PUT",
                        &format!("/v1/items/large-{n}"),
                        &json!({"title": "x".repeat(12_000)}).to_string(),
                    )
                    .await;
                assert!(
                    item.status == StatusCode::NO_CONTENT || item.code() == "store_full",
                    "{}",
                    item.text
                );
                let list = served.get("/v1/recommend/u").await.json();
                assert_eq!((&list["items"], &list["fallback"]), (&own["items"], &Value::Null));
                // Of a user who is not in memory.
                let list = served.get(&format!("/v1/recommend/unknown-{n}")).await.json();
                assert_eq!(list["fallback"], "unknown_user");
                assert_eq!(readiness(&served).await, (503, json!(false)));
            }
            let metrics = served.get("/metrics").await.text;
            assert_eq!(metric(&metrics, "forecart_store_up"), 0.0);
            std::fs::remove_file(filler).unwrap();
            within(Duration::from_secs(2), "it is ready again", async || {
                readiness(&served).await == (200, json!(true))
            })
            .await;
            served.event("v", "item/3", "view_item", 1_764_000_000).await;
        }
        is_over.store(true, Ordering::Relaxed);
    };
    let ((accepted, refused), ()) = tokio::join!(write_until(&served, &is_over), fill);
    assert!(accepted.len() > 20 && !refused.is_empty(), "{} {}", accepted.len(), refused.len());
    assert!(refused.iter().all(|answer| answer.code() == "store_full"), "{refused:?}");
    served.end().await;
    let store = store::open(&path).await.unwrap();
    assert_all_there(store.as_ref(), &accepted).await;
    store.close().await;
    let pool = sqlx::SqlitePool::connect(&format!("sqlite://{path}")).await.unwrap();
    let whole: String =
        sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&pool).await.unwrap();
    assert_eq!(whole, "ok");
    pool.close().await;
}

/// What is done to the file of a model that answers.
type Damage = fn(&Path);

fn damages() -> [(&'static str, Damage); 4] {
    fn open(path: &Path) -> std::fs::File {
        std::fs::File::options().write(true).open(path).unwrap()
    }
    [
        ("cut short", |path| open(path).set_len(1_000).unwrap()),
        ("emptied", |path| open(path).set_len(0).unwrap()),
        ("overwritten", |path| {
            use std::os::unix::fs::FileExt as _;
            let n_bytes = path.metadata().unwrap().len();
            open(path).write_all_at(&[0xa5; 512], n_bytes - 512).unwrap();
        }),
        ("taken away", |path| std::fs::remove_file(path).unwrap()),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_answers_whatever_becomes_of_its_file() {
    let served = Running::start(with_model(), RawServeConfig::default()).await;
    for item in ["item/10", "item/12"] {
        served.event("u", item, "purchase", 1_764_000_000).await;
    }
    let path = served.models().join("model.forecart");
    let whole = std::fs::read(&path).unwrap();
    let own = served.get("/v1/recommend/u?n=60").await.json();
    assert!(own["fallback"].is_null(), "{own}");
    let is_over = AtomicBool::new(false);
    let ask = async || {
        let mut n = 0;
        while !is_over.load(Ordering::Relaxed) {
            let list = served.get("/v1/recommend/u?n=60").await;
            assert_eq!(list.status, StatusCode::OK, "{}", list.text);
            let list = list.json();
            assert_eq!(
                (&list["items"], &list["model_version"]),
                (&own["items"], &own["model_version"])
            );
            n += 1;
            tokio::task::yield_now().await;
        }
        n
    };
    let damage = async {
        for (what, damage) in damages() {
            damage(&path);
            tokio::time::sleep(Duration::from_millis(50)).await;
            let listed = served.post("/v1/models/refresh", &json!(null)).await;
            assert_eq!(listed.status, StatusCode::OK, "{what}: {}", listed.text);
            let left_out = listed.json()["left_out"].clone();
            if path.exists() {
                assert_eq!(left_out[0]["file"], "model.forecart", "{what}: {left_out}");
                assert_eq!(served.get("/health/ready").await.json()["left_out"], left_out);
            }
            assert_eq!(served.get("/health/ready").await.status, StatusCode::OK, "{what}");
            // Put in place as models are: whole, by one rename.
            let next = served.models().join("next");
            std::fs::write(&next, &whole).unwrap();
            std::fs::rename(next, &path).unwrap();
            let listed = served.post("/v1/models/refresh", &json!(null)).await.json();
            assert_eq!(listed["left_out"], json!([]), "{what}");
        }
        is_over.store(true, Ordering::Relaxed);
    };
    let (n_first, n_second, ()) = tokio::join!(ask(), ask(), damage);
    assert!(n_first > 20 && n_second > 20, "{n_first} {n_second}");

    // A damaged file of what is live does not bring an older model back; a new whole one is taken.
    let data = forecart_data::Dataset::open(&served.folder.path().join("dataset")).unwrap();
    let older = served.models().join("older.forecart");
    write_model("seq-rules", &json!({"window": 3}), &data, 1, &older);
    let long_ago = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    std::fs::File::options().write(true).open(&older).unwrap().set_modified(long_ago).unwrap();
    let version = async || {
        served.post("/v1/models/refresh", &json!(null)).await;
        served.get("/v1/recommend/u").await.json()["model_version"].clone()
    };
    assert_eq!(version().await, own["model_version"]);
    std::fs::write(&path, &whole[..2_000]).unwrap();
    assert_eq!(version().await, own["model_version"]);
    std::fs::rename(&older, &path).unwrap();
    let newer = LoadedModel::open(&path).unwrap().header().content_hash.clone();
    assert_eq!(version().await, json!(newer));
    assert_ne!(json!(newer), own["model_version"]);
    served.end().await;
}

#[tokio::test]
async fn a_file_has_one_server_and_other_programs_may_open_it() {
    let served = Served::empty().await;
    let path = served.folder.path().join("store.sqlite").display().to_string();
    let raw = || RawServeConfig { store: Some(path.clone()), ..RawServeConfig::default() };
    let second = ServeConfig::new(raw(), std::num::NonZeroUsize::MIN).unwrap();
    let error = App::start(second).await.unwrap_err();
    assert!(matches!(error, StartError::Store(store::StoreError::Place { .. })), "{error}");
    let said = error.to_string();
    let process = std::process::id().to_string();
    assert!(
        said.contains(&path) && said.contains(&process) && said.contains("PostgreSQL"),
        "{said}"
    );
    let beside = store::open(&path).await.unwrap();
    let key = forecart_serve::generate_key(store::Scope::Read, 1);
    beside.put_key(&key.record).await.unwrap();
    beside.close().await;
    served.event("u", "item/3", "view_item", 1_764_000_000).await;
    let again = Served::at(served.end(), RawServeConfig::default()).await;
    assert_eq!(again.get("/v1/models").await.status, StatusCode::UNAUTHORIZED);
}
