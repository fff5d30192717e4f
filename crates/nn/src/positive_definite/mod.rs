//! Positive definite matrices: factors, solutions and inverses, on the matrix kernel.
//!
//! All is by halves: a problem of `n` rows is two of `n / 2` and products between them, down to triangles of 16 rows that
//! fit the registers, so that almost all work is the matrix kernel's and blocks fit whatever cache there is. Start at
//! [`PositiveDefinite`] (one small system, one thread) or [`invert`] (one large matrix, all threads). [`ConjugateGradient`] goes some steps
//! towards the solution of one small system in place of solving it.
//!
//! Not here: eigenvalues, matrices that are not symmetric, pivoting.

mod conjugate_gradient;
mod factor;
mod invert;
mod products;
mod system;

pub use conjugate_gradient::{ConjugateGradient, WeightedRows};
pub use invert::invert;
pub use products::{gram, multiply};
pub use system::PositiveDefinite;
