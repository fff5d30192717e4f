//! A configuration out of the data: what was found is set, every default is shown as a comment.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use forecart_data::event::{self, columns};
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::config::{Format, LATEST_TIME, MAX_BAD_ROWS, MAX_LINE_BYTES, closest};
use crate::import::plan::InputPlan;
use crate::import::plan_input;
use crate::prepare::{RawPrepareConfig, RawSplitConfig};
use crate::read::dialect::delimiter_name;
use crate::read::inputs;
use crate::{DataConfig, PrepareError};

/// What was found in a file, and the configuration for it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InitReport {
    /// The configuration file's text.
    pub toml: String,
    /// What was found and decided, in sentences.
    pub findings: Vec<String>,
    /// The file that was looked at.
    pub file: String,
    /// How it is read.
    pub format: String,
    /// The file's column names by ours.
    pub columns: BTreeMap<String, String>,
}

/// Looks at a file, or the first data file of a folder, and writes a configuration for it.
///
/// Times without a zone are set to UTC and a file without times to its own order; both are said in
/// the findings, so that they can be put right.
///
/// # Errors
/// [`PrepareError::Input`] if the file cannot be read or a required column is not found.
pub fn init_from(path: &Path) -> Result<InitReport, PrepareError> {
    let found = inputs::find(&[path.to_owned()])?;
    let file = &found.events[0];
    let attempts = [
        DataConfig::default(),
        DataConfig { time_zone: Some(TimeZone::UTC), ..DataConfig::default() },
        DataConfig { order_only: true, ..DataConfig::default() },
    ];
    let mut first_error = None;
    for config in attempts {
        match plan_input(file, &config) {
            Ok(plan) => {
                let mut report = report(&plan, &config);
                if found.events.len() > 1 {
                    let n = found.events.len();
                    let name = &report.file;
                    report.findings.push(format!("looked at {name}, the first of {n} files"));
                }
                return Ok(report);
            }
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    Err(first_error.expect("every attempt that found no plan has an error"))
}

fn report(plan: &InputPlan, config: &DataConfig) -> InitReport {
    let mut findings: Vec<String> = Vec::new();
    let format = plan.layout.format;
    findings.push(format!("{} is {}", plan.file_name, format.name()));
    findings.extend(plan.decisions.iter().cloned());
    let mut columns = BTreeMap::new();
    for mapped in plan.mapped.iter().filter(|mapped| !mapped.is_extra) {
        let theirs = plan.layout.names[mapped.source].clone();
        findings.push(format!("column {theirs:?} is {}", mapped.name));
        columns.insert(mapped.name.clone(), theirs);
    }
    for mapped in plan.mapped.iter().filter(|mapped| mapped.is_extra) {
        findings.push(format!("column {:?} is kept as text", mapped.name));
    }
    if config.time_zone.is_some() {
        findings.push("times state no zone: set to UTC; change `data.time_zone` if not".into());
    }
    let events = events(plan);
    let toml = data_section(plan, config, &columns) + &events_section(plan, &events);
    InitReport {
        toml: toml + &prepare_sections(),
        findings,
        file: plan.file_name.clone(),
        format: format.name().to_owned(),
        columns,
    }
}

/// Event names of the first rows, and ours.
fn events(plan: &InputPlan) -> BTreeMap<String, Option<&'static str>> {
    let Some(source) = plan.source(columns::EVENT) else { return BTreeMap::new() };
    let names = plan.layout.sample.iter().filter_map(|row| row.get(source));
    names
        .filter(|name| !name.is_empty())
        .map(|name| (name.clone(), event::canonical_event(name)))
        .collect()
}

/// A string as TOML writes it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A key, or a default as a comment.
fn key(out: &mut String, name: &str, set: Option<String>, default: &str, why: &str) {
    let line = match set {
        Some(value) => format!("{name} = {value}"),
        None => format!("# {name} = {default}"),
    };
    writeln!(out, "# {why}\n{line}").expect("a String takes any text");
}

fn data_section(
    plan: &InputPlan,
    config: &DataConfig,
    columns: &BTreeMap<String, String>,
) -> String {
    let mut out = String::from("[data]\n");
    let format = plan.layout.format;
    let is_text = format == Format::Csv;
    let delimiter = is_text.then(|| quoted(&delimiter_name(plan.layout.dialect.delimiter)));
    let has_header = is_text.then(|| (plan.layout.header_bytes > 0).to_string());
    key(
        &mut out,
        "format",
        Some(quoted(format.name())),
        "\"auto\"",
        "auto, csv, jsonl, parquet, recbole, pairs, sequences or item-sequences",
    );
    let why = "one character, tab, whitespace or auto";
    key(&mut out, "delimiter", delimiter, "\"auto\"", why);
    key(&mut out, "quote", None, "\"\\\"\"", "empty where quotes mean nothing");
    key(&mut out, "header", has_header, "true", "whether the first line names the columns");
    let why = "names in the file's order, where no line names them";
    key(&mut out, "names", None, "[\"user_id\", \"item_id\", \"timestamp\"]", why);
    let why = "columns that are not kept";
    key(&mut out, "ignore", None, "[]", why);
    key(&mut out, "null_values", None, "[]", "texts that mean no value, beside the empty one");
    let why = "item of every row of a file without an item column";
    key(&mut out, "default_item", None, "\"item\"", why);
    let order_lines = plan.order_lines.then(|| "true".to_owned());
    let why = "lines of orders: negative quantities and orders C... are refunds";
    key(&mut out, "order_lines", order_lines, "false", why);
    key(&mut out, "time_unit", None, "\"auto\"", "auto, s, ms, us or ns");
    let zone = config.time_zone.is_some().then(|| quoted("UTC"));
    let why = "zone of times that state none: an IANA name such as Europe/London";
    key(&mut out, "time_zone", zone, "\"UTC\"", why);
    let why = "strptime pattern of times that are not ISO 8601";
    key(&mut out, "time_format", None, "\"%m/%d/%Y %H:%M\"", why);
    key(&mut out, "latest_time", None, &quoted(LATEST_TIME), "later times are bad rows");
    let order_only = config.order_only.then(|| "true".to_owned());
    let why = "the file's order stands for the time";
    key(&mut out, "order_only", order_only, "false", why);
    let missing = if plan.keeps_missing_user { "\"keep\"" } else { "\"reject\"" };
    key(&mut out, "missing_user", None, missing, "reject or keep rows without a user");
    let why = "share of bad rows past which the import fails";
    key(&mut out, "max_bad_rows", None, &MAX_BAD_ROWS.to_string(), why);
    let why = "a longer line ends the import";
    key(&mut out, "max_line_bytes", None, &MAX_LINE_BYTES.to_string(), why);
    key(&mut out, "items", None, "\"items.csv\"", "a table for the item catalog");
    key(&mut out, "users", None, "\"users.csv\"", "a table of users");
    // Sequences have no columns to name, and a session that is also the user has one name twice.
    let mut seen = Vec::new();
    out.push_str("\n# our column = the file's\n[data.columns]\n");
    for (ours, theirs) in columns {
        let is_named = plan.layout.header_bytes > 0 || !is_text;
        let is_file = matches!(format, Format::Pairs | Format::Sequences | Format::ItemSequences);
        let comment = if is_file || !is_named || seen.contains(&theirs) { "# " } else { "" };
        seen.push(theirs);
        writeln!(out, "{comment}{ours} = {}", quoted(theirs)).expect("a String takes any text");
    }
    out
}

fn events_section(plan: &InputPlan, events: &BTreeMap<String, Option<&str>>) -> String {
    let mut out = String::from("\n[events]\n");
    let set = plan.event.as_deref().map(quoted);
    key(&mut out, "default", set, "\"view_item\"", "event of a row that names none");
    out.push_str("\n# the file's event name = ours\n[events.names]\n");
    for (theirs, ours) in events {
        let (comment, ours) = match ours {
            Some(ours) if ours == theirs => ("# ", *ours),
            Some(ours) => ("", *ours),
            // Not known: kept as it is unless somebody names it.
            None => ("# ", closest(theirs, event::STANDARD_EVENTS).unwrap_or(theirs)),
        };
        writeln!(out, "{comment}{} = {}", quoted(theirs), quoted(ours))
            .expect("a String takes any text");
    }
    out
}

/// Keys of `[prepare]` and `[split]` that have no default, with an example.
const UNSET_PREPARE: &[(&str, &str)] = &[
    ("from", "\"2011-03-01\""),
    ("to", "\"2011-11-30\""),
    ("last_days", "90"),
    ("max_user_events", "1000"),
    ("k_core_on", "\"train\""),
    ("min_count", "5"),
];
const UNSET_SPLIT: &[(&str, &str)] = &[
    ("order", "\"time\""),
    ("test_days", "7"),
    ("validation_days", "7"),
    ("ratio", "[0.8, 0.1, 0.1]"),
];

fn prepare_sections() -> String {
    section("prepare", &RawPrepareConfig::default(), UNSET_PREPARE)
        + &section("split", &RawSplitConfig::default(), UNSET_SPLIT)
}

/// A section with every default as a comment, and examples of what has none.
fn section(name: &str, defaults: &impl Serialize, unset: &[(&str, &str)]) -> String {
    let mut out = format!("\n[{name}]\n");
    let defaults = toml::Table::try_from(defaults).expect("a raw section is a table");
    for (key, value) in defaults.iter().filter(|(_, value)| !value.is_table()) {
        writeln!(out, "# {key} = {value}").expect("a String takes any text");
    }
    for (key, example) in unset.iter().filter(|(key, _)| !defaults.contains_key(*key)) {
        writeln!(out, "# {key} = {example}   # not set").expect("a String takes any text");
    }
    out
}
