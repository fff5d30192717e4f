//! All that a process holds while it serves.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use forecart_models::model_file::LoadedModel;
use forecart_text::{Pipeline, PipelineConfig};

use crate::catalog::{Catalog, ItemRow};
use crate::circuit::Circuit;
use crate::clock::now_ms;
use crate::config::ServeConfig;
use crate::consent::Consents;
use crate::event::Event;
use crate::experiments::{ExperimentError, Experiments, ReadOuts};
use crate::history::Histories;
use crate::intake::{Intake, Listener, Source};
use crate::jobs::Jobs;
use crate::keys::Keys;
use crate::limits::Limits;
use crate::lists::{Job, ShopRuleError, ShopRules};
use crate::metrics::{Metrics, ModelLabels};
use crate::models::{Models, ServedModelError};
use crate::nats::NatsState;
use crate::new_items::{NewItems, terms};
use crate::popularity::Popularity;
use crate::store::{self, ItemRecord, Store, StoreError};
use crate::traces::Traces;
use crate::workers::Workers;

/// Items of one page, when the catalog is read from the store.
const ITEMS_PAGE: usize = 5_000;
/// Items whose texts are read together, while the catalog is locked for changes.
const TEXTS_AT_ONCE: usize = 16;
/// How long counting items, and removing old events, may take.
const LONG: Duration = Duration::from_secs(600);
/// How long closing the store may take.
const CLOSE: Duration = Duration::from_secs(10);

/// Does something again and again; a turn that takes longer than the pause is followed by a pause.
pub(crate) async fn every<F: Future<Output = ()>>(pause: Duration, turn: impl Fn() -> F) {
    let mut ticks = tokio::time::interval(pause);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The first tick is at once; all has just been read.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        turn().await;
    }
}

/// Ends long work on a store that may have gone without a word.
async fn within<T>(
    most: Duration,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let slow = StoreError::Slow { ms: most.as_millis() as u64 };
    tokio::time::timeout(most, work).await.unwrap_or(Err(slow))
}

/// Why a process does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The store cannot be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No model can be found.
    #[error(transparent)]
    Model(#[from] ServedModelError),
    /// A rule of the shop cannot be used.
    #[error(transparent)]
    Rules(#[from] ShopRuleError),
    /// TLS cannot be spoken.
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
    /// An experiment cannot be run.
    #[error(transparent)]
    Experiments(#[from] ExperimentError),
    /// The system refuses a thread, a socket or a file.
    #[error("{action}: {source}")]
    System {
        /// What was tried.
        action: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Anybody on the network could do everything.
    #[error(
        "{address} is open to the network and the store holds no key: make one by `forecart keygen --scope admin`, listen at 127.0.0.1, or say --open"
    )]
    Open {
        /// Where it should listen.
        address: std::net::SocketAddr,
    },
}

/// What events change in memory, once they are durable.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) catalog: RwLock<Catalog>,
    /// Locked after the catalog.
    pub(crate) new_items: RwLock<NewItems>,
    pub(crate) histories: Histories,
    pub(crate) popularity: Popularity,
    pub(crate) metrics: Metrics,
    /// Items that events and models may bring into the catalog.
    max_items: usize,
    /// Whether the store does what it should.
    pub(crate) circuit: Arc<Circuit>,
}

impl Memory {
    pub(crate) fn catalog(&self) -> RwLockReadGuard<'_, Catalog> {
        // A change of the catalog is whole or not there.
        self.catalog.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn catalog_mut(&self) -> RwLockWriteGuard<'_, Catalog> {
        self.catalog.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn new_items(&self) -> RwLockReadGuard<'_, NewItems> {
        self.new_items.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn new_items_mut(&self) -> RwLockWriteGuard<'_, NewItems> {
        self.new_items.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room in the catalog for items that were named by others than the shop's catalog.
    pub(crate) fn ensure<'a>(&self, items: impl Iterator<Item = &'a str>) {
        let new: Vec<&str> = {
            let catalog = self.catalog();
            items.filter(|item| catalog.row(item).is_none()).collect()
        };
        if !new.is_empty() {
            let mut catalog = self.catalog_mut();
            for item in new {
                if catalog.n_rows() >= self.max_items {
                    tracing::warn!(
                        max_items = self.max_items,
                        "further items are in no list: raise serve.max_items"
                    );
                    break;
                }
                // An id that cannot be one of the catalog's is in no list.
                let _ = catalog.ensure(item);
            }
        }
    }
}

