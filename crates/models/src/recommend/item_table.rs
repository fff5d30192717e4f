//! The learned vectors of the items, for input and output alike.

use forecart_data::ItemIdx;
use forecart_nn::{
    Embedding, Gradient, Gradients, Init, Matrix, Name, NnError, Parameters, RowGradients,
    Trainable,
};
use rand_chacha::ChaCha8Rng;

/// One vector an item, `[n_item_rows, d]`; row 0 is the unknown item.
#[derive(Debug, Clone)]
pub(super) struct ItemTable {
    vectors: Embedding,
    /// Whether gradients are dense: a step moves every item.
    is_dense: bool,
}

/// Gradients of an [`ItemTable`].
#[derive(Debug, Clone)]
pub(super) enum ItemGradients {
    /// Of all items: the loss touches every one, or the optimizer is to.
    Dense(Matrix),
    /// Of the items in histories, labels and negatives.
    Rows(RowGradients),
}

impl ItemTable {
    pub(super) fn new(
        n_item_rows: usize,
        d: usize,
        is_dense: bool,
        init: Init,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self, NnError> {
        Ok(Self { vectors: Embedding::new(n_item_rows, d, init, rng)?, is_dense })
    }

    /// The same table with other vectors of the same shape.
    pub(super) fn with_vectors(self, vectors: Matrix) -> Self {
        let vectors =
            Embedding::from_table(vectors).expect("a table of as many rows as there were");
        Self { vectors, ..self }
    }

    pub(super) fn vectors(&self) -> &Matrix {
        self.vectors.table()
    }

    pub(super) fn n_rows(&self) -> usize {
        self.vectors.n_rows()
    }
}

impl ItemGradients {
    pub(super) fn add_to_row(&mut self, item: ItemIdx, values: &[f32], scale: f32) {
        match self {
            Self::Dense(matrix) => {
                for (sum, value) in matrix.row_mut(item.row()).iter_mut().zip(values) {
                    *sum += scale * value;
                }
            }
            Self::Rows(rows) => rows.add_to_row(item.0, values, scale),
        }
    }

    pub(super) fn as_gradient(&self) -> Gradient<'_> {
        match self {
            Self::Dense(gradient) => Gradient::Dense(gradient),
            Self::Rows(gradient) => Gradient::Rows(gradient),
        }
    }

    /// Adds the touched rows of `other`, which came from inputs alone.
    pub(super) fn add_rows(&mut self, other: &RowGradients) -> Result<(), NnError> {
        match self {
            Self::Dense(matrix) => other.add_to_dense(matrix),
            Self::Rows(rows) => rows.add(other),
        }
    }
}

impl Parameters for ItemTable {
    fn visit(&self, name: &Name<'_>, visit: &mut dyn FnMut(&Name<'_>, &Matrix)) {
        self.vectors.visit(name, visit);
    }

    fn visit_mut(
        &mut self,
        name: &Name<'_>,
        visit: &mut dyn FnMut(&Name<'_>, &mut Matrix) -> Result<(), NnError>,
    ) -> Result<(), NnError> {
        self.vectors.visit_mut(name, visit)
    }
}

impl Trainable for ItemTable {
    type Gradients = ItemGradients;

    fn new_gradients(&self) -> ItemGradients {
        let [n_rows, d] = self.vectors().shape();
        match self.is_dense {
            true => ItemGradients::Dense(Matrix::zeros(n_rows, d)),
            false => ItemGradients::Rows(RowGradients::new(n_rows, d)),
        }
    }

    fn visit_with_gradients(
        &mut self,
        gradients: &ItemGradients,
        name: &Name<'_>,
        visit: &mut dyn FnMut(&Name<'_>, &mut Matrix, Gradient<'_>) -> Result<(), NnError>,
    ) -> Result<(), NnError> {
        self.vectors.visit_mut(name, &mut |name, table| visit(name, table, gradients.as_gradient()))
    }
}

impl Gradients for ItemGradients {
    fn clear(&mut self) {
        match self {
            Self::Dense(matrix) => matrix.clear(),
            Self::Rows(rows) => rows.clear(),
        }
    }

    fn add(&mut self, other: &Self) -> Result<(), NnError> {
        match (self, other) {
            (Self::Dense(sum), Self::Dense(value)) => sum.add(value),
            (sum, Self::Rows(rows)) => sum.add_rows(rows),
            (Self::Rows(_), Self::Dense(_)) => {
                unreachable!("the gradients of one fit are of one kind")
            }
        }
    }

    fn finish(&mut self) {
        if let Self::Rows(rows) = self {
            rows.finish();
        }
    }

    fn scale(&mut self, factor: f32) {
        match self {
            Self::Dense(matrix) => matrix.scale(factor),
            Self::Rows(rows) => rows.scale(factor),
        }
    }

    fn squared_norm(&self) -> f64 {
        match self {
            Self::Dense(matrix) => matrix.squared_norm(),
            Self::Rows(rows) => rows.squared_norm(),
        }
    }
}
