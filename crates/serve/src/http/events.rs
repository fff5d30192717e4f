//! `POST /v1/events`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use forecart_data::event::columns;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::body;
use super::error::{ApiError, ErrorBody, ErrorFacts};
use crate::app::App;
use crate::clock::now_ms;
use crate::event::{Event, id_text};
use crate::metrics::CodeLabels;

/// Most rows of one request.
pub(crate) const MAX_ROWS: usize = 10_000;

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

/// The rows of a body: an object, an array of objects, or objects one a line. A line that is no JSON is one row that is rejected.
pub(crate) fn rows(bytes: &[u8]) -> Result<Vec<Result<Value, ApiError>>, ApiError> {
    let rows: Vec<Result<Value, ApiError>> = match serde_json::from_slice::<Value>(bytes) {
        Ok(Value::Array(rows)) => rows.into_iter().map(Ok).collect(),
        Ok(row) => vec![Ok(row)],
        Err(error) => {
            let lines = || {
                let lines = bytes.split(|byte| *byte == b'\n');
                lines.filter(|line| !line.trim_ascii().is_empty())
            };
            let is_array = bytes.trim_ascii_start().first() == Some(&b'[');
            if is_array || lines().nth(1).is_none() {
                return Err(body::unreadable(&error));
            }
            lines()
                .take(MAX_ROWS + 1)
                .map(|line| serde_json::from_slice(line).map_err(|error| body::unreadable(&error)))
                .collect()
        }
    };
    if rows.len() > MAX_ROWS {
        let message = format!("at most {MAX_ROWS} rows are taken at once");
        let error = ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many_rows", message);
        return Err(error.hint("send them in parts"));
    }
    Ok(rows)
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

/// Names what questions ask that came with a text and without an intent, by the model of texts that is live: models of coming questions
/// go by intents. Where that model abstains, or cannot answer now, the question has none.
pub(super) async fn name_intents(app: &Arc<App>, events: &mut [Event]) {
    let Some(file) = app.models.live().support.clone() else { return };
    let is_open =
        |event: &Event| event.event == "ask" && !event.further.contains_key(columns::INTENT);
    let asked =
        events.iter().enumerate().filter(|(_, event)| is_open(event)).filter_map(|(at, event)| {
            Some((at, event.further.get(columns::TEXT)?.as_str()?.to_owned()))
        });
    let asked: Vec<(usize, String)> = asked.collect();
    if asked.is_empty() {
        return;
    }
    let version = file.header().content_hash.clone();
    let named = app.workers.run(move || {
        let predictor = file.predictor();
        let name = |(at, text): (usize, String)| {
            let found = predictor.classify(&text).ok().filter(|own| own.abstained.is_none())?;
            Some((at, predictor.intents().get(found.best()).to_owned()))
        };
        asked.into_iter().filter_map(name).collect::<Vec<_>>()
    });
    for (at, intent) in named.await.unwrap_or_default() {
        let further = &mut events[at].further;
        further.insert(columns::INTENT.to_owned(), intent.into());
        further.insert("intent_model".to_owned(), version.clone().into());
    }
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
    let now_ms = now_ms();
    let mut events = Vec::new();
    let mut rejected = Vec::new();
    for (index, row) in rows(&bytes)?.into_iter().enumerate() {
        let row = row.and_then(|row| Ok(Event::parse(&row, now_ms, &app.texts)?));
        match row {
            Ok(event) => events.push(event),
            Err(error) => {
                let labels = CodeLabels { code: error.facts.code.clone() };
                app.memory.metrics.rejected.get_or_create(&labels).inc();
                rejected.push(Rejected::new(index, error));
            }
        }
    }
    name_intents(&app, &mut events).await;
    let accepted = events.len();
    let n_new = if events.is_empty() { 0 } else { app.intake.write(events).await? };
    Ok(answer(Taken { accepted, duplicates: accepted - n_new, rejected }))
}
