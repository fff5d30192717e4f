//! Convolution, cross network, factorization machines and target attention: finite differences, the numbers of PyTorch by
//! `tests/fixtures/make_interactions.py`, and threads.

use std::{num::NonZeroUsize, ops::Range};

use forecart_nn::{
    Activation, Conv1dConfig, Conv1dMaxPool, Conv1dWorkspace, CrossConfig, CrossLayer,
    CrossNetwork, CrossWorkspace, DataParallel, FactorizationMachine, FieldAwareMachine, Gradient,
    Gradients, Linear, Matrix, Mlp, Name, NnError, Padding, Parameters, Ragged, TargetAttention,
    TargetAttentionConfig, TargetAttentionInputs, TargetAttentionWorkspace, Trainable,
};

use crate::{dot, gradients::check, parity::Case, ragged_offsets, ragged_tile, random, rng};

/// Sequences of 5, 0, 2 and 1 tokens.
const OFFSETS: [usize; 5] = [0, 5, 5, 7, 8];

fn batch() -> Ragged<'static> {
    Ragged::new(&OFFSETS).unwrap()
}

fn case(name: &str) -> Case {
    Case::new(include_str!("../fixtures/interactions.json"), name)
}

/// The parameters with their gradients, by name.
fn list<L: Trainable + Clone>(
    layer: &L,
    gradients: &L::Gradients,
) -> Vec<(String, Matrix, Matrix)> {
    let mut list = Vec::new();
    let visit = &mut |name: &Name<'_>, value: &mut Matrix, gradient: Gradient<'_>| {
        let Gradient::Dense(gradient) = gradient else { panic!("{name} has a dense gradient") };
        list.push((name.to_string(), value.clone(), gradient.clone()));
        Ok(())
    };
    layer.clone().visit_with_gradients(gradients, &Name::root(), visit).unwrap();
    list
}

/// Every parameter against differences of `loss`.
fn check_parameters<L: Trainable + Clone>(
    layer: &L,
    gradients: &L::Gradients,
    loss: impl Fn(&L) -> f64,
) {
    for (name, start, gradient) in list(layer, gradients) {
        check(&name, &start, &gradient, |moved| {
            let mut changed = layer.clone();
            let visit = &mut |at: &Name<'_>, value: &mut Matrix| {
                if at.to_string() == name { value.copy_from_host(moved.as_slice()) } else { Ok(()) }
            };
            changed.visit_mut(&Name::root(), visit).unwrap();
            loss(&changed)
        });
    }
}

/// The gradients of a layer against a case that has them under `names`.
fn assert_gradients<L: Trainable + Clone>(
    case: &Case,
    layer: &L,
    gradients: &L::Gradients,
    names: &[(&str, &str)],
) {
    let list = list(layer, gradients);
    assert_eq!(list.len(), names.len());
    for ((name, _, gradient), (want, key)) in list.iter().zip(names) {
        assert_eq!(name, want);
        case.assert_close(key, gradient.as_slice());
    }
}

fn linear(case: &Case, weight: &str, bias: &str, n_out: usize, n_in: usize) -> Linear {
    let weight = case.matrix(weight, n_out, n_in);
    Linear::from_parts(weight, Some(case.matrix(bias, 1, n_out))).unwrap()
}

/// Trains a tile of 7 sequences at a time and demands the bits of one thread from any number of them.
fn assert_threads_agree<L: Trainable + Clone + Sync, W: Default + Send>(
    layer: &L,
    step: impl Fn(Range<usize>, &mut W, &mut L::Gradients) -> Result<f64, NnError> + Sync,
) where
    L::Gradients: Clone + Sync,
{
    let train = |n_threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        let mut runner: DataParallel<W, _> =
            DataParallel::new(NonZeroUsize::new(7).unwrap(), layer.new_gradients());
        let run = || {
            runner.run(100, || layer.new_gradients(), &step).map(|(loss, sum)| (loss, sum.clone()))
        };
        let (loss, gradients) = pool.install(run).unwrap();
        assert!(gradients.squared_norm() > 0.0);
        let bits = list(layer, &gradients).into_iter().flat_map(|(_, _, gradient)| {
            gradient.as_slice().iter().map(|value| value.to_bits()).collect::<Vec<_>>()
        });
        (loss.to_bits(), bits.collect::<Vec<_>>())
    };
    let one = train(1);
    for n_threads in [2, 3, 8] {
        assert_eq!(train(n_threads), one, "{n_threads} threads");
    }
}

