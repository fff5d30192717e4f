//! Accuracy metrics with binary relevance, computed from the ranks of the targets.
//!
//! One *case* is one list for one user (or one session prefix) with its ground truth. `ranks` are
//! the ranks of the targets that were ranked, ascending and 1-based; they may be fractional where
//! scores are tied (see the crate docs). `n_targets` is the size of the ground truth and may be
//! larger than `ranks.len()`: a target that the vocabulary does not hold cannot be ranked and is a
//! miss. All functions return `None` where there is nothing to find (`n_targets == 0`) or nothing
//! to look at (`k == 0`); the evaluation leaves such cases out and counts them.
//!
//! A target counts as found at `k` if its rank is at most `k`. A rank that a tie makes fractional
//! is not rounded: two equal items at the top have rank 1.5 and are not found at 1.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::EvalError;

/// The ranks that are found at `k`.
fn found(ranks: &[f64], k: usize) -> &[f64] {
    &ranks[..ranks.partition_point(|rank| *rank <= k as f64)]
}

fn defined(n_targets: usize, k: usize) -> Option<()> {
    (n_targets > 0 && k > 0).then_some(())
}

/// Hit rate: 1 if any target is found at `k`, else 0. Equal to recall if there is one target.
///
/// ```
/// use forecart_eval::metrics::hr_at_k;
/// assert_eq!(hr_at_k(&[4.0], 1, 10), Some(1.0));
/// assert_eq!(hr_at_k(&[4.0], 1, 3), Some(0.0));
/// assert_eq!(hr_at_k(&[], 0, 3), None);
/// ```
///
/// Source: Deshpande and Karypis, ACM TOIS 22(1), 2004.
pub fn hr_at_k(ranks: &[f64], n_targets: usize, k: usize) -> Option<f64> {
    defined(n_targets, k)?;
    Some(if found(ranks, k).is_empty() { 0.0 } else { 1.0 })
}

/// Normalized discounted cumulative gain: `sum 1 / log2(rank + 1)` over the targets found at `k`,
/// divided by the sum of an ideal list, which has `min(k, n_targets)` targets at its top.
///
/// Source: Järvelin and Kekäläinen, ACM TOIS 20(4), 2002. We differ: rank 2 is already discounted,
/// and tied targets are discounted at their expected rank.
pub fn ndcg_at_k(ranks: &[f64], n_targets: usize, k: usize) -> Option<f64> {
    defined(n_targets, k)?;
    let gain = |rank: f64| 1.0 / (rank + 1.0).log2();
    let dcg: f64 = found(ranks, k).iter().copied().map(gain).sum();
    let ideal: f64 = (1..=n_targets.min(k)).map(|rank| gain(rank as f64)).sum();
    Some(dcg / ideal)
}

/// Reciprocal rank: `1 / rank` of the best target if it is found at `k`, else 0. Its mean over
/// cases is the MRR.
///
/// Source: Voorhees, TREC-8 Question Answering Track Report, 1999; cut at `k` as in Hidasi et
/// al., *Session-based Recommendations with Recurrent Neural Networks*, ICLR 2016.
pub fn mrr_at_k(ranks: &[f64], n_targets: usize, k: usize) -> Option<f64> {
    defined(n_targets, k)?;
    Some(found(ranks, k).first().map_or(0.0, |rank| 1.0 / rank))
}

/// Recall: the share of the targets that is found at `k`. Divided by all targets, also where there
/// are more than `k`.
///
/// Source: Herlocker et al., ACM TOIS 22(1), 2004.
pub fn recall_at_k(ranks: &[f64], n_targets: usize, k: usize) -> Option<f64> {
    defined(n_targets, k)?;
    Some(found(ranks, k).len() as f64 / n_targets as f64)
}

/// Precision: the share of the `k` places that holds a target. Divided by `k` also where there are
/// fewer targets or items than that.
///
/// Source: Herlocker et al., ACM TOIS 22(1), 2004.
pub fn precision_at_k(ranks: &[f64], n_targets: usize, k: usize) -> Option<f64> {
    defined(n_targets, k)?;
    Some(found(ranks, k).len() as f64 / k as f64)
}

/// Average precision: the mean, over the `min(k, n_targets)` targets that could be found, of the
/// precision at each found target (`i / rank` of the `i`-th). Its mean over cases is the MAP.
///
/// Source: Manning, Raghavan and Schütze, *Introduction to Information Retrieval*, 8.4; cut at `k`
/// with the divisor `min(k, n_targets)`, so that a perfect list has 1.
pub fn map_at_k(ranks: &[f64], n_targets: usize, k: usize) -> Option<f64> {
    defined(n_targets, k)?;
    let precisions = found(ranks, k).iter().enumerate().map(|(i, rank)| (i + 1) as f64 / rank);
    Some(precisions.sum::<f64>() / n_targets.min(k) as f64)
}

