//! Ids of items that tell what they should not.
//!
//! Most shops number items in the order in which they came, so ids that go with time are no leak by themselves: no model of
//! ours reads ids. They are one where the id is an attribute, where ids follow what is held out, and where they follow the
//! log to the last item: then they were made from the whole log, its held-out parts too.

use forecart_data::{Dataset, ItemIdx};

use super::future::Future;
use super::ranks::{Knowledge, correlation, ranks};
use super::{Leak, LeakKind, Leakage};
use crate::report::grouped;

/// Partial rank correlation of ids with the test part from which they are said to know it.
const THRESHOLD: f64 = 0.4;
/// Rank correlation of ids with moments from which they are said to tell the time.
pub(super) const TELLS_TIME: f64 = 0.95;
/// The same from which they were made from the log: what a shop numbers when it lists an item is sold in nearly this order,
/// but not in it.
const MADE_FROM_LOG: f64 = 0.999;
/// How much better ids must go with last moments than with first ones.
pub(super) const BEYOND_FIRST: f64 = 0.05;
const MIN_ITEMS: usize = 40;
/// Numbers within an id that are looked at.
const N_NUMBERS: usize = 4;

pub(super) fn search(dataset: &Dataset, future: &Future, found: &mut Leakage) {
    let n_items = dataset.items.n_known();
    if n_items < MIN_ITEMS {
        return;
    }
    let (first, last) = moments(dataset);
    for ids in numbers(dataset.items.iter().map(|(_, id, _)| id)) {
        if let Some((first, last)) = first.as_ref().zip(last.as_ref()) {
            tell_the_time(dataset, &ranks(&ids), (first, last), found);
        }
        follow_the_future(dataset, future, "ids", &ids, found);
    }
    let order: Vec<f64> = (0..n_items).map(|row| row as f64).collect();
    follow_the_future(dataset, future, "the order of items", &order, found);
}

/// The numbers within ids, a column each: the last one, whatever stands before it, then the first few. Only numbers that every
/// id has.
pub(super) fn numbers<'a>(ids: impl Iterator<Item = &'a str>) -> Vec<Vec<f64>> {
    let mut columns: Vec<Vec<f64>> = vec![Vec::new(); N_NUMBERS + 1];
    let mut n_ids = 0;
    for id in ids {
        n_ids += 1;
        let runs = id.split(|c: char| !c.is_ascii_digit()).filter(|run| !run.is_empty());
        let runs: Vec<f64> = runs.filter_map(|run| run.parse().ok()).collect();
        let wanted = runs.last().into_iter().chain(runs.iter().take(N_NUMBERS));
        // A column that an id does not have stays short, and is left out.
        let wanted = wanted.enumerate().filter(|(place, _)| columns[*place].len() + 1 == n_ids);
        let wanted: Vec<(usize, f64)> = wanted.map(|(place, number)| (place, *number)).collect();
        wanted.into_iter().for_each(|(place, number)| columns[place].push(number));
    }
    let mut whole: Vec<Vec<f64>> = Vec::new();
    for column in columns {
        if column.len() == n_ids && !whole.contains(&column) {
            whole.push(column);
        }
    }
    whole
}

/// Ranks of the first and the last moment of each item; none where the log has no times.
fn moments(dataset: &Dataset) -> (Option<Vec<f64>>, Option<Vec<f64>>) {
    let times = &dataset.sequences.timestamps_ms;
    if times.is_empty() {
        return (None, None);
    }
    let n = dataset.items.len();
    let (mut first, mut last) = (vec![i64::MAX; n], vec![i64::MIN; n]);
    for (item, time) in dataset.sequences.items.iter().zip(times.iter()) {
        first[item.row()] = first[item.row()].min(*time);
        last[item.row()] = last[item.row()].max(*time);
    }
    let of = |times: &[i64]| ranks(&times[1..].iter().map(|time| *time as f64).collect::<Vec<_>>());
    (Some(of(&first)), Some(of(&last)))
}

