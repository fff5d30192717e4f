//! The estimators.

use serde::{Deserialize, Serialize};

use super::feedback::{OffPolicy, wrong};
use crate::bootstrap::{Bootstrap, GroupSums, Interval, ratios};
use crate::error::EvalError;

/// How the value of a policy is estimated from a log; `w` is its probability of the logged action over the propensity,
/// at most `clip` where there is one.
///
/// A clip makes an estimate steadier and, as a rule, too low. Without it weights are as they are; nothing else is
/// switched or shrunk.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "estimator", rename_all = "snake_case")]
pub enum Estimator {
    /// Inverse propensity score: `mean(w r)`. Right on average where each action of the policy could have been drawn.
    ///
    /// Source: Horvitz and Thompson, JASA 47, 1952; clipped as in Ionides, JCGS 17(2), 2008.
    Ips {
        /// Largest weight.
        clip: Option<f64>,
    },
    /// Self-normalized: `sum(w r) / sum(w)`. Between the lowest and the highest reward, steadier than IPS, off by a
    /// little that vanishes with more rows.
    ///
    /// Source: Swaminathan and Joachims, NIPS 2015.
    Snips {
        /// Largest weight.
        clip: Option<f64>,
    },
    /// The mean of what a model of rewards expects of the policy. As good as the model.
    DirectMethod,
    /// Doubly robust: the direct method, and `w` times what the model was wrong by. Right on average if either the
    /// propensities or the model are.
    ///
    /// Source: Dudík, Langford and Li, ICML 2011; clipped as in Su et al., ICML 2020 (pessimistic shrinkage).
    DoublyRobust {
        /// Largest weight.
        clip: Option<f64>,
    },
}

impl Estimator {
    fn clip(self) -> Option<f64> {
        match self {
            Self::Ips { clip } | Self::Snips { clip } | Self::DoublyRobust { clip } => clip,
            Self::DirectMethod => None,
        }
    }
}

/// What a policy would have earned for an impression, and how far the log can say that.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OffPolicyEstimate {
    /// How it was estimated.
    pub estimator: Estimator,
    /// Mean reward; `None` if no logged action has a weight (SNIPS alone).
    pub value: Option<f64>,
    /// Percentile-bootstrap interval over rows, or groups where there are some.
    pub interval: Option<Interval>,
    /// Mean weight before clipping: near 1 if every action of the policy could have been drawn, below 1 if the log never
    /// shows some of them.
    pub mean_weight: f64,
    /// Largest weight before clipping.
    pub largest_weight: f64,
    /// Rows whose weight was clipped.
    pub n_clipped: usize,
    /// Rows of equal weight that would say as much: `(Σ w)² / Σ w²`, after clipping.
    pub effective_rows: f64,
    /// Rewards of equal size that would say as much: `(Σ w r)² / Σ (w r)²`, after clipping; for clicks, how many of them the value
    /// rests on. Of few, an interval by the bootstrap is too narrow.
    pub effective_rewards: f64,
}

