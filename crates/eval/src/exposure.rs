//! What lists show beside being right: how many items, how evenly, how popular ones.
//!
//! These need the lists, not the ground truth. Popularity is an item's number of training events.

use std::collections::HashMap;

use forecart_data::{Dataset, ItemIdx, Part, Vocabulary};

/// Catalog coverage: the share of the known items that stands in at least one list.
///
/// `n_shown` has a count for each known item. An empty catalog gives `None`.
///
/// Source: Ge, Delgado-Battenfeld and Jannach, *Beyond Accuracy*, RecSys 2010. It grows with the
/// number of lists, so compare it only between models measured on the same users.
///
/// ```
/// assert_eq!(forecart_eval::exposure::coverage(&[3, 0, 1, 0]), Some(0.5));
/// ```
pub fn coverage(n_shown: &[u64]) -> Option<f64> {
    let n_covered = n_shown.iter().filter(|n| **n > 0).count();
    (!n_shown.is_empty()).then(|| n_covered as f64 / n_shown.len() as f64)
}

/// Gini coefficient of exposure: 0 if all items are shown equally often, near 1 if one item takes
/// all places. Items that are never shown count.
///
/// With ascending counts `x_1..x_n`: `sum (2 i - n - 1) x_i / (n sum x_i)`. `None` if nothing was
/// shown.
///
/// Source: Fleder and Hosanagar, Management Science 55(5), 2009.
///
/// ```
/// assert_eq!(forecart_eval::exposure::gini(&[5, 5, 5]), Some(0.0));
/// assert_eq!(forecart_eval::exposure::gini(&[0, 0, 0, 8]), Some(0.75));
/// assert_eq!(forecart_eval::exposure::gini(&[0, 0]), None);
/// ```
pub fn gini(n_shown: &[u64]) -> Option<f64> {
    let mut sorted = n_shown.to_vec();
    sorted.sort_unstable();
    let n = sorted.len() as f64;
    let total: u64 = sorted.iter().sum();
    let weighted =
        sorted.iter().enumerate().map(|(i, x)| (2.0 * (i + 1) as f64 - n - 1.0) * *x as f64);
    (total > 0).then(|| weighted.sum::<f64>() / (n * total as f64))
}

/// Overlap of the lists of two users: the expected share of a list's places whose item stands in the list of another,
/// randomly drawn user too. 0 if no two lists share an item, 1 if everybody sees the same list.
///
/// `n_shown` has for each item the number of lists that hold it, `n_lists` is the number of lists:
/// `sum n_i (n_i - 1) / ((n_lists - 1) sum n_i)`. `None` if fewer than two lists were made or nothing was shown.
///
/// Source: the complement of the mean inter-list (personalization) distance of Zhou et al., PNAS 107(10), 2010, by
/// counting instead of comparing all pairs.
///
/// ```
/// use forecart_eval::exposure::overlap;
/// assert_eq!(overlap(&[2, 2], 2), Some(1.0));
/// assert_eq!(overlap(&[1, 1, 1, 1], 2), Some(0.0));
/// assert_eq!(overlap(&[2, 1, 1], 2), Some(0.5));
/// assert_eq!(overlap(&[1], 1), None);
/// ```
pub fn overlap(n_shown: &[u64], n_lists: u64) -> Option<f64> {
    let total: u64 = n_shown.iter().sum();
    let shared: f64 = n_shown.iter().map(|n| *n as f64 * n.saturating_sub(1) as f64).sum();
    (n_lists > 1 && total > 0).then(|| shared / ((n_lists - 1) as f64 * total as f64))
}

/// How far items are apart by who chose them in training: what the diversity of a list is measured with.
///
/// The distance of two items is `1 - |U_i and U_j| / sqrt(|U_i| |U_j|)`, with `U` the users with a training event of the
/// item. It needs no catalog. An item that nobody chose in training is at distance 1 from all.
#[derive(Debug)]
pub struct ItemDistances {
    offsets: Vec<usize>,
    /// Users of each item, ascending, each once.
    users: Vec<u32>,
}

impl ItemDistances {
    /// From the training part: two passes over its events, in the order of users, so that nothing has to be sorted.
    pub fn new(dataset: &Dataset) -> Self {
        let n_rows = dataset.items.len();
        let for_each_pair = |each: &mut dyn FnMut(usize, u32)| {
            let mut last = vec![0; n_rows]; // row 0, the unknown user, has no events
            for user in dataset.user_indices() {
                for item in dataset.events_in(user, Part::Train).items {
                    if std::mem::replace(&mut last[item.row()], user.0) != user.0 {
                        each(item.row(), user.0);
                    }
                }
            }
        };
        let mut offsets = vec![0; n_rows + 1];
        for_each_pair(&mut |item, _| offsets[item + 1] += 1);
        for row in 1..offsets.len() {
            offsets[row] += offsets[row - 1];
        }
        let mut next = offsets.clone();
        let mut users = vec![0; offsets[n_rows]];
        for_each_pair(&mut |item, user| {
            users[next[item]] = user;
            next[item] += 1;
        });
        Self { offsets, users }
    }

