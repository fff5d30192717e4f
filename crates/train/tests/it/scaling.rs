//! Sizes of one model on a small generated shop.

use std::num::NonZeroUsize;

use forecart_data::Silent;
use forecart_models::recommend::{FitOn, registry};
use forecart_train::{Size, TrainError, TrainOptions, train_size};
use serde_json::json;

use crate::measure::shop;

fn options() -> TrainOptions {
    TrainOptions {
        fit_on: FitOn::TrainValidation, // the part that a size is trained on is not the caller's choice
        seed: 1,
        n_threads: NonZeroUsize::new(2).unwrap(),
        memory_limit_bytes: None,
        seen: None,
        checkpoint: None,
    }
}

fn size(d_model: u32) -> Size {
    let keys = json!({
        "d_model": d_model, "d_ff": d_model, "n_layers": 1, "loss": "full", "dropout": 0.0,
        "n_epochs": 20, "patience": 20, "batch_size": 16, "learning_rate": 0.01
    });
    let spec = registry::spec("sasrec", &keys).unwrap();
    Size { name: format!("d {d_model}"), d_model, n_layers: 1, spec }
}

#[test]
fn a_size_has_its_operations_its_curve_and_its_loss() {
    let (_folder, dataset) = shop();
    let train = |d_model| train_size(&dataset, &size(d_model), &options(), &Silent).unwrap();
    let (small, large) = (train(4), train(16));
    for training in [&small, &large] {
        assert_eq!(training.points.len(), 20);
        for (place, point) in training.points.iter().enumerate() {
            assert_eq!(point.epoch, place + 1);
            assert_eq!(point.flop, training.epoch_flop * point.epoch as f64);
            assert!(point.validation_ndcg_at_10.is_some());
        }
        let last = training.points.last().unwrap();
        // A sum and a difference of the same clock's readings.
        assert!((last.secs - training.secs).abs() <= 1e-9 * training.secs, "{training:?}");
        assert!(last.train_loss < training.points[0].train_loss, "{training:?}");
        // To know nothing of 40 items is to lose ln 40 nats.
        assert!(training.validation_loss < 40f64.ln(), "{training:?}");
        assert!(training.chosen().is_some());
    }
    assert!(small.validation_loss > large.validation_loss, "{small:?} {large:?}");
    // 41 rows of items, 50 positions; three norms; 4 d² of attention and 2 d² of the network, with biases.
    let d = 16;
    let want = (41 + 50) * d + 3 * 2 * d + 6 * d * d + 6 * d;
    assert_eq!(large.n_parameters, want);
}

#[test]
fn a_model_whose_operations_nobody_counts_is_refused() {
    let (_folder, dataset) = shop();
    for name in ["item-knn", "mlp"] {
        let spec = registry::spec(name, &json!({})).unwrap();
        let size = Size { name: name.into(), d_model: 1, n_layers: 1, spec };
        let error = train_size(&dataset, &size, &options(), &Silent).unwrap_err();
        assert!(matches!(&error, TrainError::NotCounted { model } if model == name), "{error}");
    }
}
