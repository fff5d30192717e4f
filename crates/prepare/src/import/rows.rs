//! Rows into columns: every value of a row is checked before any of them is stored.

use datafusion::arrow::array::{
    ArrayRef, Float64Builder, Int64Array, Int64Builder, RecordBatch, StringBuilder,
};
use forecart_data::event::{self, columns};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;

use super::cell::Cell;
use super::counts::{EventCounts, hash_id};
use super::plan::{InputPlan, Kind, Table};
use super::rejects::{Code, Fault, Rejects};
use super::time::TimeFault;
use crate::PrepareError;
use crate::config::DataConfig;
use crate::texts::pipeline_of_logs;

const MAX_ID_BYTES: usize = 1024;

/// The rows of one block, as columns.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) batch: RecordBatch,
    /// Rows that were read, bad ones included.
    pub(crate) n_read: u64,
    pub(crate) rejects: Rejects,
    pub(crate) n_guests: u64,
    pub(crate) users: FxHashSet<u64>,
    pub(crate) items: FxHashSet<u64>,
    pub(crate) events: EventCounts,
}

/// Builds the columns of one block.
pub(crate) struct RowBuilder<'a> {
    plan: &'a InputPlan,
    table: &'a Table,
    config: &'a DataConfig,
    columns: Vec<Column>,
    /// Checked numbers of the row at hand, by column of the table.
    numbers: Vec<Number>,
    quantity: Option<usize>,
    order: Option<usize>,
    text: Option<usize>,
    event_names: FxHashMap<String, usize>,
    events: Vec<(String, u64)>,
    n_read: u64,
    n_guests: u64,
    rejects: Rejects,
    users: FxHashSet<u64>,
    items: FxHashSet<u64>,
}

enum Column {
    Text(StringBuilder),
    Float(Float64Builder),
    Int(Int64Builder),
}

#[derive(Clone, Copy, Default)]
struct Number {
    float: Option<f64>,
    int: Option<i64>,
}

impl<'a> RowBuilder<'a> {
    pub(crate) fn new(
        plan: &'a InputPlan,
        table: &'a Table,
        config: &'a DataConfig,
        n_rows: usize,
    ) -> Self {
        let columns = table.outputs.iter().map(|output| match output.kind {
            Kind::User | Kind::Item | Kind::Event | Kind::Text => {
                Column::Text(StringBuilder::with_capacity(n_rows, n_rows * 8))
            }
            Kind::Float => Column::Float(Float64Builder::with_capacity(n_rows)),
            Kind::Time | Kind::RowNumber | Kind::Int => {
                Column::Int(Int64Builder::with_capacity(n_rows))
            }
        });
        let source_of = |name: &str| table.outputs.iter().position(|output| output.name == name);
        Self {
            plan,
            table,
            config,
            columns: columns.collect(),
            numbers: vec![Number::default(); table.outputs.len()],
            quantity: source_of(columns::QUANTITY),
            order: plan.source(columns::ORDER_ID),
            text: source_of(columns::TEXT),
            event_names: FxHashMap::default(),
            events: Vec::new(),
            n_read: 0,
            n_guests: 0,
            rejects: Rejects::default(),
            users: FxHashSet::default(),
            items: FxHashSet::default(),
        }
    }

    /// Counts a row that could not even be split into cells.
    pub(crate) fn reject(&mut self, line: u64, fault: &Fault) {
        self.n_read += 1;
        let mut fault = fault.clone();
        if self.text.is_some() {
            // The row may hold what somebody wrote, which nobody has masked: how many fields it has is all that is kept.
            let count = match fault.code {
                Code::FieldCount => fault.found.split_once(':').map(|(count, _)| count.to_owned()),
                _ => None,
            };
            fault.found = count.unwrap_or_default();
        }
        self.rejects.add(&self.plan.file_name, line, &self.plan.layout.names, &fault);
    }

