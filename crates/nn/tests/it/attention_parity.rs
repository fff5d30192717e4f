//! Attention: the numbers of PyTorch by `tests/fixtures/make_attention.py`, and threads.

use std::num::NonZeroUsize;
use std::ops::Range;

use forecart_nn::{
    Attention, AttentionOutput, AttentionWorkspace, DataParallel, Dropout, DropoutKey, Gradient,
    Matrix, Name, Parameters, Pass, Ragged, RelativeBias, RelativeBiasGradients, Trainable,
    Weighting,
};

use crate::{dot, parity::Case, ragged_offsets, ragged_tile, random, rng};

const D: usize = 4;

/// A bias for 40 tokens with the numbers of the fixture.
fn bias_of(case: &Case) -> RelativeBias {
    let mut bias = RelativeBias::new(40, true, &mut rng(1)).unwrap();
    let visit = &mut |name: &Name<'_>, value: &mut Matrix| {
        value.copy_from_host(&case.floats(&name.to_string()))
    };
    bias.visit_mut(&Name::root(), visit).unwrap();
    bias
}

fn gradients_of(
    bias: &mut RelativeBias,
    gradients: &RelativeBiasGradients,
) -> Vec<(String, Matrix)> {
    let mut list = Vec::new();
    let visit = &mut |name: &Name<'_>, _: &mut Matrix, gradient: Gradient<'_>| {
        let Gradient::Dense(gradient) = gradient else { panic!("{name} has a dense gradient") };
        list.push((name.to_string(), gradient.clone()));
        Ok(())
    };
    bias.visit_with_gradients(gradients, &Name::root(), visit).unwrap();
    list
}

fn assert_is_pytorch(name: &str, attention: Attention, pass: Pass, has_bias: bool) {
    let case = Case::new(include_str!("../fixtures/attention.json"), name);
    let offsets: Vec<usize> = case.integers("offsets").iter().map(|&at| at as usize).collect();
    let batch = Ragged::new(&offsets).unwrap();
    let n = batch.n_tokens();
    let (qkv, dy) = (case.matrix("qkv", n, 3 * D), case.matrix("dy", n, D));
    let mut bias = has_bias.then(|| bias_of(&case));
    let times_ms = if has_bias { case.integers("times_ms") } else { Vec::new() };
    let (mut y, mut d_qkv) = (Matrix::default(), Matrix::zeros(n, 3 * D));
    let workspace = &mut AttentionWorkspace::default();
    let with_times = bias.as_ref().map(|bias| (bias, &times_ms[..]));
    let out = AttentionOutput::Write(&mut y);
    attention.forward(&qkv, D, batch, with_times, pass, out, workspace).unwrap();
    case.assert_close("y", y.as_slice());
    let mut gradients = bias.as_ref().map(Trainable::new_gradients);
    let with_times = bias.as_ref().zip(gradients.as_mut());
    let with_times = with_times.map(|(bias, gradients)| (bias, &times_ms[..], gradients));
    attention.backward(&qkv, D, batch, with_times, pass, &dy, &mut d_qkv, workspace).unwrap();
    case.assert_close("d_qkv", d_qkv.as_slice());
    if let (Some(bias), Some(gradients)) = (&mut bias, &gradients) {
        let list = gradients_of(bias, gradients);
        assert_eq!(list.len(), 2);
        for (name, gradient) in list {
            case.assert_close(&format!("d_{name}"), gradient.as_slice());
        }
    }
}

#[test]
fn numbers_are_those_of_pytorch() {
    let new = |n_heads, is_causal, weighting, dropout| {
        Attention::new(n_heads, is_causal, weighting, Dropout::new(dropout).unwrap()).unwrap()
    };
    let pass = Pass::Inference;
    for n_heads in [1, 2] {
        for (name, is_causal) in [("causal", true), ("bidirectional", false)] {
            let attention = new(n_heads, is_causal, Weighting::Softmax, 0.0);
            assert_is_pytorch(&format!("softmax_{name}_{n_heads}"), attention, pass, false);
        }
    }
    let training = Pass::Training { key: DropoutKey::new(11, 3), first_row: 6 };
    assert_is_pytorch("softmax_dropout", new(2, true, Weighting::Softmax, 0.25), training, false);
    let pointwise = |n_heads| new(n_heads, true, Weighting::PointwiseSilu, 0.0);
    assert_is_pytorch("hstu_1", pointwise(1), pass, false);
    assert_is_pytorch("hstu_bias_2", pointwise(2), pass, true);
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let offsets = ragged_offsets(100);
    let n = offsets[100];
    let (qkv, dy) = (random(n, 3 * D, 1.0, &mut rng(51)), random(n, D, 1.0, &mut rng(52)));
    let times_ms: Vec<i64> = (0..n as i64).map(|i| i * i * 40).collect();
    for weighting in [Weighting::Softmax, Weighting::PointwiseSilu] {
        let attention = Attention::new(2, true, weighting, Dropout::new(0.2).unwrap()).unwrap();
        let bias = RelativeBias::new(6, true, &mut rng(53)).unwrap();
        let train = |n_threads: usize| {
            type Workspace = ([Matrix; 4], Vec<usize>, AttentionWorkspace);
            let mut runner: DataParallel<Workspace, _> =
                DataParallel::new(NonZeroUsize::new(7).unwrap(), bias.new_gradients());
            let tile = |sequences: Range<usize>, ws: &mut Workspace, gradients: &mut _| {
                let ([tile, d_tile, y, d_qkv], ends, workspace) = ws;
                let rows = offsets[sequences.start]..offsets[sequences.end];
                let batch = ragged_tile(&offsets, sequences, &qkv, tile, ends)?;
                d_tile.copy_rows_from(&dy, rows.clone());
                let key = DropoutKey::new(5, 1);
                let pass = Pass::Training { key, first_row: rows.start };
                let times_ms = &times_ms[rows];
                let (learned, out) = (Some((&bias, times_ms)), AttentionOutput::Write(y));
                attention.forward(tile, D, batch, learned, pass, out, workspace)?;
                d_qkv.reshape(tile.rows(), tile.cols());
                let bias = Some((&bias, times_ms, gradients));
                attention.backward(tile, D, batch, bias, pass, d_tile, d_qkv, workspace)?;
                Ok(dot(y, d_tile) + dot(d_qkv, tile))
            };
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            let (loss, gradients) =
                pool.install(|| runner.run(100, || bias.new_gradients(), tile)).unwrap();
            let list = gradients_of(&mut bias.clone(), gradients);
            let values = list.iter().flat_map(|(_, gradient)| gradient.as_slice());
            (loss.to_bits(), values.map(|value| value.to_bits()).collect::<Vec<_>>())
        };
        let one = train(1);
        assert!(one.1.iter().any(|bits| f32::from_bits(*bits).abs() > 0.01));
        for n_threads in [2, 3, 8] {
            assert_eq!(train(n_threads), one, "{weighting:?}, {n_threads} threads");
        }
    }
}
