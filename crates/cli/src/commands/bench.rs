//! `bench`: generated data, and how fast the program is on it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use forecart_data::storage::{Replacement, Scratch};
use forecart_prepare::generate::{GenerateConfig, generate};

use super::Context;
use crate::args::{BenchArgs, BenchVerb};
use crate::output::{self, count};

pub(crate) fn run(context: &Context, arguments: &BenchArgs) -> anyhow::Result<()> {
    match &arguments.verb {
        BenchVerb::Generate { events, out } => {
            write_events(context, *events, out)?;
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
        BenchVerb::Prepare { events } => prepare(context, *events),
    }
}

fn write_events(context: &Context, n_events: u64, out: &Path) -> anyhow::Result<()> {
    let replacement = Replacement::file(out)?;
    let file = File::create(replacement.path()).with_context(|| format!("write {out:?}"))?;
    let mut writer = BufWriter::with_capacity(1 << 20, file);
    generate(&GenerateConfig::of(n_events, context.config.seed), &mut writer)?;
    writer.flush().with_context(|| format!("write {out:?}"))?;
    drop(writer);
    Ok(replacement.commit()?)
}

/// One line of figures: what was measured, not what it means.
fn prepare(context: &Context, n_events: u64) -> anyhow::Result<()> {
    let scratch = Scratch::new(&std::env::temp_dir())?;
    let csv = scratch.path().join("events.csv");
    let (log, dataset) = (scratch.path().join("log"), scratch.path().join("dataset"));
    write_events(context, n_events, &csv)?;
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
