//! Held-out events that stand in the training part of the same user too.

use std::collections::{HashMap, HashSet};

use forecart_data::{Dataset, History, Part};

use super::{Cases, LeakKind, Leakage, moment, user_name};
use crate::report::grouped;

const DAY_MS: i64 = 86_400_000;
/// Share of the held-out events that come after the same item by exactly the same time, from which a log was read twice.
const SHIFTED_SHARE: f64 = 0.2;
const MIN_SHIFTED: u64 = 20;

/// Whether times are more than dates, on which many people do the same thing.
pub(super) fn has_moments(dataset: &Dataset) -> bool {
    let times = &dataset.sequences.timestamps_ms;
    !times.is_empty() && !times.iter().all(|time| time % DAY_MS == 0)
}

pub(super) fn search(dataset: &Dataset, found: &mut Leakage) {
    if has_moments(dataset) {
        rows(dataset, found);
        shifted(dataset, found);
    }
}

/// The same user, item, event and time in the training part and in a held-out part.
fn rows(dataset: &Dataset, found: &mut Leakage) {
    let mut cases = Cases::default();
    let mut known = HashSet::new();
    for user in dataset.user_indices() {
        known.clear();
        known.extend(rows_of(dataset, dataset.events_in(user, Part::Train)));
        for part in [Part::Validation, Part::Test] {
            for row in rows_of(dataset, dataset.events_in(user, part)) {
                if known.contains(&row) {
                    cases.add(|| {
                        let (item, time) = (dataset.items.text(row.0), moment(row.2));
                        format!("{}, item {item:?}, {time}", user_name(dataset, user))
                    });
                }
            }
        }
    }
    found.leaks.extend(cases.leak(
        LeakKind::DuplicateRow,
        "items.u32 and timestamps.i64, train and held-out parts",
        |n| format!("{n} held-out events stand in the training part with the same item and moment"),
    ));
}

/// Item, kind and time of the events that are to be predicted.
fn rows_of<'a>(
    dataset: &'a Dataset,
    events: History<'a>,
) -> impl Iterator<Item = (u32, u8, i64)> + 'a {
    let places = (0..events.items.len()).filter(move |place| dataset.is_target(events, *place));
    let rows = places.map(move |place| {
        let kind = events.events.get(place).copied().unwrap_or(0);
        (events.items[place].0, kind, events.timestamps_ms[place])
    });
    rows.filter(|(item, ..)| *item > 0)
}

/// A log that was read twice, once in another time zone: each held-out event has a copy some exact time before it. People do
/// come back to an item, but not after a time that is the same to the millisecond for many of them.
fn shifted(dataset: &Dataset, found: &mut Leakage) {
    let mut gaps: HashMap<i64, Cases> = HashMap::new();
    let mut n_held_out = 0u64;
    let mut newest: HashMap<(u32, u8), i64> = HashMap::new();
    for user in dataset.user_indices() {
        newest.clear();
        newest.extend(
            rows_of(dataset, dataset.history_before(user, Part::Test))
                .map(|(item, kind, time)| ((item, kind), time)),
        );
        for (item, kind, time) in rows_of(dataset, dataset.events_in(user, Part::Test)) {
            n_held_out += 1;
            let before = newest.get(&(item, kind)).filter(|before| **before < time);
            if let Some(before) = before {
                gaps.entry(time - before).or_default().add(|| {
                    let (item, time) = (dataset.items.text(item), moment(time));
                    format!("{}, item {item:?}, {time}", user_name(dataset, user))
                });
            }
        }
    }
    let most = gaps.into_iter().max_by_key(|(gap, cases)| (cases.n, std::cmp::Reverse(*gap)));
    let Some((gap, cases)) = most else { return };
    if cases.n < MIN_SHIFTED || (cases.n as f64) < SHIFTED_SHARE * n_held_out as f64 {
        return;
    }
    found.leaks.extend(cases.leak(
        LeakKind::DuplicateRow,
        "items.u32 and timestamps.i64, test part and what was known before it",
        |n| {
            format!(
                "{n} of {} held-out events have a copy in what is known of the same user, each {} s before",
                grouped(n_held_out),
                gap as f64 / 1e3
            )
        },
    ));
}
