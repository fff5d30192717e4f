//! The gate: what does not beat the strongest simple baseline is not promoted.

use serde::{Deserialize, Serialize};

use super::{Reference, Report};
use crate::bootstrap::Interval;
use crate::significance::Comparison;

/// Which models passed the gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// The metric that decides, by name: `ndcg@10`.
    pub metric: String,
    /// The strongest baseline.
    pub baseline: String,
    /// One entry for each model that is no baseline, best first.
    pub verdicts: Vec<Verdict>,
    /// Why models that did not pass may be promoted all the same, where somebody said so.
    pub override_reason: Option<String>,
}

/// What the gate says of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The model's name.
    pub model: String,
    /// Mean of the model minus mean of the baseline.
    pub difference: f64,
    /// Its paired interval.
    pub interval: Interval,
    /// Whether the whole interval is on the better side of 0: above it, of a metric of which less is better below it.
    pub passed: bool,
}

impl Gate {
    /// What a report says of its models; `None` if no baseline stands in it.
    pub fn of(report: &Report, override_reason: Option<&str>) -> Option<Self> {
        let rows = || {
            let rows = report.comparisons.iter();
            rows.filter(|row| row.against == Reference::StrongestBaseline)
        };
        // With nothing beside it, a baseline has no comparison and is the strongest.
        let alone = || report.models.iter().find(|model| model.is_baseline).map(|m| m.name.clone());
        let baseline = rows().next().map(|row| row.reference.clone()).or_else(alone)?;
        let challengers = report.models.iter().filter(|model| !model.is_baseline);
        let verdicts = challengers.filter_map(|model| {
            let found = rows().find(|row| row.model == model.name)?;
            Some(Verdict {
                model: model.name.clone(),
                difference: found.difference,
                interval: found.interval,
                passed: found.interval.low > 0.0,
            })
        });
        Some(Self {
            metric: report.primary.to_string(),
            baseline,
            verdicts: verdicts.collect(),
            override_reason: override_reason.map(str::to_owned),
        })
    }

    /// What comparisons with `baseline` say: a model passes with the whole interval of the difference on the better side of 0.
    pub(super) fn judged<'a>(
        metric: &str,
        baseline: &str,
        found: impl Iterator<Item = (&'a str, Comparison)>,
        higher_is_better: bool,
        override_reason: Option<&str>,
    ) -> Self {
        let verdicts = found.map(|(model, found)| Verdict {
            model: model.to_owned(),
            difference: found.difference,
            interval: found.interval,
            passed: match higher_is_better {
                true => found.interval.low > 0.0,
                false => found.interval.high < 0.0,
            },
        });
        Self {
            metric: metric.to_owned(),
            baseline: baseline.to_owned(),
            verdicts: verdicts.collect(),
            override_reason: override_reason.map(str::to_owned),
        }
    }

    /// The verdict on `model`.
    pub fn verdict(&self, model: &str) -> Option<&Verdict> {
        self.verdicts.iter().find(|verdict| verdict.model == model)
    }

    /// The gate in words, a line for each model.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("gate: {} against {}", self.metric, self.baseline)];
        for verdict in &self.verdicts {
            let Verdict { model, difference, interval, passed } = verdict;
            let word = match (passed, &self.override_reason) {
                (true, _) => "passes",
                (false, None) => "does not pass",
                (false, Some(_)) => "does not pass, overridden",
            };
            let (low, high) = (interval.low, interval.high);
            lines.push(format!("  {model} {word}: {difference:+.4} ({low:+.4} .. {high:+.4})"));
        }
        lines.extend(self.override_reason.iter().map(|reason| format!("  overridden: {reason}")));
        lines
    }
}
