//! Demand: from an event log to orders, forecasts of units, and what to order.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use forecart_data::encode::{Row as _, Value};
use forecart_data::orders::OrderManifest;
use forecart_data::samples::{ColumnKind, Role, SampleColumn};
use forecart_data::storage::Replacement;
use forecart_data::{OrderTable, Progress as _};
use forecart_eval::demand::DemandMetric;
use forecart_models::model_file::{DemandModelFile, SigningKey};
use forecart_models::purchase::demand::{DemandQuestion, DemandSpec, models};
use forecart_prepare::RawDemandConfig;
use forecart_prepare::samples::SampleRows;
use forecart_train::{DemandOptions, measure_demand, train_demand};
use serde::Serialize;

use super::{Context, evaluate, gate, outcome};
use crate::args::{EvaluateArgs, FitOnName, PredictArgs, PrepareArgs, TaskName, TrainArgs};
use crate::failure::UsageError;
use crate::output::{self, count};

/// What is printed of a period beside its mean: the median, and the interval of 80 %.
const ASKED: DemandQuestion<'_> = DemandQuestion { levels: &[0.5], shares: &[0.8] };

pub(crate) fn prepare(context: &Context, arguments: &PrepareArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    if arguments.protocol.is_some() || arguments.test.is_some() {
        let message = "--protocol and --test say nothing of demand, which is measured on the last periods; leave them out";
        return Err(UsageError(message.into()).into());
    }
    let out = arguments.out.clone().unwrap_or_else(|| PathBuf::from("orders"));
    let manifest = forecart_prepare::prepare_orders(
        &arguments.data,
        &context.config.prepare(None, None)?,
        &context.config.demand()?,
        &out,
        &context.resources_beside(&out),
        &context.display,
    )?;
    context.display.end();
    if context.json {
        return output::json(&manifest);
    }
    print_orders(&manifest)?;
    output::line(&format!(
        "wrote {} in {:.1} s; next: forecart evaluate --data {0} --models all",
        out.display(),
        started.elapsed().as_secs_f64(),
    ))
}

pub(super) fn print_orders(manifest: &OrderManifest) -> anyhow::Result<()> {
    let description = &manifest.description;
    output::line(&format!(
        "{} orders of {} items in {} periods of {} days, from {}",
        count(manifest.n_orders),
        count(manifest.n_items),
        description.n_periods,
        description.period_days,
        day(description.start_ms),
    ))?;
    for reason in &description.left_out {
        output::line(&format!("  left out: {} rows: {}", count(reason.n_rows), reason.reason))?;
    }
    Ok(())
}

/// The day of a moment, as ISO 8601 writes it.
fn day(time_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(time_ms)
        .map_or_else(|_| time_ms.to_string(), |time| time.strftime("%Y-%m-%d").to_string())
}

fn spec(context: &Context, name: &str) -> anyhow::Result<DemandSpec> {
    Ok(DemandSpec::from_name(name, &context.config.demand_model(name)?)?)
}

pub(crate) fn train(
    context: &Context,
    arguments: &TrainArgs,
    key: Option<&SigningKey>,
) -> anyhow::Result<()> {
    let spec = spec(context, &arguments.model)?;
    if let Some(task) = arguments.task.filter(|task| *task != TaskName::Demand) {
        let message =
            format!("--task {}: {:?} is an order table, for demand", task.name(), arguments.data);
        return Err(UsageError(message).into());
    }
    if arguments.fit_on == Some(FitOnName::TrainValidation) {
        let message = "--fit-on says nothing of demand: all periods that there are are learned from; leave it out";
        return Err(UsageError(message.into()).into());
    }
    let table = OrderTable::open(&arguments.data)?;
    context.display.begin(&format!("train {}", spec.name()), None);
    let (file, fit_secs) = train_demand(&table, &spec)?;
    file.save_signed(&arguments.out, key)?;
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
            "orders_hash": header.orders.content_hash,
        }));
    }
    output::line(&format!(
        "wrote {}: {}, {} items, {:.1} MB, trained in {fit_secs:.1} s; next: forecart predict --model {0}",
        arguments.out.display(),
        header.model,
        count(file.items().len() as u64),
        n_bytes as f64 / 1e6,
    ))
}

