//! Ranks of targets among all items, without sorting the items.
//!
//! A target's rank needs two counts: how many items score higher and how many score the same.
//! Lists for coverage and popularity come from one pass with a moving threshold.

use forecart_data::ItemIdx;

/// Up to this many distinct target scores, one counting pass each is cheaper than a search for
/// each item: a pass compares four items at a time, a search step does not.
const MAX_PASSES: usize = 32;

/// How many targets were tied with another item, and how many were ranked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TieCount {
    /// Targets whose score equals that of an item that is no target.
    pub(crate) n_tied: u64,
    /// All ranked targets.
    pub(crate) n_ranked: u64,
}

/// Appends the ranks of `targets` to `ranks`, best first, and the targets in the same order to `ranked`, equal scores by
/// item; `None` if a score is not a number.
///
/// All items but row 0 and `masked` compete. With one target, its rank is
/// `1 + #greater + #equal / 2` over the other items. With several, they are ranked in one list, as
/// a shopper would see it, so a perfect list gives `1, 2, 3, ...`; of `m` targets in a group of `g`
/// equal scores behind `a` better items, the `i`-th gets `a + i (g + 1) / (m + 1)`, the expected
/// position of the `i`-th of `m` when the group is shuffled. For `m = 1` that is the rule above.
///
/// `targets` are distinct and known; `masked` are distinct and hold no target.
pub(crate) fn rank_targets(
    scores: &[f32],
    targets: &[ItemIdx],
    masked: &[ItemIdx],
    ranks: &mut Vec<f64>,
    ranked: &mut Vec<ItemIdx>,
) -> Option<TieCount> {
    let items = scores.get(1..).unwrap_or_default();
    if has_nan(items) {
        return None;
    }
    let mut order = targets.to_vec();
    order.sort_unstable_by(|a, b| scores[b.row()].total_cmp(&scores[a.row()]).then(a.cmp(b)));
    let wanted: Vec<f32> = order.iter().map(|target| scores[target.row()]).collect();
    ranked.extend(order);
    let groups: Vec<&[f32]> = wanted.chunk_by(|a, b| a == b).collect();
    let counts = if groups.len() <= MAX_PASSES {
        groups.iter().map(|group| count_by_pass(items, group[0])).collect()
    } else {
        count_by_search(items, &groups)
    };
    let mut ties = TieCount { n_ranked: targets.len() as u64, ..TieCount::default() };
    for (group, (mut n_greater, mut n_equal)) in groups.iter().zip(counts) {
        for item in masked {
            let score = scores[item.row()];
            n_greater -= u64::from(score > group[0]);
            n_equal -= u64::from(score == group[0]);
        }
        let n_targets = group.len() as u64;
        if n_equal > n_targets {
            ties.n_tied += n_targets;
        }
        let step = (n_equal + 1) as f64 / (n_targets + 1) as f64;
        ranks.extend((1..=group.len()).map(|i| n_greater as f64 + i as f64 * step));
    }
    Some(ties)
}

fn has_nan(items: &[f32]) -> bool {
    // Blocks, so that the inner loop has no exit and runs on several items at a time.
    items.chunks(1024).any(|block| block.iter().fold(false, |found, score| found | score.is_nan()))
}

/// How many of `items` are greater than and equal to `score`.
fn count_by_pass(items: &[f32], score: f32) -> (u64, u64) {
    let (mut n_greater, mut n_at_least) = (0u64, 0u64);
    // 32-bit counts within a block: twice the lanes of 64-bit ones.
    for block in items.chunks(1 << 14) {
        let (mut greater, mut at_least) = (0u32, 0u32);
        for item in block {
            greater = greater.wrapping_add(u32::from(*item > score));
            at_least = at_least.wrapping_add(u32::from(*item >= score));
        }
        n_greater += u64::from(greater);
        n_at_least += u64::from(at_least);
    }
    (n_greater, n_at_least - n_greater)
}

