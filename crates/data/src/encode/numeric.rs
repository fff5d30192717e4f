//! Numeric chains: each step fitted on what the one before it gives.
//!
//! Fitted numbers are rounded to 13 significant digits: written as JSON, such a number is an
//! integer below 2^53 times or over a power of ten up to 10^22, which any reader gets exactly, also
//! one that is careless about the last bit. So a program that was saved and loaded encodes exactly
//! as before.

use serde::{Deserialize, Serialize};

use super::spec::{BucketEncoding, NumericStep};
use super::value::MAX_MAGNITUDE;

/// A fitted step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FittedStep {
    /// `sign(x) * ln(1 + |x|)`.
    Log1p,
    /// `(x - offset) / scale`: standardize, min-max and robust.
    Affine {
        /// Taken away first.
        offset: f64,
        /// Divided by; above zero.
        scale: f64,
    },
    /// Cut to bounds.
    Clip {
        /// Lower bound.
        low: f64,
        /// Upper bound, not below `low`.
        high: f64,
    },
    /// The number of boundaries that are not above the value.
    Buckets {
        /// Ascending, without repeats.
        boundaries: Vec<f64>,
        /// What comes out.
        encoding: BucketEncoding,
    },
}

impl FittedStep {
    /// The step's value of a finite `x`; finite, and within 1e22.
    pub fn apply(&self, x: f64) -> f64 {
        let y = match self {
            Self::Log1p => x.signum() * x.abs().ln_1p(),
            Self::Affine { offset, scale } => (x - offset) / scale,
            Self::Clip { low, high } => x.max(*low).min(*high),
            Self::Buckets { boundaries, .. } => bucket(boundaries, x) as f64,
        };
        y.clamp(-MAX_MAGNITUDE, MAX_MAGNITUDE)
    }

    /// Whether the step can be what fitting gave; what a file holds may not be.
    pub(super) fn check(&self) -> Result<(), String> {
        let usable = |value: f64| value.abs() <= MAX_MAGNITUDE;
        let good = match self {
            Self::Log1p => true,
            // A spread is at most the distance from -1e22 to 1e22.
            Self::Affine { offset, scale } => {
                usable(*offset) && *scale > 0.0 && *scale <= 2.0 * MAX_MAGNITUDE
            }
            Self::Clip { low, high } => usable(*low) && usable(*high) && low <= high,
            Self::Buckets { boundaries, .. } => {
                boundaries.len() < 4096
                    && boundaries.iter().all(|boundary| usable(*boundary))
                    && boundaries.windows(2).all(|pair| pair[0] < pair[1])
            }
        };
        if good { Ok(()) } else { Err(format!("no fitting gives the step {self:?}")) }
    }
}

/// The bucket of `x`: `0..=boundaries.len()`.
pub(super) fn bucket(boundaries: &[f64], x: f64) -> usize {
    boundaries.partition_point(|boundary| *boundary <= x)
}

/// The value after all steps.
pub(super) fn apply_all(steps: &[FittedStep], x: f64) -> f64 {
    steps.iter().fold(x, |x, step| step.apply(x))
}

/// Mean, spread and range in one pass (Welford, Technometrics 4(3), 1962).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moments {
    n: u64,
    mean: f64,
    /// Sum of squared deviations from the mean.
    m2: f64,
    min: f64,
    max: f64,
}

impl Moments {
    pub(super) fn add(&mut self, x: f64) {
        if self.n == 0 {
            (self.min, self.max) = (x, x);
        }
        self.n += 1;
        let delta = x - self.mean;
        self.mean += delta / self.n as f64;
        self.m2 += delta * (x - self.mean);
        self.min = self.min.min(x);
        self.max = self.max.max(x);
    }

    /// 0 if there were no values.
    pub(super) fn mean(&self) -> f64 {
        rounded(self.mean)
    }

    fn standardize(&self) -> FittedStep {
        let sd = if self.n == 0 { 0.0 } else { (self.m2 / self.n as f64).sqrt() };
        // A spread below the mean's rounding error is a constant column.
        let is_constant = self.min == self.max || sd <= self.mean.abs() * 1e-14;
        FittedStep::Affine { offset: self.mean(), scale: scale(if is_constant { 0.0 } else { sd }) }
    }

    fn min_max(&self) -> Vec<FittedStep> {
        let (low, high) = (rounded(self.min), rounded(self.max));
        vec![
            FittedStep::Clip { low, high },
            FittedStep::Affine { offset: low, scale: scale(high - low) },
        ]
    }
}

