//! Whether what explanations of questions name carries the probabilities.

use forecart_data::Questions;
use forecart_eval::Bootstrap;
use forecart_eval::questions::{DeletedMoment, DeletionCheck, check_deletions};
use forecart_models::ModelError;
use forecart_models::support::questions::{Behavior, QuestionPredictor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::error::TrainError;

/// Moments that are explained, at most.
const MAX_MOMENTS: usize = 200;
/// An intent is explained where it is at least so probable.
const LEAST_PROBABILITY: f64 = 0.1;

/// At most `n` of the behaviors, each as likely as any other.
pub fn drawn_behaviors(behaviors: &[Behavior], n: usize, seed: u64) -> Vec<&Behavior> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let n = n.min(behaviors.len());
    let drawn = rand::seq::index::sample(&mut rng, behaviors.len(), n);
    drawn.into_iter().map(|at| &behaviors[at]).collect()
}

/// Explains the intent that is the furthest above its usual rate at some of the `moments` where it is probable enough, spread evenly over them, and deletes what is named, or as many
/// others. `probabilities` are those of the moments, end to end. `None` for a model that sees no more than the newest event, and where nothing is that probable.
pub(crate) fn check(
    questions: &Questions,
    moments: &[(usize, Vec<usize>)],
    predictor: &QuestionPredictor,
    probabilities: &[f64],
    bootstrap: &Bootstrap,
) -> Result<Option<DeletionCheck>, TrainError> {
    if predictor.model().n_seen(2) < 2 {
        return Ok(None);
    }
    let rates = &predictor.serving().rates;
    let flat = moments.iter().flat_map(|(user, places)| places.iter().map(|at| (*user, *at)));
    let probable = flat.zip(probabilities.chunks_exact(predictor.n_intents())).filter_map(
        |((user, place), row)| {
            let above = |intent: &usize| row[*intent] - rates[*intent];
            let intent = (0..row.len()).max_by(|a, b| above(a).total_cmp(&above(b)))?;
            (row[intent] >= LEAST_PROBABILITY).then_some((user, place, intent))
        },
    );
    let probable: Vec<(usize, usize, usize)> = probable.collect();
    let n = probable.len();
    let is_taken =
        |at: &usize| n <= MAX_MOMENTS || at * MAX_MOMENTS / n != (at + 1) * MAX_MOMENTS / n;
    let taken: Vec<usize> = (0..n).filter(is_taken).collect();
    let deleted = |at: &usize| -> Result<DeletedMoment, ModelError> {
        let (user, place, intent) = probable[*at];
        let history = questions.history(user).first(place + 1);
        let found = predictor.explain(history, intent)?;
        let cause = found.cause();
        let others = &found.behaviors[cause.len()..];
        let seed = bootstrap.seed.wrapping_add(*at as u64);
        let drawn = drawn_behaviors(others, cause.len(), seed);
        let without = |behaviors: Vec<(u8, u32)>| -> Result<f64, ModelError> {
            Ok(predictor.without(history, &behaviors)?[intent])
        };
        let pair = |own: &Behavior| (own.event, own.object);
        Ok(DeletedMoment {
            user: user as u32,
            n_named: cause.len(),
            probability: found.probability,
            without_named: without(cause.iter().map(pair).collect())?,
            without_random: without(drawn.into_iter().map(pair).collect())?,
        })
    };
    let rows: Vec<DeletedMoment> =
        taken.par_iter().map(deleted).collect::<Result<_, ModelError>>()?;
    Ok(check_deletions(&rows, bootstrap)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaviors_are_drawn_once_each() {
        let behavior = |object| Behavior { event: 1, object, count: 1, last_ms: 0, effect: 0.0 };
        let all: Vec<Behavior> = (0..5).map(behavior).collect();
        let drawn = |n, seed| -> Vec<u32> {
            drawn_behaviors(&all, n, seed).into_iter().map(|own| own.object).collect()
        };
        let mut five = drawn(9, 1);
        five.sort_unstable();
        assert_eq!(five, [0, 1, 2, 3, 4]);
        assert_eq!(drawn(2, 7), drawn(2, 7));
        assert!((0..20).any(|seed| drawn(2, seed) != drawn(2, 7)));
        assert!(drawn_behaviors(&[], 2, 1).is_empty());
    }
}
