//! What kind a column is of, from its first values, with the reason in words.
//!
//! A column of whole numbers with few different ones may hold codes (a browser, a region) or counts (pages seen). Names do not tell,
//! the numbers mostly do: a count begins at 0 or 1 and larger ones are rarer, while codes are in no order of
//! frequency. So: at most 50 different whole numbers, at most one in 20 rows, are a count if each value that has at least
//! 1 % of the rows is not clearly (by two standard deviations of a count) more frequent than the value before it, and
//! codes otherwise. Two different ones are a flag, which is as good as a code. The configuration overrides all of it.

use std::collections::BTreeMap;

use forecart_data::samples::ColumnKind;
use jiff::tz::TimeZone;
use rustc_hash::FxHashSet;
use xxhash_rust::xxh3::xxh3_64;

use super::value::{is_missing, json_texts, number};
use crate::config::DataConfig;
use crate::import::cell::Cell;
use crate::import::time::TimeParser;

/// More different whole numbers are amounts.
const MAX_CODES: usize = 50;
/// In fewer rows, one in each is no sign of anything.
const MIN_ROWS: u64 = 20;
/// First values that are kept, to find out how moments are written.
const N_SAMPLE: usize = 1000;
/// The largest whole number up to which a float holds all.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// What the first values of a column are like.
#[derive(Debug)]
pub(super) struct Profile {
    pub(super) n_rows: u64,
    pub(super) n_missing: u64,
    pub(super) examples: Vec<String>,
    pub(super) sample: Vec<String>,
    distinct: FxHashSet<u64>,
    max_distinct: usize,
    /// Values up to the one at which the different ones became too many to be kept.
    n_counted: u64,
    n_numbers: u64,
    n_whole: u64,
    n_coded: u64,
    n_moments: u64,
    n_times: u64,
    n_json: u64,
    n_separated: u64,
    counts: Option<BTreeMap<i64, u64>>,
    is_ascending: bool,
    last: f64,
    first_odd: Option<(u64, String)>,
}

/// A decision.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Inferred {
    /// `None`: nothing can be learned from the column.
    pub(super) kind: Option<ColumnKind>,
    pub(super) reason: String,
}

impl Profile {
    /// Keeps up to `max_distinct` hashes of values.
    pub(super) fn new(max_distinct: usize) -> Self {
        Self {
            n_rows: 0,
            n_missing: 0,
            examples: Vec::new(),
            sample: Vec::new(),
            distinct: FxHashSet::default(),
            max_distinct,
            n_counted: 0,
            n_numbers: 0,
            n_whole: 0,
            n_coded: 0,
            n_moments: 0,
            n_times: 0,
            n_json: 0,
            n_separated: 0,
            counts: Some(BTreeMap::new()),
            is_ascending: true,
            last: f64::NEG_INFINITY,
            first_odd: None,
        }
    }

    pub(super) fn add(
        &mut self,
        cell: &Cell<'_>,
        line: u64,
        data: &DataConfig,
        separator: Option<&str>,
    ) {
        self.n_rows += 1;
        let is_nan = |text: &str| text.trim().eq_ignore_ascii_case("nan");
        if is_missing(cell, data) || cell.text().is_some_and(is_nan) {
            self.n_missing += 1;
            return;
        }
        let shown = cell.shown();
        let text = shown.trim();
        if self.sample.len() < N_SAMPLE {
            self.sample.push(text.to_owned());
        }
        if self.examples.len() < 3 && !self.examples.iter().any(|known| known == text) {
            self.examples.push(text.to_owned());
        }
        if self.distinct.len() < self.max_distinct {
            self.distinct.insert(xxh3_64(text.as_bytes()));
            self.n_counted += 1;
        }
        if matches!(cell, Cell::Millis(_)) {
            self.n_moments += 1;
            return;
        }
        let read = match cell {
            Cell::Int(number) => Some(*number as f64),
            Cell::Float(number) => Some(*number),
            _ => number(text),
        };
        match read {
            Some(number) => self.add_number(number, text),
            None => self.add_text(text, line, data, separator),
        }
    }

    fn add_number(&mut self, number: f64, text: &str) {
        self.n_numbers += 1;
        let digits = text.trim_start_matches(['+', '-']);
        let is_padded = digits.len() > 1
            && digits.starts_with('0')
            && digits.bytes().all(|byte| byte.is_ascii_digit());
        let is_whole = number.fract() == 0.0;
        self.n_whole += u64::from(is_whole);
        self.n_coded += u64::from(is_padded || (is_whole && number.abs() > EXACT));
        self.is_ascending &= is_whole && number > self.last;
        self.last = number;
        if let Some(counts) = self.counts.as_mut().filter(|_| is_whole && number.abs() <= EXACT) {
            *counts.entry(number as i64).or_default() += 1;
            if counts.len() > MAX_CODES {
                self.counts = None;
            }
        } else {
            self.counts = None;
        }
    }

