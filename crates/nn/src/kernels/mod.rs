//! The arithmetic that is worth a tuned kernel, on plain host slices, and the only `unsafe` of the crate.
//!
//! A kernel is written once, over vectors of any width, and compiled for each instruction set; the scalar one is
//! the twin that the others are tested against. Every kernel runs on the calling thread: parallelism is over
//! tiles ([`crate::parallel`]), one level above.

mod adam;
mod bf16;
mod conjugate_gradient;
mod exp_columns;
mod exponentials;
mod functions;
mod gather;
mod instruction_set;
mod int8;
mod layer_norm;
mod matmul;
mod prefetch;
mod product;
mod softmax;
mod sums;
mod transpose;
mod triangle;
mod vector;

pub(crate) use adam::{AdamStep, adam};
pub(crate) use bf16::{Bf16Panels, has_bf16_arithmetic, round_to_bf16};
pub(crate) use conjugate_gradient::ConjugateGradientRun;
pub(crate) use exp_columns::exp2_columns;
pub(crate) use exponentials::{exp_scaled, exp_shifted};
pub(crate) use functions::{sigmoid, tanh};
pub(crate) use gather::{Term, add_terms, dot_gathered, sum_gathered};
pub use instruction_set::InstructionSet;
pub(crate) use instruction_set::dispatch;
pub(crate) use int8::{INT8_ROWS, INT8_RUN, Int8Bounds, dot_int8};
pub(crate) use layer_norm::{LayerNormBackward, LayerNormForward};
pub(crate) use matmul::matmul;
pub use prefetch::prefetch;
pub(crate) use product::{Operand, Part, Plus, Product, Target};
pub(crate) use softmax::{softmax, softmax_backward};
pub use sums::dot;
pub(crate) use sums::{dot_rows, sum_rows};
pub(crate) use transpose::transpose;
pub(crate) use triangle::{TRIANGLE, factor_triangle, solve_triangle};
pub use vector::scaled_sum;
pub(crate) use vector::{
    Map, Zip, add_scaled, drop_by_hash, map, map_into, scale_by, scale_into, zip,
};
