//! `init`, `import`, `validate`, `prepare`: from a log to a dataset.

use std::path::PathBuf;
use std::time::Instant;

use forecart_data::questions::QuestionManifest;
use forecart_data::{Manifest, storage};
use forecart_prepare::log::Rejected;
use forecart_prepare::{LogManifest, ValidationReport};

use super::{Context, demand, samples, support};
use crate::args::{ImportArgs, InitArgs, PrepareArgs, TaskName, ValidateArgs};
use crate::failure::{DataInvalid, UsageError};
use crate::output::{self, count};

pub(crate) fn init(context: &Context, arguments: &InitArgs) -> anyhow::Result<()> {
    if arguments.out.exists() && !arguments.force {
        let path = arguments.out.display();
        return Err(UsageError(format!("{path} exists; use --force to replace it")).into());
    }
    let report = forecart_prepare::init_from(&arguments.from)?;
    storage::write_file(&arguments.out, report.toml.as_bytes())?;
    if context.json {
        output::json(&report)?;
    } else {
        for finding in &report.findings {
            output::line(&format!("  {finding}"))?;
        }
    }
    if !report.open.is_empty() {
        let path = arguments.out.display();
        let open = report.open.join("\n  ");
        let message = format!(
            "wrote {path}, but the file cannot be imported with it yet: settle this there\n  {open}"
        );
        return Err(DataInvalid(message).into());
    }
    if context.json {
        return Ok(());
    }
    output::line(&format!(
        "wrote {}; next: forecart import {} --config {}",
        arguments.out.display(),
        arguments.from.display(),
        arguments.out.display(),
    ))
}

pub(crate) fn import(context: &Context, arguments: &ImportArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    let config = context.config.data(arguments.max_bad_rows)?;
    let resources = context.resources_beside(&arguments.out);
    let manifest = forecart_prepare::import(
        &arguments.inputs,
        &config,
        &arguments.out,
        &resources,
        &context.display,
    )?;
    context.display.end();
    if context.json {
        return output::json(&manifest);
    }
    print_log(&manifest, context.verbose)?;
    output::line(&format!(
        "wrote {} in {:.1} s; next: forecart validate --data {0}",
        arguments.out.display(),
        started.elapsed().as_secs_f64(),
    ))
}

/// Lines on what import decided that are shown without `-v`; a folder of many files may have more.
const N_DECISIONS: usize = 12;

/// What an event log is and how its columns were read, in a few lines; rejected rows always.
pub(crate) fn print_log(manifest: &LogManifest, verbose: bool) -> anyhow::Result<()> {
    let about = if manifest.counts_are_exact { "" } else { "about " };
    output::line(&format!(
        "{} events of {about}{} users on {about}{} items",
        count(manifest.n_rows),
        count(manifest.n_users),
        count(manifest.n_items),
    ))?;
    let events: Vec<String> = manifest
        .events
        .iter()
        .map(|event| {
            let mark = if event.is_known { "" } else { " (not a standard name)" };
            format!("{} {}{mark}", event.name, count(event.n_rows))
        })
        .collect();
    output::line(&format!("  events: {}", events.join(", ")))?;
    if manifest.n_guests > 0 {
        output::line(&format!("  without a user: {}", count(manifest.n_guests)))?;
    }
    output::line(&format!("  columns: {}", columns(manifest)))?;
    let n_shown = if verbose { usize::MAX } else { N_DECISIONS };
    for decision in manifest.decisions.iter().take(n_shown) {
        output::line(&format!("  {decision}"))?;
    }
    if manifest.decisions.len() > n_shown {
        let n_more = manifest.decisions.len() - n_shown;
        output::line(&format!("  and {n_more} lines more of this kind; -v shows them"))?;
    }
    print_rejected(manifest)
}

