//! A fitted model with its encoders and its calibration: from any row to a probability.

use std::collections::BTreeMap;

use forecart_data::encode::{EncodedRow, FeatureProgram, Fitter, HashedRows, Row, Value};
use forecart_data::samples::{Role, SampleColumn};
use serde::{Deserialize, Serialize};

use super::contract::{OutcomeModel, OutcomeSpec};
use super::online::OnlineLearner;
use super::registry;
use super::samples::{EncodedSamples, SampleView};
use crate::calibration::{
    CalibrationMethod, CalibrationRows, Calibrator, choose, correct_for_sampling,
};
use crate::error::ModelError;
use crate::tensors::Tensors;
use crate::training::{FitContext, FitRecord};

/// Fewer validation rows of either label than this say nothing of a calibration.
const MIN_TO_CALIBRATE: usize = 10;

/// A probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// In `0.0..=1.0`, calibrated where there were rows to calibrate on.
    pub probability: f64,
    /// Of the model, before calibration.
    pub logit: f32,
}

/// What a row says of where the ad stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positions {
    /// What the log says, for measuring against what happened there.
    AsLogged,
    /// The same for every row: an ad is not better because it stood on top.
    Neutral,
}

/// What a model needs to answer beside its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Serving {
    /// From logits to probabilities.
    pub calibrator: Calibrator,
    /// Share of the negative samples that training was left.
    pub negatives_kept: f64,
    /// The value that stands for every position, by column.
    pub positions: BTreeMap<String, Position>,
}

/// A value of a position column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Position {
    /// Of a column of numbers.
    Number(f64),
    /// Of a column of texts.
    Text(String),
}

/// A fitted model with the encoders that were fitted on the same rows, and its calibration on others.
#[derive(Debug)]
pub struct OutcomePredictor {
    encoders: FeatureProgram,
    model: Box<dyn OutcomeModel>,
    serving: Serving,
}

impl OutcomePredictor {
    /// Fits encoders and model on the training rows of `view`. Its validation rows choose when to stop and how scores become
    /// probabilities: of two halves, one fits and one chooses the method, which is then fitted on both.
    ///
    /// # Errors
    /// Those of [`OutcomeSpec::fit`], [`ModelError::NoLabels`] where all labels are equal, [`ModelError::NoFeatures`] where no
    /// column can be learned from.
    pub fn fit(
        spec: &dyn OutcomeSpec,
        view: &SampleView<'_>,
        context: &FitContext<'_>,
    ) -> Result<(Self, FitRecord), ModelError> {
        view.check(spec.name())?;
        let features = spec.features(view.columns(), view.span_ms());
        if features.is_empty() {
            return Err(ModelError::NoFeatures { model: spec.name() });
        }
        context.on_threads(|| {
            let mut fitter = Fitter::new(&features)?;
            view.train().iter().for_each(|row| fitter.observe(&view.row(*row)));
            let encoders = fitter.finish();
            let train = view.encode(view.train(), &encoders);
            let validation = view.encode(view.validation(), &encoders);
            let hint = "lower `n_dims`, `hidden` or `batch_size`, or raise `min_count`";
            context.check_memory(spec.name(), spec.needed_bytes(&train), hint)?;
            let (model, record) = spec.fit(&train, &validation, &view.identity(), context)?;
            let serving = Serving {
                calibrator: calibrate(model.as_ref(), &validation)?,
                negatives_kept: view.negatives_kept(),
                positions: positions(view),
            };
            Ok((Self { encoders, model, serving }, record))
        })
    }

    /// What `learner` has learned from a stream of samples with these columns. `held_out` are samples that it has not learned
    /// from: they calibrate it.
    ///
    /// # Errors
    /// [`ModelError::NoFeatures`] where no column can be learned from.
    pub fn of_stream(
        learner: OnlineLearner,
        columns: &[SampleColumn],
        held_out: &HashedRows,
        negatives_kept: f64,
    ) -> Result<Self, ModelError> {
        let (features, space) = (learner.config().encoder(columns), learner.config().space());
        let model = learner.into_model();
        if features.is_empty() {
            return Err(ModelError::NoFeatures { model: model.name() });
        }
        let held_out = EncodedSamples::of_stream(held_out, space);
        let calibrator = calibrate(&model, &held_out)?;
        let serving = Serving { calibrator, negatives_kept, positions: BTreeMap::new() };
        let encoders = Fitter::new(&features)?.finish();
        Ok(Self { encoders, model: Box::new(model), serving })
    }

    /// From what a file holds: the model's name and hyperparameters, encoders, and what [`OutcomeModel::tensors`] gave.
    ///
    /// # Errors
    /// [`ModelError::Damaged`] or those of the registry.
    pub(crate) fn load(
        (name, hyperparameters): (&str, &serde_json::Value),
        encoders: FeatureProgram,
        serving: Serving,
        tensors: Tensors,
    ) -> Result<Self, ModelError> {
        if !(serving.negatives_kept > 0.0 && serving.negatives_kept <= 1.0) {
            let reason = format!("{} of the negatives were kept", serving.negatives_kept);
            return Err(ModelError::damaged(reason));
        }
        let sizes = (encoders.sparse_fields(), encoders.n_dense());
        let model = registry::load(name, hyperparameters, tensors, sizes.0, sizes.1)?;
        Ok(Self { encoders, model, serving })
    }

