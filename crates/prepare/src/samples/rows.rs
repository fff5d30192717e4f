//! Rows of files as values of given columns: for writing a table, and for predictions.

use std::path::Path;
use std::sync::Arc;

use forecart_data::samples::{ColumnKind, Role, SampleColumn};

use super::config::SamplesConfig;
use super::input::{Input, RowFound, Rows};
use super::label::LabelRule;
use super::sparse::{self, SparsePlan};
use super::value::{Given, Moments, OwnedRow, Reading};
use crate::PrepareError;
use crate::config::DataConfig;
use crate::error::Place;
use crate::import::cell::Cell;
use crate::import::rejects::{Code, Fault, Rejects};
use crate::log::Rejected;

/// Between the texts of a list where nothing is stated.
pub(super) const SEPARATOR: &str = "|";

/// What becomes of one column.
#[derive(Debug, Clone)]
pub(super) enum Slot {
    Label(LabelRule),
    Value(Reading),
}

/// Which columns are read from one input, and how.
#[derive(Debug)]
pub(super) struct RowPlan {
    slots: Vec<Slot>,
    /// The input's column of each slot.
    sources: Vec<Option<usize>>,
    /// Of a sparse format, for the slots that are no label.
    sparse: Option<SparsePlan>,
}

impl RowPlan {
    /// `columns`: names and slots, a label first if the input is of a sparse format.
    pub(super) fn new<'a>(
        input: &Input,
        columns: impl Iterator<Item = (&'a str, &'a Slot)> + Clone,
    ) -> Self {
        let sparse = input.layout.format.is_sparse().then(|| {
            SparsePlan::new(columns.clone().filter_map(|(name, slot)| match slot {
                Slot::Label(_) => None,
                Slot::Value(reading) => Some((name, reading.kind)),
            }))
        });
        let source = |name: &str| input.layout.names.iter().position(|own| own == name);
        Self {
            sources: columns.clone().map(|(name, _)| source(name)).collect(),
            slots: columns.map(|(_, slot)| slot.clone()).collect(),
            sparse,
        }
    }

    /// The values of a row, one for each slot; a label is a number, NaN if it is not known.
    pub(super) fn values<'f>(
        &self,
        found: &'f RowFound<'_, '_>,
        input: &'f Input,
        data: &DataConfig,
    ) -> Result<Vec<Given<'f>>, Fault> {
        match found {
            RowFound::Bad(fault) => Err(fault.clone()),
            RowFound::Cells(cells) => {
                let slots = self.slots.iter().zip(&self.sources);
                let values = slots.map(|(slot, source)| match source {
                    Some(at) => self.value(slot, &cells[*at], Some(*at), data),
                    None => Ok(Given::Missing),
                });
                values.collect()
            }
            RowFound::Line(line) => {
                let sparse = self.sparse.as_ref().expect("lines are of sparse formats");
                let line = sparse::parse(input.layout.format, line, input.names.as_ref())?;
                let label = match self.slots.first() {
                    Some(slot @ Slot::Label(_)) => {
                        let cell = line.label.map_or(Cell::Null, Cell::Text);
                        Some(self.value(slot, &cell, None, data)?.into_owned())
                    }
                    _ => None,
                };
                let mut values = sparse.values(line)?;
                if let Some(label) = label {
                    values.insert(0, label);
                }
                Ok(values)
            }
        }
    }

    fn value<'a>(
        &self,
        slot: &Slot,
        cell: &'a Cell<'_>,
        column: Option<usize>,
        data: &DataConfig,
    ) -> Result<Given<'a>, Fault> {
        let read = match slot {
            Slot::Value(reading) => reading.value(cell, data),
            Slot::Label(rule) => rule.read(cell, data).map(Given::Number).ok_or(Code::BadLabel),
        };
        read.map_err(|code| Fault { code, column, found: cell.shown() })
    }
}

/// How the moments of a column are written, from its first values.
pub(super) fn moments(
    values: &[String],
    place: &Place,
    data: &DataConfig,
) -> Result<(Moments, String), PrepareError> {
    let refuse = |reason: String| {
        let fix = "set `data.time_format`, or name another column";
        Err(PrepareError::input(place.clone(), reason, fix))
    };
    if values.iter().all(|value| value.trim().is_empty()) {
        return refuse("no time in the first rows".into());
    }
    match Moments::guess(values, data) {
        Ok(known) => Ok(known),
        Err(example) => refuse(format!("{example:?} is no time")),
    }
}

/// The rows of a file for a model's columns, in blocks: memory does not grow with the file.
///
/// Columns that the file lacks are missing in every row, further columns of the file are passed over, labels, propensities and
/// weights are not read. A
/// row with a value that its column's kind does not allow is a bad row: it is left out and counted.
pub struct SampleRows {
    input: Input,
    rows: Rows,
    plan: RowPlan,
    names: Arc<[String]>,
    data: DataConfig,
    n_read: u64,
    n_bytes: u64,
    rejects: Rejects,
}

