//! The best k of many scores.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::num::NonZeroUsize;

use forecart_data::{History, ItemIdx, SeenItems};
use serde::{Deserialize, Serialize};

/// An item and how strongly it is recommended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// The item.
    pub item: ItemIdx,
    /// Larger is better; comparable within one answer of one model, not between models.
    pub score: f32,
}

/// What a list of recommendations must obey.
#[derive(Debug, Clone, Copy)]
pub struct TopK<'a> {
    /// At most this many items.
    pub k: NonZeroUsize,
    /// Which items of the history are left out.
    pub seen: SeenItems,
    /// Items to leave out in any case: out of stock, blocked.
    pub exclude: &'a [ItemIdx],
}

impl TopK<'_> {
    /// The best `k` items with those of the history left out as `seen` says.
    pub fn new(k: NonZeroUsize, seen: SeenItems) -> Self {
        Self { k, seen, exclude: &[] }
    }

    /// The items to leave out for `history`, ascending.
    pub(super) fn left_out(&self, history: History<'_>) -> Vec<ItemIdx> {
        let mut items = self.exclude.to_vec();
        items.extend(self.seen.hidden(history));
        items.sort_unstable();
        items.dedup();
        items
    }
}

/// The best items of `scores`, best first; equal scores are in the order of [`ItemIdx`].
///
/// # Shapes
/// `scores: [n_item_rows]`; row 0, the unknown item, is never in the list.
///
/// Returns fewer than `k` items if fewer are left.
///
/// # Cost
/// O(n log k) at worst; one comparison for each score that is not among the best.
pub fn top_k(scores: &[f32], history: History<'_>, request: &TopK<'_>) -> Vec<Scored> {
    let left_out = request.left_out(history);
    let k = request.k.get().min(scores.len());
    let mut heap = BinaryHeap::with_capacity(k);
    for (block, block_scores) in scores.chunks(BLOCK).enumerate() {
        if heap.len() == k
            && heap.peek().is_some_and(|Worst(worst)| beats_all(*worst, block_scores))
        {
            continue;
        }
        for (row, &score) in (block * BLOCK..).zip(block_scores) {
            // Rows come in ascending order: one that equals the worst kept loses the tie.
            let full = heap.len() == k;
            let beaten = |worst: &Worst| score.total_cmp(&worst.0.score) != Ordering::Greater;
            if row == 0 || (full && heap.peek().is_some_and(beaten)) {
                continue;
            }
            let item = ItemIdx(row as u32);
            if left_out.binary_search(&item).is_ok() {
                continue;
            }
            if full {
                heap.pop();
            }
            heap.push(Worst(Scored { item, score }));
        }
    }
    heap.into_sorted_vec().into_iter().map(|Worst(scored)| scored).collect()
}

/// The best `k` of some items, in the order of [`top_k`].
pub(super) fn best_of(mut items: Vec<Scored>, k: NonZeroUsize) -> Vec<Scored> {
    items.sort_unstable_by_key(|scored| Worst(*scored));
    items.truncate(k.get());
    items
}

/// Scores that are compared with the worst kept at once.
const BLOCK: usize = 64;

/// Whether none of `scores` takes the place of `worst`; false may mean that it is not known. (0 and -0 are equal here, but not in the order of
/// the list.)
fn beats_all(worst: Scored, scores: &[f32]) -> bool {
    let (blocks, rest) = scores.as_chunks::<8>();
    let none =
        |scores: &[f32]| scores.iter().fold(true, |none, score| none & (*score <= worst.score));
    worst.score != 0.0 && blocks.iter().all(|block| none(block)) && none(rest)
}

/// Ordered so that the worst is the greatest: the one that a full heap gives up.
#[derive(Debug, Clone, Copy)]
struct Worst(Scored);

impl Ord for Worst {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_score = other.0.score.total_cmp(&self.0.score);
        by_score.then(self.0.item.cmp(&other.0.item))
    }
}

impl PartialOrd for Worst {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Worst {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Worst {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(k: usize, seen: SeenItems, exclude: &[ItemIdx]) -> TopK<'_> {
        TopK { k: NonZeroUsize::new(k).unwrap(), seen, exclude }
    }

    fn rows(list: &[Scored]) -> Vec<u32> {
        list.iter().map(|scored| scored.item.0).collect()
    }

    #[test]
    fn ties_are_in_the_order_of_items_and_row_zero_is_never_there() {
        let scores = [9.0, 1.0, 2.0, 1.0, 2.0, 0.5];
        let all = request(10, SeenItems::Keep, &[]);
        assert_eq!(rows(&top_k(&scores, History::default(), &all)), [2, 4, 1, 3, 5]);
        let three = request(3, SeenItems::Keep, &[]);
        assert_eq!(rows(&top_k(&scores, History::default(), &three)), [2, 4, 1]);
    }

    #[test]
    fn seen_and_excluded_items_are_left_out() {
        let scores = [0.0, 1.0, 2.0, 3.0, 4.0];
        let items = [ItemIdx(4), ItemIdx(4), ItemIdx(0)];
        let history = History::of(&items);
        let keep = request(2, SeenItems::Keep, &[ItemIdx(3)]);
        assert_eq!(rows(&top_k(&scores, history, &keep)), [4, 2]);
        let exclude = request(9, SeenItems::Exclude, &[ItemIdx(3), ItemIdx(99)]);
        assert_eq!(rows(&top_k(&scores, history, &exclude)), [2, 1]);
    }

    proptest! {
        #[test]
        fn equals_a_full_sort(
            scores in prop::collection::vec(0u8..6, 1..300),
            seen in prop::collection::vec(0u32..320, 0..6),
            k in 1usize..50,
        ) {
            let scores: Vec<f32> = scores.into_iter().map(f32::from).collect();
            let seen: Vec<ItemIdx> = seen.into_iter().map(ItemIdx).collect();
            let mut want: Vec<u32> = (1..scores.len() as u32)
                .filter(|row| !seen.contains(&ItemIdx(*row)))
                .collect();
            want.sort_by(|a, b| scores[*b as usize].total_cmp(&scores[*a as usize]));
            want.truncate(k);
            let got = top_k(&scores, History::of(&seen), &request(k, SeenItems::Exclude, &[]));
            prop_assert_eq!(rows(&got), want);
        }
    }
}
