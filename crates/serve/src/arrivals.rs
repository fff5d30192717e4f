//! Events as they arrive, by a request or a message: read from bytes, checked one by one, and what questions ask named.

use std::sync::Arc;

use axum::body::Bytes;
use forecart_data::event::columns;
use forecart_text::Pipeline;
use serde_json::Value;

use crate::app::App;
use crate::event::{Event, EventError};

/// Most rows at once.
const MAX_ROWS: usize = 10_000;

/// The code of what is no JSON.
pub(crate) const NOT_JSON: &str = "not_json";
/// The code of more rows than are taken at once.
pub(crate) const TOO_MANY_ROWS: &str = "too_many_rows";

/// A line that is no JSON.
#[derive(Debug)]
pub(crate) struct BrokenRow<'a> {
    pub(crate) error: EventError,
    sent: &'a [u8],
}

/// A row that is no event.
#[derive(Debug)]
pub(crate) struct Refused<'a> {
    /// Its place, from 0.
    pub(crate) index: usize,
    pub(crate) error: EventError,
    sent: Sent<'a>,
}

#[derive(Debug)]
enum Sent<'a> {
    Row(Value),
    Line(&'a [u8]),
}

impl Refused<'_> {
    /// The row as it was sent, up to white space.
    pub(crate) fn bytes(&self) -> Bytes {
        match &self.sent {
            Sent::Row(row) => row.to_string().into(),
            Sent::Line(line) => Bytes::copy_from_slice(line),
        }
    }
}

/// What was sent, row by row.
#[derive(Debug)]
pub(crate) struct Arrived<'a> {
    pub(crate) events: Vec<Event>,
    pub(crate) refused: Vec<Refused<'a>>,
}

/// The events of a body or a message. Those that say no time happened at `now_ms`, those without an id get the one that `unnamed` makes of their place.
///
/// # Errors
/// If it cannot be told apart into rows.
pub(crate) fn read<'a>(
    bytes: &'a [u8],
    now_ms: i64,
    texts: &Pipeline,
    unnamed: impl Fn(usize) -> String,
) -> Result<Arrived<'a>, EventError> {
    let mut arrived = Arrived { events: Vec::new(), refused: Vec::new() };
    for (index, row) in rows(bytes)?.into_iter().enumerate() {
        let (error, sent) = match row {
            Ok(row) => match Event::parse_or_name(&row, now_ms, texts, || unnamed(index)) {
                Ok(event) => {
                    arrived.events.push(event);
                    continue;
                }
                Err(error) => (error, Sent::Row(row)),
            },
            Err(BrokenRow { error, sent }) => (error, Sent::Line(sent)),
        };
        arrived.refused.push(Refused { index, error, sent });
    }
    Ok(arrived)
}

/// The rows of a body or a message: an object, an array of objects, or objects one a line. A line that is no JSON is one row that is refused.
///
/// # Errors
/// If it is no JSON, or has more than [`MAX_ROWS`] rows.
pub(crate) fn rows(bytes: &[u8]) -> Result<Vec<Result<Value, BrokenRow<'_>>>, EventError> {
    let rows: Vec<_> = match serde_json::from_slice::<Value>(bytes) {
        Ok(Value::Array(rows)) => rows.into_iter().map(Ok).collect(),
        Ok(row) => vec![Ok(row)],
        Err(error) => {
            let lines = || {
                let lines = bytes.split(|byte| *byte == b'\n');
                lines.filter(|line| !line.trim_ascii().is_empty())
            };
            let is_array = bytes.trim_ascii_start().first() == Some(&b'[');
            if is_array || lines().nth(1).is_none() {
                return Err(not_json(&error));
            }
            let row = |sent| {
                serde_json::from_slice(sent)
                    .map_err(|error| BrokenRow { error: not_json(&error), sent })
            };
            lines().take(MAX_ROWS + 1).map(row).collect()
        }
    };
    if rows.len() > MAX_ROWS {
        let message = format!("at most {MAX_ROWS} rows are taken at once: send them in parts");
        return Err(EventError::new(TOO_MANY_ROWS, "", message));
    }
    Ok(rows)
}

fn not_json(error: &serde_json::Error) -> EventError {
    EventError::new(NOT_JSON, "", format!("this is not JSON: {error}"))
}

/// Names what questions ask that came with a text and without an intent, by the model of texts that is live: models of coming questions
/// go by intents. Where that model abstains, or cannot answer now, the question has none.
pub(crate) async fn name_intents(app: &Arc<App>, events: &mut [Event]) {
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
