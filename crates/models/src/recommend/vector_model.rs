//! What the neural models share: a user's vector, an item's vector, and the score that is their product.

use std::fmt::Debug;
use std::num::NonZeroUsize;
use std::sync::OnceLock;

use forecart_data::{History, ItemIdx, SeenItems};
use forecart_nn::{Int8Table, Linear, Matrix, RowSearch, dot};
use rayon::prelude::*;
use serde_json::Value;

use super::contract::{Fallback, Reason, Recommender, ScoreScale, weightiest};
use super::leave_one_out::leave_one_out;
use super::popularity::ItemCounts;
use super::top_k::{Scored, TopK, best_of, top_k};
use crate::tensors::Tensors;

/// Users whose scores one thread computes at a time.
const TILE_USERS: usize = 32;
/// Lists of up to one in so many items are looked for among candidates; for longer ones every item is scored.
const ITEMS_A_CANDIDATE: usize = 16;

/// The items' vectors in bytes, made when the first list is asked for; it says which items need to be scored for a list.
#[derive(Debug, Clone, Default)]
pub(super) struct Screen(OnceLock<Option<Int8Table>>);

impl Screen {
    fn of(&self, vectors: &Matrix) -> Option<&Int8Table> {
        self.0.get_or_init(|| Int8Table::new(vectors)).as_ref()
    }
}

/// A fitted model that turns a history into a vector and scores items by their dot product with it; it is a
/// [`Recommender`] by that.
pub(super) trait VectorModel: Debug + Send + Sync {
    /// As [`Recommender::name`].
    fn name(&self) -> &'static str;

    /// As [`Recommender::hyperparameters`].
    fn hyperparameters(&self) -> Value;

    /// One row an item; columns past [`Self::n_dims`] are its bias.
    fn vectors(&self) -> &Matrix;

    /// The same in bytes.
    fn screen(&self) -> &Screen;

    /// Columns that say what an item is.
    fn n_dims(&self) -> usize;

    /// What answers a history that says nothing.
    fn counts(&self) -> &ItemCounts;

    /// Newest events that the model sees.
    fn max_history(&self) -> usize;

    /// The vector of a history of at most that many events, of which one at least is known; as long as a row.
    fn encode(&self, history: History<'_>) -> Vec<f32>;

    /// As [`Recommender::score_scale`].
    fn score_scale(&self) -> ScoreScale {
        ScoreScale::Logit
    }

    /// Whether the model has learned anything about an item.
    fn knows(&self, item: ItemIdx) -> bool {
        item.is_known() && item.row() < self.vectors().rows()
    }

    /// What each event of a history that the model sees adds to the score of a known item: its position, its item and its
    /// share. `None` where a score is no such sum; reasons leave events out then.
    fn contributions(
        &self,
        _history: History<'_>,
        _item: ItemIdx,
    ) -> Option<Vec<(usize, ItemIdx, f32)>> {
        None
    }

    /// As [`Recommender::tensors`].
    fn tensors(&self) -> Tensors;
}

fn is_known(model: &impl VectorModel, item: ItemIdx) -> bool {
    item.is_known() && item.row() < model.vectors().rows()
}

/// The items whose first `n_dims` columns of `vectors` have the largest cosine with those of `item`; where there is no such item, the
/// model's answer to a history of it.
pub(super) fn most_alike(
    model: &impl Recommender,
    vectors: &Matrix,
    n_dims: usize,
    item: ItemIdx,
    k: NonZeroUsize,
) -> Vec<Scored> {
    let history = [item];
    let request = TopK::new(k, SeenItems::Exclude);
    if !item.is_known() || item.row() >= vectors.rows() {
        return model.recommend(History::of(&history), &request);
    }
    let vector = |row: usize| &vectors.row(row)[..n_dims];
    let norm = |row: usize| dot(vector(row), vector(row)).sqrt().max(f32::MIN_POSITIVE);
    let cosine = |row: usize| dot(vector(item.row()), vector(row)) / norm(item.row()) / norm(row);
    let scores: Vec<f32> = (0..vectors.rows()).map(cosine).collect();
    top_k(&scores, History::of(&history), &request)
}

/// `None` where there is nothing to see.
fn user_vector(model: &impl VectorModel, history: History<'_>) -> Option<Vec<f32>> {
    let seen = history.newest(model.max_history());
    seen.items.iter().any(|item| model.knows(*item)).then(|| model.encode(seen))
}

/// The best of all items by their scores.
fn among_all(model: &impl Recommender, history: History<'_>, request: &TopK<'_>) -> Vec<Scored> {
    let mut scores = vec![0.0; model.n_item_rows()];
    model.score_all(history, &mut scores);
    top_k(&scores, history, request)
}

impl<M: VectorModel> Recommender for M {
    fn name(&self) -> &'static str {
        VectorModel::name(self)
    }

    fn hyperparameters(&self) -> Value {
        VectorModel::hyperparameters(self)
    }

    fn n_item_rows(&self) -> usize {
        self.vectors().rows()
    }

    fn score_scale(&self) -> ScoreScale {
        VectorModel::score_scale(self)
    }

    fn score_all(&self, history: History<'_>, scores: &mut [f32]) {
        assert_eq!(scores.len(), self.n_item_rows(), "one score for each item row");
        let Some(user) = user_vector(self, history) else {
            return self.counts().score_all(scores);
        };
        self.vectors().dot_rows(&user, scores);
        scores[ItemIdx::UNKNOWN.row()] = 0.0;
    }

