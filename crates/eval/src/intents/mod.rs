//! Measures of models that say what a text asks, or abstain.
//!
//! Of a model that is fitted with several seeds, values are means over the seeds. Start at [`measure_intents`]; [`compare_intents`] puts two
//! models beside each other on the same texts, [`confusions`] says which intent is taken for which.

mod compare;
mod confusion;
mod risk;

use serde::{Deserialize, Serialize};

use crate::bootstrap::{Bootstrap, Interval, draws};
use crate::error::EvalError;
use crate::probability::{
    Bins, Histogram, Predictions, ReliabilityBin, ece, histogram, reliability,
};
use crate::report::sample_sd;

pub use compare::{IntentMetric, compare_intents};
pub use confusion::{Confusion, confusions};
pub use risk::RiskPoint;

/// Bars of the histogram of probabilities.
const N_BARS: usize = 40;

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

/// A value and how sure it is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WithInterval {
    /// Over all texts, or moments; the mean over the seeds.
    pub value: f64,
    /// By resampling texts, or users.
    pub interval: Interval,
    /// Sample standard deviation over the seeds, with two seeds or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sd_over_seeds: Option<f64>,
}

/// What comes of answering some texts and not others.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AnswerRates {
    /// Share of all texts that were answered.
    pub coverage: f64,
    /// Of the answers, the share that is right; an answer to a text that asks for none is wrong. `None` if nothing was answered.
    pub answered_precision: Option<f64>,
    /// Of texts that ask for an intent, the share that was answered with it.
    pub in_scope_accuracy: f64,
    /// Of texts that ask for an intent, the share that was not answered.
    pub false_alarm_rate: f64,
    /// Of texts that ask for none, the share that was not answered; `None` where there are none.
    pub out_of_scope_recall: Option<f64>,
}

/// The same if a text is answered wherever the most probable intent has at least some probability, whatever the model's own rule is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RatesFrom {
    /// The least probability of an answer.
    pub min_confidence: f64,
    /// What comes of it.
    #[serde(flatten)]
    pub rates: AnswerRates,
}

/// The answers by what was asked. A text counts once for each seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntentCounts {
    /// How often the intent is asked for.
    pub n_asked: u64,
    /// How often it is the most probable one, of texts that ask for an intent.
    pub n_found: u64,
    /// How often both.
    pub n_right: u64,
}

impl IntentCounts {
    /// Of the texts that are taken for it, the share that asks for it.
    pub fn precision(self) -> Option<f64> {
        (self.n_found > 0).then(|| self.n_right as f64 / self.n_found as f64)
    }

    /// Of the texts that ask for it, the share that is taken for it.
    pub fn recall(self) -> Option<f64> {
        (self.n_asked > 0).then(|| self.n_right as f64 / self.n_asked as f64)
    }

    /// The harmonic mean of both; 0 for one that is asked for and never found, `None` for one that plays no part.
    pub fn f1(self) -> Option<f64> {
        let n = self.n_asked + self.n_found;
        (n > 0).then(|| 2.0 * self.n_right as f64 / n as f64)
    }
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
    /// These bins, of the first seed.
    pub reliability: Vec<ReliabilityBin>,
    /// How these probabilities are spread, of the first seed.
    pub histogram: Histogram,
    /// By the model's own rule.
    #[serde(flatten)]
    pub rates: AnswerRates,
    /// By a probability, where that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rates_from: Option<RatesFrom>,
    /// Share of wrong answers at each twentieth of coverage, all texts together.
    pub risk_curve: Vec<RiskPoint>,
    /// Mean share of wrong answers over all coverages (Geifman et al., ICLR 2019).
    pub area_under_risk: f64,
    /// Each intent, by its place.
    pub by_intent: Vec<IntentCounts>,
}

