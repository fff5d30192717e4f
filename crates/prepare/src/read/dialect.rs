//! What an input looks like: format, delimiter, header, columns. From its head and the
//! configuration; what is stated is not looked for.

use std::path::Path;

use forecart_data::event;

use super::records::{Dialect, Records, unescaped};
use crate::PrepareError;
use crate::config::{DataConfig, Delimiter, Format, Marks};
use crate::error::Place;

/// How a text input is to be read.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) format: Format,
    pub(crate) dialect: Dialect,
    /// Names of the columns; those of sequences are ours.
    pub(crate) names: Vec<String>,
    /// Types that a RecBole header states, by column.
    pub(crate) types: Vec<Option<String>>,
    /// Bytes of the header line, 0 without one.
    pub(crate) header_bytes: usize,
    /// First records after the header.
    pub(crate) sample: Vec<Vec<String>>,
    /// What was found, in sentences.
    pub(crate) decisions: Vec<String>,
}

const N_SAMPLE: usize = 1000;
const N_SNIFFED: usize = 100;

/// Looks at the first bytes of an input that is not Parquet.
pub(crate) fn recognize(
    path: &Path,
    head: &[u8],
    is_all: bool,
    config: &DataConfig,
) -> Result<Layout, PrepareError> {
    let place = || Place::file(path);
    if head.iter().all(u8::is_ascii_whitespace) {
        return Err(PrepareError::input(place(), "the file is empty", "give a file with rows"));
    }
    check_text(path, head)?;
    let first_line_end = memchr::memchr(b'\n', head).map_or(head.len(), |at| at + 1);
    let first_line = &head[..first_line_end];
    let Ok(first_line) = std::str::from_utf8(first_line) else {
        let fix = "convert the file to UTF-8, as with `iconv -f latin1 -t utf-8`";
        return Err(PrepareError::input(place().line(1), "the first line is not UTF-8", fix));
    };
    if config.format.is_none() && first_line.trim_start().starts_with("[{") {
        let fix = "write one object a line, as with `jq -c '.[]'`";
        return Err(PrepareError::input(place(), "the file is one JSON array", fix));
    }
    let format = config.format.unwrap_or_else(|| sniffed_format(head, first_line, config));
    match format {
        Format::Jsonl => Ok(Layout::jsonl()),
        Format::Parquet => {
            let reason = "the file does not begin with `PAR1`: it is not Parquet";
            Err(PrepareError::input(place(), reason, "remove `data.format`, or check the file"))
        }
        Format::Pairs | Format::Sequences | Format::ItemSequences => {
            Ok(Layout::of_items(format, head, is_all, config))
        }
        Format::RecBole => Layout::recbole(path, head, is_all, first_line),
        Format::Csv => Layout::csv(path, head, is_all, config),
        Format::LibSvm | Format::LibFfm | Format::Vw => {
            let reason = format!("{} is a format of sample tables, not of logs", format.name());
            Err(PrepareError::config("data.format", format!("{reason}; prepare it as samples")))
        }
    }
}

pub(crate) fn check_text(path: &Path, head: &[u8]) -> Result<(), PrepareError> {
    let place = Place::file(path);
    if head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) {
        let fix = "convert the file to UTF-8, as with `iconv -f utf-16 -t utf-8`";
        return Err(PrepareError::input(place, "the file is UTF-16", fix));
    }
    if head.starts_with(b"PAR1") {
        let fix = "unpack it first: Parquet is compressed within";
        return Err(PrepareError::input(place, "the file is Parquet in a compressed file", fix));
    }
    if head.starts_with(b"PK\x03\x04") {
        return Err(PrepareError::input(place, "the file is a zip archive", "unpack it first"));
    }
    let n_binary = head.iter().filter(|byte| matches!(byte, 0..=8 | 14..=31)).count();
    if n_binary * 50 > head.len() {
        let fix = "give CSV, TSV, JSON lines (also .gz or .zst) or Parquet";
        return Err(PrepareError::input(place, "the file holds binary data, not text", fix));
    }
    if !head.contains(&b'\n') && head.contains(&b'\r') {
        let fix = "write `\\n` line ends, as with `tr '\\r' '\\n'`";
        return Err(PrepareError::input(place, "lines end in a lone carriage return", fix));
    }
    Ok(())
}

