//! What a search looks for, and what it says of the test part: of lists, of probabilities and of answers to texts.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Gain, Trial};
use crate::error::EvalError;
use crate::intents::IntentMetric;
use crate::metrics::Metric;
use crate::probability::ProbabilityMetric;
use crate::questions::QuestionMetric;
use crate::report::{IntentReport, OutcomeReport, QuestionReport, Reference, Report};

/// What decides between trials. Values of trials are such that more is better: of log loss, its negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objective {
    /// A metric of lists.
    Lists(Metric),
    /// The log loss of probabilities, before calibration, which is fitted on the same rows.
    LogLoss,
    /// The accuracy of the most probable intents.
    Accuracy,
    /// The log loss of what is asked next, over moments and intents, before calibration.
    QuestionLogLoss,
}

impl Objective {
    /// A value, or a difference of values, as people read it.
    pub fn shown(self, value: f64) -> f64 {
        match self {
            Self::Lists(_) | Self::Accuracy => value,
            Self::LogLoss | Self::QuestionLogLoss => -value,
        }
    }

    /// What is known after each epoch of a trial.
    pub(super) fn of_epochs(self) -> String {
        match self {
            Self::Lists(_) => Metric::ndcg(10).to_string(),
            Self::LogLoss | Self::Accuracy | Self::QuestionLogLoss => self.to_string(),
        }
    }

    /// The section of a configuration file in which the hyperparameters of such models stand.
    pub(super) fn section(self) -> &'static str {
        match self {
            Self::Lists(_) => "models",
            Self::LogLoss => "outcome_models",
            Self::Accuracy => "intent_models",
            Self::QuestionLogLoss => "question_models",
        }
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lists(metric) => metric.fmt(f),
            Self::LogLoss | Self::QuestionLogLoss => f.pad("log loss"),
            Self::Accuracy => f.pad("accuracy"),
        }
    }
}

/// Defaults (`default`) and chosen (`tuned`) side by side, on the test part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SearchReport {
    /// Of recommenders.
    Lists(Box<Report>),
    /// Of models of a binary outcome.
    Outcomes(Box<OutcomeReport>),
    /// Of models of intents.
    Intents(Box<IntentReport>),
    /// Of models of questions.
    Questions(Box<QuestionReport>),
}

impl SearchReport {
    /// What the search looked for.
    pub fn objective(&self) -> Objective {
        match self {
            Self::Lists(report) => Objective::Lists(report.primary),
            Self::Outcomes(_) => Objective::LogLoss,
            Self::Intents(_) => Objective::Accuracy,
            Self::Questions(_) => Objective::QuestionLogLoss,
        }
    }

    /// The heading.
    pub fn title(&self) -> &str {
        match self {
            Self::Lists(report) => &report.title,
            Self::Outcomes(report) => &report.title,
            Self::Intents(report) => &report.title,
            Self::Questions(report) => &report.title,
        }
    }

    /// The report of recommenders, if it is one.
    pub fn lists(&self) -> Option<&Report> {
        match self {
            Self::Lists(report) => Some(report),
            Self::Outcomes(_) | Self::Intents(_) | Self::Questions(_) => None,
        }
    }

    /// The report of models of an outcome, if it is one.
    pub fn outcomes(&self) -> Option<&OutcomeReport> {
        match self {
            Self::Outcomes(report) => Some(report),
            Self::Lists(_) | Self::Intents(_) | Self::Questions(_) => None,
        }
    }

    /// The report of models of intents, if it is one.
    pub fn intents(&self) -> Option<&IntentReport> {
        match self {
            Self::Intents(report) => Some(report),
            Self::Lists(_) | Self::Outcomes(_) | Self::Questions(_) => None,
        }
    }

    /// The report of models of questions, if it is one.
    pub fn questions(&self) -> Option<&QuestionReport> {
        match self {
            Self::Questions(report) => Some(report),
            Self::Lists(_) | Self::Outcomes(_) | Self::Intents(_) => None,
        }
    }

    /// The objective on the test part, as people read it.
    pub(super) fn on_test(&self, name: &str) -> Option<f64> {
        match self {
            Self::Lists(report) => report.model(name)?.mean(report.primary),
            Self::Outcomes(report) => report.row(name)?.measured.value(ProbabilityMetric::Logloss),
            Self::Intents(report) => Some(report.row(name)?.measured.accuracy.value),
            Self::Questions(report) => Some(report.row(name)?.measured.log_loss.value),
        }
    }

    /// The objective on validation of the model `name`, which `trial` found, as people read it.
    pub(super) fn on_validation(&self, name: &str, trial: &Trial) -> Option<f64> {
        match self {
            Self::Lists(report) => report.model(name)?.validation,
            Self::Outcomes(_) | Self::Intents(_) | Self::Questions(_) => {
                Some(self.objective().shown(trial.value?))
            }
        }
    }

    /// What `chosen` has more than `default`.
    ///
    /// # Errors
    /// [`EvalError::Option`] if one is missing or they were not compared.
    pub(super) fn gain(&self, default: &Trial, chosen: &Trial) -> Result<Gain, EvalError> {
        let missing = || EvalError::Option { option: "search", reason: "a row is missing".into() };
        let objective = self.objective();
        let value = |name, trial| {
            let shown = self.on_validation(name, trial).ok_or_else(missing)?;
            Ok::<_, EvalError>(objective.shown(shown))
        };
        let validation = value("tuned", chosen)? - value("default", default)?;
        let (test, interval, p_value) = match self {
            Self::Lists(report) => {
                let found = report.comparison("tuned", Reference::StrongestBaseline);
                let found = found.ok_or_else(missing)?;
                (found.difference, [found.interval.low, found.interval.high], found.p_value)
            }
            Self::Outcomes(report) => {
                let row = report.row("tuned").ok_or_else(missing)?;
                let found = row.against("default", ProbabilityMetric::Logloss);
                let found = found.ok_or_else(missing)?;
                // The other way around: more is better.
                (-found.difference, [-found.interval.high, -found.interval.low], found.p_value)
            }
            Self::Intents(report) => {
                let row = report.row("tuned").ok_or_else(missing)?;
                let found = row.against("default", IntentMetric::Accuracy).ok_or_else(missing)?;
                (found.difference, [found.interval.low, found.interval.high], found.p_value)
            }
            Self::Questions(report) => {
                let row = report.row("tuned").ok_or_else(missing)?;
                let found = row.against("default", QuestionMetric::LogLoss).ok_or_else(missing)?;
                // As of outcomes.
                (-found.difference, [-found.interval.high, -found.interval.low], found.p_value)
            }
        };
        let survives = (validation > 0.0).then(|| test / validation);
        Ok(Gain { validation, test, interval, p_value, survives })
    }
}
