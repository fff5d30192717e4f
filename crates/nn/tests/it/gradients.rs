//! Every backward pass against finite differences.

use forecart_nn::{
    Activation, BagMode, Bags, Dropout, DropoutKey, Embedding, Linear, Matrix, Mlp, MlpConfig,
    MlpWorkspace, Name, Parameters, Pass, RowGradients, Trainable, gradient_check, loss,
};

use crate::{dot, random, rng, shaped};

/// Five-point differences of f32 losses near 1: rounding of 1e-7 over a step of 0.02 is 1e-5 where terms add up, and the
/// truncation error `0.02⁴ / 30` times the fifth derivative; both stay below for gradients from [`SMALL`] on.
const TOLERANCE: f64 = 1e-3;

/// Errors of smaller gradients count as if they were of this size.
const SMALL: f64 = 0.02;

pub(crate) fn check(
    what: &str,
    point: &Matrix,
    analytic: &Matrix,
    mut loss: impl FnMut(&Matrix) -> f64,
) {
    assert_eq!(point.shape(), analytic.shape(), "{what}");
    let mut values = point.to_host();
    let report = gradient_check(&mut values, analytic.as_slice(), 0.02, SMALL, |values| {
        loss(&shaped(point, values))
    });
    assert!(report.error < TOLERANCE, "{what}: {report:?}");
    assert_eq!(values, point.to_host(), "the point comes back unchanged");
    let moved = analytic.as_slice().iter().any(|value| value.abs() > 1e-3);
    assert!(moved, "{what}: a gradient of zeros checks nothing");
}

pub(crate) fn dense(gradients: &RowGradients) -> Matrix {
    let [rows, cols] = gradients.shape();
    let mut dense = Matrix::zeros(rows, cols);
    gradients.add_to_dense(&mut dense).unwrap();
    dense
}

#[test]
fn linear() {
    let rng = &mut rng(1);
    let (x, weight) = (random(4, 3, 1.0, rng), random(5, 3, 1.0, rng));
    let (bias, dy) = (random(1, 5, 1.0, rng), random(4, 5, 1.0, rng));
    let loss = |x: &Matrix, weight: &Matrix, bias: &Matrix| {
        let layer = Linear::from_parts(weight.clone(), Some(bias.clone())).unwrap();
        let mut y = Matrix::default();
        layer.forward(x, &mut y).unwrap();
        dot(&y, &dy)
    };
    let layer = Linear::from_parts(weight.clone(), Some(bias.clone())).unwrap();
    let (mut dx, mut gradients) = (Matrix::default(), layer.new_gradients());
    layer.backward(&x, &dy, Some(&mut dx), &mut gradients).unwrap();
    check("x", &x, &dx, |x| loss(x, &weight, &bias));
    check("weight", &weight, &gradients.weight, |weight| loss(&x, weight, &bias));
    check("bias", &bias, gradients.bias.as_ref().unwrap(), |bias| loss(&x, &weight, bias));
}

#[test]
fn activations() {
    let rng = &mut rng(2);
    let mut x = random(6, 7, 3.0, rng);
    // ReLU has a kink at 0: stay further from it than two steps of the check.
    for value in x.as_mut_slice() {
        *value += 0.1_f32.copysign(*value);
    }
    let dy = random(6, 7, 1.0, rng);
    for activation in [
        Activation::Identity,
        Activation::Relu,
        Activation::GeluTanh,
        Activation::Silu,
        Activation::Sigmoid,
        Activation::Tanh,
    ] {
        let mut dx = dy.clone();
        activation.backward(&x, &mut dx).unwrap();
        check(&format!("{activation:?}"), &x, &dx, |x| {
            let mut y = Matrix::default();
            activation.forward(x, &mut y);
            dot(&y, &dy)
        });
    }
}

#[test]
fn dropout() {
    let rng = &mut rng(3);
    let (x, dy) = (random(6, 7, 1.0, rng), random(6, 7, 1.0, rng));
    let (dropout, key) = (Dropout::new(0.4).unwrap(), DropoutKey::new(9, 3).layer(2));
    let mut dx = dy.clone();
    dropout.apply(key, 10, &mut dx);
    check("x", &x, &dx, |x| {
        let mut y = x.clone();
        dropout.apply(key, 10, &mut y);
        dot(&y, &dy)
    });
}

