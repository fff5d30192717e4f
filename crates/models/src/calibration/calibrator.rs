//! One fitted calibration, whatever its method, as plain data.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::beta::Beta;
use super::isotonic::Isotonic;
use super::logistic::sigmoid;
use super::platt::Platt;
use super::rows::{CalibrationRows, bounded, wrong};
use super::temperature::Temperature;
use crate::error::ModelError;

/// Probabilities are at least this and at most 1 minus this; where logarithmic loss is clipped too.
const LOWEST: f64 = f64::EPSILON;

/// How scores become probabilities; in the order of how much each can bend the curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CalibrationMethod {
    /// The sigmoid of the logit, as it is.
    None,
    /// [`Temperature`].
    Temperature,
    /// [`Platt`].
    Platt,
    /// [`Beta`].
    Beta,
    /// [`Isotonic`].
    Isotonic,
}

impl CalibrationMethod {
    /// All methods, the stiffest first.
    pub const ALL: [Self; 5] =
        [Self::None, Self::Temperature, Self::Platt, Self::Beta, Self::Isotonic];

    /// As in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Temperature => "temperature",
            Self::Platt => "platt",
            Self::Beta => "beta",
            Self::Isotonic => "isotonic",
        }
    }
}

impl fmt::Display for CalibrationMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for CalibrationMethod {
    type Err = ModelError;

    fn from_str(name: &str) -> Result<Self, ModelError> {
        let known = Self::ALL.into_iter().find(|method| method.name() == name);
        let names = Self::ALL.map(Self::name).join(", ");
        known.ok_or_else(|| wrong(format!("unknown method {name:?}; known methods: {names}")))
    }
}

/// A fitted calibration: plain data for the model file, every number read back to the bit.
///
/// ```
/// use forecart_models::calibration::{CalibrationMethod, CalibrationRows, Calibrator};
///
/// // A model that is far too sure: of four rows with a logit of 6 (99.8 %), three came true.
/// let logits = [-6.0, -6.0, -6.0, -6.0, 6.0, 6.0, 6.0, 6.0];
/// let labels = [false, false, false, true, true, true, true, false];
/// let rows = CalibrationRows::new(&logits, &labels, None)?;
/// let calibrator = Calibrator::fit(CalibrationMethod::Temperature, &rows);
/// assert!((calibrator.probability(6.0) - 0.75).abs() < 1e-9);
/// # Ok::<(), forecart_models::ModelError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum Calibrator {
    /// The sigmoid of the logit, as it is.
    None,
    /// See [`Temperature`].
    Temperature(Temperature),
    /// See [`Platt`].
    Platt(Platt),
    /// See [`Beta`].
    Beta(Beta),
    /// See [`Isotonic`].
    Isotonic(Isotonic),
}

impl Calibrator {
    /// Fits `method` on rows that the model itself has not learned from.
    ///
    /// What has no answer has a stated one: of labels of one kind, of a single row and of one score for all rows, the
    /// probability is the same for all scores, near the share of positive rows and never certain (see each method; the
    /// temperature, which knows no such curve, goes by targets that are not certain).
    pub fn fit(method: CalibrationMethod, rows: &CalibrationRows) -> Self {
        match method {
            CalibrationMethod::None => Self::None,
            CalibrationMethod::Temperature => Self::Temperature(Temperature::fit(rows)),
            CalibrationMethod::Platt => Self::Platt(Platt::fit(rows)),
            CalibrationMethod::Beta => Self::Beta(Beta::fit(rows)),
            CalibrationMethod::Isotonic => Self::Isotonic(Isotonic::fit(rows)),
        }
    }

    /// The method that was fitted.
    pub fn method(&self) -> CalibrationMethod {
        match self {
            Self::None => CalibrationMethod::None,
            Self::Temperature(_) => CalibrationMethod::Temperature,
            Self::Platt(_) => CalibrationMethod::Platt,
            Self::Beta(_) => CalibrationMethod::Beta,
            Self::Isotonic(_) => CalibrationMethod::Isotonic,
        }
    }

