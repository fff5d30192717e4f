//! Fields and records within a block of delimited text.
//!
//! A quote counts only as the first character of a field; elsewhere it is a character like any
//! other. Within a quoted field a doubled quote is one quote, and line ends are text. A record
//! ends at `\n`; a `\r` before it belongs to the line end. These are the rules of the `csv` crate,
//! except that a lone `\r` ends no record.

use memchr::{memchr, memchr2, memmem};

use crate::config::Delimiter;

/// How delimited text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub(crate) delimiter: Delimiter,
    pub(crate) quote: Option<u8>,
}

/// Where a field lies in its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Whether doubled quotes, or text after the closing quote, still stand in it.
    pub(crate) is_escaped: bool,
}

/// Splits a block into records.
#[derive(Debug)]
pub(crate) struct Records<'a> {
    bytes: &'a [u8],
    position: usize,
    dialect: Dialect,
}

impl<'a> Records<'a> {
    pub(crate) fn new(bytes: &'a [u8], dialect: Dialect) -> Self {
        Self { bytes, position: 0, dialect }
    }

    /// Fills `fields` with the next record's and returns where it starts and ends, line end
    /// included; empty lines are passed over.
    pub(crate) fn next(&mut self, fields: &mut Vec<Field>) -> Option<(usize, usize)> {
        loop {
            let start = self.position;
            if start >= self.bytes.len() {
                return None;
            }
            fields.clear();
            let delimiter = self.dialect.delimiter;
            match delimiter.as_bytes() {
                [] => self.split_at_blanks(fields),
                delimiter => self.split(delimiter, fields),
            }
            let is_blank = match fields.as_slice() {
                [] => true,
                // A lone `""` is a field: it begins after its quote.
                [only] => only.start == only.end && only.start == start,
                _ => false,
            };
            if !is_blank {
                return Some((start, self.position));
            }
        }
    }

    fn split(&mut self, delimiter: &[u8], fields: &mut Vec<Field>) {
        let bytes = self.bytes;
        let mut start = self.position;
        loop {
            let quoted = self.dialect.quote.filter(|quote| bytes.get(start) == Some(quote));
            let (mut field, from) = match quoted {
                Some(quote) => quoted_field(bytes, start, quote),
                None => (Field { start, end: start, is_escaped: false }, start),
            };
            let stop = next_stop(bytes, from, delimiter);
            let ends_record = bytes.get(stop).is_none_or(|byte| *byte == b'\n');
            let text_end = if ends_record { before_cr(bytes, from, stop) } else { stop };
            if quoted.is_none() {
                field.end = text_end;
            } else if text_end > from {
                // Text after the closing quote: kept, with the quote between to be taken out.
                field = Field { start: field.start, end: text_end, is_escaped: true };
            }
            fields.push(field);
            if ends_record {
                self.position = (stop + 1).min(bytes.len());
                return;
            }
            start = stop + delimiter.len();
        }
    }

    fn split_at_blanks(&mut self, fields: &mut Vec<Field>) {
        let bytes = self.bytes;
        let found = memchr(b'\n', &bytes[self.position..]);
        let stop = found.map_or(bytes.len(), |offset| self.position + offset);
        let end = before_cr(bytes, self.position, stop);
        let mut start = self.position;
        for part in bytes[start..end].split(|byte| matches!(byte, b' ' | b'\t')) {
            if !part.is_empty() {
                fields.push(Field { start, end: start + part.len(), is_escaped: false });
            }
            start += part.len() + 1;
        }
        self.position = (stop + 1).min(bytes.len());
    }
}

/// Where, at `from` or after it, a delimiter or a line end stands; the end of `bytes` if none does.
fn next_stop(bytes: &[u8], mut from: usize, delimiter: &[u8]) -> usize {
    let (first, rest) = (delimiter[0], &delimiter[1..]);
    while let Some(at) = memchr2(first, b'\n', &bytes[from..]).map(|offset| from + offset) {
        if rest.is_empty() || bytes[at] == b'\n' || bytes[at + 1..].starts_with(rest) {
            return at;
        }
        from = at + 1;
    }
    bytes.len()
}

