//! From a dataset to a store: a server that begins knows what the models learned from.

use forecart_data::{Dataset, Progress, UserIdx};
use serde_json::{Map, Value};

use crate::clock::now_ms;
use crate::event::Event;
use crate::store::{ItemRecord, Store, StoreError};

/// Rows of one transaction.
const ROWS: usize = 10_000;

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filled {
    /// Events that were not there before.
    pub n_new_events: u64,
    /// Items with a title that were not there before.
    pub n_items: u64,
}

/// Writes the histories of a dataset, and the titles of items that the store does not know. A dataset that was put in whole is not put in
/// again: what was forgotten or removed since stays so. Events have ids that say which dataset and which place they are of, so that one that
/// was cut short goes on.
///
/// # Errors
/// [`StoreError`]; what was written before stays, and doing it again goes on.
pub async fn fill(
    store: &dyn Store,
    dataset: &Dataset,
    progress: &dyn Progress,
) -> Result<Filled, StoreError> {
    let mut filled = Filled::default();
    let now_ms = now_ms();
    let content_hash = &dataset.manifest.content_hash;
    if store.has_dataset(content_hash).await? {
        return Ok(filled);
    }
    let titled = dataset.items.iter().filter_map(|(index, id, _)| {
        let title = dataset.titles.get(index as usize);
        (!title.is_empty()).then(|| ItemRecord {
            item_id: id.to_owned(),
            attributes: Map::from_iter([("title".to_owned(), Value::from(title))]),
            is_removed: false,
            changed_ms: now_ms,
        })
    });
    let items: Vec<ItemRecord> = titled.collect();
    for items in items.chunks(ROWS) {
        filled.n_items += store.add_items(items).await?;
    }
    let of_dataset = content_hash.chars().take(16).collect::<String>();
    progress.begin("fill the store", Some(dataset.sequences.n_events() as u64));
    let mut rows = Vec::with_capacity(ROWS);
    let mut place = 0_u64;
    for (user, user_id, _) in dataset.users.iter() {
        let history = dataset.sequences.history(UserIdx(user));
        for (at, item) in history.items.iter().enumerate() {
            place += 1;
            // Row 0 holds users and items that are known by no name.
            if user == 0 || !item.is_known() {
                continue;
            }
            let kind =
                history.events.get(at).map_or("", |kind| dataset.event_names.text((*kind).into()));
            rows.push(Event {
                event_id: format!("{of_dataset}-{place}"),
                user_id: user_id.to_owned(),
                item_id: Some(dataset.items.text(item.0).to_owned()),
                event: if kind.is_empty() { "interaction".to_owned() } else { kind.to_owned() },
                timestamp_ms: history.timestamps_ms.get(at).copied().unwrap_or(0),
                value: history.values.get(at).map(|value| f64::from(*value)),
                further: Map::new(),
            });
            if rows.len() == ROWS {
                filled.n_new_events += store.append(&rows, now_ms).await?.len() as u64;
                progress.advance(rows.len() as u64);
                rows.clear();
            }
        }
    }
    filled.n_new_events += store.append(&rows, now_ms).await?.len() as u64;
    store.note_dataset(content_hash, now_ms).await?;
    Ok(filled)
}
