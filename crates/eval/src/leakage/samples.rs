//! Leaks of sample tables: columns that know the outcome, and rows that stand on both sides.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use forecart_data::encode::{Row as _, Value};
use forecart_data::samples::{ColumnData, Role, SampleSplit};
use forecart_data::{Part, SampleTable};

use super::{Cases, Leak, LeakKind, Leakage};
use crate::probability::{Predictions, auc};

/// Positive and negative held-out rows that a statistical rule needs.
const MIN_EACH: usize = 40;

/// A column that tells outcomes apart this well by itself, and clearly better than all others together, knows too much.
const SUSPICIOUS_AUC: f64 = 0.8;

/// By so much.
const CLEARLY: f64 = 0.05;

/// A column that tells this well is a copy of the outcome, whatever the others tell.
const COPY_AUC: f64 = 0.995;

/// Buckets of a column of numbers.
const N_BUCKETS: usize = 32;

/// Rows of the whole training part that are added to those of each value, so that a rare value says little.
const PRIOR_ROWS: f64 = 20.0;

/// Share of held-out rows that stand in the training part too, beyond what is usual in it, that is no chance.
const MIN_TWINS: f64 = 0.01;

/// Searches a sample table for what no honest measurement survives:
///
/// - a column that tells outcomes apart in held-out rows (AUC .8 or more) and does it clearly better than all other columns together,
///   or nearly without error: it is usually written down when, or after, the outcome is known;
/// - held-out rows that stand in the training part too, far more often than training rows repeat each other;
/// - under a split by time, training rows that are later than the first held-out one.
///
/// What a column tells is its rates of positive rows by value, or by 32 buckets of numbers, on the training part; all together
/// are their sum of log-odds (naive Bayes), which no model has to be fitted for. Lists are not looked at. Of a table in folds, the first fold is held out.
pub fn find_sample_leaks(table: &SampleTable) -> Leakage {
    let mut found = Leakage::default();
    let (train, held_out) = match table.manifest.description.split {
        SampleSplit::Folds { n_folds, .. } => {
            let others = (1..n_folds).flat_map(|fold| table.fold(fold));
            (others.collect::<Vec<_>>(), table.fold(0))
        }
        _ => {
            let held_out = [Part::Validation, Part::Test].map(|part| table.rows(part));
            (table.rows(Part::Train), held_out.concat())
        }
    };
    columns_that_know(table, &train, &held_out, &mut found);
    twins(table, &train, &held_out, &mut found);
    across_the_cut(table, &mut found);
    found.leaks.sort_by_key(|leak| leak.kind);
    found
}

fn columns_that_know(table: &SampleTable, train: &[u32], held_out: &[u32], found: &mut Leakage) {
    let labels: Vec<bool> = held_out.iter().map(|row| table.label(*row) == 1.0).collect();
    let n_positive = labels.iter().filter(|label| **label).count();
    if n_positive.min(labels.len() - n_positive) < MIN_EACH {
        found.notes.push(format!(
            "columns were not searched for the outcome: fewer than {MIN_EACH} held-out rows of either kind"
        ));
        return;
    }
    let n_of_train = train.iter().filter(|row| table.label(**row) == 1.0).count();
    let rate = n_of_train as f64 / train.len().max(1) as f64;
    let features = table
        .columns()
        .filter(|(column, _)| matches!(column.role, Role::Feature | Role::Position))
        .filter_map(|(column, data)| {
            Some((column.name.as_str(), log_odds(table, data, train, held_out, rate)?))
        });
    let features: Vec<(&str, Vec<f64>)> = features.collect();
    let mut together = vec![0.0; held_out.len()];
    for (_, odds) in &features {
        together.iter_mut().zip(odds).for_each(|(sum, odds)| *sum += odds);
    }
    let area = |odds: &[f64]| -> f64 {
        let chances = odds.iter().map(|odds| 1.0 / (1.0 + (-odds).exp())).collect();
        let predictions = Predictions::new(chances, labels.clone()).ok();
        predictions.and_then(|predictions| auc(&predictions)).unwrap_or(0.5)
    };
    for (name, odds) in &features {
        let alone = area(odds);
        if alone < SUSPICIOUS_AUC {
            continue;
        }
        let others: Vec<f64> = together.iter().zip(odds).map(|(all, own)| all - own).collect();
        let others = area(&others);
        let error = (alone * (1.0 - alone) / n_positive as f64).sqrt();
        if alone >= COPY_AUC || alone - others >= CLEARLY.max(3.0 * error) {
            found.leaks.push(Leak {
                kind: LeakKind::OutcomeAsColumn,
                place: format!("column {name:?}"),
                n: held_out.len() as u64,
                what: format!(
                    "it alone tells outcomes apart with an AUC of {alone:.3}, all other columns together with {others:.3}; is it known before \
                     the outcome is? If not, leave it out (samples.ignore)"
                ),
                examples: Vec::new(),
            });
        }
    }
}

