//! Measures of models that say what a text asks, or abstain.

use serde::{Deserialize, Serialize};

use crate::bootstrap::{Bootstrap, Interval, draws};
use crate::error::EvalError;
use crate::probability::{Bins, Predictions, ece};

/// Points of the curve of coverage and risk.
const N_POINTS: usize = 20;

/// Pairs of confused intents that are kept.
const N_PAIRS: usize = 20;

/// Places that are kept of a pair.
const N_EXAMPLES: usize = 3;

/// What was said of a text, and what it asks.
#[derive(Debug, Clone, PartialEq)]
pub struct IntentAnswer {
    /// The most probable intent.
    pub best: u32,
    /// Its probability.
    pub confidence: f64,
    /// What an answer was decided by: higher for a surer one.
    pub score: f64,
    /// Whether no answer was given.
    pub abstained: bool,
    /// What the text asks, `None` for none of the intents.
    pub label: Option<u32>,
}

impl IntentAnswer {
    fn is_right(&self) -> bool {
        self.label == Some(self.best)
    }
}

/// A value and its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WithInterval {
    /// Over all texts.
    pub value: f64,
    /// By resampling texts.
    pub interval: Interval,
}

/// The share of wrong answers if so many texts are answered, the surest first.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RiskPoint {
    /// Share of texts that are answered.
    pub coverage: f64,
    /// Share of these answers that are wrong.
    pub risk: f64,
}

/// An intent that is taken for another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Confusion {
    /// What is asked.
    pub asked: u32,
    /// What is answered.
    pub answered: u32,
    /// How often.
    pub n_texts: u64,
    /// The first few places.
    pub examples: Vec<usize>,
}

/// All that is measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IntentMeasures {
    /// Texts that ask for one of the intents.
    pub n_texts: u64,
    /// Texts that ask for none of them.
    pub n_out_of_scope: u64,
    /// Of texts that ask for an intent, the share of which the most probable one is it, whether it was answered or not.
    pub accuracy: WithInterval,
    /// Mean over intents of the harmonic mean of precision and recall; 0 for an intent that is asked for and never found. Intents that are neither
    /// asked for nor answered do not count.
    pub macro_f1: WithInterval,
    /// Expected calibration error of the probability of the most probable intent, 15 bins of equal mass, of texts that ask for an intent.
    pub ece: f64,
    /// Share of all texts that were answered.
    pub coverage: f64,
    /// Of the answers, the share that is right; an answer to a text that asks for none is wrong. `None` if nothing was answered.
    pub answered_precision: Option<f64>,
    /// Of texts that ask for none, the share that was not answered.
    pub out_of_scope_recall: Option<f64>,
    /// Share of wrong answers at each twentieth of coverage, all texts together.
    pub risk_curve: Vec<RiskPoint>,
    /// Mean share of wrong answers over all coverages (Geifman et al., ICLR 2019).
    pub area_under_risk: f64,
    /// Which intent is taken for which, most often first.
    pub confusions: Vec<Confusion>,
}

/// Measures answers.
///
/// # Errors
/// [`EvalError::Option`] if no text asks for an intent or the bootstrap cannot be done.
pub fn measure_intents(
    answers: &[IntentAnswer],
    n_intents: usize,
    bootstrap: &Bootstrap,
) -> Result<IntentMeasures, EvalError> {
    bootstrap.check()?;
    let asked: Vec<(u32, u32)> =
        answers.iter().filter_map(|answer| Some((answer.label?, answer.best))).collect();
    if asked.is_empty() {
        let reason = "no text asks for an intent".to_owned();
        return Err(EvalError::Option { option: "answers", reason });
    }
    let with_interval = |measure: &dyn Fn(&mut Pairs<'_>) -> f64| {
        let mut resampled: Vec<f64> = (0..bootstrap.n_resamples)
            .map(|at| measure(&mut draws(bootstrap, at, asked.len()).map(|place| asked[place])))
            .collect();
        WithInterval {
            value: measure(&mut asked.iter().copied()),
            interval: Interval::of(&mut resampled, bootstrap.confidence),
        }
    };
    let (confidences, right): (Vec<f64>, Vec<bool>) = answers
        .iter()
        .filter(|answer| answer.label.is_some())
        .map(|answer| (answer.confidence, answer.is_right()))
        .unzip();
    let n_answered = answers.iter().filter(|answer| !answer.abstained).count();
    let n_right = answers.iter().filter(|answer| !answer.abstained && answer.is_right()).count();
    let strangers = || answers.iter().filter(|answer| answer.label.is_none());
    let n_out_of_scope = strangers().count();
    let n_refused = strangers().filter(|answer| answer.abstained).count();
    let share = |n: usize, of: usize| (of > 0).then(|| n as f64 / of as f64);
    let (risk_curve, area_under_risk) = risk(answers);
    Ok(IntentMeasures {
        n_texts: asked.len() as u64,
        n_out_of_scope: n_out_of_scope as u64,
        accuracy: with_interval(&accuracy),
        macro_f1: with_interval(&|rows| macro_f1(rows, n_intents)),
        ece: ece(&Predictions::new(confidences, right)?, Bins::default())?,
        coverage: n_answered as f64 / answers.len() as f64,
        answered_precision: share(n_right, n_answered),
        out_of_scope_recall: share(n_refused, n_out_of_scope),
        risk_curve,
        area_under_risk,
        confusions: confusions(answers),
    })
}

/// What was asked and what is the most probable, text by text.
type Pairs<'a> = dyn Iterator<Item = (u32, u32)> + 'a;

