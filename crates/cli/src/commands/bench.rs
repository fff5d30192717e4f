//! `bench`: generated data, and how fast the program is on it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use forecart_data::storage::{Replacement, Scratch};
use forecart_data::{Dataset, History, Part, SeenItems};
use forecart_models::model_file::LoadedModel;
use forecart_models::recommend::{FitContext, FitOn, TopK, TrainingView, registry};
use forecart_models::step_bench::{InstructionSet, STEP_ROWS, StepBench, StepSizes};
use forecart_prepare::generate::{GenerateConfig, generate};
use forecart_prepare::{RowFormat, generate_rows};

use super::Context;
use crate::args::{BenchArgs, BenchVerb, InstructionsName, RowFormatName, StepArgs};
use crate::failure::UsageError;
use crate::output::{self, count};

pub(crate) fn run(context: &Context, arguments: &BenchArgs) -> anyhow::Result<()> {
    match &arguments.verb {
        BenchVerb::Generate { events, users, items, out } => {
            let config = GenerateConfig::of(*events, context.config.seed);
            let config = GenerateConfig {
                n_users: users.unwrap_or(config.n_users),
                n_items: items.unwrap_or(config.n_items),
                ..config
            };
            write_events(&config, out)?;
            let n_bytes = std::fs::metadata(out)?.len();
            if context.json {
                return output::json(&serde_json::json!({
                    "events": events, "seed": context.config.seed, "bytes": n_bytes, "file": out,
                }));
            }
            output::line(&format!(
                "wrote {} events, {} MB, seed {} to {}",
                count(*events),
                count(n_bytes / 1_000_000),
                context.config.seed,
                out.display()
            ))
        }
        BenchVerb::Rows { rows, format, out } => write_rows(context, *rows, *format, out),
        BenchVerb::Prepare { events } => prepare(context, *events),
        BenchVerb::Step(arguments) => step(context, arguments),
        BenchVerb::Fit { data, model } => fit(context, data, model),
        BenchVerb::TopK { data, model, k } => top_k(context, data, model, *k),
        BenchVerb::Serve(arguments) => super::bench_serve::run(context, arguments),
        BenchVerb::Questions(arguments) => super::bench_questions::run(context, arguments),
        BenchVerb::Scaling(arguments) => super::scaling::run(context, arguments),
    }
}

fn write_rows(
    context: &Context,
    n_rows: u64,
    format: RowFormatName,
    out: &Path,
) -> anyhow::Result<()> {
    let replacement = Replacement::file(out)?;
    let file = File::create(replacement.path()).with_context(|| format!("write {out:?}"))?;
    let format = match format {
        RowFormatName::Vw => RowFormat::Vw,
        RowFormatName::Criteo => RowFormat::Criteo,
    };
    let made = generate_rows(n_rows, context.config.seed, format, BufWriter::new(file))?;
    replacement.commit()?;
    let n_bytes = std::fs::metadata(out)?.len();
    if context.json {
        return output::json(&serde_json::json!({
            "rows": made.n_rows, "positive": made.n_positive, "log_loss_of_truth": made.log_loss,
            "seed": context.config.seed, "bytes": n_bytes, "file": out,
        }));
    }
    output::line(&format!(
        "wrote {} rows, {} of them clicks, {} MB, seed {} to {}; the probabilities that they were drawn by have log loss {:.4}",
        count(made.n_rows),
        count(made.n_positive),
        count(n_bytes / 1_000_000),
        context.config.seed,
        out.display(),
        made.log_loss,
    ))
}

fn write_events(config: &GenerateConfig, out: &Path) -> anyhow::Result<()> {
    let replacement = Replacement::file(out)?;
    let file = File::create(replacement.path()).with_context(|| format!("write {out:?}"))?;
    let mut writer = BufWriter::with_capacity(1 << 20, file);
    generate(config, &mut writer)?;
    writer.flush().with_context(|| format!("write {out:?}"))?;
    drop(writer);
    Ok(replacement.commit()?)
}

