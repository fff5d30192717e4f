//! What items ranked by a model would have been clicked, from a log that showed others.
//!
//! [`measure_off_policy`] takes impressions whose item was drawn with a known probability, asks the model for every item that could have
//! stood there, and makes policies of its answers; their values are estimated by [`forecart_eval::off_policy`].

mod candidates;

use forecart_data::encode::Row;
use forecart_data::samples::SampleColumn;
use forecart_eval::Bootstrap;
use forecart_eval::off_policy::{Estimator, LoggedFeedback, OffPolicy, OffPolicyEstimate};
use forecart_models::ads::{OutcomePredictor, Positions, Prediction};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use self::candidates::{Candidates, WithItem};
use crate::error::TrainError;

/// Fewer rows of equal weight than this say little.
const FEW_ROWS: f64 = 100.0;

/// The same of clicks.
const FEW_CLICKS: f64 = 10.0;

/// A mean weight is told from 1 by so many standard errors, and if it is off by so much.
const OFF_BY_ERRORS: f64 = 4.0;
const OFF_BY: f64 = 0.05;

/// Which policies are asked about, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct OffPolicyOptions {
    /// The column that says which item was shown.
    pub item: String,
    /// Columns that go with the item beside those that are found by themselves.
    pub item_columns: Vec<String>,
    /// The candidates of a row are the items of all rows that have its values in these columns.
    pub within: Vec<String>,
    /// The softmax shows an item in proportion to the power `1 / temperature` of its odds of a click.
    pub temperature: f64,
    /// Largest weight.
    pub clip: Option<f64>,
    /// Of intervals.
    pub bootstrap: Bootstrap,
}

/// Impressions in the order of time, with what was known of each, what came of it, and how probable it was that its item was drawn.
#[derive(Debug, Clone)]
pub struct LoggedImpressions<R> {
    /// What was known.
    pub rows: Vec<R>,
    /// 1 where there was a click.
    pub clicks: Vec<f64>,
    /// Of the item shown.
    pub propensities: Vec<f64>,
    /// Whose each is, for intervals over users; none for intervals over rows.
    pub groups: Option<Vec<u32>>,
}

/// How a policy draws an item.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "policy", rename_all = "snake_case")]
pub enum RankingPolicy {
    /// Every candidate alike.
    Uniform,
    /// In proportion to `odds^(1 / temperature)`, with the calibrated odds of a click.
    Softmax {
        /// Low for the best alone, high for all alike.
        temperature: f64,
    },
    /// The candidate with the highest score; those that share it share the place.
    Greedy,
}

impl RankingPolicy {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Softmax { .. } => "softmax",
            Self::Greedy => "greedy",
        }
    }

    /// The probability of each candidate; they sum to 1.
    fn probabilities(self, predictions: &[Prediction]) -> Vec<f64> {
        let weights: Vec<f64> = match self {
            Self::Uniform => vec![1.0; predictions.len()],
            Self::Softmax { temperature } => {
                // Isotonic calibration may say 0 or 1.
                let odds = |p: f64| (p.max(1e-12) / (1.0 - p).max(1e-12)).ln() / temperature;
                let best = predictions.iter().map(|one| odds(one.probability));
                let best = best.fold(f64::NEG_INFINITY, f64::max);
                predictions.iter().map(|one| (odds(one.probability) - best).exp()).collect()
            }
            Self::Greedy => {
                let best = predictions.iter().map(|one| one.logit);
                let best = best.fold(f32::NEG_INFINITY, f32::max);
                predictions.iter().map(|one| f64::from(u8::from(one.logit == best))).collect()
            }
        };
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(|weight| weight / sum).collect()
    }
}

/// What a policy would have earned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyValue {
    /// Which.
    #[serde(flatten)]
    pub policy: RankingPolicy,
    /// By IPS, SNIPS and the doubly robust estimator.
    pub estimates: Vec<OffPolicyEstimate>,
    /// Why the estimates say little, if they do.
    pub warnings: Vec<String>,
}

/// Policies side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OffPolicyReport {
    /// Impressions.
    pub n_rows: u64,
    /// Of them clicked.
    pub n_clicks: u64,
    /// Different items, one counted in each set of candidates.
    pub n_items: u64,
    /// Fewest and most candidates of an impression.
    pub n_candidates: (u64, u64),
    /// The columns that were exchanged with the item.
    pub item_columns: Vec<String>,
    /// What the policy of the log itself earned: weights are 1.
    pub logged: OffPolicyEstimate,
    /// The mean probability that the model gives the items that were shown.
    pub expected_of_logged: f64,
    /// The others.
    pub policies: Vec<PolicyValue>,
}

/// What one row says of each policy.
struct OfRow {
    /// Of the item shown: the policies' probabilities.
    probabilities: Vec<f64>,
    /// What the model expects of the item shown.
    of_shown: f64,
    /// What it expects of each policy.
    expected: Vec<f64>,
}