#[test]
fn embedding() {
    let rng = &mut rng(4);
    let (table, dy) = (random(6, 3, 1.0, rng), random(4, 3, 1.0, rng));
    let indices = [5, 0, 5, 2];
    let layer = Embedding::from_table(table.clone()).unwrap();
    let mut gradients = layer.new_gradients();
    layer.backward(&indices, &dy, &mut gradients).unwrap();
    check("table", &table, &dense(&gradients), |table| {
        let mut y = Matrix::default();
        Embedding::from_table(table.clone()).unwrap().forward(&indices, &mut y).unwrap();
        dot(&y, &dy)
    });
}

#[test]
fn embedding_bags() {
    let rng = &mut rng(5);
    let (table, dy) = (random(6, 3, 1.0, rng), random(4, 3, 1.0, rng));
    let (indices, offsets) = ([1, 4, 1, 0, 3, 5], [0, 3, 3, 4, 6]);
    let weights = [0.5, 2.0, 0.25, 1.5, 0.0, 3.0];
    for weights in [None, Some(&weights[..])] {
        let bags = Bags::new(&indices, &offsets, weights).unwrap();
        for mode in [BagMode::Sum, BagMode::Mean] {
            let layer = Embedding::from_table(table.clone()).unwrap();
            let mut gradients = layer.new_gradients();
            layer.backward_bags(bags, mode, &dy, &mut gradients).unwrap();
            check(&format!("{mode:?}"), &table, &dense(&gradients), |table| {
                let layer = Embedding::from_table(table.clone()).unwrap();
                let mut y = Matrix::default();
                layer.forward_bags(bags, mode, &mut y).unwrap();
                dot(&y, &dy)
            });
        }
    }
}

#[test]
fn binary_cross_entropy() {
    let logits = random(5, 2, 3.0, &mut rng(6));
    let targets = [1.0, 0.0, 0.3, 1.0, 0.0, 0.0, 1.0, 0.9, 0.0, 1.0];
    let weights = [1.0, 2.0, 0.5, 1.0, 3.0, 1.0, 1.0, 0.1, 1.0, 1.0];
    for weights in [None, Some(&weights[..])] {
        let loss = |logits: &Matrix, d_logits: &mut Matrix| {
            loss::bce_with_logits(logits, &targets, weights, 10.0, d_logits).unwrap()
        };
        let mut d_logits = Matrix::default();
        loss(&logits, &mut d_logits);
        check("logits", &logits, &d_logits, |logits| loss(logits, &mut Matrix::default()));
    }
}

#[test]
fn softmax_cross_entropy() {
    let logits = random(4, 5, 2.0, &mut rng(7));
    let (labels, weights) = ([4, 0, 2, 2], [1.0, 0.5, 2.0, 1.0]);
    let loss = |logits: &Matrix, d_logits: &mut Matrix| {
        loss::softmax_cross_entropy(logits, &labels, Some(&weights), 0.1, 4.0, d_logits).unwrap()
    };
    let mut d_logits = Matrix::default();
    loss(&logits, &mut d_logits);
    check("logits", &logits, &d_logits, |logits| loss(logits, &mut Matrix::default()));
}

#[test]
fn soft_cross_entropy() {
    let logits = random(4, 3, 2.0, &mut rng(7));
    let targets = shaped(&logits, &[0.2, 0.3, 0.5, 1.0, 0.0, 0.0, 0.1, 0.9, 0.0, 0.4, 0.4, 0.2]);
    let loss = |logits: &Matrix, d_logits: &mut Matrix| {
        loss::soft_cross_entropy(logits, &targets, 1.5, 4.0, d_logits).unwrap()
    };
    let mut d_logits = Matrix::default();
    loss(&logits, &mut d_logits);
    check("logits", &logits, &d_logits, |logits| loss(logits, &mut Matrix::default()));
}

