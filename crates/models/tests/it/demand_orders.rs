//! Forecasts of all items from an order table: what they may know, files, and a shop whose truth is known.

use std::path::Path;

use forecart_data::orders::OrderDescription;
use forecart_data::{OrderTable, OrderWriter};
use forecart_models::model_file::{AnyHeader, DemandModelFile, inspect};
use forecart_models::purchase::demand::{DemandQuestion, DemandSpec, DemandView, models};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

type Order = (u32, f64);

pub(crate) fn table(folder: &Path, n_periods: u32, items: &[Vec<Order>]) -> OrderTable {
    let mut writer = OrderWriter::new(folder).unwrap();
    for (at, orders) in items.iter().enumerate() {
        writer.push(&format!("item-{at:04}"), &mut orders.clone()).unwrap();
    }
    let description = OrderDescription {
        period_days: 7,
        start_ms: 1_600_000_000_000,
        n_periods,
        data_hash: "00".into(),
        config: json!({}),
        left_out: Vec::new(),
    };
    writer.finish(description).unwrap();
    OrderTable::open(folder).unwrap()
}

fn poisson(rng: &mut ChaCha8Rng, mean: f64) -> u32 {
    let (mut product, mut n) = (rng.random::<f64>(), 0);
    while product > (-mean).exp() {
        product *= rng.random::<f64>();
        n += 1;
    }
    n
}

/// Items of a constant rate and two sizes of orders, one of them rare and large; some begin late.
pub(crate) fn shop(n_items: usize, n_periods: u32, seed: u64) -> Vec<Vec<Order>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n_items)
        .map(|item| {
            let rate = 0.2 + (item % 7) as f64 * 0.8;
            let first = if item % 5 == 0 { n_periods / 3 } else { 0 };
            let mut orders = Vec::new();
            for period in first..n_periods {
                for _ in 0..poisson(&mut rng, rate) {
                    let units = if rng.random::<f64>() < 0.1 { 24.0 } else { 2.0 };
                    orders.push((period, units));
                }
            }
            orders
        })
        .collect()
}

pub(crate) fn specs() -> Vec<DemandSpec> {
    models().map(|(name, _)| DemandSpec::from_name(name, &Value::Null).unwrap()).collect()
}

const LEVELS: [f64; 3] = [0.1, 0.5, 0.9];

#[test]
fn every_name_makes_a_spec_that_reads_back_its_constants() {
    for (name, about) in models() {
        let spec = DemandSpec::from_name(name, &Value::Null).unwrap();
        assert_eq!(spec.name(), name);
        assert!(!about.is_empty());
        assert_eq!(DemandSpec::from_name(name, &spec.hyperparameters()).unwrap(), spec);
    }
    let error =
        |name: &str, keys: Value| DemandSpec::from_name(name, &keys).unwrap_err().to_string();
    assert!(error("order", Value::Null).contains("orders"));
    assert!(error("ses", json!({"alhpa": 0.1})).contains("alpha"));
    assert!(error("ses", json!({"alpha": 0.0})).contains("alpha is 0"));
    assert!(error("ses", json!({"method": "croston"})).contains("method"));
    assert!(error("orders", json!({"horizon": 0})).contains("horizon"));
    assert!(error("orders", json!({"horizon": 105})).contains("104"));
    assert!(error("orders", json!({"prior_orders": -1.0})).contains("prior_orders"));
}

#[test]
fn no_forecast_knows_what_comes_after() {
    let root = tempfile::tempdir().unwrap();
    let items = shop(40, 40, 1);
    let whole = table(&root.path().join("whole"), 40, &items);
    let cut: Vec<Vec<Order>> = items
        .iter()
        .map(|orders| orders.iter().copied().filter(|(period, _)| *period < 30).collect())
        .collect();
    let cut = table(&root.path().join("cut"), 30, &cut);
    for spec in specs() {
        let (one, other) = (
            spec.fit(DemandView::new(&whole, 30)).unwrap(),
            spec.fit(DemandView::new(&cut, 30)).unwrap(),
        );
        assert_eq!(one, other, "{}", spec.name());
    }
}

#[test]
fn the_same_on_any_number_of_threads() {
    let root = tempfile::tempdir().unwrap();
    let table = table(&root.path().join("orders"), 30, &shop(60, 30, 2));
    for spec in specs() {
        let run = |n_threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            pool.install(|| spec.fit(DemandView::new(&table, 30)).unwrap())
        };
        let one = run(1);
        assert!(run(2) == one && run(3) == one, "{}", spec.name());
    }
}

#[test]
fn the_file_gives_the_same_forecasts_and_any_damage_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let mut items = shop(12, 30, 3);
    items.push(Vec::new()); // never ordered
    let table = table(&root.path().join("orders"), 30, &items);
    for spec in specs() {
        let fitted = spec.fit(DemandView::new(&table, 30)).unwrap();
        let file = DemandModelFile::new(&spec, fitted, &table).unwrap();
        let path = root.path().join(format!("{}.forecart", spec.name()));
        file.save(&path).unwrap();
        let read = DemandModelFile::open(&path).unwrap();
        assert_eq!((read.header(), read.fitted()), (file.header(), file.fitted()));
        assert_eq!(read.items().get(12), "item-0012");
        assert_eq!(
            read.fitted().forecast(12, 3, DemandQuestion::of_levels(&LEVELS)).unwrap(),
            None
        );
        assert!(
            read.fitted().forecast(99, 3, DemandQuestion::of_levels(&LEVELS)).unwrap().is_none()
        );
        let again =
            DemandModelFile::new(&spec, spec.fit(DemandView::new(&table, 30)).unwrap(), &table);
        assert_eq!(again.unwrap().to_bytes().unwrap(), file.to_bytes().unwrap());
        assert!(matches!(inspect(&path).unwrap().header, AnyHeader::Demand(_)));
        let bytes = file.to_bytes().unwrap();
        for at in (0..bytes.len()).step_by(bytes.len() / 97 + 1) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x41;
            DemandModelFile::from_bytes(&damaged).unwrap_err();
            DemandModelFile::from_bytes(&bytes[..at]).unwrap_err();
        }
    }
    assert_eq!(
        DemandModelFile::open(&root.path().join("ses.forecart"))
            .unwrap()
            .header()
            .orders
            .period_start_ms(1),
        1_600_000_000_000 + 31 * 7 * 86_400_000
    );
}

