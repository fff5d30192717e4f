//! `bench scaling`: several sizes of one model trained, training steps of growing sizes timed, and what both say about
//! larger ones.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use forecart_data::storage::{Scratch, write_file};
use forecart_data::{Dataset, Progress as _};
use forecart_eval::report::Environment;
use forecart_eval::scaling::{
    ScalingFacts, ScalingReport, StepAxis, StepCurve, StepPoint, Training,
};
use forecart_eval::{DataFacts, EvalError};
use forecart_models::recommend::{FitOn, registry};
use forecart_models::step_bench::STEP_ROWS;
use forecart_train::{Size, TrainOptions, train_size};
use serde_json::{Map, Value, json};

use super::{Context, demo};
use crate::args::{ModelSize, ScalingArgs, ScalingPart};
use crate::failure::DataInvalid;
use crate::output;

/// The rows of `bench step` that are timed: the cost of one does not depend on the number of items, that of the other does.
const ROWS: [&str; 2] = ["sasrec-50", "full-softmax"];

/// Keys that make the size of a model.
const SIZE_KEYS: [&str; 4] = ["d_model", "n_layers", "d_ff", "input_scale"];

/// Epochs without a better validation before a training stops.
const PATIENCE: u32 = 5;

pub(crate) fn run(context: &Context, arguments: &ScalingArgs) -> anyhow::Result<()> {
    let only = arguments.only;
    // Checked first: a slip in a name should not cost the minutes of the steps.
    let name = registry::entry(&arguments.model)?.name;
    let sizes = match only {
        Some(ScalingPart::Steps) => &[][..],
        _ => &arguments.sizes[..],
    };
    let sizes = sizes.iter().map(|size| model_size(context, arguments, name, *size));
    let sizes = sizes.collect::<anyhow::Result<Vec<Size>>>()?;
    let earlier = arguments.add.as_deref().map(read).transpose()?;
    let steps = match only {
        Some(ScalingPart::Training) => Vec::new(),
        _ => time_steps(context, arguments)?,
    };
    let (trainings, data, of_data) = match sizes.is_empty() {
        true => (Vec::new(), None, String::new()),
        false => train_sizes(context, arguments, &sizes)?,
    };
    context.display.end();
    let shared =
        sizes.first().map_or(Value::Null, |size| without_size(size.spec.hyperparameters()));
    let facts = ScalingFacts {
        title: format!("Scaling of {name}{of_data}"),
        model: name.to_owned(),
        hyperparameters: shared,
        data,
        seed: context.config.seed,
        commit: option_env!("FORECART_COMMIT").map(str::to_owned),
        environment: Environment::detect(context.config.threads().get()),
    };
    let mut report = ScalingReport::new(facts, trainings, steps);
    if let Some(earlier) = earlier {
        report = report.with_earlier(earlier)?;
    }
    if let Some(out) = &arguments.out {
        write_file(&out.join("scaling.html"), report.to_html()?.as_bytes())?;
        write_file(&out.join("scaling.json"), report.to_json()?.as_bytes())?;
    }
    if context.json {
        return output::json(&report);
    }
    output::line(&report.table())?;
    match &arguments.out {
        Some(out) => output::line(&format!("report: {}", out.join("scaling.html").display())),
        None => Ok(()),
    }
}

fn read(path: &Path) -> anyhow::Result<ScalingReport> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {path:?}"))?;
    let unfit = |error| DataInvalid(format!("{path:?} is no scaling report: {error}"));
    Ok(serde_json::from_str(&text).map_err(unfit)?)
}

/// The model at one size. Other keys are those of the configuration file, and where it has none, the full softmax, whose
/// loss can be compared between sizes, and less dropout than the small ones need.
fn model_size(
    context: &Context,
    arguments: &ScalingArgs,
    name: &'static str,
    size: ModelSize,
) -> anyhow::Result<Size> {
    let ModelSize { d_model, n_layers } = size;
    let preset = registry::spec(name, &json!({}))?.hyperparameters();
    let mut keys = Map::new();
    keys.insert("loss".into(), json!("full"));
    keys.insert("dropout".into(), json!(0.2));
    keys.insert("n_epochs".into(), json!(arguments.epochs));
    keys.insert("patience".into(), json!(PATIENCE));
    if let Value::Object(configured) = context.config.model(name)? {
        keys.extend(configured);
    }
    keys.insert("d_model".into(), json!(d_model));
    keys.insert("n_layers".into(), json!(n_layers));
    let of_preset = |key: &str| preset[key].as_f64().unwrap_or_default();
    let d_preset = of_preset("d_model").max(1.0);
    let d_ff = of_preset("d_ff") * f64::from(d_model) / d_preset;
    keys.insert("d_ff".into(), json!(d_ff.round() as u32));
    // Where vectors are scaled by the root of their columns, they stay so.
    if (of_preset("input_scale") - d_preset.sqrt()).abs() < 1e-9 {
        keys.insert("input_scale".into(), json!(f64::from(d_model).sqrt()));
    }
    let spec = registry::spec(name, &Value::Object(keys))?;
    Ok(Size { name: format!("d {d_model}, layers {n_layers}"), d_model, n_layers, spec })
}

