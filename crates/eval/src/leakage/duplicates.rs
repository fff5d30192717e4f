//! The same thing in the training part and in a held-out part: rows, and whole stretches under another id.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use forecart_data::{Dataset, History, Part, UserIdx};

use super::{Cases, LeakKind, Leakage, moment, user_name};
use crate::report::grouped;

/// Share of the measured users from which repeated sequences are a leak; below it they are noted. Robots and double
/// imports leave a few in any log.
const DUPLICATE_SHARE: f64 = 0.01;
/// Events that a repeated sequence has, where events have times: three at the same moments are no chance.
const WITH_TIMES: usize = 3;
/// The same without times: the same six items in the same order.
const WITHOUT_TIMES: usize = 6;
const DAY_MS: i64 = 86_400_000;

pub(super) fn search(dataset: &Dataset, found: &mut Leakage) {
    let times = &dataset.sequences.timestamps_ms;
    // Dates alone are no moments: many people buy the same thing on one day.
    let has_moments = !times.is_empty() && !times.iter().all(|time| time % DAY_MS == 0);
    if has_moments {
        rows(dataset, found);
    }
    sequences(dataset, has_moments, found);
}

/// The same user, item, event and time before and in the held-out parts.
fn rows(dataset: &Dataset, found: &mut Leakage) {
    let mut cases = Cases::default();
    let mut known = HashSet::new();
    for user in dataset.user_indices() {
        let train = dataset.events_in(user, Part::Train);
        known.clear();
        known.extend(rows_of(train));
        for part in [Part::Validation, Part::Test] {
            for row in rows_of(dataset.events_in(user, part)) {
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

fn rows_of(events: History<'_>) -> impl Iterator<Item = (u32, u8, i64)> {
    let kinds = events.events.iter().copied().chain(std::iter::repeat(0));
    let rows = events.items.iter().zip(events.timestamps_ms).zip(kinds);
    rows.filter(|((item, _), _)| item.is_known()).map(|((item, time), kind)| (item.0, kind, *time))
}

/// What led to a held-out event, and the event, in the training part of somebody else.
///
/// Of each measured user one window is looked for: the last events up to the first held-out one. So memory grows with
/// users, while the training events of all are streamed past.
fn sequences(dataset: &Dataset, has_moments: bool, found: &mut Leakage) {
    let longest = if has_moments { WITH_TIMES } else { WITHOUT_TIMES };
    // Short sessions at the same moments, too; without times only whole windows say anything.
    let lengths: Vec<usize> = if has_moments { vec![2, longest] } else { vec![longest] };
    let mut wanted: HashMap<u64, Vec<UserIdx>> = HashMap::new();
    let mut n_measured = 0u64;
    for user in dataset.user_indices() {
        let known = dataset.history_before(user, Part::Test).items.len();
        let all = dataset.sequences.history(user);
        if all.items.len() == known {
            continue;
        }
        n_measured += 1;
        // A session is held out whole: its first events are looked for.
        let end = (known + 1).max(longest).min(all.items.len());
        let length = lengths.iter().rev().find(|length| **length <= end);
        if let Some(window) = length.map(|length| all.slice(end - length..end)) {
            wanted.entry(fingerprint(window, has_moments)).or_default().push(user);
        }
    }
    let mut twins = copies(dataset, has_moments, longest);
    for other in dataset.user_indices() {
        let train = dataset.events_in(other, Part::Train);
        for length in &lengths {
            for end in *length..=train.items.len() {
                let window = train.slice(end - length..end);
                for user in wanted.get(&fingerprint(window, has_moments)).into_iter().flatten() {
                    if *user != other {
                        twins.entry(*user).or_insert(other);
                    }
                }
            }
        }
    }
    let mut pairs: Vec<_> = twins.into_iter().collect();
    pairs.sort_unstable();
    let mut cases = Cases::default();
    for (user, other) in pairs {
        let (user, other) = (user_name(dataset, user), user_name(dataset, other));
        cases.add(|| format!("{user} does what {other} does"));
    }
    let share = cases.n as f64 / n_measured.max(1) as f64;
    if share < DUPLICATE_SHARE {
        if cases.n > 0 {
            found.notes.push(format!(
                "{} of {} measured users repeat a stretch of another user's training events: {}",
                grouped(cases.n),
                grouped(n_measured),
                cases.examples.join("; ")
            ));
        }
        return;
    }
    found.leaks.extend(cases.leak(
        LeakKind::DuplicateUser,
        "items.u32, test part against the train part of other users",
        |n| {
            let of = if has_moments { "items and moments" } else { "items" };
            format!(
                "{n} of {} measured users ({:.1} %) have the same {of} as another user: all of them, or \
                 the held-out one with those before it in the other's training part",
                grouped(n_measured),
                share * 100.0
            )
        },
    ));
}

/// Measured users with exactly the events of another user. Their targets may stay hidden, but the same person is counted
/// twice, and learned from twice.
fn copies(dataset: &Dataset, has_moments: bool, shortest: usize) -> HashMap<UserIdx, UserIdx> {
    let mut first: HashMap<u64, UserIdx> = HashMap::new();
    let mut copies = HashMap::new();
    for user in dataset.user_indices() {
        let all = dataset.sequences.history(user);
        if all.items.len() < shortest {
            continue;
        }
        let original = *first.entry(fingerprint(all, has_moments)).or_insert(user);
        let is_measured = !dataset.events_in(user, Part::Test).items.is_empty();
        if original != user && is_measured {
            copies.insert(user, original);
        }
    }
    copies
}

/// A number that equal windows share. Stable within a run, which is all that is asked of it.
fn fingerprint(window: History<'_>, has_moments: bool) -> u64 {
    let mut hasher = DefaultHasher::new();
    window.items.iter().for_each(|item| item.0.hash(&mut hasher));
    if has_moments {
        window.timestamps_ms.hash(&mut hasher);
    }
    window.items.len().hash(&mut hasher);
    hasher.finish()
}
