//! Forecasts of units sold against statsforecast, by `tests/fixtures/make_demand.py`.

use std::num::NonZeroUsize;

use forecart_models::purchase::demand::{DemandMethod, DemandQuestion};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Fixture {
    series: Vec<Vec<f64>>,
    mean: Value,
}

#[test]
fn means_are_those_of_statsforecast() {
    let fixture: Fixture = serde_json::from_str(include_str!("../fixtures/demand.json")).unwrap();
    let n = |n| NonZeroUsize::new(n).unwrap();
    let cases = [
        ("seasonal_naive", DemandMethod::SeasonalNaive { season: n(4) }),
        ("moving_average", DemandMethod::MovingAverage { window: n(5) }),
        ("simple_smoothing", DemandMethod::SimpleSmoothing { alpha: 0.2 }),
        ("croston", DemandMethod::Croston { alpha: 0.1 }),
        ("sba", DemandMethod::Sba { alpha: 0.1 }),
        ("tsb", DemandMethod::Tsb { alpha_size: 0.2, alpha_probability: 0.1 }),
    ];
    for (name, method) in cases {
        let want: Vec<Vec<f64>> = serde_json::from_value(fixture.mean[name].clone()).unwrap();
        assert_eq!(want.len(), fixture.series.len());
        for (series, want) in fixture.series.iter().zip(want) {
            let found = method
                .fit(series)
                .unwrap()
                .forecast(want.len(), DemandQuestion::default())
                .unwrap();
            for (found, want) in found.mean.iter().zip(&want) {
                // The same recursions, in another order of operations.
                let off = (found - want).abs();
                assert!(
                    off <= 1e-10 * want.abs().max(1.0),
                    "{name} {series:?}: {found}, want {want}"
                );
            }
        }
    }
}