/// The quoted field whose quote stands at `start`, and where the text after it begins.
fn quoted_field(bytes: &[u8], start: usize, quote: u8) -> (Field, usize) {
    let mut is_escaped = false;
    let mut at = start + 1;
    loop {
        let Some(close) = memchr(quote, &bytes[at..]).map(|offset| at + offset) else {
            // The block reader lets no open quote through; a record alone may still have one.
            return (Field { start: start + 1, end: bytes.len(), is_escaped }, bytes.len());
        };
        if bytes.get(close + 1) == Some(&quote) {
            is_escaped = true;
            at = close + 2;
        } else {
            return (Field { start: start + 1, end: close, is_escaped }, close + 1);
        }
    }
}

fn before_cr(bytes: &[u8], start: usize, end: usize) -> usize {
    if end > start && bytes[end - 1] == b'\r' { end - 1 } else { end }
}

/// The text of a field that [`Field::is_escaped`].
pub(crate) fn unescaped(text: &str, quote: char) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    let mut is_closed = false;
    while let Some(character) = characters.next() {
        if character == quote && !is_closed {
            if characters.peek() == Some(&quote) {
                characters.next();
            } else {
                is_closed = true;
                continue;
            }
        }
        plain.push(character);
    }
    plain
}

/// The end of the last whole record in `bytes`, which begin with a record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// One past the last record's line end; 0 if there is no whole record.
    pub(crate) end: usize,
    /// Where a quote stands that is still open at the end of `bytes`.
    pub(crate) open_quote: Option<usize>,
}

/// Finds where to cut text so that no record is split.
///
/// `is_last`: no bytes follow, so that a quote at the very end closes its field.
pub(crate) fn last_cut(bytes: &[u8], dialect: Dialect, is_last: bool) -> Cut {
    let Some(quote) = dialect.quote else {
        return Cut { end: last_line_end(bytes, 0, bytes.len()).unwrap_or(0), open_quote: None };
    };
    let mut end = 0;
    let mut at = 0;
    while let Some(found) = memchr(quote, &bytes[at..]).map(|offset| at + offset) {
        end = last_line_end(bytes, at, found).unwrap_or(end);
        let opens = found == 0
            || bytes[found - 1] == b'\n'
            || ends_in_delimiter(&bytes[at.max(end)..found], dialect.delimiter);
        if !opens {
            at = found + 1;
            continue;
        }
        let mut inside = found + 1;
        loop {
            let Some(close) = memchr(quote, &bytes[inside..]).map(|offset| inside + offset) else {
                return Cut { end, open_quote: Some(found) };
            };
            match bytes.get(close + 1) {
                Some(next) if *next == quote => inside = close + 2,
                None if !is_last => return Cut { end, open_quote: Some(found) },
                _ => {
                    at = close + 1;
                    break;
                }
            }
        }
    }
    end = last_line_end(bytes, at, bytes.len()).unwrap_or(end);
    Cut { end, open_quote: None }
}

/// Whether a delimiter ends `text`, which begins with a line or after a quote: delimiters are taken
/// from the left, so that `:::` ends in a colon that belongs to the next field.
fn ends_in_delimiter(text: &[u8], delimiter: Delimiter) -> bool {
    match delimiter {
        Delimiter::Whitespace => false,
        Delimiter::Byte(byte) => text.last() == Some(&byte),
        Delimiter::Marks(_) => {
            let found = memmem::find_iter(text, delimiter.as_bytes()).last();
            found.is_some_and(|at| at + delimiter.as_bytes().len() == text.len())
        }
    }
}

