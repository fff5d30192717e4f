//! `prepare --samples` and `prepare --task`: from a table of rows, or from the event log, to a sample table.

use std::path::PathBuf;
use std::time::Instant;

use forecart_data::samples::{Role, SampleSplit};
use forecart_prepare::samples::{SamplesReport, prepare_from_log, prepare_samples};

use super::Context;
use super::data::print_rows;
use crate::args::{PrepareArgs, TaskName};
use crate::failure::UsageError;
use crate::output::{self, count};

pub(crate) fn prepare(context: &Context, arguments: &PrepareArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    if arguments.task == Some(TaskName::Demand) {
        let message = "--task demand is forecast from orders, not from rows with a label; give the event log by --data";
        return Err(UsageError(message.into()).into());
    }
    let out = arguments.out.clone().unwrap_or_else(|| PathBuf::from("samples"));
    let config = context.config.samples(arguments.label.clone(), arguments.task)?;
    let data = context.config.data(None)?;
    let resources = context.resources_beside(&out);
    let display = &context.display;
    let report = if arguments.samples.is_empty() {
        refuse_flags(arguments)?;
        prepare_from_log(&arguments.data, &data, &config, &out, &resources, display)?
    } else {
        let test: Vec<PathBuf> = arguments.test.iter().cloned().collect();
        prepare_samples(&arguments.samples, &test, &data, &config, &out, &resources, display)?
    };
    context.display.end();
    if context.json {
        return output::json(&report);
    }
    print(&report)?;
    output::line(&format!(
        "wrote {} in {:.1} s; next: forecart evaluate --data {0} --models all",
        out.display(),
        started.elapsed().as_secs_f64(),
    ))
}

/// Flags that mean nothing where samples are made from the log.
fn refuse_flags(arguments: &PrepareArgs) -> anyhow::Result<()> {
    let given =
        [("--protocol", arguments.protocol.is_some()), ("--test", arguments.test.is_some())];
    match given.iter().find(|(_, is_given)| *is_given) {
        Some((flag, _)) => {
            let message = format!(
                "{flag}: with --task, samples are made from the log; how they are parted is set in `[samples]`"
            );
            Err(UsageError(message).into())
        }
        None => Ok(()),
    }
}

/// The first few, short enough for a table.
fn shown(examples: &[String]) -> String {
    let short = examples.iter().take(3).map(|text| match text.char_indices().nth(16) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.clone(),
    });
    short.collect::<Vec<_>>().join(", ")
}

/// What the columns are taken for, what was decided, and the parts.
fn print(report: &SamplesReport) -> anyhow::Result<()> {
    let rows: Vec<Vec<String>> = report
        .columns
        .iter()
        .map(|column| {
            let kind = column.kind.map_or("not kept", |kind| kind.name());
            let role = match column.role {
                None | Some(Role::Feature) => "",
                Some(Role::Label) => " (label)",
                Some(Role::Time) => " (when)",
                Some(Role::Group) => " (whose)",
                Some(Role::Position) => " (position)",
                Some(Role::Propensity) => " (propensity)",
                Some(Role::Weight) => " (weight)",
            };
            let more = if column.has_more_distinct { "+" } else { "" };
            let n_distinct = column.n_distinct.map(|n| format!("{}{more}", count(n)));
            vec![
                column.name.clone(),
                format!("{kind}{role}"),
                column.reason.clone(),
                shown(&column.examples),
                n_distinct.unwrap_or_default(),
                count(column.n_missing),
            ]
        })
        .collect();
    let header = ["column", "is", "because", "for example", "different", "missing"];
    output::line(&output::table(&header, &rows, 4))?;
    for decision in &report.decisions {
        output::line(decision)?;
    }
    print_rows("rejected", &report.rejected)?;
    if let Some(join) = &report.join {
        let lines = join.lines().into_iter().map(|(what, n)| vec![what, count(n)]);
        let events = vec!["events".to_owned(), count(join.n_events)];
        let rows: Vec<Vec<String>> = std::iter::once(events).chain(lines).collect();
        output::line(&output::table(&["of the log", "number"], &rows, 1))?;
    }
    print_parts(report)
}

/// How many rows each part has.
pub(super) fn print_parts(report: &SamplesReport) -> anyhow::Result<()> {
    let names = ["train", "validation", "test"];
    let parts = report.parts.iter().enumerate().map(|(at, part)| {
        let name = match report.split {
            SampleSplit::Folds { .. } => format!("fold {}", at + 1),
            _ => names[at].to_owned(),
        };
        vec![
            name,
            count(part.n_rows),
            count(part.n_positive),
            format!("{:.4}", part.n_positive as f64 / (part.n_rows as f64).max(1.0)),
        ]
    });
    let parts: Vec<Vec<String>> = parts.collect();
    output::line(&output::table(&["part", "rows", "positive", "rate"], &parts, 1))
}