    fn score(&self, history: History<'_>, candidates: &[ItemIdx]) -> Vec<f32> {
        let user = user_vector(self, history);
        let score = |item: &ItemIdx| match &user {
            _ if !is_known(self, *item) => 0.0,
            Some(user) => dot(user, self.vectors().row(item.row())),
            None => self.counts().get(*item),
        };
        candidates.iter().map(score).collect()
    }

    fn fallback(&self, history: History<'_>) -> Option<Fallback> {
        let seen = history.newest(self.max_history());
        Fallback::unless(|| seen.items.iter().any(|item| self.knows(*item)), history)
    }

    fn recommend(&self, history: History<'_>, request: &TopK<'_>) -> Vec<Scored> {
        self.recommend_together(&[(history, *request)]).pop().expect("a list for each request")
    }

    /// Only items that the `Screen` does not leave out are scored.
    fn recommend_together(&self, requests: &[(History<'_>, TopK<'_>)]) -> Vec<Vec<Scored>> {
        let vectors = self.vectors();
        // Of each request that is answered by few items: the user's vector, and the rows that are left out.
        let mut users = Vec::new();
        for (history, request) in requests {
            let is_short = request.k.get() <= vectors.rows() / ITEMS_A_CANDIDATE;
            let user = if is_short { user_vector(self, *history) } else { None };
            users.push(user.map(|user| {
                let left_out = request.left_out(*history);
                // Row 0, the unknown item, is never in a list.
                let known = left_out.iter().map(|item| item.0).filter(|row| *row > 0);
                (user, std::iter::once(0).chain(known).collect::<Vec<u32>>())
            }));
        }
        let searches: Vec<RowSearch<'_>> = requests
            .iter()
            .zip(&users)
            .filter_map(|((_, request), user)| {
                let (query, skip) = user.as_ref()?;
                Some(RowSearch { query, k: request.k.get(), skip })
            })
            .collect();
        // The table in bytes is made for a search, and for nothing less.
        let screen = if searches.is_empty() { None } else { self.screen().of(vectors) };
        let candidates = match screen {
            Some(screen) => screen.candidates(&searches),
            None => vec![None; searches.len()],
        };
        let mut candidates = candidates.into_iter();
        let mut lists = Vec::with_capacity(requests.len());
        for ((history, request), user) in requests.iter().zip(&users) {
            let found = user.as_ref().and_then(|(user, _)| Some((user, candidates.next()??)));
            lists.push(match found {
                Some((user, rows)) => {
                    vectors.prefetch_rows(rows.iter().map(|row| *row as usize));
                    let score = |row: u32| Scored {
                        item: ItemIdx(row),
                        score: dot(user, vectors.row(row as usize)),
                    };
                    best_of(rows.into_iter().map(score).collect(), request.k)
                }
                None => among_all(self, *history, request),
            });
        }
        lists
    }

    fn warm(&self) {
        self.screen().of(self.vectors());
    }

    /// In tiles of users, whose scores are one product of matrices.
    fn recommend_all(&self, histories: &[History<'_>], request: &TopK<'_>) -> Vec<Vec<Scored>> {
        let scorer = Linear::from_parts(self.vectors().clone(), None)
            .expect("there is no bias that could not fit");
        let buffers = || (Matrix::default(), Matrix::default());
        let tiles = histories.par_chunks(TILE_USERS).map_init(buffers, |(users, scores), tile| {
            let vectors: Vec<_> = tile.iter().map(|history| user_vector(self, *history)).collect();
            users.reset(tile.len(), self.vectors().cols());
            for (row, vector) in vectors.iter().enumerate() {
                if let Some(vector) = vector {
                    users.row_mut(row).copy_from_slice(vector);
                }
            }
            scorer.forward(users, scores).expect("users have the columns of items");
            let lists =
                tile.iter().zip(&vectors).enumerate().map(
                    |(row, (history, vector))| match vector {
                        Some(_) => top_k(scores.row(row), *history, request),
                        None => self.recommend(*history, request),
                    },
                );
            lists.collect::<Vec<_>>()
        });
        tiles.flatten_iter().collect()
    }

    /// By the cosine of the items' vectors, without their biases.
    fn similar(&self, item: ItemIdx, k: NonZeroUsize) -> Vec<Scored> {
        most_alike(self, self.vectors(), self.n_dims(), item, k)
    }

    /// The events' contributions, where the score is their sum; else leave one out: what the score of `item` loses without each known item that the model sees, at its newest event.
    /// Items that speak against it have a negative contribution.
    fn reasons(&self, history: History<'_>, item: ItemIdx, n: usize) -> Vec<Reason> {
        if !is_known(self, item) {
            return Vec::new();
        }
        if Recommender::fallback(self, history).is_some() {
            return self.counts().reason(item, None).into_iter().take(n).collect();
        }
        let seen = history.newest(self.max_history());
        if let Some(mut shares) = self.contributions(seen, item) {
            let first = history.items.len() - seen.items.len();
            shares.iter_mut().for_each(|(position, ..)| *position += first);
            return weightiest(shares, n);
        }
        let row = self.vectors().row(item.row());
        // Without any event nothing is left of the score but the item's bias.
        let bias: f32 = row[self.n_dims()..].iter().sum();
        let score =
            |rest: History<'_>| user_vector(self, rest).map_or(bias, |user| dot(&user, row));
        leave_one_out(history, seen, |item| is_known(self, item), score, n)
    }

    fn tensors(&self) -> Tensors {
        VectorModel::tensors(self)
    }
}