fn follow_the_future(
    dataset: &Dataset,
    future: &Future,
    what: &str,
    column: &[f64],
    found: &mut Leakage,
) {
    // What tells when an item is chosen last tells how often it is chosen, too.
    let own = [LeakKind::ItemIdOfTheFuture, LeakKind::ItemIdTellsTime];
    let is_known = found.leaks.iter().any(|leak| own.contains(&leak.kind));
    let knowledge = future.known_by(column);
    if is_known || !knowledge.is_of_the_future(THRESHOLD) {
        return;
    }
    let Knowledge { with_future, with_past, partial, .. } = knowledge;
    found.leaks.push(Leak {
        kind: LeakKind::ItemIdOfTheFuture,
        place: "items.vocab".into(),
        n: column.len() as u64,
        what: format!(
            "{what} of {} items go with how often an item is chosen in the test part (rank correlation \
             {with_future:+.2}, {with_past:+.2} with training, {partial:+.2} with what came before held fixed)",
            grouped(column.len() as u64)
        ),
        examples: examples(dataset),
    });
}

fn examples(dataset: &Dataset) -> Vec<String> {
    dataset.items.iter().take(2).map(|(_, id, _)| format!("item {id:?}")).collect()
}

/// Ids that grow with time: noted; a leak where they follow the log to the last item, follow last moments, or where an
/// attribute has the same order.
fn tell_the_time(
    dataset: &Dataset,
    ids: &[f64],
    (first, last): (&[f64], &[f64]),
    found: &mut Leakage,
) {
    let (with_first, with_last) = (correlation(ids, first), correlation(ids, last));
    let n = dataset.items.n_known() as u64;
    let by_last = with_last.abs() > TELLS_TIME && with_last.abs() > with_first.abs() + BEYOND_FIRST;
    let what = if by_last {
        format!(
            "the ids of {} items tell when an item was last chosen, in the held-out parts too (rank correlation \
             {with_last:+.3}; {with_first:+.3} with when it first came)",
            grouped(n)
        )
    } else if with_first.abs() > MADE_FROM_LOG {
        format!(
            "the ids of {} items have the order in which items first come in the log, held-out parts included (rank \
             correlation {with_first:+.4}): they were made from it, and tell what comes when",
            grouped(n)
        )
    } else if with_first.abs() > TELLS_TIME {
        found.notes.push(format!(
            "item ids tell when an item first came (rank correlation {with_first:+.2}): no attribute should hold them"
        ));
        as_attribute(dataset, ids, found);
        return;
    } else {
        return;
    };
    if !found.leaks.iter().any(|leak| leak.kind == LeakKind::ItemIdTellsTime) {
        found.leaks.push(Leak {
            kind: LeakKind::ItemIdTellsTime,
            place: "items.vocab".into(),
            n,
            what,
            examples: examples(dataset),
        });
    }
    as_attribute(dataset, ids, found);
}

fn as_attribute(dataset: &Dataset, ids: &[f64], found: &mut Leakage) {
    let features = &dataset.item_features;
    for (index, name) in features.names.dense.iter().enumerate() {
        let rows = (1..=ids.len()).map(|row| ItemIdx(row as u32).row());
        let column: Vec<f64> = rows.map(|row| f64::from(features.dense_row(row)[index])).collect();
        if correlation(&ranks(&column), ids).abs() > MADE_FROM_LOG {
            found.leaks.push(Leak {
                kind: LeakKind::IdAsAttribute,
                place: format!("dense.f32, column {name:?}"),
                n: ids.len() as u64,
                what: format!(
                    "{name:?} has the order of the item ids, which tell when an item first came: it tells \
                     which items are new in the held-out parts"
                ),
                examples: Vec::new(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn numbers_are_those_that_every_id_has() {
        assert_eq!(numbers(["sku-7", "sku-12"].into_iter()), [[7.0, 12.0]]);
        // The last number, then the first.
        assert_eq!(numbers(["9a1", "8b2"].into_iter()), [[1.0, 2.0], [9.0, 8.0]]);
        assert_eq!(numbers(["9a1", "8"].into_iter()), [[1.0, 8.0], [9.0, 8.0]]);
        assert!(numbers(["lamp", "8"].into_iter()).is_empty());
        assert!(numbers(std::iter::empty()).iter().all(Vec::is_empty));
    }
}
