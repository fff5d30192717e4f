//! Parquet inputs: batches of columns, and their cells.

use std::fs::File;
use std::path::Path;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, RecordBatchReader, StringArray,
};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Int64Type, TimeUnit};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use jiff::tz::TimeZone;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};

use super::cell::Cell;
use super::plan::{InputPlan, Kind, Table};
use super::rows::{Parsed, RowBuilder};
use super::time::in_zone;
use crate::PrepareError;
use crate::config::{DataConfig, Delimiter, Format};
use crate::error::Place;
use crate::read::dialect::Layout;
use crate::read::records::Dialect;

/// Whether a file begins as Parquet does.
pub(crate) fn is_parquet(path: &Path) -> Result<bool, PrepareError> {
    use std::io::Read;
    let mut magic = Vec::with_capacity(4);
    let file = File::open(path).map_err(PrepareError::io("read", path))?;
    file.take(4).read_to_end(&mut magic).map_err(PrepareError::io("read", path))?;
    Ok(magic == b"PAR1")
}

/// Opens a file for batches of `n_rows`.
pub(crate) fn open(path: &Path, n_rows: usize) -> Result<ParquetRecordBatchReader, PrepareError> {
    let damaged = |error: &dyn std::fmt::Display| damaged(path, error);
    let file = File::open(path).map_err(PrepareError::io("read", path))?;
    let metadata = ArrowReaderMetadata::load(&file, Default::default()).map_err(|e| damaged(&e))?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
    builder.with_batch_size(n_rows).build().map_err(|error| damaged(&error))
}

pub(crate) fn damaged(path: &Path, error: &dyn std::fmt::Display) -> PrepareError {
    let reason = format!("damaged or cut-off Parquet ({error})");
    PrepareError::input(Place::file(path), reason, "copy or write the file again")
}

/// The columns of a file and its first rows.
pub(crate) fn look(path: &Path, config: &DataConfig) -> Result<Layout, PrepareError> {
    guarded(path, || {
        let mut reader = open(path, 1000)?;
        let schema = reader.next().transpose().map_err(|error| damaged(path, &error))?;
        let Some(first) = schema.filter(|batch| batch.num_rows() > 0) else {
            let reason = "the file has no rows";
            return Err(PrepareError::input(Place::file(path), reason, "give a file with rows"));
        };
        let dialect = Dialect { delimiter: Delimiter::Byte(b','), quote: None };
        let names: Vec<_> =
            first.schema().fields().iter().map(|field| field.name().clone()).collect();
        if let Some(at) = (1..names.len()).find(|at| names[..*at].contains(&names[*at])) {
            let place = Place::file(path).field(&names[at]);
            let reason = format!("two columns have the name {:?}", names[at]);
            return Err(PrepareError::input(place, reason, "rename one of them"));
        }
        let mut sample = vec![Vec::with_capacity(names.len()); first.num_rows()];
        for column in first.columns() {
            let column = Values::new(column, Kind::Text, config.time_zone.as_ref())
                .map_err(|reason| PrepareError::input(Place::file(path), reason, "drop it"))?;
            for (row, texts) in sample.iter_mut().enumerate() {
                texts.push(column.cell(row).shown());
            }
        }
        let kind = |field: &std::sync::Arc<datafusion::arrow::datatypes::Field>| {
            field.data_type().is_floating().then(|| "float".to_owned())
        };
        let types = first.schema().fields().iter().map(kind).collect();
        let (format, decisions) = (Format::Parquet, Vec::new());
        Ok(Layout { format, dialect, names, types, header_bytes: 0, sample, decisions })
    })
}

/// The Parquet reader checks much, but not all, of a damaged file by itself.
pub(crate) fn guarded<T>(
    path: &Path,
    read: impl FnOnce() -> Result<T, PrepareError>,
) -> Result<T, PrepareError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(damaged(path, &"its pages contradict each other")))
}

/// Columns of a batch in one of the forms that cells are made from.
pub(crate) enum Values {
    Text(StringArray),
    Int(Int64Array),
    Float(Float64Array),
    Millis(Int64Array),
}

