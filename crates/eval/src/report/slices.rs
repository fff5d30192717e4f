//! The deciding metric slice by slice: new and returning users, short and long histories, popular and rare targets.

use forecart_data::ItemIdx;
use serde::{Deserialize, Serialize};

use super::{ModelRuns, ReportOptions};
use crate::bootstrap::{GroupSums, Interval, ratios};
use crate::error::EvalError;
use crate::evaluate::CaseResult;
use crate::evaluation::Evaluation;
use crate::metrics::{Metric, MetricKind};
use crate::slices::ItemSlices;

/// What cases are parted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SliceBy {
    /// Whether the user had any event before.
    User,
    /// How many events were known.
    History,
    /// The tenth of the items that the target is in, by how often training has the event that is to be predicted.
    TargetPopularity,
    /// The target's category.
    TargetCategory,
}

impl SliceBy {
    /// In words, for a heading.
    pub fn words(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::History => "events known",
            Self::TargetPopularity => "target popularity",
            Self::TargetCategory => "target category",
        }
    }
}

/// One slice, all models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SliceRow {
    /// What cases are parted by.
    pub by: SliceBy,
    /// Which of the parts: `new`, `5-9`, `10`, `lamps`.
    pub name: String,
    /// The deciding metric, or NDCG@10 where that is no accuracy.
    pub metric: Metric,
    /// Cases in the slice.
    pub n_cases: u64,
    /// Every model that has a value, in the order of the report.
    pub values: Vec<SliceValue>,
}

impl SliceRow {
    /// Parting and part in one: `user: new`.
    pub fn title(&self) -> String {
        format!("{}: {}", self.by.words(), self.name)
    }
}

/// One model in one slice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SliceValue {
    /// The model's name.
    pub model: String,
    /// Mean over the cases of the slice and the seeds.
    pub mean: f64,
    /// Bootstrap interval over the groups of the slice.
    pub interval: Interval,
}

/// Numbers of known events of the slices, first and last.
const HISTORIES: [(u32, u32, &str); 7] = [
    (0, 0, "0"),
    (1, 1, "1"),
    (2, 4, "2-4"),
    (5, 9, "5-9"),
    (10, 19, "10-19"),
    (20, 49, "20-49"),
    (50, u32::MAX, "50 or more"),
];

/// Which cases, or which targets of all cases, make up a slice.
enum Members {
    Cases {
        first: u32,
        last: u32,
    },
    /// Item rows; `unknown` adds targets that no vocabulary holds.
    Targets {
        items: Vec<bool>,
        unknown: bool,
    },
}

/// All slices that have cases, in order. Slices by target take the targets of the slice as the whole ground truth of a
/// case, at the ranks that they have in its one list.
pub(super) fn all(
    models: &[ModelRuns],
    order: &[usize],
    options: &ReportOptions,
) -> Result<Vec<SliceRow>, EvalError> {
    let Some(first) = models.first().and_then(|model| model.runs.first()) else {
        return Ok(Vec::new());
    };
    let is_accuracy = MetricKind::ACCURACY.contains(&options.primary.kind);
    let metric = if is_accuracy { options.primary } else { Metric::ndcg(10) };
    let by_session = first.evaluation.protocol_id.starts_with("session/");
    let mut rows = Vec::new();
    for (by, name, members) in slices(first.evaluation.item_slices(), by_session) {
        let mut n_cases = 0;
        let mut columns: Vec<GroupSums> = Vec::new();
        for model in order {
            let (column, n) = pooled(&models[*model], metric, &members);
            n_cases = n;
            columns.push(column);
        }
        // Only the groups that have cases in the slice are resampled, the same ones for every model.
        let groups: Vec<bool> = columns[0].iter().map(|(_, n)| *n > 0.0).collect();
        for column in &mut columns {
            let mut keep = groups.iter();
            column.retain(|_| *keep.next().expect("models have the same groups"));
        }
        if columns[0].is_empty() {
            continue;
        }
        let means: Vec<f64> = columns
            .iter()
            .map(|column| column.iter().fold((0.0, 0.0), |(s, n), (x, w)| (s + x, n + w)))
            .map(|(sum, n)| sum / n)
            .collect();
        let intervals = ratios(&columns, &options.bootstrap);
        let values = order.iter().zip(means).zip(intervals).map(|((model, mean), resampled)| {
            let interval = resampled.interval(&options.bootstrap);
            let interval = interval.unwrap_or(Interval { low: mean, high: mean });
            SliceValue { model: models[*model].name.clone(), mean, interval }
        });
        let values = values.collect();
        rows.push(SliceRow { by, name, metric, n_cases, values });
    }
    Ok(rows)
}

