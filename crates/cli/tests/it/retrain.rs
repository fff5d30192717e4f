//! Models that a server trains anew from its own events.

use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::program::{forecart, good, refused};
use crate::serve::{Process, ask};

const N_ITEMS: u32 = 50;
const DAY_MS: i64 = 86_400_000;
/// What this shop serves: fitted in a moment, and a baseline itself.
const CONFIG: &str = "[serve.retrain.models]\nrecommend = \"seq-rules\"\n[split]\nkind = \"time\"\nratio = [0.8, 0.1, 0.1]\n";

/// Events of users who take the items in a circle, or by chance, where a model has nothing to learn.
fn events(first: i64, is_a_circle: bool) -> Value {
    let mut state = 1_u32;
    let mut rows = Vec::new();
    for user in 0..200_i64 {
        let mut item = (user * 7) as u32 % N_ITEMS;
        for step in 0..15 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            item = if is_a_circle { (item + 1) % N_ITEMS } else { (state >> 8) % N_ITEMS };
            rows.push(
                json!({"event_id": format!("{first}-{user}-{step}"), "user_id": format!("u{user}"),
                "item_id": format!("i{item}"), "event": "view_item",
                "timestamp": first + step * DAY_MS + user * 60_000}),
            );
        }
    }
    Value::Array(rows)
}

struct Shop {
    folder: tempfile::TempDir,
    process: Process,
}

impl Shop {
    fn open(arguments: &[&str]) -> Self {
        Self::with(CONFIG, arguments)
    }