/// Estimates the click rate of the uniform policy, of a softmax and of a greedy one over the scores of `predictor`, whose columns are
/// `columns`. The model is the model of rewards too, so it must not have learned from these rows.
///
/// The model is asked for each candidate of each row: the row with the columns that go with the item
/// ([`OffPolicyReport::item_columns`]) as they last stood for the candidate. A column that speaks of user and item together stays as it was for the
/// item shown.
///
/// # Errors
/// [`TrainError::Impressions`] for a row without an item and for options out of their range, [`TrainError::Eval`] for what is no
/// propensity, [`TrainError::Model`].
///
/// # Cost
/// A prediction for each candidate of each row; memory grows with the rows alone.
pub fn measure_off_policy<R: Row + Sync>(
    predictor: &OutcomePredictor,
    columns: &[SampleColumn],
    impressions: &LoggedImpressions<R>,
    options: &OffPolicyOptions,
) -> Result<OffPolicyReport, TrainError> {
    let refuse = |reason: String| Err(TrainError::Impressions { reason });
    if !(options.temperature > 0.0 && options.temperature.is_finite()) {
        return refuse(format!("a temperature of {} is not above 0", options.temperature));
    }
    let LoggedImpressions { rows, clicks, propensities, groups } = impressions;
    let n = rows.len();
    let feedback =
        LoggedFeedback::new(vec![0; n], vec![0; n], clicks.clone(), propensities.clone())?;
    let feedback = match groups {
        Some(groups) => feedback.with_groups(groups)?,
        None => feedback,
    };
    let OffPolicyOptions { item, item_columns, within, .. } = options;
    let candidates = match Candidates::new(rows, item, within) {
        Ok(candidates) => candidates,
        Err(row) => return refuse(format!("row {row} has no item in column {item:?}")),
    };
    let item_columns = candidates.item_columns(rows, columns, (item, item_columns, within));
    let policies = [
        RankingPolicy::Uniform,
        RankingPolicy::Softmax { temperature: options.temperature },
        RankingPolicy::Greedy,
    ];
    let of_row = |at: usize| {
        let row = &rows[at];
        let asked = candidates.of(at).map(|other| WithItem {
            row,
            item: &rows[other],
            item_columns: &item_columns,
        });
        let predictions = predictor.predict(asked, Positions::AsLogged)?;
        let shown = candidates.shown(at);
        let (mut probabilities, mut expected) = (Vec::new(), Vec::new());
        for policy in policies {
            let of_candidate = policy.probabilities(&predictions);
            let mean = of_candidate.iter().zip(&predictions).map(|(p, one)| p * one.probability);
            expected.push(mean.sum());
            probabilities.push(of_candidate[shown]);
        }
        Ok(OfRow { probabilities, of_shown: predictions[shown].probability, expected })
    };
    let found: Vec<OfRow> =
        (0..n).into_par_iter().map(of_row).collect::<Result<_, TrainError>>()?;

    let clip = options.clip;
    let bootstrap = &options.bootstrap;
    let value = |at: usize, policy: RankingPolicy| {
        let probabilities: Vec<f64> = found.iter().map(|row| row.probabilities[at]).collect();
        let expected = found.iter().map(|row| (row.of_shown, row.expected[at])).collect();
        let asked =
            OffPolicy::of_probabilities(&feedback, &probabilities)?.with_expected(expected)?;
        let estimators =
            [Estimator::Ips { clip }, Estimator::Snips { clip }, Estimator::DoublyRobust { clip }];
        let estimates = estimators.map(|estimator| asked.estimate(estimator, bootstrap));
        let estimates = estimates.into_iter().collect::<Result<Vec<_>, _>>()?;
        let warnings = warnings(&estimates[0], n);
        Ok::<_, TrainError>(PolicyValue { policy, estimates, warnings })
    };
    let (fewest, most) = candidates.sizes();
    Ok(OffPolicyReport {
        n_rows: n as u64,
        n_clicks: clicks.iter().filter(|click| **click == 1.0).count() as u64,
        n_items: candidates.n_items as u64,
        n_candidates: (fewest as u64, most as u64),
        logged: OffPolicy::of_probabilities(&feedback, propensities)?
            .estimate(Estimator::Ips { clip: None }, bootstrap)?,
        expected_of_logged: found.iter().map(|row| row.of_shown).sum::<f64>() / n as f64,
        policies: policies
            .into_iter()
            .enumerate()
            .map(|(at, policy)| value(at, policy))
            .collect::<Result<_, _>>()?,
        item_columns,
    })
}

/// Why an estimate says little.
fn warnings(found: &OffPolicyEstimate, n_rows: usize) -> Vec<String> {
    let mut warnings = Vec::new();
    let OffPolicyEstimate { mean_weight, effective_rows, effective_rewards, .. } = *found;
    if effective_rows < FEW_ROWS {
        warnings.push(format!(
            "the log says as much of it as {effective_rows:.0} impressions of its own would, of {n_rows}"
        ));
    }
    if effective_rewards < FEW_CLICKS {
        warnings.push(format!(
            "its value rests on {effective_rewards:.1} clicks, so that its intervals are too narrow"
        ));
    }
    // Of n weights with the mean m, as good as k = (n m)² / Σ w² equal ones: Σ w² / n = n m² / k. Not so of clipped ones.
    let n = n_rows as f64;
    if found.n_clipped == 0 && effective_rows > 0.0 {
        let variance = mean_weight * mean_weight * (n / effective_rows - 1.0).max(0.0);
        let off = (mean_weight - 1.0).abs();
        if off > OFF_BY.max(OFF_BY_ERRORS * (variance / n).sqrt()) {
            warnings.push(format!(
                "the mean weight is {mean_weight:.2} and should be 1: the propensities are not those of these candidates, or some of them could \
                 not be drawn"
            ));
        }
    }
    warnings
}