pub(crate) fn evaluate(context: &Context, arguments: &EvaluateArgs) -> anyhow::Result<()> {
    let mut flags = outcome::foreign_flags(arguments);
    flags.extend([
        ("--model", !arguments.model.is_empty()),
        ("--no-baselines", arguments.no_baselines),
        ("--allow-leaks", arguments.allow_leaks),
    ]);
    outcome::refuse_flags("an order table", &flags)?;
    let metric = arguments.gate.as_deref().map(str::parse::<DemandMetric>).transpose();
    let metric = metric.map_err(|error| UsageError(format!("--gate: {error}")))?;
    let names: Vec<&str> = match arguments.models.as_slice() {
        [] => models().map(|(name, _)| name).collect(),
        names if names.iter().any(|name| name == "all") => models().map(|(name, _)| name).collect(),
        names => names.iter().map(String::as_str).collect(),
    };
    let specs = names.iter().map(|name| spec(context, name)).collect::<Result<Vec<_>, _>>()?;
    if let Some(metric) = metric.filter(|_| !specs.iter().any(DemandSpec::is_classical)) {
        let message =
            format!("--gate {metric}: no classical method is asked for; add one to --models");
        return Err(UsageError(message).into());
    }
    let folder = arguments.data.as_ref().context("an order table is named by --data")?;
    let table = OrderTable::open(folder)?;
    let config = context.config.demand()?.raw;
    let options = DemandOptions {
        title: format!("{}: demand", folder.display()),
        commit: evaluate::commit(),
        deterministic: arguments.deterministic,
        ..options(context, &config)
    };
    let mut report = measure_demand(&table, &specs, &options, &context.display)?;
    context.display.end();
    if let Some(metric) = metric {
        report.gate = report.judged_by(metric, arguments.gate_override.as_deref());
        if report.gate.is_none() {
            let message = format!(
                "--gate {metric}: nothing was sold, or no classical method forecast the same items"
            );
            return Err(UsageError(message).into());
        }
    }
    if let Some(out) = &arguments.out {
        evaluate::write_report(out, &report.to_html()?, &report.to_json()?)?;
    }
    evaluate::show(context, arguments, &report, &report.table())?;
    gate::enforce(report.gate.as_ref(), arguments)
}

/// Which periods are measured.
pub(super) fn options(context: &Context, config: &RawDemandConfig) -> DemandOptions {
    DemandOptions {
        test_periods: config.test_periods,
        horizon: config.horizon,
        seed: context.config.seed,
        title: String::new(),
        commit: None,
        deterministic: false,
    }
}

/// A line of a forecast.
#[derive(Debug, Serialize)]
struct Period<'a> {
    item_id: &'a str,
    period_start: String,
    expected: f64,
    low: f64,
    median: f64,
    high: f64,
}

/// A line of a reorder table.
#[derive(Debug, Serialize)]
struct Reorder<'a> {
    item_id: &'a str,
    on_hand: f64,
    on_order: f64,
    expected: f64,
    needed: f64,
    reorder: f64,
}

/// An item of which something is asked.
struct Asked {
    item: usize,
    on_hand: f64,
    on_order: f64,
}

pub(crate) fn predict(context: &Context, arguments: &PredictArgs) -> anyhow::Result<()> {
    let file = DemandModelFile::open(&arguments.model)?;
    let (asked, n_unknown) = asked(context, arguments, &file)?;
    let replacement = arguments.out.as_deref().map(Replacement::file).transpose()?;
    let mut out: Box<dyn Write> = match &replacement {
        Some(replacement) => {
            let path = replacement.path();
            Box::new(BufWriter::new(File::create(path).with_context(|| format!("write {path:?}"))?))
        }
        None => Box::new(BufWriter::new(std::io::stdout().lock())),
    };
    let n_lines = match arguments.lead_time {
        Some(periods) => {
            reorders(context, &file, &asked, periods.get(), arguments.service_level, &mut out)?
        }
        None => periods(context, &file, &asked, arguments.periods.get(), &mut out)?,
    };
    output::written(out.flush())?;
    drop(out);
    if n_unknown > 0 {
        let message = format!("left out {} items without an order before", count(n_unknown));
        context.display.announce(&message);
    }
    let (Some(replacement), Some(path)) = (replacement, &arguments.out) else { return Ok(()) };
    replacement.commit()?;
    output::line(&format!(
        "wrote {}: {} lines of {} items ({} of demand)",
        path.display(),
        count(n_lines),
        count(asked.len() as u64),
        file.header().model,
    ))
}

