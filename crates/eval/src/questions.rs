//! Measures of models that say what a customer will ask next.
//!
//! A row is a moment; each intent is a binary outcome of its own there. Intervals resample users, since the moments of one are alike. Of a model that is
//! fitted with several seeds, values are means over the seeds.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::bootstrap::{Bootstrap, GroupSums, Resampled, numbered, ratios};
use crate::error::EvalError;
use crate::intents::WithInterval;
use crate::probability::{
    Bootstrapped, Histogram, MeasureOptions, NoiseFloor, Predictions, ProbabilityMetric,
    ReliabilityBin, ResampledUnit, auc, average_precision, histogram,
};
use crate::report::sample_sd;
use crate::significance::{Comparison, compare_sums};

/// Logarithms are of probabilities no nearer to 0 or 1 than this, as those of [`crate::probability::logloss`].
const CLIP: f64 = crate::probability::LOGLOSS_CLIP;

/// Bars of the histogram of probabilities.
const N_BARS: usize = 40;

/// Moments and what was asked after each.
#[derive(Debug, Clone, PartialEq)]
pub struct QuestionCases {
    n_intents: usize,
    /// The user of each moment, numbered from 0 without gaps.
    users: Vec<u32>,
    n_users: usize,
    /// `[n_moments, n_intents]`.
    asked: Vec<bool>,
}

impl QuestionCases {
    /// Moments by their users and what came true at each.
    ///
    /// # Shapes
    /// `users: [n_moments]`, any numbers; `asked: [n_moments, n_intents]`, row by row.
    ///
    /// # Errors
    /// [`EvalError::Input`] if there is no moment or no intent, or the lists do not fit each other.
    pub fn new(users: &[u32], asked: Vec<bool>, n_intents: usize) -> Result<Self, EvalError> {
        if users.is_empty() || n_intents == 0 {
            return Err(wrong("there is no moment or no intent".into()));
        }
        if users.len().checked_mul(n_intents) != Some(asked.len()) {
            let (n, n_asked) = (users.len(), asked.len());
            return Err(wrong(format!("{n} moments of {n_intents} intents have {n_asked} labels")));
        }
        let (users, n_users) = numbered(users);
        Ok(Self { n_intents, users, n_users, asked })
    }

    /// Number of moments.
    pub fn n_moments(&self) -> usize {
        self.users.len()
    }

    fn check(&self, seeds: &[Vec<f64>]) -> Result<(), EvalError> {
        if seeds.is_empty() {
            return Err(wrong("there are probabilities of no seed".into()));
        }
        let Some(other) = seeds.iter().find(|own| own.len() != self.asked.len()) else {
            return Ok(());
        };
        let (n, n_found) = (self.asked.len(), other.len());
        Err(wrong(format!("{n} outcomes have {n_found} probabilities")))
    }

    /// For each user, the sum of a value over its moments and how many moments have one.
    fn sums(
        &self,
        probabilities: &[f64],
        value: impl Fn(&[f64], &[bool]) -> Option<f64>,
    ) -> GroupSums {
        let mut sums = vec![(0.0, 0.0); self.n_users];
        let rows = probabilities.chunks_exact(self.n_intents);
        for ((row, asked), user) in
            rows.zip(self.asked.chunks_exact(self.n_intents)).zip(&self.users)
        {
            if let Some(value) = value(row, asked) {
                let sum = &mut sums[*user as usize];
                *sum = (sum.0 + value, sum.1 + 1.0);
            }
        }
        sums
    }

    /// The means of the sums over seeds, which are of the same moments.
    fn mean_sums(&self, seeds: &[Vec<f64>], metric: QuestionMetric) -> GroupSums {
        let mut mean = vec![(0.0, 0.0); self.n_users];
        for probabilities in seeds {
            for (mean, own) in mean.iter_mut().zip(metric.sums(self, probabilities)) {
                mean.0 += own.0 / seeds.len() as f64;
                mean.1 = own.1;
            }
        }
        mean
    }

