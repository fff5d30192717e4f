//! Which events are for training, validation and test.

use serde::{Deserialize, Serialize};

use crate::sequences::Column;

/// A part of the dataset, in the order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Models and encoders are fitted on this part.
    Train,
    /// Chooses between models and stops training.
    Validation,
    /// Read once, for the report.
    Test,
}

/// How the parts were made; printed with every result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Protocol {
    /// Last item = test, last but one = validation, the rest = train, per user. Users with fewer
    /// than three events are for training alone.
    LooFull,
    /// Every training event is before `validation_start_ms`, every validation event before
    /// `test_start_ms`.
    GlobalTime {
        /// First moment of validation, milliseconds UTC.
        validation_start_ms: i64,
        /// First moment of test, milliseconds UTC.
        test_start_ms: i64,
    },
    /// Whole sessions: those of the test input are test, the last of the others are validation.
    Session {
        /// The pause that ends a session, where the log has no session ids.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gap_minutes: Option<u32>,
    },
}

/// What orders a user's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventOrder {
    /// By time, then by the position in the input.
    Time,
    /// By the position in the input.
    File,
}

impl EventOrder {
    /// The order's name in the configuration and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::File => "file",
        }
    }
}

impl Protocol {
    /// The protocol's name on the command line and in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::LooFull => "loo-full",
            Self::GlobalTime { .. } => "time",
            Self::Session { .. } => "session",
        }
    }
}

/// Where each user's validation and test events start, counted from the user's first event.
///
/// The events before `validation_start[u]` are for training; those from `test_start[u]` on are for
/// test. A user's events are in order, so two numbers say it all.
///
/// # Shapes
/// Both `[n_user_rows]`.
#[derive(Debug, Default)]
pub struct Split {
    /// First validation event of each user.
    pub validation_start: Column<u32>,
    /// First test event of each user.
    pub test_start: Column<u32>,
}
