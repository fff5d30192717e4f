//! Dropout whose mask is a function of position, not of the order of drawing.

use crate::{Matrix, NnError, error::check_range, kernels};

/// Inverted dropout: each value becomes 0 with probability `p` and `x / (1 - p)` otherwise.
///
/// The mask is not stored. It is a hash of (key, row in the whole batch, column), so that forward and backward
/// compute the same one and neither tiles nor threads change it. Inference leaves dropout out.
///
/// Source: Srivastava et al., JMLR 15, 2014, section 10 (scaling while training); counters in place of a
/// state as in Salmon et al., SC 2011, with the finalizer of SplitMix64 (Steele et al., OOPSLA 2014) as the hash.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    probability: f32,
}

/// What the masks of one training step are derived from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DropoutKey(u64);

impl DropoutKey {
    /// The key of one step of a run: other steps and other seeds give unrelated masks.
    pub fn new(seed: u64, step: u64) -> Self {
        Self(mix(mix(seed).wrapping_add(step)))
    }

    /// The key of one of several dropout layers in a step, or of one of several networks: `key.layer(1).layer(0)`
    /// is the first layer of the second network.
    pub fn layer(self, layer_idx: usize) -> Self {
        Self(mix(self.0 ^ mix(layer_idx as u64)))
    }

    /// A seed for other randomness of the same step, unrelated to the masks of all keys derived from this one.
    pub fn to_seed(self) -> u64 {
        mix(!self.0)
    }
}

/// SplitMix64: one step of its counter and its finalizer, a bijection of 64-bit words.
fn mix(word: u64) -> u64 {
    let z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Dropout {
    /// Dropout with `probability` in `[0, 1)`.
    ///
    /// # Errors
    /// [`NnError::OutOfRange`].
    pub fn new(probability: f32) -> Result<Self, NnError> {
        let inside = (0.0..1.0).contains(&probability);
        check_range("dropout", f64::from(probability), inside, "in 0.0..1.0")?;
        Ok(Self { probability })
    }

    /// The probability that a value becomes 0.
    pub fn probability(self) -> f32 {
        self.probability
    }

    /// Masks and scales `x` in place. `first_row` is the position of the first row of `x` in the whole batch.
    ///
    /// The derivative of a masked value is its factor, so backward is the same call on the gradient.
    pub fn apply(self, key: DropoutKey, first_row: usize, x: &mut Matrix) {
        if self.probability == 0.0 || x.cols() == 0 {
            return;
        }
        let n_cols = x.cols();
        for (row_idx, row) in x.as_mut_slice().chunks_exact_mut(n_cols).enumerate() {
            self.apply_row(key, first_row + row_idx, row);
        }
    }

    /// Masks and scales one row that stands at `row` in the whole batch.
    pub(crate) fn apply_row(self, key: DropoutKey, row: usize, values: &mut [f32]) {
        if self.probability == 0.0 {
            return;
        }
        // A 32-bit hash against the probability as a 32-bit fraction: exact to 2^-32.
        let threshold = (f64::from(self.probability) * 4_294_967_296.0) as u32;
        let scale = 1.0 / (1.0 - self.probability);
        let row_key = mix(key.0 ^ row as u64) as u32;
        kernels::drop_by_hash(values, row_key, threshold, scale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ones(rows: usize, cols: usize) -> Matrix {
        let mut x = Matrix::zeros(rows, cols);
        x.fill(1.0);
        x
    }

    #[test]
    fn values_are_dropped_at_the_rate_and_scaled_to_keep_the_mean() {
        let mut x = ones(1000, 100);
        Dropout::new(0.2).unwrap().apply(DropoutKey::new(1, 2), 0, &mut x);
        let n_dropped = x.as_slice().iter().filter(|&&value| value == 0.0).count();
        // Binomial(100,000, 0.2) has standard deviation 126.
        assert!(n_dropped.abs_diff(20_000) < 500, "{n_dropped}");
        assert!(x.as_slice().iter().all(|&value| value == 0.0 || value == 1.25));
        // No column and no row is special: each stays within five deviations.
        for col in 0..100 {
            let n = (0..1000).filter(|&row| x.row(row)[col] == 0.0).count();
            assert!(n.abs_diff(200) < 65, "column {col}: {n}");
        }
        for row in 0..1000 {
            let n = x.row(row).iter().filter(|&&value| value == 0.0).count();
            assert!(n.abs_diff(20) <= 22, "row {row}: {n}");
        }
    }

    #[test]
    fn tiles_see_the_mask_of_the_whole_batch() {
        let (dropout, key) = (Dropout::new(0.5).unwrap(), DropoutKey::new(3, 4).layer(1));
        let mut whole = ones(10, 7);
        dropout.apply(key, 0, &mut whole);
        for (first_row, n_rows) in [(0, 4), (4, 4), (8, 2)] {
            let mut tile = ones(n_rows, 7);
            dropout.apply(key, first_row, &mut tile);
            for row in 0..n_rows {
                assert_eq!(tile.row(row), whole.row(first_row + row));
            }
        }
    }

    #[test]
    fn steps_seeds_and_layers_have_masks_of_their_own() {
        let mask = |key| {
            let mut x = ones(8, 8);
            Dropout::new(0.5).unwrap().apply(key, 0, &mut x);
            x
        };
        let key = DropoutKey::new(1, 1);
        for other in [DropoutKey::new(1, 2), DropoutKey::new(2, 1), key.layer(0), key.layer(1)] {
            assert_ne!(mask(key), mask(other));
        }
        assert_ne!(mask(key.layer(0)), mask(key.layer(1)));
        assert_eq!(mask(key), mask(DropoutKey::new(1, 1)));
    }

    #[test]
    fn the_probability_is_checked_and_zero_changes_nothing() {
        assert!(Dropout::new(1.0).is_err() && Dropout::new(-0.1).is_err());
        assert!(Dropout::new(f32::NAN).is_err());
        let mut x = ones(2, 2);
        Dropout::new(0.0).unwrap().apply(DropoutKey::new(0, 0), 0, &mut x);
        assert_eq!(x, ones(2, 2));
    }
}
