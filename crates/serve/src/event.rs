//! One event as a shop sends it, checked.

use forecart_data::event::{canonical_column, canonical_event, columns};
use forecart_text::Pipeline;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::catalog::time;

/// Longest id, in bytes.
pub const MAX_ID_BYTES: usize = 512;
/// Longest name of an event, in bytes.
pub const MAX_EVENT_NAME_BYTES: usize = 128;
/// Longest text of a question or a search, in bytes.
pub const MAX_TEXT_BYTES: usize = 16 * 1024;
/// Longest of everything further that an event says, as JSON, in bytes.
pub const MAX_FURTHER_BYTES: usize = 32 * 1024;
/// How far ahead of this machine's clock an event may be: clocks of phones and browsers differ.
pub const MAX_AHEAD_MS: i64 = 24 * 3_600_000;

/// Events that say nothing without an item.
const ON_ITEMS: &[&str] = &[
    "view_item",
    "select_item",
    "add_to_cart",
    "remove_from_cart",
    "add_to_wishlist",
    "purchase",
    "rate",
    "like",
    "dislike",
    "hide",
];

/// An event of the shop's log, checked and with the canonical names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The tracker's id of this event; the same id twice is one event.
    pub event_id: String,
    /// Who acted.
    pub user_id: String,
    /// On what, if on something.
    pub item_id: Option<String>,
    /// What was done.
    pub event: String,
    /// When; milliseconds since 1970-01-01 UTC.
    pub timestamp_ms: i64,
    /// How much the event says.
    pub value: Option<f64>,
    /// Everything further that was said, by its canonical name; texts are masked.
    pub further: Map<String, Value>,
}

/// Why an event is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EventError {
    /// For programs: `missing_user_id`, `bad_timestamp`.
    pub code: &'static str,
    /// The field that it is about, as it was sent; empty if it is about none.
    pub field: String,
    /// For people, with the fix.
    pub message: String,
}

impl EventError {
    pub(crate) fn new(
        code: &'static str,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { code, field: field.into(), message: message.into() }
    }
}

impl Event {
    /// Checks an event as it was sent: names of columns and events of the common trackers become the canonical ones
    /// ([`canonical_column`]), a time may be a number of seconds, milliseconds, microseconds or nanoseconds or a text of RFC 3339, one
    /// without a time happened at `now_ms`. Phone numbers, addresses and the like are masked in `text` and `query`
    /// by `texts`.
    ///
    /// # Errors
    /// [`EventError`] names the field and the fix.
    pub fn parse(sent: &Value, now_ms: i64, texts: &Pipeline) -> Result<Self, EventError> {
        Self::parse_or_name(sent, now_ms, texts, crate::ids::new_id)
    }

    /// [`Self::parse`], where an event without an id gets one of `unnamed`.
    pub(crate) fn parse_or_name(
        sent: &Value,
        now_ms: i64,
        texts: &Pipeline,
        unnamed: impl FnOnce() -> String,
    ) -> Result<Self, EventError> {
        let Some(fields) = sent.as_object() else {
            return Err(EventError::new("not_an_object", "", "an event is a JSON object"));
        };
        let mut user = None;
        let mut item = None;
        let mut event = None;
        let mut time = None;
        let mut id = None;
        let mut value = None;
        let mut further = Map::new();
        for (name, given) in fields {
            if given.is_null() {
                continue;
            }
            let slot = match canonical_column(name) {
                Some(columns::USER_ID) => &mut user,
                Some(columns::ITEM_ID) => &mut item,
                Some(columns::EVENT) => &mut event,
                Some(columns::TIMESTAMP) => &mut time,
                Some(columns::EVENT_ID) => &mut id,
                Some(columns::VALUE) => &mut value,
                other => {
                    let own = other.map_or_else(|| name.clone(), str::to_owned);
                    further.insert(own, given.clone());
                    continue;
                }
            };
            if let Some((first, _)) = slot {
                let message = format!("{first:?} and {name:?} both say it; send one of them");
                return Err(EventError::new("field_twice", name, message));
            }
            *slot = Some((name.as_str(), given));
        }
        let user_id = required_id(user, "missing_user_id", columns::USER_ID)?;
        let name = required_id(event, "missing_event", columns::EVENT)?;
        if name.len() > MAX_EVENT_NAME_BYTES {
            let message = format!("names of events have at most {MAX_EVENT_NAME_BYTES} bytes");
            return Err(EventError::new("id_too_long", columns::EVENT, message));
        }
        let event = canonical_event(&name).map_or(name, str::to_owned);
        let item_id = item.map(|(field, given)| id_text(field, given)).transpose()?;
        if item_id.is_none() && ON_ITEMS.contains(&event.as_str()) {
            let message = format!("{event} is about an item: send item_id");
            return Err(EventError::new("missing_item_id", columns::ITEM_ID, message));
        }
        let timestamp_ms = match time {
            Some((field, given)) => time_ms(field, given, now_ms)?,
            None => now_ms,
        };
        let value = match value {
            Some((field, given)) => Some(number(field, given)?),
            None => None,
        };
        for name in [columns::TEXT, columns::QUERY] {
            if let Some(given) = further.get_mut(name) {
                mask_in_place(name, given, texts)?;
            }
        }
        let n_bytes: usize =
            further.iter().map(|(name, given)| name.len() + size_of_json(given)).sum();
        if n_bytes > MAX_FURTHER_BYTES {
            let message = format!(
                "further fields have {n_bytes} bytes, at most {MAX_FURTHER_BYTES} are kept: send less"
            );
            return Err(EventError::new("too_large", "", message));
        }
        let event_id = match id {
            Some((field, given)) => id_text(field, given)?,
            None => unnamed(),
        };
        Ok(Self { event_id, user_id, item_id, event, timestamp_ms, value, further })
    }

