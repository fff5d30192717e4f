//! Experiments as they are written in the configuration, and checked.

use std::num::NonZeroU64;

use serde::Deserialize;

use super::Assigned;
use super::arm::ONLY_VARIANT;
use crate::catalog::{nearest, time};

const HOUR_MS: f64 = 3_600_000.0;
/// Most variants of one experiment.
const MAX_VARIANTS: usize = 32;
/// Longest time after a first impression that is looked at, in hours.
const MAX_ATTRIBUTION_HOURS: f64 = 24.0 * 90.0;

/// An experiment as it is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawExperiment {
    /// Its name; users are assigned by it, so that another name shuffles them.
    pub name: String,
    /// Scenarios that it runs in; all, where none is named.
    #[serde(default)]
    pub scenarios: Vec<String>,
    /// Part of the users that is in it, in 0..=1.
    pub share: Option<f64>,
    /// When it begins, as RFC 3339.
    pub begins: Option<String>,
    /// When it ends, as RFC 3339.
    pub ends: Option<String>,
    /// Hours from a user's first impression in which what they do counts.
    pub attribution_hours: Option<f64>,
    /// Probability that any variant is called different though none is.
    pub alpha: Option<f64>,
    /// About how many users it will have: the intervals are narrowest there.
    pub users: Option<NonZeroU64>,
    /// What is compared; the first is the control.
    #[serde(default)]
    pub variant: Vec<RawVariant>,
}

/// A variant as it is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawVariant {
    /// As answers and metrics name it.
    pub name: String,
    /// How many users it has beside the others.
    pub weight: Option<f64>,
    /// A scenario whose rules its lists have.
    pub scenario: Option<String>,
    /// A model in place of the live one: the beginning of its version, or the name of its file.
    pub model: Option<String>,
    /// Whether its lists come from no model at all.
    #[serde(default)]
    pub popular: bool,
}

/// An experiment that cannot be run: the process does not start with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("serve.experiment {experiment:?}: {field}: {reason}")]
pub struct ExperimentError {
    experiment: String,
    field: String,
    reason: String,
}

/// An experiment that can be run.
#[derive(Debug, Clone, PartialEq)]
pub struct Experiment {
    pub(super) name: String,
    /// Empty: all.
    pub(super) scenarios: Vec<String>,
    pub(super) share: f64,
    pub(super) begins_ms: Option<i64>,
    pub(super) ends_ms: Option<i64>,
    pub(super) attribution_ms: i64,
    pub(super) alpha: f64,
    pub(super) n_tuned: u64,
    pub(super) variants: Vec<Variant>,
}

/// A variant of an experiment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Variant {
    pub(crate) name: String,
    /// Its part of the users; the parts of all sum to 1.
    pub(crate) share: f64,
    pub(crate) scenario: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) is_popular: bool,
}

impl Experiment {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The variant that a user belongs to; `None` of one who is not in it.
    pub fn variant_of(&self, user_id: &str) -> Option<&str> {
        self.assigned(user_id).map(|(place, _)| self.variants[place].name.as_str())
    }

    /// Whether it is for a scenario.
    pub(super) fn is_for(&self, scenario: &str) -> bool {
        self.scenarios.is_empty() || self.scenarios.iter().any(|own| own == scenario)
    }

    pub(super) fn is_at(&self, time_ms: i64) -> bool {
        self.begins_ms.is_none_or(|begins_ms| begins_ms <= time_ms)
            && self.ends_ms.is_none_or(|ends_ms| time_ms < ends_ms)
    }

    /// Where a user belongs; `None` outside of the share. Two parts of one hash say whether and where, so that a share that grows moves nobody
    /// who is in it.
    pub(super) fn assigned(&self, user_id: &str) -> Option<(usize, Assigned)> {
        let assigned = Assigned::new(&self.name, user_id);
        if assigned.is_in >= self.share {
            return None;
        }
        let mut end = 0.0;
        let place = self.variants.iter().position(|variant| {
            end += variant.share;
            assigned.which < end
        });
        // Sums of shares may end a little below 1.
        Some((place.unwrap_or(self.variants.len() - 1), assigned))
    }

    fn overlaps(&self, other: &Self) -> bool {
        let shares_scenario = self.scenarios.is_empty()
            || other.scenarios.is_empty()
            || self.scenarios.iter().any(|own| other.is_for(own));
        let begins_before_end_of = |one: &Self, two: &Self| match (one.begins_ms, two.ends_ms) {
            (Some(begins_ms), Some(ends_ms)) => begins_ms < ends_ms,
            _ => true,
        };
        shares_scenario && begins_before_end_of(self, other) && begins_before_end_of(other, self)
    }
}

/// Checks all experiments beside the names of the scenarios that there are.
pub(super) fn checked(
    raw: &[RawExperiment],
    scenarios: &[&str],
) -> Result<Vec<Experiment>, ExperimentError> {
    let mut all: Vec<Experiment> = Vec::with_capacity(raw.len());
    for raw in raw {
        let wrong = |field: &str, reason: String| ExperimentError {
            experiment: raw.name.clone(),
            field: field.to_owned(),
            reason,
        };
        let experiment = one(raw, scenarios, &wrong)?;
        if all.iter().any(|other| other.name == experiment.name) {
            return Err(wrong("name", "it stands twice".to_owned()));
        }
        if let Some(other) = all.iter().find(|other| other.overlaps(&experiment)) {
            let reason = format!(
                "at the same time {:?} runs in the same scenario; a list can be in one experiment: name other scenarios, or let one end before the other begins",
                other.name
            );
            return Err(wrong("scenarios", reason));
        }
        all.push(experiment);
    }
    Ok(all)
}

