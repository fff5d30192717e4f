//! One value of a sample: from what a file gives to what its column holds.

use std::borrow::Cow;

use forecart_data::encode::{Row, Value};
use forecart_data::samples::ColumnKind;
use jiff::tz::TimeZone;

use crate::config::DataConfig;
use crate::import::cell::Cell;
use crate::import::rejects::Code;
use crate::import::time::{Guess, TimeFault, TimeParser, guess};

/// A value of its column's kind.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Given<'a> {
    Missing,
    Number(f64),
    Text(Cow<'a, str>),
    List(Vec<Cow<'a, str>>),
    Time(i64),
}

impl Given<'_> {
    pub(super) fn into_owned(self) -> Given<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        match self {
            Self::Missing => Given::Missing,
            Self::Number(number) => Given::Number(number),
            Self::Text(text) => Given::Text(owned(text)),
            Self::List(texts) => Given::List(texts.into_iter().map(owned).collect()),
            Self::Time(time) => Given::Time(time),
        }
    }

    pub(super) fn as_borrowed(&self) -> Given<'_> {
        match self {
            Self::Missing => Given::Missing,
            Self::Number(number) => Given::Number(*number),
            Self::Text(text) => Given::Text(Cow::Borrowed(text)),
            Self::List(texts) => {
                Given::List(texts.iter().map(|text| Cow::Borrowed(text.as_ref())).collect())
            }
            Self::Time(time) => Given::Time(*time),
        }
    }

    fn as_value(&self) -> Value<'_> {
        match self {
            Self::Missing => Value::Missing,
            Self::Number(number) => Value::Number(*number),
            Self::Text(text) => Value::Text(text),
            Self::List(texts) => {
                Value::List(texts.iter().map(|text| Cow::Borrowed(text.as_ref())).collect())
            }
            Self::Time(time) => Value::Number(*time as f64),
        }
    }
}

/// A row of a file, for a model: values by the name of their column.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnedRow {
    /// Line from 1; in Parquet, row from 1.
    pub line: u64,
    pub(super) names: std::sync::Arc<[String]>,
    pub(super) values: Vec<Given<'static>>,
}

impl Row for OwnedRow {
    fn value(&self, column: &str) -> Value<'_> {
        let at = self.names.iter().position(|name| name == column);
        at.map_or(Value::Missing, |at| self.values[at].as_value())
    }
}

/// How the moments of a column are written.
#[derive(Debug, Clone)]
pub(super) enum Moments {
    Parser(TimeParser),
    /// `YYMMDDHH`, as in Avazu's files.
    Hour(TimeZone),
}

impl Moments {
    /// Decides by the first values; the decision in words. An example of what is no time, if it cannot be decided.
    pub(super) fn guess(values: &[String], data: &DataConfig) -> Result<(Self, String), String> {
        let zone = data.time_zone.clone().unwrap_or(TimeZone::UTC);
        let texts = || values.iter().map(|value| value.trim()).filter(|value| !value.is_empty());
        let is_stated = data.time_format.is_some() || data.time_unit.is_some();
        let is_date = |text| {
            TimeParser::CompactDate(TimeZone::UTC).parse(&Cell::Text(text)) != Err(TimeFault::Form)
        };
        if !is_stated
            && texts().next().is_some()
            && texts().all(|text| hour(text, &zone).is_some())
            && !texts().all(is_date)
        {
            return Ok((Self::Hour(zone), "hours as YYMMDDHH".into()));
        }
        let data = DataConfig { time_zone: Some(zone), ..data.clone() };
        match guess(texts(), &data) {
            Guess::Known(parser, decision) => Ok((Self::Parser(parser), decision)),
            Guess::NeedsZone(example) | Guess::Unknown(example) => Err(example),
        }
    }

    pub(super) fn parse(&self, cell: &Cell<'_>, latest_ms: i64) -> Result<i64, Code> {
        let time = match self {
            Self::Parser(parser) => parser.parse(cell),
            Self::Hour(zone) => hour(&cell.shown(), zone).ok_or(TimeFault::Form),
        };
        match time {
            Ok(time) if time > latest_ms => Err(Code::LateTime),
            Ok(time) => Ok(time),
            Err(TimeFault::Negative) => Err(Code::NegativeTime),
            Err(_) => Err(Code::BadTime),
        }
    }
}

/// `YYMMDDHH` as a moment.
fn hour(text: &str, zone: &TimeZone) -> Option<i64> {
    let text = text.trim();
    if text.len() != 8 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let written = format!("20{}-{}-{}T{}:00", &text[..2], &text[2..4], &text[4..6], &text[6..]);
    TimeParser::Iso(Some(zone.clone())).parse(&Cell::Owned(written)).ok()
}

/// How the values of one column are read.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) kind: ColumnKind,
    /// Of a column of moments.
    pub(super) moments: Option<Moments>,
    /// Between the texts of a list.
    pub(super) separator: String,
}

/// A text of a number; `None` for words that Rust takes for one.
pub(super) fn number(text: &str) -> Option<f64> {
    let begins =
        text.trim_start_matches(['+', '-']).starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if begins { text.parse().ok() } else { None }
}

/// Whether a cell has no value; texts are compared without the blanks around them.
pub(super) fn is_missing(cell: &Cell<'_>, data: &DataConfig) -> bool {
    match cell {
        Cell::Null => true,
        Cell::Float(number) => number.is_nan(),
        _ => cell.text().is_some_and(|text| {
            let text = text.trim();
            text.is_empty() || data.null_values.iter().any(|null| null == text)
        }),
    }
}

/// The texts of a JSON array; `None` if it is none.
pub(super) fn json_texts(text: &str) -> Option<Vec<Cow<'static, str>>> {
    if !text.starts_with('[') {
        return None;
    }
    let items: Vec<serde_json::Value> = serde_json::from_str(text).ok()?;
    let texts = items.into_iter().filter_map(|item| match item {
        serde_json::Value::String(text) => Some(text),
        serde_json::Value::Null => None,
        other => Some(other.to_string()),
    });
    let trimmed = texts.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    Some(trimmed.map(Cow::Owned).collect())
}

impl Reading {
    /// The value of a cell.
    pub(super) fn value<'a>(
        &self,
        cell: &'a Cell<'_>,
        data: &DataConfig,
    ) -> Result<Given<'a>, Code> {
        if is_missing(cell, data) {
            return Ok(Given::Missing);
        }
        let text = || match cell.text() {
            Some(text) => Cow::Borrowed(text.trim()),
            None => Cow::Owned(cell.shown()),
        };
        Ok(match self.kind {
            ColumnKind::Number => {
                let read = match cell {
                    Cell::Int(number) | Cell::Millis(number) => *number as f64,
                    Cell::Float(number) => *number,
                    _ if text().eq_ignore_ascii_case("nan") => return Ok(Given::Missing),
                    _ => text().parse().map_err(|_| Code::BadNumber)?,
                };
                if !read.is_finite() {
                    return Err(Code::NotFinite);
                }
                Given::Number(read)
            }
            ColumnKind::Category => Given::Text(text()),
            ColumnKind::List => Given::List(match text() {
                Cow::Borrowed(text) => json_texts(text).unwrap_or_else(|| {
                    let texts = text.split(self.separator.as_str()).map(str::trim);
                    texts.filter(|text| !text.is_empty()).map(Cow::Borrowed).collect()
                }),
                owned => vec![owned],
            }),
            ColumnKind::Time => {
                let moments = self.moments.as_ref().expect("columns of moments have a form");
                Given::Time(moments.parse(cell, data.latest_time_ms)?)
            }
        })
    }
}
