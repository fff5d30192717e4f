//! What answers: a model of questions, calibrated, with the names of what it reads and says.

use forecart_data::{History, ItemIdx, Part, Questions, Vocabulary};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::calibration::QuestionCalibration;
use super::contract::{QuestionModel, QuestionSpec};
use super::labels::{column, each_moment, training_rates};
use super::registry;
use crate::calibration::exact;
use crate::calibration::logistic::softplus;
use crate::error::ModelError;
use crate::tensors::Tensors;
use crate::training::{FitContext, FitRecord};

/// What a model is served with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuestionServing {
    /// How far the probabilities look ahead, in milliseconds.
    pub horizon_ms: i64,
    /// The share of training moments after which each intent was asked: the answer to a history without events.
    #[serde(with = "exact::list")]
    pub rates: Vec<f64>,
    /// From logits to probabilities.
    pub calibration: QuestionCalibration,
}

/// The vocabularies that a model of questions was fitted with.
#[derive(Debug, Clone, PartialEq)]
pub struct QuestionNames {
    /// What is asked.
    pub intents: Vocabulary,
    /// Items, and the intents of asks.
    pub objects: Vocabulary,
    /// Event names.
    pub events: Vocabulary,
}

/// A calibrated model of questions.
#[derive(Debug)]
pub struct QuestionPredictor {
    model: Box<dyn QuestionModel>,
    names: QuestionNames,
    serving: QuestionServing,
}

impl QuestionPredictor {
    /// Fits `spec` on the training part and calibrates it on the validation part.
    ///
    /// # Errors
    /// Those of [`QuestionSpec::fit`]; [`ModelError::Memory`] too where the logits of the validation part, which calibration needs, are too many.
    pub fn fit(
        spec: &dyn QuestionSpec,
        questions: &Questions,
        context: &FitContext<'_>,
    ) -> Result<(Self, FitRecord), ModelError> {
        let rates = training_rates(questions)?.1;
        let n_calibrated = questions.manifest().parts[1].n_moments;
        // A logit twice while they are put together, then it and its label, and both in a column.
        let needed = 17 * n_calibrated * rates.len() as u64;
        context.check_memory(spec.name(), needed, "shorten the validation part of the table")?;
        let (model, record) = spec.fit(questions, context)?;
        let calibration =
            context.on_threads(|| calibrated(model.as_ref(), questions, rates.len()))?;
        let names = QuestionNames {
            intents: questions.intents().clone(),
            objects: questions.objects().clone(),
            events: questions.event_names().clone(),
        };
        let horizon_ms = questions.manifest().windows.horizon_ms;
        let serving = QuestionServing { horizon_ms, rates, calibration };
        Ok((Self { model, names, serving }, record))
    }

    /// A predictor from the parts of a model file.
    ///
    /// # Errors
    /// Those of [`registry::load`]; [`ModelError::Damaged`] for parts that do not fit each other.
    pub(crate) fn load(
        (name, keys): (&str, &Value),
        names: QuestionNames,
        serving: QuestionServing,
        learned: Tensors,
    ) -> Result<Self, ModelError> {
        let n_intents = names.intents.n_known();
        if n_intents == 0 || names.events.len() > 256 {
            return Err(ModelError::damaged("it has no intent, or more events than there can be"));
        }
        let is_rate = |rate: &f64| *rate > 0.0 && *rate < 1.0;
        if serving.rates.len() != n_intents
            || !serving.rates.iter().all(is_rate)
            || serving.horizon_ms <= 0
        {
            return Err(ModelError::damaged("its rates or its horizon are of no fit"));
        }
        serving.calibration.check(n_intents)?;
        let model = registry::load(name, keys, learned, n_intents)?;
        Ok(Self { model, names, serving })
    }

    /// The fitted model.
    pub fn model(&self) -> &dyn QuestionModel {
        self.model.as_ref()
    }

    /// The vocabularies.
    pub fn names(&self) -> &QuestionNames {
        &self.names
    }

    /// Number of intents.
    pub fn n_intents(&self) -> usize {
        self.names.intents.n_known()
    }

    /// The name of the intent at a place of the probabilities.
    pub fn intent(&self, place: usize) -> &str {
        u32::try_from(place + 1).map_or("", |row| self.names.intents.text(row))
    }

