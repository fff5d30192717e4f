//! How often each item was chosen: the baseline that every other model has to beat, and the answer
//! to a user about whom nothing is known.

use std::num::NonZeroUsize;

use forecart_data::{History, ItemIdx};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::contract::{Fallback, FitContext, FitRecord, Fitted, ModelSpec, Reason, Recommender};
use super::registry::parse_keys;
use super::search_space::Parameter;
use super::top_k::{Scored, TopK, top_k};
use super::view::TrainingView;
use crate::error::ModelError;
use crate::tensors::{TensorData, Tensors};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Which events count, and how much. Ages are counted back from the newest event that may be
/// learned from.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Window {
    /// All events alike.
    #[default]
    AllTime,
    /// Events less than 7 days old.
    Last7Days,
    /// Events less than 30 days old.
    Last30Days,
    /// All events, each by `0.5 ^ (age / half-life)`.
    Decay {
        /// Age at which an event counts half, in days.
        half_life_days: f64,
    },
}

impl Window {
    fn days(self) -> Option<u32> {
        match self {
            Self::Last7Days => Some(7),
            Self::Last30Days => Some(30),
            Self::AllTime | Self::Decay { .. } => None,
        }
    }

    /// How much an event of this age counts.
    fn weight(self, age_ms: i64) -> f64 {
        let inside = self.days().is_none_or(|days| age_ms < i64::from(days) * DAY_MS);
        match self {
            Self::Decay { half_life_days } => {
                (-(age_ms as f64) / (half_life_days * DAY_MS as f64)).exp2()
            }
            _ => f64::from(u8::from(inside)),
        }
    }
}

/// Popularity with its window. Every event that counts, counts once, whatever its value.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PopularityConfig {
    /// Which events count.
    pub window: Window,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct NoKeys {}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default)]
struct DecayKeys {
    half_life_days: f64,
}

impl Default for DecayKeys {
    /// A week: an assortment and its seasons change by weeks, and a day's half-life would leave too
    /// few events of a small shop.
    fn default() -> Self {
        Self { half_life_days: 7.0 }
    }
}

impl PopularityConfig {
    /// The configuration of `window` from the keys of a configuration file.
    pub(super) fn from_keys(window: Window, keys: &Value) -> Result<Self, ModelError> {
        let name = Self { window }.name();
        let window = match window {
            Window::Decay { .. } => {
                let keys: DecayKeys = parse_keys(name, keys)?;
                Window::Decay { half_life_days: keys.half_life_days }
            }
            _ => {
                parse_keys::<NoKeys>(name, keys)?;
                window
            }
        };
        let config = Self { window };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ModelError> {
        match self.window {
            Window::Decay { half_life_days: days } if !(days > 0.0 && days.is_finite()) => {
                let reason = format!("{days} is not a positive number of days");
                Err(ModelError::hyperparameter(self.name(), "half_life_days", reason))
            }
            _ => Ok(()),
        }
    }

    /// Counts the events of `view`: those of the event that is to be predicted, where the dataset names one, because
    /// purchases are not what is viewed most; all, where training has none of it.
    ///
    /// # Errors
    /// [`ModelError::NeedsTime`] for every window but [`Window::AllTime`] on a log without times,
    /// [`ModelError::NoEvents`].
    pub fn fit(&self, view: &TrainingView<'_>) -> Result<Popularity, ModelError> {
        let is_there = |event: &u8| view.users().any(|u| view.history(u).events.contains(event));
        self.fit_to(view, view.target_event().filter(is_there))
    }

    /// Counts the events of kind `only`, or all.
    fn fit_to(&self, view: &TrainingView<'_>, only: Option<u8>) -> Result<Popularity, ModelError> {
        self.check()?;
        if self.window != Window::AllTime && !view.has_time() {
            return Err(ModelError::NeedsTime { model: self.name() });
        }
        // Where all events count alike nobody asks for their age.
        let ages_count = self.window != Window::AllTime;
        let counted = |history: History<'_>, place: usize| {
            only.is_none_or(|only| history.events.get(place).is_none_or(|event| *event == only))
        };
        let times = || {
            view.users().flat_map(|user| {
                let history = view.history(user);
                let times = history.timestamps_ms.iter().enumerate();
                times.filter(move |(place, _)| counted(history, *place)).map(|(_, time)| *time)
            })
        };
        let end_ms = if ages_count { times().max().unwrap_or(0) } else { 0 };
        // f64: a decayed count adds numbers of very different sizes.
        let mut counts = vec![0.0_f64; view.n_item_rows()];
        for user in view.users() {
            let history = view.history(user);
            for (position, item) in history.items.iter().enumerate() {
                if counted(history, position) {
                    let time = history.timestamps_ms.get(position).filter(|_| ages_count);
                    let age_ms = time.map_or(0, |time| end_ms.saturating_sub(*time));
                    counts[item.row()] += self.window.weight(age_ms);
                }
            }
        }
        counts[ItemIdx::UNKNOWN.row()] = 0.0;
        if counts.iter().all(|count| *count == 0.0) {
            return Err(ModelError::NoEvents { model: self.name() });
        }
        let counts = ItemCounts(counts.into_iter().map(|count| count as f32).collect());
        Ok(Popularity { config: *self, counts })
    }
}

