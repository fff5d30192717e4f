//! No secret is in any line of the log, whatever is asked and whatever fails.
//!
//! The requests are made by a process of its own, this binary with one ignored test, so that all that it prints can be searched: at the level `debug`,
//! of every crate and every thread.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;

use axum::body::Body;
use axum::http::Request;
use forecart_models::model_file::{LoadedModel, SigningKey, VerifyingKey};
use forecart_serve::store::{self, Scope};
use forecart_serve::{RawNatsConfig, RawServeConfig, ServeConfig, Server};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::nats::clients::ways;
use crate::nats::server::NatsServer;
use crate::served::{Served, dataset, write_model};

const FOLDER: &str = "FORECART_TEST_FOLDER";
const PASSWORD: &str = "correct-horse-battery-staple";

fn tokens(folder: &Path) -> Vec<String> {
    std::fs::read_to_string(folder.join("tokens")).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn no_secret_is_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::create_dir(root.join("models")).unwrap();
    let keys = [Scope::Read, Scope::Admin].map(|scope| forecart_serve::generate_key(scope, 1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = store::open(root.join("store.sqlite").to_str().unwrap()).await.unwrap();
        for key in &keys {
            store.put_key(&key.record).await.unwrap();
        }
        store.close().await;
    });
    let lines: Vec<&str> = keys.iter().map(|key| key.token.as_str()).collect();
    std::fs::write(root.join("tokens"), lines.join("\n")).unwrap();
    SigningKey::generate().write_new(&root.join("signing.key")).unwrap();
    let signing = std::fs::read_to_string(root.join("signing.key")).unwrap();

    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "secrets::what_is_logged",
            "--exact",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(FOLDER, root)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr]
        .map(|own| String::from_utf8_lossy(&own).into_owned())
        .concat();
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    // It says much, also of what failed.
    for said in [
        "request_id",
        "slow or failed request",
        "wrong_scope was asked",
        "DEBUG",
        "ERROR",
        "the store is not there",
        "attempting connection",
        "no events are read from NATS",
    ] {
        assert!(text.contains(said), "{said} is not in the log:\n{text}");
    }
    assert!(text.lines().filter(|line| line.contains("request_id")).count() > 20, "{text}");
    let mut secrets = vec![PASSWORD.to_owned()];
    secrets.extend(keys.iter().map(|key| key.token.rsplit('_').next().unwrap().to_owned()));
    secrets.extend(keys.iter().map(|key| key.record.secret_hash.clone()));
    secrets.push(signing.trim().rsplit('-').next().unwrap().to_owned());
    let of_nats = std::fs::read_to_string(root.join("nats-secrets")).unwrap();
    secrets.extend(of_nats.lines().map(str::to_owned));
    if std::env::var_os("FORECART_TEST_NATS").is_some() {
        assert!(of_nats.lines().count() >= 8, "{of_nats}");
        for said in ["authorization violation", "events are read from NATS"] {
            assert!(text.contains(said), "{said} is not in the log:\n{text}");
        }
    }
    for secret in secrets {
        let beginning = &secret[..secret.len().min(24)];
        let line = text.lines().find(|line| line.contains(beginning));
        assert_eq!(line, None, "a secret is in the log");
    }
}

