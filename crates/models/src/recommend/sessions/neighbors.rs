//! The sessions like the current one, and what they bring.

use std::cmp::Reverse;

use forecart_data::{History, ItemIdx};

use super::model::SessionNeighbors;
use super::spec::SessionKeys;

const DAY_MS: f64 = 24.0 * 60.0 * 60.0 * 1000.0;

/// A distinct known item of the current session.
#[derive(Debug, Clone, Copy)]
pub(super) struct CurrentItem {
    pub(super) item: ItemIdx,
    /// Its newest position in the history.
    pub(super) position: usize,
    /// How many events before the end, 0 the newest.
    pub(super) steps: usize,
    pub(super) weight: f64,
}

/// A session of the log that is like the current one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Neighbor {
    pub(super) session: u32,
    /// Similarity, with what its age leaves of it.
    pub(super) similarity: f64,
    /// Sum of the weights of what is shared.
    pub(super) shared_weight: f64,
    /// Places of the shared items among those of the current session, the newest first.
    pub(super) shared: Vec<u32>,
}

#[expect(private_bounds, reason = "what a model of this kind is made of is nobody else's business")]
impl<K: SessionKeys> SessionNeighbors<K> {
    /// The distinct items of the current session that some session of the log has, the newest first.
    pub(super) fn current(&self, history: History<'_>) -> Vec<CurrentItem> {
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
    pub(super) fn neighbors(&self, current: &[CurrentItem], history: History<'_>) -> Vec<Neighbor> {
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
            // Weights whose squares are too small for a number have no norm: nothing is known of such sessions.
            .filter(|neighbor| neighbor.similarity > 0.0 && neighbor.similarity.is_finite())
            .collect();
        neighbors.sort_unstable_by(|a, b| {
            b.similarity.total_cmp(&a.similarity).then(b.session.cmp(&a.session))
        });
        neighbors.truncate(rules.n_neighbors);
        neighbors
    }

    /// Calls `take(item, weight)` for what a neighbor brings.
    pub(super) fn each_vote(
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
