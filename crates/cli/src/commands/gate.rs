//! The quality gate: what becomes of models that do not beat the strongest baseline.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use forecart_data::Progress as _;
use forecart_eval::report::{Gate, Verdict};
use forecart_models::model_file::{GateRecord, SigningKey, inspect};

use super::{Context, signing};
use crate::args::EvaluateArgs;
use crate::failure::{GateNotMet, UsageError};

/// Refuses the same file twice, and a key that will not sign what the gate says: before anything is measured.
pub(crate) fn check_files(arguments: &EvaluateArgs) -> anyhow::Result<()> {
    if arguments.gate.is_some() {
        signing::key(&arguments.sign)?;
    }
    let mut paths = arguments.model.clone();
    paths.sort();
    match paths.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(UsageError(format!("--model names {:?} twice", pair[0])).into()),
        None => Ok(()),
    }
}

/// What the report calls the model in a file: by the file's name, or its path where another file has the same name.
pub(crate) fn name_of(model: &str, path: &Path, arguments: &EvaluateArgs) -> String {
    let n_alike = arguments.model.iter().filter(|other| other.file_name() == path.file_name());
    let file = path.file_name().filter(|_| n_alike.count() == 1).unwrap_or(path.as_os_str());
    format!("{model} ({})", OsStr::to_string_lossy(file))
}

/// The verdict on the model in the file `path`.
fn verdict_on<'a>(gate: &'a Gate, path: &Path, arguments: &EvaluateArgs) -> Option<&'a Verdict> {
    let file = name_of("", path, arguments);
    gate.verdicts.iter().find(|verdict| verdict.model.ends_with(&file))
}

/// Writes the gate's verdict on each given model into its file, by `write`, which signs it again where there is a key: an older signature is of what
/// was there before.
pub(crate) fn record(
    context: &Context,
    gate: Option<&Gate>,
    arguments: &EvaluateArgs,
    write: impl Fn(&Path, GateRecord, Option<&SigningKey>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let Some(gate) = gate else { return Ok(()) };
    let key = signing::key(&arguments.sign)?;
    for path in &arguments.model {
        let Some(verdict) = verdict_on(gate, path, arguments) else { continue };
        let record = GateRecord {
            metric: gate.metric.clone(),
            baseline: gate.baseline.clone(),
            difference: verdict.difference,
            interval: [verdict.interval.low, verdict.interval.high],
            passed: verdict.passed,
            override_reason: gate.override_reason.clone().filter(|_| !verdict.passed),
        };
        let was_signed = inspect(path)?.signed_by.is_some();
        write(path, record, key.as_ref())
            .with_context(|| format!("record the gate in {path:?}"))?;
        if was_signed && key.is_none() {
            context.display.announce(&format!(
                "{} holds the verdict and is signed no more: sign it by `forecart model sign`, or give --sign-key",
                path.display()
            ));
        }
    }
    Ok(())
}

/// Fails unless the models may be promoted: each of the given files, or, where none is given, any model that is no
/// baseline, beats the strongest baseline by more than chance. Without `--gate` there is nothing to fail.
pub(crate) fn enforce(gate: Option<&Gate>, arguments: &EvaluateArgs) -> anyhow::Result<()> {
    let Some(metric) = &arguments.gate else { return Ok(()) };
    if arguments.gate_override.is_some() {
        return Ok(());
    }
    let files: &[PathBuf] = &arguments.model;
    let passes = |path| {
        gate.and_then(|gate| verdict_on(gate, path, arguments)).is_some_and(|own| own.passed)
    };
    let (is_met, who) = match files {
        [] => {
            let is_met = gate.is_some_and(|gate| gate.verdicts.iter().any(|own| own.passed));
            (is_met, "no model beats")
        }
        files => (files.iter().all(|path| passes(path)), "a model file does not beat"),
    };
    if is_met {
        return Ok(());
    }
    let figures = gate.map_or_else(String::new, |gate| format!("\n{}", gate.lines().join("\n")));
    let reason = format!(
        "{who} the strongest baseline on {metric} with the whole 95 % interval of the difference on the better side of 0; \
         --gate-override REASON promotes it all the same and records why{figures}"
    );
    Err(GateNotMet { reason }.into())
}
