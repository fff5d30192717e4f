//! The share of wrong answers by the share of texts that are answered.

use serde::{Deserialize, Serialize};

use super::IntentAnswer;

/// Points of the curve.
const N_POINTS: usize = 20;

/// The share of wrong answers if so many texts are answered, the surest first.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RiskPoint {
    /// Share of texts that are answered.
    pub coverage: f64,
    /// Share of these answers that are wrong.
    pub risk: f64,
}

/// The curve and its mean. Texts go by their scores; equal scores share their errors evenly, so that their order plays no part.
pub(super) fn risk(answers: &[IntentAnswer]) -> (Vec<RiskPoint>, f64) {
    let mut rows: Vec<(f64, bool)> =
        answers.iter().map(|answer| (answer.score, answer.is_right())).collect();
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut n_wrong = 0.0;
    let mut risks = Vec::with_capacity(rows.len());
    for equal in rows.chunk_by(|a, b| a.0 == b.0) {
        let wrong = equal.iter().filter(|(_, is_right)| !is_right).count() as f64;
        for _ in equal {
            n_wrong += wrong / equal.len() as f64;
            risks.push(n_wrong / (risks.len() + 1) as f64);
        }
    }
    let n = risks.len();
    let point = |step: usize| {
        let n_answered = (n * step).div_ceil(N_POINTS).max(1);
        RiskPoint { coverage: n_answered as f64 / n as f64, risk: risks[n_answered - 1] }
    };
    ((1..=N_POINTS).map(point).collect(), risks.iter().sum::<f64>() / n as f64)
}

/// The mean curve of several seeds, whose coverages are the same.
pub(super) fn mean_curve(curves: &[Vec<RiskPoint>]) -> Vec<RiskPoint> {
    let mut mean = curves.first().cloned().unwrap_or_default();
    for (place, point) in mean.iter_mut().enumerate() {
        point.risk = super::mean(curves.iter().map(|curve| curve[place].risk));
    }
    mean
}
