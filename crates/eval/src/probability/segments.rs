//! The same measures for parts of the rows, and an alarm where probabilities are off.
//!
//! Probabilities can be right on average and wrong for a slot, a device or a campaign: money is spent by those.

use serde::{Deserialize, Serialize};

use super::measure::{MeasureOptions, Measured, ResampledUnit, measure};
use super::predictions::{Predictions, wrong};
use super::rate::{effective_rows, rate_p_value, wilson};
use crate::bootstrap::Interval;
use crate::error::EvalError;
use crate::significance::holm;

/// What parts the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentColumn {
    /// The names of the segments.
    pub names: Vec<String>,
    /// For each row, which name.
    pub of_rows: Vec<u32>,
}

impl SegmentColumn {
    /// From the name of each row's segment; segments in the order of their names.
    ///
    /// ```
    /// let column = forecart_eval::probability::SegmentColumn::of_names(&["top", "side", "top"]);
    /// assert_eq!((column.names, column.of_rows), (vec!["side".into(), "top".into()], vec![1, 0, 1]));
    /// ```
    pub fn of_names(rows: &[impl AsRef<str>]) -> Self {
        let mut names: Vec<&str> = rows.iter().map(AsRef::as_ref).collect();
        names.sort_unstable();
        names.dedup();
        let place = |row: &_| names.partition_point(|name| *name < AsRef::as_ref(row)) as u32;
        Self {
            of_rows: rows.iter().map(place).collect(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        }
    }
}

/// Rows of one segment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// As in the column.
    pub name: String,
    /// Everything about its rows.
    pub measured: Measured,
    /// Whether its probabilities are right on average.
    pub offset: Offset,
}

/// How far the mean probability of a segment is from what happened.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Offset {
    /// Mean probability minus observed rate.
    pub difference: f64,
    /// Wilson's interval of the observed rate, for rows that know as much as these.
    pub observed_rate: Interval,
    /// Of the observed rate, if the mean probability were the true one: two-sided, binomial.
    pub p_value: f64,
    /// The same after Holm's correction over all segments of the column.
    pub corrected_p_value: f64,
    /// Whether the corrected value is below 1 - confidence: the mean probability lies outside of what the observed rate
    /// allows.
    pub alarm: bool,
}

/// Measures each segment that has rows, in the order of the names.
///
/// Where intervals are over groups, the rows of a segment are taken for as many as they would be if they were
/// independent: divided by the ratio of the variance of the groups' sums to that of the rows, if above 1 (the design
/// effect of Kish, *Survey Sampling*, 1965).
///
/// # Errors
/// [`EvalError::Input`] if the column does not fit the rows or a segment has weights of 0 alone, [`EvalError::Option`].
pub fn segments(
    predictions: &Predictions,
    column: &SegmentColumn,
    options: &MeasureOptions,
) -> Result<Vec<Segment>, EvalError> {
    let SegmentColumn { names, of_rows } = column;
    if of_rows.len() != predictions.n_rows() {
        let (n_rows, n_found) = (predictions.n_rows(), of_rows.len());
        return Err(wrong(format!("{n_rows} rows have {n_found} segments")));
    }
    let mut rows: Vec<Vec<u32>> = vec![Vec::new(); names.len()];
    for (row, segment) in of_rows.iter().enumerate() {
        let n_names = names.len();
        let outside = || wrong(format!("row {row} is in segment {segment}, of {n_names} names"));
        rows.get_mut(*segment as usize).ok_or_else(outside)?.push(row as u32);
    }
    let mut found = Vec::new();
    for (name, rows) in names.iter().zip(&rows).filter(|(_, rows)| !rows.is_empty()) {
        let selected = predictions.select(rows)?;
        let measured = measure(&selected, options)?;
        let offset = offset(&selected, options);
        found.push(Segment { name: name.clone(), measured, offset });
    }
    let p_values: Vec<f64> = found.iter().map(|segment| segment.offset.p_value).collect();
    for (segment, corrected) in found.iter_mut().zip(holm(&p_values)) {
        segment.offset.corrected_p_value = corrected;
        segment.offset.alarm = corrected < 1.0 - options.bootstrap.confidence;
    }
    Ok(found)
}

/// Before the correction.
fn offset(predictions: &Predictions, options: &MeasureOptions) -> Offset {
    let (mean, rate) = (predictions.mean_probability(), predictions.base_rate());
    let weights = &predictions.weights;
    let squares: f64 = weights.iter().map(|weight| weight * weight).sum();
    let mut n = effective_rows(weights.iter().sum(), squares);
    if options.unit == ResampledUnit::Groups {
        n /= design_effect(predictions);
    }
    let p_value = rate_p_value(rate, n, mean);
    Offset {
        difference: mean - rate,
        observed_rate: wilson(rate.clamp(0.0, 1.0), n, options.bootstrap.confidence),
        p_value,
        corrected_p_value: p_value,
        alarm: false,
    }
}

