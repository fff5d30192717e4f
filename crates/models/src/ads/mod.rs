//! Probabilities of a click, a conversion or a purchase from rows of a table.
//!
//! Start at [`network`]: one network, of which the models are arrangements; [`trainer`] has its steps.

pub mod network;
pub mod trainer;

pub use network::{FieldNetwork, FieldNetworkConfig, FieldNetworkGradients, FieldRows};
pub use trainer::FieldTrainer;

#[cfg(test)]
mod tests;
