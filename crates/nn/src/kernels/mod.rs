//! The arithmetic that is worth a tuned kernel, on plain host slices, and the only `unsafe` of the crate.
//!
//! A kernel is written once, over vectors of any width, and compiled for each instruction set; the scalar one is
//! the twin that the others are tested against. Every kernel runs on the calling thread: parallelism is over
//! tiles ([`crate::parallel`]), one level above.

mod instruction_set;
mod matmul;
mod transpose;
mod vector;

pub use instruction_set::InstructionSet;
pub(crate) use instruction_set::dispatch;
pub(crate) use matmul::{Operand, Target, matmul, matmul_into};
pub(crate) use transpose::transpose;
pub use vector::dot;
pub(crate) use vector::{
    Map, Zip, add_scaled, dot_rows, drop_by_hash, exp_scaled, exp_shifted, map, max, sigmoid, zip,
};
