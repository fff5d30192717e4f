//! Tests of the crate as its users see it.

mod attention;
mod gated;
mod gradients;
mod norms;
mod own_negatives;
mod parity;
mod threads;
mod three_products;
mod training;

use forecart_nn::Matrix;
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