#[test]
fn expected_units_and_quantiles_are_those_of_the_truth() {
    let root = tempfile::tempdir().unwrap();
    let n_items = 280;
    let table = table(&root.path().join("orders"), 60, &shop(n_items, 60, 4));
    let spec = DemandSpec::from_name("orders", &Value::Null).unwrap();
    let fitted = spec.fit(DemandView::new(&table, 60)).unwrap();
    // What the same shop sells in one more period, drawn many times: an order has 4.2 units on average.
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let (mut n_below, mut n_within, mut n_all) = (0.0, 0.0, 0.0);
    for rate_of in 0..7usize {
        let rate = 0.2 + rate_of as f64 * 0.8;
        let of_rate: Vec<usize> =
            (0..n_items).filter(|item| item % 7 == rate_of && item % 5 != 0).collect();
        let mut mean = 0.0;
        for item in &of_rate {
            let forecast =
                fitted.forecast(*item, 4, DemandQuestion::of_levels(&LEVELS)).unwrap().unwrap();
            mean += forecast.mean.iter().sum::<f64>() / 4.0 / of_rate.len() as f64;
            let (total, quantiles) = fitted.total(*item, 4, &LEVELS).unwrap().unwrap();
            // Single periods and their sum are learned apart.
            let steps = forecast.mean.iter().sum::<f64>();
            assert!((total - steps).abs() < 0.1 * steps + 0.8, "{rate}: {total} {steps}");
            assert!(quantiles.is_sorted());
            if rate < 2.0 {
                continue;
            }
            for _ in 0..20 {
                let units =
                    |rng: &mut ChaCha8Rng| if rng.random::<f64>() < 0.1 { 24.0 } else { 2.0 };
                let sold: f64 = (0..poisson(&mut rng, rate)).map(|_| units(&mut rng)).sum();
                n_below += f64::from(sold <= forecast.quantiles[0][2]);
                n_within +=
                    f64::from(forecast.quantiles[0][0] <= sold && sold <= forecast.quantiles[0][2]);
                n_all += 1.0;
            }
        }
        let want = rate * 4.2;
        // The newest periods say the most, and draw what is rare to the shop's mean.
        assert!((mean - want).abs() < 0.1 * want + 0.4, "{rate}: {mean}, want {want}");
    }
    let (below, within) = (n_below / n_all, n_within / n_all);
    assert!((0.87..0.95).contains(&below), "{below}");
    assert!((0.77..0.89).contains(&within), "{within}");
}

#[test]
fn one_bulk_order_moves_the_mean_and_hardly_the_median() {
    let root = tempfile::tempdir().unwrap();
    let mut items = shop(100, 40, 6);
    let plain = table(&root.path().join("plain"), 40, &items);
    items[6].push((39, 80_000.0));
    let bulk = table(&root.path().join("bulk"), 40, &items);
    let median = |table: &OrderTable, name: &str| {
        let spec = DemandSpec::from_name(name, &Value::Null).unwrap();
        let found = spec
            .fit(DemandView::new(table, 40))
            .unwrap()
            .forecast(6, 1, DemandQuestion::of_levels(&[0.5]))
            .unwrap()
            .unwrap();
        (found.mean[0], found.quantiles[0][0])
    };
    let (before, after) = (median(&plain, "orders"), median(&bulk, "orders"));
    assert!(after.0 > 10.0 * before.0 && (after.1 - before.1).abs() <= 8.0, "{before:?} {after:?}");
    assert!(median(&bulk, "ses").0 > 1000.0 * before.1);
}

#[test]
fn too_little_to_learn_from_says_what_is_missing() {
    let root = tempfile::tempdir().unwrap();
    let short = table(&root.path().join("short"), 12, &shop(5, 12, 7));
    let spec = DemandSpec::from_name("orders", &Value::Null).unwrap();
    let error = spec.fit(DemandView::new(&short, 12)).unwrap_err().to_string();
    assert!(error.contains("12 periods have passed") && error.contains("15 or more"), "{error}");
    let once = table(&root.path().join("once"), 30, &[vec![(0, 1.0)], vec![(1, 1.0)]]);
    let error = spec.fit(DemandView::new(&once, 30)).unwrap_err().to_string();
    assert!(error.contains("ordered again"), "{error}");
    let view = DemandView::new(&once, 99);
    assert_eq!((view.end(), view.units(1).len()), (30, 29));
    let ses = DemandSpec::from_name("ses", &Value::Null).unwrap().fit(view).unwrap();
    let error = ses.total(0, 2, &[0.9]).unwrap_err().to_string();
    assert!(error.contains("train orders"), "{error}");
}
