//! Which part each sample is in.

use forecart_data::samples::{NO_PART, SampleSplit};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::config::{RawSamplesConfig, SplitChoice};
use crate::PrepareError;

const TRAIN: u8 = 0;
const VALIDATION: u8 = 1;
const TEST: u8 = 2;

/// What a split goes by.
pub(super) struct Samples<'a> {
    /// NaN: in no part. `[n_rows]`
    pub(super) labels: &'a [f64],
    /// Milliseconds UTC, of a table with a column of moments. `[n_rows]`
    pub(super) times: Option<&'a [Option<i64>]>,
    /// Rows before those of the test inputs, if there are any.
    pub(super) n_before_test: Option<usize>,
}

/// Which split the configuration means for what is there.
pub(super) fn chosen(
    choice: SplitChoice,
    has_time: bool,
    has_test: bool,
) -> Result<SplitChoice, PrepareError> {
    match choice {
        SplitChoice::Time if !has_time => {
            let reason = "no column holds times; name one with `samples.time`, or split by order";
            Err(PrepareError::config("samples.split", reason))
        }
        SplitChoice::Auto => Ok(choice),
        _ if has_test => {
            let reason = "the test inputs are the test part; leave it out";
            Err(PrepareError::config("samples.split", reason))
        }
        _ => Ok(choice),
    }
}

impl Samples<'_> {
    /// The part of each row, and how it was found.
    pub(super) fn parts(
        &self,
        choice: SplitChoice,
        config: &RawSamplesConfig,
    ) -> Result<(Vec<u8>, SampleSplit), PrepareError> {
        let known: Vec<usize> =
            (0..self.labels.len()).filter(|row| !self.labels[*row].is_nan()).collect();
        if known.is_empty() {
            return Err(unusable("no row has a label"));
        }
        let mut parts = vec![NO_PART; self.labels.len()];
        if let Some(n_before) = self.n_before_test {
            let (own, test) = known.split_at(known.partition_point(|row| *row < n_before));
            if own.is_empty() || test.is_empty() {
                return Err(unusable("the training or the test inputs hold no row with a label"));
            }
            test.iter().for_each(|row| parts[*row] = TEST);
            match self.times {
                Some(times) => {
                    let start = boundaries(own, times, &[1.0 - config.validation])?[0];
                    for row in own {
                        parts[*row] = if at(times, *row)? < start { TRAIN } else { VALIDATION };
                    }
                }
                None => by_order(own, config.validation, 0.0, &mut parts),
            }
            return Ok((parts, SampleSplit::Given));
        }
        let seed = config.seed;
        let split = match (choice, self.times) {
            (SplitChoice::Time | SplitChoice::Auto, Some(times)) => {
                let test = 1.0 - config.test;
                let found = boundaries(&known, times, &[test - config.validation, test])?;
                for row in known {
                    let time = at(times, row)?;
                    parts[row] = match () {
                        () if time < found[0] => TRAIN,
                        () if time < found[1] => VALIDATION,
                        () => TEST,
                    };
                }
                SampleSplit::Time { validation_start_ms: found[0], test_start_ms: found[1] }
            }
            (SplitChoice::Order, _) => {
                by_order(&known, config.validation, config.test, &mut parts);
                SampleSplit::Order
            }
            (SplitChoice::Folds, _) => {
                self.folds(&known, config, &mut parts)?;
                SampleSplit::Folds { n_folds: config.n_folds, seed }
            }
            _ => {
                for rows in self.shuffled(&known, seed) {
                    by_order(&rows, config.validation, config.test, &mut parts);
                }
                SampleSplit::Random { seed }
            }
        };
        if choice != SplitChoice::Folds && !parts.contains(&TRAIN) {
            return Err(unusable("too few rows: none is left to train on"));
        }
        Ok((parts, split))
    }

    /// The rows of each label, positive ones first, in random order.
    fn shuffled(&self, known: &[usize], seed: u64) -> [Vec<usize>; 2] {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        [1.0, 0.0].map(|label| {
            let of_label = known.iter().copied().filter(|row| self.labels[*row] == label);
            let mut rows: Vec<usize> = of_label.collect();
            rows.shuffle(&mut rng);
            rows
        })
    }

    fn folds(
        &self,
        known: &[usize],
        config: &RawSamplesConfig,
        parts: &mut [u8],
    ) -> Result<(), PrepareError> {
        let n_folds = usize::from(config.n_folds);
        let [positive, negative] = self.shuffled(known, config.seed);
        let fewest = positive.len().min(negative.len());
        if fewest < n_folds {
            let which = if positive.len() == fewest { "positive" } else { "negative" };
            return Err(unusable(&format!(
                "{n_folds} folds and {fewest} {which} rows: each fold needs one; set \
                 `samples.n_folds` to at most {}",
                fewest.max(2)
            )));
        }
        // One count over both labels: no fold has more than one row more than another.
        for (place, row) in positive.into_iter().chain(negative).enumerate() {
            parts[row] = (place % n_folds) as u8;
        }
        Ok(())
    }
}

fn at(times: &[Option<i64>], row: usize) -> Result<i64, PrepareError> {
    times[row].ok_or_else(|| unusable("a row has no time"))
}

