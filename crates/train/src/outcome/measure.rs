//! Models of an outcome on the same rows, and the report of them.

use std::time::Instant;

use forecart_data::samples::{ColumnData, Role};
use forecart_data::{Progress, SampleTable};
use forecart_eval::probability::{
    Bootstrapped, MeasureOptions, Predictions, ResampledUnit, SegmentColumn, histogram, offsets,
    operating_points,
};
use forecart_eval::report::{
    Against, CONSTANT, ColumnSegments, Environment, OutcomeReport, OutcomeRow, OutcomeSource,
};
use forecart_models::ads::{OutcomePredictor, Positions};
use serde_json::Value;

use super::rounds::{Round, fold_means, rounds};
use super::segments::segment_columns;
use super::{OutcomeContestant, OutcomeGiven, OutcomeOptions};
use crate::error::TrainError;

/// Points of the curves of a report.
const N_POINTS: usize = 100;

/// Bars of the histograms of a report.
const N_BARS: usize = 40;

/// Fits and measures `contestants`, and measures `given`, [`CONSTANT`] beside them. Where the table has parts, on the test part; where it
/// has folds, each fold is predicted by models that learned from the others, the next one of which stopped and calibrated them.
///
/// Intervals are over the groups of the table (users), where it has any, else over rows.
///
/// # Errors
/// [`TrainError::Model`] or [`TrainError::Eval`]; [`TrainError::OtherDataset`] for a given model that learned from another table.
pub fn measure_outcomes(
    table: &SampleTable,
    contestants: &[OutcomeContestant],
    given: &[OutcomeGiven],
    options: &OutcomeOptions,
    progress: &dyn Progress,
) -> Result<OutcomeReport, TrainError> {
    let bench = Bench::new(table, options, progress);
    let mut entries = vec![bench.constant()?];
    for own in given {
        entries.push(bench.given(own)?);
    }
    for contestant in contestants {
        entries.push(bench.contestant(contestant)?);
    }
    progress.begin("measure", Some(entries.len() as u64));
    let measured = entries.iter().map(|entry| {
        progress.advance(1);
        Ok((entry, Bootstrapped::new(&entry.predictions, &bench.measure)?))
    });
    let measured = measured.collect::<Result<Vec<_>, TrainError>>()?;
    let rows = measured.iter().map(|(entry, own)| {
        let beaten =
            measured.iter().filter(|(other, _)| other.is_baseline && other.name != entry.name);
        let against = beaten.map(|(other, theirs)| {
            Ok(Against { baseline: other.name.clone(), comparisons: own.against(theirs)? })
        });
        let against = against.collect::<Result<Vec<_>, TrainError>>()?;
        bench.row(entry, own, against)
    });
    let rows = rows.collect::<Result<Vec<_>, TrainError>>()?;
    let MeasureOptions { bootstrap, unit, .. } = bench.measure;
    let title = options.title.clone();
    let mut report =
        OutcomeReport::new(title, source(table), options.seed, (bootstrap, unit), rows);
    report.commit.clone_from(&options.commit);
    report.environment =
        (!options.deterministic).then(|| Environment::detect(options.n_threads.get()));
    Ok(report)
}

fn source(table: &SampleTable) -> OutcomeSource {
    let manifest = &table.manifest;
    let is_learned = |role| matches!(role, Role::Feature | Role::Position);
    OutcomeSource {
        task: manifest.description.task.clone(),
        split: manifest.description.split.clone(),
        data_hash: manifest.description.data_hash.clone(),
        samples_hash: manifest.content_hash.clone(),
        n_rows: manifest.n_rows(),
        n_columns: manifest.columns.iter().filter(|column| is_learned(column.role)).count(),
    }
}

/// A model that has predicted.
struct Entry {
    name: String,
    is_baseline: bool,
    hyperparameters: Value,
    predictions: Predictions,
    fold_means: Vec<(forecart_eval::probability::ProbabilityMetric, f64)>,
    fit_secs: Option<f64>,
    learned_bytes: u64,
    calibration: Vec<String>,
}

struct Bench<'a> {
    table: &'a SampleTable,
    options: &'a OutcomeOptions,
    progress: &'a dyn Progress,
    rounds: Vec<Round>,
    /// The rows that are measured, round by round, and what they belong to.
    tested: Vec<u32>,
    groups: Option<Vec<u32>>,
    measure: MeasureOptions,
    /// What parts them: names of columns, and the parts.
    columns: (Vec<String>, Vec<SegmentColumn>),
}

impl<'a> Bench<'a> {
    fn new(
        table: &'a SampleTable,
        options: &'a OutcomeOptions,
        progress: &'a dyn Progress,
    ) -> Self {
        let rounds = rounds(table);
        let tested: Vec<u32> = rounds.iter().flat_map(|round| round.test.iter().copied()).collect();
        let groups = groups(table, &tested);
        let unit = match groups {
            Some(_) => ResampledUnit::Groups,
            None => ResampledUnit::Rows,
        };
        let columns = segment_columns(table, &tested).into_iter().unzip();
        let measure = MeasureOptions { unit, ..options.measure };
        Self { table, options, progress, rounds, tested, groups, measure, columns }
    }

