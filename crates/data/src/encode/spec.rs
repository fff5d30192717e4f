//! Which columns become numbers, and how: the unfitted side of the encoders.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::fit::Fitter;
use super::hashed::{HashSpace, HashedColumn};
use super::program::FeatureProgram;
use super::time::TimePart;
use super::value::{MAX_MAGNITUDE, Row};
use crate::error::DataError;

/// The encoders of a table, unfitted, in the order of their output columns.
///
/// ```toml
/// [[prepare.item_features.columns]]
/// kind = "numeric"
/// column = "price"
/// steps = ["log1p", { clip_quantiles = { low = 0.01, high = 0.99 } }, "standardize"]
///
/// [[prepare.item_features.columns]]
/// kind = "multi_hot"
/// column = "category"
/// separator = "|"
/// min_count = 5
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureSpec {
    /// One entry for each encoder; a column may have several of different kinds.
    #[serde(default)]
    pub columns: Vec<ColumnSpec>,
    /// Lists whose order counts, beside the columns. Models ask for them; no configuration can.
    #[serde(skip)]
    pub histories: Vec<HistorySpec>,
}

/// A list of what somebody did before, oldest first, in the entries of a one-hot column: both share their vocabulary, which is
/// fitted on both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistorySpec {
    /// The list.
    pub column: String,
    /// The one-hot column.
    pub of: String,
    /// The newest texts of a longer list are kept.
    pub max_len: u32,
}

/// How one column becomes numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ColumnSpec {
    /// A number through a chain of steps: one dense column (`price`), unless the chain ends in
    /// one-hot buckets, which are sparse columns.
    Numeric {
        /// The column.
        column: String,
        /// Applied in this order; each is fitted on what the one before it gives.
        #[serde(default)]
        steps: Vec<NumericStep>,
        /// What stands for a missing value, in the column's own unit, before the first step.
        #[serde(default)]
        fill: Fill,
        /// Whether a dense column `price:missing` says 1 where the value was missing.
        #[serde(default = "yes")]
        indicator: bool,
    },
    /// One active sparse column: the entry, `<unknown>` for what the vocabulary does not hold, or
    /// `<missing>`.
    OneHot {
        /// The column.
        column: String,
        /// Entries seen in fewer training rows are unknown.
        #[serde(default = "one")]
        min_count: u64,
        /// At most this many entries, the most frequent ones; no limit if absent.
        #[serde(default)]
        max_entries: Option<u32>,
    },
    /// An active sparse column for each different text of a list, or of a text with separators.
    MultiHot {
        /// The column.
        column: String,
        /// Splits a text into several, such as `|`. Without it only lists have several.
        #[serde(default)]
        separator: Option<String>,
        /// Entries seen in fewer training rows are unknown.
        #[serde(default = "one")]
        min_count: u64,
        /// At most this many entries, the most frequent ones; no limit if absent.
        #[serde(default)]
        max_entries: Option<u32>,
    },
    /// Feature hashing (Weinberger et al., ICML 2009; without the sign): each text is one of
    /// `n_buckets` sparse columns by a stable hash, so nothing is fitted and nothing is unknown.
    Hash {
        /// The column.
        column: String,
        /// Splits a text into several.
        #[serde(default)]
        separator: Option<String>,
        /// Number of buckets, up to 16,777,216.
        n_buckets: u32,
        /// Another seed gives another assignment.
        #[serde(default)]
        seed: u64,
    },
    /// Sine and cosine of where a moment (milliseconds UTC) stands in its day, week or year.
    Time {
        /// The column.
        column: String,
        /// Which cycles; all by default.
        #[serde(default = "TimePart::all")]
        parts: Vec<TimePart>,
        /// The shop's clock, as minutes ahead of UTC.
        #[serde(default)]
        utc_offset_minutes: i32,
    },
    /// All columns in one table of slots, with values: what a model of a stream reads. It is the only encoder of its table; not for
    /// files of configuration.
    #[serde(skip)]
    Hashed {
        /// The columns.
        columns: Vec<HashedColumn>,
        /// The slots.
        space: HashSpace,
    },
}

/// One step of a numeric chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NumericStep {
    /// `sign(x) * ln(1 + |x|)`: for `x >= 0` this is `log1p`; negative numbers (refunds) are
    /// mirrored instead of being undefined.
    Log1p,
    /// `(x - mean) / sd`, with the population's standard deviation; a constant column gives 0.
    Standardize,
    /// `(x - min) / (max - min)`, cut to `0..=1`; a constant column gives 0.
    MinMax,
    /// `(x - median) / (q75 - q25)`; where the quartiles are equal, `x - median`.
    Robust,
    /// Cut to fixed bounds.
    Clip {
        /// Nothing below it, if given.
        #[serde(default)]
        low: Option<f64>,
        /// Nothing above it, if given.
        #[serde(default)]
        high: Option<f64>,
    },
    /// Cut to quantiles of the training values.
    ClipQuantiles {
        /// Lower quantile, `0..=1`.
        low: f64,
        /// Upper quantile, above `low`.
        high: f64,
    },
    /// Quantile buckets: about equal numbers of training rows in each. Equal boundaries are
    /// merged, so there may be fewer than asked for. Only as the last step.
    Buckets {
        /// Number of buckets, `2..=4096`.
        n_buckets: u32,
        /// What comes out.
        #[serde(default)]
        encoding: BucketEncoding,
    },
}

