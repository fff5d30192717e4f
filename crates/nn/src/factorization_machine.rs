//! Second-order interactions of field embeddings.

use crate::{
    Matrix, NnError,
    error::{check_range, check_shape},
};

/// All products of two different fields' embeddings, in time linear in the number of fields: `Σ_{i<j} v_i ⊙ v_j`.
///
/// # Shapes
/// `x: [n, n_fields * n_dims]`, field by field. Bi-interaction gives that vector, `[n, n_dims]`; the factorization machine
/// gives its sum, `[n, 1]`: `Σ_{i<j} ⟨v_i, v_j⟩`. There are no parameters: values of features are multiplied into the
/// embeddings, and the linear part is a layer of its own.
///
/// Each field meets the sum of those before it. We differ from the papers, which subtract `Σ v_i²` from `(Σ v_i)²` at the same
/// cost: where one field is large, that loses the digits of the others. Backward: `∂L/∂v_i = d ⊙ (Σ_j v_j - v_i)`.
///
/// Source: Rendle, ICDM 2010, lemma 3.1; the vector is He and Chua, SIGIR 2017, equation 3.
///
/// ```
/// use forecart_nn::{FactorizationMachine, Matrix};
/// let machine = FactorizationMachine::new(3, 2)?;
/// let fields = Matrix::from_rows(&[[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]);
/// let (mut y, mut sums) = (Matrix::default(), Matrix::default());
/// machine.forward(&fields, &mut y, &mut sums)?;
/// // (1, 2)·(3, 4) + (1, 2)·(5, 6) + (3, 4)·(5, 6)
/// assert_eq!(y.as_slice(), [11.0 + 17.0 + 39.0]);
/// # Ok::<(), forecart_nn::NnError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FactorizationMachine {
    n_fields: usize,
    n_dims: usize,
}

impl FactorizationMachine {
    /// For `n_fields` embeddings of `n_dims` values.
    ///
    /// # Errors
    /// [`NnError::OutOfRange`] if one is zero.
    pub fn new(n_fields: usize, n_dims: usize) -> Result<Self, NnError> {
        check_range("n_fields", n_fields as f64, n_fields > 0, "positive")?;
        check_range("n_dims", n_dims as f64, n_dims > 0, "positive")?;
        Ok(Self { n_fields, n_dims })
    }

    /// Writes `y: [n, 1]` and, for the backward pass, `sums: [n, n_dims]`, the sums of the embeddings.
    ///
    /// # Errors
    /// [`NnError::Shape`] if `x` has other than `n_fields * n_dims` columns.
    pub fn forward(self, x: &Matrix, y: &mut Matrix, sums: &mut Matrix) -> Result<(), NnError> {
        self.check_input(x)?;
        y.reset(x.rows(), 1);
        sums.reset(x.rows(), self.n_dims);
        for (row, y) in y.as_mut_slice().iter_mut().enumerate() {
            let sums = sums.row_mut(row);
            for field in x.row(row).chunks_exact(self.n_dims) {
                *y += sums.iter().zip(field).map(|(sum, value)| sum * value).sum::<f32>();
                sums.iter_mut().zip(field).for_each(|(sum, value)| *sum += value);
            }
        }
        Ok(())
    }

    /// Writes `y: [n, n_dims]` and `sums` as [`Self::forward`] does.
    ///
    /// # Errors
    /// [`NnError::Shape`] if `x` has other than `n_fields * n_dims` columns.
    pub fn forward_bi_interaction(
        self,
        x: &Matrix,
        y: &mut Matrix,
        sums: &mut Matrix,
    ) -> Result<(), NnError> {
        self.check_input(x)?;
        y.reset(x.rows(), self.n_dims);
        sums.reset(x.rows(), self.n_dims);
        for row in 0..x.rows() {
            let (y, sums) = (y.row_mut(row), sums.row_mut(row));
            for field in x.row(row).chunks_exact(self.n_dims) {
                for ((y, sum), value) in y.iter_mut().zip(&mut *sums).zip(field) {
                    *y += *sum * value;
                    *sum += value;
                }
            }
        }
        Ok(())
    }

    /// Overwrites `dx`, of the shape of `x`, given the `sums` of the forward pass and `dy: [n, 1]` or, after
    /// [`Self::forward_bi_interaction`], `[n, n_dims]`.
    ///
    /// # Errors
    /// [`NnError::Shape`] if they do not fit.
    pub fn backward(
        self,
        x: &Matrix,
        dy: &Matrix,
        sums: &Matrix,
        dx: &mut Matrix,
    ) -> Result<(), NnError> {
        self.check_input(x)?;
        check_shape("sums of fields", [x.rows(), self.n_dims], sums.shape())?;
        let n_cols = if dy.cols() == 1 { 1 } else { self.n_dims };
        check_shape("gradient of interactions", [x.rows(), n_cols], dy.shape())?;
        dx.reshape(x.rows(), x.cols());
        for row in 0..x.rows() {
            let (fields, sums, dy) = (x.row(row), sums.row(row), dy.row(row));
            for (dx, field) in
                dx.row_mut(row).chunks_exact_mut(self.n_dims).zip(fields.chunks_exact(self.n_dims))
            {
                for ((dx, value), sum) in dx.iter_mut().zip(field).zip(sums) {
                    *dx = sum - value;
                }
                match dy {
                    [dy] => dx.iter_mut().for_each(|dx| *dx *= dy),
                    _ => dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx *= dy),
                }
            }
        }
        Ok(())
    }

    fn check_input(self, x: &Matrix) -> Result<(), NnError> {
        check_shape("fields", [x.rows(), self.n_fields * self.n_dims], x.shape())
    }
}
