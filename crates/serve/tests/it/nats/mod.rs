//! Events by NATS: each once, none lost, whatever breaks. On a real server.

mod accounts;
pub(crate) mod clients;
mod secure;
pub(crate) mod server;
mod throughput;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::{DeliverPolicy, FromConsumer as _, pull};
use async_nats::jetstream::{Context, Message};
use axum::http::StatusCode;
use forecart_serve::store::{self, StoreCounts};
use forecart_serve::{
    Finding, RawNatsConfig, RawReplay, RawServeConfig, ServeConfig, Server, Severity,
};
use futures::StreamExt as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::served::{Served, dataset, write_model};
use server::{NatsServer, until};

const STREAM: &str = "forecart-events";
const SUBJECT: &str = "forecart.events";

/// A process that serves and reads.
struct Process {
    served: Served,
    end: oneshot::Sender<()>,
    running: tokio::task::JoinHandle<()>,
}

impl Process {
    async fn start(nats: &NatsServer) -> Self {
        Self::on(tempfile::tempdir().unwrap(), raw(nats)).await
    }

    async fn on(folder: TempDir, raw: RawServeConfig) -> Self {
        std::fs::create_dir_all(folder.path().join("models")).unwrap();
        let raw = RawServeConfig { port: Some(0), ..raw };
        let raw = Served::placed(&folder, raw);
        let config = ServeConfig::new(raw, NonZeroUsize::MIN).unwrap();
        let server = Server::start(config, false).await.unwrap();
        let served = Served::of(server.app().clone(), folder);
        let (end, ended) = oneshot::channel();
        let running = tokio::spawn(server.run(async { drop(ended.await) }));
        Self { served, end, running }
    }

    /// Ends it, as told to; what it kept stays.
    async fn end(self) -> TempDir {
        let folder = self.served.end();
        self.end.send(()).unwrap();
        self.running.await.unwrap();
        folder
    }

    async fn readiness(&self) -> Value {
        let answer = self.served.get("/health/ready").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        answer.json()
    }

    async fn until_reading(&self, is_reading: bool) {
        until("reading", async || self.readiness().await["nats"] == is_reading).await;
        let gauge = format!("forecart_nats_connected {}\n", i32::from(is_reading));
        assert!(self.metrics().await.contains(&gauge));
    }

    async fn metrics(&self) -> String {
        self.served.get("/metrics").await.text
    }

    /// Events of a user, by their ids, with how often each is there.
    async fn events(&self, user: &str) -> BTreeMap<String, usize> {
        let export = self.served.get(&format!("/v1/users/{user}/export")).await;
        let mut events = BTreeMap::new();
        for line in export.text.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            if let Some(id) = line.get("event_id").and_then(Value::as_str) {
                *events.entry(id.to_owned()).or_default() += 1;
            }
        }
        events
    }

    async fn until_has(&self, user: &str, n: usize) -> BTreeMap<String, usize> {
        until(&format!("{n} events of {user}"), async || self.events(user).await.len() == n).await;
        self.events(user).await
    }
}

fn raw_nats(nats: &NatsServer) -> RawNatsConfig {
    RawNatsConfig { url: Some(nats.url()), ..RawNatsConfig::default() }
}

fn raw(nats: &NatsServer) -> RawServeConfig {
    RawServeConfig { nats: Some(raw_nats(nats)), ..RawServeConfig::default() }
}

/// What is found of NATS before a start.
async fn found(raw: RawServeConfig) -> Finding {
    let folder = tempfile::tempdir().unwrap();
    let raw = RawServeConfig { port: Some(0), ..Served::placed(&folder, raw) };
    let config = ServeConfig::new(raw, NonZeroUsize::MIN).unwrap();
    let findings = forecart_serve::examine(&config).await;
    findings.into_iter().find(|own| own.check == "NATS").unwrap()
}

/// Publishes a message and waits until the stream has it.
async fn publish(context: &Context, subject: &str, payload: impl Into<String>) {
    let payload = payload.into().into();
    context.publish(subject.to_owned(), payload).await.unwrap().await.unwrap();
}

fn search(user: &str, id: usize) -> String {
    json!({"user_id": user, "event": "search", "event_id": id.to_string()}).to_string()
}

