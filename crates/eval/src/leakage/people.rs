//! Ids of users (of sessions, where these are measured) that tell what is held out.

use forecart_data::{Dataset, ItemIdx, Part, Protocol, UserIdx};

use super::ids::{BEYOND_FIRST, TELLS_TIME, numbers};
use super::ranks::{correlation, ranks};
use super::{Cases, Leak, LeakKind, Leakage, user_name};
use crate::report::grouped;

/// Rank correlation of ids with targets, beyond that with what came before them, from which they are said to know them.
const THRESHOLD: f64 = 0.5;
/// Share of the users whose id holds the target, beyond what chance gives.
const NAMED_SHARE: f64 = 0.05;
/// Share of the neighbors in an order of users who choose the same item, beyond chance and beyond what they share already.
const SAME_SHARE: f64 = 0.2;
const MIN_USERS: usize = 40;
/// Standard errors from chance.
const MIN_Z: f64 = 6.0;

/// A user who is measured.
struct Measured {
    user: UserIdx,
    target: ItemIdx,
    /// The item before the target, where there is one.
    last: Option<ItemIdx>,
}

pub(super) fn search(dataset: &Dataset, found: &mut Leakage) {
    let measured = measured(dataset);
    named_targets(dataset, &measured, found);
    if measured.len() >= MIN_USERS {
        ordered_by_target(dataset, &measured, found);
    }
    ordered_by_last_moment(dataset, found);
}

fn measured(dataset: &Dataset) -> Vec<Measured> {
    let by_session = matches!(dataset.manifest.description.protocol, Protocol::Session { .. });
    let users = dataset.user_indices().filter_map(|user| {
        let targets = dataset.targets(user, Part::Test);
        // A session is asked for from its second event on.
        let (target, last) = if by_session {
            let (target, before) = targets.split_last()?;
            (*target, Some(*before.last()?))
        } else {
            let known = dataset.history_before(user, Part::Test).items;
            (*targets.first()?, known.last().copied())
        };
        target.is_known().then_some(Measured { user, target, last })
    });
    users.collect()
}

/// User ids that hold the id of what is held out, such as `order-84879`.
fn named_targets(dataset: &Dataset, measured: &[Measured], found: &mut Leakage) {
    if measured.len() < 20 {
        return;
    }
    let holds = |user: &str, item: &str| {
        let is_number = item.bytes().all(|byte| byte.is_ascii_digit());
        user.match_indices(item).any(|(at, _)| {
            // `100` stands in `user-1001` without being named by it, `an` in `anne`.
            let is_edge = |c: Option<char>| {
                !c.is_some_and(|c| if is_number { c.is_ascii_digit() } else { c.is_alphanumeric() })
            };
            is_edge(user[..at].chars().next_back())
                && is_edge(user[at + item.len()..].chars().next())
        })
    };
    let (mut cases, mut n_by_chance) = (Cases::default(), 0u64);
    for (place, Measured { user, target, .. }) in measured.iter().enumerate() {
        let (id, item) = (dataset.users.text(user.0), dataset.items.text(target.0));
        // What the ids of the users hold of the targets of others is chance.
        let other = measured[(place + measured.len() / 2) % measured.len()].target;
        n_by_chance += u64::from(holds(id, dataset.items.text(other.0)));
        if holds(id, item) {
            cases.add(|| format!("{} chooses item {item:?}", user_name(dataset, *user)));
        }
    }
    let n = measured.len() as u64;
    let beyond = cases.n.saturating_sub(n_by_chance) as f64;
    let error = ((n_by_chance + 1) as f64 * 2.0).sqrt();
    if beyond / (n as f64) < NAMED_SHARE || beyond / error < MIN_Z {
        return;
    }
    found.leaks.extend(cases.leak(
        LeakKind::UserIdOfTheFuture,
        "users.vocab, test part",
        |found| {
            let n = grouped(n);
            format!("{found} of {n} user ids hold the id of the item that the user chooses ({n_by_chance} by chance)")
        },
    ));
}

/// User ids, or the order of users, that follow what is held out.
fn ordered_by_target(dataset: &Dataset, measured: &[Measured], found: &mut Leakage) {
    if found.leaks.iter().any(|leak| leak.kind == LeakKind::UserIdOfTheFuture) {
        return;
    }
    let id = |one: &Measured| dataset.users.text(one.user.0);
    let mut columns =
        vec![("the order of users", measured.iter().map(|one| f64::from(one.user.0)).collect())];
    columns.extend(numbers(measured.iter().map(id)).into_iter().map(|ids| ("user ids", ids)));
    let by_text = |text: fn(&str) -> String| {
        let texts: Vec<String> = measured.iter().map(|one| text(id(one))).collect();
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by(|a, b| texts[*a].cmp(&texts[*b]));
        let mut places = vec![0.0; texts.len()];
        order.into_iter().enumerate().for_each(|(place, one)| places[one] = place as f64);
        places
    };
    columns.push(("beginnings of user ids", by_text(str::to_owned)));
    columns.push(("ends of user ids", by_text(|text| text.chars().rev().collect())));
    let leak = columns.iter().find_map(|(what, column)| {
        let words = trend(measured, column).or_else(|| neighbors(measured, column))?;
        Some(Leak {
            kind: LeakKind::UserIdOfTheFuture,
            place: "users.vocab, test part".into(),
            n: measured.len() as u64,
            what: format!("{what} of {} measured users {words}", grouped(measured.len() as u64)),
            examples: Vec::new(),
        })
    });
    found.leaks.extend(leak);
}

