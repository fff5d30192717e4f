//! What items have in common: vectors of their attributes, added to their own.

use std::sync::Arc;

use forecart_data::ItemFeatures;
use forecart_nn::{Embedding, Init, Matrix, NnError};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::item_table::ItemGradients;

/// Rows that one thread composes at a time.
const TILE_ROWS: usize = 256;

/// Learned vectors of attributes, and the items' vectors that they are part of:
/// `own_i + Σ_k x_ik dense_k + Σ_{j of i} sparse_j`, or the mean over `j` in place of the last sum.
///
/// Composed rows are kept, and are computed when they are [wanted](Self::want) and older than the weights: a step that
/// touches a few of many items pays for these alone.
#[derive(Debug, Clone)]
pub(super) struct Attributes {
    /// `[n_dense, d]`.
    dense: Matrix,
    /// `[n_sparse, d]`.
    sparse: Embedding,
    columns: Arc<Columns>,
    pooling: Pooling,
    /// `[n_item_rows, d]`.
    vectors: Matrix,
    /// Of each row of `vectors`.
    states: Vec<RowState>,
}

forecart_nn::trainable!(
    Attributes,
    /// Gradients of [`Attributes`].
    pub(super) struct AttributesGradients {
        dense: Matrix,
        sparse: Embedding,
    }
);

/// How the vectors of an item's sparse attributes become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pooling {
    Sum,
    Mean,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RowState {
    Stale,
    Wanted,
    Fresh,
}

/// The items' attributes: data, shared by all copies of a network.
#[derive(Debug)]
struct Columns {
    /// `[n_item_rows, n_dense]`.
    dense: Matrix,
    offsets: Vec<usize>,
    active: Vec<u32>,
}

impl Columns {
    fn active(&self, row: usize) -> &[u32] {
        &self.active[self.offsets[row]..self.offsets[row + 1]]
    }
}

impl Pooling {
    fn scale(self, n_active: usize) -> f32 {
        match self {
            Self::Sum => 1.0,
            Self::Mean => 1.0 / n_active.max(1) as f32,
        }
    }
}

fn add_scaled(scale: f32, values: &[f32], sums: &mut [f32]) {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += scale * value);
}

impl Attributes {
    /// `None` if items have no attributes. No row is composed yet.
    pub(super) fn new(
        features: &ItemFeatures,
        n_item_rows: usize,
        d: usize,
        pooling: Pooling,
        init: Init,
        rng: &mut ChaCha8Rng,
    ) -> Result<Option<Self>, NnError> {
        if features.is_empty() {
            return Ok(None);
        }
        let dense = features.dense.to_vec();
        let (mut offsets, mut active) = (vec![0], Vec::new());
        for row in 0..n_item_rows {
            active.extend_from_slice(features.sparse_row(row));
            offsets.push(active.len());
        }
        let dense = Matrix::from_vec(n_item_rows, features.n_dense(), dense)?;
        Ok(Some(Self {
            dense: init.matrix(features.n_dense(), d, rng)?,
            sparse: Embedding::new(features.n_sparse(), d, init, rng)?,
            columns: Arc::new(Columns { dense, offsets, active }),
            pooling,
            vectors: Matrix::zeros(n_item_rows, d),
            states: vec![RowState::Stale; n_item_rows],
        }))
    }

    /// Memory of what [`Self::new`] makes, and of the weights' gradient, two moments, and copies for the best epoch and a
    /// checkpoint.
    pub(super) fn needed_bytes(features: &ItemFeatures, n_item_rows: u64, d: u64) -> u64 {
        if features.is_empty() {
            return 0;
        }
        let n_dense = features.n_dense() as u64;
        let table = (n_dense + features.n_sparse() as u64).saturating_mul(d * 4);
        let composed = n_item_rows.saturating_mul(d * 4 + 1);
        let columns = n_item_rows * (n_dense * 4 + 8) + 4 * features.sparse_indices.len() as u64;
        table.saturating_mul(6).saturating_add(composed).saturating_add(columns)
    }

    /// The items' vectors, as of the last [`Self::compose`]; rows that were not wanted are older.
    pub(super) fn vectors(&self) -> &Matrix {
        &self.vectors
    }

    /// The items' vectors.
    pub(super) fn into_vectors(self) -> Matrix {
        self.vectors
    }

    /// Says that weights changed, these or those of `own`.
    pub(super) fn outdate(&mut self) {
        self.states.fill(RowState::Stale);
    }

    /// Asks for a row from the next [`Self::compose`].
    pub(super) fn want(&mut self, item: u32) {
        let state = &mut self.states[item as usize];
        if *state == RowState::Stale {
            *state = RowState::Wanted;
        }
    }

    /// Asks for all rows from the next [`Self::compose`].
    pub(super) fn want_all(&mut self) {
        let stale = self.states.iter_mut().filter(|state| **state == RowState::Stale);
        stale.for_each(|state| *state = RowState::Wanted);
    }