/// What a [`Metric`] measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricKind {
    /// [`ndcg_at_k`].
    Ndcg,
    /// [`hr_at_k`].
    Hr,
    /// [`mrr_at_k`].
    Mrr,
    /// [`recall_at_k`].
    Recall,
    /// [`precision_at_k`].
    Precision,
    /// [`map_at_k`].
    Map,
    /// [`crate::exposure::coverage`].
    Coverage,
    /// [`crate::exposure::gini`].
    Gini,
    /// [`crate::exposure::overlap`].
    Overlap,
    /// [`crate::exposure::ItemDistances::diversity`].
    Diversity,
    /// [`crate::exposure::ItemPopularity::novelty`].
    Novelty,
    /// [`crate::exposure::ItemPopularity::mean_count`].
    Popularity,
    /// [`crate::exposure::ItemPopularity::bias`].
    PopularityBias,
}

impl MetricKind {
    /// All kinds, in the order of the report.
    pub const ALL: [Self; 13] = [
        Self::Ndcg,
        Self::Hr,
        Self::Mrr,
        Self::Recall,
        Self::Precision,
        Self::Map,
        Self::Coverage,
        Self::Gini,
        Self::Overlap,
        Self::Diversity,
        Self::Novelty,
        Self::Popularity,
        Self::PopularityBias,
    ];

    /// The kinds that compare a list with the ground truth.
    pub const ACCURACY: [Self; 6] =
        [Self::Ndcg, Self::Hr, Self::Mrr, Self::Recall, Self::Precision, Self::Map];

    /// Whether it belongs to all lists together, so that a single case has no value and a resample no meaning.
    pub fn is_of_all_lists(self) -> bool {
        matches!(self, Self::Coverage | Self::Gini | Self::Overlap)
    }

    /// The metric's name without its cut.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ndcg => "ndcg",
            Self::Hr => "hr",
            Self::Mrr => "mrr",
            Self::Recall => "recall",
            Self::Precision => "precision",
            Self::Map => "map",
            Self::Coverage => "coverage",
            Self::Gini => "gini",
            Self::Overlap => "overlap",
            Self::Diversity => "diversity",
            Self::Novelty => "novelty",
            Self::Popularity => "popularity",
            Self::PopularityBias => "popularity_bias",
        }
    }

    /// The accuracy of one case, or `None` for kinds that need the list itself.
    pub fn of_ranks(self, ranks: &[f64], n_targets: usize, k: usize) -> Option<f64> {
        match self {
            Self::Ndcg => ndcg_at_k(ranks, n_targets, k),
            Self::Hr => hr_at_k(ranks, n_targets, k),
            Self::Mrr => mrr_at_k(ranks, n_targets, k),
            Self::Recall => recall_at_k(ranks, n_targets, k),
            Self::Precision => precision_at_k(ranks, n_targets, k),
            Self::Map => map_at_k(ranks, n_targets, k),
            _ => None,
        }
    }
}

/// A metric with its cut, written `ndcg@10`.
///
/// ```
/// use forecart_eval::Metric;
/// let metric: Metric = "NDCG@10".parse().unwrap();
/// assert_eq!(metric.to_string(), "ndcg@10");
/// assert!("ndcg".parse::<Metric>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Metric {
    /// What is measured.
    pub kind: MetricKind,
    /// How many places of the list count.
    pub k: usize,
}

impl Metric {
    /// `kind` cut at `k`.
    pub const fn new(kind: MetricKind, k: usize) -> Self {
        Self { kind, k }
    }

    /// NDCG at `k`, the metric that decides unless another is named.
    pub const fn ndcg(k: usize) -> Self {
        Self::new(MetricKind::Ndcg, k)
    }

    /// The metric, if a model may be chosen by it: more is better, and each case has a value.
    ///
    /// # Errors
    /// [`EvalError::CannotDecide`] for what lists show beside being right.
    pub fn that_decides(self) -> Result<Self, EvalError> {
        let reason = match self.kind {
            kind if MetricKind::ACCURACY.contains(&kind) => return Ok(self),
            kind if kind.is_of_all_lists() => "it belongs to all lists together, not to one user",
            _ => "more of it is not better",
        };
        Err(EvalError::CannotDecide { metric: self, reason })
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `pad`, so that a width in the format string is kept.
        f.pad(&format!("{}@{}", self.kind.name(), self.k))
    }
}

impl FromStr for Metric {
    type Err = EvalError;

    fn from_str(name: &str) -> Result<Self, EvalError> {
        let unknown = || EvalError::UnknownMetric { name: name.into() };
        let (kind, k) = name.split_once('@').ok_or_else(unknown)?;
        let kind = kind.to_lowercase();
        let kind = MetricKind::ALL.into_iter().find(|known| known.name() == kind);
        let k = k.parse().ok().filter(|k| *k > 0);
        Ok(Self { kind: kind.ok_or_else(unknown)?, k: k.ok_or_else(unknown)? })
    }
}

impl From<Metric> for String {
    fn from(metric: Metric) -> Self {
        metric.to_string()
    }
}

impl TryFrom<String> for Metric {
    type Error = EvalError;

