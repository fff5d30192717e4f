//! `evaluate`: fits and measures models, on a dataset or straight from a raw log.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use forecart_data::storage::{Scratch, write_file};
use forecart_data::{
    Dataset, IntentTable, OrderTable, Progress as _, Questions, SampleTable, SeenItems,
};
use forecart_eval::report::Gate;
use forecart_eval::{Leakage, Metric, find_leaks};
use forecart_models::model_file::{GateRecord, LoadedModel, SigningKey};
use forecart_models::recommend::{FitOn, registry};
use forecart_prepare::LogManifest;
use forecart_prepare::prepare::SplitKind;
use forecart_train::{Contestant, Given, MeasureOptions, measure};
use serde::Serialize;

use super::{Context, backtest, demand, gate, outcome, questions, support};
use crate::args::{EvaluateArgs, FitOnName, ProtocolName, SeenName};
use crate::failure::{DataInvalid, UsageError};
use crate::output;

/// Models that stand in every table, so that a stronger one has something to beat. Those that need
/// times are left out where the log has none.
pub(crate) const BASELINES: &[&str] =
    &["popularity", "popularity-7d", "popularity-30d", "item-knn", "seq-rules"];

impl From<FitOnName> for FitOn {
    fn from(name: FitOnName) -> Self {
        match name {
            FitOnName::Train => Self::Train,
            FitOnName::TrainValidation => Self::TrainValidation,
        }
    }
}

impl From<SeenName> for SeenItems {
    fn from(name: SeenName) -> Self {
        match name {
            SeenName::Exclude => Self::Exclude,
            SeenName::Keep => Self::Keep,
        }
    }
}

impl From<ProtocolName> for SplitKind {
    fn from(name: ProtocolName) -> Self {
        match name {
            ProtocolName::LooFull => Self::LooFull,
            ProtocolName::Time => Self::Time,
            ProtocolName::Session => Self::Session,
        }
    }
}

pub(crate) fn run(context: &Context, arguments: &EvaluateArgs) -> anyhow::Result<()> {
    if arguments.data.as_deref().is_some_and(SampleTable::is_at) {
        return outcome::evaluate(context, arguments);
    }
    if arguments.data.as_deref().is_some_and(OrderTable::is_at) {
        return demand::evaluate(context, arguments);
    }
    if arguments.data.as_deref().is_some_and(IntentTable::is_at) {
        return support::evaluate(context, arguments);
    }
    if arguments.min_confidence.is_some() {
        let message =
            "--min-confidence says nothing of this data, but of an intent table; leave it out";
        return Err(UsageError(message.into()).into());
    }
    if arguments.data.as_deref().is_some_and(Questions::is_at) {
        return questions::evaluate(context, arguments);
    }
    // Checked first: a slip in a name should not cost the minutes of an import.
    let mut contestants = contestants(context, &arguments.models, !arguments.no_baselines)?;
    gate::check_files(arguments)?;
    let given = arguments.model.iter().map(|path| given(path, arguments));
    let given = given.collect::<Result<Vec<_>, _>>()?;
    if arguments.gate.is_some() {
        // A model that is a baseline itself has the others to beat.
        let is_given = |name: &str| given.iter().any(|own| own.model.name() == name);
        contestants.retain(|own| !own.is_baseline || !is_given(own.spec.name()));
    }
    if contestants.is_empty() && given.is_empty() {
        let message = "nothing to measure: name --models or --model, or leave out --no-baselines";
        return Err(UsageError(message.into()).into());
    }
    let primary = match &arguments.gate {
        Some(name) => deciding(name)?,
        None => Metric::ndcg(10),
    };
    let first_seed = context.config.given_seed.unwrap_or(1);
    let mut options = MeasureOptions {
        fit_on: arguments.fit_on.map(FitOn::from).unwrap_or_default(),
        seeds: (0..arguments.seeds.get() as u64).map(|n| first_seed.saturating_add(n)).collect(),
        n_threads: context.config.threads(),
        memory_limit_bytes: context.config.memory_limit_bytes,
        max_history: arguments.max_history,
        seen: arguments.seen.map(SeenItems::from),
        primary,
        title: String::new(),
        commit: commit(),
        deterministic: arguments.deterministic,
    };
    if let Some(n_folds) = arguments.folds {
        if arguments.input.is_empty() && arguments.log.is_none() {
            return Err(UsageError("--folds needs a log: --input FILE or --log DIR".into()).into());
        }
        return backtest::run(context, arguments, &contestants, &options, n_folds);
    }
    let scratch;
    let mut warnings = Vec::new();
    let (folder, title) = match (&arguments.input[..], &arguments.data) {
        ([], None) => (PathBuf::from("dataset"), "dataset".to_owned()),
        ([], Some(data)) => (data.clone(), data.display().to_string()),
        ([first, ..], _) => {
            scratch = Scratch::new(&std::env::temp_dir())?;
            let name = first.file_name().unwrap_or(first.as_os_str());
            let name = name.to_string_lossy().into_owned();
            (prepare_raw(context, arguments, scratch.path(), &mut warnings)?, name)
        }
    };
    let dataset = Dataset::open(&folder)?;
    context.display.begin("search for leaks", None);
    let leakage = find_leaks(&dataset);
    if !leakage.leaks.is_empty() && !arguments.allow_leaks {
        context.display.end();
        return Err(leaked(&leakage, REPAIR).into());
    }
    options.title = title;
    let mut report = measure(&dataset, &contestants, &given, &options, &context.display)?;
    context.display.end();
    report.warnings.splice(0..0, warnings);
    report.leakage = leakage;
    if arguments.gate.is_some() {
        report.gate = Gate::of(&report, arguments.gate_override.as_deref());
        gate::record(context, report.gate.as_ref(), arguments, record)?;
    }
    if let Some(out) = &arguments.out {
        write_report(out, &report.to_html()?, &report.to_json()?)?;
    }
    show(context, arguments, &report, &report.table())?;
    gate::enforce(report.gate.as_ref(), arguments)
}

