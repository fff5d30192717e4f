//! How many events a second go from a stream to the disk. Not a check: it prints what it measures.
//!
//! ```sh
//! cargo test --release -p forecart-serve --test it -- --ignored --nocapture --exact nats::throughput::events_a_second
//! ```

use std::time::{Duration, Instant};

use async_nats::jetstream::{Context, stream};
use forecart_serve::RawServeConfig;
use futures::future::try_join_all;
use serde_json::json;

use super::server::NatsServer;
use super::{Process, STREAM, SUBJECT, consumer, raw_nats};
use crate::store::on_postgres;

/// Events of one measurement.
const N_EVENTS: usize = 200_000;
const N_USERS: usize = 10_000;
const N_ITEMS: usize = 5_000;
/// Messages on their way to the stream at once.
const AT_ONCE: usize = 1_000;

/// All messages are in the stream before a process begins to read; the time is from then on until the server knows that all are acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it takes a minute, and the machine for itself"]
async fn events_a_second() {
    for n_a_message in [1, 100] {
        measure("SQLite", n_a_message, None).await;
        on_postgres(async |address| measure("PostgreSQL", n_a_message, Some(address)).await).await;
    }
}

#[expect(clippy::print_stderr, reason = "whoever runs it reads what it prints")]
async fn measure(store: &str, n_a_message: usize, address: Option<String>) {
    let Some(nats) = NatsServer::start().await else { return };
    let context = nats.context().await;
    let config = stream::Config {
        name: STREAM.to_owned(),
        subjects: vec![SUBJECT.to_owned()],
        ..stream::Config::default()
    };
    context.create_stream(config).await.unwrap();
    fill(&context, n_a_message).await;
    let raw =
        RawServeConfig { store: address, nats: Some(raw_nats(&nats)), ..RawServeConfig::default() };
    let process = Process::on(tempfile::tempdir().unwrap(), raw).await;
    let began = Instant::now();
    process.until_reading(true).await;
    let n_messages = (N_EVENTS / n_a_message) as u64;
    while consumer(&context).await.ack_floor.stream_sequence < n_messages {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let took = began.elapsed();
    let metrics = process.metrics().await;
    let own = format!(
        "forecart_events_ingested_total{{event=\"view_item\",source=\"nats\"}} {N_EVENTS}\n"
    );
    assert!(metrics.contains(&own), "{metrics}");
    process.end().await;
    let a_second = N_EVENTS as f64 / took.as_secs_f64();
    eprintln!(
        "{store}, {n_a_message} a message: {a_second:.0} events a second ({N_EVENTS} in {took:.1?})"
    );
}

/// Publishes all events: each of some user on some item, a second apart.
async fn fill(context: &Context, n_a_message: usize) {
    let event = |n: usize| {
        json!({
            "user_id": format!("user-{}", n * 7 % N_USERS),
            "item_id": format!("item-{}", n * 13 % N_ITEMS),
            "event": "view_item",
            "timestamp": 1_764_000_000 + n,
        })
    };
    let events: Vec<usize> = (0..N_EVENTS).collect();
    let messages: Vec<String> = events
        .chunks(n_a_message)
        .map(|own| match own {
            [one] => event(*one).to_string(),
            many => many.iter().map(|n| event(*n)).collect::<serde_json::Value>().to_string(),
        })
        .collect();
    for messages in messages.chunks(AT_ONCE) {
        let sent = messages.iter().map(|own| context.publish(SUBJECT, own.clone().into()));
        let kept = try_join_all(sent).await.unwrap().into_iter().map(IntoFuture::into_future);
        try_join_all(kept).await.unwrap();
    }
}
