//! Are probabilities as large as what happens: bins, their mean distance, and what chance alone makes of it.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::predictions::Predictions;
use super::ranked::Ranked;
use super::rate::{effective_rows, wilson};
use crate::bootstrap::{Bootstrap, Interval};
use crate::error::EvalError;

/// Streams of the generator from here on are for simulated labels, those below for resamples.
const FIRST_STREAM: u64 = 1 << 32;

/// How rows are put into bins by their probability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BinKind {
    /// As equal a weight in each bin as rows of equal probability, which are never parted, let it be.
    EqualMass,
    /// `(0, 1/n]`, `(1/n, 2/n]`, ...; the first holds 0 too.
    EqualWidth,
}

/// The bins of [`ece`] and [`reliability`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bins {
    /// [`BinKind::EqualMass`]: most clicks and purchases are so improbable that nearly all rows would be in the first
    /// bin of equal width, and the rest in bins of a few rows.
    pub kind: BinKind,
    /// 15, as in Guo et al., ICML 2017, so that values can be set beside published ones.
    pub n_bins: usize,
}

impl Default for Bins {
    fn default() -> Self {
        Self { kind: BinKind::EqualMass, n_bins: 15 }
    }
}

impl Bins {
    pub(super) fn check(&self) -> Result<(), EvalError> {
        if self.n_bins == 0 {
            return Err(EvalError::Option {
                option: "n_bins",
                reason: "must be at least 1".into(),
            });
        }
        Ok(())
    }
}

/// Rows of similar probability, and what happened to them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// Smallest probability in it.
    pub lowest: f64,
    /// Largest probability in it.
    pub highest: f64,
    /// Rows in it, at least 1.
    pub n_rows: usize,
    /// Sum of their weights.
    pub weight: f64,
    /// Weighted mean of their probabilities.
    pub mean_probability: f64,
    /// Weighted share of them that came true.
    pub observed_rate: f64,
    /// Wilson's interval of that share; see [`wilson`].
    pub interval: Interval,
}

/// Weighted sums over the rows of a bin.
#[derive(Debug, Clone, Default)]
struct BinSums {
    first: usize,
    end: usize,
    n_rows: usize,
    weight: f64,
    weight_squares: f64,
    probability: f64,
    positive: f64,
}

/// What is in each bin, ascending; bins without rows are left out.
///
/// Source: DeGroot and Fienberg, The Statistician 32, 1983.
///
/// # Errors
/// [`EvalError::Option`] for no bins or a `confidence` that is none.
pub fn reliability(
    predictions: &Predictions,
    bins: Bins,
    confidence: f64,
) -> Result<Vec<ReliabilityBin>, EvalError> {
    bins.check()?;
    Bootstrap { confidence, ..Bootstrap::default() }.check()?;
    let ranked = Ranked::new(predictions);
    let bin = |sums: BinSums| {
        let rate = (sums.positive / sums.weight).min(1.0);
        ReliabilityBin {
            lowest: ranked.probabilities[sums.first],
            highest: ranked.probabilities[sums.end - 1],
            n_rows: sums.n_rows,
            weight: sums.weight,
            mean_probability: sums.probability / sums.weight,
            observed_rate: rate,
            interval: wilson(rate, effective_rows(sums.weight, sums.weight_squares), confidence),
        }
    };
    Ok(sums(&ranked, &ranked.weights, bins).into_iter().map(bin).collect())
}

/// Expected calibration error: the distance between mean probability and observed rate of each bin, averaged by the
/// weight of the bins. Between 0 and 1.
///
/// It is above 0 for perfect probabilities too, the more so the fewer rows there are: read it beside its
/// [`noise_floor`].
///
/// Source: Naeini et al., AAAI 2015, with bins of equal width; of equal mass as in Nguyen and O'Connor, EMNLP 2015.
///
/// # Errors
/// [`EvalError::Option`] for no bins.
pub fn ece(predictions: &Predictions, bins: Bins) -> Result<f64, EvalError> {
    bins.check()?;
    let ranked = Ranked::new(predictions);
    Ok(ece_of(&ranked, &ranked.weights, bins))
}

/// What [`ece`] is for a model with the same probabilities that is calibrated perfectly.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NoiseFloor {
    /// Its mean.
    pub mean: f64,
    /// The middle `confidence` of it.
    pub interval: Interval,
    /// How likely it is at least what was found: `(1 + #{simulated >= found}) / (1 + n)`.
    pub p_value: f64,
}

