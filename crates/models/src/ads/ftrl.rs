//! Logistic regression over hashed features, learned from a stream of rows in one pass.
//!
//! [`FtrlConfig`] is the model before it has seen data, [`super::OnlineLearner`] the model in training, [`Ftrl`] what answers. A sample
//! table is passed over until validation gets no better; a stream of rows of any length is learned from by
//! [`super::OnlineLearner::learn`], block by block.

use std::num::NonZeroU32;
use std::ops::Range;

use forecart_data::encode::{
    ColumnSpec, FeatureSpec, HashSpace, HashedColumn, HashedFeature, HashedNumbers, HashedRows,
};
use forecart_data::samples::{ColumnKind, Role, SampleColumn};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::contract::{OutcomeModel, OutcomeSpec};
use super::fit::mean_log_loss;
use super::online::{OnlineLearner, ProgressiveLoss};
use super::samples::EncodedSamples;
use crate::error::ModelError;
use crate::recommend::Parameter;
use crate::tensors::{TensorData, Tensors};
use crate::training::{EpochRecord, FitContext, FitRecord, Measure};

pub(super) const NAME: &str = "ftrl";

/// How weights move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// McMahan et al., KDD 2013, Algorithm 1: follow the regularized leader, proximal, with a learning rate for each weight.
    Ftrl,
    /// Duchi, Hazan and Singer, JMLR 2011: a learning rate for each weight.
    AdaGrad,
}

/// Logistic regression whose weights stand in a table of `2^bits` slots by the hash of their features.
///
/// Sources: McMahan et al., KDD 2013; Duchi, Hazan and Singer, JMLR 2011; Weinberger et al., ICML 2009.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FtrlConfig {
    /// How weights move.
    pub rule: Rule,
    /// Scale of the learning rates.
    pub alpha: f64,
    /// Added to the root of a weight's squared gradients: how much the first steps are held back.
    pub beta: f64,
    /// Weights that say less than this are 0.
    pub l1: f64,
    /// Pull of weights towards 0.
    pub l2: f64,
    /// There are `2^bits` slots, `1..=28`; 8 bytes each while training, 8 bytes for each that is not 0 in the file.
    pub bits: u32,
    /// What becomes of numbers.
    pub numbers: HashedNumbers,
    /// Passes over the training samples of a table, at most: validation chooses which was best. A stream is passed over as often as
    /// its caller says.
    pub n_passes: NonZeroU32,
}

impl Default for FtrlConfig {
    fn default() -> Self {
        Self {
            rule: Rule::Ftrl,
            alpha: 0.1,
            beta: 1.0,
            l1: 0.0,
            l2: 0.0,
            bits: 22,
            numbers: HashedNumbers::Log,
            n_passes: NonZeroU32::new(10).expect("10 is not 0"),
        }
    }
}

/// What `tune` varies.
const SEARCH_SPACE: &[Parameter] = &[
    Parameter::log("alpha", 1e-3, 1.0),
    Parameter::log("l1", 1e-3, 10.0),
    Parameter::log("l2", 1e-3, 10.0),
];

impl FtrlConfig {
    /// Refuses values outside of their ranges.
    ///
    /// # Errors
    /// [`ModelError::Hyperparameter`].
    pub fn check(&self) -> Result<(), ModelError> {
        let refuse = |name: &str, value: f64, range: &str| {
            Err(ModelError::hyperparameter(NAME, name, format!("{value} is not {range}")))
        };
        for (name, value) in [("alpha", self.alpha), ("beta", self.beta)] {
            if !(1e-6..=1e6).contains(&value) {
                return refuse(name, value, "in 1e-6..=1e6");
            }
        }
        for (name, value) in [("l1", self.l1), ("l2", self.l2)] {
            if !(0.0..=1e6).contains(&value) {
                return refuse(name, value, "in 0.0..=1e6");
            }
        }
        match (1..=28).contains(&self.bits) {
            true => Ok(()),
            false => refuse("bits", self.bits.into(), "in 1..=28"),
        }
    }

