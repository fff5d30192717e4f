//! When something is done again and again: `daily`, or a line of cron, in the shop's time.

use std::str::FromStr as _;

use croner::Cron;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// Names of usual schedules: at three in the night.
const NAMED: [(&str, &str); 3] =
    [("hourly", "0 * * * *"), ("daily", "0 3 * * *"), ("weekly", "0 3 * * MON")];

/// A schedule in a time zone.
#[derive(Debug, Clone)]
pub struct Schedule {
    text: String,
    cron: Cron,
    zone: TimeZone,
}

impl Schedule {
    /// Reads `hourly`, `daily`, `weekly` (on Mondays; both at 3:00), or the five fields of cron: minute, hour, day of the month, month, day of
    /// the week.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn new(text: &str, zone: Option<&str>) -> Result<Self, String> {
        let named = NAMED.iter().find(|(name, _)| *name == text.trim());
        let fields = named.map_or(text, |(_, fields)| fields);
        let cron = Cron::from_str(fields).map_err(|error| {
            format!("{text:?} is none of hourly, daily, weekly, and no line of cron such as \"30 3 * * *\": {error}")
        })?;
        let zone = match zone {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|error| {
                format!("{name:?} is no time zone such as \"Asia/Shanghai\": {error}")
            })?,
        };
        let schedule = Self { text: text.to_owned(), cron, zone };
        match schedule.next_after(Timestamp::now()) {
            Some(_) => Ok(schedule),
            None => Err(format!("{text:?} never comes")),
        }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The next moment after `now`; `None` if there is none. A time of day that a clock skips in spring is taken as long after midnight as it
    /// would have been; one that comes twice in autumn is taken once.
    pub fn next_after(&self, now: Timestamp) -> Option<Timestamp> {
        // The cron runs on the clock on the wall, which is kept as if it were UTC.
        let wall = |moment: Timestamp| self.zone.to_datetime(moment);
        let mut wall = Offset::UTC.to_timestamp(wall(now)).ok()?;
        loop {
            let from = chrono::DateTime::from_timestamp_millis(wall.as_millisecond())?;
            let next = self.cron.find_next_occurrence(&from, false).ok()?;
            wall = Timestamp::from_millisecond(next.timestamp_millis()).ok()?;
            let moment = self.zone.to_timestamp(Offset::UTC.to_datetime(wall)).ok()?;
            // The clock was set back between: this time was already there.
            if moment > now {
                return Some(moment);
            }
        }
    }

    /// How long it is to the next moment; a year where there is none.
    pub(crate) fn wait(&self, now: Timestamp) -> std::time::Duration {
        let wait = self.next_after(now).map(|next| next.duration_since(now));
        wait.unwrap_or(SignedDuration::from_hours(24 * 365)).unsigned_abs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(text: &str, zone: Option<&str>, now: &str) -> String {
        let schedule = Schedule::new(text, zone).unwrap();
        schedule.next_after(now.parse().unwrap()).unwrap().to_string()
    }

    #[test]
    fn a_day_ends_where_the_shop_is() {
        assert_eq!(next("daily", None, "2026-03-01T02:59:59Z"), "2026-03-01T03:00:00Z");
        assert_eq!(next("daily", None, "2026-03-01T03:00:00Z"), "2026-03-02T03:00:00Z");
        let shanghai = Some("Asia/Shanghai");
        assert_eq!(next("daily", shanghai, "2026-03-01T00:00:00Z"), "2026-03-01T19:00:00Z");
        assert_eq!(next("weekly", None, "2026-03-03T00:00:00Z"), "2026-03-09T03:00:00Z");
        assert_eq!(next("*/15 * * * *", None, "2026-03-01T00:07:00Z"), "2026-03-01T00:15:00Z");
    }

    #[test]
    fn clocks_that_are_set_skip_nothing_and_repeat_nothing() {
        let berlin = Some("Europe/Berlin");
        // On 2026-03-29 it is never 2:30; on 2026-10-25 it is twice.
        assert_eq!(next("30 2 * * *", berlin, "2026-03-29T00:00:00Z"), "2026-03-29T01:30:00Z");
        assert_eq!(next("30 2 * * *", berlin, "2026-03-29T01:30:00Z"), "2026-03-30T00:30:00Z");
        assert_eq!(next("30 2 * * *", berlin, "2026-10-25T00:00:00Z"), "2026-10-25T00:30:00Z");
        assert_eq!(next("30 2 * * *", berlin, "2026-10-25T00:30:00Z"), "2026-10-26T01:30:00Z");
        assert_eq!(next("30 2 * * *", berlin, "2026-10-25T01:10:00Z"), "2026-10-26T01:30:00Z");
    }

    #[test]
    fn what_is_no_schedule_is_told_so() {
        for text in ["", "dayly", "61 * * * *", "* * *", "0 0 30 2 *"] {
            let error = Schedule::new(text, None).unwrap_err();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
        let error = Schedule::new("daily", Some("Mars/Olympus")).unwrap_err();
        assert!(error.contains("Mars/Olympus") && error.contains("Asia/Shanghai"), "{error}");
    }
}
