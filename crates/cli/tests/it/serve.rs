//! The server as a process: what it prints, and what it keeps when it is killed.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::program::{forecart, good, refused};
use crate::{questions, support};

const N_KILLS: u64 = 30;
const N_WRITERS: u64 = 4;

pub(crate) struct Process {
    child: Child,
    pub(crate) address: String,
}

impl Process {
    fn start(store: &Path) -> Self {
        Self::start_with(store, &[])
    }

    pub(crate) fn start_with(store: &Path, arguments: &[&str]) -> Self {
        Self::start_in(Path::new("."), store, arguments)
    }

    /// With the configuration that a folder holds.
    pub(crate) fn start_in(folder: &Path, store: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_forecart"))
            .current_dir(folder)
            .args(["serve", "--port", "0", "--json", "--store"])
            .arg(store)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: serde_json::Value = serde_json::from_str(&line).unwrap();
        let address = said["listening"].as_str().unwrap().to_owned();
        Self { child, address }
    }

    /// Its id in the system.
    #[cfg(target_os = "linux")]
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Status and body of an answer; `None` if the connection broke.
pub(crate) fn ask(address: &str, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some((status, body.to_owned()))
}

#[test]
fn what_was_acknowledged_is_there_once_after_any_kill() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store.sqlite");
    let acknowledged = Mutex::new(Vec::<String>::new());
    let next = AtomicU64::new(0);
    for round in 0..N_KILLS {
        let process = Process::start(&store);
        let address = process.address.clone();
        thread::scope(|scope| {
            for writer in 0..N_WRITERS {
                let (address, acknowledged, next) = (&address, &acknowledged, &next);
                scope.spawn(move || {
                    loop {
                        let ids: Vec<String> = (0..20)
                            .map(|_| format!("e{}", next.fetch_add(1, Ordering::Relaxed)))
                            .collect();
                        let rows: Vec<String> = ids
                            .iter()
                            .map(|id| {
                                format!("{{\"event_id\":\"{id}\",\"user_id\":\"u{writer}\",\"item_id\":\"i\",\"event\":\"view_item\"}}")
                            })
                            .collect();
                        let body = format!("[{}]", rows.join(","));
                        match ask(address, "POST", "/v1/events", &body) {
                            Some((202, _)) => acknowledged.lock().unwrap().extend(ids),
                            Some((status, body)) => panic!("{status}: {body}"),
                            // The process is gone.
                            None => return,
                        }
                    }
                });
            }
            // Moments of the kills are spread over starts, commits and pauses.
            thread::sleep(Duration::from_millis(10 + (round * 37) % 120));
            process.kill();
        });
    }
    let process = Process::start(&store);
    let mut kept = Vec::new();
    for writer in 0..N_WRITERS {
        let path = format!("/v1/users/u{writer}/export");
        let (status, text) = ask(&process.address, "GET", &path, "").unwrap();
        assert_eq!(status, 200);
        for line in text.lines() {
            if let Some((_, rest)) = line.split_once("\"event_id\":\"") {
                kept.push(rest.split('"').next().unwrap().to_owned());
            }
        }
    }
    process.kill();
    let distinct: HashSet<&String> = kept.iter().collect();
    assert_eq!(distinct.len(), kept.len(), "an event is there twice");
    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(acknowledged.len() > 1_000, "too few to mean anything: {}", acknowledged.len());
    let lost: Vec<&String> = acknowledged.iter().filter(|id| !distinct.contains(id)).collect();
    assert!(lost.is_empty(), "{} of {} were lost: {lost:?}", lost.len(), acknowledged.len());
}

#[cfg(target_os = "linux")]
#[test]
fn a_service_manager_is_told_of_the_beginning_the_life_and_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_forecart"))
        .args(["serve", "--port", "0", "--store"])
        .arg(folder.path().join("store.sqlite"))
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "300000")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = [0; 100];
    let mut next = || {
        let n = socket.recv(&mut said).unwrap();
        String::from_utf8_lossy(&said[..n]).trim().to_owned()
    };
    assert_eq!(next(), "READY=1");
    assert_eq!((next(), next()), ("WATCHDOG=1".to_owned(), "WATCHDOG=1".to_owned()));
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert!((0..100).any(|_| next() == "STOPPING=1"));
    assert!(child.wait().unwrap().success());
}

