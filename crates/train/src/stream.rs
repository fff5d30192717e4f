//! Fits a model on rows as they come, in memory that does not grow with their number.

use std::num::{NonZeroU32, NonZeroU64};

use forecart_data::encode::HashedRows;
use forecart_data::samples::{PartCounts, SampleColumn, SampleSplit};
use forecart_eval::probability::Predictions;
use forecart_models::ads::{FtrlConfig, OnlineLearner, OutcomePredictor, ProgressiveLoss};
use forecart_models::model_file::{OutcomeModelFile, SampleFacts};
use forecart_models::training::{EpochRecord, FitRecord};
use forecart_models::{ModelError, ads};

use crate::error::TrainError;

/// Rows that are held out and kept for calibration: the last ones, between this number and twice as many.
const N_KEPT: usize = 50_000;

/// How a stream is learned from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StreamOptions {
    /// How often it comes.
    pub n_passes: NonZeroU32,
    /// Every so-manieth row is not learned from but measured, and the last of them calibrate.
    pub held_out_every: Option<NonZeroU64>,
    /// A table of slots that needs more is refused.
    pub memory_limit_bytes: Option<u64>,
}

/// Where a stream came from.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamOrigin<'a> {
    /// `click`, `conversion` or `purchase`.
    pub task: &'a str,
    /// Hash of the input.
    pub data_hash: String,
    /// Its columns.
    pub columns: &'a [SampleColumn],
    /// The share of the negative samples that it still holds.
    pub negatives_kept: f64,
}

/// A model that learns from a stream: [`Self::learn`] for each block of rows, [`Self::end_pass`] after each pass, then
/// [`Self::finish`].
#[derive(Debug)]
pub struct StreamTrainer {
    learner: OnlineLearner,
    options: StreamOptions,
    /// Rows of this pass so far.
    n_rows: u64,
    learned: ProgressiveLoss,
    held_out: ProgressiveLoss,
    /// Those of the pass before.
    ended: (ProgressiveLoss, ProgressiveLoss),
    record: FitRecord,
    /// Held-out rows: those before, and the newest.
    kept: [HashedRows; 2],
}

impl StreamTrainer {
    /// Nothing has been learned yet.
    ///
    /// # Errors
    /// [`TrainError::Model`] if the table needs more memory than it may have.
    pub fn new(config: &FtrlConfig, options: &StreamOptions) -> Result<Self, TrainError> {
        let needed = config.table_bytes();
        if let Some(limit) = options.memory_limit_bytes.filter(|limit| needed > *limit) {
            return Err(TrainError::Model(ModelError::Memory {
                model: ads::registry::STREAMED_MODEL,
                needed_mb: needed.div_ceil(1_000_000),
                limit_mb: limit / 1_000_000,
                hint: "lower `bits`",
            }));
        }
        let config = FtrlConfig { n_passes: options.n_passes, ..config.clone() };
        Ok(Self {
            learner: OnlineLearner::new(&config),
            options: *options,
            n_rows: 0,
            learned: ProgressiveLoss::default(),
            held_out: ProgressiveLoss::default(),
            ended: Default::default(),
            record: FitRecord::default(),
            kept: Default::default(),
        })
    }

    /// Learns from the next rows, but those that are held out.
    pub fn learn(&mut self, rows: &HashedRows) {
        let every = self.options.held_out_every.map_or(u64::MAX, NonZeroU64::get);
        let mut start = 0;
        while start < rows.len() {
            // Rows before the next one that is held out.
            let n_before = every - 1 - self.n_rows % every;
            let end = usize::try_from(n_before).map_or(rows.len(), |n| (start + n).min(rows.len()));
            self.learned.add(self.learner.learn_range(rows, start..end));
            self.n_rows += (end - start) as u64;
            start = end;
            if start < rows.len() {
                let row = rows.row(start);
                self.held_out.add(self.learner.loss(row));
                if self.kept[1].len() == N_KEPT {
                    self.kept.swap(0, 1);
                    self.kept[1].clear();
                }
                self.kept[1].push_row(row);
                self.n_rows += 1;
                start += 1;
            }
        }
    }

    /// The progressive loss of the rows of this pass that were learned from.
    pub fn learned(&self) -> ProgressiveLoss {
        self.learned
    }

    /// The losses of the last whole pass: of the rows that were learned from, each before it was, and of those held out.
    pub fn ended(&self) -> (ProgressiveLoss, ProgressiveLoss) {
        self.ended
    }

    /// The stream has ended once.
    pub fn end_pass(&mut self) {
        let short = |value: f64| (value * 1e6).round() / 1e6;
        self.ended = (std::mem::take(&mut self.learned), std::mem::take(&mut self.held_out));
        self.n_rows = 0;
        let (learned, held_out) = self.ended;
        self.record.curve.push(EpochRecord {
            epoch: self.record.curve.len() + 1,
            train_loss: short(learned.mean()),
            validation_ndcg_at_10: None,
            validation_log_loss: (held_out.n_rows > 0).then(|| short(held_out.mean())),
        });
    }

    /// The model, calibrated by the rows that were held out.
    ///
    /// # Errors
    /// [`TrainError::Model`]: nothing can be told apart, or no column is a feature.
    pub fn finish(mut self, origin: &StreamOrigin<'_>) -> Result<OutcomeModelFile, TrainError> {
        let (learned, held_out) = self.ended;
        if learned.n_positive == 0 || learned.n_positive == learned.n_rows {
            return Err(TrainError::Model(ModelError::NoLabels {
                model: ads::registry::STREAMED_MODEL,
                n_rows: learned.n_rows as usize,
                n_positive: learned.n_positive as usize,
            }));
        }
        let [mut kept, newest] = std::mem::take(&mut self.kept);
        newest.iter().for_each(|row| kept.push_row(row));
        let predictor = OutcomePredictor::of_stream(
            self.learner,
            origin.columns,
            &kept,
            origin.negatives_kept,
        )?;
        self.record.chosen_epoch = self.record.curve.last().map(|pass| pass.epoch);
        let counts =
            |loss: ProgressiveLoss| PartCounts { n_rows: loss.n_rows, n_positive: loss.n_positive };
        let facts = SampleFacts {
            data_hash: origin.data_hash.clone(),
            content_hash: origin.data_hash.clone(),
            split: SampleSplit::Stream {
                held_out_every: self.options.held_out_every.map(NonZeroU64::get),
            },
            parts: vec![counts(learned), counts(held_out)],
            columns: origin.columns.to_vec(),
        };
        let task = origin.task.to_owned();
        Ok(OutcomeModelFile::of_facts(predictor, task, facts, None, self.record)?)
    }
}

/// Probabilities of rows of a stream, to be measured: 9 bytes a row.
#[derive(Debug, Default)]
pub struct StreamPredictions {
    probabilities: Vec<f64>,
    labels: Vec<bool>,
}

impl StreamPredictions {
    /// Predicts the next rows.
    ///
    /// # Errors
    /// [`TrainError::Model`] if the model reads no hashed features.
    pub fn add(&mut self, file: &OutcomeModelFile, rows: &HashedRows) -> Result<(), TrainError> {
        let found = file.predictor().predict_stream(rows)?;
        self.probabilities.extend(found.iter().map(|prediction| prediction.probability));
        self.labels.extend(rows.iter().map(|row| row.label > 0.5));
        Ok(())
    }

    /// All of them.
    ///
    /// # Errors
    /// [`TrainError::Eval`] of no rows.
    pub fn finish(self) -> Result<Predictions, TrainError> {
        Ok(Predictions::new(self.probabilities, self.labels)?)
    }
}
