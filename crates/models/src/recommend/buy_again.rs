//! What somebody bought and is due to buy again.

use forecart_data::{History, ItemIdx};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::contract::{
    Fallback, FitContext, FitRecord, Fitted, ModelSpec, Reason, Recommender, weightiest,
};
use super::popularity::ItemCounts;
use super::search_space::Parameter;
use super::top_k::{Scored, TopK};
use super::view::TrainingView;
use crate::error::ModelError;
use crate::tensors::{TensorData, Tensors};

const NAME: &str = "buy-again";
const DAY_MS: f64 = 24.0 * 60.0 * 60.0 * 1000.0;

/// Repeat purchase, with its hyperparameters.
///
/// Events of a user and an item that are less than `min_gap_days` apart are one purchase; the days between two purchases
/// are a gap. The logarithms of an item's gaps have the mean `μ_i` and the deviation `σ_i`, and `r_i` is the share of the
/// item's buyers who came back; each as if there were `prior` more gaps or buyers like those of all items.
/// The score of an item of the history, last bought `d` days ago, is `r_i · exp(-z²/2) / σ_i` with `z = (ln d - μ) / σ_i`:
/// largest when the time has come. `μ` is the user's own cycle: the mean of the logarithms of their gaps and of
/// `prior` gaps like `μ_i`. Items that the history does not hold have the score 0.
///
/// Now is the newest event of the history or of the training part, whichever is later; a history without times is one
/// where all is due. Every event counts as a purchase: prepare the dataset with `events = ["purchase"]` and
/// `seen = "keep"`.
///
/// Source: Bhagat et al., KDD 2018, sections 3.1 and 3.2 (repeat customer probability times a log-normal distribution of
/// the gaps). We differ: cycles are personal, by the mean above, and the density is that of the logarithm, whose largest
/// value is at the usual gap.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BuyAgainConfig {
    /// Days between two purchases; less is one purchase.
    pub min_gap_days: f64,
    /// Gaps and buyers that stand for what is usual.
    pub prior: f64,
}

impl Default for BuyAgainConfig {
    fn default() -> Self {
        Self { min_gap_days: 1.0, prior: 2.0 }
    }
}

impl BuyAgainConfig {
    /// Refuses values outside of their ranges.
    pub(super) fn check(&self) -> Result<(), ModelError> {
        for (key, value) in [("min_gap_days", self.min_gap_days), ("prior", self.prior)] {
            // A bound, so that sums with it are finite.
            if !(value > 0.0 && value <= 1e6) {
                let reason = format!("{value} is not above 0 and at most 1e6");
                return Err(ModelError::hyperparameter(NAME, key, reason));
            }
        }
        Ok(())
    }
}

/// What `tune` varies.
const SEARCH_SPACE: &[Parameter] =
    &[Parameter::log("min_gap_days", 0.1, 10.0), Parameter::log("prior", 0.1, 100.0)];

impl ModelSpec for BuyAgainConfig {
    fn name(&self) -> &'static str {
        NAME
    }

    fn hyperparameters(&self) -> Value {
        serde_json::to_value(self).expect("numbers in a struct are JSON")
    }

    fn uses_seed(&self) -> bool {
        false
    }

    fn search_space(&self) -> &'static [Parameter] {
        SEARCH_SPACE
    }

    /// The tallies, the cycles and the counts.
    fn needed_bytes(&self, view: &TrainingView<'_>) -> u64 {
        view.n_item_rows() as u64 * (5 * 8 + 3 * 4 + 12)
    }

    fn fit(&self, view: &TrainingView<'_>, context: &FitContext<'_>) -> Result<Fitted, ModelError> {
        self.check()?;
        context.check_memory(NAME, self.needed_bytes(view), "raise the limit")?;
        if !view.has_time() {
            return Err(ModelError::NeedsTime { model: NAME });
        }
        let counts = ItemCounts::of(view, NAME)?;
        context.progress.begin("cycles", Some(view.users().count() as u64));
        let mut tallies = vec![Tally::default(); view.n_item_rows()];
        for user in view.users() {
            context.check_cancelled()?;
            for purchases in self.purchases(view.history(user), view.n_item_rows()) {
                tallies[purchases.item.row()].add(&purchases);
            }
            context.progress.advance(1);
        }
        let cycles = Cycles::of(&tallies, self.prior);
        let end_ms = view.end_ms().unwrap_or(0);
        Ok(Fitted::counted(BuyAgain { config: *self, cycles, end_ms, counts }))
    }

    fn for_refit(&self, _: &FitRecord) -> Box<dyn ModelSpec> {
        Box::new(*self)
    }
}

