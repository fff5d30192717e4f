//! Item attributes that know the future: what is chosen in the test part, or a moment after the cut.

use std::collections::BTreeMap;

use forecart_data::{Dataset, ItemIdx, Part, Protocol};

use super::future::Future;
use super::ranks::Knowledge;
use super::{Cases, Leak, LeakKind, Leakage, moment};
use crate::report::grouped;

/// Partial rank correlation with the test part from which an attribute is said to know it; what untouched data
/// has stands in docs/measurements.md.
const THRESHOLD: f64 = 0.35;
/// Items that there must be at all.
const MIN_ITEMS: usize = 16;
/// Items that must have a value of a text, and as many that must not, before it is looked at by itself.
const MIN_WITH_VALUE: usize = 20;
/// Pieces that a column of numbers is cut into, to find what goes up and down with the future.
const N_PIECES: usize = 20;

pub(super) fn search(dataset: &Dataset, future: &Future, found: &mut Leakage) {
    moments(dataset, found);
    if dataset.items.n_known() < MIN_ITEMS {
        return;
    }
    let search = Search { dataset, future };
    search.numbers(found);
    search.texts(found);
    search.titles(found);
    search.values(found);
    buyers(dataset, found);
}

struct Search<'a> {
    dataset: &'a Dataset,
    future: &'a Future,
}

impl Search<'_> {
    fn numbers(&self, found: &mut Leakage) {
        let features = &self.dataset.item_features;
        for (index, name) in features.names.dense.iter().enumerate() {
            let rows = 1..=self.dataset.items.n_known();
            let column: Vec<f64> =
                rows.map(|row| f64::from(features.dense_row(row)[index])).collect();
            self.number(name, "dense.f32", &column, found);
        }
    }

    fn number(&self, name: &str, file: &str, column: &[f64], found: &mut Leakage) {
        let knowledge = self.future.known_by(column);
        let n = column.len() as u64;
        found.leaks.extend(self.leak(name, file, n, &knowledge).or_else(|| {
            let pieces = self.future.known_by_levels(&pieces(column));
            self.leak_by_levels(name, file, n, &pieces)
        }));
    }

    /// Each text by itself, then all of an attribute together: many texts may each tell a little.
    fn texts(&self, found: &mut Leakage) {
        let features = &self.dataset.item_features;
        let n_items = self.dataset.items.n_known();
        let mut rows_of = vec![Vec::new(); features.n_sparse()];
        for row in 1..=n_items {
            features.sparse_row(row).iter().for_each(|column| rows_of[*column as usize].push(row));
        }
        let mut attributes: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for (column, name) in (0u32..).zip(&features.names.sparse) {
            attributes.entry(attribute_of(name)).or_default().push(column);
        }
        for (attribute, columns) in attributes {
            let own = || columns.iter().map(|column| *column as usize);
            let single: Vec<Leak> = own()
                .filter_map(|column| {
                    let name = &features.names.sparse[column];
                    self.word(name, "sparse_indices.u32", &rows_of[column])
                })
                .collect();
            if !single.is_empty() {
                found.leaks.extend(single);
                continue;
            }
            let mut levels = vec![Vec::new(); n_items];
            for column in own() {
                rows_of[column].iter().for_each(|row| levels[row - 1].push(column as u32));
            }
            let knowledge = self.future.known_by_levels(&levels);
            let n = n_items as u64;
            found.leaks.extend(self.leak_by_levels(attribute, "sparse_indices.u32", n, &knowledge));
        }
    }

    /// Words of titles, which models may read too.
    fn titles(&self, found: &mut Leakage) {
        let mut rows_of: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for row in 1..=self.dataset.items.n_known() {
            let title = self.dataset.titles.get(row).to_lowercase();
            let mut words: Vec<&str> =
                title.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).collect();
            words.sort_unstable();
            words.dedup();
            for word in words {
                rows_of.entry(word.to_owned()).or_default().push(row);
            }
        }
        let leaks = rows_of.iter().filter_map(|(word, rows)| self.word(word, "titles.texts", rows));
        found.leaks.extend(leaks);
    }

    /// A text that some items have.
    fn word(&self, name: &str, file: &str, rows: &[usize]) -> Option<Leak> {
        let n_items = self.dataset.items.n_known();
        if rows.len() < MIN_WITH_VALUE || rows.len() + MIN_WITH_VALUE > n_items {
            return None;
        }
        let items: Vec<usize> = rows.iter().map(|row| row - 1).collect();
        let n = items.len() as u64;
        self.leak(name, file, n, &self.future.known_by_items(&items)).or_else(|| {
            let parting = self.future.parted_by(&items);
            parting.is_of_the_future().then(|| Leak {
                kind: LeakKind::AttributeOfTheFuture,
                place: format!("{file}, column {name:?}"),
                n,
                what: format!(
                    "{} items have {name:?}: of two items with the same past, one with it and one without, it tells which \
                     is chosen more often in the test part ({:+.2} on a scale from -1 to 1)",
                    grouped(n),
                    parting.difference
                ),
                examples: Vec::new(),
            })
        })
    }

    /// What training events say beside who chose what (ratings, units): the mean of each item.
    fn values(&self, found: &mut Leakage) {
        let mut sums = vec![(0.0f64, 0u32); self.dataset.items.len()];
        for user in self.dataset.user_indices() {
            let events = self.dataset.events_in(user, Part::Train);
            for (item, value) in events.items.iter().zip(events.values) {
                let (sum, n) = &mut sums[item.row()];
                (*sum, *n) = (*sum + f64::from(*value), *n + 1);
            }
        }
        let means = sums[1..].iter().map(|(sum, n)| sum / f64::from((*n).max(1)));
        self.number("value", "values.f32", &means.collect::<Vec<_>>(), found);
    }

    fn leak(&self, name: &str, file: &str, n: u64, knowledge: &Knowledge) -> Option<Leak> {
        let Knowledge { with_future, with_past, partial, .. } = *knowledge;
        knowledge.is_of_the_future(THRESHOLD).then(|| Leak {
            kind: LeakKind::AttributeOfTheFuture,
            place: format!("{file}, column {name:?}"),
            n,
            what: format!(
                "{name:?} goes with how often an item is chosen in the test part (rank correlation \
                 {with_future:+.2}) more than training explains ({with_past:+.2} with training, {partial:+.2} \
                 with the test part where what came before is held fixed; {} of {} items)",
                grouped(n),
                grouped(self.dataset.items.n_known() as u64)
            ),
            examples: Vec::new(),
        })
    }

    fn leak_by_levels(
        &self,
        name: &str,
        file: &str,
        n: u64,
        knowledge: &Knowledge,
    ) -> Option<Leak> {
        // Levels that tell the wrong way round tell nothing: leaving the own item out does that by chance.
        let is_leak = knowledge.partial > 0.0 && knowledge.is_of_the_future(THRESHOLD);
        is_leak.then(|| Leak {
            kind: LeakKind::AttributeOfTheFuture,
            place: format!("{file}, column {name:?}"),
            n,
            what: format!(
                "items with the same {name:?} are chosen alike in the test part (rank correlation {:+.2} of an item \
                 with the others of its value) more than training explains ({:+.2} where what came before is held \
                 fixed; {} items)",
                knowledge.with_future,
                knowledge.partial,
                grouped(n)
            ),
            examples: Vec::new(),
        })
    }
}

