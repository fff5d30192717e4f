//! Models of a binary outcome by name.

use std::ops::Range;

use serde_json::Value;

use super::config::{Arrangement, FieldSpec};
use super::contract::{OutcomeModel, OutcomeSpec};
use super::field_model::FieldModel;
use crate::error::{ModelError, nearest};
use crate::tensors::Tensors;

/// The model that is trained when none is named: on the plain tables that were measured it is nearest to the best one.
pub const DEFAULT_MODEL: &str = "deepfm";

/// Names and one line about each, simplest first.
pub fn models() -> impl Iterator<Item = (&'static str, &'static str)> {
    Arrangement::ALL.into_iter().map(|arrangement| (arrangement.name(), arrangement.about()))
}

fn find(name: &str) -> Result<Arrangement, ModelError> {
    let name = if name == "default" { DEFAULT_MODEL } else { name };
    let found = Arrangement::ALL.into_iter().find(|arrangement| arrangement.name() == name);
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
pub fn spec(name: &str, keys: &Value) -> Result<Box<dyn OutcomeSpec>, ModelError> {
    Ok(Box::new(FieldSpec::from_keys(find(name)?, keys)?))
}

/// A fitted model from what it gave to its file.
pub(super) fn load(
    name: &str,
    keys: &Value,
    mut tensors: Tensors,
    fields: Vec<Range<u32>>,
    n_dense: usize,
) -> Result<Box<dyn OutcomeModel>, ModelError> {
    let spec = FieldSpec::from_keys(find(name)?, keys)?;
    Ok(Box::new(FieldModel::load(spec, &mut tensors, fields, n_dense)?))
}
