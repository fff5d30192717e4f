//! Fits models of questions on a question table and puts them side by side.

use std::num::NonZeroUsize;
use std::time::Instant;

use forecart_data::{Part, Progress, Questions};
use forecart_eval::Bootstrap;
use forecart_eval::questions::{
    DeletionCheck, QuestionCases, QuestionMeasures, compare_questions, measure_questions,
    share_of_ceiling,
};
use forecart_eval::report::{Against, Environment, QuestionReport, QuestionRow, QuestionSource};
use forecart_models::model_file::QuestionModelFile;
use forecart_models::support::questions::{QuestionPredictor, QuestionSpec, registry};
use forecart_models::training::{Checkpoint, FitContext};
use rayon::prelude::*;
use serde_json::Value;

use crate::deletions;
use crate::error::TrainError;

/// How models of questions are fitted and measured.
#[derive(Debug, Clone)]
pub struct QuestionTraining {
    /// Of everything random.
    pub seed: u64,
    /// Threads that may work.
    pub n_threads: NonZeroUsize,
    /// Training that needs more is refused.
    pub memory_limit_bytes: Option<u64>,
    /// Where training by epochs saves itself.
    pub checkpoint: Option<Checkpoint>,
}

/// What says of a moment how probable each intent is, where it is no fitted model: the truth of a generated log.
pub trait MomentScorer: Sync {
    /// What the report calls it.
    fn name(&self) -> &str;

    /// The probability of each intent after the event at `place`, `[n_intents]`, in the order of the vocabulary without its unknown row.
    fn probabilities(&self, questions: &Questions, user: usize, place: usize) -> Vec<f64>;
}

/// Fits `spec` for service. Returns the seconds too.
///
/// # Errors
/// [`TrainError::Model`].
pub fn train_questions(
    questions: &Questions,
    spec: &dyn QuestionSpec,
    training: &QuestionTraining,
    progress: &dyn Progress,
) -> Result<(QuestionModelFile, f64), TrainError> {
    let started = Instant::now();
    progress.begin(&format!("train {}", spec.name()), None);
    let context = FitContext {
        seed: training.seed,
        n_threads: training.n_threads,
        progress,
        memory_limit_bytes: training.memory_limit_bytes,
        checkpoint: training.checkpoint.as_ref(),
    };
    let (predictor, record) = QuestionPredictor::fit(spec, questions, &context)?;
    let seed = spec.uses_seed().then_some(training.seed);
    let file = QuestionModelFile::new(predictor, questions, seed, record)?;
    Ok((file, started.elapsed().as_secs_f64()))
}

/// A model that is fitted already.
#[derive(Debug)]
pub struct QuestionGiven {
    /// What the report calls it.
    pub name: String,
    /// The model.
    pub file: QuestionModelFile,
    /// Seconds of its fitting, where they are known.
    pub fit_secs: Option<f64>,
}

/// A model to fit and measure.
#[derive(Debug)]
pub struct QuestionContestant {
    /// What the report calls it.
    pub name: String,
    /// The model with its hyperparameters.
    pub spec: Box<dyn QuestionSpec>,
    /// Whether it is here to be beaten.
    pub is_baseline: bool,
}

impl QuestionContestant {
    /// A model by its own name; those of [`registry::BASELINES`] are here to be beaten.
    pub fn new(spec: Box<dyn QuestionSpec>) -> Self {
        let name = spec.name();
        Self { name: name.to_owned(), is_baseline: registry::BASELINES.contains(&name), spec }
    }
}

/// What is measured, and on what.
pub struct QuestionContest<'a> {
    /// Models to fit.
    pub contestants: &'a [QuestionContestant],
    /// Seeds of models with chance, from that of the training on.
    pub n_seeds: NonZeroUsize,
    /// Models that are fitted already.
    pub given: &'a [QuestionGiven],
    /// The part to measure on.
    pub part: Part,
    /// Moments at most: as many, spread evenly over those of the part.
    pub max_moments: NonZeroUsize,
    /// Of the intervals.
    pub n_resamples: usize,
    /// What the best of all models would say.
    pub ceiling: Option<&'a dyn MomentScorer>,
    /// Heading of the report.
    pub title: String,
    /// The commit of the program, if known.
    pub commit: Option<String>,
    /// Leave machine and seconds out: the same seed gives the same bytes.
    pub deterministic: bool,
}