/// The purchases of one item in a history.
#[derive(Debug, Clone, PartialEq)]
struct Purchases {
    item: ItemIdx,
    /// Position of the newest event.
    position: usize,
    /// When that was; `None` without times.
    last_ms: Option<i64>,
    /// Logarithms of the days between them: their number, and their sum.
    n_gaps: f64,
    log_sum: f64,
    square_sum: f64,
}

impl BuyAgainConfig {
    /// Of each distinct known item below `n_item_rows`, ascending.
    fn purchases(&self, history: History<'_>, n_item_rows: usize) -> Vec<Purchases> {
        let known = history.items.iter().zip(0_usize..);
        let known = known.filter(|(item, _)| item.is_known() && item.row() < n_item_rows);
        let mut events: Vec<(ItemIdx, usize)> = known.map(|(item, at)| (*item, at)).collect();
        events.sort_unstable();
        let time = |position: usize| history.timestamps_ms.get(position).copied();
        let of_item = |events: &[(ItemIdx, usize)]| {
            let (item, position) = events[events.len() - 1];
            let mut purchases = Purchases {
                item,
                position,
                last_ms: time(position),
                n_gaps: 0.0,
                log_sum: 0.0,
                square_sum: 0.0,
            };
            let mut last = events[0].1;
            for (_, position) in &events[1..] {
                let (Some(before), Some(now)) = (time(last), time(*position)) else { break };
                let days = now.saturating_sub(before) as f64 / DAY_MS;
                if days >= self.min_gap_days {
                    last = *position;
                    purchases.n_gaps += 1.0;
                    purchases.log_sum += days.ln();
                    purchases.square_sum += days.ln().powi(2);
                }
            }
            purchases
        };
        events.chunk_by(|a, b| a.0 == b.0).map(of_item).collect()
    }
}

/// What all users did with one item.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    n_buyers: f64,
    n_returned: f64,
    n_gaps: f64,
    log_sum: f64,
    square_sum: f64,
}

impl Tally {
    fn add(&mut self, purchases: &Purchases) {
        self.n_buyers += 1.0;
        self.n_returned += f64::from(u8::from(purchases.n_gaps > 0.0));
        self.n_gaps += purchases.n_gaps;
        self.log_sum += purchases.log_sum;
        self.square_sum += purchases.square_sum;
    }
}

/// How often and after how long each item is bought again, `[n_item_rows]` each.
#[derive(Debug, Clone, PartialEq)]
struct Cycles {
    returning: Vec<f32>,
    log_mean: Vec<f32>,
    /// Above 0.
    log_deviation: Vec<f32>,
}

/// Least deviation of the logarithm: cycles are not known better than to a tenth.
const MIN_DEVIATION: f64 = 0.1;

impl Cycles {
    fn of(tallies: &[Tally], prior: f64) -> Self {
        let mut all = Tally::default();
        for tally in tallies {
            all.n_buyers += tally.n_buyers;
            all.n_returned += tally.n_returned;
            all.n_gaps += tally.n_gaps;
            all.log_sum += tally.log_sum;
            all.square_sum += tally.square_sum;
        }
        // Where nobody ever came back: a month, give or take a factor of e.
        let (mean, variance) = match all.n_gaps {
            0.0 => (30.0_f64.ln(), 1.0),
            n => (all.log_sum / n, (all.square_sum / n - (all.log_sum / n).powi(2)).max(0.0)),
        };
        // One more who came back among one more, so that none is impossible.
        let returning = (all.n_returned + 1.0) / (all.n_buyers + 2.0);
        let of = |value: &dyn Fn(&Tally) -> f64| -> Vec<f32> {
            tallies.iter().map(|tally| value(tally) as f32).collect()
        };
        let mean_of = |tally: &Tally| (tally.log_sum + prior * mean) / (tally.n_gaps + prior);
        Self {
            returning: of(&|tally| {
                (tally.n_returned + prior * returning) / (tally.n_buyers + prior)
            }),
            log_mean: of(&mean_of),
            log_deviation: of(&|tally| {
                let squares = tally.square_sum + prior * (variance + mean * mean);
                let variance = squares / (tally.n_gaps + prior) - mean_of(tally).powi(2);
                variance.max(0.0).sqrt().max(MIN_DEVIATION)
            }),
        }
    }
}

