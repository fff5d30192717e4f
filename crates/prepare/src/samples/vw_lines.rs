//! Lines of Vowpal Wabbit's text straight to hashed features, without a copy.
//!
//! What is read here is read as `sparse::parse` reads it, bit for bit; whatever is not plainly written (a name with several
//! colons, a control character, anything that is wrong) is left to it. Blanks, colons and bars are looked for in 64 bytes at a time, and
//! numbers of up to 8 characters are read all at once.

use forecart_data::encode::hashed::FEATURES;
use forecart_data::encode::{HashSpace, HashedFeature, HashedRows, SpaceSeed};
use wide::u8x16;

use super::label::LabelRule;
use super::sparse::vw_head;
use crate::config::DataConfig;
use crate::import::cell::Cell;

/// Powers of ten that stand below a number of up to 8 characters.
const POWERS: [f64; 8] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7];

/// How lines are read.
#[derive(Debug)]
pub(super) struct VwLines {
    space: HashSpace,
    without_space: SpaceSeed,
    max_line_bytes: usize,
    /// What stands before the blank and the bar in most lines, with its label.
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

/// The features of a line as they are written.
struct Written<'a> {
    room: &'a mut [HashedFeature],
    n: usize,
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
        let heads: [&[u8]; 3] = [b"1", b"0", b"-1"];
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

    /// Reads the line at `start` of a text of UTF-8, where `stops` stands, and writes its features, which make no row yet. `None`: it is
    /// left to others.
    #[inline]
    pub(super) fn read(
        &self,
        stops: &mut Stops<'_>,
        start: usize,
        data: &DataConfig,
        out: &mut HashedRows,
    ) -> Option<VwLine> {
        let bytes = stops.bytes;
        let mut stop = stops.next();
        let word = &bytes[start..stop];
        let known = self.heads.iter().find(|(known, _)| *known == word);
        let (label, importance) = match known {
            Some((_, label)) if bytes[stop..].starts_with(b" |") => {
                stop = stops.next();
                (*label, 1.0)
            }
            _ => {
                while !matches!(bytes.get(stop), None | Some(b'|' | b'\n')) {
                    stop = stops.next();
                }
                if bytes.get(stop) != Some(&b'|') {
                    return None;
                }
                self.head(&bytes[start..stop], data)?
            }
        };
        // A feature has a character and one that ends it.
        let room = out.room((bytes.len() - start) / 2 + 1);
        let mut written = Written { room, n: 0 };
        while bytes.get(stop) == Some(&b'|') {
            stop = self.space(stops, stop + 1, &mut written)?;
        }
        let n = written.n;
        out.advance(n);
        let end = match bytes.get(stop) {
            None => stop,
            Some(_) => stop + 1,
        };
        (end - start <= self.max_line_bytes).then_some(VwLine { end, label, importance })
    }

    /// Reads a namespace, whose name is at `at`; returns where the bar, the line end or the text's end stands that ends it.
    #[inline(always)]
    fn space(&self, stops: &mut Stops<'_>, at: usize, written: &mut Written<'_>) -> Option<usize> {
        let bytes = stops.bytes;
        let mut stop = stops.next();
        let (mut seed, mut weight) = (self.without_space, 1.0);
        if stop > at {
            seed = SpaceSeed::new(&bytes[at..stop]);
        }
        if bytes.get(stop) == Some(&b':') {
            if stop == at {
                return None;
            }
            let at = stop + 1;
            stop = stops.next();
            weight = number(bytes, at, stop)?.0;
        }
        loop {
            match bytes.get(stop) {
                Some(b' ' | b'\t' | b'\r') => {}
                None | Some(b'|' | b'\n') => return Some(stop),
                // A second colon, or a control character.
                Some(_) => return None,
            }
            let at = stop + 1;
            stop = stops.next();
            let name = &bytes[at..stop];
            if name.is_empty() {
                if bytes.get(stop) == Some(&b':') {
                    return None;
                }
                continue;
            }
            let slot = self.space.slot(seed, name);
            let (mut value, mut is_kept) = (1.0, true);
            if bytes.get(stop) == Some(&b':') {
                let at = stop + 1;
                stop = stops.next();
                (value, is_kept) = number(bytes, at, stop)?;
            }
            if weight != 1.0 {
                value *= weight;
                is_kept = value != 0.0;
            }
            written.room[written.n] =
                HashedFeature { slot, value: self.space.numbers.apply(value) };
            // Not a branch: nobody can foretell which counts are 0.
            written.n += usize::from(is_kept);
        }
    }
}

/// The places of blanks, control characters, colons and bars in a text, one after the other.
pub(super) struct Stops<'a> {
    bytes: &'a [u8],
    /// Where the 64 bytes begin that are looked at.
    base: usize,
    /// Those of them that have not been handed out, from the lowest bit on.
    mask: u64,
}

impl<'a> Stops<'a> {
    /// Those from `at` on.
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        let mask = bytes.get(at..).map_or(0, stops_in);
        Self { bytes, base: at, mask }
    }

    /// The next one, or the end of the text.
    #[inline(always)]
    fn next(&mut self) -> usize {
        while self.mask == 0 {
            if self.bytes.len() - self.base <= 64 {
                return self.bytes.len();
            }
            self.base += 64;
            self.mask = stops_in(&self.bytes[self.base..]);
        }
        let at = self.base + self.mask.trailing_zeros() as usize;
        self.mask &= self.mask - 1;
        at
    }
}