/// The first moments of the parts that begin at these shares of the rows: no moment is in two parts, and none is empty
/// whose share is not 0.
fn boundaries(
    rows: &[usize],
    times: &[Option<i64>],
    shares: &[f64],
) -> Result<Vec<i64>, PrepareError> {
    let mut sorted = rows.iter().map(|row| at(times, *row)).collect::<Result<Vec<_>, _>>()?;
    sorted.sort_unstable();
    let n = sorted.len();
    let past = |time: i64| sorted.get(sorted.partition_point(|other| *other <= time)).copied();
    // A part may begin after the first moment only: else the one before it would be empty.
    let mut earliest = past(sorted[0]);
    let mut found = Vec::with_capacity(shares.len());
    let mut share_before = 0.0;
    for share in shares {
        let place = (share * n as f64).round() as usize;
        // The last moment and what follows: a part of no share.
        let end = sorted[n - 1].saturating_add(1);
        if place >= n && *share >= 1.0 - 1e-9 {
            found.push(end);
            continue;
        }
        if share_before > 0.0 && (*share - share_before) < 1e-9 {
            let before = found.last().copied().unwrap_or(end);
            found.push(before);
            continue;
        }
        let Some(least) = earliest else {
            return Err(unusable(
                "too few different times for the parts; split by order, or make \
                 `samples.validation` and `samples.test` smaller or 0",
            ));
        };
        let start = sorted[place.min(n - 1)].max(least);
        earliest = past(start);
        found.push(start);
        share_before = *share;
    }
    Ok(found)
}

/// Training, validation and test, in this order.
fn by_order(rows: &[usize], validation: f64, test: f64, parts: &mut [u8]) {
    let n = rows.len() as f64;
    let test_start = ((1.0 - test) * n).round() as usize;
    let validation_start = ((1.0 - test - validation) * n).round() as usize;
    for (place, row) in rows.iter().enumerate() {
        parts[*row] = match place {
            _ if place < validation_start => TRAIN,
            _ if place < test_start => VALIDATION,
            _ => TEST,
        };
    }
}

fn unusable(reason: &str) -> PrepareError {
    PrepareError::Unusable { step: "prepare samples, split", reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn config(validation: f64, test: f64) -> RawSamplesConfig {
        RawSamplesConfig { validation, test, n_folds: 3, ..RawSamplesConfig::default() }
    }

    #[test]
    fn a_moment_is_never_cut() {
        let times: Vec<Option<i64>> = [1, 2, 3, 4, 5, 5, 5, 5, 9, 9].map(Some).to_vec();
        let samples = Samples { labels: &[0.0; 10], times: Some(&times), n_before_test: None };
        let (parts, split) = samples.parts(SplitChoice::Auto, &config(0.2, 0.2)).unwrap();
        assert_eq!(parts, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]);
        assert_eq!(split, SampleSplit::Time { validation_start_ms: 5, test_start_ms: 9 });
        let (parts, _) = samples.parts(SplitChoice::Auto, &config(0.2, 0.0)).unwrap();
        assert_eq!(parts, [0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        let (parts, _) = samples.parts(SplitChoice::Auto, &config(0.0, 0.2)).unwrap();
        assert_eq!(parts, [0, 0, 0, 0, 0, 0, 0, 0, 2, 2]);
    }

    #[test]
    fn one_moment_cannot_be_parted() {
        let times = [Some(7); 10];
        let samples = Samples { labels: &[1.0; 10], times: Some(&times), n_before_test: None };
        let error = samples.parts(SplitChoice::Time, &config(0.1, 0.2)).unwrap_err();
        assert!(error.to_string().contains("too few different times"), "{error}");
    }

    #[test]
    fn folds_have_as_many_positive_rows_each() {
        let labels: Vec<f64> = (0..30).map(|row| f64::from(u8::from(row % 5 == 0))).collect();
        let samples = Samples { labels: &labels, times: None, n_before_test: None };
        let (parts, _) = samples.parts(SplitChoice::Folds, &config(0.1, 0.2)).unwrap();
        for fold in 0..3 {
            let rows = (0..30).filter(|row| parts[*row] == fold);
            let labels: Vec<f64> = rows.map(|row| labels[row]).collect();
            assert_eq!((labels.len(), labels.iter().sum::<f64>()), (10, 2.0));
        }
    }

    proptest! {
        #[test]
        fn times_of_parts_do_not_overlap(
            rows in proptest::collection::vec((0_i64..20, 0_u8..3), 3..60),
            validation in 0.0_f64..0.4,
            test in 0.0_f64..0.4,
        ) {
            let times: Vec<_> = rows.iter().map(|(time, _)| Some(*time)).collect();
            let label = |label: u8| if label == 2 { f64::NAN } else { f64::from(label) };
            let labels: Vec<_> = rows.iter().map(|(_, own)| label(*own)).collect();
            let samples = Samples { labels: &labels, times: Some(&times), n_before_test: None };
            let Ok((parts, _)) = samples.parts(SplitChoice::Time, &config(validation, test)) else {
                return Ok(());
            };
            let times_of = |part: u8| -> Vec<i64> {
                let of_part = rows.iter().zip(&parts).filter(|(_, own)| **own == part);
                of_part.map(|((time, _), _)| *time).collect()
            };
            for (before, after) in [(0, 1), (0, 2), (1, 2)] {
                let (before, after) = (times_of(before), times_of(after));
                if let (Some(last), Some(first)) = (before.iter().max(), after.iter().min()) {
                    prop_assert!(last < first);
                }
            }
            prop_assert!(!times_of(0).is_empty());
            for row in 0..rows.len() {
                prop_assert_eq!(parts[row] == NO_PART, labels[row].is_nan());
            }
        }
    }
}