    /// Computes the rows asked for from the items' own vectors, `own: [n_item_rows, d]`.
    pub(super) fn compose(&mut self, own: &Matrix) {
        let Self { dense, sparse, columns, pooling, vectors, states } = self;
        let d = vectors.cols().max(1);
        let tiles = vectors.as_mut_slice().par_chunks_mut(TILE_ROWS * d);
        let tiles = tiles.zip(states.par_chunks_mut(TILE_ROWS)).enumerate();
        tiles.for_each(|(tile, (sums, states))| {
            let rows = sums.chunks_exact_mut(d).zip(states).enumerate();
            for (place, (sums, state)) in rows.filter(|(_, (_, state))| **state == RowState::Wanted)
            {
                let row = tile * TILE_ROWS + place;
                sums.copy_from_slice(own.row(row));
                for (index, value) in columns.dense.row(row).iter().enumerate() {
                    add_scaled(*value, dense.row(index), sums);
                }
                let active = columns.active(row);
                let scale = pooling.scale(active.len());
                for index in active {
                    add_scaled(scale, sparse.table().row(*index as usize), sums);
                }
                *state = RowState::Fresh;
            }
        });
    }

    /// Carries the gradients of the items' vectors on to those of their attributes; those of the items' own vectors are
    /// the same as of the composed ones.
    pub(super) fn backward(&self, items: &ItemGradients, gradients: &mut AttributesGradients) {
        match items {
            ItemGradients::Dense(d_vectors) => {
                for row in 0..d_vectors.rows() {
                    self.backward_row(row, d_vectors.row(row), gradients);
                }
            }
            ItemGradients::Rows(rows) => {
                for (row, d_vector) in rows.rows() {
                    self.backward_row(row, d_vector, gradients);
                }
            }
        }
    }

    fn backward_row(&self, row: usize, d_vector: &[f32], gradients: &mut AttributesGradients) {
        for (index, value) in self.columns.dense.row(row).iter().enumerate() {
            add_scaled(*value, d_vector, gradients.dense.row_mut(index));
        }
        let active = self.columns.active(row);
        let scale = self.pooling.scale(active.len());
        for index in active {
            gradients.sparse.add_to_row(*index, d_vector, scale);
        }
    }
}

#[cfg(test)]
mod tests {
    use forecart_data::features::FeatureNames;
    use forecart_nn::{Gradients, RowGradients, Trainable};
    use rand::SeedableRng;

    use super::*;

    const OWN: [[f32; 2]; 3] = [[0.5, 1.0], [2.0, 3.0], [-1.0, 0.0]];

    /// Items with the dense values 2, 3 and -1 and the sparse attributes {}, {a, b} and {b}.
    fn attributes(pooling: Pooling) -> Attributes {
        let features = ItemFeatures {
            names: FeatureNames { dense: vec!["x".into()], sparse: vec!["a".into(), "b".into()] },
            dense: vec![2.0, 3.0, -1.0].into(),
            sparse_offsets: vec![0, 0, 2, 3].into(),
            sparse_indices: vec![0, 1, 1].into(),
        };
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let made = Attributes::new(&features, 3, 2, pooling, Init::Xavier, rng).unwrap().unwrap();
        Attributes {
            dense: Matrix::from_rows(&[[1.0, -1.0]]),
            sparse: Embedding::from_table(Matrix::from_rows(&[[10.0, 20.0], [2.0, 4.0]])).unwrap(),
            ..made
        }
    }

    #[test]
    fn vectors_by_hand() {
        let own = Matrix::from_rows(&OWN);
        for (pooling, second) in [(Pooling::Sum, [17.0, 24.0]), (Pooling::Mean, [11.0, 12.0])] {
            let mut attributes = attributes(pooling);
            attributes.want_all();
            attributes.compose(&own);
            let want = Matrix::from_rows(&[[2.5, -1.0], second, [0.0, 5.0]]);
            assert_eq!(attributes.into_vectors(), want);
        }
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let none = ItemFeatures::default();
        assert!(Attributes::new(&none, 3, 2, Pooling::Sum, Init::Xavier, rng).unwrap().is_none());
        assert_eq!(Attributes::needed_bytes(&none, 3, 2), 0);
    }

    #[test]
    fn rows_that_nobody_wants_stay_as_they_were_and_others_are_computed_once() {
        let (own, zeros) = (Matrix::from_rows(&OWN), Matrix::zeros(3, 2));
        let mut attributes = attributes(Pooling::Sum);
        attributes.want(1);
        attributes.compose(&own);
        let one = Matrix::from_rows(&[[0.0, 0.0], [17.0, 24.0], [0.0, 0.0]]);
        assert_eq!(*attributes.vectors(), one);
        attributes.want(1);
        attributes.compose(&zeros);
        assert_eq!(*attributes.vectors(), one, "the weights are those of before");
        attributes.outdate();
        attributes.compose(&zeros);
        assert_eq!(*attributes.vectors(), one, "nobody asked");
        attributes.want(1);
        attributes.compose(&zeros);
        assert_eq!(attributes.vectors().row(1), [15.0, 21.0]);
    }

    #[test]
    fn gradients_by_hand_from_all_items_and_from_a_few() {
        let mut rows = RowGradients::new(3, 2);
        rows.add_to_row(2, &[1.0, 2.0], 1.0);
        rows.add_to_row(1, &[4.0, 8.0], 1.0);
        let dense = Matrix::from_rows(&[[0.0, 0.0], [4.0, 8.0], [1.0, 2.0]]);
        for items in [ItemGradients::Dense(dense), ItemGradients::Rows(rows)] {
            let attributes = attributes(Pooling::Mean);
            let mut gradients = attributes.new_gradients();
            attributes.backward(&items, &mut gradients);
            gradients.finish();
            assert_eq!(gradients.dense.row(0), [11.0, 22.0]); // 3 · 4 - 1 · 1
            let sparse: Vec<_> = gradients.sparse.rows().collect();
            assert_eq!(sparse, [(0, &[2.0, 4.0][..]), (1, &[3.0, 6.0][..])]);
        }
    }
}