#[test]
fn keys_are_made_listed_and_ended_on_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store.sqlite");
    let keygen = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_forecart"))
            .args(["keygen", "--json", "--store"])
            .arg(&store)
            .args(arguments)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, made) = keygen(&["--scope", "admin"]);
    assert_eq!(code, Some(0));
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let token = made["key"].as_str().unwrap().to_owned();
    let process = Process::start(&store);
    let with = |key: &str| {
        let mut stream = TcpStream::connect(&process.address).unwrap();
        let head = format!(
            "GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-api-key: {key}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().parse::<u16>().unwrap()
    };
    assert_eq!((with(&token), with("none")), (200, 401));
    assert_eq!(keygen(&["--end", made["key_id"].as_str().unwrap()]).0, Some(0));
    let ended = (0..100).any(|_| {
        thread::sleep(Duration::from_millis(200));
        with(&token) == 401
    });
    assert!(ended, "the server does not know that the key has ended");
    let (_, listed) = keygen(&["--list"]);
    assert!(listed.contains("ends_ms") && !listed.contains(&token), "{listed}");
    assert_eq!(keygen(&["--end", "none"]).0, Some(2));
    process.kill();
}

#[test]
fn a_server_that_cannot_be_used_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forecart"));
        let output = command.current_dir(&folder).arg("serve").args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = run(&["--host", "0.0.0.0", "--port", "0"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("keygen"), "{said}");
    let (code, said) = run(&["--model", "none.forecart"]);
    assert_eq!(code, Some(2), "{said}");
    let (code, said) = run(&["--host", "localhost"]);
    assert!(code == Some(2) && said.contains("127.0.0.1"), "{said}");
    std::fs::write(
        folder.path().join("forecart.toml"),
        "[[serve.rule]]\nname = \"r\"\nfilter = \"item.prise < 3\"\n",
    )
    .unwrap();
    let (code, said) = run(&[]);
    assert!(code == Some(2) && said.contains("item.price"), "{code:?} {said}");
}

#[test]
fn the_doctor_finds_what_keeps_a_server_from_serving() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    std::fs::create_dir(folder.join("models")).unwrap();
    let doctor = ["doctor", "--model", "models", "--store", "s.sqlite", "--port", "0", "--json"];
    let found = |said: &str| -> serde_json::Value { serde_json::from_str(said).unwrap() };
    let well = found(&good(&forecart(folder, &doctor)));
    assert_eq!(well["n_failed"], 0, "{well}");
    std::fs::write(folder.join("models/broken.forecart"), "no model").unwrap();
    std::fs::write(
        folder.join("forecart.toml"),
        "[[serve.rule]]\nname = \"r\"\nfilter = \"item.prise < 3\"\n",
    )
    .unwrap();
    let arguments = [&doctor[..], &["--host", "0.0.0.0", "--retrain", "dayly"]].concat();
    let output = forecart(folder, &arguments);
    assert_eq!(output.status.code(), Some(1));
    let ill = found(&String::from_utf8(output.stdout).unwrap());
    let failed = ill["findings"].as_array().unwrap().iter();
    let failed = failed.filter(|own| own["severity"] == "failed");
    let checks: Vec<&str> = failed.map(|own| own["check"].as_str().unwrap()).collect();
    assert_eq!(checks, ["retraining", "rules", "broken.forecart", "keys"], "{ill}");
}

/// Rows of which the label can be learned, as CSV and as JSON.
fn purchases() -> (String, Vec<serde_json::Value>) {
    let (mut csv, mut rows) = ("price,device,bought\n".to_owned(), Vec::new());
    for row in 0..600_u32 {
        let price = f64::from(row * 7919 % 1000) / 10.0;
        let device = ["phone", "desktop", "tablet"][(row % 3) as usize];
        let bought = u32::from(price < 30.0 + f64::from(row * 104_729 % 40));
        csv.push_str(&format!("{price},{device},{bought}\n"));
        rows.push(serde_json::json!({"price": price, "device": device}));
    }
    (csv, rows)
}

