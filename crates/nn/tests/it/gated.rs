//! Gated layers: finite differences, the numbers of PyTorch by `tests/fixtures/make_gated.py`, and threads.

use std::num::NonZeroUsize;

use forecart_nn::{
    Activation, DataParallel, GatedResidual, GatedResidualGradients, GatedResidualWorkspace,
    Linear, Matrix, Name, Parameters, SwiGlu, SwiGluGradients, SwiGluWorkspace, Trainable,
};

use crate::{dot, gradients::check, parity::Case, random, rng};

fn case(name: &str) -> Case {
    Case::new(include_str!("../fixtures/gated.json"), name)
}

fn linear(weight: &Matrix, bias: &Matrix) -> Linear {
    Linear::from_parts(weight.clone(), Some(bias.clone())).unwrap()
}

/// Output, gradient of the input and gradients of `w12`, `b12`, `w3` and `b3`.
fn swiglu(x: &Matrix, [w12, b12, w3, b3]: [&Matrix; 4], dy: &Matrix) -> [Matrix; 6] {
    let layer = SwiGlu::from_parts(linear(w12, b12), linear(w3, b3)).unwrap();
    let (mut y, mut workspace) = (Matrix::default(), SwiGluWorkspace::default());
    layer.forward(x, &mut y, &mut workspace).unwrap();
    let (mut dx, mut gradients) = (Matrix::default(), layer.new_gradients());
    layer.backward(x, dy, Some(&mut dx), &mut workspace, &mut gradients).unwrap();
    let SwiGluGradients { w12: d_w12, w3: d_w3 } = gradients;
    [y, dx, d_w12.weight, d_w12.bias.unwrap(), d_w3.weight, d_w3.bias.unwrap()]
}

/// Output and gradients of `x`, `f`, `weight` and `bias`.
fn residual([x, f, weight, bias]: [&Matrix; 4], dy: &Matrix) -> [Matrix; 5] {
    let layer = GatedResidual::from_parts(linear(weight, bias)).unwrap();
    let (mut y, mut workspace) = (Matrix::default(), GatedResidualWorkspace::default());
    layer.forward(x, f, &mut y, &mut workspace).unwrap();
    let (mut dx, mut df, mut gradients) =
        (Matrix::default(), Matrix::default(), layer.new_gradients());
    layer.backward(x, f, dy, &mut dx, &mut df, &mut workspace, &mut gradients).unwrap();
    [y, dx, df, gradients.gate.weight, gradients.gate.bias.unwrap()]
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let rng = &mut rng(31);
    let (x, dy) = (random(4, 3, 1.0, rng), random(4, 2, 1.0, rng));
    let (w12, b12) = (random(10, 3, 1.0, rng), random(1, 10, 1.0, rng));
    let (w3, b3) = (random(2, 5, 1.0, rng), random(1, 2, 1.0, rng));
    let parts = [&x, &w12, &b12, &w3, &b3];
    let loss =
        |[x, w12, b12, w3, b3]: [&Matrix; 5]| dot(&swiglu(x, [w12, b12, w3, b3], &dy)[0], &dy);
    let [_, analytic @ ..] = swiglu(&x, [&w12, &b12, &w3, &b3], &dy);
    for (which, analytic) in analytic.iter().enumerate() {
        check(&format!("SwiGLU {which}"), parts[which], analytic, |moved| {
            let mut parts = parts;
            parts[which] = moved;
            loss(parts)
        });
    }

    let (x, f) = (random(4, 3, 1.0, rng), random(4, 3, 1.0, rng));
    let (weight, bias) = (random(3, 3, 1.0, rng), random(1, 3, 1.0, rng));
    let dy = random(4, 3, 1.0, rng);
    let parts = [&x, &f, &weight, &bias];
    let [_, analytic @ ..] = residual(parts, &dy);
    for (which, analytic) in analytic.iter().enumerate() {
        check(&format!("residual {which}"), parts[which], analytic, |moved| {
            let mut parts = parts;
            parts[which] = moved;
            dot(&residual(parts, &dy)[0], &dy)
        });
    }
}

