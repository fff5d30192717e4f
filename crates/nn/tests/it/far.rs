//! The traits of layers against memory that is not the host's: a layer whose values can be reached by copies alone, as those
//! of a device, is trained, saved, and held to the layer of the host.

use forecart_nn::{
    Gradient, Gradients, Linear, Matrix, Name, NnError, Optimizer, Parameters, Sgd, Trainable,
    Values,
};

use crate::{random, rng};

mod device {
    use forecart_nn::{Matrix, NnError, Values};

    /// Values behind a wall: no slice of them leaves this module.
    #[derive(Debug)]
    pub(super) struct Far(Matrix);

    impl Values for Far {
        type Rows = ();

        fn shape(&self) -> [usize; 2] {
            self.0.shape()
        }

        fn to_host(&self) -> Vec<f32> {
            self.0.to_host()
        }

        fn copy_from_host(&mut self, values: &[f32]) -> Result<(), NnError> {
            self.0.copy_from_host(values)
        }
    }

    /// Kernels of the device.
    impl Far {
        pub(super) fn zeros([rows, cols]: [usize; 2]) -> Self {
            Self(Matrix::zeros(rows, cols))
        }

        /// `self + factor · other`.
        pub(super) fn add_scaled(&mut self, factor: f32, other: &Self) {
            let values = self.0.as_mut_slice().iter_mut().zip(other.0.as_slice());
            values.for_each(|(value, other)| *value += factor * other);
        }

        pub(super) fn scale(&mut self, factor: f32) {
            self.0.as_mut_slice().iter_mut().for_each(|value| *value *= factor);
        }

        pub(super) fn squared_norm(&self) -> f64 {
            self.0.as_slice().iter().map(|&value| f64::from(value).powi(2)).sum()
        }

        /// `dyᵀ x`, the gradient of the weights of a linear layer.
        pub(super) fn add_product(&mut self, dy: &Self, x: &Self) {
            for (dy, x) in (0..dy.0.rows()).map(|row| (dy.0.row(row), x.0.row(row))) {
                for (col, dy) in dy.iter().enumerate() {
                    self.0.row_mut(col).iter_mut().zip(x).for_each(|(sum, x)| *sum += dy * x);
                }
            }
        }

        /// The sum of the rows.
        pub(super) fn add_rows(&mut self, dy: &Self) {
            for row in 0..dy.0.rows() {
                let sums = self.0.row_mut(0).iter_mut().zip(dy.0.row(row));
                sums.for_each(|(sum, dy)| *sum += dy);
            }
        }
    }
}

use device::Far;

/// A linear layer of the device, with the names of the host's.
struct FarLinear {
    weight: Far,
    bias: Far,
}

struct FarGradients {
    weight: Far,
    bias: Far,
}

impl Parameters<Far> for FarLinear {
    fn visit(&self, name: &Name<'_>, visit: &mut dyn FnMut(&Name<'_>, &Far)) {
        visit(&name.child("weight"), &self.weight);
        visit(&name.child("bias"), &self.bias);
    }

    fn visit_mut(
        &mut self,
        name: &Name<'_>,
        visit: &mut dyn FnMut(&Name<'_>, &mut Far) -> Result<(), NnError>,
    ) -> Result<(), NnError> {
        visit(&name.child("weight"), &mut self.weight)?;
        visit(&name.child("bias"), &mut self.bias)
    }
}

impl Trainable<Far> for FarLinear {
    type Gradients = FarGradients;

    fn new_gradients(&self) -> FarGradients {
        FarGradients {
            weight: Far::zeros(self.weight.shape()),
            bias: Far::zeros(self.bias.shape()),
        }
    }

    fn visit_with_gradients(
        &mut self,
        gradients: &FarGradients,
        name: &Name<'_>,
        visit: &mut dyn FnMut(&Name<'_>, &mut Far, Gradient<'_, Far>) -> Result<(), NnError>,
    ) -> Result<(), NnError> {
        visit(&name.child("weight"), &mut self.weight, Gradient::Dense(&gradients.weight))?;
        visit(&name.child("bias"), &mut self.bias, Gradient::Dense(&gradients.bias))
    }
}