#[test]
fn the_command_line_and_http_give_the_same_probabilities_to_the_bit() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    let models = folder.join("models");
    std::fs::create_dir(&models).unwrap();
    questions::prepared(folder);
    std::fs::rename(folder.join("q.forecart"), models.join("q.forecart")).unwrap();
    std::fs::write(folder.join("texts.csv"), support::texts()).unwrap();
    good(&forecart(folder, &["prepare", "--samples", "texts.csv", "--task", "support"]));
    let train = ["train", "--data", "intents", "--model", "tfidf-lr", "--out", "models/s.forecart"];
    good(&forecart(folder, &train));
    let (csv, rows) = purchases();
    std::fs::write(folder.join("rows.csv"), csv).unwrap();
    let prepare = ["prepare", "--samples", "rows.csv", "--label", "bought", "--task", "purchase"];
    good(&forecart(folder, &[&prepare[..], &["--out", "samples"]].concat()));
    let train = ["train", "--data", "samples", "--model", "lr", "--out", "models/p.forecart"];
    good(&forecart(folder, &train));

    let store = folder.join("store.sqlite");
    let process = Process::start_with(&store, &["--model", models.to_str().unwrap()]);
    let post = |path: &str, body: &serde_json::Value| -> serde_json::Value {
        let (status, text) = ask(&process.address, "POST", path, &body.to_string()).unwrap();
        assert!((200..300).contains(&status), "{status}: {text}");
        serde_json::from_str(&text).unwrap()
    };
    let predict = ["predict", "--model", "models/p.forecart", "--in", "rows.csv", "--json"];
    let lines = good(&forecart(folder, &predict));
    let answer = post("/v1/predict/purchase", &serde_json::json!({"rows": rows}));
    let predictions = answer["predictions"].as_array().unwrap();
    assert_eq!((predictions.len(), lines.lines().count()), (600, 600));
    for (line, prediction) in lines.lines().zip(predictions) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["probability"], prediction["p"]);
    }
    let text = "where is my parcel? call 13912345678";
    let classify = ["classify", "--model", "models/s.forecart", text, "--json"];
    let line: serde_json::Value =
        serde_json::from_str(&good(&forecart(folder, &classify))).unwrap();
    let answer = post("/v1/classify", &serde_json::json!({"text": text}));
    for field in ["text", "intent", "abstain", "language"] {
        assert_eq!(line[field], answer[field], "{field}");
    }
    assert!(!answer.to_string().contains("13912345678"));

    // Events of one user, as the log has them; texts without an intent get one by the model of texts.
    let log = std::fs::read_to_string(folder.join("log.csv")).unwrap();
    let mut lines = log.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let mut events = Vec::new();
    for (at, line) in lines.enumerate() {
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!(cells.len(), header.len(), "a cell with a comma: {line}");
        let fields = header.iter().zip(&cells).filter(|(_, cell)| !cell.is_empty());
        let mut event: serde_json::Map<String, serde_json::Value> =
            fields.map(|(name, cell)| ((*name).to_owned(), (*cell).into())).collect();
        if event["user_id"] == "u7" {
            event.insert("event_id".to_owned(), at.into());
            events.push(serde_json::Value::Object(event));
        }
    }
    let taken = post("/v1/events", &serde_json::Value::Array(events.clone()));
    assert_eq!(taken["accepted"], events.len(), "{taken}");
    let said = ["questions", "--model", "models/q.forecart", "--user", "u7", "-n", "13", "--json"];
    let said: serde_json::Value = serde_json::from_str(&good(&forecart(folder, &said))).unwrap();
    let asked = serde_json::json!({"user_id": "u7", "n": 13, "explain": true});
    let answer = post("/v1/questions", &asked);
    let expected = said["questions"].as_array().unwrap();
    let answered = answer["results"][0]["questions"].as_array().unwrap();
    assert_eq!(expected.len(), answered.len());
    for (one, other) in expected.iter().zip(answered) {
        assert_eq!(one["intent"], other["intent"]);
        // The command line rounds what it prints.
        let p = (other["p"].as_f64().unwrap() * 1e6).round() / 1e6;
        assert_eq!(one["probability"].as_f64(), Some(p));
    }
    assert!(answered[0]["because"].is_array(), "{answer}");
    let asks =
        serde_json::json!({"user_id": "new", "event": "ask", "text": "where is the parcel today"});
    post("/v1/events", &asks);
    let (_, export) = ask(&process.address, "GET", "/v1/users/new/export", "").unwrap();
    assert!(export.contains("\"intent\":\"track\"") && export.contains("intent_model"), "{export}");

    // Without consent: what is expected of anybody, and nothing of the row is read.
    let withheld = "{\"consent\": {\"personalization\": false}}";
    assert_eq!(ask(&process.address, "PATCH", "/v1/users/u7", withheld).unwrap().0, 204);
    let asked = serde_json::json!({"user_ids": ["u7", "nobody"], "n": 13});
    let answer = post("/v1/questions", &asked);
    let (own, nobody) = (&answer["results"][0], &answer["results"][1]);
    assert_eq!((&own["questions"], &own["fallback"]), (&nobody["questions"], &"no_consent".into()));
    assert_ne!(own["questions"][0]["p"], answered[0]["p"]);
    let mut named = rows[0].clone();
    named["uid"] = "u7".into();
    let rows = serde_json::json!({"rows": [named, {}, rows[0]]});
    let predictions = post("/v1/predict/purchase", &rows)["predictions"].clone();
    assert_eq!(
        (&predictions[0]["p"], &predictions[0]["fallback"]),
        (&predictions[1]["p"], &"no_consent".into())
    );
    assert!(predictions[0]["p"] != predictions[2]["p"] && predictions[2].get("fallback").is_none());
    process.kill();
}

