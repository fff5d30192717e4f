//! `evaluate` of an intent table.

use anyhow::Context as _;
use forecart_data::{IntentTable, Part};
use forecart_eval::intents::IntentMetric;
use forecart_models::model_file::IntentModelFile;
use forecart_models::support::registry;
use forecart_train::{IntentContestant, IntentGiven, IntentMeasuring, measure_intent_models};

use super::super::evaluate::{commit, show, write_report};
use super::super::{Context, gate, outcome};
use super::{spec, training};
use crate::args::{EvaluateArgs, FitOnName};
use crate::failure::UsageError;

/// The model that stands beside the majority in every table, so that others have something to beat.
pub(crate) const BASELINE: &str = "tfidf-lr";

pub(crate) fn evaluate(context: &Context, arguments: &EvaluateArgs) -> anyhow::Result<()> {
    let mut flags = outcome::foreign_flags(arguments);
    // Intent tables have a choice of what is learned from, and models with chance.
    flags.retain(|(flag, _)| !["--fit-on", "--seeds", "--min-confidence"].contains(flag));
    flags.push(("--allow-leaks", arguments.allow_leaks));
    outcome::refuse_flags("an intent table", &flags)?;
    gate::check_files(arguments)?;
    let metric = arguments.gate.as_deref().map(str::parse::<IntentMetric>).transpose();
    let metric = metric.map_err(|error| UsageError(format!("--gate: {error}")))?;
    if let Some(metric) = metric.filter(|_| arguments.no_baselines) {
        let message =
            format!("--gate {metric}: there is no baseline to beat; leave --no-baselines out");
        return Err(UsageError(message).into());
    }
    if arguments.min_confidence.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
        return Err(UsageError("--min-confidence: give a probability, from 0 to 1".into()).into());
    }
    let contestants = contestants(context, arguments)?;
    let given = arguments.model.iter().map(|path| {
        let file = IntentModelFile::open(path)?;
        Ok(IntentGiven { name: gate::name_of(&file.header().model, path, arguments), file })
    });
    let given = given.collect::<anyhow::Result<Vec<_>>>()?;
    let folder = arguments.data.as_ref().context("an intent table is named by --data")?;
    let table = IntentTable::open(folder)?;
    let part = if table.rows(Part::Test).is_empty() { Part::Validation } else { Part::Test };
    if table.rows(part).is_empty() {
        let message = format!(
            "{}: there is no test text; prepare the texts again with --test, or with a share of them in `text.test`",
            folder.display()
        );
        return Err(UsageError(message).into());
    }
    if part == Part::Validation && arguments.fit_on == Some(FitOnName::TrainValidation) {
        let message = "--fit-on train-validation: there is no test part, and validation texts are measured on; leave it out, or prepare the texts \
                       again with --test";
        return Err(UsageError(message.into()).into());
    }
    let measuring = IntentMeasuring {
        n_seeds: arguments.seeds,
        min_confidence: arguments.min_confidence,
        has_majority: !arguments.no_baselines,
        title: format!("{}: support", folder.display()),
        commit: commit(),
        deterministic: arguments.deterministic,
        ..IntentMeasuring::new(training(context, arguments.fit_on, None)?)
    };
    let mut report =
        measure_intent_models(&table, &contestants, &given, part, &measuring, &context.display)?;
    context.display.end();
    if let Some(metric) = metric {
        report.gate = report.judged_by(metric, arguments.gate_override.as_deref());
        gate::record(context, report.gate.as_ref(), arguments, |path, record, key| {
            Ok(IntentModelFile::open(path)?.with_gate(record)?.save_signed(path, key)?)
        })?;
    }
    if let Some(out) = &arguments.out {
        write_report(out, &report.to_html()?, &report.to_json()?)?;
    }
    show(context, arguments, &report, &report.table())?;
    gate::enforce(report.gate.as_ref(), arguments)
}

/// The models asked for, in order, then the baseline where it was not.
fn contestants(
    context: &Context,
    arguments: &EvaluateArgs,
) -> anyhow::Result<Vec<IntentContestant>> {
    let mut names: Vec<&str> = match arguments.models.iter().any(|name| name == "all") {
        true => registry::models().map(|(name, _)| name).collect(),
        false if arguments.models.is_empty() && arguments.model.is_empty() => {
            vec![registry::DEFAULT_MODEL]
        }
        false => arguments.models.iter().map(|name| registry::resolved(name)).collect(),
    };
    if !arguments.no_baselines {
        names.push(BASELINE);
    }
    let mut contestants: Vec<IntentContestant> = Vec::new();
    for name in names {
        if contestants.iter().all(|own| own.name != name) {
            contestants.push(IntentContestant::new(spec(context, name)?, name == BASELINE));
        }
    }
    Ok(contestants)
}
