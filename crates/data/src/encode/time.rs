//! Cyclic time: a moment as points on circles, so that 23:59 lies beside 00:00.

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};

/// A cycle that a moment is placed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimePart {
    /// Of the day, with its fraction.
    HourOfDay,
    /// Whole days, Monday first.
    DayOfWeek,
    /// Whole days, over the length of that year.
    DayOfYear,
    /// Whole months, January first.
    Month,
}

const DAY_MS: i64 = 86_400_000;
/// About 271,000 years either side of 1970; what is past it is missing.
const MAX_TIME_MS: f64 = 8.64e15;

impl TimePart {
    /// Every cycle.
    pub fn all() -> Vec<Self> {
        vec![Self::HourOfDay, Self::DayOfWeek, Self::DayOfYear, Self::Month]
    }

    /// The name in output columns.
    pub fn name(self) -> &'static str {
        match self {
            Self::HourOfDay => "hour_of_day",
            Self::DayOfWeek => "day_of_week",
            Self::DayOfYear => "day_of_year",
            Self::Month => "month",
        }
    }

    /// `(sin, cos)` of the place of `time_ms` (on the shop's clock) on this cycle. A missing time
    /// is `(0, 0)`, the middle of the circle, where no moment is.
    pub fn sin_cos(self, time_ms: Option<f64>) -> (f32, f32) {
        let Some(time_ms) = time_ms.filter(|time| time.abs() <= MAX_TIME_MS) else {
            return (0.0, 0.0);
        };
        let (sin, cos) = (TAU * self.fraction(time_ms as i64)).sin_cos();
        (sin as f32, cos as f32)
    }

    /// How far round the cycle, `0.0..1.0`.
    fn fraction(self, time_ms: i64) -> f64 {
        let day = time_ms.div_euclid(DAY_MS);
        match self {
            Self::HourOfDay => time_ms.rem_euclid(DAY_MS) as f64 / DAY_MS as f64,
            // 1970-01-01 was a Thursday, the fourth day.
            Self::DayOfWeek => (day + 3).rem_euclid(7) as f64 / 7.0,
            Self::DayOfYear => {
                let year = year_and_month(day).0;
                let start = first_day_of_year(year);
                (day - start) as f64 / (first_day_of_year(year + 1) - start) as f64
            }
            Self::Month => (year_and_month(day).1 - 1) as f64 / 12.0,
        }
    }
}

/// Days from 1970-01-01 to January 1st of `year`, in the Gregorian calendar.
fn first_day_of_year(year: i64) -> i64 {
    let past = year - 1;
    past * 365 + past.div_euclid(4) - past.div_euclid(100) + past.div_euclid(400) - 719_162
}

/// Year and month (from 1) of a day counted from 1970-01-01.
fn year_and_month(day: i64) -> (i64, i64) {
    // The mean year is 365.2425 days: the estimate is off by one at most.
    let mut year = 1970 + (day * 400).div_euclid(146_097);
    if first_day_of_year(year) > day {
        year -= 1;
    } else if first_day_of_year(year + 1) <= day {
        year += 1;
    }
    let is_leap = first_day_of_year(year + 1) - first_day_of_year(year) == 366;
    let mut left = day - first_day_of_year(year);
    let lengths = [31, if is_leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    for (month, length) in (1..).zip(lengths) {
        if left < length {
            return (year, month);
        }
        left -= length;
    }
    (year, 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_stand_where_the_calendar_says() {
        let day = |days: i64| days * DAY_MS;
        assert_eq!(TimePart::DayOfWeek.fraction(day(4)), 0.0); // 1970-01-05, a Monday
        assert_eq!(TimePart::HourOfDay.fraction(DAY_MS / 4), 0.25);
        assert_eq!(TimePart::HourOfDay.fraction(-DAY_MS / 4), 0.75);
        assert_eq!(year_and_month(11_016), (2000, 2)); // 2000-02-29
        assert_eq!(year_and_month(11_017), (2000, 3));
        assert_eq!(year_and_month(-1), (1969, 12));
        assert_eq!(TimePart::DayOfYear.fraction(day(11_016)), 59.0 / 366.0);
        assert_eq!(year_and_month(20_454), (2026, 1)); // 2026-01-01
    }

    #[test]
    fn every_day_of_two_thousand_years_has_its_month() {
        let (mut year, mut month) = year_and_month(-366_000);
        for day in -365_999..366_000 {
            let next = year_and_month(day);
            let following = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
            assert!(next == (year, month) || next == following, "day {day}: {next:?}");
            (year, month) = next;
        }
    }

    #[test]
    fn missing_and_absurd_times_are_the_middle_of_the_circle() {
        for part in TimePart::all() {
            assert_eq!(part.sin_cos(None), (0.0, 0.0));
            assert_eq!(part.sin_cos(Some(1e22)), (0.0, 0.0));
            let (sin, cos) = part.sin_cos(Some(-8.64e15));
            assert!((sin * sin + cos * cos - 1.0).abs() < 1e-5);
        }
    }
}