/// A bit for each of the first 64 bytes that is a blank, a control character, a colon or a bar.
#[inline(always)]
fn stops_in(rest: &[u8]) -> u64 {
    let Some(chunk) = rest.first_chunk::<64>() else {
        let is_stop = |byte: &u8| *byte <= b' ' || matches!(byte, b':' | b'|');
        let bits = rest.iter().enumerate().map(|(at, byte)| u64::from(is_stop(byte)) << at);
        return bits.fold(0, |mask, bit| mask | bit);
    };
    let (parts, _) = chunk.as_chunks::<16>();
    let bits = parts.iter().enumerate().map(|(at, part)| {
        let part = u8x16::new(*part);
        let blanks = part.min(u8x16::splat(b' ')).simd_eq(part);
        let marks = part.simd_eq(u8x16::splat(b':')) | part.simd_eq(u8x16::splat(b'|'));
        u64::from((blanks | marks).to_bitmask()) << (16 * at)
    });
    bits.fold(0, |mask, bits| mask | bits)
}

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;
const ZEROS: u64 = LOW * 0x30;

/// The number that stands from `at` to `stop`, and whether it is other than 0; `None` if it is none, not finite, or followed by a colon.
///
/// Up to 8 characters are one word. The point is taken out of it (the first zero byte of the word less points is where the lowest bit of
/// the usual test is, see "Determine if a word has a zero byte" in Anderson, Bit Twiddling Hacks), and neighbors are joined to pairs, fours and
/// eights (Lemire, "Quickly parsing eight digits", 2018). A quotient of two numbers that an `f64` holds exactly is rounded once, as
/// a parser rounds it.
#[inline(always)]
fn number(bytes: &[u8], at: usize, stop: usize) -> Option<(f64, bool)> {
    if bytes.get(stop) == Some(&b':') {
        return None;
    }
    let is_negative = bytes.get(at) == Some(&b'-');
    let first = at + usize::from(is_negative);
    let n_bits = 8 * stop.saturating_sub(first) as u32;
    let Some(word) = bytes.get(first..).and_then(|rest| rest.first_chunk::<8>()) else {
        return parsed(&bytes[at..stop]);
    };
    if !(8..=64).contains(&n_bits) {
        return parsed(&bytes[at..stop]);
    }
    // The characters at the high end, the first one lowest; zero bytes below.
    let text = u64::from_le_bytes(*word) << (64 - n_bits);
    let less_points = text ^ (LOW * 0x2e);
    let points = less_points.wrapping_sub(LOW) & !less_points & HIGH;
    let (mut digits, mut n_after, mut n_digit_bits) = (text, 0, n_bits);
    if points != 0 {
        let point = points.trailing_zeros() & !7;
        let below = (1 << point) - 1;
        digits = (text & !below & !(0xff << point)) | ((text & below) << 8);
        n_after = (56 - point) / 8;
        n_digit_bits -= 8;
    }
    if n_digit_bits == 0 {
        return None;
    }
    // Two shifts, for one by 64 is none.
    let digits = (digits | (ZEROS >> (n_digit_bits - 1) >> 1)).wrapping_sub(ZEROS);
    if (digits.wrapping_add(LOW * 0x76) | digits) & HIGH != 0 {
        return parsed(&bytes[at..stop]);
    }
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let odd = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
    let even = ((pairs >> 16) & 0x0000_00ff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
    let whole = odd.wrapping_add(even) >> 32;
    let number = whole as f64 / POWERS[n_after as usize];
    Some((if is_negative { -number } else { number }, whole != 0))
}

#[inline(never)]
fn parsed(text: &[u8]) -> Option<(f64, bool)> {
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    number.is_finite().then_some((number, number != 0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// With something behind it, as in a line, and alone.
    fn read(text: &str) -> Option<f64> {
        let longer = format!("{text} more of a line");
        let alone = number(text.as_bytes(), 0, text.len());
        assert_eq!(number(longer.as_bytes(), 0, text.len()), alone, "{text}");
        alone.map(|(number, is_some)| {
            assert_eq!(is_some, number != 0.0, "{text}");
            number
        })
    }

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
            "0.0000",
            "12.34567",
            "12345678",
            "-1234.567",
            "9007199254740993",
            "0.000000000000000000001",
            "123456.789012345678",
        ] {
            let expected = text.parse::<f64>().unwrap().to_bits();
            assert_eq!(read(text).map(f64::to_bits), Some(expected), "{text}");
        }
        for text in
            ["", "-", ".", "1e999", "nan", "inf", "a", "1_0", "1.2.3", "--1", "1-2", "12/4", "1;0"]
        {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(number(b"1:2", 0, 1), None);
    }

    proptest! {
        #[test]
        fn stops_are_found_wherever_they_stand(
            bytes in proptest::collection::vec(prop_oneof![Just(b' '), Just(b'a'), Just(b':'), any::<u8>()], 0..300),
            at in 0_usize..300,
        ) {
            let at = at.min(bytes.len());
            let is_stop = |byte: u8| byte <= b' ' || byte == b':' || byte == b'|';
            let expected: Vec<usize> = (at..bytes.len()).filter(|at| is_stop(bytes[*at])).collect();
            let mut stops = Stops::new(&bytes, at);
            let found: Vec<usize> = expected.iter().map(|_| stops.next()).collect();
            prop_assert_eq!(found, expected);
            prop_assert_eq!([stops.next(), stops.next()], [bytes.len(), bytes.len()]);
        }

        #[test]
        fn any_number_is_that_of_the_standard_parser(text in "-?[0-9]{0,9}\\.?[0-9]{0,6}") {
            prop_assert_eq!(read(&text), text.parse::<f64>().ok());
        }

        #[test]
        fn any_text_is_the_number_of_the_standard_parser_or_none(text in "[0-9.e+\\-/;a]{0,9}") {
            prop_assert_eq!(read(&text), text.parse::<f64>().ok().filter(|number| number.is_finite()));
        }
    }
}
