//! Steps against PyTorch, by `tests/fixtures/make_towers.py`, and gradients against finite differences.

use std::num::NonZeroUsize;

use forecart_nn::{Adam, DataParallel, Optimizer, Pass, Trainable};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use super::config::NeuMfConfig;
use super::fit::step;
use super::network::{Example, Network, NetworkGradients, Workspace};
use crate::testing::networks::{Case, key, largest_gradient_error, on_threads, set, values};

fn config(more: &serde_json::Value) -> NeuMfConfig {
    let mut keys = json!({"n_factors": 3, "mlp_factors": 2, "hidden": [4, 3]});
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(keys).unwrap()
}

fn network(config: &NeuMfConfig) -> Network {
    Network::new(config, 4, 6, &mut ChaCha8Rng::seed_from_u64(3)).unwrap()
}

fn learner(network: &Network) -> (Optimizer, DataParallel<Workspace, NetworkGradients>) {
    let rule = Adam { learning_rate: 0.01, ..Adam::default() };
    // Tiles of two examples, so that there are some.
    let tile_rows = NonZeroUsize::new(2).unwrap();
    (Optimizer::new(rule).unwrap(), DataParallel::new(tile_rows, network.new_gradients()))
}

fn examples(case: &Case) -> Vec<Example> {
    let (users, items) = (case.integers("example_users"), case.integers("example_items"));
    let pairs = users.into_iter().zip(items).zip(case.floats("targets"));
    pairs.map(|((user, item), target)| Example { user, item, target }).collect()
}

fn case() -> Case {
    let fixture = include_str!("../../../tests/fixtures/towers.json");
    let fixture: serde_json::Value = serde_json::from_str(fixture).unwrap();
    Case(fixture["neumf"].clone())
}

#[test]
fn a_step_is_that_of_pytorch() {
    let case = case();
    let mut network = network(&config(&json!({})));
    case.load(&mut network);
    let (mut optimizer, mut parallel) = learner(&network);
    let examples = examples(&case);
    let loss = step(&mut network, &mut optimizer, &mut parallel, &examples, key()).unwrap();
    let mut gradients = parallel.total().clone();
    case.assert_is_step(loss, &mut network, &mut gradients);
}

#[test]
fn backward_agrees_with_finite_differences() {
    let mut network = network(&config(&json!({"activation": "tanh", "dropout": 0.25})));
    // Larger weights than the first ones, so that no gradient is lost in rounding.
    let larger: Vec<f32> =
        (0..values(&network).len()).map(|at| (at as f32 * 0.7).sin() * 0.8).collect();
    set(&mut network, &larger);
    let examples = examples(&case());
    let error = largest_gradient_error(&mut network, 0.01, |network, gradients| {
        let pass = Pass::Training { key: key(), first_row: 0 };
        let ws = &mut Workspace::default();
        network.learn(&examples, examples.len(), pass, ws, gradients).unwrap()
    });
    // Rounding of the loss to f32 activations over the length of the step is 1e-3.
    assert!(error < 3e-3, "{error}");
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let train = |n_threads: usize| {
        let mut network = network(&config(&json!({"dropout": 0.25})));
        let (mut optimizer, mut parallel) = learner(&network);
        let examples: Vec<Example> = examples(&case()).repeat(9);
        let losses: Vec<f64> = on_threads(n_threads, || {
            let mut step = |_| step(&mut network, &mut optimizer, &mut parallel, &examples, key());
            (0..20).map(|at| step(at).unwrap()).collect()
        });
        assert!(losses[19] < losses[0]);
        (losses, values(&network))
    };
    assert_eq!(train(1), train(2));
}
