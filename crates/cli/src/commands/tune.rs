//! `tune`: searches for better hyperparameters of one model.

use std::num::NonZeroUsize;
use std::time::Duration;

use forecart_data::storage::{remove_file, write_file};
use forecart_data::{Dataset, IntentTable, OrderTable, Questions, SampleTable, SeenItems};
use forecart_eval::tuning::{Search, SearchReport};
use forecart_eval::{Leakage, find_leaks, find_sample_leaks};
use forecart_models::recommend::{FitOn, TrainingView, registry};
use forecart_models::{ads, support};
use forecart_train::{Budget, ListMeasure, TuneData, TuneOptions, survival, tune};
use serde_json::Value;

use super::outcome::{self, refuse_flags};
use super::{Context, evaluate};
use crate::args::TuneArgs;
use crate::failure::UsageError;
use crate::output;

/// Trials where no budget is given.
const N_TRIALS: NonZeroUsize = NonZeroUsize::new(40).expect("40 is not 0");

/// The metric of lists that decides where none is named.
const METRIC: &str = "ndcg@10";

pub(crate) fn run(context: &Context, arguments: &TuneArgs) -> anyhow::Result<()> {
    if SampleTable::is_at(&arguments.data) {
        return outcomes(context, arguments);
    }
    if OrderTable::is_at(&arguments.data) {
        let message = format!(
            "{:?} is an order table: its forecasts set their constants themselves or by `[demand_models]`, and are not searched",
            arguments.data
        );
        return Err(UsageError(message).into());
    }
    if IntentTable::is_at(&arguments.data) {
        return intents(context, arguments);
    }
    if Questions::is_at(&arguments.data) {
        return questions(context, arguments);
    }
    let model = registry::entry(&arguments.model)?.name;
    let metric = evaluate::deciding(arguments.metric.as_deref().unwrap_or(METRIC))?;
    let dataset = Dataset::open(&arguments.data)?;
    let leakage = find_leaks(&dataset);
    check(&leakage, arguments, evaluate::REPAIR)?;
    let usual_length = || TrainingView::new(&dataset, FitOn::Train).usual_length();
    let measure = ListMeasure {
        metric,
        max_history: arguments.max_history.map_or_else(usual_length, usize::from),
        seen: arguments.seen.map(SeenItems::from),
    };
    let options = options(context, arguments, model, context.config.model(model)?)?;
    let mut search = search(context, arguments, TuneData::Lists(&dataset, measure), &options)?;
    if let SearchReport::Lists(report) = &mut search.report {
        report.leakage = leakage;
        report.commit = evaluate::commit();
    }
    finish(context, arguments, &search)
}

