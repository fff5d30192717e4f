//! `/v1/items`: the catalog.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use forecart_data::event::columns;
use serde_json::{Map, Value};

use super::body::{self, Body, InPath};
use super::error::{ApiError, ErrorBody};
use super::events::{Rejected, Taken, answer, named};
use crate::app::App;
use crate::arrivals::rows;
use crate::catalog::{Catalog, CatalogError};
use crate::clock::now_ms;
use crate::store::ItemRecord;

impl From<CatalogError> for ApiError {
    fn from(error: CatalogError) -> Self {
        let status = match error {
            CatalogError::UnknownItem { .. } => StatusCode::NOT_FOUND,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let api = Self::new(status, error.code(), error.message()).hint(error.hint());
        match error.field() {
            Some(field) => api.field(field),
            None => api,
        }
    }
}

/// What is done to an item.
enum Change {
    Replace(Map<String, Value>),
    Patch(Map<String, Value>),
    Remove,
}

impl App {
    /// Changes items in the store and then in memory, each whole or not at all; to the end, even if the client goes.
    async fn change_items(
        self: &Arc<Self>,
        changes: Vec<(String, Change)>,
    ) -> Result<Vec<Result<(), CatalogError>>, ApiError> {
        let app = self.clone();
        super::to_its_end(async move { app.changed_items(changes).await }).await
    }

    async fn changed_items(
        &self,
        changes: Vec<(String, Change)>,
    ) -> Result<Vec<Result<(), CatalogError>>, ApiError> {
        let _one_at_a_time = self.turn(&self.item_writes).await?;
        let changed_ms = now_ms();
        // Tried on a catalog of their own, with the same columns.
        let mut trial = Catalog::new();
        {
            let catalog = self.memory.catalog();
            for (name, column_type) in catalog.column_types() {
                trial.declare(name, column_type)?;
            }
            for (item_id, _) in &changes {
                if let Some(mut fields) = catalog.row(item_id).and_then(|row| catalog.item(row)) {
                    fields.remove("item_id");
                    trial.upsert(item_id, &fields)?;
                }
            }
        }
        let (mut outcomes, mut records) = (Vec::new(), Vec::new());
        for (item_id, change) in changes {
            let earlier = trial.row(&item_id).and_then(|row| trial.item(row));
            let row = match &change {
                Change::Replace(fields) => trial.upsert(&item_id, fields).map(Some),
                Change::Patch(fields) => trial.patch(&item_id, fields).map(Some),
                Change::Remove => trial.ensure(&item_id).map(|_| None),
            };
            outcomes.push(row.map(|row| {
                let is_removed = row.is_none();
                if is_removed {
                    trial.remove(&item_id);
                }
                let item = row.and_then(|row| trial.item(row));
                let mut attributes = item.or(earlier).unwrap_or_default();
                attributes.remove("item_id");
                records.push(ItemRecord { item_id, attributes, is_removed, changed_ms });
            }));
        }
        self.written(records.len(), self.store.put_items(&records)).await?;
        self.take_items(records).await;
        self.gauge_catalog();
        Ok(outcomes)
    }

    async fn change_item(
        self: &Arc<Self>,
        item_id: String,
        change: Change,
    ) -> Result<(), ApiError> {
        let mut outcomes = self.change_items(vec![(item_id, change)]).await?;
        Ok(outcomes.remove(0)?)
    }
}

/// Puts items in: one, an array of them, or one a line, each with its `item_id`. Each replaces what was known of it.
#[utoipa::path(
    post,
    path = "/v1/items",
    tag = "catalog",
    request_body(description = "An item, an array of items, or items one a line", content = Value, example = json!([{"item_id": "i1", "title": "Mug", "price": 9.5}])),
    responses((status = 202, body = Taken), (status = 400, body = ErrorBody), (status = 413, body = ErrorBody), (status = 422, body = ErrorBody))
)]
pub(crate) async fn post(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ApiError> {
    let bytes = body::bytes(request, &app).await?;
    let (mut changes, mut places, mut rejected) = (Vec::new(), Vec::new(), Vec::new());
    for (index, row) in rows(&bytes)?.into_iter().enumerate() {
        match row.map_err(ApiError::from).and_then(|row| named(row, columns::ITEM_ID)) {
            Ok((item_id, fields)) => {
                places.push(index);
                changes.push((item_id, Change::Replace(fields)));
            }
            Err(error) => rejected.push(Rejected::new(index, error)),
        }
    }
    let outcomes = app.change_items(changes).await?;
    let mut accepted = 0;
    for (index, outcome) in places.into_iter().zip(outcomes) {
        match outcome {
            Ok(()) => accepted += 1,
            Err(error) => rejected.push(Rejected::new(index, error.into())),
        }
    }
    rejected.sort_by_key(|row| row.index);
    Ok(answer(Taken { accepted, duplicates: 0, rejected }))
}

/// Puts an item in, or replaces all that is known of it.
#[utoipa::path(put, path = "/v1/items/{id}", tag = "catalog", params(("id" = String, Path)), request_body = std::collections::BTreeMap<String, Value>,
    responses((status = 204), (status = 422, body = ErrorBody), (status = 400, body = ErrorBody)))]
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    InPath(id): InPath,
    Body(mut fields): Body<Map<String, Value>>,
) -> Result<StatusCode, ApiError> {
    fields.remove("item_id");
    app.change_item(id, Change::Replace(fields)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Changes the named fields of an item; null takes one away.
#[utoipa::path(patch, path = "/v1/items/{id}", tag = "catalog", params(("id" = String, Path)), request_body = std::collections::BTreeMap<String, Value>,
    responses((status = 204), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody), (status = 400, body = ErrorBody)))]
pub(crate) async fn patch(
    State(app): State<Arc<App>>,
    InPath(id): InPath,
    Body(mut fields): Body<Map<String, Value>>,
) -> Result<StatusCode, ApiError> {
    fields.remove("item_id");
    app.change_item(id, Change::Patch(fields)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What is known of an item.
#[utoipa::path(get, path = "/v1/items/{id}", tag = "catalog", params(("id" = String, Path)),
    responses((status = 200, body = std::collections::BTreeMap<String, Value>), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    InPath(id): InPath,
) -> Result<Json<Map<String, Value>>, ApiError> {
    let catalog = app.memory.catalog();
    let item = catalog.row(&id).and_then(|row| catalog.item(row));
    item.map(Json).ok_or_else(|| {
        ApiError::new(StatusCode::NOT_FOUND, "unknown_item", format!("there is no item {id:?}"))
    })
}

/// Takes an item out: it is in no list from now on.
#[utoipa::path(delete, path = "/v1/items/{id}", tag = "catalog", params(("id" = String, Path)), responses((status = 204), (status = 422, body = ErrorBody)))]
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    InPath(id): InPath,
) -> Result<StatusCode, ApiError> {
    app.change_item(id, Change::Remove).await?;
    Ok(StatusCode::NO_CONTENT)
}
