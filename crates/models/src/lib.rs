//! Models by application, and the file that a fitted model is stored in.
//!
//! A model is fitted on what a [`recommend::TrainingView`] hands out, answers from a history, and
//! is stored in one [`model_file::LoadedModel`] that holds all it needs to answer for external ids.
//! Nothing here measures a model: that is the part of another crate, so that no model can grade
//! itself.
//!
//! Start reading at [`recommend`]; the loop of the models that learn by gradient steps is [`training`]. [`ads`] gives
//! the probability of a click, a conversion or a purchase from a row of a table, [`purchase`] forecasts units sold, [`support`] says what a text asks, [`calibration`] turns scores into probabilities,
//! [`step_bench`] measures training steps.

mod error;
mod tensors;
#[cfg(test)]
mod testing;

pub mod ads;
pub mod calibration;
pub mod model_file;
pub mod purchase;
pub mod recommend;
pub mod step_bench;
pub mod support;
pub mod training;

pub use error::ModelError;
pub use tensors::{Tensor, TensorData, Tensors};
