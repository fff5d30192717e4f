//! A fitted model with its encoders and its calibration: from any row to a probability.

use std::collections::BTreeMap;

use forecart_data::encode::{EncodedRow, FeatureProgram, Fitter, HashedRows, Row, Value};
use forecart_data::samples::{Role, SampleColumn};
use serde::{Deserialize, Serialize};

use super::contract::{OutcomeModel, OutcomeSpec};
use super::online::OnlineLearner;
use super::registry;
use super::samples::{EncodedSamples, SampleLayout, SampleView};
use crate::calibration::{
    CalibrationMethod, CalibrationRows, Calibrator, Platt, choose, correct_for_sampling,
};
use crate::error::ModelError;
use crate::tensors::Tensors;
use crate::training::{FitContext, FitRecord};

/// Fewer validation rows of either label than this say nothing of a calibration.
const MIN_TO_CALIBRATE: usize = 10;

/// With fewer validation rows of the rarer label, methods are not told apart: a line is fitted that goes only as far as the rows bear it out
/// ([`Platt::fit_shrunk`]).
///
/// Source: Vergouwe, Steyerberg, Eijkemans and Habbema, Journal of Clinical Epidemiology 58(5), 2005: at least 100 events
/// and 100 others to see what is wrong with a model's probabilities.
const MIN_TO_CHOOSE: usize = 100;

/// A probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// In `0.0..=1.0`, calibrated where there were rows to calibrate on.
    pub probability: f64,
    /// Of the model, before calibration.
    pub logit: f32,
    /// Of models that know of conversions.
    pub conversion: Option<Conversion>,
}