/// How much more the sums over groups spread than those of independent rows; at least 1.
fn design_effect(predictions: &Predictions) -> f64 {
    let Some(groups) = &predictions.groups else { return 1.0 };
    let off = predictions.mean_probability() - predictions.base_rate();
    let mut of_groups = vec![0.0; predictions.n_groups];
    let mut of_rows = 0.0;
    for (row, group) in groups.iter().enumerate() {
        let error = predictions.probabilities[row] - f64::from(predictions.labels[row]) - off;
        let error = predictions.weights[row] * error;
        of_groups[*group as usize] += error;
        of_rows += error * error;
    }
    let of_groups: f64 = of_groups.iter().map(|sum| sum * sum).sum();
    if of_rows > 0.0 { (of_groups / of_rows).max(1.0) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::bootstrap::Bootstrap;

    fn options(unit: ResampledUnit) -> MeasureOptions {
        let bootstrap = Bootstrap { n_resamples: 20, ..Bootstrap::default() };
        MeasureOptions { bootstrap, unit, ..MeasureOptions::default() }
    }

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|segment| format!("slot {segment}")).collect()
    }

    /// `n_segments` of 400 rows in groups of four; labels come true with `p * factor(segment)`. Rows of a group share
    /// their label where `is_alike`.
    fn drawn(
        n_segments: usize,
        seed: u64,
        factor: impl Fn(u32) -> f64,
        is_alike: bool,
    ) -> (Predictions, Vec<u32>) {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let of_rows: Vec<u32> = (0..400 * n_segments as u32).map(|row| row / 400).collect();
        let mut last = (0.0, false);
        let mut row = |(row, segment): (usize, &u32)| {
            if row % 4 == 0 || !is_alike {
                let p: f64 = generator.random_range(0.005..0.05);
                last = (p, generator.random::<f64>() < p * factor(*segment));
            }
            last
        };
        let (probabilities, labels) = of_rows.iter().enumerate().map(&mut row).unzip();
        let groups: Vec<u32> = (0..of_rows.len() as u32).map(|row| row / 4).collect();
        let predictions = Predictions::new(probabilities, labels).unwrap();
        (predictions.with_groups(&groups).unwrap(), of_rows)
    }

    fn alarms(found: &[Segment]) -> Vec<&str> {
        found.iter().filter(|segment| segment.offset.alarm).map(|s| s.name.as_str()).collect()
    }

    #[test]
    fn the_segment_that_is_off_raises_the_alarm() {
        let (predictions, of_rows) = drawn(6, 1, |s| if s == 4 { 3.0 } else { 1.0 }, false);
        let column = SegmentColumn { names: names(7), of_rows };
        let found = segments(&predictions, &column, &options(ResampledUnit::Rows)).unwrap();
        assert_eq!(alarms(&found), ["slot 4"]);
        // The last name has no row.
        assert_eq!(found.len(), 6);
        assert!(found[4].offset.difference < 0.0);
        let mean = found[4].measured.mean_probability;
        assert!(mean < found[4].offset.observed_rate.low);
    }

    fn n_false_alarms(is_alike: bool, unit: ResampledUnit) -> usize {
        let has_alarm = |seed: &u64| {
            let (predictions, of_rows) = drawn(10, *seed, |_| 1.0, is_alike);
            let column = SegmentColumn { names: names(10), of_rows };
            !alarms(&segments(&predictions, &column, &options(unit)).unwrap()).is_empty()
        };
        (0..100u64).filter(has_alarm).count()
    }

    #[test]
    fn false_alarms_are_as_rare_as_stated() {
        // At most 5 of 100 tables of ten segments, with a standard deviation of 2.2.
        let n_alarms = n_false_alarms(false, ResampledUnit::Rows);
        assert!(n_alarms <= 10, "{n_alarms} of 100");
        let n_alarms = n_false_alarms(true, ResampledUnit::Groups);
        assert!(n_alarms <= 12, "{n_alarms} of 100");
        // Rows that are alike, taken for independent ones.
        let n_alarms = n_false_alarms(true, ResampledUnit::Rows);
        assert!(n_alarms > 25, "{n_alarms} of 100");
    }

    #[test]
    fn a_column_that_does_not_fit_is_refused() {
        let (predictions, mut of_rows) = drawn(2, 1, |_| 1.0, false);
        let run = |of_rows: &[u32]| {
            let column = SegmentColumn { names: names(2), of_rows: of_rows.to_vec() };
            segments(&predictions, &column, &options(ResampledUnit::Rows)).unwrap_err().to_string()
        };
        of_rows[3] = 2;
        assert!(run(&of_rows).contains("row 3 is in segment 2, of 2 names"));
        assert!(run(&[0, 1]).contains("800 rows have 2 segments"));
    }
}
