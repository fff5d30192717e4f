//! Training anew: a job is begun, and said how far it is.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{Body, InPath};
use super::error::{ApiError, ErrorBody};
use crate::app::App;
use crate::jobs::{Job, JobError};

impl From<JobError> for ApiError {
    fn from(error: JobError) -> Self {
        let message = error.to_string();
        match error {
            JobError::Busy { .. } => Self::new(StatusCode::CONFLICT, "busy", message)
                .hint("GET /v1/jobs says how far it is"),
            JobError::NoFolder => Self::new(StatusCode::CONFLICT, "no_folder", message),
            JobError::UnknownTask { .. } => {
                Self::unprocessable("unknown_task", message).field("task")
            }
        }
    }
}

/// What to train.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrainBody {
    /// What the model is for: `recommend`, or another of `serve.retrain.tasks`.
    #[serde(default = "recommend")]
    task: String,
}

fn recommend() -> String {
    "recommend".to_owned()
}

/// The job that was begun.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Begun {
    id: String,
}

/// Trains a model anew from what the store holds, in a process of its own; it is served if it passes the gate.
#[utoipa::path(post, path = "/v1/train", tag = "models", request_body = TrainBody,
    responses((status = 202, body = Begun), (status = 400, body = ErrorBody), (status = 409, body = ErrorBody), (status = 413, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn train(
    State(app): State<Arc<App>>,
    Body(body): Body<TrainBody>,
) -> Result<(StatusCode, Json<Begun>), ApiError> {
    let id = app.train(&body.task)?;
    Ok((StatusCode::ACCEPTED, Json(Begun { id })))
}

/// Jobs of this process, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobList {
    jobs: Vec<Job>,
}

/// The last jobs of this process.
#[utoipa::path(get, path = "/v1/jobs", tag = "models", responses((status = 200, body = JobList)))]
pub(crate) async fn all(State(app): State<Arc<App>>) -> Json<JobList> {
    Json(JobList { jobs: app.jobs.all() })
}

/// How far a job is, or how it ended.
#[utoipa::path(get, path = "/v1/jobs/{id}", tag = "models", params(("id" = String, Path)),
    responses((status = 200, body = Job), (status = 404, body = ErrorBody)))]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    InPath(id): InPath,
) -> Result<Json<Job>, ApiError> {
    app.jobs.get(&id).map(Json).ok_or_else(|| {
        let message = format!("this process knows no job {id:?}");
        ApiError::new(StatusCode::NOT_FOUND, "unknown_job", message).hint("GET /v1/jobs lists them")
    })
}
