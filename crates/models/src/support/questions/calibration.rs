//! Probabilities of questions from logits: one slope for all intents and a shift for each.

use serde::{Deserialize, Serialize};

use crate::calibration::exact;
use crate::calibration::logistic::{sigmoid, softplus};
use crate::error::ModelError;

/// Newton's method takes about six steps.
const MAX_STEPS: usize = 50;

/// Probabilities are at least this and at most 1 minus this, as those of [`crate::calibration::Calibrator`].
const LOWEST: f64 = f64::EPSILON;

/// `P_k = sigmoid(slope z_k + shift_k)` of the logit `z_k` of intent `k`.
///
/// Where the likelihood of a logistic regression is largest, the probabilities of each column that has a coefficient sum to what came true. With a shift for each
/// intent the mean probability of every intent on the validation part is therefore its rate there, and so is that of all together. How sure
/// the model is, is one slope for all: most intents are asked too seldom to tell it alone, together they do.
///
/// A shift, and the slope's distance from 1, cost half their square in nats (a standard normal prior): an intent that is never
/// asked on validation keeps about the rate that the model learned, and one that is asked `n` times is corrected by `n / (n + 1)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuestionCalibration {
    /// Of all logits; at least 0.
    #[serde(with = "exact")]
    slope: f64,
    /// One an intent.
    #[serde(with = "exact::list")]
    shifts: Vec<f64>,
    /// Moments that it was fitted on; 0 leaves logits as they are.
    n_moments: u64,
}

/// A logit and whether it came true.
type Cell = (f32, bool);

impl QuestionCalibration {
    /// Logits as they are.
    pub fn identity(n_intents: usize) -> Self {
        Self { slope: 1.0, shifts: vec![0.0; n_intents], n_moments: 0 }
    }

    /// Fits slope and shifts on moments that the model has not learned from.
    ///
    /// # Shapes
    /// `logits`, `came_true`: `[n_moments, n_intents]`, row by row.
    ///
    /// # Panics
    /// If they are not of one length, a multiple of `n_intents`, which is not 0.
    pub fn fit(logits: &[f32], came_true: &[bool], n_intents: usize) -> Self {
        assert!(
            n_intents > 0
                && logits.len() == came_true.len()
                && logits.len().is_multiple_of(n_intents),
            "whole rows with as many labels"
        );
        let mut columns: Vec<Vec<Cell>> = vec![Vec::new(); n_intents];
        for (at, cell) in logits.iter().copied().zip(came_true.iter().copied()).enumerate() {
            columns[at % n_intents].push(cell);
        }
        let mut fitted = Self::identity(n_intents);
        fitted.n_moments = (logits.len() / n_intents) as u64;
        fitted.newton(&columns, true);
        if fitted.slope < 0.0 {
            // Scores that are higher for less probable intents say nothing.
            fitted = Self { slope: 0.0, ..fitted };
            fitted.newton(&columns, false);
        }
        fitted
    }

    /// Goes to the largest posterior; with the slope held where `has_slope` is false.
    fn newton(&mut self, columns: &[Vec<Cell>], has_slope: bool) {
        let mut current = self.cost(columns);
        for _ in 0..MAX_STEPS {
            // The Hessian is an arrow: shifts do not meet each other, all meet the slope.
            let (mut slope_gradient, mut slope_curve) = (self.slope - 1.0, 1.0);
            let mut of_shifts = Vec::with_capacity(columns.len());
            for (column, shift) in columns.iter().zip(&self.shifts) {
                let (mut gradient, mut curve, mut cross) = (*shift, 1.0, 0.0);
                for (logit, came_true) in column {
                    let z = f64::from(*logit);
                    let p = sigmoid(self.slope * z + shift);
                    let (off, weight) = (p - f64::from(u8::from(*came_true)), p * (1.0 - p));
                    gradient += off;
                    curve += weight;
                    cross += weight * z;
                    slope_gradient += off * z;
                    slope_curve += weight * z * z;
                }
                of_shifts.push((gradient, curve, cross));
            }
            let mut slope_step = 0.0;
            if has_slope {
                for (gradient, curve, cross) in &of_shifts {
                    slope_gradient -= cross / curve * gradient;
                    slope_curve -= cross / curve * cross;
                }
                slope_step = slope_gradient / slope_curve.max(f64::MIN_POSITIVE);
            }
            let shift_steps: Vec<f64> = of_shifts
                .iter()
                .map(|(gradient, curve, cross)| (gradient - cross * slope_step) / curve)
                .collect();
            let moved = (0..40).map(|halving| {
                let share = 0.5f64.powi(halving);
                let shifts = self.shifts.iter().zip(&shift_steps);
                Self {
                    slope: self.slope - share * slope_step,
                    shifts: shifts.map(|(shift, step)| shift - share * step).collect(),
                    ..*self
                }
            });
            let better = moved.map(|moved| (moved.cost(columns), moved));
            let Some((cost, moved)) = better.into_iter().find(|(cost, _)| *cost < current) else {
                return;
            };
            let is_last = current - cost <= 1e-12 * current.abs();
            current = cost;
            *self = moved;
            if is_last {
                return;
            }
        }
    }

