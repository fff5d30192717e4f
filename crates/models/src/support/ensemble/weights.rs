//! How much each member of an ensemble counts.

use crate::calibration::Temperature;
use crate::error::ModelError;
use crate::support::contract::Logits;

/// How firmly the first member is held on to, in texts.
const PRIOR: f64 = 100.0;

/// Sweeps over the members at most.
const N_SWEEPS: usize = 200;

/// The weights of members from the logits that they give to texts that they have not learned from, `[n_members][n_texts][n_intents]`, and the
/// texts' intents.
///
/// The logits `z_m` of each member are first divided by the temperature `T_m` of its own with the least log loss. Then the shares `a >= 0` minimize
/// `Σ_t -ln softmax(Σ_m a_m z_tm / T_m)_(label of t) + λ/2 ((a_1 - 1)² + Σ_(m > 1) a_m²)`, and the weights are `a_m / T_m`. With `λ = 100` few texts leave the first
/// member as it is, and thousands overrule that. The problem is convex: it is solved member by member by Newton steps of at most the share's size plus
/// one, until none moves. A member that does not help has the share 0; where none helps, the first one answers as it is. So it does where it tells all
/// texts apart: the others could only make it surer, also of texts that ask for nothing.
///
/// # Errors
/// [`ModelError::Calibration`] if there are no texts or a logit is not a number.
pub(super) fn stack(logits: &[Logits], labels: &[u32]) -> Result<Vec<f64>, ModelError> {
    let n_members = logits.len();
    let tells = |(of_text, label): (&Vec<f32>, &u32)| {
        let own = of_text.get(*label as usize);
        own.is_some_and(|own| of_text.iter().all(|other| other <= own))
    };
    let first = logits.first().filter(|first| !first.is_empty());
    if first.is_some_and(|first| first.iter().zip(labels).all(tells)) {
        let mut weights = vec![0.0; n_members];
        weights[0] = 1.0;
        return Ok(weights);
    }
    let mut inverse_temperatures = Vec::with_capacity(n_members);
    for of_member in logits {
        let n_intents = of_member.first().map_or(0, Vec::len);
        let flat: Vec<f64> = of_member.iter().flatten().copied().map(f64::from).collect();
        let temperature = Temperature::fit_classes(&flat, n_intents, labels, None)?;
        inverse_temperatures.push(temperature.inverse());
    }
    let mut shares = vec![0.0; n_members];
    shares[0] = 1.0;
    let centers = shares.clone();
    let weights = |shares: &[f64]| -> Vec<f64> {
        shares.iter().zip(&inverse_temperatures).map(|(share, inverse)| share * inverse).collect()
    };
    for _ in 0..N_SWEEPS {
        let mut moved = 0.0_f64;
        for member in 0..n_members {
            let weights = weights(&shares);
            let share = shares[member];
            let (mut slope, mut curvature) = (PRIOR * (share - centers[member]), PRIOR);
            for (text, label) in labels.iter().enumerate() {
                let of_text: Vec<&[f32]> = logits.iter().map(|l| l[text].as_slice()).collect();
                let pooled = pool(&of_text, &weights);
                let max = pooled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let (mut total, mut mean, mut square) = (0.0_f64, 0.0_f64, 0.0_f64);
                let scale = |z: f32| f64::from(z) * inverse_temperatures[member];
                for (pooled, z) in pooled.iter().zip(of_text[member]) {
                    let (p, z) = ((pooled - max).exp(), scale(*z));
                    total += p;
                    mean += p * z;
                    square += p * z * z;
                }
                mean /= total;
                slope += mean - scale(of_text[member][*label as usize]);
                curvature += (square / total - mean * mean).max(0.0);
            }
            let step = (slope / curvature).clamp(-share - 1.0, share + 1.0);
            shares[member] = (share - step).clamp(0.0, 1e3);
            moved = moved.max((shares[member] - share).abs());
        }
        if moved < 1e-5 {
            break;
        }
    }
    // Short numbers come back from JSON to the bit.
    let mut weights: Vec<f64> =
        weights(&shares).iter().map(|weight| (weight * 1e4).round() / 1e4).collect();
    if weights.iter().all(|weight| *weight == 0.0) {
        weights[0] = 1.0;
    }
    Ok(weights)
}

