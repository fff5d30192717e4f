//! How a fit went, epoch by epoch.

use serde::{Deserialize, Serialize};

use super::learner::Measure;

/// One pass over the training examples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// From 1.
    pub epoch: usize,
    /// Mean loss of the epoch's examples, in nats.
    pub train_loss: f64,
    /// NDCG@10 on the validation part, where the model may look at it and makes lists.
    pub validation_ndcg_at_10: Option<f64>,
    /// Log loss on the validation part, in nats, where the model may look at it and gives probabilities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_log_loss: Option<f64>,
}

impl EpochRecord {
    /// Keeps six decimals: more say nothing, and a short number comes back from JSON to the bit. Of `validation`, larger is
    /// better.
    pub(crate) fn new(
        epoch: usize,
        train_loss: f64,
        measure: Measure,
        validation: Option<f64>,
    ) -> Self {
        let short = |value: f64| (value * 1e6).round() / 1e6;
        let validation = validation.map(short);
        let (ndcg, log_loss) = match measure {
            Measure::Ndcg => (validation, None),
            Measure::LogLoss => (None, validation.map(|value| -value)),
        };
        Self {
            epoch,
            train_loss: short(train_loss),
            validation_ndcg_at_10: ndcg,
            validation_log_loss: log_loss,
        }
    }

    /// What was measured on validation, larger is better.
    pub(crate) fn validation(&self) -> Option<f64> {
        self.validation_ndcg_at_10.or(self.validation_log_loss.map(|value| -value))
    }
}

/// How a fit went.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FitRecord {
    /// One entry an epoch; empty for models that are counted, not trained.
    pub curve: Vec<EpochRecord>,
    /// The epoch whose weights the model has, where training has epochs.
    pub chosen_epoch: Option<usize>,
    /// Of a model that is made of several: one entry a member. `curve` is then that of the first that has one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<MemberRecord>,
}

/// What was chosen for one member of a model that is made of several.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MemberRecord {
    /// How much it counts.
    pub weight: f64,
    /// The epoch whose weights it has, where its training has epochs.
    pub chosen_epoch: Option<usize>,
}
