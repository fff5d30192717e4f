//! One value of an input row, as its format gives it.

use crate::read::records::unescaped;

/// A value before it is checked against its column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell<'a> {
    /// No value.
    Null,
    Text(&'a str),
    Owned(String),
    Int(i64),
    Float(f64),
    /// Milliseconds since 1970 UTC, from a column that is typed so.
    Millis(i64),
}

impl<'a> Cell<'a> {
    /// A field of delimited text.
    pub(crate) fn field(text: &'a str, quote_to_remove: Option<u8>) -> Self {
        match quote_to_remove {
            _ if text.is_empty() => Self::Null,
            Some(quote) => Self::Owned(unescaped(text, char::from(quote))),
            None => Self::Text(text),
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Owned(text) => Some(text),
            _ => None,
        }
    }

    /// The value as a reader of the report would recognize it.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Text(text) => (*text).to_owned(),
            Self::Owned(text) => text.clone(),
            Self::Int(number) | Self::Millis(number) => number.to_string(),
            Self::Float(number) => number.to_string(),
        }
    }
}
