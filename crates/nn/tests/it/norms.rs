//! Normalization: finite differences, the numbers of PyTorch by `tests/fixtures/make_norms.py`, and threads.

use std::num::NonZeroUsize;

use forecart_nn::{
    DataParallel, LayerNorm, LayerNormCache, LayerNormGradients, Matrix, RmsNorm, RmsNormCache,
    RmsNormGradients, Trainable,
};

use crate::{dot, gradients::check, parity::Case, random, rng};

fn case(name: &str) -> Case {
    Case::new(include_str!("../fixtures/norms.json"), name)
}

/// Output, gradient of the input and gradients of the parameters.
fn layer_norm(
    x: &Matrix,
    weight: &Matrix,
    bias: &Matrix,
    dy: &Matrix,
) -> (Matrix, Matrix, LayerNormGradients) {
    let layer = LayerNorm::from_parts(weight.clone(), bias.clone()).unwrap();
    let (mut y, mut cache) = (Matrix::default(), LayerNormCache::default());
    layer.forward(x, &mut y, &mut cache).unwrap();
    let (mut dx, mut gradients) = (Matrix::default(), layer.new_gradients());
    layer.backward(x, dy, &mut dx, &cache, &mut gradients).unwrap();
    (y, dx, gradients)
}

fn rms_norm(x: &Matrix, weight: &Matrix, dy: &Matrix) -> (Matrix, Matrix, Matrix) {
    let layer = RmsNorm::from_parts(weight.clone()).unwrap();
    let (mut y, mut cache) = (Matrix::default(), RmsNormCache::default());
    layer.forward(x, &mut y, &mut cache).unwrap();
    let (mut dx, mut gradients) = (Matrix::default(), layer.new_gradients());
    layer.backward(x, dy, &mut dx, &cache, &mut gradients).unwrap();
    (y, dx, gradients.weight)
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let rng = &mut rng(21);
    let (x, dy) = (random(3, 18, 2.0, rng), random(3, 18, 1.0, rng));
    let (weight, bias) = (random(1, 18, 1.0, rng), random(1, 18, 1.0, rng));

    let loss =
        |x: &Matrix, weight: &Matrix, bias: &Matrix| dot(&layer_norm(x, weight, bias, &dy).0, &dy);
    let (_, dx, gradients) = layer_norm(&x, &weight, &bias, &dy);
    check("x", &x, &dx, |x| loss(x, &weight, &bias));
    check("weight", &weight, &gradients.weight, |weight| loss(&x, weight, &bias));
    check("bias", &bias, &gradients.bias, |bias| loss(&x, &weight, bias));

    let loss = |x: &Matrix, weight: &Matrix| dot(&rms_norm(x, weight, &dy).0, &dy);
    let (_, dx, d_weight) = rms_norm(&x, &weight, &dy);
    check("x", &x, &dx, |x| loss(x, &weight));
    check("weight", &weight, &d_weight, |weight| loss(&x, weight));
}

#[test]
fn numbers_are_those_of_pytorch() {
    let case_layer = case("layer_norm");
    let (x, dy) = (case_layer.matrix("x", 5, 19), case_layer.matrix("dy", 5, 19));
    let (weight, bias) = (case_layer.matrix("weight", 1, 19), case_layer.matrix("bias", 1, 19));
    let (y, dx, gradients) = layer_norm(&x, &weight, &bias, &dy);
    case_layer.assert_close("y", y.as_slice());
    case_layer.assert_close("d_x", dx.as_slice());
    case_layer.assert_close("d_weight", gradients.weight.as_slice());
    case_layer.assert_close("d_bias", gradients.bias.as_slice());

    let case_rms = case("rms_norm");
    let (y, dx, d_weight) = rms_norm(&x, &weight, &dy);
    case_rms.assert_close("y", y.as_slice());
    case_rms.assert_close("d_x", dx.as_slice());
    case_rms.assert_close("d_weight", d_weight.as_slice());
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let rng = &mut rng(22);
    let (x, dy) = (random(300, 24, 1.0, rng), random(300, 24, 1.0, rng));
    let (layer_norm, rms_norm) = (LayerNorm::new(24), RmsNorm::new(24));
    let new_gradients = || (layer_norm.new_gradients(), rms_norm.new_gradients());
    let train = |n_threads: usize| {
        type Workspace = ([Matrix; 6], LayerNormCache, RmsNormCache);
        let mut runner: DataParallel<Workspace, _> =
            DataParallel::new(NonZeroUsize::new(7).unwrap(), new_gradients());
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        let step = |rows: std::ops::Range<usize>, ws: &mut Workspace, gradients: &mut _| {
            let ([tile, dy_tile, h, y, dh, dx], for_layer, for_rms) = ws;
            let (d_layer, d_rms): &mut (LayerNormGradients, RmsNormGradients) = gradients;
            tile.copy_rows_from(&x, rows.clone());
            dy_tile.copy_rows_from(&dy, rows);
            layer_norm.forward(tile, h, for_layer)?;
            rms_norm.forward(h, y, for_rms)?;
            rms_norm.backward(h, dy_tile, dh, for_rms, d_rms)?;
            layer_norm.backward(tile, dh, dx, for_layer, d_layer)?;
            Ok(dot(y, dy_tile))
        };
        let (loss, (d_layer, d_rms)) =
            pool.install(|| runner.run(300, new_gradients, step)).unwrap();
        let gradients =
            [&d_layer.weight, &d_layer.bias, &d_rms.weight].map(Matrix::to_host).concat();
        (loss.to_bits(), gradients.iter().map(|value| value.to_bits()).collect::<Vec<_>>())
    };
    let one = train(1);
    for n_threads in [2, 5] {
        assert_eq!(train(n_threads), one, "{n_threads} threads");
    }
}
