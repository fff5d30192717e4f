//! When to stop: NDCG@10 on the validation part after each epoch.
//!
//! A *user* here is a case of the validation part; where sessions are held out, there is one for each event of a session.

use forecart_data::{History, ItemIdx, SeenItems};
use forecart_nn::{Linear, Matrix, NnError};
use rayon::prelude::*;

use super::view::TrainingView;

/// Users of the validation part that are looked at after each epoch, evenly spaced: enough that
/// NDCG@10 is known to a few per cent.
const MAX_USERS: usize = 10_000;

/// Users that one thread scores at a time: at most so many, and fewer of many items, so that a thread's scores take 4 MB,
/// or the memory of 8 values an item.
const MAX_TILE_USERS: usize = 64;
const MIN_TILE_USERS: usize = 8;
const TILE_SCORES: usize = 1 << 20;

/// Tables over the items that [`Validation::ndcg`] holds while it works, beside the one that it is given.
pub(super) const N_SCORER_TABLES: u64 = 2;

/// Users whose validation events tell when to stop.
pub(super) struct Validation<'a> {
    users: Vec<(History<'a>, Vec<ItemIdx>)>,
    max_history: usize,
    seen: SeenItems,
}

impl<'a> Validation<'a> {
    /// `None` if the view does not let the model look, or no user has an event that it knows.
    pub(super) fn of(view: &TrainingView<'a>, max_history: usize) -> Option<Self> {
        Self::of_at_most(view, max_history, MAX_USERS)
    }

    /// The same with at most `max_users`.
    pub(super) fn of_at_most(
        view: &TrainingView<'a>,
        max_history: usize,
        max_users: usize,
    ) -> Option<Self> {
        let holdout = view.validation()?;
        let speaks = |history: &History<'_>| {
            history.newest(max_history).items.iter().any(|item| item.is_known())
        };
        let all: Vec<_> = holdout.cases().filter(|(history, _)| speaks(history)).collect();
        let step = all.len().div_ceil(max_users).max(1);
        let users: Vec<_> = all.into_iter().step_by(step).collect();
        (!users.is_empty()).then_some(Self { users, max_history, seen: holdout.seen() })
    }

    /// NDCG@10 over all items, mean over the users; ties count half.
    ///
    /// `encode` writes one row a history, whose product with a row of `vectors` is the item's score; it may keep
    /// buffers in `W`.
    pub(super) fn ndcg<W: Default + Send>(
        &self,
        vectors: &Matrix,
        encode: impl Fn(&[History<'_>], &mut W, &mut Matrix) -> Result<(), NnError> + Sync,
    ) -> Result<f64, NnError> {
        let scorer = Linear::from_parts(vectors.clone(), None)?;
        let n_users = TILE_SCORES / vectors.rows().max(1);
        let n_users = n_users.clamp(MIN_TILE_USERS, MAX_TILE_USERS);
        let buffers = || (W::default(), Matrix::default(), Matrix::default());
        let tiles: Vec<Vec<f64>> = self
            .users
            .par_chunks(n_users)
            .map_init(buffers, |(workspace, hidden, scores), users| {
                let histories: Vec<History<'_>> =
                    users.iter().map(|(history, _)| history.newest(self.max_history)).collect();
                encode(&histories, workspace, hidden)?;
                scorer.forward(hidden, scores)?; // [n_users, n_item_rows]
                let users = users.iter().enumerate().map(|(row, (history, targets))| {
                    self.user_ndcg(scores.row_mut(row), *history, targets)
                });
                Ok(users.collect())
            })
            .collect::<Result<_, NnError>>()?;
        let users: Vec<f64> = tiles.into_iter().flatten().collect();
        Ok(users.iter().sum::<f64>() / users.len().max(1) as f64)
    }

    /// NDCG@10 of several ways to score, which share what `prepare` makes of a history in buffers `B`; `score` writes
    /// the scores of one of them, `[n_item_rows]`.
    pub(super) fn ndcg_of_variants<B: Send>(
        &self,
        n_variants: usize,
        n_item_rows: usize,
        buffers: impl Fn() -> B + Sync + Send,
        prepare: impl Fn(History<'_>, &mut B) + Sync + Send,
        score: impl Fn(usize, &mut B, &mut [f32]) + Sync + Send,
    ) -> Vec<f64> {
        let all = || (buffers(), vec![0.0; n_item_rows]);
        let users: Vec<Vec<f64>> = self
            .users
            .par_iter()
            .map_init(all, |(buffers, scores), (history, targets)| {
                prepare(*history, buffers);
                let of_variant = |variant| {
                    score(variant, buffers, scores);
                    self.user_ndcg(scores, *history, targets)
                };
                (0..n_variants).map(of_variant).collect()
            })
            .collect();
        let mean = |variant: usize| {
            users.iter().map(|user| user[variant]).sum::<f64>() / users.len().max(1) as f64
        };
        (0..n_variants).map(mean).collect()
    }

    fn user_ndcg(&self, scores: &mut [f32], history: History<'_>, targets: &[ItemIdx]) -> f64 {
        let mut targets = targets.to_vec();
        targets.sort_unstable();
        targets.dedup();
        scores[ItemIdx::UNKNOWN.row()] = f32::NEG_INFINITY;
        let of_targets: Vec<f32> = targets.iter().map(|target| scores[target.row()]).collect();
        self.seen.hidden(history).for_each(|item| scores[item.row()] = f32::NEG_INFINITY);
        // A target that lists leave out is a miss, as where the model is measured.
        let gain = |(target, score): (&ItemIdx, &f32)| {
            if scores[target.row()] == f32::NEG_INFINITY {
                return 0.0;
            }
            let greater = scores.iter().filter(|other| *other > score).count();
            let equal = scores.iter().filter(|other| *other == score).count();
            let others_equal = equal - usize::from(scores[target.row()] == *score);
            let rank = 1.0 + greater as f64 + others_equal as f64 / 2.0;
            if rank <= 10.0 { 1.0 / (rank + 1.0).log2() } else { 0.0 }
        };
        let ideal = (0..targets.len().min(10)).map(|place| 1.0 / (place as f64 + 2.0).log2());
        targets.iter().zip(&of_targets).map(gain).sum::<f64>() / ideal.sum::<f64>()
    }
}