/// The attribute of a sparse column: `brand` of `brand=acme`, `price` of `price:2.5..4`, `tags` of `tags#17`.
fn attribute_of(name: &str) -> &str {
    name.split_once(['=', ':', '#']).map_or(name, |(attribute, _)| attribute)
}

/// The piece of each value: as many values in each as ties allow.
fn pieces(column: &[f64]) -> Vec<Vec<u32>> {
    let ranks = super::ranks::ranks(column);
    let width = column.len().div_ceil(N_PIECES).max(2) as f64;
    ranks.iter().map(|rank| vec![((rank - 1.0) / width) as u32]).collect()
}

/// Attributes that name the users who choose the item in the test part.
fn buyers(dataset: &Dataset, found: &mut Leakage) {
    let features = &dataset.item_features;
    let people: Vec<Option<u32>> = features
        .names
        .sparse
        .iter()
        .map(|name| dataset.users.index(name.split_once('=')?.1))
        .collect();
    let named: Vec<(usize, u32, usize)> = (1..=dataset.items.n_known())
        .flat_map(|row| features.sparse_row(row).iter().map(move |column| (row, *column as usize)))
        .filter_map(|(row, column)| Some((row, people[column]?, column)))
        .collect();
    let chooses = |user: u32, row: usize| {
        dataset.targets(forecart_data::UserIdx(user), Part::Test).contains(&ItemIdx(row as u32))
    };
    let mut cases: BTreeMap<&str, (Cases, u64, u64)> = BTreeMap::new();
    for (place, (row, user, column)) in named.iter().enumerate() {
        let (cases, n_by_chance, n) =
            cases.entry(attribute_of(&features.names.sparse[*column])).or_default();
        *n += 1;
        // Whom other items name is chance.
        let other = named[(place + named.len() / 2) % named.len()].1;
        *n_by_chance += u64::from(chooses(other, *row));
        if chooses(*user, *row) {
            cases.add(|| {
                let (user, item) = (dataset.users.text(*user), dataset.items.text(*row as u32));
                format!("item {item:?} names user {user:?}")
            });
        }
    }
    for (attribute, (cases, n_by_chance, n)) in cases {
        if cases.n >= 10 && cases.n > 10 * n_by_chance && cases.n * 20 >= n {
            let place = format!("sparse_indices.u32, column {attribute:?}");
            found.leaks.extend(cases.leak(LeakKind::AttributeOfTheFuture, &place, |found| {
                format!(
                    "{attribute:?} of items names {} users, {found} of whom choose the item in the test part \
                     ({n_by_chance} by chance)",
                    grouped(n)
                )
            }));
        }
    }
}

/// Attributes that `prepare` recognized as moments.
fn moments(dataset: &Dataset, found: &mut Leakage) {
    let description = &dataset.manifest.description;
    let Protocol::GlobalTime { test_start_ms, .. } = description.protocol else { return };
    for column in &description.attribute_moments {
        if column.n_after_test_start == 0 {
            continue;
        }
        found.leaks.push(Leak {
            kind: LeakKind::MomentAfterCut,
            place: format!("items.parquet of the log, column {:?}", column.column),
            n: column.n_after_test_start,
            what: format!(
                "{} of {} items that training has are said by {:?} to have had something happen after \
                 the test part began at {}",
                grouped(column.n_after_test_start),
                grouped(column.n_items),
                column.column,
                moment(test_start_ms)
            ),
            examples: column.examples.clone(),
        });
    }
}