fn accuracy(rows: &mut Pairs<'_>) -> f64 {
    let (mut n_right, mut n) = (0.0, 0.0);
    for (label, best) in rows {
        n += 1.0;
        n_right += f64::from(u8::from(label == best));
    }
    n_right / n
}

fn macro_f1(rows: &mut Pairs<'_>, n_intents: usize) -> f64 {
    // Right, asked, answered.
    let mut counts = vec![[0u32; 3]; n_intents];
    for (label, best) in rows {
        counts[label as usize][1] += 1;
        counts[best as usize][2] += 1;
        counts[best as usize][0] += u32::from(label == best);
    }
    let (mut sum, mut n) = (0.0, 0.0);
    for [right, asked, answered] in counts {
        if asked + answered > 0 {
            sum += 2.0 * f64::from(right) / f64::from(asked + answered);
            n += 1.0;
        }
    }
    sum / n
}

/// Texts by their scores; equal scores share their errors evenly, so that their order plays no part.
fn risk(answers: &[IntentAnswer]) -> (Vec<RiskPoint>, f64) {
    let mut rows: Vec<(f64, bool)> =
        answers.iter().map(|answer| (answer.score, answer.is_right())).collect();
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut n_wrong = 0.0;
    let mut risks = Vec::with_capacity(rows.len());
    for equal in rows.chunk_by(|a, b| a.0 == b.0) {
        let wrong = equal.iter().filter(|(_, is_right)| !is_right).count() as f64;
        for _ in equal {
            n_wrong += wrong / equal.len() as f64;
            risks.push(n_wrong / (risks.len() + 1) as f64);
        }
    }
    let n = risks.len();
    let point = |step: usize| {
        let n_answered = (n * step).div_ceil(N_POINTS).max(1);
        RiskPoint { coverage: n_answered as f64 / n as f64, risk: risks[n_answered - 1] }
    };
    ((1..=N_POINTS).map(point).collect(), risks.iter().sum::<f64>() / n as f64)
}

fn confusions(answers: &[IntentAnswer]) -> Vec<Confusion> {
    let mut pairs: std::collections::BTreeMap<(u32, u32), Vec<usize>> = Default::default();
    for (place, answer) in answers.iter().enumerate().filter(|(_, answer)| !answer.is_right()) {
        if let Some(label) = answer.label {
            pairs.entry((label, answer.best)).or_default().push(place);
        }
    }
    let confusion = |((asked, answered), mut places): ((u32, u32), Vec<usize>)| {
        let n_texts = places.len() as u64;
        places.truncate(N_EXAMPLES);
        Confusion { asked, answered, n_texts, examples: places }
    };
    let mut confusions: Vec<Confusion> = pairs.into_iter().map(confusion).collect();
    // Stable: equal ones by their intents.
    confusions.sort_by_key(|confusion| std::cmp::Reverse(confusion.n_texts));
    confusions.truncate(N_PAIRS);
    confusions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(label: Option<u32>, best: u32, score: f64, abstained: bool) -> IntentAnswer {
        IntentAnswer { best, confidence: score, score, abstained, label }
    }

    #[test]
    fn values_worked_out_by_hand() {
        let answers = [
            answer(Some(0), 0, 0.9, false),
            answer(Some(0), 0, 0.8, false),
            answer(Some(1), 0, 0.7, false),
            answer(Some(1), 1, 0.6, true),
            answer(None, 1, 0.3, true),
            answer(None, 0, 0.75, false),
        ];
        let found = measure_intents(&answers, 3, &Bootstrap::default()).unwrap();
        assert_eq!((found.n_texts, found.n_out_of_scope), (4, 2));
        assert_eq!(found.accuracy.value, 0.75);
        // Intent 0: 2 right, 2 asked, 3 answered; intent 1: 1 right, 2 asked, 1 answered; intent 2 plays no part.
        assert!((found.macro_f1.value - (4.0 / 5.0 + 2.0 / 3.0) / 2.0).abs() < 1e-12);
        assert_eq!(found.answered_precision, Some(0.5));
        assert_eq!(found.out_of_scope_recall, Some(0.5));
        assert!((found.coverage - 4.0 / 6.0).abs() < 1e-12);
        let area = (0.0 + 0.0 + 1.0 / 3.0 + 2.0 / 4.0 + 2.0 / 5.0 + 3.0 / 6.0) / 6.0;
        assert!((found.area_under_risk - area).abs() < 1e-12, "{found:?}");
        assert_eq!(found.risk_curve.last().unwrap().risk, 0.5);
        let pairs: Vec<_> =
            found.confusions.iter().map(|c| (c.asked, c.answered, c.n_texts)).collect();
        assert_eq!(pairs, [(1, 0, 1)]);
        assert_eq!(found.confusions[0].examples, [2]);
        assert!(found.accuracy.interval.low < 0.75 && found.accuracy.interval.high > 0.75);
    }

    #[test]
    fn equal_scores_say_the_same_in_any_order() {
        let mut answers: Vec<_> = (0..10).map(|at| answer(Some(at % 2), 0, 0.5, false)).collect();
        let one = measure_intents(&answers, 2, &Bootstrap::default()).unwrap();
        answers.reverse();
        let other = measure_intents(&answers, 2, &Bootstrap::default()).unwrap();
        assert_eq!(one.risk_curve, other.risk_curve);
        assert!(one.risk_curve.iter().all(|point| (point.risk - 0.5).abs() < 1e-12));
    }

    #[test]
    fn no_texts_are_an_error() {
        measure_intents(&[answer(None, 0, 0.1, true)], 1, &Bootstrap::default()).unwrap_err();
    }
}
