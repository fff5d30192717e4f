//! All measures of a model at once, with intervals, and two models side by side.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::discrimination::{auc_of, average_precision_of, grouped_auc_of};
use super::losses::{normalized, row_brier, row_logloss};
use super::metric::ProbabilityMetric;
use super::predictions::{Predictions, wrong};
use super::ranked::Ranked;
use super::reliability::{Bins, NoiseFloor, ReliabilityBin, ece_of, noise_floor, reliability};
use crate::bootstrap::{Bootstrap, Interval, Resampled, draws};
use crate::error::EvalError;
use crate::significance::{Comparison, comparison};

/// What is drawn with replacement for the intervals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResampledUnit {
    /// Rows, where each is independent of the others.
    Rows,
    /// Groups with all their rows, for example users: wider intervals, and the right ones where a user's rows are alike.
    Groups,
}

/// How probabilities are measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MeasureOptions {
    /// Of the calibration error and the reliability table.
    pub bins: Bins,
    /// Of the intervals and of the noise floor.
    pub bootstrap: Bootstrap,
    /// Rows, unless said otherwise.
    pub unit: ResampledUnit,
}

impl Default for MeasureOptions {
    fn default() -> Self {
        let (bins, bootstrap) = (Bins::default(), Bootstrap::default());
        Self { bins, bootstrap, unit: ResampledUnit::Rows }
    }
}

impl MeasureOptions {
    fn check(&self, predictions: &Predictions) -> Result<(), EvalError> {
        self.bins.check()?;
        self.bootstrap.check()?;
        if self.unit == ResampledUnit::Groups && predictions.groups.is_none() {
            return Err(wrong("intervals over groups were asked for, but rows have no groups"));
        }
        Ok(())
    }
}

/// One value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Of what.
    pub metric: ProbabilityMetric,
    /// `None` where it is not defined: AUC with labels of one kind, for example.
    pub value: Option<f64>,
    /// Percentile-bootstrap interval; see [`measure`] for that of the calibration error.
    pub interval: Option<Interval>,
}

/// Everything that is said about the probabilities of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Number of rows.
    pub n_rows: usize,
    /// Rows that came true.
    pub n_positive: usize,
    /// Weighted mean of the probabilities.
    pub mean_probability: f64,
    /// Weighted share of rows that came true.
    pub base_rate: f64,
    /// In the order of [`ProbabilityMetric::ALL`].
    pub measurements: Vec<Measurement>,
    /// What the calibration error would be by chance alone.
    pub noise_floor: NoiseFloor,
    /// The table behind the calibration error.
    pub reliability: Vec<ReliabilityBin>,
}

impl Measured {
    /// The value of `metric`, if it is defined.
    pub fn value(&self, metric: ProbabilityMetric) -> Option<f64> {
        self.measurement(metric)?.value
    }

    /// The interval of `metric`, if it is defined.
    pub fn interval(&self, metric: ProbabilityMetric) -> Option<Interval> {
        self.measurement(metric)?.interval
    }

    fn measurement(&self, metric: ProbabilityMetric) -> Option<&Measurement> {
        self.measurements.iter().find(|found| found.metric == metric)
    }

    /// Whether the interval of the calibration error holds the mean of the noise floor, or lies below it: nothing
    /// speaks against the probabilities being calibrated.
    pub fn reaches_noise_floor(&self) -> bool {
        let interval = self.interval(ProbabilityMetric::Ece);
        interval.is_some_and(|interval| interval.low <= self.noise_floor.mean)
    }
}

/// Measures all of [`ProbabilityMetric::ALL`], with intervals by the bootstrap over `options.unit`.
///
/// A resample in which a metric is not defined is left out of its interval. The calibration error of a resample is
/// higher than that of the rows it is drawn from, since chance is added to it once more; its interval is moved by the
/// mean of that, and ends at 0.
///
/// ```
/// use forecart_eval::probability::{MeasureOptions, Predictions, ProbabilityMetric, measure};
///
/// let labels: Vec<bool> = (0..100).map(|row| row % 4 == 0).collect();
/// let found = measure(&Predictions::new(vec![0.25; 100], labels)?, &MeasureOptions::default())?;
/// assert_eq!(found.value(ProbabilityMetric::Auc), Some(0.5));
/// assert!(found.reaches_noise_floor());
/// # Ok::<(), forecart_eval::EvalError>(())
/// ```
///
/// # Errors
/// [`EvalError::Option`] for options that do not fit, [`EvalError::Input`] for groups that are not there.
///
/// # Cost
/// `n_resamples` passes over the rows for all metrics, after one sort.
pub fn measure(predictions: &Predictions, options: &MeasureOptions) -> Result<Measured, EvalError> {
    Bootstrapped::new(predictions, options)?.measured()
}

