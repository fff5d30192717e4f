//! `POST /v1/events`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::body;
use super::error::{ApiError, ErrorBody, ErrorFacts};
use crate::app::App;
use crate::arrivals;
use crate::clock::now_ms;
use crate::event::id_text;
use crate::ids::new_id;
use crate::intake::Source;

/// A row that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Rejected {
    /// Its place in the request, from 0.
    pub(crate) index: usize,
    /// For programs.
    pub(crate) code: String,
    /// The field that it is about.
    pub(crate) field: Option<String>,
    /// For people, with the fix.
    pub(crate) message: String,
}

impl Rejected {
    pub(super) fn new(index: usize, ApiError { facts, .. }: ApiError) -> Self {
        let ErrorFacts { code, message, field, .. } = facts;
        Self { index, code, field, message }
    }
}

/// What became of rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Taken {
    /// Rows that are durable now, those included that were sent before.
    pub(crate) accepted: usize,
    /// Of those, the ones whose id was there already.
    pub(crate) duplicates: usize,
    /// Rows that were not taken.
    pub(crate) rejected: Vec<Rejected>,
}

/// The id of a row of the catalog or of the users, and its other fields.
pub(super) fn named(
    row: Value,
    column: &'static str,
) -> Result<(String, Map<String, Value>), ApiError> {
    let Value::Object(mut fields) = row else {
        return Err(ApiError::unprocessable("not_an_object", "a row is a JSON object"));
    };
    let Some(id) = fields.remove(column) else {
        let message = format!("every row has {column}: send it");
        return Err(ApiError::unprocessable(&format!("missing_{column}"), message).field(column));
    };
    Ok((id_text(column, &id)?, fields))
}

/// The answer to rows: 202, or 422 where none of them was taken.
pub(crate) fn answer(taken: Taken) -> Response {
    if taken.accepted > 0 || taken.rejected.is_empty() {
        return (StatusCode::ACCEPTED, Json(taken)).into_response();
    }
    #[derive(Serialize)]
    struct Refused {
        #[serde(flatten)]
        taken: Taken,
        #[serde(flatten)]
        error: ErrorBody,
    }
    let first = &taken.rejected[0];
    let error = ErrorFacts {
        code: first.code.clone(),
        message: first.message.clone(),
        field: first.field.clone(),
        hint: Some("no row was taken; `rejected` says why of each".to_owned()),
    };
    let refused = Refused { taken, error: ErrorBody { error } };
    (StatusCode::UNPROCESSABLE_ENTITY, Json(refused)).into_response()
}

/// Takes events: one, an array of them, or one a line.
///
/// 202 says that all accepted ones are on the disk. An event whose `event_id` was taken before is the same event.
#[utoipa::path(
    post,
    path = "/v1/events",
    tag = "events",
    request_body(description = "An event, an array of events, or events one a line", content = Value, example = json!({"user_id": "u1", "item_id": "i1", "event": "view_item"})),
    responses(
        (status = 202, body = Taken),
        (status = 400, body = ErrorBody),
        (status = 413, body = ErrorBody),
        (status = 422, body = ErrorBody, description = "No row was taken"),
        (status = 429, body = ErrorBody, description = "Too many events wait, or too many requests of this client came: Retry-After says when to send it again"),
        (status = 503, body = ErrorBody, description = "The store does not answer"),
    )
)]
pub(crate) async fn post(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ApiError> {
    let bytes = body::bytes(request, &app).await?;
    let read = arrivals::read(&bytes, now_ms(), &app.texts, |_| new_id())?;
    let rejected = read.refused.into_iter().map(|row| {
        app.memory.metrics.count_rejected(row.error.code);
        Rejected::new(row.index, row.error.into())
    });
    let rejected = rejected.collect();
    let mut events = read.events;
    arrivals::name_intents(&app, &mut events).await;
    let accepted = events.len();
    let n_new = if events.is_empty() { 0 } else { app.intake.write(events, Source::Http).await? };
    Ok(answer(Taken { accepted, duplicates: accepted - n_new, rejected }))
}