/// How probable it is that a click is followed by a conversion.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conversion {
    /// If there is a click: in `0.0..=1.0`, calibrated on the clicks of the validation part whose outcome is known, if there were
    /// enough. For rows that are seldom clicked this is as good as the assumption that, of two rows with one score, a click on either
    /// converts alike.
    pub given_click: f64,
    /// Click and conversion: the product of that and of the (calibrated) probability of a click.
    pub with_click: f64,
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
    /// From logits of conversions after clicks to probabilities, of models that know of conversions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversion: Option<Calibrator>,
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
    /// probabilities: of two halves, one fits and one chooses the method, which is then fitted on both. Where rows have an order in time, the
    /// later half chooses: what does not last from one half to the next will not last into service. With fewer than 100 rows of the rarer
    /// label it is [`Platt::fit_shrunk`].
    ///
    /// # Errors
    /// Those of [`OutcomeSpec::fit`] and [`OutcomeSpec::check_columns`], [`ModelError::NoLabels`] where all labels are equal, [`ModelError::NoFeatures`] where no
    /// column can be learned from.
    pub fn fit(
        spec: &dyn OutcomeSpec,
        view: &SampleView<'_>,
        context: &FitContext<'_>,
    ) -> Result<(Self, FitRecord), ModelError> {
        spec.check_columns(view.columns())?;
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
            let samples = train.n_bytes().saturating_add(validation.n_bytes());
            let needed = spec.needed_bytes(&train).saturating_add(samples);
            context.check_memory(spec.name(), needed, hint)?;
            let (model, record) = spec.fit(&train, &validation, &view.identity(), context)?;
            let halves = view.validation_halves();
            let serving = Serving {
                calibrator: Known::new(
                    &model.logits(&validation)?,
                    weighed(&validation, clicks(&validation)),
                    weighed(&train, clicks(&train)),
                    &halves,
                )
                .calibrate()?,
                conversion: match model.conversion_logits(&validation)? {
                    Some(logits) => {
                        let outcomes = weighed(&validation, conversions(&validation));
                        let learned = weighed(&train, conversions(&train));
                        Some(Known::new(&logits, outcomes, learned, &halves).calibrate()?)
                    }
                    None => None,
                },
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
        let places: Vec<usize> = (0..held_out.len()).collect();
        let (earlier, later) = places.split_at(places.len() / 2);
        let halves = [earlier.to_vec(), later.to_vec()];
        let logits = model.logits(&held_out)?;
        let outcomes = weighed(&held_out, clicks(&held_out));
        let known = Known::new(&logits, outcomes, std::iter::empty(), &halves);
        let serving = Serving {
            calibrator: known.calibrate()?,
            conversion: None,
            negatives_kept,
            positions: BTreeMap::new(),
        };
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
        let layout = SampleLayout::from(&encoders);
        let model = registry::load(name, hyperparameters, tensors, layout)?;
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
        self.predictions(&self.encode(rows, positions))
    }

    pub(super) fn predictions(
        &self,
        samples: &EncodedSamples,
    ) -> Result<Vec<Prediction>, ModelError> {
        let logits = self.model.logits(samples)?;
        let conversions = self.model.conversion_logits(samples)?;
        let predict = |(place, logit): (usize, f32)| {
            let probability = self.probability(logit);
            let conversion = conversions.as_ref().map(|logits| {
                let calibrator = self.serving.conversion.as_ref().unwrap_or(&Calibrator::None);
                let given_click = calibrator.probability(f64::from(logits[place]));
                Conversion { given_click, with_click: given_click * probability }
            });
            Prediction { probability, logit, conversion }
        };
        Ok(logits.into_iter().enumerate().map(predict).collect())
    }

    /// The probability that a logit of the model stands for.
    fn probability(&self, logit: f32) -> f64 {
        let p = self.serving.calibrator.probability(f64::from(logit));
        correct_for_sampling(p, self.serving.negatives_kept)
    }

    pub(super) fn encode<R: Row>(
        &self,
        rows: impl IntoIterator<Item = R>,
        positions: Positions,
    ) -> EncodedSamples {
        let mut samples = EncodedSamples::new(&SampleLayout::from(&self.encoders));
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
        samples
    }

    /// The probability for each row of a stream, for a model that reads hashed features ([`FeatureProgram::hash_space`]); the bits of
    /// [`Self::predict`] for the same features.
    ///
    /// # Errors
    /// [`ModelError::Damaged`] for a model that reads no hashed features.
    pub fn predict_stream(&self, rows: &HashedRows) -> Result<Vec<Prediction>, ModelError> {
        let space = self.encoders.hash_space();
        let space = space.ok_or_else(|| ModelError::damaged("a model of no hashed features"))?;
        self.predictions(&EncodedSamples::of_stream(rows, space))
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

/// Validation rows to calibrate on, and what else is known of how frequent positive rows are.
struct Known {
    logits: Vec<f64>,
    labels: Vec<bool>,
    weights: Vec<f64>,
    /// Places of the rows: one half fits a method, the other chooses it.
    halves: [Vec<usize>; 2],
    /// Weights of the rows that the model learned from, and of the positive ones among them.
    learned: f64,
    learned_positive: f64,
}

impl Known {
    /// Of the rows that have an outcome; `halves` are places in all of `logits`.
    fn new(
        logits: &[f32],
        outcomes: impl Iterator<Item = Option<(bool, f64)>>,
        learned: impl Iterator<Item = Option<(bool, f64)>>,
        halves: &[Vec<usize>; 2],
    ) -> Self {
        let mut place_of = vec![None; logits.len()];
        let (mut known, mut labels, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        for (place, (logit, outcome)) in logits.iter().zip(outcomes).enumerate() {
            if let Some((outcome, weight)) = outcome {
                place_of[place] = Some(labels.len());
                known.push(f64::from(*logit));
                labels.push(outcome);
                weights.push(weight);
            }
        }
        let half =
            |places: &Vec<usize>| places.iter().filter_map(|place| place_of[*place]).collect();
        let (learned, learned_positive) =
            learned.flatten().fold((0.0, 0.0), |(all, positive), (outcome, weight)| {
                (all + weight, positive + if outcome { weight } else { 0.0 })
            });
        Self {
            halves: [half(&halves[0]), half(&halves[1])],
            learned,
            learned_positive,
            logits: known,
            labels,
            weights,
        }
    }

    fn calibrate(&self) -> Result<Calibrator, ModelError> {
        let Self { logits, labels, weights, .. } = self;
        let n_positive = labels.iter().filter(|label| **label).count();
        let n_rarer = n_positive.min(labels.len() - n_positive);
        if n_rarer < MIN_TO_CALIBRATE {
            return Ok(Calibrator::None);
        }
        let rows = CalibrationRows::new(logits, labels, Some(weights))?;
        if n_rarer < MIN_TO_CHOOSE {
            // As few validation rows say less of how frequent positive ones are than all rows that are known.
            let positive = labels.iter().zip(weights).filter(|(label, _)| **label);
            let positive: f64 = positive.map(|(_, weight)| weight).sum();
            let all: f64 = weights.iter().sum();
            let rate = (self.learned_positive + positive) / (self.learned + all);
            return Ok(Calibrator::Platt(Platt::fit_shrunk(&rows, rate)));
        }
        let half = |places: &[usize]| {
            let (scores, labels): (Vec<f64>, Vec<bool>) =
                places.iter().map(|place| (logits[*place], labels[*place])).unzip();
            let weights: Vec<f64> = places.iter().map(|place| weights[*place]).collect();
            CalibrationRows::new(&scores, &labels, Some(&weights))
        };
        let [earlier, later] = &self.halves;
        let method: CalibrationMethod = choose(&half(earlier)?, &half(later)?).calibrator.method();
        Ok(Calibrator::fit(method, &rows))
    }
}

/// Outcomes with what their rows count.
fn weighed(
    samples: &EncodedSamples,
    outcomes: impl Iterator<Item = Option<bool>>,
) -> impl Iterator<Item = Option<(bool, f64)>> {
    let weight = |sample| samples.weights().get(sample).map_or(1.0, |weight| f64::from(*weight));
    let outcomes = outcomes.enumerate();
    outcomes
        .map(move |(sample, outcome)| Some((outcome?, weight(sample))).filter(|one| one.1 > 0.0))
}

/// What the first labels say.
fn clicks(samples: &EncodedSamples) -> impl Iterator<Item = Option<bool>> {
    samples.labels().iter().map(|label| Some(*label > 0.5))
}

/// What the second labels say of clicks, where that is known.
fn conversions(samples: &EncodedSamples) -> impl Iterator<Item = Option<bool>> {
    let outcomes = samples.labels().iter().zip(samples.conversions());
    outcomes.map(|(click, outcome)| (*click == 1.0 && !outcome.is_nan()).then_some(*outcome == 1.0))
}
