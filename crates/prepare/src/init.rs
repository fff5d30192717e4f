//! A configuration out of the data: what was found is set, every default is shown as a comment.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use forecart_data::event::{self, columns};
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::config::{Format, LATEST_TIME, MAX_BAD_ROWS, MAX_LINE_BYTES, closest};
use crate::import::plan::InputPlan;
use crate::import::{plan_input, sketch_input};
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
    /// What has to be settled in the configuration before the file can be imported.
    pub open: Vec<String>,
}

/// Looks at a file, or the first data file of a folder, and writes a configuration for it.
///
/// Times without a zone are set to UTC, the form of times is guessed, and a file without times is set to
/// its own order; all are said in the findings, so that they can be put right. Where a required column
/// is not found, the configuration has a line to fill in; see [`InitReport::open`].
///
/// # Errors
/// [`PrepareError::Input`] if the file cannot be read.
pub fn init_from(path: &Path) -> Result<InitReport, PrepareError> {
    let found = inputs::find(&[path.to_owned()])?;
    let file = &found.events[0];
    let in_utc = || DataConfig { time_zone: Some(TimeZone::UTC), ..DataConfig::default() };
    let by_pattern = |pattern: &&str| {
        let time_format = Some((*pattern).to_owned());
        DataConfig { time_format, ..in_utc() }
    };
    let attempts = [DataConfig::default(), in_utc()]
        .into_iter()
        .chain(TIME_FORMATS.iter().map(by_pattern))
        .chain([DataConfig { order_only: true, ..DataConfig::default() }]);
    let (mut config, mut problems) = (DataConfig::default(), Vec::new());
    let mut plan = sketch_input(file, &config, &mut problems)?;
    // Other forms of times help no file whose users or items are not found.
    let is_found = |name| plan.source(name).is_some();
    if !problems.is_empty() && is_found(columns::USER_ID) && is_found(columns::ITEM_ID) {
        for attempt in attempts {
            if let Ok(found) = plan_input(file, &attempt) {
                (plan, config, problems) = (found, attempt, Vec::new());
                break;
            }
        }
    }
    let mut report = report(&plan, &config, &problems);
    if found.events.len() > 1 {
        let (n, name) = (found.events.len(), &report.file);
        report.findings.push(format!("looked at {name}, the first of {n} files"));
    }
    Ok(report)
}

/// Forms of times that `init` tries, beside numbers and ISO 8601. Where the day may be the month, the month
/// comes first, as in the United States.
const TIME_FORMATS: &[&str] = &[
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y",
    "%d/%m/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%d/%m/%Y",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y",
    "%Y年%m月%d日 %H:%M:%S",
    "%Y年%m月%d日 %H:%M",
    "%Y年%m月%d日",
];

