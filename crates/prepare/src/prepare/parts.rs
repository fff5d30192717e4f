//! Where training ends and validation and test begin.

use forecart_data::{Part, Protocol};

use super::config::{PrepareConfig, SplitRule};
use super::spool::{Row, Spool};
use crate::PrepareError;

/// The moments or rules that part every user's rows.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cut {
    /// Last for test, last but one for validation.
    LooFull,
    /// The same among the rows of one event, by its number in the scan; those of others stay where they are.
    LooTarget(u32),
    /// Events from a moment on.
    Moments { validation_start_ms: i64, test_start_ms: i64 },
    /// Whole users (sessions), by their place in the spool.
    Users(Vec<Part>),
}

impl Cut {
    /// How many of a user's rows, in order, come before validation and before test.
    pub(super) fn starts(&self, place: usize, rows: &[Row]) -> (usize, usize) {
        let n = rows.len();
        match self {
            Self::LooFull if n < 3 => (n, n),
            Self::LooFull => (n - 2, n - 1),
            Self::LooTarget(event) => {
                // What nothing is known before cannot be predicted: it is for training.
                let is_target = |place: &usize| rows[*place].event == *event;
                let mut targets = (1..n).filter(is_target).rev();
                let test = targets.next().unwrap_or(n);
                (targets.next().unwrap_or(test), test)
            }
            Self::Moments { validation_start_ms, test_start_ms } => {
                let before = |start: i64| rows.partition_point(|row| row.timestamp_ms < start);
                (before(*validation_start_ms), before(*test_start_ms))
            }
            Self::Users(parts) => match parts[place] {
                Part::Train => (n, n),
                Part::Validation => (0, n),
                Part::Test => (0, 0),
            },
        }
    }

    /// `gap_minutes`: the pause that ends a session, where no ids say it.
    pub(super) fn protocol(&self, gap_minutes: Option<u32>) -> Protocol {
        match self {
            Self::LooFull | Self::LooTarget(_) => Protocol::LooFull,
            Self::Moments { validation_start_ms, test_start_ms } => Protocol::GlobalTime {
                validation_start_ms: *validation_start_ms,
                test_start_ms: *test_start_ms,
            },
            Self::Users(_) => Protocol::Session { gap_minutes },
        }
    }

    /// The cut that the rule makes in these rows. `target` is the number of the target event, if there is one; `alive` removes the rows that do not count
    /// (those that the k-core took); users from `n_train_users` on come from the test log.
    pub(super) fn new(
        config: &PrepareConfig,
        spool: &Spool,
        n_train_users: usize,
        target: Option<u32>,
        alive: impl Fn(usize, &mut Vec<Row>),
    ) -> Result<Self, PrepareError> {
        let rows = Alive { spool, alive };
        match &config.split {
            SplitRule::LooFull => Ok(target.map_or(Self::LooFull, Self::LooTarget)),
            SplitRule::Moments { validation_start_ms, test_start_ms } => Ok(Self::Moments {
                validation_start_ms: *validation_start_ms,
                test_start_ms: *test_start_ms,
            }),
            SplitRule::Days { test_ms, validation_ms } => {
                let (_, end) = rows.time_range()?;
                let test_start_ms = end - test_ms + 1;
                Ok(Self::Moments {
                    validation_start_ms: test_start_ms - validation_ms,
                    test_start_ms,
                })
            }
            SplitRule::Ratio { validation_from, test_from } => {
                let [validation_start_ms, test_start_ms] =
                    rows.moments_at([*validation_from, *test_from])?;
                Ok(Self::Moments { validation_start_ms, test_start_ms })
            }
            SplitRule::SessionDays { test_ms, validation_ms } => {
                rows.sessions(Some(*test_ms), *validation_ms, n_train_users)
            }
            SplitRule::SessionLog { validation_ms, .. } => {
                rows.sessions(None, *validation_ms, n_train_users)
            }
        }
    }
}

struct Alive<'s, F> {
    spool: &'s Spool,
    alive: F,
}

