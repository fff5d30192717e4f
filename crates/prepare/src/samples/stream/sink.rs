//! Where rows go, whichever way they were read.

use forecart_data::encode::{HashSpace, HashedFeature, HashedRows, SpaceSeed};

use super::super::input::{Input, RowFound};
use super::super::label::LabelRule;
use super::super::sparse;
use super::super::value::Given;
use super::reader::{Action, Reader, importance};
use super::vw::{PlainLines, Stops, VwLines};
use crate::PrepareError;
use crate::config::DataConfig;
use crate::import::cell::Cell;
use crate::import::parse::{Found, TextInput, each_record};
use crate::import::rejects::{Code, Fault, Rejects};
use crate::read::blocks::TextBlock;

/// What was met in a pass so far.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) n_read: u64,
    /// Of the input that is read.
    pub(super) n_of_input: u64,
    pub(super) n_open: u64,
    pub(super) rejects: Rejects,
}

/// Where rows go.
pub(super) struct Sink<'a> {
    pub(super) rows: &'a mut HashedRows,
    pub(super) counts: &'a mut Counts,
    pub(super) has_labels: bool,
}

impl Sink<'_> {
    fn counted(&mut self) {
        self.counts.n_read += 1;
        self.counts.n_of_input += 1;
    }

    /// Ends a row of this label, unless it is one to learn from that has none.
    #[inline]
    fn end_row(&mut self, label: f32, importance: f32, line: u64) {
        if self.has_labels && label.is_nan() {
            self.counts.n_open += 1;
            self.rows.abandon_row();
        } else {
            self.rows.end_row(label, importance, line);
        }
    }

    /// A block of Vowpal Wabbit's text.
    pub(super) fn vw_block(
        &mut self,
        lines: &VwLines,
        stops: &mut Stops,
        block: &TextBlock,
        input: &Input,
        space: HashSpace,
        data: &DataConfig,
    ) -> Result<(), PrepareError> {
        let text = block.bytes.as_slice();
        let is_text = stops.find(text) && (stops.is_ascii() || std::str::from_utf8(text).is_ok());
        let (mut at, mut line) = (0, block.first_line);
        loop {
            if is_text {
                let (rows, needs_label) = (&mut *self.rows, self.has_labels);
                let stops = &mut *stops;
                let plain = PlainLines { lines, data, text, stops, at, line, rows, needs_label };
                let read = plain.read();
                self.counts.n_read += read.n_lines;
                self.counts.n_of_input += read.n_lines;
                self.counts.n_open += read.n_open;
                (at, line) = (read.at, line + read.n_lines);
            }
            if at == text.len() {
                return Ok(());
            }
            let found = memchr::memchr(b'\n', &text[at..]);
            let end = found.map_or(text.len(), |length| at + length + 1);
            let alone = TextBlock { bytes: text[at..end].to_vec(), first_line: line };
            let alone_as = TextInput {
                layout: &input.layout,
                file_name: &input.file_name,
                max_line_bytes: data.max_line_bytes,
            };
            let reader = Reader::Lines { rule: lines.rule().cloned(), excluded: Vec::new() };
            each_record(&alone, &alone_as, |found, start, lines| {
                let line = lines.at(start);
                let found = match found {
                    Found::Record(record) => RowFound::Line(record.line()),
                    Found::Cells(cells) => RowFound::Cells(cells),
                    Found::Bad(fault) => RowFound::Bad(fault),
                };
                self.row(&reader, &found, line, input, space, data);
            })?;
            (at, line) = (end, line + 1);
        }
    }

    /// Any row.
    pub(super) fn row(
        &mut self,
        reader: &Reader,
        found: &RowFound<'_, '_>,
        line: u64,
        input: &Input,
        space: HashSpace,
        data: &DataConfig,
    ) {
        self.counted();
        let read = match (reader, found) {
            (_, RowFound::Bad(fault)) => Err(fault.clone()),
            (Reader::Cells(actions), RowFound::Cells(cells)) => {
                self.cells(actions, cells, space, data).map(|label| (label, 1.0))
            }
            (Reader::Lines { rule, excluded }, RowFound::Line(text)) => {
                self.line(rule.as_ref(), excluded, text, input, space, data)
            }
            _ => unreachable!("rows of a file are those of its format"),
        };
        match read {
            Ok((label, importance)) => self.end_row(label, importance, line),
            Err(fault) => {
                self.rows.abandon_row();
                self.counts.rejects.add(&input.file_name, line, &input.layout.names, &fault);
            }
        }
    }

    /// Pushes the features of a row of cells; returns its label.
    fn cells(
        &mut self,
        actions: &[(usize, Action)],
        cells: &[Cell<'_>],
        space: HashSpace,
        data: &DataConfig,
    ) -> Result<f32, Fault> {
        let mut label = f32::NAN;
        for (at, action) in actions {
            let cell = &cells[*at];
            let fault = |code| Fault { code, column: Some(*at), found: cell.shown() };
            match action {
                Action::Label(rule) => {
                    label = rule.read(cell, data).ok_or_else(|| fault(Code::BadLabel))? as f32;
                }
                Action::Number(reading, slot) => {
                    if let Given::Number(number) = reading.value(cell, data).map_err(fault)?
                        && let Some(feature) = space.number(*slot, number)
                    {
                        self.rows.push(feature);
                    }
                }
                Action::Texts(reading, seed) => {
                    let mut push = |text: &str| {
                        let slot = space.slot(*seed, text.as_bytes());
                        self.rows.push(HashedFeature { slot, value: 1.0 });
                    };
                    match reading.value(cell, data).map_err(fault)? {
                        Given::Text(text) => push(&text),
                        Given::List(texts) => texts.iter().for_each(|text| push(text)),
                        Given::Missing | Given::Number(_) | Given::Time(_) => {}
                    }
                }
            }
        }
        Ok(label)
    }

    /// Pushes the features of a line; returns its label and importance.
    fn line(
        &mut self,
        rule: Option<&LabelRule>,
        excluded: &[String],
        text: &str,
        input: &Input,
        space: HashSpace,
        data: &DataConfig,
    ) -> Result<(f32, f32), Fault> {
        let line = sparse::parse(input.layout.format, text, input.names.as_ref())?;
        let fault = |code, found| Fault { code, column: None, found };
        let label = match rule {
            Some(rule) => {
                let cell = line.label.map_or(Cell::Null, Cell::Text);
                rule.read(&cell, data).ok_or_else(|| fault(Code::BadLabel, cell.shown()))?
            }
            None => f64::NAN,
        };
        let importance =
            importance(line.importance).map_err(|found| fault(Code::BadFeature, found))?;
        for feature in line.features {
            let is_excluded = |name: &String| {
                let number = name.split_once(':');
                *name == feature.space
                    || number == Some((feature.space.as_ref(), feature.name.as_ref()))
            };
            if excluded.iter().any(is_excluded) {
                continue;
            }
            let seed = SpaceSeed::new(feature.space.as_bytes());
            let slot = space.slot(seed, feature.name.as_bytes());
            if let Some(feature) = space.number(slot, feature.value) {
                self.rows.push(feature);
            }
        }
        Ok((label as f32, importance))
    }
}
