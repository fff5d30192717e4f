//! Customer service: from labeled texts to models of what a customer asks, and answers.

mod answers;
mod evaluate;

use std::path::{Path, PathBuf};
use std::time::Instant;

use forecart_data::IntentTable;
use forecart_models::support::{IntentOptions, IntentSpec, registry};
use forecart_models::training::Checkpoint;
use forecart_prepare::texts::{TextsReport, find_in_texts, prepare_texts};
use forecart_train::{IntentTraining, train_intents};

use super::data::print_rows;
use super::{Context, train};
use crate::args::{FitOnName, PrepareArgs, TaskName, TrainArgs};
use crate::failure::UsageError;
use crate::output::{self, count};

pub(crate) use self::answers::{Explained, classify, explain, print_answers};
pub(crate) use self::evaluate::{BASELINE, evaluate};

pub(crate) fn prepare(context: &Context, arguments: &PrepareArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    if arguments.samples.is_empty() {
        let message = "--task support learns from labeled texts: name their files by --samples";
        return Err(UsageError(message.into()).into());
    }
    let config = context.config.text(arguments.label.clone())?;
    let out = arguments.out.clone().unwrap_or_else(|| PathBuf::from("intents"));
    let test: Vec<PathBuf> = arguments.test.iter().cloned().collect();
    let data = context.config.data(None)?;
    let report = prepare_texts(&arguments.samples, &test, &data, &config, &out, &context.display)?;
    context.display.end();
    if context.json {
        return output::json(&report);
    }
    print_texts(&report)?;
    output::line(&format!(
        "wrote {}: {} intents, in {:.1} s; next: forecart train --data {0}",
        out.display(),
        count(report.manifest.n_intents),
        started.elapsed().as_secs_f64(),
    ))
}

/// What was read, and what is wrong with it.
pub(super) fn print_texts(report: &TextsReport) -> anyhow::Result<()> {
    print_rows("rejected", &report.rejected)?;
    for passed in &report.passed_over {
        let (file, what, n) = (&passed.file, &passed.what, count(passed.n));
        output::line(&format!("  passed over in {file}: {what}: {n}"))?;
    }
    for reason in &report.manifest.description.left_out {
        output::line(&format!("  left out: {} texts: {}", count(reason.n_rows), reason.reason))?;
    }
    report.findings.lines().iter().try_for_each(|line| output::line(line))?;
    let parts = ["train", "validation", "test"].iter().zip(report.manifest.parts);
    let parts: Vec<Vec<String>> = parts
        .map(|(name, part)| {
            vec![(*name).to_owned(), count(part.n_texts), count(part.n_out_of_scope)]
        })
        .collect();
    output::line(&output::table(&["part", "texts", "out of scope"], &parts, 1))
}

/// `validate` of an intent table: contradictions, intents of few texts, test texts near others.
pub(crate) fn validate(context: &Context, folder: &Path) -> anyhow::Result<()> {
    let config = context.config.text(None)?;
    let table = IntentTable::open(folder)?;
    table.verify()?;
    let (near, min_texts) = (config.raw.near_duplicate, config.raw.min_texts);
    let findings = find_in_texts(&table, &config.pipeline, near, min_texts);
    if context.json {
        return output::json(&findings);
    }
    findings.lines().iter().try_for_each(|line| output::line(line))?;
    output::line(&format!(
        "{} texts of {} intents{}",
        count(table.n_texts() as u64),
        count(table.intents.len() as u64),
        if findings.is_empty() { ": nothing is wrong" } else { "" },
    ))
}

pub(super) fn training(
    context: &Context,
    fit_on: FitOnName,
    checkpoint: Option<Checkpoint>,
) -> anyhow::Result<IntentTraining> {
    Ok(IntentTraining {
        seed: context.config.seed,
        n_threads: context.config.threads(),
        memory_limit_bytes: context.config.memory_limit_bytes,
        checkpoint,
        options: options(context, fit_on)?,
    })
}

/// When models answer, and what they learn from.
pub(super) fn options(context: &Context, fit_on: FitOnName) -> anyhow::Result<IntentOptions> {
    let precision = context.config.text(None)?.raw.precision;
    Ok(IntentOptions { precision, fit_on: fit_on.into() })
}

pub(super) fn spec(context: &Context, name: &str) -> anyhow::Result<Box<dyn IntentSpec>> {
    let name = registry::resolved(name);
    Ok(registry::spec(name, &context.config.intent_model(name)?)?)
}

pub(crate) fn train(context: &Context, arguments: &TrainArgs) -> anyhow::Result<()> {
    if let Some(task) = arguments.task.filter(|task| *task != TaskName::Support) {
        let message = format!("--task {}: {:?} is an intent table", task.name(), arguments.data);
        return Err(UsageError(message).into());
    }
    let spec = spec(context, &arguments.model)?;
    let table = IntentTable::open(&arguments.data)?;
    let checkpoint = train::checkpoint(arguments)?;
    let training = training(context, arguments.fit_on, Some(checkpoint.clone()))?;
    let (file, fit_secs) = train_intents(&table, spec.as_ref(), &training, &context.display)?;
    file.save(&arguments.out)?;
    checkpoint.remove()?;
    context.display.end();
    let n_bytes = std::fs::metadata(&arguments.out)?.len();
    let header = file.header();
    let confidence = &header.serving.confidence;
    if context.json {
        return output::json(&serde_json::json!({
            "task": header.task,
            "model": header.model,
            "file": arguments.out,
            "bytes": n_bytes,
            "seconds": fit_secs,
            "seed": header.seed,
            "texts_hash": header.texts.content_hash,
            "confidence": confidence,
            "training": header.record,
        }));
    }
    let reached = match confidence.has_precision() {
        true => "answers",
        false => "misses the precision that was asked for: answers",
    };
    output::line(&format!(
        "on {} held-out texts it {reached} {:.1} %, of which {:.1} % are right (asked: {:.1} %)",
        count(confidence.n_texts),
        100.0 * confidence.coverage,
        100.0 * confidence.precision,
        100.0 * confidence.asked_precision,
    ))?;
    output::line(&format!(
        "wrote {}: {} of {} intents, {:.1} MB, trained in {fit_secs:.1} s; next: forecart classify --model {0} \"...\"",
        arguments.out.display(),
        header.model,
        count(table.intents.len() as u64),
        n_bytes as f64 / 1e6,
    ))
}
