//! A log of drawn actions, and another policy's probabilities beside it.

use crate::bootstrap::numbered;
use crate::error::EvalError;

/// How far the probabilities of a policy may sum from 1: they are often stored in `f32`.
const SUM_TOLERANCE: f64 = 1e-5;

/// Impressions of a policy that drew its actions, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedFeedback {
    pub(super) actions: Vec<u32>,
    pub(super) slots: Vec<u32>,
    pub(super) rewards: Vec<f64>,
    pub(super) propensities: Vec<f64>,
    /// Of each row, from 0 without gaps.
    pub(super) groups: Option<Vec<u32>>,
    pub(super) n_groups: usize,
}

/// Of a row of the log: what another policy does there.
pub trait SlotPolicy {
    /// The probability of `action` in the slot of the row.
    fn probability(&self, row: usize, slot: u32, action: u32) -> f64;
}

impl<F: Fn(usize, u32, u32) -> f64> SlotPolicy for F {
    fn probability(&self, row: usize, slot: u32, action: u32) -> f64 {
        self(row, slot, action)
    }
}

impl LoggedFeedback {
    /// For each impression: the action drawn, its slot (all 0 where there is one), what it earned (a click, or money),
    /// and the probability with which that action was drawn for that slot.
    ///
    /// # Errors
    /// [`EvalError::Input`] if there are no rows, lengths differ, a reward is not finite or a propensity is not above 0
    /// and at most 1.
    pub fn new(
        actions: Vec<u32>,
        slots: Vec<u32>,
        rewards: Vec<f64>,
        propensities: Vec<f64>,
    ) -> Result<Self, EvalError> {
        let n_rows = actions.len();
        if n_rows == 0 {
            return Err(wrong("there are no rows"));
        }
        let lengths = [
            (slots.len(), "slots"),
            (rewards.len(), "rewards"),
            (propensities.len(), "propensities"),
        ];
        if let Some((n_found, what)) = lengths.iter().find(|(n_found, _)| *n_found != n_rows) {
            return Err(wrong(format!("{n_rows} actions have {n_found} {what}")));
        }
        if let Some(row) = rewards.iter().position(|reward| !reward.is_finite()) {
            return Err(wrong(format!("row {row} has the reward {}", rewards[row])));
        }
        let is_propensity = |p: &f64| *p > 0.0 && *p <= 1.0;
        if let Some(row) = propensities.iter().position(|p| !is_propensity(p)) {
            let found = propensities[row];
            return Err(wrong(format!(
                "row {row} has the propensity {found}, but its action was drawn: it must be above 0 and at most 1"
            )));
        }
        Ok(Self { actions, slots, rewards, propensities, groups: None, n_groups: 0 })
    }

    /// The group of each row, for example the user or the page: intervals are then over groups.
    ///
    /// # Errors
    /// [`EvalError::Input`] if there are not as many as rows.
    pub fn with_groups(mut self, groups: &[u32]) -> Result<Self, EvalError> {
        if groups.len() != self.n_rows() {
            let (n_rows, n_groups) = (self.n_rows(), groups.len());
            return Err(wrong(format!("{n_rows} rows have {n_groups} groups")));
        }
        let (groups, n_groups) = numbered(groups);
        (self.groups, self.n_groups) = (Some(groups), n_groups);
        Ok(self)
    }

    /// Number of impressions.
    pub fn n_rows(&self) -> usize {
        self.actions.len()
    }

    /// What the policy of the log itself earned: the mean reward.
    pub fn mean_reward(&self) -> f64 {
        self.rewards.iter().sum::<f64>() / self.n_rows() as f64
    }
}

/// A policy beside a log: everything that the estimators need of it.
#[derive(Debug, Clone)]
pub struct OffPolicy<'a> {
    pub(super) feedback: &'a LoggedFeedback,
    /// The policy's probability of the logged action over its propensity.
    pub(super) weights: Vec<f64>,
    /// By a model of rewards: of the logged action, and the mean over the policy's actions.
    pub(super) expected: Option<Vec<(f64, f64)>>,
}

