//! What is known of a user or said with a request: values by name.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use crate::catalog::ColumnType;

/// A value of a user's attribute, of the context of a request, or written in a rule.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A finite number.
    Number(f64),
    /// True or false.
    Bool(bool),
    /// A text.
    Text(String),
    /// A list of texts.
    Texts(Vec<String>),
    /// Milliseconds since 1970-01-01 UTC.
    Time(i64),
}

impl Value {
    /// A JSON value; `None` for `null`, objects, and lists of anything but texts.
    pub fn from_json(json: &Json) -> Option<Self> {
        match json {
            Json::Bool(is) => Some(Self::Bool(*is)),
            Json::Number(number) => number.as_f64().filter(|n| n.is_finite()).map(Self::Number),
            Json::String(text) => Some(Self::Text(text.clone())),
            Json::Array(list) => {
                let texts = list.iter().map(|one| one.as_str().map(str::to_owned));
                texts.collect::<Option<_>>().map(Self::Texts)
            }
            Json::Null | Json::Object(_) => None,
        }
    }

    /// What it is.
    pub fn value_type(&self) -> ColumnType {
        match self {
            Self::Number(_) => ColumnType::Number,
            Self::Bool(_) => ColumnType::Bool,
            Self::Text(_) => ColumnType::Text,
            Self::Texts(_) => ColumnType::Texts,
            Self::Time(_) => ColumnType::Time,
        }
    }
}

/// Values by name: the attributes of one user, or the context of one request. What is not here is missing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Values(BTreeMap<String, Value>);

impl Values {
    /// The values of a JSON object; names whose value is none ([`Value::from_json`]) are missing.
    pub fn from_json(object: &Map<String, Json>) -> Self {
        let value = |(name, json): (&String, &Json)| Some((name.clone(), Value::from_json(json)?));
        Self(object.iter().filter_map(value).collect())
    }

    /// Sets a value.
    pub fn insert(&mut self, name: impl Into<String>, value: Value) {
        self.0.insert(name.into(), value);
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// All values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}
