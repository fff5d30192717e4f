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
use crate::catalog::{Catalog, CatalogError, ItemRow};
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

/// What is done to an item that may be known.
enum Change {
    Patch(Map<String, Value>),
    Remove,
}

impl Change {
    /// The item with the change made to it. Of one that is taken out the fields are kept; `is_seen`: events or models know the item.
    fn made(
        self,
        trial: &mut Catalog,
        item_id: &str,
        known: Option<ItemRecord>,
        is_seen: bool,
    ) -> Result<ItemRecord, CatalogError> {
        let is_live = known.as_ref().map_or(is_seen, |own| !own.is_removed);
        let earlier = known.map(|own| own.attributes).unwrap_or_default();
        let (attributes, is_removed) = match self {
            Self::Patch(fields) => {
                if is_live {
                    trial.upsert(item_id, &earlier)?;
                }
                let row = trial.patch(item_id, &fields)?;
                (kept(trial, row), false)
            }
            Self::Remove => (earlier, true),
        };
        let item_id = item_id.to_owned();
        Ok(ItemRecord { item_id, attributes, is_removed, changed_ms: now_ms() })
    }
}

/// All fields of a row, as they are kept.
fn kept(catalog: &Catalog, row: ItemRow) -> Map<String, Value> {
    let mut fields = catalog.item(row).unwrap_or_default();
    fields.remove("item_id");
    fields
}

impl App {
    /// A catalog without an item, with the same columns: changes are tried on it.
    fn trial(&self) -> Result<Catalog, CatalogError> {
        let mut trial = Catalog::new();
        for (name, column_type) in self.memory.catalog().column_types() {
            trial.declare(name, column_type)?;
        }
        Ok(trial)
    }

    /// Replaces items in the store and then in memory, each whole or not at all.
    async fn replace_items(
        &self,
        items: Vec<(String, Map<String, Value>)>,
    ) -> Result<Vec<Result<(), CatalogError>>, ApiError> {
        let _one_at_a_time = self.turn(&self.item_writes).await?;
        let changed_ms = now_ms();
        let mut trial = self.trial()?;
        let (mut outcomes, mut records) = (Vec::new(), Vec::new());
        for (item_id, fields) in items {
            outcomes.push(trial.upsert(&item_id, &fields).map(|row| {
                let attributes = kept(&trial, row);
                records.push(ItemRecord { item_id, attributes, is_removed: false, changed_ms });
            }));
        }
        self.written(records.len(), self.store.put_items(&records)).await?;
        self.took_items(records).await;
        Ok(outcomes)
    }

    /// Changes an item in the store, by what that knows of it, and then in memory.
    async fn change_item(&self, item_id: &str, change: Change) -> Result<(), ApiError> {
        let _one_at_a_time = self.turn(&self.item_writes).await?;
        let mut trial = self.trial()?;
        let is_seen = {
            let catalog = self.memory.catalog();
            catalog.row(item_id).is_some_and(|row| catalog.is_live(row))
        };
        let mut refused = None;
        let revise = |known: Option<ItemRecord>| {
            let made = change.made(&mut trial, item_id, known, is_seen);
            made.map_err(|error| refused = Some(error)).ok()
        };
        let revised = self.store.revise_item(item_id, Box::new(revise));
        let revised = self.written(1, revised).await?;
        if let Some(error) = refused {
            return Err(error.into());
        }
        self.took_items(revised.into_iter().collect()).await;
        Ok(())
    }

    async fn took_items(&self, records: Vec<ItemRecord>) {
        self.take_items(records).await;
        self.gauge_catalog();
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
    let (mut items, mut places, mut rejected) = (Vec::new(), Vec::new(), Vec::new());
    for (index, row) in rows(&bytes)?.into_iter().enumerate() {
        match row.map_err(ApiError::from).and_then(|row| named(row, columns::ITEM_ID)) {
            Ok(item) => {
                places.push(index);
                items.push(item);
            }
            Err(error) => rejected.push(Rejected::new(index, error)),
        }
    }
    let outcomes = super::to_its_end(async move { app.replace_items(items).await }).await?;
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
    let items = vec![(id, fields)];
    let mut outcomes = super::to_its_end(async move { app.replace_items(items).await }).await?;
    outcomes.remove(0)?;
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
    super::to_its_end(async move { app.change_item(&id, Change::Patch(fields)).await }).await?;
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
    super::to_its_end(async move { app.change_item(&id, Change::Remove).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