/// Draws the labels from the probabilities themselves, `n_resamples` times, and takes the [`ece`] of each.
///
/// Rows are drawn as if they were independent: where rows of a user share what the model does not know, the floor is
/// too low.
///
/// Source: consistency resampling of Bröcker and Smith, Weather and Forecasting 22(3), 2007; the test of Vaicenavicius
/// et al., AISTATS 2019.
///
/// # Errors
/// [`EvalError::Option`] for options that do not fit.
///
/// # Cost
/// `n_resamples` times the rows.
pub fn noise_floor(
    predictions: &Predictions,
    bins: Bins,
    bootstrap: &Bootstrap,
) -> Result<NoiseFloor, EvalError> {
    bins.check()?;
    bootstrap.check()?;
    let ranked = Ranked::new(predictions);
    let found = ece_of(&ranked, &ranked.weights, bins);
    let parts: Vec<(usize, usize)> =
        sums(&ranked, &ranked.weights, bins).iter().map(|sums| (sums.first, sums.end)).collect();
    let total: f64 = ranked.weights.iter().sum();
    let mut simulated: Vec<f64> = (0..bootstrap.n_resamples as u64)
        .into_par_iter()
        .map(|simulation| {
            let mut generator = ChaCha8Rng::seed_from_u64(bootstrap.seed);
            generator.set_stream(FIRST_STREAM + simulation);
            let mut distance = 0.0;
            for (first, end) in &parts {
                let mut off = 0.0;
                let rows = ranked.probabilities[*first..*end].iter();
                for (p, weight) in rows.zip(&ranked.weights[*first..*end]) {
                    let came_true = generator.random::<f64>() < *p;
                    off += weight * (p - f64::from(came_true));
                }
                distance += off.abs();
            }
            distance / total
        })
        .collect();
    // Sums in another order: equal values may differ in the last digits.
    let n_at_least = simulated.iter().filter(|value| **value >= found - 1e-12).count();
    let mean = simulated.iter().sum::<f64>() / simulated.len() as f64;
    Ok(NoiseFloor {
        mean,
        interval: Interval::of(&mut simulated, bootstrap.confidence),
        p_value: (1 + n_at_least) as f64 / (1 + bootstrap.n_resamples) as f64,
    })
}

pub(super) fn ece_of(ranked: &Ranked, weights: &[f64], bins: Bins) -> f64 {
    let sums = sums(ranked, weights, bins);
    let distance: f64 = sums.iter().map(|sums| (sums.probability - sums.positive).abs()).sum();
    distance / sums.iter().map(|sums| sums.weight).sum::<f64>()
}

