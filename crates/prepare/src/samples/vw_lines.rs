//! Lines of Vowpal Wabbit's text straight to hashed features, without a copy.
//!
//! What is read here is read as `sparse::parse` reads it, bit for bit; whatever is not plainly written (a name with several
//! colons, a control character, anything that is wrong) is left to it. Names are looked through eight bytes at a time.

use forecart_data::encode::hashed::FEATURES;
use forecart_data::encode::{HashSpace, HashedFeature, HashedRows, SpaceSeed};
use memchr::memchr2;

use super::label::LabelRule;
use super::sparse::vw_head;
use crate::config::DataConfig;
use crate::import::cell::Cell;

/// Powers of ten that an `f64` holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];
/// The largest whole number up to which an `f64` holds all.
const EXACT: u64 = 1 << 53;

/// How lines are read.
#[derive(Debug)]
pub(super) struct VwLines {
    space: HashSpace,
    without_space: SpaceSeed,
    max_line_bytes: usize,
    /// What stands before the bar in most lines, with its label.
    heads: Vec<(&'static [u8], f32)>,
    /// Where labels are read.
    rule: Option<LabelRule>,
}

/// A line that was read.
pub(super) struct VwLine {
    /// One past its line end.
    pub(super) end: usize,
    /// NaN if it is not known.
    pub(super) label: f32,
    pub(super) importance: f32,
}

impl VwLines {
    pub(super) fn new(space: HashSpace, rule: Option<LabelRule>, data: &DataConfig) -> Self {
        let mut lines = Self {
            space,
            without_space: SpaceSeed::new(FEATURES.as_bytes()),
            max_line_bytes: data.max_line_bytes,
            heads: Vec::new(),
            rule,
        };
        let heads: [&[u8]; 3] = [b"1 ", b"0 ", b"-1 "];
        let read = heads.map(|head| Some((head, lines.head(head, data)?.0)));
        lines.heads = read.into_iter().flatten().collect();
        lines
    }

    /// How labels are read.
    pub(super) fn rule(&self) -> Option<&LabelRule> {
        self.rule.as_ref()
    }

    /// Label and importance; `None` for what is wrong.
    fn head(&self, head: &[u8], data: &DataConfig) -> Option<(f32, f32)> {
        let (label, importance) = vw_head(std::str::from_utf8(head).ok()?).ok()?;
        let label = match &self.rule {
            Some(rule) => rule.read(&label.map_or(Cell::Null, Cell::Text), data)?,
            None => f64::NAN,
        };
        Some((label as f32, super::stream::importance(importance).ok()?))
    }

    /// Reads the line at `start` of a text of UTF-8 and pushes its features, which make no row yet. `None`: it is left to
    /// others, and features may have been pushed.
    #[inline]
    pub(super) fn read(
        &self,
        bytes: &[u8],
        start: usize,
        data: &DataConfig,
        out: &mut HashedRows,
    ) -> Option<VwLine> {
        let mut at = start + memchr2(b'|', b'\n', &bytes[start..])?;
        if bytes[at] != b'|' {
            return None;
        }
        let head = &bytes[start..at];
        let known = self.heads.iter().find(|(known, _)| *known == head);
        let (label, importance) = match known {
            Some((_, label)) => (*label, 1.0),
            None => self.head(head, data)?,
        };
        while bytes.get(at) == Some(&b'|') {
            at = self.space(bytes, at + 1, out)?;
        }
        let end = match bytes.get(at) {
            None => at,
            Some(b'\n') => at + 1,
            Some(_) => return None,
        };
        (end - start <= self.max_line_bytes).then_some(VwLine { end, label, importance })
    }