    fn top(&self, probabilities: &[f64], k: usize) -> GroupSums {
        self.sums(probabilities, |row, asked| top_hit(row, asked, k))
    }

    fn log_losses(&self, probabilities: &[f64]) -> GroupSums {
        self.sums(probabilities, |row, asked| {
            let cost = |(p, asked): (&f64, &bool)| {
                let p = if *asked { *p } else { 1.0 - p };
                -p.clamp(CLIP, 1.0 - CLIP).ln()
            };
            Some(row.iter().zip(asked).map(cost).sum::<f64>() / row.len() as f64)
        })
    }
}

/// An [`EvalError::Input`] about moments.
fn wrong(reason: String) -> EvalError {
    EvalError::Input { what: "questions", reason }
}

/// Whether one of the intents that were asked is among the `k` most probable ones, `None` where nothing was asked. Of intents that are
/// as probable as each other at the end of the list, each has the same chance to be on it.
fn top_hit(row: &[f64], asked: &[bool], k: usize) -> Option<f64> {
    if !asked.contains(&true) {
        return None;
    }
    let mut sorted = row.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let last = sorted[k.min(sorted.len()) - 1];
    let n_above = row.iter().filter(|p| **p > last).count();
    let at_end = || row.iter().zip(asked).filter(|(p, _)| **p == last);
    if row.iter().zip(asked).any(|(p, asked)| *asked && *p > last) {
        return Some(1.0);
    }
    // Of those at the end so many are drawn; the chance that none is one that was asked.
    let (n_equal, n_asked) = (at_end().count(), at_end().filter(|(_, asked)| **asked).count());
    let n_drawn = k.min(row.len()) - n_above;
    let missed = |at: usize| (n_equal - n_asked).saturating_sub(at) as f64 / (n_equal - at) as f64;
    Some(1.0 - (0..n_drawn).map(missed).product::<f64>())
}

/// What is measured of one intent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct IntentProbability {
    /// Moments after which it was asked.
    pub n_asked: u64,
    /// Their share of all moments.
    pub rate: f64,
    /// Its mean probability.
    pub mean_probability: f64,
    /// Area under the ROC curve, where it was asked after some moments and not after others.
    pub auc: Option<f64>,
    /// Average precision, as that.
    pub average_precision: Option<f64>,
}

/// All that is measured of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuestionMeasures {
    /// Moments.
    pub n_moments: u64,
    /// Those after which something was asked.
    pub n_asked: u64,
    /// Users of the moments.
    pub n_users: u64,
    /// Of moments after which something was asked, the share at which the most probable intent was asked. `None` if nothing was
    /// asked at all.
    pub top_1: Option<WithInterval>,
    /// The same of the three most probable ones: one of them was asked.
    pub top_3: Option<WithInterval>,
    /// Mean over moments and intents, in nats.
    pub log_loss: WithInterval,
    /// Expected calibration error over moments and intents, 15 bins of equal mass, of the first seed.
    pub ece: WithInterval,
    /// What the calibration error would be by chance alone.
    pub noise_floor: NoiseFloor,
    /// The table behind the calibration error.
    pub reliability: Vec<ReliabilityBin>,
    /// How the probabilities of the first seed are spread.
    pub histogram: Histogram,
    /// Each intent by itself.
    pub intents: Vec<IntentProbability>,
}

/// What models are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuestionMetric {
    /// See [`QuestionMeasures::top_1`]; more is better.
    #[serde(rename = "top_1")]
    Top1,
    /// See [`QuestionMeasures::top_3`]; more is better.
    #[serde(rename = "top_3")]
    Top3,
    /// See [`QuestionMeasures::log_loss`]; less is better.
    LogLoss,
}

