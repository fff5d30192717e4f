//! JSON lines: one object a line, its keys as columns.

use std::fmt;

use rustc_hash::FxHashSet;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::cell::Cell;
use crate::PrepareError;
use crate::error::Place;
use crate::read::blocks::Blocks;
use crate::read::dialect::Layout;

const MAX_KEYS: usize = 1000;

/// Reads a whole input once for the keys of its objects: a key that first appears in the last line
/// is a column too. Bad lines are left for the import to count.
pub(crate) fn find_columns(blocks: &mut Blocks, layout: &mut Layout) -> Result<(), PrepareError> {
    let mut known = FxHashSet::default();
    while let Some(block) = blocks.next(layout.dialect)? {
        for line in block.bytes.split(|byte| *byte == b'\n') {
            let mut keys = Keys { known: &mut known, names: &mut layout.names };
            let mut json = serde_json::Deserializer::from_slice(line);
            // A line that is no object is counted when it is imported.
            _ = json.deserialize_map(&mut keys);
            if layout.names.len() > MAX_KEYS {
                let reason = format!("objects with more than {MAX_KEYS} different keys");
                let fix = "put free attributes into one nested object";
                return Err(PrepareError::input(Place::file(blocks.path()), reason, fix));
            }
        }
        sample(&block.bytes, layout);
    }
    if layout.names.is_empty() {
        let place = Place::file(blocks.path());
        let reason = "no line is a JSON object";
        return Err(PrepareError::input(place, reason, "write one object a line"));
    }
    Ok(())
}

/// First rows as texts, for looking at the times.
fn sample(bytes: &[u8], layout: &mut Layout) {
    for line in bytes.split(|byte| *byte == b'\n') {
        if layout.sample.len() >= 1000 {
            return;
        }
        let Ok(line) = std::str::from_utf8(line) else { continue };
        let mut row = vec![Cell::Null; layout.names.len()];
        if cells(line, &layout.names, &mut row).is_ok() {
            layout.sample.push(row.iter().map(Cell::shown).collect());
        }
    }
}

/// The cells of one line, by the columns' names.
///
/// # Errors
/// What serde says of a line that is no object.
pub(crate) fn cells<'a>(
    line: &'a str,
    names: &[String],
    cells: &mut [Cell<'a>],
) -> Result<(), String> {
    let mut json = serde_json::Deserializer::from_str(line);
    json.deserialize_map(Row { names, cells })
        .and_then(|()| json.end())
        .map_err(|error| format!("{error} in {line}"))
}

struct Keys<'k> {
    known: &'k mut FxHashSet<String>,
    names: &'k mut Vec<String>,
}

impl<'de> Visitor<'de> for &mut Keys<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if !self.known.contains(key.as_ref()) {
                self.known.insert(key.to_string());
                self.names.push(key.into_owned());
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

struct Row<'n, 'c, 'a> {
    names: &'n [String],
    cells: &'c mut [Cell<'a>],
}

impl<'a> Visitor<'a> for Row<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        // Objects of a log mostly have their keys in one order: the next name is tried first.
        let mut next = 0;
        while let Some(at) = map.next_key_seed(Key { names: self.names, next })? {
            self.cells[at] = map.next_value::<Json<'a>>()?.0;
            next = at + 1;
        }
        Ok(())
    }
}

struct Key<'n> {
    names: &'n [String],
    next: usize,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<usize, E> {
        if self.names.get(self.next).is_some_and(|name| name == key) {
            return Ok(self.next);
        }
        let at = self.names.iter().position(|name| name == key);
        at.ok_or_else(|| E::custom(format!("unexpected key {key:?}")))
    }
}

/// A JSON value as a cell; lists and objects stay JSON text.
struct Json<'a>(Cell<'a>);

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor).map(Self)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Cell<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Cell<'de>, E> {
        Ok(Cell::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Cell<'de>, E> {
        Ok(Cell::Text(if value { "true" } else { "false" }))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Cell<'de>, E> {
        Ok(Cell::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Cell<'de>, E> {
        Ok(i64::try_from(value).map_or_else(|_| Cell::Owned(value.to_string()), Cell::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Cell<'de>, E> {
        Ok(Cell::Float(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Cell<'de>, E> {
        Ok(if value.is_empty() { Cell::Null } else { Cell::Text(value) })
    }

    fn visit_str<E>(self, value: &str) -> Result<Cell<'de>, E> {
        Ok(if value.is_empty() { Cell::Null } else { Cell::Owned(value.to_owned()) })
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, seq: A) -> Result<Cell<'de>, A::Error> {
        let value =
            serde_json::Value::deserialize(serde::de::value::SeqAccessDeserializer::new(seq))?;
        Ok(Cell::Owned(value.to_string()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Cell<'de>, A::Error> {
        let value =
            serde_json::Value::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
        Ok(Cell::Owned(value.to_string()))
    }
}
