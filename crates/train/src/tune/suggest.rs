//! What to try next.
//!
//! Trial 0 has the defaults. The trials up to [`N_RANDOM`] are drawn from the space, and so is one in each later batch, so
//! that no corner is given up for good. The others come from tree-structured Parzen estimators, one for each parameter:
//! values are drawn where good trials are dense and bad ones are not.
//!
//! Source: Bergstra, Bardenet, Bengio and Kégl, *Algorithms for Hyper-Parameter Optimization*, NIPS 2011, section 4;
//! Bergstra, Yamins and Cox, ICML 2013. The estimators are those of the crate `tpe` (see docs/adr).

use std::ops::Range as Numbers;

use forecart_eval::tuning::{Trial, TrialState};
use forecart_models::recommend::{Parameter, Range};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value};
use tpe::{TpeOptimizer, TpeOptimizerBuilder, histogram_estimator, parzen_estimator};

use super::BATCH;
use crate::error::TrainError;

/// Trials before the estimators are asked: fewer say nothing about where good values are.
const N_RANDOM: usize = 12;
/// Share of the trials that count as good. A quarter: searches here are of tens of trials, not of hundreds.
const GOOD_SHARE: f64 = 0.25;
/// Draws before a proposal that was tried already is taken all the same.
const N_DRAWS: usize = 20;

/// What is varied, and the hyperparameters of trial 0.
#[derive(Debug, Clone)]
pub(super) struct Space {
    pub(super) parameters: &'static [Parameter],
    pub(super) defaults: Value,
}

/// Proposals for the trials `numbers`, from the trials of earlier batches.
pub(super) fn batch(
    Space { parameters: space, defaults }: &Space,
    before: &[&Trial],
    seed: u64,
    numbers: Numbers<usize>,
) -> Result<Vec<Map<String, Value>>, TrainError> {
    let mut proposed: Vec<Map<String, Value>> = Vec::new();
    for number in numbers {
        // A stream of its own for each trial: the others' draws do not matter.
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(number as u64);
        let explores = number < N_RANDOM || number % BATCH == BATCH - 1;
        let known = |keys: &Map<String, Value>| {
            before.iter().any(|trial| trial.parameters == *keys) || proposed.contains(keys)
        };
        let mut keys = Map::new();
        for _ in 0..N_DRAWS {
            keys = match number {
                0 => start(space, defaults),
                _ if explores => draw(space, &mut rng),
                _ => estimate(space, before, &mut rng)?,
            };
            if !known(&keys) {
                break;
            }
        }
        proposed.push(keys);
    }
    Ok(proposed)
}

/// The defaults of what is varied, whether or not the space has them.
fn start(space: &[Parameter], defaults: &Value) -> Map<String, Value> {
    let value = |parameter: &Parameter| {
        (parameter.name.to_owned(), defaults.get(parameter.name).cloned().unwrap_or(Value::Null))
    };
    space.iter().map(value).filter(|(_, value)| !value.is_null()).collect()
}

fn draw(space: &[Parameter], rng: &mut ChaCha8Rng) -> Map<String, Value> {
    let value = |parameter: &Parameter| {
        let (low, high) = parameter.range.span();
        (parameter.name.to_owned(), parameter.range.value(rng.random_range(low..high)))
    };
    space.iter().map(value).collect()
}

fn estimate(
    space: &[Parameter],
    before: &[&Trial],
    rng: &mut ChaCha8Rng,
) -> Result<Map<String, Value>, TrainError> {
    let failed = |error: &dyn std::fmt::Display| TrainError::Search { reason: error.to_string() };
    let mut keys = Map::new();
    for parameter in space {
        let mut optimizer = optimizer(&parameter.range).map_err(|error| failed(&error))?;
        for trial in before {
            let Some(value) = trial.parameters.get(parameter.name) else { continue };
            let Some(place) = parameter.range.place(value) else { continue };
            // The estimator looks for small numbers. What failed, or was ended early, is behind all that finished with
            // more; ended early it still says how far it had come.
            let loss = match (trial.state, trial.value) {
                (TrialState::Failed, _) | (_, None) => f64::MAX,
                (_, Some(value)) => -value,
            };
            let place = inside(&parameter.range, place);
            optimizer.tell(place, loss).map_err(|error| failed(&error))?;
        }
        let place = optimizer.ask(rng).map_err(|error| failed(&error))?;
        keys.insert(parameter.name.to_owned(), parameter.range.value(place));
    }
    Ok(keys)
}

/// The upper end is not part of the estimator's interval.
fn inside(range: &Range, place: f64) -> f64 {
    let (low, high) = range.span();
    place.clamp(low, high - (high - low) * 1e-9)
}

fn optimizer(range: &Range) -> Result<TpeOptimizer, Box<dyn std::error::Error>> {
    let (low, high) = range.span();
    let estimator = match range {
        Range::Choice { .. } => histogram_estimator(),
        _ => parzen_estimator(),
    };
    let interval = match range {
        Range::Choice { values } => tpe::categorical_range(values.len())?,
        _ => tpe::range(low, high)?,
    };
    let mut builder = TpeOptimizerBuilder::new();
    builder.gamma(GOOD_SHARE);
    Ok(builder.build(estimator, interval)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use forecart_models::recommend::registry;
    use serde_json::json;

    fn space() -> Space {
        let spec = registry::spec("item-knn", &Value::Null).unwrap();
        Space { parameters: spec.search_space(), defaults: spec.hyperparameters() }
    }

    fn tried(number: usize, parameters: Map<String, Value>) -> Trial {
        // Best at a decay of .8, whatever else.
        let decay = parameters["decay"].as_f64().unwrap();
        Trial::complete(number, parameters, 1.0 - (decay - 0.8).abs())
    }

    fn search(n_batches: usize, seed: u64) -> Vec<Trial> {
        let mut trials: Vec<Trial> = Vec::new();
        for first in (0..n_batches).map(|batch| batch * BATCH) {
            let before: Vec<&Trial> = trials.iter().collect();
            let made = batch(&space(), &before, seed, first..first + BATCH).unwrap();
            let made = made.into_iter().enumerate();
            trials.extend(made.map(|(n, keys)| tried(first + n, keys)).collect::<Vec<_>>());
        }
        trials
    }

    #[test]
    fn the_first_trial_has_the_defaults_and_the_same_seed_the_same_trials() {
        let trials = search(6, 7);
        assert_eq!(trials[0].parameters["n_neighbors"], json!(100));
        assert_eq!(trials[0].parameters["decay"], json!(1.0));
        assert_eq!(search(6, 7), trials);
        assert_ne!(search(6, 8)[1], trials[1]);
    }

    #[test]
    fn the_estimators_look_where_good_values_were() {
        let trials = search(15, 3);
        let distance = |trial: &Trial| (trial.parameters["decay"].as_f64().unwrap() - 0.8).abs();
        let mean = |trials: &[&Trial]| {
            trials.iter().map(|t| distance(t)).sum::<f64>() / trials.len() as f64
        };
        let random: Vec<&Trial> = trials[1..N_RANDOM].iter().collect();
        let late: Vec<&Trial> =
            trials[N_RANDOM..].iter().filter(|t| t.number % BATCH != BATCH - 1).collect();
        assert!(mean(&late) < 0.6 * mean(&random), "{} and {}", mean(&late), mean(&random));
    }
}