/// What the server knows of the consumer.
async fn consumer(context: &Context) -> async_nats::jetstream::consumer::Info {
    let stream = context.get_stream_no_info(STREAM).await.unwrap();
    stream.consumer_info("forecart").await.unwrap()
}

async fn until_acknowledged(context: &Context, sequence: u64) {
    until(&format!("all up to {sequence} is acknowledged"), async || {
        let info = consumer(context).await;
        info.ack_floor.stream_sequence == sequence && info.num_ack_pending == 0
    })
    .await;
}

/// All messages of a stream, from its first.
async fn messages(context: &Context, stream: &str) -> Vec<Message> {
    let mut stream = context.get_stream(stream).await.unwrap();
    let n = stream.info().await.unwrap().state.messages as usize;
    let consumer = stream.create_consumer(pull::Config::default()).await.unwrap();
    let messages = consumer.messages().await.unwrap();
    messages.take(n).map(Result::unwrap).collect().await
}

#[tokio::test]
async fn a_message_changes_the_next_answer() {
    let Some(nats) = NatsServer::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("models")).unwrap();
    let data = dataset(folder.path());
    let model = folder.path().join("models/model.forecart");
    write_model("seq-rules", &json!({}), &data, 1, &model);
    let process = Process::on(folder, raw(&nats)).await;
    process.until_reading(true).await;
    let context = nats.context().await;
    let answer = async || process.served.get("/v1/recommend/new?n=3").await.json();
    assert_eq!(answer().await["fallback"], "unknown_user");

    let row = |item: &str| json!({"visitorId": "new", "itemid": item, "type": "purchase"});
    publish(&context, SUBJECT, row("item/1").to_string()).await;
    process.until_has("new", 1).await;
    let list = answer().await;
    assert_eq!(list["fallback"], Value::Null, "{list}");
    assert_eq!(list["items"][0]["reasons"][0]["item_id"], "item/1", "{list}");

    // An array and lines are taken as they are over HTTP.
    publish(&context, SUBJECT, json!([row("item/2"), row("item/3")]).to_string()).await;
    publish(&context, SUBJECT, format!("{}\n{}\n", row("item/4"), row("item/5"))).await;
    process.until_has("new", 5).await;
    publish(&context, SUBJECT, "[]").await;
    until_acknowledged(&context, 4).await;
    let own = "forecart_events_ingested_total{event=\"purchase\",source=\"nats\"} 5\n";
    assert!(process.metrics().await.contains(own), "{}", process.metrics().await);
    until("nothing is pending", async || {
        process.metrics().await.contains("forecart_nats_pending_messages 0\n")
    })
    .await;
    // An event without a time happened when it was published.
    let published = messages(&context, STREAM).await[0].info().unwrap().published;
    let published_ms = published.unix_timestamp_nanos() / 1_000_000;
    let export = process.served.get("/v1/users/new/export").await.text;
    assert!(export.contains(&format!("\"timestamp\":{published_ms}")), "{export}");
    process.end().await;
}