/// Fits one step that needs no more than moments; `None` if it needs the values themselves.
fn fit_streaming(step: &NumericStep, moments: &Moments) -> Option<Vec<FittedStep>> {
    Some(match step {
        NumericStep::Standardize => vec![moments.standardize()],
        NumericStep::MinMax => moments.min_max(),
        _ => return stateless(step).map(|fitted| vec![fitted]),
    })
}

/// The fitted form of a step that has nothing to fit.
fn stateless(step: &NumericStep) -> Option<FittedStep> {
    match step {
        NumericStep::Log1p => Some(FittedStep::Log1p),
        NumericStep::Clip { low, high } => Some(FittedStep::Clip {
            low: rounded(low.unwrap_or(-MAX_MAGNITUDE)),
            high: rounded(high.unwrap_or(MAX_MAGNITUDE)),
        }),
        _ => None,
    }
}

/// Fits a chain while the values stream past, or on the kept values of the column where a step
/// needs quantiles or comes after another fitted step.
#[derive(Debug)]
pub(super) struct ChainFitter {
    steps: Vec<NumericStep>,
    /// The leading steps without anything to fit, already in their fitted form.
    prefix: Vec<FittedStep>,
    /// Of the values after the prefix.
    moments: Moments,
    /// Values after the prefix, only where they are needed.
    kept: Option<Vec<f64>>,
}

impl ChainFitter {
    pub(super) fn new(steps: &[NumericStep]) -> Self {
        let prefix: Vec<_> = steps.iter().map_while(stateless).collect();
        let rest = &steps[prefix.len()..];
        let n_fitted = rest.iter().filter(|step| stateless(step).is_none()).count();
        let streams = n_fitted == 0
            || (n_fitted == 1 && matches!(rest[0], NumericStep::Standardize | NumericStep::MinMax));
        let kept = (!streams).then(Vec::new);
        Self { steps: rest.to_vec(), prefix, moments: Moments::default(), kept }
    }

    pub(super) fn add(&mut self, x: f64) {
        let x = apply_all(&self.prefix, x);
        match &mut self.kept {
            Some(values) => values.push(x),
            None => self.moments.add(x),
        }
    }

    pub(super) fn finish(self) -> Vec<FittedStep> {
        let mut fitted = self.prefix;
        let mut values = self.kept.unwrap_or_default();
        let mut moments = self.moments;
        for step in &self.steps {
            if !values.is_empty() {
                moments = Moments::default();
                values.iter().for_each(|x| moments.add(*x));
            }
            let new =
                fit_streaming(step, &moments).unwrap_or_else(|| vec![by_values(step, &values)]);
            values.iter_mut().for_each(|x| *x = apply_all(&new, *x));
            fitted.extend(new);
        }
        fitted
    }
}

fn by_values(step: &NumericStep, values: &[f64]) -> FittedStep {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let at = |q| rounded(quantile(&sorted, q));
    match step {
        NumericStep::ClipQuantiles { low, high } => {
            FittedStep::Clip { low: at(*low), high: at(*high) }
        }
        NumericStep::Buckets { n_buckets, encoding } => {
            let cuts = (1..*n_buckets).map(|i| at(f64::from(i) / f64::from(*n_buckets)));
            let smallest = sorted.first().copied().unwrap_or(0.0);
            // A boundary at the smallest value would leave the bucket below it empty.
            let mut boundaries: Vec<_> = cuts.filter(|cut| *cut > smallest).collect();
            boundaries.dedup();
            FittedStep::Buckets { boundaries, encoding: *encoding }
        }
        // Robust; the other steps never come here.
        _ => FittedStep::Affine { offset: at(0.5), scale: scale(at(0.75) - at(0.25)) },
    }
}

/// Quantile `q` of ascending values, linear between neighbors (type 7 of Hyndman and Fan, The
/// American Statistician 50(4), 1996; numpy's default). 0 if there are no values.
pub(super) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let position = q * last as f64;
    let below = (position.floor() as usize).min(last);
    let above = (below + 1).min(last);
    let share = position - below as f64;
    sorted[below] + share * (sorted[above] - sorted[below])
}

/// A divisor: 1 in place of a spread of zero.
fn scale(spread: f64) -> f64 {
    let spread = rounded(spread);
    if spread > 0.0 { spread } else { 1.0 }
}

