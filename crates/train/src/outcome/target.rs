//! What is measured of models: the label, and what came of rows whose label is positive.

use forecart_data::SampleTable;
use forecart_eval::probability::Predictions;

use super::rounds::Round;
use crate::error::TrainError;

/// Which of the tested rows are measured, and what became of them.
#[derive(Debug)]
pub(super) struct Target {
    /// Places among the tested rows, round by round.
    pub(super) places: Vec<usize>,
    labels: Vec<bool>,
    /// Whether it is the first label of all tested rows, whose means over folds were taken.
    pub(super) is_first_label: bool,
    /// For each, the share of positive rows, by their weights, among those that models learned from.
    pub(super) constant: Vec<f64>,
}

impl Target {
    /// The label, of all tested rows.
    pub(super) fn label(table: &SampleTable, rounds: &[Round]) -> Self {
        let all = Self::of(table, rounds, |row| Some(table.label(row) == 1.0));
        Self { is_first_label: true, ..all }
    }

    /// The second label, of the rows whose first is positive and of which it is known. `None` where there are none.
    pub(super) fn after_positive(table: &SampleTable, rounds: &[Round]) -> Option<Self> {
        let second = table.second_label()?;
        let found = Self::of(table, rounds, |row| {
            let outcome = second[row as usize];
            (table.label(row) == 1.0 && !outcome.is_nan()).then_some(outcome == 1.0)
        });
        (!found.places.is_empty()).then_some(found)
    }

    /// Both labels, of the rows of which that is known: nothing comes of a row whose first is not positive. `None` where there are none.
    pub(super) fn with_positive(table: &SampleTable, rounds: &[Round]) -> Option<Self> {
        let second = table.second_label()?;
        let found = Self::of(table, rounds, |row| match table.label(row) == 1.0 {
            false => Some(false),
            true => (!second[row as usize].is_nan()).then_some(second[row as usize] == 1.0),
        });
        (!found.places.is_empty()).then_some(found)
    }

    fn of(table: &SampleTable, rounds: &[Round], label: impl Fn(u32) -> Option<bool>) -> Self {
        let mut target = Self {
            is_first_label: false,
            places: Vec::new(),
            labels: Vec::new(),
            constant: Vec::new(),
        };
        let mut place = 0;
        let weights = table.weights();
        for round in rounds {
            let (mut all, mut positive) = (0.0, 0.0);
            for row in &round.train {
                if let Some(is_positive) = label(*row) {
                    let weight = weights.map_or(1.0, |weights| weights[*row as usize]);
                    all += weight;
                    positive += weight * f64::from(is_positive);
                }
            }
            let rate = if all > 0.0 { positive / all } else { 0.0 };
            for row in &round.test {
                if let Some(is_positive) = label(*row) {
                    target.places.push(place);
                    target.labels.push(is_positive);
                    target.constant.push(rate);
                }
                place += 1;
            }
        }
        target
    }

    /// `probabilities` of its rows beside what became of them; `groups` are those of all tested rows.
    pub(super) fn predictions(
        &self,
        probabilities: Vec<f64>,
        groups: Option<&[u32]>,
    ) -> Result<Predictions, TrainError> {
        let predictions = Predictions::new(probabilities, self.labels.clone())?;
        Ok(match groups {
            Some(groups) => {
                let groups: Vec<u32> = self.places.iter().map(|place| groups[*place]).collect();
                predictions.with_groups(&groups)?
            }
            None => predictions,
        })
    }
}
