//! Steps against PyTorch, by `tests/fixtures/make_towers.py`, and gradients against finite differences.

use forecart_data::features::FeatureNames;
use forecart_data::{ItemFeatures, ItemIdx};
use forecart_nn::loss::ItemSubset;
use forecart_nn::{Adam, Gradients, Optimizer, RowGradients};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use super::config::TwoTowerConfig;
use super::fit::Stepper;
use super::network::{Examples, Network, Workspace};
use crate::testing::networks::{Case, key, largest_gradient_error, on_threads, set, values};

const N_ITEMS: usize = 7;
const D: usize = 3;

fn case(name: &str) -> Case {
    let fixture = include_str!("../../../tests/fixtures/towers.json");
    let fixture: serde_json::Value = serde_json::from_str(fixture).unwrap();
    Case(fixture[name].clone())
}

fn config(case: &Case, more: &serde_json::Value) -> TwoTowerConfig {
    let mut keys = json!({
        "d_model": D, "user_hidden": [4], "item_hidden": [5], "decay": 0.5, "max_history": 4, "temperature": 0.4,
        "dropout": 0.0, "residual": case.0["residual"], "normalize": case.0["normalize"],
    });
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(keys).unwrap()
}

fn features(case: &Case) -> ItemFeatures {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let sparse: Vec<Vec<u32>> = case.lists("sparse");
    let mut offsets = vec![0_u64];
    offsets.extend(sparse.iter().scan(0, |end, row| {
        *end += row.len() as u64;
        Some(*end)
    }));
    ItemFeatures {
        names: FeatureNames { dense: names(&["x", "y"]), sparse: names(&["a", "b", "c"]) },
        dense: case.floats("dense").into(),
        sparse_offsets: offsets.into(),
        sparse_indices: sparse.concat().into(),
    }
}

fn network(config: &TwoTowerConfig, features: &ItemFeatures) -> Network {
    let rng = &mut ChaCha8Rng::seed_from_u64(3);
    Network::new(config, features, &[true; N_ITEMS], rng).unwrap()
}

/// Calls `work` with the examples of the fixture, `times` over.
fn with_examples<T>(case: &Case, times: usize, work: impl FnOnce(Examples<'_>) -> T) -> T {
    let histories: Vec<Vec<u32>> = case.lists("histories");
    let histories: Vec<Vec<ItemIdx>> =
        histories.into_iter().map(|items| items.into_iter().map(ItemIdx).collect()).collect();
    let histories: Vec<&[ItemIdx]> = histories.iter().map(Vec::as_slice).collect();
    let (labels, items): (Vec<u32>, Vec<u32>) =
        (case.integers("labels"), case.integers("candidates"));
    let log_q = case.floats("log_q");
    let is_bare: Vec<bool> =
        case.0["is_bare"].as_array().unwrap().iter().map(|bare| bare.as_bool().unwrap()).collect();
    work(Examples {
        histories: &histories.repeat(times),
        labels: &labels.repeat(times),
        candidates: ItemSubset { items: &items, log_q: &log_q },
        is_bare: &is_bare,
    })
}

#[test]
fn a_step_is_that_of_pytorch() {
    for name in ["two-tower", "two-tower-plain"] {
        let case = case(name);
        let config = config(&case, &json!({}));
        let mut network = network(&config, &features(&case));
        case.load(&mut network);
        let rule = Adam { learning_rate: 0.01, ..Adam::default() };
        let mut stepper = Stepper::new(network, Optimizer::new(rule).unwrap());
        let step = |examples: Examples<'_>| stepper.step(&config, examples, key()).unwrap();
        let loss = with_examples(&case, 1, step);
        case.assert_is_step(loss, &mut stepper.network, &mut stepper.gradients);
    }
}

#[test]
fn backward_agrees_with_finite_differences_with_and_without_attributes() {
    let smooth = json!({"activation": "tanh", "dropout": 0.25});
    for name in ["two-tower", "two-tower-plain"] {
        let case = case(name);
        for features in [features(&case), ItemFeatures::default()] {
            let config = config(&case, &smooth);
            let mut network = network(&config, &features);
            // Larger weights than the first ones, so that no gradient is lost in rounding.
            let larger: Vec<f32> =
                (0..values(&network).len()).map(|at| (at as f32 * 0.7).sin() * 0.8).collect();
            set(&mut network, &larger);
            let error = largest_gradient_error(&mut network, 0.01, |network, gradients| {
                let composed = &mut RowGradients::new(N_ITEMS, D);
                gradients.clear();
                with_examples(&case, 1, |examples| {
                    let examples = match network.attributes {
                        Some(_) => examples,
                        None => Examples { is_bare: &[], ..examples },
                    };
                    network.refresh_for(examples.histories, examples.candidates.items);
                    let ws = &mut Workspace::default();
                    let of_items = (&mut *gradients, &mut *composed);
                    let loss = network.learn(&config, examples, key(), ws, of_items).unwrap();
                    network.backward_attributes(std::mem::take(composed), gradients);
                    loss
                })
            });
            // Rounding of the loss to f32 activations over the length of the step is 2e-3 where vectors have any length.
            assert!(error < 1e-2, "{name} {error}");
        }
    }
}

/// More rows than one tile has.
#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let case = case("two-tower");
    let config = config(&case, &json!({"dropout": 0.25}));
    let train = |n_threads: usize| {
        let network = network(&config, &features(&case));
        let mut stepper = Stepper::new(network, Optimizer::new(Adam::default()).unwrap());
        let losses: Vec<f64> = on_threads(n_threads, || {
            with_examples(&case, 50, |examples| {
                (0..20).map(|_| stepper.step(&config, examples, key()).unwrap()).collect()
            })
        });
        assert!(losses[19] < losses[0]);
        (losses, values(&stepper.network))
    };
    assert_eq!(train(1), train(2));
}
