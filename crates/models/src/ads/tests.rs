//! The network and its steps: finite differences, values by hand, threads.

use forecart_nn::{Adam, DropoutKey, Name, NnError, Optimizer, Parameters, Sgd, gradient_check};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::testing::networks::{analytic, set, values};

const N: usize = 7;

/// Three fields of three rows.
fn config() -> FieldNetworkConfig {
    FieldNetworkConfig {
        n_rows: 9,
        n_fields: 3,
        n_dense: 2,
        n_dims: 2,
        linear: true,
        interactions: Some(Interactions::Machine),
        hidden: Some(vec![5, 4]),
        dropout: 0.2,
        ..FieldNetworkConfig::default()
    }
}

/// The arrangements that models are made of.
fn arrangements() -> [(&'static str, FieldNetworkConfig); 12] {
    let linear = FieldNetworkConfig { interactions: None, hidden: None, ..config() };
    let cross = |rank| FieldNetworkConfig {
        linear: false,
        interactions: None,
        n_cross: 2,
        cross_rank: rank,
        ..config()
    };
    let seeing = |histories| FieldNetworkConfig {
        linear: false,
        interactions: None,
        histories,
        attention_hidden: vec![3],
        hidden: Some(vec![]), // no ReLU, which some of many samples would see change its side
        ..config()
    };
    [
        ("linear", FieldNetworkConfig { n_dims: 0, ..linear.clone() }),
        ("linear without fields", FieldNetworkConfig { n_fields: 0, ..linear.clone() }),
        (
            "factorization machine",
            FieldNetworkConfig { interactions: Some(Interactions::Machine), ..linear.clone() },
        ),
        ("perceptron", FieldNetworkConfig { linear: false, interactions: None, ..config() }),
        ("no dense numbers", FieldNetworkConfig { n_dense: 0, ..config() }),
        ("deep factorization machine", config()),
        ("cross network", cross(None)),
        ("cross network of low rank", cross(Some(2))),
        (
            "field-aware machine",
            FieldNetworkConfig { interactions: Some(Interactions::FieldAware), ..linear.clone() },
        ),
        ("one history", seeing(vec![1])),
        ("histories and a cross network", FieldNetworkConfig { n_cross: 1, ..seeing(vec![2, 0]) }),
        ("clicks and conversions", FieldNetworkConfig { conversion: true, ..seeing(vec![]) }),
    ]
}

fn network(config: &FieldNetworkConfig) -> FieldNetwork {
    let mut network = FieldNetwork::new(config, &mut ChaCha8Rng::seed_from_u64(1)).unwrap();
    // Vectors as small as new ones are would leave gradients that a check cannot see.
    let rng = &mut ChaCha8Rng::seed_from_u64(2);
    network
        .visit_mut(&Name::root(), &mut |_, value| {
            value.as_mut_slice().iter_mut().for_each(|x| *x = rng.random::<f32>() - 0.5);
            Ok(())
        })
        .unwrap();
    network
}

/// Samples that fit a network; every other field has two rows active, or none, where `several`.
struct Samples {
    rows: Vec<u32>,
    offsets: Option<Vec<usize>>,
    histories: Vec<u32>,
    history_offsets: Vec<usize>,
    dense: Vec<f32>,
    labels: Vec<f32>,
    conversions: Vec<f32>,
}

impl Samples {
    fn of(network: &FieldNetwork, several: bool, n: usize) -> Self {
        let rng = &mut ChaCha8Rng::seed_from_u64(4);
        let n_slots = n * network.n_fields();
        let row =
            |slot: usize, rng: &mut ChaCha8Rng| 3 * (slot as u32 % 3) + rng.random_range(0..3);
        let (mut rows, mut offsets) = (Vec::new(), vec![0]);
        for slot in 0..n_slots {
            let n_active = if several { [1, 2, 1, 0][slot % 4] } else { 1 };
            rows.extend((0..n_active).map(|_| row(slot, rng)));
            offsets.push(rows.len());
        }
        let dense = (0..n * network.n_dense()).map(|_| rng.random::<f32>() - 0.5).collect();
        let (mut histories, mut history_offsets) = (Vec::new(), vec![0]);
        for _ in 0..n {
            for field in network.seen_by() {
                // Some of none, and rows that stand there twice.
                let n_tokens = rng.random_range(0..5);
                histories.extend((0..n_tokens).map(|_| row(*field, rng)));
                history_offsets.push(histories.len());
            }
        }
        Self {
            rows,
            offsets: several.then_some(offsets),
            histories,
            history_offsets,
            dense,
            labels: (0..n).map(|at| (at % 2) as f32).collect(),
            conversions: (0..n).map(|at| [0.0, f32::NAN, 0.0, 1.0, 0.0, 0.0][at % 6]).collect(),
        }
    }

    fn rows(&self) -> FieldRows<'_> {
        let offsets = self.offsets.as_deref();
        let histories = HistoryRows { rows: &self.histories, offsets: &self.history_offsets };
        FieldRows {
            rows: &self.rows,
            offsets,
            dense: &self.dense,
            labels: &self.labels,
            histories,
            conversions: &self.conversions,
            weights: &[],
        }
    }
}