#[test]
fn full_softmax() {
    let rng = &mut rng(8);
    // Three shares of items, the last one short; few enough rows that each gradient is seen.
    let (hidden, table) = (random(3, 2, 1.0, rng), random(520, 2, 2.0, rng));
    let labels = [0, 256, 519];
    let run = |hidden: &Matrix, table: &Matrix| {
        let (mut d_hidden, mut d_table) = (Matrix::default(), Matrix::zeros(520, 2));
        let gradients =
            loss::FullSoftmaxGradients { d_hidden: &mut d_hidden, d_table: &mut d_table };
        let workspace = &mut loss::FullSoftmaxWorkspace::default();
        let loss = loss::full_softmax(hidden, table, &labels, 0.1, 3.0, workspace, gradients);
        (loss.unwrap(), d_hidden, d_table)
    };
    let (_, d_hidden, d_table) = run(&hidden, &table);
    check("hidden", &hidden, &d_hidden, |hidden| run(hidden, &table).0);
    check("table", &table, &d_table, |table| run(&hidden, table).0);
}

#[test]
fn sampled_softmax() {
    let rng = &mut rng(9);
    let (hidden, table) = (random(3, 4, 1.0, rng), random(7, 4, 1.0, rng));
    let log_q = random(1, 7, 1.0, rng);
    let run = |hidden: &Matrix, table: &Matrix| {
        let candidates = loss::SampledSoftmax {
            labels: &[6, 1, 1],
            negatives: &[0, 1, 5, 0],
            log_q: Some(loss::LogQ::Items(log_q.as_slice())),
        };
        let (mut d_hidden, mut d_table) = (Matrix::default(), RowGradients::new(7, 4));
        let mut workspace = loss::SampledSoftmaxWorkspace::default();
        let gradients =
            loss::SampledSoftmaxGradients { d_hidden: &mut d_hidden, d_table: &mut d_table };
        let loss = loss::sampled_softmax(hidden, table, candidates, 3.0, &mut workspace, gradients);
        (loss.unwrap(), d_hidden, d_table)
    };
    let (_, d_hidden, d_table) = run(&hidden, &table);
    check("hidden", &hidden, &d_hidden, |hidden| run(hidden, &table).0);
    check("table", &table, &dense(&d_table), |table| run(&hidden, table).0);
}

/// The whole network, dropout and loss included, by every parameter and by its input.
#[test]
fn mlp() {
    let targets = [1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0];
    let pass = Pass::Training { key: DropoutKey::new(3, 1), first_row: 5 };
    for activation in [Activation::GeluTanh, Activation::Tanh, Activation::Sigmoid] {
        let rng = &mut rng(10);
        let config = MlpConfig { n_in: 3, hidden: vec![6, 5], n_out: 2, activation, dropout: 0.25 };
        let mlp = Mlp::new(&config, rng).unwrap();
        let x = random(5, 3, 1.0, rng);
        let loss = |mlp: &Mlp, x: &Matrix, workspace: &mut MlpWorkspace, dy: &mut Matrix| {
            let logits = mlp.forward(x, pass, workspace).unwrap();
            loss::bce_with_logits(logits, &targets, None, 10.0, dy).unwrap()
        };
        let (mut workspace, mut dy) = (MlpWorkspace::default(), Matrix::default());
        loss(&mlp, &x, &mut workspace, &mut dy);
        let (mut dx, mut gradients) = (Matrix::default(), mlp.new_gradients());
        mlp.backward(&x, &dy, Some(&mut dx), &mut workspace, &mut gradients).unwrap();
        check("x", &x, &dx, |x| {
            loss(&mlp, x, &mut MlpWorkspace::default(), &mut Matrix::default())
        });

        let mut parameters = Vec::new();
        mlp.visit(&Name::root(), &mut |name, value| {
            parameters.push((name.to_string(), value.clone()));
        });
        let flat =
            gradients.layers.iter().flat_map(|layer| [Some(&layer.weight), layer.bias.as_ref()]);
        let flat: Vec<Matrix> = flat.flatten().cloned().collect();
        for ((name, start), analytic) in parameters.iter().zip(&flat) {
            check(name, start, analytic, |moved| {
                let mut changed = mlp.clone();
                let visit = &mut |at: &Name<'_>, value: &mut Matrix| {
                    if at.to_string() == *name {
                        value.copy_from_host(moved.as_slice())
                    } else {
                        Ok(())
                    }
                };
                changed.visit_mut(&Name::root(), visit).unwrap();
                loss(&changed, &x, &mut MlpWorkspace::default(), &mut Matrix::default())
            });
        }
    }
}
