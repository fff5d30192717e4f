//! A file of samples: what format it is, and its rows, block by block.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use forecart_data::samples::ColumnKind;
use forecart_data::storage;
use jiff::tz::TimeZone;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

use super::label;
use super::sparse::{self, FeatureNames};
use crate::PrepareError;
use crate::config::{DataConfig, Delimiter, Format};
use crate::error::Place;
use crate::import::cell::Cell;
use crate::import::columnar::{self, Values};
use crate::import::parse::{Found, TextInput, each_record};
use crate::import::plan::Kind;
use crate::import::rejects::Fault;
use crate::import::{file_name, jsonl};
use crate::read::blocks::{Blocks, TextBlock};
use crate::read::dialect::{self, Layout};
use crate::read::records::Dialect;
use crate::read::source::{Hashing, Source};

/// Rows of a Parquet batch.
const BATCH_ROWS: usize = 8 << 10;

/// A file and how it is read.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) path: PathBuf,
    pub(super) file_name: String,
    pub(super) layout: Layout,
    /// Of a libsvm file.
    pub(super) names: Option<FeatureNames>,
    /// Kinds that the format states, and why.
    pub(super) stated: BTreeMap<String, (ColumnKind, &'static str)>,
    /// Of a text in memory.
    bytes: Option<Vec<u8>>,
}

/// A row, or what is in place of one.
pub(super) enum RowFound<'b, 'f> {
    /// A value for each column of the layout.
    Cells(&'f [Cell<'b>]),
    /// A line of a sparse format.
    Line(&'b str),
    /// No row.
    Bad(Fault),
}

impl Input {
    /// Looks at a file; no row is read for it but those of its head (and the keys of JSON lines). A first line with one of the
    /// `known` names, or with a label's, is a header also where no row below it holds a number.
    pub(super) fn look(
        path: &Path,
        data: &DataConfig,
        feature_names: Option<&Path>,
        known: &[&str],
    ) -> Result<Self, PrepareError> {
        let layout = if columnar::is_parquet(path)? {
            if let Some(format) = data.format.filter(|format| *format != Format::Parquet) {
                let reason = format!("the file is Parquet, not {}", format.name());
                return Err(PrepareError::input(Place::file(path), reason, "remove `data.format`"));
            }
            columnar::look(path, data)?
        } else {
            let source = Source::open(path)?;
            let blocks = Blocks::open(source, data.block_bytes, data.max_line_bytes)?;
            text_layout(path, blocks, data, known)?
        };
        Self::new(path, layout, feature_names)
    }

    fn new(
        path: &Path,
        layout: Layout,
        feature_names: Option<&Path>,
    ) -> Result<Self, PrepareError> {
        let names = match feature_names {
            Some(names) if layout.format == Format::LibSvm => Some(FeatureNames::read(names)?),
            Some(_) => {
                let reason = format!("{} is {}", file_name(path), layout.format.name());
                let reason = format!("{reason}; only features of libsvm are named so");
                return Err(PrepareError::config("samples.feature_names", reason));
            }
            None => None,
        };
        let stated = stated_kinds(&layout);
        Ok(Self {
            path: path.to_owned(),
            file_name: file_name(path),
            layout,
            names,
            stated,
            bytes: None,
        })
    }

    /// The same for a text in memory.
    pub(super) fn of_bytes(bytes: &[u8], data: &DataConfig) -> Result<Self, PrepareError> {
        let path = Path::new("input");
        let source = Source::of_bytes("input", bytes.to_vec())?;
        let blocks = Blocks::open(source, data.block_bytes, data.max_line_bytes)?;
        let input = Self::new(path, text_layout(path, blocks, data, &[])?, None)?;
        Ok(Self { bytes: Some(bytes.to_vec()), ..input })
    }

    /// Begins to read the rows.
    pub(super) fn open(&self, data: &DataConfig) -> Result<Rows, PrepareError> {
        self.open_hashed(data, Hashing::Sha256)
    }

    /// The same; text is hashed by that function.
    pub(super) fn open_hashed(
        &self,
        data: &DataConfig,
        hashing: Hashing,
    ) -> Result<Rows, PrepareError> {
        if self.layout.format == Format::Parquet {
            let reader = columnar::guarded(&self.path, || columnar::open(&self.path, BATCH_ROWS))?;
            return Ok(Rows::Parquet { reader: Box::new(reader), n_read: 0 });
        }
        let source = match &self.bytes {
            Some(bytes) => Source::of_bytes(&self.file_name, bytes.clone())?,
            None => Source::open_hashed(&self.path, hashing)?,
        };
        let mut blocks = Blocks::open(source, data.block_bytes, data.max_line_bytes)?;
        blocks.skip(self.layout.header_bytes);
        Ok(Rows::Text(Box::new(blocks)))
    }
}