fn step(trainer: &mut FieldTrainer, samples: &Samples, n_threads: usize) -> f64 {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
    pool.install(|| trainer.step(samples.rows(), DropoutKey::new(1, 1))).unwrap()
}

fn still(network: FieldNetwork) -> FieldTrainer {
    let rule = Sgd { learning_rate: 0.0, ..Sgd::default() };
    FieldTrainer::new(network, Optimizer::new(rule).unwrap())
}

#[test]
fn backward_of_every_arrangement_agrees_with_finite_differences() {
    for (what, config) in arrangements() {
        // The last are more than one task's.
        for (several, n) in [(false, N), (true, N), (true, 300)] {
            if n > N && config.histories.is_empty() {
                continue;
            }
            let network = network(&config);
            assert_eq!(network.n_parameters() as u64, config.n_values(), "{what}");
            let samples = Samples::of(&network, several, n);
            let mut trainer = still(network.clone());
            step(&mut trainer, &samples, 2);
            let analytic = analytic(&mut trainer.network, &mut trainer.total);
            let mut point = values(&network);
            // A step short enough that no ReLU changes its side.
            let report = gradient_check(&mut point, &analytic, 0.002, 0.02, |point| {
                let mut network = network.clone();
                set(&mut network, point);
                step(&mut still(network), &samples, 1)
            });
            assert!(report.error < 5e-3, "{what}, several: {several}: {report:?}");
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes_and_the_loss_falls() {
    for (what, config) in arrangements() {
        // The loss is of few samples, which can be learned; threads have something to share where there are many.
        let train = |n_threads: usize, n: usize| {
            let rule = Adam { learning_rate: 0.02, ..Adam::default() };
            let network = network(&config);
            let samples = Samples::of(&network, true, n);
            let mut trainer = FieldTrainer::new(network, Optimizer::new(rule).unwrap());
            (0..80).map(|_| step(&mut trainer, &samples, n_threads)).collect::<Vec<f64>>()
        };
        let losses = train(1, N);
        assert_eq!(train(3, 600), train(1, 600), "{what}");
        assert!(losses[79] < 0.98 * losses[0], "{what}: {} to {}", losses[0], losses[79]);
    }
}

/// Two fields of one dimension and no hidden layer, by hand.
#[test]
fn logits_by_hand() {
    let config = FieldNetworkConfig {
        n_rows: 2,
        n_fields: 2,
        n_dense: 1,
        n_dims: 1,
        n_cross: 1,
        hidden: Some(vec![]),
        dropout: 0.0,
        ..config()
    };
    let mut network = FieldNetwork::new(&config, &mut ChaCha8Rng::seed_from_u64(1)).unwrap();
    let values = [
        ("embedding.weight", vec![2.0, 3.0]),
        ("linear.weight", vec![0.5, 0.25]),
        ("dense_linear.weight", vec![10.0]),
        ("dense_linear.bias", vec![1.0]),
        ("mlp.layers.0.weight", vec![1.0, -1.0, 4.0]),
        ("mlp.layers.0.bias", vec![0.0]),
        // W x + b = (3, 0, 0) for x = (2, 3, 0.5)
        ("cross.layers.0.u.weight", vec![0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
        ("cross.layers.0.u.bias", vec![0.0, 0.0, 0.0]),
        ("cross_head.weight", vec![1.0, 10.0, 100.0]),
        ("cross_head.bias", vec![0.0]),
    ];
    network
        .visit_mut(&Name::root(), &mut |name, value| {
            let name = name.to_string();
            let (_, given) = values.iter().find(|(known, _)| *known == name).unwrap();
            value.copy_from_host(given)
        })
        .unwrap();
    let rows = FieldRows { rows: &[0, 1], dense: &[0.5], labels: &[0.0], ..FieldRows::default() };
    // 10 · 0.5 + 1, 0.5 + 0.25, 2 · 3, 2 - 3 + 4 · 0.5, and x ⊙ (3, 0, 0) + x = (8, 3, 0.5) under the head
    let expected = 6.0 + 0.75 + 6.0 + 1.0 + (8.0 + 30.0 + 50.0);
    assert_eq!(network.logits(rows).unwrap().as_slice(), [expected]);
    // A field of both rows has their mean, one of none has zeros: 6, (0.5 + 0.25) / 2, 0, 2.5 + 2, (2.5, 0, 0.5)
    let rows = FieldRows { offsets: Some(&[0, 2, 2]), ..rows };
    let expected = 6.0 + 0.375 + 0.0 + (2.5 + 2.0) + (2.5 + 0.0 + 50.0);
    assert_eq!(network.logits(rows).unwrap().as_slice(), [expected]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut trainer = still(network(&config()));
    let mut refused = |rows: &[u32], offsets: Option<&[usize]>| {
        let (dense, labels) = (&[0.0, 0.0][..], &[1.0][..]);
        let rows = FieldRows { rows, offsets, dense, labels, ..FieldRows::default() };
        trainer.step(rows, DropoutKey::new(1, 1)).unwrap_err()
    };
    assert!(matches!(refused(&[0, 3], None), NnError::Length { .. }));
    assert!(matches!(refused(&[0, 3, 9], None), NnError::Index { .. }));
    assert!(matches!(refused(&[0, 3, 6], Some(&[0, 1, 2])), NnError::Offsets { .. }));
    assert!(matches!(refused(&[0, 3, 6], Some(&[0, 1, 3])), NnError::Length { .. }));
    assert!(matches!(refused(&[0, 3, 9], Some(&[0, 1, 2, 3])), NnError::Index { .. }));
    let seeing = FieldNetworkConfig {
        linear: false,
        interactions: None,
        histories: vec![2],
        attention_hidden: vec![3],
        ..config()
    };
    let mut trainer = still(network(&seeing));
    let mut refused = |rows: &[u32], offsets: &[usize]| {
        let histories = HistoryRows { rows, offsets };
        let (rows, dense, labels) = (&[0, 3, 6][..], &[0.0, 0.0][..], &[1.0][..]);
        let rows = FieldRows { rows, dense, labels, histories, ..FieldRows::default() };
        trainer.step(rows, DropoutKey::new(1, 1)).unwrap_err()
    };
    assert!(matches!(refused(&[6], &[]), NnError::Offsets { .. }));
    assert!(matches!(refused(&[6], &[0, 2]), NnError::Offsets { .. }));
    assert!(matches!(refused(&[6], &[0, 1, 1]), NnError::Length { .. }));
    assert!(matches!(refused(&[9], &[0, 1]), NnError::Index { .. }));
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    for wrong in [
        FieldNetworkConfig { histories: vec![3], ..seeing.clone() },
        FieldNetworkConfig { linear: true, ..seeing.clone() },
        FieldNetworkConfig { interactions: Some(Interactions::Machine), ..seeing.clone() },
    ] {
        FieldNetwork::new(&wrong, rng).unwrap_err();
    }
    let both = FieldNetworkConfig { histories: vec![], conversion: true, ..seeing };
    let rows =
        FieldRows { rows: &[0, 3, 6], dense: &[0.0, 0.0], labels: &[1.0], ..FieldRows::default() };
    let error = still(network(&both)).step(rows, DropoutKey::new(1, 1)).unwrap_err();
    assert!(matches!(error, NnError::Length { .. }));
    let none = FieldNetworkConfig {
        linear: false,
        interactions: Some(Interactions::Machine),
        hidden: None,
        ..config()
    };
    FieldNetwork::new(&none, &mut ChaCha8Rng::seed_from_u64(1)).unwrap_err();
}