/// One line of figures: what was measured, not what it means.
fn prepare(context: &Context, n_events: u64) -> anyhow::Result<()> {
    let scratch = Scratch::new(&std::env::temp_dir())?;
    let csv = scratch.path().join("events.csv");
    let (log, dataset) = (scratch.path().join("log"), scratch.path().join("dataset"));
    write_events(&GenerateConfig::of(n_events, context.config.seed), &csv)?;
    let n_bytes = std::fs::metadata(&csv)?.len();
    let resources = context.config.resources(scratch.path().to_owned());
    let started = Instant::now();
    let config = context.config.data(None)?;
    forecart_prepare::import(&[csv], &config, &log, &resources, &context.display)?;
    let import_secs = started.elapsed().as_secs_f64();
    let config = context.config.prepare(None, None)?;
    let manifest =
        forecart_prepare::prepare::prepare(&log, &config, &dataset, &resources, &context.display)?;
    let total_secs = started.elapsed().as_secs_f64();
    context.display.end();
    let peak_bytes = forecart_train::peak_memory_bytes();
    if context.json {
        return output::json(&serde_json::json!({
            "events": n_events,
            "bytes": n_bytes,
            "seed": context.config.seed,
            "threads": context.config.threads(),
            "import_seconds": import_secs,
            "prepare_seconds": total_secs - import_secs,
            "events_per_second": n_events as f64 / total_secs,
            "peak_memory_bytes": peak_bytes,
            "memory_limit_bytes": context.config.memory_limit_bytes,
            "content_hash": manifest.content_hash,
        }));
    }
    output::line(&format!(
        "{} events, {} MB of CSV, {} threads: import {import_secs:.1} s, prepare {:.1} s, \
         {} events/s, peak memory {}",
        count(n_events),
        count(n_bytes / 1_000_000),
        context.config.threads(),
        total_secs - import_secs,
        count((n_events as f64 / total_secs) as u64),
        peak_bytes.map_or_else(|| "unknown".into(), |b| format!("{} MB", count(b / 1_000_000))),
    ))
}

/// One fit, which a validation part does not stop.
fn fit(context: &Context, data: &Path, model: &str) -> anyhow::Result<()> {
    let name = registry::entry(model)?.name;
    let spec = registry::spec(name, &context.config.model(name)?)?;
    let dataset = Dataset::open(data)?;
    let view = TrainingView::new(&dataset, FitOn::TrainValidation);
    let fit_context = FitContext {
        seed: context.config.seed,
        n_threads: context.config.threads(),
        progress: &context.display,
        memory_limit_bytes: context.config.memory_limit_bytes,
        checkpoint: None,
    };
    let started = Instant::now();
    let fitted = spec.fit(&view, &fit_context)?;
    let seconds = started.elapsed().as_secs_f64();
    context.display.end();
    let n_epochs = fitted.record.curve.len();
    if context.json {
        return output::json(&serde_json::json!({
            "model": name,
            "hyperparameters": fitted.model.hyperparameters(),
            "epochs": n_epochs,
            "seconds": seconds,
            "peak_memory_bytes": forecart_train::peak_memory_bytes(),
            "threads": context.config.threads(),
        }));
    }
    let epochs = if n_epochs > 0 { format!(", {n_epochs} epochs") } else { String::new() };
    output::line(&format!(
        "{name}: {seconds:.3} s{epochs}, {} events, {} threads",
        count(view.n_events()),
        context.config.threads(),
    ))
}

