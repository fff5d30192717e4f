//! Layer normalization.

use crate::{
    Matrix, NnError,
    error::{check_length, check_range, check_shape},
    kernels::{LayerNormBackward, LayerNormForward},
};

/// Each row to mean 0 and variance 1, then scaled and shifted:
/// `y = (x - mean(x)) / sqrt(var(x) + epsilon) * weight + bias`, where `var` divides by `d`.
///
/// # Shapes
/// `x: [n, d]`, `weight` and `bias: [1, d]`, `y: [n, d]`.
///
/// Backward, with `r = 1 / sqrt(var(x) + epsilon)`, `x̂ = (x - mean(x)) r` and `g = dy * weight`:
/// `dx = r (g - mean(g) - x̂ mean(g * x̂))`, `d_weight = Σ_rows dy * x̂`, `d_bias = Σ_rows dy`.
///
/// Source: Ba, Kiros and Hinton, arXiv:1607.06450, equations 3 and 4.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    weight: Matrix,
    bias: Matrix,
    epsilon: f32,
}

crate::trainable!(
    LayerNorm,
    /// Gradients of a [`LayerNorm`], in the shapes of its parameters.
    pub struct LayerNormGradients {
        weight: Matrix,
        bias: Matrix,
    }
);

/// What the backward pass of a [`LayerNorm`] needs of the forward pass beside `x`; reused between steps.
#[derive(Debug, Clone, Default)]
pub struct LayerNormCache {
    /// Mean of each row, `[n]`.
    mean: Vec<f32>,
    /// `1 / sqrt(var + epsilon)` of each row, `[n]`.
    scale: Vec<f32>,
}

impl LayerNorm {
    /// A layer for `d` columns with weights 1, biases 0 and an epsilon of 1e-5, as in PyTorch.
    pub fn new(d: usize) -> Self {
        let mut weight = Matrix::zeros(1, d);
        weight.fill(1.0);
        Self { weight, bias: Matrix::zeros(1, d), epsilon: 1e-5 }
    }

    /// A layer from given weights and biases, both `[1, d]`, with an epsilon of 1e-5.
    ///
    /// # Errors
    /// [`NnError::Shape`] if one of them is not a single row or they differ in length.
    pub fn from_parts(weight: Matrix, bias: Matrix) -> Result<Self, NnError> {
        check_shape("layer norm weight", [1, weight.cols()], weight.shape())?;
        check_shape("layer norm bias", weight.shape(), bias.shape())?;
        Ok(Self { weight, bias, epsilon: 1e-5 })
    }

    /// Sets what keeps the division defined for a row of equal values.
    ///
    /// # Errors
    /// [`NnError::OutOfRange`] if `epsilon` is not positive.
    pub fn with_epsilon(self, epsilon: f32) -> Result<Self, NnError> {
        check_range("epsilon", f64::from(epsilon), epsilon > 0.0, "positive")?;
        Ok(Self { epsilon, ..self })
    }

    /// Number of columns.
    pub fn d(&self) -> usize {
        self.weight.cols()
    }

    /// Writes `y: [n, d]` for `x: [n, d]` and fills `cache`.
    ///
    /// # Errors
    /// [`NnError::Shape`] if `x` has other than `d` columns.
    pub fn forward(
        &self,
        x: &Matrix,
        y: &mut Matrix,
        cache: &mut LayerNormCache,
    ) -> Result<(), NnError> {
        let [n, d] = [x.rows(), self.d()];
        check_shape("layer norm input", [n, d], x.shape())?;
        y.reshape(n, d);
        cache.mean.resize(n, 0.0);
        cache.scale.resize(n, 0.0);
        LayerNormForward {
            x: x.as_slice(),
            weight: self.weight.as_slice(),
            bias: self.bias.as_slice(),
            epsilon: self.epsilon,
            y: y.as_mut_slice(),
            mean: &mut cache.mean,
            scale: &mut cache.scale,
        }
        .run();
        Ok(())
    }

    /// Overwrites `dx` with `[n, d]` and adds to `gradients`.
    ///
    /// `x` and `cache` are those of the forward pass, `dy: [n, d]` the gradient of its output.
    ///
    /// # Errors
    /// [`NnError::Shape`] or [`NnError::Length`] if `x`, `dy`, `cache` or `gradients` do not fit.
    pub fn backward(
        &self,
        x: &Matrix,
        dy: &Matrix,
        dx: &mut Matrix,
        cache: &LayerNormCache,
        gradients: &mut LayerNormGradients,
    ) -> Result<(), NnError> {
        dx.reshape(x.rows(), self.d());
        self.back(x, dy, dx, false, cache, gradients)
    }