impl Listener for Memory {
    fn begin(&self, events: &[Event]) {
        self.histories.begin(events.iter().map(|event| event.user_id.as_str()));
    }

    fn end(&self, events: &[Event]) {
        self.histories.end(events.iter().map(|event| event.user_id.as_str()));
    }

    fn wrote(&self, events: &[&Event]) {
        self.ensure(events.iter().filter_map(|event| event.item_id.as_deref()));
        self.histories.wrote(events.iter().copied());
        self.popularity.count(events.iter().filter_map(|event| event.item_id.as_deref()));
        if let Some(newest) = events.iter().map(|event| event.timestamp_ms).max() {
            self.metrics.lag.set(((now_ms() - newest) as f64 / 1e3).max(0.0));
        }
    }

    fn came(&self, source: Source, events: &[&Event]) {
        for event in events {
            self.metrics.count_event(&event.event, source.name());
        }
    }

    fn unsure(&self, events: &[Event]) {
        events.iter().for_each(|event| self.histories.forget(&event.user_id));
    }

    fn refuses(&self) -> Option<StoreError> {
        self.circuit.refuses_writes()
    }

    fn committed(&self, _n_events: usize, took: Duration) {
        self.circuit.wrote_events();
        self.metrics.count_commit(took);
    }

    fn failed(&self, error: &StoreError) {
        self.circuit.refused_events(error);
        tracing::debug!(%error, "events were not written");
    }
}

