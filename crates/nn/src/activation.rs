//! Elementwise nonlinearities.

use crate::{Matrix, NnError, error::check_shape};

/// A function applied to each value; input and output have one shape.
///
/// Backward works from the input alone: `dx = dy f'(x)`. For sigmoid and tanh this computes `f` again, which
/// is cheaper than a second copy of every activation, since dropout changes the output in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activation {
    /// `x`.
    Identity,
    /// `max(x, 0)`, with derivative 0 at 0 (Nair and Hinton, ICML 2010).
    Relu,
    /// `x / 2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`: the tanh form of GELU, not the one with the error function;
    /// the two differ by at most 5e-4 (Hendrycks and Gimpel, arXiv:1606.08415, section 2).
    GeluTanh,
    /// `x sigmoid(x)`, also known as Swish (Elfwing, Uchibe and Doya, Neural Networks 107, 2018, equation 3).
    Silu,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
}

/// `√(2/π)`.
const GELU_SCALE: f32 = 0.797_884_6;
const GELU_CUBIC: f32 = 0.044_715;

/// `1 / (1 + exp(-x))` without overflow for any `x`.
pub fn sigmoid(x: f32) -> f32 {
    // Both branches take exp of a negative number.
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}

impl Activation {
    /// Writes `y = f(x)`; `y` takes the shape of `x`.
    pub fn forward(self, x: &Matrix, y: &mut Matrix) {
        match self {
            Self::Identity => y.copy_from(x),
            // Not f32::max, which would turn NaN into 0 and hide a diverged run.
            Self::Relu => write_each(x, y, |x| if x < 0.0 { 0.0 } else { x }),
            Self::GeluTanh => write_each(x, y, |x| {
                0.5 * x * (1.0 + (GELU_SCALE * (x + GELU_CUBIC * x * x * x)).tanh())
            }),
            Self::Silu => write_each(x, y, |x| x * sigmoid(x)),
            Self::Sigmoid => write_each(x, y, sigmoid),
            Self::Tanh => write_each(x, y, f32::tanh),
        }
    }

    /// Turns `dy` into `dx` in place, given the input `x` of the forward pass.
    ///
    /// # Errors
    /// [`NnError::Shape`] if `x` and `dy` differ in shape.
    pub fn backward(self, x: &Matrix, dy: &mut Matrix) -> Result<(), NnError> {
        check_shape("gradient of activation", x.shape(), dy.shape())?;
        match self {
            Self::Identity => {}
            Self::Relu => scale_each(x, dy, |x| if x > 0.0 { 1.0 } else { 0.0 }),
            Self::GeluTanh => scale_each(x, dy, |x| {
                let t = (GELU_SCALE * (x + GELU_CUBIC * x * x * x)).tanh();
                let dt = GELU_SCALE * (1.0 + 3.0 * GELU_CUBIC * x * x) * (1.0 - t * t);
                0.5 * (1.0 + t) + 0.5 * x * dt
            }),
            Self::Silu => scale_each(x, dy, |x| {
                let s = sigmoid(x);
                s * (1.0 + x * (1.0 - s))
            }),
            Self::Sigmoid => scale_each(x, dy, |x| {
                let s = sigmoid(x);
                s * (1.0 - s)
            }),
            Self::Tanh => scale_each(x, dy, |x| {
                let t = x.tanh();
                1.0 - t * t
            }),
        }
        Ok(())
    }
}

/// `y = f(x)`, generic so that each function gets a loop of its own for the compiler to vectorize.
fn write_each(x: &Matrix, y: &mut Matrix, f: impl Fn(f32) -> f32) {
    y.reshape(x.rows(), x.cols());
    for (y, &x) in y.as_mut_slice().iter_mut().zip(x.as_slice()) {
        *y = f(x);
    }
}

/// `dy = dy f(x)`.
fn scale_each(x: &Matrix, dy: &mut Matrix, derivative: impl Fn(f32) -> f32) {
    for (dy, &x) in dy.as_mut_slice().iter_mut().zip(x.as_slice()) {
        *dy *= derivative(x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Activation; 6] = [
        Activation::Identity,
        Activation::Relu,
        Activation::GeluTanh,
        Activation::Silu,
        Activation::Sigmoid,
        Activation::Tanh,
    ];

    fn value(activation: Activation, x: f32) -> f32 {
        let mut y = Matrix::default();
        activation.forward(&Matrix::from_rows(&[[x]]), &mut y);
        y.as_slice()[0]
    }

    #[test]
    fn values_at_zero_and_far_out() {
        assert_eq!(ALL.map(|f| value(f, 0.0)), [0.0, 0.0, 0.0, 0.0, 0.5, 0.0]);
        assert_eq!(ALL.map(|f| value(f, 200.0)), [200.0, 200.0, 200.0, 200.0, 1.0, 1.0]);
        let far_below = ALL.map(|f| value(f, -200.0));
        assert_eq!(far_below, [-200.0, 0.0, 0.0, 0.0, 0.0, -1.0]);
    }

    #[test]
    fn nan_passes_through_every_function() {
        for activation in ALL {
            assert!(value(activation, f32::NAN).is_nan(), "{activation:?}");
        }
    }

    #[test]
    fn sigmoid_keeps_small_probabilities() {
        assert!(sigmoid(-80.0) > 0.0 && sigmoid(-80.0) < 1e-34);
        assert_eq!(sigmoid(3.0) + sigmoid(-3.0), 1.0);
    }
}