/// What quantile buckets give.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BucketEncoding {
    /// One active sparse column; a missing value has a column of its own and needs no fill.
    #[default]
    OneHot,
    /// The number of the bucket from 0, as a dense column.
    Ordinal,
}

/// What stands for a missing number. A column with no value at all has 0 for mean and median.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fill {
    /// Mean of the training values.
    #[default]
    Mean,
    /// Median of the training values.
    Median,
    /// This number.
    Value(f64),
}

fn yes() -> bool {
    true
}

fn one() -> u64 {
    1
}

impl ColumnSpec {
    /// A numeric chain with the mean for missing values and an indicator.
    pub fn numeric(column: &str, steps: Vec<NumericStep>) -> Self {
        Self::Numeric { column: column.into(), steps, fill: Fill::Mean, indicator: true }
    }

    /// A one-hot column without a limit on entries.
    pub fn one_hot(column: &str, min_count: u64) -> Self {
        Self::OneHot { column: column.into(), min_count, max_entries: None }
    }

    /// A multi-hot column without a limit on entries.
    pub fn multi_hot(column: &str, separator: &str, min_count: u64) -> Self {
        Self::MultiHot {
            column: column.into(),
            separator: Some(separator.into()),
            min_count,
            max_entries: None,
        }
    }

    /// The column that is read.
    pub fn column(&self) -> &str {
        match self {
            Self::Numeric { column, .. }
            | Self::OneHot { column, .. }
            | Self::MultiHot { column, .. }
            | Self::Hash { column, .. }
            | Self::Time { column, .. } => column,
            Self::Hashed { columns, .. } => columns.first().map_or("", |column| &column.name),
        }
    }

    /// What tells the output names of two encoders of one column apart.
    fn name_space(&self) -> &'static str {
        match self {
            Self::Numeric { steps, .. } if !ends_one_hot(steps) => "numeric",
            Self::Numeric { .. } => "buckets",
            // Both write `column=text`.
            Self::OneHot { .. } | Self::MultiHot { .. } => "entries",
            Self::Hash { .. } => "hash",
            Self::Time { .. } => "time",
            Self::Hashed { .. } => "hashed",
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.column().is_empty() {
            return Err("its name is empty".into());
        }
        match self {
            Self::Numeric { steps, fill, .. } => {
                if let Fill::Value(value) = fill
                    && !usable(*value)
                {
                    return Err(format!("fill {value} is not a number within 1e22"));
                }
                let n = steps.len();
                steps.iter().enumerate().try_for_each(|(i, step)| check_step(step, i + 1 == n))
            }
            Self::OneHot { max_entries: Some(0), .. }
            | Self::MultiHot { max_entries: Some(0), .. } => {
                Err("max_entries = 0 leaves no entry; leave it out for no limit".into())
            }
            Self::MultiHot { separator: Some(separator), .. }
            | Self::Hash { separator: Some(separator), .. }
                if separator.is_empty() =>
            {
                Err("the separator is empty; leave it out if texts are not split".into())
            }
            Self::Hash { n_buckets, .. } if !(1..=1 << 24).contains(n_buckets) => {
                Err(format!("n_buckets = {n_buckets} is not in 1..=16777216"))
            }
            Self::Time { parts, utc_offset_minutes, .. } => {
                let distinct: BTreeSet<_> = parts.iter().collect();
                if parts.is_empty() || distinct.len() != parts.len() {
                    return Err("parts must name at least one cycle, each once".into());
                }
                if utc_offset_minutes.unsigned_abs() > 24 * 60 {
                    return Err("utc_offset_minutes is more than a day".into());
                }
                Ok(())
            }
            Self::Hashed { space, .. } => space.check(),
            Self::OneHot { .. } | Self::MultiHot { .. } | Self::Hash { .. } => Ok(()),
        }
    }
}

/// Whether a chain's result is sparse.
pub(super) fn ends_one_hot(steps: &[NumericStep]) -> bool {
    matches!(steps.last(), Some(NumericStep::Buckets { encoding: BucketEncoding::OneHot, .. }))
}

fn usable(value: f64) -> bool {
    value.abs() <= MAX_MAGNITUDE // false for NaN
}

