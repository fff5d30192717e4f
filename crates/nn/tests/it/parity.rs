//! Numbers of an independent implementation: PyTorch 2.15.0 by `tests/fixtures/make_reference.py`, in f64 from f32
//! inputs, so that what is measured is the rounding of this crate.

use forecart_nn::{
    Activation, AdaGrad, Adam, BagMode, Bags, Bf16Table, Dropout, DropoutKey, Embedding, Gradients,
    Linear, Matrix, Mlp, MlpWorkspace, Optimizer, Pass, RowGradients, RowWiseAdaGrad, Rule, Sgd,
    Trainable, loss,
};
use serde_json::Value;

/// One case of a fixture.
pub(crate) struct Case(Value);

fn case(name: &str) -> Case {
    Case::new(include_str!("../fixtures/reference.json"), name)
}

fn floats(value: &Value) -> Vec<f32> {
    let number = |value: &Value| value.as_f64().expect("the fixture holds numbers") as f32;
    value.as_array().expect("the fixture holds lists").iter().map(number).collect()
}

impl Case {
    pub(crate) fn new(fixture: &str, name: &str) -> Self {
        let fixture: Value = serde_json::from_str(fixture).unwrap();
        Self(fixture[name].clone())
    }

    pub(crate) fn floats(&self, key: &str) -> Vec<f32> {
        floats(&self.0[key])
    }

    /// A list of lists.
    pub(crate) fn lists(&self, key: &str) -> Vec<Vec<f32>> {
        self.0[key].as_array().expect("the fixture holds lists").iter().map(floats).collect()
    }

    /// Numbers that f32 cannot hold.
    pub(crate) fn integers(&self, key: &str) -> Vec<i64> {
        let list = self.0[key].as_array().expect("the fixture holds lists");
        list.iter().map(|value| value.as_i64().expect("a whole number")).collect()
    }

    pub(crate) fn indices(&self, key: &str) -> Vec<u32> {
        self.floats(key).iter().map(|&index| index as u32).collect()
    }

    pub(crate) fn matrix(&self, key: &str, rows: usize, cols: usize) -> Matrix {
        Matrix::from_vec(rows, cols, self.floats(key)).unwrap()
    }

    /// f32 rounding over sums of some ten terms near 1: relative to the largest value or absolute.
    pub(crate) fn assert_close(&self, key: &str, got: &[f32]) {
        assert_close(key, got, &self.floats(key));
    }

    pub(crate) fn assert_loss(&self, got: f64) {
        let want = self.0["loss"].as_f64().unwrap();
        assert!((got - want).abs() < 2e-6 * want.abs().max(1.0), "loss: got {got}, want {want}");
    }
}

pub(crate) fn assert_close(what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = want.iter().fold(1.0_f32, |max, value| max.max(value.abs()));
    for (position, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() < 2e-6 * scale, "{what}[{position}]: got {got}, want {want}");
    }
}

fn dense(gradients: &RowGradients) -> Matrix {
    let [rows, cols] = gradients.shape();
    let mut dense = Matrix::zeros(rows, cols);
    gradients.add_to_dense(&mut dense).unwrap();
    dense
}

#[test]
fn linear() {
    let case = case("linear");
    let bias = case.matrix("bias", 1, 5);
    let layer = Linear::from_parts(case.matrix("weight", 5, 3), Some(bias)).unwrap();
    let (x, dy) = (case.matrix("x", 4, 3), case.matrix("dy", 4, 5));
    let (mut y, mut dx, mut gradients) =
        (Matrix::default(), Matrix::default(), layer.new_gradients());
    layer.forward(&x, &mut y).unwrap();
    layer.backward(&x, &dy, Some(&mut dx), &mut gradients).unwrap();
    case.assert_close("y", y.as_slice());
    case.assert_close("d_x", dx.as_slice());
    case.assert_close("d_weight", gradients.weight.as_slice());
    case.assert_close("d_bias", gradients.bias.unwrap().as_slice());
}