/// Prints a report: itself for programs, `table` for people, and where its page is.
pub(crate) fn show(
    context: &Context,
    arguments: &EvaluateArgs,
    report: &impl Serialize,
    table: &str,
) -> anyhow::Result<()> {
    if context.json {
        return output::json(report);
    }
    output::line(table.trim_end())?;
    match &arguments.out {
        Some(out) => output::line(&format!("report: {}", out.join("report.html").display())),
        None => Ok(()),
    }
}

/// A metric by which models may be chosen. Asked before anything is fitted.
pub(crate) fn deciding(name: &str) -> Result<Metric, UsageError> {
    let metric = name.parse::<Metric>().and_then(Metric::that_decides);
    metric.map_err(|error| UsageError(error.to_string()))
}

/// `report.html` for people and `report.json` for programs, in `folder`.
pub(crate) fn write_report(folder: &Path, html: &str, json: &str) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("make {folder:?}"))?;
    write_file(&folder.join("report.html"), html.as_bytes())?;
    write_file(&folder.join("report.json"), json.as_bytes())?;
    Ok(())
}

/// The commit that this program was built from, if it was told.
pub(crate) fn commit() -> Option<String> {
    option_env!("FORECART_COMMIT").map(str::to_owned)
}

/// Imports and prepares the raw logs of `--input` and `--test`; returns the dataset's folder. Rows
/// that import did not keep become `warnings`.
fn prepare_raw(
    context: &Context,
    arguments: &EvaluateArgs,
    scratch: &Path,
    warnings: &mut Vec<String>,
) -> anyhow::Result<PathBuf> {
    let data = context.config.data(None)?;
    let resources = context.config.resources(scratch.to_owned());
    let (log, folder) = (scratch.join("log"), scratch.join("dataset"));
    let import = |inputs: &[PathBuf], log: &Path| {
        forecart_prepare::import(inputs, &data, log, &resources, &context.display)
    };
    warnings.extend(not_kept(&import(&arguments.input, &log)?));
    let test_log = match &arguments.test {
        Some(test) => {
            let test_log = scratch.join("test-log");
            warnings.extend(not_kept(&import(std::slice::from_ref(test), &test_log)?));
            Some(test_log)
        }
        None => None,
    };
    let config = context.config.prepare(arguments.protocol, test_log)?;
    forecart_prepare::prepare::prepare(&log, &config, &folder, &resources, &context.display)?;
    Ok(folder)
}

/// What a reader of the report should know of rows that import did not keep.
pub(crate) fn not_kept(log: &LogManifest) -> Option<String> {
    let reasons = log.rejected.iter().map(|rejected| {
        let example = rejected.examples.first().map(|example| format!(", as {example}"));
        format!("{}: {}{}", rejected.code, rejected.n_rows, example.unwrap_or_default())
    });
    let reasons: Vec<String> = reasons.collect();
    let n_read = log.n_rows + log.n_rejected;
    (log.n_rejected > 0)
        .then(|| format!("import kept {} of {n_read} rows ({})", log.n_rows, reasons.join("; ")))
}

/// The models asked for, in order, then the baselines that were not.
pub(crate) fn contestants(
    context: &Context,
    names: &[String],
    with_baselines: bool,
) -> anyhow::Result<Vec<Contestant>> {
    let mut wanted: Vec<(&str, bool)> = Vec::new();
    for name in names {
        match name.as_str() {
            "all" => wanted.extend(registry::MODELS.iter().map(|entry| (entry.name, false))),
            name => wanted.push((registry::entry(name)?.name, true)),
        }
    }
    if with_baselines {
        wanted.extend(BASELINES.iter().map(|name| (*name, false)));
    }
    let mut contestants: Vec<Contestant> = Vec::new();
    for (name, is_required) in wanted {
        if contestants.iter().any(|contestant| contestant.spec.name() == name) {
            continue;
        }
        contestants.push(Contestant {
            spec: registry::spec(name, &context.config.model(name)?)?,
            is_baseline: BASELINES.contains(&name),
            is_required,
        });
    }
    Ok(contestants)
}

fn given(path: &Path, arguments: &EvaluateArgs) -> anyhow::Result<Given> {
    let loaded = LoadedModel::open(path).with_context(|| format!("read {path:?}"))?;
    let header = loaded.header().clone();
    Ok(Given {
        name: gate::name_of(&header.model, path, arguments),
        n_bytes: std::fs::metadata(path)?.len(),
        fit_on: header.provenance.fit_on,
        dataset_hash: header.dataset.content_hash,
        record: header.provenance.record,
        model: loaded.into_model(),
    })
}

/// What to do about a leak of a dataset.
pub(crate) const REPAIR: &str =
    "repair the data, or leave the column out of `prepare.item_features`";

/// Every leak, a line each, and what to do.
pub(crate) fn leaked(leakage: &Leakage, repair: &str) -> DataInvalid {
    let leaks: Vec<String> = leakage.leaks.iter().map(|leak| format!("  {leak}")).collect();
    DataInvalid(format!(
        "test data has leaked into what models learn from, which flatters every number:\n{}\n{repair}; --allow-leaks measures all \
         the same and says so in the report",
        leaks.join("\n")
    ))
}

/// Writes the gate's verdict into the model file `path`.
fn record(path: &Path, record: GateRecord, key: Option<&SigningKey>) -> anyhow::Result<()> {
    Ok(LoadedModel::open(path)?.with_gate(record)?.save_signed(path, key)?)
}
