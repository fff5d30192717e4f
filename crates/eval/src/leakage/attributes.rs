//! Item attributes that know the future: what is chosen in the test part, or a moment after the cut.

use forecart_data::{Dataset, Protocol};

use super::ranks::{Knowledge, ranks};
use super::{HeldOut, Leak, LeakKind, Leakage, moment};
use crate::report::grouped;

/// Partial rank correlation with the test part from which an attribute is said to know it; what untouched data
/// has stands in docs/measurements.md.
const THRESHOLD: f64 = 0.4;
/// Items that must have a sparse column, and as many that must not, before it is looked at.
const MIN_ITEMS: usize = 20;

pub(super) fn search(dataset: &Dataset, counts: &HeldOut, found: &mut Leakage) {
    moments(dataset, found);
    let features = &dataset.item_features;
    let n_items = dataset.items.n_known();
    if features.is_empty() || n_items < 2 * MIN_ITEMS {
        return;
    }
    let of = |counts: &[u64]| ranks(&counts[1..].iter().map(|n| *n as f64).collect::<Vec<_>>());
    let (future, past) = (of(&counts.test), of(&counts.train));
    for (index, name) in features.names.dense.iter().enumerate() {
        let column = (1..=n_items).map(|row| f64::from(features.dense_row(row)[index]));
        let knowledge = Knowledge::new(&ranks(&column.collect::<Vec<_>>()), &future, &past);
        found.leaks.extend(leak(dataset, name, "dense.f32", n_items as u64, knowledge));
    }
    let mut rows_of = vec![Vec::new(); features.n_sparse()];
    for row in 1..=n_items {
        features.sparse_row(row).iter().for_each(|column| rows_of[*column as usize].push(row));
    }
    for (rows, name) in rows_of.iter().zip(&features.names.sparse) {
        if rows.len() < MIN_ITEMS || rows.len() > n_items - MIN_ITEMS {
            continue;
        }
        let mut column = vec![0.0; n_items];
        rows.iter().for_each(|row| column[row - 1] = 1.0);
        let knowledge = Knowledge::new(&column, &future, &past);
        found.leaks.extend(leak(dataset, name, "sparse_indices.u32", rows.len() as u64, knowledge));
    }
}

fn leak(dataset: &Dataset, name: &str, file: &str, n: u64, knowledge: Knowledge) -> Option<Leak> {
    let Knowledge { with_future, with_past, partial, .. } = knowledge;
    knowledge.is_of_the_future(THRESHOLD).then(|| Leak {
        kind: LeakKind::AttributeOfTheFuture,
        place: format!("{file}, column {name:?}"),
        n,
        what: format!(
            "{name:?} goes with how often an item is chosen in the test part (rank correlation \
             {with_future:+.2}) more than training explains ({with_past:+.2} with training, {partial:+.2} \
             with the test part where training is held fixed; {} of {} items)",
            grouped(n),
            grouped(dataset.items.n_known() as u64)
        ),
        examples: Vec::new(),
    })
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
