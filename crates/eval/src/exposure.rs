//! What lists show beside being right: how many items, how evenly, how popular ones.
//!
//! These need the lists, not the ground truth. Popularity is an item's number of training events.

use forecart_data::{ItemIdx, Vocabulary};

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