    /// The probability of a score, never lower for a higher score, at least `f64::EPSILON` and at most 1 minus that.
    ///
    /// A score that is not a number has the probability of the lowest score: what nothing is known of is not bid for.
    pub fn probability(&self, score: f64) -> f64 {
        let score = bounded(score);
        let probability = match self {
            Self::None => sigmoid(score),
            Self::Temperature(temperature) => temperature.probability(score),
            Self::Platt(platt) => platt.probability(score),
            Self::Beta(beta) => beta.probability(score),
            Self::Isotonic(isotonic) => isotonic.probability(score),
        };
        probability.clamp(LOWEST, 1.0 - LOWEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fitted(scores: &[f64], labels: &[bool]) -> Vec<Calibrator> {
        let rows = CalibrationRows::new(scores, labels, None).unwrap();
        CalibrationMethod::ALL.into_iter().map(|method| Calibrator::fit(method, &rows)).collect()
    }

    #[test]
    fn names_are_read_back() {
        for method in CalibrationMethod::ALL {
            assert_eq!(method.name().parse::<CalibrationMethod>().unwrap(), method);
        }
        let error = "isotone".parse::<CalibrationMethod>().unwrap_err().to_string();
        assert!(error.contains("known methods: none, temperature, platt, beta, isotonic"));
    }

    #[test]
    fn degenerate_rows_have_the_stated_answers() {
        let constant = |calibrators: &[Calibrator], want: f64| {
            for calibrator in &calibrators[2..] {
                for score in [-50.0, -1.0, 0.0, 3.0, 50.0] {
                    let found = calibrator.probability(score);
                    assert!((found - want).abs() < 1e-9, "{calibrator:?}: {found}, want {want}");
                }
            }
        };
        // One row: Platt's target for one positive row.
        constant(&fitted(&[1.5], &[true]), 2.0 / 3.0);
        // Labels of one kind.
        constant(&fitted(&[1.0, -1.0, 2.0], &[false; 3]), 1.0 / 5.0);
        // One score: the mean of Platt's targets, or the rate of an isotonic curve.
        let same = fitted(&[0.7; 4], &[true, false, false, false]);
        let found = [2, 3, 4].map(|method: usize| same[method].probability(-1.0));
        let mean = (2.0 / 3.0 + 3.0 / 5.0) / 4.0;
        for (found, want) in found.iter().zip([mean, mean, 0.25]) {
            assert!((found - want).abs() < 1e-9, "{found}, want {want}");
        }
    }

    #[test]
    fn separated_rows_do_not_make_certain() {
        let scores: Vec<f64> = (-20..20).map(|row| f64::from(row) + 0.5).collect();
        let labels: Vec<bool> = scores.iter().map(|score| *score > 0.0).collect();
        for calibrator in &fitted(&scores, &labels)[1..] {
            let found = calibrator.probability(19.5);
            assert!(found > 0.9 && found < 0.9999, "{calibrator:?}: {found}");
        }
    }

    #[test]
    fn scores_in_the_wrong_order_become_one_probability() {
        let scores: Vec<f64> = (0..100).map(|row| f64::from(row) / 25.0 - 2.0).collect();
        let labels: Vec<bool> = (0..100).map(|row| row < 40 && row % 2 == 0 || row == 99).collect();
        for calibrator in &fitted(&scores, &labels)[2..4] {
            let found = [-5.0, 5.0].map(|score| calibrator.probability(score));
            assert_eq!(found[0], found[1], "{calibrator:?}");
            assert!((found[0] - 0.21).abs() < 0.02, "{found:?}");
        }
    }

    #[test]
    fn damaged_numbers_are_refused() {
        let text = r#"{"method":"isotonic","scores":["0","1"],"probabilities":["0.5","0.25"]}"#;
        let error = serde_json::from_str::<Calibrator>(text).unwrap_err().to_string();
        assert!(error.contains("ascend"), "{error}");
        for text in [
            r#"{"method":"isotonic","scores":["1","1"],"probabilities":["0.1","0.25"]}"#,
            r#"{"method":"isotonic","scores":[],"probabilities":[]}"#,
            r#"{"method":"isotonic","scores":["0","1"],"probabilities":["0.1"]}"#,
            r#"{"method":"isotonic","scores":["0"],"probabilities":["1"]}"#,
            r#"{"method":"platt","slope":"-1","intercept":"0"}"#,
            r#"{"method":"platt","slope":"NaN","intercept":"0"}"#,
            r#"{"method":"beta","a":"1","b":"-1","intercept":"0"}"#,
            r#"{"method":"temperature","inverse":"0"}"#,
            r#"{"method":"temperature","inverse":"inf"}"#,
        ] {
            assert!(serde_json::from_str::<Calibrator>(text).is_err(), "{text}");
        }
    }

    fn rows() -> impl Strategy<Value = Vec<(f64, bool)>> {
        let score = prop_oneof![
            4 => (-40i32..40).prop_map(|score| f64::from(score) / 8.0),
            2 => -8.0..8.0f64,
            1 => prop::num::f64::NORMAL | prop::num::f64::ZERO | prop::num::f64::INFINITE,
        ];
        prop::collection::vec((score, any::<bool>()), 1..60)
    }

    proptest! {
        #[test]
        fn monotone_and_within_0_and_1(
            rows in rows(), mut asked in prop::collection::vec(prop::num::f64::ANY, 1..40),
        ) {
            let (scores, labels): (Vec<f64>, Vec<bool>) = rows.into_iter().unzip();
            asked.extend(scores.iter().flat_map(|score| [*score, score + 0.03]));
            asked.iter_mut().filter(|score| score.is_nan()).for_each(|score| *score = f64::NEG_INFINITY);
            asked.sort_by(f64::total_cmp);
            for calibrator in fitted(&scores, &labels) {
                let found: Vec<f64> = asked.iter().map(|score| calibrator.probability(*score)).collect();
                prop_assert!(found.iter().all(|p| *p > 0.0 && *p < 1.0), "{calibrator:?} {found:?}");
                prop_assert!(found.is_sorted(), "{calibrator:?} {asked:?} {found:?}");
                let lowest = calibrator.probability(f64::NAN);
                prop_assert!(lowest <= found[0]);
                let text = serde_json::to_string(&calibrator).unwrap();
                prop_assert_eq!(serde_json::from_str::<Calibrator>(&text).unwrap(), calibrator);
            }
        }

        #[test]
        fn the_order_of_rows_does_not_matter(rows in rows()) {
            let turned: Vec<_> = rows.iter().rev().copied().collect();
            let both = [rows, turned].map(|rows| {
                let (scores, labels): (Vec<f64>, Vec<bool>) = rows.into_iter().unzip();
                let calibrators = fitted(&scores, &labels);
                let all: Vec<f64> = calibrators.iter()
                    .flat_map(|c| [-3.0, -1.0, 0.0, 2.0].map(|score| c.probability(score))).collect();
                all
            });
            for (one, other) in both[0].iter().zip(&both[1]) {
                prop_assert!((one - other).abs() < 1e-6, "{both:?}");
            }
        }

        #[test]
        fn a_weight_of_two_is_two_rows(rows in rows()) {
            let (scores, labels): (Vec<f64>, Vec<bool>) = rows.iter().copied().unzip();
            let weights: Vec<f64> = (0..rows.len()).map(|row| (row % 3) as f64).collect();
            let (repeated, repeated_labels): (Vec<f64>, Vec<bool>) = rows.iter().enumerate()
                .flat_map(|(row, pair)| vec![*pair; row % 3]).unzip();
            prop_assume!(!repeated.is_empty());
            let weighted = CalibrationRows::new(&scores, &labels, Some(&weights)).unwrap();
            let repeated = CalibrationRows::new(&repeated, &repeated_labels, None).unwrap();
            for method in CalibrationMethod::ALL {
                let both = [&weighted, &repeated].map(|rows| Calibrator::fit(method, rows));
                for score in [-2.0, 0.0, 1.0] {
                    let found = [0, 1].map(|side: usize| both[side].probability(score));
                    prop_assert!((found[0] - found[1]).abs() < 1e-6, "{both:?}");
                }
            }
        }
    }
}