#[test]
fn activations() {
    for (name, activation) in [
        ("relu", Activation::Relu),
        ("gelu_tanh", Activation::GeluTanh),
        ("sigmoid", Activation::Sigmoid),
        ("tanh", Activation::Tanh),
    ] {
        let case = case(name);
        let (x, mut dy) = (case.matrix("x", 3, 4), case.matrix("dy", 3, 4));
        let mut y = Matrix::default();
        activation.forward(&x, &mut y);
        activation.backward(&x, &mut dy).unwrap();
        case.assert_close("y", y.as_slice());
        case.assert_close("d_x", dy.as_slice());
    }
}

/// The numbers of `tests/fixtures/make_dropout.py`, which has the masks from a hash of its own.
#[test]
fn dropout() {
    let fixture = include_str!("../fixtures/dropout.json");
    let case = Case::new(fixture, "dropout");
    let (mut y, mut dx) = (case.matrix("x", 6, 7), case.matrix("dy", 6, 7));
    let (dropout, key) = (Dropout::new(0.4).unwrap(), DropoutKey::new(9, 3).layer(2));
    dropout.apply(key, 10, &mut y);
    dropout.apply(key, 10, &mut dx);
    case.assert_close("y", y.as_slice());
    case.assert_close("d_x", dx.as_slice());

    let case = Case::new(fixture, "mlp");
    let layers = [3, 6, 2].windows(2).enumerate().map(|(layer_idx, sizes)| {
        let weight = case.matrix(&format!("weight_{layer_idx}"), sizes[1], sizes[0]);
        let bias = case.matrix(&format!("bias_{layer_idx}"), 1, sizes[1]);
        Linear::from_parts(weight, Some(bias)).unwrap()
    });
    let mlp = Mlp::from_layers(layers.collect(), Activation::Tanh, 0.25).unwrap();
    let (x, dy) = (case.matrix("x", 5, 3), case.matrix("dy", 5, 2));
    let mut workspace = MlpWorkspace::default();
    let pass = Pass::Training { key: DropoutKey::new(1, 2), first_row: 4 };
    case.assert_close("y", mlp.forward(&x, pass, &mut workspace).unwrap().as_slice());
    let (mut dx, mut gradients) = (Matrix::default(), mlp.new_gradients());
    mlp.backward(&x, &dy, Some(&mut dx), &mut workspace, &mut gradients).unwrap();
    case.assert_close("d_x", dx.as_slice());
    for (layer_idx, gradients) in gradients.layers.iter().enumerate() {
        case.assert_close(&format!("d_weight_{layer_idx}"), gradients.weight.as_slice());
        let bias = gradients.bias.as_ref().unwrap();
        case.assert_close(&format!("d_bias_{layer_idx}"), bias.as_slice());
    }
}

/// The numbers of `tests/fixtures/make_bf16.py`.
#[test]
fn bf16() {
    let case = Case::new(include_str!("../fixtures/bf16.json"), "bf16");
    let table = Bf16Table::new(&case.matrix("table", 9, 19));
    let bits: Vec<i64> = table.bits().iter().map(|&bits| bits.into()).collect();
    assert_eq!(bits, case.integers("bits"));
    let mut rows = Matrix::default();
    table.gather(&case.indices("indices"), &mut rows).unwrap();
    assert_eq!(rows.as_slice(), case.floats("rows"));
    let mut scores = [0.0; 9];
    table.scores(&case.floats("query"), &mut scores).unwrap();
    case.assert_close("scores", &scores);
}

#[test]
fn embedding() {
    let case = case("embedding");
    let layer = Embedding::from_table(case.matrix("table", 6, 3)).unwrap();
    let indices = case.indices("indices");
    let (mut y, mut gradients) = (Matrix::default(), layer.new_gradients());
    layer.forward(&indices, &mut y).unwrap();
    layer.backward(&indices, &case.matrix("dy", 4, 3), &mut gradients).unwrap();
    case.assert_close("y", y.as_slice());
    case.assert_close("d_table", dense(&gradients).as_slice());
}

