//! Root mean square normalization.

use crate::{
    Matrix, NnError,
    error::{check_length, check_range, check_shape},
    kernels::dot,
    reduce::sum_zip,
};

/// Each row to a mean square of 1, then scaled: `y = x / sqrt(mean(x²) + epsilon) * weight`.
///
/// [`LayerNorm`](crate::LayerNorm) without mean and bias.
///
/// # Shapes
/// `x: [n, d]`, `weight: [1, d]`, `y: [n, d]`.
///
/// Backward, with `r = 1 / sqrt(mean(x²) + epsilon)` and `g = dy * weight`:
/// `dx = r (g - x r² mean(g * x))`, `d_weight = Σ_rows dy * x r`.
///
/// Source: Zhang and Sennrich, NeurIPS 2019, equation 4. We differ: they have no epsilon.
#[derive(Debug, Clone)]
pub struct RmsNorm {
    weight: Matrix,
    epsilon: f32,
}

crate::trainable!(
    RmsNorm,
    /// Gradients of an [`RmsNorm`], in the shapes of its parameters.
    pub struct RmsNormGradients {
        weight: Matrix,
    }
);

/// What the backward pass of an [`RmsNorm`] needs of the forward pass beside `x`; reused between steps.
#[derive(Debug, Clone, Default)]
pub struct RmsNormCache {
    /// `1 / sqrt(mean(x²) + epsilon)` of each row, `[n]`.
    scale: Vec<f32>,
}

impl RmsNorm {
    /// A layer for `d` columns with weights 1 and an epsilon of 1e-5.
    pub fn new(d: usize) -> Self {
        let mut weight = Matrix::zeros(1, d);
        weight.fill(1.0);
        Self { weight, epsilon: 1e-5 }
    }

    /// A layer from given weights, `[1, d]`, with an epsilon of 1e-5.
    ///
    /// # Errors
    /// [`NnError::Shape`] if they are not a single row.
    pub fn from_parts(weight: Matrix) -> Result<Self, NnError> {
        check_shape("RMS norm weight", [1, weight.cols()], weight.shape())?;
        Ok(Self { weight, epsilon: 1e-5 })
    }

    /// Sets what keeps the division defined for a row of zeros.
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
        cache: &mut RmsNormCache,
    ) -> Result<(), NnError> {
        let [n, d] = [x.rows(), self.d()];
        check_shape("RMS norm input", [n, d], x.shape())?;
        y.reshape(n, d);
        cache.scale.clear();
        for row in 0..n {
            let x = x.row(row);
            let scale = 1.0 / (dot(x, x) / d as f32 + self.epsilon).sqrt();
            for ((y, &x), weight) in y.row_mut(row).iter_mut().zip(x).zip(self.weight.as_slice()) {
                *y = x * scale * weight;
            }
            cache.scale.push(scale);
        }
        Ok(())
    }

    /// Overwrites `dx` with `[n, d]` and adds to `d_weight: [1, d]`.
    ///
    /// `x` and `cache` are those of the forward pass, `dy: [n, d]` the gradient of its output.
    ///
    /// # Errors
    /// [`NnError::Shape`] or [`NnError::Length`] if `x`, `dy`, `cache` or `d_weight` do not fit.
    pub fn backward(
        &self,
        x: &Matrix,
        dy: &Matrix,
        dx: &mut Matrix,
        cache: &RmsNormCache,
        gradients: &mut RmsNormGradients,
    ) -> Result<(), NnError> {
        let d_weight = &mut gradients.weight;
        let [n, d] = [x.rows(), self.d()];
        check_shape("RMS norm input", [n, d], x.shape())?;
        check_shape("gradient of RMS norm output", [n, d], dy.shape())?;
        check_length("rows of an RMS norm cache", n, cache.scale.len())?;
        check_shape("gradient of RMS norm weight", [1, d], d_weight.shape())?;
        dx.reshape(n, d);
        for row in 0..n {
            let (x, dy, dx) = (x.row(row), dy.row(row), dx.row_mut(row));
            let scale = cache.scale[row];
            for ((&x, &dy), d_weight) in x.iter().zip(dy).zip(d_weight.as_mut_slice()) {
                *d_weight += dy * (x * scale);
            }
            for ((g, dy), weight) in dx.iter_mut().zip(dy).zip(self.weight.as_slice()) {
                *g = dy * weight;
            }
            let slope = sum_zip(dx, x, |g, x| g * (x * scale)) / d as f32;
            for (dx, &x) in dx.iter_mut().zip(x) {
                *dx = scale * (*dx - x * scale * slope);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Trainable;

    #[test]
    fn by_hand() {
        // Mean square (9 + 16 + 9 + 16 + 0 * 4) / 8 = 6.25.
        let x = Matrix::from_rows(&[[3.0, 4.0, -3.0, -4.0, 0.0, 0.0, 0.0, 0.0]]);
        let mut layer = RmsNorm::new(8).with_epsilon(1e-12).unwrap();
        layer.weight.row_mut(0)[1] = 2.5;
        let (mut y, mut cache) = (Matrix::default(), RmsNormCache::default());
        layer.forward(&x, &mut y, &mut cache).unwrap();
        let want = Matrix::from_rows(&[[1.2, 4.0, -1.2, -1.6, 0.0, 0.0, 0.0, 0.0]]);
        for (got, want) in y.as_slice().iter().zip(want.as_slice()) {
            assert!((got - want).abs() < 1e-6, "{got} {want}");
        }
    }

    #[test]
    fn a_row_of_zeros_stays_finite() {
        let (layer, x) = (RmsNorm::new(3), Matrix::zeros(1, 3));
        let (mut y, mut cache) = (Matrix::default(), RmsNormCache::default());
        layer.forward(&x, &mut y, &mut cache).unwrap();
        assert_eq!(y, x);
        let (mut dx, mut d_weight) = (Matrix::default(), layer.new_gradients());
        let dy = Matrix::from_rows(&[[1.0, 0.0, -1.0]]);
        layer.backward(&x, &dy, &mut dx, &cache, &mut d_weight).unwrap();
        let slope = 1.0 / 1e-5_f32.sqrt();
        assert_eq!(dx, Matrix::from_rows(&[[slope, 0.0, -slope]]));
    }

    #[test]
    fn shapes_and_epsilon_are_checked() {
        let layer = RmsNorm::new(3);
        let (mut y, mut cache) = (Matrix::default(), RmsNormCache::default());
        assert!(layer.forward(&Matrix::zeros(2, 4), &mut y, &mut cache).is_err());
        layer.forward(&Matrix::zeros(2, 3), &mut y, &mut cache).unwrap();
        let (other, mut dx) = (Matrix::zeros(3, 3), Matrix::default());
        let mut d_weight = layer.new_gradients();
        let error = layer.backward(&other, &other, &mut dx, &cache, &mut d_weight);
        let what = "rows of an RMS norm cache";
        assert_eq!(error, Err(NnError::Length { what, expected: 3, found: 2 }));
        assert!(RmsNorm::from_parts(Matrix::zeros(2, 3)).is_err());
        assert!(layer.with_epsilon(f32::NAN).is_err());
    }
}