impl std::fmt::Debug for SampleRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("SampleRows");
        shown.field("input", &self.input.path).field("n_read", &self.n_read);
        shown.finish_non_exhaustive()
    }
}

impl SampleRows {
    /// Opens a file for these columns.
    ///
    /// # Errors
    /// [`PrepareError::Input`] or [`PrepareError::Io`] if it cannot be read.
    pub fn open(
        path: &Path,
        columns: &[SampleColumn],
        data: &DataConfig,
    ) -> Result<Self, PrepareError> {
        Self::open_with(path, columns, data, &SamplesConfig::default())
    }

    /// The same where the configuration states a separator of lists or the names of features.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(
        path: &Path,
        columns: &[SampleColumn],
        data: &DataConfig,
        config: &SamplesConfig,
    ) -> Result<Self, PrepareError> {
        let known: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let input = Input::look(path, data, config.raw.feature_names.as_deref(), &known)?;
        let separator = config.raw.list_separator.as_deref().unwrap_or(SEPARATOR);
        let (mut names, mut slots) = (Vec::new(), Vec::new());
        let is_read = |column: &&SampleColumn| {
            !matches!(column.role, Role::Label | Role::Propensity | Role::Weight)
        };
        for column in columns.iter().filter(is_read) {
            let source = input.layout.names.iter().position(|name| *name == column.name);
            let moments = match source {
                Some(at) if column.kind == ColumnKind::Time => {
                    let values = input.layout.sample.iter();
                    let values: Vec<String> =
                        values.filter_map(|row| row.get(at).cloned()).collect();
                    let is_empty = values.iter().all(|value| value.trim().is_empty());
                    let place = Place::file(path).field(&column.name);
                    // A column without any time in its first rows is read as milliseconds.
                    let values = if is_empty { vec!["0".to_owned()] } else { values };
                    Some(moments(&values, &place, data)?.0)
                }
                _ => None,
            };
            names.push(column.name.clone());
            slots.push(Slot::Value(Reading {
                kind: column.kind,
                moments,
                separator: separator.to_owned(),
            }));
        }
        let plan = RowPlan::new(&input, names.iter().map(String::as_str).zip(&slots));
        let rows = input.open(data)?;
        Ok(Self {
            input,
            rows,
            plan,
            names: names.into(),
            data: data.clone(),
            n_read: 0,
            n_bytes: 0,
            rejects: Rejects::default(),
        })
    }

    /// The good rows of the next block; `None` at the end.
    ///
    /// # Errors
    /// [`PrepareError::Input`] if the file cannot be read on, [`PrepareError::TooManyBadRows`] at the end, past
    /// `data.max_bad_rows`.
    pub fn next_block(&mut self) -> Result<Option<Vec<OwnedRow>>, PrepareError> {
        let Self { input, rows, plan, names, data, n_read, n_bytes, rejects } = self;
        let mut block = Vec::new();
        let read = rows.next(input, data, |found, line| {
            *n_read += 1;
            match plan.values(&found, input, data) {
                Ok(values) => {
                    let values = values.into_iter().map(Given::into_owned).collect();
                    block.push(OwnedRow { line, names: Arc::clone(names), values });
                }
                Err(fault) => rejects.add(&input.file_name, line, &input.layout.names, &fault),
            }
        })?;
        if let Some(read) = read {
            *n_bytes += read;
            return Ok(Some(block));
        }
        check_share(self.n_read, &self.rejects, self.data.max_bad_rows)?;
        Ok(None)
    }

    /// Whether the file has this column; of formats that write out what is not 0 alone nobody knows, and it is taken to be there.
    pub fn has_column(&self, name: &str) -> bool {
        let layout = &self.input.layout;
        layout.format.is_sparse() || layout.names.iter().any(|own| own == name)
    }

    /// The columns of the file.
    pub(crate) fn names(&self) -> &[String] {
        &self.input.layout.names
    }

    /// Rows that were read, bad ones included.
    pub fn n_read(&self) -> u64 {
        self.n_read
    }

    /// Bytes that were read, after decompression.
    pub fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// The bad rows so far, by reason.
    pub fn rejected(&self) -> Vec<Rejected> {
        self.rejects.clone().into_report()
    }
}

/// Refuses too many bad rows.
pub(super) fn check_share(
    n_read: u64,
    rejects: &Rejects,
    allowed: f64,
) -> Result<(), PrepareError> {
    let n_rejected = rejects.n_rows();
    if n_rejected > 0 && (n_rejected as f64 > allowed * n_read as f64 || n_rejected == n_read) {
        let rejected = rejects.clone().into_report();
        return Err(PrepareError::TooManyBadRows { n_read, n_rejected, allowed, rejected });
    }
    Ok(())
}
