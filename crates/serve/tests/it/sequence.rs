//! Intervals that are looked at again and again.

use std::io::Write as _;

use forecart_serve::experiments::SampleRatio;
use forecart_serve::experiments::sequence::{ConfidenceSequence, Moments};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

const N_TRIALS: usize = 2_000;
const N_USERS: usize = 5_000;
const N_A_LOOK: usize = 50;
const ALPHA: f64 = 0.05;

/// Users who come to two variants by chance and are looked at after every 50th; whether 0 was ever out of the sequence, and of the interval for one
/// look at a number of users that was fixed before.
fn peeked(
    rng: &mut ChaCha8Rng,
    mut outcome: impl FnMut(&mut ChaCha8Rng, usize) -> f64,
) -> (bool, bool) {
    let sequence = ConfidenceSequence::new(ALPHA, 2_000);
    let mut variants = [Moments::default(); 2];
    let (mut by_sequence, mut by_one_look) = (false, false);
    for user in 1..=N_USERS {
        let variant = usize::from(rng.random::<bool>());
        variants[variant].push(outcome(rng, variant));
        if user % N_A_LOOK == 0 {
            let [control, variant] = &variants;
            let interval = sequence.of_difference(variant, control);
            by_sequence |= interval.lower > 0.0 || interval.upper < 0.0;
            let errors = [control, variant].map(|own| own.variance() / own.n().max(1) as f64);
            let half = 1.959_964 * errors.iter().sum::<f64>().sqrt();
            by_one_look |= interval.difference.abs() > half;
        }
    }
    (by_sequence, by_one_look)
}

#[test]
fn equal_variants_are_rarely_called_different_however_often_one_looks() {
    type Outcome = fn(&mut ChaCha8Rng, usize) -> f64;
    let clicked: Outcome = |rng, _| f64::from(u8::from(rng.random::<f64>() < 0.08));
    // Few buy, and what they pay has a long tail.
    let revenue: Outcome = |rng, _| match rng.random::<f64>() < 0.1 {
        true => -20.0 * (1.0 - rng.random::<f64>()).ln(),
        false => 0.0,
    };
    for (name, outcome, seed) in [("clicked", clicked, 1), ("revenue", revenue, 2)] {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let (mut by_sequence, mut by_one_look) = (0, 0);
        for _ in 0..N_TRIALS {
            let (sequence, one_look) = peeked(rng, outcome);
            by_sequence += usize::from(sequence);
            by_one_look += usize::from(one_look);
        }
        let share = |n: usize| n as f64 / N_TRIALS as f64;
        let (by_sequence, by_one_look) = (share(by_sequence), share(by_one_look));
        // Not by a macro of the test's own output, which nobody sees of a test that passes.
        let said = format!(
            "{name}: false alarms {by_sequence} by the sequence, {by_one_look} by one look\n"
        );
        std::io::stderr().write_all(said.as_bytes()).unwrap();
        // Three standard errors of 2,000 trials above the level.
        assert!(by_sequence <= ALPHA + 0.015, "{name}: {by_sequence}");
        assert!(by_one_look > 0.25, "{name}: {by_one_look}");
    }
}

#[test]
fn a_planted_lift_is_found() {
    let rng = &mut ChaCha8Rng::seed_from_u64(3);
    let n_found = (0..300)
        .filter(|_| {
            let rate = [0.08, 0.14];
            peeked(rng, |rng, variant| f64::from(u8::from(rng.random::<f64>() < rate[variant]))).0
        })
        .count();
    assert!(n_found > 280, "{n_found} of 300");
}

#[test]
fn values_are_those_of_the_formula() {
    let control = [0.0, 0.0, 1.0, 1.0].into_iter().collect::<Moments>();
    let variant = [1.0, 1.0, 1.0, 0.0].into_iter().collect::<Moments>();
    assert_eq!((control.mean(), variant.mean()), (0.5, 0.75));
    assert!((control.variance() - 1.0 / 3.0).abs() < 1e-15);
    // By the paper's own form, sigma sqrt(2 (n rho^2 + 1) / (n^2 rho^2) ln(sqrt(n rho^2 + 1) / alpha)), with rho^2 = 8.211968 / 20.
    let interval = ConfidenceSequence::new(0.05, 20).of_difference(&variant, &control);
    assert!((interval.difference - 0.25).abs() < 1e-15);
    assert!((interval.lower + 0.940_190_667).abs() < 1e-8, "{interval:?}");
    assert!((interval.upper - 1.440_190_667).abs() < 1e-8, "{interval:?}");
    for (alpha, n, expected) in [(0.05, 1_000, 3.035_122_413), (0.025, 10_000, 3.279_167_260)] {
        let sequence = ConfidenceSequence::new(alpha, n);
        assert!((sequence.critical_value(n) - expected).abs() < 1e-8);
        // Narrowest where it is tuned for.
        for other in [n / 2, n * 2] {
            assert!(sequence.critical_value(other) > sequence.critical_value(n));
        }
    }
}

#[test]
fn so_many_users_more_decide_and_fewer_do_not() {
    let of = |n: usize, every: usize| -> Moments {
        (0..n).map(|user| f64::from(u8::from(user % every == 0))).collect()
    };
    let sequence = ConfidenceSequence::new(0.05, 10_000);
    let (control, variant) = (of(1_000, 10), of(1_000, 8));
    let more = sequence.n_more_users(&variant, &control).unwrap();
    let at = |more: u64| {
        let n = (2_000 + more) as usize / 2;
        sequence.of_difference(&of(n, 8), &of(n, 10)).lower > 0.0
    };
    assert!(!at(more * 9 / 10) && at(more * 11 / 10), "{more}");
    assert_eq!(sequence.n_more_users(&control, &control), None);
    assert_eq!(sequence.n_more_users(&of(9_000, 2), &of(9_000, 10)), Some(0));
    assert_eq!(sequence.n_more_users(&Moments::default(), &Moments::default()), None);
}

#[test]
fn a_healthy_experiment_is_rarely_called_broken_however_often_one_looks() {
    let rng = &mut ChaCha8Rng::seed_from_u64(4);
    let mut n_called = 0;
    for _ in 0..N_TRIALS {
        let mut n_users = [0_u64; 2];
        let mut is_called = false;
        for user in 1..=N_USERS {
            n_users[usize::from(rng.random::<f64>() < 0.3)] += 1;
            if user % N_A_LOOK == 0 {
                is_called |= SampleRatio::new(vec![0.7, 0.3], n_users.to_vec()).p_value < ALPHA;
            }
        }
        n_called += usize::from(is_called);
    }
    assert!(n_called as f64 / N_TRIALS as f64 <= ALPHA + 0.015, "{n_called} of {N_TRIALS}");
}
