//! Optimizers over rows, and a whole run: the numbers of PyTorch by `tests/fixtures/make_lazy_rows.py`, and threads.

use forecart_nn::optim::{Decay, Schedule};
use forecart_nn::{
    AdaGrad, Adam, Embedding, Linear, Matrix, Optimizer, RowGradients, RowWiseAdaGrad, Rule, Sgd,
    Trainable,
};

use crate::{
    parity::{Case, assert_close},
    random, rng,
};

fn case(name: &str) -> Case {
    Case::new(include_str!("../fixtures/lazy_rows.json"), name)
}

#[test]
fn lazy_rows() {
    let adam = Adam { learning_rate: 0.1, ..Adam::default() };
    let rules: [(&str, Rule); 3] = [
        ("adagrad", AdaGrad { learning_rate: 0.1, ..AdaGrad::default() }.into()),
        ("adam", adam.into()),
        ("adamw", Adam { weight_decay: 0.05, ..adam }.into()),
    ];
    for (name, rule) in rules {
        let case = case(name);
        let mut layer = Embedding::from_table(case.matrix("start", 4, 3)).unwrap();
        let mut optimizer = Optimizer::new(rule).unwrap();
        let parts =
            case.lists("touched").into_iter().zip(case.lists("gradients")).zip(case.lists("steps"));
        for (step, ((touched, gradients), want)) in parts.enumerate() {
            let mut sums = RowGradients::new(4, 3);
            for (row, gradient) in touched.iter().zip(gradients.chunks_exact(3)) {
                sums.add_to_row(*row as u32, gradient, 1.0);
            }
            optimizer.step(&mut layer, &mut sums).unwrap();
            assert_close(&format!("{name}, step {step}"), layer.table().as_slice(), &want);
        }
    }
}

#[test]
fn a_run_with_schedule_clipping_and_decay() {
    let case = case("run");
    let peak = 0.05;
    let decay = Decay::Cosine { n_steps: 10, floor: 0.1 };
    let schedule = Schedule { n_warm_up: 3, decay };
    let rule = Adam { learning_rate: peak, weight_decay: 0.1, ..Adam::default() };
    let mut optimizer = Optimizer::new(rule).unwrap().with_clip_norm(1.5).unwrap();
    let bias = case.matrix("bias", 1, 2);
    let mut layer = Linear::from_parts(case.matrix("weight", 2, 3), Some(bias)).unwrap();
    let mut gradients = layer.new_gradients();
    let (d_weight, d_bias) = (case.lists("d_weight"), case.lists("d_bias"));
    let (rates, norms) = (case.floats("rates"), case.floats("norms"));
    for (step, want) in case.lists("steps").iter().enumerate() {
        gradients.weight.copy_from_host(&d_weight[step]).unwrap();
        let d_bias = Matrix::from_vec(1, 2, d_bias[step].clone()).unwrap();
        gradients.bias.as_mut().unwrap().copy_from(&d_bias);
        let rate = peak * schedule.share(step as u64);
        assert_close(&format!("rate of step {step}"), &[rate], &rates[step..=step]);
        optimizer.set_learning_rate(rate).unwrap();
        let norm = optimizer.step(&mut layer, &mut gradients).unwrap();
        assert_close(&format!("norm of step {step}"), &[norm as f32], &norms[step..=step]);
        let got = [layer.weight().as_slice(), layer.bias().unwrap().as_slice()].concat();
        assert_close(&format!("step {step}"), &got, want);
    }
    let n_clipped = norms.iter().filter(|norm| **norm > 1.5).count();
    assert!(0 < n_clipped && n_clipped < norms.len(), "some steps are clipped, some are not");
}

/// Large enough that every kind of update is shared out.
#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let rng = &mut rng(61);
    let (dense, table) = (random(300, 150, 1.0, rng), random(3000, 20, 1.0, rng));
    let (d_dense, d_table) = (random(300, 150, 1.0, rng), random(2000, 20, 1.0, rng));
    let rules: [Rule; 4] = [
        Sgd { momentum: 0.9, l2: 0.01, ..Sgd::default() }.into(),
        AdaGrad::default().into(),
        RowWiseAdaGrad::default().into(),
        Adam { weight_decay: 0.1, ..Adam::default() }.into(),
    ];
    for rule in rules {
        let train = |n_threads: usize| {
            let mut layer = Linear::from_parts(dense.clone(), None).unwrap();
            let mut items = Embedding::from_table(table.clone()).unwrap();
            let mut for_layer = Optimizer::new(rule).unwrap();
            let mut for_items = Optimizer::new(rule).unwrap();
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            for step in 0..3 {
                let mut of_layer = layer.new_gradients();
                of_layer.weight.copy_from(&d_dense);
                let mut of_items = items.new_gradients();
                for row in 0..2000 {
                    of_items.add_to_row((row * 7 + step) % 3000, d_table.row(row as usize), 1.0);
                }
                pool.install(|| {
                    for_layer.step(&mut layer, &mut of_layer).unwrap();
                    for_items.step(&mut items, &mut of_items).unwrap();
                });
            }
            let values = layer.weight().as_slice().iter().chain(items.table().as_slice());
            values.map(|value| value.to_bits()).collect::<Vec<_>>()
        };
        let one = train(1);
        for n_threads in [2, 3, 8] {
            assert!(train(n_threads) == one, "{rule:?}, {n_threads} threads");
        }
    }
}
