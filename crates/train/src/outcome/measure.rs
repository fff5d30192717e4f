//! Models of an outcome on the same rows, and the report of them.

use std::time::Instant;

use forecart_data::samples::{ColumnData, Role};
use forecart_data::{Progress, SampleTable};
use forecart_eval::probability::{
    Bootstrapped, MeasureOptions, Predictions, ProbabilityMetric, ResampledUnit, SegmentColumn,
    histogram, offsets, operating_points,
};
use forecart_eval::report::{
    Against, CONSTANT, ColumnSegments, Environment, OutcomeReport, OutcomeRow, OutcomeSource,
};
use forecart_models::ads::{OutcomePredictor, Positions};
use serde_json::Value;

use super::rounds::{Round, fold_means, rounds};
use super::segments::segment_columns;
use super::target::Target;
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
    let mut entries = Vec::new();
    for own in given {
        entries.push(bench.given(own)?);
    }
    for contestant in contestants {
        entries.push(bench.contestant(contestant)?);
    }
    progress.begin("measure", None);
    let label = Target::label(table, &bench.rounds);
    let source = source(table);
    let mut report = bench.report(source.clone(), &label, &entries, |entry| Some(&entry.label))?;
    report.further = bench.further(&source, &entries)?;
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
    /// The probability of the label, of each tested row.
    label: Vec<f64>,
    /// What it says of the second label, if it knows of one.
    second: Option<Second>,
    fold_means: Vec<(ProbabilityMetric, f64)>,
    fit_secs: Option<f64>,
    learned_bytes: u64,
    calibration: Vec<String>,
}

/// Probabilities of the second label, of each tested row.
#[derive(Default)]
struct Second {
    /// If the first is positive.
    after_positive: Vec<f64>,
    /// Of both.
    with_positive: Vec<f64>,
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

    /// The constant, and the entries that say something of `target`, side by side.
    fn report(
        &self,
        source: OutcomeSource,
        target: &Target,
        entries: &[Entry],
        of: impl Fn(&Entry) -> Option<&Vec<f64>>,
    ) -> Result<OutcomeReport, TrainError> {
        let groups = self.groups.as_deref();
        let constant = self.constant();
        let mut all = vec![(&constant, target.predictions(target.constant.clone(), groups)?)];
        for entry in entries {
            if let Some(found) = of(entry) {
                let found = target.places.iter().map(|place| found[*place]).collect();
                all.push((entry, target.predictions(found, groups)?));
            }
        }
        let mut measured = Vec::new();
        for (entry, predictions) in &all {
            measured.push((*entry, predictions, Bootstrapped::new(predictions, &self.measure)?));
        }
        let columns: Vec<SegmentColumn> =
            self.columns.1.iter().map(|column| column.select(&target.places)).collect();
        let mut rows = Vec::new();
        for (entry, predictions, own) in &measured {
            let beaten = measured.iter();
            let beaten = beaten.filter(|(other, ..)| other.is_baseline && other.name != entry.name);
            let against = beaten.map(|(other, _, theirs)| {
                Ok(Against { baseline: other.name.clone(), comparisons: own.against(theirs)? })
            });
            let against = against.collect::<Result<Vec<_>, TrainError>>()?;
            let segments = match entry.name == CONSTANT {
                true => Vec::new(),
                false => self.segments(predictions, &columns)?,
            };
            rows.push(OutcomeRow {
                model: entry.name.clone(),
                is_baseline: entry.is_baseline,
                hyperparameters: entry.hyperparameters.clone(),
                measured: own.measured()?,
                fold_means: match target.is_first_label {
                    true => entry.fold_means.clone(),
                    false => Vec::new(),
                },
                against,
                points: operating_points(predictions, N_POINTS),
                histogram: histogram(predictions, N_BARS),
                segments,
                fit_secs: entry.fit_secs,
                learned_bytes: entry.learned_bytes,
                calibration: entry.calibration.clone(),
            });
        }
        let MeasureOptions { bootstrap, unit, .. } = self.measure;
        let title = self.options.title.clone();
        Ok(OutcomeReport::new(title, source, self.options.seed, (bootstrap, unit), rows))
    }

