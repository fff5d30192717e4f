//! YAML as a tree that knows its lines.
//!
//! Scalars stay as they are written: `yes` and `0123` may name an intent. Anchors are refused: a few lines of them can stand for more than memory holds.

use std::path::Path;

use saphyr_parser::{Event, Parser, ScalarStyle};

use crate::PrepareError;
use crate::error::Place;

/// How deep lists and mappings may stand in each other.
const MAX_DEPTH: usize = 64;

/// A part of a document.
#[derive(Debug)]
pub(super) struct Node {
    /// Where it begins, from 1.
    pub(super) line: u64,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    Text {
        text: String,
        /// Whether it is written as a block of lines that are kept as they are, after `|`.
        is_literal: bool,
    },
    List(Vec<Node>),
    /// In the order of the file; a key may stand there twice.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// The text, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text { text, .. } => Some(text),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Whether there is nothing: a key without a value, an empty list.
    pub(super) fn is_empty(&self) -> bool {
        match &self.value {
            Value::Text { text, .. } => text.is_empty() || text == "~" || text == "null",
            Value::List(list) => list.is_empty(),
            Value::Map(map) => map.is_empty(),
        }
    }
}

/// A list or a mapping that is not at its end.
enum Open {
    List(Vec<Node>),
    /// The last key, if its value is to come.
    Map(Vec<(String, Node)>, Option<String>),
}

/// The documents of a file, one after the other.
pub(super) fn parse(text: &str, path: &Path) -> Result<Vec<Node>, PrepareError> {
    let refuse = |line: usize, reason: String, fix: &str| {
        PrepareError::input(Place::file(path).line(line as u64), reason, fix.to_owned())
    };
    let mut documents = Vec::new();
    let mut open: Vec<(u64, Open)> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let fix = "mend it; lists and blocks are indented by spaces, and a text with `: ` or ` #` in it needs quotes";
            refuse(error.marker().line(), format!("not YAML: {}", error.info()), fix)
        })?;
        let line = span.start.line();
        let whole = match event {
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => continue,
            Event::Alias(_) => {
                let reason = "an alias, `*name`, which is not followed".to_owned();
                return Err(refuse(line, reason, "write out what it stands for"));
            }
            Event::Scalar(text, style, ..) => {
                let is_literal = style == ScalarStyle::Literal;
                Node {
                    line: line as u64,
                    value: Value::Text { text: text.into_owned(), is_literal },
                }
            }
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                if open.len() == MAX_DEPTH {
                    let reason = format!("more than {MAX_DEPTH} lists in each other");
                    return Err(refuse(line, reason, "training data are not that deep: mend it"));
                }
                let list = matches!(event, Event::SequenceStart(..));
                let empty = if list { Open::List(Vec::new()) } else { Open::Map(Vec::new(), None) };
                open.push((line as u64, empty));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some((line, Open::List(list))) => Node { line, value: Value::List(list) },
                Some((line, Open::Map(map, _))) => Node { line, value: Value::Map(map) },
                None => continue,
            },
        };
        match open.last_mut() {
            None => documents.push(whole),
            Some((_, Open::List(list))) => list.push(whole),
            Some((_, Open::Map(map, key))) => match key.take() {
                Some(key) => map.push((key, whole)),
                None => match whole.value {
                    Value::Text { text, .. } => *key = Some(text),
                    Value::List(_) | Value::Map(_) => {
                        let reason = "a key that is a list".to_owned();
                        return Err(refuse(line, reason, "give it a name"));
                    }
                },
            },
        }
    }
    Ok(documents)
}
