//! Fits models of intents on an intent table and puts them side by side.

use std::num::NonZeroUsize;
use std::time::Instant;

use forecart_data::{IntentTable, Part, Progress};
use forecart_eval::Bootstrap;
use forecart_eval::intents::{
    IntentAnswer, IntentMetric, compare_intents, confusions, measure_intents,
};
use forecart_eval::report::{
    Against, ConfusedIntents, Environment, IntentReport, IntentRow, IntentSource, MAJORITY,
    TextExample,
};
use forecart_models::ModelError;
use forecart_models::model_file::IntentModelFile;
use forecart_models::recommend::FitOn;
use forecart_models::support::{IntentOptions, IntentPredictor, IntentSpec};
use forecart_models::training::{Checkpoint, FitContext};
use rayon::prelude::*;
use serde_json::Value;

use crate::error::TrainError;

/// How a model of intents is fitted.
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

/// How models of intents are measured.
#[derive(Debug, Clone)]
pub struct IntentMeasuring {
    /// How each is fitted; its seed is that of the intervals too.
    pub training: IntentTraining,
    /// Seeds of models with chance, from that of `training` on.
    pub n_seeds: NonZeroUsize,
    /// Also what comes of answering from this probability on.
    pub min_confidence: Option<f64>,
    /// Whether [`MAJORITY`] stands beside the models.
    pub has_majority: bool,
    /// Heading of the report.
    pub title: String,
    /// Commit of the program, if known.
    pub commit: Option<String>,
    /// Leaves machine and seconds out of the report: the same seed gives the same bytes.
    pub deterministic: bool,
}

impl IntentMeasuring {
    /// One seed, beside the majority, without title and commit.
    pub fn new(training: IntentTraining) -> Self {
        Self {
            training,
            n_seeds: NonZeroUsize::MIN,
            min_confidence: None,
            has_majority: true,
            title: String::new(),
            commit: None,
            deterministic: false,
        }
    }
}

/// A model to fit and measure.
#[derive(Debug)]
pub struct IntentContestant {
    /// What the report calls it.
    pub name: String,
    /// The model with its hyperparameters.
    pub spec: Box<dyn IntentSpec>,
    /// Whether it is here to be beaten.
    pub is_baseline: bool,
}

impl IntentContestant {
    /// A model by its own name.
    pub fn new(spec: Box<dyn IntentSpec>, is_baseline: bool) -> Self {
        Self { name: spec.name().to_owned(), spec, is_baseline }
    }
}

/// A model that is fitted already, read from a file.
#[derive(Debug)]
pub struct IntentGiven {
    /// What the report calls it: with the file's name.
    pub name: String,
    /// The file.
    pub file: IntentModelFile,
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

/// Fits `contestants` and measures them and the `given` models on the texts of `part`.
///
/// On the validation part contestants have learned from the training part alone, whatever is asked for.
///
/// # Errors
/// [`TrainError::OtherDataset`] for a given model that learned from another table, [`TrainError::LearnedFrom`] for one that learned from `part`,
/// [`TrainError::Model`], [`TrainError::Threads`] or [`TrainError::Eval`].
pub fn measure_intent_models(
    table: &IntentTable,
    contestants: &[IntentContestant],
    given: &[IntentGiven],
    part: Part,
    measuring: &IntentMeasuring,
    progress: &dyn Progress,
) -> Result<IntentReport, TrainError> {
    let n_threads = measuring.training.n_threads;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads.get()).build();
    let pool =
        pool.map_err(|error| TrainError::Threads { n_threads, reason: error.to_string() })?;
    pool.install(|| measure_here(table, contestants, given, part, measuring, progress))
}