#[tokio::test]
async fn what_is_no_event_goes_to_the_dead_letters_with_its_reason() {
    let Some(nats) = NatsServer::start().await else { return };
    let raw = RawServeConfig { max_body_bytes: NonZeroUsize::new(2_000), ..raw(&nats) };
    let process = Process::on(tempfile::tempdir().unwrap(), raw).await;
    process.until_reading(true).await;
    let context = nats.context().await;
    let bad_row = json!({"user_id": "u", "event": "search", "time\r\nX-Injected": 1, "ts": "soon"});
    let large = format!("\"{}\"", "x".repeat(5_000));
    publish(&context, SUBJECT, "{").await;
    publish(
        &context,
        SUBJECT,
        json!([{"user_id": "u", "event": "search"}, bad_row, 7]).to_string(),
    )
    .await;
    publish(&context, SUBJECT, large.clone()).await;
    publish(&context, SUBJECT, "{\"user_id\": \"u\", \"event\": \"search\"}\n{\"user_id\": \n")
        .await;
    publish(&context, SUBJECT, " {\"event\": \"search\"} ").await;
    publish(&context, SUBJECT, "").await;
    until_acknowledged(&context, 6).await;
    assert_eq!(process.events("u").await.len(), 2);

    let letters = messages(&context, "forecart-events-dead-letter").await;
    let told: Vec<Value> = letters
        .iter()
        .map(|letter| {
            let headers = letter.headers.as_ref().unwrap();
            let of = |name: &str| headers.get(name).map(|own| own.as_str().to_owned());
            assert_eq!(of("Forecart-Subject").as_deref(), Some(SUBJECT));
            assert_eq!(of("Forecart-Stream").as_deref(), Some(STREAM));
            assert!(of("Forecart-Message").is_some_and(|own| own.len() > 10));
            assert_eq!(of("X-Injected"), None);
            json!([
                of("Forecart-Sequence"),
                of("Forecart-Row"),
                of("Forecart-Code"),
                of("Forecart-Field")
            ])
        })
        .collect();
    let expected = json!([
        ["1", null, "not_json", null],
        ["2", "1", "bad_timestamp", "ts"],
        ["2", "2", "not_an_object", null],
        ["3", null, "message_too_large", null],
        ["4", "1", "not_json", null],
        ["5", "0", "missing_user_id", "user_id"],
        ["6", null, "not_json", null],
    ]);
    assert_eq!(json!(told), expected);
    let payloads: Vec<&[u8]> = letters.iter().map(|own| &own.payload[..]).collect();
    assert_eq!(payloads[0], b"{");
    assert_eq!(serde_json::from_slice::<Value>(payloads[1]).unwrap(), bad_row);
    assert_eq!(payloads[3], large.as_bytes());
    assert_eq!(payloads[4], b"{\"user_id\": ");
    assert_eq!(payloads[5], b" {\"event\": \"search\"} ");
    let metrics = process.metrics().await;
    assert!(metrics.contains("forecart_events_rejected_total{code=\"not_json\"} 3\n"), "{metrics}");
    process.end().await;
}

#[tokio::test]
async fn a_letter_that_has_no_room_beside_its_reason_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nats.conf");
    std::fs::write(&path, "max_payload: 20000").unwrap();
    let arguments = ["-c", path.to_str().unwrap()];
    let Some(nats) = NatsServer::start_with(&arguments).await else { return };
    let process = Process::start(&nats).await;
    process.until_reading(true).await;
    let context = nats.context().await;
    publish(&context, SUBJECT, "x".repeat(19_990)).await;
    until_acknowledged(&context, 1).await;
    let letters = messages(&context, "forecart-events-dead-letter").await;
    assert_eq!(
        letters[0].headers.as_ref().unwrap().get("Forecart-Bytes").unwrap().as_str(),
        "19990"
    );
    assert!(letters[0].payload.len() > 10_000);
    process.end().await;
}

#[tokio::test]
async fn messages_whose_letters_are_not_kept_come_again() {
    let Some(nats) = NatsServer::start().await else { return };
    let process = Process::start(&nats).await;
    process.until_reading(true).await;
    let context = nats.context().await;
    let mut letters = context.get_stream("forecart-events-dead-letter").await.unwrap();
    let config = letters.info().await.unwrap().config.clone();
    let closed = async_nats::jetstream::stream::Config { max_message_size: 1, ..config.clone() };
    context.update_stream(closed).await.unwrap();
    publish(&context, SUBJECT, "[").await;
    publish(&context, SUBJECT, search("u", 1)).await;
    process.until_has("u", 1).await;
    process.until_reading(false).await;
    until("only the other is acknowledged", async || {
        let info = consumer(&context).await;
        info.ack_floor.stream_sequence == 0 && info.num_ack_pending == 1
    })
    .await;
    context.update_stream(config).await.unwrap();
    until_acknowledged(&context, 2).await;
    assert_eq!(messages(&context, "forecart-events-dead-letter").await.len(), 1);
    process.until_reading(true).await;
    process.end().await;
}