/// Typical requests, and all that clients and operators do wrong with secrets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the test above runs it in a process of its own"]
async fn what_is_logged() {
    let Some(root) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    let tokens = tokens(&root);
    let (read, admin) = (tokens[0].as_str(), tokens[1].as_str());
    let signing = SigningKey::read(&root.join("signing.key")).unwrap();
    tracing::info!(?signing, key = %signing.verifying_key(), "a key is read");

    let data = tempfile::tempdir().unwrap();
    let dataset = dataset(data.path());
    for (seed, name) in [(1, "signed.forecart"), (2, "unsigned.forecart")] {
        let path = root.join("models").join(name);
        write_model("bpr", &json!({"n_epochs": 1, "n_factors": 4}), &dataset, seed, &path);
        if seed == 1 {
            let model = LoadedModel::open(&path).unwrap();
            model.save_signed(&path, Some(&signing)).unwrap();
        }
    }
    let raw = RawServeConfig {
        trusted_keys: vec![signing.verifying_key().to_string()],
        rate_per_second: Some(0.01),
        rate_burst: std::num::NonZeroU32::new(40),
        slow_ms: std::num::NonZeroU32::new(1),
        ..RawServeConfig::default()
    };
    asked(&root, raw.clone(), read, admin).await;
    through_a_socket(&root, raw, admin).await;
    known_and_unknown_to_nats(&root).await;

    // What operators do wrong is told by these errors.
    for address in [
        format!("postgres://forecart:{PASSWORD}@127.0.0.1:1/forecart"),
        format!("postgres://forecart:{PASSWORD}@127.0.0.1:port/forecart"),
        format!("postgres://forecart:{PASSWORD}@[::1/forecart"),
        format!("mysql://forecart:{PASSWORD}@127.0.0.1/forecart"),
    ] {
        let raw =
            RawServeConfig { store: Some(address), port: Some(0), ..RawServeConfig::default() };
        let config = ServeConfig::new(raw, NonZeroUsize::MIN).unwrap();
        let Err(error) = Server::start(config, false).await else { panic!("it started") };
        tracing::error!(%error, debug = ?error, "the store is not there");
    }
    let secret = std::fs::read_to_string(root.join("signing.key")).unwrap();
    for entry in [
        secret.trim().to_owned(),
        root.join("signing.key").display().to_string(),
        format!("{}x", secret.trim()),
    ] {
        let error = VerifyingKey::read_all(&entry).unwrap_err();
        tracing::error!(%error, debug = ?error, "no public key");
        let raw = RawServeConfig { trusted_keys: vec![entry], ..RawServeConfig::default() };
        let error = ServeConfig::new(raw, NonZeroUsize::MIN).unwrap_err();
        tracing::error!(%error, debug = ?error, "a secret key where a public one belongs");
    }
    let cut = root.join("cut.key");
    std::fs::write(&cut, &secret[..secret.len() - 4]).unwrap();
    let error = SigningKey::read(&cut).unwrap_err();
    tracing::error!(%error, debug = ?error, "no signing key");
}

/// Requests of every kind, with keys where they belong and where they do not.
async fn asked(root: &Path, raw: RawServeConfig, read: &str, admin: &str) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("models")).unwrap();
    for name in ["models/signed.forecart", "models/unsigned.forecart", "store.sqlite"] {
        std::fs::copy(root.join(name), folder.path().join(name)).unwrap();
    }
    let served = Served::at(folder, raw).await;
    let ask = async |method: &str, path: &str, (header, value): (&str, String), body: String| {
        let request = Request::builder().method(method).uri(path).header(header, value);
        served.send(request.body(Body::from(body)).unwrap()).await.status.as_u16()
    };
    let by = |key: &str| ("x-api-key", key.to_owned());
    let event = json!({"user_id": "u", "item_id": "item/3", "event": "purchase"}).to_string();
    let none = String::new;
    for (method, path, body) in [
        ("POST", "/v1/events", event.clone()),
        ("GET", "/v1/recommend/u?explain=true", none()),
        ("GET", "/v1/models", none()),
        (
            "POST",
            "/v1/models/recommend/promote",
            json!({"version": "unsigned.forecart"}).to_string(),
        ),
        ("POST", "/v1/models/refresh", none()),
        ("GET", "/metrics", none()),
        ("GET", "/v1/users/u/export", none()),
        ("DELETE", "/v1/users/u", none()),
        ("POST", "/v1/predict/click", json!({"rows": [{}]}).to_string()),
        ("POST", "/v1/recommend", "{".to_owned()),
    ] {
        let status = ask(method, path, by(admin), body).await;
        assert!(![401, 403].contains(&status), "{method} {path}: {status}");
    }
    assert_eq!(ask("POST", "/v1/events", by(read), event.clone()).await, 403);
    tracing::info!("wrong_scope was asked");
    // A letter too many, the wrong scheme, as a cookie, as a user and password.
    assert_eq!(ask("GET", "/v1/models", by(&format!("{admin}0")), none()).await, 401);
    for (header, value) in [
        ("authorization", format!("Basic {admin}")),
        ("authorization", admin.to_owned()),
        ("cookie", format!("key={admin}")),
        ("x-api-key", format!("{admin}\u{20}{admin}")),
    ] {
        assert_eq!(ask("GET", "/v1/models", (header, value), none()).await, 401);
    }
    // In paths, in queries, in bodies.
    for path in
        [format!("/v1/models?key={admin}"), format!("/{admin}"), format!("/v1/requests/{admin}")]
    {
        ask("GET", &path, by(read), none()).await;
    }
    for body in [json!({admin: 1}), json!({"user_id": "u", "event": admin}), json!(admin)] {
        ask("POST", "/v1/events", by(admin), body.to_string()).await;
        ask("POST", "/v1/recommend", by(admin), body.to_string()).await;
    }
    // Until it is one too many.
    let mut n = 0;
    while ask("GET", "/v1/models", by(read), none()).await != 429 {
        n += 1;
        assert!(n < 100);
    }
}