fn measure_here(
    table: &IntentTable,
    contestants: &[IntentContestant],
    given: &[IntentGiven],
    part: Part,
    measuring: &IntentMeasuring,
    progress: &dyn Progress,
) -> Result<IntentReport, TrainError> {
    let fit_on = match part {
        Part::Validation => FitOn::Train,
        _ => measuring.training.options.fit_on,
    };
    let bench = Bench { table, part, rows: table.rows(part), fit_on, measuring };
    let mut entries: Vec<Entry> = Vec::new();
    if measuring.has_majority {
        entries.push(bench.majority());
    }
    for own in given {
        entries.push(bench.given(own)?);
    }
    for contestant in contestants {
        entries.push(bench.contestant(contestant, progress)?);
    }
    progress.begin("measure", None);
    let rows = entries.iter().map(|entry| bench.row(entry, &entries));
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    let source = IntentSource {
        data_hash: table.manifest.description.data_hash.clone(),
        texts_hash: table.manifest.content_hash.clone(),
        intents: table.intents.iter().map(str::to_owned).collect(),
        n_train: bench.learned_rows().len() as u64,
        measured_on: part,
    };
    let mut report = IntentReport::new(measuring.title.clone(), source, bench.bootstrap(), rows);
    report.commit.clone_from(&measuring.commit);
    let n_threads = measuring.training.n_threads.get();
    report.environment = (!measuring.deterministic).then(|| Environment::detect(n_threads));
    Ok(report)
}

/// A model that has answered, with each of its seeds.
struct Entry {
    name: String,
    is_baseline: bool,
    hyperparameters: Value,
    seeds: Vec<u64>,
    answers: Vec<Vec<IntentAnswer>>,
    fit_secs: Option<f64>,
    classify_micros: Option<[f64; 2]>,
}

struct Bench<'a> {
    table: &'a IntentTable,
    part: Part,
    /// The texts that are measured.
    rows: Vec<usize>,
    /// What contestants learn from.
    fit_on: FitOn,
    measuring: &'a IntentMeasuring,
}