    fn try_from(name: String) -> Result<Self, EvalError> {
        name.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn accuracies_decide_and_nothing_else() {
        for name in ["ndcg@10", "precision@3", "map@20"] {
            let metric: Metric = name.parse().unwrap();
            assert_eq!(metric.that_decides().unwrap(), metric);
        }
        for name in ["coverage@10", "popularity_bias@10", "overlap@5"] {
            let error = name.parse::<Metric>().unwrap().that_decides().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name} cannot decide")), "{error}");
        }
    }

    fn close(got: Option<f64>, want: f64) {
        let got = got.unwrap();
        // Sums of a few terms in f64: the last digits alone may differ.
        assert!((got - want).abs() < 1e-12, "{got} is not {want}");
    }

    #[test]
    fn one_target_by_hand() {
        let ranks = [3.0];
        close(ndcg_at_k(&ranks, 1, 10), 0.5); // 1 / log2(4)
        close(hr_at_k(&ranks, 1, 10), 1.0);
        close(mrr_at_k(&ranks, 1, 10), 1.0 / 3.0);
        close(recall_at_k(&ranks, 1, 10), 1.0);
        close(precision_at_k(&ranks, 1, 10), 0.1);
        close(map_at_k(&ranks, 1, 10), 1.0 / 3.0);
        for kind in MetricKind::ACCURACY {
            close(kind.of_ranks(&ranks, 1, 2), 0.0);
            close(kind.of_ranks(&[1.0], 1, 1), 1.0);
        }
    }

    #[test]
    fn several_targets_by_hand() {
        // Three targets, one unknown to the vocabulary, the others at ranks 1 and 4.
        let ranks = [1.0, 4.0];
        let gain = |rank: f64| 1.0 / (rank + 1.0).log2();
        close(ndcg_at_k(&ranks, 3, 5), (1.0 + gain(4.0)) / (1.0 + gain(2.0) + gain(3.0)));
        close(hr_at_k(&ranks, 3, 5), 1.0);
        close(mrr_at_k(&ranks, 3, 5), 1.0);
        close(recall_at_k(&ranks, 3, 5), 2.0 / 3.0);
        close(precision_at_k(&ranks, 3, 5), 2.0 / 5.0);
        close(map_at_k(&ranks, 3, 5), (1.0 + 2.0 / 4.0) / 3.0);
        // More targets than places: a full list is perfect for NDCG and MAP, not for recall.
        close(ndcg_at_k(&[1.0, 2.0, 3.0], 3, 2), 1.0);
        close(map_at_k(&[1.0, 2.0, 3.0], 3, 2), 1.0);
        close(recall_at_k(&[1.0, 2.0, 3.0], 3, 2), 2.0 / 3.0);
    }

    #[test]
    fn nothing_to_find_is_none_and_a_target_without_a_rank_is_a_miss() {
        for kind in MetricKind::ACCURACY {
            assert_eq!(kind.of_ranks(&[], 0, 10), None);
            assert_eq!(kind.of_ranks(&[1.0], 1, 0), None);
            assert_eq!(kind.of_ranks(&[], 1, 10), Some(0.0));
        }
    }

    #[test]
    fn a_tied_rank_is_found_only_where_all_of_it_fits() {
        assert_eq!(hr_at_k(&[1.5], 1, 1), Some(0.0));
        assert_eq!(hr_at_k(&[1.5], 1, 2), Some(1.0));
    }

    #[test]
    fn names_are_read_back() {
        for kind in MetricKind::ALL {
            let metric = Metric::new(kind, 20);
            assert_eq!(metric.to_string().parse::<Metric>().unwrap(), metric);
        }
        for wrong in ["ndcg@", "ndcg@0", "ndcg@-1", "@10", "auc@10", "", "ndcg@10@neg99"] {
            assert!(wrong.parse::<Metric>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn bounded_and_growing_with_k(
            ranks in prop::collection::btree_set(1u32..60, 0..20),
            n_unknown in 0usize..4, k in 1usize..40, half: bool,
        ) {
            let shift = if half { 0.5 } else { 0.0 };
            let ranks: Vec<f64> = ranks.iter().map(|rank| f64::from(*rank) + shift).collect();
            let n_targets = ranks.len() + n_unknown;
            prop_assume!(n_targets > 0);
            for kind in MetricKind::ACCURACY {
                let at = |k| kind.of_ranks(&ranks, n_targets, k).unwrap();
                prop_assert!((0.0..=1.0 + 1e-12).contains(&at(k)), "{kind:?} {}", at(k));
                // NDCG and MAP grow only once the ideal list does; precision has k below it.
                let grows = match kind {
                    MetricKind::Hr | MetricKind::Mrr | MetricKind::Recall => true,
                    MetricKind::Ndcg | MetricKind::Map => k >= n_targets,
                    _ => false,
                };
                prop_assert!(!grows || at(k + 1) >= at(k), "{kind:?}");
            }
        }

        #[test]
        fn a_better_rank_is_never_worse(rank in 2u32..40, k in 1usize..40) {
            for kind in MetricKind::ACCURACY {
                let at = |rank: u32| kind.of_ranks(&[f64::from(rank)], 1, k).unwrap();
                prop_assert!(at(rank - 1) >= at(rank));
            }
        }
    }
}