/// The items of the input, or all; and how many of them nothing is known of.
fn asked(
    context: &Context,
    arguments: &PredictArgs,
    file: &DemandModelFile,
) -> anyhow::Result<(Vec<Asked>, u64)> {
    let is_known = |item: usize| {
        Ok::<_, anyhow::Error>(
            file.fitted().forecast(item, 0, DemandQuestion::default())?.is_some(),
        )
    };
    let (mut asked, mut n_unknown) = (Vec::new(), 0);
    let Some(input) = &arguments.input else {
        for item in 0..file.items().len() {
            match is_known(item)? {
                true => asked.push(Asked { item, on_hand: 0.0, on_order: 0.0 }),
                false => n_unknown += 1,
            }
        }
        return Ok((asked, n_unknown));
    };
    let columns = [
        SampleColumn::new("item_id", ColumnKind::Category, Role::Feature),
        SampleColumn::new("on_hand", ColumnKind::Number, Role::Feature),
        SampleColumn::new("on_order", ColumnKind::Number, Role::Feature),
    ];
    let items: std::collections::HashMap<&str, usize> =
        file.items().iter().enumerate().map(|(item, id)| (id, item)).collect();
    let mut rows = SampleRows::open(input, &columns, &context.config.data(None)?)?;
    while let Some(block) = rows.next_block()? {
        for row in block {
            let number = |column: &str| match row.value(column) {
                Value::Number(number) => number,
                _ => 0.0,
            };
            let id = match row.value("item_id") {
                Value::Text(id) => id.to_owned(),
                Value::Number(id) => id.to_string(),
                _ => String::new(),
            };
            match items.get(id.as_str()) {
                Some(item) if is_known(*item)? => {
                    asked.push(Asked {
                        item: *item,
                        on_hand: number("on_hand"),
                        on_order: number("on_order"),
                    });
                }
                _ => n_unknown += 1,
            }
        }
    }
    super::data::print_rows("left out", &rows.rejected())?;
    Ok((asked, n_unknown))
}

/// Where lines go: JSON lines, or CSV with a header.
enum Lines<'a> {
    Json(&'a mut dyn Write),
    Csv(Box<csv::Writer<&'a mut dyn Write>>),
}

impl<'a> Lines<'a> {
    fn new(context: &Context, out: &'a mut dyn Write) -> Self {
        match context.json {
            true => Self::Json(out),
            false => Self::Csv(Box::new(csv::Writer::from_writer(out))),
        }
    }

    fn push(&mut self, line: &impl Serialize) -> anyhow::Result<()> {
        match self {
            Self::Json(out) => output::written(writeln!(out, "{}", serde_json::to_string(line)?)),
            Self::Csv(out) => {
                let written = out.serialize(line);
                output::written(written.map_err(|error| match error.into_kind() {
                    csv::ErrorKind::Io(error) => error,
                    other => std::io::Error::other(format!("{other:?}")),
                }))
            }
        }
    }

    fn end(self) -> anyhow::Result<()> {
        match self {
            Self::Json(_) => Ok(()),
            Self::Csv(mut out) => output::written(out.flush()),
        }
    }
}

/// The next periods of each item.
fn periods(
    context: &Context,
    file: &DemandModelFile,
    asked: &[Asked],
    n_periods: u32,
    out: &mut dyn Write,
) -> anyhow::Result<u64> {
    let mut lines = Lines::new(context, out);
    let mut n_lines = 0;
    for asked in asked {
        let forecast = file.fitted().forecast(asked.item, n_periods as usize, ASKED)?;
        let Some(forecast) = forecast else { continue };
        for (ahead, mean) in forecast.mean.iter().enumerate() {
            let interval = forecast.intervals[ahead][0];
            lines.push(&Period {
                item_id: file.items().get(asked.item),
                period_start: day(file.header().orders.period_start_ms(ahead as u32)),
                expected: rounded(*mean),
                low: interval.low,
                median: forecast.quantiles[ahead][0],
                high: interval.high,
            })?;
            n_lines += 1;
        }
    }
    lines.end()?;
    Ok(n_lines)
}

/// To thousandths of a unit.
fn rounded(units: f64) -> f64 {
    (units * 1e3).round() / 1e3
}

/// What to order of each item, so that a share of lead times ends without the item being out.
fn reorders(
    context: &Context,
    file: &DemandModelFile,
    asked: &[Asked],
    n_periods: u32,
    service_level: f64,
    out: &mut dyn Write,
) -> anyhow::Result<u64> {
    if !(service_level > 0.0 && service_level < 1.0) {
        let message =
            format!("--service-level {service_level}: give a share between 0 and 1, such as 0.95");
        return Err(UsageError(message).into());
    }
    let mut lines = Lines::new(context, out);
    let mut n_lines = 0;
    for asked in asked {
        let total = file.fitted().total(asked.item, n_periods, &[service_level])?;
        let Some((expected, quantiles)) = total else { continue };
        let needed = quantiles[0].ceil();
        lines.push(&Reorder {
            item_id: file.items().get(asked.item),
            on_hand: asked.on_hand,
            on_order: asked.on_order,
            expected: rounded(expected),
            needed,
            reorder: (needed - asked.on_hand - asked.on_order).max(0.0).ceil(),
        })?;
        n_lines += 1;
    }
    lines.end()?;
    Ok(n_lines)
}
