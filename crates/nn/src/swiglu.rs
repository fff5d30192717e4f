//! The feed-forward layer gated by SiLU.

use rand_chacha::ChaCha8Rng;

use crate::{Init, Linear, Matrix, NnError, Precision, activation::sigmoid, error::check_shape};

/// `y = (silu(x W1ᵀ + b1) * (x W2ᵀ + b2)) W3ᵀ + b3` with `silu(a) = a sigmoid(a)`; the biases are optional.
///
/// # Shapes
/// `x: [n, n_in]`, `w12: [2 n_hidden, n_in]`, `w3: [n_out, n_hidden]`, `y: [n, n_out]`. `W1` is the first half of the
/// rows of `w12` and `W2` the second: one product reads `x` once. The names are those of xFormers.
///
/// Backward, with `a` and `b` the halves of `x w12ᵀ`, `s = sigmoid(a)` and `dp` the gradient of `silu(a) * b`:
/// `da = dp * b * s (1 + a (1 - s))`, `db = dp * silu(a)`.
///
/// Source: Shazeer, arXiv:2002.05202, equation 6, where `W1`, `W2` and `W3` are `W`, `V` and `W2`.
#[derive(Debug, Clone)]
pub struct SwiGlu {
    w12: Linear,
    w3: Linear,
}

crate::trainable!(
    SwiGlu,
    /// Gradients of a [`SwiGlu`].
    pub struct SwiGluGradients {
        w12: Linear,
        w3: Linear,
    }
);

/// Buffers of one forward and backward pass of a [`SwiGlu`], reused between steps.
#[derive(Debug, Clone, Default)]
pub struct SwiGluWorkspace {
    /// `a` and `b` side by side, `[n, 2 n_hidden]`.
    halves: Matrix,
    /// `silu(a) * b`, `[n, n_hidden]`.
    product: Matrix,
    d_halves: Matrix,
    d_product: Matrix,
}

