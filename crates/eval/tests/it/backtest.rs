//! Means and spread over the folds of a back-test.

use forecart_eval::Backtest;
use forecart_eval::backtest::FoldReport;
use forecart_eval::report::ModelRow;

use crate::report::sample;

/// A fold in which the models have these values of the deciding metric.
fn fold(values: &[(&str, f64)]) -> FoldReport {
    let mut report = sample();
    let model = report.models[0].clone();
    report.models = values
        .iter()
        .map(|(name, value)| {
            let mut row = ModelRow { name: (*name).into(), ..model.clone() };
            row.metrics[0].mean = Some(*value);
            row
        })
        .collect();
    FoldReport { test_start: "2011-11-01".into(), test_end: "2011-11-30".into(), report }
}

#[test]
fn means_and_spread_by_hand() {
    let folds = vec![
        fold(&[("sasrec", 0.1), ("mlp", 0.4)]),
        fold(&[("sasrec", 0.3), ("mlp", 0.2)]),
        fold(&[("sasrec", 0.2)]),
    ];
    let test = Backtest::new("Shop".into(), 30, folds).unwrap();
    let [mlp, sasrec] = &test.models[..] else { panic!("{:?}", test.models) };
    assert_eq!((mlp.name.as_str(), sasrec.name.as_str()), ("mlp", "sasrec"));
    assert_eq!(mlp.values, [Some(0.4), Some(0.2), None]);
    // Sums of a few terms in f64: the last digits alone may differ.
    assert!((mlp.mean.unwrap() - 0.3).abs() < 1e-12 && (sasrec.mean.unwrap() - 0.2).abs() < 1e-12);
    assert!((sasrec.sd.unwrap() - 0.1).abs() < 1e-12);
    assert_eq!((sasrec.n_better, sasrec.n_worse), (3, 0));
    let (text, page) = (test.table(), test.to_html().unwrap());
    assert!(text.contains("fold 3") && text.contains("0.2000"), "{text}");
    assert!(page.contains("<svg") && page.contains("fold 2"));
    let back: Backtest = serde_json::from_str(&test.to_json().unwrap()).unwrap();
    assert_eq!((back.models.len(), back.folds.len()), (2, 3));
    assert_eq!(back.models[0].values, test.models[0].values);
    assert!(Backtest::new("Shop".into(), 30, Vec::new()).is_err());
}
