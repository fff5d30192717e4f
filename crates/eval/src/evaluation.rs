//! What an evaluation found: ranks and list properties case by case, from which any metric follows.

use forecart_data::dataset::Counts;
use forecart_data::{Dataset, ItemIdx, Part, UserIdx};
use serde::{Deserialize, Serialize};

use crate::error::EvalError;
use crate::evaluate::{CaseResult, Chunk};
use crate::exposure::{coverage, gini, overlap};
use crate::metrics::{Metric, MetricKind};
use crate::options::EvaluateOptions;
use crate::slices::ItemSlices;

/// What was counted on the way, beside the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Users of the dataset.
    pub n_users: u64,
    /// Users who are left out because they have nothing to find in the part.
    pub n_users_without_targets: u64,
    /// Lists that were asked for: users, or session prefixes.
    pub n_cases: u64,
    /// Cases without any history; they count.
    pub n_cold_cases: u64,
    /// Targets of all cases.
    pub n_targets: u64,
    /// Targets that the vocabulary does not hold: misses. One at most for each case, because the
    /// items behind the unknown bucket cannot be told apart.
    pub n_unknown_targets: u64,
    /// Targets that the user had already acted on.
    pub n_seen_targets: u64,
    /// Those of them that lists leave out as seen: misses.
    #[serde(default)]
    pub n_hidden_targets: u64,
    /// Targets with the score of another item that is no target.
    pub n_tied_targets: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.n_users += other.n_users;
        self.n_users_without_targets += other.n_users_without_targets;
        self.n_cases += other.n_cases;
        self.n_cold_cases += other.n_cold_cases;
        self.n_targets += other.n_targets;
        self.n_unknown_targets += other.n_unknown_targets;
        self.n_seen_targets += other.n_seen_targets;
        self.n_hidden_targets += other.n_hidden_targets;
        self.n_tied_targets += other.n_tied_targets;
    }

    /// The share of the ranked targets that is tied; 0 if none was ranked.
    pub fn tie_share(&self) -> f64 {
        let n_ranked = self.n_targets - self.n_unknown_targets - self.n_hidden_targets;
        self.n_tied_targets as f64 / n_ranked.max(1) as f64
    }
}

/// Which data a number belongs to; printed with every result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFacts {
    /// SHA-256 of the input.
    pub data_hash: String,
    /// SHA-256 of the prepared dataset.
    pub dataset_hash: String,
    /// Sizes of the prepared dataset.
    pub counts: Counts,
}

impl DataFacts {
    /// The facts of an open dataset.
    pub fn of(dataset: &Dataset) -> Self {
        let manifest = &dataset.manifest;
        Self {
            data_hash: manifest.description.data_hash.clone(),
            dataset_hash: manifest.content_hash.clone(),
            counts: manifest.counts,
        }
    }
}

/// The result of [`crate::evaluate()`]: one model, one seed, one part.
///
/// Values are kept case by case, so that metrics at any cut, intervals and paired comparisons can
/// be computed afterwards. Two evaluations are equal if they found the same on the same data.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// What was measured: model and seed.
    pub label: String,
    /// See [`EvaluateOptions::protocol_id`].
    pub protocol_id: String,
    /// The part that was measured.
    pub part: Part,
    /// The data.
    pub data: DataFacts,
    /// What was counted on the way.
    pub tally: Tally,
    /// Places of the lists behind coverage, Gini, novelty and popularity.
    pub list_length: usize,
    /// One entry for each group of cases: a user, or a session.
    group_users: Vec<UserIdx>,
    group_sizes: Vec<u32>,
    cases: Vec<CaseResult>,
    ranks: Vec<f64>,
    ranked: Vec<ItemIdx>,
    n_shown: Vec<u64>,
    item_slices: ItemSlices,
}

impl Evaluation {
    pub(crate) fn new(dataset: &Dataset, options: &EvaluateOptions) -> Self {
        Self {
            label: options.label().to_owned(),
            protocol_id: options.protocol_id(dataset),
            part: options.part(),
            data: DataFacts::of(dataset),
            tally: Tally::default(),
            list_length: options.list_length,
            group_users: Vec::new(),
            group_sizes: Vec::new(),
            cases: Vec::new(),
            ranks: Vec::new(),
            ranked: Vec::new(),
            item_slices: ItemSlices::default(),
            n_shown: Vec::new(),
        }
    }

    pub(crate) fn append(&mut self, chunk: Chunk) {
        self.tally.add(&chunk.tally);
        self.group_users.extend(chunk.group_users);
        self.group_sizes.extend(chunk.group_sizes);
        self.cases.extend(chunk.cases);
        self.ranks.extend(chunk.ranks);
        self.ranked.extend(chunk.ranked);
    }

    pub(crate) fn set_item_slices(&mut self, slices: ItemSlices) {
        self.item_slices = slices;
    }

    /// How the items fall into slices.
    pub(crate) fn item_slices(&self) -> &ItemSlices {
        &self.item_slices
    }