fn last_line_end(bytes: &[u8], from: usize, to: usize) -> Option<usize> {
    memchr::memrchr(b'\n', &bytes[from..to]).map(|offset| from + offset + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Marks;
    use proptest::prelude::*;

    const COMMA: Dialect = Dialect { delimiter: Delimiter::Byte(b','), quote: Some(b'"') };

    fn marks() -> Dialect {
        let delimiter = Delimiter::Marks(Marks::new("::").unwrap());
        Dialect { delimiter, quote: Some(b'"') }
    }

    fn records(text: &str, dialect: Dialect) -> Vec<Vec<String>> {
        let mut fields = Vec::new();
        let mut split = Records::new(text.as_bytes(), dialect);
        let mut found = Vec::new();
        while split.next(&mut fields).is_some() {
            let texts = fields.iter().map(|field| {
                let text = &text[field.start..field.end];
                if field.is_escaped { unescaped(text, '"') } else { text.to_owned() }
            });
            found.push(texts.collect());
        }
        found
    }

    /// The text up to a quote that never ends: the block reader refuses such a text.
    fn closed(text: &str) -> &str {
        last_cut(text.as_bytes(), COMMA, true).open_quote.map_or(text, |at| &text[..at])
    }

    /// What the `csv` crate reads, as an independent implementation of the same rules.
    fn by_csv_crate(text: &str) -> Vec<Vec<String>> {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .terminator(csv::Terminator::Any(b'\n'))
            .from_reader(text.as_bytes());
        let records = reader.records().map(|record| record.unwrap());
        let texts = records.map(|record| record.iter().map(str::to_owned).collect());
        texts.collect()
    }

    #[test]
    fn line_ends_blank_lines_and_whitespace() {
        assert_eq!(records("a,b\r\n\r\n\nc,\r\n", COMMA), [["a", "b"], ["c", ""]]);
        assert_eq!(records("\"a\"\"b\",\"c\"d\n", COMMA), [["a\"b", "cd"]]);
        let blanks = Dialect { delimiter: Delimiter::Whitespace, quote: None };
        assert_eq!(records(" 1  2\t3 \r\n4 5 6", blanks), [["1", "2", "3"], ["4", "5", "6"]]);
    }

    #[test]
    fn a_cut_never_falls_into_a_quoted_field() {
        let text = b"a,\"b\nc\"\nd,e\"\nf,\"g";
        let cut = |n: usize| last_cut(&text[..n], COMMA, false);
        assert_eq!(cut(5), Cut { end: 0, open_quote: Some(2) });
        // The quote at the very end may be the first of two.
        assert_eq!(cut(7), Cut { end: 0, open_quote: Some(2) });
        assert_eq!(cut(8), Cut { end: 8, open_quote: None });
        assert_eq!(cut(13), Cut { end: 13, open_quote: None });
        assert_eq!(cut(text.len()), Cut { end: 13, open_quote: Some(15) });
    }

    #[test]
    fn marks_are_taken_from_the_left() {
        let text = "1::2:::3\n\"a::b\"::\"c\n\"\n";
        assert_eq!(records(text, marks()), [vec!["1", "2", ":3"], vec!["a::b", "c\n"]]);
    }

    proptest! {
        #[test]
        fn marks_part_fields_as_a_comma_does(text in "[ab,\"\n]{0,40}") {
            let text = closed(&text);
            let mut by_comma = records(text, COMMA);
            // Within quotes both are text.
            by_comma.iter_mut().flatten().for_each(|field| *field = field.replace(',', "::"));
            prop_assert_eq!(records(&text.replace(',', "::"), marks()), by_comma);
        }

        #[test]
        fn pieces_parted_by_marks_have_the_records_of_the_whole(
            text in "[a:\"\r\n]{0,60}",
            at in 0_usize..60,
        ) {
            let open = last_cut(text.as_bytes(), marks(), true).open_quote;
            let text = open.map_or(text.as_str(), |at| &text[..at]);
            let cut = last_cut(&text.as_bytes()[..at.min(text.len())], marks(), false).end;
            let mut pieces = records(&text[..cut], marks());
            pieces.extend(records(&text[cut..], marks()));
            prop_assert_eq!(pieces, records(text, marks()));
        }

        #[test]
        fn fields_are_those_of_the_csv_crate(text in "[ab,\"\n]{0,40}") {
            let text = closed(&text);
            prop_assert_eq!(records(text, COMMA), by_csv_crate(text));
        }

        #[test]
        fn pieces_have_the_records_of_the_whole(
            text in "[ab,\"\r\n]{0,60}",
            at in 0_usize..60,
        ) {
            let text = closed(&text);
            let bytes = text.as_bytes();
            let cut = last_cut(&bytes[..at.min(bytes.len())], COMMA, false).end;
            let mut pieces = records(&text[..cut], COMMA);
            pieces.extend(records(&text[cut..], COMMA));
            prop_assert_eq!(pieces, records(text, COMMA));
        }
    }
}
