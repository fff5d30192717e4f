//! `/v1/experiments`: which run, and what came of them so far.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::body::InPath;
use super::error::{ApiError, ErrorBody};
use crate::app::App;
use crate::catalog::nearest;
use crate::clock::now_ms;
use crate::experiments::{ExperimentStatus, ReadOut};

/// The experiments that are configured.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExperimentList {
    experiments: Vec<ExperimentStatus>,
}

/// Which experiments there are, and which of them run.
#[utoipa::path(get, path = "/v1/experiments", tag = "experiments", responses((status = 200, body = ExperimentList)))]
pub(crate) async fn list(State(app): State<Arc<App>>) -> Json<ExperimentList> {
    let live = app.models.live();
    let now_ms = now_ms();
    let experiments = app.experiments.all().iter();
    let experiments = experiments.map(|own| own.status(Some(&live), now_ms)).collect();
    Json(ExperimentList { experiments })
}

/// What came of an experiment so far: each variant against the control, with intervals that hold however often one looks. It is computed from the
/// events in the store, again after some seconds.
#[utoipa::path(get, path = "/v1/experiments/{name}", tag = "experiments", params(("name" = String, Path)),
    responses((status = 200, body = ReadOut), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    InPath(name): InPath,
) -> Result<Json<ReadOut>, ApiError> {
    let Some(experiment) = app.experiments.named(&name).cloned() else {
        let message = format!("there is no experiment {name:?}");
        let error = ApiError::new(StatusCode::NOT_FOUND, "unknown_experiment", message);
        let names = app.experiments.all().iter().map(|own| own.name());
        return Err(match nearest(&name, names) {
            Some(nearest) => error.hint(format!("did you mean {nearest:?}?")),
            None => error.hint("GET /v1/experiments lists them"),
        });
    };
    let status = experiment.status(Some(&app.models.live()), now_ms());
    // To the end: one that takes longer than a request may is there for the next.
    let read_out = super::to_its_end(async move {
        app.read_outs.of(app.store.as_ref(), &experiment, &app.consents).await
    });
    let read_out = read_out.await?;
    Ok(Json(ReadOut { experiment: status, ..(*read_out).clone() }))
}