#[test]
fn embedding_bags() {
    for (name, mode) in [("bag_sum", BagMode::Sum), ("bag_mean", BagMode::Mean)] {
        let case = case(name);
        let layer = Embedding::from_table(case.matrix("table", 6, 3)).unwrap();
        let (indices, weights) = (case.indices("indices"), case.floats("weights"));
        let offsets: Vec<usize> =
            case.indices("offsets").iter().map(|&offset| offset as usize).collect();
        let bags = Bags::new(&indices, &offsets, Some(&weights)).unwrap();
        let (mut y, mut gradients) = (Matrix::default(), layer.new_gradients());
        layer.forward_bags(bags, mode, &mut y).unwrap();
        layer.backward_bags(bags, mode, &case.matrix("dy", 4, 3), &mut gradients).unwrap();
        case.assert_close("y", y.as_slice());
        case.assert_close("d_table", dense(&gradients).as_slice());
    }
}

#[test]
fn losses_on_logits() {
    let case_bce = case("bce");
    let (logits, targets) = (case_bce.matrix("logits", 2, 3), case_bce.floats("targets"));
    let weights = case_bce.floats("weights");
    let mut d_logits = Matrix::default();
    let loss = loss::bce_with_logits(&logits, &targets, Some(&weights), 6.0, &mut d_logits);
    case_bce.assert_loss(loss.unwrap());
    case_bce.assert_close("d_logits", d_logits.as_slice());

    let case = case("softmax");
    let (logits, labels) = (case.matrix("logits", 5, 4), case.indices("labels"));
    let loss = loss::softmax_cross_entropy(&logits, &labels, None, 0.0, 5.0, &mut d_logits);
    case.assert_loss(loss.unwrap());
    case.assert_close("d_logits", d_logits.as_slice());
}

#[test]
fn full_softmax() {
    run_full_softmax(&case("full_softmax"), 0.0);
}

/// The numbers of `tests/fixtures/make_label_smoothing.py`.
#[test]
fn label_smoothing() {
    let case = |name| Case::new(include_str!("../fixtures/label_smoothing.json"), name);
    let softmax = case("softmax");
    let (logits, labels) = (softmax.matrix("logits", 5, 4), softmax.indices("labels"));
    let mut d_logits = Matrix::default();
    let loss = loss::softmax_cross_entropy(&logits, &labels, None, 0.1, 5.0, &mut d_logits);
    softmax.assert_loss(loss.unwrap());
    softmax.assert_close("d_logits", d_logits.as_slice());
    run_full_softmax(&case("full_softmax"), 0.1);
}

/// The reference has a bias; here it is a column of the table whose hidden value is 1.
fn run_full_softmax(case: &Case, label_smoothing: f32) {
    let with_column = |rows: &Matrix, column: &[f32]| {
        let mut wide = Matrix::zeros(rows.rows(), rows.cols() + 1);
        for (row, &last) in column.iter().enumerate() {
            let (values, bias) = wide.row_mut(row).split_at_mut(rows.cols());
            values.copy_from_slice(rows.row(row));
            bias[0] = last;
        }
        wide
    };
    let bias = case.matrix("bias", 1, 300);
    let table = with_column(&case.matrix("table", 300, 4), bias.as_slice());
    let hidden = with_column(&case.matrix("hidden", 3, 4), &[1.0; 3]);
    let (mut d_hidden, mut d_table) = (Matrix::default(), Matrix::zeros(300, 5));
    let loss = loss::full_softmax(
        &hidden,
        &table,
        &case.indices("labels"),
        label_smoothing,
        3.0,
        &mut loss::FullSoftmaxWorkspace::default(),
        loss::FullSoftmaxGradients { d_hidden: &mut d_hidden, d_table: &mut d_table },
    );
    case.assert_loss(loss.unwrap());
    let columns = |of: &Matrix, range: std::ops::Range<usize>| -> Vec<f32> {
        (0..of.rows()).flat_map(|row| of.row(row)[range.clone()].to_vec()).collect()
    };
    case.assert_close("d_hidden", &columns(&d_hidden, 0..4));
    case.assert_close("d_table", &columns(&d_table, 0..4));
    case.assert_close("d_bias", &columns(&d_table, 4..5));
}

