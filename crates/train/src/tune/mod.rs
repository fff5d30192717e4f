//! Searches for better hyperparameters: on the validation part alone.
//!
//! [`tune`] proposes trials ([`suggest`]: the defaults, some at random, then tree-structured Parzen estimators), fits and
//! measures them, ends those early that will come to nothing ([`prune`]), and writes each into a journal ([`record`])
//! before it goes on. Killed at any moment, the same call goes on from the journal.
//!
//! What makes it the same search for any number of threads: trials come in batches of [`BATCH`], and what is proposed or
//! ended early depends on earlier batches alone, never on what is ready first. A search by minutes stops at another trial
//! on another machine, but the trials that it made are those of any longer search with its seed.
//!
//! The test part is read at the end, once for the defaults and once for what was chosen: [`survival`].

mod intents;
mod lists;
mod outcomes;
mod prune;
mod questions;
mod record;
mod subject;
mod suggest;
mod survival;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use forecart_data::Progress;
use forecart_eval::tuning::{Trial, TrialState};
use forecart_models::ModelError;
use serde_json::{Map, Value};

use self::prune::{Curves, Watch};
use self::record::Recorder;
use self::subject::{Candidate, Outcome, Resources, Subject};
use crate::error::TrainError;

pub use lists::ListMeasure;
pub use record::SearchId;
pub use subject::TuneData;
pub use survival::survival;

/// Trials that are proposed together: enough to keep some threads busy, few enough to learn from.
pub const BATCH: usize = 4;

/// When a search ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// After so many trials, the defaults included.
    Trials(NonZeroUsize),
    /// When so much time has gone by in all its runs; a trial that has begun is finished.
    Time(Duration),
}

/// How to search.
#[derive(Debug, Clone)]
pub struct TuneOptions {
    /// The model's name in the registry.
    pub model: String,
    /// Its keys in the configuration: where the search begins, and what it does not vary.
    pub keys: Value,
    /// When it ends.
    pub budget: Budget,
    /// Decides what is proposed, and is the seed of models with chance.
    pub seed: u64,
    /// Threads; no number depends on it.
    pub n_threads: NonZeroUsize,
    /// Training that is estimated to need more is refused, and recorded as a failed trial.
    pub memory_limit_bytes: Option<u64>,
    /// Whether trials that will come to nothing are ended early.
    pub prunes: bool,
}

impl TuneOptions {
    fn resources(&self) -> Resources {
        Resources { n_threads: self.n_threads, memory_limit_bytes: self.memory_limit_bytes }
    }

    /// What makes two searches the same one.
    ///
    /// # Errors
    /// [`TrainError::Model`] for a model or keys that are not known.
    pub fn id(&self, data: TuneData<'_>) -> Result<SearchId, TrainError> {
        let subject = data.subject();
        let base = subject.candidate(&self.model, &self.keys)?;
        Ok(SearchId::new(self, base.as_ref(), subject.as_ref()))
    }
}

/// Searches, and returns every trial in order. `journal` is created, or gone on from.
///
/// # Errors
/// [`TrainError::NothingToTune`] for a model without a search space, [`TrainError::OtherSearch`] if the journal belongs
/// to another search, [`TrainError::SearchStopped`] if the user asks to stop, [`TrainError::Model`] if the defaults cannot be fitted; a trial that
/// fails otherwise is recorded with its reason.
pub fn tune(
    data: TuneData<'_>,
    options: &TuneOptions,
    journal: &std::path::Path,
    progress: &dyn Progress,
) -> Result<Vec<Trial>, TrainError> {
    let subject = data.subject();
    let base = subject.candidate(&options.model, &options.keys)?;
    if base.search_space().is_empty() {
        let instead = base
            .tuned_instead()
            .unwrap_or_else(|| "`forecart model list` says which models have".to_owned());
        return Err(TrainError::NothingToTune { model: base.name(), instead });
    }
    let (recorder, known) =
        Recorder::open(journal, &SearchId::new(options, base.as_ref(), subject.as_ref()))?;
    if !known.is_empty() {
        progress.announce(&format!("goes on after {} trials of {journal:?}", known.len()));
    }
    let spent = known.values().map(|trial| trial.at_secs).fold(0.0, f64::max);
    let search = Search {
        subject: subject.as_ref(),
        options,
        base: base.as_ref(),
        recorder: Mutex::new(recorder),
        started: Instant::now(),
        spent,
        progress,
    };
    search.run(known).map_err(|error| match error {
        TrainError::Model(ModelError::Cancelled { .. }) => {
            TrainError::SearchStopped { path: journal.to_owned() }
        }
        error => error,
    })
}

struct Search<'a> {
    subject: &'a dyn Subject,
    options: &'a TuneOptions,
    base: &'a dyn Candidate,
    recorder: Mutex<Recorder>,
    started: Instant,
    /// Seconds of earlier runs.
    spent: f64,
    progress: &'a dyn Progress,
}

