//! Rolling back-test: one log, cut at several moments.

use std::num::NonZeroU32;

use jiff::Timestamp;

use super::config::{
    DAY_MS, DayEdge, PrepareConfig, RawPrepareConfig, RawSplitConfig, SplitKind, moment,
};
use crate::PrepareError;

/// One fold: settings that end the log after its test part.
#[derive(Debug, Clone, PartialEq)]
pub struct Fold {
    /// First moment of the test part, milliseconds UTC.
    pub test_start_ms: i64,
    /// Last moment of the test part.
    pub test_end_ms: i64,
    /// What [`super::prepare`] takes.
    pub config: PrepareConfig,
}

impl Fold {
    /// First moment of the test part, ISO 8601.
    pub fn test_start(&self) -> String {
        text(self.test_start_ms)
    }

    /// Last moment of the test part, ISO 8601.
    pub fn test_end(&self) -> String {
        text(self.test_end_ms)
    }
}

/// Settings of `n_folds` datasets whose test parts follow each other, each `horizon_days` long, up to the end of the log;
/// oldest first.
///
/// Nothing after a fold's test part is in its dataset, so counts, vocabularies and encoders know no more than they would
/// have on that day. Validation is the `split.validation_days` before the test part, as many as the horizon if absent.
/// Training begins with the log, or, with `prepare.last_days`, that many days before the fold's end.
///
/// Source: forward-chaining ("rolling origin") evaluation; Tashman, International Journal of Forecasting 16(4), 2000.
///
/// # Errors
/// [`PrepareError::Config`] if the log has no times, is too short for so many folds, or `[split]` says how to cut it in
/// another way.
pub fn folds(
    raw: &RawPrepareConfig,
    raw_split: &RawSplitConfig,
    time_range_ms: Option<(i64, i64)>,
    n_folds: NonZeroU32,
    horizon_days: NonZeroU32,
) -> Result<Vec<Fold>, PrepareError> {
    if raw_split.kind != SplitKind::Time {
        return Err(PrepareError::config("split.kind", "folds cut by time; write kind = \"time\""));
    }
    let given = [
        ("split.test_days", raw_split.test_days.is_some()),
        ("split.validation_start", raw_split.validation_start.is_some()),
        ("split.test_start", raw_split.test_start.is_some()),
        ("split.ratio", raw_split.ratio.is_some()),
    ];
    if let Some((key, _)) = given.iter().find(|(_, is)| *is) {
        return Err(PrepareError::config(
            *key,
            "does not go with folds, which say where to cut; remove it",
        ));
    }
    let Some((first, last)) = time_range_ms else {
        return Err(PrepareError::config("folds", "the log has an order but no times to cut at"));
    };
    let first = moment("prepare.from", raw.from.as_deref(), DayEdge::First)?
        .map_or(first, |f| f.max(first));
    let end =
        moment("prepare.to", raw.to.as_deref(), DayEdge::Last)?.map_or(last, |to| to.min(last)) + 1;
    let horizon_ms = i64::from(horizon_days.get()) * DAY_MS;
    let validation_days = raw_split.validation_days.unwrap_or(horizon_days.get());
    let validation_ms = i64::from(validation_days) * DAY_MS;
    let fold = |place: i64| -> Result<Fold, PrepareError> {
        let test_end = end - place * horizon_ms;
        let test_start_ms = test_end - horizon_ms;
        let validation_start_ms = test_start_ms - validation_ms;
        if validation_start_ms <= first {
            let days = (end - first) / DAY_MS;
            let reason = format!(
                "the log has {days} days: too few for {n_folds} folds of {horizon_days} days with {validation_days} \
                 days of validation and anything before them; use fewer or shorter folds"
            );
            return Err(PrepareError::config("folds", reason));
        }
        let from = raw.last_days.map(|days| text(test_end - i64::from(days) * DAY_MS));
        let own = RawPrepareConfig {
            from: from.or_else(|| raw.from.clone()),
            to: Some(text(test_end - 1)),
            last_days: None,
            ..raw.clone()
        };
        let split = RawSplitConfig {
            kind: SplitKind::Time,
            order: raw_split.order,
            target_event: raw_split.target_event.clone(),
            validation_start: Some(text(validation_start_ms)),
            test_start: Some(text(test_start_ms)),
            ..RawSplitConfig::default()
        };
        Ok(Fold {
            test_start_ms,
            test_end_ms: test_end - 1,
            config: PrepareConfig::new(own, split)?,
        })
    };
    (0..i64::from(n_folds.get())).rev().map(fold).collect()
}

/// A moment as the configuration reads it.
fn text(time_ms: i64) -> String {
    Timestamp::from_millisecond(time_ms).map_or_else(|_| String::new(), |moment| moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prepare::config::SplitRule;

    const N: NonZeroU32 = NonZeroU32::new(3).unwrap();
    const TEN: NonZeroU32 = NonZeroU32::new(10).unwrap();

    fn made(raw: &RawPrepareConfig, split: &RawSplitConfig) -> Result<Vec<Fold>, PrepareError> {
        folds(raw, split, Some((0, 100 * DAY_MS - 1)), N, TEN)
    }

    #[test]
    fn test_parts_follow_each_other_and_nothing_is_known_after_them() {
        let folds = made(&RawPrepareConfig::default(), &RawSplitConfig::default()).unwrap();
        let spans: Vec<_> =
            folds.iter().map(|f| (f.test_start_ms / DAY_MS, f.test_end_ms)).collect();
        assert_eq!(spans, [(70, 80 * DAY_MS - 1), (80, 90 * DAY_MS - 1), (90, 100 * DAY_MS - 1)]);
        for fold in &folds {
            assert_eq!(fold.config.window_ms, (i64::MIN, fold.test_end_ms));
            let cut = SplitRule::Moments {
                validation_start_ms: fold.test_start_ms - 10 * DAY_MS,
                test_start_ms: fold.test_start_ms,
            };
            assert_eq!(fold.config.split, cut);
        }
    }

    #[test]
    fn a_window_rolls_along() {
        let raw = RawPrepareConfig { last_days: Some(40), ..RawPrepareConfig::default() };
        let split = RawSplitConfig { validation_days: Some(5), ..RawSplitConfig::default() };
        let folds = made(&raw, &split).unwrap();
        let starts: Vec<_> = folds.iter().map(|fold| fold.config.window_ms.0 / DAY_MS).collect();
        assert_eq!(starts, [40, 50, 60]);
    }

    #[test]
    fn what_cannot_be_cut_says_why() {
        let raw = RawPrepareConfig::default();
        let error = |split: RawSplitConfig| made(&raw, &split).unwrap_err().to_string();
        assert!(
            error(RawSplitConfig { kind: SplitKind::LooFull, ..Default::default() })
                .contains("split.kind")
        );
        assert!(
            error(RawSplitConfig { test_days: Some(3), ..Default::default() })
                .contains("split.test_days")
        );
        let long = RawSplitConfig { validation_days: Some(70), ..Default::default() };
        assert!(error(long).contains("100 days"));
        let split = RawSplitConfig::default();
        assert!(folds(&raw, &split, None, N, TEN).unwrap_err().to_string().contains("no times"));
    }
}
