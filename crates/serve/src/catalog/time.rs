//! Times of fields, values and rules, as milliseconds since 1970-01-01 UTC.

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

/// How a time is written.
pub(crate) const HINT: &str = "write 2026-05-01T09:30:00Z, a date (midnight UTC), or seconds or \
                               milliseconds since 1970 as a number";

/// Numbers below are seconds (to the year 5138), milliseconds (from March 1973 on), microseconds, nanoseconds: the units of trackers.
const UNITS: [(f64, f64); 4] = [(1e11, 1e3), (1e14, 1.0), (1e17, 1e-3), (1e20, 1e-6)];

/// A time as a text of RFC 3339, or a date, which is its midnight UTC. A time of day without a zone is none.
pub(crate) fn of_text(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time.as_millisecond());
    }
    // "2026-05-01" and nothing more: jiff's dates may be followed by a time.
    if text.len() != 10 {
        return None;
    }
    let midnight = text.parse::<Date>().ok()?.to_datetime(Time::midnight());
    TimeZone::UTC.to_timestamp(midnight).ok().map(|time| time.as_millisecond())
}

/// A time as a number of seconds or of parts of them; which is told by its size, as at import.
pub(crate) fn of_number(number: f64) -> Option<i64> {
    let (_, times) = UNITS.iter().find(|(end, _)| number.abs() < *end)?;
    let ms = number * times;
    // A cast of a float saturates; what is out of the calendar's range is no time.
    Timestamp::from_millisecond(ms.round() as i64).ok().map(|time| time.as_millisecond())
}

/// As RFC 3339 in UTC; what cannot be a time as its number.
pub(crate) fn in_words(time_ms: i64) -> String {
    Timestamp::from_millisecond(time_ms)
        .map_or_else(|_| time_ms.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_numbers_are_times() {
        assert_eq!(of_text("1970-01-01T00:00:01Z"), Some(1000));
        assert_eq!(of_text("1970-01-01T01:00:01.5+01:00"), Some(1500));
        assert_eq!(of_text("1970-01-02"), Some(86_400_000));
        assert_eq!(of_text("1970-01-02T00:00:00"), None);
        assert_eq!(of_text("yesterday"), None);
        assert_eq!(of_number(1.5), Some(1500));
        assert_eq!(of_number(1.7e9), Some(1_700_000_000_000));
        assert_eq!(of_number(1.7e12), Some(1_700_000_000_000));
        assert_eq!(of_number(1.7e15), Some(1_700_000_000_000));
        assert_eq!(of_number(1.7e18), Some(1_700_000_000_000));
        assert_eq!(of_number(1e300), None);
        assert_eq!(of_number(f64::NAN), None);
        assert_eq!(in_words(1500), "1970-01-01T00:00:01.5Z");
    }
}
