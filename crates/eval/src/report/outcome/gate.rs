//! The gate of models of an outcome.

use super::{Gate, OutcomeReport};
use crate::probability::ProbabilityMetric;
use crate::report::Verdict;

impl OutcomeReport {
    /// Which models beat the strongest baseline on `metric` with the whole interval of the paired difference on the better side of 0;
    /// `None` if no baseline has the metric.
    pub fn judged_by(
        &self,
        metric: ProbabilityMetric,
        override_reason: Option<&str>,
    ) -> Option<Gate> {
        let baseline = &self.strongest_baseline(metric)?.model;
        let challengers = self.rows.iter().filter(|row| !row.is_baseline);
        let verdicts = challengers.filter_map(|row| {
            let found = row.against(baseline, metric)?;
            let is_better = match metric.higher_is_better() {
                true => found.interval.low > 0.0,
                false => found.interval.high < 0.0,
            };
            Some(Verdict {
                model: row.model.clone(),
                difference: found.difference,
                interval: found.interval,
                passed: is_better,
            })
        });
        Some(Gate {
            metric: metric.name().to_owned(),
            baseline: baseline.clone(),
            verdicts: verdicts.collect(),
            override_reason: override_reason.map(str::to_owned),
        })
    }
}
