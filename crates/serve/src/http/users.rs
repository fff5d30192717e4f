//! `/v1/users`: attributes, deletion with a receipt, export.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::body::{Body as HttpBody, Bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use forecart_data::event::columns;
use futures::stream;
use serde_json::{Map, Value, json};

use super::body::{self, Body, InPath};
use super::error::{ApiError, ErrorBody};
use super::events::{Rejected, Taken, answer, named};
use crate::app::App;
use crate::arrivals::rows;
use crate::clock::now_ms;
use crate::consent::{CONSENT, check_consent};
use crate::event::MAX_FURTHER_BYTES;
use crate::ids::new_id;
use crate::metrics::KindLabels;
use crate::store::{Receipt, ReviseUser, StoreError, UserRecord};

/// Events of one page of an export.
const EXPORT_PAGE: usize = 1_000;
/// Users of one transaction: a short one, as others look for what changed in the last ten seconds.
const USERS_AT_ONCE: usize = 1_000;

/// Attributes that may be kept of a user.
fn checked(attributes: Map<String, Value>) -> Result<Map<String, Value>, ApiError> {
    check_consent(&attributes)?;
    let n_bytes = serde_json::to_string(&attributes).map_or(usize::MAX, |text| text.len());
    if n_bytes > MAX_FURTHER_BYTES {
        let message = format!("{n_bytes} bytes, at most {MAX_FURTHER_BYTES} are kept of a user");
        return Err(ApiError::unprocessable("too_large", message));
    }
    Ok(attributes)
}

fn named_user(row: Value) -> Result<(String, Map<String, Value>), ApiError> {
    let (id, attributes) = named(row, columns::USER_ID)?;
    Ok((id, checked(attributes)?))
}

