//! The residual connection with a learned gate.

use rand_chacha::ChaCha8Rng;

use crate::{Init, Linear, Matrix, NnError, Precision, activation::sigmoid, error::check_shape};

/// `y = x + f * sigmoid(x Wᵀ + b)`, where `f = F(x)` is what another layer made of `x`.
///
/// # Shapes
/// `x`, `f` and `y: [n, d]`, `W: [d, d]`, `b: [1, d]`.
///
/// Backward, with `s = sigmoid(x Wᵀ + b)` and `dz = dy * f * s (1 - s)`: `df = dy * s`, `dx = dy + dz W`. What
/// reaches `x` by way of `F` is for the caller to add.
///
/// Source: LiGR, Borisyuk et al., arXiv:2502.03417; with a pre-normalized `F` in eSASRec,
/// arXiv:2508.06450.
#[derive(Debug, Clone)]
pub struct GatedResidual {
    gate: Linear,
}

crate::trainable!(
    GatedResidual,
    /// Gradients of a [`GatedResidual`].
    pub struct GatedResidualGradients {
        gate: Linear,
    }
);

/// Buffers of one forward and backward pass of a [`GatedResidual`], reused between steps.
#[derive(Debug, Clone, Default)]
pub struct GatedResidualWorkspace {
    /// `sigmoid(x Wᵀ + b)`, `[n, d]`.
    gate: Matrix,
    /// Gradient of the gate before the sigmoid, `[n, d]`.
    d_gate: Matrix,
}

impl GatedResidual {
    /// A layer for `d` columns with weights drawn by [`Init::Xavier`] and zero bias: gates start near one half.
    ///
    /// # Errors
    /// Those of [`Init::matrix`].
    pub fn new(d: usize, rng: &mut ChaCha8Rng) -> Result<Self, NnError> {
        Self::from_parts(Linear::new(d, d, Init::Xavier, rng)?)
    }

    /// A layer from a given gate, with or without bias.
    ///
    /// # Errors
    /// [`NnError::Shape`] if the gate has other outputs than inputs.
    pub fn from_parts(gate: Linear) -> Result<Self, NnError> {
        check_shape("gate of a residual", [gate.n_in(); 2], gate.weight().shape())?;
        Ok(Self { gate })
    }

    /// The layer with products in `precision`.
    #[must_use]
    pub fn in_precision(self, precision: Precision) -> Self {
        Self { gate: self.gate.in_precision(precision) }
    }

    /// Writes `y: [n, d]` for `x` and `f: [n, d]` and fills `workspace`.
    ///
    /// # Errors
    /// [`NnError::Shape`] if `x` or `f` do not fit.
    pub fn forward(
        &self,
        x: &Matrix,
        f: &Matrix,
        y: &mut Matrix,
        workspace: &mut GatedResidualWorkspace,
    ) -> Result<(), NnError> {
        check_shape("branch of a residual", x.shape(), f.shape())?;
        let gate = &mut workspace.gate;
        self.gate.forward(x, gate)?; // [n, d]
        y.reshape(x.rows(), x.cols());
        let inputs = x.as_slice().iter().zip(f.as_slice());
        for ((y, gate), (&x, &f)) in
            y.as_mut_slice().iter_mut().zip(gate.as_mut_slice()).zip(inputs)
        {
            *gate = sigmoid(*gate);
            *y = x + f * *gate;
        }
        Ok(())
    }

    /// Overwrites `dx` and `df` with `[n, d]` and adds to `gradients`.
    ///
    /// `x`, `f` and `workspace` are those of the forward pass, `dy: [n, d]` the gradient of its output.
    ///
    /// # Errors
    /// [`NnError::Shape`] or [`NnError::Length`] if `x`, `f`, `dy`, `workspace` or `gradients` do not fit.
    #[expect(clippy::too_many_arguments, reason = "two inputs, and a gradient for each")]
    pub fn backward(
        &self,
        x: &Matrix,
        f: &Matrix,
        dy: &Matrix,
        dx: &mut Matrix,
        df: &mut Matrix,
        workspace: &mut GatedResidualWorkspace,
        gradients: &mut GatedResidualGradients,
    ) -> Result<(), NnError> {
        let GatedResidualWorkspace { gate, d_gate } = workspace;
        let [n, d] = x.shape();
        check_shape("branch of a residual", [n, d], f.shape())?;
        check_shape("gradient of a residual", [n, d], dy.shape())?;
        check_shape("workspace of a residual", [n, d], gate.shape())?;
        df.reshape(n, d);
        d_gate.reshape(n, d);
        let inputs = f.as_slice().iter().zip(dy.as_slice()).zip(gate.as_slice());
        for ((df, d_gate), ((&f, &dy), &s)) in
            df.as_mut_slice().iter_mut().zip(d_gate.as_mut_slice()).zip(inputs)
        {
            *df = dy * s;
            *d_gate = *df * f * (1.0 - s);
        }
        self.gate.backward(x, d_gate, Some(&mut *dx), &mut gradients.gate)?;
        for (dx, dy) in dx.as_mut_slice().iter_mut().zip(dy.as_slice()) {
            *dx += dy;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // Gates sigmoid(ln 3) = 3/4 and sigmoid(0) = 1/2.
        let weight = Matrix::from_rows(&[[3.0_f32.ln(), 0.0], [0.0, 0.0]]);
        let layer = GatedResidual::from_parts(Linear::from_parts(weight, None).unwrap()).unwrap();
        let (x, f) = (Matrix::from_rows(&[[1.0, 2.0]]), Matrix::from_rows(&[[4.0, -6.0]]));
        let (mut y, mut workspace) = (Matrix::default(), GatedResidualWorkspace::default());
        layer.forward(&x, &f, &mut y, &mut workspace).unwrap();
        assert!((y.row(0)[0] - 4.0).abs() < 1e-6 && y.row(0)[1] == -1.0);
    }

    #[test]
    fn shapes_are_checked() {
        let gate = |n_out| Linear::from_parts(Matrix::zeros(n_out, 2), None).unwrap();
        assert!(GatedResidual::from_parts(gate(3)).is_err());
        let layer = GatedResidual::from_parts(gate(2)).unwrap();
        let (x, f) = (Matrix::zeros(3, 2), Matrix::zeros(2, 2));
        let mut workspace = GatedResidualWorkspace::default();
        let error = layer.forward(&x, &f, &mut Matrix::default(), &mut workspace).unwrap_err();
        let what = "branch of a residual";
        assert_eq!(error, NnError::Shape { what, expected: [3, 2], found: [2, 2] });
    }
}
