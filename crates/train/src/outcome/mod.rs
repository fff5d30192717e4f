//! Fits models of a binary outcome on a sample table and puts their probabilities side by side.

mod measure;
mod rounds;
mod segments;
mod target;

use std::num::NonZeroUsize;
use std::time::Instant;

use forecart_data::{Progress, SampleTable};
use forecart_eval::probability::MeasureOptions;
use forecart_eval::report::LeftOut;
use forecart_models::ads::{OutcomePredictor, OutcomeSpec, SampleView};
use forecart_models::model_file::OutcomeModelFile;
use forecart_models::training::{Checkpoint, FitContext};

use crate::error::TrainError;

pub use measure::measure_outcomes;
pub(crate) use rounds::rounds;

/// How models of a binary outcome are fitted and measured.
#[derive(Debug, Clone)]
pub struct OutcomeOptions {
    /// Where all randomness comes from.
    pub seed: u64,
    /// Threads; the result does not depend on it.
    pub n_threads: NonZeroUsize,
    /// Training that is estimated to need more is refused before it starts.
    pub memory_limit_bytes: Option<u64>,
    /// Where training saves itself and goes on from.
    pub checkpoint: Option<Checkpoint>,
    /// Of intervals and calibration.
    pub measure: MeasureOptions,
    /// Heading of the report.
    pub title: String,
    /// Commit of the program, if known.
    pub commit: Option<String>,
    /// Leaves machine and seconds out of the report: the same seed gives the same bytes.
    pub deterministic: bool,
}

impl OutcomeContestant {
    /// A model by its own name.
    pub fn new(spec: Box<dyn OutcomeSpec>, is_baseline: bool) -> Self {
        Self { name: spec.name().to_owned(), spec, is_baseline }
    }
}

impl OutcomeOptions {
    /// Without checkpoint, memory limit, title and commit.
    pub fn new(seed: u64, n_threads: NonZeroUsize) -> Self {
        Self {
            seed,
            n_threads,
            memory_limit_bytes: None,
            checkpoint: None,
            measure: MeasureOptions::default(),
            title: String::new(),
            commit: None,
            deterministic: false,
        }
    }

    fn context<'a>(&'a self, progress: &'a dyn Progress) -> FitContext<'a> {
        FitContext {
            seed: self.seed,
            n_threads: self.n_threads,
            progress,
            memory_limit_bytes: self.memory_limit_bytes,
            checkpoint: self.checkpoint.as_ref(),
        }
    }
}

/// A model to fit and measure.
#[derive(Debug)]
pub struct OutcomeContestant {
    /// What the report calls it.
    pub name: String,
    /// The model with its hyperparameters.
    pub spec: Box<dyn OutcomeSpec>,
    /// Whether it is here to be beaten.
    pub is_baseline: bool,
}

/// A model that is fitted already, read from a file.
#[derive(Debug)]
pub struct OutcomeGiven {
    /// What the report calls it: the file's name.
    pub name: String,
    /// The file.
    pub file: OutcomeModelFile,
}

/// Takes the models out of `contestants` that are not for `table`.
pub fn leave_out(table: &SampleTable, contestants: &mut Vec<OutcomeContestant>) -> Vec<LeftOut> {
    let columns = &table.manifest.columns;
    let unfit = contestants.extract_if(.., |own| own.spec.check_columns(columns).is_err());
    let left_out = unfit.filter_map(|OutcomeContestant { spec, .. }| {
        let reason = spec.check_columns(columns).err()?.to_string();
        Some(LeftOut { model: spec.name().to_owned(), reason })
    });
    left_out.collect()
}

/// Fits `spec` on the training part of `table` for service; validation stops training and calibrates.
///
/// # Errors
/// [`TrainError::Model`].
pub fn train_outcome(
    table: &SampleTable,
    spec: &dyn OutcomeSpec,
    options: &OutcomeOptions,
    progress: &dyn Progress,
) -> Result<(OutcomeModelFile, f64), TrainError> {
    let started = Instant::now();
    let view = SampleView::new(table);
    let (predictor, record) = OutcomePredictor::fit(spec, &view, &options.context(progress))?;
    let file = OutcomeModelFile::new(predictor, table, Some(options.seed), record)?;
    Ok((file, started.elapsed().as_secs_f64()))
}