impl std::fmt::Debug for QuestionContest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuestionContest")
            .field("contestants", &self.contestants)
            .field("part", &self.part)
            .field("max_moments", &self.max_moments)
            .finish_non_exhaustive()
    }
}

/// Some moments of a part: a user and the places in its history.
type Moments = Vec<(usize, Vec<usize>)>;

/// At most `max` of the moments of a part, evenly spread, and how many there are.
pub fn spread_moments(questions: &Questions, part: Part, max: NonZeroUsize) -> (Moments, u64) {
    let n_all: usize =
        (0..questions.n_users()).map(|user| questions.moments(user, part).len()).sum();
    // The first moment of each of `max` shares of them all.
    let share = |at: usize| at as u128 * max.get() as u128 / n_all.max(1) as u128;
    let is_taken = |at: usize| n_all <= max.get() || at == 0 || share(at) != share(at - 1);
    let mut at = 0;
    let mut moments = Vec::new();
    for user in 0..questions.n_users() {
        let mut places = Vec::new();
        for place in questions.moments(user, part) {
            if is_taken(at) {
                places.push(place);
            }
            at += 1;
        }
        if !places.is_empty() {
            moments.push((user, places));
        }
    }
    (moments, n_all as u64)
}

fn cases(questions: &Questions, moments: &Moments) -> Result<QuestionCases, TrainError> {
    let n_intents = questions.intents().n_known();
    let (mut users, mut asked, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for (user, places) in moments {
        for place in places {
            questions.asked(*user, *place, &mut rows);
            let first = asked.len();
            asked.resize(first + n_intents, false);
            rows.iter().for_each(|row| asked[first + *row as usize - 1] = true);
            users.push(*user as u32);
        }
    }
    Ok(QuestionCases::new(&users, asked, n_intents)?)
}

/// Fits and measures the models of a contest; of moments of the part that is asked for.
///
/// # Errors
/// [`TrainError::OtherDataset`] for a given model that learned from another table, [`TrainError::Model`], [`TrainError::Eval`] (a part
/// without moments, too) or [`TrainError::Threads`].
pub fn measure_question_models(
    questions: &Questions,
    contest: &QuestionContest<'_>,
    training: &QuestionTraining,
    progress: &dyn Progress,
) -> Result<QuestionReport, TrainError> {
    let content_hash = &questions.manifest().content_hash;
    for given in contest.given {
        let header = given.file.header();
        let trained_on = &header.questions.content_hash;
        if trained_on != content_hash {
            return Err(TrainError::OtherDataset {
                model: header.model.clone(),
                trained_on: trained_on.clone(),
                measured_on: content_hash.clone(),
            });
        }
    }
    let (moments, n_moments) = spread_moments(questions, contest.part, contest.max_moments);
    let cases = cases(questions, &moments)?;
    let bootstrap =
        Bootstrap { seed: training.seed, n_resamples: contest.n_resamples, ..Bootstrap::default() };
    let bench = Bench { questions, moments: &moments, training, bootstrap, progress };
    let mut entries = Vec::new();
    for given in contest.given {
        entries.push(bench.given(given)?);
    }
    for contestant in contest.contestants {
        entries.push(bench.contestant(contestant, contest.n_seeds)?);
    }
    progress.begin("measure", None);
    let n_threads = training.n_threads;
    let (rows, ceiling) = pool(n_threads)?.install(|| {
        let ceiling = contest.ceiling.map(|scorer| {
            progress.begin(scorer.name(), None);
            vec![truths(questions, &moments, scorer)]
        });
        measured(&entries, &cases, ceiling.as_deref(), &bootstrap)
    })?;
    let manifest = questions.manifest();
    let source = QuestionSource {
        data_hash: manifest.description.data_hash.clone(),
        questions_hash: content_hash.clone(),
        intents: questions.intents().iter().map(|(_, name, _)| name.to_owned()).collect(),
        horizon_ms: manifest.windows.horizon_ms,
        measured_on: contest.part,
        n_moments,
    };
    let mut report = QuestionReport::new(contest.title.clone(), source, bootstrap, rows);
    if contest.deterministic {
        report.rows.iter_mut().for_each(|row| row.fit_secs = None);
    }
    report.ceiling = ceiling;
    report.commit.clone_from(&contest.commit);
    report.environment = (!contest.deterministic).then(|| Environment::detect(n_threads.get()));
    Ok(report)
}

fn pool(n_threads: NonZeroUsize) -> Result<rayon::ThreadPool, TrainError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads.get()).build();
    pool.map_err(|error| TrainError::Threads { n_threads, reason: error.to_string() })
}