    /// [`Self::backward`] that adds to `dx: [n, d]`: for an input that goes past the layer as well.
    ///
    /// # Errors
    /// The same, and [`NnError::Shape`] if `dx` does not fit.
    pub fn backward_onto(
        &self,
        x: &Matrix,
        dy: &Matrix,
        dx: &mut Matrix,
        cache: &LayerNormCache,
        gradients: &mut LayerNormGradients,
    ) -> Result<(), NnError> {
        check_shape("gradient of layer norm input", x.shape(), dx.shape())?;
        self.back(x, dy, dx, true, cache, gradients)
    }

    fn back(
        &self,
        x: &Matrix,
        dy: &Matrix,
        dx: &mut Matrix,
        adds: bool,
        cache: &LayerNormCache,
        gradients: &mut LayerNormGradients,
    ) -> Result<(), NnError> {
        let [n, d] = [x.rows(), self.d()];
        check_shape("layer norm input", [n, d], x.shape())?;
        check_shape("gradient of layer norm output", [n, d], dy.shape())?;
        check_length("rows of a layer norm cache", n, cache.scale.len())?;
        check_shape("gradient of layer norm weight", [1, d], gradients.weight.shape())?;
        check_shape("gradient of layer norm bias", [1, d], gradients.bias.shape())?;
        LayerNormBackward {
            x: x.as_slice(),
            weight: self.weight.as_slice(),
            mean: &cache.mean,
            scale: &cache.scale,
            dy: dy.as_slice(),
            dx: dx.as_mut_slice(),
            adds,
            d_weight: gradients.weight.as_mut_slice(),
            d_bias: gradients.bias.as_mut_slice(),
        }
        .run();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Trainable;

    #[test]
    fn by_hand() {
        // Mean 3, variance 4.
        let x = Matrix::from_rows(&[[1.0, 5.0, 1.0, 5.0]]);
        let weight = Matrix::from_rows(&[[1.0, 1.0, 2.0, 2.0]]);
        let bias = Matrix::from_rows(&[[0.0, 10.0, 0.0, 10.0]]);
        let layer = LayerNorm::from_parts(weight, bias).unwrap().with_epsilon(1e-12).unwrap();
        let (mut y, mut cache) = (Matrix::default(), LayerNormCache::default());
        layer.forward(&x, &mut y, &mut cache).unwrap();
        assert_eq!(y, Matrix::from_rows(&[[-1.0, 11.0, -2.0, 12.0]]));
    }

    #[test]
    fn a_large_mean_costs_no_digits_and_equal_values_stay_finite() {
        let layer = LayerNorm::new(4);
        let x = Matrix::from_rows(&[[4096.0, 4098.0, 4096.0, 4098.0], [7.0, 7.0, 7.0, 7.0]]);
        let (mut y, mut cache) = (Matrix::default(), LayerNormCache::default());
        layer.forward(&x, &mut y, &mut cache).unwrap();
        let want = 1.0 / 1.00001_f32.sqrt();
        assert_eq!(y, Matrix::from_rows(&[[-want, want, -want, want], [0.0; 4]]));
        let (mut dx, mut gradients) = (Matrix::default(), layer.new_gradients());
        layer.backward(&x, &x, &mut dx, &cache, &mut gradients).unwrap();
        assert!(dx.as_slice().iter().all(|value| value.is_finite()));
    }

    #[test]
    fn shapes_and_epsilon_are_checked() {
        let layer = LayerNorm::new(3);
        let (mut y, mut cache) = (Matrix::default(), LayerNormCache::default());
        assert!(layer.forward(&Matrix::zeros(2, 4), &mut y, &mut cache).is_err());
        layer.forward(&Matrix::zeros(2, 3), &mut y, &mut cache).unwrap();
        let (other, mut dx) = (Matrix::zeros(3, 3), Matrix::default());
        let error = layer.backward(&other, &other, &mut dx, &cache, &mut layer.new_gradients());
        let what = "rows of a layer norm cache";
        assert_eq!(error, Err(NnError::Length { what, expected: 3, found: 2 }));
        assert!(LayerNorm::from_parts(Matrix::zeros(1, 3), Matrix::zeros(1, 2)).is_err());
        assert!(LayerNorm::from_parts(Matrix::zeros(2, 3), Matrix::zeros(2, 3)).is_err());
        assert!(layer.with_epsilon(0.0).is_err());
    }
}
