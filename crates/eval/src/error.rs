//! The one error type of this crate.

/// What can go wrong when a model is measured or results are compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// A scorer gave a score that is not a number, or left a row unwritten.
    #[error("the model gave a score that is not a number for user {user:?}")]
    NanScore {
        /// The user's id as in the shop's log.
        user: String,
    },
    /// No user has anything to find in the part that was asked for.
    #[error(
        "no user has a target in the {part} part, so nothing can be measured on it; give it more events by `[split]` (days or \
         moments; where the last event is held out a user needs three, a session two)"
    )]
    NoTargets {
        /// `validation` or `test`.
        part: &'static str,
    },
    /// The test part was read a second time for the same model and seed.
    #[error("the test part was already read for {label:?}; choose on the validation part")]
    TestReadTwice {
        /// What was being measured.
        label: String,
    },
    /// A choice was to be made by numbers of the test part.
    #[error("{label:?} was measured on the test part; only the validation part may choose")]
    ChoiceOnTest {
        /// What was being measured.
        label: String,
    },
    /// Results that do not belong together: other data, other protocol, other users or seeds.
    #[error("{left:?} and {right:?} cannot stand in one table: {reason}")]
    NotComparable {
        /// The first result.
        left: String,
        /// The second result.
        right: String,
        /// What differs.
        reason: String,
    },
    /// A metric name that is not known, or is not part of the result.
    #[error("unknown metric {name:?}; write for example ndcg@10, hr@10, recall@20")]
    UnknownMetric {
        /// What was given.
        name: String,
    },
    /// A metric name that what is measured does not have.
    #[error("unknown metric {name:?}; what is measured here has {known}")]
    NoSuchMetric {
        /// What was given.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// A metric that cannot decide between models.
    #[error(
        "{metric} cannot decide: {reason}; choose an accuracy, for example ndcg@10, hr@10, recall@20"
    )]
    CannotDecide {
        /// The metric.
        metric: crate::metrics::Metric,
        /// Why not.
        reason: &'static str,
    },
    /// An option outside of its range.
    #[error("option {option}: {reason}")]
    Option {
        /// The option's name.
        option: &'static str,
        /// What does not fit.
        reason: String,
    },
    /// Rows that cannot be measured.
    #[error("the {what} cannot be measured: {reason}")]
    Input {
        /// `predictions`, for example.
        what: &'static str,
        /// Which row, and what does not fit.
        reason: String,
    },
    /// A plot or a JSON text could not be made.
    #[error("cannot render the {what}: {reason}")]
    Render {
        /// `report`, or the name of a plot.
        what: &'static str,
        /// What the library said.
        reason: String,
    },
    /// The user asked to stop.
    #[error("stopped")]
    Cancelled,
}
