//! Calibration against scikit-learn and `betacal`, by `tests/fixtures/make_calibration.py`.

use forecart_models::calibration::{CalibrationMethod, CalibrationRows, Calibrator, Temperature};
use serde_json::Value;

fn fixture() -> Value {
    serde_json::from_str(include_str!("../fixtures/calibration.json")).unwrap()
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

/// The rows of the fixture with and without weights, and what they lead to.
fn cases(fixture: &Value) -> [(CalibrationRows, &Value); 2] {
    let logits = floats(&fixture["logits"]);
    let labels: Vec<bool> = floats(&fixture["labels"]).iter().map(|label| *label == 1.0).collect();
    let weights = floats(&fixture["weights"]);
    [(None, "unweighted"), (Some(&weights[..]), "weighted")].map(|(weights, name)| {
        (CalibrationRows::new(&logits, &labels, weights).unwrap(), &fixture[name])
    })
}

fn assert_curve(method: CalibrationMethod, tolerance: f64) {
    let fixture = fixture();
    let asked = floats(&fixture["asked"]);
    for (rows, want) in cases(&fixture) {
        let fitted = Calibrator::fit(method, &rows);
        let want = floats(&want[method.name()]);
        assert_eq!(want.len(), asked.len());
        for (score, want) in asked.iter().zip(want) {
            let found = fitted.probability(*score);
            assert!((found - want).abs() <= tolerance, "{method} at {score}: {found}, want {want}");
        }
    }
}

#[test]
fn isotonic_is_that_of_scikit_learn() {
    // But for the bounds, which the script puts on. Sums in another order.
    assert_curve(CalibrationMethod::Isotonic, 1e-12);
}

#[test]
fn platt_is_that_of_scikit_learn() {
    // L-BFGS stops at a gradient of 1e-6, we at the last digits.
    assert_curve(CalibrationMethod::Platt, 1e-6);
}

#[test]
fn beta_is_that_of_betacal() {
    // The script lets L-BFGS go on to a gradient of 1e-10.
    assert_curve(CalibrationMethod::Beta, 1e-6);
}

#[test]
fn temperatures_are_those_of_scikit_learn() {
    let fixture = fixture();
    for (rows, want) in cases(&fixture) {
        let want = want["inverse_temperature"].as_f64().unwrap();
        let found = Temperature::fit(&rows).inverse();
        assert!((found / want - 1.0).abs() < 1e-6, "{found}, want {want}");
    }
    let labels: Vec<u32> =
        floats(&fixture["classes_labels"]).iter().map(|label| *label as u32).collect();
    let found = Temperature::fit_classes(&floats(&fixture["classes"]), 4, &labels, None).unwrap();
    let want = fixture["classes_inverse_temperature"].as_f64().unwrap();
    assert!((found.inverse() / want - 1.0).abs() < 1e-6, "{found:?}, want {want}");
}