    /// Each case with the ranks and the items of its ranked targets, group by group.
    pub(crate) fn cases_by_group(
        &self,
    ) -> impl Iterator<Item = Vec<(&CaseResult, &[f64], &[ItemIdx])>> {
        let (mut cases, mut at) = (&self.cases[..], 0);
        self.group_sizes.iter().map(move |size| {
            let (group, rest) = cases.split_at(*size as usize);
            cases = rest;
            let of_group = group.iter().map(|case| {
                let span = at..at + case.n_ranks as usize;
                at = span.end;
                (case, &self.ranks[span.clone()], &self.ranked[span])
            });
            of_group.collect()
        })
    }

    pub(crate) fn set_exposure(&mut self, n_shown: Vec<u64>) {
        self.n_shown = n_shown;
    }

    /// The value of `metric` for each case, in the order of users; `None` where a case has none.
    ///
    /// # Errors
    /// [`EvalError::UnknownMetric`] for coverage, Gini and overlap, which a single case does not have, and
    /// for list metrics at another cut than [`Self::list_length`].
    pub fn values(&self, metric: Metric) -> Result<Vec<Option<f64>>, EvalError> {
        let of_list: fn(&CaseResult) -> Option<f64> = match metric.kind {
            kind if MetricKind::ACCURACY.contains(&kind) => {
                return Ok(self.accuracies(metric).collect());
            }
            MetricKind::Diversity => |case| case.diversity,
            MetricKind::Novelty => |case| case.novelty,
            MetricKind::Popularity => |case| case.popularity,
            MetricKind::PopularityBias => |case| case.popularity_bias,
            _ => return Err(EvalError::UnknownMetric { name: metric.to_string() }),
        };
        self.check_list_length(metric)?;
        Ok(self.cases.iter().map(of_list).collect())
    }

    /// The mean of `metric` over the cases that have it; the value itself for coverage, Gini and overlap.
    /// `None` if no case has it.
    ///
    /// # Errors
    /// [`EvalError::UnknownMetric`] for list metrics at another cut than [`Self::list_length`].
    pub fn metric(&self, metric: Metric) -> Result<Option<f64>, EvalError> {
        let of_lists: fn(&[u64], u64) -> Option<f64> = match metric.kind {
            MetricKind::Coverage => |n_shown, _| coverage(n_shown),
            MetricKind::Gini => |n_shown, _| gini(n_shown),
            MetricKind::Overlap => overlap,
            _ => {
                let values = self.values(metric)?;
                let (sum, n) = values
                    .into_iter()
                    .flatten()
                    .fold((0.0, 0u64), |(sum, n), value| (sum + value, n + 1));
                return Ok((n > 0).then(|| sum / n as f64));
            }
        };
        self.check_list_length(metric)?;
        Ok(of_lists(&self.n_shown, self.cases.len() as u64))
    }

    /// NDCG at `k`: the number that decides unless another is named.
    pub fn ndcg(&self, k: usize) -> f64 {
        let values = self.accuracies(Metric::ndcg(k)).map(|value| value.unwrap_or(0.0));
        values.sum::<f64>() / self.cases.len().max(1) as f64
    }

    /// For each group, the sum of `metric` over its cases and the number of cases that have it.
    pub(crate) fn group_sums(&self, metric: Metric) -> Result<Vec<(f64, f64)>, EvalError> {
        let values = self.values(metric)?;
        let mut rest = &values[..];
        let sums = self.group_sizes.iter().map(|size| {
            let (group, after) = rest.split_at(*size as usize);
            rest = after;
            group.iter().flatten().fold((0.0, 0.0), |(sum, n), value| (sum + value, n + 1.0))
        });
        Ok(sums.collect())
    }

    /// The user of each group: one user a group, or one for each of a user's sessions.
    pub fn group_users(&self) -> &[UserIdx] {
        &self.group_users
    }

    /// Fails unless `other` was measured on the same cases of the same data.
    ///
    /// # Errors
    /// [`EvalError::NotComparable`] says what differs.
    pub fn check_comparable(&self, other: &Self) -> Result<(), EvalError> {
        let differ = |reason: &str| EvalError::NotComparable {
            left: self.label.clone(),
            right: other.label.clone(),
            reason: reason.into(),
        };
        if self.data != other.data {
            return Err(differ("the data differs, whatever its name"));
        }
        if self.protocol_id != other.protocol_id {
            let reason = format!("protocol {} is not {}", self.protocol_id, other.protocol_id);
            return Err(differ(&reason));
        }
        if self.part != other.part || self.list_length != other.list_length {
            return Err(differ("the part or the length of the lists differs"));
        }
        if self.group_users != other.group_users || self.group_sizes != other.group_sizes {
            return Err(differ("the users differ"));
        }
        Ok(())
    }

    fn accuracies(&self, metric: Metric) -> impl Iterator<Item = Option<f64>> {
        let mut rest = &self.ranks[..];
        self.cases.iter().map(move |case| {
            let (ranks, after) = rest.split_at(case.n_ranks as usize);
            rest = after;
            metric.kind.of_ranks(ranks, case.n_targets as usize, metric.k)
        })
    }

    fn check_list_length(&self, metric: Metric) -> Result<(), EvalError> {
        if metric.k == self.list_length {
            return Ok(());
        }
        Err(EvalError::UnknownMetric { name: metric.to_string() })
    }
}