    fn users_of(&self, item: ItemIdx) -> &[u32] {
        &self.users[self.offsets[item.row()]..self.offsets[item.row() + 1]]
    }

    fn distance(&self, a: ItemIdx, b: ItemIdx) -> f64 {
        let (a, b) = (self.users_of(a), self.users_of(b));
        let (few, many) = if a.len() <= b.len() { (a, b) } else { (b, a) };
        if few.is_empty() {
            return 1.0;
        }
        let n_both = match many.len() / few.len() > 16 {
            true => few.iter().filter(|user| many.binary_search(user).is_ok()).count(),
            false => n_common(few, many),
        };
        1.0 - n_both as f64 / (few.len() as f64 * many.len() as f64).sqrt()
    }

    /// Intra-list diversity: the mean distance of two items of the list. `None` if it has fewer than two. `cache` keeps
    /// distances from one list to the next; popular items meet again and again.
    ///
    /// Source: Smyth and McClave, ICCBR 2001; Ziegler et al., WWW 2005 (there as similarity, by taxonomy).
    pub fn diversity(&self, list: &[ItemIdx], cache: &mut DistanceCache) -> Option<f64> {
        let (mut sum, mut n) = (0.0, 0u32);
        for (place, a) in list.iter().enumerate() {
            for b in &list[place + 1..] {
                let key = (*a.min(b), *a.max(b));
                let distance = match cache.0.get(&key) {
                    Some(distance) => *distance,
                    None => {
                        let distance = self.distance(*a, *b);
                        if cache.0.len() >= CACHE_SIZE {
                            cache.0.clear();
                        }
                        cache.0.insert(key, distance);
                        distance
                    }
                };
                sum += distance;
                n += 1;
            }
        }
        (n > 0).then(|| sum / f64::from(n))
    }
}

/// Distances that [`ItemDistances::diversity`] has worked out.
#[derive(Debug, Default)]
pub struct DistanceCache(HashMap<(ItemIdx, ItemIdx), f64>);

/// Pairs that are kept: 24 MB or so.
const CACHE_SIZE: usize = 1 << 19;

/// How many numbers two ascending lists share.
fn n_common(mut a: &[u32], mut b: &[u32]) -> usize {
    let mut n = 0;
    while let (Some(first), Some(second)) = (a.first(), b.first()) {
        n += usize::from(first == second);
        let (ahead, behind) = (first <= second, second <= first);
        a = &a[usize::from(ahead)..];
        b = &b[usize::from(behind)..];
    }
    n
}

/// Training popularity of every item, as needed by the metrics of one list.
#[derive(Debug, Clone)]
pub struct ItemPopularity {
    /// Training events; row 0 is the unknown item.
    counts: Vec<u64>,
    /// Share of the known items that are less popular, items of equal count by half.
    percentiles: Vec<f64>,
    /// Self-information in bits.
    surprises: Vec<f64>,
}

impl ItemPopularity {
    /// Reads the counts of the item vocabulary, which are those of the training part.
    pub fn new(items: &Vocabulary) -> Self {
        let counts: Vec<u64> = (0..items.len() as u32).map(|item| items.count(item)).collect();
        let n_known = counts.len().saturating_sub(1).max(1) as f64;
        let mut sorted = counts.get(1..).unwrap_or_default().to_vec();
        sorted.sort_unstable();
        let percentile = |count: &u64| {
            let n_below = sorted.partition_point(|other| other < count);
            let n_equal = sorted.partition_point(|other| other <= count) - n_below;
            (n_below as f64 + n_equal as f64 / 2.0) / n_known
        };
        let percentiles = counts.iter().map(percentile).collect();
        let n_events = counts.iter().sum::<u64>().max(1) as f64;
        let surprise = |count: &u64| -((*count).max(1) as f64 / n_events).log2();
        let surprises = counts.iter().map(surprise).collect();
        Self { counts, percentiles, surprises }
    }

    /// Novelty of a list: the mean self-information `-log2 p(i)` of its items, in bits, with
    /// `p(i)` the item's share of the training events. An item without training events counts as
    /// if it had one. `None` if the list is empty.
    ///
    /// Source: Zhou et al., PNAS 107(10), 2010.
    pub fn novelty(&self, list: impl Iterator<Item = ItemIdx>) -> Option<f64> {
        mean(list.map(|item| self.surprises[item.row()]))
    }