#[tokio::test]
async fn a_message_that_comes_again_is_the_same_events() {
    let Some(nats) = NatsServer::start().await else { return };
    let process = Process::start(&nats).await;
    process.until_reading(true).await;
    let context = nats.context().await;
    let row = json!({"user_id": "u", "event": "search"});
    for n in 1..=20 {
        publish(&context, SUBJECT, json!(vec![&row; n]).to_string()).await;
    }
    let first = process.until_has("u", 210).await;
    until_acknowledged(&context, 20).await;
    let folder = process.end().await;

    // Read again by hand from a place; nothing is there twice.
    let mut again = raw(&nats);
    let nats_config = again.nats.as_mut().unwrap();
    nats_config.replay_from = Some(RawReplay::Sequence(6));
    let process = Process::on(folder, again.clone()).await;
    process.until_reading(true).await;
    until_acknowledged(&context, 20).await;
    let begun = DeliverPolicy::ByStartSequence { start_sequence: 6 };
    let info = consumer(&context).await;
    assert_eq!((info.config.deliver_policy, info.delivered.consumer_sequence), (begun, 15));
    assert_eq!(process.events("u").await, first);
    let folder = process.end().await;

    // Once: the next start goes on from where it was.
    let process = Process::on(folder, again).await;
    process.until_reading(true).await;
    assert_eq!(consumer(&context).await.created, info.created);
    process.end().await;
}

#[tokio::test]
async fn a_stream_that_is_made_anew_is_read_from_its_beginning() {
    let Some(nats) = NatsServer::start().await else { return };
    let process = Process::start(&nats).await;
    process.until_reading(true).await;
    let context = nats.context().await;
    let row = json!({"user_id": "u", "event": "search"}).to_string();
    for _ in 0..3 {
        publish(&context, SUBJECT, row.clone()).await;
    }
    process.until_has("u", 3).await;
    until_acknowledged(&context, 3).await;
    context.delete_stream(STREAM).await.unwrap();
    process.until_reading(false).await;
    process.until_reading(true).await;
    for _ in 0..2 {
        publish(&context, SUBJECT, row.clone()).await;
    }
    process.until_has("u", 5).await;
    process.end().await;
}

#[tokio::test]
async fn a_consumer_that_is_lost_is_made_anew_from_the_last_position() {
    let Some(nats) = NatsServer::start().await else { return };
    let process = Process::start(&nats).await;
    process.until_reading(true).await;
    let context = nats.context().await;
    for n in 0..30 {
        publish(&context, SUBJECT, search("u", n)).await;
    }
    process.until_has("u", 30).await;
    until_acknowledged(&context, 30).await;
    // A look, which notes the position, comes every second.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let stream = context.get_stream(STREAM).await.unwrap();
    stream.delete_consumer("forecart").await.unwrap();
    for n in 30..40 {
        publish(&context, SUBJECT, search("u", n)).await;
    }
    process.until_has("u", 40).await;
    until_acknowledged(&context, 40).await;
    let folder = process.end().await;

    // The same while nobody serves.
    stream.delete_consumer("forecart").await.unwrap();
    for n in 40..50 {
        publish(&context, SUBJECT, search("u", n)).await;
    }
    let process = Process::on(folder, raw(&nats)).await;
    process.until_has("u", 50).await;
    let begun = DeliverPolicy::ByStartSequence { start_sequence: 41 };
    assert_eq!(consumer(&context).await.config.deliver_policy, begun);
    process.end().await;
}

#[tokio::test]
async fn what_was_acknowledged_after_a_backup_is_read_again_when_it_is_restored() {
    let Some(nats) = NatsServer::start().await else { return };
    let context = nats.context().await;
    let mut folder = tempfile::tempdir().unwrap();
    let backup = tempfile::tempdir().unwrap();
    for n in [10, 30] {
        let process = Process::on(folder, raw(&nats)).await;
        process.until_reading(true).await;
        for id in n - 10..n {
            publish(&context, SUBJECT, search("u", id)).await;
        }
        until_acknowledged(&context, if n == 10 { 10 } else { 20 }).await;
        folder = process.end().await;
        if n == 10 {
            for file in std::fs::read_dir(folder.path()).unwrap() {
                let file = file.unwrap();
                if file.file_type().unwrap().is_file() {
                    std::fs::copy(file.path(), backup.path().join(file.file_name())).unwrap();
                }
            }
        }
    }
    let created = consumer(&context).await.created;
    // The same store goes on with the same consumer.
    let process = Process::on(folder, raw(&nats)).await;
    process.until_reading(true).await;
    assert_eq!(consumer(&context).await.created, created);
    process.end().await;
    let process = Process::on(backup, raw(&nats)).await;
    process.until_has("u", 20).await;
    let begun = DeliverPolicy::ByStartSequence { start_sequence: 11 };
    assert_eq!(consumer(&context).await.config.deliver_policy, begun);
    until_acknowledged(&context, 20).await;
    process.end().await;
}

