//! All that a process holds while it serves.
//!
//! [`Memory`] is what events change; `catalog` keeps items true to the store and the models, `writes` is how requests change the store, `tend`
//! what is done beside requests.

mod catalog;
mod error;
mod memory;
mod tend;
mod writes;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use forecart_text::{Pipeline, PipelineConfig};

use crate::catalog::Catalog;
use crate::circuit::Circuit;
use crate::clock::now_ms;
use crate::config::ServeConfig;
use crate::consent::Consents;
use crate::experiments::{Experiments, ReadOuts};
use crate::history::Histories;
use crate::intake::Intake;
use crate::jobs::Jobs;
use crate::keys::Keys;
use crate::limits::Limits;
use crate::lists::{Job, ShopRules};
use crate::metrics::Metrics;
use crate::models::Models;
use crate::nats::NatsState;
use crate::popularity::Popularity;
use crate::store::Store;
use crate::traces::Traces;
use crate::workers::Workers;

pub use self::error::StartError;
use self::memory::Memory;
pub(crate) use self::tend::every;

/// How long closing the store may take.
const CLOSE: Duration = Duration::from_secs(10);

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
