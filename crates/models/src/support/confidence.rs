//! How sure an answer is, and when none is given.

use serde::{Deserialize, Serialize};

use crate::calibration::{Temperature, exact};
use crate::error::ModelError;

/// What tells texts apart that are answered rightly from others: higher for a surer answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DoubtScore {
    /// The probability of the most probable intent (Hendrycks and Gimpel, ICLR 2017).
    Probability,
    /// The negative free energy at the temperature of the probabilities, `ln sum exp(logit / temperature)` (Liu et al., *Energy-based
    /// Out-of-distribution Detection*, NeurIPS 2020).
    Energy,
}

impl DoubtScore {
    const ALL: [Self; 2] = [Self::Probability, Self::Energy];

    fn of(self, logits: &[f64], temperature: Temperature) -> f64 {
        match self {
            Self::Probability => temperature.probabilities(logits).into_iter().fold(0.0, f64::max),
            Self::Energy => {
                let inverse = temperature.inverse();
                let highest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = logits.iter().map(|logit| (inverse * (logit - highest)).exp()).sum();
                inverse * highest + sum.ln()
            }
        }
    }
}

/// The fewest texts that a precision is believed of.
const MIN_ANSWERED: usize = 20;

/// Probabilities from logits, and the least score that is answered. Fitted on texts that the model has not learned from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Confidence {
    /// Divides the logits.
    pub temperature: Temperature,
    /// What is compared with the threshold.
    pub score: DoubtScore,
    /// A text whose score is below is not answered.
    #[serde(with = "exact")]
    pub threshold: f64,
    /// The share of answers that should be right.
    #[serde(with = "exact")]
    pub asked_precision: f64,
    /// The share of the answers that were, on the texts that the threshold was chosen on.
    #[serde(with = "exact")]
    pub precision: f64,
    /// The share of these texts that were answered.
    #[serde(with = "exact")]
    pub coverage: f64,
    /// Number of these texts.
    pub n_texts: u64,
}

impl Confidence {
    /// From the logits of texts that were held out, `[n][n_intents]`, and what each asks, `None` for none of the intents: an answer to such a text
    /// is wrong.
    ///
    /// The temperature is the one with the least logarithmic loss. Of both scores and all thresholds, the one that answers most texts with
    /// `asked_precision` or more among the answers (and at least 20 texts, or all); where none has it, the one of the highest precision.
    ///
    /// # Errors
    /// [`ModelError::Calibration`] if no text asks for an intent or a logit is not a number.
    pub fn fit(
        logits: &[Vec<f64>],
        labels: &[Option<u32>],
        asked_precision: f64,
    ) -> Result<Self, ModelError> {
        let n_intents = logits.first().map_or(0, Vec::len);
        let (known, classes): (Vec<&Vec<f64>>, Vec<u32>) = logits
            .iter()
            .zip(labels)
            .filter_map(|(logits, label)| label.map(|label| (logits, label)))
            .unzip();
        let flat: Vec<f64> = known.into_iter().flatten().copied().collect();
        let temperature = Temperature::fit_classes(&flat, n_intents, &classes, None)?;
        let is_right: Vec<bool> = logits
            .iter()
            .zip(labels)
            .map(|(logits, label)| *label == Some(most_probable(logits) as u32))
            .collect();
        let mut best: Option<Self> = None;
        for score in DoubtScore::ALL {
            let scores = logits.iter().map(|logits| score.of(logits, temperature));
            let mut rows: Vec<(f64, bool)> = scores.zip(is_right.iter().copied()).collect();
            rows.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            let mut n_right = 0;
            for (at, (threshold, is_right)) in rows.iter().enumerate() {
                n_right += usize::from(*is_right);
                let n_answered = at + 1;
                let is_whole = rows.get(at + 1).is_none_or(|(next, _)| next < threshold);
                if !is_whole || n_answered < MIN_ANSWERED.min(rows.len()) {
                    continue;
                }
                let found = Self {
                    temperature,
                    score,
                    threshold: *threshold,
                    asked_precision,
                    precision: n_right as f64 / n_answered as f64,
                    coverage: n_answered as f64 / rows.len() as f64,
                    n_texts: rows.len() as u64,
                };
                if best.as_ref().is_none_or(|best| found.is_better_than(best)) {
                    best = Some(found);
                }
            }
        }
        best.ok_or_else(|| ModelError::Calibration { reason: "no text was held out".into() })
    }

    fn is_better_than(&self, other: &Self) -> bool {
        match (self.has_precision(), other.has_precision()) {
            (true, true) => self.coverage > other.coverage,
            (false, false) => self.precision > other.precision,
            (has, _) => has,
        }
    }

    /// Whether the precision that was asked for was reached on the texts that the threshold was chosen on.
    pub fn has_precision(&self) -> bool {
        self.precision >= self.asked_precision
    }

    /// Probabilities of the intents, and the score.
    pub fn judge(&self, logits: &[f64]) -> (Vec<f64>, f64) {
        (self.temperature.probabilities(logits), self.score.of(logits, self.temperature))
    }
}

/// The place of the highest value, the first of equal ones.
pub(super) fn most_probable(values: &[f64]) -> usize {
    let mut best = 0;
    for (at, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = at;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts with one logit above the other, surer ones more often right.
    fn rows(n: usize) -> (Vec<Vec<f64>>, Vec<Option<u32>>) {
        let row = |at: usize| {
            let gap = 0.1 + 4.0 * at as f64 / n as f64;
            let label = match at % 4 {
                // Of the less sure half every fourth is wrong, and every fourth asks for something else.
                0 if at < n / 2 => Some(1),
                1 if at < n / 2 => None,
                _ => Some(0),
            };
            (vec![gap, 0.0], label)
        };
        (0..n).map(row).unzip()
    }

    #[test]
    fn the_threshold_answers_as_much_as_the_precision_allows() {
        let (logits, labels) = rows(400);
        let found = Confidence::fit(&logits, &labels, 0.99).unwrap();
        assert!(found.has_precision() && (0.5..0.52).contains(&found.coverage), "{found:?}");
        let all = Confidence::fit(&logits, &labels, 0.7).unwrap();
        assert_eq!((all.coverage, all.precision), (1.0, 0.75));
        let json = serde_json::to_string(&found).unwrap();
        assert_eq!(serde_json::from_str::<Confidence>(&json).unwrap(), found);
    }

    #[test]
    fn a_precision_that_cannot_be_had_is_said_to_be_missed() {
        let logits = vec![vec![1.0, 0.0]; 40];
        let labels: Vec<Option<u32>> = (0..40).map(|at| Some(at % 2)).collect();
        let found = Confidence::fit(&logits, &labels, 0.9).unwrap();
        assert!(!found.has_precision());
        assert_eq!((found.precision, found.coverage), (0.5, 1.0));
    }

    #[test]
    fn energy_is_high_where_some_logit_is() {
        let temperature = Temperature::fit_classes(&[1.0, 0.0], 2, &[0], None).unwrap();
        let energy = |logits: &[f64]| DoubtScore::Energy.of(logits, temperature);
        assert!((energy(&[0.0, 0.0]) - 2f64.ln()).abs() < 1e-12);
        assert!(energy(&[3.0, 3.0]) > energy(&[1.0, -5.0]));
        assert!(energy(&[-1e300, 1e300]).is_finite());
    }
}
