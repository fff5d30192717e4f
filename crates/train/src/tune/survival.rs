//! How much of what a search gained on validation is there on test.

use forecart_data::{Dataset, Progress, SampleTable};
use forecart_eval::report::Environment;
use forecart_eval::tuning::{Search, SearchReport, Trial};
use forecart_eval::{EvaluateOptions, ModelRuns, Report, ReportOptions, Run, TestGuard, evaluate};
use forecart_models::ads;
use forecart_models::recommend::{FitOn, registry};
use serde_json::Value;

use super::{ListMeasure, TuneData, TuneOptions, merged};
use crate::error::TrainError;
use crate::fit::{TrainOptions, train};
use crate::measure::AsScorer;
use crate::outcome::{OutcomeContestant, OutcomeOptions, measure_outcomes};

/// Fits the defaults and the best trial once more, reads the test part once for each, and makes the report of the
/// search.
///
/// # Errors
/// [`TrainError`] if either cannot be fitted or measured.
pub fn survival(
    data: TuneData<'_>,
    options: &TuneOptions,
    trials: Vec<Trial>,
    title: &str,
    progress: &dyn Progress,
) -> Result<Search, TrainError> {
    let best = Search::best(&trials)
        .ok_or_else(|| TrainError::Search { reason: "no trial was finished".into() })?;
    let keys = [0, best].map(|number| merged(&options.keys, &trials[number].parameters));
    let title = format!("{title}: {} tuned", options.model);
    let report = match data {
        TuneData::Lists(dataset, measure) => {
            SearchReport::Lists(Box::new(lists(dataset, measure, options, keys, title, progress)?))
        }
        TuneData::Outcomes(table) => {
            SearchReport::Outcomes(Box::new(outcomes(table, options, keys, title, progress)?))
        }
    };
    let space = data.spec(&options.model, &options.keys)?.search_space();
    let space = serde_json::to_value(space).unwrap_or_default();
    Ok(Search::new(&options.model, options.seed, space, trials, report)?)
}

/// Names of the two rows, and whether each is there to be beaten.
const NAMES: [(&str, bool); 2] = [("default", true), ("tuned", false)];

fn lists(
    dataset: &Dataset,
    measure: ListMeasure,
    options: &TuneOptions,
    keys: [Value; 2],
    title: String,
    progress: &dyn Progress,
) -> Result<Report, TrainError> {
    let guard = TestGuard::new();
    let mut models = Vec::new();
    for ((name, is_baseline), keys) in NAMES.into_iter().zip(keys) {
        let spec = registry::spec(&options.model, &keys)?;
        progress.begin(&format!("measure {name}"), None);
        let fit = TrainOptions {
            fit_on: FitOn::Train,
            seed: options.seed,
            n_threads: options.n_threads,
            memory_limit_bytes: options.memory_limit_bytes,
            seen: measure.seen,
            checkpoint: None,
        };
        let trained = train(dataset, spec.as_ref(), &fit, progress)?;
        let scorer = AsScorer(trained.model.as_ref());
        let evaluated = |how: EvaluateOptions| evaluate(dataset, &scorer, &how, progress);
        let validation = evaluated(measure.on_validation(name))?;
        let run = Run {
            validation: Some(validation),
            model_bytes: Some(trained.learned_bytes),
            ..Run::new(evaluated(measure.of(EvaluateOptions::test(name, &guard)))?)
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
        primary: measure.metric,
        guard,
        environment: Some(Environment::detect(options.n_threads.get())),
        ..ReportOptions::default()
    };
    Ok(Report::new(&models, &report)?)
}

fn outcomes(
    table: &SampleTable,
    options: &TuneOptions,
    keys: [Value; 2],
    title: String,
    progress: &dyn Progress,
) -> Result<forecart_eval::report::OutcomeReport, TrainError> {
    let contestants = NAMES.into_iter().zip(keys).map(|((name, is_baseline), keys)| {
        let spec = ads::registry::spec(&options.model, &keys)?;
        Ok(OutcomeContestant { name: name.to_owned(), spec, is_baseline })
    });
    let contestants = contestants.collect::<Result<Vec<_>, TrainError>>()?;
    let measure = OutcomeOptions {
        memory_limit_bytes: options.memory_limit_bytes,
        title,
        ..OutcomeOptions::new(options.seed, options.n_threads)
    };
    measure_outcomes(table, &contestants, &[], &measure, progress)
}
