//! Leaks that are planted in sample tables, and none where nothing was planted.

use std::path::Path;

use forecart_data::samples::{
    Cell, ColumnKind, Role, SampleColumn, SampleDescription, SampleSplit,
};
use forecart_data::{SampleTable, SampleWriter};
use forecart_eval::leakage::{LeakKind, find_sample_leaks};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const N: usize = 3000;

/// A row of a shop: what it looked at, where from, when, and whether it bought.
#[derive(Debug, Clone)]
struct Row {
    pages: f64,
    channel: &'static str,
    late: Option<f64>,
    time: i64,
    bought: bool,
}

/// Rows whose outcome `pages` and `channel` tell a little of.
fn rows(seed: u64) -> Vec<Row> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..N)
        .map(|at| {
            let pages = (rng.random::<f64>() * 1e6).floor();
            let channel = ["mail", "search", "ads"][rng.random_range(0..3)];
            let chance = 0.05 + 0.15 * pages / 1e6 + if channel == "mail" { 0.1 } else { 0.0 };
            let bought = rng.random::<f64>() < chance;
            Row { pages, channel, late: None, time: at as i64 * 1000, bought }
        })
        .collect()
}

fn table(folder: &Path, rows: &[Row], split: SampleSplit) -> SampleTable {
    let columns = vec![
        SampleColumn::new("pages", ColumnKind::Number, Role::Feature),
        SampleColumn::new("channel", ColumnKind::Category, Role::Feature),
        SampleColumn::new("late", ColumnKind::Number, Role::Feature),
        SampleColumn::new("at", ColumnKind::Time, Role::Time),
        SampleColumn::new("bought", ColumnKind::Number, Role::Label),
    ];
    let mut writer = SampleWriter::new(folder, columns).unwrap();
    for row in rows {
        let late = row.late.map_or(Cell::Missing, Cell::Number);
        let bought = Cell::Number(f64::from(u8::from(row.bought)));
        writer
            .push(&[
                Cell::Number(row.pages),
                Cell::Text(row.channel),
                late,
                Cell::Time(row.time),
                bought,
            ])
            .unwrap();
    }
    let part = |at: usize| match split {
        SampleSplit::Folds { n_folds, .. } => (at % usize::from(n_folds)) as u8,
        _ => u8::from(at >= N * 7 / 10) + u8::from(at >= N * 8 / 10),
    };
    let parts: Vec<u8> = (0..rows.len()).map(part).collect();
    let description = SampleDescription {
        task: "purchase".into(),
        split,
        negatives_kept: 1.0,
        data_hash: "00".into(),
        config: serde_json::json!({}),
        steps: Vec::new(),
    };
    writer.finish(&parts, description).unwrap();
    SampleTable::open(folder).unwrap()
}

fn by_time() -> SampleSplit {
    let start = |share: usize| (N * share / 10) as i64 * 1000;
    SampleSplit::Time { validation_start_ms: start(7), test_start_ms: start(8) }
}

fn kinds(rows: &[Row], split: SampleSplit) -> Vec<(LeakKind, String)> {
    let root = tempfile::tempdir().unwrap();
    let found = find_sample_leaks(&table(&root.path().join("samples"), rows, split));
    found.leaks.iter().map(|leak| (leak.kind, leak.to_string())).collect()
}

#[test]
fn nothing_is_found_where_nothing_was_planted() {
    for seed in 0..5 {
        for split in [by_time(), SampleSplit::Order, SampleSplit::Folds { n_folds: 5, seed: 0 }] {
            assert_eq!(kinds(&rows(seed), split), []);
        }
    }
}

#[test]
fn a_column_that_is_written_after_the_outcome_is_found() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for split in [by_time(), SampleSplit::Folds { n_folds: 5, seed: 0 }] {
        let mut rows = rows(1);
        for row in &mut rows {
            // What was paid, of four buyers in five; and of some who gave it back.
            let is_known = rng.random::<f64>() < if row.bought { 0.8 } else { 0.03 };
            row.late = is_known.then(|| rng.random::<f64>() * 100.0);
        }
        let found = kinds(&rows, split);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, LeakKind::OutcomeAsColumn);
        assert!(
            found[0].1.contains("\"late\"") && found[0].1.contains("samples.ignore"),
            "{found:?}"
        );
    }
}

#[test]
fn rows_that_stand_on_both_sides_are_found() {
    let mut rows = rows(2);
    for at in 0..60 {
        rows[N * 8 / 10 + at] = rows[at].clone();
    }
    let found = kinds(&rows, SampleSplit::Order);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, LeakKind::DuplicateRow);
    assert!(found[0].1.contains("60 of 900"), "{found:?}");
}

#[test]
fn rows_that_repeat_each_other_anyway_are_no_leak() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut rows = rows(3);
    for row in &mut rows {
        (row.pages, row.time) = (f64::from(rng.random_range(0..4u32)), 0);
    }
    assert_eq!(kinds(&rows, SampleSplit::Order), []);
}

#[test]
fn rows_of_another_time_than_their_part_are_found() {
    let mut rows = rows(4);
    rows[10].time = rows[N - 1].time;
    rows[N - 1].time = 5;
    let found = kinds(&rows, by_time());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, LeakKind::EventAcrossCut);
    assert!(found[0].1.contains("2 rows") && found[0].1.contains("row 11"), "{found:?}");
}

#[test]
fn too_few_outcomes_are_said_and_not_searched() {
    let mut rows = rows(5);
    rows.iter_mut().for_each(|row| row.bought = row.time % 500_000 == 0);
    let root = tempfile::tempdir().unwrap();
    let found = find_sample_leaks(&table(&root.path().join("samples"), &rows, SampleSplit::Order));
    assert_eq!((found.leaks.len(), found.notes.len()), (0, 1), "{found:?}");
}
