//! The same measures for parts of the rows, and an alarm where probabilities are off.
//!
//! Probabilities can be right on average and wrong for a slot, a device or a campaign: money is spent by those.

use serde::{Deserialize, Serialize};

use super::measure::{MeasureOptions, Measured, ResampledUnit, measure};
use super::predictions::{Predictions, wrong};
use super::rate::{effective_rows, rate_p_value, wilson};
use super::segment_columns::SegmentColumn;
use crate::bootstrap::Interval;
use crate::error::EvalError;
use crate::significance::holm;

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
    /// The same after Holm's correction over all segments that were looked at together.
    pub corrected_p_value: f64,
    /// Whether the corrected value is below 1 - confidence: the mean probability lies outside of what the observed rate
    /// allows.
    pub alarm: bool,
}

/// Whether the probabilities of one segment are right on average.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentOffset {
    /// As in the column.
    pub name: String,
    /// Number of rows, at least 1.
    pub n_rows: usize,
    /// Weighted mean of the probabilities.
    pub mean_probability: f64,
    /// Weighted share of rows that came true.
    pub base_rate: f64,
    /// How far they are apart, and whether that is chance.
    pub offset: Offset,
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
    let found = offsets(predictions, std::slice::from_ref(column), options)?.remove(0);
    let rows = rows_of(predictions, column)?;
    let with_rows = rows.iter().filter(|rows| !rows.is_empty());
    let measured =
        found.into_iter().zip(with_rows).map(|(SegmentOffset { name, offset, .. }, rows)| {
            let measured = measure(&predictions.select(rows)?, options)?;
            Ok(Segment { name, measured, offset })
        });
    measured.collect()
}

/// How far the probabilities of each segment of each column are from what happened, without the rest of [`segments`] and its cost. Holm's
/// correction is over the segments of all columns together: at most 1 - confidence of such tables raise a false alarm.
///
/// # Errors
/// As [`segments`].
///
/// # Cost
/// Two passes over the rows for each column.
pub fn offsets(
    predictions: &Predictions,
    columns: &[SegmentColumn],
    options: &MeasureOptions,
) -> Result<Vec<Vec<SegmentOffset>>, EvalError> {
    let of_column = |column: &SegmentColumn| {
        let rows = rows_of(predictions, column)?;
        let with_rows = column.names.iter().zip(&rows).filter(|(_, rows)| !rows.is_empty());
        let found = with_rows.map(|(name, rows)| {
            let selected = predictions.select(rows)?;
            Ok(SegmentOffset {
                name: name.clone(),
                n_rows: selected.n_rows(),
                mean_probability: selected.mean_probability(),
                base_rate: selected.base_rate(),
                offset: offset(&selected, options),
            })
        });
        found.collect::<Result<Vec<_>, EvalError>>()
    };
    let mut found = columns.iter().map(of_column).collect::<Result<Vec<_>, EvalError>>()?;
    let all = || found.iter().flatten();
    let p_values: Vec<f64> = all().map(|segment| segment.offset.p_value).collect();
    let corrected = holm(&p_values);
    for (segment, corrected) in found.iter_mut().flatten().zip(corrected) {
        segment.offset.corrected_p_value = corrected;
        segment.offset.alarm = corrected < 1.0 - options.bootstrap.confidence;
    }
    Ok(found)
}

/// The rows of each segment.
fn rows_of(predictions: &Predictions, column: &SegmentColumn) -> Result<Vec<Vec<u32>>, EvalError> {
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
    Ok(rows)
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
    fn segments_of_several_columns_are_corrected_together() {
        let (predictions, of_rows) = drawn(6, 1, |s| if s == 4 { 3.0 } else { 1.0 }, false);
        let column = SegmentColumn { names: names(6), of_rows };
        let halves: Vec<String> = (0..2400).map(|row| format!("{}", row % 2)).collect();
        let other = SegmentColumn::of_names(&halves);
        let options = options(ResampledUnit::Rows);
        let found = offsets(&predictions, &[column.clone(), other], &options).unwrap();
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [6, 2]);
        assert!(found[0][4].offset.alarm && !found[0][3].offset.alarm, "{found:#?}");
        let alone = segments(&predictions, &column, &options).unwrap();
        for (together, alone) in found[0].iter().zip(&alone) {
            let (n_rows, rate) = (alone.measured.n_rows, alone.measured.base_rate);
            assert_eq!((together.n_rows, together.base_rate), (n_rows, rate));
            assert_eq!(together.offset.p_value, alone.offset.p_value);
            assert!(together.offset.corrected_p_value >= alone.offset.corrected_p_value);
        }
        // The lowest of eight, not of six.
        let (together, alone) = (&found[0][4].offset, &alone[4].offset);
        assert!((together.corrected_p_value / alone.corrected_p_value - 8.0 / 6.0).abs() < 1e-9);
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
