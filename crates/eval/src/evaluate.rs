//! Scores every case of a part, in parallel over users, and keeps what the metrics need.

use std::sync::atomic::{AtomicU64, Ordering};

use forecart_data::{Dataset, ItemIdx, Progress, SeenItems, UserIdx};
use rayon::prelude::*;

use crate::cases::{Case, groups_of};
use crate::error::EvalError;
use crate::evaluation::{Evaluation, Tally};
use crate::exposure::{DistanceCache, ItemDistances, ItemPopularity};
use crate::options::{EvaluateOptions, part_name};
use crate::rank::{rank_targets, top_k};
use crate::scorer::Scorer;
use crate::slices::ItemSlices;

/// Users in one piece of work: enough to hide the scheduling, few enough for even progress. The
/// result does not depend on it.
const USERS_PER_CHUNK: usize = 64;

/// Measures `scorer` on the part of `dataset` that `options` names: full ranking, every item a
/// candidate.
///
/// Seen items are masked as the options say; all of a user's earlier items count as seen, not only
/// the newest `max_history`. A target that is masked is a miss, as no list shows it: among items of which only the targets are
/// left, any model that scores the history high would win. [`Tally::n_hidden_targets`] says how many there are.
/// Targets that the vocabulary does not hold are misses, counted in [`Tally::n_unknown_targets`].
/// Users without events in the part are left out, users without history are not.
///
/// Users are scored in parallel on the current rayon pool with one score buffer for each piece of
/// work in flight. The result is the same bits for any number of threads.
///
/// # Errors
/// [`EvalError::NanScore`] names the first user with a score that is not a number,
/// [`EvalError::NoTargets`] if the part is empty, [`EvalError::TestReadTwice`] if the guard has
/// seen the label, [`EvalError::Cancelled`] if `progress` asks to stop, [`EvalError::Option`].
///
/// # Cost
/// One call of the scorer for each case, then about two passes over the scores.
pub fn evaluate(
    dataset: &Dataset,
    scorer: &dyn Scorer,
    options: &EvaluateOptions,
    progress: &dyn Progress,
) -> Result<Evaluation, EvalError> {
    options.begin()?;
    let n_item_rows = dataset.items.len();
    let shared = Shared {
        dataset,
        scorer,
        options,
        popularity: ItemPopularity::new(&dataset.items),
        distances: ItemDistances::new(dataset),
        seen: options.seen_on(dataset),
        n_shown: (0..n_item_rows).map(|_| AtomicU64::new(0)).collect(),
    };
    let users: Vec<UserIdx> = dataset.user_indices().collect();
    progress.begin("evaluate", Some(users.len() as u64));
    let chunks: Vec<Result<Chunk, EvalError>> = users
        .par_chunks(USERS_PER_CHUNK)
        .map_init(
            || Worker::new(n_item_rows),
            |worker, users| {
                if progress.is_cancelled() {
                    return Err(EvalError::Cancelled);
                }
                let mut chunk = Chunk::default();
                for user in users {
                    worker.measure_user(&shared, *user, &mut chunk)?;
                }
                progress.advance(users.len() as u64);
                Ok(chunk)
            },
        )
        .collect();
    let mut evaluation = Evaluation::new(dataset, options);
    // In user order, so that the error of the first user is the one that is told.
    for chunk in chunks {
        evaluation.append(chunk?);
    }
    if evaluation.tally.n_cases == 0 {
        return Err(EvalError::NoTargets { part: part_name(options.part()) });
    }
    evaluation.set_item_slices(ItemSlices::new(dataset));
    let n_shown = shared.n_shown.iter().skip(1).map(|n| n.load(Ordering::Relaxed)).collect();
    evaluation.set_exposure(n_shown);
    Ok(evaluation)
}

/// What all workers read. `n_shown` is written with additions alone, whose order does not matter.
struct Shared<'a> {
    dataset: &'a Dataset,
    scorer: &'a dyn Scorer,
    options: &'a EvaluateOptions,
    popularity: ItemPopularity,
    distances: ItemDistances,
    seen: SeenItems,
    n_shown: Vec<AtomicU64>,
}

/// Results of some consecutive users.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) group_users: Vec<UserIdx>,
    /// Cases of each group.
    pub(crate) group_sizes: Vec<u32>,
    pub(crate) cases: Vec<CaseResult>,
    /// Ranks of all cases end to end.
    pub(crate) ranks: Vec<f64>,
    /// The target of each rank.
    pub(crate) ranked: Vec<ItemIdx>,
    pub(crate) tally: Tally,
}

/// What is kept of one case.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CaseResult {
    /// Ranked targets; their ranks stand in the common column.
    pub(crate) n_ranks: u32,
    /// All targets, unknown ones included.
    pub(crate) n_targets: u32,
    /// Events before the moment of prediction.
    pub(crate) n_known: u32,
    pub(crate) diversity: Option<f64>,
    pub(crate) novelty: Option<f64>,
    pub(crate) popularity: Option<f64>,
    pub(crate) popularity_bias: Option<f64>,
}

