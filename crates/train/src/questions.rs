//! Fits models of questions on a question table and puts them side by side.

use std::num::NonZeroUsize;
use std::time::Instant;

use forecart_data::{Part, Progress, Questions};
use forecart_eval::Bootstrap;
use forecart_eval::questions::{
    QuestionCases, QuestionComparison, QuestionMeasures, compare_questions, measure_questions,
};
use forecart_models::ModelError;
use forecart_models::model_file::QuestionModelFile;
use forecart_models::support::questions::{QuestionPredictor, QuestionSpec, registry};
use forecart_models::training::{Checkpoint, FitContext};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

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

/// What was measured of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuestionRow {
    /// Its name.
    pub model: String,
    /// Its hyperparameters.
    pub hyperparameters: serde_json::Value,
    /// Everything about its probabilities.
    pub measured: QuestionMeasures,
    /// What it has more than the baseline with the least log loss; of a baseline nothing.
    pub against: Option<QuestionComparison>,
    /// Of what the ceiling has more than `popularity`, the share that the model has: of the hit rate of three, and of the log loss.
    pub share_of_gain: Option<[Option<f64>; 2]>,
    /// Seconds of fitting, calibration included; `None` for a model that was given.
    pub fit_secs: Option<f64>,
}

/// Models side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuestionReport {
    /// Content hash of the table.
    pub questions_hash: String,
    /// Names of the intents, by their places in measures.
    pub intents: Vec<String>,
    /// How far a moment looks ahead, milliseconds.
    pub horizon_ms: i64,
    /// The part that was measured on.
    pub measured_on: Part,
    /// Moments of that part; those that were measured are spread evenly over them.
    pub n_moments: u64,
    /// The seed.
    pub seed: u64,
    /// The baseline that `against` is about.
    pub baseline: Option<String>,
    /// The least log loss first.
    pub rows: Vec<QuestionRow>,
    /// What the best of all models could have, where that is known.
    pub ceiling: Option<QuestionMeasures>,
}

impl QuestionReport {
    /// The row of a model.
    pub fn row(&self, model: &str) -> Option<&QuestionRow> {
        self.rows.iter().find(|row| row.model == model)
    }

    /// The share of the ceiling's hit rate of three that a row has.
    pub fn share_of_ceiling(&self, row: &QuestionRow) -> Option<f64> {
        let ceiling = self.ceiling.as_ref()?.top_3?.value;
        Some(row.measured.top_3?.value / ceiling)
    }
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

/// What is measured, and on what.
pub struct QuestionContest<'a> {
    /// Models to fit.
    pub specs: &'a [Box<dyn QuestionSpec>],
    /// Models that are fitted already.
    pub given: &'a [QuestionModelFile],
    /// The part to measure on.
    pub part: Part,
    /// Moments at most: as many, spread evenly over those of the part.
    pub max_moments: NonZeroUsize,
    /// Of the intervals.
    pub n_resamples: usize,
    /// What the best of all models would say.
    pub ceiling: Option<&'a dyn MomentScorer>,
}

impl std::fmt::Debug for QuestionContest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuestionContest")
            .field("specs", &self.specs)
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
    for file in contest.given {
        let trained_on = &file.header().questions.content_hash;
        if trained_on != content_hash {
            return Err(TrainError::OtherDataset {
                model: file.header().model.clone(),
                trained_on: trained_on.clone(),
                measured_on: content_hash.clone(),
            });
        }
    }
    let (moments, n_moments) = spread_moments(questions, contest.part, contest.max_moments);
    let cases = cases(questions, &moments)?;
    let fitted = contest
        .specs
        .iter()
        .map(|spec| train_questions(questions, spec.as_ref(), training, progress));
    let fitted: Vec<(QuestionModelFile, f64)> = fitted.collect::<Result<_, _>>()?;
    let files = contest.given.iter().map(|file| (file, None));
    let files: Vec<(&QuestionModelFile, Option<f64>)> =
        files.chain(fitted.iter().map(|(file, secs)| (file, Some(*secs)))).collect();
    progress.begin("measure", None);
    let n_threads = training.n_threads;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads.get()).build();
    let pool =
        pool.map_err(|error| TrainError::Threads { n_threads, reason: error.to_string() })?;
    pool.install(|| {
        let bootstrap = Bootstrap {
            seed: training.seed,
            n_resamples: contest.n_resamples,
            ..Bootstrap::default()
        };
        let all: Vec<Vec<f64>> = files
            .iter()
            .map(|(file, _)| answers(questions, &moments, file.predictor()))
            .collect::<Result<_, _>>()?;
        let measured: Vec<QuestionMeasures> = all
            .iter()
            .map(|probabilities| measure_questions(&cases, probabilities, &bootstrap))
            .collect::<Result<_, _>>()?;
        let ceiling = contest.ceiling.map(|scorer| {
            progress.begin(scorer.name(), None);
            let one =
                |(user, place): &(usize, usize)| scorer.probabilities(questions, *user, *place);
            let flat =
                moments.iter().flat_map(|(user, places)| places.iter().map(|at| (*user, *at)));
            let flat: Vec<(usize, usize)> = flat.collect();
            let probabilities: Vec<Vec<f64>> = flat.par_iter().map(one).collect();
            measure_questions(&cases, &probabilities.concat(), &bootstrap)
        });
        let ceiling = ceiling.transpose()?;
        let name = |at: usize| files[at].0.header().model.as_str();
        let is_baseline = |at: &usize| registry::BASELINES.contains(&name(*at));
        let loss = |at: usize| measured[at].log_loss.value;
        let baseline = (0..files.len()).filter(is_baseline);
        let baseline = baseline.min_by(|a, b| loss(*a).total_cmp(&loss(*b)));
        let popularity = (0..files.len()).find(|at| name(*at) == registry::BASELINES[0]);
        let mut rows: Vec<QuestionRow> = Vec::new();
        for (at, (file, fit_secs)) in files.iter().enumerate() {
            let against = baseline
                .filter(|_| !is_baseline(&at))
                .map(|baseline| compare_questions(&cases, &all[at], &all[baseline], &bootstrap));
            let share_of_gain = ceiling.as_ref().zip(popularity).map(|(ceiling, popularity)| {
                share_of_gain(&measured[at], &measured[popularity], ceiling)
            });
            rows.push(QuestionRow {
                model: file.header().model.clone(),
                hyperparameters: file.header().hyperparameters.clone(),
                measured: measured[at].clone(),
                against: against.transpose()?,
                share_of_gain,
                fit_secs: *fit_secs,
            });
        }
        rows.sort_by(|a, b| a.measured.log_loss.value.total_cmp(&b.measured.log_loss.value));
        Ok(QuestionReport {
            questions_hash: content_hash.clone(),
            intents: questions.intents().iter().map(|(_, name, _)| name.to_owned()).collect(),
            horizon_ms: questions.manifest().windows.horizon_ms,
            measured_on: contest.part,
            n_moments,
            seed: training.seed,
            baseline: baseline.map(|at| name(at).to_owned()),
            rows,
            ceiling,
        })
    })
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

/// The probabilities of a model at some moments, end to end.
fn answers(
    questions: &Questions,
    moments: &Moments,
    predictor: &QuestionPredictor,
) -> Result<Vec<f64>, ModelError> {
    let of_user = |(user, places): &(usize, Vec<usize>)| {
        predictor.probabilities_at(questions.history(*user), places)
    };
    Ok(moments.par_iter().map(of_user).collect::<Result<Vec<_>, _>>()?.concat())
}
