//! Fits models, measures them side by side, and makes the report.

use std::num::NonZeroUsize;
use std::time::Instant;

use forecart_data::{Dataset, History, Progress, SeenItems};
use forecart_eval::report::{Environment, Timing, TrainingPoint};
use forecart_eval::{
    EvalError, EvaluateOptions, Evaluation, Metric, ModelRuns, Report, ReportOptions, Run, Scorer,
    TestGuard, evaluate,
};
use forecart_models::ModelError;
use forecart_models::recommend::{FitOn, FitRecord, ModelSpec, Recommender, TrainingView};

use crate::error::TrainError;
use crate::fit::{TrainOptions, Trained, train};

/// A recommender as evaluation sees it.
#[derive(Debug, Clone, Copy)]
pub struct AsScorer<'a>(pub &'a dyn Recommender);

impl Scorer for AsScorer<'_> {
    fn score_all(&self, history: History<'_>, scores: &mut [f32]) {
        self.0.score_all(history, scores);
    }
}

/// A model to fit and measure.
#[derive(Debug)]
pub struct Contestant {
    /// The model with its hyperparameters.
    pub spec: Box<dyn ModelSpec>,
    /// Whether it is here to be beaten.
    pub is_baseline: bool,
    /// Whether it was asked for by name. A model that was not is left out, and the report says why, where it needs times
    /// and the log has an order alone, or a catalog and there is none; where it is no baseline, also where it cannot be fitted
    /// otherwise (it needs more memory than there is, its numbers run away): one model should not cost the table of all others.
    pub is_required: bool,
}

/// A model that is fitted already, read from a file.
#[derive(Debug)]
pub struct Given {
    /// What the report calls it: the file's name.
    pub name: String,
    /// The model.
    pub model: Box<dyn Recommender>,
    /// Which events it learned from.
    pub fit_on: FitOn,
    /// Content hash of the dataset that it was fitted on.
    pub dataset_hash: String,
    /// How it was fitted.
    pub record: FitRecord,
    /// Size of the file.
    pub n_bytes: u64,
}

/// What to measure, and how.
#[derive(Debug, Clone)]
pub struct MeasureOptions {
    /// Which events the contestants learn from.
    pub fit_on: FitOn,
    /// Seeds of contestants with chance; those without run once.
    pub seeds: Vec<u64>,
    /// Threads; no number depends on it.
    pub n_threads: NonZeroUsize,
    /// Training that is estimated to need more is refused before it starts.
    pub memory_limit_bytes: Option<u64>,
    /// Models see the newest so many events; `None` is what [`TrainingView::usual_length`] says of the data.
    pub max_history: Option<NonZeroUsize>,
    /// Whether seen items are masked, where models are measured and where validation decides about them; `None` takes
    /// what the dataset says.
    pub seen: Option<SeenItems>,
    /// The metric that decides.
    pub primary: Metric,
    /// Heading of the report.
    pub title: String,
    /// Commit of the program, if known.
    pub commit: Option<String>,
    /// Leaves machine and timings out of the report: the same seed gives the same bytes.
    pub deterministic: bool,
}

/// Fits every contestant with every seed, measures all on validation and then on test, once.
///
/// Validation numbers are of the model fitted on the training part alone; a model that was fitted on
/// the validation part too has none.
///
/// # Errors
/// [`TrainError`]: the first model that cannot be fitted or measured.
pub fn measure(
    dataset: &Dataset,
    contestants: &[Contestant],
    given: &[Given],
    options: &MeasureOptions,
    progress: &dyn Progress,
) -> Result<Report, TrainError> {
    let pool =
        rayon::ThreadPoolBuilder::new().num_threads(options.n_threads.get()).build().map_err(
            |error| TrainError::Threads { n_threads: options.n_threads, reason: error.to_string() },
        )?;
    pool.install(|| {
        let usual_length = || TrainingView::new(dataset, FitOn::Train).usual_length();
        let max_history = options.max_history.map_or_else(usual_length, usize::from);
        let bench = Bench { dataset, options, max_history, progress, guard: TestGuard::new() };
        let (mut models, mut left_out) = (Vec::new(), Vec::new());
        for model in given {
            models.push(bench.given(model)?);
        }
        for contestant in contestants {
            match bench.contestant(contestant) {
                Err(TrainError::Model(error)) if may_be_left_out(contestant, &error) => {
                    let text = format!("left out: {error}");
                    progress.note(&text);
                    left_out.push(text);
                }
                runs => models.push(runs?),
            }
        }
        let environment =
            (!options.deterministic).then(|| Environment::detect(options.n_threads.get()));
        let report = ReportOptions {
            title: options.title.clone(),
            primary: options.primary,
            guard: bench.guard,
            commit: options.commit.clone(),
            environment,
            deterministic: options.deterministic,
            ..ReportOptions::default()
        };
        let mut report = Report::new(&models, &report)?;
        report.warnings.extend(left_out);
        Ok(report)
    })
}

