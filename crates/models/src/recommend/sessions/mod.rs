//! Session neighbors: what happened in sessions like the current one.
//!
//! V-SKNN, STAN and VSTAN are one code with other weights; start at [`VsknnConfig`], [`StanConfig`] and
//! [`VstanConfig`], which give the formulas. A session of training is a session of the dataset; where nothing divides a
//! user's events (a log without times), all of them are one session. The current session is the newest `max_history`
//! events of the history.
//!
//! A session is the order of its distinct items, each at its newest event: what is clicked again and again is one item of
//! it. Sessions of one item say nothing of others and are left out.

mod keys;
mod log;

use std::cmp::Reverse;
use std::fmt::Debug;

use forecart_data::{History, ItemIdx};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::contract::{
    Fallback, FitContext, FitRecord, Fitted, ModelSpec, Reason, Recommender, weightiest,
};
use super::popularity::ItemCounts;
use super::top_k::{Scored, TopK};
use super::view::TrainingView;
use crate::error::ModelError;
use crate::tensors::Tensors;

pub use keys::{PositionDecay, StanKeys, VsknnKeys, VstanKeys};

use log::SessionLog;

const DAY_MS: f64 = 24.0 * 60.0 * 60.0 * 1000.0;

/// What decides about the neighbors of a session and what they bring.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// Newest events of the history that are the current session.
    max_history: usize,
    /// Newest sessions that share an item with the current one: these are compared.
    n_recent: usize,
    /// The most similar of them: these speak.
    n_neighbors: usize,
    /// Whether the norms of both sessions divide the similarity.
    is_cosine: bool,
    /// `exp(-days / it)` for a session that ended so many days ago.
    days: Option<f64>,
    /// `exp(-distance / it)` for an event so far from the newest shared item in the neighbor.
    neighbor_distance: Option<f64>,
    /// An item of a neighbor counts `1 + it · idf`.
    idf: f64,
    /// Whether items of the current session are scored.
    remind: bool,
}

/// Hyperparameters of a session model.
pub(super) trait SessionKeys: Debug + Copy + Serialize + Send + Sync + 'static {
    /// As [`ModelSpec::name`].
    const NAME: &'static str;

    /// What decides, but for the two weights below.
    fn rules(&self) -> Rules;

    /// The names of those that must be above 0, with their values.
    fn positive(&self) -> Vec<(&'static str, f64)>;

    /// The weight of an item of the current session, `steps` events before its end, of `length` events.
    fn of_current(&self, steps: usize, length: usize) -> f64;

    /// The weight of a neighbor whose newest shared item is `steps` events before the end of the current session.
    fn of_match(&self, steps: usize) -> f64;
}

/// A session model with its hyperparameters.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionSpec<K>(pub K);

/// V-SKNN with its hyperparameters.
pub type VsknnConfig = SessionSpec<VsknnKeys>;

/// STAN with its hyperparameters.
pub type StanConfig = SessionSpec<StanKeys>;

/// VSTAN with its hyperparameters.
pub type VstanConfig = SessionSpec<VstanKeys>;

/// The sessions of the training part and where each item occurs in them.
#[derive(Debug)]
pub struct SessionNeighbors<K> {
    keys: K,
    log: SessionLog,
    counts: ItemCounts,
}

/// V-SKNN.
pub type Vsknn = SessionNeighbors<VsknnKeys>;

/// STAN.
pub type Stan = SessionNeighbors<StanKeys>;

/// VSTAN.
pub type Vstan = SessionNeighbors<VstanKeys>;

/// A distinct known item of the current session.
#[derive(Debug, Clone, Copy)]
struct CurrentItem {
    item: ItemIdx,
    /// Its newest position in the history.
    position: usize,
    /// How many events before the end, 0 the newest.
    steps: usize,
    weight: f64,
}

/// A session of the log that is like the current one.
#[derive(Debug, Clone, PartialEq)]
struct Neighbor {
    session: u32,
    /// Similarity, with what its age leaves of it.
    similarity: f64,
    /// Sum of the weights of what is shared.
    shared_weight: f64,
    /// Places of the shared items among those of the current session, the newest first.
    shared: Vec<u32>,
}

