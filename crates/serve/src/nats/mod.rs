//! NATS JetStream as a source of events, beside requests.
//!
//! - [`reader`](self::reader) is the task: it connects ([`connect`](self::connect)), binds ([`bound`](self::bound)), pulls ([`pull`](self::pull)) and begins anew when something breaks.
//! - A [`batch`](self::batch) of messages is read by the same checks as a request, written through the intake, and acknowledged only then.
//! - What is no event goes to the dead letters ([`dead_letter`](self::dead_letter)) with the reason, and only then is the message done with.
//!
//! At least once: whatever breaks, a message that was not acknowledged comes again, and its events are known by their ids. What was
//! acknowledged without a gap is noted in the store, so that a consumer that is lost on the server is made anew from there.

mod batch;
mod bound;
mod config;
mod connect;
mod dead_letter;
mod error;
mod pull;
mod reader;
mod subject;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::watch;

pub use config::{NatsConfig, RawNatsConfig, RawReplay};
pub(crate) use connect::examine;

use crate::app::App;

/// How long the end of what was begun is waited for.
const STOP: Duration = Duration::from_secs(5);

/// Whether events are read now.
#[derive(Debug)]
pub(crate) struct NatsState {
    is_reading: AtomicBool,
    gauge: Gauge,
}

impl NatsState {
    pub(crate) fn new(gauge: Gauge) -> Self {
        Self { is_reading: AtomicBool::new(false), gauge }
    }

    /// Whether events are read now.
    pub(crate) fn is_reading(&self) -> bool {
        self.is_reading.load(Ordering::Acquire)
    }

    fn set(&self, is_reading: bool) {
        self.is_reading.store(is_reading, Ordering::Release);
        self.gauge.set(is_reading.into());
    }
}

/// The task that reads.
#[derive(Debug)]
pub(crate) struct NatsSource {
    stop: watch::Sender<bool>,
    reading: tokio::task::JoinHandle<()>,
}

impl NatsSource {
    /// Begins to read, where the configuration names a server; one that is away is waited for.
    pub(crate) fn start(app: &Arc<App>) -> Option<Self> {
        let config = app.config.nats.clone()?;
        let (stop, stopped) = watch::channel(false);
        let reading = tokio::spawn(reader::read(app.clone(), config, stopped));
        Some(Self { stop, reading })
    }

    /// Ends: what is being written is acknowledged, what was fetched beside it is given back.
    pub(crate) async fn stop(mut self) {
        let _ = self.stop.send(true);
        if tokio::time::timeout(STOP, &mut self.reading).await.is_err() {
            tracing::warn!("reading from NATS was cut off: what was not acknowledged comes again");
            self.reading.abort();
            let _ = self.reading.await;
        }
    }
}