fn may_be_left_out(contestant: &Contestant, error: &ModelError) -> bool {
    let lacks_data =
        matches!(error, ModelError::NeedsTime { .. } | ModelError::NeedsCatalog { .. });
    let is_stopped = matches!(error, ModelError::Cancelled { .. });
    !contestant.is_required && (lacks_data || (!contestant.is_baseline && !is_stopped))
}

struct Bench<'a> {
    dataset: &'a Dataset,
    options: &'a MeasureOptions,
    max_history: usize,
    progress: &'a dyn Progress,
    guard: TestGuard,
}

impl Bench<'_> {
    fn contestant(&self, contestant: &Contestant) -> Result<ModelRuns, TrainError> {
        let spec = contestant.spec.as_ref();
        let seeds = if spec.uses_seed() { &self.options.seeds[..] } else { &[0][..] };
        let mut runs = Vec::new();
        let mut hyperparameters = spec.hyperparameters();
        for seed in seeds {
            let label = match spec.uses_seed() {
                true => format!("{} seed {seed}", spec.name()),
                false => spec.name().to_owned(),
            };
            self.progress.begin(&format!("train {label}"), None);
            let options = TrainOptions {
                fit_on: self.options.fit_on,
                seed: *seed,
                n_threads: self.options.n_threads,
                memory_limit_bytes: self.options.memory_limit_bytes,
                seen: self.options.seen,
                checkpoint: None,
            };
            let trained = train(self.dataset, spec, &options, self.progress)?;
            // With what the data decided, which is the same for every seed.
            hyperparameters = trained.model.hyperparameters();
            runs.push(self.run(&label, &trained)?);
        }
        Ok(ModelRuns {
            name: spec.name().to_owned(),
            is_baseline: contestant.is_baseline,
            hyperparameters,
            runs,
        })
    }

    fn given(&self, given: &Given) -> Result<ModelRuns, TrainError> {
        let measured_on = &self.dataset.manifest.content_hash;
        if given.dataset_hash != *measured_on {
            return Err(TrainError::OtherDataset {
                model: given.name.clone(),
                trained_on: given.dataset_hash.clone(),
                measured_on: measured_on.clone(),
            });
        }
        let model = given.model.as_ref();
        let (validation, evaluation, _) = self.evaluations(&given.name, model, given.fit_on)?;
        let training = training_curve(&given.record);
        let model_bytes = Some(given.n_bytes);
        let run = Run { validation, training, model_bytes, ..Run::new(evaluation) };
        Ok(ModelRuns {
            name: given.name.clone(),
            is_baseline: false,
            hyperparameters: model.hyperparameters(),
            runs: vec![run],
        })
    }

    fn run(&self, label: &str, trained: &Trained) -> Result<Run, TrainError> {
        let (validation, evaluation, evaluate_secs) =
            self.evaluations(label, trained.model.as_ref(), trained.fit_on)?;
        let timing = Timing {
            fit_secs: trained.fit_secs,
            evaluate_secs,
            memory_bytes: trained.memory_bytes,
        };
        Ok(Run {
            seed: trained.seed,
            evaluation,
            validation,
            training: training_curve(&trained.record),
            timing: Some(timing),
            model_bytes: Some(trained.learned_bytes + self.tables_bytes()),
        })
    }

    /// What a model file holds beside what was learned: vocabulary, titles, encoders. Its header is some kilobytes more.
    fn tables_bytes(&self) -> u64 {
        let Dataset { items, titles, encoders, .. } = self.dataset;
        let encoders = serde_json::to_vec(encoders).map_or(0, |json| json.len());
        (items.to_bytes().len() + titles.to_bytes().len() + encoders) as u64
    }

    /// On validation, where the model has not learned from it, and on test, with the seconds of test.
    fn evaluations(
        &self,
        label: &str,
        model: &dyn Recommender,
        fit_on: FitOn,
    ) -> Result<(Option<Evaluation>, Evaluation, f64), TrainError> {
        let measure = |mut options: EvaluateOptions| {
            options.max_history = self.max_history;
            options.seen = self.options.seen;
            evaluate(self.dataset, &AsScorer(model), &options, self.progress)
        };
        let has_validation =
            fit_on == FitOn::Train && self.dataset.manifest.counts.n_validation > 0;
        let validation = match has_validation.then(|| measure(EvaluateOptions::validation(label))) {
            // Events, but none that is asked for: sessions of one event.
            Some(Err(EvalError::NoTargets { .. })) | None => None,
            Some(found) => Some(found?),
        };
        let started = Instant::now();
        let evaluation = measure(EvaluateOptions::test(label, &self.guard))?;
        Ok((validation, evaluation, started.elapsed().as_secs_f64()))
    }
}

fn training_curve(record: &FitRecord) -> Vec<TrainingPoint> {
    let points = record.curve.iter().map(|epoch| TrainingPoint {
        epoch: epoch.epoch as f64,
        loss: epoch.train_loss,
        validation: epoch.validation_ndcg_at_10,
    });
    points.collect()
}
