//! Weights and gradients of whole networks as flat lists: for finite differences, and for numbers of PyTorch.

use forecart_nn::{
    DropoutKey, Gradient, Gradients, Matrix, Name, Parameters, Trainable, gradient_check,
};
use serde_json::Value;

/// All weights in the order of their names.
pub(crate) fn values(network: &impl Parameters) -> Vec<f32> {
    let mut values = Vec::new();
    network.visit(&Name::root(), &mut |_, value| values.extend(value.to_host()));
    values
}

/// Sets all weights.
pub(crate) fn set(network: &mut impl Parameters, values: &[f32]) {
    let mut rest = values;
    network
        .visit_mut(&Name::root(), &mut |_, value| {
            let (these, after) = rest.split_at(value.rows() * value.cols());
            rest = after;
            value.copy_from_host(these)
        })
        .unwrap();
}

/// Calls `visit` for the finished gradient of each parameter, dense.
fn visit_dense<N: Trainable>(
    network: &mut N,
    gradients: &mut N::Gradients,
    mut visit: impl FnMut(String, Vec<f32>),
) {
    gradients.finish();
    network
        .visit_with_gradients(gradients, &Name::root(), &mut |name, weights, gradient| {
            let gradient = match gradient {
                Gradient::Dense(gradient) => gradient.to_host(),
                Gradient::Rows(rows) => {
                    let mut dense = Matrix::zeros(weights.rows(), weights.cols());
                    rows.add_to_dense(&mut dense)?;
                    dense.to_host()
                }
            };
            visit(name.to_string(), gradient);
            Ok(())
        })
        .unwrap();
}

/// All gradients in the order of [`values`].
pub(crate) fn analytic<N: Trainable>(network: &mut N, gradients: &mut N::Gradients) -> Vec<f32> {
    let mut all = Vec::new();
    visit_dense(network, gradients, |_, gradient| all.extend(gradient));
    all
}

/// The largest error of the gradients that `loss` computes, against differences of its value in steps of `step`.
pub(crate) fn largest_gradient_error<N: Trainable>(
    network: &mut N,
    step: f32,
    mut loss: impl FnMut(&mut N, &mut N::Gradients) -> f64,
) -> f64 {
    let mut gradients = network.new_gradients();
    loss(network, &mut gradients);
    let analytic = analytic(network, &mut gradients);
    assert!(analytic.iter().filter(|slope| slope.abs() > 1e-3).count() > analytic.len() / 2);
    let mut point = values(network);
    let report = gradient_check(&mut point, &analytic, step, 0.01, |point| {
        set(network, point);
        let mut ignored = network.new_gradients();
        loss(network, &mut ignored)
    });
    report.error
}

/// The dropout of the first step of a run.
pub(crate) fn key() -> DropoutKey {
    DropoutKey::new(1, 1)
}

/// A case of a fixture that `fixture.py` wrote.
pub(crate) struct Case(pub(crate) Value);

impl Case {
    pub(crate) fn integers<T: TryFrom<i64>>(&self, key: &str) -> Vec<T> {
        integers(&self.0[key])
    }

    pub(crate) fn lists<T: TryFrom<i64>>(&self, key: &str) -> Vec<Vec<T>> {
        self.0[key].as_array().unwrap().iter().map(integers).collect()
    }

    pub(crate) fn floats(&self, key: &str) -> Vec<f32> {
        let list = self.0[key].as_array().unwrap_or_else(|| panic!("the fixture has no {key}"));
        list.iter().map(|value| value.as_f64().unwrap() as f32).collect()
    }

    /// Sets all weights to those of the fixture.
    pub(crate) fn load(&self, network: &mut impl Parameters) {
        let load = &mut |name: &Name<'_>, value: &mut Matrix| {
            value.copy_from_host(&self.floats(&name.to_string()))
        };
        network.visit_mut(&Name::root(), load).unwrap();
    }

    /// The loss, the gradients of all weights, and the weights after one step, to 1e-5: rounding of f32 through a few layers and
    /// back, relative to the largest value of each list, or a tenth where all are smaller. Weights whose slope is 0 but for rounding are left
    /// out after the step: Adam moves them by its sign.
    pub(crate) fn assert_is_step<N: Trainable>(
        &self,
        loss: f64,
        network: &mut N,
        gradients: &mut N::Gradients,
    ) {
        let want = self.0["loss"].as_f64().unwrap();
        assert!((loss - want).abs() < 1e-5 * want.abs().max(1.0), "loss {loss}, not {want}");
        let mut n_compared = 0;
        visit_dense(network, gradients, |name, gradient| {
            self.assert_close(&format!("d_{name}"), &gradient, |_| false);
            n_compared += 1;
        });
        network.visit(&Name::root(), &mut |name, value| {
            let slopes = self.floats(&format!("d_{name}"));
            let is_flat = |place: usize| slopes[place] != 0.0 && slopes[place].abs() < 1e-6;
            self.assert_close(&format!("after_{name}"), &value.to_host(), is_flat);
        });
        let names = self.0.as_object().unwrap().keys();
        assert_eq!(n_compared, names.filter(|name| name.starts_with("after_")).count());
    }

    fn assert_close(&self, key: &str, got: &[f32], is_left_out: impl Fn(usize) -> bool) {
        let want = self.floats(key);
        assert_eq!(got.len(), want.len(), "{key}");
        let largest = want.iter().fold(0.1_f32, |max, value| max.max(value.abs()));
        let pairs = got.iter().zip(&want).enumerate();
        for (position, (got, want)) in pairs.filter(|(place, _)| !is_left_out(*place)) {
            let error = (got - want).abs() / largest;
            assert!(error < 1e-5, "{key}[{position}]: got {got}, want {want}");
        }
    }
}

fn integers<T: TryFrom<i64>>(list: &Value) -> Vec<T> {
    let list = list.as_array().unwrap().iter().map(|value| value.as_i64().unwrap());
    list.map(|value| T::try_from(value).unwrap_or_else(|_| panic!("{value} is too large")))
        .collect()
}

/// Runs `work` on so many threads.
pub(crate) fn on_threads<T: Send>(n_threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap().install(work)
}