#[tokio::test]
async fn a_consumer_that_gives_messages_up_is_not_read() {
    let Some(nats) = NatsServer::start().await else { return };
    let process = Process::start(&nats).await;
    process.until_reading(true).await;
    let context = nats.context().await;
    let folder = process.end().await;
    let stream = context.get_stream(STREAM).await.unwrap();
    stream.delete_consumer("forecart").await.unwrap();
    let config = pull::Config {
        durable_name: Some("forecart".to_owned()),
        filter_subject: SUBJECT.to_owned(),
        max_deliver: 3,
        ..pull::Config::default()
    };
    context.create_consumer_on_stream(config, STREAM).await.unwrap();
    publish(&context, SUBJECT, search("u", 1)).await;
    let process = Process::on(folder, raw(&nats)).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    process.until_reading(false).await;
    assert_eq!(consumer(&context).await.delivered.consumer_sequence, 0);
    stream.delete_consumer("forecart").await.unwrap();
    process.until_has("u", 1).await;
    process.end().await;
}

#[tokio::test]
async fn what_keeps_events_from_being_read_is_found_before_a_start() {
    let url = Some("nats://shop:secret@127.0.0.1:1".to_owned());
    let nats = Some(RawNatsConfig { url, ..RawNatsConfig::default() });
    let away = found(RawServeConfig { nats, ..RawServeConfig::default() }).await;
    assert_eq!(away.severity, Severity::Warning);
    assert!(away.found.contains("127.0.0.1:1") && !away.found.contains("secret"), "{away:?}");

    let Some(nats) = NatsServer::start().await else { return };
    let new = found(raw(&nats)).await;
    assert!(new.severity == Severity::Ok && new.found.contains("will be made"), "{new:?}");
    let process = Process::start(&nats).await;
    process.until_reading(true).await;
    publish(&nats.context().await, SUBJECT, search("u", 1)).await;
    let there = found(raw(&nats)).await;
    assert!(there.severity == Severity::Ok && there.found.contains("has 1 messages"), "{there:?}");
    process.end().await;
    let mut other = raw(&nats);
    other.nats.as_mut().unwrap().stream = Some("other".to_owned());
    let none = found(other).await;
    assert!(none.severity == Severity::Warning && none.found.contains("\"other\""), "{none:?}");
}

#[tokio::test]
async fn a_server_that_is_away_stops_nothing_and_is_found_again() {
    let Some(mut nats) = NatsServer::new(&[]) else { return };
    let process = Process::start(&nats).await;
    process.until_reading(false).await;
    nats.run().await;
    process.until_reading(true).await;

    let context = nats.context().await;
    let mut acknowledged = Vec::new();
    let mut n_kills = 0;
    for n in 0..600 {
        let published = match context.publish(SUBJECT, search("u", n).into()).await {
            Ok(published) => published.await.is_ok(),
            Err(_) => false,
        };
        if published {
            acknowledged.push(n.to_string());
        }
        if n % 200 == 100 {
            nats.kill().await;
            process.until_reading(false).await;
            n_kills += 1;
            let answer = process.served.get("/v1/recommend/u").await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
            nats.run().await;
            if n_kills < 3 {
                process.until_reading(true).await;
            }
        }
    }
    assert!(acknowledged.len() > 500, "{}", acknowledged.len());
    until("all that was acknowledged is there, each once", async || {
        let events = process.events("u").await;
        assert!(events.values().all(|n| *n == 1));
        acknowledged.iter().all(|id| events.contains_key(id))
    })
    .await;
    process.until_reading(true).await;
    process.end().await;
}

