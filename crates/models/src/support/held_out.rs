//! Texts that choose about a model before it learns from them.

use forecart_data::{IntentTable, Part};
use forecart_text::{Analyzed, Pipeline, PipelineConfig};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::confidence::most_probable;
use super::contract::{IntentModel, IntentSpec, IntentTexts, Logits};
use super::folds::{Folds, logits_of};
use crate::error::ModelError;
use crate::recommend::FitOn;
use crate::training::{FitContext, FitRecord};

/// Which texts choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChosenOn {
    /// Those of the validation part.
    Validation,
    /// [`Folds`] of the training part.
    Folds,
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

/// What of a table may be learned from, analyzed.
pub(super) struct Parts<'a> {
    pub(super) pipeline: Pipeline,
    table: &'a IntentTable,
    train: Texts,
    validation: Texts,
}

impl<'a> Parts<'a> {
    /// # Errors
    /// [`ModelError::Intents`] for a table without two intents or with one that no training text asks for, [`ModelError::Text`] for a pipeline of
    /// another program.
    pub(super) fn of(table: &'a IntentTable, context: &FitContext<'_>) -> Result<Self, ModelError> {
        let config: PipelineConfig =
            serde_json::from_value(table.manifest.description.pipeline.clone()).map_err(
                |error| ModelError::Intents { reason: format!("pipeline of the table: {error}") },
            )?;
        let pipeline = Pipeline::new(config)?;
        let (train, validation) = context.on_threads(|| {
            let texts = |part| Texts::of(table, part, &pipeline);
            Ok((texts(Part::Train), texts(Part::Validation)))
        })?;
        let parts = Self { pipeline, table, train, validation };
        parts.check()?;
        Ok(parts)
    }

    /// Refuses a table that nothing can be learned from.
    fn check(&self) -> Result<(), ModelError> {
        let refuse = |reason: String| Err(ModelError::Intents { reason });
        let intents = &self.table.intents;
        if intents.len() < 2 {
            let n = intents.len();
            return refuse(format!(
                "the table has {n} intents, and there is nothing to tell apart"
            ));
        }
        let mut has_text = vec![false; intents.len()];
        self.train.labels.iter().flatten().for_each(|label| has_text[*label as usize] = true);
        match has_text.iter().position(|has| !has) {
            None => Ok(()),
            Some(intent) => refuse(format!(
                "no training text asks for {:?}; add some, or leave the intent out",
                intents.get(intent)
            )),
        }
    }

    fn n_intents(&self) -> usize {
        self.table.intents.len()
    }

    /// Texts that ask for an intent.
    pub(super) fn n_known(&self, fit_on: FitOn) -> u64 {
        let n_of = |texts: &Texts| texts.labels.iter().flatten().count() as u64;
        match fit_on {
            FitOn::Train => n_of(&self.train),
            FitOn::TrainValidation => n_of(&self.train) + n_of(&self.validation),
        }
    }

    pub(super) fn into_pipeline(self) -> Pipeline {
        self.pipeline
    }

    fn identity(&self) -> &str {
        &self.table.manifest.content_hash
    }
}

/// What a model says of texts that it has not learned from.
pub(super) struct HeldOut {
    /// `[n_texts][n_intents]`.
    pub(super) logits: Vec<Vec<f64>>,
    /// `None` for a text that asks for none of the intents.
    pub(super) labels: Vec<Option<u32>>,
    pub(super) chosen_on: ChosenOn,
    /// For learning from all texts, with what these have chosen.
    spec: Box<dyn IntentSpec>,
    /// Learned from the training part, where the validation part was held out.
    of_train: Option<(Box<dyn IntentModel>, FitRecord)>,
}

