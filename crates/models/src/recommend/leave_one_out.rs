//! Reasons by leaving events out.

use forecart_data::{History, ItemIdx};

use super::contract::{Reason, weightiest};

/// What `score` of a history loses without each known item of `seen`, at the item's newest event; the `n` weightiest.
///
/// `seen` is the newest part of `history`; positions are those in `history`.
///
/// # Cost
/// One call of `score` for each known item, and one.
pub(super) fn leave_one_out(
    history: History<'_>,
    seen: History<'_>,
    is_known: impl Fn(ItemIdx) -> bool,
    score: impl Fn(History<'_>) -> f32,
    n: usize,
) -> Vec<Reason> {
    let first = history.items.len() - seen.items.len();
    let whole = score(seen);
    let mut because: Vec<(usize, ItemIdx, f32)> = Vec::new();
    for (position, left_out) in seen.items.iter().enumerate().rev() {
        let is_repeat = because.iter().any(|(_, item, _)| item == left_out);
        if !is_known(*left_out) || is_repeat {
            continue;
        }
        let kept = || (0..seen.items.len()).filter(|place| seen.items[*place] != *left_out);
        let items: Vec<ItemIdx> = kept().map(|place| seen.items[place]).collect();
        let timestamps_ms: Vec<i64> =
            kept().filter_map(|place| seen.timestamps_ms.get(place).copied()).collect();
        let events: Vec<u8> = kept().filter_map(|place| seen.events.get(place).copied()).collect();
        let values: Vec<f32> = kept().filter_map(|place| seen.values.get(place).copied()).collect();
        let rest = History {
            items: &items,
            timestamps_ms: &timestamps_ms,
            events: &events,
            values: &values,
        };
        because.push((first + position, *left_out, whole - score(rest)));
    }
    weightiest(because, n)
}
