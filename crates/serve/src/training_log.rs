//! From a store to files that `forecart import` reads: what models may learn from.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use forecart_data::Progress;
use forecart_data::event::columns;
use serde_json::{Map, Value};

use crate::consent::{ConsentDefault, Consents, Purpose};
use crate::store::{ItemRecord, Store, StoreError};

/// Rows that are read at once.
const ROWS: usize = 5_000;
/// What an event says beside who did what when, if it says so; the rest is the tracker's own.
const FURTHER: [&str; 12] = [
    columns::SESSION_ID,
    columns::QUANTITY,
    columns::PRICE,
    columns::CURRENCY,
    columns::QUERY,
    columns::POSITION,
    columns::REQUEST_ID,
    "scenario",
    "variant",
    columns::ORDER_ID,
    columns::TEXT,
    columns::INTENT,
];
/// The items of a list that was shown.
const ITEMS: &str = "items";

/// Why the files were not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file cannot be written.
    #[error("{path:?}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// The files that were written, and how much is in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainingLog {
    /// Events, one a line: `{"event_id", "user_id", "item_id", "event", "timestamp" (ms), …}`.
    pub events: PathBuf,
    /// Items, one a line; `None` if the catalog is empty.
    pub items: Option<PathBuf>,
    /// Lines of `events`; an event that shows several items has one for each.
    pub n_events: u64,
    /// Lines of `items`.
    pub n_items: u64,
}

struct Lines {
    path: PathBuf,
    file: BufWriter<File>,
    n: u64,
}

impl Lines {
    fn create(path: PathBuf) -> Result<Self, ExportError> {
        match File::create(&path) {
            Ok(file) => Ok(Self { path, file: BufWriter::new(file), n: 0 }),
            Err(source) => Err(ExportError::File { path, source }),
        }
    }

    fn line(&mut self, fields: Map<String, Value>) -> Result<(), ExportError> {
        self.n += 1;
        let written = writeln!(self.file, "{}", Value::Object(fields));
        written.map_err(|source| ExportError::File { path: self.path.clone(), source })
    }

    fn end(mut self) -> Result<(PathBuf, u64), ExportError> {
        match self.file.flush() {
            Ok(()) => Ok((self.path, self.n)),
            Err(source) => Err(ExportError::File { path: self.path, source }),
        }
    }
}

