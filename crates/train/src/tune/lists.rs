//! Searches of recommenders on a dataset.

use forecart_data::{Dataset, Progress, SeenItems, Silent};
use forecart_eval::report::Environment;
use forecart_eval::tuning::{Objective, SearchReport};
use forecart_eval::{
    EvaluateOptions, Metric, ModelRuns, Report, ReportOptions, Run, TestGuard, evaluate,
};
use forecart_models::recommend::{FitOn, ModelSpec, Parameter, registry};
use serde_json::Value;

use super::TuneOptions;
use super::subject::{Candidate, NAMES, Outcome, Resources, Subject};
use crate::error::TrainError;
use crate::fit::{TrainOptions, train};
use crate::measure::AsScorer;

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
    fn on_validation(&self, label: impl Into<String>) -> EvaluateOptions {
        self.of(EvaluateOptions::validation(label))
    }

    /// `how` with what this search asks of a measurement.
    fn of(&self, mut how: EvaluateOptions) -> EvaluateOptions {
        how.max_history = self.max_history;
        how.seen = self.seen;
        how
    }
}

/// A dataset and how lists are measured on it.
pub(super) struct Lists<'a> {
    pub(super) dataset: &'a Dataset,
    pub(super) measure: ListMeasure,
}

impl Lists<'_> {
    fn fit(&self, seed: u64, resources: Resources) -> TrainOptions {
        TrainOptions {
            fit_on: FitOn::Train,
            seed,
            n_threads: resources.n_threads,
            memory_limit_bytes: resources.memory_limit_bytes,
            seen: self.measure.seen,
            checkpoint: None,
        }
    }
}

impl Subject for Lists<'_> {
    fn objective(&self) -> Objective {
        Objective::Lists(self.measure.metric)
    }

    fn content_hash(&self) -> &str {
        &self.dataset.manifest.content_hash
    }

    fn protocol_id(&self) -> String {
        self.measure.on_validation("").protocol_id(self.dataset)
    }

    fn has_curve_of_objective(&self) -> bool {
        self.measure.metric == Metric::ndcg(10)
    }

    fn candidate<'s>(
        &'s self,
        name: &str,
        keys: &Value,
    ) -> Result<Box<dyn Candidate + 's>, TrainError> {
        Ok(Box::new(Recommender { spec: registry::spec(name, keys)?, on: self }))
    }

    fn side_by_side(
        &self,
        options: &TuneOptions,
        keys: [Value; 2],
        title: String,
        progress: &dyn Progress,
    ) -> Result<SearchReport, TrainError> {
        let guard = TestGuard::new();
        let mut models = Vec::new();
        for ((name, is_baseline), keys) in NAMES.into_iter().zip(keys) {
            let spec = registry::spec(&options.model, &keys)?;
            progress.begin(&format!("measure {name}"), None);
            let fit = self.fit(options.seed, options.resources());
            let trained = train(self.dataset, spec.as_ref(), &fit, progress)?;
            let scorer = AsScorer(trained.model.as_ref());
            let evaluated = |how: EvaluateOptions| evaluate(self.dataset, &scorer, &how, progress);
            let validation = evaluated(self.measure.on_validation(name))?;
            let run = Run {
                validation: Some(validation),
                model_bytes: Some(trained.learned_bytes),
                ..Run::new(evaluated(self.measure.of(EvaluateOptions::test(name, &guard)))?)
            };
            models.push(ModelRuns {
                name: name.into(),
                is_baseline,
                hyperparameters: trained.model.hyperparameters(),
                runs: vec![run],
            });
        }
        let report = ReportOptions {
            title,
            primary: self.measure.metric,
            guard,
            environment: Some(Environment::detect(options.n_threads.get())),
            ..ReportOptions::default()
        };
        Ok(SearchReport::Lists(Box::new(Report::new(&models, &report)?)))
    }
}

struct Recommender<'a> {
    spec: Box<dyn ModelSpec>,
    on: &'a Lists<'a>,
}

impl Candidate for Recommender<'_> {
    fn name(&self) -> &'static str {
        self.spec.name()
    }

    fn search_space(&self) -> &'static [Parameter] {
        self.spec.search_space()
    }

    fn hyperparameters(&self) -> Value {
        self.spec.hyperparameters()
    }

    fn tuned_instead(&self) -> Option<String> {
        self.spec.tuned_instead()
    }

    fn uses_threads(&self) -> bool {
        self.spec.uses_seed()
    }

    fn trial(
        &self,
        number: usize,
        seed: u64,
        resources: Resources,
        watch: &dyn Progress,
    ) -> Result<Outcome, TrainError> {
        let Lists { dataset, measure } = self.on;
        let trained = train(dataset, self.spec.as_ref(), &self.on.fit(seed, resources), watch)?;
        let how = measure.on_validation(format!("trial {number}"));
        let found = evaluate(dataset, &AsScorer(trained.model.as_ref()), &how, &Silent)?;
        let value = found.metric(measure.metric)?;
        Ok(Outcome { value, chosen_epoch: trained.record.chosen_epoch })
    }
}