/// As [`count_by_pass`] for each group's score, groups in descending order of score.
fn count_by_search(items: &[f32], groups: &[&[f32]]) -> Vec<(u64, u64)> {
    // Bin j holds the items below all of groups[..j] and not below groups[j].
    let mut at_or_above = vec![0u64; groups.len() + 1];
    let mut equal = vec![0u64; groups.len()];
    for item in items {
        let bin = groups.partition_point(|group| group[0] > *item);
        at_or_above[bin] += 1;
        if groups.get(bin).is_some_and(|group| group[0] == *item) {
            equal[bin] += 1;
        }
    }
    let mut n_above = 0;
    let counts = equal.iter().zip(&at_or_above).map(|(n_equal, n_in_bin)| {
        let n_greater = n_above + n_in_bin - n_equal;
        n_above += n_in_bin;
        (n_greater, *n_equal)
    });
    counts.collect()
}

/// Fills `list` with the `k` best items, best first; equal scores by item index, smaller first.
///
/// Row 0 and items for which `is_masked` holds are left out; the list is shorter than `k` if too
/// few are left. Scores must be numbers.
pub(crate) fn top_k(
    scores: &[f32],
    k: usize,
    is_masked: impl Fn(ItemIdx) -> bool,
    list: &mut Vec<(f32, ItemIdx)>,
) {
    list.clear();
    if k == 0 {
        return;
    }
    let (blocks, rest) = scores.as_chunks::<BLOCK>();
    let enter = |list: &mut Vec<(f32, ItemIdx)>, row: usize, score: f32| {
        // Items come in index order, so an equal score never displaces an earlier one.
        if list.len() == k && score <= list[k - 1].0 {
            return;
        }
        let item = ItemIdx(row as u32);
        if item.is_known() && !is_masked(item) {
            list.truncate(k - 1);
            let position = list.partition_point(|(other, _)| *other >= score);
            list.insert(position, (score, item));
        }
    };
    for (number, block) in blocks.iter().enumerate() {
        if list.len() == k {
            // Without an exit, so that several items are compared at a time.
            let threshold = list[k - 1].0;
            if !block.iter().fold(false, |found, score| found | (*score > threshold)) {
                continue;
            }
        }
        for (offset, score) in block.iter().enumerate() {
            enter(list, number * BLOCK + offset, *score);
        }
    }
    for (offset, score) in rest.iter().enumerate() {
        enter(list, blocks.len() * BLOCK + offset, *score);
    }
}