/// Cycles of the items.
#[derive(Debug, Clone, PartialEq)]
pub struct BuyAgain {
    config: BuyAgainConfig,
    cycles: Cycles,
    end_ms: i64,
    counts: ItemCounts,
}

impl BuyAgain {
    /// Reads what [`Recommender::tensors`] gave.
    pub(super) fn load(
        config: BuyAgainConfig,
        tensors: &mut Tensors,
        n_item_rows: usize,
    ) -> Result<Self, ModelError> {
        let mut take = |name: &str| tensors.take_f32(name, Some(n_item_rows));
        let cycles = Cycles {
            returning: take("returning")?,
            log_mean: take("log_mean")?,
            log_deviation: take("log_deviation")?,
        };
        if cycles.log_deviation.iter().any(|deviation| *deviation <= 0.0) {
            return Err(ModelError::damaged("a deviation of gaps is not above 0"));
        }
        let end_ms = tensors.take_u64("end_ms", Some(1))?[0].cast_signed();
        Ok(Self { config, cycles, end_ms, counts: ItemCounts::load(tensors, n_item_rows)? })
    }

    /// The items of the history, with the newest position and the score of each.
    fn due(&self, history: History<'_>) -> Vec<(usize, ItemIdx, f32)> {
        let newest = history.timestamps_ms.iter().copied().max();
        let now_ms = newest.map_or(self.end_ms, |newest| newest.max(self.end_ms));
        let purchases = self.config.purchases(history, self.n_item_rows());
        let score = |purchases: Purchases| {
            let row = purchases.item.row();
            let deviation = f64::from(self.cycles.log_deviation[row]);
            let prior = self.config.prior;
            let mean = (purchases.log_sum + prior * f64::from(self.cycles.log_mean[row]))
                / (purchases.n_gaps + prior);
            let z = purchases.last_ms.map_or(0.0, |last| {
                let days = now_ms.saturating_sub(last) as f64 / DAY_MS;
                (days.max(self.config.min_gap_days).ln() - mean) / deviation
            });
            let density = (-z * z / 2.0).exp() / deviation;
            let score = (f64::from(self.cycles.returning[row]) * density) as f32;
            // Long past or just bought is the last of what was bought, not nothing.
            (purchases.position, purchases.item, score.clamp(f32::MIN_POSITIVE, f32::MAX))
        };
        purchases.into_iter().map(score).collect()
    }
}

