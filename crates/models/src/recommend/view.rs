//! What a model may see while it is fitted, and nothing else.

use forecart_data::{
    Dataset, History, ItemFeatures, ItemIdx, Part, Protocol, SeenItems, TextTable, UserIdx,
};
use serde::{Deserialize, Serialize};

use super::contract::ModelSpec;
use crate::training::RunIdentity;

/// Lengths that [`TrainingView::usual_length`] chooses from.
const LENGTHS: [usize; 3] = [50, 100, 200];

/// The share of the training sequences that the chosen length holds whole.
const SHARE_HELD: f64 = 0.9;

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
    seen: SeenItems,
}

impl<'a> TrainingView<'a> {
    /// A view of `dataset` up to the end of `fit_on`.
    pub fn new(dataset: &'a Dataset, fit_on: FitOn) -> Self {
        let seen = dataset.manifest.description.seen_when_measured();
        Self { dataset, fit_on, stops_early: false, seen }
    }

    /// Lets models look at the validation part in order to stop training, when fitted on
    /// [`FitOn::Train`]; changes nothing otherwise.
    pub fn with_early_stopping(self) -> Self {
        Self { stops_early: self.fit_on == FitOn::Train, ..self }
    }

    /// Lets the validation part leave `seen` out of lists, as the measurement will that the model is fitted for; `None`
    /// keeps the rule of the dataset.
    pub fn with_seen(self, seen: Option<SeenItems>) -> Self {
        Self { seen: seen.unwrap_or(self.seen), ..self }
    }

    /// What decides about the result of fitting `spec` on this view, for a checkpoint.
    pub fn run(&self, spec: &dyn ModelSpec, seed: u64) -> RunIdentity {
        let part = match self.fit_on {
            FitOn::Train => "train",
            FitOn::TrainValidation => "train-validation",
        };
        // The hash is of the events; what is asked of them, and what lists leave out, stands beside them.
        let target = self.target_event();
        let target =
            target.map_or("any event", |event| self.dataset.event_names.text(event.into()));
        RunIdentity::new(spec.name(), &spec.hyperparameters(), seed)
            .with("dataset", &self.dataset.manifest.content_hash)
            .with("fit_on", part)
            .with("early_stopping", if self.stops_early { "yes" } else { "no" })
            .with("target_event", target)
            .with("seen", &format!("{:?}", self.seen))
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

    /// The session of each event of [`Self::history`], numbered from 0 within the user.
    pub fn sessions(&self, user: UserIdx) -> &'a [u32] {
        let start = self.dataset.sequences.range(user).start;
        &self.dataset.sequences.sessions[start..start + self.history(user).items.len()]
    }

    /// The number of events of `user` in the training part, whichever part is handed out.
    pub fn training_length(&self, user: UserIdx) -> usize {
        self.dataset.history_before(user, Part::Validation).items.len()
    }

    /// How far back models look where nobody says: the first of 50, 100 and 200 events that holds nine of ten training
    /// sequences whole, or the last. The same whichever part is handed out.
    pub fn usual_length(&self) -> usize {
        let mut lengths: Vec<usize> = self.users().map(|user| self.training_length(user)).collect();
        let n_held = (lengths.len() as f64 * SHARE_HELD).ceil() as usize;
        let needed = match n_held {
            0 => 0,
            n_held => *lengths.select_nth_unstable(n_held - 1).1,
        };
        LENGTHS.into_iter().find(|length| *length >= needed).unwrap_or(LENGTHS[LENGTHS.len() - 1])
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

    /// The title of each item row; empty where the catalog has none.
    pub fn titles(&self) -> &'a TextTable {
        &self.dataset.titles
    }

    /// Rows of a table over the kinds of events, row 0 of which is the unknown one; 0 if all are of one kind.
    pub fn n_event_rows(&self) -> usize {
        let n_rows = self.dataset.event_names.len();
        if n_rows > 2 { n_rows } else { 0 }
    }

    /// The event that is to be predicted, where not all are.
    pub fn target_event(&self) -> Option<u8> {
        self.dataset.manifest.description.target_event
    }