#[tokio::test]
async fn nothing_is_lost_or_twice_when_processes_are_killed() {
    let Some(nats) = NatsServer::start().await else { return };
    let context = nats.context().await;
    let mut folder = tempfile::tempdir().unwrap();
    const N: usize = 3_000;
    let row = json!({"user_id": "u", "event": "search"}).to_string();
    // Makes the stream.
    let process = Process::on(folder, in_portions(&nats)).await;
    process.until_reading(true).await;
    folder = process.end().await;
    // What a killed process had must come again soon.
    come_again_soon(&context).await;
    let publishing = {
        let context = context.clone();
        tokio::spawn(async move {
            for _ in 0..N {
                publish(&context, SUBJECT, row.clone()).await;
            }
        })
    };
    for kill in 0..8 {
        // All that runs there ends at once, wherever it is.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let started = runtime.spawn(Process::on(folder, in_portions(&nats)));
        let process = started.await.unwrap();
        tokio::time::sleep(Duration::from_millis(60 + 35 * kill)).await;
        runtime.shutdown_background();
        folder = process.served.end();
    }
    publishing.await.unwrap();
    let process = Process::on(folder, in_portions(&nats)).await;
    let events = process.until_has("u", N).await;
    assert!(events.values().all(|n| *n == 1));
    until_acknowledged(&context, N as u64).await;
    assert_eq!(process.events("u").await.len(), N);
    process.end().await;
}

/// A process that takes 50 messages at once.
fn in_portions(nats: &NatsServer) -> RawServeConfig {
    let mut raw = raw(nats);
    raw.nats.as_mut().unwrap().batch = NonZeroUsize::new(50);
    raw
}

/// Messages that were fetched and not acknowledged come again after a second.
async fn come_again_soon(context: &Context) {
    let config = pull::Config::try_from_consumer_config(consumer(context).await.config).unwrap();
    let config = pull::Config { ack_wait: Duration::from_secs(1), ..config };
    context.create_consumer_on_stream(config, STREAM).await.unwrap();
}