/// Our columns and the input's names of them, then what is kept beside them.
fn columns(manifest: &LogManifest) -> String {
    let mapped = manifest.columns.iter().map(|column| {
        if column.ours == column.theirs {
            column.ours.clone()
        } else {
            format!("{} = {:?}", column.ours, column.theirs)
        }
    });
    let mut text = mapped.collect::<Vec<_>>().join(", ");
    if !manifest.extra_columns.is_empty() {
        text += &format!("; kept as text: {}", manifest.extra_columns.join(", "));
    }
    text
}

/// Rows that were not kept, or look wrong, with examples.
fn print_rejected(manifest: &LogManifest) -> anyhow::Result<()> {
    print_rows("rejected", &manifest.rejected)?;
    print_rows("warning", &manifest.warnings)
}

/// The reasons of a list, with examples.
pub(super) fn print_rows(word: &str, list: &[Rejected]) -> anyhow::Result<()> {
    for entry in list {
        output::line(&format!(
            "  {word}: {} row{}: {}; {}",
            count(entry.n_rows),
            if entry.n_rows == 1 { "" } else { "s" },
            entry.reason,
            entry.fix
        ))?;
        for example in &entry.examples {
            output::line(&format!("    {example}"))?;
        }
    }
    Ok(())
}

pub(crate) fn validate(context: &Context, arguments: &ValidateArgs) -> anyhow::Result<()> {
    if forecart_data::IntentTable::is_at(&arguments.data) {
        return support::validate(context, &arguments.data);
    }
    let resources = context.resources_beside(&arguments.data);
    let config = context.config.validate();
    let report = forecart_prepare::validate(&arguments.data, &config, &resources)?;
    context.display.end();
    if context.json {
        output::json(&report)?;
    } else {
        output::line(&validation_table(&report))?;
    }
    let failed = report.n_failed();
    if failed > 0 {
        return Err(DataInvalid(format!("{failed} checks failed")).into());
    }
    Ok(())
}

fn validation_table(report: &ValidationReport) -> String {
    let rows: Vec<Vec<String>> = report
        .checks
        .iter()
        .map(|check| {
            vec![
                check.level.to_string(),
                check.name.clone(),
                check.value.clone(),
                check.detail.clone(),
            ]
        })
        .collect();
    output::table(&["", "check", "value", "what it means"], &rows, usize::MAX)
}

pub(crate) fn prepare(context: &Context, arguments: &PrepareArgs) -> anyhow::Result<()> {
    if arguments.task == Some(TaskName::Support) {
        return support::prepare(context, arguments);
    }
    if arguments.validation.is_some() {
        let message = "--validation names texts, for --task support; other parts are set in the configuration; leave it out";
        return Err(UsageError(message.into()).into());
    }
    if arguments.samples.is_empty() && arguments.task == Some(TaskName::Demand) {
        return demand::prepare(context, arguments);
    }
    if arguments.task == Some(TaskName::Question) {
        return prepare_questions(context, arguments);
    }
    if !arguments.samples.is_empty() || arguments.task.is_some() {
        return samples::prepare(context, arguments);
    }
    let started = Instant::now();
    let out = arguments.out.clone().unwrap_or_else(|| PathBuf::from("dataset"));
    let config = context.config.prepare(arguments.protocol, arguments.test.clone())?;
    let resources = context.resources_beside(&out);
    let manifest = forecart_prepare::prepare::prepare(
        &arguments.data,
        &config,
        &out,
        &resources,
        &context.display,
    )?;
    context.display.end();
    if context.json {
        return output::json(&manifest);
    }
    print_dataset(&manifest)?;
    output::line(&format!(
        "wrote {} in {:.1} s; next: forecart train --data {0}",
        out.display(),
        started.elapsed().as_secs_f64(),
    ))
}