impl Values {
    /// # Errors
    /// What the column's type is, where it cannot be `kind`.
    pub(crate) fn new(
        array: &ArrayRef,
        kind: Kind,
        zone: Option<&TimeZone>,
    ) -> Result<Self, String> {
        let to = |data_type: &DataType| {
            let options = CastOptions { safe: false, ..CastOptions::default() };
            cast_with_options(array, data_type, &options).map_err(|error| error.to_string())
        };
        let wrong = || Err(format!("the column's type is {}", array.data_type()));
        let data_type = match array.data_type() {
            DataType::Dictionary(_, values) => values.as_ref().clone(),
            other => other.clone(),
        };
        let is_id = matches!(kind, Kind::User | Kind::Item | Kind::Event);
        match data_type {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => {
                Ok(Self::Text(to(&DataType::Utf8)?.as_string().clone()))
            }
            DataType::UInt64 => Ok(Self::Text(to(&DataType::Utf8)?.as_string().clone())),
            ref integer if integer.is_integer() => {
                Ok(Self::Int(to(&DataType::Int64)?.as_primitive::<Int64Type>().clone()))
            }
            DataType::Float16 | DataType::Float32 | DataType::Float64 => {
                Ok(Self::Float(to(&DataType::Float64)?.as_primitive().clone()))
            }
            ref decimal if decimal.is_decimal() && !is_id && kind != Kind::Time => {
                Ok(Self::Float(to(&DataType::Float64)?.as_primitive().clone()))
            }
            DataType::Timestamp(_, ref stated) if matches!(kind, Kind::Time | Kind::Text) => {
                let millis = to(&DataType::Timestamp(TimeUnit::Millisecond, stated.clone()))?;
                let millis = cast_with_options(&millis, &DataType::Int64, &CastOptions::default())
                    .map_err(|error| error.to_string())?;
                Self::times(millis.as_primitive(), stated.is_some(), array, kind, zone)
            }
            DataType::Date32 | DataType::Date64 if matches!(kind, Kind::Time | Kind::Text) => {
                let millis = cast_with_options(
                    &to(&DataType::Date64)?,
                    &DataType::Int64,
                    &CastOptions::default(),
                )
                .map_err(|error| error.to_string())?;
                Self::times(millis.as_primitive(), false, array, kind, zone)
            }
            _ if kind == Kind::Text => shown(array),
            _ => wrong(),
        }
    }

    fn times(
        millis: &Int64Array,
        is_utc: bool,
        array: &ArrayRef,
        kind: Kind,
        zone: Option<&TimeZone>,
    ) -> Result<Self, String> {
        match (kind, zone) {
            (Kind::Time, _) if is_utc => Ok(Self::Millis(millis.clone())),
            (Kind::Time, Some(zone)) => {
                Ok(Self::Millis(millis.unary_opt(|local| in_zone(local, zone))))
            }
            _ => shown(array),
        }
    }

    pub(crate) fn cell(&self, row: usize) -> Cell<'_> {
        match self {
            Self::Text(array) if array.is_valid(row) => Cell::Text(array.value(row)),
            Self::Int(array) if array.is_valid(row) => Cell::Int(array.value(row)),
            Self::Float(array) if array.is_valid(row) => Cell::Float(array.value(row)),
            Self::Millis(array) if array.is_valid(row) => Cell::Millis(array.value(row)),
            _ => Cell::Null,
        }
    }
}

/// Any array as the texts that Arrow prints.
fn shown(array: &ArrayRef) -> Result<Values, String> {
    let options = FormatOptions::default();
    let formatter =
        ArrayFormatter::try_new(array.as_ref(), &options).map_err(|error| error.to_string())?;
    let texts =
        (0..array.len()).map(|row| array.is_valid(row).then(|| formatter.value(row).to_string()));
    Ok(Values::Text(texts.collect()))
}

/// Parses a batch whose first row is `first_row`, from 1.
pub(crate) fn parse_batch(
    batch: &RecordBatch,
    first_row: u64,
    plan: &InputPlan,
    table: &Table,
    config: &DataConfig,
) -> Result<Parsed, PrepareError> {
    let mut values = Vec::with_capacity(batch.num_columns());
    for (at, array) in batch.columns().iter().enumerate() {
        // A column that becomes two of ours (a session that is the user) is held to the stricter.
        let kinds = plan.mapped.iter().filter(|mapped| mapped.source == at).map(|m| m.kind);
        let kind = kinds.min_by_key(|kind| *kind == Kind::Text).unwrap_or(Kind::Text);
        let column = Values::new(array, kind, config.time_zone.as_ref()).map_err(|reason| {
            let name = &plan.layout.names[at];
            let place = Place::file(&plan.file_name).field(name);
            let fix = match kind {
                Kind::Time => "write the times as a timestamp, a number or ISO 8601 text",
                Kind::Float | Kind::Int => "write the column as a number",
                _ => "write the column as text or whole numbers",
            };
            PrepareError::input(place, reason, fix)
        })?;
        values.push(column);
    }
    let mut rows = RowBuilder::new(plan, table, config, batch.num_rows());
    let mut cells = Vec::with_capacity(values.len());
    for row in 0..batch.num_rows() {
        cells.extend(values.iter().map(|column| column.cell(row)));
        rows.push(&cells, || first_row + row as u64);
        cells.clear();
    }
    rows.finish()
}

/// Times without a zone need one from the configuration, in a typed column too.
pub(crate) fn check_zone(path: &Path, plan: &InputPlan) -> Result<(), PrepareError> {
    let Some(source) = plan.source(forecart_data::event::columns::TIMESTAMP) else {
        return Ok(());
    };
    let schema = guarded(path, || Ok(open(path, 1)?.schema()))?;
    let data_type = schema.field(source).data_type();
    if !matches!(data_type, DataType::Timestamp(_, None) | DataType::Date32 | DataType::Date64) {
        return Ok(());
    }
    let place = Place::file(path).field(&plan.layout.names[source]);
    let reason = format!("times of type {data_type} state no zone");
    let fix = "set `data.time_zone` to the shop's, such as \"Europe/London\" or \"UTC\"";
    Err(PrepareError::input(place, reason, fix))
}
