//! What came of an experiment so far.

use serde::Serialize;
use utoipa::ToSchema;

use super::outcomes::{Outcome, Outcomes, collect};
use super::sample_ratio::SampleRatio;
use super::sequence::{ConfidenceSequence, Moments};
use super::status::ExperimentStatus;
use super::{Experiment, SAMPLE_RATIO_LEVEL};
use crate::catalog::time;
use crate::consent::Consents;
use crate::store::{Store, StoreError};

/// Users of a variant from which on intervals are told: with fewer the normal approximation means little.
pub const MIN_USERS: u64 = 100;

/// What is said of a variant beside the control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The interval is above 0.
    Better,
    /// The interval is below 0.
    Worse,
    /// The interval holds 0.
    NotDecided,
    /// Too few in one of the two for an interval to mean anything.
    TooFewUsers,
    /// Users did not come in the shares that they were assigned in.
    Invalid,
}

/// A variant less the control.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Difference {
    /// Of the means.
    pub value: f64,
    /// Lower end of the interval; null with too few users.
    pub lower: Option<f64>,
    /// Upper end of the interval; null with too few users.
    pub upper: Option<f64>,
    /// The difference over the mean of the control; null where that is 0.
    pub relative_lift: Option<f64>,
    /// What follows.
    pub verdict: Verdict,
    /// About how many users more of both variants a decision takes, if means stay as they are.
    pub n_more_users: Option<u64>,
    /// The same for people.
    pub in_words: String,
}

/// What the users of a variant did, by one metric.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct VariantOutcome {
    /// The variant.
    pub variant: String,
    /// Users who count.
    pub n_users: u64,
    /// Mean over users.
    pub mean: f64,
    /// Against the control; null of the control.
    pub difference: Option<Difference>,
}

/// All variants by one metric.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct MetricReadOut {
    /// `clicked` (share of users who clicked), `clicks`, `purchases` and `revenue`, each per user who saw a list.
    pub metric: String,
    /// The control first.
    pub variants: Vec<VariantOutcome>,
}

/// What came of an experiment so far.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ReadOut {
    /// What it is.
    pub experiment: ExperimentStatus,
    /// When it was computed, as RFC 3339.
    pub counted_at: String,
    /// Users who count: their time after the first impression is over.
    pub n_users: u64,
    /// Users whose time is not over.
    pub n_waiting: u64,
    /// False: nothing may be concluded; `problems` says why.
    pub is_valid: bool,
    /// What is wrong, or should be known.
    pub problems: Vec<String>,
    /// Whether users came in the shares that they were assigned in.
    pub sample_ratio: SampleRatio,
    /// By metric.
    pub metrics: Vec<MetricReadOut>,
}

/// Reads all events of an experiment and says what came of it so far. It may be asked as often as one likes: the intervals hold at all times at
/// once.
///
/// # Errors
/// [`StoreError`] if the store cannot be read.
pub async fn read_out(
    store: &dyn Store,
    experiment: &Experiment,
    consents: &Consents,
    now_ms: i64,
) -> Result<ReadOut, StoreError> {
    let outcomes = collect(store, experiment, consents, now_ms).await?;
    Ok(of_outcomes(experiment, &outcomes, now_ms))
}