fn sniffed_format(head: &[u8], first_line: &str, config: &DataConfig) -> Format {
    let states_columns = config.names.is_some() || config.header.is_some();
    if first_line.trim_start().starts_with('{') {
        return Format::Jsonl;
    }
    if !states_columns && recbole_fields(first_line).is_some() {
        return Format::RecBole;
    }
    if states_columns || !config.columns.is_empty() {
        return Format::Csv;
    }
    let delimiter = config.delimiter.unwrap_or_else(|| sniffed_delimiter(head, None, config));
    let records = sampled(head, Dialect { delimiter, quote: None }, N_SNIFFED);
    let is_item = |field: &String| !field.is_empty() && field.bytes().all(|b| b.is_ascii_digit());
    // Only files of whole numbers, without a header, are taken for pairs and sequences unasked.
    if !records.iter().flatten().all(is_item) {
        return Format::Csv;
    }
    if records.iter().all(|record| record.len() == 2) {
        Format::Pairs
    } else if records.iter().any(|record| record.len() != records[0].len()) {
        Format::Sequences
    } else {
        Format::Csv
    }
}

/// `name:type` fields of a RecBole header.
pub(crate) fn recbole_fields(line: &str) -> Option<Vec<(String, String)>> {
    let fields = line.trim_end_matches(['\n', '\r']).split('\t');
    let typed = fields.map(|field| {
        let (name, kind) = field.rsplit_once(':')?;
        let is_type = matches!(kind, "token" | "token_seq" | "float" | "float_seq");
        (is_type && !name.is_empty()).then(|| (name.to_owned(), kind.to_owned()))
    });
    typed.collect()
}

/// The delimiter under which the first lines look most like a table: known column names first,
/// then as many fields in each line as in the first, then many fields.
fn sniffed_delimiter(head: &[u8], quote: Option<u8>, config: &DataConfig) -> Delimiter {
    let bytes = [b',', b'\t', b';', b'|'].map(Delimiter::Byte);
    let marks = Marks::new("::").map(Delimiter::Marks);
    let mut best = (Delimiter::Byte(b','), (0, 0, 0));
    for delimiter in bytes.into_iter().chain(marks).chain([Delimiter::Whitespace]) {
        let quote = quote.filter(|_| delimiter != Delimiter::Whitespace);
        let records = sampled(head, Dialect { delimiter, quote }, N_SNIFFED);
        let Some(first) = records.first().filter(|first| first.len() > 1) else { continue };
        let n_known = first.iter().filter(|name| is_known(name, config)).count();
        let n_alike = records.iter().filter(|record| record.len() == first.len()).count();
        let score = (n_known, n_alike * 100 / records.len(), first.len());
        if score > best.1 {
            best = (delimiter, score);
        }
    }
    best.0
}

fn is_known(name: &str, config: &DataConfig) -> bool {
    event::canonical_column(name.trim()).is_some()
        || config.columns.values().any(|theirs| theirs == name.trim())
}

/// Up to `n` records of the head, its last line left out where it may be cut.
fn sampled(head: &[u8], dialect: Dialect, n: usize) -> Vec<Vec<String>> {
    let whole = match memchr::memrchr(b'\n', head) {
        Some(at) => &head[..=at],
        None => head,
    };
    let mut records = Records::new(whole, dialect);
    let mut fields = Vec::new();
    let mut sample = Vec::new();
    while sample.len() < n && records.next(&mut fields).is_some() {
        let texts = fields.iter().map(|field| {
            let text = String::from_utf8_lossy(&whole[field.start..field.end]);
            match dialect.quote.filter(|_| field.is_escaped) {
                Some(quote) => unescaped(&text, char::from(quote)),
                None => text.into_owned(),
            }
        });
        sample.push(texts.collect());
    }
    sample
}

impl Layout {
    pub(crate) fn jsonl() -> Self {
        let dialect = Dialect { delimiter: Delimiter::Byte(b'\n'), quote: None };
        Self::new(Format::Jsonl, dialect)
    }

    pub(crate) fn new(format: Format, dialect: Dialect) -> Self {
        Self {
            format,
            dialect,
            names: Vec::new(),
            types: Vec::new(),
            header_bytes: 0,
            sample: Vec::new(),
            decisions: Vec::new(),
        }
    }

    fn of_items(format: Format, head: &[u8], _is_all: bool, config: &DataConfig) -> Self {
        let delimiter = config.delimiter.unwrap_or_else(|| sniffed_delimiter(head, None, config));
        let mut layout = Self::new(format, Dialect { delimiter, quote: None });
        layout.names = vec!["user_id".into(), "item_id".into()];
        layout.sample = sampled(head, layout.dialect, N_SNIFFED);
        let meaning = match format {
            Format::Pairs => "`user item` lines in time order",
            Format::Sequences => "`user item item ...` lines in time order",
            _ => "`item item ...` lines in time order, one user a line",
        };
        if config.format.is_none() {
            layout.decisions.push(format!("only whole numbers and no header: {meaning}"));
        }
        layout
    }

