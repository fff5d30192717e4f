//! Which columns the table has, and what a row of it holds.

use std::borrow::Cow;
use std::path::Path;

use forecart_data::event::columns as log_columns;
use forecart_data::samples::{ColumnKind, Role, SampleColumn};

use super::super::infer::{Inferred, Profile};
use super::super::label;
use super::super::plan::ColumnReport;
use super::super::rows::{SEPARATOR, moments};
use super::super::value::{Given, Reading};
use super::config::{CONVERTED, LogConfig, Task, WEIGHT};
use super::events::{Log, Moment, Names};
use super::features::{FEATURES, Feature};
use super::state::Known;
use crate::PrepareError;
use crate::config::DataConfig;
use crate::error::Place;
use crate::import::cell::Cell;
use crate::prepare::DAY_MS;
use crate::samples::SamplesConfig;

/// Columns of the log that say who, what and when, or what came of it: no features.
const NO_CONTEXT: &[&str] = &[
    log_columns::USER_ID,
    log_columns::ITEM_ID,
    log_columns::EVENT,
    log_columns::TIMESTAMP,
    log_columns::EVENT_ID,
    log_columns::SESSION_ID,
    log_columns::REQUEST_ID,
    log_columns::ORDER_ID,
    log_columns::VALUE,
    log_columns::QUANTITY,
    log_columns::TEXT,
    log_columns::INTENT,
    log_columns::PRICE,
];
const MOMENT: &str = "moment";
const HOUR: &str = "hour";
const WEEKDAY: &str = "weekday";
const HISTORY: &str = "history";
const IGNORED: &str = "in `samples.ignore`";
/// Rows that decide what columns of the log hold.
const N_LOOKED: u64 = 100_000;
const MAX_DISTINCT: usize = 100_000;

/// A column of texts or numbers of which the kind is to be decided.
pub(super) struct Choice<'a> {
    /// In the sample table.
    pub(super) name: &'a str,
    pub(super) profile: &'a Profile,
    pub(super) inferred: Inferred,
    /// File and column that it comes from.
    pub(super) place: (&'a Path, &'a str),
}

/// What the configuration says of a column, else what was found.
pub(super) fn choose(
    choice: Choice<'_>,
    data: &DataConfig,
    config: &SamplesConfig,
) -> Result<(Option<Reading>, ColumnReport), PrepareError> {
    let Choice { name, profile, inferred, place } = choice;
    let Inferred { kind, reason } = match config.kinds.get(name) {
        _ if config.raw.ignore.iter().any(|ignored| ignored == name) => {
            Inferred { kind: None, reason: IGNORED.into() }
        }
        Some(kind) => {
            Inferred { kind: Some(*kind), reason: "stated in `[samples.columns]`".into() }
        }
        None => inferred,
    };
    let form = match kind {
        Some(ColumnKind::Time) => {
            let place = Place::file(place.0).field(place.1);
            Some(moments(&profile.sample, &place, data)?.0)
        }
        _ => None,
    };
    let separator = config.raw.list_separator.as_deref().unwrap_or(SEPARATOR).to_owned();
    let (n_distinct, is_exact) = profile.n_distinct();
    let report = ColumnReport {
        name: name.to_owned(),
        kind,
        role: kind.map(|_| Role::Feature),
        reason,
        n_distinct: Some(n_distinct),
        has_more_distinct: !is_exact,
        n_missing: profile.n_missing,
        examples: profile.examples.clone(),
    };
    Ok((kind.map(|kind| Reading { kind, moments: form, separator }), report))
}

/// A column of the log that describes the moment of a sample.
#[derive(Debug)]
struct Context {
    /// In the log.
    name: String,
    at: usize,
    profile: Profile,
}

/// A first look at the samples' rows of the log.
#[derive(Debug)]
pub(super) struct Look {
    columns: Vec<Context>,
    n_rows: u64,
}

