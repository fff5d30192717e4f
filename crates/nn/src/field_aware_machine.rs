//! Second-order interactions of embeddings that differ by the field they meet.

use crate::{
    Matrix, NnError,
    error::{check_range, check_shape},
    kernels::dot,
};

/// The products of any two fields' vectors, each the one that it has for the other: `Σ_{f<g} ⟨v_{f,g}, v_{g,f}⟩`.
///
/// # Shapes
/// `x: [n, n_fields * (n_fields - 1) * n_dims]`: field by field its vectors for the other fields in their order, so that `v_{f,g}` is
/// block `g` of field `f` where `g < f` and block `g - 1` where `g > f`; a field has none for itself. `y: [n, 1]`. There are no
/// parameters, as in [`FactorizationMachine`](crate::FactorizationMachine).
///
/// # Cost
/// Quadratic in the fields: `n_fields (n_fields - 1) / 2` products of `n_dims` a row.
///
/// Source: Juan et al., "Field-aware Factorization Machines for CTR Prediction", RecSys 2016, equation 4.
///
/// ```
/// use forecart_nn::{FieldAwareMachine, Matrix};
/// let machine = FieldAwareMachine::new(3, 1)?;
/// // (v_{0,1}, v_{0,2}), (v_{1,0}, v_{1,2}), (v_{2,0}, v_{2,1})
/// let fields = Matrix::from_rows(&[[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]);
/// let mut y = Matrix::default();
/// machine.forward(&fields, &mut y)?;
/// assert_eq!(y.as_slice(), [1.0 * 3.0 + 2.0 * 5.0 + 4.0 * 6.0]);
/// # Ok::<(), forecart_nn::NnError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldAwareMachine {
    n_fields: usize,
    n_dims: usize,
}

impl FieldAwareMachine {
    /// For `n_fields`, each with vectors of `n_dims` values.
    ///
    /// # Errors
    /// [`NnError::OutOfRange`] for fewer than two fields or no dimension.
    pub fn new(n_fields: usize, n_dims: usize) -> Result<Self, NnError> {
        check_range("n_fields", n_fields as f64, n_fields > 1, "above 1")?;
        check_range("n_dims", n_dims as f64, n_dims > 0, "positive")?;
        Ok(Self { n_fields, n_dims })
    }

    /// Columns of all vectors of one field: `(n_fields - 1) * n_dims`.
    pub fn n_cols(self) -> usize {
        (self.n_fields - 1) * self.n_dims
    }

    /// Writes `y: [n, 1]`.
    ///
    /// # Errors
    /// [`NnError::Shape`] if `x` has other columns.
    pub fn forward(self, x: &Matrix, y: &mut Matrix) -> Result<(), NnError> {
        self.check_input(x)?;
        y.reset(x.rows(), 1);
        for (row, y) in y.as_mut_slice().iter_mut().enumerate() {
            let x = x.row(row);
            let products = self.pairs().map(|(first, second)| {
                dot(&x[first..first + self.n_dims], &x[second..second + self.n_dims])
            });
            *y = products.sum();
        }
        Ok(())
    }

    /// Overwrites `dx`, of the shape of `x`, given `dy: [n, 1]`: `∂L/∂v_{f,g} = dy v_{g,f}`.
    ///
    /// # Errors
    /// [`NnError::Shape`] if they do not fit.
    pub fn backward(self, x: &Matrix, dy: &Matrix, dx: &mut Matrix) -> Result<(), NnError> {
        self.check_input(x)?;
        check_shape("gradient of interactions", [x.rows(), 1], dy.shape())?;
        dx.reshape(x.rows(), x.cols());
        for (row, dy) in dy.as_slice().iter().enumerate() {
            let (x, dx) = (x.row(row), dx.row_mut(row));
            for (first, second) in self.pairs() {
                for dim in 0..self.n_dims {
                    dx[first + dim] = dy * x[second + dim];
                    dx[second + dim] = dy * x[first + dim];
                }
            }
        }
        Ok(())
    }

    /// Where the two vectors of each pair of fields begin.
    fn pairs(self) -> impl Iterator<Item = (usize, usize)> {
        let Self { n_fields, n_dims } = self;
        let at = move |field: usize, block: usize| (field * (n_fields - 1) + block) * n_dims;
        (0..n_fields).flat_map(move |first| {
            (first + 1..n_fields).map(move |second| (at(first, second - 1), at(second, first)))
        })
    }

    fn check_input(self, x: &Matrix) -> Result<(), NnError> {
        check_shape("fields", [x.rows(), self.n_fields * self.n_cols()], x.shape())
    }
}
