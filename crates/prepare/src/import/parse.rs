//! One block of text into columns.

use memchr::memchr_iter;

use super::cell::Cell;
use super::jsonl;
use super::plan::{InputPlan, Table};
use super::rejects::{Code, Fault};
use super::rows::{Parsed, RowBuilder};
use crate::PrepareError;
use crate::config::{DataConfig, Format};
use crate::read::blocks::{TextBlock, too_long};
use crate::read::dialect::Layout;
use crate::read::records::{Field, Records};

/// Parses a block of whole records. Bad rows are counted in the result.
///
/// # Errors
/// [`PrepareError::Input`] for a line past `data.max_line_bytes`.
pub(crate) fn parse_block(
    block: &TextBlock,
    plan: &InputPlan,
    table: &Table,
    config: &DataConfig,
) -> Result<Parsed, PrepareError> {
    let mut rows = RowBuilder::new(plan, table, config, block.bytes.len() / 32 + 1);
    let input = TextInput {
        layout: &plan.layout,
        file_name: &plan.file_name,
        max_line_bytes: config.max_line_bytes,
    };
    each_record(block, &input, |found, start, lines| match found {
        Found::Cells(cells) => rows.push(cells, || lines.at(start)),
        Found::Record(record) => push_sequence(&mut rows, plan, record, lines),
        Found::Bad(fault) => rows.reject(lines.at(start), &fault),
    })?;
    rows.finish()
}

/// How the records of a text are read.
pub(crate) struct TextInput<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) file_name: &'a str,
    pub(crate) max_line_bytes: usize,
}

/// What stands in a record.
pub(crate) enum Found<'b, 'f> {
    /// A value for each column of the layout.
    Cells(&'f [Cell<'b>]),
    /// The fields of a format whose lines are no rows of columns.
    Record(&'f Record<'b, 'f>),
    /// No row.
    Bad(Fault),
}

/// Calls `each` with every record of a block and the place where it starts.
///
/// # Errors
/// [`PrepareError::Input`] for a line past the limit.
pub(crate) fn each_record<'b>(
    block: &'b TextBlock,
    input: &TextInput<'_>,
    mut each: impl FnMut(Found<'b, '_>, usize, &mut Lines<'b>),
) -> Result<(), PrepareError> {
    let layout = input.layout;
    let bytes = block.bytes.as_slice();
    // Checked once for the whole block; one bad byte sends only its own record another way.
    let text = std::str::from_utf8(bytes).ok();
    let mut records = Records::new(bytes, layout.dialect);
    let mut lines = Lines { bytes, position: 0, line: block.first_line };
    let mut fields = Vec::with_capacity(layout.names.len() + 1);
    let mut cells: Vec<Cell<'b>> = Vec::with_capacity(layout.names.len() + 1);
    while let Some((start, end)) = records.next(&mut fields) {
        if end - start > input.max_line_bytes {
            let path = std::path::Path::new(input.file_name);
            return Err(too_long(path, lines.at(start), input.max_line_bytes));
        }
        let (text, origin) = match text {
            Some(text) => (text, 0),
            None => match std::str::from_utf8(&bytes[start..end]) {
                Ok(record) => (record, start),
                Err(error) => {
                    let found = String::from_utf8_lossy(&bytes[start..end]);
                    let column =
                        fields.iter().position(|field| start + error.valid_up_to() < field.end);
                    let found = found.trim_end().to_owned();
                    let fault = Fault { code: Code::NotUtf8, column, found };
                    each(Found::Bad(fault), start, &mut lines);
                    continue;
                }
            },
        };
        let record = Record { text, origin, start, end, fields: &fields };
        match layout.format {
            format if !format.has_columns() => each(Found::Record(&record), start, &mut lines),
            Format::Jsonl => {
                cells.resize(layout.names.len(), Cell::Null);
                match jsonl::cells(record.line(), &layout.names, &mut cells) {
                    Ok(()) => each(Found::Cells(&cells), start, &mut lines),
                    Err(found) => {
                        let fault = Fault { code: Code::BadJson, column: None, found };
                        each(Found::Bad(fault), start, &mut lines);
                    }
                }
                cells.clear();
            }
            _ if fields.len() != layout.names.len() => {
                let found = format!(
                    "{} fields instead of {}: {}",
                    fields.len(),
                    layout.names.len(),
                    record.line()
                );
                let fault = Fault { code: Code::FieldCount, column: None, found };
                each(Found::Bad(fault), start, &mut lines);
            }
            _ => {
                let quote = layout.dialect.quote;
                cells.extend(fields.iter().map(|field| {
                    Cell::field(record.text_of(*field), quote.filter(|_| field.is_escaped))
                }));
                each(Found::Cells(&cells), start, &mut lines);
                cells.clear();
            }
        }
    }
    Ok(())
}

/// A record's text: all of the block's, or its own.
pub(crate) struct Record<'a, 'f> {
    text: &'a str,
    /// Where `text` begins in the block.
    origin: usize,
    start: usize,
    end: usize,
    fields: &'f [Field],
}

impl<'a> Record<'a, '_> {
    fn text_of(&self, field: Field) -> &'a str {
        // Delimiters, quotes and line ends are ASCII, so a field begins and ends at characters.
        self.text.get(field.start - self.origin..field.end - self.origin).unwrap_or_default()
    }

    pub(crate) fn line(&self) -> &'a str {
        let line = self.text.get(self.start - self.origin..self.end - self.origin);
        line.unwrap_or_default().trim_end_matches(['\n', '\r'])
    }
}

/// `user item item ...`, or items alone with the line's number as the user.
fn push_sequence(
    rows: &mut RowBuilder<'_>,
    plan: &InputPlan,
    record: &Record<'_, '_>,
    lines: &mut Lines<'_>,
) {
    let start = record.start;
    let mut texts = record.fields.iter().map(|field| record.text_of(*field));
    let user = if plan.layout.format == Format::ItemSequences {
        Cell::Owned(lines.at(start).to_string())
    } else {
        texts.next().map_or(Cell::Null, |user| Cell::field(user, None))
    };
    let mut cells = [user, Cell::Null];
    let mut is_empty = true;
    for item in texts {
        is_empty = false;
        cells[1] = Cell::field(item, None);
        rows.push(&cells, || lines.at(start));
    }
    if is_empty {
        let found = record.line().to_owned();
        let fault = Fault { code: Code::MissingItem, column: Some(1), found };
        rows.reject(lines.at(start), &fault);
    }
}

/// Line numbers of places in a block that are asked for in order.
pub(crate) struct Lines<'a> {
    bytes: &'a [u8],
    position: usize,
    line: u64,
}

impl Lines<'_> {
    pub(crate) fn at(&mut self, position: usize) -> u64 {
        self.line += memchr_iter(b'\n', &self.bytes[self.position..position]).count() as u64;
        self.position = position;
        self.line
    }
}