#[expect(private_bounds, reason = "what a model of this kind is made of is nobody else's business")]
impl<K: SessionKeys> SessionSpec<K> {
    /// Refuses values outside of their ranges.
    pub(super) fn check(&self) -> Result<(), ModelError> {
        let refuse =
            |key: &str, reason: String| Err(ModelError::hyperparameter(K::NAME, key, reason));
        for (key, value) in self.0.positive() {
            if !(value > 0.0 && value.is_finite()) {
                return refuse(key, format!("{value} is not a positive number"));
            }
        }
        let idf = self.0.rules().idf;
        if !(idf >= 0.0 && idf.is_finite()) {
            return refuse("idf_weight", format!("{idf} is not a number from 0 up"));
        }
        Ok(())
    }
}

impl<K: SessionKeys> ModelSpec for SessionSpec<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn hyperparameters(&self) -> Value {
        serde_json::to_value(self.0).expect("numbers and names in a struct are JSON")
    }

    fn uses_seed(&self) -> bool {
        false
    }

    fn needed_bytes(&self, view: &TrainingView<'_>) -> u64 {
        SessionLog::needed_bytes(view)
    }

    fn fit(&self, view: &TrainingView<'_>, context: &FitContext<'_>) -> Result<Fitted, ModelError> {
        self.check()?;
        context.check_memory(K::NAME, self.needed_bytes(view), "keep fewer events")?;
        let counts = ItemCounts::of(view, K::NAME)?;
        context.progress.begin("sessions", Some(view.users().count() as u64));
        let log = SessionLog::of(view, context)?;
        Ok(Fitted::counted(SessionNeighbors { keys: self.0, log, counts }))
    }

    fn for_refit(&self, _: &FitRecord) -> Box<dyn ModelSpec> {
        Box::new(*self)
    }
}

#[expect(private_bounds, reason = "what a model of this kind is made of is nobody else's business")]
impl<K: SessionKeys> SessionNeighbors<K> {
    /// Reads what [`Recommender::tensors`] gave.
    pub(super) fn load(
        spec: SessionSpec<K>,
        tensors: &mut Tensors,
        n_item_rows: usize,
    ) -> Result<Self, ModelError> {
        let log = SessionLog::load(tensors, n_item_rows)?;
        Ok(Self { keys: spec.0, log, counts: ItemCounts::load(tensors, n_item_rows)? })
    }

    /// The distinct items of the current session that some session of the log has, the newest first.
    fn current(&self, history: History<'_>) -> Vec<CurrentItem> {
        let session = history.newest(self.keys.rules().max_history).items;
        let first = history.items.len() - session.len();
        let mut current: Vec<CurrentItem> = Vec::with_capacity(session.len());
        for (steps, item) in session.iter().rev().enumerate() {
            let is_repeat = current.iter().any(|other| other.item == *item);
            if !self.log.sessions_of(*item).is_empty() && !is_repeat {
                let position = first + session.len() - 1 - steps;
                let weight = self.keys.of_current(steps, session.len());
                current.push(CurrentItem { item: *item, position, steps, weight });
            }
        }
        current
    }

    /// The most similar of the newest sessions that share an item with `current`; of equal ones the newer.
    fn neighbors(&self, current: &[CurrentItem], history: History<'_>) -> Vec<Neighbor> {
        let rules = self.keys.rules();
        // Who is among the newest that share anything is among the newest of each item that it shares.
        let mut shared: Vec<(Reverse<u32>, u32)> = Vec::new();
        for (place, item) in (0..).zip(current) {
            let newest = self.log.sessions_of(item.item).iter().rev().take(rules.n_recent);
            shared.extend(newest.map(|session| (Reverse(*session), place)));
        }
        shared.sort_unstable();
        let norm: f64 = current.iter().map(|item| item.weight * item.weight).sum::<f64>().sqrt();
        let newest = shared.first().map(|(Reverse(session), _)| *session);
        let newest_ms = newest.and_then(|session| self.log.ended_ms(session));
        // From the newest of them where that ended before now: a factor that all share, which would make an old model's
        // votes vanish. A session that ended later is as good as one that ends now.
        let now_ms = history.timestamps_ms.last().copied().min(newest_ms).or(newest_ms);
        let mut neighbors: Vec<Neighbor> = shared
            .chunk_by(|a, b| a.0 == b.0)
            .take(rules.n_recent)
            .map(|shared| {
                let Reverse(session) = shared[0].0;
                let shared: Vec<u32> = shared.iter().map(|(_, place)| *place).collect();
                let weights = shared.iter().map(|place| current[*place as usize].weight);
                let shared_weight: f64 = weights.sum();
                let mut similarity = shared_weight;
                if rules.is_cosine {
                    let n_items = self.log.items(session).len() as f64;
                    similarity /= norm * n_items.sqrt();
                }
                if let (Some(scale), Some(now), Some(then)) =
                    (rules.days, now_ms, self.log.ended_ms(session))
                {
                    let age_ms = now.saturating_sub(then).max(0);
                    similarity *= (-(age_ms as f64) / (DAY_MS * scale)).exp();
                }
                Neighbor { session, similarity, shared_weight, shared }
            })
            .filter(|neighbor| neighbor.similarity > 0.0)
            .collect();
        neighbors.sort_unstable_by(|a, b| {
            b.similarity.total_cmp(&a.similarity).then(b.session.cmp(&a.session))
        });
        neighbors.truncate(rules.n_neighbors);
        neighbors
    }