impl Recommender for BuyAgain {
    fn name(&self) -> &'static str {
        NAME
    }

    fn hyperparameters(&self) -> Value {
        self.config.hyperparameters()
    }

    fn n_item_rows(&self) -> usize {
        self.counts.n_item_rows()
    }

    fn score_all(&self, history: History<'_>, scores: &mut [f32]) {
        assert_eq!(scores.len(), self.n_item_rows(), "one score for each item row");
        let due = self.due(history);
        if due.is_empty() {
            return self.counts.score_all(scores);
        }
        scores.fill(0.0);
        due.into_iter().for_each(|(_, item, score)| scores[item.row()] = score);
    }

    fn fallback(&self, history: History<'_>) -> Option<Fallback> {
        Fallback::unless(|| !self.due(history).is_empty(), history)
    }

    fn recommend(&self, history: History<'_>, request: &TopK<'_>) -> Vec<Scored> {
        let mut scores = vec![0.0; self.n_item_rows()];
        self.score_all(history, &mut scores);
        self.counts.top_k_filled(&scores, history, request)
    }

    /// The newest purchase of the item itself.
    fn reasons(&self, history: History<'_>, item: ItemIdx, n: usize) -> Vec<Reason> {
        let mut due = self.due(history);
        if due.is_empty() {
            return self.counts.reason(item, None).into_iter().take(n).collect();
        }
        due.retain(|(_, bought, _)| *bought == item);
        weightiest(due, n)
    }

    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        tensors.insert("returning", TensorData::F32(self.cycles.returning.clone()));
        tensors.insert("log_mean", TensorData::F32(self.cycles.log_mean.clone()));
        tensors.insert("log_deviation", TensorData::F32(self.cycles.log_deviation.clone()));
        tensors.insert("end_ms", TensorData::U64(vec![self.end_ms.cast_unsigned()]));
        self.counts.save(&mut tensors);
        tensors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommend::FitOn;
    use crate::testing::{Log, dataset, one_thread};

    const DAY: i64 = 24 * 60 * 60 * 1000;

    fn fit(users: &[&[(u32, i64)]]) -> Box<dyn Recommender> {
        let (_folder, dataset) = dataset(&Log::with_times(3, users).all_for_training());
        let view = TrainingView::new(&dataset, FitOn::Train);
        BuyAgainConfig::default().fit(&view, &one_thread()).unwrap().model
    }

    fn scores(model: &dyn Recommender, events: &[(u32, i64)]) -> Vec<f32> {
        let items: Vec<ItemIdx> = events.iter().map(|(item, _)| ItemIdx(*item)).collect();
        let times: Vec<i64> = events.iter().map(|(_, day)| day * DAY).collect();
        let mut scores = vec![7.0; model.n_item_rows()];
        model.score_all(History { timestamps_ms: &times, ..History::of(&items) }, &mut scores);
        scores
    }

    /// Item 1 is bought every 10 days by two users, the second of whom bought it twice on a day; 2 once by one of them.
    fn model() -> Box<dyn Recommender> {
        fit(&[
            &[(1, 0), (1, 10 * DAY), (1, 20 * DAY)],
            &[(1, 10 * DAY), (1, 10 * DAY + 1), (2, 12 * DAY), (1, 20 * DAY)],
        ])
    }

    #[test]
    fn scores_are_those_of_the_formula() {
        // All gaps are 10 days: no deviation but the least; three buyings came back of two buyers of 1.
        let all = (2.0 + 1.0) / (3.0 + 2.0);
        let (first, second) = ((2.0 + 2.0 * all) / (2.0 + 2.0), (2.0 * all) / (1.0 + 2.0));
        let density = |days: f64| (-((days / 10.0).ln() / 0.1).powi(2) / 2.0_f64).exp() / 0.1;
        let got = scores(model().as_ref(), &[(1, 12), (2, 9)]);
        for (got, want) in got.iter().zip([0.0, first * density(8.0), second * density(11.0), 0.0])
        {
            assert!((f64::from(*got) - want).abs() < 1e-5 + 1e-5 * want, "{got} {want}");
        }
    }

    #[test]
    fn a_personal_cycle_moves_the_day() {
        let model = model();
        let of = |events: &[(u32, i64)]| scores(model.as_ref(), events)[1];
        // Every 5 days: due sooner than for one whose cycle nobody knows.
        let often = [(1, 0), (1, 5), (1, 10), (1, 15)];
        assert!(of(&often) > of(&[(1, 15)]));
        let late = [(1, 5), (1, 10)];
        assert!(of(&late) < of(&[(1, 10)]));
    }

    #[test]
    fn what_is_due_is_first_and_the_rest_is_popular() {
        let model = model();
        let items = [1, 2].map(ItemIdx);
        let times = [10 * DAY, 19 * DAY];
        let history = History { timestamps_ms: &times, ..History::of(&items) };
        let k = std::num::NonZeroUsize::new(3).unwrap();
        let list = model.recommend(history, &TopK::new(k, forecart_data::SeenItems::Keep));
        assert_eq!(list.iter().map(|scored| scored.item.0).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(list[1].score > 0.0 && list[2].score == 0.0);
        let reasons = model.reasons(history, ItemIdx(1), 2);
        assert!(matches!(reasons[..], [Reason::Event { position: 0, item: ItemIdx(1), .. }]));
        assert_eq!(model.reasons(history, ItemIdx(3), 2), []);
    }
}