/// A model that has answered, with each of its seeds.
struct Entry {
    name: String,
    /// Its name in the registry.
    model: &'static str,
    is_baseline: bool,
    hyperparameters: Value,
    seeds: Vec<u64>,
    /// A list a seed, `[n_moments, n_intents]`.
    answers: Vec<Vec<f64>>,
    /// Of the first seed.
    deletion: Option<DeletionCheck>,
    fit_secs: Option<f64>,
}

/// Where models are fitted and answer.
struct Bench<'a> {
    questions: &'a Questions,
    moments: &'a Moments,
    training: &'a QuestionTraining,
    bootstrap: Bootstrap,
    progress: &'a dyn Progress,
}

impl Bench<'_> {
    fn given(&self, given: &QuestionGiven) -> Result<Entry, TrainError> {
        let header = given.file.header();
        let model = given.file.predictor().model();
        let answers = self.answers(given.file.predictor())?;
        Ok(Entry {
            name: given.name.clone(),
            model: model.name(),
            is_baseline: registry::BASELINES.contains(&model.name()),
            hyperparameters: header.hyperparameters.clone(),
            seeds: header.seed.into_iter().collect(),
            deletion: self.deletion(given.file.predictor(), &answers)?,
            answers: vec![answers],
            fit_secs: given.fit_secs,
        })
    }

    fn contestant(
        &self,
        contestant: &QuestionContestant,
        n_seeds: NonZeroUsize,
    ) -> Result<Entry, TrainError> {
        let spec = contestant.spec.as_ref();
        // One without chance says the same with each.
        let n_seeds = if spec.uses_seed() { n_seeds.get() as u64 } else { 1 };
        let seeds = (0..n_seeds).map(|n| self.training.seed.saturating_add(n));
        let mut entry = Entry {
            name: contestant.name.clone(),
            model: spec.name(),
            is_baseline: contestant.is_baseline,
            hyperparameters: spec.hyperparameters(),
            seeds: seeds.clone().collect(),
            answers: Vec::new(),
            deletion: None,
            fit_secs: None,
        };
        let mut secs = 0.0;
        for seed in seeds {
            let training = QuestionTraining { seed, ..self.training.clone() };
            let (file, own) = train_questions(self.questions, spec, &training, self.progress)?;
            secs += own;
            let answers = self.answers(file.predictor())?;
            if entry.answers.is_empty() {
                entry.deletion = self.deletion(file.predictor(), &answers)?;
            }
            entry.answers.push(answers);
        }
        entry.fit_secs = Some(secs / n_seeds as f64);
        Ok(entry)
    }

    fn deletion(
        &self,
        predictor: &QuestionPredictor,
        answers: &[f64],
    ) -> Result<Option<DeletionCheck>, TrainError> {
        self.progress.begin("explain", None);
        pool(self.training.n_threads)?.install(|| {
            deletions::check(self.questions, self.moments, predictor, answers, &self.bootstrap)
        })
    }

    /// The probabilities of a model at the moments, end to end.
    fn answers(&self, predictor: &QuestionPredictor) -> Result<Vec<f64>, TrainError> {
        let of_user = |(user, places): &(usize, Vec<usize>)| {
            predictor.probabilities_at(self.questions.history(*user), places)
        };
        let answers = || self.moments.par_iter().map(of_user).collect::<Result<Vec<_>, _>>();
        Ok(pool(self.training.n_threads)?.install(answers)?.concat())
    }
}