/// What `left` has more than `right` of each metric, by the paired bootstrap as in [`crate::compare`]: rows (or
/// groups) are drawn alike for both. Metrics that one of them does not have are left out.
///
/// # Errors
/// [`EvalError::Input`] if labels, weights or groups differ, or groups are asked for that are not there;
/// [`EvalError::Option`].
pub fn compare(
    left: &Predictions,
    right: &Predictions,
    options: &MeasureOptions,
) -> Result<Vec<(ProbabilityMetric, Comparison)>, EvalError> {
    Bootstrapped::new(left, options)?.against(&Bootstrapped::new(right, options)?)
}

/// All metrics of some predictions, of the rows as they are and of each resample: for who asks for intervals and for comparisons with
/// several others, resampled once.
#[derive(Debug)]
pub struct Bootstrapped<'a> {
    predictions: &'a Predictions,
    options: MeasureOptions,
    observed: Values,
    resampled: Vec<Values>,
}

impl<'a> Bootstrapped<'a> {
    /// Resamples `predictions`.
    ///
    /// # Errors
    /// [`EvalError::Option`] for options that do not fit, [`EvalError::Input`] for groups that are not there.
    pub fn new(predictions: &'a Predictions, options: &MeasureOptions) -> Result<Self, EvalError> {
        options.check(predictions)?;
        let prepared = Prepared::new(predictions, options);
        let (observed, resampled) = (prepared.observed(), prepared.resampled());
        Ok(Self { predictions, options: *options, observed, resampled })
    }

    /// See [`measure`].
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn measured(&self) -> Result<Measured, EvalError> {
        let Self { predictions, options, observed, resampled } = self;
        let measurement = |(place, metric): (usize, ProbabilityMetric)| {
            let values: Vec<f64> = resampled.iter().filter_map(|values| values[place]).collect();
            let interval = observed[place].and_then(|value| {
                let mut interval = corrected(metric, values, value).interval(&options.bootstrap)?;
                interval.low = interval.low.max(0.0);
                interval.high = interval.high.max(0.0);
                Some(interval)
            });
            Measurement { metric, value: observed[place], interval }
        };
        Ok(Measured {
            n_rows: predictions.n_rows(),
            n_positive: predictions.n_positive(),
            mean_probability: predictions.mean_probability(),
            base_rate: predictions.base_rate(),
            measurements: ProbabilityMetric::ALL.into_iter().enumerate().map(measurement).collect(),
            noise_floor: noise_floor(predictions, options.bins, &options.bootstrap)?,
            reliability: reliability(predictions, options.bins, options.bootstrap.confidence)?,
        })
    }

    /// See [`compare`]; both are to be resampled with the same options.
    ///
    /// # Errors
    /// [`EvalError::Input`] if labels, weights or groups differ, [`EvalError::Option`] if the options do.
    pub fn against(&self, other: &Self) -> Result<Vec<(ProbabilityMetric, Comparison)>, EvalError> {
        self.predictions.check_comparable(other.predictions)?;
        if self.options != other.options {
            let reason = "two models are compared by the same resamples".to_owned();
            return Err(EvalError::Option { option: "bootstrap", reason });
        }
        let difference = |(place, metric): (usize, ProbabilityMetric)| {
            let observed = self.observed[place]? - other.observed[place]?;
            let both = self.resampled.iter().zip(&other.resampled);
            let differences: Vec<f64> =
                both.filter_map(|(left, right)| Some(left[place]? - right[place]?)).collect();
            let differences = corrected(metric, differences, observed);
            Some((metric, comparison(observed, differences, &self.options.bootstrap)))
        };
        Ok(ProbabilityMetric::ALL.into_iter().enumerate().filter_map(difference).collect())
    }
}

/// Resampled values without the bias of resampling, which is large for the calibration error alone.
fn corrected(metric: ProbabilityMetric, mut values: Vec<f64>, observed: f64) -> Resampled {
    if metric == ProbabilityMetric::Ece && !values.is_empty() {
        let bias = values.iter().sum::<f64>() / values.len() as f64 - observed;
        values.iter_mut().for_each(|value| *value -= bias);
    }
    Resampled(values)
}

type Values = [Option<f64>; ProbabilityMetric::ALL.len()];

/// Rows sorted once, and what each of them costs.
struct Prepared<'a> {
    predictions: &'a Predictions,
    options: &'a MeasureOptions,
    ranked: Ranked,
    /// Of each place of `ranked`: logarithmic loss and squared error.
    losses: Vec<(f64, f64)>,
    groups: Vec<Ranked>,
}

