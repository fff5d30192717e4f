//! The `[questions]` section of the configuration.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::PrepareError;
use crate::prepare::{DayEdge, moment};

/// Longest window, in hours: a year.
const MAX_HORIZON_HOURS: u32 = 366 * 24;

/// `[questions]` as it stands in a file. Every key is optional.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawQuestionsConfig {
    /// Hours after a moment in which a question counts.
    pub horizon_hours: NonZeroU32,
    /// The column of the log that says what an `ask` asks.
    pub intent: String,
    /// Items and intents that the training part has less often are the unknown object.
    pub min_count: u64,
    /// Intents that the training part has less often are not foreseen.
    pub min_asks: u64,
    /// Share of the events that are in the validation part, by time.
    pub validation: f64,
    /// Share of the events that are in the test part, the last.
    pub test: f64,
    /// First day or moment of validation, in place of the share.
    pub validation_start: Option<String>,
    /// First day or moment of test, in place of the share.
    pub test_start: Option<String>,
}

impl Default for RawQuestionsConfig {
    fn default() -> Self {
        Self {
            horizon_hours: NonZeroU32::new(24).expect("not 0"),
            intent: "intent".into(),
            min_count: 5,
            min_asks: 20,
            validation: 0.15,
            test: 0.15,
            validation_start: None,
            test_start: None,
        }
    }
}

/// Checked settings of [`prepare_questions`](super::prepare_questions).
#[derive(Debug, Clone, PartialEq)]
pub struct QuestionsConfig {
    /// As it was written, for the manifest.
    pub raw: RawQuestionsConfig,
    /// First moment of validation and of test, where they are given.
    pub(super) starts_ms: Option<(i64, i64)>,
}

impl QuestionsConfig {
    /// Length of the window after a moment.
    pub fn horizon_ms(&self) -> i64 {
        i64::from(self.raw.horizon_hours.get()) * 3_600_000
    }
}

impl TryFrom<RawQuestionsConfig> for QuestionsConfig {
    type Error = PrepareError;

    fn try_from(raw: RawQuestionsConfig) -> Result<Self, PrepareError> {
        if raw.horizon_hours.get() > MAX_HORIZON_HOURS {
            let reason = format!("give 1 to {MAX_HORIZON_HOURS}");
            return Err(PrepareError::config("questions.horizon_hours", reason));
        }
        if raw.intent.is_empty() {
            return Err(PrepareError::config("questions.intent", "name a column of the log"));
        }
        for (key, share) in [("questions.validation", raw.validation), ("questions.test", raw.test)]
        {
            if !(share > 0.0 && share <= 0.4) {
                let reason = format!("{share} is not above 0 and at most 0.4");
                return Err(PrepareError::config(key, reason));
            }
        }
        let start = |key, text: &Option<String>| moment(key, text.as_deref(), DayEdge::First);
        let starts = (
            start("questions.validation_start", &raw.validation_start)?,
            start("questions.test_start", &raw.test_start)?,
        );
        let starts_ms = match starts {
            (None, None) => None,
            (Some(validation), Some(test)) if validation < test => Some((validation, test)),
            (Some(_), Some(_)) => {
                let reason = "is not before `questions.test_start`";
                return Err(PrepareError::config("questions.validation_start", reason));
            }
            (Some(_), None) => {
                let reason = "is needed beside `questions.validation_start`";
                return Err(PrepareError::config("questions.test_start", reason));
            }
            (None, Some(_)) => {
                let reason = "is needed beside `questions.test_start`";
                return Err(PrepareError::config("questions.validation_start", reason));
            }
        };
        Ok(Self { raw, starts_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_make_no_sense_are_refused_with_their_key() {
        let refused = |text: &str| {
            QuestionsConfig::try_from(toml::from_str::<RawQuestionsConfig>(text).unwrap())
                .unwrap_err()
                .to_string()
        };
        assert!(refused("horizon_hours = 9000").contains("questions.horizon_hours"));
        assert!(refused("intent = ''").contains("questions.intent"));
        assert!(refused("validation = 0.0").contains("questions.validation"));
        assert!(refused("test = 0.5").contains("questions.test"));
        assert!(refused("test_start = 'May'").contains("questions.test_start"));
        assert!(refused("test_start = '2024-05-01'").contains("questions.validation_start"));
        assert!(refused("validation_start = '2024-05-01'").contains("questions.test_start"));
        let reversed = "validation_start = '2024-05-02'\ntest_start = '2024-05-01'";
        assert!(refused(reversed).contains("questions.validation_start"));
        toml::from_str::<RawQuestionsConfig>("horizon_hours = 0").unwrap_err();
        toml::from_str::<RawQuestionsConfig>("horizon = 24").unwrap_err();
    }
}