/// What `tune` varies of popularity with decay.
const DECAY_SEARCH_SPACE: &[Parameter] = &[Parameter::log("half_life_days", 0.5, 365.0)];

impl ModelSpec for PopularityConfig {
    fn name(&self) -> &'static str {
        match self.window {
            Window::AllTime => "popularity",
            Window::Last7Days => "popularity-7d",
            Window::Last30Days => "popularity-30d",
            Window::Decay { .. } => "popularity-decay",
        }
    }

    fn hyperparameters(&self) -> Value {
        match self.window {
            Window::Decay { half_life_days } => {
                serde_json::json!({ "half_life_days": half_life_days })
            }
            _ => Value::Object(serde_json::Map::new()),
        }
    }

    fn uses_seed(&self) -> bool {
        false
    }

    fn search_space(&self) -> &'static [Parameter] {
        match self.window {
            Window::Decay { .. } => DECAY_SEARCH_SPACE,
            _ => &[],
        }
    }

    fn needed_bytes(&self, view: &TrainingView<'_>) -> u64 {
        view.n_item_rows() as u64 * 12
    }

    fn fit(&self, view: &TrainingView<'_>, context: &FitContext<'_>) -> Result<Fitted, ModelError> {
        context.check_memory(self.name(), self.needed_bytes(view), "raise the limit")?;
        Ok(Fitted::counted(Self::fit(self, view)?))
    }

    fn for_refit(&self, _: &FitRecord) -> Box<dyn ModelSpec> {
        Box::new(*self)
    }
}

/// How often each item was chosen. The history plays no part.
#[derive(Debug, Clone, PartialEq)]
pub struct Popularity {
    config: PopularityConfig,
    counts: ItemCounts,
}

impl Popularity {
    /// Reads what [`Recommender::tensors`] gave.
    pub(super) fn load(
        config: PopularityConfig,
        tensors: &mut Tensors,
        n_item_rows: usize,
    ) -> Result<Self, ModelError> {
        Ok(Self { config, counts: ItemCounts::load(tensors, n_item_rows)? })
    }
}

impl Recommender for Popularity {
    fn name(&self) -> &'static str {
        self.config.name()
    }

    fn hyperparameters(&self) -> Value {
        self.config.hyperparameters()
    }

    fn n_item_rows(&self) -> usize {
        self.counts.0.len()
    }

    fn score_all(&self, _: History<'_>, scores: &mut [f32]) {
        self.counts.score_all(scores);
    }

    /// Never: popularity is what this model is.
    fn fallback(&self, _: History<'_>) -> Option<Fallback> {
        None
    }

    fn reasons(&self, _: History<'_>, item: ItemIdx, n: usize) -> Vec<Reason> {
        self.counts.reason(item, self.config.window.days()).into_iter().take(n).collect()
    }

    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        self.counts.save(&mut tensors);
        tensors
    }
}

/// Events of each item: what other models answer with when a history tells them nothing.
///
/// # Shapes
/// `[n_item_rows]`; row 0 is 0.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ItemCounts(Vec<f32>);

