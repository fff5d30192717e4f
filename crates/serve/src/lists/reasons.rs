//! Why an item is in a list.

use forecart_models::model_file::{LoadedModel, NamedReason};
use serde::Serialize;
use utoipa::ToSchema;

use super::ask::{About, ListAsk};
use super::model_history::Known;

/// Reasons of an item.
const N_REASONS: usize = 2;

/// Why an item is in a list.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum ListReason {
    /// Because of an event of the user.
    BecauseOf {
        item_id: String,
        title: String,
        /// How much of the score it brought.
        contribution: f32,
    },
    /// Because many others chose it.
    Popular {
        #[serde(skip_serializing_if = "Option::is_none")]
        rank: Option<usize>,
    },
    /// Because it is chosen more often than before.
    Trending { times: f32 },
    /// Because it is new.
    New { days: f32 },
    /// Because the shop put it there.
    Pinned,
    /// Because it has much in common with the item.
    Similar,
    /// Because it has much in common with an item of the user's; it is too new for the model.
    SimilarTo { item_id: String },
}

/// Reasons that the model gives. A model that counts gives them always; a network computes each by leaving events out, and is asked only
/// where the request says `explain`.
pub(super) fn reasons(
    file: &LoadedModel,
    known: &Known,
    item_id: &str,
    ask: &ListAsk,
) -> Vec<ListReason> {
    let record = &file.header().provenance.record;
    let is_counted = record.curve.is_empty() && record.members.is_empty();
    if !matches!(ask.about, About::Next | About::Among(_)) || !(is_counted || ask.explain) {
        return Vec::new();
    }
    let named = file.reasons(known.history(), item_id, N_REASONS).unwrap_or_default();
    let reason = |reason: NamedReason<'_>| match reason {
        NamedReason::Event { item_id, title, contribution, .. } => ListReason::BecauseOf {
            item_id: item_id.to_owned(),
            title: title.to_owned(),
            contribution,
        },
        NamedReason::Popular { rank, .. } => ListReason::Popular { rank: Some(rank) },
        NamedReason::Trending { times, .. } => ListReason::Trending { times },
        NamedReason::New { days, .. } => ListReason::New { days },
    };
    named.into_iter().map(reason).collect()
}
