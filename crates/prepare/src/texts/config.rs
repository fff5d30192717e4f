//! The `[text]` section of the configuration.

use forecart_text::{Pipeline, PipelineConfig};
use serde::{Deserialize, Serialize};

use crate::PrepareError;

/// `[text]` as it stands in a file. Every key is optional.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawTextConfig {
    /// The column of the text [default: the first of `text`, `utterance`, `question`, `query`, `message`, `sentence`].
    pub text: Option<String>,
    /// The column of what it asks [default: the first of `intent`, `label`, `category`, `class`].
    pub intent: Option<String>,
    /// Intents that stand for none of the others.
    pub out_of_scope: Vec<String>,
    /// Share of the texts of each intent that goes into the validation part where no file of validation texts is given; 0 for none, and folds choose.
    pub validation: f64,
    /// Share of the texts of each intent that goes into the test part where no file of test texts is given; 0 for none.
    pub test: f64,
    /// Intents of fewer training texts are reported.
    pub min_texts: usize,
    /// Texts that share so much of their n-grams say the same.
    pub near_duplicate: f64,
    /// Of the parts.
    pub seed: u64,
    /// The share of answers that should be right; a model abstains from others.
    pub precision: f64,
    /// What texts go through.
    pub pipeline: PipelineConfig,
}

impl Default for RawTextConfig {
    fn default() -> Self {
        Self {
            text: None,
            intent: None,
            out_of_scope: Vec::new(),
            // A part that does not teach costs small tables two points and large ones a tenth; folds choose as well.
            validation: 0.0,
            test: 0.2,
            min_texts: 10,
            near_duplicate: 0.85,
            seed: 42,
            precision: 0.95,
            pipeline: PipelineConfig::default(),
        }
    }
}

/// Checked settings of [`prepare_texts`](super::prepare_texts), and of models of intents.
#[derive(Debug)]
pub struct TextConfig {
    /// As it was written, for the manifest.
    pub raw: RawTextConfig,
    /// What texts go through.
    pub pipeline: Pipeline,
}

impl TryFrom<RawTextConfig> for TextConfig {
    type Error = PrepareError;

    fn try_from(raw: RawTextConfig) -> Result<Self, PrepareError> {
        for (key, share) in [("text.validation", raw.validation), ("text.test", raw.test)] {
            if !(0.0..=0.5).contains(&share) {
                return Err(PrepareError::config(key, format!("{share} is not between 0 and 0.5")));
            }
        }
        if !(raw.near_duplicate > 0.0 && raw.near_duplicate <= 1.0) {
            return Err(PrepareError::config(
                "text.near_duplicate",
                "give a share above 0, up to 1",
            ));
        }
        if !(raw.precision > 0.0 && raw.precision <= 1.0) {
            return Err(PrepareError::config("text.precision", "give a share above 0, up to 1"));
        }
        let pipeline = Pipeline::new(raw.pipeline.clone())
            .map_err(|error| PrepareError::config("text.pipeline", error.to_string()))?;
        Ok(Self { raw, pipeline })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_make_no_sense_are_refused_with_their_key() {
        let refused = |text: &str| {
            TextConfig::try_from(toml::from_str::<RawTextConfig>(text).unwrap())
                .unwrap_err()
                .to_string()
        };
        assert!(refused("validation = 0.9").contains("text.validation"));
        assert!(refused("precision = 0.0").contains("text.precision"));
        assert!(refused("near_duplicate = 2.0").contains("text.near_duplicate"));
        assert!(refused("pipeline = { order_ids = ['('] }").contains("text.pipeline: order_ids"));
        toml::from_str::<RawTextConfig>("column = 'text'").unwrap_err();
    }
}