/// Writes the events and items of a store to `events.jsonl` and `items.jsonl` in a folder that is there. Events of users who do not allow
/// that models learn from them are left out.
///
/// # Errors
/// [`ExportError`].
pub async fn export(
    store: &dyn Store,
    consent_default: ConsentDefault,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<TrainingLog, ExportError> {
    let consents = Consents::read(store, consent_default).await?;
    progress.begin("read the store", Some(store.counts().await?.n_events));
    let mut lines = Lines::create(folder.join("events.jsonl"))?;
    let mut after = 0;
    loop {
        let page = store.log(after, ROWS).await?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        progress.advance(page.len() as u64);
        for logged in page {
            if !consents.allows(&logged.event.user_id, Purpose::Training) {
                continue;
            }
            let Value::Object(said) = logged.event.to_json() else { continue };
            rows(said).try_for_each(|row| lines.line(row))?;
        }
    }
    let (events, n_events) = lines.end()?;
    let mut lines = Lines::create(folder.join("items.jsonl"))?;
    let mut after = String::new();
    loop {
        let page = store.items(0, &after, ROWS).await?;
        let Some(last) = page.last() else { break };
        after.clone_from(&last.item_id);
        for item in page.into_iter().filter(|item| !item.is_removed) {
            lines.line(of_item(item))?;
        }
    }
    let (items, n_items) = lines.end()?;
    let items = (n_items > 0).then_some(items);
    Ok(TrainingLog { events, items, n_events, n_items })
}

/// The rows of an event: one, or one for each item that it shows.
fn rows(mut said: Map<String, Value>) -> impl Iterator<Item = Map<String, Value>> {
    let shown = match said.remove(ITEMS) {
        Some(Value::Array(shown)) if !said.contains_key(columns::ITEM_ID) => shown,
        _ => vec![Value::Null],
    };
    let known = [columns::USER_ID, columns::ITEM_ID, columns::EVENT, columns::TIMESTAMP];
    let keeps =
        |name: &str| known.contains(&name) || name == columns::VALUE || FURTHER.contains(&name);
    let event_id = said.remove(columns::EVENT_ID);
    said.retain(|name, value| keeps(name) && !value.is_object() && !value.is_array());
    shown.into_iter().enumerate().map(move |(place, item)| {
        let mut row = said.clone();
        let mut id = event_id.clone();
        if let Value::Object(item) = item {
            if let (true, Some(Value::String(id))) = (place > 0, &mut id) {
                *id += &format!("#{place}");
            }
            row.insert(columns::POSITION.into(), (place + 1).into());
            row.extend(item.into_iter().filter(|(name, own)| {
                (name == columns::ITEM_ID || FURTHER.contains(&name.as_str()))
                    && !own.is_object()
                    && !own.is_array()
            }));
        }
        row.extend(id.map(|id| (columns::EVENT_ID.to_owned(), id)));
        row
    })
}

/// An item by its columns: `attributes` beside the others, a path or a list as one text.
fn of_item(item: ItemRecord) -> Map<String, Value> {
    let mut fields = Map::from_iter([(columns::ITEM_ID.to_owned(), Value::from(item.item_id))]);
    for (name, value) in item.attributes {
        match value {
            Value::Object(own) => {
                for (name, value) in own {
                    if let Some(value) = as_column(value) {
                        fields.entry(name).or_insert(value);
                    }
                }
            }
            value => fields.extend(as_column(value).map(|value| (name, value))),
        }
    }
    fields
}

fn as_column(value: Value) -> Option<Value> {
    match value {
        Value::Array(parts) => {
            let parts: Option<Vec<&str>> = parts.iter().map(Value::as_str).collect();
            Some(Value::from(parts?.join(" > ")))
        }
        Value::Object(_) | Value::Null => None,
        value => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(event: Value) -> Vec<Value> {
        let Value::Object(said) = event else { panic!("{event}") };
        rows(said).map(Value::Object).collect()
    }

    #[test]
    fn a_list_that_was_shown_is_a_row_for_each_of_its_items() {
        let event = json!({"event_id": "e", "user_id": "u", "event": "view_item_list", "timestamp": 5,
            "request_id": "r", "items": [{"item_id": "a", "price": 2.0}, {"item_id": "b", "more": [1]}]});
        let expected = json!([
            {"event_id": "e", "user_id": "u", "event": "view_item_list", "timestamp": 5, "request_id": "r",
             "item_id": "a", "price": 2.0, "position": 1},
            {"event_id": "e#1", "user_id": "u", "event": "view_item_list", "timestamp": 5, "request_id": "r",
             "item_id": "b", "position": 2},
        ]);
        assert_eq!(Value::Array(of(event)), expected);
    }

    #[test]
    fn what_is_the_trackers_own_is_left_out() {
        let event = json!({"event_id": "e", "user_id": "u", "event": "ask", "timestamp": 5, "text": "where",
            "attributes": {"a": 1}, "browser": "x"});
        let expected = json!([{"event_id": "e", "user_id": "u", "event": "ask", "timestamp": 5, "text": "where"}]);
        assert_eq!(Value::Array(of(event)), expected);
    }

    #[test]
    fn attributes_of_an_item_are_columns() {
        let Value::Object(attributes) = json!({"title": "Tea", "category": ["Food", "Tea"], "attributes": {"color": "green", "title": "x"}, "embedding": [1.0]})
        else {
            panic!()
        };
        let item = ItemRecord { item_id: "i".into(), attributes, is_removed: false, changed_ms: 0 };
        let expected =
            json!({"item_id": "i", "title": "Tea", "category": "Food > Tea", "color": "green"});
        assert_eq!(Value::Object(of_item(item)), expected);
    }
}
