//! Counters and histograms, in the format of Prometheus, by the names of CONVENTIONS.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry, Unit};

/// Upper ends of the buckets of durations, in seconds.
const BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
/// The same of trainings.
const TRAINING_BUCKETS: [f64; 8] = [1.0, 10.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0];
/// Names of events that are counted apart; the others are counted together, so that no client makes metrics without end.
const N_OTHER: &str = "other";

/// Labels of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    pub(crate) route: String,
    pub(crate) method: String,
    pub(crate) status: u16,
}

/// One label.
macro_rules! labels {
    ($($name:ident { $($field:ident),+ })+) => {$(
        #[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub(crate) struct $name { $(pub(crate) $field: String),+ }
    )+};
}
labels! {
    RecommendLabels { scenario, model, variant }
    StageLabels { scenario, model, stage }
    ReasonLabels { reason }
    FilterLabels { filter }
    EventLabels { event, source }
    CodeLabels { code }
    ModelLabels { model, version }
    KindLabels { kind, state }
    JobLabels { kind }
    ModelName { model }
    PhaseLabels { model, phase }
}

type Seconds<L> = Family<L, Histogram, fn() -> Histogram>;

fn seconds<L: Clone + std::hash::Hash + Eq>() -> Seconds<L> {
    Family::new_with_constructor(|| Histogram::new(BUCKETS))
}

/// A metric that starts empty, known to the registry.
fn registered<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// A metric in seconds, known to the registry.
fn in_seconds<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register_with_unit(name, help, Unit::Seconds, metric.clone());
    metric
}

/// All that is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) requests: Seconds<RequestLabels>,
    pub(crate) recommend: Seconds<StageLabels>,
    pub(crate) recommended: Family<RecommendLabels, Counter>,
    pub(crate) fallbacks: Family<ReasonLabels, Counter>,
    pub(crate) filtered: Family<FilterLabels, Counter>,
    pub(crate) events: Family<EventLabels, Counter>,
    pub(crate) rejected: Family<CodeLabels, Counter>,
    pub(crate) commits: Histogram,
    pub(crate) store_failures: Counter,
    pub(crate) store_up: Gauge,
    pub(crate) failures: Counter,
    pub(crate) privacy: Family<KindLabels, Counter>,
    pub(crate) limited: Family<ReasonLabels, Counter>,
    pub(crate) models: Family<ModelLabels, Gauge>,
    pub(crate) trained: Family<ModelName, Gauge>,
    pub(crate) trainings: Seconds<PhaseLabels>,
    pub(crate) jobs_failed: Family<JobLabels, Counter>,
    pub(crate) waiting: Gauge,
    pub(crate) items: Gauge,
    pub(crate) catalog_bytes: Gauge,
    pub(crate) ready: Gauge<i64, std::sync::atomic::AtomicI64>,
    pub(crate) lag: Gauge<f64, AtomicU64>,
    pub(crate) nats_connected: Gauge,
    pub(crate) nats_pending: Gauge,
    pub(crate) replica_lag: Gauge<f64, AtomicU64>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("forecart");
        let to = &mut registry;
        // In this order they are shown.
        Self {
            requests: in_seconds(
                to,
                "http_request_duration",
                "Time of a request, until its answer is ready",
                seconds(),
            ),
            recommend: in_seconds(
                to,
                "recommend_duration",
                "Time of a part of an answer",
                seconds(),
            ),
            recommended: registered(to, "recommend_requests", "Lists that were answered"),
            fallbacks: registered(
                to,
                "recommend_fallback",
                "Lists that are not the model's own, by why",
            ),
            filtered: registered(
                to,
                "recommend_items_filtered",
                "Candidates that a filter took out",
            ),
            events: registered(to, "events_ingested", "Events that were written"),
            rejected: registered(to, "events_rejected", "Events that were refused, by why"),
            trained: in_seconds(
                to,
                "model_trained_timestamp",
                "When what answers was trained by this process, in seconds since 1970",
                Family::default(),
            ),
            trainings: in_seconds(
                to,
                "training_duration",
                "Time of a training beside the server",
                Family::new_with_constructor(|| Histogram::new(TRAINING_BUCKETS)),
            ),
            jobs_failed: registered(to, "jobs_failed", "Jobs that failed"),
            commits: in_seconds(
                to,
                "ingest_commit",
                "Time of a transaction of events",
                Histogram::new(BUCKETS),
            ),
            lag: in_seconds(
                to,
                "ingest_lag",
                "How old the newest event was when it was written",
                Gauge::default(),
            ),
            replica_lag: in_seconds(
                to,
                "replica_lag",
                "How long an announcement of this process took through the store and back",
                Gauge::default(),
            ),
            waiting: registered(to, "ingest_waiting_events", "Events that wait to be written"),
            store_failures: registered(to, "store_failures", "Requests to the store that failed"),
            store_up: registered(to, "store_up", "1 while the store answers and takes writes"),
            failures: registered(to, "failures", "Requests that failed inside"),
            privacy: registered(to, "privacy_requests", "Deletions and exports of users"),
            limited: registered(
                to,
                "requests_limited",
                "Requests that were one too many, by what they were counted by",
            ),
            models: registered(to, "model_info", "1 for what answers now"),
            items: registered(to, "items", "Items that may be answered with"),
            catalog_bytes: registered(to, "catalog_memory_bytes", "Memory of the catalog"),
            ready: registered(to, "ready", "1 if the server says that it is ready"),
            nats_connected: Gauge::default(),
            nats_pending: Gauge::default(),
            registry,
        }
    }

    /// What is said of NATS, where events are read from it.
    pub(crate) fn with_nats(mut self) -> Self {
        self.registry.register(
            "nats_connected",
            "1 while events are read from NATS",
            self.nats_connected.clone(),
        );
        self.registry.register(
            "nats_pending_messages",
            "Messages of NATS that are not acknowledged yet",
            self.nats_pending.clone(),
        );
        self
    }

    /// Counts events by name; names beyond those of the program are one.
    pub(crate) fn count_event(&self, event: &str, source: &str) {
        let is_known = forecart_data::event::STANDARD_EVENTS.contains(&event);
        let event = if is_known { event } else { N_OTHER };
        let labels = EventLabels { event: event.to_owned(), source: source.to_owned() };
        self.events.get_or_create(&labels).inc();
    }

    /// Counts an event that was refused.
    pub(crate) fn count_rejected(&self, code: &str) {
        self.rejected.get_or_create(&CodeLabels { code: code.to_owned() }).inc();
    }

    pub(crate) fn count_commit(&self, took: Duration) {
        self.commits.observe(took.as_secs_f64());
    }

    /// All of it as text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a String takes what is written");
        text
    }
}