/// Flags that mean something to recommenders alone, and whether they are given.
fn flags_of_lists(arguments: &TuneArgs) -> [(&'static str, bool); 3] {
    [
        ("--metric", arguments.metric.is_some()),
        ("--max-history", arguments.max_history.is_some()),
        ("--seen", arguments.seen.is_some()),
    ]
}

/// Models of intents, by the accuracy on validation.
fn intents(context: &Context, arguments: &TuneArgs) -> anyhow::Result<()> {
    let mut flags = flags_of_lists(arguments).to_vec();
    flags.push(("--allow-leaks", arguments.allow_leaks));
    refuse_flags("an intent table, where accuracy decides", &flags)?;
    let model = support::registry::resolved(&arguments.model);
    let table = IntentTable::open(&arguments.data)?;
    let options = options(context, arguments, model, context.config.intent_model(model)?)?;
    let how = super::support::options(context, None)?;
    let mut search = search(context, arguments, TuneData::Intents(&table, how), &options)?;
    if let SearchReport::Intents(report) = &mut search.report {
        report.commit = evaluate::commit();
    }
    finish(context, arguments, &search)
}

/// Models of questions, by the log loss of validation.
fn questions(context: &Context, arguments: &TuneArgs) -> anyhow::Result<()> {
    let mut flags = flags_of_lists(arguments).to_vec();
    flags.push(("--allow-leaks", arguments.allow_leaks));
    refuse_flags("a question table, where log loss decides", &flags)?;
    let model = support::questions::registry::resolved(&arguments.model);
    let table = Questions::open(&arguments.data)?;
    let options = options(context, arguments, model, context.config.question_model(model)?)?;
    let mut search = search(context, arguments, TuneData::Questions(&table), &options)?;
    if let SearchReport::Questions(report) = &mut search.report {
        report.commit = evaluate::commit();
    }
    finish(context, arguments, &search)
}

/// Models of a binary outcome, by the log loss of validation.
fn outcomes(context: &Context, arguments: &TuneArgs) -> anyhow::Result<()> {
    refuse_flags("a sample table, where log loss decides", &flags_of_lists(arguments))?;
    let model = ads::registry::resolved(&arguments.model);
    let table = SampleTable::open(&arguments.data)?;
    let leakage = find_sample_leaks(&table);
    check(&leakage, arguments, outcome::REPAIR)?;
    let options = options(context, arguments, model, context.config.outcome_model(model)?)?;
    let mut search = search(context, arguments, TuneData::Outcomes(&table), &options)?;
    if let SearchReport::Outcomes(report) = &mut search.report {
        report.leakage = leakage;
        report.commit = evaluate::commit();
    }
    finish(context, arguments, &search)
}

fn check(leakage: &Leakage, arguments: &TuneArgs, repair: &str) -> anyhow::Result<()> {
    match leakage.leaks.is_empty() || arguments.allow_leaks {
        true => Ok(()),
        false => Err(evaluate::leaked(leakage, repair).into()),
    }
}

fn options(
    context: &Context,
    arguments: &TuneArgs,
    model: &str,
    keys: Value,
) -> anyhow::Result<TuneOptions> {
    let budget = match arguments.minutes {
        Some(minutes) if minutes > 0.0 && minutes.is_finite() => {
            Budget::Time(Duration::from_secs_f64(minutes * 60.0))
        }
        Some(_) => return Err(UsageError("--minutes must be above 0".into()).into()),
        None => Budget::Trials(arguments.trials.unwrap_or(N_TRIALS)),
    };
    Ok(TuneOptions {
        model: model.to_owned(),
        keys,
        budget,
        seed: context.config.seed,
        n_threads: context.config.threads(),
        memory_limit_bytes: context.config.memory_limit_bytes,
        prunes: !arguments.no_pruning,
    })
}

fn search(
    context: &Context,
    arguments: &TuneArgs,
    data: TuneData<'_>,
    options: &TuneOptions,
) -> anyhow::Result<Search> {
    let journal = arguments.out.join("trials.journal");
    if arguments.restart {
        remove_file(&journal)?;
    }
    let trials = tune(data, options, &journal, &context.display)?;
    let title = arguments.data.display().to_string();
    Ok(survival(data, options, trials, &title, &context.display)?)
}

fn finish(context: &Context, arguments: &TuneArgs, search: &Search) -> anyhow::Result<()> {
    context.display.end();
    let out = &arguments.out;
    write_file(&out.join("report.html"), search.to_html()?.as_bytes())?;
    write_file(&out.join("report.json"), search.to_json()?.as_bytes())?;
    write_file(&out.join("best.toml"), search.to_toml().as_bytes())?;
    if context.json {
        return output::json(search);
    }
    output::line(&search.table())?;
    let data = match &search.report {
        SearchReport::Lists(_) => String::new(),
        SearchReport::Outcomes(_) | SearchReport::Intents(_) | SearchReport::Questions(_) => {
            format!("--data {} ", arguments.data.display())
        }
    };
    output::line(&format!(
        "report: {}; next: forecart train --config {} {data}--model {}",
        out.join("report.html").display(),
        out.join("best.toml").display(),
        search.model
    ))
}