impl<'a> Prepared<'a> {
    fn new(predictions: &'a Predictions, options: &'a MeasureOptions) -> Self {
        let ranked = Ranked::new(predictions);
        let rows = ranked.probabilities.iter().zip(&ranked.labels);
        let losses = rows.map(|(p, y)| (row_logloss(*p, *y), row_brier(*p, *y))).collect();
        let groups = Ranked::by_group(predictions);
        Self { predictions, options, ranked, losses, groups }
    }

    fn observed(&self) -> Values {
        self.values(&|_| 1.0)
    }

    /// The values of each resample.
    fn resampled(&self) -> Vec<Values> {
        let groups = match self.options.unit {
            ResampledUnit::Rows => None,
            ResampledUnit::Groups => self.predictions.groups.as_deref(),
        };
        let n_units = groups.map_or(self.predictions.n_rows(), |_| self.predictions.n_groups);
        let bootstrap = &self.options.bootstrap;
        let resample = |resample| {
            let mut times = vec![0u32; n_units];
            draws(bootstrap, resample, n_units).for_each(|unit| times[unit] += 1);
            let unit = |row: u32| groups.map_or(row, |groups| groups[row as usize]);
            self.values(&|row| f64::from(times[unit(row) as usize]))
        };
        (0..bootstrap.n_resamples).into_par_iter().map(resample).collect()
    }

