//! Fits models of a binary outcome on a sample table and puts their probabilities side by side.

use std::num::NonZeroUsize;
use std::time::Instant;

use forecart_data::samples::{ColumnData, Role, SampleSplit};
use forecart_data::{Part, Progress, SampleTable};
use forecart_eval::probability::{
    MeasureOptions, Measured, Predictions, ProbabilityMetric, ResampledUnit, compare, measure,
};
use forecart_eval::{Comparison, Leakage};
use forecart_models::ads::{OutcomePredictor, OutcomeSpec, Positions, SampleView};
use forecart_models::model_file::OutcomeModelFile;
use forecart_models::training::{Checkpoint, FitContext};
use serde::{Deserialize, Serialize};

use crate::error::TrainError;

/// Name of the predictor that gives every row the share of positive training rows.
pub const CONSTANT: &str = "constant";

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
}

/// What was measured of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutcomeRow {
    /// Its name.
    pub model: String,
    /// Everything about its probabilities on the test part; of a table in folds, on all rows, each predicted by the models that did not
    /// learn from it.
    pub measured: Measured,
    /// Of a table in folds: the mean over the folds of the metrics that are not means over rows.
    pub fold_means: Vec<(ProbabilityMetric, f64)>,
    /// Against [`CONSTANT`], on the same rows; none for itself.
    pub against_constant: Vec<(ProbabilityMetric, Comparison)>,
    /// Seconds of fitting, all folds together.
    pub fit_secs: f64,
    /// Bytes of what one fit has learned.
    pub learned_bytes: u64,
    /// How the probabilities were calibrated, fold by fold.
    pub calibration: Vec<String>,
}

/// Models side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutcomeReport {
    /// The application.
    pub task: String,
    /// How the parts were made.
    pub split: SampleSplit,
    /// SHA-256 of the input.
    pub data_hash: String,
    /// Content hash of the table.
    pub samples_hash: String,
    /// Rows of the table that are in a part.
    pub n_rows: u64,
    /// The seed.
    pub seed: u64,
    /// Leaks of the table, where somebody looked for them.
    pub leakage: Leakage,
    /// The lowest log loss first.
    pub rows: Vec<OutcomeRow>,
    /// Models that are not for this table, of those that were asked for all together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
}

/// A model that was not measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its name.
    pub model: String,
    /// What the table lacks.
    pub reason: String,
}

