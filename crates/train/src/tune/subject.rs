//! What is searched: recommenders on a dataset, models of an outcome on a sample table.

use std::num::NonZeroUsize;

use forecart_data::{Dataset, Progress, SampleTable, SeenItems, Silent};
use forecart_eval::tuning::Objective;
use forecart_eval::{EvaluateOptions, Metric, evaluate};
use forecart_models::ads::{OutcomePredictor, OutcomeSpec, Positions};
use forecart_models::recommend::{FitOn, ModelSpec, Parameter};
use forecart_models::training::FitContext;
use forecart_models::{ads, recommend};
use serde_json::Value;

use super::TuneOptions;
use crate::error::TrainError;
use crate::fit::{TrainOptions, train};
use crate::measure::AsScorer;
use crate::outcome::rounds;

/// How lists are measured.
#[derive(Debug, Clone, Copy)]
pub struct ListMeasure {
    /// The metric that decides.
    pub metric: Metric,
    /// Models see the newest so many events.
    pub max_history: usize,
    /// Whether seen items are masked; `None` takes what the dataset says.
    pub seen: Option<SeenItems>,
}

impl ListMeasure {
    /// How a trial is measured.
    pub(super) fn on_validation(&self, label: impl Into<String>) -> EvaluateOptions {
        self.of(EvaluateOptions::validation(label))
    }

    /// `how` with what this search asks of a measurement.
    pub(super) fn of(&self, mut how: EvaluateOptions) -> EvaluateOptions {
        how.max_history = self.max_history;
        how.seen = self.seen;
        how
    }
}

/// What trials are fitted and measured on.
#[derive(Debug, Clone, Copy)]
pub enum TuneData<'a> {
    /// Recommenders, by a metric of lists on the validation part.
    Lists(&'a Dataset, ListMeasure),
    /// Models of a binary outcome, by the log loss of the validation rows before calibration; of a table in folds, of all rounds together.
    Outcomes(&'a SampleTable),
}

/// A model with its hyperparameters, of either kind.
pub(super) enum Spec {
    Lists(Box<dyn ModelSpec>),
    Outcomes(Box<dyn OutcomeSpec>),
}

/// What a fit may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resources {
    pub(super) n_threads: NonZeroUsize,
    pub(super) memory_limit_bytes: Option<u64>,
}

/// What became of a trial that was fitted to its end.
pub(super) struct Outcome {
    pub(super) value: Option<f64>,
    pub(super) chosen_epoch: Option<usize>,
}

impl Spec {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Lists(spec) => spec.name(),
            Self::Outcomes(spec) => spec.name(),
        }
    }

    pub(super) fn search_space(&self) -> &'static [Parameter] {
        match self {
            Self::Lists(spec) => spec.search_space(),
            Self::Outcomes(spec) => spec.search_space(),
        }
    }

    pub(super) fn hyperparameters(&self) -> Value {
        match self {
            Self::Lists(spec) => spec.hyperparameters(),
            Self::Outcomes(spec) => spec.hyperparameters(),
        }
    }

    pub(super) fn tuned_instead(&self) -> Option<String> {
        match self {
            Self::Lists(spec) => spec.tuned_instead(),
            Self::Outcomes(_) => None,
        }
    }

    /// Whether one fit keeps all threads busy; others are fitted side by side.
    pub(super) fn uses_threads(&self) -> bool {
        match self {
            Self::Lists(spec) => spec.uses_seed(),
            Self::Outcomes(spec) => spec.uses_threads(),
        }
    }
}

