//! Customer service: from labeled texts to models of what a customer asks, and answers.

mod answers;
mod evaluate;

use std::path::{Path, PathBuf};
use std::time::Instant;

use forecart_data::IntentTable;
use forecart_models::model_file::SigningKey;
use forecart_models::recommend::FitOn;
use forecart_models::support::{ChosenOn, IntentOptions, IntentSpec, registry};
use forecart_models::training::Checkpoint;
use forecart_prepare::texts::{TextFiles, TextsReport, find_in_texts, prepare_texts};
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
    let files = TextFiles {
        train: &arguments.samples,
        validation: arguments.validation.as_deref(),
        test: arguments.test.as_deref(),
    };
    let data = context.config.data(None)?;
    let report = prepare_texts(files, &data, &config, &out, &context.display)?;
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
    fit_on: Option<FitOnName>,
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

/// When models answer, and what they learn from: all there is, where nothing else is said.
pub(super) fn options(
    context: &Context,
    fit_on: Option<FitOnName>,
) -> anyhow::Result<IntentOptions> {
    let precision = context.config.text(None)?.raw.precision;
    let fit_on = fit_on.map_or(IntentOptions::default().fit_on, FitOn::from);
    Ok(IntentOptions { precision, fit_on })
}

pub(super) fn spec(context: &Context, name: &str) -> anyhow::Result<Box<dyn IntentSpec>> {
    let name = registry::resolved(name);
    Ok(registry::spec(name, &context.config.intent_model(name)?)?)
}

pub(crate) fn train(
    context: &Context,
    arguments: &TrainArgs,
    key: Option<&SigningKey>,
) -> anyhow::Result<()> {
    if let Some(task) = arguments.task.filter(|task| *task != TaskName::Support) {
        let message = format!("--task {}: {:?} is an intent table", task.name(), arguments.data);
        return Err(UsageError(message).into());
    }
    let spec = spec(context, &arguments.model)?;
    let table = IntentTable::open(&arguments.data)?;
    let checkpoint = train::checkpoint(arguments)?;
    let training = training(context, arguments.fit_on, Some(checkpoint.clone()))?;
    let (file, fit_secs) = train_intents(&table, spec.as_ref(), &training, &context.display)?;
    file.save_signed(&arguments.out, key)?;
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
            "learned": header.serving.learned,
            "confidence": confidence,
            "training": header.record,
        }));
    }
    let reached = match confidence.has_precision() {
        true => "answers",
        false => "misses the precision that was asked for: answers",
    };
    let learned = &header.serving.learned;
    let (parts, held_out) = match (learned.fit_on, learned.chosen_on) {
        (FitOn::TrainValidation, _) => {
            ("training and validation", "validation texts, before it learned from them,")
        }
        (FitOn::Train, ChosenOn::Validation) => ("training", "validation texts"),
        (FitOn::Train, ChosenOn::Folds) => {
            ("training", "texts, held out in turn before it learned from all,")
        }
    };
    output::line(&format!(
        "learned from {} {parts} texts; on {} {held_out} it {reached} {:.1} %, of which {:.1} % are right (asked: {:.1} %)",
        count(learned.n_texts),
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
