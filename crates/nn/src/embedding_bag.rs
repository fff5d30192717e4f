//! Sums and means of table rows over ragged lists of indices.

use std::ops::Range;

use crate::{
    Embedding, Matrix, NnError, RowGradients,
    error::{check_indices, check_length, check_range, check_shape},
};

/// How the rows of a bag become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BagMode {
    /// `Σ w e`.
    Sum,
    /// `Σ w e / Σ w`. We differ from PyTorch, whose mean takes no weights.
    Mean,
}

/// Ragged lists of indices laid end to end: bag `b` is `indices[offsets[b]..offsets[b + 1]]`.
///
/// An empty bag gives a row of zeros and no gradient: a user without history.
#[derive(Debug, Clone, Copy)]
pub struct Bags<'a> {
    indices: &'a [u32],
    offsets: &'a [usize],
    weights: Option<&'a [f32]>,
}

impl<'a> Bags<'a> {
    /// Checks and wraps `indices` with `n_bags + 1` offsets (first 0, never decreasing, last
    /// `indices.len()`) and, if given, one finite non-negative weight an index.
    ///
    /// # Errors
    /// [`NnError::Offsets`], [`NnError::Length`] or [`NnError::OutOfRange`].
    pub fn new(
        indices: &'a [u32],
        offsets: &'a [usize],
        weights: Option<&'a [f32]>,
    ) -> Result<Self, NnError> {
        if offsets.first() != Some(&0) {
            return Err(NnError::Offsets { position: 0 });
        }
        if let Some(position) = offsets.windows(2).position(|pair| pair[0] > pair[1]) {
            return Err(NnError::Offsets { position: position + 1 });
        }
        if offsets.last() != Some(&indices.len()) {
            return Err(NnError::Offsets { position: offsets.len() - 1 });
        }
        if let Some(weights) = weights {
            check_length("weights of bags", indices.len(), weights.len())?;
            for &weight in weights {
                let inside = weight >= 0.0 && weight.is_finite();
                check_range("weight of a bag", f64::from(weight), inside, "finite and >= 0")?;
            }
        }
        Ok(Self { indices, offsets, weights })
    }

    /// Number of bags.
    pub fn n_bags(&self) -> usize {
        self.offsets.len() - 1
    }

    /// The bags of a range, without copying: a tile of a batch.
    ///
    /// # Panics
    /// If the range ends after the last bag or before it starts.
    #[must_use]
    pub fn slice(self, bags: Range<usize>) -> Self {
        Self { offsets: &self.offsets[bags.start..=bags.end], ..self }
    }

    /// All indices of these bags.
    fn all_indices(self) -> &'a [u32] {
        &self.indices[self.offsets[0]..self.offsets[self.n_bags()]]
    }

    /// The `(index, factor)` pairs of one bag, the mean's division included.
    fn bag(self, bag_idx: usize, mode: BagMode) -> impl Iterator<Item = (u32, f32)> {
        let range = self.offsets[bag_idx]..self.offsets[bag_idx + 1];
        let total = match (mode, self.weights) {
            (BagMode::Sum, _) => 1.0,
            (BagMode::Mean, None) => range.len() as f32,
            (BagMode::Mean, Some(weights)) => weights[range.clone()].iter().sum::<f32>(),
        };
        // Weights that are all zero say the same as an empty bag.
        let scale = if total > 0.0 { 1.0 / total } else { 0.0 };
        range.map(move |position| {
            let weight = self.weights.map_or(1.0, |weights| weights[position]);
            (self.indices[position], weight * scale)
        })
    }
}

impl Embedding {
    /// Writes `y: [n_bags, n_dims]`, one row a bag.
    ///
    /// # Errors
    /// [`NnError::Index`] for an index outside of the table.
    pub fn forward_bags(
        &self,
        bags: Bags<'_>,
        mode: BagMode,
        y: &mut Matrix,
    ) -> Result<(), NnError> {
        check_indices("bag index", bags.all_indices(), self.n_rows())?;
        y.reset(bags.n_bags(), self.n_dims());
        for bag_idx in 0..bags.n_bags() {
            let sums = y.row_mut(bag_idx);
            for (index, factor) in bags.bag(bag_idx, mode) {
                for (sum, value) in sums.iter_mut().zip(self.table().row(index as usize)) {
                    *sum += factor * value;
                }
            }
        }
        Ok(())
    }

