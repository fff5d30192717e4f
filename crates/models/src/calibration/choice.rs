//! Which method, by rows that none was fitted on.

use serde::{Deserialize, Serialize};

use super::calibrator::{CalibrationMethod, Calibrator};
use super::rows::CalibrationRows;

/// An isotonic curve is fitted only where there are this many rows of each label: with fewer it follows chance.
///
/// Source: Niculescu-Mizil and Caruana, ICML 2005: with fewer than about 1000 rows it does worse than Platt's line. We
/// count the rows of the rarer label, since most clicks and purchases are rare.
pub const MIN_FOR_ISOTONIC: usize = 1000;

/// A method and what it cost on the held-out rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// The method.
    pub method: CalibrationMethod,
    /// Mean logarithmic loss of the held-out rows.
    pub logloss: f64,
    /// How much that is above the lowest, in standard errors of the difference row by row; 0 for the lowest.
    pub errors_above_lowest: f64,
}

/// The calibration that was chosen, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CalibrationChoice {
    /// Fitted on the rows to fit on alone.
    pub calibrator: Calibrator,
    /// All methods that were fitted, the stiffest first. Without [`CalibrationMethod::Isotonic`] there were fewer than
    /// [`MIN_FOR_ISOTONIC`] rows of some label.
    pub tried: Vec<Tried>,
}

/// Fits all methods on `fit` and takes the stiffest (see [`CalibrationMethod`]) whose logarithmic loss on `held_out` is
/// within one standard error of the lowest.
///
/// The scores of both are logits. The error is that of the mean difference, row by row, to the method with the lowest
/// loss, so that what all methods find hard does not count.
///
/// Source: the one-standard-error rule of Breiman et al., *Classification and Regression Trees*, 1984, 3.4.3.
pub fn choose(fit: &CalibrationRows, held_out: &CalibrationRows) -> CalibrationChoice {
    let n_positive = fit.labels.iter().filter(|label| **label).count();
    let n_rarer = n_positive.min(fit.n_rows() - n_positive);
    let allowed = |method: &CalibrationMethod| {
        *method != CalibrationMethod::Isotonic || n_rarer >= MIN_FOR_ISOTONIC
    };
    let fitted: Vec<Calibrator> = CalibrationMethod::ALL
        .into_iter()
        .filter(allowed)
        .map(|method| Calibrator::fit(method, fit))
        .collect();
    let losses: Vec<Vec<f64>> = fitted.iter().map(|c| losses(c, held_out)).collect();
    let total: f64 = held_out.weights.iter().sum();
    let mean = |values: &[f64]| {
        held_out.weights.iter().zip(values).map(|(w, x)| w * x).sum::<f64>() / total
    };
    let means: Vec<f64> = losses.iter().map(|losses| mean(losses)).collect();
    // The first of equals, the stiffer one.
    let lowest = (0..means.len())
        .min_by(|a, b| means[*a].total_cmp(&means[*b]))
        .expect("methods without a condition are always fitted");
    let tried: Vec<Tried> = (0..fitted.len())
        .map(|index| {
            let differences: Vec<f64> =
                losses[index].iter().zip(&losses[lowest]).map(|(a, b)| a - b).collect();
            let above = mean(&differences);
            let squares = differences.iter().zip(&held_out.weights);
            let error = squares.map(|(d, w)| (w * (d - above)).powi(2)).sum::<f64>().sqrt() / total;
            // Equal losses are not apart, whatever the error.
            let errors_above_lowest =
                if above > 0.0 { above / error.max(f64::MIN_POSITIVE) } else { 0.0 };
            Tried { method: fitted[index].method(), logloss: means[index], errors_above_lowest }
        })
        .collect();
    let chosen = tried.iter().position(|tried| tried.errors_above_lowest <= 1.0);
    let calibrator = fitted[chosen.expect("the lowest is not above itself")].clone();
    CalibrationChoice { calibrator, tried }
}

/// Logarithmic loss of each row.
fn losses(calibrator: &Calibrator, rows: &CalibrationRows) -> Vec<f64> {
    let loss = |(score, label): (&f64, &bool)| {
        let p = calibrator.probability(*score);
        if *label { -p.ln() } else { -(-p).ln_1p() }
    };
    rows.scores.iter().zip(&rows.labels).map(loss).collect()
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::logistic::sigmoid;
    use super::*;

    /// Logits between -4 and 1; labels come true with `truth(logit)`.
    fn drawn(n_rows: usize, seed: u64, truth: fn(f64) -> f64) -> CalibrationRows {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let mut row = |_| {
            let logit: f64 = generator.random_range(-4.0..1.0);
            (logit, generator.random::<f64>() < truth(logit))
        };
        let (logits, labels): (Vec<f64>, Vec<bool>) = (0..n_rows).map(&mut row).unzip();
        CalibrationRows::new(&logits, &labels, None).unwrap()
    }

    /// How often each method is chosen of ten times, in the order of the methods.
    fn n_chosen(truth: fn(f64) -> f64) -> [usize; 5] {
        let mut n_chosen = [0; 5];
        for seed in 0..10 {
            let found = choose(&drawn(8_000, seed, truth), &drawn(8_000, 100 + seed, truth));
            assert_eq!(found.tried.len(), 5, "{found:?}");
            n_chosen[found.calibrator.method() as usize] += 1;
        }
        n_chosen
    }

    #[test]
    fn as_much_as_the_rows_ask_for() {
        // A more pliant method is within its error of a right one, and chosen, about once in six times.
        let most = |truth: fn(f64) -> f64, method: CalibrationMethod| {
            let found = n_chosen(truth);
            assert!(found[method as usize] >= 7, "{method}: {found:?}");
        };
        most(sigmoid, CalibrationMethod::None);
        most(|logit| sigmoid(0.4 * logit), CalibrationMethod::Temperature);
        most(|logit| sigmoid(0.7 * logit - 1.0), CalibrationMethod::Platt);
        // A step: none of the curves has one.
        most(|logit| if logit < -1.0 { 0.1 } else { 0.6 }, CalibrationMethod::Isotonic);
    }

    #[test]
    fn few_rows_do_not_get_an_isotonic_curve() {
        let step = |logit: f64| if logit < -1.0 { 0.1 } else { 0.6 };
        let found = choose(&drawn(2_000, 1, step), &drawn(2_000, 2, step));
        assert_eq!(found.tried.len(), 4);
        assert_ne!(found.calibrator.method(), CalibrationMethod::Isotonic);
    }

    #[test]
    fn a_single_row_to_choose_by() {
        let found = choose(&drawn(50, 3, sigmoid), &drawn(1, 4, sigmoid));
        assert_eq!(found.tried.len(), 4);
    }
}