fn run_conv1d(
    layer: &Conv1dMaxPool,
    x: &Matrix,
    dy: &Matrix,
) -> (Matrix, Matrix, forecart_nn::Conv1dGradients) {
    let (mut workspace, mut dx) = (Conv1dWorkspace::default(), Matrix::default());
    let mut gradients = layer.new_gradients();
    let y = layer.forward(x, batch(), &mut workspace).unwrap().clone();
    layer.backward(x, batch(), dy, Some(&mut dx), &workspace, &mut gradients).unwrap();
    (y, dx, gradients)
}

#[test]
fn conv1d() {
    for (padding, name) in [(Padding::Valid, "conv1d_valid"), (Padding::Same, "conv1d_same")] {
        let case = case(name);
        let filters = vec![
            (2, linear(&case, "weight_2", "bias_2", 4, 6)),
            (3, linear(&case, "weight_3", "bias_3", 4, 9)),
        ];
        let layer = Conv1dMaxPool::from_filters(filters, padding).unwrap();
        let (x, dy) = (case.matrix("x", 8, 3), case.matrix("dy", 4, 8));
        let (y, dx, gradients) = run_conv1d(&layer, &x, &dy);
        case.assert_close("y", y.as_slice());
        case.assert_close("d_x", dx.as_slice());
        let names = [
            ("convs.0.weight", "d_weight_2"),
            ("convs.0.bias", "d_bias_2"),
            ("convs.1.weight", "d_weight_3"),
            ("convs.1.bias", "d_bias_3"),
        ];
        assert_gradients(&case, &layer, &gradients, &names);
    }
}

#[test]
fn conv1d_gradients() {
    for padding in [Padding::Valid, Padding::Same] {
        let rng = &mut rng(41);
        let config = Conv1dConfig { n_in: 3, n_filters: 2, widths: vec![1, 2, 4], padding };
        let mut layer = Conv1dMaxPool::new(&config, rng).unwrap();
        // Answers far apart, so that no step of the check changes which window wins.
        let scale = &mut |_: &Name<'_>, value: &mut Matrix| {
            value.scale(4.0);
            Ok(())
        };
        layer.visit_mut(&Name::root(), scale).unwrap();
        let (x, dy) = (random(8, 3, 2.0, rng), random(4, 6, 1.0, rng));
        let loss = |layer: &Conv1dMaxPool, x: &Matrix| dot(&run_conv1d(layer, x, &dy).0, &dy);
        let (_, dx, gradients) = run_conv1d(&layer, &x, &dy);
        check("x", &x, &dx, |x| loss(&layer, x));
        check_parameters(&layer, &gradients, |layer| loss(layer, &x));
    }
}

#[test]
fn conv1d_threads() {
    let rng = &mut rng(42);
    let config =
        Conv1dConfig { n_in: 5, n_filters: 6, widths: vec![2, 3], padding: Padding::Valid };
    let layer = Conv1dMaxPool::new(&config, rng).unwrap();
    let offsets = ragged_offsets(100);
    let x = random(offsets[100], 5, 1.0, rng);
    let step = |sequences, ws: &mut (Conv1dWorkspace, Matrix, Vec<usize>), gradients: &mut _| {
        let (workspace, tile, ends) = ws;
        let batch = ragged_tile(&offsets, sequences, &x, tile, ends)?;
        let y = layer.forward(tile, batch, workspace)?.clone();
        layer.backward(tile, batch, &y, None, workspace, gradients)?;
        Ok(dot(&y, &y) / 2.0)
    };
    assert_threads_agree(&layer, step);
}

