//! Fitting while rows stream past.

use super::categories::CategoryFitter;
use super::numeric::{ChainFitter, FittedStep, Moments, quantile, rounded};
use super::program::{Encoder, FeatureProgram, History};
use super::spec::{BucketEncoding, ColumnSpec, FeatureSpec, Fill, HistorySpec, ends_one_hot};
use super::value::{Row, Value};
use crate::error::DataError;

/// Fits the encoders of a [`FeatureSpec`], row by row.
///
/// Means, ranges and counts are kept as they stream past. A numeric column whose chain needs
/// quantiles (`robust`, `clip_quantiles`, `buckets`, a median fill), or a fitted step after another,
/// holds its values: 8 bytes a row (16 with a median fill). Categories hold their different texts.
#[derive(Debug)]
pub struct Fitter {
    columns: Vec<ColumnFitter>,
    histories: Vec<HistorySpec>,
    texts: Vec<String>,
}

#[derive(Debug)]
struct ColumnFitter {
    spec: ColumnSpec,
    state: State,
}

#[derive(Debug)]
enum State {
    Numeric { chain: ChainFitter, moments: Moments, values: Option<Vec<f64>> },
    Entries(CategoryFitter),
    Nothing,
}

impl Fitter {
    /// A fitter that has seen no row.
    ///
    /// # Errors
    /// [`DataError::Encoder`] if a setting is not allowed (see [`FeatureSpec::check`]).
    pub fn new(spec: &FeatureSpec) -> Result<Self, DataError> {
        spec.check()?;
        let columns = spec.columns.iter().map(|spec| ColumnFitter {
            spec: spec.clone(),
            state: match spec {
                ColumnSpec::Numeric { steps, fill, .. } => State::Numeric {
                    chain: ChainFitter::new(steps),
                    moments: Moments::default(),
                    values: (*fill == Fill::Median).then(Vec::new),
                },
                ColumnSpec::OneHot { .. } | ColumnSpec::MultiHot { .. } => {
                    State::Entries(CategoryFitter::default())
                }
                ColumnSpec::Hash { .. } | ColumnSpec::Time { .. } | ColumnSpec::Hashed { .. } => {
                    State::Nothing
                }
            },
        });
        Ok(Self {
            columns: columns.collect(),
            histories: spec.histories.clone(),
            texts: Vec::new(),
        })
    }

    /// Takes a training row into account.
    pub fn observe<R: Row + ?Sized>(&mut self, row: &R) {
        for ColumnFitter { spec, state } in &mut self.columns {
            match state {
                State::Numeric { chain, moments, values } => {
                    let Some(x) = row.value(spec.column()).number() else { continue };
                    chain.add(x);
                    moments.add(x);
                    if let Some(values) = values {
                        values.push(x);
                    }
                }
                State::Entries(fitter) => {
                    let texts = &mut self.texts;
                    let value: Value<'_> = row.value(spec.column());
                    value.for_each_text(separator_of(spec), |text| texts.push(text.to_owned()));
                    for history in self.histories.iter().filter(|history| is_of(history, spec)) {
                        let value: Value<'_> = row.value(&history.column);
                        value.for_each_text(None, |text| texts.push(text.to_owned()));
                    }
                    fitter.add(texts);
                }
                State::Nothing => {}
            }
        }
    }

    /// The encoders, fitted on the rows that were observed.
    pub fn finish(self) -> FeatureProgram {
        let encoders = self.columns.into_iter().map(ColumnFitter::finish).collect();
        FeatureProgram::new(encoders, self.histories.into_iter().map(History::from).collect())
    }
}

fn is_of(history: &HistorySpec, spec: &ColumnSpec) -> bool {
    matches!(spec, ColumnSpec::OneHot { column, .. } if *column == history.of)
}

fn separator_of(spec: &ColumnSpec) -> Option<&str> {
    match spec {
        ColumnSpec::MultiHot { separator, .. } => separator.as_deref(),
        _ => None,
    }
}

impl ColumnFitter {
    fn finish(self) -> Encoder {
        match (self.spec, self.state) {
            (
                ColumnSpec::Numeric { column, steps: spec, fill, indicator },
                State::Numeric { chain, moments, values },
            ) => {
                let mut steps = chain.finish();
                if ends_one_hot(&spec)
                    && let Some(FittedStep::Buckets { boundaries, .. }) = steps.pop()
                {
                    return Encoder::Buckets { column, steps, boundaries };
                }
                let fill = match fill {
                    Fill::Mean => moments.mean(),
                    Fill::Value(value) => rounded(value),
                    Fill::Median => {
                        let mut values = values.unwrap_or_default();
                        values.sort_unstable_by(f64::total_cmp);
                        rounded(quantile(&values, 0.5))
                    }
                };
                debug_assert!(!steps.iter().any(|step| matches!(
                    step,
                    FittedStep::Buckets { encoding: BucketEncoding::OneHot, .. }
                )));
                Encoder::Numeric { column, steps, fill, indicator }
            }
            (ColumnSpec::OneHot { column, min_count, max_entries }, State::Entries(fitter)) => {
                let categories = fitter.finish(min_count, max_entries);
                Encoder::Entries { column, separator: None, categories }
            }
            (
                ColumnSpec::MultiHot { column, separator, min_count, max_entries },
                State::Entries(fitter),
            ) => {
                let categories = fitter.finish(min_count, max_entries);
                Encoder::Entries { column, separator, categories }
            }
            (ColumnSpec::Hash { column, separator, n_buckets, seed }, _) => {
                Encoder::Hash { column, separator, n_buckets, seed }
            }
            (ColumnSpec::Time { column, parts, utc_offset_minutes }, _) => {
                Encoder::Time { column, parts, utc_offset_minutes }
            }
            (ColumnSpec::Hashed { columns, space }, _) => Encoder::Hashed { columns, space },
            (spec, state) => {
                unreachable!("state {state:?} was made for another column than {spec:?}")
            }
        }
    }
}
