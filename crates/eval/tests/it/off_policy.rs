//! Off-policy estimates against the Open Bandit Pipeline (`obp` 0.5.7), by
//! `benches/peers/off_policy_obp.py crates/eval/tests/fixtures/off_policy.json --generated 300`.

use forecart_eval::Bootstrap;
use forecart_eval::off_policy::{Estimator, LoggedFeedback, OffPolicy};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    clip: f64,
    actions: Vec<u32>,
    slots: Vec<u32>,
    rewards: Vec<f64>,
    propensities: Vec<f64>,
    policy: Vec<Vec<f64>>,
    expected_rewards: Vec<Vec<f64>>,
    obp: serde_json::Value,
}

#[test]
fn estimates_are_those_of_the_open_bandit_pipeline() {
    let fixture = include_str!("../fixtures/off_policy.json");
    let log: Fixture = serde_json::from_str(fixture).unwrap();
    let table =
        |table: &Vec<Vec<f64>>, slot: u32, action: u32| table[action as usize][slot as usize];
    let policy = |_: usize, slot: u32, action: u32| table(&log.policy, slot, action);
    let model = |_: usize, slot: u32, action: u32| table(&log.expected_rewards, slot, action);
    let feedback = LoggedFeedback::new(log.actions, log.slots, log.rewards, log.propensities);
    let feedback = feedback.unwrap();
    let n_actions = log.policy.len() as u32;
    let found = OffPolicy::new(&feedback, &policy).unwrap();
    let found = found.with_reward_model(&policy, n_actions, model).unwrap();
    let clip = Some(log.clip);
    let cases = [
        ("ips", Estimator::Ips { clip: None }),
        ("ips_clipped", Estimator::Ips { clip }),
        ("snips", Estimator::Snips { clip: None }),
        ("direct_method", Estimator::DirectMethod),
        ("doubly_robust", Estimator::DoublyRobust { clip: None }),
        ("doubly_robust_clipped", Estimator::DoublyRobust { clip }),
    ];
    assert_eq!(log.obp.as_object().unwrap().len(), cases.len());
    for (name, estimator) in cases {
        let found = found.estimate(estimator, &Bootstrap::default()).unwrap();
        let want = log.obp[name].as_f64().unwrap();
        // The same sums of 300 rows in f64.
        let value = found.value.unwrap();
        assert!((value - want).abs() < 1e-12, "{name}: {value}, want {want}");
        let interval = found.interval.unwrap();
        assert!(interval.low < value && value < interval.high, "{name}: {found:?}");
    }
}