/// Items that [`top_k`] looks at together: enough for a few vectors, few enough that a better item
/// does not cost a long scalar walk. 16 measured best of 8 to 64.
const BLOCK: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ranks(scores: &[f32], targets: &[u32], masked: &[u32]) -> (Vec<f64>, TieCount) {
        let indices = |rows: &[u32]| rows.iter().copied().map(ItemIdx).collect::<Vec<_>>();
        let (mut ranks, mut ranked) = (Vec::new(), Vec::new());
        let (targets, masked) = (indices(targets), indices(masked));
        let ties = rank_targets(scores, &targets, &masked, &mut ranks, &mut ranked).unwrap();
        assert!(ranked.is_sorted_by(|a, b| scores[a.row()] >= scores[b.row()]));
        ranked.sort_unstable();
        assert_eq!(ranked, targets);
        (ranks, ties)
    }

    #[test]
    fn one_target_by_hand() {
        let scores = [99.0, 0.1, 0.9, 0.5, 0.5, 0.5];
        assert_eq!(ranks(&scores, &[2], &[]).0, [1.0]);
        assert_eq!(ranks(&scores, &[1], &[]).0, [5.0]);
        // One greater, two equal: 1 + 1 + 2 / 2.
        let (rank, ties) = ranks(&scores, &[3], &[]);
        assert_eq!((rank, ties.n_tied), (vec![3.0], 1));
        // The better item and one of the equals are masked: 1 + 0 + 1 / 2.
        assert_eq!(ranks(&scores, &[3], &[2, 4]).0, [1.5]);
    }

    #[test]
    fn constant_scores_put_a_target_in_the_middle() {
        let scores = [0.0; 102];
        let (rank, ties) = ranks(&scores, &[7], &[]);
        assert_eq!(rank, [51.0]);
        assert_eq!(ties, TieCount { n_tied: 1, n_ranked: 1 });
    }

    #[test]
    fn several_targets_share_one_list() {
        let scores = [0.0, 5.0, 4.0, 3.0, 2.0, 1.0];
        assert_eq!(ranks(&scores, &[1, 2, 4], &[]).0, [1.0, 2.0, 4.0]);
        // Three equal targets and nobody else at their score: no tie, ranks 1, 2, 3.
        let (rank, ties) = ranks(&[0.0, 7.0, 7.0, 7.0, 1.0], &[1, 2, 3], &[]);
        assert_eq!((rank, ties.n_tied), (vec![1.0, 2.0, 3.0], 0));
        // Two targets among five equals: the positions split the group in thirds.
        assert_eq!(ranks(&[0.0; 6], &[2, 4], &[]).0, [2.0, 4.0]);
    }

    #[test]
    fn infinities_are_scores_and_nan_is_not() {
        let scores = [0.0, f32::NEG_INFINITY, 1.0, f32::INFINITY, f32::NEG_INFINITY];
        assert_eq!(ranks(&scores, &[3], &[]).0, [1.0]);
        assert_eq!(ranks(&scores, &[1], &[]).0, [3.5]);
        let rank = |scores: &[f32]| {
            rank_targets(scores, &[ItemIdx(1)], &[], &mut Vec::new(), &mut Vec::new())
        };
        assert_eq!(rank(&[0.0, 1.0, f32::NAN]), None);
        // The unknown item's row is not looked at.
        assert!(rank(&[f32::NAN, 1.0, 2.0]).is_some());
    }

    #[test]
    fn top_k_breaks_ties_by_index_and_skips_masked() {
        let scores = [9.0, 1.0, 3.0, 3.0, 2.0, 3.0];
        let mut list = Vec::new();
        top_k(&scores, 3, |item| item == ItemIdx(3), &mut list);
        assert_eq!(list, [(3.0, ItemIdx(2)), (3.0, ItemIdx(5)), (2.0, ItemIdx(4))]);
        top_k(&scores, 9, |_| false, &mut list);
        assert_eq!(list.len(), 5);
        top_k(&scores, 0, |_| false, &mut list);
        assert!(list.is_empty());
    }

    proptest! {
        #[test]
        fn counting_by_search_is_counting_by_passes(
            items in prop::collection::vec(-4i8..5, 1..200),
            wanted in prop::collection::btree_set(-6i8..7, 1..12),
        ) {
            let items: Vec<f32> = items.iter().map(|score| f32::from(*score)).collect();
            let wanted: Vec<[f32; 1]> = wanted.iter().rev().map(|s| [f32::from(*s)]).collect();
            let groups: Vec<&[f32]> = wanted.iter().map(|group| &group[..]).collect();
            let by_pass: Vec<_> =
                groups.iter().map(|group| count_by_pass(&items, group[0])).collect();
            prop_assert_eq!(count_by_search(&items, &groups), by_pass);
        }

        #[test]
        fn ranks_are_distinct_positions_of_one_list(
            scores in prop::collection::vec(0u8..4, 60),
            targets in prop::collection::btree_set(1u32..60, 1..59),
        ) {
            let scores: Vec<f32> = scores.iter().map(|score| f32::from(*score)).collect();
            let targets: Vec<u32> = targets.into_iter().collect();
            let (ranks, _) = ranks(&scores, &targets, &[]);
            for (i, rank) in ranks.iter().enumerate() {
                prop_assert!(*rank >= (i + 1) as f64 && *rank <= 59.0);
                prop_assert!(i == 0 || rank - ranks[i - 1] >= 1.0 - 1e-9);
            }
        }

        #[test]
        fn top_k_is_the_head_of_a_stable_sort(
            scores in prop::collection::vec(0u8..20, 2..400), k in 1usize..30,
        ) {
            let scores: Vec<f32> = scores.iter().map(|score| f32::from(*score)).collect();
            let mut sorted: Vec<u32> = (1..scores.len() as u32).filter(|i| i % 7 != 3).collect();
            sorted.sort_by(|a, b| scores[*b as usize].total_cmp(&scores[*a as usize]));
            sorted.truncate(k);
            let mut list = Vec::new();
            top_k(&scores, k, |item| item.0 % 7 == 3, &mut list);
            prop_assert_eq!(list.iter().map(|(_, item)| item.0).collect::<Vec<_>>(), sorted);
        }
    }
}