fn one(
    raw: &RawExperiment,
    scenarios: &[&str],
    wrong: &impl Fn(&str, String) -> ExperimentError,
) -> Result<Experiment, ExperimentError> {
    if raw.name.is_empty() {
        return Err(wrong("name", "it is empty".to_owned()));
    }
    for scenario in &raw.scenarios {
        known(scenario, scenarios).map_err(|reason| wrong("scenarios", reason))?;
    }
    let share = raw.share.unwrap_or(1.0);
    if !(share > 0.0 && share <= 1.0) {
        return Err(wrong("share", format!("{share} is not above 0 and at most 1")));
    }
    let time = |field: &str, text: &Option<String>| {
        let read = |text: &String| {
            time::of_text(text)
                .ok_or_else(|| wrong(field, format!("{text:?} is no time: {}", time::HINT)))
        };
        text.as_ref().map(read).transpose()
    };
    let (begins_ms, ends_ms) = (time("begins", &raw.begins)?, time("ends", &raw.ends)?);
    if let (Some(begins_ms), Some(ends_ms)) = (begins_ms, ends_ms)
        && begins_ms >= ends_ms
    {
        return Err(wrong("ends", "it ends before it begins".to_owned()));
    }
    let hours = raw.attribution_hours.unwrap_or(24.0);
    if !(hours > 0.0 && hours <= MAX_ATTRIBUTION_HOURS) {
        let reason = format!("{hours} is not above 0 and at most {MAX_ATTRIBUTION_HOURS}");
        return Err(wrong("attribution_hours", reason));
    }
    let alpha = raw.alpha.unwrap_or(0.05);
    if !(alpha > 0.0 && alpha <= 0.5) {
        return Err(wrong("alpha", format!("{alpha} is not above 0 and at most 0.5")));
    }
    Ok(Experiment {
        name: raw.name.clone(),
        scenarios: raw.scenarios.clone(),
        share,
        begins_ms,
        ends_ms,
        attribution_ms: (hours * HOUR_MS) as i64,
        alpha,
        n_tuned: raw.users.map_or(10_000, NonZeroU64::get),
        variants: variants(raw, scenarios, wrong)?,
    })
}

fn variants(
    raw: &RawExperiment,
    scenarios: &[&str],
    wrong: &impl Fn(&str, String) -> ExperimentError,
) -> Result<Vec<Variant>, ExperimentError> {
    let n_variants = raw.variant.len();
    if !(2..=MAX_VARIANTS).contains(&n_variants) {
        let reason = format!(
            "there are {n_variants}; a control and one to compare with it are needed, at most {MAX_VARIANTS} in all"
        );
        return Err(wrong("variant", reason));
    }
    let sum: f64 = raw.variant.iter().map(|variant| variant.weight.unwrap_or(1.0)).sum();
    let mut variants: Vec<Variant> = Vec::with_capacity(n_variants);
    for own in &raw.variant {
        let at = |field: &str| format!("variant {:?}: {field}", own.name);
        if own.name.is_empty() || own.name == ONLY_VARIANT {
            let reason =
                format!("a name that is not {ONLY_VARIANT:?}, which is of lists in no experiment");
            return Err(wrong(&at("name"), format!("give it {reason}")));
        }
        if variants.iter().any(|other| other.name == own.name) {
            return Err(wrong(&at("name"), "it stands twice".to_owned()));
        }
        let weight = own.weight.unwrap_or(1.0);
        if !(weight > 0.0 && weight.is_finite() && sum.is_finite()) {
            return Err(wrong(&at("weight"), format!("{weight} is not a number above 0")));
        }
        if let Some(scenario) = &own.scenario {
            known(scenario, scenarios).map_err(|reason| wrong(&at("scenario"), reason))?;
        }
        if own.popular && own.model.is_some() {
            let reason = "popular lists come from no model; write one of the two".to_owned();
            return Err(wrong(&at("model"), reason));
        }
        if own.model.as_ref().is_some_and(String::is_empty) {
            let reason = "name a file, or write the beginning of a version".to_owned();
            return Err(wrong(&at("model"), reason));
        }
        variants.push(Variant {
            name: own.name.clone(),
            share: weight / sum,
            scenario: own.scenario.clone(),
            model: own.model.clone(),
            is_popular: own.popular,
        });
    }
    Ok(variants)
}

fn known(scenario: &str, scenarios: &[&str]) -> Result<(), String> {
    if scenarios.contains(&scenario) {
        return Ok(());
    }
    Err(match nearest(scenario, scenarios.iter().copied()) {
        Some(nearest) => format!("there is no scenario {scenario:?}; did you mean {nearest:?}?"),
        None => {
            format!("there is no scenario {scenario:?}; there are {}", scenarios.join(", "))
        }
    })
}