/// The bins that have rows with a weight, ascending. Rows of one probability are in one bin, so that the order of rows
/// does not matter: that in which the middle of their weight falls.
fn sums(ranked: &Ranked, weights: &[f64], bins: Bins) -> Vec<BinSums> {
    let total: f64 = weights.iter().sum();
    let n_bins = bins.n_bins as f64;
    let mut found: Vec<BinSums> = Vec::new();
    let (mut before, mut last) = (0.0, None);
    for tie in ranked.ties() {
        let (positive, negative) = ranked.positive_negative(tie.clone(), weights);
        let weight = positive + negative;
        if weight <= 0.0 {
            continue;
        }
        let probability = ranked.probabilities[tie.start];
        let bin = match bins.kind {
            BinKind::EqualMass => ((before + weight / 2.0) / total * n_bins).floor(),
            BinKind::EqualWidth => ((probability * n_bins).ceil() - 1.0).max(0.0),
        };
        let bin = bin.min(n_bins - 1.0);
        before += weight;
        if last != Some(bin) {
            found.push(BinSums { first: tie.start, ..BinSums::default() });
            last = Some(bin);
        }
        let sums = found.last_mut().expect("a bin was pushed for the first rows");
        sums.end = tie.end;
        sums.n_rows += tie.len();
        sums.weight += weight;
        sums.weight_squares += weights[tie].iter().map(|weight| weight * weight).sum::<f64>();
        sums.probability += weight * probability;
        sums.positive += positive;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn predictions(rows: &[(f64, bool)]) -> Predictions {
        let (probabilities, labels) = rows.iter().copied().unzip();
        Predictions::new(probabilities, labels).unwrap()
    }

    #[test]
    fn by_hand() {
        let rows = [(0.1, false), (0.2, false), (0.3, true), (0.9, true)];
        let two = Bins { n_bins: 2, ..Bins::default() };
        // Means .15 and .6, rates 0 and 1.
        assert!((ece(&predictions(&rows), two).unwrap() - (0.15 + 0.4) / 2.0).abs() < 1e-15);
        let width = Bins { kind: BinKind::EqualWidth, n_bins: 2 };
        // Means .2 (3 rows, rate 1/3) and .9.
        let want = (3.0 * (1.0f64 / 3.0 - 0.2) + 0.1) / 4.0;
        assert!((ece(&predictions(&rows), width).unwrap() - want).abs() < 1e-15);
        let found = reliability(&predictions(&rows), width, 0.95).unwrap();
        assert_eq!((found[0].n_rows, found[0].lowest, found[0].highest), (3, 0.1, 0.3));
        assert_eq!(found[1].observed_rate, 1.0);
        assert!(ece(&predictions(&rows), Bins { n_bins: 0, ..two }).is_err());
    }

    #[test]
    fn edges_belong_to_the_bin_below() {
        let rows = [(0.0, false), (0.5, false), (1.0, true)];
        let found = Bins { kind: BinKind::EqualWidth, n_bins: 2 };
        let found = reliability(&predictions(&rows), found, 0.95).unwrap();
        assert_eq!(found.iter().map(|bin| bin.n_rows).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn constant_probabilities_are_one_bin() {
        let constant = predictions(&[(0.25, true), (0.25, false), (0.25, false), (0.25, false)]);
        assert_eq!(reliability(&constant, Bins::default(), 0.95).unwrap().len(), 1);
        assert_eq!(ece(&constant, Bins::default()).unwrap(), 0.0);
    }

    /// Labels drawn from `truth(p)`.
    fn drawn(n_rows: usize, seed: u64, truth: impl Fn(f64) -> f64) -> Predictions {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let mut row = |_| {
            let p: f64 = generator.random_range(0.01..0.2);
            (p, generator.random::<f64>() < truth(p))
        };
        predictions(&(0..n_rows).map(&mut row).collect::<Vec<_>>())
    }

    #[test]
    fn perfect_probabilities_lie_on_the_floor_and_others_above() {
        let bootstrap = Bootstrap { n_resamples: 200, ..Bootstrap::default() };
        let floor = |predictions| noise_floor(&predictions, Bins::default(), &bootstrap).unwrap();
        let p_values: Vec<f64> = (0..200).map(|s| floor(drawn(600, s, |p| p)).p_value).collect();
        // Uniform: 5 % of 200 is 10, with a standard deviation of 3.1; the mean is .5 ± .02.
        let n_alarms = p_values.iter().filter(|p| **p < 0.05).count();
        assert!(n_alarms <= 20, "{n_alarms} of 200");
        let mean = p_values.iter().sum::<f64>() / 200.0;
        assert!((mean - 0.5).abs() < 0.08, "{mean}");
        assert!(floor(drawn(6000, 1, |p| 1.5 * p)).p_value < 0.01);
        // Mean |error| of 15 normal means of n / 15 rows: sqrt(2 / pi * 15 / n) E[sqrt(p (1 - p))], with .29077 for p
        // uniform in .01..0.2. The mean of 200 values is known to 1.4 %.
        let want = (2.0 / std::f64::consts::PI * 15.0 / 6000.0).sqrt() * 0.29077;
        let found = floor(drawn(6000, 1, |p| p)).mean;
        assert!((found / want - 1.0).abs() < 0.05, "{found} {want}");
    }

    #[test]
    fn the_floor_is_the_same_with_any_number_of_threads() {
        let predictions = drawn(500, 3, |p| p);
        let run = |n_threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            pool.install(|| noise_floor(&predictions, Bins::default(), &Bootstrap::default()))
        };
        assert_eq!(run(1).unwrap(), run(2).unwrap());
    }

    proptest! {
        #[test]
        fn bins_hold_all_rows_in_order(
            rows in prop::collection::vec(((0u32..=30).prop_map(|p| f64::from(p) / 30.0), any::<bool>()), 1..80),
            n_bins in 1usize..20, is_mass: bool,
        ) {
            let kind = if is_mass { BinKind::EqualMass } else { BinKind::EqualWidth };
            let predictions = predictions(&rows);
            let found = reliability(&predictions, Bins { kind, n_bins }, 0.9).unwrap();
            prop_assert!(found.len() <= n_bins);
            prop_assert_eq!(found.iter().map(|bin| bin.n_rows).sum::<usize>(), rows.len());
            prop_assert!(found.windows(2).all(|pair| pair[0].highest < pair[1].lowest));
            for bin in &found {
                let inside = bin.lowest - 1e-12..=bin.highest + 1e-12;
                prop_assert!(inside.contains(&bin.mean_probability));
                let Interval { low, high } = bin.interval;
                prop_assert!(low <= bin.observed_rate && bin.observed_rate <= high, "{bin:?}");
            }
            let found = ece(&predictions, Bins { kind, n_bins }).unwrap();
            // One bin: the distance of the means. More bins can only add to it.
            let overall = (predictions.mean_probability() - predictions.base_rate()).abs();
            prop_assert!(found >= overall - 1e-12 && found <= 1.0, "{found} {overall}");
        }
    }
}
