//! Will this impression be clicked: networks over sparse and dense fields.
//!
//! Here are the networks and their training step. What prepares impressions for them and answers for external ids is not
//! here yet.

mod deepfm;

pub use deepfm::{DeepFm, DeepFmConfig, DeepFmGradients, DeepFmTrainer, Impressions};
