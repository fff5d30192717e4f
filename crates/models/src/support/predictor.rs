//! A model with all it needs to answer a customer's text: its pipeline, the intents, and what is known of its errors.

use std::collections::BTreeMap;

use forecart_data::{IntentTable, Part, TextTable};
use forecart_text::{Pipeline, PipelineConfig};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::confidence::{Confidence, most_probable};
use super::contract::{IntentModel, IntentSpec};
use super::held_out::{ChosenOn, HeldOut, Parts};
use super::registry;
use crate::error::ModelError;
use crate::recommend::FitOn;
use crate::tensors::Tensors;
use crate::training::{FitContext, FitRecord};

/// A script that fewer than one in so many training texts are written in is not known.
const KNOWN_SCRIPT: usize = 200;

/// How a predictor is fitted, beside the model's hyperparameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IntentOptions {
    /// The share of answers that should be right: below the score that gives it the predictor abstains.
    pub precision: f64,
    /// The texts that the model learns from in the end. [`FitOn::Train`] where the validation part is what it will be measured on.
    pub fit_on: FitOn,
}

impl Default for IntentOptions {
    fn default() -> Self {
        Self { precision: 0.95, fit_on: FitOn::TrainValidation }
    }
}

/// What a model learned from, and what chose about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    /// The parts that the model in the file was fitted on.
    pub fit_on: FitOn,
    /// Their texts that ask for an intent.
    pub n_texts: u64,
    /// The texts that chose temperature, threshold and what else there was to choose, before the model had learned from them;
    /// [`Confidence::n_texts`] is their number.
    pub chosen_on: ChosenOn,
}

/// What stands in the header of the model file beside the model itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Serving {
    /// What a text goes through.
    pub pipeline: PipelineConfig,
    /// Probabilities, and when none is given.
    pub confidence: Confidence,
    /// Scripts of the texts that it learned from.
    pub scripts: Vec<String>,
    /// Which texts these are.
    pub learned: Learned,
}

/// Why a text is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Abstained {
    /// It has no word: it is empty, or of signs and emoji alone.
    NoWords,
    /// It is in a script that the model has not learned from.
    OtherScript,
    /// An answer would be wrong too often.
    Doubtful,
}

/// What is said of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Classified {
    /// Probability of each intent, `[n_intents]`; they sum to 1.
    pub probabilities: Vec<f64>,
    /// What was compared with the threshold.
    pub score: f64,
    /// Why no answer is given, if none is.
    pub abstained: Option<Abstained>,
}

impl Classified {
    /// The most probable intent.
    pub fn best(&self) -> usize {
        most_probable(&self.probabilities)
    }

    /// Intents, most probable first; equal ones by their place.
    pub fn ranking(&self) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.probabilities.len()).collect();
        places.sort_by(|a, b| {
            self.probabilities[*b].total_cmp(&self.probabilities[*a]).then(a.cmp(b))
        });
        places
    }
}

/// A fitted model that answers texts as they are typed.
#[derive(Debug)]
pub struct IntentPredictor {
    pipeline: Pipeline,
    intents: TextTable,
    model: Box<dyn IntentModel>,
    serving: Serving,
}

impl IntentPredictor {
    /// Learns from the table. `identity` is that of [`IntentSpec::fit`].
    ///
    /// What chooses between models, temperature and threshold are texts that the model has not learned from: those of the validation part or, where
    /// there is none, the [`Folds`](super::Folds) of the training part. Then it is fitted again, on all texts of both parts; on the training part alone
    /// with [`FitOn::Train`].
    ///
    /// # Errors
    /// [`ModelError::Intents`] for a table without two intents or with one that no training text asks for, [`ModelError::Text`] for a pipeline of
    /// another program, else those of [`IntentSpec::fit`].
    pub fn fit(
        spec: &dyn IntentSpec,
        table: &IntentTable,
        options: IntentOptions,
        context: &FitContext<'_>,
    ) -> Result<(Self, FitRecord), ModelError> {
        let parts = Parts::of(table, context)?;
        let held_out = HeldOut::of(spec, &parts, context)?;
        let confidence = Confidence::fit(&held_out.logits, &held_out.labels, options.precision)?;
        let chosen_on = held_out.chosen_on;
        let (model, record, fit_on) = held_out.learn(&parts, options.fit_on, context)?;
        let learned = Learned { fit_on, n_texts: parts.n_known(fit_on), chosen_on };
        let scripts = scripts(table, &parts.pipeline, fit_on);
        let pipeline = parts.into_pipeline();
        let serving = Serving { pipeline: pipeline.config().clone(), confidence, scripts, learned };
        let intents = table.intents.clone();
        Ok((Self { pipeline, intents, model, serving }, record))
    }

    /// From what a model file holds.
    ///
    /// # Errors
    /// Those of [`registry::load`], [`ModelError::Text`] for a pipeline that cannot be made.
    pub fn load(
        (name, hyperparameters): (&str, &Value),
        intents: TextTable,
        serving: Serving,
        tensors: Tensors,
    ) -> Result<Self, ModelError> {
        let model = registry::load(name, hyperparameters, tensors, intents.len())?;
        let pipeline = Pipeline::new(serving.pipeline.clone())?;
        Ok(Self { pipeline, intents, model, serving })
    }

    /// What stands in the header.
    pub fn serving(&self) -> &Serving {
        &self.serving
    }

    /// The model.
    pub fn model(&self) -> &dyn IntentModel {
        self.model.as_ref()
    }

    /// What texts go through.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Names of the intents, in the order of probabilities.
    pub fn intents(&self) -> &TextTable {
        &self.intents
    }

    /// What a text, as it was typed, asks.
    ///
    /// # Errors
    /// Those of [`IntentModel::logits`]; none by what the text is.
    pub fn classify(&self, typed: &str) -> Result<Classified, ModelError> {
        self.classify_clean(&self.pipeline.clean(typed))
    }

    /// The same of a text that [`Pipeline::clean`] gave.
    ///
    /// # Errors
    /// As [`Self::classify`].
    pub fn classify_clean(&self, clean: &str) -> Result<Classified, ModelError> {
        let text = self.pipeline.analyze(clean);
        let logits: Vec<f64> = self.model.logits(&text)?.into_iter().map(f64::from).collect();
        let (probabilities, score) = self.serving.confidence.judge(&logits);
        let script = || self.pipeline.script(clean).map(|script| script.full_name().to_owned());
        let abstained = if text.word_places().next().is_none() {
            Some(Abstained::NoWords)
        } else if script().is_some_and(|script| !self.serving.scripts.contains(&script)) {
            Some(Abstained::OtherScript)
        } else {
            (score < self.serving.confidence.threshold).then_some(Abstained::Doubtful)
        };
        Ok(Classified { probabilities, score, abstained })
    }
}

/// Scripts that the texts that are learned from are written in, by name.
fn scripts(table: &IntentTable, pipeline: &Pipeline, fit_on: FitOn) -> Vec<String> {
    let mut rows = table.rows(Part::Train);
    if fit_on == FitOn::TrainValidation {
        rows.extend(table.rows(Part::Validation));
    }
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    for row in &rows {
        if let Some(script) = pipeline.script(table.text(*row)) {
            *counts.entry(script.full_name()).or_default() += 1;
        }
    }
    let known = counts.into_iter().filter(|(_, n)| n * KNOWN_SCRIPT >= rows.len());
    known.map(|(name, _)| name.to_owned()).collect()
}
