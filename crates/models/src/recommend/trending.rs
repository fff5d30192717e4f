//! What is chosen more often now than before.

use serde::{Deserialize, Serialize};

use super::contract::Reason;
use super::ranking::{ItemAges, Ranking, RankingKeys, RankingSpec};
use super::search_space::Parameter;
use crate::error::ModelError;

/// Trending items, with their hyperparameters.
///
/// The rate of an item with half-life `h` is the number of its events a day, recent ones counting more:
/// `ln 2 / h · Σ 0.5^(age / h) / (1 - 0.5^(span / h))`, ages back from the newest event of the log, which covers `span`
/// days. The score is `(short rate + p) / (long rate + p)` with `p` the mean long rate of all items times `smoothing`: how
/// many times as often as usual. An item without an event within ten short half-lives has the score 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrendingKeys {
    /// Half-life of now, in days. 2: a weekend alone is no trend, and a week is over.
    pub short_days: f64,
    /// Half-life of before, in days. 14: twice as long as any weekly rhythm.
    pub long_days: f64,
    /// Events of an average item that each item is given for nothing, so that one event is no trend.
    pub smoothing: f64,
}

impl Default for TrendingKeys {
    fn default() -> Self {
        Self { short_days: 2.0, long_days: 14.0, smoothing: 1.0 }
    }
}

/// Trending items with their hyperparameters.
pub type TrendingConfig = RankingSpec<TrendingKeys>;

/// Trending items.
pub type Trending = Ranking<TrendingKeys>;

/// Events older than so many half-lives count a thousandth and less: nothing.
const N_HALF_LIVES: f64 = 10.0;

impl RankingKeys for TrendingKeys {
    const NAME: &'static str = "trending";
    const SEARCH_SPACE: &'static [Parameter] = &[
        Parameter::log("short_days", 0.25, 7.0),
        Parameter::log("long_days", 8.0, 365.0),
        Parameter::log("smoothing", 0.05, 20.0),
    ];

    fn check(&self) -> Result<(), ModelError> {
        let refuse = |key: &str, reason| Err(ModelError::hyperparameter(Self::NAME, key, reason));
        for (key, days) in [("short_days", self.short_days), ("long_days", self.long_days)] {
            // A bound, so that rates are finite and a log covers a part of the half-life that is not lost in rounding.
            if !(1e-6..=1e6).contains(&days) {
                return refuse(key, format!("{days} is not in 1e-6..=1e6 days"));
            }
        }
        if self.short_days >= self.long_days {
            let reason = format!("{} is not less than long_days", self.short_days);
            return refuse("short_days", reason);
        }
        if !(self.smoothing > 0.0 && self.smoothing <= 1e6) {
            let reason = format!("{} is not above 0 and at most 1e6", self.smoothing);
            return refuse("smoothing", reason);
        }
        Ok(())
    }

    fn score(&self, ages: &ItemAges) -> Vec<f32> {
        let rate = |days: &[f64], half_life: f64| {
            let weights: f64 = days.iter().map(|age| (-age / half_life).exp2()).sum();
            // A log of one moment has no days: its events are those of a day.
            let covered = 1.0 - (-ages.span_days.max(1.0) / half_life).exp2();
            std::f64::consts::LN_2 / half_life * weights / covered
        };
        let long: Vec<f64> = ages.of_items().map(|days| rate(days, self.long_days)).collect();
        let n_items = long.iter().filter(|rate| **rate > 0.0).count().max(1);
        let prior = self.smoothing * long.iter().sum::<f64>() / n_items as f64;
        let score = |(days, long): (&[f64], &f64)| {
            let is_over = days.iter().all(|age| *age > N_HALF_LIVES * self.short_days);
            if is_over {
                0.0
            } else {
                ((rate(days, self.short_days) + prior) / (long + prior)) as f32
            }
        };
        ages.of_items().zip(&long).map(score).collect()
    }

    fn reason(&self, score: f32, rank: usize) -> Reason {
        Reason::Trending { times: score, rank }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommend::{FitOn, ModelSpec, TrainingView};
    use crate::testing::{Log, dataset, one_thread};
    use forecart_data::History;

    const DAY: i64 = 24 * 60 * 60 * 1000;

    /// Item 1: every day of 8; item 2: days 7 and 8; item 3: days 1 and 2.
    #[test]
    fn what_rises_is_first_and_rates_are_those_of_the_formula() {
        let every: Vec<(u32, i64)> = (1..=8).map(|day| (1, day * DAY)).collect();
        let users: [&[(u32, i64)]; 3] =
            [&every, &[(3, DAY), (3, 2 * DAY)], &[(2, 7 * DAY), (2, 8 * DAY)]];
        let (_folder, dataset) = dataset(&Log::with_times(4, &users).all_for_training());
        let view = TrainingView::new(&dataset, FitOn::Train);
        let keys = TrendingKeys { short_days: 0.5, long_days: 4.0, smoothing: 0.5 };
        let model = RankingSpec(keys).fit(&view, &one_thread()).unwrap().model;
        let mut scores = vec![7.0; 5];
        model.score_all(History::default(), &mut scores);
        let rate = |ages: &[f64], half_life: f64| {
            let sum: f64 = ages.iter().map(|age| 0.5_f64.powf(age / half_life)).sum();
            std::f64::consts::LN_2 / half_life * sum / (1.0 - 0.5_f64.powf(7.0 / half_life))
        };
        let ages: [&[f64]; 3] =
            [&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], &[0.0, 1.0], &[6.0, 7.0]];
        let prior = 0.5 * ages.iter().map(|ages| rate(ages, 4.0)).sum::<f64>() / 3.0;
        for (row, ages) in (1..).zip(ages) {
            let mut want = (rate(ages, 0.5) + prior) / (rate(ages, 4.0) + prior);
            if row == 3 {
                want = 0.0; // 6 days are more than ten half-lives
            }
            assert!((f64::from(scores[row]) - want).abs() < 1e-6, "{row}: {} {want}", scores[row]);
        }
        assert!(scores[2] > scores[1] && scores[4] == 0.0, "{scores:?}");
        let reasons = model.reasons(History::default(), forecart_data::ItemIdx(1), 1);
        assert_eq!(reasons, [Reason::Trending { times: scores[1], rank: 2 }]);
    }

    #[test]
    fn a_log_without_times_has_no_trend() {
        let (_folder, dataset) = dataset(&Log::new(3, &[&[1, 2, 3]]).all_for_training());
        let view = TrainingView::new(&dataset, FitOn::Train);
        let error = TrendingConfig::default().fit(&view, &one_thread()).unwrap_err();
        assert!(matches!(error, ModelError::NeedsTime { model: "trending" }), "{error}");
    }
}