    /// About the bytes that it takes.
    pub(crate) fn n_bytes(&self) -> usize {
        let further = |(name, given): (&String, &Value)| name.len() + size_of_json(given);
        let item = self.item_id.as_ref().map_or(0, String::len);
        let ids = self.event_id.len() + self.user_id.len() + item + self.event.len();
        ids + self.further.iter().map(further).sum::<usize>()
    }

    /// The event as JSON, by its canonical names: what an export says of it.
    pub fn to_json(&self) -> Value {
        let mut fields = self.further.clone();
        fields.insert(columns::EVENT_ID.into(), self.event_id.clone().into());
        fields.insert(columns::USER_ID.into(), self.user_id.clone().into());
        if let Some(item) = &self.item_id {
            fields.insert(columns::ITEM_ID.into(), item.clone().into());
        }
        fields.insert(columns::EVENT.into(), self.event.clone().into());
        fields.insert(columns::TIMESTAMP.into(), self.timestamp_ms.into());
        if let Some(value) = self.value {
            fields.insert(columns::VALUE.into(), value.into());
        }
        Value::Object(fields)
    }
}

fn required_id(
    given: Option<(&str, &Value)>,
    code: &'static str,
    column: &'static str,
) -> Result<String, EventError> {
    match given {
        Some((field, given)) => id_text(field, given),
        None => Err(EventError::new(code, column, format!("every event has {column}: send it"))),
    }
}

/// An id as text: numbers are ids too.
pub(crate) fn id_text(field: &str, given: &Value) -> Result<String, EventError> {
    let text = match given {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => {
            let message = format!("{field} is a text or a number");
            return Err(EventError::new("wrong_type", field, message));
        }
    };
    check_id(field, &text)?;
    Ok(text)
}

/// An id as it may be stored and looked up.
pub(crate) fn check_id(field: &str, id: &str) -> Result<(), EventError> {
    if id.is_empty() {
        return Err(EventError::new("empty_id", field, format!("{field} is empty")));
    }
    if id.len() > MAX_ID_BYTES {
        let message = format!("{field} has {} bytes, at most {MAX_ID_BYTES} are kept", id.len());
        return Err(EventError::new("id_too_long", field, message));
    }
    // PostgreSQL cannot store it, and no shop means it.
    if id.contains('\0') {
        return Err(EventError::new("bad_id", field, format!("{field} contains a zero byte")));
    }
    Ok(())
}