/// A server as it is run, with clients that break off in the middle of a key.
async fn through_a_socket(root: &Path, raw: RawServeConfig, key: &str) {
    let nats = Some(format!("nats://shop:{PASSWORD}@127.0.0.1:1"));
    let raw = RawServeConfig {
        store: Some(root.join("store.sqlite").display().to_string()),
        models: vec![root.join("models")],
        port: Some(0),
        nats: Some(RawNatsConfig { url: nats, ..RawNatsConfig::default() }),
        ..raw
    };
    let server =
        Server::start(ServeConfig::new(raw, NonZeroUsize::MIN).unwrap(), false).await.unwrap();
    let address = server.address().unwrap();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(server.run(async { drop(ended.await) }));
    for request in [
        format!(
            "GET /v1/models HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\nconnection: close\r\n\r\n"
        ),
        format!("GET /v1/models HTTP/1.1\r\nhost: x\r\nx-api-key {key}\r\n\r\n"),
        format!("GET /{key} HTTP/9.9\r\n\r\n"),
        format!("{key}\r\n\r\n"),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(format!("GET /v1/models HTTP/1.1\r\nx-api-key: {key}").as_bytes())
        .await
        .unwrap();
    drop(stream);
    // It tries to read events more than once.
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    end.send(()).unwrap();
    running.await.unwrap();
}

/// Servers that read events, from servers of NATS that know them and that do not.
async fn known_and_unknown_to_nats(root: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let mut secrets = Vec::new();
    for way in ways(folder.path()).await {
        let arguments: Vec<&str> = way.arguments.iter().map(String::as_str).collect();
        let Some(nats) = NatsServer::start_with(&arguments).await else { break };
        secrets.extend(way.secrets);
        for client in [way.known, way.unknown] {
            let raw = RawServeConfig {
                store: Some(folder.path().join("store.sqlite").display().to_string()),
                port: Some(0),
                nats: Some(client.of(&nats)),
                ..RawServeConfig::default()
            };
            let config = ServeConfig::new(raw, NonZeroUsize::MIN).unwrap();
            for finding in forecart_serve::examine(&config).await {
                tracing::info!(?finding, ?config, "found before a start");
            }
            let server = Server::start(config, false).await.unwrap();
            let (end, ended) = tokio::sync::oneshot::channel::<()>();
            let running = tokio::spawn(server.run(async { drop(ended.await) }));
            // It is read, or tried more than once.
            tokio::time::sleep(std::time::Duration::from_millis(700)).await;
            end.send(()).unwrap();
            running.await.unwrap();
        }
    }
    std::fs::write(root.join("nats-secrets"), secrets.join("\n")).unwrap();
}