    /// Cross-entropy, summed, and what the prior adds.
    fn cost(&self, columns: &[Vec<Cell>]) -> f64 {
        let of_columns = columns.iter().zip(&self.shifts).map(|(column, shift)| {
            let cells = column.iter().map(|(logit, came_true)| {
                let z = self.slope * f64::from(*logit) + shift;
                softplus(z) - if *came_true { z } else { 0.0 }
            });
            cells.sum::<f64>() + shift * shift / 2.0
        });
        of_columns.sum::<f64>() + (self.slope - 1.0).powi(2) / 2.0
    }

    /// Moments that it was fitted on.
    pub fn n_moments(&self) -> u64 {
        self.n_moments
    }

    /// The slope of all logits.
    pub fn slope(&self) -> f64 {
        self.slope
    }

    /// The shift of each intent.
    pub fn shifts(&self) -> &[f64] {
        &self.shifts
    }

    /// The probability of each intent from rows of logits, `[n, n_intents]`; neither 0 nor 1.
    pub fn probabilities(&self, logits: &[f32]) -> Vec<f64> {
        let shifts = self.shifts.iter().cycle();
        let probability = |(logit, shift): (&f32, &f64)| {
            let p = sigmoid(self.slope * f64::from(*logit) + shift);
            // NaN too: what nothing is known of is not expected.
            if p >= LOWEST { p.min(1.0 - LOWEST) } else { LOWEST }
        };
        logits.iter().zip(shifts).map(probability).collect()
    }

    /// Refuses numbers of no fit.
    pub(super) fn check(&self, n_intents: usize) -> Result<(), ModelError> {
        let is_fit = self.slope.is_finite()
            && self.slope >= 0.0
            && self.shifts.len() == n_intents
            && self.shifts.iter().all(|shift| shift.is_finite());
        match is_fit {
            true => Ok(()),
            false => Err(ModelError::damaged("its calibration is of no fit")),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Logits of three intents whose truth is `0.5 z + shift`, the last one asked never.
    fn drawn(n: usize) -> (Vec<f32>, Vec<bool>) {
        let mut generator = ChaCha8Rng::seed_from_u64(5);
        let (mut logits, mut came_true) = (Vec::new(), Vec::new());
        for _ in 0..n {
            for shift in [1.0, -1.5, -1e9] {
                let z = generator.random_range(-6.0..1.0);
                logits.push(z as f32);
                came_true.push(generator.random::<f64>() < sigmoid(0.5 * z + shift));
            }
        }
        (logits, came_true)
    }

    #[test]
    fn slope_and_shifts_are_found_and_every_rate_is_met() {
        let (logits, came_true) = drawn(20_000);
        let fitted = QuestionCalibration::fit(&logits, &came_true, 3);
        assert!((fitted.slope - 0.5).abs() < 0.05, "{fitted:?}");
        assert!((fitted.shifts[0] - 1.0).abs() < 0.1, "{fitted:?}");
        assert!((fitted.shifts[1] + 1.5).abs() < 0.2, "{fitted:?}");
        let probabilities = fitted.probabilities(&logits);
        for intent in 0..3 {
            let mean: f64 = probabilities.iter().skip(intent).step_by(3).sum::<f64>() / 20_000.0;
            let asked = came_true.iter().skip(intent).step_by(3).filter(|asked| **asked).count();
            let rate = asked as f64 / 20_000.0;
            // What the prior allows: its slope is that of `shift` questions.
            assert!((mean - rate).abs() < (fitted.shifts[intent].abs() + 1e-3) / 20_000.0);
        }
    }

    #[test]
    fn no_moments_leave_logits_as_they_are_and_one_moves_them_little() {
        let none = QuestionCalibration::fit(&[], &[], 2);
        assert_eq!(none, QuestionCalibration::identity(2));
        let one = QuestionCalibration::fit(&[-4.0, -4.0], &[false, false], 2);
        assert!(one.shifts.iter().all(|shift| shift.abs() < 0.05), "{one:?}");
        assert!((one.probabilities(&[-4.0, f32::NAN])[0] - sigmoid(-4.0)).abs() < 1e-2);
    }

    #[test]
    fn scores_the_wrong_way_around_say_nothing() {
        let (logits, came_true) = drawn(5_000);
        let turned: Vec<f32> = logits.iter().map(|logit| -logit).collect();
        let fitted = QuestionCalibration::fit(&turned, &came_true, 3);
        assert_eq!(fitted.slope, 0.0);
        let found = fitted.probabilities(&[-5.0, 0.0, 0.0, 5.0, 0.0, 0.0]);
        assert_eq!(found[0], found[3]);
    }
}
