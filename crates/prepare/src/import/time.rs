//! Times: from what a file says to milliseconds since 1970-01-01 UTC.
//!
//! A number's unit is decided once for a column of a file, by the median of the first values:
//! below 1e11 seconds, below 1e14 milliseconds, below 1e17 microseconds, else nanoseconds. (1e11
//! seconds lie in the year 5138, 1e11 milliseconds in March 1973.) Eight digits that are a date in
//! every value are `YYYYMMDD`. Fractions below a millisecond are cut off.
//!
//! A time without an offset needs a configured zone. One that a clock change skips or repeats is
//! taken as RFC 5545 says: with the offset before the change.

use jiff::civil;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

use super::cell::Cell;
use crate::config::{DataConfig, TimeUnit};

/// How a column's times are written.
#[derive(Debug, Clone)]
pub(crate) enum TimeParser {
    Number(TimeUnit),
    /// ISO 8601 date, or date and time; the zone is of those that state none.
    Iso(Option<TimeZone>),
    /// `YYYYMMDD`.
    CompactDate(TimeZone),
    /// A `strptime` pattern.
    Pattern(String, Option<TimeZone>),
}

/// Why a text is no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeFault {
    /// Not of the column's form.
    Form,
    /// Without an offset, and no zone is configured.
    NoZone,
    /// Before 1970.
    Negative,
}

/// What a column's first values say about its times.
#[derive(Debug)]
pub(crate) enum Guess {
    Known(TimeParser, String),
    /// Times without an offset; an example.
    NeedsZone(String),
    /// No form that is known; an example.
    Unknown(String),
}

const MS_PER_DAY: i64 = 86_400_000;

/// Decides how times are written, from the first values of a column.
pub(crate) fn guess<'a>(values: impl Iterator<Item = &'a str>, config: &DataConfig) -> Guess {
    let zone = config.time_zone.clone();
    let values: Vec<&str> = values.map(str::trim).filter(|value| !value.is_empty()).collect();
    if let Some(pattern) = &config.time_format {
        let decision = format!("times are written {pattern}");
        return tried(TimeParser::Pattern(pattern.clone(), zone), decision, &values);
    }
    if let Some(unit) = config.time_unit {
        return Guess::Known(TimeParser::Number(unit), unit_decision(unit).into());
    }
    let mut numbers: Vec<f64> = values
        .iter()
        .filter_map(|value| value.parse().ok())
        .filter(|number: &f64| number.is_finite())
        .collect();
    if numbers.len() * 2 < values.len() {
        return tried(TimeParser::Iso(zone), "times are ISO 8601".into(), &values);
    }
    if !values.is_empty() && values.iter().all(|value| compact_date(value).is_some()) {
        return match zone {
            Some(zone) => Guess::Known(TimeParser::CompactDate(zone), "dates as YYYYMMDD".into()),
            None => Guess::NeedsZone(values[0].to_owned()),
        };
    }
    numbers.sort_by(f64::total_cmp);
    let unit = match numbers.get(numbers.len() / 2) {
        Some(median) => unit_of(*median),
        None => TimeUnit::Millis,
    };
    Guess::Known(TimeParser::Number(unit), unit_decision(unit).into())
}

/// Takes `parser` if it reads at least half of the values and none of them lacks a zone.
fn tried(parser: TimeParser, decision: String, values: &[&str]) -> Guess {
    let faults = values.iter().map(|value| parser.parse(&Cell::Text(value)).err());
    let (mut n_good, mut naive, mut other) = (0, None, None);
    for (value, fault) in values.iter().zip(faults) {
        match fault {
            None | Some(TimeFault::Negative) => n_good += 1,
            Some(TimeFault::NoZone) => naive = naive.or(Some((*value).to_owned())),
            Some(TimeFault::Form) => other = other.or(Some((*value).to_owned())),
        }
    }
    match (naive, other) {
        (Some(naive), _) => Guess::NeedsZone(naive),
        (None, Some(other)) if n_good * 2 < values.len() => Guess::Unknown(other),
        _ => Guess::Known(parser, decision),
    }
}