    /// What the model is served with.
    pub fn serving(&self) -> &QuestionServing {
        &self.serving
    }

    /// The probability of each intent within the horizon after the newest event, `[n_intents]`; the rates of the training part for a
    /// history without events.
    ///
    /// # Errors
    /// [`ModelError::Training`] if a layer refuses its input.
    pub fn probabilities(&self, history: History<'_>) -> Result<Vec<f64>, ModelError> {
        match history.items.len().checked_sub(1) {
            Some(newest) => self.probabilities_at(history, &[newest]),
            None => Ok(self.serving.rates.clone()),
        }
    }

    /// The same after the events at some places, which ascend, `[places.len(), n_intents]`: each as if the history ended there.
    ///
    /// # Errors
    /// [`ModelError::Training`] if a layer refuses its input.
    ///
    /// # Panics
    /// If a place is past the history or the places do not ascend.
    pub fn probabilities_at(
        &self,
        history: History<'_>,
        places: &[usize],
    ) -> Result<Vec<f64>, ModelError> {
        assert!(places.is_sorted_by(|a, b| a < b), "places ascend");
        Ok(self.serving.calibration.probabilities(&self.model.logits(history, places)?))
    }

    /// The mean binary cross-entropy over all moments of a part and all intents of the logits as they are, in nats; `None` without a moment. What models
    /// are chosen by on the part that calibrates them.
    ///
    /// # Errors
    /// [`ModelError::Training`] if a layer refuses its input.
    pub fn log_loss_before_calibration(
        &self,
        questions: &Questions,
        part: Part,
    ) -> Result<Option<f64>, ModelError> {
        let losses = (0..questions.n_users()).into_par_iter().map(|user| {
            let places: Vec<usize> = questions.moments(user, part).collect();
            let logits = self.model.logits(questions.history(user), &places)?;
            let mut came_true = vec![false; logits.len()];
            let mut asked = Vec::new();
            for (at, place) in places.into_iter().enumerate() {
                questions.asked(user, place, &mut asked);
                let first = at * self.n_intents();
                asked
                    .iter()
                    .filter_map(|row| column(*row))
                    .for_each(|k| came_true[first + k] = true);
            }
            let cost = |(z, came_true): (&f32, &bool)| {
                let z = f64::from(*z);
                softplus(z) - if *came_true { z } else { 0.0 }
            };
            Ok((logits.iter().zip(&came_true).map(cost).sum::<f64>(), logits.len()))
        });
        let losses: Vec<(f64, usize)> = losses.collect::<Result<_, ModelError>>()?;
        let n: usize = losses.iter().map(|(_, n)| n).sum();
        let sum: f64 = losses.iter().map(|(loss, _)| loss).sum();
        Ok((n > 0).then(|| sum / n as f64))
    }

    /// A user's history in the vocabularies of this model, whatever table it came from.
    pub fn translated(&self, questions: &Questions, user: usize) -> (Vec<ItemIdx>, Vec<u8>) {
        let history = questions.history(user);
        let object = |item: &ItemIdx| {
            ItemIdx(self.names.objects.index_or_unknown(questions.objects().text(item.0)))
        };
        let event = |event: &u8| {
            let name = questions.event_names().text((*event).into());
            u8::try_from(self.names.events.index_or_unknown(name)).unwrap_or(0)
        };
        (history.items.iter().map(object).collect(), history.events.iter().map(event).collect())
    }
}

/// Calibrates on all moments of the validation part; logits stay as they are where there are none.
fn calibrated(
    model: &dyn QuestionModel,
    questions: &Questions,
    n_intents: usize,
) -> Result<QuestionCalibration, ModelError> {
    let logits: Vec<Vec<f32>> = (0..questions.n_users())
        .into_par_iter()
        .map(|user| {
            let places: Vec<usize> = questions.moments(user, Part::Validation).collect();
            model.logits(questions.history(user), &places)
        })
        .collect::<Result<_, _>>()?;
    let mut came_true = Vec::new();
    each_moment(questions, Part::Validation, |_, _, asked| {
        let first = came_true.len();
        came_true.resize(first + n_intents, false);
        asked.iter().filter_map(|row| column(*row)).for_each(|at| came_true[first + at] = true);
    });
    Ok(QuestionCalibration::fit(&logits.concat(), &came_true, n_intents))
}