    /// Adds the gradients of the rows in the bags, bag by bag, given `dy: [n_bags, n_dims]`. Weights are data
    /// and get no gradient.
    ///
    /// # Errors
    /// [`NnError::Shape`] or [`NnError::Index`]; `gradients` is unchanged then.
    pub fn backward_bags(
        &self,
        bags: Bags<'_>,
        mode: BagMode,
        dy: &Matrix,
        gradients: &mut RowGradients,
    ) -> Result<(), NnError> {
        check_indices("bag index", bags.all_indices(), self.n_rows())?;
        check_shape("gradient of bags", [bags.n_bags(), self.n_dims()], dy.shape())?;
        check_shape("gradient of embedding table", self.table().shape(), gradients.shape())?;
        for bag_idx in 0..bags.n_bags() {
            for (index, factor) in bags.bag(bag_idx, mode) {
                gradients.add_to_row(index, dy.row(bag_idx), factor);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Gradients, Trainable};

    fn layer() -> Embedding {
        Embedding::from_table(Matrix::from_rows(&[[1.0, 2.0], [3.0, 4.0], [10.0, 20.0]])).unwrap()
    }

    fn forward(bags: Bags<'_>, mode: BagMode) -> Matrix {
        let mut y = Matrix::from_rows(&[[9.0]]);
        layer().forward_bags(bags, mode, &mut y).unwrap();
        y
    }

    #[test]
    fn sums_and_means_by_hand() {
        let (indices, offsets) = ([0, 1, 2, 0], [0, 2, 2, 4]);
        let bags = Bags::new(&indices, &offsets, None).unwrap();
        let sums = Matrix::from_rows(&[[4.0, 6.0], [0.0, 0.0], [11.0, 22.0]]);
        assert_eq!(forward(bags, BagMode::Sum), sums);
        let means = Matrix::from_rows(&[[2.0, 3.0], [0.0, 0.0], [5.5, 11.0]]);
        assert_eq!(forward(bags, BagMode::Mean), means);

        let weights = [3.0, 1.0, 0.0, 0.0];
        let bags = Bags::new(&indices, &offsets, Some(&weights)).unwrap();
        let means = Matrix::from_rows(&[[1.5, 2.5], [0.0, 0.0], [0.0, 0.0]]);
        assert_eq!(forward(bags, BagMode::Mean), means);
    }

    #[test]
    fn slices_of_bags_are_rows_of_the_whole() {
        let (indices, offsets) = ([0, 1, 2, 0, 1], [0, 2, 2, 4, 5]);
        let weights = [1.0, 2.0, 3.0, 4.0, 5.0];
        let bags = Bags::new(&indices, &offsets, Some(&weights)).unwrap();
        let whole = forward(bags, BagMode::Mean);
        for (first, last) in [(0, 4), (0, 1), (1, 3), (3, 4), (2, 2)] {
            let part = forward(bags.slice(first..last), BagMode::Mean);
            assert_eq!(part.as_slice(), &whole.as_slice()[2 * first..2 * last]);
            let again = forward(bags.slice(0..last).slice(first..last), BagMode::Mean);
            assert_eq!(part, again);
        }
    }

    #[test]
    fn backward_by_hand() {
        let (indices, offsets, weights) = ([0, 1, 0], [0, 2, 3], [3.0, 1.0, 5.0]);
        let bags = Bags::new(&indices, &offsets, Some(&weights)).unwrap();
        let dy = Matrix::from_rows(&[[4.0, 8.0], [1.0, 1.0]]);
        let mut gradients = layer().new_gradients();
        layer().backward_bags(bags, BagMode::Mean, &dy, &mut gradients).unwrap();
        gradients.finish();
        // Row 0: 3/4 of the first bag and all of the second; row 1: 1/4 of the first.
        let rows: Vec<_> = gradients.rows().collect();
        assert_eq!(rows, [(0, &[4.0, 7.0][..]), (1, &[1.0, 2.0][..])]);
    }

    #[test]
    fn wrong_offsets_weights_and_indices_are_refused() {
        let position = |offsets: &[usize]| match Bags::new(&[0, 1], offsets, None) {
            Err(NnError::Offsets { position }) => Some(position),
            _ => None,
        };
        assert_eq!(position(&[]), Some(0));
        assert_eq!(position(&[1, 2]), Some(0));
        assert_eq!(position(&[0, 2, 1, 2]), Some(2));
        assert_eq!(position(&[0, 1]), Some(1));
        assert!(Bags::new(&[0, 1], &[0, 2], Some(&[1.0])).is_err());
        assert!(Bags::new(&[0, 1], &[0, 2], Some(&[1.0, f32::NAN])).is_err());
        assert!(Bags::new(&[0, 1], &[0, 2], Some(&[1.0, -1.0])).is_err());
        let bags = Bags::new(&[0, 7], &[0, 2], None).unwrap();
        assert!(layer().forward_bags(bags, BagMode::Sum, &mut Matrix::default()).is_err());
    }
}
