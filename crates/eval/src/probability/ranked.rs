//! Rows in the order of their probability: sorted once, then any weights in one pass.
//!
//! A resample is the same rows with other weights, so that a metric of a resample costs one pass and no sort.

use std::ops::Range;

use super::predictions::Predictions;

/// Rows of [`Predictions`], ascending by probability, rows of one probability in their order.
#[derive(Debug)]
pub(super) struct Ranked {
    /// The row of each place.
    pub(super) rows: Vec<u32>,
    pub(super) probabilities: Vec<f64>,
    pub(super) labels: Vec<bool>,
    pub(super) weights: Vec<f64>,
    /// Where each run of equal probabilities ends.
    pub(super) tie_ends: Vec<usize>,
}

impl Ranked {
    pub(super) fn new(predictions: &Predictions) -> Self {
        let rows: Vec<u32> = (0..predictions.n_rows() as u32).collect();
        Self::of_rows(predictions, rows)
    }

    /// Some of the rows, given ascending.
    fn of_rows(predictions: &Predictions, mut rows: Vec<u32>) -> Self {
        let probability = |row: &u32| predictions.probabilities[*row as usize];
        rows.sort_by(|a, b| probability(a).total_cmp(&probability(b)));
        let probabilities: Vec<f64> = rows.iter().map(probability).collect();
        // -0.0 sorts before 0.0 and is equal to it.
        let is_end = |place: &usize| probabilities.get(*place) != probabilities.get(place - 1);
        let tie_ends = (1..=rows.len()).filter(is_end).collect();
        Self {
            labels: rows.iter().map(|row| predictions.labels[*row as usize]).collect(),
            weights: rows.iter().map(|row| predictions.weights[*row as usize]).collect(),
            rows,
            probabilities,
            tie_ends,
        }
    }

    /// The rows of each group apart, group by group; none if there are no groups.
    pub(super) fn by_group(predictions: &Predictions) -> Vec<Self> {
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); predictions.n_groups];
        let groups = predictions.groups.iter().flatten();
        groups.enumerate().for_each(|(row, group)| rows[*group as usize].push(row as u32));
        rows.into_iter().map(|rows| Self::of_rows(predictions, rows)).collect()
    }

    /// Places of equal probability, ascending.
    pub(super) fn ties(&self) -> impl DoubleEndedIterator<Item = Range<usize>> {
        let start = |index: usize| if index == 0 { 0 } else { self.tie_ends[index - 1] };
        (0..self.tie_ends.len()).map(move |index| start(index)..self.tie_ends[index])
    }

    /// Weights of the positive and of the negative rows among `places`.
    pub(super) fn positive_negative(&self, places: Range<usize>, weights: &[f64]) -> (f64, f64) {
        let mut sums = (0.0, 0.0);
        for (label, weight) in self.labels[places.clone()].iter().zip(&weights[places]) {
            if *label {
                sums.0 += weight;
            } else {
                sums.1 += weight;
            }
        }
        sums
    }
}
