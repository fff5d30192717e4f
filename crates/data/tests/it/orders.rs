//! The order table: what is written is what is read, and damage is an error.

use std::fs;
use std::path::Path;

use forecart_data::orders::OrderDescription;
use forecart_data::{DataError, OrderTable, OrderWriter};
use proptest::prelude::*;

fn description(n_periods: u32) -> OrderDescription {
    OrderDescription {
        period_days: 7,
        start_ms: 0,
        n_periods,
        data_hash: "00".into(),
        config: serde_json::json!({}),
        left_out: Vec::new(),
    }
}

fn write(folder: &Path) {
    let mut writer = OrderWriter::new(folder).unwrap();
    writer.push("mug", &mut [(3, 1.0), (0, 2.0), (3, 0.5)]).unwrap();
    writer.push("plate", &mut []).unwrap();
    writer.push("杯子", &mut [(1, 4.0)]).unwrap();
    let manifest = writer.finish(description(4)).unwrap();
    assert_eq!((manifest.n_items, manifest.n_orders), (3, 4));
}

#[test]
fn what_is_written_is_what_is_read() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("orders");
    write(&folder);
    assert!(OrderTable::is_at(&folder) && !OrderTable::is_at(root.path()));
    let table = OrderTable::open(&folder).unwrap();
    table.verify().unwrap();
    assert_eq!((table.n_items(), table.n_periods()), (3, 4));
    assert_eq!((table.item("plate"), table.item("cup"), table.item_id(2)), (Some(1), None, "杯子"));
    let mug = table.orders(0);
    assert_eq!((mug.periods, mug.units), (&[0, 3, 3][..], &[2.0, 0.5, 1.0][..]));
    assert_eq!(mug.units_by_period(4), [2.0, 0.0, 0.0, 1.5]);
    assert_eq!(mug.count_by_period(4), [1.0, 0.0, 0.0, 2.0]);
    assert_eq!(mug.units_by_period(3), [2.0, 0.0, 0.0]);
    assert_eq!((mug.before(3).units, mug.newest(1).units), (&[2.0][..], &[1.0][..]));
    assert_eq!((mug.first_period(), table.orders(1).first_period()), (Some(0), None));
}

#[test]
fn any_damaged_file_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("orders");
    write(&folder);
    let names: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 5);
    for name in names {
        let path = folder.join(&name);
        let good = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(OrderTable::open(&folder).is_err(), "{name:?} removed");
        fs::write(&path, [&good[..], b"12345678"].concat()).unwrap();
        assert!(OrderTable::open(&folder).is_err(), "{name:?} longer");
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 0xff;
        fs::write(&path, &flipped).unwrap();
        let detected = OrderTable::open(&folder).and_then(|table| table.verify());
        assert!(detected.is_err(), "{name:?} with a flipped byte");
        fs::write(&path, &good).unwrap();
    }
    let path = folder.join("manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    let changes = [
        ("\"n_periods\": 4", "\"n_periods\": 3"),
        ("\"n_items\": 3", "\"n_items\": 4"),
        ("\"period_days\": 7", "\"period_days\": 0"),
        ("forecart-orders", "forecart-samples"),
        ("\"format_version\": 1", "\"format_version\": 9"),
    ];
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        assert!(OrderTable::open(&folder).is_err(), "{to}");
    }
    assert!(matches!(OrderTable::open(root.path()), Err(DataError::NotAnOrderTable { .. })));
}

#[test]
fn the_writer_refuses_what_does_not_fit() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("orders");
    let mut writer = OrderWriter::new(&folder).unwrap();
    writer.push("b", &mut [(0, 1.0)]).unwrap();
    writer.push("a", &mut [(0, 1.0)]).unwrap_err();
    writer.push("b", &mut [(0, 1.0)]).unwrap_err();
    for units in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        writer.push("c", &mut [(0, units)]).unwrap_err();
    }
    writer.push("c", &mut [(7, 1.0)]).unwrap();
    writer.finish(description(7)).unwrap_err();
    assert!(!folder.exists());
}

proptest! {
    // Each case syncs a folder to disk.
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_orders_come_back(
        items in proptest::collection::btree_map(
            "\\PC{1,5}", proptest::collection::vec((0u32..9, 0.001..1e9f64), 0..6), 0..8,
        ),
    ) {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("orders");
        let mut writer = OrderWriter::new(&folder).unwrap();
        for (item, orders) in &items {
            writer.push(item, &mut orders.clone()).unwrap();
        }
        writer.finish(description(9)).unwrap();
        let table = OrderTable::open(&folder).unwrap();
        for (at, (item, orders)) in items.iter().enumerate() {
            prop_assert_eq!(table.item(item), Some(at));
            let mut sums = vec![0.0; 9];
            let mut sorted = orders.clone();
            sorted.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
            sorted.iter().for_each(|(period, units)| sums[*period as usize] += units);
            prop_assert_eq!(table.orders(at).units_by_period(9), sums);
        }
    }
}