#[test]
fn numbers_are_those_of_pytorch() {
    let case_silu = case("silu");
    let (x, mut dy) = (case_silu.matrix("x", 3, 4), case_silu.matrix("dy", 3, 4));
    let mut y = Matrix::default();
    Activation::Silu.forward(&x, &mut y);
    Activation::Silu.backward(&x, &mut dy).unwrap();
    case_silu.assert_close("y", y.as_slice());
    case_silu.assert_close("d_x", dy.as_slice());

    let case_swiglu = case("swiglu");
    let matrix = |key, rows, cols| case_swiglu.matrix(key, rows, cols);
    let (w12, b12) = (matrix("w12", 10, 3), matrix("b12", 1, 10));
    let (w3, b3) = (matrix("w3", 2, 5), matrix("b3", 1, 2));
    let got = swiglu(&matrix("x", 4, 3), [&w12, &b12, &w3, &b3], &matrix("dy", 4, 2));
    for (key, got) in ["y", "d_x", "d_w12", "d_b12", "d_w3", "d_b3"].iter().zip(&got) {
        case_swiglu.assert_close(key, got.as_slice());
    }

    let case = case("gated_residual");
    let (x, f, dy) = (case.matrix("x", 4, 3), case.matrix("f", 4, 3), case.matrix("dy", 4, 3));
    let got = residual([&x, &f, &case.matrix("weight", 3, 3), &case.matrix("bias", 1, 3)], &dy);
    for (key, got) in ["y", "d_x", "d_f", "d_weight", "d_bias"].iter().zip(&got) {
        case.assert_close(key, got.as_slice());
    }
}

#[test]
fn parameters_have_stable_names() {
    let rng = &mut rng(32);
    let mut found = Vec::new();
    let mut add = |name: &Name<'_>, value: &Matrix| found.push((name.to_string(), value.shape()));
    SwiGlu::new(3, 5, 2, true, rng).unwrap().visit(&Name::root(), &mut add);
    SwiGlu::new(3, 5, 2, false, rng).unwrap().visit(&Name::root(), &mut add);
    GatedResidual::new(3, rng).unwrap().visit(&Name::root(), &mut add);
    let want = [
        ("w12.weight", [10, 3]),
        ("w12.bias", [1, 10]),
        ("w3.weight", [2, 5]),
        ("w3.bias", [1, 2]),
        ("w12.weight", [10, 3]),
        ("w3.weight", [2, 5]),
        ("gate.weight", [3, 3]),
        ("gate.bias", [1, 3]),
    ];
    assert_eq!(found, want.map(|(name, shape)| (name.to_string(), shape)));
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let rng = &mut rng(33);
    let (x, dy) = (random(300, 8, 1.0, rng), random(300, 8, 1.0, rng));
    let feed_forward = SwiGlu::new(8, 20, 8, true, rng).unwrap();
    let residual = GatedResidual::new(8, rng).unwrap();
    let new_gradients = || (feed_forward.new_gradients(), residual.new_gradients());
    let train = |n_threads: usize| {
        type Workspace = ([Matrix; 6], SwiGluWorkspace, GatedResidualWorkspace);
        let mut runner: DataParallel<Workspace, _> =
            DataParallel::new(NonZeroUsize::new(7).unwrap(), new_gradients());
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        let step = |rows: std::ops::Range<usize>, ws: &mut Workspace, gradients: &mut _| {
            let ([tile, dy_tile, f, y, dx, df], for_f, for_gate) = ws;
            let (d_f, d_gate): &mut (SwiGluGradients, GatedResidualGradients) = gradients;
            tile.copy_rows_from(&x, rows.clone());
            dy_tile.copy_rows_from(&dy, rows);
            feed_forward.forward(tile, f, for_f)?;
            residual.forward(tile, f, y, for_gate)?;
            residual.backward(tile, f, dy_tile, dx, df, for_gate, d_gate)?;
            feed_forward.backward(tile, df, None, for_f, d_f)?;
            Ok(dot(y, dy_tile))
        };
        let (loss, (of_f, of_gate)) =
            pool.install(|| runner.run(300, new_gradients, step)).unwrap();
        let gradients =
            [&of_f.w12.weight, &of_f.w3.weight, &of_gate.gate.weight].map(Matrix::to_host).concat();
        (loss.to_bits(), gradients.iter().map(|value| value.to_bits()).collect::<Vec<_>>())
    };
    let one = train(1);
    for n_threads in [2, 5] {
        assert_eq!(train(n_threads), one, "{n_threads} threads");
    }
}