/// `Σ_m w_m z_m`.
pub(super) fn pool(logits: &[&[f32]], weights: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0; logits.first().map_or(0, |logits| logits.len())];
    for (logits, weight) in logits.iter().zip(weights) {
        let terms = sums.iter_mut().zip(*logits);
        terms.for_each(|(sum, logit)| *sum += weight * f64::from(*logit));
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_loss(logits: &[Logits], labels: &[u32], weights: &[f64]) -> f64 {
        let loss = |(text, label): (usize, &u32)| {
            let of_text: Vec<&[f32]> = logits.iter().map(|l| l[text].as_slice()).collect();
            let pooled = pool(&of_text, weights);
            pooled.iter().map(|logit| logit.exp()).sum::<f64>().ln() - pooled[*label as usize]
        };
        labels.iter().enumerate().map(loss).sum()
    }

    /// A member that is right six times of seven, one that is on other texts, and one that says nothing true.
    fn held_out(n: usize) -> (Vec<Logits>, Vec<u32>) {
        let labels: Vec<u32> = (0..n).map(|at| (at % 2) as u32).collect();
        let sign = |at: usize| if labels[at] == 0 { 1.0 } else { -1.0 };
        let member = |value: &dyn Fn(usize) -> f32| -> Logits {
            (0..n).map(|at| vec![value(at), -value(at)]).collect()
        };
        let right =
            |at: usize, offset: usize| if (at + offset).is_multiple_of(7) { -1.0 } else { 1.0 };
        let members = vec![
            member(&|at| 0.5 * right(at, 0) * sign(at)),
            member(&|at| 3.0 * right(at, 3) * sign(at)),
            member(&|at| (at as f32 * 2.3).sin()),
        ];
        (members, labels)
    }

    #[test]
    fn weights_are_those_of_the_smallest_loss() {
        let (logits, labels) = held_out(20_000);
        let weights = stack(&logits, &labels).unwrap();
        // Either tells the truth with odds of 6; its logits are 1 and 6 apart.
        assert!((weights[0] / 6.0 - weights[1]).abs() < 0.1 * weights[1], "{weights:?}");
        assert!(weights[2].abs() < 0.05, "{weights:?}");
        let least = log_loss(&logits, &labels, &weights);
        for (member, by) in [(0, 0.2), (0, -0.2), (1, 0.05), (1, -0.05), (2, 0.1)] {
            let mut other = weights.clone();
            other[member] = f64::max(0.0, other[member] + by);
            let loss = log_loss(&logits, &labels, &other);
            assert!(loss >= least - 1e-2, "{weights:?} {other:?}: {loss} {least}");
        }
    }

    #[test]
    fn where_every_member_is_wrong_the_first_one_stays() {
        let (logits, labels) = held_out(14);
        let wrong: Vec<u32> =
            logits[0].iter().map(|of_text| u32::from(of_text[0] > of_text[1])).collect();
        assert_ne!(wrong, labels);
        let weights = stack(&[logits[0].clone(), logits[0].clone()], &wrong).unwrap();
        assert_eq!(weights, [1.0, 0.0]);
    }

    #[test]
    fn of_few_texts_the_first_member_stays() {
        let (logits, labels) = held_out(14);
        let weights = stack(&logits, &labels).unwrap();
        // At its own temperature: twice its logit is ln 6.
        assert!((weights[0] - 6_f64.ln()).abs() < 0.4, "{weights:?}");
        assert!(weights[1] < 0.1 && weights[2] < 0.1, "{weights:?}");
        // Texts that are all told apart send no weight to infinity, and give nothing to others that are surer still.
        let (first, second) = (vec![vec![5.0, -5.0]; 100], vec![vec![50.0, -50.0]; 100]);
        assert_eq!(stack(&[first, second], &[0; 100]).unwrap(), [1.0, 0.0]);
        stack(&[Vec::new()], &[]).unwrap_err();
    }
}
