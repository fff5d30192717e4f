//! A list as it is answered.

use serde::Serialize;
use utoipa::ToSchema;

use super::reasons::ListReason;
use crate::assemble::{Assembled, Listed, Origin};
use crate::catalog::{Catalog, Column, ColumnType};

/// An item of a list.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct ListItem {
    pub(crate) item_id: String,
    /// The score of its source; null of items that have none. Comparable within one source of one answer.
    pub(crate) score: Option<f32>,
    /// From 1, over all pages.
    pub(crate) rank: usize,
    /// Where it comes from.
    pub(crate) source: Vec<String>,
    pub(crate) reasons: Vec<ListReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) title: Option<String>,
}

/// A list.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct List {
    /// Send it with the events that follow: it says which answer they are of.
    pub(crate) request_id: String,
    /// Null where none is served.
    pub(crate) model: Option<String>,
    pub(crate) model_version: Option<String>,
    /// The experiment that the list is in; null if in none.
    pub(crate) experiment: Option<String>,
    /// The variant that answered; `default` outside of experiments.
    pub(crate) variant: String,
    /// Why the list is not the model's own; null if it is.
    pub(crate) fallback: Option<String>,
    pub(crate) items: Vec<ListItem>,
    pub(crate) took_ms: f64,
}

/// An item of the answer before it has reasons.
pub(super) fn unexplained(catalog: &Catalog, assembled: &Assembled, listed: &Listed) -> ListItem {
    let of = match listed.origin {
        Origin::Pin => "pin",
        Origin::Source(place) => {
            assembled.trace.sources.get(place).map_or("", |source| source.name.as_str())
        }
    };
    let title = match catalog.column("title", ColumnType::Text) {
        Some(Column::Text(titles)) => titles.text(listed.row).map(str::to_owned),
        _ => None,
    };
    ListItem {
        item_id: catalog.id(listed.row).to_owned(),
        score: listed.score,
        rank: listed.rank,
        source: vec![of.to_owned()],
        reasons: Vec::new(),
        title,
    }
}
