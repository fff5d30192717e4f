//! `manifest.json` of a question table.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::dataset::StepReport;
use crate::folder::Files;
use crate::split::Part;

/// The newest format of question tables that this program writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// What `format` says in the manifest of every question table.
pub(super) const FORMAT: &str = "forecart-questions";

/// Where the parts are cut and how far a moment looks ahead.
///
/// The window of a moment at `t` is `(t, t + horizon_ms]`. A part is the moments from its start to before the start of the next;
/// a moment is in the part if its whole window is too, so that what came of it was known when the part ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Windows {
    /// Length of the window after a moment, in milliseconds.
    pub horizon_ms: i64,
    /// First moment of validation, milliseconds UTC.
    pub validation_start_ms: i64,
    /// First moment of test, milliseconds UTC.
    pub test_start_ms: i64,
    /// The first moment that the log does not know: one after its last event.
    pub end_ms: i64,
}

impl Windows {
    /// The places among ascending `times_ms` that are moments of `part`.
    pub fn moments(&self, times_ms: &[i64], part: Part) -> Range<usize> {
        let (start_ms, end_ms) = self.bounds(part);
        let first = times_ms.partition_point(|at| *at < start_ms);
        let is_closed = |at: &i64| at.saturating_add(self.horizon_ms) < end_ms;
        first..times_ms.partition_point(is_closed).max(first)
    }

    /// How many of ascending `times_ms` are in `part` and have a window that reaches over its end.
    pub fn n_open(&self, times_ms: &[i64], part: Part) -> usize {
        let (start_ms, end_ms) = self.bounds(part);
        let n_before = |bound_ms: i64| times_ms.partition_point(|at| *at < bound_ms);
        n_before(end_ms) - n_before(start_ms) - self.moments(times_ms, part).len()
    }

    /// First moment of a part, and the first one after it.
    pub fn bounds(&self, part: Part) -> (i64, i64) {
        match part {
            Part::Train => (i64::MIN, self.validation_start_ms),
            Part::Validation => (self.validation_start_ms, self.test_start_ms),
            Part::Test => (self.test_start_ms, self.end_ms),
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let Self { horizon_ms, validation_start_ms, test_start_ms, end_ms } = *self;
        if horizon_ms <= 0 {
            return Err("the window after a moment has no length".into());
        }
        if validation_start_ms > test_start_ms || test_start_ms > end_ms {
            return Err("its parts are out of order".into());
        }
        Ok(())
    }
}

/// What the writer of a question table knows beside the events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuestionDescription {
    /// SHA-256 of the log's inputs.
    pub data_hash: String,
    /// Names of the log's inputs, without their folders.
    pub origin: Vec<String>,
    /// The configuration that made it, after all defaults.
    pub config: serde_json::Value,
    /// What was decided by looking at the data, in sentences.
    pub decisions: Vec<String>,
    /// What each step did.
    pub steps: Vec<StepReport>,
}

/// Sizes of a part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MomentCounts {
    /// Moments.
    pub n_moments: u64,
    /// Those among them after which a known intent is asked within the window.
    pub n_asked: u64,
    /// Events of the part whose window reaches over its end: they are in no part.
    pub n_open: u64,
}

/// `manifest.json` of a question table. Holds no clock times and no paths: the same log and configuration give the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuestionManifest {
    /// Always `forecart-questions`.
    pub format: String,
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Version of the program that wrote it.
    pub forecart_version: String,
    /// SHA-256 over the names and hashes of all files.
    pub content_hash: String,
    /// Users with an event.
    pub n_users: u64,
    /// Objects of the vocabulary.
    pub n_objects: u64,
    /// Intents of the vocabulary.
    pub n_intents: u64,
    /// Events of all users.
    pub n_events: u64,
    /// Those among them that are asks, of an unknown intent too.
    pub n_asks: u64,
    /// Training, validation and test part.
    pub parts: [MomentCounts; 3],
    /// Where the parts are cut and how far a moment looks ahead.
    pub windows: Windows,
    /// Where it came from and what was done.
    #[serde(flatten)]
    pub description: QuestionDescription,
    /// The files, by name.
    pub files: Files,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_in_a_part_with_its_whole_window() {
        let windows =
            Windows { horizon_ms: 10, validation_start_ms: 100, test_start_ms: 200, end_ms: 301 };
        let times = [0, 50, 89, 90, 99, 100, 189, 190, 199, 200, 290, 291, 300];
        // 89 + 10 is the last moment of training; 290 + 10 that of the log.
        assert_eq!(windows.moments(&times, Part::Train), 0..3);
        assert_eq!(windows.moments(&times, Part::Validation), 5..7);
        assert_eq!(windows.moments(&times, Part::Test), 9..11);
        let n_open = [Part::Train, Part::Validation, Part::Test].map(|p| windows.n_open(&times, p));
        assert_eq!(n_open, [2, 2, 2]);
    }

    #[test]
    fn a_part_shorter_than_the_window_has_no_moments() {
        let windows =
            Windows { horizon_ms: 500, validation_start_ms: 100, test_start_ms: 200, end_ms: 301 };
        let times = [50, 150, 250];
        for part in [Part::Train, Part::Validation, Part::Test] {
            assert!(windows.moments(&times, part).is_empty());
            assert_eq!(windows.n_open(&times, part), 1);
        }
    }
}
