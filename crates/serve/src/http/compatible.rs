//! Requests in the shapes of other servers, answered in theirs: gorse, Metarank, Rasa. Behind `serve.compatible`.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{Request, State};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::body::{self, Asked, Body, InPath};
use super::error::ApiError;
use super::recommend::{self, ListBody};
use super::{ops, texts};
use crate::app::App;
use crate::arrivals::{BrokenRow, name_intents, rows};
use crate::clock::now_ms;
use crate::event::{Event, id_text};
use crate::intake::Source;
use crate::lists::About;

/// What asks.
pub(super) fn reading() -> Router<Arc<App>> {
    Router::new()
        .route("/api/recommend/{user_id}", get(gorse_recommend))
        .route("/rank/{model}", post(metarank_rank))
        .route("/model/parse", post(rasa_parse))
}

/// What tells.
pub(super) fn writing() -> Router<Arc<App>> {
    Router::new()
        .route("/api/feedback", post(gorse_feedback).put(gorse_feedback))
        .route("/feedback", post(metarank_feedback))
}

/// What needs no key.
pub(super) fn open() -> Router<Arc<App>> {
    Router::new()
        .route("/api/health/live", get(ops::live))
        .route("/api/health/ready", get(ops::ready))
}

#[derive(Debug, Deserialize)]
struct GorseQuery {
    n: Option<usize>,
    offset: Option<usize>,
}

/// gorse's `GET /api/recommend/{user-id}`: ids alone.
async fn gorse_recommend(
    State(app): State<Arc<App>>,
    InPath(user_id): InPath,
    Asked(query): Asked<GorseQuery>,
) -> Result<Json<Vec<String>>, ApiError> {
    let body = ListBody::page(query.n, query.offset);
    let ask = recommend::checked(&app, About::Next, &body)?;
    let list = recommend::answer(&app, &app.models.live(), ask, Some(user_id)).await?;
    Ok(Json(list.items.into_iter().map(|item| item.item_id).collect()))
}

/// gorse's `POST /api/feedback`: rows of `FeedbackType`, `UserId`, `ItemId`, `Timestamp`.
async fn gorse_feedback(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    let n_new = write(&app, request, Ok).await?;
    Ok(Json(json!({"RowAffected": n_new})))
}

/// Metarank's `POST /feedback`: interactions are events; what it says of items and users is for `/v1/items` and `/v1/users`.
async fn metarank_feedback(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    let n_new = write(&app, request, metarank_event).await?;
    Ok(Json(json!({"status": "ok", "accepted": n_new})))
}

fn metarank_event(row: Value) -> Result<Value, ApiError> {
    let unprocessable = |message: &str| {
        let status = axum::http::StatusCode::UNPROCESSABLE_ENTITY;
        ApiError::new(status, "wrong_fields", message).field("event")
    };
    let Value::Object(mut fields) = row else {
        return Err(unprocessable("an event is a JSON object"));
    };
    if fields.get("event").and_then(Value::as_str) != Some("interaction") {
        return Err(unprocessable("only the event `interaction` is taken here"));
    }
    let kind = fields.remove("type").ok_or_else(|| unprocessable("an interaction has a type"))?;
    fields.insert("event".to_owned(), kind);
    // Its own id, and that of the answer it follows.
    for (theirs, ours) in [("id", "event_id"), ("ranking", "request_id"), ("session", "session_id")]
    {
        if let Some(value) = fields.remove(theirs) {
            fields.insert(ours.to_owned(), value);
        }
    }
    fields.remove("fields");
    Ok(Value::Object(fields))
}

/// Writes all rows or none: these shapes have no place for single refusals.
async fn write(
    app: &Arc<App>,
    request: Request,
    translated: fn(Value) -> Result<Value, ApiError>,
) -> Result<usize, ApiError> {
    let bytes = body::bytes(request, app).await?;
    let now_ms = now_ms();
    let event = |row: Result<Value, BrokenRow<'_>>| -> Result<Event, ApiError> {
        Ok(Event::parse(&translated(row?)?, now_ms, &app.texts)?)
    };
    let mut events = rows(&bytes)?.into_iter().map(event).collect::<Result<Vec<_>, _>>()?;
    name_intents(app, &mut events).await;
    Ok(if events.is_empty() { 0 } else { app.intake.write(events, Source::Http).await? })
}

#[derive(Debug, Deserialize)]
struct MetarankRanking {
    user: Option<Value>,
    items: Vec<MetarankItem>,
}

#[derive(Debug, Deserialize)]
struct MetarankItem {
    id: Value,
}

/// Metarank's `POST /rank/{model}`: the items that were sent, best first. There is one model of lists; its name in the path is not looked at.
async fn metarank_rank(
    State(app): State<Arc<App>>,
    InPath(_model): InPath,
    Body(ranking): Body<MetarankRanking>,
) -> Result<Json<Value>, ApiError> {
    let ids = ranking.items.iter().map(|item| Ok(id_text("items", &item.id)?));
    let ids = ids.collect::<Result<Vec<String>, ApiError>>()?;
    let user = ranking.user.map(|user| id_text("user", &user)).transpose()?;
    let ask = recommend::checked_ranking(&app, ids.clone(), ListBody::default())?;
    let list = recommend::answer(&app, &app.models.live(), ask, user).await?;
    let mut items: Vec<Value> = Vec::with_capacity(ids.len());
    for item in &list.items {
        items.push(json!({"item": item.item_id, "score": item.score.unwrap_or(0.0)}));
    }
    Ok(Json(json!({"items": items, "took": list.took_ms})))
}

/// Rasa's `POST /model/parse`.
async fn rasa_parse(
    State(app): State<Arc<App>>,
    Body(fields): Body<Map<String, Value>>,
) -> Result<Json<Value>, ApiError> {
    let text = fields.get("text").and_then(Value::as_str).ok_or_else(|| {
        let status = axum::http::StatusCode::UNPROCESSABLE_ENTITY;
        ApiError::new(status, "wrong_fields", "send text").field("text")
    })?;
    let found = texts::one(&app, text.to_owned(), 10).await?;
    let nothing = json!({"name": null, "confidence": 0.0});
    let intent = found.intent.map_or(nothing, |own| json!(own));
    Ok(Json(json!({
        "text": found.text,
        "intent": intent,
        "entities": [],
        "intent_ranking": found.intent_ranking,
    })))
}