#[test]
fn experiments_are_listed_and_read_out_of_the_store() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    let config = "[[serve.experiment]]\nname = \"lists\"\nbegins = \"2025-11-24T16:00:00Z\"\n\
                  [[serve.experiment.variant]]\nname = \"old\"\n[[serve.experiment.variant]]\nname = \"new\"\npopular = true\n";
    std::fs::write(folder.join("forecart.toml"), config).unwrap();
    let store = folder.join("store.sqlite");
    let process = Process::start_in(folder, &store, &[]);
    let rows: Vec<String> = (0..400)
        .map(|n| {
            format!(
                "{{\"user_id\":\"u{n}\",\"event\":\"view_item_list\",\"timestamp\":1764100000}}"
            )
        })
        .collect();
    let body = format!("[{}]", rows.join(","));
    assert_eq!(ask(&process.address, "POST", "/v1/events", &body).unwrap().0, 202);
    let (_, answer) = ask(&process.address, "GET", "/v1/experiments/lists", "").unwrap();
    process.kill();
    let list = good(&forecart(folder, &["experiments"]));
    assert!(list.contains("lists") && list.contains("running"), "{list}");
    let of = ["experiments", "lists", "--store", store.to_str().unwrap()];
    let shown = good(&forecart(folder, &of));
    assert!(shown.contains("400 users count") && shown.contains("not decided"), "{shown}");
    // The same function reads out for both.
    let said = good(&forecart(folder, &[&of[..], &["--json"]].concat()));
    let [said, answer] = [said, answer].map(|text| {
        let mut own: serde_json::Value = serde_json::from_str(&text).unwrap();
        own["counted_at"] = "".into();
        own
    });
    assert_eq!(said, answer);
    let unknown = refused(&forecart(folder, &["experiments", "moon"]), 2);
    assert!(unknown.contains("lists"), "{unknown}");
    std::fs::write(folder.join("forecart.toml"), config.replace("\"new\"", "\"old\"")).unwrap();
    let wrong = refused(&forecart(folder, &["serve", "--port", "0"]), 2);
    assert!(wrong.contains("serve.experiment") && wrong.contains("twice"), "{wrong}");
}