/// The unit of a number that is a time.
pub(crate) fn unit_of(median: f64) -> TimeUnit {
    match median.abs() {
        below if below < 1e11 => TimeUnit::Seconds,
        below if below < 1e14 => TimeUnit::Millis,
        below if below < 1e17 => TimeUnit::Micros,
        _ => TimeUnit::Nanos,
    }
}

const fn unit_decision(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Seconds => "times are seconds since 1970",
        TimeUnit::Millis => "times are milliseconds since 1970",
        TimeUnit::Micros => "times are microseconds since 1970",
        TimeUnit::Nanos => "times are nanoseconds since 1970",
    }
}

impl TimeParser {
    /// Milliseconds since 1970 UTC.
    pub(crate) fn parse(&self, cell: &Cell<'_>) -> Result<i64, TimeFault> {
        let millis = match (cell, self) {
            (Cell::Millis(millis), _) => Some(*millis),
            (Cell::Int(number), Self::Number(unit)) => scaled(*number, 0, *unit),
            (Cell::Float(number), Self::Number(unit)) => scaled_float(*number, *unit),
            (Cell::Int(number), _) => return self.parse(&Cell::Owned(number.to_string())),
            (_, parser) => match cell.text() {
                Some(text) => return parser.parse_text(text.trim()).and_then(not_negative),
                None => None,
            },
        };
        millis.ok_or(TimeFault::Form).and_then(not_negative)
    }

    fn parse_text(&self, text: &str) -> Result<i64, TimeFault> {
        match self {
            Self::Number(unit) => number(text, *unit).ok_or(TimeFault::Form),
            Self::Iso(zone) => iso(text, zone.as_ref()),
            Self::CompactDate(zone) => {
                let days = compact_date(text).ok_or(TimeFault::Form)?;
                in_zone(days * MS_PER_DAY, zone).ok_or(TimeFault::Form)
            }
            Self::Pattern(pattern, zone) => by_pattern(pattern, text, zone.as_ref()),
        }
    }
}

fn not_negative(millis: i64) -> Result<i64, TimeFault> {
    if millis < 0 { Err(TimeFault::Negative) } else { Ok(millis) }
}

/// A number in decimal digits, with a fraction or not; the exact digits are used, not a float.
fn number(text: &str, unit: TimeUnit) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    // "-0.5" has no sign left in its whole part: negative numbers go the other way.
    if !text.starts_with('-')
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(whole) = whole.parse::<i64>()
    {
        let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(3);
        let thousandths = digits.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
        return scaled(whole, thousandths, unit);
    }
    scaled_float(text.parse().ok()?, unit)
}

fn scaled(whole: i64, thousandths: i64, unit: TimeUnit) -> Option<i64> {
    match unit {
        TimeUnit::Seconds => whole.checked_mul(1000)?.checked_add(thousandths),
        TimeUnit::Millis => Some(whole),
        TimeUnit::Micros => Some(whole.div_euclid(1000)),
        TimeUnit::Nanos => Some(whole.div_euclid(1_000_000)),
    }
}

fn scaled_float(number: f64, unit: TimeUnit) -> Option<i64> {
    let millis = match unit {
        TimeUnit::Seconds => number * 1e3,
        TimeUnit::Millis => number,
        TimeUnit::Micros => number / 1e3,
        TimeUnit::Nanos => number / 1e6,
    };
    (millis.abs() < 9e15).then(|| millis.floor() as i64)
}