    /// Average recommendation popularity (ARP): the mean number of training events of the list's
    /// items. `None` if the list is empty.
    ///
    /// Source: Yin et al., *Challenging the Long Tail Recommendation*, VLDB 2012.
    pub fn mean_count(&self, list: impl Iterator<Item = ItemIdx>) -> Option<f64> {
        mean(list.map(|item| self.counts[item.row()] as f64))
    }

    /// Popularity bias of a list against the user's own taste: mean popularity percentile of the
    /// list minus that of the user's history, in `-1..=1`. Above 0 the model pushes what is
    /// popular, beyond what the user does. Unknown items of the history are left out. `None` if
    /// the list or the history is empty, as for a cold user.
    ///
    /// Source: Abdollahpouri et al., *The Unfairness of Popularity Bias in Recommendation*, RMSE
    /// 2019. We differ: percentiles instead of counts, so that one bestseller does not set the
    /// scale, and a difference for each user instead of groups of users.
    pub fn bias(&self, list: impl Iterator<Item = ItemIdx>, history: &[ItemIdx]) -> Option<f64> {
        let percentile = |item: ItemIdx| self.percentiles[item.row()];
        let own =
            mean(history.iter().filter(|item| item.is_known()).map(|item| percentile(*item)))?;
        Some(mean(list.map(percentile))? - own)
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0usize), |(sum, n), value| (sum + value, n + 1));
    (n > 0).then(|| sum / n as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn popularity() -> ItemPopularity {
        let items = Vocabulary::from_entries([("a", 4), ("b", 2), ("c", 1), ("d", 1)], 0).unwrap();
        ItemPopularity::new(&items)
    }

    fn list(rows: &[u32]) -> impl Iterator<Item = ItemIdx> {
        rows.iter().copied().map(ItemIdx)
    }

    #[test]
    fn lists_by_hand() {
        let popularity = popularity();
        // 8 events: a has share 1/2 (1 bit), b 1/4 (2 bits), c and d 1/8 (3 bits).
        assert_eq!(popularity.novelty(list(&[1, 3])), Some(2.0));
        assert_eq!(popularity.mean_count(list(&[1, 2])), Some(3.0));
        // Percentiles: a 3.5/4, b 2.5/4, c and d (0 + 2/2)/4.
        let bias = popularity.bias(list(&[1]), &[ItemIdx(3), ItemIdx(0), ItemIdx(4)]);
        assert_eq!(bias, Some(0.875 - 0.25));
    }

    #[test]
    fn empty_lists_and_cold_users_have_no_value() {
        let popularity = popularity();
        assert_eq!(popularity.novelty(list(&[])), None);
        assert_eq!(popularity.mean_count(list(&[])), None);
        assert_eq!(popularity.bias(list(&[1]), &[]), None);
        assert_eq!(popularity.bias(list(&[1]), &[ItemIdx::UNKNOWN]), None);
        assert_eq!(coverage(&[]), None);
        assert_eq!(gini(&[]), None);
    }

    #[test]
    fn distances_by_hand() {
        // Item 1 has users 1..=4, item 2 users 3 and 4, item 3 nobody.
        let distances =
            ItemDistances { offsets: vec![0, 0, 4, 6, 6], users: vec![1, 2, 3, 4, 3, 4] };
        let of = |rows: &[u32]| {
            let list: Vec<ItemIdx> = list(rows).collect();
            distances.diversity(&list, &mut DistanceCache::default())
        };
        let near = 1.0 - 2.0 / 8.0f64.sqrt();
        assert_eq!(of(&[1, 2]), Some(near));
        assert_eq!(of(&[2, 1]), Some(near));
        assert_eq!(of(&[1, 2, 3]), Some((near + 2.0) / 3.0));
        assert_eq!(of(&[1]), None);
        assert_eq!(n_common(&[1, 3, 5, 9], &[2, 3, 9, 10]), 2);
    }

    #[test]
    fn an_item_without_training_events_is_finite() {
        let items = Vocabulary::from_entries([("a", 4), ("new", 0)], 0).unwrap();
        assert_eq!(ItemPopularity::new(&items).novelty(list(&[2])), Some(2.0));
    }

    proptest! {
        #[test]
        fn bounds_and_invariance(mut shown in prop::collection::vec(0u64..50, 1..40)) {
            let before = (coverage(&shown), gini(&shown));
            if let Some(gini) = before.1 {
                prop_assert!((0.0..1.0).contains(&gini));
            }
            prop_assert!((0.0..=1.0).contains(&before.0.unwrap()));
            shown.reverse();
            prop_assert_eq!(before, (coverage(&shown), gini(&shown)));
        }
    }
}
