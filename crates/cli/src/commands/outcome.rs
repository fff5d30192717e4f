//! `train` and `evaluate` on a sample table: probabilities of a click, a conversion, a purchase.

use anyhow::Context as _;
use forecart_data::SampleTable;
use forecart_data::storage::write_file;
use forecart_eval::probability::{MeasureOptions, ProbabilityMetric as Metric};
use forecart_eval::{Interval, find_sample_leaks};
use forecart_models::ads::{OutcomeSpec, registry};
use forecart_models::training::Checkpoint;
use forecart_train::{
    CONSTANT, OutcomeOptions, OutcomeReport, leave_out, measure_outcomes, train_outcome,
};

use super::evaluate::leaked;
use super::{Context, train};
use crate::args::{EvaluateArgs, FitOnName, TrainArgs};
use crate::failure::UsageError;
use crate::output;

fn options(context: &Context, checkpoint: Option<Checkpoint>) -> OutcomeOptions {
    OutcomeOptions {
        seed: context.config.seed,
        n_threads: context.config.threads(),
        memory_limit_bytes: context.config.memory_limit_bytes,
        checkpoint,
        measure: MeasureOptions::default(),
    }
}

fn spec(context: &Context, name: &str) -> anyhow::Result<Box<dyn OutcomeSpec>> {
    let name = registry::resolved(name);
    Ok(registry::spec(name, &context.config.outcome_model(name)?)?)
}

pub(crate) fn train(context: &Context, arguments: &TrainArgs) -> anyhow::Result<()> {
    let spec = spec(context, &arguments.model)?;
    if arguments.fit_on == FitOnName::TrainValidation {
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
    let checkpoint = Checkpoint::new(train::checkpoint_of(&arguments.out));
    if arguments.restart {
        checkpoint.remove()?;
    }
    let options = options(context, Some(checkpoint.clone()));
    let (file, fit_secs) = train_outcome(&table, spec.as_ref(), &options, &context.display)?;
    file.save(&arguments.out)?;
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
    if let Some(last) = header.record.curve.last() {
        let chosen = header.record.chosen_epoch.unwrap_or(last.epoch);
        output::line(&format!("{} epochs, epoch {chosen} was best on validation", last.epoch))?;
    }
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

pub(crate) fn evaluate(context: &Context, arguments: &EvaluateArgs) -> anyhow::Result<()> {
    refuse_flags(arguments, "a sample table")?;
    let is_all = arguments.models.iter().any(|name| name == "all");
    let names: Vec<&str> = match is_all {
        true => registry::models().map(|(name, _)| name).collect(),
        false if arguments.models.is_empty() => vec!["lr", registry::DEFAULT_MODEL],
        false => arguments.models.iter().map(String::as_str).collect(),
    };
    let mut specs = names.iter().map(|name| spec(context, name)).collect::<Result<Vec<_>, _>>()?;
    let folder = arguments.data.as_ref().context("a sample table is named by --data")?;
    let table = SampleTable::open(folder)?;
    let left_out = if is_all { leave_out(&table, &mut specs) } else { Vec::new() };
    specs.iter().try_for_each(|spec| spec.check_columns(&table.manifest.columns))?;
    let leakage = find_sample_leaks(&table);
    if !leakage.leaks.is_empty() && !arguments.allow_leaks {
        return Err(leaked(
            &leakage,
            "repair the data, or leave the column out (`samples.ignore`)",
        )
        .into());
    }
    let options = options(context, None);
    let mut report = measure_outcomes(&table, &specs, &options, &context.display)?;
    report.left_out = left_out;
    report.leakage = leakage;
    context.display.end();
    if let Some(out) = &arguments.out {
        std::fs::create_dir_all(out).with_context(|| format!("make {out:?}"))?;
        write_file(&out.join("report.json"), &serde_json::to_vec_pretty(&report)?)?;
    }
    if context.json {
        return output::json(&report);
    }
    print(&report)
}

/// Flags that mean something to recommenders alone.
pub(super) fn refuse_flags(arguments: &EvaluateArgs, folder: &str) -> anyhow::Result<()> {
    let given = [
        ("--model", !arguments.model.is_empty()),
        ("--protocol", arguments.protocol.is_some()),
        ("--gate", arguments.gate.is_some()),
        ("--max-history", arguments.max_history.is_some()),
        ("--seen", arguments.seen.is_some()),
        ("--no-baselines", arguments.no_baselines),
        ("--seeds", arguments.seeds.get() > 1),
        ("--test", arguments.test.is_some()),
        ("--deterministic", arguments.deterministic),
        ("--fit-on", arguments.fit_on == FitOnName::TrainValidation),
    ];
    match given.iter().find(|(_, is_given)| *is_given) {
        Some((flag, _)) => {
            let message = format!("{flag} says nothing of {folder}; leave it out");
            Err(UsageError(message).into())
        }
        None => Ok(()),
    }
}

pub(super) fn print(report: &OutcomeReport) -> anyhow::Result<()> {
    for leak in &report.leakage.leaks {
        output::line(&format!("LEAK  {leak}"))?;
    }
    for note in &report.leakage.notes {
        output::line(&format!("note: {note}"))?;
    }
    let columns = [
        Metric::Auc,
        Metric::AveragePrecision,
        Metric::Logloss,
        Metric::NormalizedEntropy,
        Metric::Ece,
    ];
    let rows: Vec<Vec<String>> = report
        .rows
        .iter()
        .map(|row| {
            let shown = columns.iter().map(|metric| {
                let value = row.measured.value(*metric);
                match (value, row.measured.interval(*metric)) {
                    (Some(value), Some(Interval { low, high, .. })) => {
                        format!("{value:.4} ({low:.4}..{high:.4})")
                    }
                    (Some(value), None) => format!("{value:.4}"),
                    (None, _) => "-".to_owned(),
                }
            });
            let baseline = if row.model == CONSTANT { "*" } else { "" };
            let mut cells = vec![format!("{}{baseline}", row.model)];
            cells.extend(shown);
            cells.push(match row.measured.reaches_noise_floor() {
                true => "yes".to_owned(),
                false => format!("no, floor {:.4}", row.measured.noise_floor.mean),
            });
            cells.push(format!("{:.1}", row.fit_secs));
            cells.push(format!("{:.1}", row.learned_bytes as f64 / 1e3));
            cells
        })
        .collect();
    let header =
        ["model", "AUC", "AP", "log loss", "entropy", "ECE", "calibrated", "seconds", "KB"];
    output::line(&output::table(&header, &rows, 1))?;
    if report.rows.iter().any(|row| !row.fold_means.is_empty()) {
        let rows: Vec<Vec<String>> = report
            .rows
            .iter()
            .filter(|row| !row.fold_means.is_empty())
            .map(|row| {
                let means = row.fold_means.iter().map(|(_, value)| format!("{value:.4}"));
                std::iter::once(row.model.clone()).chain(means).collect()
            })
            .collect();
        output::line(&output::table(&["mean over folds", "AUC", "AP"], &rows, 1))?;
    }
    for left_out in &report.left_out {
        output::line(&format!("left out: {}", left_out.reason))?;
    }
    let best = &report.rows[0];
    let first = best.measured.n_rows;
    output::line(&format!(
        "task {}, split {}, {} rows measured, {} positive; * is the share of positive training rows, for every row",
        report.task,
        report.split.name(),
        output::count(first as u64),
        output::count(best.measured.n_positive as u64),
    ))
}
