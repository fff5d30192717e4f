//! What a model may see while it is fitted, and nothing else.

use forecart_data::{Dataset, History, ItemFeatures, Part, UserIdx};
use serde::{Deserialize, Serialize};

use super::contract::ModelSpec;
use crate::training::RunIdentity;

/// The part of a dataset that a model is fitted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FitOn {
    /// Events before validation. The only choice where validation or test numbers are to be
    /// compared with published ones: adding the validation item is worth 12 % on Amazon Beauty.
    #[default]
    Train,
    /// Events before test: for a model that goes into service.
    TrainValidation,
}

/// A dataset through the eyes of a model that is being fitted.
///
/// The dataset itself is private: histories come out cut at the part given, so a model cannot learn
/// from what it will be measured on, by mistake or otherwise. Vocabulary counts are those of the
/// training part in either case.
#[derive(Debug, Clone, Copy)]
pub struct TrainingView<'a> {
    dataset: &'a Dataset,
    fit_on: FitOn,
    stops_early: bool,
}

impl<'a> TrainingView<'a> {
    /// A view of `dataset` up to the end of `fit_on`.
    pub fn new(dataset: &'a Dataset, fit_on: FitOn) -> Self {
        Self { dataset, fit_on, stops_early: false }
    }

    /// Lets models look at the validation part in order to stop training, when fitted on
    /// [`FitOn::Train`]; changes nothing otherwise.
    pub fn with_early_stopping(self) -> Self {
        Self { stops_early: self.fit_on == FitOn::Train, ..self }
    }

    /// What decides about the result of fitting `spec` on this view, for a checkpoint.
    pub fn run(&self, spec: &dyn ModelSpec, seed: u64) -> RunIdentity {
        let part = match self.fit_on {
            FitOn::Train => "train",
            FitOn::TrainValidation => "train-validation",
        };
        RunIdentity::new(spec.name(), &spec.hyperparameters(), seed)
            .with("dataset", &self.dataset.manifest.content_hash)
            .with("fit_on", part)
            .with("early_stopping", if self.stops_early { "yes" } else { "no" })
    }

    /// The part that is handed out.
    pub fn fit_on(&self) -> FitOn {
        self.fit_on
    }

    /// Rows of a table over the items: known ones and row 0, the unknown item.
    pub fn n_item_rows(&self) -> usize {
        self.dataset.items.len()
    }

    /// All known users, in index order.
    pub fn users(&self) -> impl Iterator<Item = UserIdx> + Clone + use<> {
        self.dataset.user_indices()
    }

    /// The events of `user` that may be learned from, oldest first.
    pub fn history(&self, user: UserIdx) -> History<'a> {
        let next = match self.fit_on {
            FitOn::Train => Part::Validation,
            FitOn::TrainValidation => Part::Test,
        };
        self.dataset.history_before(user, next)
    }

    /// The number of events that may be learned from.
    pub fn n_events(&self) -> u64 {
        let counts = self.dataset.manifest.counts;
        match self.fit_on {
            FitOn::Train => counts.n_train,
            FitOn::TrainValidation => counts.n_train + counts.n_validation,
        }
    }

    /// Events of the `n_users` users with the longest histories, of each at most the newest `max_history`: what a batch
    /// holds at most.
    pub fn n_events_of_longest(&self, n_users: usize, max_history: usize) -> u64 {
        let length = |user| self.history(user).items.len().min(max_history) as u64;
        let mut lengths: Vec<u64> = self.users().map(length).collect();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        lengths.iter().take(n_users).sum()
    }

    /// Encoded item attributes; their encoders were fitted on the training part.
    pub fn item_features(&self) -> &'a ItemFeatures {
        &self.dataset.item_features
    }

    /// Whether events have times, not an order alone.
    pub fn has_time(&self) -> bool {
        self.dataset.manifest.description.has_time
    }

    /// Time of the newest event that may be learned from, milliseconds UTC; `None` without times or
    /// events.
    pub fn end_ms(&self) -> Option<i64> {
        self.users().filter_map(|user| self.history(user).timestamps_ms.iter().max().copied()).max()
    }

    /// The validation part, for stopping alone; `None` unless [`Self::with_early_stopping`] allows
    /// it.
    pub fn validation(&self) -> Option<Holdout<'a>> {
        let any = self.dataset.manifest.counts.n_validation > 0;
        (self.stops_early && any).then_some(Holdout { dataset: self.dataset })
    }
}

/// The validation part, handed to a model that has to decide when to stop.
#[derive(Debug, Clone, Copy)]
pub struct Holdout<'a> {
    dataset: &'a Dataset,
}

impl<'a> Holdout<'a> {
    /// Users with a validation event, in index order: what was known of each when validation began,
    /// and the validation events.
    pub fn users(&self) -> impl Iterator<Item = (History<'a>, History<'a>)> + use<'a> {
        let dataset = self.dataset;
        dataset.user_indices().filter_map(move |user| {
            let targets = dataset.events_in(user, Part::Validation);
            let known = dataset.history_before(user, Part::Validation);
            (!targets.items.is_empty()).then_some((known, targets))
        })
    }

    /// Whether items of the history are left out of lists when this dataset is measured.
    pub fn seen(&self) -> forecart_data::SeenItems {
        self.dataset.manifest.description.seen
    }
}
