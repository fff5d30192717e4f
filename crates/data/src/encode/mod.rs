//! Encoders: from raw attributes to numbers, the same object in training and in serving.

use serde::{Deserialize, Serialize};

/// The fitted encoders of a table, column by column.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FeatureProgram {}
