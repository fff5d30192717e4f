//! What is measured of probabilities, by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::EvalError;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbabilityMetric {
    /// [`super::auc`].
    Auc,
    /// [`super::average_precision`].
    AveragePrecision,
    /// [`super::grouped_auc`].
    GroupedAuc,
    /// [`super::logloss`].
    Logloss,
    /// [`super::normalized_entropy`].
    NormalizedEntropy,
    /// [`super::brier`].
    Brier,
    /// [`super::ece`].
    Ece,
}

impl ProbabilityMetric {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 7] = [
        Self::Auc,
        Self::AveragePrecision,
        Self::GroupedAuc,
        Self::Logloss,
        Self::NormalizedEntropy,
        Self::Brier,
        Self::Ece,
    ];

    /// As in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auc => "auc",
            Self::AveragePrecision => "average_precision",
            Self::GroupedAuc => "grouped_auc",
            Self::Logloss => "logloss",
            Self::NormalizedEntropy => "normalized_entropy",
            Self::Brier => "brier",
            Self::Ece => "ece",
        }
    }

    /// Whether more of it is better.
    pub fn higher_is_better(self) -> bool {
        matches!(self, Self::Auc | Self::AveragePrecision | Self::GroupedAuc)
    }
}

impl FromStr for ProbabilityMetric {
    type Err = EvalError;

    fn from_str(name: &str) -> Result<Self, EvalError> {
        let wanted = name.to_lowercase().replace('-', "_");
        let found = Self::ALL.into_iter().find(|metric| metric.name() == wanted);
        found.ok_or_else(|| EvalError::NoSuchMetric {
            name: name.to_owned(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}

impl fmt::Display for ProbabilityMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_named_with_what_there_is() {
        for metric in ProbabilityMetric::ALL {
            assert_eq!(metric.name().parse::<ProbabilityMetric>().unwrap(), metric);
        }
        let found: ProbabilityMetric = "Average-Precision".parse().unwrap();
        assert_eq!(found, ProbabilityMetric::AveragePrecision);
        let error = "ndcg@10".parse::<ProbabilityMetric>().unwrap_err().to_string();
        assert!(error.contains("\"ndcg@10\"") && error.contains("logloss"), "{error}");
    }
}
