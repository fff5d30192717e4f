//! Attention against its definition, and its backward pass against finite differences.

use forecart_nn::{
    Attention, AttentionOutput, AttentionWorkspace, Dropout, DropoutKey, Matrix, Name, Parameters,
    Pass, Ragged, RelativeBias, Trainable, Weighting,
};

use crate::gradients::check;
use crate::{dot, random, rng};

const OFFSETS: [usize; 5] = [0, 3, 3, 4, 43];
const N_TOKENS: usize = 43;
const TRAINING: bool = true;

struct Case {
    attention: Attention,
    n_heads: usize,
    is_causal: bool,
    weighting: Weighting,
    bias: Option<RelativeBias>,
    times_ms: Vec<i64>,
    pass: Pass,
}

fn cases(pass: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    for weighting in [Weighting::Softmax, Weighting::PointwiseSilu] {
        for (n_heads, is_causal, has_bias) in [(1, true, false), (2, false, false), (2, true, true)]
        {
            let dropout = Dropout::new(if pass { 0.3 } else { 0.0 }).unwrap();
            let attention = Attention::new(n_heads, is_causal, weighting, dropout).unwrap();
            let mut rng = rng(7);
            let bias = has_bias.then(|| RelativeBias::new(50, true, &mut rng).unwrap());
            let times_ms = (0..N_TOKENS as i64).map(|i| i * i * 40).collect();
            let pass = match pass {
                true => Pass::Training { key: DropoutKey::new(1, 2), first_row: 5 },
                false => Pass::Inference,
            };
            cases.push(Case { attention, n_heads, is_causal, weighting, bias, times_ms, pass });
        }
    }
    cases
}

fn forward(case: &Case, qkv: &Matrix, d: usize, workspace: &mut AttentionWorkspace) -> Matrix {
    let mut y = Matrix::default();
    let batch = Ragged::new(&OFFSETS).unwrap();
    let bias = case.bias.as_ref().map(|bias| (bias, &case.times_ms[..]));
    let out = AttentionOutput::Write(&mut y);
    case.attention.forward(qkv, d, batch, bias, case.pass, out, workspace).unwrap();
    y
}

/// The formulas, value by value, in f64.
fn by_definition(case: &Case, qkv: &Matrix, d: usize) -> Matrix {
    let mut y = Matrix::zeros(N_TOKENS, d);
    let d_head = d / case.n_heads;
    let mut bias = Vec::new();
    if let Some(layer) = &case.bias {
        layer.visit(&Name::root(), &mut |_, value| bias.push(value.to_host()));
    }
    for rows in OFFSETS.windows(2).map(|pair| pair[0]..pair[1]) {
        for head in 0..case.n_heads {
            let value = |row: usize, third: usize, col: usize| {
                f64::from(qkv.row(row)[third * d + head * d_head + col])
            };
            for i in rows.clone() {
                let seen = rows.start..if case.is_causal { i + 1 } else { rows.end };
                let score = |j: usize| {
                    let product: f64 = (0..d_head).map(|c| value(i, 0, c) * value(j, 1, c)).sum();
                    let mut score = product / (d_head as f64).sqrt();
                    if let [position, time] = &bias[..] {
                        let gap = (case.times_ms[i] - case.times_ms[j] + 1).ilog2() as usize;
                        score += f64::from(position[position.len() - 1 - (i - j)] + time[gap]);
                    }
                    score
                };
                let scores: Vec<f64> = seen.clone().map(score).collect();
                let sum: f64 = scores.iter().map(|score| score.exp()).sum();
                for (j, score) in seen.zip(scores) {
                    let weight = match case.weighting {
                        Weighting::Softmax => score.exp() / sum,
                        Weighting::PointwiseSilu => {
                            score / (1.0 + (-score).exp()) / rows.len() as f64
                        }
                    };
                    for col in 0..d_head {
                        let sum = &mut y.row_mut(i)[head * d_head + col];
                        *sum += (weight * value(j, 2, col)) as f32;
                    }
                }
            }
        }
    }
    y
}

#[test]
fn equals_its_definition() {
    for case in cases(!TRAINING) {
        // Wider than needed: the rest of the columns must not matter.
        let qkv = random(N_TOKENS, 28, 2.0, &mut rng(1));
        let y = forward(&case, &qkv, 8, &mut AttentionWorkspace::default());
        let want = by_definition(&case, &qkv, 8);
        for (got, want) in y.as_slice().iter().zip(want.as_slice()) {
            assert!((got - want).abs() < 2e-5, "{:?}: {got} {want}", case.attention);
        }
    }
}