impl Look {
    pub(super) fn new(log: &Log<'_>) -> Self {
        let columns = log.columns.iter().enumerate();
        let columns = columns.filter(|(_, name)| !NO_CONTEXT.contains(&name.as_str()));
        let columns = columns.map(|(at, name)| Context {
            name: name.clone(),
            at,
            profile: Profile::new(MAX_DISTINCT),
        });
        Self { columns: columns.collect(), n_rows: 0 }
    }

    /// Takes in a sample's row of the log.
    pub(super) fn add<'m>(
        &mut self,
        cell: impl Fn(usize) -> Cell<'m>,
        data: &DataConfig,
        config: &SamplesConfig,
    ) {
        if self.n_rows == N_LOOKED {
            return;
        }
        self.n_rows += 1;
        for column in &mut self.columns {
            let separator = config.raw.list_separator.as_deref();
            column.profile.add(&cell(column.at), self.n_rows, data, separator);
        }
    }
}

/// Where the values of a column come from.
enum Source {
    Label,
    Converted,
    Weight,
    Moment,
    User,
    Item,
    EventName,
    Hour,
    Weekday,
    Context(usize, Reading),
    Feature(&'static Feature),
    OfItem(usize),
    OfUser(usize),
    History,
}

/// The columns of the table.
pub(super) struct Table {
    sources: Vec<Source>,
    pub(super) columns: Vec<SampleColumn>,
    /// In the order of the columns, then those that are not kept.
    pub(super) report: Vec<ColumnReport>,
    /// Columns that are not in the table.
    left_out: Vec<ColumnReport>,
    utc_offset_ms: i64,
    /// Values that were not of their column's kind.
    pub(super) n_unread: u64,
}

impl Table {
    pub(super) fn new(
        log: &Log<'_>,
        look: &Look,
        has: u8,
        path: &Path,
        data: &DataConfig,
        config: &SamplesConfig,
    ) -> Result<Self, PrepareError> {
        let LogConfig { task, .. } = *log.config;
        let mut table = Self {
            sources: Vec::new(),
            columns: Vec::new(),
            report: Vec::new(),
            left_out: Vec::new(),
            utc_offset_ms: log.config.utc_offset_ms,
            n_unread: 0,
        };
        let ignore = &config.raw.ignore;
        let (number, category) = (ColumnKind::Number, ColumnKind::Category);
        let label = match task {
            Task::Click => "a click followed in its window",
            Task::Conversion => "a purchase followed in its window",
            Task::SessionPurchase => "a purchase followed in this session",
            Task::ItemPurchase => "the user bought this item in the days after",
        };
        table.add(log.config.label(), number, Role::Label, label, Source::Label);
        if log.config.raw.converted {
            let meaning = "a click followed, and a purchase after it, in their windows";
            table.add(CONVERTED, number, Role::Label, meaning, Source::Converted);
        }
        if log.config.corrects {
            let meaning = "1, of a window that is still open what it counts";
            table.add(WEIGHT, number, Role::Weight, meaning, Source::Weight);
        }
        table.add(MOMENT, ColumnKind::Time, Role::Time, "of the event", Source::Moment);
        table.add(log_columns::USER_ID, category, Role::Group, "of the event", Source::User);
        table.feature(log_columns::ITEM_ID, category, "of the event", Source::Item, ignore);
        if matches!(task, Task::SessionPurchase | Task::ItemPurchase) {
            let meaning = "at which is predicted";
            table.feature(log_columns::EVENT, category, meaning, Source::EventName, ignore);
        }
        table.feature(HOUR, category, "of the day, by the shop's clock", Source::Hour, ignore);
        table.feature(WEEKDAY, category, "1 is Monday", Source::Weekday, ignore);
        let position = config.raw.position.as_deref().unwrap_or(log_columns::POSITION);
        let propensity = config.raw.propensity.as_deref();
        for (key, named) in
            [("position", &config.raw.position), ("propensity", &config.raw.propensity)]
        {
            let Some(named) = named else { continue };
            if look.columns.iter().any(|column| column.name == *named) {
                continue;
            }
            let names: Vec<&str> = look.columns.iter().map(|column| column.name.as_str()).collect();
            let reason = format!("the log has no column {named:?}; it has {}", names.join(", "));
            return Err(PrepareError::config(format!("samples.{key}"), reason));
        }
        for column in &look.columns {
            let name = match table.is_taken(&column.name) {
                true => format!("event.{}", column.name),
                false => column.name.clone(),
            };
            let inferred = match column.profile.infer() {
                _ if label::is_outcome(&column.name) => Inferred {
                    kind: None,
                    reason: "named like an outcome; state its kind in `[samples.columns]` if it is known beforehand"
                        .into(),
                },
                _ if propensity == Some(column.name.as_str()) => Inferred {
                    kind: Some(number),
                    reason: "named in `samples.propensity`".into(),
                },
                Inferred { kind: None, .. } if column.name == position => {
                    Inferred { kind: Some(category), reason: "where it stood".into() }
                }
                inferred => inferred,
            };
            let place = (path, column.name.as_str());
            let choice = Choice { name: &name, profile: &column.profile, inferred, place };
            let (reading, mut report) = choose(choice, data, config)?;
            let Some(reading) = reading else {
                table.left_out.push(report);
                continue;
            };
            let role = match column.name.as_str() {
                name if propensity == Some(name) => Role::Propensity,
                name if name == position => Role::Position,
                _ => Role::Feature,
            };
            report.role = Some(role);
            table.columns.push(SampleColumn::new(&name, reading.kind, role));
            table.sources.push(Source::Context(column.at, reading));
            table.report.push(report);
        }
        for feature in FEATURES.iter().filter(|feature| feature.needs & !has == 0) {
            let source = Source::Feature(feature);
            table.feature(feature.name, number, feature.meaning, source, ignore);
        }
        let (items, users) = (&log.catalog.items, &log.catalog.users);
        for (attributes, is_item) in [(items, true), (users, false)] {
            for (at, (name, reading)) in attributes.columns.iter().enumerate() {
                table.columns.push(SampleColumn::new(name, reading.kind, Role::Feature));
                table.sources.push(if is_item { Source::OfItem(at) } else { Source::OfUser(at) });
            }
            let (kept, lost): (Vec<_>, Vec<_>) =
                attributes.report.iter().cloned().partition(|column| column.kind.is_some());
            table.report.extend(kept);
            table.left_out.extend(lost);
        }
        if log.config.raw.history_length > 0 {
            let meaning = "items that the user looked at before, oldest first";
            table.feature(HISTORY, ColumnKind::List, meaning, Source::History, ignore);
            let has_item = table.columns.iter().any(|column| column.name == log_columns::ITEM_ID);
            if has_item && let Some(history) = table.columns.pop_if(|last| last.name == HISTORY) {
                table.columns.push(history.history_of(log_columns::ITEM_ID));
            }
        }
        let known: Vec<&str> =
            table.report.iter().chain(&table.left_out).map(|column| column.name.as_str()).collect();
        let named = config.kinds.keys().map(|name| ("columns", name));
        for (key, name) in named.chain(config.raw.ignore.iter().map(|name| ("ignore", name))) {
            let is_feature = FEATURES.iter().any(|feature| feature.name == name);
            if !known.contains(&name.as_str()) && !is_feature {
                let reason =
                    format!("the table has no column {name:?}; it has {}", known.join(", "));
                return Err(PrepareError::config(format!("samples.{key}"), reason));
            }
        }
        let left_out = std::mem::take(&mut table.left_out);
        table.report.extend(left_out);
        Ok(table)
    }

