//! What a row looks like to the encoders: named values, any of which may be missing.

use std::borrow::Cow;

/// One raw value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// Nothing is known.
    Missing,
    /// A number; NaN and infinities count as missing.
    Number(f64),
    /// A text. Blanks around it do not count; an empty text is missing.
    Text(&'a str),
    /// Several texts, for multi-hot columns.
    List(Vec<Cow<'a, str>>),
}

/// Numbers are kept within this magnitude: no sum, square or `f32` overflows, and 10^22 is the last
/// power of ten that an `f64` holds exactly (see `numeric`).
pub(super) const MAX_MAGNITUDE: f64 = 1e22;

impl Value<'_> {
    /// The value as a number: texts are read as decimal numbers. `None` if it is missing, not a
    /// number, NaN or infinite. Magnitudes above 1e22 become 1e22.
    pub fn number(&self) -> Option<f64> {
        let number = match self {
            Self::Number(number) => *number,
            Self::Text(text) => text.trim().parse().ok()?,
            Self::Missing | Self::List(_) => return None,
        };
        number.is_finite().then(|| number.clamp(-MAX_MAGNITUDE, MAX_MAGNITUDE))
    }

    /// Calls `each` with every text of the value, split at `separator` if there is one. Blanks
    /// around a text do not count and empty texts are passed over; numbers are written out.
    pub fn for_each_text(&self, separator: Option<&str>, mut each: impl FnMut(&str)) {
        let mut split = |text: &str| {
            let parts = match separator {
                Some(separator) => text.split(separator),
                None => text.split("\u{0}"), // no text holds it: one part, the whole
            };
            parts.map(str::trim).filter(|part| !part.is_empty()).for_each(&mut each);
        };
        match self {
            Self::Missing => {}
            Self::Number(number) if number.is_finite() => split(&number.to_string()),
            Self::Number(_) => {}
            Self::Text(text) => split(text),
            Self::List(texts) => texts.iter().for_each(|text| split(text)),
        }
    }
}

/// Anything that gives values by column name; a column it does not know is missing.
pub trait Row {
    /// The value of `column`.
    fn value(&self, column: &str) -> Value<'_>;
}

impl<R: Row + ?Sized> Row for &R {
    fn value(&self, column: &str) -> Value<'_> {
        (**self).value(column)
    }
}

impl Row for [(&str, Value<'_>)] {
    fn value(&self, column: &str) -> Value<'_> {
        let found = self.iter().find(|(name, _)| *name == column);
        found.map_or(Value::Missing, |(_, value)| value.clone())
    }
}

/// A JSON object, as a request brings it: booleans are the texts `true` and `false`, arrays are
/// lists of their texts and numbers, objects and null are missing.
impl Row for serde_json::Map<String, serde_json::Value> {
    fn value(&self, column: &str) -> Value<'_> {
        use serde_json::Value as Json;
        let text_of = |json: &'_ Json| match json {
            Json::Number(number) => Some(number.to_string()),
            Json::Bool(flag) => Some(flag.to_string()),
            _ => None,
        };
        match self.get(column) {
            Some(Json::Number(number)) => number.as_f64().map_or(Value::Missing, Value::Number),
            Some(Json::String(text)) => Value::Text(text),
            Some(Json::Bool(flag)) => Value::Text(if *flag { "true" } else { "false" }),
            Some(Json::Array(items)) => Value::List(
                items
                    .iter()
                    .filter_map(|item| match item {
                        Json::String(text) => Some(Cow::Borrowed(text.as_str())),
                        other => text_of(other).map(Cow::Owned),
                    })
                    .collect(),
            ),
            Some(Json::Null | Json::Object(_)) | None => Value::Missing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(value: &Value<'_>, separator: Option<&str>) -> Vec<String> {
        let mut texts = Vec::new();
        value.for_each_text(separator, |text| texts.push(text.to_owned()));
        texts
    }

    #[test]
    fn texts_are_trimmed_split_and_never_empty() {
        assert_eq!(texts(&Value::Text(" a | b ||"), Some("|")), ["a", "b"]);
        assert_eq!(texts(&Value::Text("a|b"), None), ["a|b"]);
        assert_eq!(texts(&Value::Number(3.0), None), ["3"]);
        assert!(texts(&Value::Number(f64::NAN), None).is_empty());
        assert!(texts(&Value::Text("  "), None).is_empty());
    }

    #[test]
    fn numbers_are_finite_or_missing() {
        assert_eq!(Value::Text(" 2.5 ").number(), Some(2.5));
        for value in [Value::Text("inf"), Value::Text("two"), Value::Number(f64::NAN)] {
            assert_eq!(value.number(), None);
        }
        assert_eq!(Value::Number(-1e220).number(), Some(-1e22));
    }

    #[test]
    fn a_json_object_is_a_row() {
        let json = serde_json::json!({"p": 2, "b": "x", "t": ["u", 3, null], "n": null});
        let row = json.as_object().unwrap();
        assert_eq!(row.value("p"), Value::Number(2.0));
        assert_eq!(texts(&row.value("t"), None), ["u", "3"]);
        assert_eq!(row.value("n"), Value::Missing);
        assert_eq!(row.value("absent"), Value::Missing);
    }
}