impl SwiGlu {
    /// A layer with weights drawn by [`Init::Xavier`], each of the three by itself, and zero biases.
    ///
    /// # Errors
    /// Those of [`Init::matrix`].
    pub fn new(
        n_in: usize,
        n_hidden: usize,
        n_out: usize,
        with_bias: bool,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self, NnError> {
        let mut w12 = Init::Xavier.matrix(n_hidden, n_in, rng)?.to_host();
        w12.extend(Init::Xavier.matrix(n_hidden, n_in, rng)?.as_slice());
        let w12 = Matrix::from_vec(2 * n_hidden, n_in, w12)?;
        let w3 = Init::Xavier.matrix(n_out, n_hidden, rng)?;
        let bias = |n_out: usize| with_bias.then(|| Matrix::zeros(1, n_out));
        Self::from_parts(
            Linear::from_parts(w12, bias(2 * n_hidden))?,
            Linear::from_parts(w3, bias(n_out))?,
        )
    }

    /// A layer from `w12` with `2 n_hidden` outputs and `w3` with `n_hidden` inputs.
    ///
    /// # Errors
    /// [`NnError::Shape`] if they do not fit.
    pub fn from_parts(w12: Linear, w3: Linear) -> Result<Self, NnError> {
        check_shape("w12 of SwiGLU", [2 * w3.n_in(), w12.n_in()], w12.weight().shape())?;
        Ok(Self { w12, w3 })
    }

    /// The layer with products in `precision`.
    #[must_use]
    pub fn in_precision(self, precision: Precision) -> Self {
        let Self { w12, w3 } = self;
        Self { w12: w12.in_precision(precision), w3: w3.in_precision(precision) }
    }

    /// Writes `y: [n, n_out]` for `x: [n, n_in]` and fills `workspace`.
    ///
    /// # Errors
    /// [`NnError::Shape`] if `x` has other than `n_in` columns.
    pub fn forward(
        &self,
        x: &Matrix,
        y: &mut Matrix,
        workspace: &mut SwiGluWorkspace,
    ) -> Result<(), NnError> {
        let SwiGluWorkspace { halves, product, .. } = workspace;
        let n_hidden = self.w3.n_in();
        self.w12.forward(x, halves)?; // [n, 2 n_hidden]
        product.reshape(x.rows(), n_hidden);
        for row in 0..x.rows() {
            let (a, b) = halves.row(row).split_at(n_hidden);
            for ((product, &a), &b) in product.row_mut(row).iter_mut().zip(a).zip(b) {
                *product = a * sigmoid(a) * b;
            }
        }
        self.w3.forward(product, y) // [n, n_out]
    }

    /// Adds to `gradients` and, where a `dx` is wanted, overwrites it with `[n, n_in]`.
    ///
    /// `x` and `workspace` are those of the forward pass, `dy: [n, n_out]` the gradient of its output.
    ///
    /// # Errors
    /// [`NnError::Shape`] or [`NnError::Length`] if `x`, `dy`, `workspace` or `gradients` do not fit.
    pub fn backward(
        &self,
        x: &Matrix,
        dy: &Matrix,
        dx: Option<&mut Matrix>,
        workspace: &mut SwiGluWorkspace,
        gradients: &mut SwiGluGradients,
    ) -> Result<(), NnError> {
        let SwiGluWorkspace { halves, product, d_halves, d_product } = workspace;
        let n_hidden = self.w3.n_in();
        check_shape("workspace of SwiGLU", [x.rows(), 2 * n_hidden], halves.shape())?;
        self.w3.backward(product, dy, Some(&mut *d_product), &mut gradients.w3)?; // [n, n_hidden]
        d_halves.reshape(x.rows(), 2 * n_hidden);
        for row in 0..x.rows() {
            let (a, b) = halves.row(row).split_at(n_hidden);
            let (da, db) = d_halves.row_mut(row).split_at_mut(n_hidden);
            let inputs = a.iter().zip(b).zip(d_product.row(row));
            for ((da, db), ((&a, &b), &dp)) in da.iter_mut().zip(db).zip(inputs) {
                let s = sigmoid(a);
                *da = dp * b * s * (1.0 + a * (1.0 - s));
                *db = dp * a * s;
            }
        }
        self.w12.backward(x, d_halves, dx, &mut gradients.w12)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Trainable;

    #[test]
    fn by_hand() {
        // a = ln 3 (sigmoid 3/4), b = 4: the product is 3 ln 3.
        let w12 = Matrix::from_rows(&[[3.0_f32.ln()], [4.0]]);
        let w12 = Linear::from_parts(w12, None).unwrap();
        let w3 = Linear::from_parts(Matrix::from_rows(&[[1.0], [-2.0]]), None).unwrap();
        let layer = SwiGlu::from_parts(w12, w3).unwrap();
        let (mut y, mut workspace) = (Matrix::default(), SwiGluWorkspace::default());
        layer.forward(&Matrix::from_rows(&[[1.0], [0.0]]), &mut y, &mut workspace).unwrap();
        let product = 3.0 * 3.0_f32.ln();
        for (got, want) in y.as_slice().iter().zip([product, -2.0 * product, 0.0, 0.0]) {
            assert!((got - want).abs() < 1e-6, "{got} {want}");
        }
    }

    #[test]
    fn shapes_are_checked() {
        let linear = |n_out, n_in| Linear::from_parts(Matrix::zeros(n_out, n_in), None).unwrap();
        assert!(SwiGlu::from_parts(linear(6, 3), linear(2, 3)).is_ok());
        let error = SwiGlu::from_parts(linear(5, 3), linear(2, 3)).unwrap_err();
        let want = NnError::Shape { what: "w12 of SwiGLU", expected: [6, 3], found: [5, 3] };
        assert_eq!(error, want);

        let layer = SwiGlu::from_parts(linear(6, 3), linear(2, 3)).unwrap();
        let (x, dy) = (Matrix::zeros(4, 3), Matrix::zeros(4, 2));
        let mut unused = SwiGluWorkspace::default();
        let error = layer.backward(&x, &dy, None, &mut unused, &mut layer.new_gradients());
        assert!(matches!(error, Err(NnError::Shape { what: "workspace of SwiGLU", .. })));
    }
}
