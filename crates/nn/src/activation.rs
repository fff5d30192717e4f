//! Elementwise nonlinearities.

use pulp::Simd;

use crate::{
    Matrix, NnError,
    error::check_shape,
    kernels::{self, Map, Zip, map_into, zip},
};

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
        y.reshape(x.rows(), x.cols());
        let (x, y) = (x.as_slice(), y.as_mut_slice());
        match self {
            Self::Identity => y.copy_from_slice(x),
            Self::Relu => map_into(Relu, x, y),
            Self::GeluTanh => map_into(GeluTanh, x, y),
            Self::Silu => map_into(Silu, x, y),
            Self::Sigmoid => map_into(Sigmoid, x, y),
            Self::Tanh => map_into(Tanh, x, y),
        }
    }

    /// Turns `dy` into `dx` in place, given the input `x` of the forward pass.
    ///
    /// # Errors
    /// [`NnError::Shape`] if `x` and `dy` differ in shape.
    pub fn backward(self, x: &Matrix, dy: &mut Matrix) -> Result<(), NnError> {
        check_shape("gradient of activation", x.shape(), dy.shape())?;
        let (x, dy) = (x.as_slice(), dy.as_mut_slice());
        match self {
            Self::Identity => {}
            Self::Relu => zip(Relu, x, dy),
            Self::GeluTanh => zip(GeluTanh, x, dy),
            Self::Silu => zip(Silu, x, dy),
            Self::Sigmoid => zip(Sigmoid, x, dy),
            Self::Tanh => zip(Tanh, x, dy),
        }
        Ok(())
    }
}

/// A function as [`Map`] and the product with its derivative as [`Zip`].
#[derive(Clone, Copy)]
struct Relu;

impl Map for Relu {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
        let zero = simd.splat_f32s(0.0);
        // Not a maximum, which would turn NaN into 0 and hide a diverged run.
        simd.select_f32s(simd.less_than_f32s(x, zero), zero, x)
    }
}

impl Zip for Relu {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::f32s, dy: S::f32s) -> S::f32s {
        let zero = simd.splat_f32s(0.0);
        simd.select_f32s(simd.greater_than_f32s(x, zero), dy, simd.mul_f32s(zero, dy))
    }
}

#[derive(Clone, Copy)]
struct GeluTanh;

impl GeluTanh {
    /// `tanh(√(2/π) (x + 0.044715 x³))` and `x²`.
    #[inline(always)]
    fn tanh_and_square<S: Simd>(simd: S, x: S::f32s) -> [S::f32s; 2] {
        let square = simd.mul_f32s(x, x);
        let cubic = simd.mul_f32s(simd.splat_f32s(GELU_CUBIC), simd.mul_f32s(square, x));
        let inner = simd.mul_f32s(simd.splat_f32s(GELU_SCALE), simd.add_f32s(x, cubic));
        [kernels::tanh(simd, inner), square]
    }
}

impl Map for GeluTanh {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
        let [t, _] = Self::tanh_and_square(simd, x);
        let half = simd.mul_f32s(simd.splat_f32s(0.5), x);
        simd.mul_f32s(half, simd.add_f32s(simd.splat_f32s(1.0), t))
    }
}

impl Zip for GeluTanh {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::f32s, dy: S::f32s) -> S::f32s {
        let splat = |value| simd.splat_f32s(value);
        let [t, square] = Self::tanh_and_square(simd, x);
        let inner = simd.mul_add_e_f32s(splat(3.0 * GELU_CUBIC), square, splat(1.0));
        let of_tanh = simd.sub_f32s(splat(1.0), simd.mul_f32s(t, t));
        let dt = simd.mul_f32s(splat(GELU_SCALE), simd.mul_f32s(inner, of_tanh));
        let sum = simd.add_f32s(simd.add_f32s(splat(1.0), t), simd.mul_f32s(x, dt));
        simd.mul_f32s(dy, simd.mul_f32s(splat(0.5), sum))
    }
}

#[derive(Clone, Copy)]
struct Silu;

impl Map for Silu {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
        simd.mul_f32s(x, kernels::sigmoid(simd, x))
    }
}

impl Zip for Silu {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::f32s, dy: S::f32s) -> S::f32s {
        let one = simd.splat_f32s(1.0);
        let s = kernels::sigmoid(simd, x);
        let slope = simd.mul_add_e_f32s(x, simd.sub_f32s(one, s), one);
        simd.mul_f32s(dy, simd.mul_f32s(s, slope))
    }
}

#[derive(Clone, Copy)]
struct Sigmoid;

impl Map for Sigmoid {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
        kernels::sigmoid(simd, x)
    }
}

impl Zip for Sigmoid {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::f32s, dy: S::f32s) -> S::f32s {
        let s = kernels::sigmoid(simd, x);
        let slope = simd.mul_f32s(s, simd.sub_f32s(simd.splat_f32s(1.0), s));
        simd.mul_f32s(dy, slope)
    }
}

#[derive(Clone, Copy)]
struct Tanh;

impl Map for Tanh {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
        kernels::tanh(simd, x)
    }
}

impl Zip for Tanh {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::f32s, dy: S::f32s) -> S::f32s {
        let t = kernels::tanh(simd, x);
        simd.mul_f32s(dy, simd.sub_f32s(simd.splat_f32s(1.0), simd.mul_f32s(t, t)))
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