fn prepare_questions(context: &Context, arguments: &PrepareArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    let PrepareArgs { samples, protocol, test, .. } = arguments;
    if !samples.is_empty() || protocol.is_some() || test.is_some() {
        let message = "--task question is made from an event log and cut by `[questions]`: --samples, --protocol and --test say \
                       nothing of it; leave them out";
        return Err(UsageError(message.into()).into());
    }
    let out = arguments.out.clone().unwrap_or_else(|| PathBuf::from("questions"));
    let manifest = forecart_prepare::prepare_questions(
        &arguments.data,
        &context.config.questions()?,
        &out,
        &context.resources_beside(&out),
        &context.display,
    )?;
    context.display.end();
    if context.json {
        return output::json(&manifest);
    }
    print_questions(&manifest)?;
    output::line(&format!(
        "wrote {} in {:.1} s; next: forecart train --data {0}",
        out.display(),
        started.elapsed().as_secs_f64(),
    ))
}

/// What is in the parts of a question table, and what was left out of it.
pub(crate) fn print_questions(manifest: &QuestionManifest) -> anyhow::Result<()> {
    for reason in manifest.description.steps.iter().flat_map(|step| &step.reasons) {
        output::line(&format!("  left out: {} rows: {}", count(reason.n_rows), reason.reason))?;
    }
    for decision in &manifest.description.decisions {
        output::line(&format!("  {decision}"))?;
    }
    let windows = &manifest.windows;
    let starts = ["", &moment(windows.validation_start_ms), &moment(windows.test_start_ms)];
    let parts = ["train", "validation", "test"].iter().zip(starts).zip(manifest.parts);
    let parts: Vec<Vec<String>> = parts
        .map(|((name, start), part)| {
            let share = part.n_asked as f64 / part.n_moments.max(1) as f64;
            vec![
                (*name).to_owned(),
                start.to_owned(),
                count(part.n_moments),
                format!("{} ({:.1} %)", count(part.n_asked), 100.0 * share),
                count(part.n_open),
            ]
        })
        .collect();
    let header = ["part", "from", "moments", "something is asked after", "window open at the end"];
    output::line(&output::table(&header, &parts, 2))?;
    output::line(&format!(
        "{} asks of {} intents among {} events of {} users; a moment looks {} hours ahead",
        count(manifest.n_asks),
        count(manifest.n_intents),
        count(manifest.n_events),
        count(manifest.n_users),
        windows.horizon_ms / 3_600_000,
    ))
}

/// A moment to the minute, as ISO 8601 writes it.
pub(super) fn moment(time_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(time_ms)
        .map_or_else(|_| time_ms.to_string(), |time| time.strftime("%Y-%m-%dT%H:%MZ").to_string())
}

/// What each step dropped and why, and what is left.
pub(crate) fn print_dataset(manifest: &Manifest) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for step in &manifest.description.steps {
        let mut reasons = step.reasons.iter();
        let reason = |reason: Option<&forecart_data::dataset::Reason>| {
            reason.map_or_else(String::new, |r| format!("{}: {}", r.reason, count(r.n_rows)))
        };
        rows.push(vec![
            step.step.clone(),
            reason(reasons.next()),
            count(step.n_rows_in),
            count(step.n_rows_out),
            count(step.n_users),
            count(step.n_items),
        ]);
        for further in reasons {
            rows.push(vec![String::new(), reason(Some(further))]);
        }
    }
    let header = ["step", "dropped or changed", "rows in", "rows out", "users", "items"];
    output::line(&output::table(&header, &rows, 2))?;
    let counts = &manifest.counts;
    output::line(&format!(
        "{} users, {} items, {} events: train {}, validation {}, test {}",
        count(counts.n_users),
        count(counts.n_items),
        count(counts.n_events),
        count(counts.n_train),
        count(counts.n_validation),
        count(counts.n_test),
    ))?;
    if counts.n_unknown_targets > 0 {
        output::line(&format!(
            "  {} validation or test events are on items that training has not seen; they count as misses",
            count(counts.n_unknown_targets)
        ))?;
    }
    Ok(())
}