/// The rows of an open file.
pub(super) enum Rows {
    Text(Box<Blocks>),
    Parquet { reader: Box<ParquetRecordBatchReader>, n_read: u64 },
}

impl Rows {
    /// Calls `each` with every row of the next block and its line, from 1. Returns the block's bytes, `None` at the end.
    pub(super) fn next(
        &mut self,
        input: &Input,
        data: &DataConfig,
        mut each: impl FnMut(RowFound<'_, '_>, u64),
    ) -> Result<Option<u64>, PrepareError> {
        match self {
            Self::Text(blocks) => {
                let Some(block) = blocks.next(input.layout.dialect)? else { return Ok(None) };
                let text = TextInput {
                    layout: &input.layout,
                    file_name: &input.file_name,
                    max_line_bytes: data.max_line_bytes,
                };
                each_record(&block, &text, |found, start, lines| {
                    let line = lines.at(start);
                    match found {
                        Found::Cells(cells) => each(RowFound::Cells(cells), line),
                        Found::Record(record) => each(RowFound::Line(record.line()), line),
                        Found::Bad(fault) => each(RowFound::Bad(fault), line),
                    }
                })?;
                Ok(Some(block.bytes.len() as u64))
            }
            Self::Parquet { reader, n_read } => {
                let path = &input.path;
                let batch = columnar::guarded(path, || {
                    reader.next().transpose().map_err(|error| columnar::damaged(path, &error))
                })?;
                let Some(batch) = batch else { return Ok(None) };
                let columns = batch
                    .columns()
                    .iter()
                    .zip(&input.layout.names)
                    .map(|(array, name)| {
                        values(array, data).map_err(|reason| {
                            let place = Place::file(path).field(name);
                            PrepareError::input(place, reason, "write it as text or numbers")
                        })
                    })
                    .collect::<Result<Vec<_>, _>>()?;
                let mut cells = Vec::with_capacity(columns.len());
                for row in 0..batch.num_rows() {
                    *n_read += 1;
                    cells.extend(columns.iter().map(|column| column.cell(row)));
                    each(RowFound::Cells(&cells), *n_read);
                    cells.clear();
                }
                Ok(Some(batch.get_array_memory_size() as u64))
            }
        }
    }

    /// The next block of a text as it stands; `None` at the end.
    pub(super) fn next_text(&mut self, input: &Input) -> Result<Option<TextBlock>, PrepareError> {
        match self {
            Self::Text(blocks) => blocks.next(input.layout.dialect),
            Self::Parquet { .. } => unreachable!("Parquet is no text"),
        }
    }

    /// The file's hash, once all of it was read.
    pub(super) fn hash(&self, input: &Input) -> Result<String, PrepareError> {
        match self {
            Self::Text(blocks) => Ok(blocks.hash()),
            Self::Parquet { .. } => Ok(storage::sha256_file(&input.path)?),
        }
    }
}

/// A column of Parquet as cells: moments in milliseconds, lists as JSON.
fn values(array: &ArrayRef, data: &DataConfig) -> Result<Values, String> {
    let zone = data.time_zone.clone().unwrap_or(TimeZone::UTC);
    match array.data_type() {
        DataType::List(_) => {
            let lists = array.as_list::<i32>();
            let texts = (0..lists.len())
                .map(|row| lists.is_valid(row).then(|| json_list(&lists.value(row))).transpose());
            Ok(Values::Text(texts.collect::<Result<StringArray, String>>()?))
        }
        DataType::LargeList(_) => {
            let lists = array.as_list::<i64>();
            let texts = (0..lists.len())
                .map(|row| lists.is_valid(row).then(|| json_list(&lists.value(row))).transpose());
            Ok(Values::Text(texts.collect::<Result<StringArray, String>>()?))
        }
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
            Values::new(array, Kind::Time, Some(&zone))
        }
        _ => Values::new(array, Kind::Text, Some(&zone)),
    }
}

fn json_list(array: &ArrayRef) -> Result<String, String> {
    let options = FormatOptions::default();
    let shown =
        ArrayFormatter::try_new(array.as_ref(), &options).map_err(|error| error.to_string())?;
    let rows = (0..array.len()).filter(|row| array.is_valid(*row));
    let texts: Vec<String> = rows.map(|row| shown.value(row).to_string()).collect();
    serde_json::to_string(&texts).map_err(|error| error.to_string())
}