impl QuestionMetric {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Top3, Self::Top1, Self::LogLoss];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Top1 => "top_1",
            Self::Top3 => "top_3",
            Self::LogLoss => "log_loss",
        }
    }

    /// Its value in what was measured.
    pub fn measured(self, measures: &QuestionMeasures) -> Option<WithInterval> {
        match self {
            Self::Top1 => measures.top_1,
            Self::Top3 => measures.top_3,
            Self::LogLoss => Some(measures.log_loss),
        }
    }

    /// Whether more is better.
    pub fn higher_is_better(self) -> bool {
        self != Self::LogLoss
    }

    fn sums(self, cases: &QuestionCases, probabilities: &[f64]) -> GroupSums {
        match self {
            Self::Top1 => cases.top(probabilities, 1),
            Self::Top3 => cases.top(probabilities, 3),
            Self::LogLoss => cases.log_losses(probabilities),
        }
    }
}

impl fmt::Display for QuestionMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for QuestionMetric {
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

fn ratio(sums: &GroupSums) -> f64 {
    let (sum, n) = sums.iter().fold((0.0, 0.0), |(sum, n), user| (sum + user.0, n + user.1));
    sum / n
}

/// The mean over the seeds, with the interval of this mean; `None` if no moment has a value.
fn with_interval(
    cases: &QuestionCases,
    seeds: &[Vec<f64>],
    metric: QuestionMetric,
    bootstrap: &Bootstrap,
) -> Option<WithInterval> {
    let sums = cases.mean_sums(seeds, metric);
    let value = ratio(&sums);
    let of_seeds: Vec<f64> = seeds.iter().map(|own| ratio(&metric.sums(cases, own))).collect();
    let interval = ratios(&[sums], bootstrap).pop()?.interval(bootstrap)?;
    Some(WithInterval { value, interval, sd_over_seeds: sample_sd(&of_seeds) })
}

/// Measures the probabilities that a model gave, once for each of its seeds.
///
/// # Shapes
/// `seeds`: of each `[n_moments, n_intents]`, row by row.
///
/// # Errors
/// [`EvalError::Input`] if they are not as many as there are outcomes or one is no probability; [`EvalError::Option`] if the bootstrap
/// cannot be done.
pub fn measure_questions(
    cases: &QuestionCases,
    seeds: &[Vec<f64>],
    bootstrap: &Bootstrap,
) -> Result<QuestionMeasures, EvalError> {
    cases.check(seeds)?;
    let n_intents = cases.n_intents;
    let users: Vec<u32> =
        cases.users.iter().flat_map(|user| std::iter::repeat_n(*user, n_intents)).collect();
    let pooled = Predictions::new(seeds[0].clone(), cases.asked.clone())?.with_groups(&users)?;
    let options = MeasureOptions {
        bootstrap: *bootstrap,
        unit: ResampledUnit::Groups,
        ..MeasureOptions::default()
    };
    let measured = Bootstrapped::new(&pooled, &options)?.measured()?;
    let no_interval = || wrong("no resample has a value".into());
    let of_metric = |metric| {
        let value = measured.value(metric).zip(measured.interval(metric));
        value
            .map(|(value, interval)| WithInterval { value, interval, sd_over_seeds: None })
            .ok_or_else(no_interval)
    };
    let of_intent = |intent: usize| -> Result<IntentProbability, EvalError> {
        let column = |at: usize| at * n_intents + intent;
        let rows = 0..cases.n_moments();
        let asked: Vec<bool> = rows.clone().map(|at| cases.asked[column(at)]).collect();
        let n_asked = asked.iter().filter(|asked| **asked).count();
        let both = n_asked > 0 && n_asked < asked.len();
        let own = seeds.iter().map(|probabilities| {
            let column = rows.clone().map(|at| probabilities[column(at)]);
            Predictions::new(column.collect(), asked.clone())
        });
        let own: Vec<Predictions> = own.collect::<Result<_, _>>()?;
        let mean = |of: fn(&Predictions) -> Option<f64>| {
            let sum: Option<f64> = own.iter().map(of).sum();
            sum.map(|sum| sum / own.len() as f64)
        };
        Ok(IntentProbability {
            n_asked: n_asked as u64,
            rate: own[0].base_rate(),
            mean_probability: mean(|own| Some(own.mean_probability())).unwrap_or_default(),
            auc: both.then(|| mean(auc)).flatten(),
            average_precision: both.then(|| mean(average_precision)).flatten(),
        })
    };
    let is_asked = |row: &&[bool]| row.contains(&true);
    Ok(QuestionMeasures {
        n_moments: cases.n_moments() as u64,
        n_asked: cases.asked.chunks_exact(n_intents).filter(is_asked).count() as u64,
        n_users: cases.n_users as u64,
        top_1: with_interval(cases, seeds, QuestionMetric::Top1, bootstrap),
        top_3: with_interval(cases, seeds, QuestionMetric::Top3, bootstrap),
        log_loss: with_interval(cases, seeds, QuestionMetric::LogLoss, bootstrap)
            .ok_or_else(no_interval)?,
        ece: of_metric(ProbabilityMetric::Ece)?,
        noise_floor: measured.noise_floor,
        reliability: measured.reliability,
        histogram: histogram(&pooled, N_BARS),
        intents: (0..n_intents).map(of_intent).collect::<Result<_, _>>()?,
    })
}

/// What the `left` probabilities have more than the `right` ones of each metric, both of any number of seeds, on the same moments: the difference of the means over
/// the seeds, by the paired bootstrap over users.
/// Hit rates are left out where nothing was asked.
///
/// # Errors
/// As [`measure_questions`].
pub fn compare_questions(
    cases: &QuestionCases,
    left: &[Vec<f64>],
    right: &[Vec<f64>],
    bootstrap: &Bootstrap,
) -> Result<Vec<(QuestionMetric, Comparison)>, EvalError> {
    bootstrap.check()?;
    cases.check(left)?;
    cases.check(right)?;
    let is_any_asked = cases.asked.contains(&true);
    let mut metrics = QuestionMetric::ALL.to_vec();
    metrics.retain(|metric| is_any_asked || *metric == QuestionMetric::LogLoss);
    let sums =
        |metric: &QuestionMetric| (cases.mean_sums(left, *metric), cases.mean_sums(right, *metric));
    let pairs: Vec<_> = metrics.iter().map(sums).collect();
    let found = compare_sums(&pairs, bootstrap);
    Ok(metrics.into_iter().zip(found).collect())
}

/// The hit rate of three of a model over that of the best of all models, with the interval of this ratio: both rates are of the same
/// resamples of users. `None` if nothing was asked, or the ceiling never hits.
///
/// # Errors
/// As [`measure_questions`].
pub fn share_of_ceiling(
    cases: &QuestionCases,
    model: &[Vec<f64>],
    ceiling: &[Vec<f64>],
    bootstrap: &Bootstrap,
) -> Result<Option<WithInterval>, EvalError> {
    bootstrap.check()?;
    cases.check(model)?;
    cases.check(ceiling)?;
    let columns = [model, ceiling].map(|own| cases.mean_sums(own, QuestionMetric::Top3));
    let [model, ceiling] =
        [0, 1].map(|place: usize| columns[place].iter().map(|(sum, _)| sum).sum::<f64>());
    if ceiling == 0.0 {
        return Ok(None);
    }
    let mut resampled = ratios(&columns, bootstrap).into_iter();
    let (Some(Resampled(models)), Some(Resampled(ceilings))) = (resampled.next(), resampled.next())
    else {
        return Ok(None);
    };
    // Both columns have the same moments, so that their resamples stand beside each other.
    let both = models.into_iter().zip(ceilings).filter(|(_, ceiling)| *ceiling > 0.0);
    let shares = Resampled(both.map(|(model, ceiling)| model / ceiling).collect());
    let interval = shares.interval(bootstrap);
    Ok(interval.map(|interval| WithInterval {
        value: model / ceiling,
        interval,
        sd_over_seeds: None,
    }))
}

/// A moment at which what an explanation names was deleted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeletedMoment {
    /// Any number of the user.
    pub user: u32,
    /// Behaviors that are named.
    pub n_named: usize,
    /// The probability that is explained.
    pub probability: f64,
    /// What is left of it without the behaviors that are named.
    pub without_named: f64,
    /// What is left of it without as many others, drawn at random.
    pub without_random: f64,
}