/// `x` with 13 significant digits and no more than 22 decimal places; see the module's text.
pub(super) fn rounded(x: f64) -> f64 {
    let text = if x.abs() < 1e-8 { format!("{x:.22}") } else { format!("{x:.12e}") };
    text.parse::<f64>().expect("formatted from a finite number") + 0.0 // no negative zero
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::slice::from_ref;

    fn fit(steps: &[NumericStep], values: &[f64]) -> Vec<FittedStep> {
        let mut fitter = ChainFitter::new(steps);
        values.iter().for_each(|x| fitter.add(*x));
        fitter.finish()
    }

    #[test]
    fn steps_worked_out_by_hand() {
        let values = [1.0, 2.0, 3.0, 4.0];
        let standardize = fit(&[NumericStep::Standardize], &values);
        assert!((apply_all(&standardize, 4.0) - 1.5 / 1.25f64.sqrt()).abs() < 1e-12);
        let min_max = fit(&[NumericStep::MinMax], &values);
        assert_eq!([1.0, 2.5, 9.0].map(|x| apply_all(&min_max, x)), [0.0, 0.5, 1.0]);
        // Quartiles 1.75, 2.5, 3.25.
        let robust = fit(&[NumericStep::Robust], &values);
        assert_eq!(apply_all(&robust, 4.0), 1.0);
        let clip = fit(&[NumericStep::ClipQuantiles { low: 0.0, high: 0.5 }], &values);
        assert_eq!([0.0, 9.0].map(|x| apply_all(&clip, x)), [1.0, 2.5]);
        let log = fit(&[NumericStep::Log1p], &values);
        assert_eq!(apply_all(&log, -3.0), -(4f64.ln()));
    }

    #[test]
    fn buckets_hold_equal_shares_and_merge_equal_boundaries() {
        let buckets = NumericStep::Buckets { n_buckets: 4, encoding: BucketEncoding::Ordinal };
        let fitted = fit(from_ref(&buckets), &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        let of = |x| apply_all(&fitted, x);
        assert_eq!([1.0, 2.0, 3.0, 4.0, 7.0, 99.0].map(of), [0.0, 0.0, 1.0, 1.0, 3.0, 3.0]);
        let fitted = fit(&[buckets], &[0.0, 0.0, 0.0, 0.0, 0.0, 5.0]);
        assert_eq!(
            fitted,
            [FittedStep::Buckets { boundaries: vec![], encoding: BucketEncoding::Ordinal }]
        );
    }

    #[test]
    fn a_step_is_fitted_on_what_the_one_before_it_gives() {
        let steps = vec![NumericStep::ClipQuantiles { low: 0.0, high: 0.75 }, NumericStep::MinMax];
        let fitted = fit(&steps, &[0.0, 1.0, 2.0, 3.0, 1000.0]);
        assert_eq!([0.0, 1.5, 3.0, 1000.0].map(|x| apply_all(&fitted, x)), [0.0, 0.5, 1.0, 1.0]);
    }

    #[test]
    fn a_constant_or_empty_column_gives_zero() {
        for step in [NumericStep::Standardize, NumericStep::MinMax, NumericStep::Robust] {
            assert_eq!(apply_all(&fit(from_ref(&step), &[7.1; 9]), 7.1), 0.0, "{step:?}");
            assert!(apply_all(&fit(&[step], &[]), 3.0).is_finite());
        }
    }

    #[test]
    fn streaming_moments_agree_with_two_passes_far_from_zero() {
        let values: Vec<_> = (0..1000).map(|i| 1e9 + f64::from(i % 7)).collect();
        let mean = values.iter().sum::<f64>() / 1000.0;
        let sd = (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 1000.0).sqrt();
        let FittedStep::Affine { offset, scale } = fit(&[NumericStep::Standardize], &values)[0]
        else {
            panic!("standardize is affine")
        };
        assert!((offset - mean).abs() < 1e-5 && (scale / sd - 1.0).abs() < 1e-6);
    }

    proptest! {
        #[test]
        fn a_rounded_number_has_the_same_bits_after_json(x in -1e22f64..1e22, power in -40i32..1) {
            let x = rounded(x * 10f64.powi(power));
            let back: f64 = serde_json::from_str(&serde_json::to_string(&x).unwrap()).unwrap();
            prop_assert_eq!(back.to_bits(), x.to_bits());
        }
    }
}
