//! How much of what a search gained on validation is there on test.

use forecart_data::{Dataset, Progress};
use forecart_eval::report::Environment;
use forecart_eval::tuning::{Search, Trial};
use forecart_eval::{EvaluateOptions, ModelRuns, Report, ReportOptions, Run, TestGuard, evaluate};
use forecart_models::recommend::{FitOn, registry};

use super::{TuneOptions, merged};
use crate::error::TrainError;
use crate::fit::{TrainOptions, train};
use crate::measure::AsScorer;

/// Fits the defaults and the best trial once more, reads the test part once for each, and makes the report of the
/// search.
///
/// # Errors
/// [`TrainError`] if either cannot be fitted or measured.
pub fn survival(
    dataset: &Dataset,
    options: &TuneOptions,
    trials: Vec<Trial>,
    title: &str,
    progress: &dyn Progress,
) -> Result<Search, TrainError> {
    let best = Search::best(&trials)
        .ok_or_else(|| TrainError::Search { reason: "no trial was finished".into() })?;
    let guard = TestGuard::new();
    let mut models = Vec::new();
    let names = [("default", true, 0), ("tuned", false, best)];
    for (name, is_baseline, number) in names {
        let keys = merged(&options.keys, &trials[number].parameters);
        let spec = registry::spec(&options.model, &keys)?;
        progress.begin(&format!("measure {name}"), None);
        let fit = TrainOptions {
            fit_on: FitOn::Train,
            seed: options.seed,
            n_threads: options.n_threads,
            memory_limit_bytes: options.memory_limit_bytes,
            seen: options.seen,
            checkpoint: None,
        };
        let trained = train(dataset, spec.as_ref(), &fit, progress)?;
        let scorer = AsScorer(trained.model.as_ref());
        let measure = |how: EvaluateOptions| evaluate(dataset, &scorer, &how, progress);
        let validation = measure(options.on_validation(name))?;
        let run = Run {
            validation: Some(validation),
            model_bytes: Some(trained.learned_bytes),
            ..Run::new(measure(options.measured(EvaluateOptions::test(name, &guard)))?)
        };
        models.push(ModelRuns {
            name: name.into(),
            is_baseline,
            hyperparameters: trained.model.hyperparameters(),
            runs: vec![run],
        });
    }
    let report = ReportOptions {
        title: format!("{title}: {} tuned", options.model),
        primary: options.metric,
        guard,
        environment: Some(Environment::detect(options.n_threads.get())),
        ..ReportOptions::default()
    };
    let report = Report::new(&models, &report)?;
    let space = registry::spec(&options.model, &options.keys)?.search_space();
    let space = serde_json::to_value(space).unwrap_or_default();
    Ok(Search::new(&options.model, options.seed, space, trials, report)?)
}
