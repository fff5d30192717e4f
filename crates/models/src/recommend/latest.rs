//! The newest items.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::contract::Reason;
use super::ranking::{ItemAges, Ranking, RankingKeys, RankingSpec};
use super::search_space::Parameter;
use crate::error::ModelError;

/// The newest items first, with its hyperparameters.
///
/// The score of an item is `1 / (1 + days)` with the days from its first event to the newest event of the log: what came
/// last is first. An item without an event has the score 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LatestKeys {
    /// Events that an item must have. 1: an item is not to wait for others to choose it.
    pub min_events: NonZeroU32,
}

impl Default for LatestKeys {
    fn default() -> Self {
        Self { min_events: NonZeroU32::MIN }
    }
}

/// The newest items with their hyperparameters.
pub type LatestConfig = RankingSpec<LatestKeys>;

/// The newest items.
pub type Latest = Ranking<LatestKeys>;

impl RankingKeys for LatestKeys {
    const NAME: &'static str = "latest";
    const SEARCH_SPACE: &'static [Parameter] = &[Parameter::log_int("min_events", 1, 50)];

    fn check(&self) -> Result<(), ModelError> {
        Ok(())
    }

    fn score(&self, ages: &ItemAges) -> Vec<f32> {
        let score = |days: &[f64]| {
            if days.len() < self.min_events.get() as usize {
                return 0.0;
            }
            (1.0 / (1.0 + days.iter().copied().fold(0.0, f64::max))) as f32
        };
        ages.of_items().map(score).collect()
    }

    fn reason(&self, score: f32, rank: usize) -> Reason {
        Reason::New { days: 1.0 / score - 1.0, rank }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommend::{FitOn, ModelSpec, TrainingView};
    use crate::testing::{Log, dataset, one_thread};
    use forecart_data::{History, ItemIdx};

    const DAY: i64 = 24 * 60 * 60 * 1000;

    #[test]
    fn the_item_whose_first_event_is_newest_comes_first() {
        let users: [&[(u32, i64)]; 2] = [&[(1, DAY), (2, 2 * DAY), (1, 9 * DAY)], &[(3, 6 * DAY)]];
        let (_folder, dataset) = dataset(&Log::with_times(4, &users).all_for_training());
        let view = TrainingView::new(&dataset, FitOn::Train);
        let model = LatestConfig::default().fit(&view, &one_thread()).unwrap().model;
        let mut scores = vec![7.0; 5];
        model.score_all(History::default(), &mut scores);
        assert_eq!(scores, [0.0, 1.0 / 9.0, 1.0 / 8.0, 0.25, 0.0]);
        let reasons = model.reasons(History::default(), ItemIdx(3), 1);
        assert_eq!(reasons, [Reason::New { days: 3.0, rank: 1 }]);
        let twice = RankingSpec(LatestKeys { min_events: NonZeroU32::new(2).unwrap() });
        let model = twice.fit(&view, &one_thread()).unwrap().model;
        model.score_all(History::default(), &mut scores);
        assert_eq!(scores, [0.0, 1.0 / 9.0, 0.0, 0.0, 0.0]);
    }
}
