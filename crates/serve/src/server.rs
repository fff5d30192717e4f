//! The socket: connections are counted, slow ones end, and all requests that began are answered before the process ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::app::{App, StartError};
use crate::config::ServeConfig;
use crate::http;
use crate::nats::NatsSource;
use crate::tls::Tls;

/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests that began may take once the process is to end.
const DRAIN: Duration = Duration::from_secs(30);

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
}

impl Server {
    /// Opens the store, loads the models and listens.
    ///
    /// # Errors
    /// [`StartError`]; with `is_open` false also [`StartError::Open`], where anybody on the network could do everything.
    pub async fn start(config: ServeConfig, is_open: bool) -> Result<Self, StartError> {
        let address = config.address;
        let tls = match config.tls.clone() {
            Some(files) => Some(Arc::new(Tls::start(files).await?)),
            None => None,
        };
        let app = App::start(config).await?;
        if app.is_open() && !is_open && !address.ip().is_loopback() {
            return Err(StartError::Open { address });
        }
        let listener = TcpListener::bind(address).await.map_err(|source| StartError::System {
            action: format!("cannot listen at {address}"),
            source,
        })?;
        Ok(Self { app, listener, tls })
    }

    /// Where it listens: a port 0 in the configuration is a free one.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn address(&self) -> std::io::Result<std::net::SocketAddr> {
        self.listener.local_addr()
    }

    /// How its addresses begin: `https` where TLS is spoken.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Slot, model and version of what answers.
    pub fn live(&self) -> Vec<(String, String, String)> {
        let live = self.app.models.live();
        let in_slot = |slot: &&str| {
            let (model, version) = live.in_slot(slot)?;
            Some(((*slot).to_owned(), model.to_owned(), version.to_owned()))
        };
        crate::models::SLOTS.iter().filter_map(in_slot).collect()
    }

    /// What it serves.
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Answers until `end` is there, then answers what has begun, and closes the store.
    pub async fn run(self, end: impl Future<Output = ()>) {
        let Self { app, listener, tls } = self;
        let router = http::router(app.clone());
        let graceful = GracefulShutdown::new();
        let room = Arc::new(Semaphore::new(app.config.max_connections));
        let tending = {
            let (app, tls) = (app.clone(), tls.clone());
            let follow = async move {
                if let Some(tls) = tls {
                    tls.follow().await;
                }
            };
            tokio::spawn(async move {
                tokio::join!(app.tend(), follow);
            })
        };
        let nats = NatsSource::start(&app);
        let mut connections = tokio::task::JoinSet::new();
        let mut end = std::pin::pin!(end);
        loop {
            let room = tokio::select! {
                room = room.clone().acquire_owned() => room.expect("it is never closed"),
                () = &mut end => break,
            };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = &mut end => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Too many open files: others will be closed.
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            // Answers are small and should not wait for more.
            let _ = stream.set_nodelay(true);
            let (router, watcher, tls) = (router.clone(), graceful.watcher(), tls.clone());
            // Those that have ended are let go of.
            while connections.try_join_next().is_some() {}
            connections.spawn(async move {
                match tls {
                    None => connection(stream, router, peer, watcher).await,
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => connection(stream, router, peer, watcher).await,
                        Err(error) => tracing::debug!(%error, "no handshake"),
                    },
                }
                drop(room);
            });
        }
        app.is_ready.store(false, Ordering::Release);
        drop(listener);
        if let Some(nats) = nats {
            nats.stop().await;
        }
        if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
            tracing::warn!("requests that took too long were cut off");
        }
        // Also of clients that do not read their answer: nothing holds the store open after this.
        connections.shutdown().await;
        tending.abort();
        let _ = tending.await;
        drop(router);
        app.close().await;
    }
}

/// Answers the requests of one connection; they know where they come from.
async fn connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    router: Router,
    peer: SocketAddr,
    watcher: Watcher,
) {
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let service = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        service.call(request)
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended early");
    }
}