impl ItemCounts {
    /// Counts of all events of `view`, of whatever kind, for `model`.
    pub(super) fn of(view: &TrainingView<'_>, model: &'static str) -> Result<Self, ModelError> {
        let popularity = PopularityConfig::default().fit_to(view, None);
        popularity.map(|popularity| popularity.counts).map_err(|error| match error {
            ModelError::NoEvents { .. } => ModelError::NoEvents { model },
            other => other,
        })
    }

    pub(super) fn save(&self, tensors: &mut Tensors) {
        tensors.insert("item_counts", TensorData::F32(self.0.clone()));
    }

    pub(super) fn load(tensors: &mut Tensors, n_item_rows: usize) -> Result<Self, ModelError> {
        Ok(Self(tensors.take_f32("item_counts", Some(n_item_rows))?))
    }

    pub(super) fn n_item_rows(&self) -> usize {
        self.0.len()
    }

    /// The count of an item, 0 past the table.
    pub(super) fn get(&self, item: ItemIdx) -> f32 {
        self.0.get(item.row()).copied().unwrap_or(0.0)
    }

    pub(super) fn score_all(&self, scores: &mut [f32]) {
        scores.copy_from_slice(&self.0);
    }

    /// The best `k` by `scores`; where those are 0, the model says nothing about an item, and the
    /// most popular of such items fill the list, with the score 0.
    pub(super) fn top_k_filled(
        &self,
        scores: &[f32],
        history: History<'_>,
        request: &TopK<'_>,
    ) -> Vec<Scored> {
        let mut list = top_k(scores, history, request);
        let n_spoken = list.iter().take_while(|scored| scored.score > 0.0).count();
        let Some(k) = NonZeroUsize::new(list.len() - n_spoken) else { return list };
        list.truncate(n_spoken);
        let listed = list.iter().map(|scored| scored.item);
        let exclude: Vec<ItemIdx> = request.exclude.iter().copied().chain(listed).collect();
        let rest = TopK { k, seen: request.seen, exclude: &exclude };
        let popular = top_k(&self.0, history, &rest);
        list.extend(popular.into_iter().map(|scored| Scored { score: 0.0, ..scored }));
        list
    }