/// Buffers that one worker uses again and again.
struct Worker {
    scores: Vec<f32>,
    /// Number of the case whose history last had the item, and of the case that last hid it.
    seen_in: Vec<u64>,
    hidden_in: Vec<u64>,
    case_number: u64,
    /// Distinct seen items that are masked in the ranking, and the targets that are not.
    masked: Vec<ItemIdx>,
    to_rank: Vec<ItemIdx>,
    list: Vec<(f32, ItemIdx)>,
    shown: Vec<ItemIdx>,
    distances: DistanceCache,
}

impl Worker {
    fn new(n_item_rows: usize) -> Self {
        Self {
            scores: vec![0.0; n_item_rows],
            seen_in: vec![0; n_item_rows],
            hidden_in: vec![0; n_item_rows],
            case_number: 0,
            masked: Vec::new(),
            to_rank: Vec::new(),
            list: Vec::new(),
            shown: Vec::new(),
            distances: DistanceCache::default(),
        }
    }

    fn measure_user(
        &mut self,
        shared: &Shared<'_>,
        user: UserIdx,
        chunk: &mut Chunk,
    ) -> Result<(), EvalError> {
        let groups = groups_of(shared.dataset, user, shared.options.part());
        chunk.tally.n_users += 1;
        chunk.tally.n_users_without_targets += u64::from(groups.is_empty());
        for cases in groups {
            chunk.group_users.push(user);
            chunk.group_sizes.push(cases.len() as u32);
            for case in cases {
                self.measure_case(shared, &case, chunk).ok_or_else(|| EvalError::NanScore {
                    user: shared.dataset.users.text(user.0).to_owned(),
                })?;
            }
        }
        Ok(())
    }

    /// `None` if a score is not a number.
    fn measure_case(
        &mut self,
        shared: &Shared<'_>,
        case: &Case<'_>,
        chunk: &mut Chunk,
    ) -> Option<()> {
        self.scores.fill(f32::NAN);
        let history = case.history.newest(shared.options.max_history);
        shared.scorer.score_all(history, &mut self.scores);
        self.mark_seen(case, shared.seen, &mut chunk.tally);

        // The unknown item sorts first.
        let is_unknown = case.targets.first().is_some_and(|target| !target.is_known());
        let (hidden_in, number) = (&self.hidden_in, self.case_number);
        let is_masked = |item: ItemIdx| hidden_in[item.row()] == number;
        let known = &case.targets[usize::from(is_unknown)..];
        self.to_rank.clear();
        self.to_rank.extend(known.iter().filter(|target| !is_masked(**target)));
        let n_hidden = (known.len() - self.to_rank.len()) as u64;
        let (ranks, ranked) = (&mut chunk.ranks, &mut chunk.ranked);
        let ties = rank_targets(&self.scores, &self.to_rank, &self.masked, ranks, ranked)?;

        top_k(&self.scores, shared.options.list_length, is_masked, &mut self.list);
        self.shown.clear();
        self.shown.extend(self.list.iter().map(|(_, item)| *item));
        let list = || self.shown.iter().copied();
        for item in list() {
            shared.n_shown[item.row()].fetch_add(1, Ordering::Relaxed);
        }
        chunk.cases.push(CaseResult {
            n_ranks: self.to_rank.len() as u32,
            n_targets: case.targets.len() as u32,
            n_known: case.history.items.len() as u32,
            diversity: shared.distances.diversity(&self.shown, &mut self.distances),
            novelty: shared.popularity.novelty(list()),
            popularity: shared.popularity.mean_count(list()),
            popularity_bias: shared.popularity.bias(list(), case.history.items),
        });
        let tally = &mut chunk.tally;
        tally.n_cases += 1;
        tally.n_cold_cases += u64::from(case.history.items.is_empty());
        tally.n_targets += case.targets.len() as u64;
        tally.n_unknown_targets += u64::from(is_unknown);
        tally.n_hidden_targets += n_hidden;
        tally.n_tied_targets += ties.n_tied;
        Some(())
    }

    /// Notes the items of the history, and which of them the ranking leaves out.
    fn mark_seen(&mut self, case: &Case<'_>, seen: SeenItems, tally: &mut Tally) {
        self.case_number += 1;
        self.masked.clear();
        let number = self.case_number;
        let is_target = |item: ItemIdx| case.targets.binary_search(&item).is_ok();
        let is_first = |marks: &mut [u64], item: ItemIdx| {
            item.is_known() && std::mem::replace(&mut marks[item.row()], number) != number
        };
        for item in case.history.items {
            if is_first(&mut self.seen_in, *item) && is_target(*item) {
                tally.n_seen_targets += 1;
            }
        }
        for item in seen.hidden(case.history) {
            if is_first(&mut self.hidden_in, item) {
                self.masked.push(item);
            }
        }
    }
}
