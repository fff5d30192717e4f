//! One value of one field: out of JSON, with its limits, and back.

use serde_json::Value as Json;

use super::error::CatalogError;
use super::fields::{ColumnType, MAX_LIST_LEN, MAX_TEXT_BYTES, PATH_SIGN};
use super::time;

/// A checked value of a field.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Missing,
    Number(f64),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    Time(i64),
}

impl Cell {
    /// Reads the value of a field; `null` is missing.
    pub(super) fn read(
        field: &str,
        column_type: ColumnType,
        sent: &Json,
    ) -> Result<Self, CatalogError> {
        let wrong = || CatalogError::WrongType {
            field: field.into(),
            expected: column_type,
            found: json_type(sent),
        };
        if sent.is_null() {
            return Ok(Self::Missing);
        }
        match column_type {
            ColumnType::Number => {
                let number = sent.as_f64().ok_or_else(wrong)?;
                if !number.is_finite() {
                    return Err(CatalogError::NotFinite { field: field.into() });
                }
                Ok(Self::Number(number))
            }
            ColumnType::Bool => sent.as_bool().map(Self::Bool).ok_or_else(wrong),
            ColumnType::Text => text(field, sent.as_str().ok_or_else(wrong)?).map(Self::Text),
            ColumnType::Texts => texts(field, sent, wrong).map(Self::Texts),
            ColumnType::Path => path(field, sent, wrong).map(Self::Texts),
            ColumnType::Time => {
                let read = match sent {
                    Json::String(text) => time::of_text(text),
                    Json::Number(number) => number.as_f64().and_then(time::of_number),
                    _ => return Err(wrong()),
                };
                let bad = || CatalogError::BadTime {
                    field: field.into(),
                    found: sent.as_str().map_or_else(|| sent.to_string(), cut),
                };
                read.map(Self::Time).ok_or_else(bad)
            }
        }
    }

    /// The type of an attribute whose first value this is; `null` says nothing.
    pub(super) fn attribute_type(
        field: &str,
        sent: &Json,
    ) -> Result<Option<ColumnType>, CatalogError> {
        match sent {
            Json::Null => Ok(None),
            Json::Bool(_) => Ok(Some(ColumnType::Bool)),
            Json::Number(_) => Ok(Some(ColumnType::Number)),
            Json::String(_) => Ok(Some(ColumnType::Text)),
            Json::Array(_) => Ok(Some(ColumnType::Texts)),
            Json::Object(_) => {
                Err(CatalogError::NoAttribute { field: field.into(), found: json_type(sent) })
            }
        }
    }

    /// As JSON; `None` if missing.
    pub(super) fn into_json(self, column_type: ColumnType) -> Option<Json> {
        match self {
            Self::Missing => None,
            Self::Number(number) => Some(number_json(number)),
            Self::Bool(is) => Some(is.into()),
            Self::Text(text) => Some(text.into()),
            Self::Texts(steps) if column_type == ColumnType::Path => {
                Some(steps.join(&format!(" {PATH_SIGN} ")).into())
            }
            Self::Texts(texts) => Some(texts.into()),
            Self::Time(time_ms) => Some(time::in_words(time_ms).into()),
        }
    }
}

/// The steps of a path that is written as one text, each without blanks around it.
pub(crate) fn steps(path: &str) -> impl Iterator<Item = &str> {
    path.split(PATH_SIGN).map(str::trim)
}

/// What kind of JSON it is, for messages.
pub(super) fn json_type(sent: &Json) -> &'static str {
    match sent {
        Json::Null => "null",
        Json::Bool(_) => "true or false",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}

/// Whole numbers as they were written, without ".0".
fn number_json(number: f64) -> Json {
    const EXACT: f64 = (1_u64 << 53) as f64;
    if number.fract() == 0.0 && number.abs() < EXACT {
        (number as i64).into()
    } else {
        number.into()
    }
}

/// The beginning of a text, for a message.
fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

fn text(field: &str, text: &str) -> Result<String, CatalogError> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(CatalogError::LongText {
            field: field.into(),
            n_bytes: text.len(),
            limit: MAX_TEXT_BYTES,
        });
    }
    Ok(text.to_owned())
}

fn texts(
    field: &str,
    sent: &Json,
    wrong: impl Fn() -> CatalogError,
) -> Result<Vec<String>, CatalogError> {
    let list = sent.as_array().ok_or_else(&wrong)?;
    if list.len() > MAX_LIST_LEN {
        return Err(CatalogError::LongList {
            field: field.into(),
            n_texts: list.len(),
            limit: MAX_LIST_LEN,
        });
    }
    list.iter().map(|one| text(field, one.as_str().ok_or_else(&wrong)?)).collect()
}

fn path(
    field: &str,
    sent: &Json,
    wrong: impl Fn() -> CatalogError,
) -> Result<Vec<String>, CatalogError> {
    let path: Vec<String> = match sent.as_str() {
        Some(whole) => steps(&text(field, whole)?).map(str::to_owned).collect(),
        None => texts(field, sent, wrong)?.iter().map(|step| step.trim().to_owned()).collect(),
    };
    if path.len() > MAX_LIST_LEN {
        return Err(CatalogError::LongList {
            field: field.into(),
            n_texts: path.len(),
            limit: MAX_LIST_LEN,
        });
    }
    let bad = |step: &&String| step.is_empty() || step.contains(PATH_SIGN);
    match path.iter().find(bad) {
        Some(step) => Err(CatalogError::BadStep { field: field.into(), step: cut(step) }),
        None => Ok(path),
    }
}