fn text_layout(
    path: &Path,
    mut blocks: Blocks,
    data: &DataConfig,
    known: &[&str],
) -> Result<Layout, PrepareError> {
    let (head, is_all) = blocks.head();
    if head.iter().all(u8::is_ascii_whitespace) {
        let reason = "the file is empty";
        return Err(PrepareError::input(Place::file(path), reason, "give a file with rows"));
    }
    let lossy = String::from_utf8_lossy(&head[..head.len().min(64 << 10)]);
    let states_columns = data.names.is_some() || data.header.is_some() || data.delimiter.is_some();
    let sparse = match data.format {
        Some(format) => Some(format).filter(|format| format.is_sparse()),
        None if states_columns => None,
        None => sparse::sniffed(&lossy),
    };
    if let Some(format) = sparse {
        dialect::check_text(path, head)?;
        let dialect = Dialect { delimiter: Delimiter::Whitespace, quote: None };
        let mut layout = Layout::new(format, dialect);
        layout.decisions.push(format!("format: {}", format.name()));
        return Ok(layout);
    }
    let first_line = lossy.lines().next().unwrap_or_default();
    let mut data = data.clone();
    if data.format.is_none()
        && !first_line.trim_start().starts_with(['{', '['])
        && (states_columns || dialect::recbole_fields(first_line).is_none())
    {
        data.format = Some(Format::Csv);
    }
    if data.header.is_none() && data.names.is_none() && names_columns(first_line, known) {
        data.header = Some(true);
    }
    let is_criteo = !states_columns && is_criteo_row(first_line);
    if is_criteo {
        data.delimiter = Some(Delimiter::Byte(b'\t'));
        data.header = Some(false);
        data.names = Some(criteo_names());
    }
    let mut layout = dialect::recognize(path, head, is_all, &data)?;
    if is_criteo {
        layout.decisions.push("a file of Criteo's challenge: a label, 13 numbers, 26 codes".into());
    }
    if layout.format == Format::Jsonl {
        jsonl::find_columns(&mut blocks, &mut layout)?;
    }
    Ok(layout)
}

/// Whether a line names a column, between whichever delimiters.
fn names_columns(line: &str, known: &[&str]) -> bool {
    let fields = line.split([',', '\t', ';', '|']).map(|field| field.trim().trim_matches('"'));
    fields.into_iter().any(|field| known.contains(&field) || label::is_outcome(field))
}

/// Whether a line is one of Criteo's: a label, 13 whole numbers and 26 codes of 8 hexadecimal digits, with tabs between; any
/// but the label may be missing.
fn is_criteo_row(line: &str) -> bool {
    let fields: Vec<&str> = line.trim_end_matches('\r').split('\t').collect();
    let is_code =
        |field: &&str| field.len() == 8 && field.bytes().all(|byte| byte.is_ascii_hexdigit());
    fields.len() == 40
        && matches!(fields[0], "0" | "1")
        && fields[1..14].iter().all(|field| field.is_empty() || field.parse::<i64>().is_ok())
        && fields[14..].iter().all(|field| field.is_empty() || is_code(field))
        && fields[14..].iter().any(is_code)
}

fn criteo_names() -> Vec<String> {
    let numbers = (1..=13).map(|at| format!("I{at}"));
    let codes = (1..=26).map(|at| format!("C{at}"));
    std::iter::once("label".to_owned()).chain(numbers).chain(codes).collect()
}

/// Kinds that need no look: those of RecBole's header, of Criteo's and of Avazu's files.
fn stated_kinds(layout: &Layout) -> BTreeMap<String, (ColumnKind, &'static str)> {
    use ColumnKind::{Category, List, Number, Time};
    let mut stated = BTreeMap::new();
    let has = |name: &str| layout.names.iter().any(|own| own == name);
    if layout.format == Format::RecBole {
        for (name, kind) in layout.names.iter().zip(&layout.types) {
            let kind = match kind.as_deref() {
                Some("float") => (Number, "`float` in the header"),
                Some("token_seq") => (List, "`token_seq` in the header"),
                Some("float_seq") => (List, "`float_seq` in the header"),
                _ => (Category, "`token` in the header"),
            };
            stated.insert(name.clone(), kind);
        }
    }
    let criteo = criteo_names();
    if criteo[1..].iter().all(|name| has(name)) {
        for name in &criteo[1..] {
            let kind = if name.starts_with('I') {
                (Number, "a number in Criteo's files")
            } else {
                (Category, "a code in Criteo's files")
            };
            stated.insert(name.clone(), kind);
        }
    }
    if ["click", "hour", "banner_pos", "site_id", "device_ip"].iter().all(|name| has(name)) {
        for name in layout.names.iter().filter(|name| !["id", "click"].contains(&name.as_str())) {
            let kind = if name == "hour" {
                (Time, "the hour, YYMMDDHH, in Avazu's files")
            } else {
                (Category, "a code in Avazu's files")
            };
            stated.insert(name.clone(), kind);
        }
    }
    stated
}