/// A row of each model, and what was measured of the ceiling, whose probabilities are given.
fn measured(
    entries: &[Entry],
    cases: &QuestionCases,
    ceiling: Option<&[Vec<f64>]>,
    bootstrap: &Bootstrap,
) -> Result<(Vec<QuestionRow>, Option<QuestionMeasures>), TrainError> {
    let measure = |seeds: &[Vec<f64>]| measure_questions(cases, seeds, bootstrap);
    let measured: Vec<QuestionMeasures> =
        entries.iter().map(|own| measure(&own.answers)).collect::<Result<_, _>>()?;
    let of_ceiling = ceiling.map(measure).transpose()?;
    let popularity = entries.iter().position(|own| own.model == registry::BASELINES[0]);
    let row = |at: usize| -> Result<QuestionRow, TrainError> {
        let entry = &entries[at];
        let others = entries.iter().enumerate().filter(|(other, _)| *other != at);
        let beaten = others.filter(|(_, own)| own.is_baseline);
        let against = beaten.map(|(_, other)| {
            let comparisons = compare_questions(cases, &entry.answers, &other.answers, bootstrap)?;
            Ok(Against { baseline: other.name.clone(), comparisons })
        });
        let share = ceiling.map(|own| share_of_ceiling(cases, &entry.answers, own, bootstrap));
        let gain = of_ceiling.as_ref().zip(popularity).map(|(ceiling, popularity)| {
            share_of_gain(&measured[at], &measured[popularity], ceiling)
        });
        Ok(QuestionRow {
            model: entry.name.clone(),
            is_baseline: entry.is_baseline,
            hyperparameters: entry.hyperparameters.clone(),
            seeds: entry.seeds.clone(),
            measured: measured[at].clone(),
            against: against.collect::<Result<_, TrainError>>()?,
            share_of_ceiling: share.transpose()?.flatten(),
            share_of_gain: gain,
            deletion: entry.deletion,
            fit_secs: entry.fit_secs,
        })
    };
    Ok(((0..entries.len()).map(row).collect::<Result<_, _>>()?, of_ceiling))
}

/// The probabilities of a scorer at some moments, end to end.
fn truths(questions: &Questions, moments: &Moments, scorer: &dyn MomentScorer) -> Vec<f64> {
    let flat = moments.iter().flat_map(|(user, places)| places.iter().map(|at| (*user, *at)));
    let flat: Vec<(usize, usize)> = flat.collect();
    let one = |(user, place): &(usize, usize)| scorer.probabilities(questions, *user, *place);
    flat.par_iter().map(one).collect::<Vec<_>>().concat()
}

/// Of what `ceiling` has more than `nothing`, the share that a model has.
fn share_of_gain(
    model: &QuestionMeasures,
    nothing: &QuestionMeasures,
    ceiling: &QuestionMeasures,
) -> [Option<f64>; 2] {
    let share = |model: f64, nothing: f64, ceiling: f64| {
        (ceiling != nothing).then(|| (model - nothing) / (ceiling - nothing))
    };
    let hits = [model, nothing, ceiling].map(|measured| measured.top_3.map(|hit| hit.value));
    let of_hits = match hits {
        [Some(model), Some(nothing), Some(ceiling)] => share(model, nothing, ceiling),
        _ => None,
    };
    let [model, nothing, ceiling] =
        [model, nothing, ceiling].map(|measured| measured.log_loss.value);
    [of_hits, share(model, nothing, ceiling)]
}
