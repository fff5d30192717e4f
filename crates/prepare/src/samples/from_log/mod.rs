//! Samples of clicks, conversions and purchases from a shop's own event log.
//!
//! ```text
//! events ─ sort by time (engine, spills) ─► outcomes: what came of each sample ─► parts ─┐
//!    └──── sort by time ─► state: users and items up to each moment ─► rows ◄────────────┘
//! ```
//! Two passes over the events in the order of time, which share nothing but which events are samples: what came of a sample
//! does not reach its features. Features are of what came strictly before the moment of their sample. A label is what was
//! known at the end of its part: the start of validation for training, that of the test for validation, the end of the log for the test. A sample
//! whose window is still open then is in no part, whatever came of it, or, if that is asked for, counts by what is known of delays ([`delays`]).
//!
//! Memory holds the users and items with their counters ([`state`]), the catalog, one window of impressions or clicks, and about 80 bytes a
//! sample.

mod catalog;
mod columns;
mod config;
mod delays;
mod events;
mod features;
mod outcomes;
mod sessions;
mod state;

use std::path::Path;

use forecart_data::dataset::{Reason, StepReport};
use forecart_data::event::columns as log_columns;
use forecart_data::samples::{NO_PART, SampleDescription, SampleSplit};
use forecart_data::{DataError, Progress, SampleWriter};

pub use self::config::RawLogSamplesConfig;
pub use self::outcomes::JoinReport;

use self::catalog::Catalog;
use self::columns::{Look, Table};
use self::config::{LogConfig, Task};
use self::delays::{Delays, Weighed};
use self::events::{Event, Log, Names};
use self::features::{CATEGORIES, CLICKS, IMPRESSIONS, PRICES, PURCHASES};
use self::outcomes::{Joiner, Sample};
use self::state::{Known, State};
use super::config::SplitChoice;
use super::split::{Samples, chosen};
use super::value::Given;
use super::{SamplesConfig, SamplesReport, config_value, push};
use crate::config::DataConfig;
use crate::log::{LogManifest, items_file, users_file};
use crate::session::Session;
use crate::{PrepareError, Resources};

const STEP: &str = "prepare samples";