    fn recbole(
        path: &Path,
        head: &[u8],
        is_all: bool,
        first_line: &str,
    ) -> Result<Self, PrepareError> {
        let Some(fields) = recbole_fields(first_line) else {
            let reason = "the first line is not `name:type` fields with tabs between";
            let fix = "types are token, token_seq, float and float_seq; or remove `data.format`";
            return Err(PrepareError::input(Place::file(path).line(1), reason, fix));
        };
        let dialect = Dialect { delimiter: Delimiter::Byte(b'\t'), quote: None };
        let mut layout = Self::new(Format::RecBole, dialect);
        layout.header_bytes = first_line.len();
        for (name, kind) in fields {
            layout.names.push(name);
            layout.types.push(Some(kind));
        }
        layout.finish(path, head, is_all)
    }

    fn csv(
        path: &Path,
        head: &[u8],
        is_all: bool,
        config: &DataConfig,
    ) -> Result<Self, PrepareError> {
        let quote = config.quote.unwrap_or(Some(b'"'));
        let delimiter = config.delimiter.unwrap_or_else(|| sniffed_delimiter(head, quote, config));
        let quote = quote.filter(|_| delimiter != Delimiter::Whitespace || config.quote.is_some());
        if quote.is_some_and(|quote| delimiter.as_bytes().contains(&quote)) {
            return Err(PrepareError::config("data.quote", "it is also in the delimiter"));
        }
        let mut layout = Self::new(Format::Csv, Dialect { delimiter, quote });
        if config.delimiter.is_none() {
            layout.decisions.push(format!("delimiter: {}", delimiter_name(delimiter)));
        }
        let first = sampled(head, layout.dialect, 2);
        let has_header = config
            .header
            .unwrap_or_else(|| config.names.is_none() && looks_like_header(&first, config));
        if has_header {
            let mut records = Records::new(head, layout.dialect);
            let end = records.next(&mut Vec::new()).map_or(0, |(_, end)| end);
            layout.header_bytes = end;
            let named = first.first().into_iter().flatten().enumerate();
            layout.names = named
                .map(|(i, name)| match name.trim() {
                    "" => format!("column_{}", i + 1),
                    name => name.to_owned(),
                })
                .collect();
        }
        match (&config.names, has_header) {
            (Some(names), false) => layout.names.clone_from(names),
            (Some(names), true) if *names != layout.names => {
                let reason = "both a header line and `data.names` name the columns, differently";
                let fix = "remove `data.names`, or say `data.header = false`";
                return Err(PrepareError::input(Place::file(path).line(1), reason, fix));
            }
            (None, false) => {
                let n = first.first().map_or(0, Vec::len);
                let reason = format!("no header line names the {n} columns");
                let fix = match n {
                    _ if !config.columns.is_empty() => {
                        "the configuration names columns of a header line: it may be of another file"
                    }
                    0 | 1 => "only one column was found: check `data.delimiter`",
                    _ => "name them in the file's order: `data.names = [\"user_id\", ...]`",
                };
                return Err(PrepareError::input(Place::file(path).line(1), reason, fix));
            }
            _ => {}
        }
        layout.finish(path, head, is_all)
    }

    fn finish(mut self, path: &Path, head: &[u8], is_all: bool) -> Result<Self, PrepareError> {
        for (i, name) in self.names.iter().enumerate() {
            if self.names[..i].contains(name) {
                let place = Place::file(path).line(1).field(name);
                let reason = format!("two columns have the name {name:?}");
                return Err(PrepareError::input(place, reason, "rename one of them"));
            }
        }
        self.sample = sampled(&head[self.header_bytes..], self.dialect, N_SAMPLE);
        if self.sample.is_empty() && is_all {
            let reason = "there is a header line and no row";
            return Err(PrepareError::input(Place::file(path), reason, "give a file with rows"));
        }
        Ok(self)
    }
}

fn looks_like_header(first: &[Vec<String>], config: &DataConfig) -> bool {
    let Some(header) = first.first() else { return false };
    if header.iter().any(|name| is_known(name, config)) {
        return true;
    }
    let holds_value = |row: &[String]| row.iter().any(|field| is_value(field));
    !holds_value(header) && first.get(1).is_none_or(|row| holds_value(row))
}

/// Whether a field is a number or a time, as no column is called.
fn is_value(field: &str) -> bool {
    let field = field.trim();
    let is_of_time = |c: char| c.is_ascii_digit() || " -/.:+TZ年月日".contains(c);
    let is_time = field.starts_with(|c: char| c.is_ascii_digit()) && field.chars().all(is_of_time);
    is_time || field.parse::<f64>().is_ok()
}

pub(crate) fn delimiter_name(delimiter: Delimiter) -> String {
    match delimiter {
        Delimiter::Byte(b'\t') => "tab".into(),
        Delimiter::Whitespace => "whitespace".into(),
        _ => delimiter.as_bytes().iter().copied().map(char::from).collect(),
    }
}
