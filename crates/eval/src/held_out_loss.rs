//! The loss of a model on what it has not seen.

use forecart_data::{Dataset, Part, Progress, UserIdx};
use rayon::prelude::*;

use crate::cases::groups_of;
use crate::error::EvalError;
use crate::options::part_name;
use crate::scorer::Scorer;

/// Users in one piece of work; the result does not depend on it.
const USERS_PER_CHUNK: usize = 64;

/// Mean cross-entropy of the validation part in nats: of each target, `ln Σ exp(score) - score`, over all known items,
/// whether seen before or not. Cases without a known item in what the scorer sees are left out: there models answer with
/// popularity, on a scale of its own.
///
/// It says something of models whose scores are logarithms of probabilities up to a constant, such as those trained by a
/// softmax over all items. The scorer sees the newest `max_history` events. Targets that the vocabulary does not hold are
/// left out. The result is the same bits for any number of threads.
///
/// # Errors
/// [`EvalError::NanScore`], [`EvalError::NoTargets`], [`EvalError::Cancelled`].
pub fn held_out_loss(
    dataset: &Dataset,
    scorer: &dyn Scorer,
    max_history: usize,
    progress: &dyn Progress,
) -> Result<f64, EvalError> {
    let part = Part::Validation;
    let users: Vec<UserIdx> = dataset.user_indices().collect();
    progress.begin("validation loss", Some(users.len() as u64));
    let chunks: Vec<Result<(f64, usize), EvalError>> = users
        .par_chunks(USERS_PER_CHUNK)
        .map(|users| {
            if progress.is_cancelled() {
                return Err(EvalError::Cancelled);
            }
            let mut scores = vec![f32::NAN; dataset.items.len()];
            let (mut sum, mut n_targets) = (0.0, 0);
            for user in users {
                for case in groups_of(dataset, *user, part).into_iter().flatten() {
                    let history = case.history.newest(max_history);
                    if !history.items.iter().any(|item| item.is_known()) {
                        continue;
                    }
                    scores.fill(f32::NAN);
                    scorer.score_all(history, &mut scores);
                    let log_sum = log_sum_exp(&scores[1..]).ok_or_else(|| EvalError::NanScore {
                        user: dataset.users.text(user.0).to_owned(),
                    })?;
                    for target in case.targets.iter().filter(|target| target.is_known()) {
                        sum += log_sum - f64::from(scores[target.row()]);
                        n_targets += 1;
                    }
                }
            }
            progress.advance(users.len() as u64);
            Ok((sum, n_targets))
        })
        .collect();
    let (mut sum, mut n_targets) = (0.0, 0);
    for chunk in chunks {
        let (of_chunk, n) = chunk?;
        sum += of_chunk;
        n_targets += n;
    }
    if n_targets == 0 {
        return Err(EvalError::NoTargets { part: part_name(part) });
    }
    Ok(sum / n_targets as f64)
}

/// `None` if a score is not a number.
fn log_sum_exp(scores: &[f32]) -> Option<f64> {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = scores.iter().map(|score| f64::from(score - max).exp()).sum();
    (!sum.is_nan()).then(|| f64::from(max) + sum.ln())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand_and_without_overflow() {
        assert!((log_sum_exp(&[0.0, 0.0, 0.0, 0.0]).unwrap() - 4f64.ln()).abs() < 1e-12);
        assert!((log_sum_exp(&[1000.0, 1000.0]).unwrap() - 1000.0 - 2f64.ln()).abs() < 1e-9);
        assert!((log_sum_exp(&[f32::NEG_INFINITY, 3.0]).unwrap() - 3.0).abs() < 1e-12);
        assert_eq!(log_sum_exp(&[1.0, f32::NAN]), None);
    }
}
