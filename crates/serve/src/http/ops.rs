//! What operators ask: is it alive, is it ready, what does it count, which models answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{Body, InPath};
use super::error::{ApiError, ErrorBody};
use crate::app::App;
use crate::models::{Found, LeftOut, SLOTS, ServedModelError};
use crate::store::Promotion;

/// The process runs.
#[utoipa::path(get, path = "/health/live", tag = "operations", responses((status = 200, body = String)))]
pub(crate) async fn live() -> &'static str {
    "live\n"
}

/// Whether requests should be sent here, and what is wrong if not.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Readiness {
    ready: bool,
    /// Whether events and catalog can be written and read.
    store: bool,
    /// Whether the queue of events has room.
    queue: bool,
    /// Whether events are read from NATS, if they should be. Answers do not need it.
    #[serde(skip_serializing_if = "Option::is_none")]
    nats: Option<bool>,
    /// What answers, by slot.
    models: std::collections::BTreeMap<String, String>,
    /// Files of models that are not served, and why.
    left_out: Vec<LeftOut>,
    /// Whether anybody may do everything.
    open: bool,
}

/// Whether requests should be sent here. Without a model the server answers with what is popular, and is ready.
#[utoipa::path(get, path = "/health/ready", tag = "operations", responses((status = 200, body = Readiness), (status = 503, body = Readiness)))]
pub(crate) async fn ready(State(app): State<Arc<App>>) -> (StatusCode, Json<Readiness>) {
    let store = app.memory.circuit.takes_events();
    let queue = app.intake.n_waiting() < app.config.queue_events;
    let ready = app.is_ready.load(Ordering::Acquire) && store;
    app.memory.metrics.ready.set(ready.into());
    let live = app.models.live();
    let models = SLOTS.iter().filter_map(|slot| {
        let (model, version) = live.in_slot(slot)?;
        Some(((*slot).to_owned(), format!("{model} {version}")))
    });
    let readiness = Readiness {
        ready,
        store,
        queue,
        nats: app.config.nats.is_some().then(|| app.nats.is_reading()),
        models: models.collect(),
        left_out: app.models.left_out(),
        open: app.is_open(),
    };
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}

/// The version of the program.
#[utoipa::path(get, path = "/version", tag = "operations", responses((status = 200, body = std::collections::BTreeMap<String, String>)))]
pub(crate) async fn version() -> Json<serde_json::Value> {
    Json(serde_json::json!({"name": "forecart", "version": env!("CARGO_PKG_VERSION")}))
}

/// Counters and histograms, as Prometheus reads them.
#[utoipa::path(get, path = "/metrics", tag = "operations", responses((status = 200, content_type = "application/openmetrics-text", body = String)))]
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], app.memory.metrics.text()).into_response()
}

/// The models that are there.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelList {
    models: Vec<Found>,
    /// Files that are not served, and why.
    left_out: Vec<LeftOut>,
}

/// Which models there are, and which answer.
#[utoipa::path(get, path = "/v1/models", tag = "models", responses((status = 200, body = ModelList), (status = 409, body = ErrorBody)))]
pub(crate) async fn models(State(app): State<Arc<App>>) -> Result<Json<ModelList>, ApiError> {
    let found = found(app.clone()).await?;
    Ok(Json(ModelList { models: found, left_out: app.models.left_out() }))
}

async fn found(app: Arc<App>) -> Result<Vec<Found>, ServedModelError> {
    let found = tokio::task::spawn_blocking(move || app.models.found()).await;
    found.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// Which version.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PromoteBody {
    /// The beginning of its content hash, or the name of its file.
    version: String,
}

/// What answers after a change.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Promoted {
    /// What answers now.
    live: Found,
    /// What was promoted in this slot, the newest first.
    promotions: Vec<Promotion>,
}

/// Changes what answers, to the end: a client that goes, or a model that takes long to load, leaves nothing half done.
async fn changed<F>(app: Arc<App>, change: F) -> Result<Json<Promoted>, ApiError>
where
    F: Future<Output = Result<Found, ServedModelError>> + Send + 'static,
{
    super::to_its_end(async move {
        if let Some(error) = app.memory.circuit.refuses_writes() {
            return Err(error.into());
        }
        let live = change.await.inspect_err(|error| {
            if let ServedModelError::Store(error) = error {
                app.memory.circuit.failed(error);
            }
        })?;
        app.model_changed().await;
        promoted(&app, live).await
    })
    .await
}

async fn promoted(app: &App, live: Found) -> Result<Json<Promoted>, ApiError> {
    tracing::info!(
        slot = live.name,
        model = live.model,
        version = live.version,
        "another model answers"
    );
    let promotions = app.store.promotions(&live.name).await?;
    Ok(Json(Promoted { live, promotions }))
}

/// Serves a version of a model, with no request failed or answered by half of each.
#[utoipa::path(post, path = "/v1/models/{name}/promote", tag = "models", params(("name" = String, Path, description = "recommend, together, click, conversion, purchase, support, question or demand")), request_body = PromoteBody,
    responses((status = 200, body = Promoted), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 400, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn promote(
    State(app): State<Arc<App>>,
    InPath(name): InPath,
    Body(body): Body<PromoteBody>,
) -> Result<Json<Promoted>, ApiError> {
    let own = app.clone();
    changed(app, async move { own.models.promote(&name, &body.version).await }).await
}

/// Serves what was served before.
#[utoipa::path(post, path = "/v1/models/{name}/rollback", tag = "models", params(("name" = String, Path)),
    responses((status = 200, body = Promoted), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn roll_back(
    State(app): State<Arc<App>>,
    InPath(name): InPath,
) -> Result<Json<Promoted>, ApiError> {
    let own = app.clone();
    changed(app, async move { own.models.roll_back(&name).await }).await
}

/// Looks for files of models again; a slot where none was promoted gets its newest file.
#[utoipa::path(post, path = "/v1/models/refresh", tag = "models", responses((status = 200, body = ModelList), (status = 409, body = ErrorBody)))]
pub(crate) async fn refresh(State(app): State<Arc<App>>) -> Result<Json<ModelList>, ApiError> {
    let own = app.clone();
    super::to_its_end(async move { own.refresh_models().await }).await?;
    models(State(app)).await
}