impl Gradients for FarGradients {
    fn clear(&mut self) {
        self.scale(0.0);
    }

    fn add(&mut self, other: &Self) -> Result<(), NnError> {
        self.weight.add_scaled(1.0, &other.weight);
        self.bias.add_scaled(1.0, &other.bias);
        Ok(())
    }

    fn scale(&mut self, factor: f32) {
        self.weight.scale(factor);
        self.bias.scale(factor);
    }

    fn squared_norm(&self) -> f64 {
        self.weight.squared_norm() + self.bias.squared_norm()
    }
}

/// Gradient descent, for any layer of the device.
fn descend<M: Trainable<Far>>(model: &mut M, gradients: &M::Gradients, learning_rate: f32) {
    let update = &mut |_: &Name<'_>, value: &mut Far, gradient: Gradient<'_, Far>| {
        let Gradient::Dense(gradient) = gradient else { unreachable!("the layer has no table") };
        value.add_scaled(-learning_rate, gradient);
        Ok(())
    };
    model.visit_with_gradients(gradients, &Name::root(), update).unwrap();
}

/// What a model file holds, whatever memory the values are in.
fn saved<V: Values>(model: &impl Parameters<V>) -> Vec<(String, [usize; 2], Vec<f32>)> {
    let mut saved = Vec::new();
    model.visit(&Name::root(), &mut |name, value| {
        saved.push((name.to_string(), value.shape(), value.to_host()));
    });
    saved
}

#[test]
fn a_layer_whose_memory_is_not_the_hosts_trains_and_is_saved_like_one_of_the_host() {
    let rng = &mut rng(71);
    let (x, dy) = (random(6, 3, 1.0, rng), random(6, 4, 1.0, rng));
    let weight = random(4, 3, 1.0, rng);
    let mut near = Linear::from_parts(weight, Some(random(1, 4, 1.0, rng))).unwrap();
    let mut far = FarLinear { weight: Far::zeros([4, 3]), bias: Far::zeros([1, 4]) };
    assert_eq!(far.n_parameters(), near.n_parameters());

    // Loaded by name.
    let file = saved::<Matrix>(&near);
    let load = &mut |name: &Name<'_>, value: &mut Far| {
        let (_, _, values) = file.iter().find(|(of, ..)| *of == name.to_string()).unwrap();
        value.copy_from_host(values)
    };
    far.visit_mut(&Name::root(), load).unwrap();
    assert_eq!(saved::<Far>(&far), file);

    // One step each.
    let to_far = |near: &Matrix| {
        let mut far = Far::zeros(near.shape());
        far.copy_from_host(near.as_slice()).unwrap();
        far
    };
    let mut of_near = near.new_gradients();
    near.backward(&x, &dy, None, &mut of_near).unwrap();
    let mut of_far = far.new_gradients();
    of_far.weight.add_product(&to_far(&dy), &to_far(&x));
    of_far.bias.add_rows(&to_far(&dy));
    assert!((of_far.squared_norm() / of_near.squared_norm() - 1.0).abs() < 1e-6);
    let rule = Sgd { learning_rate: 0.1, ..Sgd::default() };
    Optimizer::new(rule).unwrap().step(&mut near, &mut of_near).unwrap();
    descend(&mut far, &of_far, 0.1);
    for ((near_name, _, near), (far_name, _, far)) in
        saved::<Matrix>(&near).iter().zip(&saved::<Far>(&far))
    {
        assert_eq!(near_name, far_name);
        for (near, far) in near.iter().zip(far) {
            assert!((near - far).abs() < 1e-6, "{near_name}: {near} {far}");
        }
    }
    assert_ne!(saved::<Matrix>(&near), file);
}