    /// What models that know of a second label say of it.
    fn further(
        &self,
        source: &OutcomeSource,
        entries: &[Entry],
    ) -> Result<Vec<OutcomeReport>, TrainError> {
        let targets = (
            Target::after_positive(self.table, &self.rounds),
            Target::with_positive(self.table, &self.rounds),
        );
        let (Some(after), Some(with)) = targets else { return Ok(Vec::new()) };
        if entries.iter().all(|entry| entry.second.is_none()) {
            return Ok(Vec::new());
        }
        let named = |task: String| OutcomeSource { task, ..source.clone() };
        let task = &source.task;
        Ok(vec![
            self.report(named(format!("what came of each {task}")), &after, entries, |entry| {
                Some(&entry.second.as_ref()?.after_positive)
            })?,
            self.report(
                named(format!("{task}, and what was to come of it")),
                &with,
                entries,
                |entry| Some(&entry.second.as_ref()?.with_positive),
            )?,
        ])
    }

    fn segments(
        &self,
        predictions: &Predictions,
        columns: &[SegmentColumn],
    ) -> Result<Vec<ColumnSegments>, TrainError> {
        let found = offsets(predictions, columns, &self.measure)?;
        let found = self.columns.0.iter().zip(found);
        let column =
            |(name, segments): (&String, _)| ColumnSegments { column: name.clone(), segments };
        Ok(found.map(column).collect())
    }

    fn constant(&self) -> Entry {
        Entry {
            name: CONSTANT.to_owned(),
            is_baseline: true,
            hyperparameters: Value::Object(serde_json::Map::new()),
            label: Vec::new(),
            second: None,
            fold_means: Vec::new(),
            fit_secs: (!self.options.deterministic).then_some(0.0),
            learned_bytes: 8,
            calibration: Vec::new(),
        }
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
            label: found.label,
            second: found.second,
            fold_means: Vec::new(),
            fit_secs: None,
            learned_bytes: found.learned_bytes,
            calibration: vec![found.calibration],
        })
    }

    fn contestant(&self, contestant: &OutcomeContestant) -> Result<Entry, TrainError> {
        let (spec, rounds) = (contestant.spec.as_ref(), &self.rounds);
        let started = Instant::now();
        let (mut label, mut calibration, mut learned_bytes) = (Vec::new(), Vec::new(), 0);
        let mut second: Option<Second> = None;
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
            label.extend(found.label);
            if let Some(found) = found.second {
                let all = second.get_or_insert_default();
                all.after_positive.extend(found.after_positive);
                all.with_positive.extend(found.with_positive);
            }
            calibration.push(found.calibration);
            learned_bytes = found.learned_bytes;
        }
        let fit_secs = started.elapsed().as_secs_f64();
        let parts = rounds.iter().map(|round| round.test.as_slice());
        Ok(Entry {
            name: contestant.name.clone(),
            is_baseline: contestant.is_baseline,
            hyperparameters: spec.hyperparameters(),
            fold_means: fold_means(self.table, parts, &label)?,
            label,
            second,
            fit_secs: (!self.options.deterministic).then_some(fit_secs),
            learned_bytes,
            calibration,
        })
    }
}

/// What a fitted model says of some rows.
struct Found {
    label: Vec<f64>,
    second: Option<Second>,
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
        let second: Option<Vec<_>> = found.iter().map(|prediction| prediction.conversion).collect();
        let tensors = predictor.model().tensors();
        Ok(Self {
            label: found.iter().map(|prediction| prediction.probability).collect(),
            second: second.map(|found| Second {
                after_positive: found.iter().map(|own| own.given_click).collect(),
                with_positive: found.iter().map(|own| own.with_click).collect(),
            }),
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
