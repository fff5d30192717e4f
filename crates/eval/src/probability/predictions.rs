//! Probabilities beside what happened.

use crate::bootstrap::numbered;
use crate::error::EvalError;

/// A probability and a label for each row, checked; with weights and groups where there are some.
///
/// ```
/// use forecart_eval::probability::{Predictions, auc};
///
/// let predictions = Predictions::new(vec![0.1, 0.4, 0.35, 0.8], vec![false, false, true, true])?;
/// assert_eq!(auc(&predictions), Some(0.75));
/// assert!(Predictions::new(vec![1.5], vec![true]).is_err());
/// # Ok::<(), forecart_eval::EvalError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Predictions {
    pub(super) probabilities: Vec<f64>,
    pub(super) labels: Vec<bool>,
    /// All 1 unless given.
    pub(super) weights: Vec<f64>,
    /// Of each row, from 0 without gaps.
    pub(super) groups: Option<Vec<u32>>,
    pub(super) n_groups: usize,
}

impl Predictions {
    /// `probabilities` in `0.0..=1.0`, and for each whether it came true.
    ///
    /// # Errors
    /// [`EvalError::Input`] if there are none, more than fit into `u32`, not as many as labels, or one is not a
    /// probability.
    pub fn new(probabilities: Vec<f64>, labels: Vec<bool>) -> Result<Self, EvalError> {
        let n_rows = probabilities.len();
        if n_rows == 0 {
            return Err(wrong("there are none"));
        }
        if n_rows >= u32::MAX as usize {
            return Err(wrong(format!("{n_rows} rows are more than can be counted")));
        }
        same_length(n_rows, labels.len(), "labels")?;
        let is_wrong = |p: &f64| !(0.0..=1.0).contains(p);
        if let Some(row) = probabilities.iter().position(is_wrong) {
            let found = probabilities[row];
            return Err(wrong(format!("row {row} has {found}, which is not a probability")));
        }
        Ok(Self { weights: vec![1.0; n_rows], probabilities, labels, groups: None, n_groups: 0 })
    }

    /// How often each row counts. A weight is a number of equal rows as far as values go; intervals take the number
    /// of rows that carry as much information, `(Σ w)² / Σ w²`.
    ///
    /// # Errors
    /// [`EvalError::Input`] for weights that are not finite or below 0, that are all 0, or not as many as rows.
    pub fn with_weights(mut self, weights: Vec<f64>) -> Result<Self, EvalError> {
        same_length(self.n_rows(), weights.len(), "weights")?;
        let is_wrong = |weight: &f64| !(weight.is_finite() && *weight >= 0.0);
        if let Some(row) = weights.iter().position(is_wrong) {
            return Err(wrong(format!("row {row} has the weight {}", weights[row])));
        }
        let sum: f64 = weights.iter().sum();
        if !(sum > 0.0 && sum.is_finite()) {
            return Err(wrong(format!("the weights sum to {sum}")));
        }
        self.weights = weights;
        Ok(self)
    }

    /// The group of each row: what is independent of the rest, for example the user. Any numbers do.
    ///
    /// # Errors
    /// [`EvalError::Input`] if there are not as many as rows.
    pub fn with_groups(mut self, groups: &[u32]) -> Result<Self, EvalError> {
        same_length(self.n_rows(), groups.len(), "groups")?;
        let (groups, n_groups) = numbered(groups);
        (self.groups, self.n_groups) = (Some(groups), n_groups);
        Ok(self)
    }

    /// Number of rows, at least 1.
    pub fn n_rows(&self) -> usize {
        self.probabilities.len()
    }

    /// Number of rows whose label is true.
    pub fn n_positive(&self) -> usize {
        self.labels.iter().filter(|label| **label).count()
    }

    /// The weighted share of rows whose label is true.
    pub fn base_rate(&self) -> f64 {
        self.mean(|row| f64::from(self.labels[row]))
    }

    /// The weighted mean of the probabilities.
    pub fn mean_probability(&self) -> f64 {
        self.mean(|row| self.probabilities[row])
    }

    /// Weighted mean of a value of each row.
    pub(super) fn mean(&self, value: impl Fn(usize) -> f64) -> f64 {
        let weighted = self.weights.iter().enumerate().map(|(row, weight)| weight * value(row));
        weighted.sum::<f64>() / self.weights.iter().sum::<f64>()
    }

    /// Some of the rows, with their weights and groups.
    pub(super) fn select(&self, rows: &[u32]) -> Result<Self, EvalError> {
        fn take<T: Copy>(values: &[T], rows: &[u32]) -> Vec<T> {
            rows.iter().map(|row| values[*row as usize]).collect()
        }
        let selected = Self::new(take(&self.probabilities, rows), take(&self.labels, rows))?
            .with_weights(take(&self.weights, rows))?;
        match &self.groups {
            Some(groups) => selected.with_groups(&take(groups, rows)),
            None => Ok(selected),
        }
    }

    /// That `other` has the same labels, weights and groups.
    pub(super) fn check_comparable(&self, other: &Self) -> Result<(), EvalError> {
        let differs = if self.n_rows() != other.n_rows() {
            "numbers of rows"
        } else if self.labels != other.labels {
            "labels"
        } else if self.weights != other.weights {
            "weights"
        } else if self.groups != other.groups {
            "groups"
        } else {
            return Ok(());
        };
        Err(wrong(format!("two models are compared on the same rows, but their {differs} differ")))
    }
}

fn same_length(n_rows: usize, n_found: usize, what: &str) -> Result<(), EvalError> {
    if n_rows == n_found {
        return Ok(());
    }
    Err(wrong(format!("{n_rows} rows have {n_found} {what}")))
}

/// An [`EvalError::Input`] about predictions.
pub(super) fn wrong(reason: impl Into<String>) -> EvalError {
    EvalError::Input { what: "predictions", reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_rows_are_named() {
        let message = |found: Result<Predictions, EvalError>| found.unwrap_err().to_string();
        let two = || Predictions::new(vec![0.5, 1.0], vec![true, false]).unwrap();
        assert!(message(Predictions::new(vec![], vec![])).contains("there are none"));
        let found = message(Predictions::new(vec![0.5, f64::NAN], vec![true, true]));
        assert!(found.contains("row 1 has NaN"), "{found}");
        assert!(message(Predictions::new(vec![0.5], vec![])).contains("1 rows have 0 labels"));
        assert!(message(two().with_weights(vec![1.0, -1.0])).contains("row 1 has the weight -1"));
        assert!(message(two().with_weights(vec![0.0, 0.0])).contains("sum to 0"));
        assert!(message(two().with_groups(&[1])).contains("2 rows have 1 groups"));
    }

    #[test]
    fn groups_are_numbered_without_gaps() {
        let three = Predictions::new(vec![0.5; 3], vec![true; 3]).unwrap();
        let grouped = three.with_groups(&[90, 7, 90]).unwrap();
        assert_eq!((grouped.groups, grouped.n_groups), (Some(vec![1, 0, 1]), 2));
    }
}
