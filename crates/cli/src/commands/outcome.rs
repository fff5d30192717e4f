//! `train` and `evaluate` on a sample table: probabilities of a click, a conversion, a purchase.

use anyhow::Context as _;
use forecart_data::SampleTable;
use forecart_data::samples::Role;
use forecart_eval::find_sample_leaks;
use forecart_eval::probability::ProbabilityMetric as Metric;
use forecart_models::ads::{OutcomeSpec, registry};
use forecart_models::model_file::{OutcomeModelFile, SigningKey};
use forecart_models::training::Checkpoint;
use forecart_train::{
    OutcomeContestant, OutcomeGiven, OutcomeOptions, leave_out, measure_outcomes, train_outcome,
};

use super::evaluate::{commit, leaked, show, write_report};
use super::{Context, gate, train};
use crate::args::{EvaluateArgs, FitOnName, TrainArgs};
use crate::failure::UsageError;
use crate::output;

pub(super) fn options(context: &Context, checkpoint: Option<Checkpoint>) -> OutcomeOptions {
    OutcomeOptions {
        memory_limit_bytes: context.config.memory_limit_bytes,
        checkpoint,
        ..OutcomeOptions::new(context.config.seed, context.config.threads())
    }
}

pub(super) fn spec(context: &Context, name: &str) -> anyhow::Result<Box<dyn OutcomeSpec>> {
    let name = registry::resolved(name);
    Ok(registry::spec(name, &context.config.outcome_model(name)?)?)
}

pub(crate) fn train(
    context: &Context,
    arguments: &TrainArgs,
    key: Option<&SigningKey>,
) -> anyhow::Result<()> {
    let spec = spec(context, &arguments.model)?;
    if arguments.fit_on == Some(FitOnName::TrainValidation) {
        let message = "--fit-on train-validation: probabilities are calibrated on the validation part, which no model may \
                       have learned from; leave it out";
        return Err(UsageError(message.into()).into());
    }
    let table = SampleTable::open(&arguments.data)?;
    let task = &table.manifest.description.task;
    if let Some(asked) = arguments.task.filter(|asked| asked.name() != task) {
        let message =
            format!("--task {}: the table {:?} is for {task}", asked.name(), arguments.data);
        return Err(UsageError(message).into());
    }
    let checkpoint = train::checkpoint(arguments)?;
    let options = options(context, Some(checkpoint.clone()));
    let (file, fit_secs) = train_outcome(&table, spec.as_ref(), &options, &context.display)?;
    file.save_signed(&arguments.out, key)?;
    checkpoint.remove()?;
    context.display.end();
    let n_bytes = std::fs::metadata(&arguments.out)?.len();
    let header = file.header();
    if context.json {
        return output::json(&serde_json::json!({
            "task": header.task,
            "model": header.model,
            "file": arguments.out,
            "bytes": n_bytes,
            "seconds": fit_secs,
            "seed": header.seed,
            "samples_hash": header.samples.content_hash,
            "calibration": header.serving.calibrator,
            "training": header.record,
        }));
    }
    train::print_epochs(&header.record)?;
    output::line(&format!(
        "wrote {}: {} of {}, {:.1} MB, trained in {fit_secs:.1} s, calibrated by {}; next: forecart predict --model {0} \
         --in rows.csv",
        arguments.out.display(),
        header.model,
        header.task,
        n_bytes as f64 / 1e6,
        header.serving.calibrator.method().name(),
    ))
}

/// The model that stands beside the constant in every table, so that others have something to beat.
const BASELINE: &str = "lr";

