//! The vectors of a history for fixed items and a fixed network.

use forecart_nn::{Matrix, NnError, sigmoid};

use super::config::NeuMfConfig;
use super::scorer::{Scorer, ScorerWorkspace, SomeItems};

/// First step of each coordinate, in standard deviations of the users'; later ones fall to 0 in a line.
const FIRST_STEP: f32 = 0.3;

/// Of Adam, as usual.
const BETA_1: f32 = 0.9;
const BETA_2: f32 = 0.999;

/// Where users stand: the mean and the standard deviation of each column of their rows, `[2, n_factors + mlp_factors]`.
#[derive(Debug, Clone)]
pub(super) struct Prior(pub(super) Matrix);

impl Prior {
    /// Of the rows `chose` of `users`.
    pub(super) fn of(users: &Matrix, chose: &[u32]) -> Self {
        let n = chose.len().max(1) as f64;
        let mut moments = Matrix::zeros(2, users.cols());
        for col in 0..users.cols() {
            // f64: the spread is a difference of sums over all users.
            let values = || chose.iter().map(|row| f64::from(users.row(*row as usize)[col]));
            let mean = values().sum::<f64>() / n;
            let square = values().map(|value| (value - mean).powi(2)).sum::<f64>() / n;
            moments.row_mut(0)[col] = mean as f32;
            moments.row_mut(1)[col] = square.sqrt() as f32;
        }
        Self(moments)
    }
}

/// Finds the vectors of one history after the other in the same memory.
#[derive(Debug, Default)]
pub(super) struct FoldIn {
    items: SomeItems,
    pub(super) scorer: ScorerWorkspace,
    /// The place in standard deviations from the mean, and the moments of its slope.
    place: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    slope: Vec<f32>,
}

impl FoldIn {
    /// Writes the row of a user who chose `items`: with `z = (p - mean) / deviation`, it makes
    ///
    /// `Σ_items -ln σ(s_i) + n n_negatives mean_reference -ln(1 - σ(s_j)) + ½ fold_in_prior |z|²`
    ///
    /// small for `n` items, in steps of Adam (Kingma and Ba, ICLR 2015) on `z` from 0.
    ///
    /// # Errors
    /// [`NnError::Shape`] if `user` is not as long as the scorer asks for.
    pub(super) fn write(
        &mut self,
        config: &NeuMfConfig,
        (scorer, prior): (&Scorer, &Prior),
        reference: &[u32],
        items: &[u32],
        user: &mut [f32],
    ) -> Result<(), NnError> {
        user.copy_from_slice(prior.0.row(0));
        if items.is_empty() {
            return Ok(());
        }
        let all: Vec<u32> = items.iter().chain(reference).copied().collect();
        scorer.gather(all.iter().copied(), &mut self.items);
        for values in [&mut self.place, &mut self.first, &mut self.second, &mut self.slope] {
            values.clear();
            values.resize(user.len(), 0.0);
        }
        let n_steps = config.fold_in_steps.get();
        let n = items.len() as f32;
        let of_reference = n * config.n_negatives.get() as f32 / reference.len().max(1) as f32;
        let l2 = config.fold_in_prior as f32;
        for step in 1..=n_steps {
            scorer.forward(user, &self.items, &mut self.scorer)?;
            let ScorerWorkspace { logits, d_logits, .. } = &mut self.scorer;
            d_logits.reshape(all.len(), 1);
            let slopes = d_logits.as_mut_slice().iter_mut().zip(logits.as_slice());
            for (at, (d_logit, logit)) in slopes.enumerate() {
                *d_logit = match at < items.len() {
                    true => -sigmoid(-logit),
                    false => of_reference * sigmoid(*logit),
                };
            }
            scorer.backward(&self.items, &mut self.scorer, &mut self.slope)?;
            let rate = FIRST_STEP * (n_steps + 1 - step) as f32 / n_steps as f32;
            let corrections =
                [BETA_1, BETA_2].map(|beta| 1.0 - beta.powi(i32::try_from(step).unwrap_or(1)));
            for (at, value) in user.iter_mut().enumerate() {
                let (mean, deviation) = (prior.0.row(0)[at], prior.0.row(1)[at]);
                let slope = self.slope[at] * deviation + l2 * self.place[at];
                let (first, second) = (&mut self.first[at], &mut self.second[at]);
                *first = BETA_1 * *first + (1.0 - BETA_1) * slope;
                *second = BETA_2 * *second + (1.0 - BETA_2) * slope * slope;
                let root = (*second / corrections[1]).sqrt() + 1e-8;
                self.place[at] -= rate * (*first / corrections[0]) / root;
                *value = mean + deviation * self.place[at];
            }
        }
        if user.iter().any(|value| !value.is_finite()) {
            // No fit gives vectors that overflow; a file could.
            user.copy_from_slice(prior.0.row(0));
        }
        Ok(())
    }
}