impl HeldOut {
    /// By the validation part; by folds where no text of it asks for an intent.
    ///
    /// # Errors
    /// Those of [`IntentSpec::fit`].
    pub(super) fn of(
        spec: &dyn IntentSpec,
        parts: &Parts<'_>,
        context: &FitContext<'_>,
    ) -> Result<Self, ModelError> {
        let n_intents = parts.n_intents();
        let (chosen_by, chosen_labels) = parts.validation.known();
        if chosen_by.is_empty() {
            let folds = Folds::new(&parts.train.texts, &parts.train.labels, n_intents);
            let (logits, spec) = spec.cross_fit(&folds, context)?;
            return Ok(Self {
                logits: wide(logits),
                labels: folds.labels(),
                chosen_on: ChosenOn::Folds,
                spec,
                of_train: None,
            });
        }
        let (texts, labels) = parts.train.known();
        let train = IntentTexts::new(&texts, &labels, n_intents);
        let validation = IntentTexts::new(&chosen_by, &chosen_labels, n_intents);
        let (model, record) = spec.fit(train, validation, parts.identity(), context)?;
        let asked: Vec<&Analyzed> = parts.validation.texts.iter().collect();
        Ok(Self {
            logits: wide(logits_of(model.as_ref(), &asked, context)?),
            labels: parts.validation.labels.clone(),
            chosen_on: ChosenOn::Validation,
            spec: spec.for_refit(&record),
            of_train: Some((model, record)),
        })
    }

    /// The share of the texts that ask for an intent of which the most probable one is it; `None` if there are none.
    pub(super) fn accuracy(&self) -> Option<f64> {
        let asked = self.logits.iter().zip(&self.labels);
        let right: Vec<bool> = asked
            .filter_map(|(logits, label)| Some(most_probable(logits) == (*label)? as usize))
            .collect();
        let n_right = right.iter().filter(|right| **right).count();
        (!right.is_empty()).then(|| n_right as f64 / right.len() as f64)
    }

    /// The epoch that validation chose, where training has epochs.
    pub(super) fn chosen_epoch(&self) -> Option<usize> {
        self.of_train.as_ref().and_then(|(_, record)| record.chosen_epoch)
    }

    /// The model that has learned from the texts of `fit_on`, how it came to be, and which these texts are: the training part, if there is
    /// no other.
    ///
    /// # Errors
    /// Those of [`IntentSpec::fit`].
    pub(super) fn learn(
        self,
        parts: &Parts<'_>,
        fit_on: FitOn,
        context: &FitContext<'_>,
    ) -> Result<(Box<dyn IntentModel>, FitRecord, FitOn), ModelError> {
        let (mut texts, mut labels) = parts.train.known();
        let (of_train, context) = match (self.of_train, fit_on) {
            (Some((model, record)), FitOn::Train) => return Ok((model, record, FitOn::Train)),
            // A checkpoint is of the fit that came before: this one has more texts.
            (Some((_, record)), FitOn::TrainValidation) => {
                let (more, their_labels) = parts.validation.known();
                texts.extend(more);
                labels.extend(their_labels);
                (Some(record), FitContext { checkpoint: None, ..*context })
            }
            (None, _) => (None, *context),
        };
        let all = IntentTexts::new(&texts, &labels, parts.n_intents());
        let (model, record) = self.spec.fit(all, all.none(), parts.identity(), &context)?;
        let fit_on = if of_train.is_some() { FitOn::TrainValidation } else { FitOn::Train };
        Ok((model, of_train.unwrap_or(record), fit_on))
    }
}

/// How often `spec` is right about texts of the table that it has not learned from, and the epoch that they chose: the validation part or, where there
/// is none, [`Folds`] of the training part.
///
/// # Errors
/// Those of [`IntentPredictor::fit`](super::IntentPredictor::fit).
pub fn held_out_accuracy(
    spec: &dyn IntentSpec,
    table: &IntentTable,
    context: &FitContext<'_>,
) -> Result<(Option<f64>, Option<usize>), ModelError> {
    let held_out = HeldOut::of(spec, &Parts::of(table, context)?, context)?;
    Ok((held_out.accuracy(), held_out.chosen_epoch()))
}

fn wide(logits: Logits) -> Vec<Vec<f64>> {
    logits.into_iter().map(|logits| logits.into_iter().map(f64::from).collect()).collect()
}