/// Makes a sample table in the folder `out` from the event log in the folder `log`, for the task of `config`.
///
/// The folder is replaced at the end, in one step. The same log and settings give the same bytes, whatever the resources.
///
/// # Errors
/// [`PrepareError::NotALog`] or [`PrepareError::Data`] if the log cannot be read; [`PrepareError::Unusable`] if it lacks the events that the
/// task needs, has no times, or the windows leave nothing in a part; [`PrepareError::Config`]; [`PrepareError::Engine`];
/// [`PrepareError::Cancelled`].
pub fn prepare_from_log(
    log: &Path,
    data: &DataConfig,
    config: &SamplesConfig,
    out: &Path,
    resources: &Resources,
    progress: &dyn Progress,
) -> Result<SamplesReport, PrepareError> {
    refuse_keys(config)?;
    let log_config = LogConfig::new(&config.raw.log, &config.task)?;
    let choice = chosen(config.split, true, false)?;
    let manifest = LogManifest::read(log)?;
    check_events(&manifest, &log_config)?;
    let session = Session::new(resources)?;
    session.register_events(log)?;
    let mut names = Names::default();
    let (items, users) = (items_file(log), users_file(log));
    let catalog = Catalog::read((items.as_deref(), users.as_deref()), &mut names, data, config)?;
    let schema = session.table("events")?;
    let columns = schema.schema().fields().iter().map(|field| field.name().clone());
    let columns: Vec<String> = columns.filter(|name| name != log_columns::ROW_NUMBER).collect();
    let of_category = columns.iter().find(|name| **name == config.raw.log.category).cloned();
    let source = Log {
        session: &session,
        config: &log_config,
        category: of_category.filter(|_| !catalog.has_category),
        catalog: &catalog,
        columns,
    };

    progress.begin("join events", Some(manifest.n_rows));
    let mut joiner = Joiner::new(&log_config);
    let mut look = Look::new(&source);
    let passed = source.for_each_moment(&mut names, progress, |moment, _| {
        for event in joiner.take(moment) {
            look.add(|at| moment.cell(&event, at), data, config);
        }
        Ok(())
    })?;
    let (samples, mut join) = joiner.finish();
    join.n_events = passed.n_events;
    join.n_guests = passed.n_guests;
    join.n_repeated = passed.n_repeated;

    let end_ms = manifest.time_range_ms.map_or(i64::MAX, |(_, last)| last.saturating_add(1));
    let mut labeled = Labeled::new(&samples, end_ms, choice, config, &mut join)?;
    if log_config.corrects {
        labeled.correct(&samples, &mut join)?;
    }
    labeled.check(&join)?;
    let has = has(&manifest, &source);
    let mut table = Table::new(&source, &look, has, log, data, config)?;
    let mut writer = SampleWriter::new(out, table.columns.clone())?;
    progress.begin("write the samples", Some(manifest.n_rows));
    let raw = &log_config.raw;
    let history_length = raw.history_length as usize;
    let mut state = State::new(history_length, log_config.session_gap_ms, raw.prior_events);
    let mut next = 0;
    source.for_each_moment(&mut names, progress, |moment, names| {
        let is_sample = |event: &Event| {
            let is_next = samples.get(next).is_some_and(|sample| sample.row == event.row);
            let found = next;
            next += usize::from(is_next);
            is_next.then_some(found)
        };
        each_known(&mut state, &moment.events, is_sample, |sample, known| {
            let labels =
                (labeled.labels[sample], labeled.converted[sample], labeled.weights[sample]);
            let write = |values: &[Given<'_>]| push(&mut writer, values);
            Ok(table.row(labels, known, (moment, &source, names), data, write)?)
        })
    })?;
    debug_assert_eq!(next, samples.len());

    let mut decisions = decisions(&log_config, &labeled.split);
    decisions.append(&mut labeled.decisions);
    if table.n_unread > 0 {
        decisions.push(format!(
            "{} values are not of their column's kind and count as missing",
            table.n_unread
        ));
    }
    // The section is named even where all of it is default: it made the table.
    let mut settings = config_value(&config.raw)?;
    settings["log"] = serde_json::to_value(&config.raw.log)
        .map_err(|error| DataError::Inconsistent { reason: error.to_string() })?;
    let description = SampleDescription {
        task: config.task.clone(),
        split: labeled.split.clone(),
        negatives_kept: config.raw.negatives_kept,
        data_hash: manifest.data_hash.clone(),
        config: settings,
        steps: vec![step(&join, samples.len() as u64)],
    };
    let written = writer.finish(&labeled.parts, description)?;
    Ok(SamplesReport {
        columns: table.report,
        decisions,
        inputs: manifest.inputs,
        split: labeled.split,
        parts: written.parts,
        n_open: written.n_open,
        n_rows_read: join.n_events,
        n_bad_rows: 0,
        rejected: Vec::new(),
        join: Some(join),
        data_hash: manifest.data_hash,
        content_hash: written.content_hash,
    })
}

/// Hands what is known at each sample of a moment to `each`, then takes in the events of the moment: the one order in which
/// no event of the same moment is known.
fn each_known(
    state: &mut State,
    events: &[Event],
    mut is_sample: impl FnMut(&Event) -> Option<usize>,
    mut each: impl FnMut(usize, &Known<'_>) -> Result<(), PrepareError>,
) -> Result<(), PrepareError> {
    for event in events {
        if let Some(sample) = is_sample(event) {
            each(sample, &state.known(event))?;
        }
    }
    events.iter().for_each(|event| state.apply(event));
    Ok(())
}

/// What came of the samples, as it was known at the end of their parts.
struct Labeled {
    labels: Vec<f64>,
    converted: Vec<f64>,
    weights: Vec<f64>,
    parts: Vec<u8>,
    split: SampleSplit,
    /// Samples of training and validation whose window is open at the end of their part: they are in none so far.
    open: [Vec<usize>; 2],
    decisions: Vec<String>,
}

impl Labeled {
    fn new(
        samples: &[Sample],
        end_ms: i64,
        choice: SplitChoice,
        config: &SamplesConfig,
        join: &mut JoinReport,
    ) -> Result<Self, PrepareError> {
        let unusable = |reason: String| Err(PrepareError::Unusable { step: STEP, reason });
        let mut labels: Vec<f64> =
            samples.iter().map(|sample| sample.outcome.label(end_ms)).collect();
        let count = |is: &dyn Fn(&Sample) -> bool| samples.iter().filter(|s| is(s)).count() as u64;
        join.n_open = count(&|sample| sample.outcome.label(end_ms).is_nan());
        join.n_open_early = count(&|sample| sample.outcome.is_early(end_ms));
        if join.n_open == samples.len() as u64 {
            let reason = match samples.len() {
                0 => "the log has no sample: with `samples.log.purchase_of = \"session\"` no session is as long as \
                      `samples.log.session_event`, or all bought before; else no user has an event of the task with an item"
                    .to_owned(),
                n => format!(
                    "the windows of all {n} samples are open at the end of the log, so nothing is known; make \
                     the window in `[samples.log]` shorter, or import a longer log"
                ),
            };
            return unusable(reason);
        }
        let times: Vec<Option<i64>> = samples.iter().map(|sample| Some(sample.time_ms)).collect();
        let by = Samples { labels: &labels, times: Some(&times), n_before_test: None };
        let (mut parts, split) = by.parts(choice, &config.raw)?;
        let ends = match split {
            SampleSplit::Time { validation_start_ms, test_start_ms } => {
                [validation_start_ms, test_start_ms, end_ms]
            }
            _ => [end_ms; 3],
        };
        let mut open = [Vec::new(), Vec::new()];
        let mut converted = vec![f64::NAN; samples.len()];
        for (at, sample) in samples.iter().enumerate() {
            let end_ms = match ends.get(usize::from(parts[at])) {
                Some(end_ms) => *end_ms,
                None => end_ms,
            };
            labels[at] = sample.outcome.label(end_ms);
            converted[at] = sample.converted.label(end_ms);
            if labels[at].is_nan() && parts[at] != NO_PART {
                if let Some(open) = open.get_mut(usize::from(parts[at])) {
                    open.push(at);
                }
                parts[at] = NO_PART;
            }
        }
        [join.n_over_train_end, join.n_over_validation_end] =
            [0, 1].map(|at| open[at].len() as u64);
        let weights = vec![1.0; samples.len()];
        Ok(Self { labels, converted, weights, parts, split, open, decisions: Vec::new() })
    }

    /// Takes open samples back into their part, with a weight for what comes late.
    fn correct(&mut self, samples: &[Sample], join: &mut JoinReport) -> Result<(), PrepareError> {
        let SampleSplit::Time { validation_start_ms, test_start_ms } = self.split else {
            let reason = "a window is open at the end of a part, which parts by time have; give `samples.split = \"time\"`, or \"leave-out\"";
            return Err(PrepareError::config("samples.log.open_windows", reason));
        };
        for (part, end_ms) in [(0, validation_start_ms), (1, test_start_ms)] {
            let open = &self.open[usize::from(part)];
            if open.is_empty() {
                continue;
            }
            let delays = Delays::known(samples, end_ms).map_err(|n_known| {
                let reason = format!(
                    "`samples.log.open_windows = \"correct\"` needs 30 outcomes whose windows were closed at the end of {} to know how long they \
                     take, and there are {n_known}; give \"leave-out\", or a longer log",
                    ["training", "validation"][usize::from(part)],
                );
                PrepareError::Unusable { step: STEP, reason }
            })?;
            let weighed = delays.weigh(samples, open, end_ms);
            let (n_known, half_ms) = delays.summary();
            self.decisions.push(format!(
                "{} of {} open windows of {} are kept with a weight, by the delays of {n_known} outcomes, half of which came within {:.1} hours",
                weighed.len(),
                open.len(),
                ["training", "validation"][usize::from(part)],
                half_ms as f64 / 3_600_000.0,
            ));
            let n_left_out = (open.len() - weighed.len()) as u64;
            match part {
                0 => join.n_over_train_end = n_left_out,
                _ => join.n_over_validation_end = n_left_out,
            }
            join.n_corrected += weighed.len() as u64;
            for Weighed { sample, has_come, weight } in weighed {
                self.labels[sample] = f64::from(u8::from(has_come));
                self.weights[sample] = weight;
                self.parts[sample] = part;
            }
        }
        Ok(())
    }

    /// Refuses parts of which the windows have left nothing.
    fn check(&self, join: &JoinReport) -> Result<(), PrepareError> {
        let n_over = [join.n_over_train_end, join.n_over_validation_end];
        for (part, name, n_over) in [(0, "training", n_over[0]), (1, "validation", n_over[1])] {
            if n_over > 0 && !self.parts.contains(&part) {
                let reason = format!(
                    "the windows of all {n_over} {name} samples reach over the end of the {name} part, where nothing is known \
                     of them; make the window in `[samples.log]` shorter, or that part larger"
                );
                return Err(PrepareError::Unusable { step: STEP, reason });
            }
        }
        Ok(())
    }
}

/// Settings of tables that come with their label.
fn refuse_keys(config: &SamplesConfig) -> Result<(), PrepareError> {
    let raw = &config.raw;
    let given = [
        ("label", raw.label.is_some()),
        ("positive", raw.positive.is_some()),
        ("time", raw.time.is_some()),
        ("group", raw.group.is_some()),
        ("weight", raw.weight.is_some()),
        ("feature_names", raw.feature_names.is_some()),
    ];
    match given.iter().find(|(_, is_given)| *is_given) {
        Some((key, _)) => {
            let reason = "says nothing of samples that are made from an event log; leave it out";
            Err(PrepareError::config(format!("samples.{key}"), reason))
        }
        None => Ok(()),
    }
}

/// Refuses a log without the events that the task is made of.
fn check_events(manifest: &LogManifest, config: &LogConfig) -> Result<(), PrepareError> {
    let unusable = |reason: String| Err(PrepareError::Unusable { step: STEP, reason });
    if !manifest.has_time {
        return unusable("the log has an order but no times, so nothing says what came after what in which window".into());
    }
    let raw = &config.raw;
    let (impressions, clicks, purchases) =
        (("impressions", &raw.impressions), ("clicks", &raw.clicks), ("purchases", &raw.purchases));
    let needed = match config.task {
        Task::Click if raw.converted => vec![impressions, clicks, purchases],
        Task::Click => vec![impressions, clicks],
        Task::Conversion => vec![clicks, purchases],
        Task::SessionPurchase => vec![purchases],
        Task::ItemPurchase => vec![("history", &raw.history), purchases],
    };
    for (key, wanted) in needed {
        if !manifest.events.iter().any(|event| wanted.contains(&event.name)) {
            let found: Vec<String> = manifest
                .events
                .iter()
                .map(|event| format!("{} ({})", event.name, event.n_rows))
                .collect();
            return unusable(format!(
                "the log has no {key}, that is no event {}; it has {}; name its own with `samples.log.{key}`, or rename \
                 them at import with `[events.names]`",
                wanted.join(" or "),
                found.join(", "),
            ));
        }
    }
    Ok(())
}

/// What features can be made of.
fn has(manifest: &LogManifest, log: &Log<'_>) -> u8 {
    let raw = &log.config.raw;
    let any = |wanted: &[String], flag: u8| match manifest
        .events
        .iter()
        .any(|event| wanted.contains(&event.name))
    {
        true => flag,
        false => 0,
    };
    let has_price =
        log.catalog.has_price || log.columns.iter().any(|name| name == log_columns::PRICE);
    let has_category = log.catalog.has_category || log.category.is_some();
    any(&raw.impressions, IMPRESSIONS)
        | any(&raw.clicks, CLICKS)
        | any(&raw.purchases, PURCHASES)
        | if has_price { PRICES } else { 0 }
        | if has_category { CATEGORIES } else { 0 }
}

fn decisions(config: &LogConfig, split: &SampleSplit) -> Vec<String> {
    let raw = &config.raw;
    let what = if config.of_any_item { "any item" } else { "the same item" };
    let window = match config.task {
        Task::Click => {
            let mut text = format!(
                "a click answers the latest impression of the same user and item in the {} minutes before it",
                raw.click_window_minutes
            );
            if raw.converted {
                text += &format!(
                    "; a purchase of {what} is the conversion of the user's latest click in the {} days before it",
                    raw.conversion_window_days
                );
            }
            text
        }
        Task::Conversion => format!(
            "a purchase of {what} is the conversion of the user's latest click in the {} days before it",
            raw.conversion_window_days
        ),
        Task::ItemPurchase => format!(
            "predicted at the first event of a user with an item on a day; a purchase of it counts in the {} days after",
            raw.purchase_window_days
        ),
        Task::SessionPurchase => format!(
            "predicted at event {} of a session; a pause of more than {} minutes ends one",
            raw.session_event, raw.session_gap_minutes
        ),
    };
    vec![window, format!("split: {}", split.name())]
}

fn step(join: &JoinReport, n_samples: u64) -> StepReport {
    let reasons = join.lines().into_iter().map(|(reason, n_rows)| Reason { reason, n_rows });
    StepReport {
        step: "join".into(),
        n_rows_in: join.n_events,
        n_rows_out: n_samples,
        reasons: reasons.collect(),
        ..StepReport::default()
    }
}

#[cfg(test)]
mod tests {
    use super::events::{CLICK, IMPRESSION};
    use super::*;

    #[test]
    fn what_is_of_the_same_moment_is_not_known() {
        let of_kind = |kind, time_ms| Event { kind, time_ms, ..Event::default() };
        let moments = [
            vec![of_kind(CLICK, 5), of_kind(IMPRESSION, 5), of_kind(CLICK, 5)],
            vec![of_kind(IMPRESSION, 6)],
        ];
        let (mut state, mut found) = (State::new(5, 1000, 1.0), Vec::new());
        for moment in &moments {
            let is_sample = |event: &Event| (event.kind == IMPRESSION).then_some(0);
            let each = |_, known: &Known<'_>| {
                found.push((known.user.counts.clicks, known.item.events));
                Ok(())
            };
            each_known(&mut state, moment, is_sample, each).unwrap();
        }
        assert_eq!(found, [(0, 0), (2, 3)]);
    }
}