/// Whether what explanations name carries the probability: what is left without it, beside what is left without as many other behaviors (the deletion test of Samek et al., IEEE
/// TNNLS 28, 2017, of what is named in place of a curve).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DeletionCheck {
    /// Moments.
    pub n_moments: u64,
    /// Mean number of behaviors that are named.
    pub mean_named: f64,
    /// Mean probability of what is explained.
    pub probability: WithInterval,
    /// The same without the behaviors that are named.
    pub without_named: WithInterval,
    /// The same without as many others.
    pub without_random: WithInterval,
}

/// Means over the moments, with intervals over users; `None` without a moment.
///
/// # Errors
/// [`EvalError::Option`] if the bootstrap cannot be done.
pub fn check_deletions(
    moments: &[DeletedMoment],
    bootstrap: &Bootstrap,
) -> Result<Option<DeletionCheck>, EvalError> {
    bootstrap.check()?;
    let users: Vec<u32> = moments.iter().map(|own| own.user).collect();
    let (users, n_users) = numbered(&users);
    let mean = |of: fn(&DeletedMoment) -> f64| {
        let mut sums = vec![(0.0, 0.0); n_users];
        for (user, own) in users.iter().zip(moments) {
            let sum = &mut sums[*user as usize];
            *sum = (sum.0 + of(own), sum.1 + 1.0);
        }
        let value = ratio(&sums);
        let interval = ratios(&[sums], bootstrap).pop()?.interval(bootstrap)?;
        Some(WithInterval { value, interval, sd_over_seeds: None })
    };
    if moments.is_empty() {
        return Ok(None);
    }
    let n_named: usize = moments.iter().map(|own| own.n_named).sum();
    let found = || {
        Some(DeletionCheck {
            n_moments: moments.len() as u64,
            mean_named: n_named as f64 / moments.len() as f64,
            probability: mean(|own| own.probability)?,
            without_named: mean(|own| own.without_named)?,
            without_random: mean(|own| own.without_random)?,
        })
    };
    Ok(found())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_by_hand() {
        let asked = [false, true, false, false];
        assert_eq!(top_hit(&[0.1, 0.2, 0.3, 0.4], &[false; 4], 1), None);
        assert_eq!(top_hit(&[0.1, 0.2, 0.3, 0.4], &asked, 2), Some(0.0));
        assert_eq!(top_hit(&[0.1, 0.2, 0.3, 0.4], &asked, 3), Some(1.0));
        assert_eq!(top_hit(&[0.1, 0.2, 0.3, 0.4], &asked, 9), Some(1.0));
        // Two of three that are alike are on the list, or one of four.
        let chance = top_hit(&[0.2, 0.2, 0.2, 0.4], &asked, 3).unwrap();
        assert!((chance - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(top_hit(&[0.3; 4], &asked, 1), Some(0.25));
        let two = [false, true, true, false];
        let chance = top_hit(&[0.3; 4], &two, 2).unwrap();
        assert!((chance - (1.0 - 2.0 / 4.0 * 1.0 / 3.0)).abs() < 1e-12);
    }

    fn cases() -> (QuestionCases, Vec<f64>) {
        let users = [7, 7, 9, 4];
        let asked = [[true, false], [false, false], [false, true], [true, false]];
        let probabilities = vec![0.5, 0.25, 0.25, 0.25, 0.5, 0.25, 0.5, 0.25];
        (QuestionCases::new(&users, asked.concat(), 2).unwrap(), probabilities)
    }

    #[test]
    fn values_worked_out_by_hand() {
        let (cases, probabilities) = cases();
        let found = measure_questions(&cases, &[probabilities], &Bootstrap::default()).unwrap();
        assert_eq!((found.n_moments, found.n_asked, found.n_users), (4, 3, 3));
        assert!((found.top_1.unwrap().value - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(found.top_3.unwrap().value, 1.0);
        let [half, quarter, rest] = [2f64.ln(), 4f64.ln(), (4f64 / 3.0).ln()];
        let want = (half + rest + rest + rest + half + quarter + half + rest) / 8.0;
        assert!((found.log_loss.value - want).abs() < 1e-12);
        assert!(found.log_loss.interval.low <= want && want <= found.log_loss.interval.high);
        let [one, other] = [found.intents[0], found.intents[1]];
        assert_eq!((one.n_asked, one.rate, other.rate), (2, 0.5, 0.25));
        assert_eq!((one.mean_probability, other.mean_probability), (0.4375, 0.25));
        // Pairs of an asked and another moment: right, a tie, right, a tie.
        assert_eq!((one.auc, other.auc), (Some(0.75), Some(0.5)));
        let n_rows: usize = found.reliability.iter().map(|bin| bin.n_rows).sum();
        assert_eq!(n_rows, 8);
        let shares = found.histogram.shares.iter().sum::<f64>() + found.histogram.beyond;
        assert!((shares - 1.0).abs() < 1e-12);
    }

    #[test]
    fn values_of_several_seeds_are_means_over_them() {
        let (cases, first) = cases();
        let second: Vec<f64> = first.iter().map(|p| 1.0 - p).collect();
        let bootstrap = Bootstrap::default();
        let of = |seeds: &[Vec<f64>]| measure_questions(&cases, seeds, &bootstrap).unwrap();
        let [one, other] = [&first, &second].map(|own| of(std::slice::from_ref(own)));
        assert_eq!(one.log_loss.sd_over_seeds, None);
        let both = of(&[first.clone(), second.clone()]);
        let [a, b] = [one.log_loss.value, other.log_loss.value];
        assert!((both.log_loss.value - (a + b) / 2.0).abs() < 1e-12);
        let sd = both.log_loss.sd_over_seeds.unwrap();
        assert!((sd - (a - b).abs() / 2f64.sqrt()).abs() < 1e-12, "{sd}");
        let top_1 = |own: &QuestionMeasures| own.top_1.unwrap().value;
        assert!((top_1(&both) - (top_1(&one) + top_1(&other)) / 2.0).abs() < 1e-12);
        assert_eq!((both.ece.value, &both.reliability), (one.ece.value, &one.reliability));
        assert_eq!(both.intents[0].mean_probability, 0.5);
        let found = compare_questions(&cases, &[first.clone(), second], &[first], &bootstrap);
        let (metric, loss) = found.unwrap()[2];
        assert_eq!(metric, QuestionMetric::LogLoss);
        assert!((loss.difference - (b - a) / 2.0).abs() < 1e-12, "{loss:?}");
    }

    #[test]
    fn deletions_worked_out_by_hand() {
        let moment = |user, n_named, without_named| DeletedMoment {
            user,
            n_named,
            probability: 0.5,
            without_named,
            without_random: 0.25,
        };
        let bootstrap = Bootstrap::default();
        let found = check_deletions(&[moment(7, 1, 0.1), moment(7, 2, 0.2)], &bootstrap);
        let found = found.unwrap().unwrap();
        assert_eq!((found.n_moments, found.mean_named), (2, 1.5));
        assert!((found.without_named.value - 0.15).abs() < 1e-12);
        assert_eq!((found.probability.value, found.without_random.value), (0.5, 0.25));
        let two = check_deletions(&[moment(7, 1, 0.1), moment(9, 1, 0.3)], &bootstrap);
        let interval = two.unwrap().unwrap().without_named.interval;
        assert!(interval.low < 0.15 && interval.high > 0.25, "{interval:?}");
        assert_eq!(check_deletions(&[], &bootstrap).unwrap(), None);
    }

    #[test]
    fn a_better_model_is_found_on_the_same_users() {
        let users: Vec<u32> = (0..200).collect();
        let asked: Vec<bool> = (0..200).flat_map(|at| (0..5).map(move |k| at % 5 == k)).collect();
        let cases = QuestionCases::new(&users, asked.clone(), 5).unwrap();
        let good: Vec<f64> = asked.iter().map(|asked| if *asked { 0.7 } else { 0.1 }).collect();
        let found = compare_questions(&cases, &[good], &[vec![0.2; 1000]], &Bootstrap::default());
        let found = found.unwrap();
        assert_eq!(found[0].0, QuestionMetric::Top3);
        assert!((found[0].1.difference - 0.4).abs() < 1e-12, "{found:?}");
        let (metric, loss) = found[2];
        assert_eq!(metric, QuestionMetric::LogLoss);
        assert!(loss.difference < 0.0 && loss.interval.high < 0.0);
    }

    #[test]
    fn a_share_of_the_ceiling_is_sure_where_every_resample_says_the_same() {
        // 200 users; the ceiling hits always, the model at the first two of the five moments of each user.
        let users: Vec<u32> = (0..200).flat_map(|user| [user; 5]).collect();
        let asked: Vec<bool> = (0..1000).flat_map(|_| [true, false, false, false]).collect();
        let cases = QuestionCases::new(&users, asked, 4).unwrap();
        let row = |is_hit: bool| if is_hit { [0.9, 0.1, 0.1, 0.1] } else { [0.1, 0.9, 0.9, 0.9] };
        let rows =
            |of: fn(usize) -> bool| -> Vec<f64> { (0..1000).flat_map(|at| row(of(at))).collect() };
        let bootstrap = Bootstrap::default();
        let share = |model: &[f64], ceiling: &[f64]| {
            share_of_ceiling(&cases, &[model.to_vec()], &[ceiling.to_vec()], &bootstrap).unwrap()
        };
        let ceiling = rows(|_| true);
        let found = share(&rows(|at| at % 5 < 2), &ceiling).unwrap();
        let ends = [found.value, found.interval.low, found.interval.high];
        assert!(ends.iter().all(|end| (end - 0.4).abs() < 1e-12), "{found:?}");
        // What hits at some users and not at others is less sure, and what hits where the ceiling does has all of it.
        let some = rows(|at| at / 5 % 2 == 0);
        let found = share(&some, &ceiling).unwrap();
        assert!(found.interval.low < 0.47 && found.interval.high > 0.53, "{found:?}");
        let found = share(&some, &some).unwrap();
        assert_eq!((found.interval.low, found.interval.high), (1.0, 1.0));
        assert_eq!(share(&some, &rows(|_| false)), None);
    }

    #[test]
    fn lists_that_do_not_fit_are_refused() {
        QuestionCases::new(&[], vec![], 2).unwrap_err();
        QuestionCases::new(&[1], vec![true], 2).unwrap_err();
        let (cases, _) = cases();
        let bootstrap = Bootstrap::default();
        let all = |p: f64, n: usize| vec![vec![p; n]];
        measure_questions(&cases, &[], &bootstrap).unwrap_err();
        measure_questions(&cases, &all(0.5, 1), &bootstrap).unwrap_err();
        measure_questions(&cases, &all(1.5, 8), &bootstrap).unwrap_err();
        compare_questions(&cases, &all(0.5, 8), &all(0.5, 1), &bootstrap).unwrap_err();
        let nothing = QuestionCases::new(&[1], vec![false; 2], 2).unwrap();
        let found = measure_questions(&nothing, &all(0.1, 2), &bootstrap).unwrap();
        assert!(found.top_3.is_none() && found.intents[0].auc.is_none());
        let found = compare_questions(&nothing, &all(0.1, 2), &all(0.2, 2), &bootstrap).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, QuestionMetric::LogLoss);
    }
}