    fn is_taken(&self, name: &str) -> bool {
        [HISTORY, CONVERTED].contains(&name)
            || self.columns.iter().any(|column| column.name == name)
            || FEATURES.iter().any(|feature| feature.name == name)
    }

    fn add(&mut self, name: &str, kind: ColumnKind, role: Role, meaning: &str, source: Source) {
        self.columns.push(SampleColumn::new(name, kind, role));
        self.sources.push(source);
        self.report.push(made(name, Some((kind, role)), meaning));
    }

    /// Adds a feature that may be ignored.
    fn feature(
        &mut self,
        name: &str,
        kind: ColumnKind,
        meaning: &str,
        source: Source,
        ignore: &[String],
    ) {
        match ignore.iter().any(|ignored| ignored == name) {
            true => self.left_out.push(made(name, None, IGNORED)),
            false => self.add(name, kind, Role::Feature, meaning, source),
        }
    }

    /// Hands the values of a sample to `write`, one for each column.
    pub(super) fn row<T>(
        &mut self,
        (label, converted, weight): (f64, f64, f64),
        known: &Known<'_>,
        (moment, log, names): (&Moment, &Log<'_>, &Names),
        data: &DataConfig,
        write: impl FnOnce(&[Given<'_>]) -> T,
    ) -> T {
        let event = known.event;
        let local_ms = event.time_ms.saturating_add(self.utc_offset_ms);
        let number = |number: f64| match number.is_nan() {
            true => Given::Missing,
            false => Given::Number(number),
        };
        let text = |text| Given::Text(Cow::Borrowed(text));
        let whole = |number: i64| Given::Text(Cow::Owned(number.to_string()));
        let cells: Vec<Cell<'_>> = self
            .sources
            .iter()
            .map(|source| match source {
                Source::Context(at, _) => moment.cell(event, *at),
                _ => Cell::Null,
            })
            .collect();
        let mut n_unread = 0;
        let values: Vec<Given<'_>> = self
            .sources
            .iter()
            .zip(&cells)
            .map(|(source, cell)| match source {
                Source::Label => number(label),
                Source::Converted => number(converted),
                Source::Weight => number(weight),
                Source::Moment => Given::Time(event.time_ms),
                Source::User => text(names.users.text(event.user)),
                Source::Item => text(names.items.text(event.item)),
                Source::EventName => text(names.events.text(event.name)),
                Source::Hour => whole(local_ms.rem_euclid(DAY_MS) / (DAY_MS / 24)),
                // The first of January 1970 was a Thursday.
                Source::Weekday => whole((local_ms.div_euclid(DAY_MS) + 3).rem_euclid(7) + 1),
                Source::Context(_, reading) => reading.value(cell, data).unwrap_or_else(|_| {
                    n_unread += 1;
                    Given::Missing
                }),
                Source::Feature(feature) => number((feature.of)(known)),
                Source::OfItem(at) => log.catalog.items.value(event.item, *at),
                Source::OfUser(at) => log.catalog.users.value(event.user, *at),
                Source::History => {
                    let items = known.user.history.iter();
                    Given::List(items.map(|item| Cow::Borrowed(names.items.text(*item))).collect())
                }
            })
            .collect();
        self.n_unread += n_unread;
        for ((report, value), source) in self.report.iter_mut().zip(&values).zip(&self.sources) {
            let is_counted =
                matches!(source, Source::Context(..) | Source::OfItem(_) | Source::OfUser(_));
            if !is_counted {
                note(report, value);
            }
        }
        write(&values)
    }
}

/// What is reported of a column that no file has.
fn made(name: &str, is: Option<(ColumnKind, Role)>, reason: &str) -> ColumnReport {
    ColumnReport {
        name: name.to_owned(),
        kind: is.map(|(kind, _)| kind),
        role: is.map(|(_, role)| role),
        reason: reason.to_owned(),
        n_distinct: None,
        has_more_distinct: false,
        n_missing: 0,
        examples: Vec::new(),
    }
}

/// Counts a missing value, and keeps the first different ones.
fn note(report: &mut ColumnReport, value: &Given<'_>) {
    let text = match value {
        Given::Missing => {
            report.n_missing += 1;
            return;
        }
        Given::List(texts) if texts.is_empty() => {
            report.n_missing += 1;
            return;
        }
        _ if report.examples.len() == 3 => return,
        Given::Number(number) => format!("{number}"),
        Given::Text(text) => text.to_string(),
        Given::List(texts) => texts.join("|"),
        Given::Time(time) => time.to_string(),
    };
    if !report.examples.contains(&text) {
        report.examples.push(text);
    }
}