fn slices(items: &ItemSlices, by_session: bool) -> Vec<(SliceBy, String, Members)> {
    let mut slices = Vec::new();
    if !by_session {
        // Where sessions stand for users, everybody is new.
        for (name, first, last) in [("new", 0, 0), ("returning", 1, u32::MAX)] {
            slices.push((SliceBy::User, name.to_owned(), Members::Cases { first, last }));
        }
    }
    for (first, last, name) in HISTORIES {
        slices.push((SliceBy::History, name.to_owned(), Members::Cases { first, last }));
    }
    for decile in 0..=10u8 {
        let name = match decile {
            0 => "new item".to_owned(),
            1 => "1, rarest".to_owned(),
            10 => "10, top".to_owned(),
            other => other.to_string(),
        };
        let members = items.decile.iter().map(|own| *own == decile).collect();
        let members = Members::Targets { items: members, unknown: decile == 0 };
        slices.push((SliceBy::TargetPopularity, name, members));
    }
    for (name, has) in items.categories.iter().zip(&items.has_category) {
        let members = Members::Targets { items: has.clone(), unknown: false };
        slices.push((SliceBy::TargetCategory, name.clone(), members));
    }
    slices
}

/// Sums of each group over the slice and all seeds on the scale of one run, and the number of cases.
fn pooled(model: &ModelRuns, metric: Metric, members: &Members) -> (GroupSums, u64) {
    let mut total: GroupSums = Vec::new();
    let mut n_cases = 0;
    for run in &model.runs {
        let sums = group_sums(&run.evaluation, metric, members);
        n_cases = sums.iter().map(|(_, n)| *n as u64).sum();
        if total.is_empty() {
            total = sums;
        } else {
            total.iter_mut().zip(sums).for_each(|(all, one)| *all = (all.0 + one.0, all.1 + one.1));
        }
    }
    let n_runs = model.runs.len() as f64;
    total.iter_mut().for_each(|(sum, n)| (*sum, *n) = (*sum / n_runs, *n / n_runs));
    (total, n_cases)
}

fn group_sums(evaluation: &Evaluation, metric: Metric, members: &Members) -> GroupSums {
    let value = |(case, ranks, targets): &(&CaseResult, &[f64], &[ItemIdx])| match members {
        Members::Cases { first, last } => (*first..=*last)
            .contains(&case.n_known)
            .then(|| metric.kind.of_ranks(ranks, case.n_targets as usize, metric.k))
            .flatten(),
        Members::Targets { items, unknown } => {
            let own = targets.iter().zip(*ranks).filter(|(target, _)| items[target.row()]);
            let own: Vec<f64> = own.map(|(_, rank)| *rank).collect();
            let n_unknown = if *unknown { case.n_targets - case.n_ranks } else { 0 };
            let n_targets = own.len() + n_unknown as usize;
            metric.kind.of_ranks(&own, n_targets, metric.k)
        }
    };
    let groups = evaluation.cases_by_group();
    let sums = groups.map(|cases| {
        cases.iter().filter_map(value).fold((0.0, 0.0), |(sum, n), value| (sum + value, n + 1.0))
    });
    sums.collect()
}