    /// Calls `take(item, weight)` for what a neighbor brings.
    fn each_vote(
        &self,
        neighbor: &Neighbor,
        current: &[CurrentItem],
        mut take: impl FnMut(ItemIdx, f64),
    ) {
        let rules = self.keys.rules();
        let items = self.log.items(neighbor.session);
        let newest = current[neighbor.shared[0] as usize];
        let weight = neighbor.similarity * self.keys.of_match(newest.steps);
        let matched = items.iter().position(|item| *item == newest.item.0).unwrap_or(0);
        for (place, item) in items.iter().enumerate() {
            let item = ItemIdx(*item);
            if !rules.remind && current.iter().any(|own| own.item == item) {
                continue;
            }
            let mut vote = weight;
            if let Some(scale) = rules.neighbor_distance {
                vote *= (-(place.abs_diff(matched) as f64) / scale).exp();
            }
            if rules.idf > 0.0 {
                vote *= 1.0 + rules.idf * self.log.idf(item);
            }
            take(item, vote);
        }
    }
}

impl<K: SessionKeys> Recommender for SessionNeighbors<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn hyperparameters(&self) -> Value {
        SessionSpec(self.keys).hyperparameters()
    }

    fn n_item_rows(&self) -> usize {
        self.counts.n_item_rows()
    }

    fn score_all(&self, history: History<'_>, scores: &mut [f32]) {
        assert_eq!(scores.len(), self.n_item_rows(), "one score for each item row");
        let current = self.current(history);
        if current.is_empty() {
            return self.counts.score_all(scores);
        }
        scores.fill(0.0);
        for neighbor in self.neighbors(&current, history) {
            self.each_vote(&neighbor, &current, |item, vote| scores[item.row()] += vote as f32);
        }
    }

    fn fallback(&self, history: History<'_>) -> Option<Fallback> {
        if history.items.is_empty() {
            return Some(Fallback::NoHistory);
        }
        self.current(history).is_empty().then_some(Fallback::NothingKnown)
    }

    fn recommend(&self, history: History<'_>, request: &TopK<'_>) -> Vec<Scored> {
        let mut scores = vec![0.0; self.n_item_rows()];
        self.score_all(history, &mut scores);
        self.counts.top_k_filled(&scores, history, request)
    }

    /// What each item of the current session has of the votes: a neighbor's vote goes to what it shares, by weight.
    fn reasons(&self, history: History<'_>, item: ItemIdx, n: usize) -> Vec<Reason> {
        if !item.is_known() || item.row() >= self.n_item_rows() {
            return Vec::new();
        }
        let current = self.current(history);
        if current.is_empty() {
            return self.counts.reason(item, None).into_iter().take(n).collect();
        }
        let mut brought = vec![0.0_f64; current.len()];
        for neighbor in self.neighbors(&current, history) {
            self.each_vote(&neighbor, &current, |voted, vote| {
                if voted == item {
                    for place in &neighbor.shared {
                        let place = *place as usize;
                        brought[place] += vote * current[place].weight / neighbor.shared_weight;
                    }
                }
            });
        }
        let because = current.iter().zip(brought);
        let because = because.map(|(own, sum)| (own.position, own.item, sum as f32));
        weightiest(because.collect(), n)
    }

    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        self.log.save(&mut tensors);
        self.counts.save(&mut tensors);
        tensors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TensorData;
    use crate::recommend::FitOn;
    use crate::testing::{Log, dataset, one_thread};

    const DAY: i64 = 24 * 60 * 60 * 1000;

    /// Sessions, each of a user of its own, by the day on which they end.
    fn fit<K: SessionKeys>(keys: K, sessions: &[(i64, &[u32])]) -> Box<dyn Recommender> {
        let users: Vec<Vec<(u32, i64)>> = sessions
            .iter()
            .map(|(day, items)| items.iter().map(|item| (*item, day * DAY)).collect())
            .collect();
        let users: Vec<&[(u32, i64)]> = users.iter().map(Vec::as_slice).collect();
        let (_folder, dataset) = dataset(&Log::with_times(6, &users).all_for_training());
        let view = TrainingView::new(&dataset, FitOn::Train);
        SessionSpec(keys).fit(&view, &one_thread()).unwrap().model
    }

    fn scores(model: &dyn Recommender, items: &[u32], day: i64) -> Vec<f32> {
        let times = vec![day * DAY; items.len()];
        let items: Vec<ItemIdx> = items.iter().copied().map(ItemIdx).collect();
        let mut scores = vec![7.0; model.n_item_rows()];
        model.score_all(History { timestamps_ms: &times, ..History::of(&items) }, &mut scores);
        scores
    }

    fn assert_close(got: &[f32], want: [f64; 7]) {
        for (got, want) in got.iter().zip(want) {
            // f32 sums of a few terms near 1.
            assert!((f64::from(*got) - want).abs() < 1e-6, "{got:?} {want:?}");
        }
    }

    /// The current session 1 2 3: weights 1/3, 2/3 and 1. Of 1 3 4 the similarity is 4/3 and the newest shared item is
    /// the newest; of 5 2 it is 2/3, and one step back counts 1/2. A session of one item says nothing.
    #[test]
    fn v_sknn_by_hand() {
        let log: [(i64, &[u32]); 3] = [(1, &[1, 3, 4]), (2, &[5, 2, 5, 2]), (3, &[3])];
        let model = fit(VsknnKeys::default(), &log);
        let (first, second) = (4.0 / 3.0, 2.0 / 3.0 / 2.0);
        assert_close(
            &scores(model.as_ref(), &[1, 2, 3], 9),
            [0.0, first, second, first, first, second, 0.0],
        );
        let keys = VsknnKeys { remind: false, idf_weight: 2.0, ..VsknnKeys::default() };
        let rare = 1.0 + 2.0 * 2.0_f64.ln();
        assert_close(
            &scores(fit(keys, &log).as_ref(), &[1, 2, 3], 9),
            [0.0, 0.0, 0.0, 0.0, first * rare, second * rare, 0.0],
        );
    }

    #[test]
    fn only_the_newest_are_compared_and_only_the_nearest_speak() {
        let log: [(i64, &[u32]); 3] = [(3, &[1, 2, 3]), (1, &[1, 2, 4]), (2, &[1, 5])];
        let one = std::num::NonZeroU32::MIN;
        let newest = VsknnKeys { n_recent: one, ..VsknnKeys::default() };
        assert_close(
            &scores(fit(newest, &log).as_ref(), &[2, 1], 9),
            [0.0, 1.5, 1.5, 1.5, 0.0, 0.0, 0.0],
        );
        // Both sessions with 2 are as similar: the newer one.
        let nearest = VsknnKeys { n_neighbors: one, ..VsknnKeys::default() };
        assert_close(
            &scores(fit(nearest, &log).as_ref(), &[2, 1], 9),
            [0.0, 1.5, 1.5, 1.5, 0.0, 0.0, 0.0],
        );
    }

    /// Current session 1 2 on day 4. Of 2 3 1 (day 4), as its distinct items at their newest events; of 2 4 (day 2).
    #[test]
    fn stan_and_vstan_by_hand() {
        let log: [(i64, &[u32]); 2] = [(4, &[1, 2, 3, 1]), (2, &[2, 4])];
        let keys =
            StanKeys { lambda_spw: 1.0, lambda_snh: 2.0, lambda_inh: 4.0, ..StanKeys::default() };
        let back = (-1.0_f64).exp();
        let norm = (1.0 + back * back).sqrt();
        let first = (1.0 + back) / (norm * 3.0_f64.sqrt());
        let second = 1.0 / (norm * 2.0_f64.sqrt()) * (-1.0_f64).exp();
        let away = |places: f64| (-places / 4.0).exp();
        let want = [
            0.0,
            first * away(2.0),
            first + second,
            first * away(1.0),
            second * away(1.0),
            0.0,
            0.0,
        ];
        assert_close(&scores(fit(keys, &log).as_ref(), &[1, 2], 4), want);
        // A year later all are older by the same.
        assert_close(&scores(fit(keys, &log).as_ref(), &[1, 2], 400), want);

        let keys = VstanKeys {
            lambda_spw: 1.0,
            lambda_snh: 2.0,
            lambda_inh: 4.0,
            lambda_ipw: 3.0,
            idf_weight: 1.0,
            ..VstanKeys::default()
        };
        // 2, which both have, is one step back: of the other item nothing is known.
        let step = (-1.0_f64 / 3.0).exp();
        let (of_first, of_second) = (
            back / ((back * back).sqrt() * 3.0_f64.sqrt()) * step,
            back / ((back * back).sqrt() * 2.0_f64.sqrt()) * (-1.0_f64).exp() * step,
        );
        let rare = 1.0 + 2.0_f64.ln();
        let want = [
            0.0,
            of_first * away(2.0) * rare,
            of_first + of_second,
            of_first * away(1.0) * rare,
            of_second * away(1.0) * rare,
            0.0,
            0.0,
        ];
        assert_close(&scores(fit(keys, &log).as_ref(), &[2, 6], 4), want);
    }

    /// Without times a session is as new as its user's row; what is in another session of the user says nothing.
    #[test]
    fn sessions_of_a_user_are_apart_and_need_no_times() {
        let log = Log::new(6, &[&[1, 2, 3, 4], &[1, 5]]).in_sessions_of(2);
        let (_folder, dataset) = dataset(&log);
        let view = TrainingView::new(&dataset, FitOn::TrainValidation);
        let model = StanConfig::default().fit(&view, &one_thread()).unwrap().model;
        let mut scores = vec![7.0; 7];
        model.score_all(History::of(&[ItemIdx(1)]), &mut scores);
        assert!(scores[2] > 0.0 && scores[5] == scores[2], "{scores:?}");
        assert_eq!((scores[3], scores[4]), (0.0, 0.0));
    }

    #[test]
    fn contributions_sum_to_the_score() {
        let log: [(i64, &[u32]); 3] = [(1, &[1, 2, 4]), (2, &[2, 4]), (3, &[1, 5])];
        let model = fit(VstanKeys::default(), &log);
        let (items, times) = ([2, 1, 2].map(ItemIdx), [3 * DAY; 3]);
        let history = History { timestamps_ms: &times, ..History::of(&items) };
        let reasons = model.reasons(history, ItemIdx(4), 9);
        let total: f32 = reasons
            .iter()
            .map(|reason| match reason {
                Reason::Event { contribution, .. } => *contribution,
                other => panic!("the session speaks: {other:?}"),
            })
            .sum();
        let score = scores(model.as_ref(), &[2, 1, 2], 3)[4];
        assert!(score > 0.0 && (total - score).abs() < 1e-6 * score, "{total} {score}");
        assert!(matches!(reasons[0], Reason::Event { position: 2, item: ItemIdx(2), .. }));
        assert_eq!(reasons.len(), 2);
    }

    #[test]
    fn damaged_sessions_are_refused() {
        let model = fit(StanKeys::default(), &[(1, &[1, 2]), (2, &[3, 4])]);
        let load = |name: &str, data: TensorData| {
            let mut tensors = model.tensors();
            tensors.insert(name, data);
            Stan::load(StanConfig::default(), &mut tensors, 7)
        };
        assert!(load("session_items", TensorData::U32(vec![6, 1, 2, 3])).is_ok());
        for items in [vec![1, 1, 3, 4], vec![0, 1, 3, 4], vec![1, 7, 3, 4], vec![1, 2, 3]] {
            let error = load("session_items", TensorData::U32(items)).unwrap_err();
            assert!(matches!(error, ModelError::Damaged { .. }), "{error}");
        }
        for offsets in [vec![], vec![0, 5, 4], vec![0, 2], vec![1, 2, 4]] {
            let error = load("session_offsets", TensorData::U64(offsets)).unwrap_err();
            assert!(matches!(error, ModelError::Damaged { .. }), "{error}");
        }
        for ended in [vec![2, 1], vec![1], vec![1, 2, 3]] {
            let error = load("session_ended_ms", TensorData::U64(ended)).unwrap_err();
            assert!(matches!(error, ModelError::Damaged { .. }), "{error}");
        }
    }
}