    fn with(config: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("models")).unwrap();
        std::fs::write(folder.path().join("forecart.toml"), config).unwrap();
        let store = folder.path().join("store.sqlite");
        let text = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (config, models) = (text("forecart.toml"), text("models"));
        let arguments = [&["--config", &config, "--model", &models], arguments].concat();
        let process = Process::start_with(&store, &arguments);
        Self { folder, process }
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, text) = ask(&self.process.address, method, path, &body).unwrap();
        (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    /// The newest job, once it has ended.
    fn ended_job(&self) -> Value {
        for _ in 0..600 {
            let (_, listed) = self.ask("GET", "/v1/jobs", &Value::Null);
            if listed["jobs"][0]["ended_ms"].is_number() {
                return listed["jobs"][0].clone();
            }
            thread::sleep(Duration::from_millis(100));
        }
        panic!("no job has ended in a minute");
    }

    fn train(&self) -> Value {
        let (status, begun) = self.ask("POST", "/v1/train", &json!({}));
        assert_eq!(status, 202, "{begun}");
        let (status, busy) = self.ask("POST", "/v1/train", &json!({"task": "recommend"}));
        assert_eq!((status, &busy["error"]["code"]), (409, &json!("busy")));
        let job = self.ended_job();
        assert_eq!(job["id"], begun["id"]);
        let (_, same) =
            self.ask("GET", &format!("/v1/jobs/{}", begun["id"].as_str().unwrap()), &Value::Null);
        assert_eq!(same, job);
        job
    }

    fn list(&self) -> Value {
        self.ask("GET", "/v1/recommend/u3?n=3", &Value::Null).1
    }

    fn files(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.folder.path().join("models")).unwrap();
        files.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

#[test]
fn what_passes_the_gate_answers_and_what_does_not_changes_nothing() {
    let shop = Shop::open(&[]);
    let (status, error) = shop.ask("POST", "/v1/train", &json!({"task": "taste"}));
    assert_eq!((status, &error["error"]["field"]), (422, &json!("task")));
    assert_eq!(shop.ask("GET", "/v1/jobs/none", &Value::Null).0, 404);
    // Nothing to learn from.
    let job = shop.train();
    assert_eq!(job["state"], "failed", "{job}");
    assert!(job["error"].as_str().unwrap().contains("no events"), "{job}");

    assert_eq!(shop.ask("POST", "/v1/events", &events(1_760_000_000_000, false)).0, 202);
    let job = shop.train();
    assert_eq!(job["state"], "gate_not_met", "{job}");
    assert_eq!(job["outcome"]["gate"]["passed"], false);
    assert_eq!(shop.list()["fallback"], "no_model");
    assert!(shop.files().is_empty(), "{:?}", shop.files());

    assert_eq!(shop.ask("POST", "/v1/events", &events(1_762_000_000_000, true)).0, 202);
    // What was by chance is forgotten.
    for user in 0..200 {
        assert_eq!(shop.ask("DELETE", &format!("/v1/users/u{user}"), &Value::Null).0, 202);
    }
    assert_eq!(shop.ask("POST", "/v1/events", &events(1_763_000_000_000, true)).0, 202);
    let job = shop.train();
    assert_eq!(job["state"], "promoted", "{job}");
    assert_eq!(
        (&job["outcome"]["model"], &job["outcome"]["gate"]["passed"]),
        (&json!("seq-rules"), &json!(true))
    );
    assert_ne!(job["outcome"]["gate"]["baseline"], "seq-rules");
    let list = shop.list();
    assert_eq!(
        (&list["model_version"], &list["fallback"]),
        (&job["outcome"]["version"], &Value::Null)
    );
    // Fifteen steps after its own beginning, and one more.
    assert_eq!(list["items"][0]["item_id"], format!("i{}", (3 * 7 + 16) % N_ITEMS), "{list}");
    assert_eq!(shop.files(), [job["outcome"]["file"].as_str().unwrap()]);
    let (_, metrics) = ask(&shop.process.address, "GET", "/metrics", "").unwrap();
    assert!(metrics.contains("forecart_jobs_failed_total{kind=\"retrain\"} 1"), "{metrics}");
    assert!(
        metrics.contains("forecart_model_trained_timestamp_seconds{model=\"recommend/seq-rules\"}")
    );
    let promotions = shop.ask("POST", "/v1/models/recommend/rollback", &Value::Null);
    assert_eq!(promotions.1["error"]["code"], "nothing_earlier");
    shop.process.kill();
}

#[test]
fn a_schedule_trains_by_itself() {
    let shop = Shop::open(&["--retrain", "*/2 * * * * *"]);
    assert_eq!(shop.ask("POST", "/v1/events", &events(1_763_000_000_000, true)).0, 202);
    let is_served = (0..300).any(|_| {
        thread::sleep(Duration::from_millis(200));
        shop.list()["model"] == "seq-rules"
    });
    assert!(is_served, "{:?}", shop.ask("GET", "/v1/jobs", &Value::Null));
    shop.process.kill();
}

/// What the store holds does not fit into the memory that the process may take: the system refuses it, not a plan.
#[cfg(target_os = "linux")]
#[test]
fn what_needs_more_memory_than_it_may_take_changes_nothing() {
    let little = format!("[serve.retrain]\nmemory = \"64MiB\"\nthreads = 1\n{CONFIG}");
    let shop = Shop::with(&little, &[]);
    assert_eq!(shop.ask("POST", "/v1/events", &events(1_763_000_000_000, true)).0, 202);
    let job = shop.train();
    assert_eq!(job["state"], "promoted", "{job}");
    let served =
        || (shop.list()["model_version"].clone(), shop.ask("GET", "/v1/models", &Value::Null).1);
    let before = served();
    // 150 MB, of which all are read at once.
    for part in 0..20 {
        let rows = (0..250).map(|row| {
            json!({"event_id": format!("large-{part}-{row}"), "user_id": "large", "event": "ask",
                "note": "x".repeat(30_000)})
        });
        assert_eq!(shop.ask("POST", "/v1/events", &rows.collect()).0, 202);
    }
    let job = shop.train();
    assert_eq!(job["state"], "failed", "{job}");
    let error = job["error"].as_str().unwrap();
    assert!(error.contains("refused memory") && error.contains("serve.retrain.memory"), "{job}");
    assert_eq!(served(), before);
    shop.process.kill();
}

/// A process that another one began, by what is in its command line.
#[cfg(target_os = "linux")]
fn child_of(parent: u32, word: &str) -> Option<u32> {
    let folders = std::fs::read_dir("/proc").unwrap();
    let mut ids = folders.filter_map(|own| own.ok()?.file_name().to_str()?.parse::<u32>().ok());
    ids.find(|id| {
        let told = std::fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
        told.split('\0').any(|own| own == word)
            && fields(*id).is_some_and(|own| own[1] == parent.to_string())
    })
}

/// State, parent and so on of a process; `None` if it is gone.
#[cfg(target_os = "linux")]
fn fields(id: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name of the program, in parentheses, comes before them.
    let (_, fields) = text.rsplit_once(") ")?;
    let fields: Vec<String> = fields.split(' ').map(str::to_owned).collect();
    // Nobody may ask after one whose parent is gone.
    (fields[0] != "Z").then_some(fields)
}

/// Whether `is_so` comes within two minutes.
#[cfg(target_os = "linux")]
fn comes(mut is_so: impl FnMut() -> bool) -> bool {
    (0..2_400).any(|_| {
        thread::sleep(Duration::from_millis(50));
        is_so()
    })
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_that_trains_is_bounded_and_ends_with_a_server_that_is_killed() {
    // It would learn for hours.
    let long = "[serve.retrain]\nmemory = \"80MiB\"\nthreads = 1\nmodels = { recommend = \"bpr\" }\n\
                [models.bpr]\nn_epochs = 10000000\n[split]\nkind = \"time\"\nratio = [0.8, 0.1, 0.1]\n";
    let shop = Shop::with(long, &[]);
    assert_eq!(shop.ask("POST", "/v1/events", &events(1_763_000_000_000, true)).0, 202);
    assert_eq!(shop.ask("POST", "/v1/train", &json!({})).0, 202);
    let server = shop.process.id();
    let mut child = None;
    let has_begun = comes(|| {
        child = child_of(server, "retrain");
        child.is_some()
    });
    let jobs = || shop.ask("GET", "/v1/jobs", &Value::Null).1;
    assert!(has_begun, "{}", jobs());
    let child = child.unwrap();
    // A third more than it plans with.
    let bound = (80_u64 << 20) * 4 / 3;
    let is_bounded = comes(|| {
        let limits = std::fs::read_to_string(format!("/proc/{child}/limits")).unwrap_or_default();
        let data = limits.lines().find(|line| line.starts_with("Max data size"));
        data.is_some_and(|line| line.split_whitespace().any(|own| own == bound.to_string()))
    });
    assert!(is_bounded, "{}", jobs());
    // It has read the store and learns.
    let is_learning = comes(|| {
        let own = shop.files().into_iter().find(|name| name.contains("forecart-scratch"));
        own.is_some_and(|name| {
            shop.folder.path().join("models").join(name).join("prepared").is_dir()
        })
    });
    assert!(is_learning && fields(child).is_some(), "{}", jobs());
    let folder = shop.folder;
    shop.process.kill();
    let has_ended = comes(|| fields(child).is_none());
    if !has_ended {
        let _ = std::process::Command::new("kill").args(["-KILL", &child.to_string()]).status();
    }
    assert!(has_ended, "the process goes on to its end without its server");
    // It cleaned up after itself.
    assert_eq!(std::fs::read_dir(folder.path().join("models")).unwrap().count(), 0);
}

#[test]
fn the_verb_says_what_a_server_would_do() {
    let shop = Shop::open(&[]);
    assert_eq!(shop.ask("POST", "/v1/events", &events(1_763_000_000_000, false)).0, 202);
    let folder = shop.folder.path();
    let run = |arguments: &[&str]| {
        let own = ["retrain", "--into", "made", "--store", "store.sqlite", "--json"];
        forecart(folder, &[&own[..], arguments].concat())
    };
    let said = refused(&run(&["--report", "report"]), 4);
    assert!(said.contains("quality gate not met"), "{said}");
    assert!(folder.join("report/report.html").is_file());
    assert_eq!(std::fs::read_dir(folder.join("made")).unwrap().count(), 0);
    // Not by a model of its own rank.
    refused(&run(&["--model", "no-such-model"]), 2);
    let said =
        refused(&forecart(folder, &["serve", "--store", "s.sqlite", "--retrain", "daily"]), 2);
    assert!(said.contains("serve.retrain.folder"), "{said}");
    let arguments = ["serve", "--store", "s.sqlite", "--model", "models", "--retrain", "dayly"];
    let said = refused(&forecart(folder, &arguments), 2);
    assert!(said.contains("serve.retrain.schedule") && said.contains("daily"), "{said}");
    shop.process.kill();
}

#[test]
fn a_store_goes_from_one_place_to_another() {
    let shop = Shop::open(&[]);
    assert_eq!(shop.ask("POST", "/v1/events", &events(1_763_000_000_000, true)).0, 202);
    let folder: &Path = shop.folder.path();
    let dump = ["dump", "--store", "store.sqlite", "--out", "shop.dump", "--json"];
    let dumped: Value = serde_json::from_str(&good(&forecart(folder, &dump))).unwrap();
    assert_eq!(dumped["n_events"], 3_000);
    refused(&forecart(folder, &dump), 2);
    let restore = ["restore", "shop.dump", "--store", "new/store.sqlite", "--json"];
    let restored: Value = serde_json::from_str(&good(&forecart(folder, &restore))).unwrap();
    assert_eq!(restored, dumped);
    let said = refused(&forecart(folder, &restore), 2);
    assert!(said.contains("--add"), "{said}");
    std::fs::write(folder.join("no.dump"), "no dump").unwrap();
    let said = refused(&forecart(folder, &["restore", "no.dump", "--store", "x.sqlite"]), 3);
    assert!(said.contains("no.dump") && said.contains("nothing was restored"), "{said}");
    shop.process.kill();
}
