//! Models beside each other on the same texts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{IntentAnswer, IntentMeasures, WithInterval, asked, check, counts, mean};
use crate::bootstrap::{Bootstrap, Resampled, draws};
use crate::error::EvalError;
use crate::significance::{Comparison, comparison};

/// What models of intents are compared by, of texts that ask for an intent. More is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntentMetric {
    /// Share of texts whose most probable intent is asked for.
    Accuracy,
    /// Mean over intents of the harmonic mean of precision and recall.
    MacroF1,
}

impl IntentMetric {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Accuracy, Self::MacroF1];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::MacroF1 => "macro_f1",
        }
    }

    /// Its value in what was measured.
    pub fn measured(self, measures: &IntentMeasures) -> WithInterval {
        match self {
            Self::Accuracy => measures.accuracy,
            Self::MacroF1 => measures.macro_f1,
        }
    }

    /// Of what was asked and what is the most probable, text by text.
    pub(super) fn of(self, rows: impl Iterator<Item = (u32, u32)>, n_intents: usize) -> f64 {
        match self {
            Self::Accuracy => {
                let (mut n_right, mut n) = (0.0, 0.0);
                for (label, best) in rows {
                    n += 1.0;
                    n_right += f64::from(u8::from(label == best));
                }
                n_right / n
            }
            Self::MacroF1 => {
                let (mut sum, mut n) = (0.0, 0.0);
                for f1 in counts(rows, n_intents).into_iter().filter_map(|own| own.f1()) {
                    sum += f1;
                    n += 1.0;
                }
                sum / n
            }
        }
    }
}

impl fmt::Display for IntentMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for IntentMetric {
    type Err = EvalError;

    fn from_str(name: &str) -> Result<Self, EvalError> {
        let wanted = name.to_lowercase().replace('-', "_");
        let found = Self::ALL.into_iter().find(|metric| metric.name() == wanted);
        found.ok_or_else(|| EvalError::NoSuchMetric {
            name: name.to_owned(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}

/// What `left` has more than `right` of `metric`, both of any number of seeds: the difference of the means over the seeds, by the paired bootstrap
/// over texts. The p-value is that of [`compare`](crate::compare).
///
/// # Errors
/// [`EvalError::Option`] if they answered different texts, none asks for an intent, or the bootstrap cannot be done.
pub fn compare_intents(
    left: &[Vec<IntentAnswer>],
    right: &[Vec<IntentAnswer>],
    metric: IntentMetric,
    n_intents: usize,
    bootstrap: &Bootstrap,
) -> Result<Comparison, EvalError> {
    bootstrap.check()?;
    check(left)?;
    check(right)?;
    let same = left[0].iter().map(|own| own.label).eq(right[0].iter().map(|own| own.label));
    if !same {
        let reason = "they are of different texts".to_owned();
        return Err(EvalError::Option { option: "answers", reason });
    }
    let rows = |seeds: &[Vec<IntentAnswer>]| -> Vec<Vec<(u32, u32)>> {
        seeds.iter().map(|answers| asked(answers)).collect()
    };
    let (left, right) = (rows(left), rows(right));
    let value = |seeds: &[Vec<(u32, u32)>], drawn: &[usize]| {
        mean(seeds.iter().map(|rows| metric.of(drawn.iter().map(|at| rows[*at]), n_intents)))
    };
    let difference = |drawn: &[usize]| value(&left, drawn) - value(&right, drawn);
    let n_texts = left[0].len();
    let all: Vec<usize> = (0..n_texts).collect();
    let resampled = (0..bootstrap.n_resamples).map(|at| {
        let drawn: Vec<usize> = draws(bootstrap, at, n_texts).collect();
        difference(&drawn)
    });
    let resampled = Resampled(resampled.collect());
    Ok(comparison(difference(&all), resampled, bootstrap))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(right: &[bool]) -> Vec<IntentAnswer> {
        let answer = |(place, right): (usize, &bool)| {
            let label = place as u32 % 2;
            IntentAnswer {
                best: if *right { label } else { 1 - label },
                confidence: 0.6,
                score: 0.6,
                abstained: false,
                label: Some(label),
            }
        };
        right.iter().enumerate().map(answer).collect()
    }

    #[test]
    fn a_better_model_is_better_and_an_equal_one_is_not() {
        let good = answers(&[true; 200]);
        let poor = answers(&std::array::from_fn::<bool, 200, _>(|at| at % 3 == 0));
        let bootstrap = Bootstrap::default();
        for metric in IntentMetric::ALL {
            let [good, poor] = [std::slice::from_ref(&good), std::slice::from_ref(&poor)];
            let found = compare_intents(good, poor, metric, 2, &bootstrap).unwrap();
            assert!(found.interval.low > 0.5 && found.p_value < 0.01, "{metric}: {found:?}");
            let same = compare_intents(good, good, metric, 2, &bootstrap).unwrap();
            assert_eq!((same.difference, same.p_value), (0.0, 1.0));
        }
        let fewer = [answers(&[true; 20])];
        compare_intents(&[good], &fewer, IntentMetric::Accuracy, 2, &bootstrap).unwrap_err();
    }

    #[test]
    fn names_are_read_back() {
        for metric in IntentMetric::ALL {
            assert_eq!(metric.name().parse::<IntentMetric>().unwrap(), metric);
        }
        assert_eq!("Macro-F1".parse::<IntentMetric>().unwrap(), IntentMetric::MacroF1);
        assert!("f2".parse::<IntentMetric>().unwrap_err().to_string().contains("macro_f1"));
    }
}
