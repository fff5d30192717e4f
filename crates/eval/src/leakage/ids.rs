//! Ids that tell what they should not.
//!
//! Most shops number items and users in the order in which they came, so an id that tells the time is no leak by itself:
//! no model of ours reads ids. It is one where the id is an attribute, or where ids tell what is held out.

use forecart_data::{Dataset, Part};

use super::ranks::{Knowledge, correlation, ranks};
use super::{Cases, HeldOut, Leak, LeakKind, Leakage, user_name};
use crate::report::grouped;

/// Partial rank correlation of ids with the test part from which they are said to know it.
const THRESHOLD: f64 = 0.5;
/// Rank correlation of ids with first moments from which they are said to tell the time.
const TELLS_TIME: f64 = 0.95;
/// Share of the users whose id holds the target, beyond what chance gives.
const NAMED_SHARE: f64 = 0.05;
const MIN_ITEMS: usize = 40;
/// Shorter ids stand in other texts by chance.
const MIN_ID_LENGTH: usize = 3;

pub(super) fn search(dataset: &Dataset, counts: &HeldOut, found: &mut Leakage) {
    let ids = numbers(dataset.items.iter().map(|(_, id, _)| id));
    if let Some(ids) = &ids {
        items(dataset, counts, "ids", &ranks(ids), found);
        as_attribute(dataset, &ranks(ids), found);
    }
    let order: Vec<f64> = (0..dataset.items.n_known()).map(|row| row as f64).collect();
    items(dataset, counts, "the order of items", &order, found);
    named_targets(dataset, found);
    ordered_by_target(dataset, found);
}

/// The number at the end of each id, whatever letters stand before it; `None` unless all have one.
fn numbers<'a>(ids: impl Iterator<Item = &'a str>) -> Option<Vec<f64>> {
    let number = |id: &str| {
        let digits = id.len() - id.bytes().rev().take_while(u8::is_ascii_digit).count();
        id[digits..].parse::<f64>().ok()
    };
    ids.map(number).collect()
}

fn items(dataset: &Dataset, counts: &HeldOut, what: &str, column: &[f64], found: &mut Leakage) {
    if column.len() < MIN_ITEMS || found.leaks.iter().any(|l| l.kind == LeakKind::ItemIdOfTheFuture)
    {
        return;
    }
    let of = |counts: &[u64]| ranks(&counts[1..].iter().map(|n| *n as f64).collect::<Vec<_>>());
    let knowledge = Knowledge::new(column, &of(&counts.test), &of(&counts.train));
    if !knowledge.is_of_the_future(THRESHOLD) {
        return;
    }
    let Knowledge { with_future, with_past, partial, .. } = knowledge;
    found.leaks.push(Leak {
        kind: LeakKind::ItemIdOfTheFuture,
        place: "items.vocab".into(),
        n: column.len() as u64,
        what: format!(
            "{what} of {} items go with how often an item is chosen in the test part (rank correlation \
             {with_future:+.2}, {with_past:+.2} with training, {partial:+.2} with training held fixed)",
            grouped(column.len() as u64)
        ),
        examples: dataset.items.iter().take(2).map(|(_, id, _)| format!("item {id:?}")).collect(),
    });
}

/// Ids that grow with time: noted, and a leak where an attribute has the same order.
fn as_attribute(dataset: &Dataset, ids: &[f64], found: &mut Leakage) {
    let times = &dataset.sequences.timestamps_ms;
    if times.is_empty() || ids.len() < MIN_ITEMS {
        return;
    }
    let mut first = vec![i64::MAX; dataset.items.len()];
    for (item, time) in dataset.sequences.items.iter().zip(times.iter()) {
        first[item.row()] = first[item.row()].min(*time);
    }
    let first = ranks(&first[1..].iter().map(|time| *time as f64).collect::<Vec<_>>());
    let with_time = correlation(ids, &first);
    if with_time.abs() < TELLS_TIME {
        return;
    }
    found.notes.push(format!(
        "item ids tell when an item first came (rank correlation {with_time:+.2}): no attribute should hold them"
    ));
    let features = &dataset.item_features;
    for (index, name) in features.names.dense.iter().enumerate() {
        let column: Vec<f64> =
            (1..=ids.len()).map(|row| f64::from(features.dense_row(row)[index])).collect();
        if correlation(&ranks(&column), ids).abs() > 0.999 {
            found.leaks.push(Leak {
                kind: LeakKind::IdAsAttribute,
                place: format!("dense.f32, column {name:?}"),
                n: ids.len() as u64,
                what: format!(
                    "{name:?} has the order of the item ids, which tell when an item first came (rank \
                     correlation {with_time:+.2}): it tells which items are new in the held-out parts"
                ),
                examples: Vec::new(),
            });
        }
    }
}

