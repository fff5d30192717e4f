//! Small datasets for unit tests, written and opened like real ones.

pub(crate) mod networks;

use std::num::NonZeroUsize;

use forecart_data::dataset::{Description, EventRow, Tables};
use forecart_data::encode::FeatureProgram;
use forecart_data::features::FeatureNames;
use forecart_data::{
    Dataset, DatasetWriter, EventOrder, History, ItemFeatures, ItemIdx, Protocol, SeenItems,
    Silent, TextTable, Vocabulary,
};

use crate::recommend::{Fallback, FitContext, Reason, Recommender};

/// Users' events as `(item, time in ms)`, and how many of the newest are not for training.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    n_items: u32,
    users: Vec<Vec<(u32, i64)>>,
    has_time: bool,
    leave_one_out: bool,
    /// Events of a session, where all sessions are for validation.
    session_length: Option<u32>,
    /// Every second event of a user is of a kind of its own, the one that is to be predicted.
    second_is_asked_for: bool,
    /// Of all item rows, or none.
    titles: Vec<String>,
    /// Names of sparse attributes, and which of them each item row has.
    sparse: (Vec<String>, Vec<Vec<u32>>),
}

impl Log {
    /// Users' items, oldest first, without times; the last two events of each user are held out.
    pub(crate) fn new(n_items: u32, users: &[&[u32]]) -> Self {
        let users = users.iter().map(|items| items.iter().map(|item| (*item, 0)).collect());
        Self {
            n_items,
            users: users.collect(),
            has_time: false,
            leave_one_out: true,
            session_length: None,
            second_is_asked_for: false,
            titles: Vec::new(),
            sparse: (Vec::new(), Vec::new()),
        }
    }

    pub(crate) fn with_times(n_items: u32, users: &[&[(u32, i64)]]) -> Self {
        let users = users.iter().map(|events| events.to_vec()).collect();
        Self { users, has_time: true, ..Self::new(n_items, &[]) }
    }

    pub(crate) fn all_for_training(mut self) -> Self {
        self.leave_one_out = false;
        self
    }

    /// With a title for each item row.
    pub(crate) fn titled(self, titles: &[&str]) -> Self {
        Self { titles: titles.iter().map(|title| (*title).to_owned()).collect(), ..self }
    }

    /// The second, fourth, sixth event of each user are of the kind that is to be predicted.
    pub(crate) fn where_every_second_is_asked_for(self) -> Self {
        Self { second_is_asked_for: true, ..self }
    }

    /// With the sparse attributes `names`, of which each item row has some.
    pub(crate) fn with_sparse(self, names: &[&str], rows: &[&[u32]]) -> Self {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Self { sparse: (names, rows.iter().map(|row| row.to_vec()).collect()), ..self }
    }

    fn item_features(&self) -> ItemFeatures {
        let (names, rows) = &self.sparse;
        if names.is_empty() {
            return ItemFeatures::default();
        }
        let mut offsets = vec![0_u64];
        offsets.extend(rows.iter().scan(0, |end, row| {
            *end += row.len() as u64;
            Some(*end)
        }));
        ItemFeatures {
            names: FeatureNames { dense: Vec::new(), sparse: names.clone() },
            dense: Vec::new().into(),
            sparse_offsets: offsets.into(),
            sparse_indices: rows.concat().into(),
        }
    }

    /// Sessions of `length` events each, all of them validation.
    pub(crate) fn in_sessions_of(self, length: u32) -> Self {
        Self { session_length: Some(length), ..self }
    }
}

/// The dataset of `log` in a folder that lives as long as the first value.
pub(crate) fn dataset(log: &Log) -> (tempfile::TempDir, Dataset) {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("dataset");
    let mut writer = DatasetWriter::new(&folder, log.has_time).unwrap();
    for events in &log.users {
        for (place, &(item, timestamp_ms)) in (0..).zip(events) {
            let item = ItemIdx(item);
            let session = log.session_length.map_or(0, |length| place / length);
            let event = if log.second_is_asked_for && place % 2 == 1 { 2 } else { 1 };
            writer.push(EventRow { item, timestamp_ms, event, session, value: 1.0 }).unwrap();
        }
        let n = events.len() as u32;
        if log.session_length.is_some() {
            writer.end_user(0, n).unwrap();
            continue;
        }
        let held_out = if log.leave_one_out && n >= 3 { 2 } else { 0 };
        writer.end_user(n - held_out, n - held_out / 2).unwrap();
    }
    let names = |prefix: &str, n: u32| {
        let entries = (1..=n).map(|index| (format!("{prefix}{index}"), 1));
        Vocabulary::from_entries(entries, 0).unwrap()
    };
    let tables = Tables {
        users: names("u", log.users.len() as u32),
        items: names("i", log.n_items),
        event_names: names("e", if log.second_is_asked_for { 2 } else { 1 }),
        titles: (0..=log.n_items as usize)
            .map(|row| log.titles.get(row).map_or("", String::as_str))
            .collect::<TextTable>(),
        encoders: FeatureProgram::default(),
        item_features: log.item_features(),
        description: Description {
            protocol: match log.session_length {
                Some(_) => Protocol::Session { gap_minutes: None },
                None => Protocol::LooFull,
            },
            seen: SeenItems::Exclude,
            target_event: log.second_is_asked_for.then_some(2),
            has_time: log.has_time,
            order: if log.has_time { EventOrder::Time } else { EventOrder::File },
            data_hash: "00".into(),
            config: serde_json::Value::Null,
            steps: Vec::new(),
            attribute_moments: Vec::new(),
        },
    };
    writer.finish(tables).unwrap();
    let dataset = Dataset::open(&folder).unwrap();
    (root, dataset)
}

/// The scores of all items for a history of these, without times.
pub(crate) fn scores(model: &dyn Recommender, items: &[u32]) -> Vec<f32> {
    let items: Vec<ItemIdx> = items.iter().copied().map(ItemIdx).collect();
    let mut scores = vec![f32::NAN; model.n_item_rows()];
    model.score_all(History::of(&items), &mut scores);
    scores
}

/// What the events of a history brought together; they are all the reasons that there are.
pub(crate) fn total_contribution(reasons: &[Reason]) -> f32 {
    let contribution = |reason: &Reason| match reason {
        Reason::Event { contribution, .. } => *contribution,
        other => panic!("the history speaks: {other:?}"),
    };
    reasons.iter().map(contribution).sum()
}

/// That `model` scores as the definition does, in f64 and with dense vectors: f32 values, f32 sums of a few terms. Where
/// that says nothing, neither may the model.
pub(crate) fn assert_defined(model: &dyn Recommender, history: &[u32], want: &[f64]) {
    if want.iter().all(|score| *score <= 0.0) {
        let items: Vec<ItemIdx> = history.iter().copied().map(ItemIdx).collect();
        assert_eq!(model.fallback(History::of(&items)), Some(Fallback::NothingKnown));
        return;
    }
    let got = scores(model, history);
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(want) {
        assert!((f64::from(*got) - want).abs() <= 1e-6 + 1e-6 * want, "{got} {want}");
    }
}

/// That scores are what was worked out: f32 sums of a few terms near 1.
#[track_caller]
pub(crate) fn assert_close(got: &[f32], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(want) {
        assert!((f64::from(*got) - want).abs() < 1e-6, "{got:?} {want:?}");
    }
}

/// Seed 1, one thread, nobody watching.
pub(crate) fn one_thread() -> FitContext<'static> {
    FitContext {
        seed: 1,
        n_threads: NonZeroUsize::MIN,
        progress: &Silent,
        memory_limit_bytes: None,
        checkpoint: None,
    }
}