/// Measures the answers of each seed, all to the same texts in one order. With `min_confidence`, what comes of answering from that probability on
/// is measured too.
///
/// # Errors
/// [`EvalError::Option`] if no text asks for an intent, the seeds have other texts, or the bootstrap cannot be done.
pub fn measure_intents(
    seeds: &[Vec<IntentAnswer>],
    n_intents: usize,
    min_confidence: Option<f64>,
    bootstrap: &Bootstrap,
) -> Result<IntentMeasures, EvalError> {
    bootstrap.check()?;
    check(seeds)?;
    let first = &seeds[0];
    let asked: Vec<Vec<(u32, u32)>> = seeds.iter().map(|answers| asked(answers)).collect();
    let confident = seeds.iter().map(|answers| predictions(answers));
    let confident = confident.collect::<Result<Vec<_>, _>>()?;
    let errors = confident.iter().map(|own| ece(own, Bins::default()));
    let errors = errors.collect::<Result<Vec<_>, _>>()?;
    let (curves, areas): (Vec<_>, Vec<_>) = seeds.iter().map(|answers| risk::risk(answers)).unzip();
    let rates = |answers: &dyn Fn(&IntentAnswer) -> bool| {
        mean_rates(&seeds.iter().map(|own| rates(own, answers)).collect::<Vec<_>>())
    };
    let n_texts = asked[0].len();
    Ok(IntentMeasures {
        n_texts: n_texts as u64,
        n_out_of_scope: (first.len() - n_texts) as u64,
        accuracy: with_interval(IntentMetric::Accuracy, &asked, n_intents, bootstrap),
        macro_f1: with_interval(IntentMetric::MacroF1, &asked, n_intents, bootstrap),
        ece: mean(errors.into_iter()),
        reliability: reliability(&confident[0], Bins::default(), bootstrap.confidence)?,
        histogram: histogram(&confident[0], N_BARS),
        rates: rates(&|answer| !answer.abstained),
        rates_from: min_confidence.map(|min_confidence| RatesFrom {
            min_confidence,
            rates: rates(&|answer| answer.confidence >= min_confidence),
        }),
        risk_curve: risk::mean_curve(&curves),
        area_under_risk: mean(areas.into_iter()),
        by_intent: counts(asked.iter().flatten().copied(), n_intents),
    })
}

/// Every seed has answered the same texts, and one of them asks for an intent.
fn check(seeds: &[Vec<IntentAnswer>]) -> Result<(), EvalError> {
    let wrong = |reason: &str| EvalError::Option { option: "answers", reason: reason.to_owned() };
    let labels = |answers: &[IntentAnswer]| -> Vec<Option<u32>> {
        answers.iter().map(|answer| answer.label).collect()
    };
    let first = seeds.first().map(|answers| labels(answers)).unwrap_or_default();
    if first.iter().all(Option::is_none) {
        return Err(wrong("no text asks for an intent"));
    }
    match seeds.iter().all(|answers| labels(answers) == first) {
        true => Ok(()),
        false => Err(wrong("they are of different texts")),
    }
}

/// What was asked and what is the most probable, of the texts that ask for an intent.
fn asked(answers: &[IntentAnswer]) -> Vec<(u32, u32)> {
    answers.iter().filter_map(|answer| Some((answer.label?, answer.best))).collect()
}

/// The probability of the most probable intent and whether it is asked for, of the texts that ask for an intent.
fn predictions(answers: &[IntentAnswer]) -> Result<Predictions, EvalError> {
    let in_scope = answers.iter().filter(|answer| answer.label.is_some());
    let (confidences, right) =
        in_scope.map(|answer| (answer.confidence, answer.is_right())).unzip();
    Predictions::new(confidences, right)
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}