/// Ids that grow, or fall, with the target, more than with the item before it.
fn trend(measured: &[Measured], column: &[f64]) -> Option<String> {
    let of = |item: fn(&Measured) -> ItemIdx| {
        ranks(&measured.iter().map(|one| f64::from(item(one).0)).collect::<Vec<_>>())
    };
    let column = ranks(column);
    let with_target = correlation(&column, &of(|one| one.target));
    let with_last = correlation(&column, &of(|one| one.last.unwrap_or(one.target)));
    let n_known = measured.iter().filter(|one| one.last.is_some()).count();
    let last = if n_known < MIN_USERS { 0.0 } else { with_last };
    let is_leak = with_target.abs() - last.abs() > THRESHOLD
        && with_target.abs().atanh() * (measured.len() as f64 - 3.0).sqrt() > MIN_Z;
    is_leak.then(|| {
        format!(
            "follow the item that is held out (rank correlation {with_target:+.2}; {last:+.2} with the item before it)"
        )
    })
}

/// Neighbors who choose the same item, more often than they chose the same one before.
fn neighbors(measured: &[Measured], column: &[f64]) -> Option<String> {
    let mut order: Vec<usize> = (0..measured.len()).collect();
    order.sort_by(|a, b| column[*a].total_cmp(&column[*b]));
    let n = (order.len() - 1) as f64;
    let same = |item: fn(&Measured) -> Option<ItemIdx>| {
        let pairs = order.windows(2).filter(|pair| {
            let (a, b) = (item(&measured[pair[0]]), item(&measured[pair[1]]));
            a.is_some() && a == b
        });
        pairs.count() as f64 / n
    };
    let (by_target, by_last) = (same(|one| Some(one.target)), same(|one| one.last));
    let mut targets: Vec<ItemIdx> = measured.iter().map(|one| one.target).collect();
    targets.sort_unstable();
    let by_chance: f64 = targets
        .chunk_by(|a, b| a == b)
        .map(|group| (group.len() as f64 / targets.len() as f64).powi(2))
        .sum();
    let error = (by_chance * (1.0 - by_chance) / n).sqrt().max(1.0 / n);
    let is_leak =
        by_target - by_chance.max(by_last) > SAME_SHARE && (by_target - by_chance) / error > MIN_Z;
    is_leak.then(|| {
        format!(
            "lie beside each other where the same item is held out: {:.0} % of neighbors choose the same one, \
             {:.0} % by chance",
            by_target * 100.0,
            by_chance * 100.0
        )
    })
}

/// User ids in the order of last events, which the held-out parts hold. First ones are how shops number customers.
fn ordered_by_last_moment(dataset: &Dataset, found: &mut Leakage) {
    let times = &dataset.sequences.timestamps_ms;
    let by_session = matches!(dataset.manifest.description.protocol, Protocol::Session { .. });
    if times.is_empty() || by_session || dataset.users.n_known() < MIN_USERS {
        return;
    }
    let moments = |pick: fn(&[i64]) -> Option<i64>| {
        let of = |user| pick(dataset.sequences.history(user).timestamps_ms).unwrap_or_default();
        ranks(&dataset.user_indices().map(|user| of(user) as f64).collect::<Vec<_>>())
    };
    let first = moments(|times| times.iter().min().copied());
    let last = moments(|times| times.iter().max().copied());
    for ids in numbers(dataset.users.iter().map(|(_, id, _)| id)) {
        let ids = ranks(&ids);
        let (with_first, with_last) = (correlation(&ids, &first), correlation(&ids, &last));
        if with_last.abs() > TELLS_TIME && with_last.abs() > with_first.abs() + BEYOND_FIRST {
            let n = dataset.users.n_known() as u64;
            found.leaks.push(Leak {
                kind: LeakKind::UserIdTellsTime,
                place: "users.vocab".into(),
                n,
                what: format!(
                    "the ids of {} users tell when a user last came, in the held-out parts too (rank correlation \
                     {with_last:+.3}; {with_first:+.3} with when they first came)",
                    grouped(n)
                ),
                examples: dataset.users.iter().take(2).map(|(_, id, _)| format!("user {id:?}")).collect(),
            });
            return;
        }
        if with_first.abs() > TELLS_TIME {
            found.notes.push(format!(
                "user ids tell when a user first came (rank correlation {with_first:+.2}): no attribute should hold them"
            ));
            return;
        }
    }
}
