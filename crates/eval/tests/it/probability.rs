//! Measures of probabilities against scikit-learn, by `tests/fixtures/make_probability.py`.

use forecart_eval::probability::{
    BinKind, Bins, MeasureOptions, Predictions, measure, reliability, wilson,
};
use serde_json::Value;

fn fixture() -> Value {
    serde_json::from_str(include_str!("../fixtures/probability.json")).unwrap()
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

fn predictions(fixture: &Value) -> Predictions {
    let labels = floats(&fixture["labels"]).iter().map(|label| *label == 1.0).collect();
    let users: Vec<u32> = floats(&fixture["users"]).iter().map(|user| *user as u32).collect();
    let predictions = Predictions::new(floats(&fixture["probabilities"]), labels).unwrap();
    predictions.with_groups(&users).unwrap()
}

/// Sums of 240 terms in another order.
fn assert_close(found: f64, want: f64, what: &str) {
    assert!((found - want).abs() <= 1e-12 * want.abs().max(1.0), "{what}: {found}, want {want}");
}

#[test]
fn values_are_those_of_scikit_learn() {
    let fixture = fixture();
    let unweighted = predictions(&fixture);
    let weighted = unweighted.clone().with_weights(floats(&fixture["weights"])).unwrap();
    for (predictions, name) in [(unweighted, "unweighted"), (weighted, "weighted")] {
        let found = measure(&predictions, &MeasureOptions::default()).unwrap();
        let want = fixture[name].as_object().unwrap();
        assert_eq!(want.len(), 6);
        for measurement in &found.measurements {
            if let Some(want) = want.get(measurement.metric.name()) {
                let what = format!("{name} {}", measurement.metric);
                assert_close(measurement.value.unwrap(), want.as_f64().unwrap(), &what);
            }
        }
    }
}

#[test]
fn bins_of_equal_width_are_those_of_scikit_learn() {
    let fixture = fixture();
    let bins = Bins { kind: BinKind::EqualWidth, n_bins: 10 };
    let found = reliability(&predictions(&fixture), bins, 0.95).unwrap();
    let want = &fixture["uniform_10"];
    let (rates, means) = (floats(&want["rates"]), floats(&want["means"]));
    assert_eq!(found.len(), rates.len());
    for ((bin, rate), mean) in found.iter().zip(rates).zip(means) {
        assert_close(bin.observed_rate, rate, "observed rate");
        assert_close(bin.mean_probability, mean, "mean probability");
    }
}

#[test]
fn intervals_of_rates_are_those_of_scipy() {
    for case in fixture()["wilson"].as_array().unwrap() {
        let [k, n, low, high] = floats(case)[..] else { panic!("{case}") };
        let found = wilson(k / n, n, 0.9);
        assert!((found.low - low).abs() < 1e-9 && (found.high - high).abs() < 1e-9, "{found:?}");
    }
}