pub(crate) fn evaluate(context: &Context, arguments: &EvaluateArgs) -> anyhow::Result<()> {
    refuse_flags("a sample table", &foreign_flags(arguments))?;
    gate::check_files(arguments)?;
    let metric = arguments.gate.as_deref().map(str::parse::<Metric>).transpose();
    let metric = metric.map_err(|error| UsageError(format!("--gate: {error}")))?;
    let is_all = arguments.models.iter().any(|name| name == "all");
    let mut contestants = contestants(context, arguments, is_all)?;
    let folder = arguments.data.as_ref().context("a sample table is named by --data")?;
    let table = SampleTable::open(folder)?;
    if metric == Some(Metric::GroupedAuc) && table.with_role(Role::Group).is_none() {
        return Err(without_metric(Metric::GroupedAuc).into());
    }
    if metric == Some(Metric::Ece) && !contestants.iter().any(|own| own.is_baseline) {
        return Err(without_metric(Metric::Ece).into());
    }
    let left_out = if is_all { leave_out(&table, &mut contestants) } else { Vec::new() };
    let columns = &table.manifest.columns;
    contestants.iter().try_for_each(|own| own.spec.check_columns(columns))?;
    let given = arguments.model.iter().map(|path| {
        let file = OutcomeModelFile::open(path)?;
        Ok(OutcomeGiven { name: gate::name_of(&file.header().model, path, arguments), file })
    });
    let given = given.collect::<anyhow::Result<Vec<_>>>()?;
    let leakage = find_sample_leaks(&table);
    if !leakage.leaks.is_empty() && !arguments.allow_leaks {
        return Err(leaked(&leakage, REPAIR).into());
    }
    let options = OutcomeOptions {
        title: format!("{}: {}", folder.display(), table.manifest.description.task),
        commit: commit(),
        deterministic: arguments.deterministic,
        ..options(context, None)
    };
    let mut report = measure_outcomes(&table, &contestants, &given, &options, &context.display)?;
    report.left_out = left_out;
    report.leakage = leakage;
    if let Some(metric) = metric {
        report.gate = report.judged_by(metric, arguments.gate_override.as_deref());
        if report.gate.is_none() {
            return Err(without_metric(metric).into());
        }
        gate::record(context, report.gate.as_ref(), arguments, |path, record, key| {
            Ok(OutcomeModelFile::open(path)?.with_gate(record)?.save_signed(path, key)?)
        })?;
    }
    context.display.end();
    if let Some(out) = &arguments.out {
        write_report(out, &report.to_html()?, &report.to_json()?)?;
    }
    show(context, arguments, &report, &report.table())?;
    gate::enforce(report.gate.as_ref(), arguments)
}

fn without_metric(metric: Metric) -> UsageError {
    let message = "no baseline of this table has it (grouped_auc needs a group column, ece `lr`); choose another metric";
    UsageError(format!("--gate {metric}: {message}"))
}

/// The models asked for, in order, then the baseline where it was not.
fn contestants(
    context: &Context,
    arguments: &EvaluateArgs,
    is_all: bool,
) -> anyhow::Result<Vec<OutcomeContestant>> {
    let mut names: Vec<&str> = match is_all {
        true => registry::models().map(|(name, _)| name).collect(),
        false if arguments.models.is_empty() && arguments.model.is_empty() => {
            vec![registry::DEFAULT_MODEL]
        }
        false => arguments.models.iter().map(|name| registry::resolved(name)).collect(),
    };
    if !arguments.no_baselines {
        names.push(BASELINE);
    }
    let mut contestants: Vec<OutcomeContestant> = Vec::new();
    for name in names {
        if contestants.iter().all(|own| own.spec.name() != name) {
            contestants.push(OutcomeContestant::new(spec(context, name)?, name == BASELINE));
        }
    }
    Ok(contestants)
}

/// What to do about a leak of a sample table.
pub(super) const REPAIR: &str = "repair the data, or leave the column out (`samples.ignore`)";

/// Flags that mean something to recommenders alone, and whether they are given.
pub(super) fn foreign_flags(arguments: &EvaluateArgs) -> Vec<(&'static str, bool)> {
    vec![
        ("--protocol", arguments.protocol.is_some()),
        ("--max-history", arguments.max_history.is_some()),
        ("--seen", arguments.seen.is_some()),
        ("--seeds", arguments.seeds.get() > 1),
        ("--test", arguments.test.is_some()),
        ("--fit-on", arguments.fit_on == Some(FitOnName::TrainValidation)),
        ("--min-confidence", arguments.min_confidence.is_some()),
    ]
}

/// Refuses the first of `flags` that is given.
pub(super) fn refuse_flags(folder: &str, flags: &[(&str, bool)]) -> Result<(), UsageError> {
    match flags.iter().find(|(_, is_given)| *is_given) {
        Some((flag, _)) => {
            Err(UsageError(format!("{flag} says nothing of {folder}; leave it out")))
        }
        None => Ok(()),
    }
}