fn run_cross(
    layer: &CrossNetwork,
    x: &Matrix,
    dy: &Matrix,
) -> (Matrix, Matrix, forecart_nn::CrossGradients) {
    let (mut workspace, mut dx) = (CrossWorkspace::default(), Matrix::default());
    let mut gradients = layer.new_gradients();
    let y = layer.forward(x, &mut workspace).unwrap().clone();
    layer.backward(x, dy, &mut dx, &mut workspace, &mut gradients).unwrap();
    (y, dx, gradients)
}

#[test]
fn cross() {
    let full = case("cross_full");
    let layers = [("weight_0", "bias_0"), ("weight_1", "bias_1")];
    let layers =
        layers.map(|(weight, bias)| CrossLayer { v: None, u: linear(&full, weight, bias, 4, 4) });
    let full_names = [
        ("layers.0.u.weight", "d_weight_0"),
        ("layers.0.u.bias", "d_bias_0"),
        ("layers.1.u.weight", "d_weight_1"),
        ("layers.1.u.bias", "d_bias_1"),
    ];
    let full_layer = CrossNetwork::from_layers(layers.into()).unwrap();
    let low = case("cross_low_rank");
    let layers = [("v_0", "u_0", "bias_0"), ("v_1", "u_1", "bias_1")].map(|(v, u, bias)| {
        let v = Linear::from_parts(low.matrix(v, 2, 4), None).unwrap();
        CrossLayer { v: Some(v), u: linear(&low, u, bias, 4, 2) }
    });
    let low_names = [
        ("layers.0.v.weight", "d_v_0"),
        ("layers.0.u.weight", "d_u_0"),
        ("layers.0.u.bias", "d_bias_0"),
        ("layers.1.v.weight", "d_v_1"),
        ("layers.1.u.weight", "d_u_1"),
        ("layers.1.u.bias", "d_bias_1"),
    ];
    let low_layer = CrossNetwork::from_layers(layers.into()).unwrap();
    for (case, layer, names) in
        [(&full, &full_layer, &full_names[..]), (&low, &low_layer, &low_names[..])]
    {
        let (y, dx, gradients) =
            run_cross(layer, &case.matrix("x", 5, 4), &case.matrix("dy", 5, 4));
        case.assert_close("y", y.as_slice());
        case.assert_close("d_x", dx.as_slice());
        assert_gradients(case, layer, &gradients, names);
    }
    // A workspace of the other network does not fit, nor do mixed layers.
    let (x, mut workspace) = (Matrix::zeros(5, 4), CrossWorkspace::default());
    full_layer.forward(&x, &mut workspace).unwrap();
    let (mut dx, mut gradients) = (Matrix::default(), low_layer.new_gradients());
    assert!(low_layer.backward(&x, &x, &mut dx, &mut workspace, &mut gradients).is_err());
    let v = Linear::from_parts(Matrix::zeros(2, 4), None).unwrap();
    let (u, w) = (Matrix::zeros(4, 2), Matrix::zeros(4, 4));
    let u = Linear::from_parts(u, None).unwrap();
    let w = Linear::from_parts(w, None).unwrap();
    assert!(
        CrossNetwork::from_layers(vec![CrossLayer { v: Some(v), u }, CrossLayer { v: None, u: w }])
            .is_err()
    );
}

#[test]
fn cross_gradients_and_threads() {
    for rank in [None, Some(2)] {
        let rng = &mut rng(43);
        let layer = CrossNetwork::new(&CrossConfig { n_in: 4, n_layers: 3, rank }, rng).unwrap();
        let (x, dy) = (random(3, 4, 0.7, rng), random(3, 4, 1.0, rng));
        let loss = |layer: &CrossNetwork, x: &Matrix| dot(&run_cross(layer, x, &dy).0, &dy);
        let (_, dx, gradients) = run_cross(&layer, &x, &dy);
        check("x", &x, &dx, |x| loss(&layer, x));
        check_parameters(&layer, &gradients, |layer| loss(layer, &x));

        let x = random(100, 4, 1.0, rng);
        let step = |rows, ws: &mut (CrossWorkspace, Matrix, Matrix), gradients: &mut _| {
            let (workspace, tile, dx) = ws;
            tile.copy_rows_from(&x, rows);
            let y = layer.forward(tile, workspace)?.clone();
            layer.backward(tile, &y, dx, workspace, gradients)?;
            Ok(dot(&y, &y) / 2.0)
        };
        assert_threads_agree(&layer, step);
    }
}