impl<F: Fn(usize, &mut Vec<Row>)> Alive<'_, F> {
    fn for_each_user(&self, mut each: impl FnMut(usize, u32, &[Row])) -> Result<(), PrepareError> {
        self.spool.for_each_user(|place, user, rows| {
            (self.alive)(place, rows);
            each(place, user, rows);
            Ok(())
        })
    }

    fn time_range(&self) -> Result<(i64, i64), PrepareError> {
        let mut range = (i64::MAX, i64::MIN);
        self.for_each_user(|_, _, rows| {
            for row in rows {
                range = (range.0.min(row.timestamp_ms), range.1.max(row.timestamp_ms));
            }
        })?;
        if range.0 > range.1 {
            return Err(nothing_left());
        }
        Ok(range)
    }

    /// The time of the event that has the share `q` of all events before it, for each `q`: exact,
    /// by counting in two or three passes (a radix selection), 8 MiB for each.
    fn moments_at<const N: usize>(&self, shares: [f64; N]) -> Result<[i64; N], PrepareError> {
        const DIGIT_BITS: u32 = 20;
        let (first, last) = self.time_range()?;
        let mut n_rows = 0u64;
        self.for_each_user(|_, _, rows| n_rows += rows.len() as u64)?;
        // Rank from 0 among the events whose leading digits are those of `found`.
        let mut ranks = shares.map(|q| ((q * n_rows as f64).round() as u64).min(n_rows - 1));
        let mut found = [0u64; N];
        let mut shift = 64 - ((last - first) as u64).leading_zeros();
        while shift > 0 {
            let lower = shift.saturating_sub(DIGIT_BITS);
            let mut counts = vec![vec![0u64; 1 << (shift - lower)]; N];
            self.for_each_user(|_, _, rows| {
                for row in rows {
                    let offset = (row.timestamp_ms - first) as u64;
                    for (counts, found) in counts.iter_mut().zip(found) {
                        if offset.unbounded_shr(shift) == found {
                            counts[(offset >> lower & ((1 << (shift - lower)) - 1)) as usize] += 1;
                        }
                    }
                }
            })?;
            for ((counts, rank), found) in counts.iter().zip(&mut ranks).zip(&mut found) {
                let mut digit = 0;
                while *rank >= counts[digit] {
                    *rank -= counts[digit];
                    digit += 1;
                }
                *found = *found << (shift - lower) | digit as u64;
            }
            shift = lower;
        }
        Ok(found.map(|offset| first + offset as i64))
    }

    /// Sessions that end in the last days are for test, unless a test log gives them.
    fn sessions(
        &self,
        test_ms: Option<i64>,
        validation_ms: i64,
        n_train_users: usize,
    ) -> Result<Cut, PrepareError> {
        let mut ends: Vec<Option<i64>> = Vec::with_capacity(self.spool.n_users());
        let mut parts = Vec::with_capacity(self.spool.n_users());
        self.for_each_user(|_, user, rows| {
            ends.push(rows.iter().map(|row| row.timestamp_ms).max());
            let from_test_log = user as usize >= n_train_users;
            parts.push(if from_test_log { Part::Test } else { Part::Train });
        })?;
        let passes = [(test_ms.unwrap_or(0), Part::Test), (validation_ms, Part::Validation)];
        for (span_ms, part) in passes {
            let left = ends.iter().zip(&parts).filter(|(_, part)| **part == Part::Train);
            let Some(end) = left.filter_map(|(end, _)| *end).max() else { break };
            for (session, own) in ends.iter().zip(&mut parts) {
                if *own == Part::Train && session.is_some_and(|own_end| own_end > end - span_ms) {
                    *own = part;
                }
            }
        }
        Ok(Cut::Users(parts))
    }
}

