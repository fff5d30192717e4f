//! Models of questions by name.

use serde_json::Value;

use super::contract::{QuestionModel, QuestionSpec};
use super::last_event::{self, LastEvent, LastEventSpec};
use super::popularity::{self, Popularity, PopularitySpec};
use super::sequence::{self, Sequence, SequenceSpec};
use crate::error::{ModelError, nearest};
use crate::recommend::registry::parse_keys;
use crate::tensors::Tensors;

/// Stands for [`DEFAULT_MODEL`] wherever a name is asked for.
pub const DEFAULT: &str = "default";

/// The model that is trained when none is named.
pub const DEFAULT_MODEL: &str = sequence::NAME;

/// Models that stand in every table, so that a stronger one has something to beat.
pub const BASELINES: [&str; 2] = [popularity::NAME, last_event::NAME];

/// Names and one line about each, simplest first.
pub const MODELS: [(&str, &str); 3] = [
    (popularity::NAME, "how often each intent is asked, whatever came before"),
    (last_event::NAME, "how often each intent is asked after an event with its object"),
    (sequence::NAME, "causal attention over the whole history, with times"),
];

/// The name of the model that `name` stands for.
pub fn resolved(name: &str) -> &str {
    if name == DEFAULT { DEFAULT_MODEL } else { name }
}

fn unknown(name: &str) -> ModelError {
    let known: Vec<&'static str> = MODELS.iter().map(|(name, _)| *name).collect();
    let suggestion = nearest(name, known.iter().copied());
    ModelError::UnknownModel { name: name.to_owned(), suggestion, known }
}

/// The model `name` with `keys` (a JSON object or null) in place of its defaults.
///
/// # Errors
/// [`ModelError::UnknownModel`], [`ModelError::UnknownKey`] or [`ModelError::Hyperparameter`].
pub fn spec(name: &str, keys: &Value) -> Result<Box<dyn QuestionSpec>, ModelError> {
    Ok(match resolved(name) {
        popularity::NAME => {
            parse_keys::<NoKeys>(popularity::NAME, keys)?;
            Box::new(PopularitySpec)
        }
        last_event::NAME => Box::new(LastEventSpec::from_keys(keys)?),
        sequence::NAME => Box::new(SequenceSpec::from_keys(keys)?),
        other => return Err(unknown(other)),
    })
}

/// The hyperparameters of a model that has none.
#[derive(Default, serde::Serialize, serde::Deserialize)]
struct NoKeys {}

/// A fitted model of so many intents from what it gave to its file.
///
/// # Errors
/// Those of [`spec`], [`ModelError::Damaged`] for tensors that no such model writes.
pub fn load(
    name: &str,
    keys: &Value,
    mut tensors: Tensors,
    n_intents: usize,
) -> Result<Box<dyn QuestionModel>, ModelError> {
    let model: Box<dyn QuestionModel> = match resolved(name) {
        popularity::NAME => Box::new(Popularity::load(&mut tensors, n_intents)?),
        last_event::NAME => {
            let spec = LastEventSpec::from_keys(keys)?;
            Box::new(LastEvent::load(spec, &mut tensors, n_intents)?)
        }
        sequence::NAME => {
            let spec = SequenceSpec::from_keys(keys)?;
            Box::new(Sequence::load(spec, &mut tensors, n_intents)?)
        }
        other => return Err(unknown(other)),
    };
    tensors.expect_empty()?;
    Ok(model)
}