fn of_outcomes(experiment: &Experiment, outcomes: &Outcomes, now_ms: i64) -> ReadOut {
    let variants = &experiment.variants;
    let mut n_users = vec![0; variants.len()];
    outcomes.closed.iter().for_each(|outcome| n_users[outcome.variant] += 1);
    let shares = variants.iter().map(|variant| variant.share).collect();
    let sample_ratio = SampleRatio::new(shares, n_users);
    let is_valid = sample_ratio.is_as_expected;
    let mut problems = Vec::new();
    if !is_valid {
        problems.push(format!(
            "users did not come to the variants in their shares (p = {:.1e}, below {SAMPLE_RATIO_LEVEL}): something keeps users of a variant out of sight, and no comparison holds",
            sample_ratio.p_value
        ));
    }
    if experiment.begins_ms.is_none() {
        problems
            .push("without `begins` only impressions that say their `variant` count".to_owned());
    }
    type Value = fn(&Outcome) -> f64;
    let always: [(&str, Value); 3] = [
        ("clicked", |own| f64::from(u8::from(own.n_clicks > 0))),
        ("clicks", |own| f64::from(own.n_clicks)),
        ("purchases", |own| f64::from(own.n_purchases)),
    ];
    let mut metrics = always.to_vec();
    if outcomes.has_currencies {
        problems.push("purchases are in several currencies: revenue is not summed".to_owned());
    } else if outcomes.closed.iter().any(|own| own.revenue != 0.0) {
        metrics.push(("revenue", |own| own.revenue));
        if outcomes.n_without_amount > 0 {
            problems.push(format!(
                "{} purchases have neither price nor value and are not in revenue",
                outcomes.n_without_amount
            ));
        }
    }
    let metric = |(name, value): (&str, Value)| {
        let mut moments = vec![Moments::default(); variants.len()];
        outcomes.closed.iter().for_each(|own| moments[own.variant].push(value(own)));
        let names = variants.iter().map(|variant| variant.name.as_str());
        MetricReadOut {
            metric: name.to_owned(),
            variants: compared(experiment, names, &moments, is_valid),
        }
    };
    ReadOut {
        experiment: experiment.status(None, now_ms),
        counted_at: time::in_words(now_ms),
        n_users: outcomes.closed.len() as u64,
        n_waiting: outcomes.n_waiting,
        is_valid,
        problems,
        sample_ratio,
        metrics: metrics.into_iter().map(metric).collect(),
    }
}

/// Each variant beside the control, the level being divided among the comparisons (Bonferroni).
fn compared<'a>(
    experiment: &Experiment,
    names: impl Iterator<Item = &'a str>,
    moments: &[Moments],
    is_valid: bool,
) -> Vec<VariantOutcome> {
    let n_comparisons = (moments.len() - 1).max(1) as f64;
    let sequence = ConfidenceSequence::new(experiment.alpha / n_comparisons, experiment.n_tuned);
    let control = &moments[0];
    let outcome = |(place, (name, own)): (usize, (&str, &Moments))| VariantOutcome {
        variant: name.to_owned(),
        n_users: own.n(),
        mean: own.mean(),
        difference: (place > 0).then(|| difference(&sequence, own, control, is_valid)),
    };
    names.zip(moments).enumerate().map(outcome).collect()
}

fn difference(
    sequence: &ConfidenceSequence,
    variant: &Moments,
    control: &Moments,
    is_valid: bool,
) -> Difference {
    let interval = sequence.of_difference(variant, control);
    let is_told = variant.n().min(control.n()) >= MIN_USERS;
    let verdict = match (is_valid, is_told) {
        (false, _) => Verdict::Invalid,
        (true, false) => Verdict::TooFewUsers,
        (true, true) if interval.lower > 0.0 => Verdict::Better,
        (true, true) if interval.upper < 0.0 => Verdict::Worse,
        (true, true) => Verdict::NotDecided,
    };
    let n_more_users = match verdict {
        Verdict::NotDecided => sequence.n_more_users(variant, control),
        _ => None,
    };
    let in_words = match (verdict, n_more_users) {
        (Verdict::Better, _) => "better".to_owned(),
        (Verdict::Worse, _) => "worse".to_owned(),
        (Verdict::Invalid, _) => {
            "invalid: users did not come in the shares of the variants".to_owned()
        }
        (Verdict::TooFewUsers, _) => format!("too few users: {MIN_USERS} in each variant at least"),
        (Verdict::NotDecided, Some(n)) => format!("not decided yet; at least about {n} more users"),
        (Verdict::NotDecided, None) => "not decided yet".to_owned(),
    };
    let relative_lift = (control.mean() != 0.0).then(|| interval.difference / control.mean());
    Difference {
        value: interval.difference,
        lower: is_told.then_some(interval.lower),
        upper: is_told.then_some(interval.upper),
        relative_lift,
        verdict,
        n_more_users,
        in_words,
    }
}
