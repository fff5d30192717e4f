//! Models of a binary outcome by name.

use serde_json::Value;

use super::config::{Arrangement, FieldSpec};
use super::contract::{OutcomeModel, OutcomeSpec};
use super::field_model::FieldModel;
use super::ftrl::{self, Ftrl, FtrlConfig};
use super::gbdt::{self, Gbdt, GbdtConfig};
use super::samples::SampleLayout;
use crate::error::{ModelError, nearest};
use crate::recommend::registry::parse_keys;
use crate::tensors::Tensors;

/// Stands for [`DEFAULT_MODEL`] wherever a name is asked for.
pub const DEFAULT: &str = "default";

/// The model that is trained when none is named: it has the lowest log loss on the two tables of docs/measurements.md.
pub const DEFAULT_MODEL: &str = gbdt::NAME;

/// Names and one line about each, simplest first.
pub fn models() -> impl Iterator<Item = (&'static str, &'static str)> {
    let streamed =
        (ftrl::NAME, "logistic regression over hashes; learns from a stream of any length");
    let trees = (gbdt::NAME, "gradient-boosted trees: steps, and one value by another");
    let arrangements = Arrangement::ALL.into_iter();
    let arrangements = arrangements.map(|arrangement| (arrangement.name(), arrangement.about()));
    std::iter::once(streamed).chain(arrangements).chain([trees])
}

enum Entry {
    Ftrl,
    Fields(Arrangement),
    Gbdt,
}

/// The name of the model that `name` stands for.
pub fn resolved(name: &str) -> &str {
    if name == DEFAULT { DEFAULT_MODEL } else { name }
}

fn find(name: &str) -> Result<Entry, ModelError> {
    let name = resolved(name);
    match name {
        ftrl::NAME => return Ok(Entry::Ftrl),
        gbdt::NAME => return Ok(Entry::Gbdt),
        _ => {}
    }
    let found = Arrangement::ALL.into_iter().find(|arrangement| arrangement.name() == name);
    found.map(Entry::Fields).ok_or_else(|| ModelError::UnknownModel {
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
    Ok(match find(name)? {
        Entry::Ftrl => Box::new(linear(keys)?),
        Entry::Fields(arrangement) => Box::new(FieldSpec::from_keys(arrangement, keys)?),
        Entry::Gbdt => Box::new(trees(keys)?),
    })
}

fn linear(keys: &Value) -> Result<FtrlConfig, ModelError> {
    let config: FtrlConfig = parse_keys(ftrl::NAME, keys)?;
    config.check()?;
    Ok(config)
}

/// The model that learns from a stream, which is the one that `name` ([`DEFAULT`] or its own) stands for there.
///
/// # Errors
/// Those of [`spec`], [`ModelError::NeedsTable`] for a model that learns from a sample table alone.
pub fn streamed(name: &str, keys: &Value) -> Result<FtrlConfig, ModelError> {
    match name == DEFAULT || matches!(find(name)?, Entry::Ftrl) {
        true => linear(keys),
        false => Err(ModelError::NeedsTable { model: name.to_owned() }),
    }
}

/// The name of the model that learns from a stream.
pub const STREAMED_MODEL: &str = ftrl::NAME;

fn trees(keys: &Value) -> Result<GbdtConfig, ModelError> {
    let config: GbdtConfig = parse_keys(gbdt::NAME, keys)?;
    config.check()?;
    Ok(config)
}

/// A fitted model from what it gave to its file.
pub(super) fn load(
    name: &str,
    keys: &Value,
    mut tensors: Tensors,
    layout: SampleLayout,
) -> Result<Box<dyn OutcomeModel>, ModelError> {
    Ok(match find(name)? {
        Entry::Fields(arrangement) => {
            let spec = FieldSpec::from_keys(arrangement, keys)?;
            Box::new(FieldModel::load(spec, &mut tensors, layout)?)
        }
        Entry::Gbdt => {
            let SampleLayout { fields, n_dense, .. } = layout;
            Box::new(Gbdt::load(trees(keys)?, &mut tensors, fields, n_dense)?)
        }
        Entry::Ftrl => {
            let SampleLayout { fields, n_dense, .. } = layout;
            Box::new(Ftrl::load(linear(keys)?, &mut tensors, &fields, n_dense)?)
        }
    })
}