#[test]
fn gradients() {
    for case in cases(TRAINING).into_iter().chain(cases(!TRAINING)) {
        let what = format!("{:?}", case.attention);
        let d = 4;
        let qkv = random(N_TOKENS, 3 * d, 1.0, &mut rng(2));
        let dy = random(N_TOKENS, d, 1.0, &mut rng(3));
        let workspace = &mut AttentionWorkspace::default();
        forward(&case, &qkv, d, workspace);
        let mut d_qkv = Matrix::zeros(N_TOKENS, 3 * d);
        d_qkv.fill(f32::NAN); // overwritten
        let mut of_bias = case.bias.as_ref().map(Trainable::new_gradients);
        let bias = case.bias.as_ref().zip(of_bias.as_mut());
        let bias = bias.map(|(bias, gradients)| (bias, &case.times_ms[..], gradients));
        let batch = Ragged::new(&OFFSETS).unwrap();
        case.attention
            .backward(&qkv, d, batch, bias, case.pass, &dy, &mut d_qkv, workspace)
            .unwrap();
        check(&what, &qkv, &d_qkv, |qkv| {
            dot(&forward(&case, qkv, d, &mut AttentionWorkspace::default()), &dy)
        });
        let Some(mut gradients) = of_bias else { continue };
        // The gradient of a bias, by way of an optimizer's view of it.
        let mut analytic = Vec::new();
        let mut layer = case.bias.clone().unwrap();
        layer
            .visit_with_gradients(&gradients, &Name::root(), &mut |_, _, gradient| {
                let forecart_nn::Gradient::Dense(gradient) = gradient else { unreachable!() };
                analytic.push(gradient.clone());
                Ok(())
            })
            .unwrap();
        for (part, analytic) in analytic.iter().enumerate() {
            let mut values = Vec::new();
            case.bias
                .as_ref()
                .unwrap()
                .visit(&Name::root(), &mut |_, value| values.push(value.clone()));
            check(&format!("bias {part} of {what}"), &values[part], analytic, |moved| {
                let mut bias = case.bias.clone().unwrap();
                let mut place = 0;
                bias.visit_mut(&Name::root(), &mut |_, value| {
                    if place == part {
                        value.copy_from(moved);
                    }
                    place += 1;
                    Ok(())
                })
                .unwrap();
                let Case { attention, n_heads, is_causal, weighting, pass, .. } = case;
                let times_ms = case.times_ms.clone();
                let case = Case {
                    attention,
                    n_heads,
                    is_causal,
                    weighting,
                    bias: Some(bias),
                    times_ms,
                    pass,
                };
                dot(&forward(&case, &qkv, d, &mut AttentionWorkspace::default()), &dy)
            });
        }
        forecart_nn::Gradients::clear(&mut gradients);
    }
}

#[test]
fn wrong_shapes_are_errors() {
    let case = cases(!TRAINING).swap_remove(1); // two heads
    let run = |cols: usize, rows: usize, d: usize| {
        let (batch, mut y) = (Ragged::new(&OFFSETS).unwrap(), Matrix::default());
        let qkv = Matrix::zeros(rows, cols);
        let workspace = &mut AttentionWorkspace::default();
        let out = AttentionOutput::Write(&mut y);
        case.attention.forward(&qkv, d, batch, None, Pass::Inference, out, workspace)
    };
    assert!(run(12, N_TOKENS, 4).is_ok());
    assert!(run(11, N_TOKENS, 4).is_err());
    assert!(run(12, N_TOKENS - 1, 4).is_err());
    assert!(run(12, N_TOKENS, 3).is_err());
}

/// What is added to keeps its values, to the bit of a sum, and has to be of the shape of the result.
#[test]
fn attention_adds_to_what_stands_beside_it() {
    let (case, d) = (cases(TRAINING).swap_remove(1), 8);
    let rng = &mut rng(9);
    let (qkv, beside) = (random(N_TOKENS, 3 * d, 1.0, rng), random(N_TOKENS, d, 1.0, rng));
    let alone = forward(&case, &qkv, d, &mut AttentionWorkspace::default());
    let bias = case.bias.as_ref().map(|bias| (bias, &case.times_ms[..]));
    let add_to = |y: &mut Matrix| {
        let (batch, out) = (Ragged::new(&OFFSETS).unwrap(), AttentionOutput::AddTo(y));
        let workspace = &mut AttentionWorkspace::default();
        case.attention.forward(&qkv, d, batch, bias, case.pass, out, workspace)
    };
    let mut y = beside.clone();
    add_to(&mut y).unwrap();
    for ((y, beside), alone) in y.as_slice().iter().zip(beside.as_slice()).zip(alone.as_slice()) {
        assert_eq!(*y, beside + alone);
    }
    assert!(add_to(&mut Matrix::zeros(N_TOKENS - 1, d)).is_err());
}