/// Takes the models out of `specs` that are not for `table`.
pub fn leave_out(table: &SampleTable, specs: &mut Vec<Box<dyn OutcomeSpec>>) -> Vec<LeftOut> {
    let columns = &table.manifest.columns;
    let unfit = specs.extract_if(.., |spec| spec.check_columns(columns).is_err());
    let left_out = unfit.filter_map(|spec| {
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
    let (predictor, record) = OutcomePredictor::fit(spec, &view, &context(options, progress))?;
    let file = OutcomeModelFile::new(predictor, table, Some(options.seed), record)?;
    Ok((file, started.elapsed().as_secs_f64()))
}

fn context<'a>(options: &'a OutcomeOptions, progress: &'a dyn Progress) -> FitContext<'a> {
    FitContext {
        seed: options.seed,
        n_threads: options.n_threads,
        progress,
        memory_limit_bytes: options.memory_limit_bytes,
        checkpoint: options.checkpoint.as_ref(),
    }
}

/// Fits and measures `specs`, [`CONSTANT`] beside them. Where the table has parts, on the test part; where it has folds, each fold is
/// predicted by models that learned from the others, the next one of which stopped and calibrated them.
///
/// Intervals are over the groups of the table (users), where it has any, else over rows.
///
/// # Errors
/// [`TrainError::Model`] or [`TrainError::Eval`].
pub fn measure_outcomes(
    table: &SampleTable,
    specs: &[Box<dyn OutcomeSpec>],
    options: &OutcomeOptions,
    progress: &dyn Progress,
) -> Result<OutcomeReport, TrainError> {
    let rounds = rounds(table);
    let tested: Vec<u32> = rounds.iter().flat_map(|round| round.test.iter().copied()).collect();
    let mut measure_options = options.measure;
    let groups = groups(table, &tested);
    measure_options.unit = match groups {
        Some(_) => ResampledUnit::Groups,
        None => ResampledUnit::Rows,
    };
    let predictions = |probabilities: Vec<f64>| -> Result<Predictions, TrainError> {
        let labels = tested.iter().map(|row| table.label(*row) == 1.0).collect();
        let predictions = Predictions::new(probabilities, labels)?;
        Ok(match &groups {
            Some(groups) => predictions.with_groups(groups)?,
            None => predictions,
        })
    };
    let constant: Vec<f64> = rounds
        .iter()
        .flat_map(|round| {
            let weights = table.weights();
            let weight = |row: &u32| weights.map_or(1.0, |weights| weights[*row as usize]);
            let all: f64 = round.train.iter().map(weight).sum();
            let positive = round.train.iter().filter(|row| table.label(**row) == 1.0);
            let rate = positive.map(weight).sum::<f64>() / all.max(f64::MIN_POSITIVE);
            std::iter::repeat_n(rate, round.test.len())
        })
        .collect();
    let constant = predictions(constant)?;
    let mut rows = vec![OutcomeRow {
        model: CONSTANT.to_owned(),
        measured: measure(&constant, &measure_options)?,
        fold_means: Vec::new(),
        against_constant: Vec::new(),
        fit_secs: 0.0,
        learned_bytes: 8,
        calibration: Vec::new(),
    }];
    for spec in specs {
        progress.begin(&format!("{} of {} folds", spec.name(), rounds.len()), None);
        let started = Instant::now();
        let (mut probabilities, mut calibration, mut learned_bytes) = (Vec::new(), Vec::new(), 0);
        for round in &rounds {
            let view = SampleView::of_rows(table, round.train.clone(), round.validation.clone());
            let unsaved = OutcomeOptions { checkpoint: None, ..options.clone() };
            let (predictor, _) =
                OutcomePredictor::fit(spec.as_ref(), &view, &context(&unsaved, progress))?;
            let test = round.test.iter().map(|row| table.row(*row));
            let found = predictor.predict(test, Positions::AsLogged)?;
            probabilities.extend(found.iter().map(|prediction| prediction.probability));
            calibration.push(predictor.serving().calibrator.method().name().to_owned());
            let tensors = predictor.model().tensors();
            learned_bytes = tensors.iter().map(|(_, t)| t.data.to_bytes().len() as u64).sum();
        }
        let fit_secs = started.elapsed().as_secs_f64();
        let fold_means = fold_means(table, &rounds, &probabilities)?;
        let found = predictions(probabilities)?;
        rows.push(OutcomeRow {
            model: spec.name().to_owned(),
            measured: measure(&found, &measure_options)?,
            fold_means,
            against_constant: compare(&found, &constant, &measure_options)?,
            fit_secs,
            learned_bytes,
            calibration,
        });
    }
    let loss = |row: &OutcomeRow| row.measured.value(ProbabilityMetric::Logloss);
    rows.sort_by(|a, b| {
        let (a, b) = (loss(a).unwrap_or(f64::INFINITY), loss(b).unwrap_or(f64::INFINITY));
        a.total_cmp(&b)
    });
    let manifest = &table.manifest;
    Ok(OutcomeReport {
        task: manifest.description.task.clone(),
        split: manifest.description.split.clone(),
        data_hash: manifest.description.data_hash.clone(),
        samples_hash: manifest.content_hash.clone(),
        n_rows: manifest.n_rows(),
        seed: options.seed,
        rows,
        left_out: Vec::new(),
        leakage: Leakage::default(),
    })
}

/// What is learned from, what stops and calibrates, and what is measured.
struct Round {
    train: Vec<u32>,
    validation: Vec<u32>,
    test: Vec<u32>,
}

fn rounds(table: &SampleTable) -> Vec<Round> {
    let SampleSplit::Folds { n_folds, .. } = table.manifest.description.split else {
        let [train, validation, test] =
            [Part::Train, Part::Validation, Part::Test].map(|part| table.rows(part));
        return vec![Round { train, validation, test }];
    };
    let folds: Vec<Vec<u32>> = (0..n_folds).map(|number| table.fold(number)).collect();
    let round = |at: usize| {
        let next = (at + 1) % folds.len();
        let others = (0..folds.len()).filter(|other| *other != at && *other != next);
        let mut train: Vec<u32> = others.flat_map(|other| folds[other].iter().copied()).collect();
        train.sort_unstable();
        Round { train, validation: folds[next].clone(), test: folds[at].clone() }
    };
    (0..folds.len()).map(round).collect()
}

/// Means over the folds of AUC and average precision, as cross-validation is published.
fn fold_means(
    table: &SampleTable,
    rounds: &[Round],
    probabilities: &[f64],
) -> Result<Vec<(ProbabilityMetric, f64)>, TrainError> {
    use forecart_eval::probability::{auc, average_precision};
    if rounds.len() < 2 {
        return Ok(Vec::new());
    }
    let mut rest = probabilities;
    let (mut aucs, mut precisions) = (Vec::new(), Vec::new());
    for round in rounds {
        let (these, after) = rest.split_at(round.test.len());
        rest = after;
        let labels = round.test.iter().map(|row| table.label(*row) == 1.0).collect();
        let predictions = Predictions::new(these.to_vec(), labels)?;
        aucs.extend(auc(&predictions));
        precisions.extend(average_precision(&predictions));
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let means = [(ProbabilityMetric::Auc, aucs), (ProbabilityMetric::AveragePrecision, precisions)];
    Ok(means
        .into_iter()
        .filter(|(_, values)| !values.is_empty())
        .map(|(metric, values)| (metric, mean(&values)))
        .collect())
}

/// The group of each row, where the table has a column for it.
fn groups(table: &SampleTable, rows: &[u32]) -> Option<Vec<u32>> {
    match table.with_role(Role::Group)?.1 {
        ColumnData::Category { codes, .. } => {
            Some(rows.iter().map(|row| codes[*row as usize]).collect())
        }
        _ => None,
    }
}
