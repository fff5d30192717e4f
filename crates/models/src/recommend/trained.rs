//! What models that are trained by epochs share as specs.

use std::num::NonZeroU32;

use serde::Serialize;

use super::contract::{FitContext, FitRecord, Recommender};
use super::search_space::Parameter;
use super::view::TrainingView;
use crate::error::ModelError;

/// Hyperparameters of a model that is trained by epochs from a seed; [`trained_spec!`] makes it a
/// [`ModelSpec`](super::ModelSpec). (A second implementation for all `C` beside that of models that hold related items
/// would be one too many for the compiler.)
pub(super) trait TrainedConfig: Clone + Serialize + Send + Sync {
    /// The fitted model.
    type Model: Recommender + Send + 'static;

    /// As [`ModelSpec::name`](super::ModelSpec::name).
    const NAME: &'static str;

    /// As [`ModelSpec::search_space`](super::ModelSpec::search_space).
    const SEARCH_SPACE: &'static [Parameter] = &[];

    /// What to do where memory does not suffice.
    const IF_TOO_LARGE: &'static str;

    /// Refuses values outside of their ranges.
    fn check(&self) -> Result<(), ModelError>;

    /// As [`ModelSpec::needed_bytes`](super::ModelSpec::needed_bytes).
    fn needed_bytes(&self, view: &TrainingView<'_>) -> u64;

    /// Trains on the threads of the current pool.
    ///
    /// # Errors
    /// As [`ModelSpec::fit`](super::ModelSpec::fit).
    fn train(
        &self,
        view: &TrainingView<'_>,
        context: &FitContext<'_>,
    ) -> Result<(Self::Model, FitRecord), ModelError>;

    /// The same with another number of epochs; a falling learning rate falls as it would have.
    fn with_epochs(&self, n_epochs: NonZeroU32) -> Self;

    /// Checks, and trains on threads of its own.
    ///
    /// # Errors
    /// As [`ModelSpec::fit`](super::ModelSpec::fit).
    fn checked_fit(
        &self,
        view: &TrainingView<'_>,
        context: &FitContext<'_>,
    ) -> Result<(Self::Model, FitRecord), ModelError> {
        self.check()?;
        context.check_memory(Self::NAME, self.needed_bytes(view), Self::IF_TOO_LARGE)?;
        context.on_threads(|| self.train(view, context))
    }

    /// The same with the number of epochs that `record` chose, if it chose one.
    fn refit(&self, record: &FitRecord) -> Self {
        let chosen = record.chosen_epoch.and_then(|epoch| u32::try_from(epoch).ok());
        chosen.and_then(NonZeroU32::new).map_or_else(|| self.clone(), |n| self.with_epochs(n))
    }
}

/// Implements [`ModelSpec`](super::ModelSpec) for a [`TrainedConfig`].
macro_rules! trained_spec {
    ($config:ty) => {
        impl $crate::recommend::ModelSpec for $config {
            fn name(&self) -> &'static str {
                <Self as $crate::recommend::trained::TrainedConfig>::NAME
            }

            fn hyperparameters(&self) -> ::serde_json::Value {
                ::serde_json::to_value(self).expect("numbers and names in a struct are JSON")
            }

            fn uses_seed(&self) -> bool {
                true
            }

            fn search_space(&self) -> &'static [$crate::recommend::Parameter] {
                <Self as $crate::recommend::trained::TrainedConfig>::SEARCH_SPACE
            }

            fn needed_bytes(&self, view: &$crate::recommend::TrainingView<'_>) -> u64 {
                $crate::recommend::trained::TrainedConfig::needed_bytes(self, view)
            }

            fn fit(
                &self,
                view: &$crate::recommend::TrainingView<'_>,
                context: &$crate::recommend::FitContext<'_>,
            ) -> Result<$crate::recommend::Fitted, $crate::error::ModelError> {
                let (model, record) =
                    $crate::recommend::trained::TrainedConfig::checked_fit(self, view, context)?;
                Ok($crate::recommend::Fitted { model: Box::new(model), record })
            }

            fn for_refit(
                &self,
                record: &$crate::recommend::FitRecord,
            ) -> Box<dyn $crate::recommend::ModelSpec> {
                Box::new($crate::recommend::trained::TrainedConfig::refit(self, record))
            }
        }
    };
}

pub(super) use trained_spec;