    fn predictions(&self, probabilities: Vec<f64>) -> Result<Predictions, TrainError> {
        let labels = self.tested.iter().map(|row| self.table.label(*row) == 1.0).collect();
        let predictions = Predictions::new(probabilities, labels)?;
        Ok(match &self.groups {
            Some(groups) => predictions.with_groups(groups)?,
            None => predictions,
        })
    }

    fn constant(&self) -> Result<Entry, TrainError> {
        let is_positive = |row: &&u32| self.table.label(**row) == 1.0;
        let constant = self.rounds.iter().flat_map(|round| {
            let n_positive = round.train.iter().filter(is_positive).count();
            let rate = n_positive as f64 / round.train.len().max(1) as f64;
            std::iter::repeat_n(rate, round.test.len())
        });
        Ok(Entry {
            name: CONSTANT.to_owned(),
            is_baseline: true,
            hyperparameters: Value::Object(serde_json::Map::new()),
            predictions: self.predictions(constant.collect())?,
            fold_means: Vec::new(),
            fit_secs: (!self.options.deterministic).then_some(0.0),
            learned_bytes: 8,
            calibration: Vec::new(),
        })
    }

    fn given(&self, given: &OutcomeGiven) -> Result<Entry, TrainError> {
        let header = given.file.header();
        let (trained_on, measured_on) =
            (&header.samples.content_hash, &self.table.manifest.content_hash);
        if trained_on != measured_on {
            return Err(TrainError::OtherDataset {
                model: given.name.clone(),
                trained_on: trained_on.clone(),
                measured_on: measured_on.clone(),
            });
        }
        let found = Found::of(self.table, given.file.predictor(), &self.tested)?;
        Ok(Entry {
            name: given.name.clone(),
            is_baseline: false,
            hyperparameters: header.hyperparameters.clone(),
            predictions: self.predictions(found.probabilities)?,
            fold_means: Vec::new(),
            fit_secs: None,
            learned_bytes: found.learned_bytes,
            calibration: vec![found.calibration],
        })
    }

    fn contestant(&self, contestant: &OutcomeContestant) -> Result<Entry, TrainError> {
        let (spec, rounds) = (contestant.spec.as_ref(), &self.rounds);
        let started = Instant::now();
        let (mut probabilities, mut calibration, mut learned_bytes) = (Vec::new(), Vec::new(), 0);
        for (number, round) in rounds.iter().enumerate() {
            let of = match rounds.len() {
                1 => String::new(),
                n => format!(", fold {} of {n}", number + 1),
            };
            self.progress.begin(&format!("train {}{of}", contestant.name), None);
            let unsaved = OutcomeOptions { checkpoint: None, ..self.options.clone() };
            let context = unsaved.context(self.progress);
            let (predictor, _) = OutcomePredictor::fit(spec, &round.view(self.table), &context)?;
            let found = Found::of(self.table, &predictor, &round.test)?;
            probabilities.extend(found.probabilities);
            calibration.push(found.calibration);
            learned_bytes = found.learned_bytes;
        }
        let fit_secs = started.elapsed().as_secs_f64();
        let parts = rounds.iter().map(|round| round.test.as_slice());
        Ok(Entry {
            name: contestant.name.clone(),
            is_baseline: contestant.is_baseline,
            hyperparameters: spec.hyperparameters(),
            fold_means: fold_means(self.table, parts, &probabilities)?,
            predictions: self.predictions(probabilities)?,
            fit_secs: (!self.options.deterministic).then_some(fit_secs),
            learned_bytes,
            calibration,
        })
    }

    fn row(
        &self,
        entry: &Entry,
        own: &Bootstrapped<'_>,
        against: Vec<Against>,
    ) -> Result<OutcomeRow, TrainError> {
        let (names, columns) = &self.columns;
        let segments = match entry.name == CONSTANT {
            true => Vec::new(),
            false => {
                let found = offsets(&entry.predictions, columns, &self.measure)?;
                let found = names.iter().zip(found);
                let column = |(name, segments): (&String, _)| ColumnSegments {
                    column: name.clone(),
                    segments,
                };
                found.map(column).collect()
            }
        };
        Ok(OutcomeRow {
            model: entry.name.clone(),
            is_baseline: entry.is_baseline,
            hyperparameters: entry.hyperparameters.clone(),
            measured: own.measured()?,
            fold_means: entry.fold_means.clone(),
            against,
            points: operating_points(&entry.predictions, N_POINTS),
            histogram: histogram(&entry.predictions, N_BARS),
            segments,
            fit_secs: entry.fit_secs,
            learned_bytes: entry.learned_bytes,
            calibration: entry.calibration.clone(),
        })
    }
}

/// What a fitted model says of some rows.
struct Found {
    probabilities: Vec<f64>,
    calibration: String,
    learned_bytes: u64,
}

impl Found {
    fn of(
        table: &SampleTable,
        predictor: &OutcomePredictor,
        rows: &[u32],
    ) -> Result<Self, TrainError> {
        let rows = rows.iter().map(|row| table.row(*row));
        let found = predictor.predict(rows, Positions::AsLogged)?;
        let tensors = predictor.model().tensors();
        Ok(Self {
            probabilities: found.iter().map(|prediction| prediction.probability).collect(),
            calibration: predictor.serving().calibrator.method().name().to_owned(),
            learned_bytes: tensors.iter().map(|(_, t)| t.data.to_bytes().len() as u64).sum(),
        })
    }
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