/// A process that serves.
#[derive(Debug)]
pub struct App {
    pub(crate) config: ServeConfig,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) models: Models,
    pub(crate) intake: Intake,
    pub(crate) workers: Workers<Job>,
    pub(crate) keys: Keys,
    /// How often clients may ask, if that is limited.
    pub(crate) limits: Option<Limits>,
    pub(crate) texts: Pipeline,
    pub(crate) rules: ShopRules,
    pub(crate) traces: Traces,
    pub(crate) jobs: Jobs,
    /// Jobs that were asked for; they end with the process.
    pub(crate) running: std::sync::Mutex<tokio::task::JoinSet<()>>,
    pub(crate) consents: Consents,
    pub(crate) experiments: Experiments,
    pub(crate) read_outs: ReadOuts,
    /// Changes of items, one at a time.
    pub(crate) item_writes: tokio::sync::Mutex<()>,
    /// Changes of new items, one at a time.
    new_item_writes: tokio::sync::Mutex<()>,
    /// Changes of users, one at a time.
    pub(crate) user_writes: tokio::sync::Mutex<()>,
    /// When items were read first: what others change from then on is read again.
    pub(crate) began_ms: i64,
    /// Whether events are read from NATS.
    pub(crate) nats: Arc<NatsState>,
    /// True from when all is loaded until the process begins to end.
    pub(crate) is_ready: AtomicBool,
    writer: std::sync::Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl App {
    /// Opens the store, reads the catalog and loads the models.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: ServeConfig) -> Result<Arc<Self>, StartError> {
        let store = crate::store::open_to_serve(&config.store).await?;
        let n_traces = config.n_traces;
        let mut catalog = Catalog::new();
        let rules = ShopRules::new(&config.rules, &mut catalog)?;
        let experiments = config.experiments()?;
        let metrics = Metrics::new();
        let metrics = if config.nats.is_some() { metrics.with_nats() } else { metrics };
        let nats = Arc::new(NatsState::new(metrics.nats_connected.clone()));
        let circuit =
            Arc::new(Circuit::new(metrics.store_failures.clone(), metrics.store_up.clone()));
        let histories =
            Histories::new(store.clone(), circuit.clone(), config.n_history, config.n_cached_users);
        let memory = Arc::new(Memory {
            catalog: RwLock::new(catalog),
            new_items: RwLock::default(),
            histories,
            popularity: Popularity::default(),
            metrics,
            max_items: config.max_items,
            circuit,
        });
        let workers = Workers::start(config.n_threads, config.queue_answers);
        let workers = workers.map_err(|source| StartError::System {
            action: "cannot start a thread".to_owned(),
            source,
        })?;
        let (intake, writer) = Intake::start(store.clone(), memory.clone(), config.queue_events);
        let texts = Pipeline::new(PipelineConfig::default())
            .expect("the configuration that is built in can be used");
        let app = Arc::new(Self {
            models: Models::new(config.models.clone(), store.clone())
                .trusting(config.trust.clone())
                .beside(experiments.models()),
            limits: config.rate.map(Limits::new),
            consents: Consents::new(config.consent_default),
            experiments,
            read_outs: ReadOuts::default(),
            config,
            store,
            memory,
            intake,
            workers,
            keys: Keys::default(),
            rules,
            traces: Traces::new(n_traces),
            jobs: Jobs::default(),
            running: std::sync::Mutex::default(),
            texts,
            item_writes: tokio::sync::Mutex::default(),
            new_item_writes: tokio::sync::Mutex::default(),
            user_writes: tokio::sync::Mutex::default(),
            began_ms: now_ms(),
            nats,
            is_ready: AtomicBool::new(false),
            writer: std::sync::Mutex::new(Some(writer)),
        });
        app.keys.refresh(app.store.as_ref()).await?;
        app.consents.follow(app.store.as_ref(), 0).await?;
        app.read_items(0).await?;
        app.recount().await?;
        app.refresh_models().await?;
        app.is_ready.store(true, Ordering::Release);
        Ok(app)
    }

    /// The turn to write what is written one at a time; at once refused while the store takes no writes.
    pub(crate) async fn turn<'a>(
        &self,
        turns: &'a tokio::sync::Mutex<()>,
    ) -> Result<tokio::sync::MutexGuard<'a, ()>, StoreError> {
        match self.memory.circuit.refuses_writes() {
            Some(error) => Err(error),
            None => Ok(turns.lock().await),
        }
    }

    /// Does a part of a write that sends `n_rows` one by one, unless the store takes none by now; who comes next knows how it went.
    pub(crate) async fn written<T>(
        &self,
        n_rows: usize,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let circuit = &self.memory.circuit;
        if let Some(error) = circuit.refuses_writes() {
            return Err(error);
        }
        let done = store::in_time(self.store.as_ref(), n_rows, work).await;
        done.inspect_err(|error| circuit.failed(error))
    }

    /// Reads items that changed since a moment into the catalog.
    pub(crate) async fn read_items(&self, since_ms: i64) -> Result<(), StoreError> {
        let mut after = String::new();
        loop {
            let page = self.store.items(since_ms, &after, ITEMS_PAGE);
            let page = store::in_time(self.store.as_ref(), 0, page).await?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.item_id);
            let is_last = page.len() < ITEMS_PAGE;
            self.take_items(page).await;
            if is_last {
                break;
            }
        }
        self.gauge_catalog();
        Ok(())
    }

    /// Takes items of the store into the catalog.
    pub(crate) async fn take_items(&self, items: Vec<ItemRecord>) {
        let mut rows = Vec::with_capacity(items.len());
        {
            let mut catalog = self.memory.catalog_mut();
            for item in items {
                if item.is_removed {
                    // With a row of its own, so that a model or an event that names it does not bring it back.
                    let _ = catalog.ensure(&item.item_id);
                    catalog.remove(&item.item_id);
                } else if let Err(error) = catalog.upsert(&item.item_id, &item.attributes) {
                    tracing::warn!(item = item.item_id, %error, "an item of the store cannot be served");
                }
                rows.extend(catalog.row(&item.item_id));
            }
        }
        let _one_at_a_time = self.new_item_writes.lock().await;
        let live = self.models.live();
        let Some(file) = &live.recommend else { return };
        for rows in rows.chunks(TEXTS_AT_ONCE) {
            let new = self.terms_of_new(file, rows, |row| self.memory.new_items().may_hold(row));
            if !new.is_empty() {
                let mut new_items = self.memory.new_items_mut();
                new.into_iter().for_each(|(row, terms)| new_items.put(row, terms));
            }
            tokio::task::yield_now().await;
        }
    }

    /// The terms of those of a few items that a model does not know and that may be held.
    fn terms_of_new(
        &self,
        file: &LoadedModel,
        rows: &[ItemRow],
        may_hold: impl Fn(ItemRow) -> bool,
    ) -> Vec<(ItemRow, Vec<u32>)> {
        let catalog = self.memory.catalog();
        let new = rows.iter().copied().filter(|row| file.items().index(catalog.id(*row)).is_none());
        new.filter(|row| may_hold(*row))
            .map(|row| (row, terms(&catalog, row, &self.texts)))
            .collect()
    }

    pub(crate) fn gauge_catalog(&self) {
        let catalog = self.memory.catalog();
        self.memory.metrics.items.set(catalog.n_live() as i64);
        self.memory.metrics.catalog_bytes.set(catalog.n_bytes() as i64);
    }

    async fn recount(&self) -> Result<(), StoreError> {
        let since_ms = now_ms() - self.config.popular_ms;
        self.memory.popularity.recount(self.store.as_ref(), since_ms).await?;
        let ranked = self.memory.popularity.ranked();
        self.memory.ensure(ranked.iter().map(|(item, _)| item.as_ref()));
        Ok(())
    }

    /// Looks for model files again and serves what should be served.
    pub(crate) async fn refresh_models(&self) -> Result<(), ServedModelError> {
        self.models.refresh().await?;
        self.model_changed().await;
        Ok(())
    }

    /// After another model answers: its items are in the catalog, the metrics name it.
    pub(crate) async fn model_changed(&self) {
        let live = self.models.live();
        for file in live.recommend.iter().chain(&live.together).chain(live.beside.values()) {
            self.memory.ensure(file.items().iter().map(|(_, id, _)| id));
        }
        self.find_new_items().await;
        let models = &self.memory.metrics.models;
        models.clear();
        for slot in crate::models::SLOTS {
            if let Some((model, version)) = live.in_slot(slot) {
                let labels =
                    ModelLabels { model: format!("{slot}/{model}"), version: version.to_owned() };
                models.get_or_create(&labels).set(1);
            }
        }
        self.gauge_catalog();
    }

    /// Finds the items that the live model does not know, if it is another one than before.
    async fn find_new_items(&self) {
        let _one_at_a_time = self.new_item_writes.lock().await;
        let live = self.models.live();
        let Some(file) = &live.recommend else { return };
        let version = &file.header().content_hash;
        if self.memory.new_items().is_of(version) {
            return;
        }
        let mut anew = NewItems::of(version);
        let rows: Vec<ItemRow> = self.memory.catalog().live_rows().collect();
        for rows in rows.chunks(TEXTS_AT_ONCE) {
            let new = self.terms_of_new(file, rows, |row| anew.may_hold(row));
            new.into_iter().for_each(|(row, terms)| anew.put(row, terms));
            tokio::task::yield_now().await;
        }
        let earlier = std::mem::replace(&mut *self.memory.new_items_mut(), anew);
        // What it takes to let go of it is not waited for by lists.
        drop(earlier);
    }

    /// What is done beside requests, until the process ends: each on its own, so that nothing long delays the end of a key.
    pub(crate) async fn tend(self: &Arc<Self>) {
        tokio::join!(
            every(Duration::from_secs(1), || async {
                self.memory.popularity.rank();
                self.memory.metrics.waiting.set(self.intake.n_waiting() as i64);
            }),
            self.follow(),
            self.retrain(),
            every(Duration::from_secs(10), || async {
                if let Err(error) = self.store.clean().await {
                    tracing::warn!(%error, "what was deleted is in the log of the store still: it is tried again");
                }
            }),
            // Only a write says whether writes are possible: a full disk can be read.
            self.memory.circuit.tend(|| self.store.probe(now_ms())),
            self.memory.circuit.on_return(|| self.memory.histories.clear()),
            every(Duration::from_secs(600), || async {
                if let Err(error) = within(LONG, self.recount()).await {
                    tracing::warn!(%error, "items were not counted again");
                }
                let Some(keep_ms) = self.config.keep_ms else { return };
                match within(LONG, self.store.retain(now_ms() - keep_ms)).await {
                    Ok(0) => {}
                    Ok(n_events) => tracing::info!(n_events, "events past their time removed"),
                    Err(error) => tracing::warn!(%error, "old events were not removed"),
                }
            }),
        );
    }

    /// Files of models that are not served, and why.
    pub fn left_out(&self) -> Vec<crate::models::LeftOut> {
        self.models.left_out()
    }

    /// Whether anybody may do everything.
    pub fn is_open(&self) -> bool {
        self.keys.is_open()
    }

    /// Ends the work on the store, durably: after the last request was answered. What is not written after [`CLOSE`] was not acknowledged.
    pub(crate) async fn close(self: Arc<Self>) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut running =
            std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner));
        running.shutdown().await;
        let store = self.store.clone();
        drop(self);
        let ended = async {
            if let Some(writer) = writer {
                let _ = writer.await;
            }
            store.close().await;
        };
        if tokio::time::timeout(CLOSE, ended).await.is_err() {
            tracing::warn!("the store was not closed in time");
        }
    }
}