#[test]
fn factorization_machine() {
    let machine = FactorizationMachine::new(4, 3).unwrap();
    for (name, n_out) in [("factorization_machine", 1), ("bi_interaction", 3)] {
        let case = case(name);
        let (x, dy) = (case.matrix("x", 5, 12), case.matrix("dy", 5, n_out));
        let run = |x: &Matrix| {
            let [mut y, mut sums, mut dx] = [(); 3].map(|()| Matrix::default());
            if n_out == 1 {
                machine.forward(x, &mut y, &mut sums).unwrap();
            } else {
                machine.forward_bi_interaction(x, &mut y, &mut sums).unwrap();
            }
            machine.backward(x, &dy, &sums, &mut dx).unwrap();
            (y, dx)
        };
        let (y, dx) = run(&x);
        case.assert_close("y", y.as_slice());
        case.assert_close("d_x", dx.as_slice());
        check(name, &x, &dx, |x| dot(&run(x).0, &dy));
    }
    let [mut y, mut sums] = [(); 2].map(|()| Matrix::default());
    assert!(machine.forward(&Matrix::zeros(2, 11), &mut y, &mut sums).is_err());
    assert!(FactorizationMachine::new(0, 3).is_err());
}

#[test]
fn field_aware_machine() {
    let machine = FieldAwareMachine::new(4, 3).unwrap();
    let case = case("field_aware_machine");
    let (x, dy) = (case.matrix("x", 5, 36), case.matrix("dy", 5, 1));
    let run = |x: &Matrix| {
        let [mut y, mut dx] = [(); 2].map(|()| Matrix::default());
        machine.forward(x, &mut y).unwrap();
        machine.backward(x, &dy, &mut dx).unwrap();
        (y, dx)
    };
    let (y, dx) = run(&x);
    case.assert_close("y", y.as_slice());
    case.assert_close("d_x", dx.as_slice());
    check("field-aware machine", &x, &dx, |x| dot(&run(x).0, &dy));
    let mut y = Matrix::default();
    assert!(machine.forward(&Matrix::zeros(2, 35), &mut y).is_err());
    assert!(FieldAwareMachine::new(1, 3).is_err());
    assert!(FieldAwareMachine::new(2, 0).is_err());
}

#[test]
fn a_large_field_does_not_hide_the_others() {
    // The difference of squares loses 1e4² + 1 in f32 and would say 0 or 8.
    let machine = FactorizationMachine::new(3, 1).unwrap();
    let [mut y, mut sums] = [(); 2].map(|()| Matrix::default());
    let x = Matrix::from_rows(&[[1e4, 1e-4, 2.0]]);
    machine.forward(&x, &mut y, &mut sums).unwrap();
    assert!((y.as_slice()[0] - 20_001.0).abs() < 0.01, "{y:?}");
}

fn run_attention(
    layer: &TargetAttention,
    history: &Matrix,
    targets: &Matrix,
    dy: &Matrix,
) -> (Matrix, [Matrix; 2], forecart_nn::TargetAttentionGradients) {
    let mut workspace = TargetAttentionWorkspace::default();
    let [mut d_history, mut d_targets] = [(); 2].map(|()| Matrix::default());
    let mut gradients = layer.new_gradients();
    let y = layer.forward(history, batch(), targets, &mut workspace).unwrap().clone();
    let inputs = TargetAttentionInputs { d_history: &mut d_history, d_targets: &mut d_targets };
    let of = (history, batch(), targets);
    layer.backward(of, dy, inputs, &mut workspace, &mut gradients).unwrap();
    (y, [d_history, d_targets], gradients)
}