/// Lists for the histories before the test part; files are read before the clock starts.
fn top_k(context: &Context, data: &Path, model: &Path, k: NonZeroUsize) -> anyhow::Result<()> {
    let dataset = Dataset::open(data)?;
    let model = LoadedModel::open(model).with_context(|| format!("read model {model:?}"))?;
    let users = dataset.user_indices();
    let histories: Vec<History<'_>> =
        users.map(|user| dataset.history_before(user, Part::Test)).collect();
    let request = TopK::new(k, SeenItems::Exclude);
    let started = Instant::now();
    // Inside of the pool, so that this thread is one of its threads.
    let lists = rayon::scope(|_| model.model().recommend_all(&histories, &request));
    let seconds = started.elapsed().as_secs_f64();
    let n_listed: usize = lists.iter().map(Vec::len).sum();
    if context.json {
        return output::json(&serde_json::json!({
            "model": model.header().model,
            "users": lists.len(),
            "listed": n_listed,
            "seconds": seconds,
            "threads": context.config.threads(),
        }));
    }
    output::line(&format!(
        "{}: {k} items for each of {} users in {seconds:.3} s, {} users/s, {} threads",
        model.header().model,
        count(lists.len() as u64),
        count((lists.len() as f64 / seconds) as u64),
        context.config.threads(),
    ))
}

/// Training steps of one row. Memory is counted from before anything of the row is made.
fn step(context: &Context, arguments: &StepArgs) -> anyhow::Result<()> {
    let start_bytes = forecart_train::peak_memory_bytes();
    let Some(name) = arguments.row.as_ref().filter(|_| !arguments.list) else {
        if context.json {
            let rows = STEP_ROWS
                .iter()
                .map(|row| (row.name.to_owned(), serde_json::Value::from(row.about)));
            return output::json(&serde_json::Value::Object(rows.collect()));
        }
        return STEP_ROWS
            .iter()
            .try_for_each(|row| output::line(&format!("{:<18} {}", row.name, row.about)));
    };
    let row = STEP_ROWS.iter().find(|row| row.name == *name).context("no row of this name")?;
    let StepArgs { length, d_model, n_layers, n_items, .. } = *arguments;
    let row =
        row.with_sizes(StepSizes { length, d_model, n_layers, n_items }).ok_or_else(|| {
            UsageError(format!(
                "{name} cannot have these sizes: they are fixed, or heads do not divide them"
            ))
        })?;
    if let Some(instructions) = arguments.instructions {
        let is_available = set_of(instructions).select();
        ensure!(is_available, "this processor has no {instructions:?} instructions");
    }
    let mut bench = StepBench::new(&row, context.config.seed)?;
    if let Some(folder) = &arguments.write {
        let path = bench.write(folder)?;
        return output::line(&format!("wrote {}", path.display()));
    }
    // Inside of the pool, so that this thread is one of its threads.
    let figures = rayon::scope(|_| bench.run(arguments.steps.get()))?;
    let peak_bytes = forecart_train::peak_memory_bytes();
    let median_ms = figures.median_ms().context("no step was timed")?;
    if context.json {
        return output::json(&serde_json::json!({
            "row": row.name,
            "step_ms_median": median_ms,
            "flop": row.flop(),
            "losses": figures.losses,
            "start_memory_bytes": start_bytes,
            "peak_memory_bytes": peak_bytes,
            "seed": context.config.seed,
            "threads": context.config.threads(),
            "instructions": format!("{:?}", InstructionSet::active()),
        }));
    }
    let used = peak_bytes.zip(start_bytes).map(|(peak, start)| peak.saturating_sub(start));
    output::line(&format!(
        "{}: {median_ms:.2} ms a step, median of {}, {} threads, {:?}; training memory {}",
        row.about,
        arguments.steps,
        context.config.threads(),
        InstructionSet::active(),
        used.map_or_else(|| "unknown".into(), |b| format!("{:.1} MB", b as f64 / 1e6)),
    ))
}

fn set_of(name: InstructionsName) -> InstructionSet {
    match name {
        InstructionsName::Avx512 => InstructionSet::Avx512,
        InstructionsName::Avx2 => InstructionSet::Avx2,
        InstructionsName::Neon => InstructionSet::Neon,
        InstructionsName::Scalar => InstructionSet::Scalar,
    }
}