impl TuneData<'_> {
    /// The model `name` with `keys` in place of its defaults.
    pub(super) fn spec(&self, name: &str, keys: &Value) -> Result<Spec, TrainError> {
        Ok(match self {
            Self::Lists(..) => Spec::Lists(recommend::registry::spec(name, keys)?),
            Self::Outcomes(table) => {
                let spec = ads::registry::spec(name, keys)?;
                spec.check_columns(&table.manifest.columns)?;
                Spec::Outcomes(spec)
            }
        })
    }

    pub(super) fn objective(&self) -> Objective {
        match self {
            Self::Lists(_, measure) => Objective::Lists(measure.metric),
            Self::Outcomes(_) => Objective::LogLoss,
        }
    }

    pub(super) fn content_hash(&self) -> &str {
        match self {
            Self::Lists(dataset, _) => &dataset.manifest.content_hash,
            Self::Outcomes(table) => &table.manifest.content_hash,
        }
    }

    pub(super) fn protocol_id(&self) -> String {
        match self {
            Self::Lists(dataset, measure) => measure.on_validation("").protocol_id(dataset),
            Self::Outcomes(table) => table.manifest.description.split.name().to_owned(),
        }
    }

    /// Whether the curve over epochs, which pruning looks at, is of the objective itself.
    pub(super) fn has_curve_of_objective(&self) -> bool {
        match self {
            Self::Lists(_, measure) => measure.metric == Metric::ndcg(10),
            // Of folds, it is of the first.
            Self::Outcomes(table) => rounds(table).len() == 1,
        }
    }

    /// Fits `spec` on training rows and measures it on validation rows alone. `watch` may ask to stop.
    pub(super) fn trial(
        &self,
        number: usize,
        spec: &Spec,
        resources: Resources,
        options: &TuneOptions,
        watch: &dyn Progress,
    ) -> Result<Outcome, TrainError> {
        match (self, spec) {
            (Self::Lists(dataset, measure), Spec::Lists(spec)) => {
                let fit = TrainOptions {
                    fit_on: FitOn::Train,
                    seed: options.seed,
                    n_threads: resources.n_threads,
                    memory_limit_bytes: resources.memory_limit_bytes,
                    seen: measure.seen,
                    checkpoint: None,
                };
                let trained = train(dataset, spec.as_ref(), &fit, watch)?;
                let how = measure.on_validation(format!("trial {number}"));
                let found = evaluate(dataset, &AsScorer(trained.model.as_ref()), &how, &Silent)?;
                let value = found.metric(measure.metric)?;
                Ok(Outcome { value, chosen_epoch: trained.record.chosen_epoch })
            }
            (Self::Outcomes(table), Spec::Outcomes(spec)) => {
                outcomes(table, spec.as_ref(), resources, options.seed, watch)
            }
            _ => Err(TrainError::Search { reason: "model and data are of two kinds".into() }),
        }
    }
}

/// Fits each round of `table` and takes the mean log loss over all its validation rows, by their weights.
fn outcomes(
    table: &SampleTable,
    spec: &dyn OutcomeSpec,
    resources: Resources,
    seed: u64,
    watch: &dyn Progress,
) -> Result<Outcome, TrainError> {
    let (mut loss, mut weights, mut chosen_epoch) = (0.0, 0.0, None);
    for (number, round) in rounds(table).iter().enumerate() {
        let later = Later(watch);
        let context = FitContext {
            seed,
            n_threads: resources.n_threads,
            // Curves of two folds are not one curve.
            progress: if number == 0 { watch } else { &later },
            memory_limit_bytes: resources.memory_limit_bytes,
            checkpoint: None,
        };
        let (predictor, record) = OutcomePredictor::fit(spec, &round.view(table), &context)?;
        let rows = round.validation.iter().map(|row| table.row(*row));
        let found = predictor.predict(rows, Positions::AsLogged)?;
        loss += found.iter().zip(&round.validation).fold(0.0, |sum, (found, row)| {
            // ln(1 + e^z) - y z, of the logit before calibration.
            let (z, y) = (f64::from(found.logit), table.label(*row));
            sum + table.weight(*row) * (z.max(0.0) - z * y + (-z.abs()).exp().ln_1p())
        });
        weights += round.validation.iter().map(|row| table.weight(*row)).sum::<f64>();
        chosen_epoch = chosen_epoch.or(record.chosen_epoch);
    }
    let value = (weights > 0.0).then(|| -loss / weights);
    Ok(Outcome { value, chosen_epoch })
}

/// A watch that hears nothing of epochs.
struct Later<'a>(&'a dyn Progress);

impl Progress for Later<'_> {
    fn begin(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, _: u64) {}
    fn note(&self, _: &str) {}

    fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}
