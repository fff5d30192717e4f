//! Fits models of intents on an intent table and puts them side by side.

use std::num::NonZeroUsize;
use std::time::Instant;

use forecart_data::{IntentTable, Part, Progress};
use forecart_eval::Bootstrap;
use forecart_eval::intents::{IntentAnswer, IntentMeasures, measure_intents};
use forecart_models::ModelError;
use forecart_models::model_file::IntentModelFile;
use forecart_models::support::{IntentOptions, IntentPredictor, IntentSpec};
use forecart_models::training::{Checkpoint, FitContext};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;

/// How models of intents are fitted and measured.
#[derive(Debug, Clone)]
pub struct IntentTraining {
    /// Of everything random.
    pub seed: u64,
    /// Threads that may work.
    pub n_threads: NonZeroUsize,
    /// Training that needs more is refused.
    pub memory_limit_bytes: Option<u64>,
    /// Where training by epochs saves itself.
    pub checkpoint: Option<Checkpoint>,
    /// Threshold, and what is learned from.
    pub options: IntentOptions,
}

/// What was measured of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IntentRow {
    /// Its name.
    pub model: String,
    /// Its hyperparameters.
    pub hyperparameters: serde_json::Value,
    /// Everything about its answers to the test texts.
    pub measured: IntentMeasures,
    /// Seconds of fitting, those for temperature and threshold included; `None` for a model that was given.
    pub fit_secs: Option<f64>,
    /// Microseconds of one text after the other on one thread: the median, and the 99th of 100.
    pub classify_micros: [f64; 2],
}

/// Models side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IntentReport {
    /// Content hash of the table.
    pub texts_hash: String,
    /// Names of the intents, by their places in confusions.
    pub intents: Vec<String>,
    /// The part that was measured on.
    pub measured_on: Part,
    /// The seed.
    pub seed: u64,
    /// The highest accuracy first.
    pub rows: Vec<IntentRow>,
    /// Rows of the table by the places in the examples of confusions.
    pub table_rows: Vec<usize>,
}

/// Fits `spec` for service. Returns the seconds too.
///
/// # Errors
/// [`TrainError::Model`].
pub fn train_intents(
    table: &IntentTable,
    spec: &dyn IntentSpec,
    training: &IntentTraining,
    progress: &dyn Progress,
) -> Result<(IntentModelFile, f64), TrainError> {
    let started = Instant::now();
    progress.begin(&format!("train {}", spec.name()), None);
    let context = FitContext {
        seed: training.seed,
        n_threads: training.n_threads,
        progress,
        memory_limit_bytes: training.memory_limit_bytes,
        checkpoint: training.checkpoint.as_ref(),
    };
    let (predictor, record) = IntentPredictor::fit(spec, table, training.options, &context)?;
    let file = IntentModelFile::new(predictor, table, Some(training.seed), record)?;
    Ok((file, started.elapsed().as_secs_f64()))
}

/// Fits each of `specs` and measures it and each of the `given` models on the test part, or on the validation part where that is asked.
///
/// # Errors
/// [`TrainError::OtherDataset`] for a given model that learned from another table, [`TrainError::Model`] or [`TrainError::Eval`].
pub fn measure_intent_models(
    table: &IntentTable,
    specs: &[Box<dyn IntentSpec>],
    given: &[IntentModelFile],
    part: Part,
    training: &IntentTraining,
    progress: &dyn Progress,
) -> Result<IntentReport, TrainError> {
    let table_rows = table.rows(part);
    let mut rows = Vec::new();
    for file in given {
        let (trained_on, measured_on) =
            (&file.header().texts.content_hash, &table.manifest.content_hash);
        if trained_on != measured_on {
            return Err(TrainError::OtherDataset {
                model: file.header().model.clone(),
                trained_on: trained_on.clone(),
                measured_on: measured_on.clone(),
            });
        }
        rows.push(measure(table, &table_rows, file, None, training.seed)?);
    }
    for spec in specs {
        let (file, secs) = train_intents(table, spec.as_ref(), training, progress)?;
        rows.push(measure(table, &table_rows, &file, Some(secs), training.seed)?);
    }
    rows.sort_by(|a, b| {
        let (a, b) = (&a.measured.accuracy.value, &b.measured.accuracy.value);
        b.total_cmp(a)
    });
    Ok(IntentReport {
        texts_hash: table.manifest.content_hash.clone(),
        intents: table.intents.iter().map(str::to_owned).collect(),
        measured_on: part,
        seed: training.seed,
        rows,
        table_rows,
    })
}

fn measure(
    table: &IntentTable,
    rows: &[usize],
    file: &IntentModelFile,
    fit_secs: Option<f64>,
    seed: u64,
) -> Result<IntentRow, TrainError> {
    let predictor = file.predictor();
    let answer = |row: &usize| {
        let found = predictor.classify_clean(table.text(*row))?;
        let best = found.best();
        Ok(IntentAnswer {
            best: best as u32,
            confidence: found.probabilities[best],
            score: found.score,
            abstained: found.abstained.is_some(),
            label: table.label(*row),
        })
    };
    let answers: Vec<IntentAnswer> =
        rows.par_iter().map(answer).collect::<Result<_, ModelError>>()?;
    let bootstrap = Bootstrap { seed, ..Bootstrap::default() };
    Ok(IntentRow {
        model: file.header().model.clone(),
        hyperparameters: file.header().hyperparameters.clone(),
        measured: measure_intents(&answers, table.intents.len(), &bootstrap)?,
        fit_secs,
        classify_micros: latency(table, rows, predictor)?,
    })
}

/// Times each of up to 2,000 texts, masking included.
fn latency(
    table: &IntentTable,
    rows: &[usize],
    predictor: &IntentPredictor,
) -> Result<[f64; 2], ModelError> {
    let mut micros = Vec::new();
    for row in rows.iter().take(2000) {
        let started = Instant::now();
        predictor.classify(table.text(*row))?;
        micros.push(started.elapsed().as_secs_f64() * 1e6);
    }
    micros.sort_by(f64::total_cmp);
    let at = |share: f64| micros.get((micros.len() as f64 * share) as usize).copied();
    Ok([at(0.5).unwrap_or_default(), at(0.99).unwrap_or_default()])
}