/// Makes a store refuse events, or take them again.
async fn refuse(folder: &TempDir, refuses: bool) {
    let path = folder.path().join("store.sqlite");
    let store = sqlx::SqlitePool::connect(path.to_str().unwrap()).await.unwrap();
    let sql = match refuses {
        true => {
            "CREATE TRIGGER refuses BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'planted'); END"
        }
        false => "DROP TRIGGER refuses",
    };
    sqlx::query(sql).execute(&store).await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn what_the_store_refuses_is_not_acknowledged_and_comes_later() {
    let Some(nats) = NatsServer::start().await else { return };
    let process = Process::start(&nats).await;
    process.until_reading(true).await;
    let context = nats.context().await;
    let folder = process.end().await;
    come_again_soon(&context).await;

    refuse(&folder, true).await;
    let process = Process::on(folder, raw(&nats)).await;
    process.until_reading(true).await;
    for n in 0..10 {
        publish(&context, SUBJECT, search("u", n)).await;
    }
    until("the store refused", async || {
        process.metrics().await.contains("forecart_store_failures_total 3\n")
    })
    .await;
    // Longer than after which a message comes again: the server hears that these are in progress.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let info = consumer(&context).await;
    assert_eq!((info.ack_floor.stream_sequence, info.num_redelivered), (0, 0), "{info:?}");
    assert_eq!(process.events("u").await.len(), 0);
    until("readiness says so", async || {
        let ready = process.served.get("/health/ready").await;
        ready.status == StatusCode::SERVICE_UNAVAILABLE && ready.json()["store"] == false
    })
    .await;
    refuse(&process.served.folder, false).await;
    process.until_has("u", 10).await;
    until_acknowledged(&context, 10).await;

    // Told to end while the store refuses, a process gives back what it has.
    refuse(&process.served.folder, true).await;
    for n in 10..20 {
        publish(&context, SUBJECT, search("u", n)).await;
    }
    until("it has them", async || consumer(&context).await.num_ack_pending > 0).await;
    let began = Instant::now();
    let folder = process.end().await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    refuse(&folder, false).await;
    let process = Process::on(folder, raw(&nats)).await;
    process.until_has("u", 20).await;
    process.end().await;
}

#[tokio::test]
async fn a_full_queue_is_waited_for() {
    let Some(nats) = NatsServer::start().await else { return };
    let raw = RawServeConfig { queue_events: NonZeroUsize::new(64), ..raw(&nats) };
    let process = Process::on(tempfile::tempdir().unwrap(), raw).await;
    process.until_reading(true).await;
    let context = nats.context().await;
    let rows: Vec<String> = (0..2_000).map(|n| search("u", n)).collect();
    publish(&context, SUBJECT, rows.join("\n")).await;
    // A large one takes nearly all the room that there is.
    let text = "x".repeat(30_000);
    let large = json!({"user_id": "u", "event": "search", "event_id": "large", "note": text});
    publish(&context, SUBJECT, large.to_string()).await;
    process.until_has("u", 2_001).await;
    until_acknowledged(&context, 2).await;
    process.end().await;
}

#[tokio::test]
async fn a_stream_that_holds_its_own_dead_letters_is_not_read() {
    let Some(nats) = NatsServer::start().await else { return };
    let context = nats.context().await;
    let config = async_nats::jetstream::stream::Config {
        name: "all".to_owned(),
        subjects: vec!["forecart.>".to_owned()],
        ..Default::default()
    };
    context.create_stream(config).await.unwrap();
    let mut raw = raw(&nats);
    raw.nats.as_mut().unwrap().stream = Some("all".to_owned());
    let process = Process::on(tempfile::tempdir().unwrap(), raw.clone()).await;
    publish(&context, SUBJECT, "no event").await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    process.until_reading(false).await;
    assert_eq!(messages(&context, "all").await.len(), 1);
    let folder = process.end().await;
    // What is read is said: then it may.
    raw.nats.as_mut().unwrap().subjects = vec![SUBJECT.to_owned(), "forecart.more".to_owned()];
    let process = Process::on(folder, raw).await;
    process.until_reading(true).await;
    publish(&context, "forecart.more", search("u", 1)).await;
    process.until_has("u", 1).await;
    let letters = messages(&context, "all").await;
    assert_eq!(letters.len(), 3, "{letters:?}");
    assert_eq!(
        letters.iter().filter(|own| own.subject.as_str() == "forecart.dead-letter").count(),
        1
    );
    process.end().await;
}

#[tokio::test]
async fn processes_on_one_store_share_the_messages() {
    let Some(nats) = NatsServer::start().await else { return };
    let Ok(address) = std::env::var("FORECART_TEST_POSTGRES") else {
        assert!(
            std::env::var_os("FORECART_TEST_ALL").is_none(),
            "FORECART_TEST_POSTGRES is not set"
        );
        return;
    };
    let database = format!("nats_{}", uuid::Uuid::now_v7().simple());
    let server = sqlx::PgPool::connect(&address).await.unwrap();
    let sql = |verb: &str| sqlx::AssertSqlSafe(format!("{verb} DATABASE {database}"));
    sqlx::query(sql("CREATE")).execute(&server).await.unwrap();
    let (server_part, _) = address.rsplit_once('/').unwrap();
    let place = format!("{server_part}/{database}");
    let process = async || {
        let raw = RawServeConfig { store: Some(place.clone()), ..in_portions(&nats) };
        Process::on(tempfile::tempdir().unwrap(), raw).await
    };
    let (a, b) = (process().await, process().await);
    a.until_reading(true).await;
    b.until_reading(true).await;
    let context = nats.context().await;
    const N: usize = 1_000;
    let row = json!({"user_id": "u", "event": "search"}).to_string();
    let publishing: Vec<_> =
        futures::future::join_all((0..N).map(|_| context.publish(SUBJECT, row.clone().into())))
            .await;
    for published in publishing {
        published.unwrap().await.unwrap();
    }
    until_acknowledged(&context, N as u64).await;
    let store = store::open(&place).await.unwrap();
    let counts = StoreCounts { n_events: N as u64, n_items: 0, n_users: 0 };
    assert_eq!(store.counts().await.unwrap(), counts);
    store.close().await;
    let mut n_all = 0;
    for process in [a, b] {
        let metrics = process.metrics().await;
        let own = "forecart_events_ingested_total{event=\"search\",source=\"nats\"} ";
        let (_, rest) = metrics.split_once(own).unwrap_or_else(|| panic!("{metrics}"));
        n_all += rest.lines().next().unwrap().parse::<usize>().unwrap();
        process.end().await;
    }
    assert_eq!(n_all, N);
    sqlx::query(sql("DROP")).execute(&server).await.unwrap();
}