    /// Whether the event at `place` of `history` is of the kind that is to be predicted. Where nothing is known of events,
    /// all are.
    pub fn is_asked(&self, history: History<'_>, place: usize) -> bool {
        let is_of = |target: u8| history.events.get(place).is_none_or(|event| *event == target);
        self.target_event().is_none_or(is_of)
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
        (self.stops_early && any).then_some(Holdout { dataset: self.dataset, seen: self.seen })
    }
}

/// The validation part, handed to a model that has to decide when to stop.
#[derive(Debug, Clone, Copy)]
pub struct Holdout<'a> {
    dataset: &'a Dataset,
    seen: SeenItems,
}

impl<'a> Holdout<'a> {
    /// What evaluation asks of the validation part, in the order of users: what is known at a moment, and the items that
    /// come. For each user with validation events it is one moment, when validation begins; where whole sessions are held
    /// out it is each moment within a session, with the events of the session so far and the next one.
    pub fn cases(&self) -> impl Iterator<Item = (History<'a>, Vec<ItemIdx>)> + use<'a> {
        let dataset = self.dataset;
        let by_session = matches!(dataset.manifest.description.protocol, Protocol::Session { .. });
        dataset.user_indices().flat_map(move |user| {
            let known = dataset.history_before(user, Part::Validation);
            if !by_session {
                let targets = dataset.targets(user, Part::Validation);
                return if targets.is_empty() { vec![] } else { vec![(known, targets)] };
            }
            let targets = dataset.events_in(user, Part::Validation);
            let start = dataset.sequences.range(user).start + known.items.len();
            let sessions = &dataset.sequences.sessions[start..start + targets.items.len()];
            let mut first = 0;
            let mut cases = Vec::new();
            for next in 1..sessions.len() {
                if sessions[next] == sessions[next - 1] {
                    cases.push((targets.slice(first..next), vec![targets.items[next]]));
                } else {
                    first = next;
                }
            }
            cases
        })
    }

    /// Which items of the history are left out of lists when the model is measured.
    pub fn seen(&self) -> SeenItems {
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Log, dataset};

    fn cases(log: &Log) -> Vec<(Vec<u32>, Vec<u32>)> {
        let (_folder, dataset) = dataset(log);
        let view = TrainingView::new(&dataset, FitOn::Train);
        assert!(view.validation().is_none(), "nobody may look unasked");
        let items = |history: History<'_>| history.items.iter().map(|item| item.0).collect();
        let cases = view.with_early_stopping().validation().unwrap().cases();
        let ids = |targets: Vec<ItemIdx>| targets.into_iter().map(|item| item.0).collect();
        cases.map(|(known, targets)| (items(known), ids(targets))).collect()
    }

    #[test]
    fn a_left_out_event_is_asked_for_after_all_before_it() {
        let log = Log::new(9, &[&[1, 2, 3, 4], &[5], &[6, 7, 8]]);
        assert_eq!(cases(&log), [(vec![1, 2], vec![3]), (vec![6], vec![7])]);
    }

    /// A checkpoint of a fit that validation decided about by other lists is none of this one; what the dataset says may be
    /// said once more.
    #[test]
    fn a_run_is_known_by_what_its_lists_leave_out() {
        let (_folder, dataset) = dataset(&Log::new(9, &[&[1, 2, 3, 4]]));
        let view = TrainingView::new(&dataset, FitOn::Train).with_early_stopping();
        let run = |view: TrainingView<'_>| view.run(&crate::recommend::MlpConfig::default(), 1);
        assert_eq!(run(view.with_seen(Some(SeenItems::Exclude))), run(view));
        assert_ne!(run(view.with_seen(Some(SeenItems::Keep))), run(view));
    }

    /// Sessions of three events: each event but the first is asked for, after those of its session alone.
    #[test]
    fn sessions_are_asked_event_by_event() {
        let log = Log::new(9, &[&[1, 2, 3, 4], &[5, 6, 7, 8, 9]]).in_sessions_of(3);
        let expected = [
            (vec![1], vec![2]),
            (vec![1, 2], vec![3]),
            (vec![5], vec![6]),
            (vec![5, 6], vec![7]),
            (vec![8], vec![9]),
        ];
        assert_eq!(cases(&log), expected);
    }
}