    /// Adds a row, or counts it as bad; `line` is asked only for a bad one.
    pub(crate) fn push(&mut self, cells: &[Cell<'_>], line: impl FnOnce() -> u64) {
        match self.check(cells) {
            Ok(event) => {
                self.append(cells, event);
                self.n_read += 1;
            }
            Err(fault) => self.reject(line(), &fault),
        }
    }

    /// Checks a row and leaves its numbers in `self.numbers`; returns its event.
    fn check(&mut self, cells: &[Cell<'_>]) -> Result<usize, Fault> {
        let mut event = None;
        let mut missing_item = None;
        for (at, output) in self.table.outputs.iter().enumerate() {
            let source = self.plan.sources[at];
            let cell = source.map_or(&Cell::Null, |source| &cells[source]);
            let is_null = is_null(cell, self.config);
            let fault = |code| Fault { code, column: source, found: cell.shown() };
            match output.kind {
                Kind::User if is_null && self.plan.keeps_missing_user => {}
                Kind::User if is_null => return Err(fault(Code::MissingUser)),
                Kind::Item if is_null && source.is_none() => {}
                Kind::Item if is_null && self.table.has_events => {
                    missing_item = Some(fault(Code::MissingItem));
                }
                Kind::Item if is_null => return Err(fault(Code::MissingItem)),
                Kind::User | Kind::Item => check_id(cell).map_err(fault)?,
                Kind::Event => event = Some((cell, is_null, source)),
                Kind::Time if source.is_none() => {}
                Kind::Time if is_null => return Err(fault(Code::MissingTime)),
                Kind::Time => {
                    let millis = self.time(cell).map_err(fault)?;
                    self.numbers[at].int = Some(millis);
                }
                Kind::Float => {
                    let float = if is_null { None } else { Some(float(cell).map_err(fault)?) };
                    self.numbers[at].float = float;
                }
                Kind::Int => {
                    let int = if is_null { None } else { Some(int(cell).map_err(fault)?) };
                    self.numbers[at].int = int;
                }
                Kind::Text | Kind::RowNumber => {}
            }
        }
        let Some((cell, is_null, source)) = event else { return Ok(0) };
        let event = self.event(cells, cell, is_null, source)?;
        match missing_item {
            Some(fault) if !self.config.without_item.contains(&self.events[event].0) => Err(fault),
            _ => Ok(event),
        }
    }

    /// Position in `self.events` of a row's event.
    fn event(
        &mut self,
        cells: &[Cell<'_>],
        cell: &Cell<'_>,
        is_null: bool,
        source: Option<usize>,
    ) -> Result<usize, Fault> {
        if self.is_refund(cells) {
            return Ok(self.event_index("refund"));
        }
        match (is_null, &self.plan.event) {
            (true, Some(event)) => Ok(self.event_index(event)),
            (true, None) => {
                Err(Fault { code: Code::MissingEvent, column: source, found: String::new() })
            }
            (false, _) => match cell.text() {
                Some(text) => Ok(self.event_index(text)),
                None => Ok(self.event_index(&cell.shown())),
            },
        }
    }

    fn is_refund(&self, cells: &[Cell<'_>]) -> bool {
        if !self.plan.order_lines {
            return false;
        }
        let is_negative = self
            .quantity
            .and_then(|quantity| self.numbers[quantity].float)
            .is_some_and(|quantity| quantity < 0.0);
        let is_cancelled = self.order.and_then(|order| cells[order].text()).is_some_and(|order| {
            let mut characters = order.trim().chars();
            matches!(characters.next(), Some('C' | 'c'))
                && characters.next().is_some_and(|next| next.is_ascii_digit())
        });
        is_negative || is_cancelled
    }

    fn time(&self, cell: &Cell<'_>) -> Result<i64, Code> {
        let Some(parser) = &self.plan.time else { return Ok(0) };
        match parser.parse(cell) {
            Ok(millis) if millis > self.config.latest_time_ms => Err(Code::LateTime),
            Ok(millis) => Ok(millis),
            Err(TimeFault::Negative) => Err(Code::NegativeTime),
            Err(TimeFault::Form | TimeFault::NoZone) => Err(Code::BadTime),
        }
    }

    /// Position in `self.events` of a name as the input writes it.
    fn event_index(&mut self, theirs: &str) -> usize {
        if let Some(index) = self.event_names.get(theirs) {
            return *index;
        }
        let stated = self.config.event_names.get(theirs).map(String::as_str);
        let name = stated.or_else(|| event::canonical_event(theirs)).unwrap_or(theirs);
        let known = self.events.iter().position(|(known, _)| known == name);
        let index = known.unwrap_or_else(|| {
            self.events.push((name.to_owned(), 0));
            self.events.len() - 1
        });
        self.event_names.insert(theirs.to_owned(), index);
        index
    }

    fn append(&mut self, cells: &[Cell<'_>], event: usize) {
        for (at, output) in self.table.outputs.iter().enumerate() {
            let cell = self.plan.sources[at].map_or(&Cell::Null, |source| &cells[source]);
            match (&mut self.columns[at], output.kind) {
                (Column::Int(column), Kind::RowNumber) => {
                    column.append_value(i64::try_from(self.n_read).expect("a block is small"));
                }
                (Column::Int(column), Kind::Time) if !self.table.has_time => {
                    column.append_value(i64::try_from(self.n_read).expect("a block is small"));
                }
                (Column::Int(column), _) => column.append_option(self.numbers[at].int),
                (Column::Float(column), _) => column.append_option(self.numbers[at].float),
                (Column::Text(column), Kind::Event) => {
                    let (name, n_rows) = &mut self.events[event];
                    *n_rows += 1;
                    column.append_value(name);
                }
                (Column::Text(column), Kind::User) => match append_id(column, cell, self.config) {
                    Some(hash) => _ = self.users.insert(hash),
                    None => self.n_guests += 1,
                },
                (Column::Text(column), Kind::Item) => {
                    let item = match &self.config.default_item {
                        Some(item) if self.plan.sources[at].is_none() => &Cell::Text(item),
                        _ => cell,
                    };
                    if let Some(hash) = append_id(column, item, self.config) {
                        self.items.insert(hash);
                    }
                }
                (Column::Text(column), _)
                    if self.text == Some(at) && self.events[event].0 == "ask" =>
                {
                    append_masked(column, cell, self.config);
                }
                (Column::Text(column), _) => append_text(column, cell, self.config),
            }
        }
    }

    /// The columns, and what was counted.
    pub(crate) fn finish(self) -> Result<Parsed, PrepareError> {
        let arrays = self.columns.into_iter().map(|column| -> ArrayRef {
            match column {
                Column::Text(mut column) => Arc::new(column.finish()),
                Column::Float(mut column) => Arc::new(column.finish()),
                Column::Int(mut column) => Arc::new(column.finish()),
            }
        });
        let batch = RecordBatch::try_new(Arc::clone(&self.table.schema), arrays.collect())?;
        Ok(Parsed {
            batch,
            n_read: self.n_read,
            rejects: self.rejects,
            n_guests: self.n_guests,
            users: self.users,
            items: self.items,
            events: EventCounts(self.events.into_iter().collect()),
        })
    }
}

/// A block's rows with their numbers counted from the beginning of all inputs.
pub(crate) fn numbered(
    batch: &RecordBatch,
    table: &Table,
    n_before: u64,
) -> Result<RecordBatch, PrepareError> {
    let offset = i64::try_from(n_before).expect("fewer rows than 2^63");
    let mut arrays = batch.columns().to_vec();
    for (array, output) in arrays.iter_mut().zip(&table.outputs) {
        let counts = match output.kind {
            Kind::RowNumber => true,
            Kind::Time => !table.has_time,
            _ => false,
        };
        if counts && let Some(numbers) = array.as_any().downcast_ref::<Int64Array>() {
            *array = Arc::new(
                numbers
                    .unary::<_, datafusion::arrow::datatypes::Int64Type>(|number| number + offset),
            );
        }
    }
    Ok(RecordBatch::try_new(batch.schema(), arrays)?)
}

fn is_null(cell: &Cell<'_>, config: &DataConfig) -> bool {
    match cell {
        Cell::Null => true,
        Cell::Text(_) | Cell::Owned(_) => cell.text().is_some_and(|text| {
            text.is_empty() || config.null_values.iter().any(|null| null == text)
        }),
        _ => false,
    }
}

fn check_id(cell: &Cell<'_>) -> Result<(), Code> {
    let is_good = match cell {
        Cell::Int(_) => true,
        Cell::Float(number) => number.fract() == 0.0 && number.abs() < 9e15,
        _ => cell.text().is_some_and(|id| id.len() <= MAX_ID_BYTES && !id.contains('\0')),
    };
    if is_good { Ok(()) } else { Err(Code::BadId) }
}

/// Stores an id and returns its hash, or stores null.
fn append_id(column: &mut StringBuilder, cell: &Cell<'_>, config: &DataConfig) -> Option<u64> {
    if is_null(cell, config) {
        column.append_null();
        return None;
    }
    match cell {
        Cell::Text(id) => Some(append_hashed(column, id)),
        // Whole, as checked: exports turn integer ids with gaps into floats.
        Cell::Float(number) => Some(append_hashed(column, &format!("{number:.0}"))),
        _ => Some(append_hashed(column, &cell.shown())),
    }
}

fn append_hashed(column: &mut StringBuilder, id: &str) -> u64 {
    column.append_value(id);
    hash_id(id.as_bytes())
}

/// What people write to a shop names them: it is stored as [`Pipeline::clean`] leaves it.
fn append_masked(column: &mut StringBuilder, cell: &Cell<'_>, config: &DataConfig) {
    match cell {
        cell if is_null(cell, config) => column.append_null(),
        Cell::Text(text) => column.append_value(pipeline_of_logs().clean(text)),
        _ => column.append_value(pipeline_of_logs().clean(&cell.shown())),
    }
}

fn append_text(column: &mut StringBuilder, cell: &Cell<'_>, config: &DataConfig) {
    match cell {
        cell if is_null(cell, config) => column.append_null(),
        Cell::Text(text) => column.append_value(text),
        _ => column.append_value(cell.shown()),
    }
}

fn float(cell: &Cell<'_>) -> Result<f64, Code> {
    let number = match cell {
        Cell::Float(number) => *number,
        Cell::Int(number) => *number as f64,
        _ => cell.text().and_then(|text| text.trim().parse().ok()).ok_or(Code::BadNumber)?,
    };
    if number.is_finite() { Ok(number) } else { Err(Code::NotFinite) }
}

fn int(cell: &Cell<'_>) -> Result<i64, Code> {
    if let Cell::Int(number) = cell {
        return Ok(*number);
    }
    if let Some(number) = cell.text().and_then(|text| text.trim().parse().ok()) {
        return Ok(number);
    }
    let number = float(cell)?;
    let is_whole = number.fract() == 0.0 && number.abs() < 9e15;
    if is_whole { Ok(number as i64) } else { Err(Code::BadNumber) }
}