/// Writes attributes of users: of one, an array of them, or one a line, each with its `user_id`.
#[utoipa::path(
    post,
    path = "/v1/users",
    tag = "users",
    request_body(description = "A user, an array of users, or users one a line", content = Value, example = json!([{"user_id": "u1", "country": "CN"}])),
    responses((status = 202, body = Taken), (status = 400, body = ErrorBody), (status = 413, body = ErrorBody), (status = 422, body = ErrorBody))
)]
pub(crate) async fn post(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ApiError> {
    let bytes = body::bytes(request, &app).await?;
    let (mut users, mut rejected) = (Vec::new(), Vec::new());
    for (index, row) in rows(&bytes)?.into_iter().enumerate() {
        match row.map_err(ApiError::from).and_then(named_user) {
            Ok(user) => users.push(user),
            Err(error) => rejected.push(Rejected::new(index, error)),
        }
    }
    let accepted = users.len();
    super::to_its_end(async move { app.replace_users(users).await }).await?;
    Ok(answer(Taken { accepted, duplicates: 0, rejected }))
}

/// Writes all attributes of a user.
#[utoipa::path(put, path = "/v1/users/{id}", tag = "users", params(("id" = String, Path)), request_body = std::collections::BTreeMap<String, Value>,
    responses((status = 204), (status = 400, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    InPath(id): InPath,
    Body(mut attributes): Body<Map<String, Value>>,
) -> Result<StatusCode, ApiError> {
    attributes.remove("user_id");
    let users = vec![(id, checked(attributes)?)];
    super::to_its_end(async move { app.replace_users(users).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Changes the named attributes of a user; null takes one away. Of `consent` only the purposes that are named change.
#[utoipa::path(patch, path = "/v1/users/{id}", tag = "users", params(("id" = String, Path)), request_body = std::collections::BTreeMap<String, Value>,
    responses((status = 204), (status = 400, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn patch(
    State(app): State<Arc<App>>,
    InPath(id): InPath,
    Body(changes): Body<Map<String, Value>>,
) -> Result<StatusCode, ApiError> {
    super::to_its_end(async move { app.patch_user(&id, changes).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Attributes with changes made to them.
fn patched(mut attributes: Map<String, Value>, changes: Map<String, Value>) -> Map<String, Value> {
    for (name, value) in changes {
        match value {
            // What was withheld stays so where another purpose is named.
            Value::Object(said) if name == CONSENT => {
                let mut consent = match attributes.remove(CONSENT) {
                    Some(Value::Object(earlier)) => earlier,
                    _ => Map::new(),
                };
                patch_with(&mut consent, said);
                attributes.insert(name, consent.into());
            }
            value => patch_with(&mut attributes, Map::from_iter([(name, value)])),
        }
    }
    attributes.remove("user_id");
    attributes
}

/// Sets what is named; null takes it away.
fn patch_with(fields: &mut Map<String, Value>, changes: Map<String, Value>) {
    for (name, value) in changes {
        match value {
            Value::Null => drop(fields.remove(&name)),
            value => drop(fields.insert(name, value)),
        }
    }
}

/// The attributes of a user; empty of one that none were sent of.
#[utoipa::path(get, path = "/v1/users/{id}", tag = "users", params(("id" = String, Path)),
    responses((status = 200, body = std::collections::BTreeMap<String, Value>), (status = 422, body = ErrorBody)))]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    InPath(id): InPath,
) -> Result<Json<Map<String, Value>>, ApiError> {
    let user = app.store.user(&id).await?;
    let mut fields = user.map(|own| own.attributes).unwrap_or_default();
    fields.insert("user_id".to_owned(), id.into());
    Ok(Json(fields))
}

/// Forgets a user: all events and attributes are removed from the store and from memory. The receipt does not say who it was.
#[utoipa::path(delete, path = "/v1/users/{id}", tag = "users", params(("id" = String, Path)), responses((status = 202, body = Receipt), (status = 422, body = ErrorBody)))]
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    InPath(id): InPath,
) -> Result<(StatusCode, Json<Receipt>), ApiError> {
    // To the end, even if the client goes.
    let receipt = super::to_its_end(async move { app.forget(&id).await }).await?;
    Ok((StatusCode::ACCEPTED, Json(receipt)))
}

impl App {
    /// Writes all attributes of users anew. Of one whose `consent` is not named, what was said otherwise than the default stays: a list of all users
    /// that a shop sends each night says nothing of consent, and takes nothing back.
    async fn replace_users(
        &self,
        users: Vec<(String, Map<String, Value>)>,
    ) -> Result<(), StoreError> {
        let _one_at_a_time = self.turn(&self.user_writes).await?;
        for users in users.chunks(USERS_AT_ONCE) {
            let mut rows: BTreeMap<&str, Vec<&Map<String, Value>>> = BTreeMap::new();
            for (id, attributes) in users {
                rows.entry(id).or_default().push(attributes);
            }
            let ids: BTreeSet<&str> = rows.keys().copied().collect();
            let replace = |id: &str, known: Option<UserRecord>| {
                let known = known.map(|own| own.attributes).unwrap_or_default();
                let replaced = |earlier: Map<String, Value>, row: &&Map<String, Value>| {
                    let mut attributes = (*row).clone();
                    if !attributes.contains_key(CONSENT)
                        && self.consents.says_otherwise(&earlier)
                        && let Some(consent) = earlier.get(CONSENT)
                    {
                        attributes.insert(CONSENT.to_owned(), consent.clone());
                    }
                    attributes
                };
                let attributes = rows.get(id)?.iter().fold(known, replaced);
                Some(UserRecord { user_id: id.to_owned(), attributes, changed_ms: now_ms() })
            };
            self.revise_users(&ids, Box::new(replace)).await?;
        }
        Ok(())
    }

    /// Makes changes to the attributes of a user.
    async fn patch_user(&self, id: &str, changes: Map<String, Value>) -> Result<(), ApiError> {
        let _one_at_a_time = self.turn(&self.user_writes).await?;
        let (mut changes, mut refused) = (Some(changes), None);
        let patch = |id: &str, known: Option<UserRecord>| {
            let known = known.map(|own| own.attributes).unwrap_or_default();
            match checked(patched(known, changes.take()?)) {
                Ok(attributes) => {
                    Some(UserRecord { user_id: id.to_owned(), attributes, changed_ms: now_ms() })
                }
                Err(error) => {
                    refused = Some(error);
                    None
                }
            }
        };
        self.revise_users(&BTreeSet::from([id]), Box::new(patch)).await?;
        refused.map_or(Ok(()), Err)
    }

    /// Changes users, then takes what they allow into memory: before the answer, and, as users are written one at a time, in one order for both.
    async fn revise_users(
        &self,
        ids: &BTreeSet<&str>,
        revise: ReviseUser<'_>,
    ) -> Result<(), StoreError> {
        let written = self.written(ids.len(), self.store.revise_users(ids, revise)).await?;
        self.consents.take(&written);
        Ok(())
    }

    async fn forget(&self, user_id: &str) -> Result<Receipt, StoreError> {
        let _one_at_a_time = self.turn(&self.user_writes).await?;
        let receipt_id = new_id();
        self.memory.histories.begin(std::iter::once(user_id));
        let forgotten = self.written(0, self.store.forget(user_id, &receipt_id, now_ms())).await;
        self.memory.histories.forget(user_id);
        self.memory.histories.end(std::iter::once(user_id));
        if forgotten.is_ok() {
            self.consents.forget(user_id);
        }
        self.traces.forget(user_id);
        count(self, "delete", if forgotten.is_ok() { "done" } else { "failed" });
        forgotten
    }
}

/// The receipt of a deletion.
#[utoipa::path(get, path = "/v1/privacy/receipts/{id}", tag = "users", params(("id" = String, Path)),
    responses((status = 200, body = Receipt), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn receipt(
    State(app): State<Arc<App>>,
    InPath(id): InPath,
) -> Result<Json<Receipt>, ApiError> {
    let receipt = app.store.receipt(&id).await?;
    receipt.map(Json).ok_or_else(|| {
        let message = format!("there is no receipt {id:?}");
        ApiError::new(StatusCode::NOT_FOUND, "unknown_receipt", message)
    })
}

/// All that is kept of a user, as JSON lines: attributes first, then every event.
#[utoipa::path(get, path = "/v1/users/{id}/export", tag = "users", params(("id" = String, Path)),
    responses((status = 200, content_type = "application/x-ndjson", body = String), (status = 422, body = ErrorBody)))]
pub(crate) async fn export(
    State(app): State<Arc<App>>,
    InPath(id): InPath,
) -> Result<Response, ApiError> {
    let user = app.store.user(&id).await?;
    let attributes = user.map(|own| own.attributes).unwrap_or_default();
    // The first page before the status is sent: a store that does not answer is an error, not an empty file.
    let first = app.store.events_of(&id, 0, EXPORT_PAGE).await?;
    count(&app, "export", "done");
    let head = json!({"user_id": id, "attributes": attributes}).to_string() + "\n";
    let begin = (app, id, Some(Page::Read(head, first)));
    let pages = stream::try_unfold(begin, |(app, id, page)| async move {
        let Some(page) = page else { return Ok::<_, StoreError>(None) };
        let (mut text, (events, next)) = match page {
            Page::Read(head, page) => (head, page),
            Page::After(after) => {
                (String::new(), app.store.events_of(&id, after, EXPORT_PAGE).await?)
            }
        };
        for event in events {
            text.push_str(&event.to_json().to_string());
            text.push('\n');
        }
        Ok(Some((Bytes::from(text), (app, id, next.map(Page::After)))))
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, HttpBody::from_stream(pages)).into_response())
}

enum Page {
    Read(String, (Vec<crate::event::Event>, Option<i64>)),
    After(i64),
}

fn count(app: &App, kind: &str, state: &str) {
    let labels = KindLabels { kind: kind.to_owned(), state: state.to_owned() };
    app.memory.metrics.privacy.get_or_create(&labels).inc();
}
