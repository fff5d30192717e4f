//! Fits one model: on the training part, or, for service, on everything before the test part.

use std::num::NonZeroUsize;
use std::time::Instant;

use forecart_data::{Dataset, Progress, SeenItems};
use forecart_models::recommend::{
    FitContext, FitOn, FitRecord, ModelSpec, Recommender, TrainingView,
};
use forecart_models::training::Checkpoint;

use crate::error::TrainError;
use crate::memory;

/// How a model is fitted, beside its hyperparameters.
#[derive(Debug, Clone)]
pub struct TrainOptions {
    /// Which events the model learns from.
    pub fit_on: FitOn,
    /// Where all randomness comes from.
    pub seed: u64,
    /// Threads; the result does not depend on it.
    pub n_threads: NonZeroUsize,
    /// Training that is estimated to need more is refused before it starts.
    pub memory_limit_bytes: Option<u64>,
    /// Which seen items lists leave out on the validation part, where it decides about the model: as in the measurement
    /// that the model is fitted for. `None` takes what the dataset says.
    pub seen: Option<SeenItems>,
    /// Where a model that is trained by epochs saves itself and goes on from; the result does not depend on it. To be
    /// [removed](Checkpoint::remove) by the caller once the model is safe.
    pub checkpoint: Option<Checkpoint>,
}

/// A fitted model and the record of how it came to be.
#[derive(Debug)]
pub struct Trained {
    /// The model.
    pub model: Box<dyn Recommender>,
    /// Loss and validation by epoch. Of a refit: the curve of the fit that chose the epoch.
    pub record: FitRecord,
    /// Which events it learned from.
    pub fit_on: FitOn,
    /// The seed, `None` for models without chance.
    pub seed: Option<u64>,
    /// Seconds of fitting, a refit included.
    pub fit_secs: f64,
    /// Memory that fitting was estimated to need beside the dataset.
    pub needed_bytes: u64,
    /// Memory that fitting added at its peak where the system tells, at least the model's own size.
    pub memory_bytes: u64,
    /// Bytes of what is learned.
    pub learned_bytes: u64,
}

/// Fits `spec` on `dataset`.
///
/// On [`FitOn::Train`] a model that is trained by epochs stops early on the validation part. On
/// [`FitOn::TrainValidation`] it is fitted like that first, which chooses the number of epochs, and
/// then once more, that long, on all events before the test part. A checkpoint of the second fit
/// keeps what the first one chose.
///
/// `progress` is told the memory that fitting needs before it starts.
///
/// # Errors
/// [`TrainError::Model`]: see [`ModelSpec::fit`].
pub fn train(
    dataset: &Dataset,
    spec: &dyn ModelSpec,
    options: &TrainOptions,
    progress: &dyn Progress,
) -> Result<Trained, TrainError> {
    let context = FitContext {
        seed: options.seed,
        n_threads: options.n_threads,
        progress,
        memory_limit_bytes: options.memory_limit_bytes,
        checkpoint: options.checkpoint.as_ref(),
    };
    let view_of = |fit_on: FitOn| {
        TrainingView::new(dataset, fit_on).with_early_stopping().with_seen(options.seen)
    };
    let view = view_of(options.fit_on);
    let needed_bytes = spec.needed_bytes(&view);
    let needed_mb = needed_bytes.div_ceil(1_000_000);
    let statement = format!("{} needs about {needed_mb} MB beside the dataset", spec.name());
    match spec.uses_seed() {
        true => progress.announce(&statement),
        false => progress.note(&statement),
    }
    let train_view = view_of(FitOn::Train);
    let has_validation = train_view.validation().is_some();
    if spec.uses_seed() && !has_validation {
        progress.announce(&format!(
            "the dataset has no validation part, so nothing stops {} early: it trains all its epochs (n_epochs)",
            spec.name()
        ));
    }
    memory::reset_peak();
    let before = memory::resident_bytes();
    let started = Instant::now();
    let chooses_epochs =
        spec.uses_seed() && has_validation && options.fit_on == FitOn::TrainValidation;
    let (model, record) = if chooses_epochs {
        let run = train_view.run(spec, options.seed);
        let chosen = context.checkpoint.map(|checkpoint| checkpoint.choice(&run)).transpose()?;
        let record = match chosen.flatten() {
            Some(record) => record,
            None => spec.fit(&train_view, &context)?.record,
        };
        let checkpoint =
            context.checkpoint.map(|checkpoint| checkpoint.of_refit(run, record.clone()));
        let context = FitContext { checkpoint: checkpoint.as_ref(), ..context };
        (spec.for_refit(&record).fit(&view, &context)?.model, record)
    } else {
        let fitted = spec.fit(&view, &context)?;
        (fitted.model, fitted.record)
    };
    let fit_secs = started.elapsed().as_secs_f64();
    let added = match (before, memory::peak_memory_bytes()) {
        (Some(before), Some(peak)) => peak.saturating_sub(before),
        _ => 0,
    };
    let model_bytes: usize = model.tensors().iter().map(|(_, t)| t.data.to_bytes().len()).sum();
    Ok(Trained {
        model,
        record,
        fit_on: options.fit_on,
        seed: spec.uses_seed().then_some(options.seed),
        fit_secs,
        needed_bytes,
        memory_bytes: added.max(model_bytes as u64),
        learned_bytes: model_bytes as u64,
    })
}