#[test]
fn target_attention() {
    for (softmax, name) in [(false, "target_attention"), (true, "target_attention_softmax")] {
        let case = case(name);
        let layers = vec![
            linear(&case, "weight_0", "bias_0", 5, 12),
            linear(&case, "weight_1", "bias_1", 1, 5),
        ];
        let unit = Mlp::from_layers(layers, Activation::Sigmoid, 0.0).unwrap();
        let layer = TargetAttention::from_unit(unit, softmax).unwrap();
        let (history, targets) = (case.matrix("history", 8, 3), case.matrix("targets", 4, 3));
        let dy = case.matrix("dy", 4, 3);
        let (y, [d_history, d_targets], gradients) = run_attention(&layer, &history, &targets, &dy);
        case.assert_close("y", y.as_slice());
        case.assert_close("d_history", d_history.as_slice());
        case.assert_close("d_targets", d_targets.as_slice());
        let names = [
            ("unit.layers.0.weight", "d_weight_0"),
            ("unit.layers.0.bias", "d_bias_0"),
            ("unit.layers.1.weight", "d_weight_1"),
            ("unit.layers.1.bias", "d_bias_1"),
        ];
        assert_gradients(&case, &layer, &gradients, &names);
    }
}

#[test]
fn target_attention_gradients() {
    let rng = &mut rng(44);
    let config = TargetAttentionConfig {
        n_dims: 3,
        hidden: vec![5, 4],
        activation: Activation::Sigmoid,
        softmax: false,
    };
    let layer = TargetAttention::new(&config, rng).unwrap();
    let (history, targets) = (random(8, 3, 1.0, rng), random(4, 3, 1.0, rng));
    let dy = random(4, 3, 1.0, rng);
    let loss = |layer: &TargetAttention, history: &Matrix, targets: &Matrix| {
        dot(&run_attention(layer, history, targets, &dy).0, &dy)
    };
    let (_, [d_history, d_targets], gradients) = run_attention(&layer, &history, &targets, &dy);
    check("history", &history, &d_history, |history| loss(&layer, history, &targets));
    check("targets", &targets, &d_targets, |targets| loss(&layer, &history, targets));
    check_parameters(&layer, &gradients, |layer| loss(layer, &history, &targets));
    // A unit must be made for four vectors and one weight.
    let unit = |n_in, n_out| {
        let linear = Linear::from_parts(Matrix::zeros(n_out, n_in), None).unwrap();
        Mlp::from_layers(vec![linear], Activation::Relu, 0.0).unwrap()
    };
    assert!(TargetAttention::from_unit(unit(12, 1), false).is_ok());
    assert!(TargetAttention::from_unit(unit(13, 1), false).is_err());
    assert!(TargetAttention::from_unit(unit(12, 2), false).is_err());
}

#[test]
fn target_attention_threads() {
    let rng = &mut rng(45);
    let config = TargetAttentionConfig {
        n_dims: 4,
        hidden: vec![6],
        activation: Activation::Sigmoid,
        softmax: false,
    };
    let layer = TargetAttention::new(&config, rng).unwrap();
    let offsets = ragged_offsets(100);
    let (history, targets) = (random(offsets[100], 4, 1.0, rng), random(100, 4, 1.0, rng));
    type Tile = (TargetAttentionWorkspace, [Matrix; 4], Vec<usize>);
    let step = |sequences: Range<usize>, (workspace, tile, ends): &mut Tile, gradients: &mut _| {
        let [tokens, items, d_history, d_targets] = tile;
        items.copy_rows_from(&targets, sequences.clone());
        let batch = ragged_tile(&offsets, sequences, &history, tokens, ends)?;
        let y = layer.forward(tokens, batch, items, workspace)?.clone();
        let inputs = TargetAttentionInputs { d_history, d_targets };
        layer.backward((tokens, batch, items), &y, inputs, workspace, gradients)?;
        Ok(dot(&y, &y) / 2.0)
    };
    assert_threads_agree(&layer, step);
}