    /// The model.
    pub fn model(&self) -> &dyn OutcomeModel {
        self.model.as_ref()
    }

    /// The encoders.
    pub fn encoders(&self) -> &FeatureProgram {
        &self.encoders
    }

    /// Calibration and the like.
    pub fn serving(&self) -> &Serving {
        &self.serving
    }

    /// The probability for each row; a row alone gets the bits that it gets among others.
    ///
    /// # Errors
    /// [`ModelError::Damaged`] if encoders and model do not fit, which those of one fit always do.
    pub fn predict<R: Row>(
        &self,
        rows: impl IntoIterator<Item = R>,
        positions: Positions,
    ) -> Result<Vec<Prediction>, ModelError> {
        let fields = self.encoders.sparse_fields();
        let mut samples = EncodedSamples::new(&fields, self.encoders.n_dense());
        let mut encoded = EncodedRow::default();
        for row in rows {
            match positions {
                Positions::AsLogged => self.encoders.encode_into(&row, &mut encoded),
                Positions::Neutral => {
                    let row = Neutral { row: &row, positions: &self.serving.positions };
                    self.encoders.encode_into(&row, &mut encoded);
                }
            }
            samples.push(&encoded, 0.0);
        }
        self.predict_encoded(&samples)
    }

    /// The probability for each row of a stream, for a model that reads hashed features ([`FeatureProgram::hash_space`]); the bits of
    /// [`Self::predict`] for the same features.
    ///
    /// # Errors
    /// [`ModelError::Damaged`] for a model that reads no hashed features.
    pub fn predict_stream(&self, rows: &HashedRows) -> Result<Vec<Prediction>, ModelError> {
        let space = self.encoders.hash_space();
        let space = space.ok_or_else(|| ModelError::damaged("a model of no hashed features"))?;
        self.predict_encoded(&EncodedSamples::of_stream(rows, space))
    }

    fn predict_encoded(&self, samples: &EncodedSamples) -> Result<Vec<Prediction>, ModelError> {
        let logits = self.model.logits(samples)?;
        let predict = |logit: f32| {
            let p = self.serving.calibrator.probability(f64::from(logit));
            let probability = correct_for_sampling(p, self.serving.negatives_kept);
            Prediction { probability, logit }
        };
        Ok(logits.into_iter().map(predict).collect())
    }
}

/// A row that stands where all others stand.
struct Neutral<'a, R> {
    row: &'a R,
    positions: &'a BTreeMap<String, Position>,
}

impl<R: Row> Row for Neutral<'_, R> {
    fn value(&self, column: &str) -> Value<'_> {
        match self.positions.get(column) {
            None => self.row.value(column),
            Some(Position::Number(number)) => Value::Number(*number),
            Some(Position::Text(text)) => Value::Text(text),
        }
    }
}

/// The most frequent training value of each position column, the smallest of equals.
fn positions(view: &SampleView<'_>) -> BTreeMap<String, Position> {
    let columns = view.columns().iter().filter(|column| column.role == Role::Position);
    let most_frequent = columns.filter_map(|column| {
        let mut counts: BTreeMap<String, (u64, Position)> = BTreeMap::new();
        for row in view.train() {
            let (text, position) = match view.row(*row).value(&column.name) {
                Value::Number(number) => (format!("{number:020.6}"), Position::Number(number)),
                Value::Text(text) => (text.to_owned(), Position::Text(text.to_owned())),
                Value::Missing | Value::List(_) => continue,
            };
            counts.entry(text).or_insert((0, position)).0 += 1;
        }
        // `rev`, for the last of equals is taken.
        let (_, (_, position)) = counts.into_iter().rev().max_by_key(|(_, (count, _))| *count)?;
        Some((column.name.clone(), position))
    });
    most_frequent.collect()
}

fn calibrate(
    model: &dyn OutcomeModel,
    validation: &EncodedSamples,
) -> Result<Calibrator, ModelError> {
    let labels: Vec<bool> = validation.labels().iter().map(|label| *label > 0.5).collect();
    let n_positive = labels.iter().filter(|label| **label).count();
    if n_positive.min(labels.len() - n_positive) < MIN_TO_CALIBRATE {
        return Ok(Calibrator::None);
    }
    let logits: Vec<f64> = model.logits(validation)?.into_iter().map(f64::from).collect();
    let half = |odd: usize| {
        let places = (odd..labels.len()).step_by(2);
        let (scores, labels): (Vec<f64>, Vec<bool>) =
            places.map(|place| (logits[place], labels[place])).unzip();
        CalibrationRows::new(&scores, &labels, None)
    };
    let method: CalibrationMethod = choose(&half(0)?, &half(1)?).calibrator.method();
    Ok(Calibrator::fit(method, &CalibrationRows::new(&logits, &labels, None)?))
}