    /// Reads a namespace, whose name is at `at`; returns where its last feature's text ends.
    #[inline]
    fn space(&self, bytes: &[u8], mut at: usize, out: &mut HashedRows) -> Option<usize> {
        let (mut seed, mut weight) = (self.without_space, 1.0);
        if bytes.get(at).is_some_and(|byte| *byte > b' ' && *byte != b'|') {
            let stop = next_stop(bytes, at);
            seed = SpaceSeed::new(&bytes[at..stop]);
            if stop == at {
                return None;
            }
            at = stop;
            if bytes.get(stop) == Some(&b':') {
                (weight, at) = number(bytes, stop + 1)?;
            }
        }
        loop {
            match bytes.get(at) {
                Some(b' ' | b'\t' | b'\r') => at += 1,
                None | Some(b'|' | b'\n') => return Some(at),
                Some(byte) if *byte < b' ' => return None,
                Some(_) => {
                    let stop = next_stop(bytes, at);
                    let name = &bytes[at..stop];
                    if name.is_empty() {
                        return None;
                    }
                    let mut value = 1.0;
                    at = stop;
                    if bytes.get(stop) == Some(&b':') {
                        (value, at) = number(bytes, stop + 1)?;
                    }
                    let slot = self.space.slot(seed, name);
                    if value == 1.0 && weight == 1.0 {
                        out.push(HashedFeature { slot, value: 1.0 });
                    } else if let Some(feature) = self.space.number(slot, value * weight) {
                        out.push(feature);
                    }
                }
            }
        }
    }
}

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The first place from `at` on of a blank, a control character, a colon or a bar; the end of the text if there is none.
///
/// The first set bit of each mask is right, those above it may not be (a borrow): see "Determine if a word has a byte less than n"
/// in Anderson, Bit Twiddling Hacks.
#[inline]
fn next_stop(bytes: &[u8], mut at: usize) -> usize {
    while let Some(word) = bytes.get(at..at + 8) {
        let word = u64::from_le_bytes(word.try_into().expect("eight bytes"));
        let zero = |word: u64| word.wrapping_sub(LOW) & !word;
        let blank = word.wrapping_sub(LOW * 0x21) & !word;
        let marks = zero(word ^ (LOW * 0x3a)) | zero(word ^ (LOW * 0x7c));
        let found = (blank | marks) & HIGH;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let is_stop = |byte: &u8| *byte <= b' ' || matches!(byte, b':' | b'|');
    let rest = &bytes[at..];
    at + rest.iter().position(is_stop).unwrap_or(rest.len())
}

/// The number at `at` and where its text ends; `None` if it is none, not finite, or followed by a colon.
#[inline]
fn number(bytes: &[u8], at: usize) -> Option<(f64, usize)> {
    let is_negative = bytes.get(at) == Some(&b'-');
    let first = at + usize::from(is_negative);
    let (mut end, mut digits, mut n_digits, mut point) = (first, 0_u64, 0, None);
    while let Some(byte) = bytes.get(end) {
        match byte {
            b'0'..=b'9' => {
                digits = digits.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
                n_digits += 1;
            }
            b'.' if point.is_none() => point = Some(end + 1),
            _ => break,
        }
        end += 1;
    }
    let is_end = bytes.get(end).is_none_or(|byte| *byte <= b' ' || *byte == b'|');
    if is_end && (1..=19).contains(&n_digits) && digits <= EXACT {
        // Two numbers that an f64 holds exactly: their quotient is rounded once, as a parser rounds it.
        let n_after = point.map_or(0, |point| end - point);
        let number = digits as f64 / POWERS[n_after];
        return Some((if is_negative { -number } else { number }, end));
    }
    let stop = next_stop(bytes, at);
    if bytes.get(stop) == Some(&b':') {
        return None;
    }
    let number: f64 = std::str::from_utf8(&bytes[at..stop]).ok()?.parse().ok()?;
    number.is_finite().then_some((number, stop))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_those_of_the_standard_parser() {
        for text in [
            "1",
            "0",
            "-0",
            "2.50",
            ".5",
            "3.",
            "1e-5",
            "12345678901234567890",
            "0.1",
            "-7.125",
            "+2",
            "9007199254740993",
            "0.000000000000000000001",
            "123456.789012345678",
        ] {
            let (read, end) = number(text.as_bytes(), 0).unwrap();
            assert_eq!(
                (read.to_bits(), end),
                (text.parse::<f64>().unwrap().to_bits(), text.len()),
                "{text}"
            );
        }
        for text in ["", "-", ".", "1e999", "nan", "inf", "a", "1:2", "1_0"] {
            assert_eq!(number(text.as_bytes(), 0), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn stops_are_found_wherever_they_stand(bytes in proptest::collection::vec(any::<u8>(), 0..40), at in 0_usize..40) {
            let at = at.min(bytes.len());
            let is_stop = |byte: &u8| *byte <= b' ' || *byte == b':' || *byte == b'|';
            let expected = bytes[at..].iter().position(is_stop).map_or(bytes.len(), |n| at + n);
            prop_assert_eq!(next_stop(&bytes, at), expected);
        }

        #[test]
        fn any_number_is_that_of_the_standard_parser(text in "-?[0-9]{0,20}\\.?[0-9]{0,6}") {
            let expected = text.parse::<f64>().ok().map(|number| (number, text.len()));
            prop_assert_eq!(number(text.as_bytes(), 0), expected);
        }
    }
}