    /// The slots, and what becomes of values.
    pub fn space(&self) -> HashSpace {
        HashSpace { bits: self.bits, numbers: self.numbers }
    }

    /// Memory of a training, in bytes: the table, and the weights that are taken from it.
    pub fn table_bytes(&self) -> u64 {
        12 << self.bits
    }

    /// The encoder of samples with these columns, which is not fitted.
    pub fn encoder(&self, columns: &[SampleColumn]) -> FeatureSpec {
        let is_read = |column: &&SampleColumn| {
            matches!(column.role, Role::Feature | Role::Position) && column.kind != ColumnKind::Time
        };
        let hashed = |column: &SampleColumn| HashedColumn {
            name: column.name.clone(),
            is_number: column.kind == ColumnKind::Number,
        };
        let columns: Vec<HashedColumn> = columns.iter().filter(is_read).map(hashed).collect();
        match columns.is_empty() {
            true => FeatureSpec::default(),
            false => FeatureSpec {
                columns: vec![ColumnSpec::Hashed { columns, space: self.space() }],
                histories: Vec::new(),
            },
        }
    }
}

impl OutcomeSpec for FtrlConfig {
    fn name(&self) -> &'static str {
        NAME
    }

    fn hyperparameters(&self) -> Value {
        serde_json::to_value(self).expect("numbers in a struct are JSON")
    }

    fn search_space(&self) -> &'static [Parameter] {
        SEARCH_SPACE
    }

    fn features(&self, columns: &[SampleColumn], _span_ms: i64) -> FeatureSpec {
        self.encoder(columns)
    }

    /// The table, and the weights of the pass and of the best one.
    fn needed_bytes(&self, samples: &EncodedSamples) -> u64 {
        let n_features = (0..samples.len()).map(|row| samples.active(row, 0).len() as u64);
        self.table_bytes() + (4 << self.bits) + 8 * n_features.sum::<u64>()
    }

    fn fit(
        &self,
        train: &EncodedSamples,
        validation: &EncodedSamples,
        _identity: &str,
        context: &FitContext<'_>,
    ) -> Result<(Box<dyn OutcomeModel>, FitRecord), ModelError> {
        let rows = self.rows(train)?;
        let mut learner = OnlineLearner::new(self);
        let mut record = FitRecord::default();
        let mut best: Option<(f64, Ftrl)> = None;
        for pass in 1..=self.n_passes.get() as usize {
            let mut loss = ProgressiveLoss::default();
            for start in (0..rows.len()).step_by(4096) {
                context.check_cancelled()?;
                loss.add(learner.learn_range(&rows, start..(start + 4096).min(rows.len())));
            }
            let model = learner.model();
            let measured = match validation.is_empty() {
                true => None,
                false => mean_log_loss(
                    &model.logits(validation)?,
                    validation.labels(),
                    validation.weights(),
                )
                .map(|loss| -loss),
            };
            let entry = EpochRecord::new(pass, loss.mean(), Measure::LogLoss, measured);
            context.progress.epoch_ended(pass, entry.validation());
            record.curve.push(entry);
            // Without validation every pass is better than the one before it.
            let measured = measured.unwrap_or(pass as f64);
            if best.as_ref().is_none_or(|(best, _)| measured > *best) {
                best = Some((measured, model));
                record.chosen_epoch = Some(pass);
            }
        }
        let (_, model) = best.expect("there is a pass, and its loss is finite");
        Ok((Box::new(model), record))
    }
}

impl FtrlConfig {
    /// Samples of a table, as a stream would bring them.
    fn rows(&self, samples: &EncodedSamples) -> Result<HashedRows, ModelError> {
        check_fields(self, samples.fields(), samples.n_dense())?;
        let mut rows = HashedRows::default();
        for (row, label) in samples.labels().iter().enumerate() {
            features(samples, row).for_each(|feature| rows.push(feature));
            let importance = samples.weights().get(row).copied().unwrap_or(1.0);
            rows.end_row(*label, importance, row as u64 + 1);
        }
        Ok(rows)
    }
}

