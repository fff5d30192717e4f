//! Models of intents by name.

use serde_json::Value;

use super::contract::{IntentModel, IntentSpec};
use super::linear::{LinearLoss, LinearModel, LinearSpec};
use crate::error::{ModelError, nearest};
use crate::tensors::Tensors;

/// Stands for [`DEFAULT_MODEL`] wherever a name is asked for.
pub const DEFAULT: &str = "default";

/// The model that is trained when none is named.
pub const DEFAULT_MODEL: &str = "tfidf-svm";

/// Names and one line about each, simplest first.
pub fn models() -> impl Iterator<Item = (&'static str, &'static str)> {
    LinearLoss::ALL.into_iter().map(|loss| (loss.model(), loss.about()))
}

enum Entry {
    Linear(LinearLoss),
}

/// The name of the model that `name` stands for.
pub fn resolved(name: &str) -> &str {
    if name == DEFAULT { DEFAULT_MODEL } else { name }
}

fn find(name: &str) -> Result<Entry, ModelError> {
    let name = resolved(name);
    let found = LinearLoss::ALL.into_iter().find(|loss| loss.model() == name).map(Entry::Linear);
    found.ok_or_else(|| ModelError::UnknownModel {
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
    let model = match find(name)? {
        Entry::Linear(loss) => {
            let spec = LinearSpec::from_keys(loss, keys)?;
            Box::new(LinearModel::load(spec, &mut tensors, n_intents)?)
        }
    };
    tensors.expect_empty()?;
    Ok(model)
}