#[test]
fn sampled_softmax() {
    let case = case("sampled_softmax");
    let (labels, negatives) = (case.indices("labels"), case.indices("negatives"));
    let log_q = case.floats("log_q");
    let (mut d_hidden, mut d_table) = (Matrix::default(), RowGradients::new(7, 4));
    let loss = loss::sampled_softmax(
        &case.matrix("hidden", 3, 4),
        &case.matrix("table", 7, 4),
        loss::SampledSoftmax {
            labels: &labels,
            negatives: &negatives,
            log_q: Some(loss::LogQ::Items(&log_q)),
        },
        3.0,
        &mut loss::SampledSoftmaxWorkspace::default(),
        loss::SampledSoftmaxGradients { d_hidden: &mut d_hidden, d_table: &mut d_table },
    );
    case.assert_loss(loss.unwrap());
    case.assert_close("d_hidden", d_hidden.as_slice());
    case.assert_close("d_table", dense(&d_table).as_slice());
}

#[test]
fn mlp() {
    let case = case("mlp");
    let layers = [3, 6, 4, 2].windows(2).enumerate().map(|(layer_idx, sizes)| {
        let weight = case.matrix(&format!("weight_{layer_idx}"), sizes[1], sizes[0]);
        let bias = case.matrix(&format!("bias_{layer_idx}"), 1, sizes[1]);
        Linear::from_parts(weight, Some(bias)).unwrap()
    });
    let mlp = Mlp::from_layers(layers.collect(), Activation::GeluTanh, 0.0).unwrap();
    let (x, labels) = (case.matrix("x", 5, 3), case.indices("labels"));
    let (mut workspace, mut d_logits) = (MlpWorkspace::default(), Matrix::default());
    let y = mlp.forward(&x, Pass::Inference, &mut workspace).unwrap();
    case.assert_close("y", y.as_slice());
    case.assert_loss(
        loss::softmax_cross_entropy(y, &labels, None, 0.0, 5.0, &mut d_logits).unwrap(),
    );
    let (mut dx, mut gradients) = (Matrix::default(), mlp.new_gradients());
    mlp.backward(&x, &d_logits, Some(&mut dx), &mut workspace, &mut gradients).unwrap();
    case.assert_close("d_x", dx.as_slice());
    for (layer_idx, gradients) in gradients.layers.iter().enumerate() {
        case.assert_close(&format!("d_weight_{layer_idx}"), gradients.weight.as_slice());
        let bias = gradients.bias.as_ref().unwrap();
        case.assert_close(&format!("d_bias_{layer_idx}"), bias.as_slice());
    }
}

#[test]
fn optimizers() {
    let sgd = Sgd { learning_rate: 0.1, momentum: 0.9, l2: 0.05 };
    let ada_grad = AdaGrad { learning_rate: 0.1, l2: 0.05, ..AdaGrad::default() };
    let adam = Adam { learning_rate: 0.1, ..Adam::default() };
    let adam_w = Adam { weight_decay: 0.05, ..adam };
    let rules: [(&str, Rule); 4] = [
        ("sgd", sgd.into()),
        ("adagrad", ada_grad.into()),
        ("adam", adam.into()),
        ("adamw", adam_w.into()),
    ];
    for (name, rule) in rules {
        assert_steps(&case(name), [2, 3], rule);
    }
}

/// The numbers of `tests/fixtures/make_row_wise_adagrad.py`.
#[test]
fn row_wise_adagrad() {
    let fixture = include_str!("../fixtures/row_wise_adagrad.json");
    let rule = RowWiseAdaGrad { learning_rate: 0.1, l2: 0.05, ..RowWiseAdaGrad::default() };
    assert_steps(&Case::new(fixture, "row_wise_adagrad"), [3, 20], rule.into());
}

fn assert_steps(case: &Case, [rows, cols]: [usize; 2], rule: Rule) {
    let mut layer = Linear::from_parts(case.matrix("start", rows, cols), None).unwrap();
    let mut gradients = layer.new_gradients();
    let mut optimizer = Optimizer::new(rule).unwrap();
    for step in 0..5 {
        gradients.clear();
        gradients.weight.copy_from_host(&floats(&case.0["gradients"][step])).unwrap();
        optimizer.step(&mut layer, &mut gradients).unwrap();
        let want = floats(&case.0["steps"][step]);
        assert_close(&format!("{rule:?}, step {step}"), layer.weight().as_slice(), &want);
    }
}
