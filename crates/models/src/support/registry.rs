//! Models of intents by name.

use serde_json::Value;

use super::contract::{IntentModel, IntentSpec};
use super::distilled::{self, DistilledModel, DistilledSpec};
use super::encoders::{EncoderModel, EncoderSpec, TextEncoder};
use super::ensemble::{self, EnsembleModel, EnsembleSpec};
use super::linear::{LinearLoss, LinearModel, LinearSpec};
use crate::error::{ModelError, nearest};
use crate::tensors::Tensors;

/// Stands for [`DEFAULT_MODEL`] wherever a name is asked for.
pub const DEFAULT: &str = "default";

/// The model that is trained when none is named.
pub const DEFAULT_MODEL: &str = ensemble::NAME;

/// Names and one line about each, simplest first.
pub fn models() -> impl Iterator<Item = (&'static str, &'static str)> {
    let linear = LinearLoss::ALL.into_iter().map(|loss| (loss.model(), loss.about()));
    let networks = TextEncoder::ALL.into_iter();
    let networks = networks.map(|encoder| (encoder.model(), encoder.about()));
    let several = (ensemble::NAME, "several models, their probabilities averaged");
    let distilled = (distilled::NAME, "one network that has learned what an ensemble says");
    linear.chain(networks).chain([several, distilled])
}

enum Entry {
    Linear(LinearLoss),
    Network(TextEncoder),
    Ensemble,
    Distilled,
}

/// The name of the model that `name` stands for.
pub fn resolved(name: &str) -> &str {
    if name == DEFAULT { DEFAULT_MODEL } else { name }
}

fn find(name: &str) -> Result<Entry, ModelError> {
    let name = resolved(name);
    if name == ensemble::NAME {
        return Ok(Entry::Ensemble);
    }
    if name == distilled::NAME {
        return Ok(Entry::Distilled);
    }
    let linear = LinearLoss::ALL.into_iter().find(|loss| loss.model() == name).map(Entry::Linear);
    let network = TextEncoder::ALL.into_iter().find(|encoder| encoder.model() == name);
    linear.or(network.map(Entry::Network)).ok_or_else(|| ModelError::UnknownModel {
        name: name.to_owned(),
        suggestion: nearest(name, models().map(|(name, _)| name)),
        known: models().map(|(name, _)| name).collect(),
    })
}

/// The model `name` with `keys` (a JSON object or null) in place of its defaults.
///
/// # Errors
/// [`ModelError::UnknownModel`], [`ModelError::UnknownKey`] or [`ModelError::Hyperparameter`].
pub fn spec(name: &str, keys: &Value) -> Result<Box<dyn IntentSpec>, ModelError> {
    Ok(match find(name)? {
        Entry::Linear(loss) => Box::new(LinearSpec::from_keys(loss, keys)?),
        Entry::Network(encoder) => Box::new(EncoderSpec::from_keys(encoder, keys)?),
        Entry::Ensemble => Box::new(EnsembleSpec::from_keys(keys)?),
        Entry::Distilled => Box::new(DistilledSpec::from_keys(keys)?),
    })
}

/// A fitted model of so many intents from what it gave to its file.
///
/// # Errors
/// Those of [`spec`], [`ModelError::Damaged`] for tensors that no such model writes.
pub fn load(
    name: &str,
    keys: &Value,
    mut tensors: Tensors,
    n_intents: usize,
) -> Result<Box<dyn IntentModel>, ModelError> {
    let model: Box<dyn IntentModel> = match find(name)? {
        Entry::Linear(loss) => {
            let spec = LinearSpec::from_keys(loss, keys)?;
            Box::new(LinearModel::load(spec, &mut tensors, n_intents)?)
        }
        Entry::Network(encoder) => {
            let spec = EncoderSpec::from_keys(encoder, keys)?;
            Box::new(EncoderModel::load(spec, &mut tensors, n_intents)?)
        }
        Entry::Ensemble => {
            let spec = EnsembleSpec::from_keys(keys)?;
            Box::new(EnsembleModel::load(spec, &mut tensors, n_intents)?)
        }
        Entry::Distilled => {
            let spec = DistilledSpec::from_keys(keys)?;
            Box::new(DistilledModel::load(spec, &mut tensors, n_intents)?)
        }
    };
    tensors.expect_empty()?;
    Ok(model)
}
