//! A model with all it needs to answer a customer's text: its pipeline, the intents, and what is known of its errors.

use std::collections::BTreeMap;

use forecart_data::{IntentTable, Part, TextTable};
use forecart_text::{Analyzed, Pipeline, PipelineConfig};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::confidence::{Confidence, most_probable};
use super::contract::{IntentModel, IntentSpec, IntentTexts, Logits};
use super::folds::{Folds, logits_of};
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
    /// The texts that the model learns from in the end.
    pub fit_on: FitOn,
}

impl Default for IntentOptions {
    fn default() -> Self {
        Self { precision: 0.95, fit_on: FitOn::Train }
    }
}

/// What stands in the header of the model file beside the model itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Serving {
    /// What a text goes through.
    pub pipeline: PipelineConfig,
    /// Probabilities, and when none is given.
    pub confidence: Confidence,
    /// Scripts of the training texts.
    pub scripts: Vec<String>,
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

/// Analyzed texts with their labels.
struct Texts {
    texts: Vec<Analyzed>,
    labels: Vec<Option<u32>>,
}

impl Texts {
    fn of(table: &IntentTable, part: Part, pipeline: &Pipeline) -> Self {
        let rows = table.rows(part);
        Self {
            texts: rows.par_iter().map(|row| pipeline.analyze(table.text(*row))).collect(),
            labels: rows.iter().map(|row| table.label(*row)).collect(),
        }
    }

    /// Those that ask for an intent.
    fn known(&self) -> (Vec<Analyzed>, Vec<u32>) {
        let rows = self.texts.iter().zip(&self.labels);
        rows.filter_map(|(text, label)| label.map(|label| (text.clone(), label))).unzip()
    }
}

impl IntentPredictor {
    /// Learns from the table. `identity` is that of [`IntentSpec::fit`].
    ///
    /// Temperature and threshold come from texts that were held out: the validation part, which the model is fitted without (and then, with
    /// [`FitOn::TrainValidation`], again with it); where there is none, the [`Folds`] of the training part.
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
        let n_intents = table.intents.len();
        let config: PipelineConfig =
            serde_json::from_value(table.manifest.description.pipeline.clone()).map_err(
                |error| ModelError::Intents { reason: format!("pipeline of the table: {error}") },
            )?;
        let pipeline = Pipeline::new(config)?;
        let (train, validation) = context.on_threads(|| {
            let texts = |part| Texts::of(table, part, &pipeline);
            Ok((texts(Part::Train), texts(Part::Validation)))
        })?;
        let (mut texts, mut labels) = train.known();
        check(table, &labels)?;
        let learn = |spec: &dyn IntentSpec,
                     texts: &[Analyzed],
                     labels: &[u32],
                     validation: (&[Analyzed], &[u32])| {
            let train = IntentTexts::new(texts, labels, n_intents);
            let validation = IntentTexts::new(validation.0, validation.1, n_intents);
            spec.fit(train, validation, &table.manifest.content_hash, context)
        };
        let (chosen_by, chosen_labels) = validation.known();
        let (model, record, confidence) = if chosen_by.is_empty() {
            let folds = Folds::new(&train.texts, &train.labels, n_intents);
            let (held_out, chosen) = spec.cross_fit(&folds, context)?;
            let confidence = Confidence::fit(&wide(held_out), &folds.labels(), options.precision)?;
            let (model, record) = learn(chosen.as_ref(), &texts, &labels, (&[], &[]))?;
            (model, record, confidence)
        } else {
            let (mut model, record) = learn(spec, &texts, &labels, (&chosen_by, &chosen_labels))?;
            let asked: Vec<&Analyzed> = validation.texts.iter().collect();
            let held_out = wide(logits_of(model.as_ref(), &asked, context)?);
            let confidence = Confidence::fit(&held_out, &validation.labels, options.precision)?;
            if options.fit_on == FitOn::TrainValidation {
                texts.extend(chosen_by);
                labels.extend(chosen_labels);
                let train = IntentTexts::new(&texts, &labels, n_intents);
                let context = FitContext { checkpoint: None, ..*context };
                let identity = &table.manifest.content_hash;
                let spec = spec.for_refit(&record);
                model = spec.fit(train, train.none(), identity, &context)?.0;
            }
            (model, record, confidence)
        };
        let scripts = scripts(table, &pipeline);
        let serving = Serving { pipeline: pipeline.config().clone(), confidence, scripts };
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

/// Refuses a table that nothing can be learned from.
fn check(table: &IntentTable, labels: &[u32]) -> Result<(), ModelError> {
    let refuse = |reason: String| Err(ModelError::Intents { reason });
    if table.intents.len() < 2 {
        let n = table.intents.len();
        return refuse(format!("the table has {n} intents, and there is nothing to tell apart"));
    }
    let mut has_text = vec![false; table.intents.len()];
    labels.iter().for_each(|label| has_text[*label as usize] = true);
    match has_text.iter().position(|has| !has) {
        None => Ok(()),
        Some(intent) => refuse(format!(
            "no training text asks for {:?}; add some, or leave the intent out",
            table.intents.get(intent)
        )),
    }
}

/// Scripts that training texts are written in, by name.
fn scripts(table: &IntentTable, pipeline: &Pipeline) -> Vec<String> {
    let rows = table.rows(Part::Train);
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    for row in &rows {
        if let Some(script) = pipeline.script(table.text(*row)) {
            *counts.entry(script.full_name()).or_default() += 1;
        }
    }
    let known = counts.into_iter().filter(|(_, n)| n * KNOWN_SCRIPT >= rows.len());
    known.map(|(name, _)| name.to_owned()).collect()
}

fn wide(logits: Logits) -> Vec<Vec<f64>> {
    logits.into_iter().map(|logits| logits.into_iter().map(f64::from).collect()).collect()
}