impl<'a> OffPolicy<'a> {
    /// The probabilities of `policy` for the logged actions: enough for all estimators but those with a model of rewards.
    ///
    /// # Errors
    /// [`EvalError::Input`] for what is not a probability.
    pub fn new(feedback: &'a LoggedFeedback, policy: &impl SlotPolicy) -> Result<Self, EvalError> {
        let weight = |row: usize| {
            let (slot, action) = (feedback.slots[row], feedback.actions[row]);
            Ok(probability(policy, row, slot, action)? / feedback.propensities[row])
        };
        let weights = (0..feedback.n_rows()).map(weight).collect::<Result<_, EvalError>>()?;
        Ok(Self { feedback, weights, expected: None })
    }

    /// The same from the policy's probability of the logged action of each row, where the policy is not at hand as a function.
    ///
    /// # Errors
    /// [`EvalError::Input`] for what is not a probability, or if there are not as many as rows.
    pub fn of_probabilities(
        feedback: &'a LoggedFeedback,
        probabilities: &[f64],
    ) -> Result<Self, EvalError> {
        check_length(feedback, probabilities.len(), "probabilities")?;
        let of_row = |row: usize, _slot: u32, _action: u32| probabilities[row];
        Self::new(feedback, &of_row)
    }

    /// Also what a model of rewards, which was not fitted on these rows, expects of each row: of the logged action, and the mean over the
    /// policy's actions. [`Self::with_reward_model`] takes that mean itself.
    ///
    /// # Errors
    /// [`EvalError::Input`] for what is not finite, or if there are not as many as rows.
    pub fn with_expected(mut self, expected: Vec<(f64, f64)>) -> Result<Self, EvalError> {
        check_length(self.feedback, expected.len(), "expected rewards")?;
        let is_finite = |pair: &(f64, f64)| pair.0.is_finite() && pair.1.is_finite();
        if let Some(row) = expected.iter().position(|pair| !is_finite(pair)) {
            return Err(wrong(format!("the expected reward of row {row} is not a number")));
        }
        self.expected = Some(expected);
        Ok(self)
    }

    /// Also what `reward(row, slot, action)`, a model that was not fitted on these rows, expects of each of `n_actions`
    /// actions. Its mean is taken over the policy's probabilities, divided by their sum, which rounding may move off 1.
    ///
    /// # Errors
    /// [`EvalError::Input`] for an action past `n_actions`, an expectation that is not finite, and probabilities that do
    /// not sum to 1.
    ///
    /// # Cost
    /// `n_actions` calls of both for each row.
    pub fn with_reward_model(
        self,
        policy: &impl SlotPolicy,
        n_actions: u32,
        reward: impl Fn(usize, u32, u32) -> f64,
    ) -> Result<Self, EvalError> {
        let expectation = |row: usize| {
            let (slot, action) = (self.feedback.slots[row], self.feedback.actions[row]);
            if action >= n_actions {
                return Err(wrong(format!("row {row} has action {action}, of {n_actions}")));
            }
            let (mut mean, mut sum) = (0.0, 0.0);
            for action in 0..n_actions {
                let p = probability(policy, row, slot, action)?;
                mean += p * reward(row, slot, action);
                sum += p;
            }
            if (sum - 1.0).abs() > SUM_TOLERANCE {
                return Err(wrong(format!("the policy's probabilities of row {row} sum to {sum}")));
            }
            Ok((reward(row, slot, action), mean / sum))
        };
        let expected = (0..self.feedback.n_rows()).map(expectation);
        let expected = expected.collect::<Result<_, EvalError>>()?;
        self.with_expected(expected)
    }
}

fn check_length(feedback: &LoggedFeedback, n: usize, what: &str) -> Result<(), EvalError> {
    match feedback.n_rows() {
        n_rows if n_rows == n => Ok(()),
        n_rows => Err(wrong(format!("{n_rows} rows have {n} {what}"))),
    }
}

fn probability(
    policy: &impl SlotPolicy,
    row: usize,
    slot: u32,
    action: u32,
) -> Result<f64, EvalError> {
    let found = policy.probability(row, slot, action);
    if (0.0..=1.0).contains(&found) {
        return Ok(found);
    }
    Err(wrong(format!("the policy gives action {action} of row {row} the probability {found}")))
}

/// An [`EvalError::Input`] about the log.
pub(super) fn wrong(reason: impl Into<String>) -> EvalError {
    EvalError::Input { what: "logged feedback", reason: reason.into() }
}
