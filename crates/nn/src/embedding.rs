//! Tables of learned rows, looked up by index.

use rand_chacha::ChaCha8Rng;

use crate::{
    Gradient, Init, Matrix, Name, NnError, Parameters, RowGradients, Trainable,
    error::{check_indices, check_shape},
};

/// One learned row for each index: `y[i] = table[indices[i]]`.
///
/// Single lookups are here; ragged lists of indices (histories, multi-hot features) are
/// [`Embedding::forward_bags`]. Both read one table, so a model may tie them.
///
/// # Shapes
/// `table: [n_rows, n_dims]`, `indices: [n]`, `y: [n, n_dims]`.
///
/// Backward: `d_table[indices[i]] += dy[i]`, for the rows touched alone (Bengio et al., JMLR 3, 2003).
#[derive(Debug, Clone)]
pub struct Embedding {
    table: Matrix,
}

impl Embedding {
    /// A table with drawn rows.
    ///
    /// # Errors
    /// Those of [`Init::matrix`], and [`NnError::OutOfRange`] for more than `u32::MAX` rows.
    pub fn new(
        n_rows: usize,
        n_dims: usize,
        init: Init,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self, NnError> {
        Self::from_table(init.matrix(n_rows, n_dims, rng)?)
    }

    /// A layer from a given table, `[n_rows, n_dims]`.
    ///
    /// # Errors
    /// [`NnError::OutOfRange`] for more than `u32::MAX` rows.
    pub fn from_table(table: Matrix) -> Result<Self, NnError> {
        let inside = u32::try_from(table.rows()).is_ok();
        crate::error::check_range("n_rows", table.rows() as f64, inside, "at most u32::MAX")?;
        Ok(Self { table })
    }

    /// The table, `[n_rows, n_dims]`.
    pub fn table(&self) -> &Matrix {
        &self.table
    }

    /// Number of rows of the table.
    pub fn n_rows(&self) -> usize {
        self.table.rows()
    }

    /// Number of values a row.
    pub fn n_dims(&self) -> usize {
        self.table.cols()
    }

    /// Writes `y: [n, n_dims]`, the rows at `indices`.
    ///
    /// # Errors
    /// [`NnError::Index`] for an index outside of the table.
    pub fn forward(&self, indices: &[u32], y: &mut Matrix) -> Result<(), NnError> {
        check_indices("embedding index", indices, self.n_rows())?;
        y.reshape(indices.len(), self.n_dims());
        for (position, &index) in indices.iter().enumerate() {
            y.row_mut(position).copy_from_slice(self.table.row(index as usize));
        }
        Ok(())
    }

    /// Adds `dy: [n, n_dims]` to the gradients of the rows at `indices`, in the order of `indices`.
    ///
    /// # Errors
    /// [`NnError::Shape`] or [`NnError::Index`]; `gradients` is unchanged then.
    pub fn backward(
        &self,
        indices: &[u32],
        dy: &Matrix,
        gradients: &mut RowGradients,
    ) -> Result<(), NnError> {
        check_indices("embedding index", indices, self.n_rows())?;
        check_shape("gradient of embedding", [indices.len(), self.n_dims()], dy.shape())?;
        check_shape("gradient of embedding table", self.table.shape(), gradients.shape())?;
        for (position, &index) in indices.iter().enumerate() {
            gradients.add_to_row(index, dy.row(position), 1.0);
        }
        Ok(())
    }
}

impl Parameters for Embedding {
    fn visit(&self, name: &Name<'_>, visit: &mut dyn FnMut(&Name<'_>, &Matrix)) {
        visit(&name.child("weight"), &self.table);
    }

    fn visit_mut(
        &mut self,
        name: &Name<'_>,
        visit: &mut dyn FnMut(&Name<'_>, &mut Matrix) -> Result<(), NnError>,
    ) -> Result<(), NnError> {
        visit(&name.child("weight"), &mut self.table)
    }
}

impl Trainable for Embedding {
    type Gradients = RowGradients;

    fn new_gradients(&self) -> RowGradients {
        RowGradients::new(self.n_rows(), self.n_dims())
    }

    fn visit_with_gradients(
        &mut self,
        gradients: &RowGradients,
        name: &Name<'_>,
        visit: &mut dyn FnMut(&Name<'_>, &mut Matrix, Gradient<'_>) -> Result<(), NnError>,
    ) -> Result<(), NnError> {
        visit(&name.child("weight"), &mut self.table, Gradient::Rows(gradients))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Gradients;

    fn layer() -> Embedding {
        Embedding::from_table(Matrix::from_rows(&[[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])).unwrap()
    }

    #[test]
    fn rows_are_gathered_and_repeats_summed() {
        let layer = layer();
        let mut y = Matrix::default();
        layer.forward(&[2, 0, 2], &mut y).unwrap();
        assert_eq!(y, Matrix::from_rows(&[[4.0, 5.0], [0.0, 1.0], [4.0, 5.0]]));
        let mut gradients = layer.new_gradients();
        let dy = Matrix::from_rows(&[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]);
        layer.backward(&[2, 0, 2], &dy, &mut gradients).unwrap();
        gradients.finish();
        let rows: Vec<_> = gradients.rows().collect();
        assert_eq!(rows, [(0, &[3.0, 4.0][..]), (2, &[6.0, 8.0][..])]);
    }

    #[test]
    fn an_index_outside_is_named_and_nothing_is_added() {
        let layer = layer();
        let error = layer.forward(&[0, 3], &mut Matrix::default()).unwrap_err();
        let want = NnError::Index { what: "embedding index", position: 1, index: 3, bound: 3 };
        assert_eq!(error, want);
        let mut gradients = layer.new_gradients();
        assert!(layer.backward(&[0, 3], &Matrix::zeros(2, 2), &mut gradients).is_err());
        assert!(layer.backward(&[0], &Matrix::zeros(2, 2), &mut gradients).is_err());
        assert_eq!(gradients.n_touched(), 0);
    }
}