pub(super) fn nothing_left() -> PrepareError {
    PrepareError::Unusable {
        step: "prepare",
        reason: "no event is left; the steps' report says what dropped them (a time window, \
                 `prepare.events` or k-core minima that are too high)"
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prepare::spool::SpoolWriter;
    use proptest::prelude::*;

    fn row(timestamp_ms: i64) -> Row {
        Row { timestamp_ms, item: 0, session: 0, value: 1.0, event: 0 }
    }

    fn spool(users: &[Vec<i64>], folder: &std::path::Path) -> Spool {
        let mut writer = SpoolWriter::create(folder, false).unwrap();
        for (user, times) in (0..).zip(users) {
            let rows: Vec<_> = times.iter().map(|time| row(*time)).collect();
            writer.push(user, &rows).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn loo_full_needs_three_events() {
        let rows: Vec<_> = (0..5).map(row).collect();
        for (n, want) in [(1, (1, 1)), (2, (2, 2)), (3, (1, 2)), (5, (3, 4))] {
            assert_eq!(Cut::LooFull.starts(0, &rows[..n]), want, "{n} events");
        }
    }

    #[test]
    fn the_last_targets_are_held_out_with_what_follows_them() {
        for (events, want) in [
            (vec![0, 1, 0, 0, 1, 0, 1, 0], (4, 6)),
            (vec![0, 0, 1], (2, 2)),
            (vec![1, 0, 1], (2, 2)),
            (vec![1, 1, 1], (1, 2)),
            (vec![1], (1, 1)),
            (vec![0, 0], (2, 2)),
        ] {
            let rows: Vec<Row> =
                events.iter().map(|event| Row { event: *event, ..row(0) }).collect();
            assert_eq!(Cut::LooTarget(1).starts(0, &rows), want, "{events:?}");
        }
    }

    #[test]
    fn events_of_one_instant_are_on_one_side() {
        let cut = Cut::Moments { validation_start_ms: 5, test_start_ms: 7 };
        let rows: Vec<_> = [1, 4, 5, 5, 7, 7].map(row).into();
        assert_eq!(cut.starts(0, &rows), (2, 4));
    }

    #[test]
    fn sessions_are_cut_by_their_end() {
        let folder = tempfile::tempdir().unwrap();
        let users = [vec![0, 100], vec![10, 20], vec![50, 95], vec![60]];
        let spool = spool(&users, folder.path());
        let rows = Alive { spool: &spool, alive: |_: usize, _: &mut Vec<Row>| {} };
        // Test: ends after 100 - 10; validation: after 60 - 10 of the rest.
        let cut = rows.sessions(Some(10), 10, 4).unwrap();
        assert_eq!(cut, Cut::Users(vec![Part::Test, Part::Train, Part::Test, Part::Validation]));
        // The last two come from a test log.
        let cut = rows.sessions(None, 10, 2).unwrap();
        assert_eq!(cut, Cut::Users(vec![Part::Validation, Part::Train, Part::Test, Part::Test]));
        assert_eq!(rows.sessions(None, 0, 4).unwrap(), Cut::Users(vec![Part::Train; 4]));
    }

    proptest! {
        #[test]
        fn moments_are_those_of_the_sorted_times(
            users in prop::collection::vec(
                prop::collection::vec(-4_000_000_000_000i64..4_000_000_000_000, 1..6), 1..8),
            narrow in prop::bool::ANY,
        ) {
            let users: Vec<Vec<i64>> = if narrow {
                users.iter().map(|times| times.iter().map(|time| time % 3).collect()).collect()
            } else {
                users
            };
            let folder = tempfile::tempdir().unwrap();
            let spool = spool(&users, folder.path());
            let rows = Alive { spool: &spool, alive: |_: usize, _: &mut Vec<Row>| {} };
            let mut sorted: Vec<i64> = users.concat();
            sorted.sort_unstable();
            let at = |q: f64| {
                sorted[((q * sorted.len() as f64).round() as usize).min(sorted.len() - 1)]
            };
            prop_assert_eq!(rows.moments_at([0.5, 0.9]).unwrap(), [at(0.5), at(0.9)]);
        }
    }
}