    fn add_text(&mut self, text: &str, line: u64, data: &DataConfig, separator: Option<&str>) {
        if self.first_odd.is_none() {
            self.first_odd = Some((line, text.chars().take(40).collect()));
        }
        let cell = Cell::Text(text);
        let zone = data.time_zone.clone().unwrap_or(TimeZone::UTC);
        let parser = match &data.time_format {
            Some(pattern) => TimeParser::Pattern(pattern.clone(), Some(zone)),
            None => TimeParser::Iso(Some(zone)),
        };
        self.n_times += u64::from(parser.parse(&cell).is_ok());
        self.n_json += u64::from(json_texts(text).is_some());
        self.n_separated += u64::from(separator.is_some_and(|separator| text.contains(separator)));
    }

    /// Different values, and whether there are no more than these.
    pub(super) fn n_distinct(&self) -> (u64, bool) {
        (self.distinct.len() as u64, self.distinct.len() < self.max_distinct)
    }

    fn n_values(&self) -> u64 {
        self.n_rows - self.n_missing
    }

    /// Decides.
    pub(super) fn infer(&self) -> Inferred {
        let n = self.n_values();
        let kept = |kind, reason: String| Inferred { kind: Some(kind), reason };
        let dropped = |reason: String| Inferred { kind: None, reason };
        if n == 0 {
            return dropped("no value in any row".into());
        }
        if self.n_moments + self.n_times == n {
            return kept(ColumnKind::Time, "every value is a time".into());
        }
        if self.n_json == n {
            return kept(ColumnKind::List, "every value is an array".into());
        }
        if self.n_numbers == n && self.n_coded == 0 {
            return self.of_numbers();
        }
        if self.n_separated > 0 {
            let reason = format!("{} values hold the separator of lists", self.n_separated);
            return kept(ColumnKind::List, reason);
        }
        if self.is_nearly_unique() {
            let reason =
                "a different text in nearly every row: an id, from which nothing is learned";
            return dropped(reason.into());
        }
        let reason = match &self.first_odd {
            _ if self.n_numbers == n => {
                "whole numbers with leading zeros or of more than 15 digits are codes".into()
            }
            Some((line, text)) if self.n_numbers * 10 > n * 9 => format!(
                "{} of {n} values are no numbers, the first {text:?} in line {line}; if they mean \
                 \"no value\", put them into `data.null_values`",
                n - self.n_numbers
            ),
            _ => "texts".into(),
        };
        kept(ColumnKind::Category, reason)
    }

    fn is_nearly_unique(&self) -> bool {
        let n_distinct = self.distinct.len() as u64;
        self.n_counted >= MIN_ROWS && n_distinct * 100 >= self.n_counted * 95
    }

    fn of_numbers(&self) -> Inferred {
        let n = self.n_values();
        let kept = |kind, reason: String| Inferred { kind: Some(kind), reason };
        if n >= MIN_ROWS && self.is_ascending {
            let reason = "whole numbers that rise from row to row: the number of the row";
            return Inferred { kind: None, reason: reason.into() };
        }
        let Some(counts) = self.counts.as_ref().filter(|_| self.n_whole == n) else {
            let reason = if self.n_whole == n {
                format!("whole numbers, more than {MAX_CODES} different ones")
            } else {
                "numbers with fractions".into()
            };
            return kept(ColumnKind::Number, reason);
        };
        let n_distinct = counts.len();
        if n_distinct as u64 * 20 > n {
            let reason = format!(
                "{n_distinct} different whole numbers in {n} rows, too few rows to tell codes"
            );
            return kept(ColumnKind::Number, reason);
        }
        if n_distinct <= 2 {
            return kept(
                ColumnKind::Category,
                "at most two different whole numbers: a flag".into(),
            );
        }
        let first = *counts.keys().next().expect("there are some");
        if !(0..=1).contains(&first) {
            let reason = format!("{n_distinct} different whole numbers from {first} on: codes");
            return kept(ColumnKind::Category, reason);
        }
        let frequent: Vec<(i64, u64)> = counts
            .iter()
            .filter(|(_, n_rows)| **n_rows * 100 >= n)
            .map(|(value, n_rows)| (*value, *n_rows))
            .collect();
        let more_often = frequent
            .windows(2)
            .find(|pair| pair[1].1 as f64 > pair[0].1 as f64 + 2.0 * (pair[0].1 as f64).sqrt());
        match more_often {
            Some(pair) => {
                let ((before, _), (value, _)) = (pair[0], pair[1]);
                let reason = format!(
                    "{n_distinct} different whole numbers, {value} more often than {before}: codes"
                );
                kept(ColumnKind::Category, reason)
            }
            None => {
                let reason = format!(
                    "{n_distinct} whole numbers from {first} on, larger ones rarer: a count"
                );
                kept(ColumnKind::Number, reason)
            }
        }
    }
}
