//! What is held out of one user in the training part of another: people under two ids, orders under another name.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use forecart_data::{Dataset, History, Part, UserIdx};

use super::duplicates::has_moments;
use super::{Cases, LeakKind, Leakage, user_name};
use crate::report::grouped;

/// Share of the measured users from which repeated events are a leak; below it they are noted. Robots and double
/// imports leave a few in any log.
const DUPLICATE_SHARE: f64 = 0.01;
/// Events of another user at the same moments, from which they are no chance; short sessions have two.
const AT_SAME_MOMENTS: [usize; 2] = [2, 3];
/// The same with the same pauses between them, at other moments: a log that was read twice.
const WITH_SAME_PAUSES: usize = 4;
/// The same without times: the same six items in the same order.
const WITHOUT_TIMES: usize = 6;

pub(super) fn search(dataset: &Dataset, found: &mut Leakage) {
    let has_moments = has_moments(dataset);
    let mut twins = sequences(dataset, has_moments);
    let n_measured = dataset
        .user_indices()
        .filter(|user| !dataset.targets(*user, Part::Test).is_empty())
        .count() as u64;
    if has_moments {
        single_events(dataset, n_measured, &mut twins);
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
                "{} of {} measured users repeat events of another user's training part: {}",
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
                 what is held out in the other's training part",
                grouped(n_measured),
                share * 100.0
            )
        },
    ));
}

/// How two stretches of events are alike.
#[derive(Clone, Copy, Hash)]
enum Alike {
    Items,
    Moments,
    Pauses,
}

/// What led to a held-out event, and the event, in the training part of somebody else.
///
/// Of each measured user a few windows are looked for: the last events up to the first held-out one, and the last ones of
/// all. So memory grows with users, while the training events of all are streamed past.
fn sequences(dataset: &Dataset, has_moments: bool) -> HashMap<UserIdx, UserIdx> {
    let lengths: Vec<(Alike, usize)> = match has_moments {
        true => {
            let exact = AT_SAME_MOMENTS.map(|length| (Alike::Moments, length));
            exact.into_iter().chain([(Alike::Pauses, WITH_SAME_PAUSES)]).collect()
        }
        // Only long windows say anything.
        false => vec![(Alike::Items, WITHOUT_TIMES)],
    };
    let mut wanted: HashMap<u64, Vec<UserIdx>> = HashMap::new();
    for user in dataset.user_indices() {
        let all = dataset.sequences.history(user);
        let known = dataset.history_before(user, Part::Test).items.len();
        let first = (known..all.items.len()).find(|place| dataset.is_target(all, *place));
        let Some(first) = first else { continue };
        let mut want = |alike: Alike, end: usize, length: usize| {
            let window = end.checked_sub(length).map(|start| all.slice(start..end));
            if let Some(print) = window.and_then(|window| fingerprint(window, alike)) {
                let users = wanted.entry(print).or_default();
                if users.last() != Some(&user) {
                    users.push(user);
                }
            }
        };
        match has_moments {
            true => {
                // A session is held out whole: its first events are looked for.
                let longest = AT_SAME_MOMENTS[1];
                let end = (first + 1).max(longest).min(all.items.len());
                want(Alike::Moments, end, longest.min(end).max(AT_SAME_MOMENTS[0]));
                let end = (first + 1).max(WITH_SAME_PAUSES).min(all.items.len());
                want(Alike::Pauses, end, WITH_SAME_PAUSES);
                if all.items.len() - known >= WITH_SAME_PAUSES {
                    want(Alike::Pauses, all.items.len(), WITH_SAME_PAUSES);
                }
            }
            false => {
                let end = (first + 1).max(WITHOUT_TIMES).min(all.items.len());
                want(Alike::Items, end, WITHOUT_TIMES);
            }
        }
    }
    let shortest = if has_moments { AT_SAME_MOMENTS[1] } else { WITHOUT_TIMES };
    let mut twins = copies(dataset, has_moments, shortest);
    for other in dataset.user_indices() {
        let train = dataset.events_in(other, Part::Train);
        for (alike, length) in &lengths {
            for end in *length..=train.items.len() {
                let window = train.slice(end - length..end);
                let print = fingerprint(window, *alike);
                let users = print.and_then(|print| wanted.get(&print));
                for user in users.into_iter().flatten().filter(|user| **user != other) {
                    twins.entry(*user).or_insert(other);
                }
            }
        }
    }
    twins
}