impl OffPolicy<'_> {
    /// Estimates the value of the policy.
    ///
    /// ```
    /// use forecart_eval::Bootstrap;
    /// use forecart_eval::off_policy::{Estimator, LoggedFeedback, OffPolicy};
    ///
    /// // Two actions, drawn with 1/2 each; action 1 earns. A policy that takes it three times of four:
    /// let log = LoggedFeedback::new(vec![0, 1, 0, 1], vec![0; 4], vec![0.0, 1.0, 0.0, 1.0], vec![0.5; 4])?;
    /// let policy = |_row: usize, _slot: u32, action: u32| if action == 1 { 0.75 } else { 0.25 };
    /// let found = OffPolicy::new(&log, &policy)?
    ///     .estimate(Estimator::Ips { clip: None }, &Bootstrap::default())?;
    /// assert_eq!(found.value, Some(0.75));
    /// # Ok::<(), forecart_eval::EvalError>(())
    /// ```
    ///
    /// # Errors
    /// [`EvalError::Option`] for a clip that is not above 0 and for bootstrap options; [`EvalError::Input`] if the
    /// estimator asks for a model of rewards and there is none.
    pub fn estimate(
        &self,
        estimator: Estimator,
        bootstrap: &Bootstrap,
    ) -> Result<OffPolicyEstimate, EvalError> {
        bootstrap.check()?;
        let clip = estimator.clip().unwrap_or(f64::INFINITY);
        if clip.is_nan() || clip <= 0.0 {
            let reason = format!("a weight of at most {clip} leaves nothing");
            return Err(EvalError::Option { option: "clip", reason });
        }
        let rewards = &self.feedback.rewards;
        let weight = |row: usize| self.weights[row].min(clip);
        let expected = || {
            let needs = "the direct and the doubly robust estimator need a model of rewards";
            self.expected.as_deref().ok_or_else(|| wrong(needs))
        };
        let n_rows = self.feedback.n_rows();
        let sums: GroupSums = match estimator {
            Estimator::Ips { .. } => {
                (0..n_rows).map(|row| (weight(row) * rewards[row], 1.0)).collect()
            }
            Estimator::Snips { .. } => {
                (0..n_rows).map(|row| (weight(row) * rewards[row], weight(row))).collect()
            }
            Estimator::DirectMethod => expected()?.iter().map(|(_, mean)| (*mean, 1.0)).collect(),
            Estimator::DoublyRobust { .. } => {
                let row = |(row, (of_action, mean)): (usize, &(f64, f64))| {
                    (mean + weight(row) * (rewards[row] - of_action), 1.0)
                };
                expected()?.iter().enumerate().map(row).collect()
            }
        };
        let (sum, n) = sums.iter().fold((0.0, 0.0), |(sum, n), (s, w)| (sum + s, n + w));
        let resampled = ratios(&[self.by_group(sums)], bootstrap).remove(0);
        let effective = |of_row: &dyn Fn(usize) -> f64| {
            let (sum, squares) = (0..n_rows)
                .map(of_row)
                .fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
            if squares > 0.0 { sum * sum / squares } else { 0.0 }
        };
        Ok(OffPolicyEstimate {
            estimator,
            value: (n > 0.0).then(|| sum / n),
            interval: resampled.interval(bootstrap),
            mean_weight: self.weights.iter().sum::<f64>() / n_rows as f64,
            largest_weight: self.weights.iter().copied().fold(0.0, f64::max),
            n_clipped: self.weights.iter().filter(|weight| **weight > clip).count(),
            effective_rows: effective(&weight),
            effective_rewards: effective(&|row| weight(row) * rewards[row]),
        })
    }

    /// Sums over what is drawn for the intervals.
    fn by_group(&self, rows: GroupSums) -> GroupSums {
        let Some(groups) = &self.feedback.groups else { return rows };
        let mut sums = vec![(0.0, 0.0); self.feedback.n_groups];
        for (group, (sum, n)) in groups.iter().zip(rows) {
            let group = &mut sums[*group as usize];
            (group.0, group.1) = (group.0 + sum, group.1 + n);
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::LoggedFeedback;
    use super::*;

    const N_ACTIONS: u32 = 4;

    /// How often an action in a slot is clicked.
    fn rate(slot: u32, action: u32) -> f64 {
        0.1 + 0.15 * f64::from(action) - 0.03 * f64::from(slot)
    }

    /// The policy of the log.
    fn logging(_row: usize, slot: u32, action: u32) -> f64 {
        [[0.4, 0.3, 0.2, 0.1], [0.25, 0.25, 0.25, 0.25]][slot as usize][action as usize]
    }

    /// The policy that is asked about.
    fn asked(_row: usize, slot: u32, action: u32) -> f64 {
        [[0.1, 0.1, 0.1, 0.7], [0.0, 0.0, 0.5, 0.5]][slot as usize][action as usize]
    }

    fn truth() -> f64 {
        let of_slot = |slot: u32| -> f64 {
            (0..N_ACTIONS).map(|action| asked(0, slot, action) * rate(slot, action)).sum()
        };
        (of_slot(0) + of_slot(1)) / 2.0
    }

    fn drawn(n_rows: usize, seed: u64) -> LoggedFeedback {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let (mut actions, mut slots, mut rewards, mut propensities) =
            (vec![], vec![], vec![], vec![]);
        for row in 0..n_rows {
            let slot = row as u32 % 2;
            let mut left: f64 = generator.random();
            let passed = |action: &u32| {
                left -= logging(row, slot, *action);
                left < 0.0
            };
            let action = (0..N_ACTIONS).find(passed).unwrap_or(N_ACTIONS - 1);
            actions.push(action);
            slots.push(slot);
            rewards.push(f64::from(generator.random::<f64>() < rate(slot, action)));
            propensities.push(logging(row, slot, action));
        }
        LoggedFeedback::new(actions, slots, rewards, propensities).unwrap()
    }

    const ALL: [Estimator; 4] = [
        Estimator::Ips { clip: None },
        Estimator::Snips { clip: None },
        Estimator::DirectMethod,
        Estimator::DoublyRobust { clip: None },
    ];

    #[test]
    fn intervals_cover_the_truth_as_often_as_they_say() {
        let bootstrap = Bootstrap { n_resamples: 200, ..Bootstrap::default() };
        for estimator in ALL {
            let covers = |seed: &u64| {
                let log = drawn(800, *seed);
                // A wrong model: doubly robust must not mind.
                let wrong = |_: usize, _: u32, action: u32| 0.3 - 0.05 * f64::from(action);
                let right = |_: usize, slot: u32, action: u32| rate(slot, action);
                let policy = OffPolicy::new(&log, &asked).unwrap();
                let policy = match estimator {
                    Estimator::DirectMethod => policy.with_reward_model(&asked, N_ACTIONS, right),
                    _ => policy.with_reward_model(&asked, N_ACTIONS, wrong),
                };
                let found = policy.unwrap().estimate(estimator, &bootstrap).unwrap();
                let interval = found.interval.unwrap();
                interval.low - 1e-12 <= truth() && truth() <= interval.high + 1e-12
            };
            let n_covered = (0..200u64).filter(covers).count();
            // 95 % of 200 is 190, with a standard deviation of 3.1.
            assert!(n_covered >= 180, "{estimator:?}: {n_covered} of 200");
        }
    }

    #[test]
    fn the_policy_of_the_log_earns_what_was_logged() {
        let log = drawn(500, 1);
        let found = OffPolicy::new(&log, &logging).unwrap();
        for estimator in [ALL[0], ALL[1]] {
            let found = found.estimate(estimator, &Bootstrap::default()).unwrap();
            assert!((found.value.unwrap() - log.mean_reward()).abs() < 1e-12);
            assert!((found.mean_weight - 1.0).abs() < 1e-12);
            assert!((found.effective_rows - 500.0).abs() < 1e-9);
        }
    }

    #[test]
    fn clipped_by_hand() {
        let log = LoggedFeedback::new(vec![0, 1], vec![0; 2], vec![1.0, 2.0], vec![0.1, 0.5]);
        let log = log.unwrap();
        // Weights 5 and 1.
        let half = |_: usize, _: u32, _: u32| 0.5;
        let model = |_: usize, _: u32, action: u32| if action == 0 { 0.5 } else { 1.0 };
        let policy =
            OffPolicy::new(&log, &half).unwrap().with_reward_model(&half, 2, model).unwrap();
        let estimate = |estimator| policy.estimate(estimator, &Bootstrap::default()).unwrap();
        let clip = Some(3.0);
        assert_eq!(estimate(Estimator::Ips { clip: None }).value, Some(3.5));
        assert_eq!(estimate(Estimator::Ips { clip }).value, Some(2.5));
        assert_eq!(estimate(Estimator::Snips { clip }).value, Some(5.0 / 4.0));
        assert_eq!(estimate(Estimator::DirectMethod).value, Some(0.75));
        // .75 + (3 * (1 - .5) + 1 * (2 - 1)) / 2
        let found = estimate(Estimator::DoublyRobust { clip });
        assert_eq!(found.value, Some(2.0));
        assert_eq!((found.n_clipped, found.largest_weight, found.mean_weight), (1, 5.0, 3.0));
        assert_eq!(found.effective_rows, 16.0 / 10.0);
        assert_eq!(found.effective_rewards, 25.0 / 13.0);
    }

    #[test]
    fn probabilities_and_expectations_row_by_row_are_those_of_the_functions() {
        let log = drawn(200, 3);
        let reward = |_: usize, slot: u32, action: u32| rate(slot, action);
        let by_function =
            OffPolicy::new(&log, &asked).unwrap().with_reward_model(&asked, N_ACTIONS, reward);
        let by_function = by_function.unwrap();
        let of_row = |row: usize| asked(row, log.slots[row], log.actions[row]);
        let probabilities: Vec<f64> = (0..200).map(of_row).collect();
        let by_row = OffPolicy::of_probabilities(&log, &probabilities).unwrap();
        let by_row = by_row.with_expected(by_function.expected.clone().unwrap()).unwrap();
        for estimator in ALL {
            let [one, other] = [&by_function, &by_row]
                .map(|policy| policy.estimate(estimator, &Bootstrap::default()).unwrap());
            assert_eq!(one, other);
        }
        let error = OffPolicy::of_probabilities(&log, &probabilities[1..]).unwrap_err();
        assert!(error.to_string().contains("200 rows have 199 probabilities"), "{error}");
        let nan = vec![(0.0, f64::NAN); 200];
        let error = by_row.with_expected(nan).unwrap_err();
        assert!(error.to_string().contains("row 0 is not a number"), "{error}");
    }

    #[test]
    fn groups_are_resampled_whole() {
        let log =
            LoggedFeedback::new(vec![0; 4], vec![0; 4], vec![1.0, 1.0, 0.0, 0.0], vec![1.0; 4]);
        let log = log.unwrap().with_groups(&[8, 8, 3, 3]).unwrap();
        let one = |_: usize, _: u32, _: u32| 1.0;
        let found = OffPolicy::new(&log, &one).unwrap();
        let found = found.estimate(Estimator::Ips { clip: None }, &Bootstrap::default()).unwrap();
        assert_eq!(found.interval, Some(Interval { low: 0.0, high: 1.0 }));
    }

    #[test]
    fn a_policy_without_an_action_in_the_log_has_no_self_normalized_value() {
        let log = LoggedFeedback::new(vec![0], vec![0], vec![1.0], vec![0.5]).unwrap();
        let other = |_: usize, _: u32, action: u32| f64::from(action == 1);
        let policy = OffPolicy::new(&log, &other).unwrap();
        let found =
            policy.estimate(Estimator::Snips { clip: None }, &Bootstrap::default()).unwrap();
        assert_eq!((found.value, found.interval, found.mean_weight), (None, None, 0.0));
        let found = policy.estimate(Estimator::Ips { clip: None }, &Bootstrap::default()).unwrap();
        assert_eq!(found.value, Some(0.0));
    }

    #[test]
    fn bad_input_is_named() {
        let log = |reward, propensity| {
            LoggedFeedback::new(vec![0], vec![0], vec![reward], vec![propensity])
        };
        let message = |found: Result<LoggedFeedback, EvalError>| found.unwrap_err().to_string();
        assert!(message(log(1.0, 0.0)).contains("row 0 has the propensity 0"));
        assert!(message(log(f64::NAN, 0.5)).contains("row 0 has the reward NaN"));
        let short = LoggedFeedback::new(vec![0], vec![], vec![1.0], vec![0.5]);
        assert!(message(short).contains("1 actions have 0 slots"));
        let log = log(1.0, 0.5).unwrap();
        let two = |_: usize, _: u32, _: u32| 2.0;
        assert!(OffPolicy::new(&log, &two).unwrap_err().to_string().contains("probability 2"));
        let half = |_: usize, _: u32, _: u32| 0.5;
        let policy = OffPolicy::new(&log, &half).unwrap();
        let error = policy.estimate(Estimator::DirectMethod, &Bootstrap::default());
        assert!(error.unwrap_err().to_string().contains("need a model of rewards"));
        let error = policy.clone().with_reward_model(&half, 3, |_, _, _| 0.0).unwrap_err();
        assert!(error.to_string().contains("sum to 1.5"));
        let error = policy.estimate(Estimator::Ips { clip: Some(0.0) }, &Bootstrap::default());
        assert!(error.unwrap_err().to_string().contains("option clip"));
    }
}