fn number(field: &str, given: &Value) -> Result<f64, EventError> {
    let number = match given {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(_) | Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    number.filter(|number| number.is_finite()).ok_or_else(|| {
        EventError::new("bad_value", field, format!("{field} is not a finite number"))
    })
}

fn time_ms(field: &str, given: &Value, now_ms: i64) -> Result<i64, EventError> {
    let form = || {
        let message = format!("{field} is no time: {}", time::HINT);
        EventError::new("bad_timestamp", field, message)
    };
    let number = |number: f64| time::of_number(number).ok_or_else(form);
    let millis = match given {
        Value::Number(given) => number(given.as_f64().ok_or_else(form)?)?,
        Value::String(text) => match text.trim().parse::<f64>() {
            Ok(given) => number(given)?,
            Err(_) => time::of_text(text).ok_or_else(form)?,
        },
        Value::Bool(_) | Value::Null | Value::Array(_) | Value::Object(_) => return Err(form()),
    };
    if millis < 0 {
        return Err(EventError::new("bad_timestamp", field, format!("{field} is before 1970")));
    }
    if millis > now_ms.saturating_add(MAX_AHEAD_MS) {
        let message = format!("{field} is more than a day ahead of this machine's clock");
        return Err(EventError::new("bad_timestamp", field, message));
    }
    Ok(millis)
}

fn mask_in_place(
    name: &'static str,
    given: &mut Value,
    texts: &Pipeline,
) -> Result<(), EventError> {
    let Value::String(text) = given else {
        return Err(EventError::new("wrong_type", name, format!("{name} is a text")));
    };
    if text.len() > MAX_TEXT_BYTES {
        let message = format!("{name} has {} bytes, at most {MAX_TEXT_BYTES} are kept", text.len());
        return Err(EventError::new("too_large", name, message));
    }
    *text = texts.clean(text);
    Ok(())
}

fn size_of_json(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 20,
        // Control characters are written as six.
        Value::String(text) => {
            text.len() + 2 + 5 * text.bytes().filter(|byte| *byte < 0x20).count()
        }
        Value::Array(values) => {
            values.iter().map(|value| size_of_json(value) + 1).sum::<usize>() + 2
        }
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| name.len() + 4 + size_of_json(value);
            fields.iter().map(field).sum::<usize>() + 2
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: i64 = 1_764_150_000_000;

    fn parse(sent: &Value) -> Result<Event, EventError> {
        let texts = Pipeline::new(forecart_text::PipelineConfig::default()).unwrap();
        Event::parse(sent, NOW, &texts)
    }

    fn code(sent: &Value) -> &'static str {
        parse(sent).unwrap_err().code
    }

    #[test]
    fn names_of_trackers_and_units_of_time_are_understood() {
        let sent = json!({"visitorId": 7, "itemid": "a/b 茶", "type": "addtocart", "ts": 1_764_149_000,
            "price": "3.5", "color": "red"});
        let event = parse(&sent).unwrap();
        assert_eq!(event.user_id, "7");
        assert_eq!(event.item_id.as_deref(), Some("a/b 茶"));
        assert_eq!(event.event, "add_to_cart");
        assert_eq!(event.timestamp_ms, 1_764_149_000_000);
        assert_eq!(event.further["price"], "3.5");
        assert_eq!(event.further["color"], "red");
        for (time, millis) in [
            (json!(1_764_149_000_123_i64), 1_764_149_000_123),
            (json!(1_764_149_000_123_000_i64), 1_764_149_000_123),
            (json!("2025-11-26T09:23:20+08:00"), 1_764_120_200_000),
            (json!("1764149000"), 1_764_149_000_000),
        ] {
            let sent = json!({"user_id": "u", "event": "search", "timestamp": time});
            assert_eq!(parse(&sent).unwrap().timestamp_ms, millis, "{time}");
        }
    }

    #[test]
    fn what_is_wrong_has_its_code() {
        let cases = [
            (json!([]), "not_an_object"),
            (json!({"event": "view_item", "item_id": "a"}), "missing_user_id"),
            (json!({"user_id": "u", "item_id": "a"}), "missing_event"),
            (json!({"user_id": "u", "event": "view"}), "missing_item_id"),
            (json!({"user_id": "", "event": "search"}), "empty_id"),
            (json!({"user_id": {"a": 1}, "event": "search"}), "wrong_type"),
            (json!({"user_id": "u\u{0}", "event": "search"}), "bad_id"),
            (json!({"user_id": "u".repeat(513), "event": "search"}), "id_too_long"),
            (json!({"user_id": "u", "uid": "u", "event": "search"}), "field_twice"),
            (json!({"user_id": "u", "event": "search", "time": "yesterday"}), "bad_timestamp"),
            (json!({"user_id": "u", "event": "search", "time": -5}), "bad_timestamp"),
            (json!({"user_id": "u", "event": "search", "time": 1_764_300_000}), "bad_timestamp"),
            (json!({"user_id": "u", "event": "search", "time": 1e300}), "bad_timestamp"),
            (json!({"user_id": "u", "event": "search", "value": "much"}), "bad_value"),
            (json!({"user_id": "u", "event": "ask", "text": 5}), "wrong_type"),
            (json!({"user_id": "u", "event": "ask", "text": "x".repeat(20_000)}), "too_large"),
            (json!({"user_id": "u", "event": "ask", "a": "x".repeat(40_000)}), "too_large"),
        ];
        for (sent, expected) in cases {
            assert_eq!(code(&sent), expected, "{sent}");
        }
    }

    #[test]
    fn texts_are_masked_before_anything_else_sees_them() {
        let sent = json!({"user_id": "u", "event": "support_message",
            "text": "call me at +49 170 1234567 or mail anna@example.org"});
        let text = parse(&sent).unwrap().further["text"].as_str().unwrap().to_owned();
        assert!(!text.contains("1234567") && !text.contains("anna@"), "{text}");
    }

    #[test]
    fn an_event_without_an_id_gets_one_and_says_itself_again_in_json() {
        let sent = json!({"user_id": "u", "event": "purchase", "item_id": "a", "value": 2, "order_id": "o"});
        let event = parse(&sent).unwrap();
        assert_eq!(parse(&event.to_json()).unwrap(), event);
        assert_ne!(parse(&sent).unwrap().event_id, event.event_id);
    }
}