fn without_size(hyperparameters: Value) -> Value {
    let Value::Object(mut keys) = hyperparameters else { return Value::Null };
    keys.retain(|key, _| !SIZE_KEYS.contains(&key.as_str()));
    Value::Object(keys)
}

/// Every size, trained; the data, and its name for the heading.
fn train_sizes(
    context: &Context,
    arguments: &ScalingArgs,
    sizes: &[Size],
) -> anyhow::Result<(Vec<Training>, Option<DataFacts>, String)> {
    let scratch;
    let (folder, name) = match &arguments.data {
        Some(folder) => (folder.clone(), folder.display().to_string()),
        None => {
            scratch = Scratch::new(&std::env::temp_dir())?;
            (bundled_orders(context, scratch.path())?, "Online Retail".to_owned())
        }
    };
    let dataset = Dataset::open(&folder)?;
    let options = TrainOptions {
        fit_on: FitOn::Train,
        seed: context.config.seed,
        n_threads: context.config.threads(),
        memory_limit_bytes: context.config.memory_limit_bytes,
        seen: None,
        checkpoint: None,
    };
    let mut trainings = Vec::new();
    for size in sizes {
        context.display.end();
        context.display.announce(&format!(
            "size {} of {}: {}",
            trainings.len() + 1,
            sizes.len(),
            size.name
        ));
        trainings.push(train_size(&dataset, size, &options, &context.display)?);
    }
    Ok((trainings, Some(DataFacts::of(&dataset)), format!(" on {name}")))
}

/// The orders that come with the program, prepared as the demo does.
fn bundled_orders(context: &Context, scratch: &Path) -> anyhow::Result<PathBuf> {
    let (log, folder) = (scratch.join("log"), scratch.join("dataset"));
    let resources = context.config.resources(scratch.to_owned());
    demo::import_orders(context, scratch, &log, &resources)?;
    demo::prepare_orders(context, &log, &folder, &resources)?;
    Ok(folder)
}

/// Steps of both rows along every axis, each in a process of its own: what one leaves in memory would count for the next.
fn time_steps(context: &Context, arguments: &ScalingArgs) -> anyhow::Result<Vec<StepCurve>> {
    let n_threads = context.config.threads().get() as u32;
    let sizes_of = |axis: StepAxis| -> Vec<u32> {
        let mut sizes = match axis {
            StepAxis::Length => arguments.lengths.clone(),
            StepAxis::NItems => arguments.items.clone(),
            StepAxis::DModel => arguments.d_models.clone(),
            StepAxis::Threads => {
                let powers = std::iter::successors(Some(1), |n| Some(n * 2));
                powers.take_while(|n| *n < n_threads).chain([n_threads]).collect()
            }
        };
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    };
    let n_steps: usize = StepAxis::ALL.iter().map(|axis| sizes_of(*axis).len()).sum();
    context.display.begin("training steps", Some((ROWS.len() * n_steps) as u64));
    let mut curves = Vec::new();
    for axis in StepAxis::ALL {
        for name in ROWS {
            let row =
                STEP_ROWS.iter().find(|row| row.name == name).context("no row of this name")?;
            let mut points = Vec::new();
            for size in sizes_of(axis) {
                if context.display.is_cancelled() {
                    return Err(EvalError::Cancelled.into());
                }
                points.push(time_step(context, arguments, name, axis, size)?);
                context.display.advance(1);
            }
            curves.push(StepCurve {
                axis,
                row: name.to_owned(),
                about: row.about.to_owned(),
                points,
            });
        }
    }
    Ok(curves)
}

/// One step, by `bench step` of this program.
fn time_step(
    context: &Context,
    arguments: &ScalingArgs,
    row: &str,
    axis: StepAxis,
    size: u32,
) -> anyhow::Result<StepPoint> {
    let n_threads = match axis {
        StepAxis::Threads => size,
        _ => context.config.threads().get() as u32,
    };
    let flag = match axis {
        StepAxis::Length => Some("--length"),
        StepAxis::NItems => Some("--n-items"),
        StepAxis::DModel => Some("--d-model"),
        StepAxis::Threads => None,
    };
    let mut command = Command::new(std::env::current_exe().context("find this program")?);
    command.args(["bench", "step", row, "--json"]);
    command.args(["--steps", &arguments.steps.to_string()]);
    command.args(["--seed", &context.config.seed.to_string()]);
    command.args(["--threads", &n_threads.to_string()]);
    command.args(flag.into_iter().flat_map(|flag| [flag.to_owned(), size.to_string()]));
    let output = command.output().context("time a step in a process of its own")?;
    ensure!(
        output.status.success(),
        "{row} at {} {size}: {}",
        axis.name(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let found: Value = serde_json::from_slice(&output.stdout).context("read what a step said")?;
    let number = |key: &str| found[key].as_f64().with_context(|| format!("a step said no {key}"));
    let bytes = |key: &str| found[key].as_u64();
    Ok(StepPoint {
        size: size.into(),
        step_ms: number("step_ms_median")?,
        memory_bytes: bytes("peak_memory_bytes")
            .zip(bytes("start_memory_bytes"))
            .map(|(peak, start)| peak.saturating_sub(start)),
        flop: number("flop")?,
    })
}
