//! What acting on all rows above a threshold finds: the points of ROC and precision-recall curves.

use serde::{Deserialize, Serialize};

use super::predictions::Predictions;
use super::ranked::Ranked;

/// What becomes of the rows whose probability is at least a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OperatingPoint {
    /// The threshold.
    pub threshold: f64,
    /// Weighted share of the rows that came true that are at or above it: recall, the true positive rate.
    pub recall: f64,
    /// Weighted share of the rows that did not come true that are at or above it.
    pub false_positive_rate: f64,
    /// Weighted share of the rows at or above it that came true.
    pub precision: f64,
}

/// Points of the ROC curve and of the precision-recall curve, highest threshold first, about `n_points` of them: each lies `1 / n_points`
/// or more from the one before it along either axis, the last is where all rows are. Rows of one probability are never parted.
///
/// Empty without a row of either label.
///
/// Source: Fawcett, *An introduction to ROC analysis*, Pattern Recognition Letters 27(8), 2006, algorithm 1.
pub fn operating_points(predictions: &Predictions, n_points: usize) -> Vec<OperatingPoint> {
    let ranked = Ranked::new(predictions);
    let total = ranked.positive_negative(0..ranked.rows.len(), &ranked.weights);
    if total.0 <= 0.0 || total.1 <= 0.0 {
        return Vec::new();
    }
    let step = 1.0 / n_points.max(1) as f64;
    let mut points: Vec<OperatingPoint> = Vec::new();
    let (mut positive, mut negative) = (0.0, 0.0);
    for tie in ranked.ties().rev() {
        let threshold = ranked.probabilities[tie.start];
        let is_last = tie.start == 0;
        let found = ranked.positive_negative(tie, &ranked.weights);
        positive += found.0;
        negative += found.1;
        if positive + negative <= 0.0 {
            continue; // rows of weight 0 alone
        }
        let point = OperatingPoint {
            threshold,
            recall: (positive / total.0).min(1.0),
            false_positive_rate: (negative / total.1).min(1.0),
            precision: positive / (positive + negative),
        };
        let is_far = points.last().is_none_or(|last| {
            point.recall - last.recall >= step
                || point.false_positive_rate - last.false_positive_rate >= step
        });
        if is_far || is_last {
            points.push(point);
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::auc;
    use super::*;

    #[test]
    fn by_hand() {
        let labels = vec![true, false, true, false, false];
        let predictions = Predictions::new(vec![0.9, 0.8, 0.5, 0.5, 0.1], labels).unwrap();
        let found = operating_points(&predictions, 100);
        let rows: Vec<_> = found.iter().map(|p| (p.threshold, p.recall, p.precision)).collect();
        assert_eq!(rows, [(0.9, 0.5, 1.0), (0.8, 0.5, 0.5), (0.5, 1.0, 0.5), (0.1, 1.0, 0.4)]);
        let rates: Vec<f64> = found.iter().map(|p| (p.false_positive_rate * 3.0).round()).collect();
        assert_eq!(rates, [0.0, 1.0, 2.0, 3.0]);
        assert!(operating_points(&Predictions::new(vec![0.5], vec![true]).unwrap(), 9).is_empty());
    }

    /// Between points, the curve that leaves most out is nearly the one that has all: the areas agree.
    #[test]
    fn the_area_under_the_points_is_the_auc() {
        let mut generator = ChaCha8Rng::seed_from_u64(5);
        let rows = (0..5000).map(|_| {
            let p: f64 = generator.random();
            (p, generator.random::<f64>() < p * p)
        });
        let (probabilities, labels) = rows.unzip();
        let predictions = Predictions::new(probabilities, labels).unwrap();
        let points = operating_points(&predictions, 100);
        assert!((100..=201).contains(&points.len()), "{}", points.len());
        let mut last = (0.0, 0.0);
        let mut area = 0.0;
        for point in &points {
            area += (point.false_positive_rate - last.0) * (point.recall + last.1) / 2.0;
            last = (point.false_positive_rate, point.recall);
        }
        assert!((area - auc(&predictions).unwrap()).abs() < 1e-3, "{area}");
    }
}
