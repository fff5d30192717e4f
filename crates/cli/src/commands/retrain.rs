//! `retrain`: from what a server's store holds to a model file that passed the gate. The server runs it as a process of its own.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use forecart_data::Progress as _;
use forecart_data::storage::{Replacement, Scratch};
use forecart_eval::EvalError;
use forecart_models::model_file;
use serde_json::{Value, json};

use super::store::with_store;
use super::{Context, data, evaluate, train};
use crate::args::{EvaluateArgs, FitOnName, PrepareArgs, RetrainArgs, RetrainTask, TrainArgs};
use crate::failure::{DataInvalid, GateNotMet};
use crate::{output, progress};

/// Share of the memory that the process may take which data preparation and training plan with; the rest is for what they do not count.
const PLANNED: f64 = 0.75;

pub(crate) fn run(context: &Context, arguments: &RetrainArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    // Before the memory is bounded, so that this thread is there in any case.
    if arguments.end_with_stdin {
        progress::cancel_with_stdin().context("wait for the end of standard input")?;
    }
    if let Some(limit_bytes) = context.config.memory_limit_bytes {
        bound_memory((limit_bytes as f64 / PLANNED) as u64)?;
    }
    std::fs::create_dir_all(&arguments.into)
        .with_context(|| format!("make {:?}", arguments.into))?;
    let scratch = Scratch::new(&arguments.into)?;
    let made = make(context, arguments, scratch.path());
    context.display.end();
    let outcome = made?;
    let facts = facts(arguments.task, &outcome.file)?;
    let mut said = facts;
    said["n_events"] = outcome.n_events.into();
    said["seconds"] = started.elapsed().as_secs_f64().into();
    match outcome.gate {
        Err(not_met) => {
            if context.json {
                output::json(&said)?;
            }
            Err(not_met)
        }
        Ok(()) => {
            if context.display.is_cancelled() {
                return Err(EvalError::Cancelled.into());
            }
            let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
            let name = format!("{}-{now}.forecart", arguments.task.name());
            let target = arguments.into.join(&name);
            place(&outcome.file, &target)?;
            said["file"] = name.into();
            if context.json {
                return output::json(&said);
            }
            output::line(&format!(
                "wrote {}: {} of {} events, in {:.1} s",
                target.display(),
                said["model"].as_str().unwrap_or_default(),
                output::count(outcome.n_events),
                started.elapsed().as_secs_f64(),
            ))
        }
    }
}

/// A file that was trained and measured.
struct Outcome {
    file: PathBuf,
    n_events: u64,
    /// Whether it may be served.
    gate: anyhow::Result<()>,
}

/// The way that a person would type: `import`, `prepare`, `train`, `evaluate --gate`. What they say is not said again.
fn make(context: &Context, arguments: &RetrainArgs, scratch: &Path) -> anyhow::Result<Outcome> {
    let raw = context.config.serve().retrain;
    let task = arguments.task;
    let consent = context.config.serve().consent_default;
    let exported = with_store(context, &arguments.store, async |store| {
        Ok(forecart_serve::export(store, consent, scratch, &context.display).await?)
    })?;
    if exported.n_events == 0 {
        let message = "the store holds no events: there is nothing to learn from".to_owned();
        return Err(DataInvalid(message).into());
    }
    let log = scratch.join("log");
    let resources = context.config.resources(scratch.to_owned());
    let config = context.config.own_log(exported.items)?;
    forecart_prepare::import(&[exported.events], &config, &log, &resources, &context.display)?;
    let (folder, file) = (scratch.join("prepared"), scratch.join("model.forecart"));
    let model = arguments.model.clone().or_else(|| raw.models.get(task.name()).cloned());
    let gate = arguments.gate.clone().or_else(|| raw.gate.get(task.name()).cloned());
    output::quietly(|| {
        data::prepare(
            context,
            &PrepareArgs {
                data: log,
                out: Some(folder.clone()),
                task: task.of_table(),
                ..PrepareArgs::default()
            },
        )?;
        train::run(
            context,
            &TrainArgs {
                data: folder.clone(),
                model: model.unwrap_or_else(|| "default".to_owned()),
                out: file.clone(),
                sign: arguments.sign.clone(),
                // What is measured is what is served, so it may know all that was before the test part.
                fit_on: (task == RetrainTask::Recommend).then_some(FitOnName::TrainValidation),
                ..TrainArgs::default()
            },
        )?;
        let measured = evaluate::run(
            context,
            &EvaluateArgs {
                data: Some(folder.clone()),
                model: vec![file.clone()],
                gate: Some(gate.unwrap_or_else(|| task.usual_gate().to_owned())),
                out: arguments.report.clone(),
                // The verdict is written into the file, which is signed anew.
                sign: arguments.sign.clone(),
                ..EvaluateArgs::default()
            },
        );
        let gate = match measured {
            Err(error) if !error.chain().any(|cause| cause.is::<GateNotMet>()) => {
                return Err(error);
            }
            measured => measured,
        };
        Ok(Outcome { file: file.clone(), n_events: exported.n_events, gate })
    })
}

/// What a file says of itself.
fn facts(task: RetrainTask, file: &Path) -> anyhow::Result<Value> {
    let header = serde_json::to_value(model_file::inspect(file)?.header)?;
    let gate = header.pointer("/provenance/gate").or_else(|| header.get("gate"));
    Ok(json!({
        "task": task.name(),
        "model": header["model"],
        "version": header["content_hash"],
        "gate": gate.cloned().unwrap_or_default(),
    }))
}

/// Puts a file in its place, whole.
fn place(file: &Path, target: &Path) -> anyhow::Result<()> {
    let replacement = Replacement::file(target)?;
    std::fs::copy(file, replacement.path()).with_context(|| format!("copy {file:?}"))?;
    Ok(replacement.commit()?)
}

/// Past this the process gets no memory and ends, in place of the server.
#[cfg(unix)]
fn bound_memory(limit_bytes: u64) -> anyhow::Result<()> {
    let (_, most) = rlimit::getrlimit(rlimit::Resource::DATA)?;
    let limit = limit_bytes.min(most);
    rlimit::setrlimit(rlimit::Resource::DATA, limit, most)
        .with_context(|| format!("bound the memory of the process at {limit} bytes"))
}

#[cfg(not(unix))]
fn bound_memory(_limit_bytes: u64) -> anyhow::Result<()> {
    Ok(())
}