fn check_step(step: &NumericStep, is_last: bool) -> Result<(), String> {
    match step {
        NumericStep::Clip { low, high } => {
            let bounds = [low, high].into_iter().flatten();
            if bounds.clone().count() == 0 || !bounds.clone().all(|bound| usable(*bound)) {
                return Err("clip needs low, high or both, as numbers within 1e22".into());
            }
            if let (Some(low), Some(high)) = (low, high)
                && low > high
            {
                return Err(format!("clip: low {low} is above high {high}"));
            }
            Ok(())
        }
        NumericStep::ClipQuantiles { low, high } => {
            let inside = (0.0..=1.0).contains(low) && (0.0..=1.0).contains(high);
            if inside && low < high {
                return Ok(());
            }
            Err(format!("clip_quantiles: {low} and {high} are not ascending in 0..=1"))
        }
        NumericStep::Buckets { n_buckets, .. } => {
            if !is_last {
                return Err("buckets must be the last step".into());
            }
            if !(2..=4096).contains(n_buckets) {
                return Err(format!("buckets: n_buckets = {n_buckets} is not in 2..=4096"));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

impl FeatureSpec {
    /// These columns and no history.
    pub fn new(columns: Vec<ColumnSpec>) -> Self {
        Self { columns, histories: Vec::new() }
    }

    /// Whether there is nothing to encode.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Checks every column's settings and that no two encoders give the same output names.
    ///
    /// # Errors
    /// [`DataError::Encoder`] names the column and the fix.
    pub fn check(&self) -> Result<(), DataError> {
        let error = |spec: &ColumnSpec, reason| DataError::Encoder {
            column: spec.column().to_owned(),
            reason,
        };
        let mut names = BTreeSet::new();
        for spec in &self.columns {
            spec.check().map_err(|reason| error(spec, reason))?;
            if matches!(spec, ColumnSpec::Hashed { .. }) && self.columns.len() > 1 {
                return Err(error(spec, "hashed columns stand beside others".into()));
            }
            if !names.insert((spec.column(), spec.name_space())) {
                let reason = "two encoders would give the same output names; remove one".into();
                return Err(error(spec, reason));
            }
        }
        for HistorySpec { column, of, max_len } in &self.histories {
            let is_of = |spec: &ColumnSpec| matches!(spec, ColumnSpec::OneHot { column, .. } if column == of);
            let reason = match self.columns.iter().any(is_of) {
                false => format!("it is a history of {of:?}, which is no one-hot column"),
                true if *max_len == 0 => "a history of length 0".into(),
                true => continue,
            };
            return Err(DataError::Encoder { column: column.clone(), reason });
        }
        Ok(())
    }

    /// Fits every encoder on `rows` and on nothing else.
    ///
    /// # Errors
    /// [`DataError::Encoder`] if a setting is not allowed (see [`Self::check`]).
    pub fn fit<'r, R: Row + ?Sized + 'r>(
        &self,
        rows: impl IntoIterator<Item = &'r R>,
    ) -> Result<FeatureProgram, DataError> {
        let mut fitter = Fitter::new(self)?;
        for row in rows {
            fitter.observe(row);
        }
        Ok(fitter.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(columns: Vec<ColumnSpec>) -> String {
        FeatureSpec::new(columns).check().unwrap_err().to_string()
    }

    #[test]
    fn settings_that_make_no_sense_are_refused_with_the_column() {
        let clip = NumericStep::Clip { low: Some(2.0), high: Some(1.0) };
        assert!(refused(vec![ColumnSpec::numeric("price", vec![clip])]).contains("price"));
        let buckets = NumericStep::Buckets { n_buckets: 4, encoding: BucketEncoding::Ordinal };
        let early = vec![buckets, NumericStep::Standardize];
        assert!(refused(vec![ColumnSpec::numeric("price", early)]).contains("last step"));
        let nan = NumericStep::ClipQuantiles { low: f64::NAN, high: 0.9 };
        refused(vec![ColumnSpec::numeric("price", vec![nan])]);
        let twice = vec![ColumnSpec::one_hot("b", 1), ColumnSpec::multi_hot("b", "|", 1)];
        assert!(refused(twice).contains("same output names"));
    }

    #[test]
    fn an_unknown_setting_is_an_error() {
        let good = r#"{"kind":"hash","column":"c","n_buckets":8}"#;
        serde_json::from_str::<ColumnSpec>(good).unwrap();
        let bad = r#"{"kind":"hash","column":"c","n_buckets":8,"bukets":1}"#;
        assert!(serde_json::from_str::<ColumnSpec>(bad).is_err());
        let step = r#"{"clip":{"lo":1}}"#;
        assert!(serde_json::from_str::<NumericStep>(step).is_err());
    }
}