/// Days since 1970 of a date in the proleptic Gregorian calendar (Hinnant, "chrono-compatible
/// low-level date algorithms", `days_from_civil`).
fn days_of(year: i64, month: i64, day: i64) -> Option<i64> {
    const LENGTHS: [i64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let length = LENGTHS.get(usize::try_from(month - 1).ok()?)?;
    let length = length + i64::from(is_leap && month == 2);
    if !(1..=length).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// Months since year 0 of a time, the key of the log's partitions.
pub(crate) fn month_of(millis: i64) -> i32 {
    // Inverse of `days_of`, `civil_from_days` in the same source.
    let days = millis.div_euclid(MS_PER_DAY) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    i32::try_from(year * 12 + month - 1).unwrap_or(i32::MAX)
}

fn compact_date(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() != 8 {
        return None;
    }
    let year = digits(&bytes[..4])?;
    let days = days_of(year, digits(&bytes[4..6])?, digits(&bytes[6..])?)?;
    (1900..2100).contains(&year).then_some(days)
}

fn digits(bytes: &[u8]) -> Option<i64> {
    bytes
        .iter()
        .try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
}

/// `YYYY-MM-DD` or `YYYY/MM/DD`, then optionally `T` or a blank and `HH:MM[:SS[.fraction]]`, then optionally an
/// offset: `Z`, ` UTC` or `+HH[:MM]`.
fn iso(text: &str, zone: Option<&TimeZone>) -> Result<i64, TimeFault> {
    let (local, rest) = iso_local(text).ok_or(TimeFault::Form)?;
    if let Some(offset) = iso_offset(rest) {
        return Ok(local - offset);
    }
    if !rest.is_empty() {
        return Err(TimeFault::Form);
    }
    let zone = zone.ok_or(TimeFault::NoZone)?;
    in_zone(local, zone).ok_or(TimeFault::Form)
}

/// Milliseconds as if in UTC, and what follows.
fn iso_local(text: &str) -> Option<(i64, &[u8])> {
    let bytes = text.as_bytes();
    let (date, mut rest) = bytes.split_at_checked(10)?;
    if !matches!(date[4], b'-' | b'/') || date[7] != date[4] {
        return None;
    }
    let days = days_of(digits(&date[..4])?, digits(&date[5..7])?, digits(&date[8..])?)?;
    let mut millis = days * MS_PER_DAY;
    let has_time = matches!(rest.first(), Some(b'T' | b't' | b' '))
        && rest.get(1).is_some_and(u8::is_ascii_digit);
    if !has_time {
        return Some((millis, rest));
    }
    let (time, after) = rest[1..].split_at_checked(5)?;
    let (hour, minute) = (digits(&time[..2])?, digits(&time[3..])?);
    if time[2] != b':' || hour > 23 || minute > 59 {
        return None;
    }
    millis += (hour * 60 + minute) * 60_000;
    rest = after;
    if let [b':', tens, ones, after @ ..] = rest {
        // 60 is a leap second: it is counted as the next minute's first.
        let second = digits(&[*tens, *ones]).filter(|second| *second <= 60)?;
        millis += second * 1000;
        rest = after;
        if let [b'.' | b',', after @ ..] = rest {
            let n = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if n == 0 {
                return None;
            }
            let padded = after[..n].iter().copied().chain(std::iter::repeat(b'0')).take(3);
            millis += padded.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
            rest = &after[n..];
        }
    }
    Some((millis, rest))
}

/// Milliseconds east of UTC.
fn iso_offset(text: &[u8]) -> Option<i64> {
    let (sign, hours, minutes) = match text {
        b"Z" | b"z" | b" UTC" | b"UTC" | b" Z" => return Some(0),
        [sign @ (b'+' | b'-'), a, b] => (sign, [*a, *b], [b'0'; 2]),
        [sign @ (b'+' | b'-'), a, b, b':', c, d] | [sign @ (b'+' | b'-'), a, b, c, d] => {
            (sign, [*a, *b], [*c, *d])
        }
        _ => return None,
    };
    let hours = digits(&hours).filter(|hours| *hours < 24)?;
    let minutes = digits(&minutes).filter(|minutes| *minutes < 60)?;
    let offset = (hours * 60 + minutes) * 60_000;
    Some(if *sign == b'-' { -offset } else { offset })
}

/// A local time, given as if it were UTC, as a time of its zone.
pub(crate) fn in_zone(local: i64, zone: &TimeZone) -> Option<i64> {
    if *zone == TimeZone::UTC {
        return Some(local);
    }
    let as_utc = jiff::Timestamp::from_millisecond(local).ok()?;
    let local: civil::DateTime = TimeZone::UTC.to_datetime(as_utc);
    Some(zone.to_timestamp(local).ok()?.as_millisecond())
}

fn by_pattern(pattern: &str, text: &str, zone: Option<&TimeZone>) -> Result<i64, TimeFault> {
    let parsed = strtime::parse(pattern, text).map_err(|_| TimeFault::Form)?;
    if let Ok(timestamp) = parsed.to_timestamp() {
        return Ok(timestamp.as_millisecond());
    }
    let local = parsed
        .to_datetime()
        .or_else(|_| parsed.to_date().map(|date| date.to_datetime(civil::Time::midnight())))
        .map_err(|_| TimeFault::Form)?;
    let zone = zone.ok_or(TimeFault::NoZone)?;
    zone.to_timestamp(local).map(|time| time.as_millisecond()).map_err(|_| TimeFault::Form)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(parser: &TimeParser, text: &str) -> Result<i64, TimeFault> {
        parser.parse(&Cell::Text(text))
    }

    #[test]
    fn units_by_magnitude() {
        let config = DataConfig::default();
        for (value, want) in [
            ("1396437466.94", 1_396_437_466_940),
            ("1396437466", 1_396_437_466_000),
            ("1396437466940", 1_396_437_466_940),
            ("1396437466940123", 1_396_437_466_940),
            ("1396437466940123456", 1_396_437_466_940),
            ("8.81250949e8", 881_250_949_000),
        ] {
            let Guess::Known(parser, _) = guess([value].into_iter(), &config) else {
                panic!("{value}");
            };
            assert_eq!(text(&parser, value), Ok(want), "{value}");
        }
    }

    #[test]
    fn iso_with_offsets() {
        let parser = TimeParser::Iso(None);
        for (value, want) in [
            ("1970-01-02T00:00:00Z", Ok(86_400_000)),
            ("2019-10-01 00:00:00 UTC", Ok(1_569_888_000_000)),
            ("2011-12-09T12:50:00+01:00", Ok(1_323_431_400_000)),
            ("2011-12-09T12:50:00.1239-0030", Ok(1_323_436_800_123)),
            ("2011-12-09 12:50", Err(TimeFault::NoZone)),
            ("2011-12-09", Err(TimeFault::NoZone)),
            ("2011-02-29T00:00:00Z", Err(TimeFault::Form)),
            ("2011-12-09T24:00:00Z", Err(TimeFault::Form)),
            ("09/12/2011", Err(TimeFault::Form)),
            ("1969-12-31T23:59:59Z", Err(TimeFault::Negative)),
            ("2011-12-0é12:50", Err(TimeFault::Form)),
        ] {
            assert_eq!(text(&parser, value), want, "{value}");
        }
    }

    #[test]
    fn local_times_follow_their_zone_through_a_clock_change() {
        let parser = TimeParser::Iso(Some(TimeZone::get("Europe/London").unwrap()));
        let hour = 3_600_000;
        let winter = text(&parser, "2011-03-27 00:30:00").unwrap();
        let summer = text(&parser, "2011-03-27 02:30:00").unwrap();
        assert_eq!(summer - winter, hour);
        assert_eq!(winter, text(&parser, "2011-03-27T00:30:00Z").unwrap());
    }

    #[test]
    fn patterns_and_compact_dates() {
        let config = DataConfig {
            time_zone: Some(TimeZone::UTC),
            time_format: Some("%m/%d/%Y %H:%M".into()),
            ..DataConfig::default()
        };
        let Guess::Known(parser, _) = guess(std::iter::empty(), &config) else { panic!() };
        assert_eq!(text(&parser, "12/1/2010 8:26"), Ok(1_291_191_960_000));
        let config = DataConfig { time_zone: Some(TimeZone::UTC), ..DataConfig::default() };
        let Guess::Known(parser, _) = guess(["19970101"].into_iter(), &config) else { panic!() };
        assert_eq!(text(&parser, "19970101"), Ok(852_076_800_000));
        assert!(matches!(
            guess(["19970101"].into_iter(), &DataConfig::default()),
            Guess::NeedsZone(_)
        ));
    }

    #[test]
    fn months_of_days_are_the_calendars() {
        for day in (0..60_000).step_by(13) {
            let millis = day * MS_PER_DAY + 5;
            let date = TimeZone::UTC
                .to_datetime(jiff::Timestamp::from_millisecond(millis).unwrap())
                .date();
            let want = i32::from(date.year()) * 12 + i32::from(date.month()) - 1;
            assert_eq!(month_of(millis), want, "{date}");
            let (year, month) = (i64::from(date.year()), i64::from(date.month()));
            assert_eq!(days_of(year, month, i64::from(date.day())), Some(day));
        }
    }
}
