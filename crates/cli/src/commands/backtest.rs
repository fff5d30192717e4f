//! `evaluate --folds`: the same models at several moments of one log.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use forecart_data::storage::{Scratch, write_file};
use forecart_data::{Dataset, Progress as _};
use forecart_eval::backtest::FoldReport;
use forecart_eval::{Backtest, find_leaks};
use forecart_prepare::LogManifest;
use forecart_prepare::prepare::{Fold, prepare};
use forecart_train::{Contestant, MeasureOptions, measure};

use super::{Context, evaluate};
use crate::args::EvaluateArgs;
use crate::output;

/// Days of a fold's test part where none are given.
const HORIZON_DAYS: NonZeroU32 = NonZeroU32::new(30).expect("30 is not 0");

/// Cuts the log, and fits and measures every model at each cut.
pub(crate) fn run(
    context: &Context,
    arguments: &EvaluateArgs,
    contestants: &[Contestant],
    options: &MeasureOptions,
    n_folds: NonZeroU32,
) -> anyhow::Result<()> {
    let scratch = Scratch::new(&std::env::temp_dir())?;
    let horizon = arguments.horizon.unwrap_or(HORIZON_DAYS);
    let mut warnings = Vec::new();
    let (log, title) = match &arguments.log {
        Some(log) => (log.clone(), log.display().to_string()),
        None => imported(context, arguments, scratch.path(), &mut warnings)?,
    };
    let manifest = LogManifest::read(&log)?;
    let folds = context.config.folds(manifest.time_range_ms, n_folds, horizon)?;
    let mut reports = Vec::new();
    for (number, fold) in folds.iter().enumerate() {
        let folder = scratch.path().join(format!("fold-{}", number + 1));
        let stage = format!("fold {} of {n_folds}", number + 1);
        context.display.note(&stage);
        let mut found =
            fold_report(context, arguments, contestants, options, (&log, fold, &folder))
                .with_context(|| stage.clone())?;
        found.report.title = format!("{title}, {stage}");
        found.report.warnings.splice(0..0, warnings.iter().cloned());
        reports.push(found);
    }
    context.display.end();
    let found = Backtest::new(format!("{title}, rolling back-test"), horizon.get(), reports)?;
    if let Some(out) = &arguments.out {
        write_file(&out.join("report.html"), found.to_html()?.as_bytes())?;
        write_file(&out.join("report.json"), found.to_json()?.as_bytes())?;
        for (number, fold) in found.folds.iter().enumerate() {
            let folder = out.join(format!("fold-{}", number + 1));
            evaluate::write_report(&folder, &fold.report.to_html()?, &fold.report.to_json()?)?;
        }
    }
    if context.json {
        return output::json(&found);
    }
    output::line(&found.table())?;
    match &arguments.out {
        Some(out) => output::line(&format!("report: {}", out.join("report.html").display())),
        None => Ok(()),
    }
}

/// Imports the raw logs of `--input`; the log's folder and the heading.
fn imported(
    context: &Context,
    arguments: &EvaluateArgs,
    scratch: &Path,
    warnings: &mut Vec<String>,
) -> anyhow::Result<(PathBuf, String)> {
    let log = scratch.join("log");
    let data = context.config.data(None)?;
    let resources = context.config.resources(scratch.to_owned());
    let manifest =
        forecart_prepare::import(&arguments.input, &data, &log, &resources, &context.display)?;
    warnings.extend(evaluate::not_kept(&manifest));
    let first = arguments.input.first().map_or(Path::new("log"), PathBuf::as_path);
    let name = first.file_name().unwrap_or(first.as_os_str()).to_string_lossy().into_owned();
    Ok((log, name))
}

fn fold_report(
    context: &Context,
    arguments: &EvaluateArgs,
    contestants: &[Contestant],
    options: &MeasureOptions,
    (log, fold, folder): (&Path, &Fold, &Path),
) -> anyhow::Result<FoldReport> {
    let resources = context.resources_beside(folder);
    prepare(log, &fold.config, folder, &resources, &context.display)?;
    let dataset = Dataset::open(folder)?;
    let leakage = find_leaks(&dataset);
    if !leakage.leaks.is_empty() && !arguments.allow_leaks {
        context.display.end();
        return Err(evaluate::leaked(&leakage, evaluate::REPAIR).into());
    }
    let mut report = measure(&dataset, contestants, &[], options, &context.display)?;
    report.leakage = leakage;
    let (test_start, test_end) = (fold.test_start(), fold.test_end());
    Ok(FoldReport { test_start, test_end, report })
}
