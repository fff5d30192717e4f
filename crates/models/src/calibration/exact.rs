//! `f64` as text in the model file, in the fewest digits that are read back to the same bits.
//!
//! JSON numbers are read to the last digit or one beside it unless a feature of `serde_json` is on for all of the program.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| D::Error::custom(format!("{text:?} is not a number")))
}

/// The same for a list.
pub(crate) mod list {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        values: &[f64],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(f64::to_string))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<f64>, D::Error> {
        let parse = |text: &String| {
            text.parse().map_err(|_| D::Error::custom(format!("{text:?} is not a number")))
        };
        Vec::<String>::deserialize(deserializer)?.iter().map(parse).collect()
    }
}
