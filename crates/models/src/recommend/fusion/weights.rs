//! The weights of a fusion, chosen on the validation part.

use super::super::contract::{FitContext, Recommender};
use super::super::early_stopping::Validation;
use super::super::view::TrainingView;
use super::config::log_probabilities;
use crate::error::ModelError;

/// What a weight may be.
const GRID: [f64; 9] = [0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0];

/// Rounds in which one weight may change; there are few members, and each round is the best single step.
const MAX_ROUNDS: usize = 8;

/// Users of the validation part that are looked at.
const MAX_USERS: usize = 10_000;

/// Weights of the best NDCG@10: from 1 for all, the one change of one weight that gains most, until none gains.
///
/// # Cost
/// A few rounds; each scores the users once with each member and ranks once for each weight that is tried.
pub(super) fn choose(
    models: &[Box<dyn Recommender>],
    view: &TrainingView<'_>,
    context: &FitContext<'_>,
) -> Result<Vec<f64>, ModelError> {
    let mut weights = vec![1.0; models.len()];
    // Every history: whether one says something differs from member to member.
    let Some(validation) = Validation::of_at_most(view, usize::MAX, MAX_USERS) else {
        return Ok(weights);
    };
    context.progress.begin("choosing weights", None);
    let mut best: Option<f64> = None;
    for _ in 0..MAX_ROUNDS {
        context.check_cancelled()?;
        let mut tried = vec![weights.clone()];
        for place in 1..weights.len() {
            for value in GRID.into_iter().filter(|value| *value != weights[place]) {
                let mut other = weights.clone();
                other[place] = value;
                tried.push(other);
            }
        }
        let n_item_rows = models[0].n_item_rows();
        let buffers = || vec![vec![0.0; n_item_rows]; models.len()];
        let ndcg = validation.ndcg_of_variants(
            tried.len(),
            n_item_rows,
            buffers,
            |history, members| log_probabilities(models, history, members),
            |variant, members, scores| {
                scores.fill(0.0);
                for (member, weight) in members.iter().zip(&tried[variant]) {
                    let weight = *weight as f32;
                    scores.iter_mut().zip(member).for_each(|(sum, x)| *sum += weight * x);
                }
            },
        );
        let current = *best.get_or_insert(ndcg[0]);
        let found = ndcg.iter().enumerate().fold((0, current), |found, (place, value)| {
            if *value > found.1 { (place, *value) } else { found }
        });
        if found.1 <= current {
            break;
        }
        best = Some(found.1);
        weights.clone_from(&tried[found.0]);
    }
    Ok(weights)
}
