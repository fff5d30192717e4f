//! A server without a socket, on a store and models of its own.

use std::num::NonZeroUsize;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use forecart_data::Dataset;
use forecart_models::recommend::registry;
use forecart_serve::{App, RawServeConfig, ServeConfig, Server};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tower::ServiceExt as _;

use crate::shop;

/// A server that is asked without a socket.
pub(crate) struct Served {
    router: Router,
    pub(crate) folder: TempDir,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The code of an error, in the shape that all errors have.
    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_else(|| panic!("{}", self.text)).to_owned()
    }
}

impl Served {
    /// With an empty store and without a model.
    pub(crate) async fn empty() -> Self {
        Self::with(RawServeConfig::default()).await
    }

    /// With an empty store, models being found in the folder `models`.
    pub(crate) async fn with(raw: RawServeConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("models")).unwrap();
        Self::at(folder, raw).await
    }

    /// On what a folder holds already.
    pub(crate) async fn at(folder: TempDir, raw: RawServeConfig) -> Self {
        let config = ServeConfig::new(Self::placed(&folder, raw), NonZeroUsize::new(2).unwrap());
        Self::of(App::start(config.unwrap()).await.unwrap(), folder)
    }

    /// `raw` with the store of a folder, where it names none, and its models.
    pub(crate) fn placed(folder: &TempDir, raw: RawServeConfig) -> RawServeConfig {
        let own = || folder.path().join("store.sqlite").display().to_string();
        let store = Some(raw.store.unwrap_or_else(own));
        RawServeConfig { store, models: vec![folder.path().join("models")], ..raw }
    }

    /// One that was started.
    pub(crate) fn of(app: Arc<App>, folder: TempDir) -> Self {
        Self { router: forecart_serve::router(app), folder }
    }

    /// Lets go of the server; the folder stays.
    pub(crate) fn end(self) -> TempDir {
        self.folder
    }

    pub(crate) fn models(&self) -> PathBuf {
        self.folder.path().join("models")
    }

    /// Asks, with a body of any bytes.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, &body.to_string()).await
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let request =
            Request::builder().method(method).uri(path).header("content-type", "application/json");
        self.send(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    /// Sends one event.
    pub(crate) async fn event(&self, user: &str, item: &str, event: &str, time: i64) {
        let sent = json!({"user_id": user, "item_id": item, "event": event, "timestamp": time});
        let answer = self.post("/v1/events", &sent).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    }
}

/// On what a folder holds, where nothing else is said.
pub(crate) fn config(folder: &TempDir, raw: RawServeConfig) -> ServeConfig {
    let raw = RawServeConfig { port: Some(0), ..Served::placed(folder, raw) };
    ServeConfig::new(raw, NonZeroUsize::new(2).unwrap()).unwrap()
}

/// A server with all that it does beside answering; asked without its socket all the same.
pub(crate) struct Running {
    served: Served,
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Deref for Running {
    type Target = Served;

    fn deref(&self) -> &Served {
        &self.served
    }
}

impl Running {
    /// On what a folder holds already.
    pub(crate) async fn start(folder: TempDir, raw: RawServeConfig) -> Self {
        let config = config(&folder, raw);
        Self::with(folder, config).await
    }

    /// With a set-up that is made already.
    pub(crate) async fn with(folder: TempDir, config: ServeConfig) -> Self {
        let server = Server::start(config, false).await.unwrap();
        let app = server.app().clone();
        let router = forecart_serve::router(app.clone());
        let (end, ended) = oneshot::channel();
        let task = tokio::spawn(server.run(async { drop(ended.await) }));
        Self { served: Served { router, folder }, end, task }
    }

    /// Ends it as a process ends.
    pub(crate) async fn end(self) -> TempDir {
        let folder = self.served.end();
        self.end.send(()).unwrap();
        self.task.await.unwrap();
        folder
    }
}

/// Waits for something that comes by itself.
pub(crate) async fn within(most: Duration, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < most, "not within {most:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The shop of the models' tests, whose items are `item/1` to `item/60`.
pub(crate) fn dataset(folder: &Path) -> Dataset {
    shop::write(&folder.join("dataset"), shop::Held { validation: 2, test: 3 })
}

/// Fits a model on a dataset and writes its file; another seed gives another version.
pub(crate) fn write_model(name: &str, keys: &Value, dataset: &Dataset, seed: u64, file: &Path) {
    let spec = registry::spec(name, keys).unwrap();
    shop::fit(spec.as_ref(), dataset, &shop::context(seed, 2)).save(file).unwrap();
}