/// The metric, the mean over the seeds, with the interval of that mean.
fn with_interval(
    metric: IntentMetric,
    asked: &[Vec<(u32, u32)>],
    n_intents: usize,
    bootstrap: &Bootstrap,
) -> WithInterval {
    let of_seeds: Vec<f64> =
        asked.iter().map(|rows| metric.of(rows.iter().copied(), n_intents)).collect();
    let n_texts = asked[0].len();
    let mut resampled: Vec<f64> = (0..bootstrap.n_resamples)
        .map(|at| {
            let drawn: Vec<usize> = draws(bootstrap, at, n_texts).collect();
            mean(
                asked
                    .iter()
                    .map(|rows| metric.of(drawn.iter().map(|place| rows[*place]), n_intents)),
            )
        })
        .collect();
    WithInterval {
        value: mean(of_seeds.iter().copied()),
        interval: Interval::of(&mut resampled, bootstrap.confidence),
        sd_over_seeds: sample_sd(&of_seeds),
    }
}

fn counts(rows: impl Iterator<Item = (u32, u32)>, n_intents: usize) -> Vec<IntentCounts> {
    let mut counts = vec![IntentCounts { n_asked: 0, n_found: 0, n_right: 0 }; n_intents];
    for (label, best) in rows {
        counts[label as usize].n_asked += 1;
        counts[best as usize].n_found += 1;
        counts[best as usize].n_right += u64::from(label == best);
    }
    counts
}

fn rates(answers: &[IntentAnswer], is_answered: &dyn Fn(&IntentAnswer) -> bool) -> AnswerRates {
    let count = |of: &dyn Fn(&IntentAnswer) -> bool| answers.iter().filter(|own| of(own)).count();
    let n_answered = count(is_answered);
    let n_right = count(&|own| is_answered(own) && own.is_right());
    let (n_asked, n_strangers) =
        (count(&|own| own.label.is_some()), count(&|own| own.label.is_none()));
    let n_silent = count(&|own| own.label.is_some() && !is_answered(own));
    let n_refused = count(&|own| own.label.is_none() && !is_answered(own));
    let share = |n: usize, of: usize| (of > 0).then(|| n as f64 / of as f64);
    AnswerRates {
        coverage: n_answered as f64 / answers.len() as f64,
        answered_precision: share(n_right, n_answered),
        in_scope_accuracy: share(n_right, n_asked).unwrap_or(0.0),
        false_alarm_rate: share(n_silent, n_asked).unwrap_or(0.0),
        out_of_scope_recall: share(n_refused, n_strangers),
    }
}

