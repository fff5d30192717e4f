//! The steps of `bpr`, worked out by hand.

use forecart_data::Dataset;
use forecart_models::recommend::{FitOn, TrainingView, registry};
use serde_json::json;

use crate::shop::{context, ratings};

const N_FACTORS: usize = 4;

/// Factors and bias of item 1 after a single step of SGD.
fn item_after_a_step(dataset: &Dataset, learning_rate: f64, l2: f64) -> Vec<f32> {
    let keys = json!({
        "optimizer": "sgd", "negatives": "popularity", "learning_rate": learning_rate, "l2": l2,
        "n_factors": N_FACTORS, "n_epochs": 1, "batch_size": 3,
    });
    let view = TrainingView::new(dataset, FitOn::Train);
    let model = registry::spec("bpr", &keys).unwrap().fit(&view, &context(1, 1)).unwrap().model;
    let vectors = model.tensors().take_matrix("vectors", 3, N_FACTORS + 1).unwrap();
    vectors[N_FACTORS + 1..2 * (N_FACTORS + 1)].to_vec()
}

/// Two users chose item 1 and not 2, one 2 and not 1: in the pairs of the step item 1 is chosen twice and once the other.
/// Scores are next to 0, where the slope of `-ln σ` is a half.
#[test]
fn a_pair_is_a_step_of_sgd_and_each_pair_regularizes_what_it_moves() {
    let (_folder, dataset) = ratings(2, &[vec![(1, 1.0)], vec![(1, 1.0)], vec![(2, 1.0)]]);
    let first = item_after_a_step(&dataset, 1e-20, 0.0);
    let moved = item_after_a_step(&dataset, 0.05, 0.0);
    let regularized = item_after_a_step(&dataset, 0.05, 1.0);
    assert!(first[N_FACTORS].abs() < 1e-9);
    // A half twice up and once down; a mean over the batch would be a third of it.
    let bias = moved[N_FACTORS];
    assert!((bias - 0.05 * 0.5).abs() < 1e-3, "{bias}");
    for ((first, moved), regularized) in first.iter().zip(&moved).zip(&regularized) {
        // Three pairs each take 0.05 of the factors that the step began with.
        let taken = moved - regularized;
        assert!((taken - 3.0 * 0.05 * first).abs() < 1e-6, "{taken} {first}");
    }
    assert!(first[..N_FACTORS].iter().any(|value| value.abs() > 1e-3), "{first:?}");
}
