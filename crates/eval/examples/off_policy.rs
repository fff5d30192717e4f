//! Estimates of a policy's value for a log that `benches/peers/off_policy_obp.py` wrote, and the seconds they take.
//!
//! ```sh
//! cargo run --release -p forecart-eval --example off_policy -- log.json 20
//! ```
//!
//! The last line is a JSON object: seconds without intervals (median of the repetitions, one thread), values, and the 95 %
//! intervals of a thousand resamples. `benches/peers/run off-policy` sets it beside the Open Bandit Pipeline.

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use forecart_eval::Bootstrap;
use forecart_eval::off_policy::{Estimator, LoggedFeedback, OffPolicy};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
struct Log {
    clip: f64,
    actions: Vec<u32>,
    slots: Vec<u32>,
    rewards: Vec<f64>,
    propensities: Vec<f64>,
    /// `[n_actions, n_slots]`
    policy: Vec<Vec<f64>>,
    /// `[n_actions, n_slots]`
    expected_rewards: Vec<Vec<f64>>,
}

#[expect(clippy::print_stdout, reason = "the result of a program")]
fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("name the file with the log")?;
    let n_repeats: usize = arguments.next().map_or(Ok(20), |text| text.parse())?;
    let log: Log = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let feedback = LoggedFeedback::new(log.actions, log.slots, log.rewards, log.propensities)?;
    let policy = |_: usize, slot: u32, action: u32| log.policy[action as usize][slot as usize];
    let model =
        |_: usize, slot: u32, action: u32| log.expected_rewards[action as usize][slot as usize];
    let clip = Some(log.clip);
    let estimators = [
        ("ips", Estimator::Ips { clip: None }),
        ("ips_clipped", Estimator::Ips { clip }),
        ("snips", Estimator::Snips { clip: None }),
        ("direct_method", Estimator::DirectMethod),
        ("doubly_robust", Estimator::DoublyRobust { clip: None }),
        ("doubly_robust_clipped", Estimator::DoublyRobust { clip }),
    ];
    let estimate = |bootstrap: Bootstrap| {
        let n_actions = log.policy.len() as u32;
        let policy =
            OffPolicy::new(&feedback, &policy)?.with_reward_model(&policy, n_actions, model)?;
        let estimates = estimators.map(|(_, estimator)| policy.estimate(estimator, &bootstrap));
        estimates.into_iter().collect::<Result<Vec<_>, _>>()
    };
    // The fewest resamples there may be: the peer makes none in its time.
    let few = Bootstrap { n_resamples: 20, ..Bootstrap::default() };
    let mut seconds = Vec::new();
    for _ in 0..n_repeats.max(1) {
        let start = Instant::now();
        black_box(estimate(few)?);
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let (mut values, mut intervals) = (json!({}), json!({}));
    for ((name, _), found) in estimators.iter().zip(estimate(Bootstrap::default())?) {
        values[name] = json!(found.value);
        intervals[name] = json!(found.interval);
    }
    let seconds = seconds[seconds.len() / 2];
    println!("{}", json!({"seconds": seconds, "values": values, "intervals": intervals}));
    Ok(())
}