    /// All metrics if each row is there `times(row)` times.
    fn values(&self, times: &dyn Fn(u32) -> f64) -> Values {
        let reweighted = |ranked: &Ranked| -> Vec<f64> {
            let rows = ranked.rows.iter().zip(&ranked.weights);
            rows.map(|(row, weight)| weight * times(*row)).collect()
        };
        let weights = reweighted(&self.ranked);
        let (mut total, mut positive, mut logloss, mut brier) = (0.0, 0.0, 0.0, 0.0);
        for ((weight, label), losses) in weights.iter().zip(&self.ranked.labels).zip(&self.losses) {
            total += weight;
            positive += weight * f64::from(*label);
            logloss += weight * losses.0;
            brier += weight * losses.1;
        }
        if total <= 0.0 {
            // Rows of weight 0 alone were drawn.
            return [None; ProbabilityMetric::ALL.len()];
        }
        let of_groups: Vec<Vec<f64>> = self.groups.iter().map(reweighted).collect();
        let groups = self.groups.iter().zip(of_groups.iter().map(Vec::as_slice));
        ProbabilityMetric::ALL.map(|metric| match metric {
            ProbabilityMetric::Auc => auc_of(&self.ranked, &weights),
            ProbabilityMetric::AveragePrecision => average_precision_of(&self.ranked, &weights),
            ProbabilityMetric::GroupedAuc => grouped_auc_of(groups.clone()),
            ProbabilityMetric::Logloss => Some(logloss / total),
            ProbabilityMetric::NormalizedEntropy => normalized(logloss / total, positive / total),
            ProbabilityMetric::Brier => Some(brier / total),
            ProbabilityMetric::Ece => Some(ece_of(&self.ranked, &weights, self.options.bins)),
        })
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::{
        auc, average_precision, brier, ece, grouped_auc, logloss, normalized_entropy,
    };
    use super::*;

    /// Groups of five rows; labels come true with `truth(p)`.
    fn drawn(n_rows: usize, seed: u64, truth: impl Fn(f64) -> f64) -> Predictions {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let mut row = |_| {
            let p: f64 = generator.random_range(0.02..0.4);
            (p, generator.random::<f64>() < truth(p))
        };
        let (probabilities, labels) = (0..n_rows).map(&mut row).unzip();
        let groups: Vec<u32> = (0..n_rows as u32).map(|row| row / 5).collect();
        Predictions::new(probabilities, labels).unwrap().with_groups(&groups).unwrap()
    }

    fn options(n_resamples: usize) -> MeasureOptions {
        let bootstrap = Bootstrap { n_resamples, ..Bootstrap::default() };
        MeasureOptions { bootstrap, ..MeasureOptions::default() }
    }

    #[test]
    fn values_are_those_of_the_single_functions() {
        let weights = (0..400).map(|row| 0.5 + (row % 7) as f64).collect();
        let p = drawn(400, 1, |p| p).with_weights(weights).unwrap();
        let found = measure(&p, &options(50)).unwrap();
        let want = [
            auc(&p),
            average_precision(&p),
            grouped_auc(&p),
            Some(logloss(&p)),
            normalized_entropy(&p),
            Some(brier(&p)),
            Some(ece(&p, Bins::default()).unwrap()),
        ];
        for (found, want) in found.measurements.iter().zip(want) {
            // Rows are summed in another order.
            let off = (found.value.unwrap() - want.unwrap()).abs();
            assert!(off < 1e-12, "{found:?} {want:?}");
            let interval = found.interval.unwrap();
            assert!(interval.low < found.value.unwrap() && found.value.unwrap() < interval.high);
        }
    }

    #[test]
    fn metrics_that_are_not_defined_have_no_value() {
        let one_class = Predictions::new(vec![0.1, 0.2], vec![false, false]).unwrap();
        let found = measure(&one_class, &options(20)).unwrap();
        let is_defined = found.measurements.iter().map(|found| found.value.is_some());
        assert_eq!(is_defined.collect::<Vec<_>>(), [false, false, false, true, false, true, true]);
        let groups = MeasureOptions { unit: ResampledUnit::Groups, ..options(20) };
        let error = measure(&one_class, &groups).unwrap_err().to_string();
        assert!(error.contains("rows have no groups"), "{error}");
    }

    #[test]
    fn the_interval_of_the_calibration_error_holds_the_floor_of_calibrated_models() {
        let reaches = |truth: fn(f64) -> f64| {
            let reaches = |seed: &u64| {
                measure(&drawn(1000, *seed, truth), &options(200)).unwrap().reaches_noise_floor()
            };
            (0..100u64).filter(reaches).count()
        };
        // One-sided, so about 97 of 100.
        let n_calibrated = reaches(|p| p);
        assert!(n_calibrated >= 92, "{n_calibrated} of 100");
        let n_off = reaches(|p| 0.6 * p);
        assert!(n_off <= 5, "{n_off} of 100");
    }

    #[test]
    fn rows_that_are_alike_need_groups() {
        // Five equal rows a group: the interval over rows is too narrow by the square root of five.
        let one = drawn(300, 4, |p| p);
        let rows: Vec<usize> = (0..300).flat_map(|row| [row; 5]).collect();
        let probabilities = rows.iter().map(|row| one.probabilities[*row]).collect();
        let labels = rows.iter().map(|row| one.labels[*row]).collect();
        let groups: Vec<u32> = rows.iter().map(|row| *row as u32).collect();
        let five = Predictions::new(probabilities, labels).unwrap().with_groups(&groups).unwrap();
        let width = |unit, metric| {
            let options = MeasureOptions { unit, ..options(1000) };
            measure(&five, &options).unwrap().interval(metric).unwrap().half_width()
        };
        for metric in [ProbabilityMetric::Auc, ProbabilityMetric::Logloss] {
            let ratio = width(ResampledUnit::Groups, metric) / width(ResampledUnit::Rows, metric);
            assert!((ratio / 5f64.sqrt() - 1.0).abs() < 0.1, "{metric}: {ratio}");
        }
    }

    #[test]
    fn a_better_model_is_found_on_the_same_rows() {
        let good = drawn(2000, 5, |p| p);
        let mut worse = good.clone();
        worse.probabilities.iter_mut().for_each(|p| *p = (*p * 2.0).min(0.9));
        let found = compare(&good, &worse, &options(400)).unwrap();
        let of = |metric| found.iter().find(|(found, _)| *found == metric).unwrap().1;
        assert!(of(ProbabilityMetric::Logloss).interval.high < 0.0);
        assert!(of(ProbabilityMetric::Ece).interval.high < 0.0);
        // Almost the same order of rows.
        assert_eq!(of(ProbabilityMetric::Auc).difference, 0.0);
        assert_eq!(of(ProbabilityMetric::Auc).p_value, 1.0);
        let other = drawn(2000, 6, |p| p);
        let error = compare(&good, &other, &options(20)).unwrap_err().to_string();
        assert!(error.contains("their labels differ"), "{error}");
    }

    #[test]
    fn the_same_seed_gives_the_same_bits_with_any_number_of_threads() {
        let predictions = drawn(300, 7, |p| p);
        let run = |n_threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            pool.install(|| measure(&predictions, &options(100)).unwrap())
        };
        assert_eq!(run(1), run(2));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let found = measure(&drawn(100, 8, |p| p), &options(20)).unwrap();
        let text = serde_json::to_string(&found).unwrap();
        assert!(text.contains(r#""metric":"normalized_entropy""#));
        let read: Measured = serde_json::from_str(&text).unwrap();
        // JSON numbers are read to the last digit or one beside it.
        for (read, found) in read.measurements.iter().zip(&found.measurements) {
            assert_eq!(read.metric, found.metric);
            assert!((read.value.unwrap() - found.value.unwrap()).abs() < 1e-15);
        }
        assert_eq!(read.reliability.len(), found.reliability.len());
    }
}
