//! Probabilities of a click, a conversion or a purchase from rows of a table.
//!
//! Start at [`contract`] for what a model is, at [`network`] for what most of them compute: one network over fields, of which they
//! are arrangements, and at [`OnlineLearner`] for the one that learns from a stream. [`samples`] hands out the rows that may be learned from, [`predictor`] is a model with its encoders.

pub mod contract;
pub mod samples;

mod features;
pub mod network;
pub mod trainer;

pub mod config;
mod field_model;
mod fit;

mod gbdt;
mod trees;

pub mod explanation;

mod ftrl;
mod online;
mod slots;

pub mod predictor;
pub mod registry;

pub use config::{Arrangement, FieldConfig, FieldSpec};
pub use contract::{OutcomeModel, OutcomeSpec};
pub use explanation::{Explained, Explanation};
pub use features::Numbers;
pub use field_model::FieldModel;
pub use ftrl::{Ftrl, FtrlConfig, Rule};
pub use gbdt::{Gbdt, GbdtConfig};
pub use network::{
    FieldNetwork, FieldNetworkConfig, FieldNetworkGradients, FieldRows, HistoryRows, Interactions,
};
pub use online::{OnlineLearner, ProgressiveLoss};
pub use predictor::{Conversion, OutcomePredictor, Positions, Prediction};
pub use samples::{EncodedSamples, SampleLayout, SampleView};
pub use trainer::FieldTrainer;

#[cfg(test)]
mod tests;
