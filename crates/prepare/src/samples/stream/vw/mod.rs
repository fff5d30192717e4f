//! Lines of Vowpal Wabbit's text straight to hashed features, without a copy.
//!
//! What is read here is read as `sparse::parse` reads it, bit for bit; whatever is not plainly written (a name with several
//! colons, a control character, anything that is wrong) is left to it. `stops` finds blanks, colons and bars, `number` reads numbers of up
//! to 8 characters all at once; [`PlainLines`] is the loop over lines, compiled for the instructions of the processor.

use forecart_data::encode::hashed::FEATURES;
use forecart_data::encode::{HashSpace, HashedFeature, HashedRows, SpaceSeed};

mod number;
mod stops;

use self::number::number;
pub(super) use self::stops::Stops;
use super::super::label::LabelRule;
use super::super::sparse::vw_head;
use super::reader::importance;
use crate::config::DataConfig;
use crate::import::cell::Cell;

/// How lines are read.
#[derive(Debug)]
pub(super) struct VwLines {
    space: HashSpace,
    without_space: SpaceSeed,
    /// The value of a feature that is there.
    one: f32,
    max_line_bytes: usize,
    /// What stands before the blank and the bar in most lines (see [`short`]), with its label.
    heads: Vec<(u32, f32)>,
    /// Where labels are read.
    rule: Option<LabelRule>,
}

/// A line that was read.
struct VwLine {
    /// One past its line end.
    end: usize,
    /// NaN if it is not known.
    label: f32,
    importance: f32,
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
            one: space.numbers.apply(1.0),
            max_line_bytes: data.max_line_bytes,
            heads: Vec::new(),
            rule,
        };
        let heads: [&[u8]; 3] = [b"1", b"0", b"-1"];
        let read = heads.map(|head| Some((short(head)?, lines.head(head, data)?.0)));
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
        Some((label as f32, self::importance(importance).ok()?))
    }

    /// Reads the line at `start` of a text of UTF-8, whose next stop is that of `stops`, and writes its features, which make no row yet. `None`: it is
    /// left to others.
    #[inline(always)]
    fn read(
        &self,
        bytes: &[u8],
        stops: &mut Stops,
        start: usize,
        data: &DataConfig,
        out: &mut HashedRows,
    ) -> Option<VwLine> {
        let mut stop = stops.next();
        let word = short(&bytes[start..stop]);
        let mut known = None;
        for (head, label) in &self.heads {
            if word == Some(*head) {
                known = Some(*label);
            }
        }
        let is_before_bar = bytes.get(stop) == Some(&b' ') && bytes.get(stop + 1) == Some(&b'|');
        let (label, importance) = match known {
            Some(label) if is_before_bar => {
                stop = stops.next();
                (label, 1.0)
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
            stop = self.space(bytes, stops, stop + 1, &mut written)?;
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
    fn space(
        &self,
        bytes: &[u8],
        stops: &mut Stops,
        at: usize,
        written: &mut Written<'_>,
    ) -> Option<usize> {
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
            let is_there = bytes.get(stop) != Some(&b':');
            if !is_there {
                let at = stop + 1;
                stop = stops.next();
                (value, is_kept) = number(bytes, at, stop)?;
            }
            if weight != 1.0 {
                value *= weight;
                is_kept = value != 0.0;
            }
            let value = match is_there && weight == 1.0 {
                true => self.one,
                false => self.space.numbers.apply(value),
            };
            written.room[written.n] = HashedFeature { slot, value };
            // Not a branch: nobody can foretell which counts are 0.
            written.n += usize::from(is_kept);
        }
    }
}

/// A text of up to 3 bytes as a number of its own.
#[inline(always)]
fn short(text: &[u8]) -> Option<u32> {
    match *text {
        [a] => Some(u32::from_le_bytes([1, a, 0, 0])),
        [a, b] => Some(u32::from_le_bytes([2, a, b, 0])),
        [a, b, c] => Some(u32::from_le_bytes([3, a, b, c])),
        _ => None,
    }
}

/// Reads lines one after the other into rows, up to one that is not plainly written.
#[derive(Debug)]
pub(super) struct PlainLines<'a> {
    pub(super) lines: &'a VwLines,
    pub(super) data: &'a DataConfig,
    /// Of UTF-8.
    pub(super) text: &'a [u8],
    /// Those of `text`.
    pub(super) stops: &'a mut Stops,
    /// Where the first line begins.
    pub(super) at: usize,
    /// Its number.
    pub(super) line: u64,
    pub(super) rows: &'a mut HashedRows,
    /// Whether a row must have a label.
    pub(super) needs_label: bool,
}

/// What became of them.
#[derive(Debug)]
pub(super) struct PlainRead {
    /// Where the first line stands that was not read, or the end of the text.
    pub(super) at: usize,
    pub(super) n_lines: u64,
    /// Lines among them without the label that they need, of which no row was made.
    pub(super) n_open: u64,
}

impl PlainLines<'_> {
    /// Reads them.
    pub(super) fn read(self) -> PlainRead {
        pulp::Arch::new().dispatch(self)
    }
}

impl pulp::NullaryFnOnce for PlainLines<'_> {
    type Output = PlainRead;

    #[inline(always)]
    fn call(self) -> PlainRead {
        let Self { lines, data, text, stops, at, line, rows, needs_label } = self;
        stops.skip_to(at);
        let mut read = PlainRead { at, n_lines: 0, n_open: 0 };
        while read.at < text.len() {
            let Some(found) = lines.read(text, stops, read.at, data, rows) else {
                rows.abandon_row();
                break;
            };
            if needs_label && found.label.is_nan() {
                rows.abandon_row();
                read.n_open += 1;
            } else {
                rows.end_row(found.label, found.importance, line + read.n_lines);
            }
            read.at = found.end;
            read.n_lines += 1;
        }
        read
    }
}