impl Search<'_> {
    fn run(&self, mut known: BTreeMap<usize, Trial>) -> Result<Vec<Trial>, TrainError> {
        let n_trials = match self.options.budget {
            Budget::Trials(n) => n.get(),
            Budget::Time(_) => usize::MAX,
        };
        let n_steps = (n_trials < usize::MAX).then_some(n_trials as u64);
        self.progress.begin(&format!("tune {}", self.options.model), n_steps);
        self.progress.skip(known.len().min(n_trials) as u64);
        let mut first = 0;
        while first < n_trials && (!self.is_over() || known.contains_key(&first)) {
            let end = (first + BATCH).min(n_trials);
            let before: Vec<&Trial> = known.range(..first).map(|(_, trial)| trial).collect();
            let curves = Curves::of(&before);
            let missing: Vec<usize> = (first..end).filter(|n| !known.contains_key(n)).collect();
            let proposed = suggest::batch(&self.space(), &before, self.options.seed, first..end)?;
            let made = self.batch(&missing, &proposed, first, &curves)?;
            let is_whole = made.len() == missing.len();
            known.extend(made.into_iter().map(|trial| (trial.number, trial)));
            if !is_whole {
                break;
            }
            first = end;
        }
        Ok(known.into_values().filter(|trial| trial.number < n_trials).collect())
    }

    /// What is varied, and where that begins.
    fn space(&self) -> suggest::Space {
        suggest::Space {
            parameters: self.base.search_space(),
            defaults: self.base.hyperparameters(),
        }
    }

    fn is_over(&self) -> bool {
        match self.options.budget {
            Budget::Trials(_) => false,
            Budget::Time(time) => self.secs() >= time.as_secs_f64(),
        }
    }

    fn secs(&self) -> f64 {
        self.spent + self.started.elapsed().as_secs_f64()
    }

    /// Makes the trials `missing` of the batch that begins with `first`; fewer if time is over.
    ///
    /// Networks use all threads by themselves and are fitted one after the other; models that are counted, and trees, are fitted
    /// side by side.
    fn batch(
        &self,
        missing: &[usize],
        proposed: &[Map<String, Value>],
        first: usize,
        curves: &Curves,
    ) -> Result<Vec<Trial>, TrainError> {
        let n_workers = match self.base.uses_threads() {
            true => 1,
            false => self.options.n_threads.get().min(missing.len()).max(1),
        };
        let n_threads = (self.options.n_threads.get() / n_workers).max(1);
        let n_threads = NonZeroUsize::new(n_threads).unwrap_or(NonZeroUsize::MIN);
        let next = AtomicUsize::new(0);
        let made: Mutex<Vec<Trial>> = Mutex::new(Vec::new());
        let failure: Mutex<Option<TrainError>> = Mutex::new(None);
        let work = || {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads.get()).build();
            let pool =
                pool.map_err(|error| TrainError::Threads { n_threads, reason: error.to_string() })?;
            while let Some(number) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                if (self.is_over() && *number > 0) || lock(&failure).is_some() {
                    return Ok(());
                }
                let keys = &proposed[*number - first];
                let whole = self.options.resources().memory_limit_bytes;
                let memory_limit_bytes = whole.map(|bytes| bytes / n_workers as u64);
                let resources = Resources { n_threads, memory_limit_bytes };
                let trial = pool.install(|| self.trial(*number, keys, resources, curves))?;
                lock(&self.recorder).write(&trial)?;
                self.progress.advance(1);
                self.progress.note(&trial.line(self.subject.objective()));
                lock(&made).push(trial);
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..n_workers).map(|_| scope.spawn(work)).collect();
            for worker in workers {
                // A worker that panics takes the search with it, as a panic in a pool does.
                let result = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                if let Err(error) = result {
                    lock(&failure).get_or_insert(error);
                }
            }
        });
        match failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(made.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)),
        }
    }

    fn trial(
        &self,
        number: usize,
        keys: &Map<String, Value>,
        resources: Resources,
        curves: &Curves,
    ) -> Result<Trial, TrainError> {
        let started = Instant::now();
        let model =
            self.subject.candidate(&self.options.model, &merged(&self.options.keys, keys))?;
        let watch = Watch::new(self.progress, curves, self.options.prunes && number > 0);
        let fitted = model.trial(number, self.options.seed, resources, &watch);
        let mut trial = Trial {
            number,
            parameters: keys.clone(),
            state: TrialState::Complete,
            value: None,
            epochs: watch.curve(),
            chosen_epoch: None,
            reason: None,
            secs: 0.0,
            at_secs: 0.0,
        };
        match fitted {
            _ if self.progress.is_cancelled() => {
                return Err(ModelError::Cancelled { checkpoint: None }.into());
            }
            _ if watch.is_pruned() => {
                trial.state = TrialState::Pruned;
                trial.value = watch.best().filter(|_| self.subject.has_curve_of_objective());
            }
            Ok(Outcome { value, chosen_epoch }) => {
                trial.value = value.map(short);
                trial.chosen_epoch = chosen_epoch;
            }
            // Without the defaults there is nothing to compare with.
            Err(error) if number == 0 => return Err(error),
            Err(error) => {
                trial.state = TrialState::Failed;
                trial.reason = Some(error.to_string());
            }
        }
        trial.secs = started.elapsed().as_secs_f64();
        trial.at_secs = self.secs();
        Ok(trial)
    }
}

/// Six decimals: more say nothing, and a short number comes back from the journal to the bit.
fn short(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// `keys` over `base`; both are tables of a model's keys.
pub(crate) fn merged(base: &Value, keys: &Map<String, Value>) -> Value {
    let mut all = base.as_object().cloned().unwrap_or_default();
    all.extend(keys.iter().map(|(key, value)| (key.clone(), value.clone())));
    Value::Object(all)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