    pub(super) fn reason(&self, item: ItemIdx, days: Option<u32>) -> Option<Reason> {
        let n_events = *self.0.get(item.row()).filter(|count| item.is_known() && **count > 0.0)?;
        let before = self.0.iter().enumerate().skip(1).filter(|(row, count)| {
            **count > n_events || (**count == n_events && *row < item.row())
        });
        Some(Reason::Popular { n_events, rank: before.count() + 1, days })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommend::FitOn;
    use crate::testing::{Log, dataset};

    /// Days before the newest event: lamp 0, 1 and 40; mug 6 and 8; bowl 29.
    fn log() -> Log {
        let day = |days: i64| (100 - days) * DAY_MS;
        Log::with_times(
            4,
            &[&[(1, day(40)), (2, day(8)), (1, day(1))], &[(3, day(29)), (2, day(6)), (1, day(0))]],
        )
    }

    fn scores(window: Window) -> Vec<f32> {
        let (_folder, dataset) = dataset(&log().all_for_training());
        let view = TrainingView::new(&dataset, FitOn::Train);
        let model = PopularityConfig { window }.fit(&view).unwrap();
        let mut scores = vec![9.0; model.n_item_rows()];
        model.score_all(History::default(), &mut scores);
        scores
    }

    #[test]
    fn windows_by_hand() {
        assert_eq!(scores(Window::AllTime), [0.0, 3.0, 2.0, 1.0, 0.0]);
        assert_eq!(scores(Window::Last30Days), [0.0, 2.0, 2.0, 1.0, 0.0]);
        assert_eq!(scores(Window::Last7Days), [0.0, 2.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn decay_by_hand() {
        let got = scores(Window::Decay { half_life_days: 10.0 });
        let want = [
            0.0,
            1.0 + 0.5_f64.powf(0.1) + 0.5_f64.powf(4.0),
            0.5_f64.powf(0.6) + 0.5_f64.powf(0.8),
            0.5_f64.powf(2.9),
            0.0,
        ];
        for (got, want) in got.iter().zip(want) {
            assert!((f64::from(*got) - want).abs() < 1e-6, "{got} {want}"); // f32 of numbers near 1
        }
    }

    /// Item 1 is viewed most; bought are item 2, twice, and item 1, but long before the newest view.
    #[test]
    fn where_one_event_is_asked_for_only_it_counts() {
        let day = |days: i64| (100 - days) * DAY_MS;
        let users: [&[(u32, i64)]; 2] = [
            &[(1, day(50)), (1, day(49)), (1, day(48)), (2, day(40))],
            &[(1, day(39)), (2, day(38)), (3, day(0))],
        ];
        let log = Log::with_times(3, &users).where_every_second_is_asked_for().all_for_training();
        let scores = |window| {
            let (_folder, dataset) = dataset(&log);
            let view = TrainingView::new(&dataset, FitOn::Train);
            let model = PopularityConfig { window }.fit(&view).unwrap();
            let mut scores = vec![9.0; model.n_item_rows()];
            model.score_all(History::default(), &mut scores);
            scores
        };
        assert_eq!(scores(Window::AllTime), [0.0, 1.0, 2.0, 0.0]);
        // Days are counted back from the newest purchase, not from the view after it.
        assert_eq!(scores(Window::Last7Days), [0.0, 0.0, 2.0, 0.0]);
        // Other models fall back on everything that was done.
        let (_folder, dataset) = dataset(&log);
        let view = TrainingView::new(&dataset, FitOn::Train);
        assert_eq!(ItemCounts::of(&view, "a model").unwrap().0, [0.0, 4.0, 2.0, 1.0]);
    }

    /// One view each: there is nothing else to count.
    #[test]
    fn where_the_event_that_is_asked_for_is_not_there_all_count() {
        let log = Log::new(2, &[&[1], &[1], &[2]]).where_every_second_is_asked_for();
        let (_folder, dataset) = dataset(&log.all_for_training());
        let view = TrainingView::new(&dataset, FitOn::Train);
        let model = PopularityConfig::default().fit(&view).unwrap();
        assert_eq!(model.counts.0, [0.0, 2.0, 1.0]);
    }

    #[test]
    fn windows_need_times() {
        let (_folder, dataset) = dataset(&Log::new(2, &[&[1, 2]]).all_for_training());
        let view = TrainingView::new(&dataset, FitOn::Train);
        let week = PopularityConfig { window: Window::Last7Days };
        let error = week.fit(&view).unwrap_err();
        assert!(matches!(error, ModelError::NeedsTime { model: "popularity-7d" }));
        assert!(error.to_string().contains("has an order and no times"));
        assert!(PopularityConfig::default().fit(&view).is_ok());
    }

    #[test]
    fn nothing_to_count_is_an_error() {
        let (_folder, dataset) = dataset(&Log::new(2, &[&[0, 0]]).all_for_training());
        let view = TrainingView::new(&dataset, FitOn::Train);
        let error = PopularityConfig::default().fit(&view).unwrap_err();
        assert!(matches!(error, ModelError::NoEvents { model: "popularity" }));
    }

    #[test]
    fn the_reason_is_count_and_rank() {
        let (_folder, dataset) = dataset(&log().all_for_training());
        let view = TrainingView::new(&dataset, FitOn::Train);
        let model = PopularityConfig { window: Window::Last30Days }.fit(&view).unwrap();
        let reasons = model.reasons(History::default(), ItemIdx(2), 3);
        assert_eq!(reasons, [Reason::Popular { n_events: 2.0, rank: 2, days: Some(30) }]);
        assert_eq!(model.reasons(History::default(), ItemIdx(4), 3), []);
        assert_eq!(model.reasons(History::default(), ItemIdx(0), 3), []);
        assert_eq!(model.reasons(History::default(), ItemIdx(44), 3), []);
    }

    #[test]
    fn a_half_life_must_be_positive() {
        let config = PopularityConfig { window: Window::Decay { half_life_days: -1.0 } };
        assert!(matches!(config.check(), Err(ModelError::Hyperparameter { .. })));
    }
}
