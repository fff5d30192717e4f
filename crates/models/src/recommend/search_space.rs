//! What `tune` may vary: declared beside each model's hyperparameters.

use serde::Serialize;
use serde_json::Value;

/// A hyperparameter and the values that a search may give it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Parameter {
    /// The key, as in `[models.NAME]`.
    pub name: &'static str,
    /// The values.
    pub range: Range,
}

/// Values of a [`Parameter`], both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Range {
    /// Whole numbers, evenly.
    Int {
        /// Smallest.
        low: i64,
        /// Largest.
        high: i64,
    },
    /// Whole numbers, evenly by their logarithms.
    LogInt {
        /// Smallest, above 0.
        low: i64,
        /// Largest.
        high: i64,
    },
    /// Numbers, evenly.
    Float {
        /// Smallest.
        low: f64,
        /// Largest.
        high: f64,
    },
    /// Numbers, evenly by their logarithms.
    Log {
        /// Smallest, above 0.
        low: f64,
        /// Largest.
        high: f64,
    },
    /// One of these: a word, or a number or truth value as JSON writes it.
    Choice {
        /// The values.
        values: &'static [&'static str],
    },
}

impl Parameter {
    /// Whole numbers, evenly.
    pub const fn int(name: &'static str, low: i64, high: i64) -> Self {
        Self { name, range: Range::Int { low, high } }
    }

    /// Whole numbers, evenly by their logarithms.
    pub const fn log_int(name: &'static str, low: i64, high: i64) -> Self {
        Self { name, range: Range::LogInt { low, high } }
    }

    /// Numbers, evenly.
    pub const fn float(name: &'static str, low: f64, high: f64) -> Self {
        Self { name, range: Range::Float { low, high } }
    }

    /// Numbers, evenly by their logarithms.
    pub const fn log(name: &'static str, low: f64, high: f64) -> Self {
        Self { name, range: Range::Log { low, high } }
    }

    /// One of `values`.
    pub const fn choice(name: &'static str, values: &'static [&'static str]) -> Self {
        Self { name, range: Range::Choice { values } }
    }
}

impl Range {
    /// The interval in which values lie evenly: logarithms where the range is logarithmic, whole numbers with half a step
    /// at each end, `0..n` for `n` choices.
    pub fn span(&self) -> (f64, f64) {
        match *self {
            Self::Int { low, high } => (low as f64 - 0.5, high as f64 + 0.5),
            Self::LogInt { low, high } => ((low as f64 - 0.5).ln(), (high as f64 + 0.5).ln()),
            Self::Float { low, high } => (low, high),
            Self::Log { low, high } => (low.ln(), high.ln()),
            Self::Choice { values } => (0.0, values.len() as f64),
        }
    }

    /// The value at a place within [`Self::span`], numbers with four significant digits.
    pub fn value(&self, place: f64) -> Value {
        let whole = |x: f64, low: i64, high: i64| Value::from((x.round() as i64).clamp(low, high));
        match *self {
            Self::Int { low, high } => whole(place, low, high),
            Self::LogInt { low, high } => whole(place.exp(), low, high),
            Self::Float { low, high } => Value::from(short(place).clamp(low, high)),
            Self::Log { low, high } => Value::from(short(place.exp()).clamp(low, high)),
            Self::Choice { values } => {
                let index = (place.max(0.0) as usize).min(values.len().saturating_sub(1));
                let text = values.get(index).copied().unwrap_or_default();
                serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
            }
        }
    }

    /// Where `value` lies within [`Self::span`]; `None` if the range does not have it.
    pub fn place(&self, value: &Value) -> Option<f64> {
        let number = value.as_f64();
        let (low, high) = self.span();
        let place = match *self {
            Self::Int { .. } | Self::Float { .. } => number?,
            Self::LogInt { .. } | Self::Log { .. } => number.filter(|n| *n > 0.0)?.ln(),
            Self::Choice { values } => {
                let same = |text: &str| {
                    serde_json::from_str::<Value>(text).unwrap_or_else(|_| Value::from(text))
                        == *value
                };
                values.iter().position(|text| same(text))? as f64 + 0.5
            }
        };
        (low..=high).contains(&place).then_some(place)
    }
}

/// Four significant digits: what a person would write into a configuration.
fn short(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::super::registry;
    use super::*;
    use serde_json::json;

    #[test]
    fn places_and_values_belong_to_each_other() {
        let ranges = [
            Parameter::int("a", 1, 9).range,
            Parameter::log_int("a", 4, 512).range,
            Parameter::float("a", 0.0, 0.9).range,
            Parameter::log("a", 1e-5, 1.0).range,
            Parameter::choice("a", &["binary", "true", "3"]).range,
        ];
        for range in ranges {
            let (low, high) = range.span();
            for step in 0..=40 {
                let value = range.value(low + (high - low) * f64::from(step) / 40.0);
                let place = range.place(&value).unwrap();
                assert_eq!(range.value(place), value, "{range:?} at {step}");
            }
        }
        let choice = Parameter::choice("a", &["binary", "true", "3"]).range;
        assert_eq!(
            [0.2, 1.5, 2.9, 3.0].map(|at| choice.value(at)),
            [json!("binary"), json!(true), json!(3), json!(3)]
        );
        assert_eq!(choice.place(&json!("count")), None);
        assert_eq!(Parameter::int("a", 1, 9).range.place(&json!(10)), None);
        assert_eq!(Parameter::log("a", 0.1, 9.0).range.place(&json!(0)), None);
    }

    /// Both ends and the middle of every range of every model make a spec.
    #[test]
    fn every_declared_value_is_one_that_the_model_takes() {
        for entry in registry::MODELS {
            let space = registry::spec(entry.name, &Value::Null).unwrap().search_space();
            for parameter in space {
                let (low, high) = parameter.range.span();
                assert!(low < high, "{} of {}", parameter.name, entry.name);
                for place in [low, (low + high) / 2.0, high] {
                    let value = parameter.range.value(place);
                    let keys = json!({ parameter.name: value });
                    let spec = registry::spec(entry.name, &keys);
                    assert!(spec.is_ok(), "{}: {keys}: {:?}", entry.name, spec.err());
                }
            }
        }
    }
}