impl Bench<'_> {
    fn bootstrap(&self) -> Bootstrap {
        Bootstrap { seed: self.measuring.training.seed, ..Bootstrap::default() }
    }

    fn learned_rows(&self) -> Vec<usize> {
        let mut rows = self.table.rows(Part::Train);
        if self.fit_on == FitOn::TrainValidation {
            rows.extend(self.table.rows(Part::Validation));
        }
        rows
    }

    /// The most frequent intent of the texts that are learned from, the first of equal ones, with its share.
    fn majority(&self) -> Entry {
        let mut counts = vec![0_usize; self.table.intents.len()];
        let learned = self.learned_rows();
        for label in learned.iter().filter_map(|row| self.table.label(*row)) {
            counts[label as usize] += 1;
        }
        let most = counts.iter().copied().max().unwrap_or(0);
        let best = counts.iter().position(|n| *n == most).unwrap_or(0) as u32;
        let share = most as f64 / counts.iter().sum::<usize>().max(1) as f64;
        let answer = |row: &usize| IntentAnswer {
            best,
            confidence: share,
            score: share,
            abstained: false,
            label: self.table.label(*row),
        };
        Entry {
            name: MAJORITY.to_owned(),
            is_baseline: true,
            hyperparameters: Value::Null,
            seeds: Vec::new(),
            answers: vec![self.rows.iter().map(answer).collect()],
            fit_secs: None,
            classify_micros: None,
        }
    }

    fn given(&self, own: &IntentGiven) -> Result<Entry, TrainError> {
        let header = own.file.header();
        let (trained_on, measured_on) =
            (&header.texts.content_hash, &self.table.manifest.content_hash);
        if trained_on != measured_on {
            return Err(TrainError::OtherDataset {
                model: header.model.clone(),
                trained_on: trained_on.clone(),
                measured_on: measured_on.clone(),
            });
        }
        let is_learned = header.serving.learned.fit_on == FitOn::TrainValidation;
        if is_learned && self.part == Part::Validation {
            return Err(TrainError::LearnedFrom { model: own.name.clone() });
        }
        Ok(Entry {
            name: own.name.clone(),
            is_baseline: false,
            hyperparameters: header.hyperparameters.clone(),
            seeds: header.seed.into_iter().collect(),
            answers: vec![self.answers(own.file.predictor())?],
            fit_secs: None,
            classify_micros: self.latency(own.file.predictor())?,
        })
    }

    fn contestant(
        &self,
        contestant: &IntentContestant,
        progress: &dyn Progress,
    ) -> Result<Entry, TrainError> {
        let IntentMeasuring { training, n_seeds, deterministic, .. } = self.measuring;
        let spec = contestant.spec.as_ref();
        // One without chance is fitted with each as well, and has a deviation of 0 to show for it.
        let seeds = (0..n_seeds.get() as u64).map(|n| training.seed.saturating_add(n));
        let mut entry = Entry {
            name: contestant.name.clone(),
            is_baseline: contestant.is_baseline,
            hyperparameters: spec.hyperparameters(),
            seeds: seeds.clone().collect(),
            answers: Vec::new(),
            fit_secs: None,
            classify_micros: None,
        };
        let mut secs = Vec::new();
        for seed in seeds {
            let options = IntentOptions { fit_on: self.fit_on, ..training.options };
            let training = IntentTraining { seed, options, ..training.clone() };
            let (file, own) = train_intents(self.table, spec, &training, progress)?;
            if secs.is_empty() {
                entry.classify_micros = self.latency(file.predictor())?;
            }
            secs.push(own);
            entry.answers.push(self.answers(file.predictor())?);
        }
        let mean = secs.iter().sum::<f64>() / secs.len() as f64;
        entry.fit_secs = (!deterministic).then_some(mean);
        Ok(entry)
    }

    fn answers(&self, predictor: &IntentPredictor) -> Result<Vec<IntentAnswer>, ModelError> {
        let answer = |row: &usize| {
            let found = predictor.classify_clean(self.table.text(*row))?;
            let best = found.best();
            Ok(IntentAnswer {
                best: best as u32,
                confidence: found.probabilities[best],
                score: found.score,
                abstained: found.abstained.is_some(),
                label: self.table.label(*row),
            })
        };
        self.rows.par_iter().map(answer).collect()
    }

    /// Times each of up to 2,000 texts, masking included; nothing in a deterministic report.
    fn latency(&self, predictor: &IntentPredictor) -> Result<Option<[f64; 2]>, ModelError> {
        if self.measuring.deterministic {
            return Ok(None);
        }
        let mut micros = Vec::new();
        for row in self.rows.iter().take(2000) {
            let started = Instant::now();
            predictor.classify(self.table.text(*row))?;
            micros.push(started.elapsed().as_secs_f64() * 1e6);
        }
        micros.sort_by(f64::total_cmp);
        let at = |share: f64| micros.get((micros.len() as f64 * share) as usize).copied();
        Ok(at(0.5).zip(at(0.99)).map(|(median, slow)| [median, slow]))
    }

    /// What was measured of `entry`, beside the baselines among `all`.
    fn row(&self, entry: &Entry, all: &[Entry]) -> Result<IntentRow, TrainError> {
        let (n_intents, bootstrap) = (self.table.intents.len(), self.bootstrap());
        let beaten = all.iter().filter(|other| other.is_baseline && other.name != entry.name);
        let against = beaten.map(|other| {
            let comparisons = IntentMetric::ALL.map(|metric| {
                let (own, theirs) = (&entry.answers, &other.answers);
                Ok((metric, compare_intents(own, theirs, metric, n_intents, &bootstrap)?))
            });
            let comparisons = comparisons.into_iter().collect::<Result<_, TrainError>>()?;
            Ok(Against { baseline: other.name.clone(), comparisons })
        });
        let against = against.collect::<Result<Vec<_>, TrainError>>()?;
        let min_confidence = self.measuring.min_confidence;
        Ok(IntentRow {
            model: entry.name.clone(),
            is_baseline: entry.is_baseline,
            hyperparameters: entry.hyperparameters.clone(),
            seeds: entry.seeds.clone(),
            measured: measure_intents(&entry.answers, n_intents, min_confidence, &bootstrap)?,
            confusions: self.confusions(entry),
            against,
            fit_secs: entry.fit_secs,
            classify_micros: entry.classify_micros,
        })
    }

    fn confusions(&self, entry: &Entry) -> Vec<ConfusedIntents> {
        let name = |intent: u32| self.table.intents.get(intent as usize).to_owned();
        let example = |place: &usize| TextExample {
            row: self.rows[*place],
            text: self.table.text(self.rows[*place]).to_owned(),
        };
        let found = confusions(&entry.answers).into_iter().map(|pair| ConfusedIntents {
            asked: name(pair.asked),
            found: name(pair.found),
            n_texts: pair.n_texts,
            examples: pair.examples.iter().map(example).collect(),
        });
        found.collect()
    }
}
