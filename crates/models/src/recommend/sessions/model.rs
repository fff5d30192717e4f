//! A fitted session model.

use forecart_data::{History, ItemIdx};
use serde_json::Value;

use super::super::contract::{Fallback, ModelSpec, Reason, Recommender, weightiest};
use super::super::popularity::ItemCounts;
use super::super::top_k::{Scored, TopK};
use super::log::SessionLog;
use super::spec::{SessionKeys, SessionSpec};
use crate::error::ModelError;
use crate::tensors::Tensors;

/// The sessions of the training part and where each item occurs in them.
#[derive(Debug)]
pub struct SessionNeighbors<K> {
    pub(super) keys: K,
    pub(super) log: SessionLog,
    pub(super) counts: ItemCounts,
}

#[expect(private_bounds, reason = "what a model of this kind is made of is nobody else's business")]
impl<K: SessionKeys> SessionNeighbors<K> {
    /// Reads what [`Recommender::tensors`] gave.
    pub(in crate::recommend) fn load(
        spec: SessionSpec<K>,
        tensors: &mut Tensors,
        n_item_rows: usize,
    ) -> Result<Self, ModelError> {
        let log = SessionLog::load(tensors, n_item_rows)?;
        Ok(Self { keys: spec.0, log, counts: ItemCounts::load(tensors, n_item_rows)? })
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
        Fallback::unless(|| !self.current(history).is_empty(), history)
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
    use super::super::{Stan, StanConfig, StanKeys, VsknnKeys, VstanKeys};
    use super::*;
    use crate::TensorData;
    use crate::recommend::{FitOn, TrainingView};
    use crate::testing::{Log, assert_close, dataset, one_thread, total_contribution};

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

    /// The current session 1 2 3: weights 1/3, 2/3 and 1. Of 1 3 4 the similarity is 4/3 and the newest shared item is
    /// the newest; of 5 2 it is 2/3, and one step back counts 1/2. A session of one item says nothing.
    #[test]
    fn v_sknn_by_hand() {
        let log: [(i64, &[u32]); 3] = [(1, &[1, 3, 4]), (2, &[5, 2, 5, 2]), (3, &[3])];
        let model = fit(VsknnKeys::default(), &log);
        let (first, second) = (4.0 / 3.0, 2.0 / 3.0 / 2.0);
        assert_close(
            &scores(model.as_ref(), &[1, 2, 3], 9),
            &[0.0, first, second, first, first, second, 0.0],
        );
        let keys = VsknnKeys { remind: false, idf_weight: 2.0, ..VsknnKeys::default() };
        let rare = 1.0 + 2.0 * 2.0_f64.ln();
        assert_close(
            &scores(fit(keys, &log).as_ref(), &[1, 2, 3], 9),
            &[0.0, 0.0, 0.0, 0.0, first * rare, second * rare, 0.0],
        );
    }

    #[test]
    fn only_the_newest_are_compared_and_only_the_nearest_speak() {
        let log: [(i64, &[u32]); 3] = [(3, &[1, 2, 3]), (1, &[1, 2, 4]), (2, &[1, 5])];
        let one = std::num::NonZeroU32::MIN;
        let newest = VsknnKeys { n_recent: one, ..VsknnKeys::default() };
        assert_close(
            &scores(fit(newest, &log).as_ref(), &[2, 1], 9),
            &[0.0, 1.5, 1.5, 1.5, 0.0, 0.0, 0.0],
        );
        // Both sessions with 2 are as similar: the newer one.
        let nearest = VsknnKeys { n_neighbors: one, ..VsknnKeys::default() };
        assert_close(
            &scores(fit(nearest, &log).as_ref(), &[2, 1], 9),
            &[0.0, 1.5, 1.5, 1.5, 0.0, 0.0, 0.0],
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
        assert_close(&scores(fit(keys, &log).as_ref(), &[1, 2], 4), &want);
        // A year later all are older by the same.
        assert_close(&scores(fit(keys, &log).as_ref(), &[1, 2], 400), &want);

        let keys = VstanKeys { stan: keys, lambda_ipw: 3.0, idf_weight: 1.0 };
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
        assert_close(&scores(fit(keys, &log).as_ref(), &[2, 6], 4), &want);
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

    /// 600 items that no session has, and then one that counts `exp(-600)`, whose square is 0 in f64.
    #[test]
    fn an_item_of_almost_no_weight_gives_no_infinite_scores() {
        let keys = StanKeys {
            lambda_spw: 1.0,
            max_history: std::num::NonZeroU32::new(1000).unwrap(),
            ..StanKeys::default()
        };
        let items = [&[1][..], &[6; 600]].concat();
        let scores = scores(fit(keys, &[(1, &[1, 2])]).as_ref(), &items, 2);
        assert_eq!(scores, [0.0; 7]);
    }

    #[test]
    fn contributions_sum_to_the_score() {
        let log: [(i64, &[u32]); 3] = [(1, &[1, 2, 4]), (2, &[2, 4]), (3, &[1, 5])];
        let model = fit(VstanKeys::default(), &log);
        let (items, times) = ([2, 1, 2].map(ItemIdx), [3 * DAY; 3]);
        let history = History { timestamps_ms: &times, ..History::of(&items) };
        let reasons = model.reasons(history, ItemIdx(4), 9);
        let total = total_contribution(&reasons);
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
