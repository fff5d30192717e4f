//! Which rows are learned from, and which are measured.

use forecart_data::samples::SampleSplit;
use forecart_data::{Part, SampleTable};
use forecart_eval::EvalError;
use forecart_eval::probability::{Predictions, ProbabilityMetric, auc, average_precision};
use forecart_models::ads::SampleView;

/// What is learned from, what stops and calibrates, and what is measured.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) train: Vec<u32>,
    pub(crate) validation: Vec<u32>,
    pub(crate) test: Vec<u32>,
}

impl Round {
    /// What a model may see of the round.
    pub(crate) fn view<'a>(&self, table: &'a SampleTable) -> SampleView<'a> {
        SampleView::of_rows(table, self.train.clone(), self.validation.clone())
    }
}

/// The parts of `table`, or, where it has folds, a round for each: predicted by what learned from the others, the next one of which stops and
/// calibrates.
pub(crate) fn rounds(table: &SampleTable) -> Vec<Round> {
    let SampleSplit::Folds { n_folds, .. } = table.manifest.description.split else {
        let [train, validation, test] =
            [Part::Train, Part::Validation, Part::Test].map(|part| table.rows(part));
        return vec![Round { train, validation, test }];
    };
    let folds: Vec<Vec<u32>> = (0..n_folds).map(|number| table.fold(number)).collect();
    let round = |at: usize| {
        let next = (at + 1) % folds.len();
        let others = (0..folds.len()).filter(|other| *other != at && *other != next);
        let mut train: Vec<u32> = others.flat_map(|other| folds[other].iter().copied()).collect();
        train.sort_unstable();
        Round { train, validation: folds[next].clone(), test: folds[at].clone() }
    };
    (0..folds.len()).map(round).collect()
}

/// Means over the folds of AUC and average precision, as cross-validation is published. `parts` are the rows of each fold, in the order of
/// `probabilities`.
pub(super) fn fold_means<'a>(
    table: &SampleTable,
    parts: impl ExactSizeIterator<Item = &'a [u32]>,
    probabilities: &[f64],
) -> Result<Vec<(ProbabilityMetric, f64)>, EvalError> {
    if parts.len() < 2 {
        return Ok(Vec::new());
    }
    let mut rest = probabilities;
    let (mut aucs, mut precisions) = (Vec::new(), Vec::new());
    for rows in parts {
        let (these, after) = rest.split_at(rows.len());
        rest = after;
        let labels = rows.iter().map(|row| table.label(*row) == 1.0).collect();
        let predictions = Predictions::new(these.to_vec(), labels)?;
        aucs.extend(auc(&predictions));
        precisions.extend(average_precision(&predictions));
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let means = [(ProbabilityMetric::Auc, aucs), (ProbabilityMetric::AveragePrecision, precisions)];
    Ok(means
        .into_iter()
        .filter(|(_, values)| !values.is_empty())
        .map(|(metric, values)| (metric, mean(&values)))
        .collect())
}
