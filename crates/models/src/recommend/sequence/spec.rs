//! A model that is ready to be fitted: what it needs, what it costs, what may be varied.

use std::num::NonZeroU32;

use serde_json::Value;

use super::super::attributes::Attributes;
use super::super::contract::{FitContext, FitRecord, Fitted, ModelSpec};
use super::super::early_stopping::N_SCORER_TABLES;
use super::super::search_space::Parameter;
use super::super::view::TrainingView;
use super::config::{Objective, Preset, SequenceConfig, SequenceLoss};
use super::fit;
use super::step::N_GROUPS;
use crate::error::ModelError;

/// A published model with checked hyperparameters, ready to be fitted.
#[derive(Debug, Clone)]
pub struct SequenceSpec {
    pub(super) preset: Preset,
    pub(super) config: SequenceConfig,
}

impl SequenceSpec {
    pub(in super::super) fn from_keys(preset: Preset, keys: &Value) -> Result<Self, ModelError> {
        Ok(Self { preset, config: SequenceConfig::from_keys(preset, keys)? })
    }
}

/// What `tune` varies.
const SEARCH_SPACE: &[Parameter] = &[
    Parameter::choice("d_model", &["32", "64", "128", "256"]),
    Parameter::int("n_layers", 1, 3),
    Parameter::log("learning_rate", 1e-4, 1e-2),
    Parameter::float("dropout", 0.0, 0.7),
    Parameter::log("weight_decay", 1e-6, 1e-1),
    Parameter::log_int("batch_size", 32, 512),
];

impl ModelSpec for SequenceSpec {
    fn name(&self) -> &'static str {
        self.preset.name()
    }

    fn hyperparameters(&self) -> Value {
        serde_json::to_value(&self.config).expect("numbers and names are JSON")
    }

    fn uses_seed(&self) -> bool {
        true
    }

    fn search_space(&self) -> &'static [Parameter] {
        SEARCH_SPACE
    }

    /// The weights four times (values, two moments, best epoch) and twice more for validation or, at other times, for a
    /// gradient and a checkpoint; the buffers of the softmax, gradients by rows in lists that grow by doubling, and the
    /// activations of the longest batch.
    fn needed_bytes(&self, view: &TrainingView<'_>) -> u64 {
        let config = self.config.resolved(view);
        let SequenceConfig { d_model, n_layers, d_ff, batch_size, .. } = config;
        let (d, n_layers) = (u64::from(d_model.get()), u64::from(n_layers.get()));
        let n_tokens = view.n_events_of_longest(batch_size.get() as usize, config.max_tokens());
        let table = view.n_item_rows() as u64 * d;
        let in_layers = n_layers * d * (8 * d + 2 * u64::from(d_ff));
        let a_token = n_layers * (26 * d + 4 * u64::from(d_ff)) + 8 * d;
        let n_items = view.n_item_rows() as u64;
        let n_negatives = u64::from(config.n_negatives.get());
        let softmax = match config.loss {
            SequenceLoss::Full | SequenceLoss::Auto => 17 * n_tokens * d,
            // Three tables of the candidates, and the hidden rows with a column more.
            SequenceLoss::Mixed => {
                3 * (n_negatives + n_tokens).min(n_items) * (d + 1) + 19 * n_tokens * (d + 1)
            }
            _ => 0,
        };
        let dense = if config.moves_all() { table } else { 0 };
        // Inputs, labels and drawn items.
        let n_drawn = match config.loss {
            SequenceLoss::Full | SequenceLoss::Auto => 0,
            SequenceLoss::Mixed | SequenceLoss::Shared => n_negatives,
            SequenceLoss::Sampled | SequenceLoss::Bce => n_tokens * n_negatives,
        };
        let (n_rows, n_groups) = (n_tokens * 2 + n_drawn, N_GROUPS as u64);
        let in_groups = n_groups * n_rows.div_ceil(n_groups).min(n_items);
        let rows = (in_groups + n_rows.min(n_items)) * d * 3 / 2;
        let attributes = config.features(view);
        let attributes = attributes.map_or(0, |all| Attributes::needed_bytes(all, n_items, d));
        4 * ((4 + N_SCORER_TABLES) * table
            + dense
            + 20 * in_layers
            + softmax
            + rows
            + n_tokens * a_token)
            + view.n_events() * 12
            + attributes
    }

    fn epoch_flop(&self, view: &TrainingView<'_>) -> Option<f64> {
        let config = self.config.resolved(view);
        let max_history = config.max_history as usize;
        // The newest event of a causal sequence is a label alone.
        let n_unseen = usize::from(config.objective == Objective::Next);
        let tokens = view.users().filter_map(|user| {
            let n_events = view.history(user).items.len().min(max_history + 1);
            (n_events > 1).then(|| n_events - n_unseen)
        });
        Some(config.training_flop(tokens, view.n_item_rows()))
    }

    fn fit(&self, view: &TrainingView<'_>, context: &FitContext<'_>) -> Result<Fitted, ModelError> {
        let needed = self.needed_bytes(view);
        context.check_memory(self.name(), needed, "lower d_model or batch_size")?;
        context.on_threads(|| {
            let spec = Self { config: self.config.resolved(view), ..*self };
            let (model, record) = fit::fit(&spec, view, context)?;
            Ok(Fitted { model: Box::new(model), record })
        })
    }

    fn for_refit(&self, record: &FitRecord) -> Box<dyn ModelSpec> {
        let chosen = record.chosen_epoch.and_then(|epoch| u32::try_from(epoch).ok());
        let n_epochs = chosen.and_then(NonZeroU32::new).unwrap_or(self.config.n_epochs);
        let decay_epochs = self.config.optimizer().decay_epochs_of(self.config.n_epochs.get());
        let config = SequenceConfig { n_epochs, decay_epochs, ..self.config.clone() };
        Box::new(Self { config, ..*self })
    }
}