fn report(plan: &InputPlan, config: &DataConfig, problems: &[PrepareError]) -> InitReport {
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
    let open: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let toml = data_section(plan, config, &columns) + &events_section(plan, &events);
    InitReport {
        toml: toml + &prepare_sections(),
        findings,
        file: plan.file_name.clone(),
        format: format.name().to_owned(),
        columns,
        open,
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

fn data_section(plan: &InputPlan, config: &DataConfig, found: &BTreeMap<String, String>) -> String {
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
    let why = "one character, several marks such as ::, tab, whitespace or auto";
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
    let pattern = config.time_format.as_deref().map(quoted);
    key(&mut out, "time_format", pattern, "\"%m/%d/%Y %H:%M\"", why);
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
    for (ours, theirs) in found {
        let is_named = plan.layout.header_bytes > 0 || !is_text;
        let is_file = matches!(format, Format::Pairs | Format::Sequences | Format::ItemSequences);
        let comment = if is_file || !is_named || seen.contains(&theirs) { "# " } else { "" };
        seen.push(theirs);
        writeln!(out, "{comment}{ours} = {}", quoted(theirs)).expect("a String takes any text");
    }
    let needs_time = !config.order_only && !plan.is_sequences();
    for ours in [columns::USER_ID, columns::ITEM_ID, columns::TIMESTAMP] {
        if !found.contains_key(ours) && (ours != columns::TIMESTAMP || needs_time) {
            let names: Vec<String> = plan.layout.names.iter().map(|name| quoted(name)).collect();
            let names = names.join(", ");
            writeln!(out, "# {ours} = \"\"   # not found; one of {names}")
                .expect("a String takes any text");
        }
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

/// A key of `[prepare]` or `[split]`: its name, an example where it has no default, and what it does.
type Setting = (&'static str, Option<&'static str>, &'static str);

const PREPARE: &[Setting] = &[
    (
        "events",
        None,
        "events that count; empty: all but refunds, removals, dislikes, searches, lists and ads",
    ),
    ("from", Some("\"2011-03-01\""), "first day (UTC) or moment that is kept"),
    ("to", Some("\"2011-11-30\""), "last day (UTC) or moment that is kept"),
    ("last_days", Some("90"), "in place of from and to: only the newest days of the log"),
    ("drop_duplicates", None, "rows equal in every column, and repeated event ids, are one event"),
    ("cancellations", None, "refunds are set against the purchases that they cancel"),
    (
        "non_product_codes",
        None,
        "ids that are no products: auto, none, or a list such as [\"POST\", \"gift_*\"]",
    ),
    ("merge_order_lines", None, "several lines of an item in one order are one event"),
    (
        "merge_consecutive",
        None,
        "the same item by the same event several times in a row is one event",
    ),
    ("max_user_events", Some("1000"), "a user with more events is no person: a bot, a wholesaler"),
    (
        "over_cap",
        None,
        "what happens to users above the cap: drop, or newest (their newest events stay)",
    ),
    ("min_user_events", None, "k-core: users with fewer events go"),
    ("min_item_events", None, "k-core: items with fewer events go"),
    (
        "k_core_on",
        Some("\"train\""),
        "events that the k-core looks at: all for loo-full, else train",
    ),
    (
        "session_gap_minutes",
        None,
        "a longer pause begins a new session, where the log has no session ids",
    ),
    (
        "min_count",
        Some("5"),
        "items with fewer training events are unknown: 0 for loo-full, else 1",
    ),
    (
        "new_items",
        None,
        "items of the catalog belong to the dataset without any event, for the model content",
    ),
    (
        "seen",
        Some("\"exclude\""),
        "whether items that a user acted on may come again: keep for sessions, else exclude; \
         exclude_target leaves out those of split.target_event",
    ),
];
const SPLIT: &[Setting] = &[
    ("kind", None, "time, loo-full or session"),
    (
        "target_event",
        Some("\"purchase\""),
        "loo-full and time: the one event that is predicted; others are known, but not asked for",
    ),
    ("order", Some("\"time\""), "what orders a user's events: time, or file (its own order)"),
    ("test_days", Some("7"), "time and session: this many days at the end are for test"),
    ("validation_days", Some("7"), "days before the test part that are for validation"),
    ("test_start", Some("\"2011-11-09\""), "time: first day or moment of test, in place of days"),
    ("validation_start", Some("\"2011-10-10\""), "time: first day or moment of validation"),
    (
        "ratio",
        Some("[0.8, 0.1, 0.1]"),
        "time: shares of the events, cut at moments; so where nothing else is set",
    ),
    ("test_log", Some("\"test-log\""), "session: the log whose sessions are the test part"),
];
/// The one setting that is a list of tables: it must stand last in its section.
const ITEM_FEATURES: &str = "\
#
# Encoders of the catalog's columns, fitted on the training part. Not set: price, category, brand and
# columns like them. All encoders: docs/configuration.md
#   [[prepare.item_features.columns]]
#   kind = \"numeric\"
#   column = \"price\"
#   steps = [\"log1p\", \"standardize\"]
";

fn prepare_sections() -> String {
    section("prepare", &RawPrepareConfig::default(), PREPARE)
        + ITEM_FEATURES
        + &section("split", &RawSplitConfig::default(), SPLIT)
}

/// A section with every setting and its default, or an example, as a comment.
fn section(name: &str, defaults: &impl Serialize, settings: &[Setting]) -> String {
    let mut out = format!("\n[{name}]\n");
    let defaults = toml::Table::try_from(defaults).expect("a raw section is a table");
    for (name, example, why) in settings {
        let default = defaults.get(*name).map(ToString::to_string);
        let unset = if default.is_none() { "not set; " } else { "" };
        let shown = default.as_deref().or(*example).unwrap_or_default();
        key(&mut out, name, None, shown, &format!("{unset}{why}"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_explained_once() {
        let shown = prepare_sections();
        let explained = |key: &str| shown.matches(&format!("\n# {key} = ")).count();
        // All keys, with and without a default, as serde knows them.
        for (section, settings) in [("prepare", PREPARE), ("split", SPLIT)] {
            let unknown = match section {
                "prepare" => toml::from_str::<RawPrepareConfig>("no_such_key = 1").map(drop),
                _ => toml::from_str::<RawSplitConfig>("no_such_key = 1").map(drop),
            };
            let message = unknown.unwrap_err().to_string();
            let known = message.split("expected one of").nth(1).unwrap();
            let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
            assert!(known.len() >= settings.len(), "{message}");
            for key in known.into_iter().filter(|key| *key != "item_features") {
                assert_eq!(explained(key), 1, "{key}");
            }
        }
    }
}
