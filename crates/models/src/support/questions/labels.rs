//! How often each intent is asked after the moments of a part.

use forecart_data::{Part, Questions};

use crate::error::ModelError;

/// Questions that were asked after some moments.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked {
    /// Moments.
    pub(super) n_moments: u64,
    /// Of them, those after which each intent was asked, `[n_intents]`.
    pub(super) n_asked: Vec<u64>,
}

impl Asked {
    pub(super) fn none(n_intents: usize) -> Self {
        Self { n_moments: 0, n_asked: vec![0; n_intents] }
    }

    /// One more moment; `asked` are rows of the vocabulary of intents.
    pub(super) fn push(&mut self, asked: &[u32]) {
        self.n_moments += 1;
        for column in asked.iter().filter_map(|row| column(*row)) {
            self.n_asked[column] += 1;
        }
    }

    /// The rates with `weight` moments more that have the rates `prior`.
    pub(super) fn rates(&self, prior: &[f64], weight: f64) -> Vec<f64> {
        let n = self.n_moments as f64 + weight;
        let rates = self.n_asked.iter().zip(prior);
        rates.map(|(n_asked, prior)| (*n_asked as f64 + weight * prior) / n).collect()
    }
}

/// The place of an intent among logits, from its row in the vocabulary; none of the unknown intent, which nobody can be told of.
pub(super) fn column(row: u32) -> Option<usize> {
    (row as usize).checked_sub(1)
}

/// Calls `each` for every moment of a part, with its user, its place in the history and the rows of the intents that are asked after it.
pub(super) fn each_moment(
    questions: &Questions,
    part: Part,
    mut each: impl FnMut(usize, usize, &[u32]),
) {
    let mut asked = Vec::new();
    for user in 0..questions.n_users() {
        for place in questions.moments(user, part) {
            questions.asked(user, place, &mut asked);
            each(user, place, &asked);
        }
    }
}

/// How often each intent is asked after the training moments.
///
/// # Errors
/// [`ModelError::Questions`] if there is no moment or no intent.
pub(super) fn training_rates(questions: &Questions) -> Result<(Asked, Vec<f64>), ModelError> {
    let n_intents = questions.intents().n_known();
    if n_intents == 0 {
        let reason = "no intent is asked often enough in the training part; lower `questions.min_count` or bring more of the log";
        return Err(ModelError::Questions { reason: reason.into() });
    }
    let mut all = Asked::none(n_intents);
    each_moment(questions, Part::Train, |_, _, asked| all.push(asked));
    if all.n_moments == 0 {
        let reason = "the training part has no moment whose horizon ends within it; shorten the horizon or bring more of the log";
        return Err(ModelError::Questions { reason: reason.into() });
    }
    // Half a question and half of a moment without one, so that no rate is 0 or 1.
    let rates = all.rates(&vec![0.5; n_intents], 1.0);
    Ok((all, rates))
}

/// The logit of a rate.
pub(super) fn logit(rate: f64) -> f32 {
    (rate / (1.0 - rate)).ln() as f32
}
