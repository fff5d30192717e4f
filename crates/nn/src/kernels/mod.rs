//! The arithmetic that is worth a tuned kernel, on plain host slices, and the only `unsafe` of the crate.
//!
//! Each kernel has a scalar twin that its tests compare it with. Every kernel runs on the calling thread:
//! parallelism is over tiles ([`crate::parallel`]), one level above.

mod matmul;

pub(crate) use matmul::{Operand, matmul};
