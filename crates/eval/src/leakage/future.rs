//! What the test part chooses, and what of it the past does not tell.

use forecart_data::{Dataset, ItemIdx, Part};

use super::ranks::{Knowledge, Parting, Residuals, Strata, ranks};
use super::{Cases, LeakKind, Leakage};
use crate::report::grouped;

/// Share of the training events, the newest ones, that count as recent.
const RECENT_SHARE: f64 = 0.2;

/// How often each item is chosen, by part. Choices are events of the kind that is to be predicted.
#[derive(Debug)]
pub(super) struct Future {
    /// All events of the training part, by item row.
    n_train_events: Vec<u64>,
    /// Ranks of the choices in the training part, without row 0.
    past: Vec<f64>,
    /// Ranks of the choices in the test part, without row 0.
    future: Vec<f64>,
    /// What is left of ranks once the past is known: choices and events in training, the newest of them, choices in validation,
    /// and when the item first came.
    residuals: Residuals,
    strata: Strata,
}

impl Future {
    pub(super) fn of(dataset: &Dataset) -> Self {
        let n = dataset.items.len();
        let (mut train, mut choices) = (vec![0u64; n], vec![0u64; n]);
        let (mut validation, mut test, mut recent) = (vec![0u64; n], vec![0u64; n], vec![0u64; n]);
        let mut first_ms = vec![i64::MAX; n];
        let since = recent_since(dataset);
        for user in dataset.user_indices() {
            let events = dataset.events_in(user, Part::Train);
            for (place, item) in events.items.iter().enumerate() {
                train[item.row()] += 1;
                let is_choice = dataset.is_target(events, place);
                choices[item.row()] += u64::from(is_choice);
                if let Some(time) = events.timestamps_ms.get(place) {
                    first_ms[item.row()] = first_ms[item.row()].min(*time);
                    recent[item.row()] += u64::from(is_choice && *time >= since);
                }
            }
            for (part, counts) in [(Part::Validation, &mut validation), (Part::Test, &mut test)] {
                let targets = dataset.targets(user, part);
                targets.iter().for_each(|item| counts[item.row()] += 1);
            }
        }
        let of = |counts: &[u64]| ranks(&counts[1..].iter().map(|n| *n as f64).collect::<Vec<_>>());
        let first = ranks(&first_ms[1..].iter().map(|time| *time as f64).collect::<Vec<_>>());
        let (past, future) = (of(&choices), of(&test));
        let controls = [past.clone(), of(&train), of(&recent), of(&validation), first];
        let residuals = Residuals::new(&future, &controls);
        let strata = Strata::new(&future, &residuals);
        Self { n_train_events: train, past, future, residuals, strata }
    }

    /// How a column of a value for each known item goes with the test part.
    pub(super) fn known_by(&self, column: &[f64]) -> Knowledge {
        Knowledge::new(&ranks(column), &self.future, &self.past, &self.residuals)
    }

    /// The same of a column of levels: an item is given the mean of the other items of its levels in the test part. `levels` has the
    /// levels of each item; one that has none, or a level for itself, is given the mean of all.
    pub(super) fn known_by_levels(&self, levels: &[Vec<u32>]) -> Knowledge {
        let n_levels = levels.iter().flatten().max().map_or(0, |level| *level as usize + 1);
        let (mut sums, mut counts) = (vec![0.0; n_levels], vec![0u32; n_levels]);
        for (own, value) in levels.iter().zip(&self.future) {
            for level in own {
                sums[*level as usize] += value;
                counts[*level as usize] += 1;
            }
        }
        let all = self.future.iter().sum::<f64>() / self.future.len().max(1) as f64;
        let told = levels.iter().zip(&self.future).map(|(own, value)| {
            let others = own.iter().map(|level| *level as usize).filter(|level| counts[*level] > 1);
            let (mut sum, mut n) = (0.0, 0u32);
            for level in others {
                sum += (sums[level] - value) / f64::from(counts[level] - 1);
                n += 1;
            }
            if n > 0 { sum / f64::from(n) } else { all }
        });
        self.known_by(&told.collect::<Vec<_>>())
    }

    /// The same of a text that `items` have, from 0, and the others do not.
    pub(super) fn known_by_items(&self, items: &[usize]) -> Knowledge {
        Knowledge::of_items(items, &self.future, &self.past, &self.residuals)
    }

    /// How well having a text tells apart items of which the past says the same.
    pub(super) fn parted_by(&self, items: &[usize]) -> Parting {
        self.strata.parted_by(items)
    }

    /// Vocabulary counts are those of the training part; more can only come from the future.
    pub(super) fn search_counts(&self, dataset: &Dataset, found: &mut Leakage) {
        let mut cases = Cases::default();
        for (item, id, count) in dataset.items.iter() {
            let trained = self.n_train_events[ItemIdx(item).row()];
            if count > trained {
                cases.add(|| {
                    format!("item {id:?}: the vocabulary says {count}, training has {trained}")
                });
            }
        }
        let n_items = grouped(dataset.items.n_known() as u64);
        found.leaks.extend(cases.leak(LeakKind::CountsOfTheFuture, "items.vocab", |n| {
            format!("{n} of {n_items} items are counted more often than training has them")
        }));
    }
}

/// From when on training events are recent: the newest fifth of them. Without times none are.
fn recent_since(dataset: &Dataset) -> i64 {
    let mut times: Vec<i64> = dataset
        .user_indices()
        .flat_map(|user| dataset.events_in(user, Part::Train).timestamps_ms.iter().copied())
        .collect();
    if times.is_empty() {
        return i64::MAX;
    }
    let place = ((times.len() as f64 * (1.0 - RECENT_SHARE)) as usize).min(times.len() - 1);
    *times.select_nth_unstable(place).1
}