/// What the value of a column adds to the log-odds of held-out rows; `None` of lists.
fn log_odds(
    table: &SampleTable,
    data: &ColumnData,
    train: &[u32],
    held_out: &[u32],
    rate: f64,
) -> Option<Vec<f64>> {
    let bucket: Box<dyn Fn(u32) -> usize> = match data {
        ColumnData::List { .. } => return None,
        ColumnData::Category { codes, .. } => Box::new(move |row| codes[row as usize] as usize),
        ColumnData::Number(_) | ColumnData::Time(_) => {
            let number = move |row: u32| match data.value(row as usize) {
                Value::Number(number) => Some(number),
                _ => None,
            };
            let mut known: Vec<f64> = train.iter().filter_map(|row| number(*row)).collect();
            known.sort_by(f64::total_cmp);
            let mut ends: Vec<f64> = (1..N_BUCKETS)
                .filter_map(|at| known.get(at * known.len() / N_BUCKETS).copied())
                .collect();
            ends.dedup();
            Box::new(move |row| {
                number(row).map_or(0, |number| 1 + ends.partition_point(|end| *end < number))
            })
        }
    };
    let mut counts: HashMap<usize, (f64, f64)> = HashMap::new();
    for row in train {
        let count = counts.entry(bucket(*row)).or_default();
        count.0 += 1.0;
        count.1 += table.label(*row);
    }
    let rate = rate.clamp(1e-9, 1.0 - 1e-9);
    let odds = |rate: f64| (rate / (1.0 - rate)).ln();
    let of_row = |row: &u32| {
        let (n, n_positive) = counts.get(&bucket(*row)).copied().unwrap_or_default();
        odds((n_positive + PRIOR_ROWS * rate) / (n + PRIOR_ROWS)) - odds(rate)
    };
    Some(held_out.iter().map(of_row).collect())
}

fn twins(table: &SampleTable, train: &[u32], held_out: &[u32], found: &mut Leakage) {
    let hash = |row: u32| {
        let mut hasher = DefaultHasher::new();
        for (column, _) in table.columns() {
            match table.row(row).value(&column.name) {
                Value::Missing => 0u8.hash(&mut hasher),
                Value::Number(number) => number.to_bits().hash(&mut hasher),
                Value::Text(text) => text.hash(&mut hasher),
                Value::List(texts) => texts.hash(&mut hasher),
            }
        }
        hasher.finish()
    };
    let mut counts: HashMap<u64, u32> = HashMap::new();
    train.iter().for_each(|row| *counts.entry(hash(*row)).or_default() += 1);
    let n_usual =
        counts.values().filter(|count| **count > 1).map(|count| u64::from(*count)).sum::<u64>();
    let mut cases = Cases::default();
    for row in held_out {
        if counts.contains_key(&hash(*row)) {
            cases.add(|| format!("row {}", row + 1));
        }
    }
    let share = |n: u64, rows: &[u32]| n as f64 / rows.len().max(1) as f64;
    let (twins, usual) = (share(cases.n, held_out), share(n_usual, train));
    if twins >= MIN_TWINS && twins > 3.0 * usual + MIN_TWINS {
        found.leaks.extend(cases.leak(LeakKind::DuplicateRow, "validation and test parts", |n| {
            format!(
                "{n} of {} held-out rows, {:.1} %, stand in the training part too, where {:.1} % of rows have a twin",
                held_out.len(),
                100.0 * twins,
                100.0 * usual
            )
        }));
    }
}

fn across_the_cut(table: &SampleTable, found: &mut Leakage) {
    let SampleSplit::Time { validation_start_ms, test_start_ms } = table.manifest.description.split
    else {
        return;
    };
    let Some((_, times)) = table.with_role(Role::Time) else { return };
    let bounds = [
        (Part::Train, i64::MIN, validation_start_ms),
        (Part::Validation, validation_start_ms, test_start_ms),
        (Part::Test, test_start_ms, i64::MAX),
    ];
    let mut cases = Cases::default();
    for (part, first, end) in bounds {
        for row in table.rows(part) {
            if times.time_ms(row as usize).is_none_or(|time| time < first || time >= end) {
                cases.add(|| format!("row {} of the {part:?} part", row + 1));
            }
        }
    }
    found.leaks.extend(cases.leak(LeakKind::EventAcrossCut, "all parts", |n| {
        format!("{n} rows are of another time than their part")
    }));
}