/// Over the seeds; of what a seed lacks, over the others.
fn mean_rates(seeds: &[AnswerRates]) -> AnswerRates {
    let of = |value: &dyn Fn(&AnswerRates) -> Option<f64>| {
        let known: Vec<f64> = seeds.iter().filter_map(value).collect();
        (!known.is_empty()).then(|| mean(known.into_iter()))
    };
    AnswerRates {
        coverage: of(&|own| Some(own.coverage)).unwrap_or(0.0),
        answered_precision: of(&|own| own.answered_precision),
        in_scope_accuracy: of(&|own| Some(own.in_scope_accuracy)).unwrap_or(0.0),
        false_alarm_rate: of(&|own| Some(own.false_alarm_rate)).unwrap_or(0.0),
        out_of_scope_recall: of(&|own| own.out_of_scope_recall),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(label: Option<u32>, best: u32, score: f64, abstained: bool) -> IntentAnswer {
        IntentAnswer { best, confidence: score, score, abstained, label }
    }

    fn measured(answers: &[IntentAnswer], n_intents: usize) -> Result<IntentMeasures, EvalError> {
        measure_intents(&[answers.to_vec()], n_intents, Some(0.7), &Bootstrap::default())
    }

    fn six() -> [IntentAnswer; 6] {
        [
            answer(Some(0), 0, 0.9, false),
            answer(Some(0), 0, 0.8, false),
            answer(Some(1), 0, 0.7, false),
            answer(Some(1), 1, 0.6, true),
            answer(None, 1, 0.3, true),
            answer(None, 0, 0.75, false),
        ]
    }

    #[test]
    fn values_worked_out_by_hand() {
        let found = measured(&six(), 3).unwrap();
        assert_eq!((found.n_texts, found.n_out_of_scope), (4, 2));
        assert_eq!(found.accuracy.value, 0.75);
        // Intent 0: 2 right, 2 asked, 3 answered; intent 1: 1 right, 2 asked, 1 answered; intent 2 plays no part.
        assert!((found.macro_f1.value - (4.0 / 5.0 + 2.0 / 3.0) / 2.0).abs() < 1e-12);
        assert_eq!(found.by_intent[0], IntentCounts { n_asked: 2, n_found: 3, n_right: 2 });
        assert_eq!(found.by_intent[1].recall(), Some(0.5));
        assert_eq!((found.by_intent[1].precision(), found.by_intent[2].f1()), (Some(1.0), None));
        assert_eq!(found.rates.answered_precision, Some(0.5));
        assert_eq!((found.rates.in_scope_accuracy, found.rates.false_alarm_rate), (0.5, 0.25));
        assert_eq!(found.rates.out_of_scope_recall, Some(0.5));
        assert!((found.rates.coverage - 4.0 / 6.0).abs() < 1e-12);
        let area = (0.0 + 0.0 + 1.0 / 3.0 + 2.0 / 4.0 + 2.0 / 5.0 + 3.0 / 6.0) / 6.0;
        assert!((found.area_under_risk - area).abs() < 1e-12, "{found:?}");
        assert_eq!(found.risk_curve.last().unwrap().risk, 0.5);
        assert!(found.accuracy.interval.low < 0.75 && found.accuracy.interval.high > 0.75);
        assert_eq!(found.accuracy.sd_over_seeds, None);
    }

    #[test]
    fn a_given_probability_takes_the_place_of_the_models_own_rule() {
        // All but those of .6 and .3 are answered, as by the rule; from .1 on, all are.
        let all = measure_intents(&[six().to_vec()], 3, Some(0.1), &Bootstrap::default()).unwrap();
        let rates = all.rates_from.unwrap().rates;
        assert_eq!((rates.coverage, rates.in_scope_accuracy), (1.0, 0.75));
        assert_eq!((rates.false_alarm_rate, rates.out_of_scope_recall), (0.0, Some(0.0)));
        assert_eq!(measured(&six(), 3).unwrap().rates_from.unwrap().rates, all.rates);
    }

    #[test]
    fn seeds_are_averaged_and_their_spread_is_said() {
        let mut other = six().to_vec();
        other[0].best = 1;
        let seeds = [six().to_vec(), other.clone()];
        let found = measure_intents(&seeds, 3, None, &Bootstrap::default()).unwrap();
        assert_eq!(found.accuracy.value, 0.625);
        assert!((found.accuracy.sd_over_seeds.unwrap() - 0.125 * 2f64.sqrt()).abs() < 1e-12);
        assert_eq!(found.by_intent[0].n_asked, 4);
        other[0].label = None;
        let wrong = measure_intents(&[six().to_vec(), other], 3, None, &Bootstrap::default());
        assert!(wrong.unwrap_err().to_string().contains("different texts"));
    }

    #[test]
    fn equal_scores_say_the_same_in_any_order() {
        let mut answers: Vec<_> = (0..10).map(|at| answer(Some(at % 2), 0, 0.5, false)).collect();
        let one = measured(&answers, 2).unwrap();
        answers.reverse();
        let other = measured(&answers, 2).unwrap();
        assert_eq!(one.risk_curve, other.risk_curve);
        assert!(one.risk_curve.iter().all(|point| (point.risk - 0.5).abs() < 1e-12));
    }

    #[test]
    fn no_texts_are_an_error() {
        measured(&[answer(None, 0, 0.1, true)], 1).unwrap_err();
        measure_intents(&[], 1, None, &Bootstrap::default()).unwrap_err();
    }
}