/// User ids that hold the id of what is held out, such as `order-84879`.
fn named_targets(dataset: &Dataset, found: &mut Leakage) {
    let measured: Vec<_> = dataset
        .user_indices()
        .filter_map(|user| {
            let target = *dataset.events_in(user, Part::Test).items.first()?;
            let id = dataset.items.text(target.0);
            (target.is_known() && id.len() >= MIN_ID_LENGTH).then_some((user, id))
        })
        .collect();
    if measured.len() < 20 {
        return;
    }
    let holds = |user: &str, item: &str| {
        user.match_indices(item).any(|(at, _)| {
            // `100` stands in `user-1001` without being named by it.
            let is_edge = |c: Option<char>| !c.is_some_and(|c| c.is_ascii_digit());
            is_edge(user[..at].chars().next_back())
                && is_edge(user[at + item.len()..].chars().next())
        })
    };
    let (mut cases, mut n_by_chance) = (Cases::default(), 0u64);
    for (place, (user, item)) in measured.iter().enumerate() {
        let id = dataset.users.text(user.0);
        // What the ids of the users hold of the targets of others is chance.
        let other = measured[(place + measured.len() / 2) % measured.len()].1;
        n_by_chance += u64::from(holds(id, other));
        if holds(id, item) {
            cases.add(|| format!("{} chooses item {item:?}", user_name(dataset, *user)));
        }
    }
    let n = measured.len() as u64;
    if cases.n.saturating_sub(n_by_chance) as f64 / (n as f64) < NAMED_SHARE {
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
fn ordered_by_target(dataset: &Dataset, found: &mut Leakage) {
    if found.leaks.iter().any(|leak| leak.kind == LeakKind::UserIdOfTheFuture) {
        return;
    }
    let mut measured = Vec::new();
    for user in dataset.user_indices() {
        let target = dataset.events_in(user, Part::Test).items.first().copied();
        let last = dataset.history_before(user, Part::Test).items.last().copied();
        if let Some((target, last)) = target.zip(last).filter(|(target, _)| target.is_known()) {
            measured.push((user, f64::from(target.0), f64::from(last.0)));
        }
    }
    if measured.len() < MIN_ITEMS {
        return;
    }
    let future = ranks(&measured.iter().map(|(_, target, _)| *target).collect::<Vec<_>>());
    let past = ranks(&measured.iter().map(|(_, _, last)| *last).collect::<Vec<_>>());
    let mut columns =
        vec![("the order of users", measured.iter().map(|(user, ..)| f64::from(user.0)).collect())];
    columns.extend(
        numbers(measured.iter().map(|(user, ..)| dataset.users.text(user.0)))
            .map(|ids| ("user ids", ids)),
    );
    for (what, column) in columns {
        let knowledge = Knowledge::new(&ranks(&column), &future, &past);
        if knowledge.is_of_the_future(THRESHOLD) {
            let Knowledge { with_future, with_past, .. } = knowledge;
            found.leaks.push(Leak {
                kind: LeakKind::UserIdOfTheFuture,
                place: "users.vocab, test part".into(),
                n: measured.len() as u64,
                what: format!(
                    "{what} of {} measured users follow the item that is held out (rank correlation \
                     {with_future:+.2}; {with_past:+.2} with the item before it)",
                    grouped(measured.len() as u64)
                ),
                examples: Vec::new(),
            });
            return;
        }
    }
}