/// Measured users with exactly the events of another user. Their targets may stay hidden, but the same person is counted
/// twice, and learned from twice.
fn copies(dataset: &Dataset, has_moments: bool, shortest: usize) -> HashMap<UserIdx, UserIdx> {
    let mut first: HashMap<u64, UserIdx> = HashMap::new();
    let mut copies = HashMap::new();
    let alike = if has_moments { Alike::Moments } else { Alike::Items };
    for user in dataset.user_indices() {
        let all = dataset.sequences.history(user);
        if all.items.len() < shortest {
            continue;
        }
        let Some(print) = fingerprint(all, alike) else { continue };
        let original = *first.entry(print).or_insert(user);
        let is_measured = !dataset.targets(user, Part::Test).is_empty();
        if original != user && is_measured {
            copies.insert(user, original);
        }
    }
    copies
}

/// The held-out event alone, item and moment, in the training part of somebody else: beyond what chance gives, which is how
/// often another item of the log stands there.
fn single_events(dataset: &Dataset, n_measured: u64, twins: &mut HashMap<UserIdx, UserIdx>) {
    let times = &dataset.sequences.timestamps_ms;
    // Chance is asked a few of the log's smallest steps of time later.
    let step = [60_000, 1000].into_iter().find(|step| times.iter().all(|time| time % step == 0));
    let later = 7 * step.unwrap_or(1);
    let mut wanted: HashMap<(u32, i64), Vec<UserIdx>> = HashMap::new();
    for user in dataset.user_indices() {
        let held_out = dataset.events_in(user, Part::Test);
        let first = (0..held_out.items.len()).find(|place| dataset.is_target(held_out, *place));
        if let Some(place) = first.filter(|place| held_out.items[*place].is_known()) {
            let key = (held_out.items[place].0, held_out.timestamps_ms[place]);
            wanted.entry(key).or_default().push(user);
        }
    }
    let mut hits: HashMap<UserIdx, UserIdx> = HashMap::new();
    let mut by_chance: HashMap<UserIdx, UserIdx> = HashMap::new();
    for other in dataset.user_indices() {
        let train = dataset.events_in(other, Part::Train);
        for (item, time) in train.items.iter().zip(train.timestamps_ms) {
            for (time, hits) in [(*time, &mut hits), (*time - later, &mut by_chance)] {
                for user in wanted.get(&(item.0, time)).into_iter().flatten() {
                    if *user != other {
                        hits.entry(*user).or_insert(other);
                    }
                }
            }
        }
    }
    let beyond = hits.len().saturating_sub(3 * by_chance.len());
    if beyond >= 5 && beyond as f64 >= DUPLICATE_SHARE * n_measured as f64 {
        hits.into_iter().for_each(|(user, other)| {
            twins.entry(user).or_insert(other);
        });
    }
}

/// A number that windows which are alike share; none where pauses are asked for and are all the same. Stable within a run, which
/// is all that is asked of it.
fn fingerprint(window: History<'_>, alike: Alike) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    alike.hash(&mut hasher);
    window.items.iter().for_each(|item| item.0.hash(&mut hasher));
    window.items.len().hash(&mut hasher);
    match alike {
        Alike::Items => {}
        Alike::Moments => window.timestamps_ms.hash(&mut hasher),
        Alike::Pauses => {
            let pauses = || window.timestamps_ms.windows(2).map(|pair| pair[1] - pair[0]);
            pauses().for_each(|pause| pause.hash(&mut hasher));
            // Equal pauses, those of one moment too, say no more than the order.
            if pauses().next().is_none_or(|first| pauses().all(|pause| pause == first)) {
                return None;
            }
        }
    }
    Some(hasher.finish())
}
