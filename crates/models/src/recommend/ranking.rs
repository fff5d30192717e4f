//! One list for everybody, other than that of popularity: what `trending` and `latest` share.

use std::fmt::Debug;

use forecart_data::{History, ItemIdx};
use serde::Serialize;
use serde_json::Value;

use super::contract::{Fallback, FitContext, FitRecord, Fitted, ModelSpec, Reason, Recommender};
use super::search_space::Parameter;
use super::view::TrainingView;
use crate::error::ModelError;
use crate::tensors::{TensorData, Tensors};

/// Hyperparameters of a list for everybody.
pub(super) trait RankingKeys: Debug + Copy + Serialize + Send + Sync + 'static {
    /// As [`ModelSpec::name`].
    const NAME: &'static str;

    /// As [`ModelSpec::search_space`].
    const SEARCH_SPACE: &'static [Parameter];

    /// Refuses values outside of their ranges.
    fn check(&self) -> Result<(), ModelError>;

    /// The scores of all items, `[n_item_rows]`, 0 or more; `ages` says what is known of each.
    fn score(&self, ages: &ItemAges) -> Vec<f32>;

    /// Why an item of this score is at this place of the list.
    fn reason(&self, score: f32, rank: usize) -> Reason;
}

/// When the events of each item were, in days before the newest one of all.
#[derive(Debug)]
pub(super) struct ItemAges {
    /// Days from the oldest event to the newest.
    pub(super) span_days: f64,
    /// Start of each item's events in `days`, `[n_item_rows + 1]`.
    offsets: Vec<usize>,
    days: Vec<f64>,
}

const DAY_MS: f64 = 24.0 * 60.0 * 60.0 * 1000.0;

impl ItemAges {
    fn of(view: &TrainingView<'_>) -> Self {
        let end_ms = view.end_ms().unwrap_or(0);
        let mut offsets = vec![0; view.n_item_rows() + 1];
        for user in view.users() {
            view.history(user).items.iter().for_each(|item| offsets[item.row() + 1] += 1);
        }
        for row in 0..view.n_item_rows() {
            offsets[row + 1] += offsets[row];
        }
        let mut next = offsets.clone();
        let mut days = vec![0.0; offsets[view.n_item_rows()]];
        for user in view.users() {
            let history = view.history(user);
            for (item, time) in history.items.iter().zip(history.timestamps_ms) {
                days[next[item.row()]] = end_ms.saturating_sub(*time) as f64 / DAY_MS;
                next[item.row()] += 1;
            }
        }
        let span_days = days.iter().copied().fold(0.0, f64::max);
        Self { span_days, offsets, days }
    }

    /// The ages of the events of each item, the unknown one's left out.
    pub(super) fn of_items(&self) -> impl Iterator<Item = &[f64]> {
        let of_item = |row: usize| match row {
            0 => &[][..],
            row => &self.days[self.offsets[row]..self.offsets[row + 1]],
        };
        (0..self.offsets.len() - 1).map(of_item)
    }
}

/// A list for everybody with its hyperparameters.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct RankingSpec<K>(pub K);

/// A fitted list for everybody. The history plays no part.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranking<K> {
    keys: K,
    scores: Vec<f32>,
}

#[expect(private_bounds, reason = "what a model of this kind is made of is nobody else's business")]
impl<K: RankingKeys> RankingSpec<K> {
    /// Refuses values outside of their ranges.
    pub(super) fn check(&self) -> Result<(), ModelError> {
        self.0.check()
    }
}

impl<K: RankingKeys> ModelSpec for RankingSpec<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn hyperparameters(&self) -> Value {
        serde_json::to_value(self.0).expect("numbers in a struct are JSON")
    }

    fn uses_seed(&self) -> bool {
        false
    }

    fn search_space(&self) -> &'static [Parameter] {
        K::SEARCH_SPACE
    }

    fn needed_bytes(&self, view: &TrainingView<'_>) -> u64 {
        view.n_events() * 8 + view.n_item_rows() as u64 * 32
    }

    fn fit(&self, view: &TrainingView<'_>, context: &FitContext<'_>) -> Result<Fitted, ModelError> {
        self.check()?;
        context.check_memory(K::NAME, self.needed_bytes(view), "raise the limit")?;
        if !view.has_time() {
            return Err(ModelError::NeedsTime { model: K::NAME });
        }
        context.check_cancelled()?;
        let scores = self.0.score(&ItemAges::of(view));
        if scores.iter().all(|score| *score == 0.0) {
            return Err(ModelError::NoEvents { model: K::NAME });
        }
        Ok(Fitted::counted(Ranking { keys: self.0, scores }))
    }

    fn for_refit(&self, _: &FitRecord) -> Box<dyn ModelSpec> {
        Box::new(*self)
    }
}

#[expect(private_bounds, reason = "what a model of this kind is made of is nobody else's business")]
impl<K: RankingKeys> Ranking<K> {
    /// Reads what [`Recommender::tensors`] gave.
    pub(super) fn load(
        spec: RankingSpec<K>,
        tensors: &mut Tensors,
        n_item_rows: usize,
    ) -> Result<Self, ModelError> {
        Ok(Self { keys: spec.0, scores: tensors.take_f32("scores", Some(n_item_rows))? })
    }
}

impl<K: RankingKeys> Recommender for Ranking<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn hyperparameters(&self) -> Value {
        RankingSpec(self.keys).hyperparameters()
    }

    fn n_item_rows(&self) -> usize {
        self.scores.len()
    }

    fn score_all(&self, _: History<'_>, scores: &mut [f32]) {
        scores.copy_from_slice(&self.scores);
    }

    /// Never: one list for everybody is what this model is.
    fn fallback(&self, _: History<'_>) -> Option<Fallback> {
        None
    }

    fn reasons(&self, _: History<'_>, item: ItemIdx, n: usize) -> Vec<Reason> {
        let score = self.scores.get(item.row()).copied().unwrap_or(0.0);
        if !item.is_known() || score == 0.0 || n == 0 {
            return Vec::new();
        }
        let before = self
            .scores
            .iter()
            .enumerate()
            .skip(1)
            .filter(|(row, other)| **other > score || (**other == score && *row < item.row()));
        vec![self.keys.reason(score, before.count() + 1)]
    }

    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        tensors.insert("scores", TensorData::F32(self.scores.clone()));
        tensors
    }
}