fn features(samples: &EncodedSamples, row: usize) -> impl Iterator<Item = HashedFeature> {
    let (slots, values) = (samples.active(row, 0), samples.values(row));
    let value = |at: usize| values.get(at).copied().unwrap_or(1.0);
    slots.iter().enumerate().map(move |(at, slot)| HashedFeature { slot: *slot, value: value(at) })
}

fn check_fields(
    config: &FtrlConfig,
    fields: &[Range<u32>],
    n_dense: usize,
) -> Result<(), ModelError> {
    match (fields, n_dense) {
        ([field], 0) if *field == (0..config.space().n_slots() as u32) => Ok(()),
        _ => Err(ModelError::damaged("samples of another table of slots than the model's")),
    }
}

/// A fitted model.
#[derive(Debug, Clone, PartialEq)]
pub struct Ftrl {
    pub(super) config: FtrlConfig,
    /// `[n_slots]`
    pub(super) weights: Vec<f32>,
    pub(super) bias: f32,
}

impl Ftrl {
    /// From what [`OutcomeModel::tensors`] gave, for samples of these fields.
    ///
    /// # Errors
    /// [`ModelError::Damaged`].
    pub(super) fn load(
        config: FtrlConfig,
        tensors: &mut Tensors,
        fields: &[Range<u32>],
        n_dense: usize,
    ) -> Result<Self, ModelError> {
        check_fields(&config, fields, n_dense)?;
        let bias = tensors.take_f32("bias", Some(1))?[0];
        let slots = tensors.take_u32("slots", None)?;
        let values = tensors.take_f32("weights", Some(slots.len()))?;
        tensors.expect_empty()?;
        let n_slots = config.space().n_slots();
        let ascend = slots.windows(2).all(|pair| pair[0] < pair[1]);
        if !ascend || slots.last().is_some_and(|last| *last as usize >= n_slots) {
            return Err(ModelError::damaged("slots do not ascend within the table"));
        }
        if !values.iter().chain([&bias]).all(|value| value.is_finite()) {
            return Err(ModelError::damaged("a weight is not finite"));
        }
        let mut weights = vec![0.0; n_slots];
        for (slot, value) in slots.into_iter().zip(values) {
            weights[slot as usize] = value;
        }
        Ok(Self { config, weights, bias })
    }

    /// Weights that are not 0.
    pub fn n_weights(&self) -> usize {
        self.weights.iter().filter(|weight| **weight != 0.0).count()
    }
}

impl OutcomeModel for Ftrl {
    fn name(&self) -> &'static str {
        NAME
    }

    fn hyperparameters(&self) -> Value {
        self.config.hyperparameters()
    }

    fn logits(&self, samples: &EncodedSamples) -> Result<Vec<f32>, ModelError> {
        check_fields(&self.config, samples.fields(), samples.n_dense())?;
        let logit = |row| {
            let weighted = features(samples, row).map(|HashedFeature { slot, value }| {
                f64::from(self.weights[slot as usize]) * f64::from(value)
            });
            (f64::from(self.bias) + weighted.sum::<f64>()) as f32
        };
        Ok((0..samples.len()).map(logit).collect())
    }

    /// The weights that are not 0, with their slots.
    fn tensors(&self) -> Tensors {
        let kept = (0u32..).zip(&self.weights).filter(|(_, weight)| **weight != 0.0);
        let n = self.n_weights();
        let (mut slots, mut weights) = (Vec::with_capacity(n), Vec::with_capacity(n));
        for (slot, weight) in kept {
            slots.push(slot);
            weights.push(*weight);
        }
        let mut tensors = Tensors::default();
        tensors.insert("bias", TensorData::F32(vec![self.bias]));
        tensors.insert("slots", TensorData::U32(slots));
        tensors.insert("weights", TensorData::F32(weights));
        tensors
    }
}
