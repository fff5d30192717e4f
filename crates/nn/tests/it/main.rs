//! Tests of the crate as its users see it.

mod attention;
mod attention_parity;
mod far;
mod gated;
mod gradients;
mod interactions;
mod norms;
mod optimizers;
mod own_negatives;
mod parity;
mod recurrent;
mod threads;
mod three_products;
mod training;

use std::ops::Range;

use forecart_nn::{Matrix, NnError, Ragged};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// Uniform values in `-scale..scale`.
fn random(rows: usize, cols: usize, scale: f32, rng: &mut ChaCha8Rng) -> Matrix {
    let values = (0..rows * cols).map(|_| scale * (2.0 * rng.random::<f32>() - 1.0)).collect();
    Matrix::from_vec(rows, cols, values).unwrap()
}

/// A matrix of the shape of `like` with the values of `values`.
fn shaped(like: &Matrix, values: &[f32]) -> Matrix {
    Matrix::from_vec(like.rows(), like.cols(), values.to_vec()).unwrap()
}

/// `Σ a b`, in f64: a loss whose gradient by `a` is `b`.
fn dot(a: &Matrix, b: &Matrix) -> f64 {
    assert_eq!(a.shape(), b.shape());
    a.as_slice().iter().zip(b.as_slice()).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// Offsets of sequences of 0 to 6 tokens.
fn ragged_offsets(n_sequences: usize) -> Vec<usize> {
    let lengths = (0..n_sequences).map(|sequence| sequence * 5 % 7);
    let ends = lengths.scan(0, |end, length| {
        *end += length;
        Some(*end)
    });
    std::iter::once(0).chain(ends).collect()
}

/// Copies some sequences of a batch and the rows of their tokens: a tile.
fn ragged_tile<'a>(
    offsets: &[usize],
    sequences: Range<usize>,
    x: &Matrix,
    tile: &mut Matrix,
    tile_offsets: &'a mut Vec<usize>,
) -> Result<Ragged<'a>, NnError> {
    let (first, last) = (offsets[sequences.start], offsets[sequences.end]);
    tile.copy_rows_from(x, first..last);
    tile_offsets.clear();
    tile_offsets.extend(offsets[sequences.start..=sequences.end].iter().map(|end| end - first));
    Ragged::new(tile_offsets)
}
