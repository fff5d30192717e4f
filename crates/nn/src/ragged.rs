//! Sequences of different lengths, laid end to end.

use std::ops::Range;

use crate::NnError;

/// Where each sequence of a batch begins and ends: sequence `i` is rows `offsets[i]..offsets[i + 1]` of a matrix
/// with one row a token, oldest token first. There is no padding, so none is ever computed.
///
/// ```
/// use forecart_nn::Ragged;
/// let batch = Ragged::new(&[0, 3, 3, 5]).unwrap();
/// assert_eq!((batch.n_sequences(), batch.n_tokens()), (3, 5));
/// assert_eq!(batch.sequences().collect::<Vec<_>>(), [0..3, 3..3, 3..5]);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Ragged<'a> {
    offsets: &'a [usize],
}

impl<'a> Ragged<'a> {
    /// From offsets that start at 0 and never fall.
    ///
    /// # Errors
    /// [`NnError::Offsets`] with the first position that breaks this.
    pub fn new(offsets: &'a [usize]) -> Result<Self, NnError> {
        if offsets.first() != Some(&0) {
            return Err(NnError::Offsets { position: 0 });
        }
        match offsets.windows(2).position(|pair| pair[0] > pair[1]) {
            Some(position) => Err(NnError::Offsets { position: position + 1 }),
            None => Ok(Self { offsets }),
        }
    }

    /// Number of sequences, empty ones included.
    pub fn n_sequences(self) -> usize {
        self.offsets.len() - 1
    }

    /// Rows of a matrix with one row a token.
    pub fn n_tokens(self) -> usize {
        self.offsets[self.offsets.len() - 1]
    }

    /// The rows of each sequence, in order.
    pub fn sequences(self) -> impl ExactSizeIterator<Item = Range<usize>> + Clone + use<'a> {
        self.offsets.windows(2).map(|pair| pair[0]..pair[1])
    }

    /// Length of the longest sequence; 0 if there is none.
    pub fn max_len(self) -> usize {
        self.sequences().map(|rows| rows.len()).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_checked() {
        let position = |offsets: &[usize]| match Ragged::new(offsets) {
            Err(NnError::Offsets { position }) => Some(position),
            _ => None,
        };
        assert_eq!(position(&[]), Some(0));
        assert_eq!(position(&[1, 2]), Some(0));
        assert_eq!(position(&[0, 2, 1]), Some(2));
        assert_eq!(position(&[0, 2, 2]), None);
        assert_eq!(Ragged::new(&[0]).unwrap().max_len(), 0);
    }
}
