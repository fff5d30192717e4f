//! The gate of models of an outcome.

use super::{Gate, OutcomeReport};
use crate::probability::ProbabilityMetric;

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
        let found = challengers
            .filter_map(|row| Some((row.model.as_str(), *row.against(baseline, metric)?)));
        let higher_is_better = metric.higher_is_better();
        Some(Gate::judged(metric.name(), baseline, found, higher_is_better, override_reason))
    }
}
